/*
 * The peer: how little code forwards a packet to a Service? IPv4 over Ethernet, TCP and UDP, Service table, connection table, DNAT
 * and SNAT, incremental checksums, TTL, link addresses. No IPv6, no fragments, no ICMP, no timers, no policies, no routes.
 *
 *     cc -O3 -march=native minimal.c -o minimal
 *     minimal SERVICES FLOWS service|connection [staged]
 *
 * Then it obeys lines: `forward N`, `reply N` and `mixed N` run N batches of random established flows, `new` opens every flow of
 * an empty table once. Each answers with the median over its batches, in nanoseconds a packet. `plan` prints the tables' octets.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { BATCH = 256, STRIDE = 2048, BACKENDS = 3, FRAME = 64 };
enum { DROP = 1, PASS = 2, REDIRECT = 4 };

struct service {
  uint32_t address;
  uint16_t port;
  uint8_t protocol, used;
  uint32_t backend;
  uint32_t spare;
  uint64_t packets, bytes;
};

struct backend {
  uint32_t address;
  uint16_t port, spare;
};

/* One direction of a flow: what comes in, what changes. */
struct flow {
  uint32_t source, destination, ports;
  uint8_t protocol, used, reply, spare;
  uint32_t address;
  uint16_t port, network_delta;
  uint16_t transport_delta, spare2;
  uint32_t service;
};

static struct service *services;
static struct backend *backends;
static struct flow *flows;
static uint32_t service_mask, flow_mask;
static uint8_t *frames, *templates, *replies;
static uint32_t lengths[BATCH], verdicts[BATCH], hashes[BATCH];
static uint64_t random_state = 0x9e3779b97f4a7c15ull;
static int connection_first, staged;
static volatile uint32_t sink;

static inline uint64_t random_next(void) {
  uint64_t x = random_state;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return random_state = x;
}

static inline uint16_t load16(const uint8_t *at) { uint16_t v; memcpy(&v, at, 2); return v; }
static inline uint32_t load32(const uint8_t *at) { uint32_t v; memcpy(&v, at, 4); return v; }
static inline uint64_t load64(const uint8_t *at) { uint64_t v; memcpy(&v, at, 8); return v; }
static inline void store16(uint8_t *at, uint16_t v) { memcpy(at, &v, 2); }
static inline void store32(uint8_t *at, uint32_t v) { memcpy(at, &v, 4); }

static inline uint32_t fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint32_t)((sum & 0xffff) + (sum >> 16));
}

/* RFC 1624, equation 3: `delta` is the sum of ~m + m'. */
static inline uint16_t apply(uint16_t checksum, uint32_t delta) {
  uint32_t sum = (uint16_t)~checksum + delta;
  return (uint16_t)~((sum & 0xffff) + (sum >> 16));
}

static inline uint32_t mix(uint64_t a, uint64_t b) {
  uint64_t h = (a ^ 0x2545f4914f6cdd1dull) * 0xbf58476d1ce4e5b9ull;
  h = ((h ^ (h >> 32)) + b) * 0x94d049bb133111ebull;
  return (uint32_t)((h ^ (h >> 29)) >> 16);
}

static inline uint32_t service_hash(uint32_t address, uint16_t port, uint8_t protocol) {
  return mix(address, port | (uint32_t)protocol << 16) & service_mask;
}

static inline uint32_t flow_hash(uint64_t addresses, uint32_t ports, uint8_t protocol) {
  return mix(addresses, ports | (uint64_t)protocol << 32) & flow_mask;
}

static inline struct service *find_service(uint32_t address, uint16_t port, uint8_t protocol) {
  for (uint32_t i = service_hash(address, port, protocol);; i = (i + 1) & service_mask) {
    struct service *one = services + i;
    if (!one->used) return NULL;
    if (one->address == address && one->port == port && one->protocol == protocol) return one;
  }
}

static inline struct flow *find_flow(uint32_t hash, uint64_t addresses, uint32_t ports, uint8_t protocol) {
  for (uint32_t i = hash;; i = (i + 1) & flow_mask) {
    struct flow *one = flows + i;
    if (!one->used) return NULL;
    if (load64((uint8_t *)one) == addresses && one->ports == ports && one->protocol == protocol) return one;
  }
}

static inline struct flow *insert_flow(uint32_t source, uint32_t destination, uint32_t ports, uint8_t protocol) {
  uint32_t i = flow_hash(source | (uint64_t)destination << 32, ports, protocol);
  while (flows[i].used) i = (i + 1) & flow_mask;
  struct flow *one = flows + i;
  one->source = source, one->destination = destination, one->ports = ports;
  one->protocol = protocol, one->used = 1;
  return one;
}

static inline uint32_t swap(uint32_t ports) { return ports << 16 | ports >> 16; }

