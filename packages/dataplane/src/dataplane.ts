import type { IPFamily } from "@portolan/net";
import { AddressBook } from "./address-book.ts";
import { decodeAddress, encodeAddress, familyName, writeAddress } from "./address-codec.ts";
import { backendText } from "./backend-table.ts";
import { DataplaneError } from "./errors.ts";
import { Forwarding, type PortSpec, type RouteSpec } from "./forwarding.ts";
import {
  ARGUMENTS,
  BATCH,
  Backend,
  CONTROL,
  Connection,
  ConnectionFlag,
  Control,
  DESCRIPTORS,
  DROP_COUNTERS,
  Event,
  EventKind,
  FRAME_SIZE,
  NONE,
  PROGRAM_SLOTS,
  ProgramHook,
  ProgramSlot,
  Reason,
  ServicePort,
  ServicePortExtension,
  TICKS_PER_SECOND,
  TIMEOUTS,
  Timeout,
  Verdict,
} from "./generated/layout.ts";
import { type Capacity, layOut, load, type Machine, type Region } from "./memory.ts";
import {
  type DropReason,
  dropReasons,
  protocolName,
  reasonName,
  stateName,
  type VerdictName,
  verdictName,
} from "./names.ts";
import { NodeConfiguration } from "./node-configuration.ts";
import { PrefixTable } from "./prefix-table.ts";
import type { FrontendSpec, NodeSpec, ServicePortSpec, ServiceTables, TransportProtocol } from "./service-port.ts";
import type { ServicePortReplacement } from "./service-port-replacement.ts";
import { DataplaneServiceTables } from "./service-tables.ts";
import { type ConnectionTimeouts, kubeProxyTimeouts } from "./timeouts.ts";
import { decodeTrace, type TraceStep } from "./trace.ts";
import { flushUdp } from "./udp-flush.ts";
import { globals, type WebAssemblyMemory, type WebAssemblyModule } from "./web-assembly.ts";

/** Options of {@link Dataplane}. */
export interface DataplaneOptions {
  readonly capacity?: Capacity;
  /** Seed of hashes and of random choices, an unsigned 32-bit number. The same seed and the same calls give the same results. Default: random. */
  readonly seed?: number;
  /** Memory to use; its size must suffice. Default: one of exactly the right size. */
  readonly memory?: WebAssemblyMemory;
  /** The compiled module. Default: the one in this package. */
  readonly module?: WebAssemblyModule;
  /** Connection timeouts in seconds. Default: Linux's with kube-proxy's two changes ({@link kubeProxyTimeouts}). */
  readonly timeouts?: Partial<ConnectionTimeouts>;
  /** A bare ACK may start a TCP connection (`nf_conntrack_tcp_loose`). Default true. */
  readonly tcpLoose?: boolean;
  /** Source ports of masquerades, first and last. Default 32768–65535: above the node ports. */
  readonly masqueradePorts?: readonly [first: number, last: number];
  /** Identifiers of masqueraded ICMP queries, first and last. Default 0–65535. */
  readonly masqueradeIdentifiers?: readonly [first: number, last: number];
  /** Keep the source port of a masqueraded connection when its reply tuple is free. Default false: fully random, as kube-proxy asks. */
  readonly preserveSourcePort?: boolean;
  /** ICMP errors per second, all together; 0 for no limit. Default 0. */
  readonly icmpErrorsPerSecond?: number;
  /** Kinds of events to record. Default: connections, drops and rejects. */
  readonly events?: readonly DataplaneEvent["kind"][];
}

/** When and where a packet arrives. */
export interface ProcessOptions {
  /** The clock, in seconds; fractions count in 1/64. Default: the time of the call before. */
  readonly now?: number;
  /** Index of the port that it came in on. */
  readonly ingress?: number;
}

/** What became of a packet. */
export interface ProcessResult {
  readonly verdict: VerdictName;
  /** Why it was dropped, rejected or answered. */
  readonly reason?: DropReason;
  /** The bytes to pass on or to send: the translated packet, or the answer to it. Absent for drops. */
  readonly packet?: Uint8Array;
  /** Port to send it out of, for `TX` and `REDIRECT`. */
  readonly egress?: number;
}

/** A connection that a socket wants to open. */
export interface ConnectRequest {
  readonly protocol: TransportProtocol;
  readonly source: string;
  /** Default 0. Only `mh` looks at it. */
  readonly sourcePort?: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** Seconds. */
  readonly now?: number;
}

/** Where it goes. `PASS`: not a Service; dial it as it is. */
export interface ConnectResult {
  readonly verdict: "ALLOW" | "REJECT" | "DROP" | "PASS";
  readonly reason?: DropReason;
  readonly servicePort?: string;
  readonly backend?: { readonly address: string; readonly port: number; readonly name?: string };
  /** To be given to {@link Dataplane.release} when the connection is over: least-connection scheduling counts it until then. */
  readonly handle?: number;
}

