import { Checksum } from "./checksum";
import {
  Address,
  AddressFlag,
  Event,
  EventKind,
  Neighbor,
  NONE,
  Parsed,
  ParsedFlag,
  Port,
  PortKind,
  Prefix,
  PrefixScope,
  Reason,
  RouteCache,
  RouteFlag,
  Step,
  Verdict,
  DROP_COUNTERS,
} from "./generated/layout";
import { Hash } from "./hash";
import { Addresses } from "./maps/addresses";
import { Events } from "./maps/events";
import { Frontends } from "./maps/frontends";
import { Prefixes } from "./maps/prefixes";
import { Tables } from "./maps/tables";
import { Segments } from "./segments";
import { Trace } from "./trace";

/** Last step: route, decrement, address on the link, and the answers that a node gives itself (ICMP errors, ARP, neighbours). */
export class Emit {
  static drop(p: Parsed, reason: u32): u32 {
    p.reason = reason;
    if (!Tables.control.tracing) {
      const at = <usize>(DROP_COUNTERS + (reason << 3));
      store<u64>(at, load<u64>(at) + 1);
      Events.emit(EventKind.DROP, p, reason, NONE, NONE);
    }
    return Verdict.DROP;
  }

  /**
   * Routes to a destination before anything is rewritten, so that an error can quote the packet as it came in.
   *
   * @returns 0 when the packet may go on, else the verdict
   */
  static route(p: Parsed, high: u64, low: u64): u32 {
    const control = Tables.control;
    if (!control.forwarding) return 0;
    const cached = Routes.slot(high, low);
    if (cached.low == low && cached.high == high && cached.epoch == control.routeEpoch && !control.tracing) {
      p.route = cached.route;
      p.egress = cached.egress;
      if (p.route == 0) return 0;
      return Emit.admit(p, changetype<Prefix>(<usize>p.route));
    }
    return Routes.find(p, high, low);
  }

  /** Checks that a packet may go the way of its route: hops left, and size. */
  @inline static admit(p: Parsed, route: Prefix): u32 {
    const port = Tables.port(route.port);
    if (port.kind == PortKind.ABSENT) return Emit.drop(p, Reason.NO_ROUTE);
    if (p.ttl <= 1 && p.ingress != Tables.control.hostPort)
      return Icmp.error(p, p.meta >> 8 == 4 ? 11 : 3, 0, 0, Reason.TTL_EXCEEDED);
    if (p.end - p.network > port.mtu && !Segments.fit(p, port.mtu)) return Emit.tooBig(p, port.mtu);
    return 0;
  }

  static tooBig(p: Parsed, mtu: u32): u32 {
    if ((p.flags & ParsedFlag.DONT_FRAGMENT) == 0) return Emit.drop(p, Reason.PACKET_TOO_BIG);
    return p.meta >> 8 == 4
      ? Icmp.error(p, 3, 4, mtu, Reason.PACKET_TOO_BIG)
      : Icmp.error(p, 2, 0, mtu, Reason.PACKET_TOO_BIG);
  }

  /** Sends a packet on its route. `high` and `low` are the destination that it now has. */
  @inline static send(p: Parsed, high: u64, low: u64): u32 {
    const control = Tables.control;
    if (!control.forwarding) return Verdict.PASS;
    if (p.route == 0) return Emit.deliver(p);
    const route = changetype<Prefix>(<usize>p.route);
    const port = Tables.port(p.egress);
    if (p.ingress != control.hostPort) Emit.decrement(p);
    if ((p.flags & ParsedFlag.ETHERNET) != 0) {
      const f = <usize>p.frame;
      if ((route.flags & RouteFlag.NEXT_HOP_MAC) != 0) {
        store<u32>(f, route.macLow);
        store<u16>(f, <u16>route.macHigh, 4);
      } else {
        const unresolved = Neighbors.resolve(p, route, high, low);
        if (unresolved != 0) return unresolved;
      }
      store<u32>(f, port.macLow, 6);
      store<u16>(f, <u16>port.macHigh, 10);
    }
    return p.egress == p.ingress ? Verdict.TX : Verdict.REDIRECT;
  }

