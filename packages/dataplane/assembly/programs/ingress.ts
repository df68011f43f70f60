import { Checksum } from "../checksum";
import { Conntrack, Tracking } from "../conntrack";
import { Descriptors } from "../descriptors";
import { Emit, Icmp, Neighbors, Routes } from "../emit";
import {
  Backend,
  Connection,
  ConnectionFlag,
  DROP_COUNTERS,
  EventKind,
  Fragment,
  MasqueradeReason,
  NO_HOP,
  NONE,
  Parsed,
  PARSED,
  ParsedFlag,
  Prefix,
  PrefixScope,
  Reason,
  RouteFlag,
  Step,
  Verdict,
} from "../generated/layout";
import { Hash } from "../hash";
import { Decision, Lookup } from "../lookup";
import { Addresses } from "../maps/addresses";
import { AffinityMap } from "../maps/affinity";
import { Backends } from "../maps/backends";
import { ConnectionIndex } from "../maps/connection-index";
import { Events } from "../maps/events";
import { Fragments } from "../maps/fragments";
import { Frontends } from "../maps/frontends";
import { Prefixes } from "../maps/prefixes";
import { ServicePorts } from "../maps/service-ports";
import { SteadyLines } from "../maps/steady-lines";
import { Tables } from "../maps/tables";
import { Nat } from "../nat";
import { NewFlow, NewFlows, RUN } from "../new-flows";
import { Parse } from "../parse";
import { EVENTFUL, HELD, Hops, Plain } from "../plain";
import { Random } from "../random";
import { Schedule } from "../schedule";
import { Touch } from "../touch";
import { Trace } from "../trace";
import { UserPrograms } from "./user-programs";

/** Scratch of a run: addresses of `Parsed`. */
const DOUBTFUL: usize = memory.data(RUN * 4, 16);

/** The program for packets: from a frame to its verdict. */
export class Ingress {
  @inline static parsed(i: u32): Parsed {
    return changetype<Parsed>(<usize>(PARSED + (i << 7)));
  }

  /**
   * A batch of frames, in runs of 64, and each run in loops: parse and hash all, touch the index line of each, find and touch the line of
   * the record of each, resolve each. The touching makes the cache misses of a run overlap; what a run needs stays in the first-level
   * cache. Users' programs look at the batch from frame `from` on: more than 0 when it goes on after one of them trapped.
   */
  static batch(count: u32, from: u32): void {
    const control = Tables.control;
    const filtered = (control.programsBefore | from) != 0;
    if (filtered) UserPrograms.beforeBatch(from, count);
    Hops.refresh();
    for (let start: u32 = 0; start < count; start += RUN) Ingress.run(start, min<u32>(count - start, RUN), filtered);
    if (control.programsAfter != 0) UserPrograms.afterBatch(count);
  }

  static run(start: u32, count: u32, filtered: bool): void {
    const end = PARSED + (count << 7);
    let at = Descriptors.at(start);
    let touched = Touch.first;
    for (let slot = PARSED; slot < end; slot += 128) {
      const p = changetype<Parsed>(<usize>slot);
      if (!Plain.parse(p, at)) Ingress.parse(p, at);
      touched = Touch.note(touched, p.bucket);
      at += 4;
    }
    if (filtered) {
      for (let k: u32 = 0; k < count; k++) if (Descriptors.verdict(start + k) != NONE) Plain.hold(Ingress.parsed(k));
    }
    let sink = Touch.all(touched);
    touched = Touch.first;
    let newFlows: u32 = 0;
    let doubtful: u32 = 0;
    for (let slot = PARSED; slot < end; slot += 128) {
      const p = changetype<Parsed>(<usize>slot);
      const bucket = <usize>p.bucket;
      const matches = ConnectionIndex.matches(bucket, ConnectionIndex.tag(p.hash));
      if (matches != 0) {
        const reference = ConnectionIndex.at(bucket, matches);
        p.candidate = reference;
        // A reference is the number of a line. A plain packet needs no more of the record when the connection is established.
        const line = Tables.control.connections + (reference << 6);
        touched = Touch.note(touched, line);
        if (p.plain - 1 >= EVENTFUL - 1) touched = Touch.note(touched, line ^ 64);
        if ((matches & (matches - 1)) != 0) Ingress.note(doubtful++, slot);
      } else {
        p.frontend = 0;
        if (load<u8>(bucket, 12) == 0) NewFlows.note(newFlows++, slot);
        else {
          touched = Touch.note(touched, <u32>ConnectionIndex.other(p.hash));
          Ingress.note(doubtful++, slot);
        }
      }
    }
    sink += Touch.all(touched);
    if (doubtful != 0) sink += Ingress.lookAgain(doubtful);
    Tables.control.sink = sink;
    if (newFlows != 0) NewFlows.lookAhead(newFlows);
    at = Descriptors.at(start);
    for (let slot = PARSED; slot < end; slot += 128) {
      const p = changetype<Parsed>(<usize>slot);
      if (p.plain == 0 || !Plain.forward(p, at)) Ingress.resolve(p, at);
      at += 4;
    }
  }