/** A tracked connection, as `conntrack -L` shows one. */
export interface ConnectionEntry {
  readonly protocol: string;
  readonly family: IPFamily;
  readonly original: Tuple;
  readonly reply: Tuple;
  /** TCP or SCTP state; empty otherwise. */
  readonly state: string;
  /** Seconds until it expires, from the dataplane's clock. */
  readonly expiresIn: number;
  readonly replied: boolean;
  readonly assured: boolean;
  /** True for those that {@link Dataplane.connect} counts; they have no packets. */
  readonly socket: boolean;
  readonly servicePort?: string;
  readonly backend?: string;
  readonly packets: number;
  readonly bytes: number;
  readonly replyPackets: number;
  readonly replyBytes: number;
}

/** Addresses and ports of one direction; the identifier stands in both ports for ICMP queries. */
export interface Tuple {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/** Counters of one Service port. */
export interface ServicePortCounts {
  readonly connections: number;
  readonly packets: number;
  readonly bytes: number;
  readonly replyPackets: number;
  readonly replyBytes: number;
  readonly rejected: number;
  readonly dropped: number;
  readonly affinityHits: number;
  readonly affinityMisses: number;
  /** New connections whose source was rewritten. */
  readonly masqueraded: number;
  readonly backends: readonly BackendCounts[];
}

/** Counters of one backend of a Service port. */
export interface BackendCounts {
  readonly address: string;
  readonly port: number;
  readonly name?: string;
  /** Connections in an active state, as IPVS counts them. */
  readonly active: number;
  readonly inactive: number;
  /** New connections since it was added. */
  readonly connections: number;
}

/** Everything that is counted. */
export interface DataplaneCounters {
  /** Packets dropped, rejected or answered with an error, by reason; reasons that never occurred are absent. */
  readonly reasons: Readonly<Partial<Record<DropReason, number>>>;
  readonly connections: { readonly inserted: number; readonly evicted: number; readonly expired: number };
  readonly affinityEvicted: number;
  readonly eventsLost: number;
  /** By Service port id. */
  readonly servicePorts: Readonly<Record<string, ServicePortCounts>>;
}

/** Something that happened, from the ring of events. */
export interface DataplaneEvent {
  readonly kind: "connection" | "drop" | "reject" | "closed";
  /** Seconds, modulo 2^26 (the ticks' range). */
  readonly time: number;
  readonly protocol: string;
  readonly family: IPFamily | undefined;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly reason?: DropReason;
  readonly servicePort?: string;
  readonly backend?: string;
  readonly ingress?: number;
}

/** How full the maps are. */
export interface DataplaneSize {
  readonly connections: number;
  readonly servicePorts: number;
  readonly backends: number;
  readonly frontends: number;
  /** Bytes of linear memory; never grows. */
  readonly memory: number;
}

/** Batch descriptors as views into linear memory; see `assembly/descriptors.ts` for what each holds. */
export interface BatchDescriptors {
  readonly frame: Uint32Array;
  readonly length: Uint32Array;
  readonly ingress: Uint32Array;
  readonly verdict: Uint32Array;
  readonly egress: Uint32Array;
  readonly reason: Uint32Array;
  /** Free for the caller. */
  readonly user: Uint32Array;
}

/** Numbers in {@link BatchDescriptors.verdict}. */
export const batchVerdicts: Readonly<Record<VerdictName, number>> = Verdict;

/**
 * A dataplane: its maps and programs, in one linear memory. Not re-entrant; every call runs to completion between packets, so that a
 * packet sees the tables before a change or after it.
 */
export interface Dataplane extends ServiceTables {
  /** Runs one IP packet without link header. Cost: one copy in, one out. */
  process(packet: Uint8Array, options?: ProcessOptions): ProcessResult;
  /** Runs one Ethernet frame that came in on port `ingress`. */
  processFrame(frame: Uint8Array, options: ProcessOptions & { readonly ingress: number }): ProcessResult;
  /** Where would this packet go, and why? Computed by the same code; nothing is changed or counted. */
  trace(packet: Uint8Array, options?: ProcessOptions): TraceStep[];
  /** {@link trace} for an Ethernet frame. */
  traceFrame(frame: Uint8Array, options: ProcessOptions & { readonly ingress: number }): TraceStep[];
  /** Decides for a socket: same frontends, policies, affinity and schedulers; nothing is masqueraded. */
  connect(request: ConnectRequest): ConnectResult;
  /** Ends a connection that {@link connect} counted. Unknown handles are ignored. */
  release(handle: number): void;