  /** To the node's own stack: by its port if there is one, else by handing the frame back. */
  static deliver(p: Parsed): u32 {
    const host = Tables.control.hostPort;
    if (host == NONE || host == p.ingress || (p.flags & ParsedFlag.ETHERNET) == 0) return Verdict.PASS;
    const port = Tables.port(host);
    const f = <usize>p.frame;
    if (port.hasPeerMac) {
      store<u32>(f, port.peerMacLow);
      store<u16>(f, <u16>port.peerMacHigh, 4);
    } else {
      store<u32>(f, port.macLow);
      store<u16>(f, <u16>port.macHigh, 4);
    }
    store<u32>(f, port.macLow, 6);
    store<u16>(f, <u16>port.macHigh, 10);
    p.egress = host;
    return Verdict.REDIRECT;
  }

  /** TTL or hop limit minus one; the word that changes is the first of an IPv4 header checksum's TTL and protocol pair. */
  @inline static decrement(p: Parsed): void {
    const n = <usize>p.network;
    if (p.meta >> 8 == 4) {
      store<u8>(n, <u8>(p.ttl - 1), 8);
      // ~m + m' of that word is -1 in its low byte on the wire: 0xfffe in raw order.
      store<u16>(n, <u16>Checksum.apply(load<u16>(n, 10), 0xfffe), 10);
    } else store<u8>(n, <u8>(p.ttl - 1), 7);
  }
}

/** Where a destination is: the node itself, or behind a route. */
export class Routes {
  @inline static slot(high: u64, low: u64): RouteCache {
    const folded = <u32>low ^ <u32>(low >> 32) ^ <u32>high ^ <u32>(high >> 32);
    return changetype<RouteCache>(<usize>(Tables.control.routeCache + (((folded * 0x9e3779b1) >> 20) << 5)));
  }

  @inline static remember(p: Parsed, high: u64, low: u64): void {
    const control = Tables.control;
    if (control.tracing) return;
    const entry = Routes.slot(high, low);
    entry.high = high;
    entry.low = low;
    entry.route = p.route;
    entry.egress = p.egress;
    entry.epoch = control.routeEpoch;
    const family = p.meta >> 8;
    entry.plain =
      p.route != 0 &&
      Addresses.find(high, low, family) == 0 &&
      !Frontends.hasAddress(high, low, family) &&
      !Addresses.isService(high, low, family)
        ? 1
        : 0;
  }

  /** True when the cache knows that no Service has anything to do with a destination. */
  @inline static isPlain(high: u64, low: u64): bool {
    const cached = Routes.slot(high, low);
    return cached.plain != 0 && cached.low == low && cached.high == high && cached.epoch == Tables.control.routeEpoch;
  }

  static find(p: Parsed, high: u64, low: u64): u32 {
    const control = Tables.control;
    const family = p.meta >> 8;
    const slot = Addresses.find(high, low, family);
    if (
      (slot != 0 && (changetype<Address>(slot).flags & AddressFlag.LOCAL) != 0) ||
      Addresses.isLoopback(high, low, family)
    ) {
      p.egress = control.hostPort;
      p.route = 0;
      Trace.step(Step.ROUTE, p.egress, 1, 0);
      Routes.remember(p, high, low);
      return 0;
    }
    const found = Prefixes.match(PrefixScope.ROUTE, high, low, family);
    if (found == 0) {
      Trace.step(Step.ROUTE, NONE, 0, 0);
      if (p.ingress == control.hostPort || Addresses.isMulticast(high, low, family))
        return Emit.drop(p, Reason.NO_ROUTE);
      return Icmp.error(p, family == 4 ? 3 : 1, 0, 0, Reason.NO_ROUTE);
    }
    const route = changetype<Prefix>(found);
    p.route = <u32>found;
    p.egress = route.port;
    Trace.step(Step.ROUTE, route.port, 0, 0);
    Routes.remember(p, high, low);
    return Emit.admit(p, route);
  }
}