static struct flow *open_flow(uint32_t source, uint32_t destination, uint32_t ports, uint8_t protocol, struct service *service) {
  struct backend *backend = backends + service->backend + ((uint32_t)random_next() * (uint64_t)BACKENDS >> 32);
  uint32_t translated = (ports & 0xffff) | (uint32_t)backend->port << 16;
  uint64_t address_sum = (uint64_t)~destination + backend->address;
  uint32_t network = fold(address_sum);
  uint32_t transport = fold(address_sum + (uint64_t)~ports + translated);
  struct flow *back = insert_flow(backend->address, source, swap(translated), protocol);
  back->reply = 1, back->address = destination, back->port = ports >> 16;
  back->network_delta = ~network, back->transport_delta = ~transport;
  back->service = service - services;
  struct flow *one = insert_flow(source, destination, ports, protocol);
  one->reply = 0, one->address = backend->address, one->port = backend->port;
  one->network_delta = network, one->transport_delta = transport;
  one->service = service - services;
  return one;
}

static inline uint32_t parse(const uint8_t *frame, uint32_t length) {
  if (length < 34 || load16(frame + 12) != 0x0008) return PASS;
  const uint8_t *ip = frame + 14;
  if (ip[0] != 0x45 || (load16(ip + 6) & 0xffbf) != 0) return PASS;
  uint32_t total = __builtin_bswap16(load16(ip + 2));
  if (total < 28 || total > length - 14) return DROP;
  uint64_t a = load64(ip), b = load64(ip + 8);
  if (fold((a & 0xffffffff) + (a >> 32) + (b & 0xffffffff) + (b >> 32) + load32(ip + 16)) != 0xffff) return DROP;
  if (ip[8] <= 1) return DROP;
  if (ip[9] == 6) return total < 40 || ip[32] >> 4 < 5 ? DROP : 0;
  if (ip[9] != 17) return PASS;
  uint32_t datagram = __builtin_bswap16(load16(ip + 24));
  return datagram < 8 || datagram > total - 20 ? DROP : 0;
}

static inline uint32_t process(uint8_t *frame, uint32_t length, uint32_t known_hash) {
  uint32_t stop = parse(frame, length);
  if (stop) return stop;
  uint8_t *ip = frame + 14, *transport = ip + 20;
  uint8_t protocol = ip[9];
  uint64_t addresses = load64(ip + 12);
  uint32_t ports = load32(transport);
  uint32_t hash = staged ? known_hash : flow_hash(addresses, ports, protocol);
  struct service *service = NULL;
  struct flow *flow;
  if (connection_first) {
    flow = find_flow(hash, addresses, ports, protocol);
    if (!flow) service = find_service(addresses >> 32, ports >> 16, protocol);
  } else {
    service = find_service(addresses >> 32, ports >> 16, protocol);
    flow = find_flow(hash, addresses, ports, protocol);
  }
  if (!flow) {
    if (!service) return PASS;
    flow = open_flow((uint32_t)addresses, addresses >> 32, ports, protocol, service);
  }
  service = services + flow->service;
  service->packets++;
  service->bytes += length - 14;
  if (flow->reply) store32(ip + 12, flow->address), store16(transport, flow->port);
  else store32(ip + 16, flow->address), store16(transport + 2, flow->port);
  /* The TTL's word goes down by one in its low octet: ~m + m' is 0xfffe in raw order. */
  ip[8]--;
  store16(ip + 10, apply(apply(load16(ip + 10), flow->network_delta), 0xfffe));
  if (protocol == 6) store16(transport + 16, apply(load16(transport + 16), flow->transport_delta));
  else if (load16(transport + 6) != 0) {
    uint16_t sum = apply(load16(transport + 6), flow->transport_delta);
    store16(transport + 6, sum ? sum : 0xffff);
  }
  store32(frame, 0x22000002), store16(frame + 4, 0x0102), store32(frame + 6, 0x22000002), store16(frame + 10, 0x0202);
  return REDIRECT;
}

static void batch(uint32_t count) {
  if (staged) {
    for (uint32_t i = 0; i < count; i++) {
      uint8_t *ip = frames + i * STRIDE + 14;
      hashes[i] = flow_hash(load64(ip + 12), load32(ip + 20), ip[9]);
    }
    for (uint32_t i = 0; i < count; i++) __builtin_prefetch(flows + hashes[i], 1);
  }
  for (uint32_t i = 0; i < count; i++) verdicts[i] = process(frames + i * STRIDE, lengths[i], hashes[i]);
}

static void *table(size_t count, size_t size) {
  void *at = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) exit(3);
  return at;
}

static uint32_t power(uint64_t n) {
  uint32_t size = 1;
  while (size < n) size *= 2;
  return size;
}

static void service_frame(uint32_t s, uint32_t *address, uint16_t *port, uint8_t *protocol) {
  *address = __builtin_bswap32(0x0a600000 + s + 1);
  *port = __builtin_bswap16(80);
  *protocol = s % 8 == 7 ? 17 : 6;
}

