/**
 * A node's forwarder: one dataplane, and the ports of its node over the dataplane's own memory. Runs in a thread of its own and never
 * returns to the event loop: a frame wakes the thread, and so does a request (by an eventfd).
 *
 * Linear memory of the dataplane, as used here:
 *
 * ```text
 *  maps … │ frames │ reserved: what the ports need (xdp-ports.ts, packet-ports.ts) │ names
 * ```
 */

import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { receiveMessageOnPort } from "node:worker_threads";
import { createDataplane, type Dataplane, type ServicePortSpec } from "@portolan/dataplane";
import { createDnsProgram, type DnsProgram } from "@portolan/dataplane/dns";
import {
  createPoller,
  eventCounterAt,
  hastenThread,
  keepInMemoryFile,
  readMemoryFile,
  sleepMicroseconds,
} from "@portolan/netio-linux";
import { announcementFrame } from "./announcement.ts";
import { type FramePorts, type FramePortsKind, PORT_LIMIT } from "./frame-ports.ts";
import { packetPorts, segmentPorts } from "./packet-ports.ts";
import type {
  ForwarderCalls,
  ForwarderCounters,
  ForwarderData,
  ForwarderPort,
  ForwarderReply,
  ForwarderRequest,
  FrameInterface,
} from "./protocol.ts";
import { xdpPorts } from "./xdp-ports.ts";

/** Octets for the names of the cluster's Services; about half a KiB each. */
const NAMES_ROOM = 16 * 1024 * 1024;
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

const kinds: Readonly<Record<FrameInterface, FramePortsKind>> = {
  "af-xdp": xdpPorts,
  packet: packetPorts,
  segments: segmentPorts,
};

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

/** The clock of connections, which one forwarder takes over from another: that of the system, where `performance.now` is a thread's own. */
const clockOrigin = Number(process.hrtime.bigint()) / 1e6 - performance.now();
const seconds = (): number => (clockOrigin + performance.now()) / 1000;

class Forwarder {
  readonly #data: ForwarderData;
  readonly #dataplane: Dataplane;
  readonly #names: DnsProgram;
  readonly #kind: FramePortsKind;
  readonly #ports: FramePorts;
  readonly #open = new Map<number, ForwarderPort>();
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
    const kind = kinds[data.frames];
    this.#kind = kind;
    this.#dataplane = createDataplane({
      capacity: {
        frames: kind.frames,
        ports: PORT_LIMIT,
        reserved: kind.reserved + NAMES_ROOM,
        maglevSlots: 262_144,
        backends: 32_768,
        prefixes: 4_096,
      },
    });
    this.#inherit(data);
    const { reserved } = this.#dataplane;
    this.#ports = kind.create({ dataplane: this.#dataplane, address: reserved.address, poller: this.#poller });
    this.#names = createDnsProgram({
      dataplane: this.#dataplane,
      region: { address: reserved.address + kind.reserved, length: NAMES_ROOM },
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
      // The first field: time on a processor.
      processorNanoseconds: () => Number(readFileSync("/proc/thread-self/schedstat", "utf8").split(" ")[0]),
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

  /** Goes on with the connections of a forwarder before this one, and keeps them where the next one finds them. */
  #inherit({ connections, earlierConnections }: ForwarderData): void {
    const { memory, connectionRecords } = this.#dataplane;
    const range = { offset: connectionRecords.address, length: connectionRecords.length };
    keepInMemoryFile(connections, memory, range);
    const earlier = earlierConnections === undefined ? undefined : readMemoryFile(earlierConnections, range);
    if (earlier !== undefined) this.#dataplane.restoreConnections(earlier, seconds());
  }

  run(): void {
    const ports = this.#ports;
    const idleLooks = this.#kind.looks;
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
      const count = ports.receive();
      if (count > 0) {
        this.#dataplane.ingress(this.#names.ingress(count), seconds());
        this.#frames += count;
        this.#batches++;
        burst += count;
        locked = !ports.transmit(count);
        looks = 0;
        if (--untilRequests > 0) continue;
      } else if (++looks < idleLooks) {
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
      if (locked) locked = !ports.flush();
      const ready = this.#poller.wait(count > 0 || this.#behind ? 0 : locked ? LOCKED_OUT_SLEEP : LONGEST_SLEEP);
      if (ready > 0) {
        ports.woken();
        if (this.#poller.isReady(this.#data.wake)) {
          this.#wake.clear();
          this.#handleRequests();
        }
      }
      // Not before a frame that woke us: aging takes longer than forwarding it.
      if (ready === 0 && count === 0) this.#dataplane.tick(seconds());
      looks = idleLooks - 2;
      burst = 0;
      burstBegan = performance.now();
    }
  }

  shutDown(): void {
    // The first socket registered the frames, and the others share them: it goes last.
    for (const index of [...this.#open.keys()].reverse()) this.#closePort(index);
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
    const { index } = spec;
    if (index < 0 || index >= PORT_LIMIT || this.#open.has(index)) throw new RangeError(`port ${index} is not free`);
    this.#ports.open(spec);
    try {
      this.#dataplane.setPort(index, {
        kind: spec.kind,
        mac: spec.mac,
        mtu: spec.mtu,
        addresses: spec.addresses,
        ...(spec.peerMac === undefined ? {} : { peerMac: spec.peerMac }),
      });
    } catch (error) {
      this.#ports.close(index);
      throw error;
    }
    this.#open.set(index, spec);
  }

  #closePort(index: number): void {
    if (!this.#open.delete(index)) return;
    this.#dataplane.removePort(index);
    this.#ports.close(index);
  }

  #announce(address: string, index: number): void {
    const port = this.#open.get(index);
    if (port === undefined) throw new RangeError(`port ${index} is not open`);
    this.#dataplane.announceAddress(address, index);
    // Where there is no room for it nobody has to be told: who asks is answered.
    this.#ports.send(index, announcementFrame(address, port.mac));
  }

  #counters(): ForwarderCounters {
    return {
      dataplane: this.#dataplane.counters(),
      names: this.#names.counters(),
      frames: this.#frames,
      batches: this.#batches,
      ...this.#ports.counters(),
    };
  }
}

function fail(fault: "error" | "memory"): never {
  for (const taken: number[][] = []; fault === "memory"; ) taken.push(new Array<number>(1024).fill(taken.length));
  throw new Error("told to fail");
}