  @inline static note(k: u32, parsed: u32): void {
    store<u32>(DOUBTFUL + ((<usize>k) << 2), parsed);
  }

  /**
   * Those of a run that more than one entry of their index line may mean, or one of their other line: without this look each of them
   * would wait for memory alone. Returns a sum, for the sink.
   */
  static lookAgain(count: u32): u32 {
    let sink: u32 = 0;
    for (let k: u32 = 0; k < count; k++) {
      const p = changetype<Parsed>(<usize>load<u32>(DOUBTFUL + ((<usize>k) << 2)));
      if (p.plain == 0) continue;
      const tag = ConnectionIndex.tag(p.hash);
      if (p.candidate != NONE) {
        p.candidate = ConnectionIndex.plain(<usize>p.bucket, tag, p.addresses, p.ports);
        continue;
      }
      const other = ConnectionIndex.other(p.hash);
      const matches = ConnectionIndex.matches(other, tag);
      if (matches == 0) continue;
      p.candidate = ConnectionIndex.at(other, matches);
      sink += load<u32>(<usize>Tables.control.connections + ((<usize>p.candidate) << 6));
    }
    return sink;
  }

  /** One frame or packet alone, users' programs included. */
  static single(p: Parsed, frame: u32, length: u32, port: u32, link: u32): u32 {
    const control = Tables.control;
    const context = UserPrograms.context;
    Hops.refresh();
    let verdict: u32 = Verdict.PASS;
    if (control.programsBefore != 0 && !control.tracing) {
      UserPrograms.present(frame, length, port, link);
      verdict = UserPrograms.before();
      length = context.length;
      p.frame = frame;
      p.length = length;
      p.egress = context.egress;
      p.reason = context.reason;
    }
    if (verdict == Verdict.PASS) {
      if (link) Parse.frame(p, frame, length, port);
      else Parse.packet(p, frame, length, port);
      Trace.step(Step.PARSED, p.reason, p.meta, p.flags);
      verdict = Ingress.handle(p);
    }
    if (control.programsAfter != 0 && !control.tracing) {
      UserPrograms.present(frame, p.length, port, link);
      verdict = UserPrograms.after(verdict, p.egress, p.reason);
      p.length = context.length;
      p.egress = context.egress;
      p.reason = context.reason;
    }
    Trace.step(Step.VERDICT, verdict, p.reason, p.egress);
    return verdict;
  }

  static parse(p: Parsed, at: usize): void {
    Parse.frame(p, Descriptors.frameOf(at), Descriptors.lengthOf(at), Descriptors.ingressOf(at));
    p.bucket = <u32>ConnectionIndex.bucket(ConnectionIndex.home(p.hash));
  }

  /** A packet that could not take the short cut at once. */
  static resolve(p: Parsed, at: usize): void {
    if (p.plain != 0) {
      if (p.plain == HELD) return;
      // Only of packets without a candidate was it looked for.
      const flow = p.candidate == NONE ? p.frontend : 0;
      if (flow != 0 && NewFlows.open(p, at)) return;
      if (p.plain != EVENTFUL && Plain.retry(p, at)) return;
      Plain.complete(p, at, flow == 0 ? 0 : changetype<NewFlow>(<usize>flow).frontend);
    }
    const verdict = Ingress.handle(p);
    Descriptors.resolve(at, verdict, p.egress, p.length, p.reason);
  }