/** ICMP errors that the node generates (RFC 792, RFC 1122 3.2.2, RFC 1812 4.3.2, RFC 4443). */
export class Icmp {
  /**
   * Turns the packet into an error about itself, to its sender, where it lies. Suppressed for later fragments, ICMP errors, multicast
   * and broadcast, sources that are no host's, and packets whose transport checksum is wrong; then it is a drop.
   */
  static error(p: Parsed, type: u32, code: u32, mtu: u32, reason: u32): u32 {
    const family = p.meta >> 8;
    if (
      (p.flags & (ParsedFlag.LATER_FRAGMENT | ParsedFlag.ICMP_ERROR | ParsedFlag.BROADCAST)) != 0 ||
      Addresses.isMulticast(p.destinationHigh, p.destinationLow, family) ||
      Addresses.isMulticast(p.sourceHigh, p.sourceLow, family) ||
      Addresses.isUnspecified(p.sourceHigh, p.sourceLow, family) ||
      !Icmp.isIntact(p)
    ) {
      return Emit.drop(p, reason);
    }
    if (!Icmp.takeToken()) return Emit.drop(p, Reason.ICMP_SUPPRESSED);
    if (Tables.control.tracing == 0) {
      const at = <usize>(DROP_COUNTERS + (reason << 3));
      store<u64>(at, load<u64>(at) + 1);
      Events.emit(EventKind.REJECT, p, reason, NONE, NONE);
    }
    const n = <usize>p.network;
    let total: u32;
    if (family == 4) {
      const quoted = min<u32>(p.end - p.network, 576 - 28);
      memory.copy(n + 28, n, quoted);
      total = quoted + 28;
      const source = Icmp.sourceV4(p);
      store<u32>(n, 0x0000c045);
      store<u16>(n, bswap<u16>(<u16>total), 2);
      store<u32>(n, 0, 4);
      store<u32>(n, 0x00000140, 8);
      store<u32>(n, <u32>(source >> 32), 12);
      store<u32>(n, <u32>(p.sourceLow >> 32), 16);
      store<u16>(n, <u16>(~Checksum.fold(Checksum.header20(n)) & 0xffff), 10);
      store<u32>(n, type | (code << 8), 20);
      store<u32>(n, bswap<u32>(mtu), 24);
      store<u16>(n, <u16>(~Checksum.fold(Checksum.sum(n + 20, quoted + 8)) & 0xffff), 22);
    } else {
      const quoted = min<u32>(p.end - p.network, 1280 - 48);
      memory.copy(n + 48, n, quoted);
      total = quoted + 48;
      let sourceHigh = p.destinationHigh;
      let sourceLow = p.destinationLow;
      const control = Tables.control;
      if (
        p.ingress != NONE &&
        p.ingress < control.portCapacity &&
        (Tables.port(p.ingress).addressV6High | Tables.port(p.ingress).addressV6Low) != 0
      ) {
        sourceHigh = Tables.port(p.ingress).addressV6High;
        sourceLow = Tables.port(p.ingress).addressV6Low;
      } else if ((control.primaryV6High | control.primaryV6Low) != 0) {
        sourceHigh = control.primaryV6High;
        sourceLow = control.primaryV6Low;
      }
      store<u32>(n, 0x00000060);
      store<u16>(n, bswap<u16>(<u16>(quoted + 8)), 4);
      store<u16>(n, 0x403a, 6);
      store<u64>(n, sourceHigh, 8);
      store<u64>(n, sourceLow, 16);
      store<u64>(n, p.sourceHigh, 24);
      store<u64>(n, p.sourceLow, 32);
      store<u32>(n, type | (code << 8), 40);
      store<u32>(n, bswap<u32>(mtu), 44);
      const pseudo = Checksum.sum(n + 8, 32) + <u64>bswap<u16>(<u16>(quoted + 8)) + 0x3a00;
      store<u16>(n, <u16>(~Checksum.fold(Checksum.sum(n + 40, quoted + 8) + pseudo) & 0xffff), 42);
    }
    p.end = p.network + total;
    p.length = p.end - p.frame;
    p.reason = reason;
    Icmp.turnAround(p);
    return Verdict.TX;
  }

  /** Back to where the frame came from. */
  static turnAround(p: Parsed): void {
    p.egress = p.ingress;
    if ((p.flags & ParsedFlag.ETHERNET) == 0) return;
    const f = <usize>p.frame;
    const port = Tables.port(p.ingress);
    store<u32>(f, load<u32>(f, 6));
    store<u16>(f, load<u16>(f, 10), 4);
    store<u32>(f, port.macLow, 6);
    store<u16>(f, <u16>port.macHigh, 10);
  }

  /** Our address on the link that the packet came in on, else the node's primary one, else whom the sender asked for. */
  static sourceV4(p: Parsed): u64 {
    const control = Tables.control;
    if (p.ingress != NONE && p.ingress < control.portCapacity && Tables.port(p.ingress).addressV4 != 0)
      return Tables.port(p.ingress).addressV4;
    return control.primaryV4 != 0 ? control.primaryV4 : p.destinationLow;
  }

