/*
 * Load for the benchmark: one program, a role a run. What it measured goes to standard output as one line of JSON.
 *
 *   serve PORT...                            UDP echo; TCP: reads what comes, until the end
 *   flood ADDRESS PORT SECONDS FLOWS         UDP datagrams of 18 octets (64-octet frames), as fast as they go
 *   connect ADDRESS PORT SECONDS PARALLEL    TCP connections, opened and reset
 *   roundtrip ADDRESS PORT SECONDS           one UDP datagram at a time, there and back
 *   bulk ADDRESS PORT SECONDS                one TCP stream
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BURST 32
#define DATAGRAM 18

static void check(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}

static uint64_t clock_of(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static uint64_t now(void) { return clock_of(CLOCK_MONOTONIC); }
static uint64_t processor(void) { return clock_of(CLOCK_PROCESS_CPUTIME_ID); }

static struct sockaddr_in target(char **arguments) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
  check(inet_pton(AF_INET, arguments[0], &to.sin_addr) == 1, "address");
  return to;
}

static _Noreturn void serve(int count, char **ports) {
  static char data[1 << 18];
  int poller = epoll_create1(0);
  check(poller >= 0, "epoll_create1");
  // Descriptors by role: listeners and UDP sockets are the first ones.
  int listeners = 0, datagrams = 0, listener[16], datagram[16];
  for (int i = 0; i < count && i < 16; i++) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(atoi(ports[i]))};
    for (int tcp = 0; tcp < 2; tcp++) {
      int fd = socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0), one = 1;
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
      check(bind(fd, (struct sockaddr *)&here, sizeof here) == 0, "bind");
      if (tcp) check(listen(fd, 4096) == 0, "listen");
      *(tcp ? &listener[listeners++] : &datagram[datagrams++]) = fd;
      struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
      check(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    }
  }
  puts("ready");
  fflush(stdout);
  struct epoll_event events[256];
  for (;;) {
    int ready = epoll_wait(poller, events, 256, -1);
    for (int e = 0; e < ready; e++) {
      int fd = events[e].data.fd, role = 0;
      for (int i = 0; i < listeners; i++) role = fd == listener[i] ? 1 : fd == datagram[i] ? 2 : role;
      if (role == 1) {
        int connection;
        while ((connection = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
          struct epoll_event event = {.events = EPOLLIN, .data.fd = connection};
          epoll_ctl(poller, EPOLL_CTL_ADD, connection, &event);
        }
      } else if (role == 2) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t octets;
        while ((octets = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &length)) >= 0)
          sendto(fd, data, octets, 0, (struct sockaddr *)&from, length);
      } else if (read(fd, data, sizeof data) <= 0 && errno != EAGAIN) {
        close(fd);
      }
    }
  }
}

static int flood(char **arguments) {
  struct sockaddr_in to = target(arguments);
  int flows = atoi(arguments[3]), *sockets = calloc(flows, sizeof(int));
  for (int i = 0; i < flows; i++) {
    sockets[i] = socket(AF_INET, SOCK_DGRAM, 0);
    check(connect(sockets[i], (struct sockaddr *)&to, sizeof to) == 0, "connect");
  }
  char payload[DATAGRAM] = {0};
  struct iovec part = {payload, DATAGRAM};
  struct mmsghdr messages[BURST];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < BURST; i++) messages[i].msg_hdr.msg_iov = &part, messages[i].msg_hdr.msg_iovlen = 1;
  uint64_t sent = 0, began = now(), used = processor(), end = began + (uint64_t)(atof(arguments[2]) * 1e9);
  for (int flow = 0; now() < end; flow = (flow + 1) % flows) {
    int went = sendmmsg(sockets[flow], messages, BURST, 0);
    if (went > 0) sent += went;
  }
  printf("{\"sent\":%lu,\"nanoseconds\":%lu,\"processor\":%lu}\n", sent, now() - began, processor() - used);
  return 0;
}

static int open_connection(struct sockaddr_in *to, int poller) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  check(fd >= 0, "socket");
  // Reset at the end: no connection is left waiting, on neither side.
  struct linger now_or_never = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now_or_never, sizeof now_or_never);
  if (connect(fd, (struct sockaddr *)to, sizeof *to) != 0 && errno != EINPROGRESS) {
    close(fd);
    return -1;
  }
  struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
  return fd;
}

static int connections(char **arguments) {
  struct sockaddr_in to = target(arguments);
  int parallel = atoi(arguments[3]), poller = epoll_create1(0);
  uint64_t made = 0, failed = 0, began = now(), used = processor(), end = began + (uint64_t)(atof(arguments[2]) * 1e9);
  for (int i = 0; i < parallel; i++)
    if (open_connection(&to, poller) < 0) failed++;
  struct epoll_event events[256];
  while (now() < end) {
    int ready = epoll_wait(poller, events, 256, 100);
    for (int e = 0; e < ready; e++) {
      int error = 0;
      socklen_t length = sizeof error;
      getsockopt(events[e].data.fd, SOL_SOCKET, SO_ERROR, &error, &length);
      *(error == 0 ? &made : &failed) += 1;
      close(events[e].data.fd);
      if (open_connection(&to, poller) < 0) failed++;
    }
  }
  printf("{\"made\":%lu,\"failed\":%lu,\"nanoseconds\":%lu,\"processor\":%lu}\n", made, failed, now() - began,
         processor() - used);
  return 0;
}

static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static int roundtrip(char **arguments) {
  struct sockaddr_in to = target(arguments);
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct timeval patience = {0, 200000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  check(connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
  char payload[DATAGRAM] = {0};
  uint32_t *took = malloc(sizeof(uint32_t) * 4000000u);
  size_t count = 0, lost = 0;
  uint64_t end = now() + (uint64_t)(atof(arguments[2]) * 1e9);
  while (now() < end && count < 4000000u) {
    uint64_t sent = now();
    if (send(fd, payload, DATAGRAM, 0) == DATAGRAM && recv(fd, payload, DATAGRAM, 0) == DATAGRAM) took[count++] = now() - sent;
    else lost++;
  }
  check(count > 0, "no answer");
  qsort(took, count, sizeof *took, ascending);
  printf("{\"count\":%zu,\"lost\":%zu,\"p50\":%u,\"p99\":%u}\n", count, lost, took[count / 2], took[count - 1 - count / 100]);
  return 0;
}

static int bulk(char **arguments) {
  struct sockaddr_in to = target(arguments);
  static char data[1 << 17];
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  check(connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
  uint64_t octets = 0, began = now(), used = processor(), end = began + (uint64_t)(atof(arguments[2]) * 1e9);
  while (now() < end) {
    ssize_t went = write(fd, data, sizeof data);
    check(went > 0, "write");
    octets += went;
  }
  printf("{\"octets\":%lu,\"nanoseconds\":%lu,\"processor\":%lu}\n", octets, now() - began, processor() - used);
  return 0;
}

int main(int count, char **arguments) {
  if (count >= 3 && strcmp(arguments[1], "serve") == 0) serve(count - 2, arguments + 2);
  if (count == 6 && strcmp(arguments[1], "flood") == 0) return flood(arguments + 2);
  if (count == 6 && strcmp(arguments[1], "connect") == 0) return connections(arguments + 2);
  if (count == 5 && strcmp(arguments[1], "roundtrip") == 0) return roundtrip(arguments + 2);
  if (count == 5 && strcmp(arguments[1], "bulk") == 0) return bulk(arguments + 2);
  fputs("load: see the first comment of load.c\n", stderr);
  return 2;
}
