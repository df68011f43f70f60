import { Checksum } from "./checksum";
import { Conntrack } from "./conntrack";
import { Descriptors } from "./descriptors";
import {
  Connection,
  ConnectionFlag,
  EventKind,
  FrontendKind,
  MAPPED,
  NO_HOP,
  NONE,
  Parsed,
  ParsedFlag,
  Prefix,
  Reason,
  RouteFlag,
  Scheduler,
  ServicePort,
  ServicePortFlag,
  TcpState,
  Timeout,
} from "./generated/layout";
import { Hash } from "./hash";
import { Addresses } from "./maps/addresses";
import { Backends } from "./maps/backends";
import { ConnectionIndex } from "./maps/connection-index";
import { Events } from "./maps/events";
import { Frontends } from "./maps/frontends";
import { Tables } from "./maps/tables";
import { Lookup } from "./lookup";
import { HELD, Plain } from "./plain";
import { Random } from "./random";
import { Schedule } from "./schedule";

/** What was looked up ahead for a packet that no connection claims: scratch of a run. */
@unmanaged
export class NewFlow {
  /** Address of the packet's `Parsed`. */
  parsed: u32;
  /** Address of the frontend's line, then of the frontend itself, or 0. */
  frontend: u32;
  /** Id of the Service port. */
  servicePort: u32;
  /** Id of the backend that is picked if the generator is in state `random` after that; none when there are no endpoints. */
  backend: u32;
  /** Of the reply tuple with that backend: the line of the index, and the tag in it. */
  replyBucket: u32;
  replyTag: u32;
  /** As it is when packets of this run draw in order, and nothing else does. */
  random: u64;
}

/** Flags, scheduler and affinity, as they lie at the beginning of a Service port's record; and those of most. */
const SETTINGS: u64 = 0xffffffff0000ff00 | <u64>(ServicePortFlag.HAS_ANY | ServicePortFlag.INTERNAL_LOCAL);
const PLAIN_SETTINGS: u64 = <u64>(ServicePortFlag.HAS_ANY | (Scheduler.RANDOM << 8));

/** Frames that are worked on together: their parse results, and these, stay in the first-level cache. */
export const RUN: u32 = 64;
const NEW_FLOWS: usize = memory.data(RUN * 32, 16);

/**
 * The first packets of most connections: whole IPv4 packets without options to a cluster IP whose endpoints are picked at random,
 * from a pod to an endpoint behind a known route. What the decision about them needs is looked up for a whole run, in loops that
 * each touch what the next reads, since Wasm has no prefetch; then `open` makes the connection as the general path would have, or
 * leaves packet and tables untouched to it.
 */
export class NewFlows {
  /** Notes a packet of the run that no connection claims: number `k`. */
  @inline static note(k: u32, parsed: u32): void {
    changetype<NewFlow>(NEW_FLOWS + <usize>k * offsetof<NewFlow>()).parsed = parsed;
  }

