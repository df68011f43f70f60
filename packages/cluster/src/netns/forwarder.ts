/**
 * A node's forwarder: one dataplane, and the AF_XDP ports of its node over the dataplane's own memory. Runs in a thread of its
 * own and never returns to the event loop: a frame wakes the thread, and so does a request (by an eventfd).
 *
 * Linear memory of the dataplane, as used here:
 *
 * ```text
 *  maps … │ frames (UMEM of all sockets) │ reserved: AF_XDP block (xsk.ts) │ rings of port 0 │ rings of port 1 │ …
 * ```
 */

import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { receiveMessageOnPort } from "node:worker_threads";
import { createDataplane, type Dataplane, type ServicePortSpec } from "@portolan/dataplane";
import { createDnsProgram, type DnsProgram } from "@portolan/dataplane/dns";
import {
  createPoller,
  createXdpSocket,
  eventCounterAt,
  hastenThread,
  ringMemorySize,
  sleepMicroseconds,
  type XdpSocket,
} from "@portolan/netio-linux";
import { announcementFrame } from "./announcement.ts";
import type {
  ForwarderCalls,
  ForwarderCounters,
  ForwarderData,
  ForwarderPort,
  ForwarderReply,
  ForwarderRequest,
} from "./protocol.ts";

/** Ports of a node: uplink, host and pods. */
const PORT_LIMIT = 112;
/** Words of a port in the AF_XDP block: see `assembly/xsk.ts`. */
const FILL_TARGET_WORD = 12;
const FILL_LIMIT_WORD = 15;
/** Entries of each ring. A reader that is preempted for some milliseconds loses nothing up to here. */
const RING_SIZE = 4096;
/** Frames of a node, 2048 octets each. */
const FRAMES = 32_768;
/**
 * Frames that wait in the kernel's hands for a port's next packets: at first, and at most, once it had use for more. With 256 a
 * bulk transfer loses a hundredth of its packets on a busy machine, with 1024 hardly any; but many idle pods must not hold all.
 */
const FILL = {
  uplink: { first: 2048, most: 4096 },
  host: { first: 512, most: 2048 },
  pod: { first: 64, most: 4096 },
} as const;
/** Frames for what a batch holds while it is worked on, and for what waits to be sent. */
const SPARE_FRAMES = 4096;
const HOST_PORT = 1;
/** Octets for the names of the cluster's Services; about half a KiB each. */
const NAMES_ROOM = 16 * 1024 * 1024;
/** Looks at the rings in vain before the thread sleeps; to look longer takes the time from those whose answers it waits for. */
const IDLE_LOOKS = 32;
/**
 * Frames that came faster than one in so many milliseconds are let gather for so many microseconds: a batch costs the same two system
 * calls and one wake-up whatever its size. One frame at a time, as of a peer that waits for each answer, is never made to wait.
 */
const GATHERING_INTERVAL = 0.02;
const GATHERING_TIME = 100;
/** The node's packets wait for this thread, as they would for the kernel's softirqs. */
const NICE = -10;
const BATCHES_PER_REQUEST_CHECK = 32;
/** Milliseconds that packets wait for requests at a time. */
const REQUESTS_TIME = 0.25;
/** Service ports that are prepared at a time while all of them are replaced; each takes some microseconds. */
const REPLACED_AT_A_TIME = 32;
/** Milliseconds. The thread wakes to age connections, and to notice that the process wants to end. */
const LONGEST_SLEEP = 250;
const LOCKED_OUT_SLEEP = 1;
const KICK_ATTEMPTS = 16;

interface OpenPort {
  readonly spec: ForwarderPort;
  readonly socket: XdpSocket;
}

/** A call that takes more than one turn. */
interface Replacement {
  readonly request: ForwarderRequest;
  readonly staged: ReturnType<Dataplane["stageServicePorts"]>;
}

/** Forwards until `close` is called. Returns when every socket is closed. */
export function runForwarder(data: ForwarderData): void {
  const forwarder = new Forwarder(data);
  try {
    forwarder.run();
  } finally {
    forwarder.shutDown();
    data.port.close();
  }
}