  /** One parsed packet, from its connection to its verdict. */
  static handle(p: Parsed): u32 {
    // Whole packets of transports with ports, well-formed: nearly all there are.
    if ((p.flags & ~(ParsedFlag.ETHERNET | ParsedFlag.DONT_FRAGMENT)) == ParsedFlag.PORTS && p.reason == Reason.NONE) {
      // The touch loop's guess, if it still holds: records may have come and gone since.
      if (p.candidate != NONE && ConnectionIndex.isFor(p.candidate, p)) return Ingress.established(p, p.candidate);
      const reference = ConnectionIndex.find(
        p.hash,
        p.sourceHigh,
        p.sourceLow,
        p.destinationHigh,
        p.destinationLow,
        p.ports,
        p.meta,
      );
      return reference == NONE ? Ingress.newConnection(p) : Ingress.established(p, reference);
    }
    return Ingress.unusual(p);
  }

  static unusual(p: Parsed): u32 {
    if (p.reason != Reason.NONE) return Emit.drop(p, p.reason);
    if ((p.flags & ParsedFlag.ARP) != 0) return Neighbors.arp(p);
    if ((p.flags & ParsedFlag.NEIGHBOR_DISCOVERY) != 0) {
      if ((p.flags & ParsedFlag.ETHERNET) != 0) return Neighbors.discovery(p);
    }
    const family = p.meta >> 8;
    if (Addresses.isMulticast(p.sourceHigh, p.sourceLow, family)) return Emit.drop(p, Reason.INVALID_SOURCE);
    if ((p.flags & (ParsedFlag.ETHERNET | ParsedFlag.BROADCAST)) == (ParsedFlag.ETHERNET | ParsedFlag.BROADCAST)) {
      // Nothing is forwarded from group addresses.
      return Emit.drop(p, Reason.MULTICAST);
    }
    if ((p.flags & ParsedFlag.LATER_FRAGMENT) != 0) return Ingress.laterFragment(p);
    if ((p.flags & ParsedFlag.ICMP_ERROR) != 0) return Ingress.icmpError(p);
    if ((p.flags & (ParsedFlag.PORTS | ParsedFlag.ICMP_QUERY)) != 0) {
      const reference = ConnectionIndex.find(
        p.hash,
        p.sourceHigh,
        p.sourceLow,
        p.destinationHigh,
        p.destinationLow,
        p.ports,
        p.meta,
      );
      if (reference != NONE) return Ingress.established(p, reference);
    }
    return Ingress.newConnection(p);
  }

  /** A packet of a known connection, in either direction. */
  @inline static established(p: Parsed, reference: u32): u32 {
    const control = Tables.control;
    const id = reference >> 1;
    const direction = reference & 1;
    const c = Tables.connection(id);
    if (Conntrack.isExpired(c)) {
      if (!control.tracing) {
        Conntrack.remove(id);
        control.connectionsExpired++;
      }
      return Ingress.newConnection(p);
    }
    SteadyLines.leave(c);
    const line = changetype<usize>(c) + ((<usize>direction) << 6);
    const other = line ^ 64;
    const destinationHigh = load<u64>(other);
    const destinationLow = load<u64>(other, 8);
    const sourceHigh = load<u64>(other, 16);
    const sourceLow = load<u64>(other, 24);
    const ports = Nat.swap(load<u32>(other, 32));
    if (control.tracing) {
      const outcome = Ingress.traceTracking(p, c, id, direction);
      if (outcome == Tracking.INVALID) return Emit.drop(p, Reason.INVALID_CONNECTION_STATE);
      if (outcome == Tracking.RESTART) {
        Trace.step(Step.REOPENED, id, 0, 0);
        return Ingress.newConnection(p);
      }
    } else {
      const outcome = Conntrack.track(c, id, direction, p.tcpFlags);
      if (outcome != Tracking.ACCEPT) {
        if (outcome == Tracking.INVALID) return Emit.drop(p, Reason.INVALID_CONNECTION_STATE);
        Conntrack.remove(id);
        return Ingress.newConnection(p);
      }
    }
    const stop = Emit.route(p, destinationHigh, destinationLow);
    if (stop != 0) return stop;
    if ((p.flags & ParsedFlag.FIRST_FRAGMENT) != 0) {
      if ((p.meta & 0xff) == 132 && ports != p.ports) return Emit.drop(p, Reason.SCTP_FRAGMENT_PORT);
      Fragments.learn(p, id, direction, c.created);
    }
    if (!control.tracing) {
      Conntrack.tally(line, p.end - p.network);
      Hops.remember(p, c, direction);
    } else Ingress.traceRewrite(c, direction);
    const mask: u32 = 0xffff & (0 - direction);
    Nat.rewrite(
      p,
      sourceHigh,
      sourceLow,
      destinationHigh,
      destinationLow,
      ports,
      <u32>c.networkDelta ^ mask,
      <u32>c.transportDelta ^ mask,
    );
    return Emit.send(p, destinationHigh, destinationLow);
  }