  /** Looks ahead for the first `count` of them. Tables stay as they are during a batch; which backend it is, is a guess. */
  static lookAhead(count: u32): void {
    const control = Tables.control;
    let sink: u32 = 0;
    let end = NEW_FLOWS + <usize>count * offsetof<NewFlow>();
    let kept = NEW_FLOWS;
    for (let at = NEW_FLOWS; at < end; at += offsetof<NewFlow>()) {
      const parsed = changetype<NewFlow>(at).parsed;
      const p = changetype<Parsed>(<usize>parsed);
      let line: usize;
      if (p.plain != 0) {
        if (p.plain == HELD) continue;
        line = Frontends.at(0, (p.addresses & 0xffffffff00000000) | <u64>MAPPED);
      } else {
        if ((p.flags & ParsedFlag.PORTS) == 0 || p.reason != Reason.NONE) continue;
        line = Frontends.at(p.destinationHigh, p.destinationLow);
      }
      sink += load<u32>(line);
      const flow = changetype<NewFlow>(kept);
      flow.parsed = parsed;
      flow.frontend = <u32>line;
      kept += offsetof<NewFlow>();
    }
    end = kept;
    kept = NEW_FLOWS;
    for (let at = NEW_FLOWS; at < end; at += offsetof<NewFlow>()) {
      const parsed = changetype<NewFlow>(at).parsed;
      const line = <usize>changetype<NewFlow>(at).frontend;
      const p = changetype<Parsed>(<usize>parsed);
      const key = Frontends.key(p.ports >> 16, p.meta);
      let found: usize;
      if (p.plain != 0) {
        found = Frontends.first(line, <u32>(p.addresses >> 32), key);
        if (found == 0) found = Frontends.findFrom(line, 0, (p.addresses & 0xffffffff00000000) | <u64>MAPPED, key);
        if (found == 0) continue;
        p.frontend = <u32>kept;
      } else {
        found = Frontends.findFrom(line, p.destinationHigh, p.destinationLow, key);
        p.frontend = <u32>found;
        if (found == 0) continue;
      }
      const servicePort = Frontends.servicePort(found);
      sink += load<u32>(changetype<usize>(Tables.servicePort(servicePort)));
      const flow = changetype<NewFlow>(kept);
      flow.parsed = parsed;
      flow.frontend = <u32>found;
      flow.servicePort = servicePort;
      kept += offsetof<NewFlow>();
    }
    let random = control.randomState;
    let free = control.connectionFree + (control.connectionFreeCount << 2);
    for (let at = NEW_FLOWS; at < kept; at += offsetof<NewFlow>()) {
      const flow = changetype<NewFlow>(at);
      const set = Schedule.set(Tables.servicePort(flow.servicePort), 0);
      const members = set.count;
      if (members == 0) {
        flow.backend = NONE;
        continue;
      }
      random = Random.after(random);
      flow.random = random;
      const backendId = Schedule.member(set, Random.scale(Random.bits(random), members));
      flow.backend = backendId;
      if (free > control.connectionFree) {
        free -= 4;
        const record = changetype<usize>(Tables.connection(load<u32>(<usize>free)));
        sink += load<u32>(record) + load<u32>(record, 64);
      }
      const p = changetype<Parsed>(<usize>flow.parsed);
      const backend = Tables.backend(backendId);
      const ports = <u32>backend.port | (p.ports << 16);
      const hash =
        p.plain != 0
          ? Hash.v4(<u64>backend.address | (p.addresses << 32), ports, p.meta)
          : Hash.tuple(Backends.high(backend), Backends.low(backend), p.sourceHigh, p.sourceLow, ports, p.meta);
      const bucket = ConnectionIndex.bucket(ConnectionIndex.home(hash));
      flow.replyBucket = <u32>bucket;
      flow.replyTag = ConnectionIndex.tag(hash);
      sink += load<u32>(bucket);
    }
    control.sink = sink;
  }

  static draw(servicePort: ServicePort, random: u64): u32 {
    const set = Schedule.set(servicePort, 0);
    return Schedule.member(set, Random.scale(Random.bits(random), set.count));
  }