  /**
   * Runs the frames that {@link descriptors} name, where they lie in {@link memory}; results are in the same descriptors.
   *
   * @param count number of descriptors, at most {@link batchCapacity}
   * @param now seconds
   */
  ingress(count: number, now: number): void;
  readonly descriptors: BatchDescriptors;
  /** Most frames of one batch: 256. */
  readonly batchCapacity: number;
  /** Frames of 2048 bytes, page-aligned, for the caller to fill: on Linux this is the UMEM of AF_XDP sockets. */
  readonly frames: Region & { readonly count: number; readonly size: number };
  /** The bytes asked for by `capacity.reserved`, aligned to 64 KiB. */
  readonly reserved: Region;
  readonly memory: WebAssemblyMemory;
  /** The module's exports, for companions that drive it directly. */
  readonly exports: Machine["exports"];

  /**
   * Begins to replace all Service ports while packets go on: prepare a few dozen entries between two batches, then commit, which takes
   * a tenth of a millisecond for 10,000 that all changed, and settle in steps again. `replaceServicePorts` is this in one go.
   */
  stageServicePorts(specs: readonly ServicePortSpec[]): ServicePortReplacement;

  /** Adds or replaces a port. With the first port the dataplane becomes a router: before, it only translates. */
  setPort(index: number, port: PortSpec): void;
  /** Removes a port; its routes stay and drop. */
  removePort(index: number): void;
  /** Adds or replaces a route. A prefix without length is one address. */
  setRoute(prefix: string, route: RouteSpec): void;
  removeRoute(prefix: string): void;
  /** Enters a neighbour as if it had answered. */
  learnNeighbor(port: number, address: string, mac: string): void;
  /**
   * Answers ARP and neighbour solicitations for an address that is not the node's own, such as a load balancer's: on one port, or
   * by default on every port that is no pod's. Announcing it again changes the port. Telling the link at once (gratuitous ARP) is
   * the caller's.
   *
   * @throws DataplaneError `INVALID_ROUTE` when it is no address or the port cannot exist, `MAP_FULL`
   */
  announceAddress(address: string, port?: number): void;
  /** Answers no more. Unknown addresses are ignored. */
  withdrawAddress(address: string): void;

  counters(): DataplaneCounters;
  /** Events since the last call. */
  events(): DataplaneEvent[];
  /**
   * All connections that have not expired. Cost: proportional to the most there ever were; the next packet of each that is established takes
   * the general path once.
   */
  connections(): ConnectionEntry[];
  /** Where the records of connections lie in {@link memory}, for who keeps them beyond the end of this dataplane. */
  readonly connectionRecords: Region;
  /**
   * Takes over connections from the records that another dataplane with the same clock left: their packets go where they went, whatever the
   * tables say now. They belong to no Service port any more, so that its counters and least-connection scheduling leave them out.
   *
   * @param records bytes of its {@link connectionRecords}
   * @param now seconds, as for {@link ingress}
   * @returns how many: those of sockets and expired ones are left out
   */
  restoreConnections(records: Uint8Array, now: number): number;
  /** Sets the clock and looks for expired connections. Batches do it too, a few records each. Returns how many were removed. */
  tick(now: number): number;
  size(): DataplaneSize;
}

/** Builds a dataplane around a module; the entry files differ in where the module comes from. */
export function buildDataplane(compile: () => WebAssemblyModule, options: DataplaneOptions): Dataplane {
  const memoryLayout = layOut(options.capacity);
  const machine = load(options.module ?? compile(), memoryLayout, options.memory);
  return new WebAssemblyDataplane(machine, options);
}

/** What the testing entry needs of a dataplane. */
export interface Internals {
  readonly machine: Machine;
  readonly tables: DataplaneServiceTables;
}

const internals = new WeakMap<Dataplane, Internals>();

/** Internals of a dataplane of this package, for `./testing.ts` alone. */
export function internalsOf(dataplane: Dataplane): Internals {
  const found = internals.get(dataplane);
  if (found === undefined) throw new TypeError("not a dataplane that this copy of the package created");
  return found;
}

const kinds: readonly (DataplaneEvent["kind"] | undefined)[] = [
  undefined,
  "connection",
  "drop",
  "reject",
  "closed",
  undefined,
];

class WebAssemblyDataplane implements Dataplane {
  readonly memory: WebAssemblyMemory;
  readonly exports: Machine["exports"];
  readonly descriptors: BatchDescriptors;
  readonly batchCapacity: number = BATCH;
  readonly frames: Region & { readonly count: number; readonly size: number };
  readonly reserved: Region;
  readonly #machine: Machine;
  readonly #tables: DataplaneServiceTables;
  readonly #node: NodeConfiguration;
  readonly #forwarding: Forwarding;
  readonly #packetAt: number;
  readonly #packetRoom: number;
  readonly #handles = new Map<number, number>();
  #nextHandle = 1;
  #now = 0;
  #trap: unknown;