  static traceTracking(p: Parsed, c: Connection, id: u32, direction: u32): u32 {
    // The state machine runs on the record, which is put back afterwards.
    const copy = <usize>(PARSED + (255 << 7));
    memory.copy(copy, changetype<usize>(c), 128);
    c.flags &= ~(<u8>ConnectionFlag.COUNTED);
    const outcome = Conntrack.track(c, id, direction, p.tcpFlags);
    memory.copy(changetype<usize>(c), copy, 128);
    Trace.step(Step.CONNTRACK_HIT, id, direction | (outcome << 8), c.state);
    if (c.servicePort != NONE) Trace.step(Step.FRONTEND, c.servicePort, 0, 1);
    return outcome;
  }

  static traceRewrite(c: Connection, direction: u32): void {
    const id = <u32>((changetype<usize>(c) - <usize>Tables.control.connections) >> 7);
    if ((c.flags & <u8>ConnectionFlag.DESTINATION_NAT) != 0) Trace.step(Step.DNAT, c.backend, direction, id);
    if ((c.flags & <u8>ConnectionFlag.SOURCE_NAT) != 0)
      Trace.step(Step.SNAT, <u32>bswap<u16>(<u16>(c.replyPorts >> 16)), direction, id);
  }

  /** A packet that no connection claims: decide, and if it is Service traffic, make a connection of it. */
  static newConnection(p: Parsed): u32 {
    const control = Tables.control;
    if (p.frontend == 0 && Routes.isPlain(p.destinationHigh, p.destinationLow) && !control.tracing)
      return Ingress.notService(p);
    Trace.step(Step.CONNTRACK_MISS, 0, 0, 0);
    Lookup.decide(p.sourceHigh, p.sourceLow, p.destinationHigh, p.destinationLow, p.ports, p.meta, p.frontend);
    const servicePort = Decision.servicePort;
    if (Decision.verdict == Verdict.PASS) return Ingress.notService(p);
    const opening = Conntrack.opening(p.meta, p.tcpFlags);
    if (opening == 0 && Decision.verdict != Verdict.DROP) return Emit.drop(p, Reason.INVALID_CONNECTION_STATE);
    if (Decision.verdict == Verdict.DROP) {
      if (servicePort != NONE && !control.tracing) ServicePorts.drop(servicePort);
      return Emit.drop(p, Decision.reason);
    }
    if (Decision.verdict == Verdict.REJECT) {
      if (servicePort != NONE && !control.tracing) ServicePorts.reject(servicePort);
      return p.meta >> 8 == 4 ? Icmp.error(p, 3, 3, 0, Decision.reason) : Icmp.error(p, 1, 4, 0, Decision.reason);
    }
    const backend = Tables.backend(Decision.backend);
    const stop = Ingress.routeTo(p, backend);
    if (stop != 0) return stop;
    const ports = (p.ports & 0xffff) | ((<u32>backend.port) << 16);
    if ((p.flags & ParsedFlag.FIRST_FRAGMENT) != 0 && (p.meta & 0xff) == 132 && ports != p.ports)
      return Emit.drop(p, Reason.SCTP_FRAGMENT_PORT);
    let masquerade = Decision.masquerade;
    if (masquerade == MasqueradeReason.BACKEND_ON_HOST) masquerade = MasqueradeReason.NO;
    return Ingress.open(
      p,
      opening - 1,
      Backends.high(backend),
      Backends.low(backend),
      ports,
      masquerade,
      servicePort,
      Decision.backend,
    );
  }

  /** `Emit.route` to a backend, which remembers its route. */
  static routeTo(p: Parsed, backend: Backend): u32 {
    const control = Tables.control;
    if (!control.forwarding) return 0;
    if (Backends.isRouted(backend)) {
      p.route = Backends.route(backend);
      if (p.route == 0) {
        p.egress = control.hostPort;
        return 0;
      }
      const route = changetype<Prefix>(<usize>p.route);
      p.egress = route.port;
      return Emit.admit(p, route);
    }
    const stop = Emit.route(p, Backends.high(backend), Backends.low(backend));
    if (stop == 0) {
      Backends.remember(backend, p.route);
      if (p.route != 0) Hops.prepare(changetype<Prefix>(<usize>p.route));
    }
    return stop;
  }

