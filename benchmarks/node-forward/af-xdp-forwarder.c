/*
 * Peer of the benchmark: what a forwarder in C over AF_XDP costs. It does the minimum of a Service dataplane: parses IPv4 with TCP
 * or UDP, looks the flow up, else the Service, picks one of three endpoints, rewrites addresses, ports and checksums, decrements
 * the TTL, and sends out of the other link. No timers, no IPv6, no ICMP, no policies.
 *
 *   af-xdp-forwarder CLIENT_LINK CLIENT_MAC BACKEND_LINK BACKEND_MAC SERVICE PORT BACKEND FIRST_PORT SERVICES
 *
 * It runs in the node's network namespace; endpoints are BACKEND:FIRST_PORT to FIRST_PORT + 2; SERVICES - 1 further Services fill
 * the table. It ends at SIGTERM and prints packets, batches and its processor time in nanoseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RING 8192u
#define FRAME 2048u
#define FRAMES 32768u
#define BATCH 64u
#define FLOWS (1u << 20)
#define PROBES 8u

struct ring {
  uint32_t *producer, *consumer;
  void *entries;
};

struct port {
  int fd;
  struct ring rx, tx, fill, completion;
  uint8_t ethernet[12];
};

/* 32 octets, as conntrack entries of the reference pipeline. */
struct flow {
  uint32_t source, destination, ports, protocol;
  uint32_t new_source, new_destination, new_ports, used;
};

struct service {
  uint32_t address, port, packets, used;
};

static uint8_t *frames;
static uint32_t spare[FRAMES], spares;
static struct port ports[2];
static struct flow *flows;
static struct service *services;
static uint32_t service_mask, backend, first_port;
static volatile sig_atomic_t stop;
static uint64_t random_state = 88172645463325252u;

static void check(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}

static int bpf(int command, union bpf_attr *attributes) {
  return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static uint32_t load_acquire(uint32_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static void store_release(uint32_t *at, uint32_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }

static struct ring map_ring(int fd, struct xdp_ring_offset *at, uint64_t page, size_t entry) {
  uint8_t *base = mmap(NULL, at->desc + RING * entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)page);
  check(base != MAP_FAILED, "mmap");
  return (struct ring){(uint32_t *)(base + at->producer), (uint32_t *)(base + at->consumer), base + at->desc};
}

static void refill(struct port *port, uint32_t want) {
  uint32_t produced = *port->fill.producer, held = produced - load_acquire(port->fill.consumer);
  uint64_t *entries = port->fill.entries;
  if (held > want - BATCH) return;
  while (held++ < want && spares > 0) entries[produced++ & (RING - 1)] = spare[--spares];
  store_release(port->fill.producer, produced);
}

static void open_port(struct port *port, const char *link, const char *next, int shared) {
  port->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  check(port->fd >= 0, "socket");
  if (shared < 0) {
    struct xdp_umem_reg umem = {.addr = (uintptr_t)frames, .len = (uint64_t)FRAMES * FRAME, .chunk_size = FRAME};
    check(setsockopt(port->fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem) == 0, "XDP_UMEM_REG");
  }
  int size = RING;
  int kinds[] = {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING};
  for (int i = 0; i < 4; i++) check(setsockopt(port->fd, SOL_XDP, kinds[i], &size, sizeof size) == 0, "ring");
  setsockopt(port->fd, SOL_XDP, 9 /* XDP_MAX_TX_SKB_BUDGET */, &size, sizeof size);
  struct xdp_mmap_offsets at;
  socklen_t length = sizeof at;
  check(getsockopt(port->fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &length) == 0, "XDP_MMAP_OFFSETS");
  port->rx = map_ring(port->fd, &at.rx, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc));
  port->tx = map_ring(port->fd, &at.tx, XDP_PGOFF_TX_RING, sizeof(struct xdp_desc));
  port->fill = map_ring(port->fd, &at.fr, XDP_UMEM_PGOFF_FILL_RING, sizeof(uint64_t));
  port->completion = map_ring(port->fd, &at.cr, XDP_UMEM_PGOFF_COMPLETION_RING, sizeof(uint64_t));
  refill(port, RING / 2);

  int index = (int)if_nametoindex(link);
  struct sockaddr_xdp here = {.sxdp_family = AF_XDP, .sxdp_ifindex = index};
  here.sxdp_flags = shared < 0 ? XDP_USE_NEED_WAKEUP : XDP_SHARED_UMEM;
  if (shared >= 0) here.sxdp_shared_umem_fd = shared;
  check(bind(port->fd, (struct sockaddr *)&here, sizeof here) == 0, "bind");

  union bpf_attr map = {.map_type = BPF_MAP_TYPE_XSKMAP, .key_size = 4, .value_size = 4, .max_entries = 1};
  int map_fd = bpf(BPF_MAP_CREATE, &map), key = 0;
  check(map_fd >= 0, "BPF_MAP_CREATE");
  union bpf_attr update = {.map_fd = map_fd, .key = (uintptr_t)&key, .value = (uintptr_t)&port->fd};
  check(bpf(BPF_MAP_UPDATE_ELEM, &update) == 0, "BPF_MAP_UPDATE_ELEM");
  struct bpf_insn code[] = {
      {.code = 0x61, .dst_reg = 2, .src_reg = 1, .off = 16},
      {.code = 0x18, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map_fd},
      {.code = 0},
      {.code = 0xb7, .dst_reg = 3, .imm = XDP_DROP},
      {.code = 0x85, .imm = BPF_FUNC_redirect_map},
      {.code = 0x95},
  };
  union bpf_attr program = {.prog_type = BPF_PROG_TYPE_XDP, .insn_cnt = 6, .insns = (uintptr_t)code, .license = (uintptr_t) "GPL"};
  int program_fd = bpf(BPF_PROG_LOAD, &program);
  check(program_fd >= 0, "BPF_PROG_LOAD");
  union bpf_attr attach = {.link_create = {.prog_fd = program_fd, .target_ifindex = index, .attach_type = BPF_XDP, .flags = XDP_FLAGS_DRV_MODE}};
  check(bpf(BPF_LINK_CREATE, &attach) >= 0, "BPF_LINK_CREATE");

  struct ifreq request = {0};
  strncpy(request.ifr_name, link, IFNAMSIZ - 1);
  int any = socket(AF_INET, SOCK_DGRAM, 0);
  check(ioctl(any, SIOCGIFHWADDR, &request) == 0, "SIOCGIFHWADDR");
  close(any);
  memcpy(port->ethernet + 6, request.ifr_hwaddr.sa_data, 6);
  unsigned octet[6];
  check(sscanf(next, "%x:%x:%x:%x:%x:%x", octet, octet + 1, octet + 2, octet + 3, octet + 4, octet + 5) == 6, "MAC");
  for (int i = 0; i < 6; i++) port->ethernet[i] = (uint8_t)octet[i];
}