class Forwarder {
  readonly #data: ForwarderData;
  readonly #dataplane: Dataplane;
  readonly #names: DnsProgram;
  readonly #exports: Dataplane["exports"];
  readonly #block: number;
  readonly #rings: number;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #ports = new Map<number, OpenPort>();
  readonly #poller = createPoller();
  readonly #wake: ReturnType<typeof eventCounterAt>;
  readonly #calls: { [Name in keyof ForwarderCalls]: (...parameters: Parameters<ForwarderCalls[Name]>) => unknown };
  /** Arguments of a call whose last part is still to come. */
  #parts: ServicePortSpec[] = [];
  #replacement: Replacement | undefined;
  /** There may be more requests than there was time for. */
  #behind = false;
  #frames = 0;
  #batches = 0;
  #closing = false;
  #failing: "error" | "memory" | undefined;

  constructor(data: ForwarderData) {
    this.#data = data;
    this.#wake = eventCounterAt(data.wake);
    const blockRoom = 256 * 1024;
    this.#dataplane = createDataplane({
      capacity: {
        frames: FRAMES,
        ports: PORT_LIMIT,
        reserved: blockRoom + PORT_LIMIT * ringMemorySize(RING_SIZE) + NAMES_ROOM,
        maglevSlots: 262_144,
        backends: 32_768,
        prefixes: 4_096,
      },
    });
    this.#exports = this.#dataplane.exports;
    const { memory, reserved, frames } = this.#dataplane;
    this.#words = new Uint32Array(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#block = reserved.address;
    this.#rings = reserved.address + blockRoom;
    if (this.#exports.xskBlockSize(PORT_LIMIT, FRAMES) > blockRoom)
      throw new RangeError("the AF_XDP block outgrew its room");
    this.#exports.xskCreate(this.#block, frames.address, frames.count, PORT_LIMIT, RING_SIZE, HOST_PORT);
    this.#names = createDnsProgram({
      dataplane: this.#dataplane,
      region: { address: this.#rings + PORT_LIMIT * ringMemorySize(RING_SIZE), length: NAMES_ROOM },
      addresses: data.dnsAddresses,
    });
    this.#poller.add(data.wake);
    const dataplane = this.#dataplane;
    this.#calls = {
      configureNode: (node) => dataplane.configureNode(node),
      setServicePort: (spec) => dataplane.setServicePort(spec),
      removeServicePort: (id) => dataplane.removeServicePort(id),
      replaceServicePorts: (specs) => dataplane.stageServicePorts(specs),
      flushUdp: (frontends, family, keep) => dataplane.flushUdp(frontends, family, keep),
      openPort: (port) => this.#openPort(port),
      closePort: (index) => this.#closePort(index),
      setRoute: ({ prefix, port, mac }) =>
        dataplane.setRoute(prefix, mac === undefined ? { port } : { port, nextHopMac: mac }),
      removeRoute: (prefix) => dataplane.removeRoute(prefix),
      announce: (address, port) => this.#announce(address, port),
      withdraw: (address) => dataplane.withdrawAddress(address),
      clearNames: () => this.#names.clear(),
      setZone: (zone) => this.#names.setZone(zone),
      setNames: (group, names) => this.#names.setNames(group, names),
      counters: () => this.#counters(),
      connections: () => dataplane.connections(),
      trace: (packet, ingress) => dataplane.trace(packet, ingress === undefined ? {} : { ingress }),
      synchronize: () => undefined,
      fail: (fault) => {
        this.#failing = fault;
      },
      close: () => {
        this.#closing = true;
      },
    };
  }

  run(): void {
    const { xskReceive, xskTransmit } = this.#exports;
    const block = this.#block;
    const batch = this.#dataplane.batchCapacity;
    let looks = 0;
    let untilRequests = 0;
    let locked = false;
    // Frames since the rings were last found empty, and when that was.
    let burst = 0;
    let burstBegan = performance.now();
    hastenThread(NICE);
    this.#handleRequests();
    while (!this.#closing) {
      if (this.#failing !== undefined) fail(this.#failing);
      if (this.#behind) this.#handleRequests();
      const count = xskReceive(block, batch);
      if (count > 0) {
        this.#dataplane.ingress(this.#names.ingress(count), performance.now() / 1000);
        this.#frames += count;
        this.#batches++;
        burst += count;
        locked = xskTransmit(block, count) > 0 && !this.#kick();
        looks = 0;
        if (--untilRequests > 0) continue;
      } else if (++looks < IDLE_LOOKS) {
        continue;
      } else if (burst > 1 && !locked && --untilRequests > 0) {
        const now = performance.now();
        const fast = now - burstBegan < burst * GATHERING_INTERVAL;
        burst = 0;
        burstBegan = now;
        if (fast) {
          sleepMicroseconds(GATHERING_TIME);
          continue;
        }
      }
      untilRequests = BATCHES_PER_REQUEST_CHECK;
      if (locked) locked = !this.#kick();
      const ready = this.#poller.wait(count > 0 || this.#behind ? 0 : locked ? LOCKED_OUT_SLEEP : LONGEST_SLEEP);
      if (ready > 0 && this.#poller.isReady(this.#data.wake)) {
        this.#wake.clear();
        this.#handleRequests();
      }
      // Not before a frame that woke us: aging takes longer than forwarding it.
      if (ready === 0 && count === 0) this.#dataplane.tick(performance.now() / 1000);
      looks = IDLE_LOOKS - 2;
      burst = 0;
      burstBegan = performance.now();
    }
  }

  shutDown(): void {
    // The first socket registered the frames, and the others share them: it goes last.
    for (const index of [...this.#ports.keys()].reverse()) this.#closePort(index);
  }

  /** Tells the kernel to send. @returns whether all went out */
  #kick(): boolean {
    const { xskKicks, xskKicked, xskPending, xskTransmit } = this.#exports;
    const list = xskKicks(this.#block) >>> 2;
    const count = xskTransmit(this.#block, 0);
    let all = true;
    for (let i = 0; i < count; i++) {
      const index = this.#words[list + i]!;
      const port = this.#ports.get(index);
      if (port === undefined) continue;
      let attempts = 0;
      while (xskPending(this.#block, index) > 0 && ++attempts <= KICK_ATTEMPTS) port.socket.kick();
      if (attempts > KICK_ATTEMPTS) all = false;
    }
    if (all) xskKicked(this.#block);
    return all;
  }

  /** Does what was asked for, in its order, for as long as packets can wait. */
  #handleRequests(): void {
    const end = performance.now() + REQUESTS_TIME;
    do {
      if (this.#replacement !== undefined) {
        this.#replace(this.#replacement);
        continue;
      }
      const received = receiveMessageOnPort(this.#data.port) as { message: ForwarderRequest } | undefined;
      if (received === undefined) {
        this.#behind = false;
        return;
      }
      this.#handle(received.message);
    } while (performance.now() < end);
    this.#behind = true;
  }

  #handle(request: ForwarderRequest): void {
    const { call, more } = request;
    let { arguments: parameters } = request;
    if (call === "replaceServicePorts") {
      for (const spec of parameters[0] as readonly ServicePortSpec[]) this.#parts.push(spec);
      if (more === true) return;
      parameters = [this.#parts];
      this.#parts = [];
    }
    this.#reply(request, () => {
      const value = (this.#calls[call] as (...parameters: readonly unknown[]) => unknown)(...parameters);
      if (call !== "replaceServicePorts") return { value };
      this.#replacement = { request, staged: value as Replacement["staged"] };
      return undefined;
    });
  }

  /** Goes a step on: a few entries, or, when all are prepared, the switch to them. */
  #replace({ request, staged }: Replacement): void {
    this.#replacement = undefined;
    this.#reply(request, () => {
      if (staged.remaining === 0) return { value: staged.commit() };
      staged.prepare(REPLACED_AT_A_TIME);
      this.#replacement = { request, staged };
      return undefined;
    });
  }

  /** Tells the caller what came of it, unless that is still to be seen or nobody waits for it. */
  #reply({ id, call }: ForwarderRequest, act: () => { readonly value: unknown } | undefined): void {
    let reply: ForwarderReply;
    try {
      const outcome = act();
      if (id === 0 || outcome === undefined) return;
      reply = { id, value: outcome.value };
    } catch (thrown) {
      const { name, message, code } = thrown as Error & { readonly code?: string };
      reply = { id, error: { name, message: `${call}: ${message}`, ...(code === undefined ? {} : { code }) } };
    }
    this.#data.port.postMessage(reply);
  }

  #openPort(spec: ForwarderPort): void {
    const { index, link } = spec;
    if (index < 0 || index >= PORT_LIMIT || this.#ports.has(index)) throw new RangeError(`port ${index} is not free`);
    const { memory, frames } = this.#dataplane;
    const [first] = this.#ports.values();
    const socket = createXdpSocket({
      link,
      frames: { memory, offset: frames.address, length: frames.length, frameSize: frames.size },
      ringOffset: this.#rings + index * ringMemorySize(RING_SIZE),
      ringSize: RING_SIZE,
      ...(first === undefined ? {} : { shared: first.socket }),
    });
    try {
      this.#dataplane.setPort(index, {
        kind: spec.kind,
        mac: spec.mac,
        mtu: spec.mtu,
        addresses: spec.addresses,
        ...(spec.peerMac === undefined ? {} : { peerMac: spec.peerMac }),
      });
    } catch (error) {
      socket.close();
      throw error;
    }
    const { rx, tx, fill, completion } = socket.rings;
    const words = this.#exports.xskPort(this.#block, index) >>> 2;
    this.#words.set(
      [rx, tx, fill, completion].flatMap((ring) => [ring.producer, ring.consumer, ring.entries]),
      words,
    );
    this.#words[words + FILL_TARGET_WORD] = FILL[spec.kind].first;
    this.#words[words + FILL_LIMIT_WORD] = FILL[spec.kind].most;
    this.#ports.set(index, { spec, socket });
    this.#reserveFrames();
    this.#exports.xskOpen(this.#block, index);
    this.#poller.add(socket.fd);
  }

  #closePort(index: number): void {
    const port = this.#ports.get(index);
    if (port === undefined) return;
    this.#ports.delete(index);
    this.#poller.remove(port.socket.fd);
    this.#exports.xskClose(this.#block, index);
    this.#dataplane.removePort(index);
    port.socket.close();
    this.#exports.xskReclaim(this.#block, index);
    this.#reserveFrames();
  }

  #reserveFrames(): void {
    const toCome = PORT_LIMIT - this.#ports.size;
    this.#exports.xskReserve(this.#block, SPARE_FRAMES + toCome * FILL.pod.first);
  }

  #announce(address: string, index: number): void {
    const port = this.#ports.get(index);
    if (port === undefined) throw new RangeError(`port ${index} is not open`);
    this.#dataplane.announceAddress(address, index);
    const frame = announcementFrame(address, port.spec.mac);
    const at = this.#exports.xskAllocate(this.#block);
    // Nobody has to be told: who asks is answered.
    if (at === 0) return;
    this.#bytes.set(frame, at);
    this.#exports.xskSend(this.#block, index, at, frame.length);
    this.#kick();
  }

  #counters(): ForwarderCounters {
    // The first field: time on a processor.
    const [processorNanoseconds = "0"] = readFileSync("/proc/thread-self/schedstat", "utf8").split(" ");
    return {
      processorNanoseconds: Number(processorNanoseconds),
      dataplane: this.#dataplane.counters(),
      names: this.#names.counters(),
      frames: this.#frames,
      batches: this.#batches,
      transmitRingFull: this.#exports.xskFullDrops(this.#block),
      freeFrames: this.#exports.xskFree(this.#block),
      ports: [...this.#ports.values()].map(({ spec, socket }) => ({ link: spec.link, ...socket.statistics() })),
    };
  }
}

function fail(fault: "error" | "memory"): never {
  for (const taken: number[][] = []; fault === "memory"; ) taken.push(new Array<number>(1024).fill(taken.length));
  throw new Error("told to fail");
}