  /** Not Service traffic: forwarded as it is, or masqueraded where its route says so. */
  static notService(p: Parsed): u32 {
    const control = Tables.control;
    const stop = Emit.route(p, p.destinationHigh, p.destinationLow);
    if (stop != 0) return stop;
    if (
      p.route != 0 &&
      (changetype<Prefix>(<usize>p.route).flags & RouteFlag.MASQUERADE) != 0 &&
      (p.flags & (ParsedFlag.PORTS | ParsedFlag.ICMP_QUERY)) != 0 &&
      Addresses.isPod(p.sourceHigh, p.sourceLow, p.meta >> 8) &&
      !Addresses.isPod(p.destinationHigh, p.destinationLow, p.meta >> 8)
    ) {
      const opening = Conntrack.opening(p.meta, p.tcpFlags);
      if (opening == 0) return Emit.drop(p, Reason.INVALID_CONNECTION_STATE);
      return Ingress.open(
        p,
        opening - 1,
        p.destinationHigh,
        p.destinationLow,
        p.ports,
        MasqueradeReason.EGRESS,
        NONE,
        NONE,
      );
    }
    if ((p.flags & ParsedFlag.FIRST_FRAGMENT) != 0) Fragments.learn(p, NONE, 0, 0);
    if (!control.forwarding) {
      p.reason = Reason.NONE;
      return Verdict.PASS;
    }
    return Emit.send(p, p.destinationHigh, p.destinationLow);
  }

  /** Makes a connection to a destination and ports, chooses its source, enters it and sends its first packet. */
  static open(
    p: Parsed,
    state: u32,
    high: u64,
    low: u64,
    ports: u32,
    masquerade: u32,
    servicePort: u32,
    backendId: u32,
  ): u32 {
    const control = Tables.control;
    let id: u32;
    let c: Connection;
    if (control.tracing) {
      id = NONE;
      c = changetype<Connection>(<usize>(PARSED + (254 << 7)));
    } else {
      id = Conntrack.allocate();
      if (id == NONE) return Emit.drop(p, Reason.CONNECTION_TABLE_FULL);
      c = Tables.connection(id);
    }
    c.sourceHigh = p.sourceHigh;
    c.sourceLow = p.sourceLow;
    c.destinationHigh = p.destinationHigh;
    c.destinationLow = p.destinationLow;
    c.ports = p.ports;
    c.meta = <u16>p.meta;
    c.replySourceHigh = high;
    c.replySourceLow = low;
    c.replyDestinationHigh = p.sourceHigh;
    c.replyDestinationLow = p.sourceLow;
    c.replyPorts = Nat.swap(ports);
    let chosen = true;
    if (masquerade != MasqueradeReason.NO) {
      Ingress.masqueradeAddress(p, c);
      chosen =
        control.preserveSourcePort != 0 && Nat.isFree(c, c.replyPorts)
          ? true
          : Nat.choosePort(c, control.snatFirst, control.snatCount);
    } else if (!Nat.isFree(c, c.replyPorts)) {
      // Another connection of this client reaches the same backend from the same port through another address.
      masquerade = MasqueradeReason.SOURCE_PORT_COLLISION;
      chosen = Nat.choosePort(c, 1024, 64512);
    }
    if (!chosen) {
      if (!control.tracing) Conntrack.release(id);
      return Emit.drop(p, Reason.NO_MASQUERADE_PORT);
    }
    const newPorts = Nat.swap(c.replyPorts);
    if (newPorts != p.ports && (p.meta & 0xff) == 132 && (p.flags & ParsedFlag.FIRST_FRAGMENT) != 0) {
      if (!control.tracing) Conntrack.release(id);
      return Emit.drop(p, Reason.SCTP_FRAGMENT_PORT);
    }
    Nat.deltas(c);
    c.created = <u16>control.now;
    c.state = <u8>state;
    c.expires = control.now + Conntrack.stateTimeout(p.meta, state);
    let flags: u32 = ConnectionFlag.IN_USE;
    if (servicePort != NONE) flags |= ConnectionFlag.DESTINATION_NAT;
    if (masquerade != MasqueradeReason.NO) flags |= ConnectionFlag.SOURCE_NAT;
    c.servicePort = servicePort;
    c.backend = backendId;
    c.generation = 0;
    c.hopGeneration = 0;
    c.hop = <u16>NO_HOP;
    c.replyHop = <u16>NO_HOP;
    Hops.remember(p, c, 0);
    c.packets = 1;
    c.bytes = <u64>(p.end - p.network);
    c.replyPackets = 0;
    c.replyBytes = 0;
    if (control.tracing) {
      if (servicePort != NONE) Trace.step(Step.DNAT, backendId, 0, NONE);
      if (masquerade != MasqueradeReason.NO) Trace.step(Step.SNAT, <u32>bswap<u16>(<u16>newPorts), 0, NONE);
    } else {
      if (servicePort != NONE) {
        flags |= Ingress.account(c, servicePort, backendId);
        if (masquerade != MasqueradeReason.NO) ServicePorts.masquerade(servicePort);
      }
      c.flags = <u8>flags;
      if (!Conntrack.commit(id, p.hash, Nat.replyHash)) {
        Ingress.unaccount(c, flags);
        return Emit.drop(p, Reason.CONNECTION_TABLE_FULL);
      }
      Events.emit(EventKind.CONNECTION, p, masquerade, servicePort, backendId);
      if ((p.flags & ParsedFlag.FIRST_FRAGMENT) != 0) Fragments.learn(p, id, 0, c.created);
    }
    Nat.rewrite(
      p,
      c.replyDestinationHigh,
      c.replyDestinationLow,
      high,
      low,
      newPorts,
      c.networkDelta,
      c.transportDelta,
    );
    return Emit.send(p, high, low);
  }