static uint32_t hash_of(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  uint64_t h = ((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15u ^ ((uint64_t)c << 32 | d) * 0xc2b2ae3d27d4eb4fu;
  return (uint32_t)(((h ^ h >> 32) * 0x9e3779b97f4a7c15u) >> 32);
}

static struct flow *find(uint32_t source, uint32_t destination, uint32_t l4, uint32_t protocol) {
  uint32_t at = hash_of(source, destination, l4, protocol);
  for (uint32_t i = 0; i < PROBES; i++) {
    struct flow *flow = &flows[(at + i) & (FLOWS - 1)];
    if (!flow->used) return NULL;
    if (flow->source == source && flow->destination == destination && flow->ports == l4 && flow->protocol == protocol) return flow;
  }
  return NULL;
}

static struct flow *insert(struct flow entry) {
  uint32_t at = hash_of(entry.source, entry.destination, entry.ports, entry.protocol), i = 0;
  while (i < PROBES && flows[(at + i) & (FLOWS - 1)].used) i++;
  struct flow *flow = &flows[(at + i % PROBES) & (FLOWS - 1)];
  *flow = entry;
  flow->used = 1;
  return flow;
}

static struct service *service_at(uint32_t address, uint32_t port, int make) {
  for (uint32_t at = hash_of(address, port, 0, 0);; at++) {
    struct service *service = &services[at & service_mask];
    if (!service->used && make) *service = (struct service){address, port, 0, 1};
    if (!service->used) return NULL;
    if (service->address == address && service->port == port) return service;
  }
}

static uint32_t sum_of(uint32_t word) { return (word & 0xffff) + (word >> 16); }

static uint16_t adjusted(uint16_t checksum, uint32_t delta) {
  uint32_t sum = (uint16_t)~checksum + delta;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

/* Rewrites a frame. Returns 0 when it is not one of ours. */
static int rewrite(uint8_t *frame, uint32_t length, const uint8_t *ethernet) {
  if (length < 42 || *(uint16_t *)(frame + 12) != htons(0x0800) || frame[14] != 0x45) return 0;
  uint8_t *ip = frame + 14, *l4 = frame + 34;
  uint32_t protocol = ip[9], total = ntohs(*(uint16_t *)(ip + 2));
  if ((protocol != 6 && protocol != 17) || total + 14 > length || total < 28 || ip[8] < 2) return 0;
  if (*(uint16_t *)(ip + 6) & htons(0x3fff)) return 0;
  uint32_t source, destination, both;
  memcpy(&source, ip + 12, 4);
  memcpy(&destination, ip + 16, 4);
  memcpy(&both, l4, 4);
  struct flow *flow = find(source, destination, both, protocol);
  if (flow == NULL) {
    struct service *service = service_at(destination, both >> 16, 0);
    if (service == NULL) return 0;
    service->packets++;
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    uint32_t port = htons((uint16_t)(first_port + random_state % 3));
    struct flow forward = {source, destination, both, protocol, source, backend, (both & 0xffff) | port << 16, 0};
    struct flow reply = {backend, source, port | both << 16, protocol, destination, source, (both >> 16) | both << 16, 0};
    insert(reply);
    flow = insert(forward);
  }
  uint32_t addresses = sum_of(flow->new_source) + sum_of(flow->new_destination) + sum_of(~source) + sum_of(~destination);
  uint32_t numbers = sum_of(flow->new_ports) + sum_of(~both);
  memcpy(ip + 12, &flow->new_source, 4);
  memcpy(ip + 16, &flow->new_destination, 4);
  memcpy(l4, &flow->new_ports, 4);
  ip[8]--;
  uint16_t *header = (uint16_t *)(ip + 10), *transport = (uint16_t *)(l4 + (protocol == 6 ? 16 : 6));
  *header = adjusted(*header, addresses + (uint16_t)~htons(0x0100));
  if (protocol == 6 || *transport != 0) *transport = adjusted(*transport, addresses + numbers);
  memcpy(frame, ethernet, 12);
  return 1;
}

static void on_signal(int number) {
  (void)number;
  stop = 1;
}

int main(int count, char **arguments) {
  if (count != 10) return fputs("af-xdp-forwarder: see the first comment of its source\n", stderr), 2;
  signal(SIGTERM, on_signal);
  // Nice -10 and short slices (struct sched_attr), as the node's forwarder.
  struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; } attributes = {
      .size = 48, .nice = -10, .runtime = 100000};
  check(syscall(SYS_sched_setattr, 0, &attributes, 0) == 0, "sched_setattr");
  frames = mmap(NULL, (size_t)FRAMES * FRAME, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  check(frames != MAP_FAILED, "mmap");
  for (uint32_t i = FRAMES; i > 0; i--) spare[spares++] = (i - 1) * FRAME;
  flows = calloc(FLOWS, sizeof *flows);
  uint32_t number = (uint32_t)atoi(arguments[9]);
  for (service_mask = 16; service_mask < 2 * number;) service_mask *= 2;
  services = calloc(service_mask--, sizeof *services);
  check(inet_pton(AF_INET, arguments[7], &backend) == 1, "backend");
  first_port = (uint32_t)atoi(arguments[8]);
  uint32_t address;
  check(inet_pton(AF_INET, arguments[5], &address) == 1, "service");
  service_at(address, htons((uint16_t)atoi(arguments[6])), 1);
  for (uint32_t i = 1; i < number; i++) service_at(htonl(ntohl(address) + i), htons(80), 1);
  open_port(&ports[0], arguments[1], arguments[2], -1);
  open_port(&ports[1], arguments[3], arguments[4], ports[0].fd);
  puts("ready");
  fflush(stdout);

  uint64_t packets = 0, batches = 0;
  int idle = 0;
  while (!stop) {
    uint32_t moved = 0;
    for (int side = 0; side < 2; side++) {
      struct port *in = &ports[side], *out = &ports[1 - side];
      uint32_t done = *in->completion.consumer, finished = load_acquire(in->completion.producer);
      uint64_t *completed = in->completion.entries;
      for (; done != finished; done++) spare[spares++] = (uint32_t)completed[done & (RING - 1)] & ~(FRAME - 1);
      store_release(in->completion.consumer, done);
      refill(in, RING / 2);

      uint32_t taken = *in->rx.consumer, arrived = load_acquire(in->rx.producer), produced = *out->tx.producer;
      uint32_t room = RING - (produced - load_acquire(out->tx.consumer)), sent = 0;
      struct xdp_desc *rx = in->rx.entries, *tx = out->tx.entries;
      uint32_t batch = arrived - taken < BATCH ? arrived - taken : BATCH;
      for (uint32_t i = 0; i < batch; i++) {
        struct xdp_desc entry = rx[taken++ & (RING - 1)];
        if (sent < room && rewrite(frames + entry.addr, entry.len, out->ethernet)) {
          tx[produced++ & (RING - 1)] = entry;
          sent++;
        } else {
          spare[spares++] = (uint32_t)entry.addr & ~(FRAME - 1);
        }
      }
      if (batch == 0) continue;
      moved += batch;
      batches++;
      store_release(in->rx.consumer, taken);
      store_release(out->tx.producer, produced);
      for (int tries = 0; tries < 16 && produced != load_acquire(out->tx.consumer); tries++)
        sendto(out->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);
    }
    packets += moved;
    if (moved > 0) idle = 0;
    else if (++idle > 64) {
      struct pollfd waiting[2] = {{ports[0].fd, POLLIN, 0}, {ports[1].fd, POLLIN, 0}};
      poll(waiting, 2, 100);
    }
  }
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  struct timespec total;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &total);
  printf("{\"packets\":%lu,\"batches\":%lu,\"processor\":%lu,\"user\":%lu}\n", packets, batches,
         (uint64_t)total.tv_sec * 1000000000u + total.tv_nsec, (uint64_t)used.ru_utime.tv_sec * 1000000000u + used.ru_utime.tv_usec * 1000u);
  return 0;
}