  /** Is the transport checksum of a whole TCP or UDP packet right? Others, and fragments, count as intact. */
  static isIntact(p: Parsed): bool {
    if (p.transport == 0 || (p.flags & ParsedFlag.FIRST_FRAGMENT) != 0 || Segments.isPartial(p.frame)) return true;
    const protocol = p.meta & 0xff;
    if (protocol != 6 && protocol != 17) return true;
    const t = <usize>p.transport;
    let length = p.end - p.transport;
    if (protocol == 17) {
      if (load<u16>(t, 6) == 0) return true;
      length = bswap<u16>(load<u16>(t, 4));
    }
    const n = <usize>p.network;
    const addresses = p.meta >> 8 == 4 ? Checksum.sum(n + 12, 8) : Checksum.sum(n + 8, 32);
    const pseudo = addresses + <u64>bswap<u16>(<u16>length) + ((<u64>protocol) << 8);
    return Checksum.fold(Checksum.sum(t, length) + pseudo) == 0xffff;
  }

  /** Token bucket over all errors, if a rate is set: one second's worth of burst. */
  static takeToken(): bool {
    const control = Tables.control;
    if (control.icmpRate == 0 || control.tracing) return true;
    const elapsed = control.now - control.icmpRefilled;
    control.icmpRefilled = control.now;
    const limit = <u64>control.icmpRate * 64;
    const tokens = min<u64>(<u64>control.icmpTokens + <u64>elapsed * control.icmpRate, limit);
    if (tokens < 64) {
      control.icmpTokens = <u32>tokens;
      return false;
    }
    control.icmpTokens = <u32>(tokens - 64);
    return true;
  }
}

/** ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861): answering for our addresses, learning, and asking. */
export class Neighbors {
  @inline static slot(i: u32): Neighbor {
    return changetype<Neighbor>(<usize>(Tables.control.neighbors + (i << 5)));
  }

  /** Address of the entry in its four-way set, or 0. */
  static find(high: u64, low: u64, port: u32): usize {
    const set = <u32>(Hash.address(high, low, <u64>port | 0x200000000) >> 32) & Tables.control.neighborMask & ~3;
    for (let i: u32 = 0; i < 4; i++) {
      const entry = Neighbors.slot(set + i);
      if (entry.port == port + 1 && entry.low == low && entry.high == high) return changetype<usize>(entry);
    }
    return 0;
  }

  /** Remembers a neighbour; the oldest of its set gives way. */
  static learn(high: u64, low: u64, port: u32, macLow: u32, macHigh: u32): void {
    if (Tables.control.tracing) return;
    let at = Neighbors.find(high, low, port);
    if (at == 0) {
      const set = <u32>(Hash.address(high, low, <u64>port | 0x200000000) >> 32) & Tables.control.neighborMask & ~3;
      let oldest: u32 = 0;
      at = changetype<usize>(Neighbors.slot(set));
      for (let i: u32 = 0; i < 4; i++) {
        const entry = Neighbors.slot(set + i);
        if (entry.port == 0) {
          at = changetype<usize>(entry);
          break;
        }
        const age = Tables.control.now - entry.updated;
        if (age > oldest) {
          oldest = age;
          at = changetype<usize>(entry);
        }
      }
    }
    const entry = changetype<Neighbor>(at);
    entry.high = high;
    entry.low = low;
    entry.port = port + 1;
    entry.macLow = macLow;
    entry.macHigh = macHigh;
    entry.updated = Tables.control.now;
  }

  /**
   * Writes the next hop's address into the frame. When it is not known, the frame becomes the question for it; its packet is lost,
   * as the sender's retransmission will find the answer.
   */
  static resolve(p: Parsed, route: Prefix, high: u64, low: u64): u32 {
    if ((route.flags & RouteFlag.NEIGHBOR) != 0) {
      high = route.neighborHigh;
      low = route.neighborLow;
    }
    const found = Neighbors.find(high, low, p.egress);
    const f = <usize>p.frame;
    if (found != 0) {
      const entry = changetype<Neighbor>(found);
      store<u32>(f, entry.macLow);
      store<u16>(f, <u16>entry.macHigh, 4);
      return 0;
    }
    Emit.drop(p, Reason.NEIGHBOR_UNRESOLVED);
    if (p.meta >> 8 == 4) Neighbors.askV4(p, low);
    else Neighbors.askV6(p, high, low);
    return p.egress == p.ingress ? Verdict.TX : Verdict.REDIRECT;
  }

