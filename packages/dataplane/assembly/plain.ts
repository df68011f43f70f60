import { Checksum } from "./checksum";
import { Conntrack } from "./conntrack";
import { Descriptors } from "./descriptors";
import {
  Connection,
  ConnectionFlag,
  NO_HOP,
  NONE,
  Parsed,
  ParsedFlag,
  Port,
  PortKind,
  Prefix,
  Reason,
  RouteFlag,
  SteadyLine,
  TcpState,
  Timeout,
  Verdict,
} from "./generated/layout";
import { Hash } from "./hash";
import { ConnectionIndex } from "./maps/connection-index";
import { SteadyLines } from "./maps/steady-lines";
import { Tables } from "./maps/tables";

/**
 * The packets that nearly all packets are: whole IPv4 segments of connections that are established, without options, that continue
 * what is known. They need no decision, so they take a short cut that makes none: it forwards as the general path would have, or
 * leaves the packet untouched to it.
 */
export class Plain {
  /**
   * Is this frame such a segment, by itself? Then tuple, hash and `plain` of `p` are filled in. Everything that `Parse.frame` would
   * find fault with is not. A segment that drives the state machine is EVENTFUL: parsed, but not for the short cut.
   */
  @inline static parse(p: Parsed, descriptor: usize): bool {
    const f = <usize>Descriptors.frameOf(descriptor);
    const length = Descriptors.lengthOf(descriptor);
    const ingress = Descriptors.ingressOf(descriptor);
    if (length < 54) return false;
    if (ingress >= Tables.control.portCapacity) return false;
    const port = Tables.port(ingress);
    if (port.kind - PortKind.POD > PortKind.UPLINK - PortKind.POD) return false;
    const own = load<u64>(changetype<usize>(port) + offsetof<Port>("macLow"));
    if ((load<u64>(f) ^ own) << 16 != 0) return false;
    // EtherType, version and header length in one word; no fragment.
    if ((load<u32>(f, 12) & 0xffffff) != 0x450008) return false;
    if ((load<u16>(f, 20) & 0xff3f) != 0) return false;
    const total = <u32>bswap<u16>(load<u16>(f, 16));
    const room = total - 20;
    if (total > length - 14) return false;
    const protocol = <u32>load<u8>(f, 23);
    let plain: u32 = CONVERSATION;
    if (protocol == 6) {
      plain = TcpState.ESTABLISHED;
      const word = <u32>load<u16>(f, 46);
      const header = (word & 0xf0) >> 2;
      // Of the flags, ACK alone, with PSH, ECE and CWR as they like: the others drive the state machine.
      if ((word & 0x3700) != 0x1000) plain = EVENTFUL;
      if (header < 20) return false;
      if (<i32>header > <i32>room) return false;
    } else if (protocol == 17) {
      const datagram = <u32>bswap<u16>(load<u16>(f, 38));
      if (datagram < 8) return false;
      if (<i32>datagram > <i32>room) return false;
    } else return false;
    const middle = load<u64>(f, 22);
    const destination = <u64>load<u32>(f, 30);
    const ports = load<u32>(f, 34);
    let sum = Checksum.halves(load<u64>(f, 14)) + Checksum.halves(middle) + destination;
    sum = Checksum.halves(sum);
    sum = (sum & 0xffff) + (sum >> 16);
    if (sum != 0xffff) {
      if (sum != 0x1fffe) return false;
    }
    if ((<u32>middle & 0xff) <= 1) return false;
    if ((<u32>(middle >> 32) & 0xff) == 127) return false;
    if ((<u32>destination & 0xff) == 127) return false;
    const addresses = (middle >> 32) | (destination << 32);
    const hash = Hash.v4(addresses, ports, protocol | 0x400);
    p.addresses = addresses;
    p.ports = ports;
    p.meta = protocol | 0x400;
    p.total = total;
    p.hash = hash;
    p.bucket = <u32>ConnectionIndex.bucket(ConnectionIndex.home(hash));
    p.candidate = NONE;
    p.plain = plain;
    return true;
  }