  constructor(machine: Machine, options: DataplaneOptions) {
    this.#machine = machine;
    this.memory = machine.memory;
    this.exports = machine.exports;
    const { regions, capacity } = machine.layout;
    this.frames = { ...regions.frames, count: capacity.frames, size: FRAME_SIZE };
    this.reserved = regions.reserved;
    this.#packetAt = regions.packet.address;
    // The programs may write an ICMP error over the end of a packet.
    this.#packetRoom = regions.packet.length - FRAME_SIZE;
    const array = (i: number) =>
      machine.u32.subarray((DESCRIPTORS >> 2) + i * BATCH, (DESCRIPTORS >> 2) + (i + 1) * BATCH);
    this.descriptors = {
      frame: array(0),
      length: array(1),
      ingress: array(2),
      verdict: array(3),
      egress: array(4),
      reason: array(5),
      user: array(6),
    };
    const addresses = new AddressBook(machine);
    const prefixes = new PrefixTable(machine);
    this.#tables = new DataplaneServiceTables(machine);
    this.#node = new NodeConfiguration(machine, addresses, prefixes);
    this.#forwarding = new Forwarding(machine, addresses, prefixes);
    internals.set(this, { machine, tables: this.#tables });
    this.#initialize(options);
  }

  #initialize(options: DataplaneOptions): void {
    const { view, exports } = this.#machine;
    const put = (field: keyof typeof Control, value: number) => view.setUint32(CONTROL + Control[field], value, true);
    const [first, last] = options.masqueradePorts ?? [32768, 65535];
    if (!Number.isInteger(first) || !Number.isInteger(last) || first < 1 || last > 65535 || last < first) {
      throw new DataplaneError("INVALID_OPTION", `masqueradePorts [${first}, ${last}] is not a range in 1–65535`);
    }
    const [firstQuery, lastQuery] = options.masqueradeIdentifiers ?? [0, 65535];
    if (
      !Number.isInteger(firstQuery) ||
      !Number.isInteger(lastQuery) ||
      firstQuery < 0 ||
      lastQuery > 65535 ||
      lastQuery < firstQuery
    ) {
      throw new DataplaneError(
        "INVALID_OPTION",
        `masqueradeIdentifiers [${firstQuery}, ${lastQuery}] is not a range in 0–65535`,
      );
    }
    const rate = options.icmpErrorsPerSecond ?? 0;
    if (!Number.isInteger(rate) || rate < 0 || rate > 1_000_000) {
      throw new DataplaneError("INVALID_OPTION", `icmpErrorsPerSecond ${rate} is not in 0–1,000,000`);
    }
    const seed =
      options.seed ?? globals.crypto?.getRandomValues(new Uint32Array(1))[0] ?? Math.floor(Math.random() * 2 ** 32);
    put("seedLow", (Math.imul(seed, 0x9e3779b1) ^ 0x7f4a7c15) >>> 0);
    put("seedHigh", (Math.imul(seed ^ 0x85ebca6b, 0xc2b2ae35) ^ seed) >>> 0);
    view.setUint32(CONTROL + Control.randomState, seed >>> 0, true);
    view.setUint32(CONTROL + Control.randomState + 4, Math.imul(seed, 0x27d4eb2f) >>> 0, true);
    put("snatFirst", first);
    put("snatCount", last - first + 1);
    put("queryFirst", firstQuery);
    put("queryCount", lastQuery - firstQuery + 1);
    put("tcpLoose", (options.tcpLoose ?? true) ? 1 : 0);
    put("preserveSourcePort", options.preserveSourcePort ? 1 : 0);
    put("icmpRate", rate);
    put("icmpTokens", rate * 64);
    let mask = 0;
    for (const kind of options.events ?? ["connection", "drop", "reject"]) mask |= 1 << kinds.indexOf(kind);
    put("eventMask", mask);
    const timeouts = { ...kubeProxyTimeouts, ...options.timeouts };
    const tcp = [
      10,
      timeouts.tcpSynSent,
      timeouts.tcpSynReceived,
      timeouts.tcpEstablished,
      timeouts.tcpFinWait,
      timeouts.tcpCloseWait,
      timeouts.tcpLastAck,
      timeouts.tcpTimeWait,
      timeouts.tcpClose,
      timeouts.tcpSynSent2,
    ];
    const sctp = [
      10,
      timeouts.sctpClosed,
      timeouts.sctpCookieWait,
      timeouts.sctpCookieEchoed,
      timeouts.sctpEstablished,
      timeouts.sctpShutdownSent,
      timeouts.sctpShutdownReceived,
      timeouts.sctpShutdownAckSent,
      timeouts.sctpHeartbeatSent,
    ];
    const set = (index: number, seconds: number) => {
      if (!(seconds > 0) || seconds > 30_000_000)
        throw new DataplaneError("INVALID_OPTION", `a timeout of ${seconds} seconds is not in (0, 30,000,000]`);
      view.setUint32(TIMEOUTS + index * 4, Math.max(1, Math.round(seconds * TICKS_PER_SECOND)), true);
    };
    tcp.forEach((seconds, i) => {
      set(Timeout.TCP + i, seconds);
    });
    sctp.forEach((seconds, i) => {
      set(Timeout.SCTP + i, seconds);
    });
    set(Timeout.UDP, timeouts.udp);
    set(Timeout.UDP_STREAM, timeouts.udpStream);
    set(Timeout.ICMP, timeouts.icmp);
    set(Timeout.ICMPV6, timeouts.icmpv6);
    set(Timeout.GENERIC, timeouts.generic);
    set(Timeout.FRAGMENT4, timeouts.fragmentIPv4);
    set(Timeout.FRAGMENT6, timeouts.fragmentIPv6);
    exports.initialize();
    this.configureNode({ addresses: [], clusterCIDRs: [] });
  }

  configureNode(node: NodeSpec): void {
    this.#guard(() => this.#node.configure(node));
  }
  setServicePort(spec: ServicePortSpec): void {
    this.#guard(() => this.#tables.setServicePort(spec));
  }
  removeServicePort(id: string): void {
    this.#guard(() => this.#tables.removeServicePort(id));
  }
  replaceServicePorts(specs: readonly ServicePortSpec[]): void {
    this.#guard(() => this.#tables.replaceServicePorts(specs));
  }
  flushUdp(frontends: readonly FrontendSpec[], family: IPFamily, keep: readonly string[]): number {
    return this.#guard(() => flushUdp(this.#machine, frontends, family, keep));
  }
  setPort(index: number, port: PortSpec): void {
    this.#guard(() => this.#forwarding.setPort(index, port));
  }
  removePort(index: number): void {
    this.#guard(() => this.#forwarding.removePort(index));
  }
  setRoute(prefix: string, route: RouteSpec): void {
    this.#guard(() => this.#forwarding.setRoute(prefix, route));
  }
  removeRoute(prefix: string): void {
    this.#guard(() => this.#forwarding.removeRoute(prefix));
  }
  learnNeighbor(port: number, address: string, mac: string): void {
    this.#guard(() => this.#forwarding.learnNeighbor(port, address, mac));
  }
  announceAddress(address: string, port?: number): void {
    this.#guard(() => this.#forwarding.announceAddress(address, port));
  }
  withdrawAddress(address: string): void {
    this.#guard(() => this.#forwarding.withdrawAddress(address));
  }
  stageServicePorts(specs: readonly ServicePortSpec[]): ServicePortReplacement {
    const replacement = this.#guard(() => this.#tables.stageServicePorts(specs));
    return {
      get remaining() {
        return replacement.remaining;
      },
      prepare: (count) => this.#guard(() => replacement.prepare(count)),
      commit: () => this.#guard(() => replacement.commit()),
      settle: (count) => this.#guard(() => replacement.settle(count)),
      discard: () => this.#guard(() => replacement.discard()),
    };
  }

  process(packet: Uint8Array, options: ProcessOptions = {}): ProcessResult {
    return this.#run(packet, options, false);
  }

  processFrame(frame: Uint8Array, options: ProcessOptions & { readonly ingress: number }): ProcessResult {
    return this.#run(frame, options, true);
  }

  trace(packet: Uint8Array, options: ProcessOptions = {}): TraceStep[] {
    return this.#trace(packet, options, false);
  }

  traceFrame(frame: Uint8Array, options: ProcessOptions & { readonly ingress: number }): TraceStep[] {
    return this.#trace(frame, options, true);
  }

  connect(request: ConnectRequest): ConnectResult {
    const source = encodeAddress(request.source);
    const destination = encodeAddress(request.destination);
    if (source === undefined || destination === undefined || source.family !== destination.family)
      return { verdict: "PASS" };
    const protocol = { TCP: 6, UDP: 17, SCTP: 132 }[request.protocol];
    const { u32, view, exports } = this.#machine;
    writeAddress(u32, ARGUMENTS >> 2, source);
    writeAddress(u32, (ARGUMENTS + 16) >> 2, destination);
    view.setUint16(ARGUMENTS + 32, request.sourcePort ?? 0, false);
    view.setUint16(ARGUMENTS + 34, request.destinationPort, false);
    view.setUint32(ARGUMENTS + 36, protocol | (destination.family << 8), true);
    const verdict = this.#guard(() => exports.connect(this.#clock(request.now)));
    const reason = reasonName(exports.decisionReason());
    const servicePort = this.#tables.servicePortAt(exports.decisionServicePort())?.id;
    const common = {
      ...(reason === undefined ? {} : { reason }),
      ...(servicePort === undefined ? {} : { servicePort }),
    };
    if (verdict === Verdict.REJECT) return { verdict: "REJECT", ...common };
    if (verdict === Verdict.DROP) return { verdict: "DROP", ...common };
    if (verdict !== Verdict.TX) return { verdict: "PASS" };
    const slot = exports.decisionBackend();
    const name = this.#tables.backendAt(slot)?.name;
    const id = exports.connectHandle() >>> 0;
    let handle: number | undefined;
    if (id !== NONE) {
      handle = this.#nextHandle++;
      this.#handles.set(handle, id);
    }
    return {
      verdict: "ALLOW",
      ...common,
      backend: { ...backendText(this.#machine, slot), ...(name === undefined ? {} : { name }) },
      ...(handle === undefined ? {} : { handle }),
    };
  }

  release(handle: number): void {
    const id = this.#handles.get(handle);
    if (id === undefined) return;
    this.#handles.delete(handle);
    this.#guard(() => this.#machine.exports.release(id));
  }

  ingress(count: number, now: number): void {
    this.#batch(count, () => this.#machine.exports.ingress(count, this.#clock(now)));
  }

  counters(): DataplaneCounters {
    const { view, u32, layout } = this.#machine;
    const reasons: Partial<Record<DropReason, number>> = {};
    for (const [number, name] of dropReasons) {
      const value = Number(view.getBigUint64(DROP_COUNTERS + number * 8, true));
      if (value > 0) reasons[name] = value;
    }
    const control = (field: keyof typeof Control) => u32[(CONTROL + Control[field]) >> 2]!;
    const servicePorts: Record<string, ServicePortCounts> = {};
    this.#guard(() => this.#machine.exports.countConnections(0));
    for (const servicePort of this.#tables.servicePorts()) {
      const at = layout.regions.servicePorts.address + servicePort.index * ServicePort.SIZE;
      const big = (field: "bytes" | "replyBytes") => Number(view.getBigUint64(at + ServicePort[field], true));
      const count = (field: "packets" | "replyPackets" | "rejected" | "dropped" | "masqueraded") => {
        const high = at + ServicePort[`${field}High`];
        const isWide = field === "packets" || field === "replyPackets";
        return (
          view.getUint32(at + ServicePort[field], true) +
          (isWide ? view.getUint16(high, true) : view.getUint8(high)) * 2 ** 32
        );
      };
      const extension = view.getUint32(at + ServicePort.extension, true);
      const affinity = (field: "affinityHits" | "affinityMisses") =>
        extension === NONE
          ? 0
          : Number(
              view.getBigUint64(
                layout.regions.extensions.address + extension * ServicePortExtension.SIZE + ServicePortExtension[field],
                true,
              ),
            );
      const backends = this.#tables.backendSlots(servicePort.id).map(({ slot, spec }) => {
        const backendAt = layout.regions.backends.address + slot * Backend.SIZE;
        return {
          address: spec.address,
          port: spec.port,
          ...(spec.name === undefined ? {} : { name: spec.name }),
          active: view.getUint32(backendAt + Backend.active, true),
          inactive: view.getUint32(backendAt + Backend.inactive, true),
          connections:
            view.getUint32(backendAt + Backend.connections, true) +
            view.getUint8(backendAt + Backend.connectionsHigh) * 2 ** 32,
        };
      });
      servicePorts[servicePort.id] = {
        connections: backends.reduce(
          (sum, { connections }) => sum + connections,
          this.#tables.retiredConnections(servicePort.index),
        ),
        packets: count("packets"),
        bytes: big("bytes"),
        replyPackets: count("replyPackets"),
        replyBytes: big("replyBytes"),
        rejected: count("rejected"),
        dropped: count("dropped"),
        affinityHits: affinity("affinityHits"),
        affinityMisses: affinity("affinityMisses"),
        masqueraded: count("masqueraded"),
        backends,
      };
    }
    this.#guard(() => this.#machine.exports.countConnections(1));
    return {
      reasons,
      connections: {
        inserted: control("connectionsInserted"),
        evicted: control("connectionsEvicted"),
        expired: control("connectionsExpired"),
      },
      affinityEvicted: control("affinityEvicted"),
      eventsLost: control("eventsLost"),
      servicePorts,
    };
  }

  events(): DataplaneEvent[] {
    const { view, u8, u32, layout } = this.#machine;
    const head = u32[(CONTROL + Control.eventHead) >> 2]!;
    let tail = u32[(CONTROL + Control.eventTail) >> 2]!;
    const mask = u32[(CONTROL + Control.eventMaskIndex) >> 2]!;
    const events: DataplaneEvent[] = [];
    for (; tail !== head; tail = (tail + 1) >>> 0) {
      const at = layout.regions.events.address + (tail & mask) * Event.SIZE;
      const get = (field: keyof typeof Event) => view.getUint32(at + Event[field], true);
      const meta = get("meta");
      const family = meta >> 8;
      const reason = reasonName(get("reason"));
      const servicePort = this.#tables.servicePortAt(get("servicePort"))?.id;
      const slot = get("backend");
      const ingress = get("port");
      const known = family === 4 || family === 6;
      events.push({
        kind: kinds[get("kind")] ?? "drop",
        time: get("time") / TICKS_PER_SECOND,
        protocol: protocolName(meta & 0xff),
        family: known ? familyName(family) : undefined,
        source: known ? decodeAddress(u8, at + Event.sourceHigh, family) : "",
        sourcePort: view.getUint16(at + Event.ports, false),
        destination: known ? decodeAddress(u8, at + Event.destinationHigh, family) : "",
        destinationPort: view.getUint16(at + Event.ports + 2, false),
        ...(reason === undefined || get("kind") === EventKind.CONNECTION ? {} : { reason }),
        ...(servicePort === undefined ? {} : { servicePort }),
        ...(slot === NONE ? {} : { backend: this.#backendName(slot) }),
        ...(ingress === NONE ? {} : { ingress }),
      });
    }
    u32[(CONTROL + Control.eventTail) >> 2] = tail;
    return events;
  }

  connections(): ConnectionEntry[] {
    this.#guard(() => this.#machine.exports.unfoldConnections());
    const { view, u8, u32, layout } = this.#machine;
    const now = u32[(CONTROL + Control.now) >> 2]!;
    const highWater = u32[(CONTROL + Control.connectionHighWater) >> 2]!;
    const entries: ConnectionEntry[] = [];
    for (let i = 0; i < highWater; i++) {
      const at = layout.regions.connections.address + i * Connection.SIZE;
      const flags = view.getUint8(at + Connection.flags);
      if ((flags & ConnectionFlag.IN_USE) === 0) continue;
      const left = (view.getUint32(at + Connection.expires, true) - now) | 0;
      if (left <= 0) continue;
      const meta = view.getUint16(at + Connection.meta, true);
      const family = meta >> 8;
      const tuple = (from: number): Tuple => ({
        source: decodeAddress(u8, from, family),
        sourcePort: view.getUint16(from + Connection.ports, false),
        destination: decodeAddress(u8, from + Connection.destinationHigh, family),
        destinationPort: view.getUint16(from + Connection.ports + 2, false),
      });
      const servicePort = this.#tables.servicePortAt(view.getUint32(at + Connection.servicePort, true))?.id;
      const slot = view.getUint32(at + Connection.backend, true);
      const reply = tuple(at + Connection.replySourceHigh);
      entries.push({
        protocol: protocolName(meta & 0xff),
        family: familyName(family),
        original: tuple(at),
        reply,
        state: stateName(meta & 0xff, view.getUint8(at + Connection.state)),
        expiresIn: left / TICKS_PER_SECOND,
        replied: (flags & ConnectionFlag.REPLIED) !== 0,
        assured: (flags & ConnectionFlag.ASSURED) !== 0,
        socket: (flags & ConnectionFlag.SOCKET) !== 0,
        ...(servicePort === undefined ? {} : { servicePort }),
        ...(slot === NONE
          ? {}
          : {
              backend: reply.source.includes(":")
                ? `[${reply.source}]:${reply.sourcePort}`
                : `${reply.source}:${reply.sourcePort}`,
            }),
        packets: view.getUint32(at + Connection.packets, true),
        bytes: Number(view.getBigUint64(at + Connection.bytes, true)),
        replyPackets: view.getUint32(at + Connection.replyPackets, true),
        replyBytes: Number(view.getBigUint64(at + Connection.replyBytes, true)),
      });
    }
    return entries;
  }

  get connectionRecords(): Region {
    return this.#machine.layout.regions.connections;
  }

  restoreConnections(records: Uint8Array, now: number): number {
    const { u8, exports } = this.#machine;
    const step = Math.floor(this.#packetRoom / Connection.SIZE) * Connection.SIZE;
    let restored = 0;
    for (let from = 0; from + Connection.SIZE <= records.length; from += step) {
      const part = records.subarray(from, from + step);
      u8.set(part, this.#packetAt);
      const count = Math.floor(part.length / Connection.SIZE);
      restored += this.#guard(() => exports.restoreConnections(this.#packetAt, count, this.#clock(now)));
    }
    return restored;
  }

  tick(now: number): number {
    const { u32 } = this.#machine;
    const highWater = u32[(CONTROL + Control.connectionHighWater) >> 2]!;
    return this.#guard(() => this.#machine.exports.collect(Math.max(1024, highWater >> 3), this.#clock(now)));
  }

  size(): DataplaneSize {
    return {
      connections: this.#machine.u32[(CONTROL + Control.connectionCount) >> 2]!,
      ...this.#tables.size,
      memory: this.#machine.memory.buffer.byteLength,
    };
  }

  #backendName(slot: number): string {
    const { address, port } = backendText(this.#machine, slot);
    return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  }

  /** Ticks of a time in seconds, modulo 2^32; remembers it. */
  #clock(now: number | undefined): number {
    if (now !== undefined && Number.isFinite(now)) this.#now = now;
    return Math.floor(this.#now * TICKS_PER_SECOND) >>> 0;
  }

  #run(packet: Uint8Array, options: ProcessOptions, link: boolean): ProcessResult {
    if (packet.length > this.#packetRoom) return { verdict: "DROP", reason: "bad-total-length" };
    const { u8, exports } = this.#machine;
    u8.set(packet, this.#packetAt);
    const now = this.#clock(options.now);
    const ingress = options.ingress ?? NONE;
    const verdict = this.#guard(() => {
      try {
        return link
          ? exports.processFrame(this.#packetAt, packet.length, ingress, now)
          : exports.processPacket(this.#packetAt, packet.length, ingress, now);
      } catch (error) {
        this.#detachTrapped(error);
        return undefined;
      }
    });
    if (verdict === undefined) return { verdict: "ABORTED", reason: "program-aborted" };
    const number = exports.resultReason();
    const reason = reasonName(number);
    const why = reason === undefined ? {} : { reason };
    if (verdict === Verdict.DROP || verdict === Verdict.ABORTED)
      return { verdict: verdictName(verdict, number), ...why };
    const egress = exports.resultEgress() >>> 0;
    const sends = verdict === Verdict.TX || verdict === Verdict.REDIRECT;
    return {
      verdict: verdictName(verdict, number),
      ...why,
      packet: u8.slice(this.#packetAt, this.#packetAt + exports.resultLength()),
      ...(sends && egress !== NONE ? { egress } : {}),
    };
  }

  #trace(packet: Uint8Array, options: ProcessOptions, link: boolean): TraceStep[] {
    const { u32, exports, view } = this.#machine;
    const before = this.#now;
    const clock = view.getUint32(CONTROL + Control.now, true);
    const random = view.getBigUint64(CONTROL + Control.randomState, true);
    exports.setTracing(1);
    try {
      this.#run(packet, options, link);
      return decodeTrace(this.#machine, this.#tables, u32[(CONTROL + Control.traceCount) >> 2]!);
    } finally {
      if (this.#trap === undefined) exports.setTracing(0);
      view.setBigUint64(CONTROL + Control.randomState, random, true);
      view.setUint32(CONTROL + Control.now, clock, true);
      this.#now = before;
    }
  }

  /** A user's program that traps is detached: its frame is aborted, and the batch goes on. */
  #batch(count: number, call: () => void): void {
    this.#guard(() => {
      try {
        call();
        return;
      } catch (error) {
        const trapped = this.#detachTrapped(error);
        if (trapped.hook === ProgramHook.AFTER) return;
        const { frame } = trapped;
        this.descriptors.verdict[frame] = Verdict.ABORTED;
        this.descriptors.reason[frame] = Reason.PROGRAM_ABORTED;
        this.#batch(count, () => this.#machine.exports.resumeIngress(count, frame + 1));
      }
    });
  }

  /** Detaches the program that was running when an error came up; throws the error again when there was none. */
  #detachTrapped(error: unknown): { readonly hook: number; readonly frame: number } {
    const { u32 } = this.#machine;
    const control = (field: keyof typeof Control) => (CONTROL + Control[field]) >> 2;
    const slot = u32[control("programRunning")]! - 1;
    if (slot < 0 || !(error instanceof globals.WebAssembly.RuntimeError || error instanceof RangeError)) throw error;
    u32[control("programRunning")] = 0;
    const at = (PROGRAM_SLOTS + slot * ProgramSlot.SIZE) >> 2;
    const hook = u32[at + ProgramSlot.hook / 4]!;
    u32[at + ProgramSlot.hook / 4] = ProgramHook.NONE;
    u32[at + ProgramSlot.aborted / 4]!++;
    for (const mask of [control("programsBefore"), control("programsAfter")]) u32[mask] = u32[mask]! & ~(1 << slot);
    u32[(DROP_COUNTERS + Reason.PROGRAM_ABORTED * 8) >> 2]!++;
    return { hook, frame: u32[control("programFrame")]! };
  }

  /** After a trap the memory may be half changed: the instance says so ever after. */
  #guard<T>(call: () => T): T {
    if (this.#trap !== undefined) {
      throw new DataplaneError("TRAPPED", "the module trapped before; create another dataplane", { cause: this.#trap });
    }
    try {
      return call();
    } catch (error) {
      if (!(error instanceof globals.WebAssembly.RuntimeError)) throw error;
      this.#trap = error;
      throw new DataplaneError("TRAPPED", "the module trapped: this is a bug; create another dataplane", {
        cause: error,
      });
    }
  }
}