  /** Our address on the outgoing link, else the node's primary one. */
  static masqueradeAddress(p: Parsed, c: Connection): void {
    const control = Tables.control;
    if (p.meta >> 8 == 4) {
      let source = control.primaryV4;
      if (p.egress != NONE && p.route != 0 && Tables.port(p.egress).addressV4 != 0)
        source = Tables.port(p.egress).addressV4;
      if (source != 0) c.replyDestinationLow = source;
      return;
    }
    let high = control.primaryV6High;
    let low = control.primaryV6Low;
    if (
      p.egress != NONE &&
      p.route != 0 &&
      (Tables.port(p.egress).addressV6High | Tables.port(p.egress).addressV6Low) != 0
    ) {
      high = Tables.port(p.egress).addressV6High;
      low = Tables.port(p.egress).addressV6Low;
    }
    if ((high | low) != 0) {
      c.replyDestinationHigh = high;
      c.replyDestinationLow = low;
    }
  }

  /** Counts a new connection with its Service port and backend, and renews the client's affinity. */
  static account(c: Connection, servicePortId: u32, backendId: u32): u32 {
    const servicePort = Tables.servicePort(servicePortId);
    const backend = Tables.backend(backendId);
    c.generation = Lookup.generation(backend, servicePort);
    Backends.countConnection(backend);
    if (servicePort.affinityTicks != 0)
      AffinityMap.update(
        c.sourceHigh,
        AffinityMap.clientLow(c.sourceLow, c.destinationHigh, c.destinationLow, c.ports),
        servicePortId,
        backendId,
        c.generation,
      );
    if (Conntrack.isActive(c.meta, c.state)) {
      backend.active++;
      return ConnectionFlag.COUNTED | ConnectionFlag.ACTIVE;
    }
    backend.inactive++;
    return ConnectionFlag.COUNTED;
  }

  /** Takes a connection that could not be entered out of its backend's counts again. */
  static unaccount(c: Connection, flags: u32): void {
    if ((flags & ConnectionFlag.COUNTED) == 0) return;
    const backend = Tables.backend(c.backend);
    if ((flags & ConnectionFlag.ACTIVE) != 0) backend.active--;
    else backend.inactive--;
  }