  /** Fills in the rest of what `Parse.frame` finds, for the general path. */
  static complete(p: Parsed, descriptor: usize, frontend: u32): void {
    const f = <usize>Descriptors.frameOf(descriptor);
    const frame = <u32>f;
    p.sourceHigh = 0;
    p.sourceLow = (p.addresses << 32) | 0xffff0000;
    p.destinationHigh = 0;
    p.destinationLow = (p.addresses & 0xffffffff00000000) | 0xffff0000;
    p.frame = frame;
    p.length = Descriptors.lengthOf(descriptor);
    p.network = frame + 14;
    p.transport = frame + 34;
    p.end = frame + 14 + p.total;
    const mayFragment = (<u32>load<u8>(f, 20) & 0x40) == 0;
    p.flags = ParsedFlag.ETHERNET | ParsedFlag.PORTS | (mayFragment ? 0 : ParsedFlag.DONT_FRAGMENT);
    p.reason = Reason.NONE;
    p.ingress = Descriptors.ingressOf(descriptor);
    p.fragment = 0;
    p.tcpFlags = (p.meta & 0xff) == 6 ? <u32>load<u8>(f, 47) : 0;
    p.ttl = load<u8>(f, 22);
    p.egress = NONE;
    p.route = 0;
    p.plain = 0;
    p.frontend = frontend;
  }

  /** A frame whose verdict stands already: it is neither parsed nor forwarded. */
  static hold(p: Parsed): void {
    p.hash = 0;
    p.bucket = <u32>ConnectionIndex.bucket(0);
    p.plain = HELD;
  }

  /** The candidate was another connection with the same tag, or lies in the other bucket: looks for the right one. */
  static retry(p: Parsed, descriptor: usize): bool {
    const reference = ConnectionIndex.find(
      p.hash,
      0,
      (p.addresses << 32) | 0xffff0000,
      0,
      (p.addresses & 0xffffffff00000000) | 0xffff0000,
      p.ports,
      p.meta,
    );
    if (reference == p.candidate) return false;
    p.candidate = reference;
    return Plain.forward(p, descriptor);
  }

  /** Forwards a frame that `parse` accepted, if its candidate's record holds all that this takes. False: nothing was changed. */
  @inline static forward(p: Parsed, descriptor: usize): bool {
    const reference = p.candidate;
    if (reference == NONE) return false;
    const control = Tables.control;
    // Records are pairs of aligned lines, so a reference is the number of a line.
    const at = <usize>control.connections + ((<usize>reference) << 6);
    const line = changetype<SteadyLine>(at);
    if (line.source != <u32>p.addresses) return false;
    if (line.destination != <u32>(p.addresses >> 32)) return false;
    if (line.ports != p.ports) return false;
    // The protocol's steady state, and the hop as of now.
    const plain = p.plain;
    if (line.steady != (control.steady | plain)) return false;
    const now = control.now;
    if (<i32>(now - line.expires) >= 0) return false;
    // Records of IPv6, in which an address may look like all this, have none.
    const hop = <usize>line.hop;
    if (hop == NO_HOP) return false;
    const route = changetype<Prefix>(<usize>control.prefixes + (hop << 6));
    const total = p.total;
    if (total > <u32>route.mtu) return false;

    const f = <usize>Descriptors.frameOf(descriptor);
    Conntrack.tally(at, total);
    store<u64>(f, line.newAddresses, 26);
    store<u32>(f, line.newPorts, 34);
    if (plain == TcpState.ESTABLISHED) {
      line.expires = now + Conntrack.timeout(Timeout.TCP + TcpState.ESTABLISHED);
      Plain.repair(f, true, line.transportDelta);
    } else {
      line.expires = now + Conntrack.timeout(Timeout.UDP_STREAM);
      Plain.repair(f, false, line.transportDelta);
    }
    Plain.send(f, descriptor, route, line.headerDelta);
    return true;
  }

  /** What changes in a header checksum when the addresses do by `networkDelta` and the hops by one, which is 0xfffe in raw order. */
  @inline static headerDelta(networkDelta: u32): u32 {
    const delta = networkDelta + 0xfffe;
    return (delta & 0xffff) + (delta >> 16);
  }

  /** Sends a plain frame, rewritten but for its link header, hops and header checksum, by a route that is prepared. */
  @inline static send(f: usize, descriptor: usize, route: Prefix, headerDelta: u32): void {
    store<u64>(f, route.linkLow);
    store<u32>(f, route.linkHigh, 8);
    store<u8>(f, <u8>(load<u8>(f, 22) - 1), 22);
    store<u16>(f, <u16>Checksum.apply(load<u16>(f, 24), headerDelta), 24);
    const egress = route.port;
    Descriptors.forward(
      descriptor,
      egress == Descriptors.ingressOf(descriptor) ? Verdict.TX : Verdict.REDIRECT,
      egress,
    );
  }