  /** Opens a connection for a plain packet that was looked ahead for, and forwards it. False: nothing was changed. */
  static open(p: Parsed, descriptor: usize): bool {
    const control = Tables.control;
    const flow = changetype<NewFlow>(<usize>p.frontend);
    const servicePortId = flow.servicePort;
    const servicePort = Tables.servicePort(servicePortId);
    if ((load<u64>(changetype<usize>(servicePort)) & SETTINGS) != PLAIN_SETTINGS) return false;
    if (Frontends.kind(flow.frontend) != FrontendKind.CLUSTER_IP) return false;
    if (control.masqueradeAll != 0) return false;
    const f = <usize>Descriptors.frameOf(descriptor);
    const meta = p.meta;
    const isTcp = meta == (6 | (4 << 8));
    if (isTcp && (<u32>load<u8>(f, 47) & 0x17) != 0x02) return false;
    const source = <u32>p.addresses;
    const destination = <u32>(p.addresses >> 32);
    if (control.detector != 0 && !Addresses.isPodV4(source)) return false;

    const random = Random.after(control.randomState);
    if (flow.backend == NONE) return false;
    const isForeseen = random == flow.random;
    const backendId = isForeseen ? flow.backend : NewFlows.draw(servicePort, random);
    const backend = Tables.backend(backendId);
    if (!Schedule.isAvailable(backend) || !Backends.isForwarded(backend)) return false;
    const hop = <u32>backend.hop;
    const route = changetype<Prefix>(<usize>(control.prefixes + (hop << 6)));
    if ((route.flags & RouteFlag.NEXT_HOP_MAC) == 0) return false;
    const total = p.total;
    const address = backend.address;
    if (total > <u32>route.mtu || address == source) return false;

    // Neither tuple is known, and both have room in the line that their hash says.
    const ports = p.ports;
    const replyPorts = <u32>backend.port | (ports << 16);
    if (!isForeseen) {
      const reply = Hash.v4(<u64>address | ((<u64>source) << 32), replyPorts, meta);
      flow.replyBucket = <u32>ConnectionIndex.bucket(ConnectionIndex.home(reply));
      flow.replyTag = ConnectionIndex.tag(reply);
    }
    const bucket = <usize>p.bucket;
    const replyBucket = <usize>flow.replyBucket;
    const tag = ConnectionIndex.tag(p.hash);
    const replyTag = flow.replyTag;
    if (bucket == replyBucket) return false;
    const vacancy = ConnectionIndex.vacancy(bucket, tag);
    if (vacancy == 0) return false;
    const replyVacancy = ConnectionIndex.vacancy(replyBucket, replyTag);
    if (replyVacancy == 0) return false;

    const id = Conntrack.allocateFree();
    if (id == NONE) return false;
    control.randomState = random;
    ConnectionIndex.enter(bucket, vacancy, tag, id << 1);
    ConnectionIndex.enter(replyBucket, replyVacancy, replyTag, (id << 1) | 1);
    control.connectionCount++;
    control.connectionsInserted++;

    const now = control.now;
    const addresses = <u64>~destination + <u64>address;
    const networkDelta = Checksum.fold(addresses);
    const transportDelta = Checksum.fold(addresses + <u64>~ports + <u64>replyPorts);
    const c = Tables.connection(id);
    const sourceLow = ((<u64>source) << 32) | <u64>MAPPED;
    const destinationLow = ((<u64>destination) << 32) | <u64>MAPPED;
    c.sourceHigh = 0;
    c.sourceLow = sourceLow;
    c.destinationHigh = 0;
    c.destinationLow = destinationLow;
    // Neighbouring fields, as layout.mjs draws them, in one store each.
    const record = changetype<usize>(c);
    store<u64>(record, <u64>ports | ((<u64>(meta | (hop << 16))) << 32), offsetof<Connection>("ports"));
    // With the first packet's count.
    store<u64>(record, <u64>(networkDelta | (transportDelta << 16)) | (1 << 32), offsetof<Connection>("networkDelta"));
    c.bytes = <u64>total;
    c.replySourceHigh = 0;
    c.replySourceLow = ((<u64>address) << 32) | <u64>MAPPED;
    c.replyDestinationHigh = 0;
    c.replyDestinationLow = sourceLow;
    store<u64>(
      record,
      <u64>replyPorts | ((<u64>((now & 0xffff) | (NO_HOP << 16))) << 32),
      offsetof<Connection>("replyPorts"),
    );
    store<u64>(record, <u64>servicePortId | ((<u64>backendId) << 32), offsetof<Connection>("servicePort"));
    store<u64>(record, Lookup.generation(backend, servicePort), offsetof<Connection>("generation"));
    c.replyBytes = 0;
    Backends.countConnection(backend);
    let expires = now;
    let state: u32 = (ConnectionFlag.IN_USE | ConnectionFlag.DESTINATION_NAT | ConnectionFlag.COUNTED) << 8;
    if (isTcp) {
      state |= TcpState.SYN_SENT | (ConnectionFlag.ACTIVE << 8);
      backend.active++;
      expires += Conntrack.timeout(Timeout.TCP + TcpState.SYN_SENT);
    } else {
      backend.inactive++;
      expires += Conntrack.timeout(Timeout.UDP);
    }
    state |= control.hopGeneration << 16;
    store<u64>(record, <u64>expires | ((<u64>state) << 32), offsetof<Connection>("expires"));
    if (Events.wanted(EventKind.CONNECTION)) {
      Events.write(
        EventKind.CONNECTION,
        Reason.NONE,
        0,
        sourceLow,
        0,
        destinationLow,
        ports,
        meta,
        servicePortId,
        backendId,
        Descriptors.ingressOf(descriptor),
      );
    }

    store<u32>(f, address, 30);
    store<u16>(f, <u16>replyPorts, 36);
    Plain.repair(f, isTcp, transportDelta);
    Plain.send(f, descriptor, route, Plain.headerDelta(networkDelta));
    return true;
  }
}