  static laterFragment(p: Parsed): u32 {
    const control = Tables.control;
    const at = Fragments.find(p);
    if (at == 0) return Emit.drop(p, Reason.FIRST_FRAGMENT_NOT_FOUND);
    const entry = changetype<Fragment>(at);
    Trace.step(Step.FRAGMENT, entry.connection, entry.direction, 0);
    if (entry.connection == NONE) {
      const stop = Emit.route(p, p.destinationHigh, p.destinationLow);
      if (stop != 0) return stop;
      return Emit.send(p, p.destinationHigh, p.destinationLow);
    }
    const c = Tables.connection(entry.connection);
    if ((c.flags & <u8>ConnectionFlag.IN_USE) == 0 || <u32>c.created != entry.created)
      return Emit.drop(p, Reason.FIRST_FRAGMENT_NOT_FOUND);
    SteadyLines.leave(c);
    const direction = entry.direction;
    const line = changetype<usize>(c) + ((<usize>direction) << 6);
    const other = line ^ 64;
    const destinationHigh = load<u64>(other);
    const destinationLow = load<u64>(other, 8);
    const stop = Emit.route(p, destinationHigh, destinationLow);
    if (stop != 0) return stop;
    if (!control.tracing) Conntrack.tally(line, p.end - p.network);
    const mask: u32 = 0xffff & (0 - direction);
    Nat.rewrite(
      p,
      load<u64>(other, 16),
      load<u64>(other, 24),
      destinationHigh,
      destinationLow,
      0,
      <u32>c.networkDelta ^ mask,
      0,
    );
    return Emit.send(p, destinationHigh, destinationLow);
  }