static void build(uint8_t *frame, uint32_t flow, uint32_t service) {
  memset(frame, 0, FRAME);
  store32(frame, 0x11000002), store16(frame + 4, 0x0101), store32(frame + 6, 0x11000002), store16(frame + 10, 0x0201);
  store16(frame + 12, 0x0008);
  uint8_t *ip = frame + 14, *transport = ip + 20;
  uint32_t address;
  uint16_t port;
  uint8_t protocol;
  service_frame(service, &address, &port, &protocol);
  ip[0] = 0x45, ip[8] = 64, ip[9] = protocol;
  store16(ip + 2, __builtin_bswap16(50)), store16(ip + 6, 0x0040);
  store32(ip + 12, __builtin_bswap32(0x0af40000 + (flow & 0xffff)));
  store32(ip + 16, address);
  uint64_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += load16(ip + i);
  store16(ip + 10, (uint16_t)~fold(sum));
  store16(transport, __builtin_bswap16(1024 + (flow >> 16))), store16(transport + 2, port);
  if (protocol == 6) transport[12] = 0x50, transport[13] = 0x10, store16(transport + 14, 0xffff);
  else store16(transport + 4, __builtin_bswap16(30));
  sum = (uint64_t)load32(ip + 12) + load32(ip + 16) + ((uint32_t)protocol << 8) + __builtin_bswap16(30);
  for (int i = 0; i < 30; i += 2) sum += load16(transport + i);
  store16(transport + (protocol == 6 ? 16 : 6), (uint16_t)~fold(sum));
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *samples, uint32_t count) {
  qsort(samples, count, sizeof *samples, ascending);
  return samples[count / 2];
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  uint32_t service_count = atoi(argv[1]), flow_count = atoi(argv[2]);
  connection_first = argv[3][0] == 'c';
  staged = argc > 4;
  uint32_t service_slots = power(service_count * 2ull), flow_slots = power(flow_count * 4ull);
  service_mask = service_slots - 1, flow_mask = flow_slots - 1;
  services = table(service_slots, sizeof *services);
  backends = table(service_count * (size_t)BACKENDS, sizeof *backends);
  flows = table(flow_slots, sizeof *flows);
  frames = table(BATCH, STRIDE);
  templates = table(flow_count, FRAME);
  replies = table(flow_count, FRAME);
  for (uint32_t s = 0; s < service_count; s++) {
    uint32_t address;
    uint16_t port;
    uint8_t protocol;
    service_frame(s, &address, &port, &protocol);
    uint32_t i = service_hash(address, port, protocol);
    while (services[i].used) i = (i + 1) & service_mask;
    services[i] = (struct service){.address = address, .port = port, .protocol = protocol, .used = 1, .backend = s * BACKENDS};
    for (uint32_t k = 0; k < BACKENDS; k++) {
      backends[s * BACKENDS + k] = (struct backend){__builtin_bswap32(0x0a800000 + s * BACKENDS + k), __builtin_bswap16(8080), 0};
    }
  }
  for (uint32_t i = 0; i < flow_count; i++) build(templates + (size_t)i * FRAME, i, i % service_count);
  for (uint32_t i = 0; i < BATCH; i++) lengths[i] = FRAME;

  char command[16];
  uint32_t count;
  static double samples[1 << 20];
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    count = 0;
    sscanf(line, "%15s %u", command, &count);
    if (!strcmp(command, "plan")) {
      printf("%zu\n", flow_slots * sizeof *flows / flow_count);
    } else if (!strcmp(command, "new")) {
      memset(flows, 0, flow_slots * sizeof *flows);
      uint32_t batches = 0;
      for (uint32_t i = 0; i < flow_count; i += BATCH) {
        uint32_t size = flow_count - i < BATCH ? flow_count - i : BATCH;
        for (uint32_t k = 0; k < size; k++) memcpy(frames + k * STRIDE, templates + (size_t)(i + k) * FRAME, FRAME);
        double start = now();
        batch(size);
        samples[batches++] = (now() - start) / size;
        for (uint32_t k = 0; k < size; k++) {
          if (verdicts[k] != REDIRECT) return 4;
          uint8_t *reply = replies + (size_t)(i + k) * FRAME, *out = frames + k * STRIDE;
          memcpy(reply, out, FRAME);
          /* The answer: addresses and ports the other way round leave both checksums right. */
          store32(reply + 26, load32(out + 30)), store32(reply + 30, load32(out + 26));
          store32(reply + 34, swap(load32(out + 34)));
        }
      }
      printf("%.3f\n", median(samples, batches));
    } else {
      uint8_t kind = command[0];
      for (uint32_t n = 0; n < count; n++) {
        for (uint32_t k = 0; k < BATCH; k++) {
          uint32_t flow = (uint32_t)((random_next() >> 32) * flow_count >> 32);
          const uint8_t *from = kind == 'f' || (kind == 'm' && (k & 1)) ? templates : replies;
          memcpy(frames + k * STRIDE, from + (size_t)flow * FRAME, FRAME);
        }
        double start = now();
        batch(BATCH);
        samples[n & ((1 << 20) - 1)] = (now() - start) / BATCH;
        for (uint32_t k = 0; k < BATCH; k++) if (verdicts[k] != REDIRECT) return 4;
      }
      printf("%.3f\n", median(samples, count));
    }
    fflush(stdout);
  }
  return 0;
}