  static askV4(p: Parsed, low: u64): void {
    const f = <usize>p.frame;
    const port = Tables.port(p.egress);
    store<u32>(f, 0xffffffff);
    store<u16>(f, 0xffff, 4);
    store<u32>(f, port.macLow, 6);
    store<u16>(f, <u16>port.macHigh, 10);
    store<u16>(f, 0x0608, 12);
    store<u64>(f, 0x0100040600080100, 14);
    store<u32>(f, port.macLow, 22);
    store<u16>(f, <u16>port.macHigh, 26);
    const own = port.addressV4 != 0 ? port.addressV4 : Tables.control.primaryV4;
    store<u32>(f, <u32>(own >> 32), 28);
    store<u32>(f, 0, 32);
    store<u16>(f, 0, 36);
    store<u32>(f, <u32>(low >> 32), 38);
    p.length = 42;
  }

  static askV6(p: Parsed, high: u64, low: u64): void {
    const f = <usize>p.frame;
    const port = Tables.port(p.egress);
    const tail = <u32>(low >> 32);
    // Solicited-node multicast: ff02::1:ff and the last three bytes; on the link 33:33 and the last four.
    const groupLow = ((<u64>((tail & 0xffffff00) | 0xff)) << 32) | 0x01000000;
    store<u16>(f, 0x3333);
    store<u32>(f, (tail & 0xffffff00) | 0xff, 2);
    store<u32>(f, port.macLow, 6);
    store<u16>(f, <u16>port.macHigh, 10);
    store<u16>(f, 0xdd86, 12);
    store<u32>(f, 0x00000060, 14);
    store<u32>(f, 0xff3a2000, 18);
    const hasOwn = (port.addressV6High | port.addressV6Low) != 0;
    store<u64>(f, hasOwn ? port.addressV6High : Tables.control.primaryV6High, 22);
    store<u64>(f, hasOwn ? port.addressV6Low : Tables.control.primaryV6Low, 30);
    store<u64>(f, 0x00000000000002ff, 38);
    store<u64>(f, groupLow, 46);
    store<u32>(f, 135, 54);
    store<u32>(f, 0, 58);
    store<u64>(f, high, 62);
    store<u64>(f, low, 70);
    store<u16>(f, 0x0101, 78);
    store<u32>(f, port.macLow, 80);
    store<u16>(f, <u16>port.macHigh, 84);
    const pseudo = Checksum.sum(f + 22, 32) + 0x2000 + 0x3a00;
    store<u16>(f, <u16>(~Checksum.fold(Checksum.sum(f + 54, 32) + pseudo) & 0xffff), 56);
    p.length = 86;
  }

  /** Do we answer for this address on that port? */
  static answers(high: u64, low: u64, family: u32, ingress: u32): bool {
    const port = Tables.port(ingress);
    if (port.kind == PortKind.HOST) return true;
    if (
      family == 4 ? port.addressV4 == low : port.addressV6Low == low && port.addressV6High == high && (low | high) != 0
    )
      return true;
    const slot = Addresses.find(high, low, family);
    if (slot != 0) {
      const address = changetype<Address>(slot);
      // An address with a port of its own is answered for there; one without, everywhere but on pod links. Service addresses only
      // where they are announced: all nodes know them, one answers.
      if (address.port != NONE) return address.port == ingress;
      if ((<u32>address.flags & (AddressFlag.LOCAL | AddressFlag.ANNOUNCED)) != 0 && port.kind != PortKind.POD)
        return true;
    }
    return port.proxyArp != 0 && Neighbors.routesElsewhere(high, low, family, ingress);
  }

  static routesElsewhere(high: u64, low: u64, family: u32, ingress: u32): bool {
    const route = Prefixes.match(PrefixScope.ROUTE, high, low, family);
    return route != 0 && changetype<Prefix>(route).port != ingress;
  }