  /**
   * An ICMP error belongs to the connection of the packet it quotes. Both the quote and the outer header are put back to what the
   * receiver knows (RFC 5508). An error about nothing that is tracked is not ours: it is routed like any packet.
   */
  static icmpError(p: Parsed): u32 {
    const family = p.meta >> 8;
    const q = p.transport + 8;
    const room = p.end - q;
    let protocol: u32;
    let sourceHigh: u64 = 0;
    let sourceLow: u64;
    let destinationHigh: u64 = 0;
    let destinationLow: u64;
    let t: u32;
    if (family == 4) {
      if (room < 28) return Ingress.notService(p);
      const header = (<u32>load<u8>(<usize>q) & 15) << 2;
      if (load<u8>(<usize>q) >> 4 != 4 || header < 20 || header + 8 > room) return Ingress.notService(p);
      if ((bswap<u16>(load<u16>(<usize>q, 6)) & 0x1fff) != 0) return Ingress.notService(p);
      protocol = load<u8>(<usize>q, 9);
      sourceLow = ((<u64>load<u32>(<usize>q, 12)) << 32) | 0xffff0000;
      destinationLow = ((<u64>load<u32>(<usize>q, 16)) << 32) | 0xffff0000;
      t = q + header;
    } else {
      if (room < 48 || load<u8>(<usize>q) >> 4 != 6) return Ingress.notService(p);
      sourceHigh = load<u64>(<usize>q, 8);
      sourceLow = load<u64>(<usize>q, 16);
      destinationHigh = load<u64>(<usize>q, 24);
      destinationLow = load<u64>(<usize>q, 32);
      protocol = load<u8>(<usize>q, 6);
      t = q + 40;
      for (let i = 0; i < 8; i++) {
        if (protocol != 0 && protocol != 43 && protocol != 60 && protocol != 44) break;
        if (t + 8 > p.end) return Ingress.notService(p);
        if (protocol == 44 && (bswap<u16>(load<u16>(<usize>t, 2)) & 0xfff8) != 0) return Ingress.notService(p);
        const size: u32 = protocol == 44 ? 8 : (<u32>load<u8>(<usize>t, 1) + 1) << 3;
        protocol = load<u8>(<usize>t);
        if (size > p.end - t) return Ingress.notService(p);
        t += size;
      }
      if (t + 8 > p.end) return Ingress.notService(p);
    }
    const meta = protocol | (family << 8);
    let ports: u32;
    if (protocol == 6 || protocol == 17 || protocol == 132) ports = load<u32>(<usize>t);
    else if ((protocol == 1 && family == 4) || (protocol == 58 && family == 6)) {
      const type = <u32>load<u8>(<usize>t);
      const query = family == 4 ? type == 8 || type == 0 || (type >= 13 && type <= 18) : type == 128 || type == 129;
      // An error about an error is never answered with anything (RFC 1122 3.2.2).
      if (!query) return Emit.drop(p, Reason.UNMATCHED_ICMP_ERROR);
      const identifier = <u32>load<u16>(<usize>t, 4);
      ports = identifier | (identifier << 16);
    } else return Ingress.notService(p);

    // The quote shows a packet that was sent after its rewrite; its connection is the one that takes the answer.
    const answer = Nat.swap(ports);
    const hash = Hash.tuple(destinationHigh, destinationLow, sourceHigh, sourceLow, answer, meta);
    const reference = ConnectionIndex.find(hash, destinationHigh, destinationLow, sourceHigh, sourceLow, answer, meta);
    if (reference == NONE || Conntrack.isExpired(Tables.connection(reference >> 1))) return Ingress.notService(p);
    const direction = reference & 1;
    const c = Tables.connection(reference >> 1);
    SteadyLines.leave(c);
    Trace.step(Step.ICMP_ERROR, reference >> 1, direction, 0);
    const other = changetype<usize>(c) + ((<usize>(direction ^ 1)) << 6);
    const receiverHigh = load<u64>(other);
    const receiverLow = load<u64>(other, 8);
    const peerHigh = load<u64>(other, 16);
    const peerLow = load<u64>(other, 24);
    const stop = Emit.route(p, receiverHigh, receiverLow);
    if (stop != 0) return stop;

    const mask: u32 = 0xffff & (0 - direction);
    const networkDelta = <u32>c.networkDelta ^ mask;
    const transportDelta = <u32>c.transportDelta ^ mask;
    const icmp = <usize>p.transport;
    const covered = min<u32>(p.end - q, t + 20 - q);
    const before = Checksum.fold(Checksum.sum(<usize>q, covered));

    // The quote: as its sender, who receives this error, sent it.
    if (family == 4) {
      store<u32>(<usize>q, <u32>(receiverLow >> 32), 12);
      store<u32>(<usize>q, <u32>(peerLow >> 32), 16);
      store<u16>(<usize>q, <u16>Checksum.apply(load<u16>(<usize>q, 10), networkDelta), 10);
    } else {
      store<u64>(<usize>q, receiverHigh, 8);
      store<u64>(<usize>q, receiverLow, 16);
      store<u64>(<usize>q, peerHigh, 24);
      store<u64>(<usize>q, peerLow, 32);
    }
    const originalPorts = load<u32>(other, 32);
    if (protocol == 17) {
      store<u32>(<usize>t, originalPorts);
      const sum = <u32>load<u16>(<usize>t, 6);
      if (sum != 0) {
        const after = Checksum.apply(sum, transportDelta);
        store<u16>(<usize>t, <u16>(after == 0 ? 0xffff : after), 6);
      }
    } else if (protocol == 6) {
      store<u32>(<usize>t, originalPorts);
      if (p.end - t >= 18) store<u16>(<usize>t, <u16>Checksum.apply(load<u16>(<usize>t, 16), transportDelta), 16);
    } else if (protocol == 132) store<u32>(<usize>t, originalPorts);
    else {
      store<u16>(<usize>t, <u16>originalPorts, 4);
      store<u16>(<usize>t, <u16>Checksum.apply(load<u16>(<usize>t, 2), transportDelta), 2);
    }
    const after = Checksum.fold(Checksum.sum(<usize>q, covered));

    // The outer header: the error comes from whom the receiver was talking to, also when a router on the way sent it.
    const hides = (c.flags & <u8>(direction ? ConnectionFlag.DESTINATION_NAT : ConnectionFlag.SOURCE_NAT)) != 0;
    const outerHigh = hides ? peerHigh : p.sourceHigh;
    const outerLow = hides ? peerLow : p.sourceLow;
    const outerDelta = Checksum.fold(
      Nat.addressDelta(
        p.sourceHigh,
        p.sourceLow,
        p.destinationHigh,
        p.destinationLow,
        outerHigh,
        outerLow,
        receiverHigh,
        receiverLow,
      ),
    );
    let sum: u64 = <u64>(~before & 0xffff) + <u64>after;
    if (family == 6) sum += outerDelta;
    store<u16>(icmp, <u16>Checksum.apply(load<u16>(icmp, 2), Checksum.fold(sum)), 2);
    const n = <usize>p.network;
    if (family == 4) {
      store<u32>(n, <u32>(outerLow >> 32), 12);
      store<u32>(n, <u32>(receiverLow >> 32), 16);
      store<u16>(n, <u16>Checksum.apply(load<u16>(n, 10), outerDelta), 10);
    } else {
      store<u64>(n, outerHigh, 8);
      store<u64>(n, outerLow, 16);
      store<u64>(n, receiverHigh, 24);
      store<u64>(n, receiverLow, 32);
    }
    return Emit.send(p, receiverHigh, receiverLow);
  }
}