  /** Brings the transport checksum of a plain frame up to date. */
  @inline static repair(f: usize, isTcp: bool, delta: u32): void {
    if (isTcp) {
      store<u16>(f, <u16>Checksum.apply(load<u16>(f, 50), delta), 50);
      return;
    }
    const before = <u32>load<u16>(f, 40);
    if (before == 0) return;
    // RFC 768: a computed zero is sent as all ones.
    const after = Checksum.apply(before, delta);
    store<u16>(f, <u16>(after == 0 ? 0xffff : after), 40);
  }
}

/** `Parsed.plain` of a frame whose verdict stands: no state of a record that is steady. */
export const HELD: u32 = 0x8000;
/** `Parsed.plain` of a segment that drives the state machine: no state either. */
export const EVENTFUL: u32 = 0x4000;
/** State of a UDP connection that is older than two seconds: none of TCP that is steady. */
const CONVERSATION: u32 = 1;
/** State that no connection is in. */
const NEVER: u32 = 0xff;
/** REPLIED and ASSURED, where they lie in the word of state, flags and generation. */
const STEADY_FLAGS: u32 = (ConnectionFlag.REPLIED | ConnectionFlag.ASSURED) << 8;

/** Which way connections go: kept in their records while nothing about routes, ports and addresses changes. */
export class Hops {
  /** Called when a batch begins. */
  @inline static refresh(): void {
    if (Tables.control.hopEpoch != Tables.control.routeEpoch) Hops.renew();
  }

  /** Makes all hops void. Generations are 16 bits: before one comes back, no record may hold it any more. */
  static renew(): void {
    const control = Tables.control;
    control.hopEpoch = control.routeEpoch;
    control.hopGeneration++;
    if (control.hopGeneration > 0xffff) {
      control.hopGeneration = 1;
      for (let id: u32 = 0; id < control.connectionHighWater; id++) {
        SteadyLines.leave(Tables.connection(id));
        Tables.connection(id).hopGeneration = 0;
      }
      for (let id: u32 = 0; id < control.backendHighWater; id++) Tables.backend(id).hopGeneration = 0;
    }
    control.steady = (control.hopGeneration << 16) | STEADY_FLAGS;
  }

  /**
   * Remembers the route of an IPv4 packet for those that follow it, if it leaves by one that knows its neighbour, and lets them take the
   * short cut if their connection is established.
   */
  static remember(p: Parsed, c: Connection, direction: u32): void {
    const control = Tables.control;
    if (!control.forwarding || control.tracing || p.meta >> 8 != 4) return;
    if (<u32>c.hopGeneration != control.hopGeneration) {
      c.hopGeneration = <u16>control.hopGeneration;
      c.hop = <u16>NO_HOP;
      c.replyHop = <u16>NO_HOP;
    }
    if (p.route == 0) return;
    const hop = (p.route - control.prefixes) >> 6;
    const route = changetype<Prefix>(<usize>p.route);
    if (hop >= NO_HOP || (route.flags & RouteFlag.NEXT_HOP_MAC) == 0) return;
    Hops.prepare(route);
    if (direction) c.replyHop = <u16>hop;
    else c.hop = <u16>hop;
    const protocol = p.meta & 0xff;
    const plain: u32 = protocol == 6 ? TcpState.ESTABLISHED : protocol == 17 ? CONVERSATION : NEVER;
    const steady = control.steady | plain;
    if ((load<u32>(changetype<usize>(c), offsetof<Connection>("state")) & (0xffff00ff | STEADY_FLAGS)) == steady)
      SteadyLines.enter(c, steady, Plain.headerDelta(c.networkDelta), Plain.headerDelta(<u32>c.networkDelta ^ 0xffff));
  }

  /** Lays down the link header of packets that leave by a route whose next hop is known, and how large they may be. */
  static prepare(route: Prefix): void {
    const port = Tables.port(route.port);
    route.linkLow = <u64>route.macLow | ((<u64>route.macHigh) << 32) | ((<u64>port.macLow) << 48);
    route.mtu = <u16>port.mtu;
    route.linkHigh = (port.macLow >> 16) | (port.macHigh << 16);
  }
}