  static arp(p: Parsed): u32 {
    const f = <usize>p.frame;
    // Ethernet, IPv4, address lengths 6 and 4.
    if (load<u32>(f, 14) != 0x00080100 || load<u16>(f, 18) != 0x0406) return Emit.drop(p, Reason.BAD_ARP);
    const operation = bswap<u16>(load<u16>(f, 20));
    if (operation != 1 && operation != 2) return Emit.drop(p, Reason.BAD_ARP);
    const sender = ((<u64>load<u32>(f, 28)) << 32) | 0xffff0000;
    const target = ((<u64>load<u32>(f, 38)) << 32) | 0xffff0000;
    if (!Addresses.isUnspecified(0, sender, 4) && (load<u8>(f, 22) & 1) == 0) {
      const known = Neighbors.find(0, sender, p.ingress) != 0;
      if (known || operation == 2 || Neighbors.answers(0, target, 4, p.ingress)) {
        Neighbors.learn(0, sender, p.ingress, load<u32>(f, 22), load<u16>(f, 26));
      }
    }
    if (operation != 1 || !Neighbors.answers(0, target, 4, p.ingress)) {
      p.reason = Reason.NONE;
      return Verdict.DROP;
    }
    const port = Tables.port(p.ingress);
    store<u32>(f, load<u32>(f, 22));
    store<u16>(f, load<u16>(f, 26), 4);
    store<u32>(f, port.macLow, 6);
    store<u16>(f, <u16>port.macHigh, 10);
    store<u16>(f, 0x0200, 20);
    store<u32>(f, load<u32>(f, 22), 32);
    store<u16>(f, load<u16>(f, 26), 36);
    const asked = load<u32>(f, 38);
    store<u32>(f, load<u32>(f, 28), 38);
    store<u32>(f, asked, 28);
    store<u32>(f, port.macLow, 22);
    store<u16>(f, <u16>port.macHigh, 26);
    p.egress = p.ingress;
    return Verdict.TX;
  }

  /** Neighbour solicitations and advertisements; the rest of neighbour discovery is not for a forwarder. */
  static discovery(p: Parsed): u32 {
    const t = <usize>p.transport;
    const type = p.tcpFlags;
    if (p.ttl != 255 || (p.flags & ParsedFlag.ETHERNET) == 0) return Emit.drop(p, Reason.BAD_NEIGHBOR_DISCOVERY);
    if (type != 135 && type != 136) {
      p.reason = Reason.NONE;
      return Verdict.DROP;
    }
    if (p.end - p.transport < 24) return Emit.drop(p, Reason.BAD_NEIGHBOR_DISCOVERY);
    const high = load<u64>(t, 8);
    const low = load<u64>(t, 16);
    const option = Neighbors.option(p, type == 135 ? 1 : 2);
    if (type == 136) {
      if (option != 0) Neighbors.learn(high, low, p.ingress, load<u32>(option, 2), load<u16>(option, 6));
      p.reason = Reason.NONE;
      return Verdict.DROP;
    }
    if (!Neighbors.answers(high, low, 6, p.ingress)) {
      p.reason = Reason.NONE;
      return Verdict.DROP;
    }
    const unspecified = Addresses.isUnspecified(p.sourceHigh, p.sourceLow, 6);
    if (option != 0 && !unspecified)
      Neighbors.learn(p.sourceHigh, p.sourceLow, p.ingress, load<u32>(option, 2), load<u16>(option, 6));
    const f = <usize>p.frame;
    const n = <usize>p.network;
    const port = Tables.port(p.ingress);
    store<u32>(f, load<u32>(f, 6));
    store<u16>(f, load<u16>(f, 10), 4);
    store<u32>(f, port.macLow, 6);
    store<u16>(f, <u16>port.macHigh, 10);
    store<u32>(n, 0x00000060);
    store<u32>(n, 0xff3a2000, 4);
    // Answer an unspecified source (duplicate address detection) to all nodes, unsolicited.
    store<u64>(n, unspecified ? 0x00000000000002ff : p.sourceHigh, 24);
    store<u64>(n, unspecified ? 0x0100000000000000 : p.sourceLow, 32);
    store<u64>(n, high, 8);
    store<u64>(n, low, 16);
    const a = n + 40;
    store<u32>(a, 136);
    store<u32>(a, unspecified ? 0x000000a0 : 0x000000e0, 4);
    store<u64>(a, high, 8);
    store<u64>(a, low, 16);
    store<u16>(a, 0x0102, 24);
    store<u32>(a, port.macLow, 26);
    store<u16>(a, <u16>port.macHigh, 30);
    const pseudo = Checksum.sum(n + 8, 32) + 0x2000 + 0x3a00;
    store<u16>(a, <u16>(~Checksum.fold(Checksum.sum(a, 32) + pseudo) & 0xffff), 2);
    p.end = p.network + 72;
    p.length = p.end - p.frame;
    p.egress = p.ingress;
    return Verdict.TX;
  }

  /** Address of a link-layer address option, or 0. */
  static option(p: Parsed, kind: u32): usize {
    let at = p.transport + 24;
    while (at + 8 <= p.end) {
      const size = (<u32>load<u8>(<usize>at, 1)) << 3;
      if (size == 0 || size > p.end - at) return 0;
      if (<u32>load<u8>(<usize>at) == kind) return <usize>at;
      at += size;
    }
    return 0;
  }
}
