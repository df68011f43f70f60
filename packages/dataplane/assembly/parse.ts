import { Checksum } from "./checksum";
import { NONE, Parsed, ParsedFlag, PortKind, Reason } from "./generated/layout";
import { Hash } from "./hash";
import { Addresses } from "./maps/addresses";
import { Tables } from "./maps/tables";

/**
 * First step: what is this frame? All lengths are checked here, once, so that no later step can read outside of the packet. A
 * malformed frame gets a reason and is never translated or passed on.
 *
 * Sources: RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 9260; checks as in Linux ip_rcv and ip6_rcv.
 */
export class Parse {
  /** A frame as it came from port `ingress`, Ethernet header first. */
  static frame(p: Parsed, frame: u32, length: u32, ingress: u32): void {
    Parse.reset(p, frame, length, ingress);
    if (length < 14) {
      p.reason = Reason.TRUNCATED;
      return;
    }
    if (ingress >= Tables.control.portCapacity || Tables.port(ingress).kind == PortKind.ABSENT) {
      p.reason = Reason.UNKNOWN_PORT;
      return;
    }
    const at = <usize>frame;
    let flags: u32 = ParsedFlag.ETHERNET;
    const port = Tables.port(ingress);
    if (load<u32>(at) != port.macLow || <u32>load<u16>(at, 4) != port.macHigh) {
      if (load<u8>(at) & 1) flags |= ParsedFlag.BROADCAST;
      else flags |= ParsedFlag.FOREIGN;
    }
    p.flags = flags;
    const type = bswap<u16>(load<u16>(at, 12));
    if (type == 0x0800) Parse.ipv4(p, frame + 14, frame + length);
    else if (type == 0x86dd) Parse.ipv6(p, frame + 14, frame + length);
    else if (type == 0x0806) {
      p.network = frame + 14;
      p.end = frame + length;
      p.flags |= ParsedFlag.ARP;
      if (length < 42) p.reason = Reason.BAD_ARP;
      return;
    } else {
      p.reason = Reason.UNSUPPORTED_NETWORK_PROTOCOL;
      return;
    }
    // A frame for somebody else is not ours to translate, however the switch came to send it here.
    if (p.reason == Reason.NONE && (flags & ParsedFlag.FOREIGN) != 0) p.reason = Reason.OTHER_HOST;
    if (p.reason == Reason.NONE && port.kind != PortKind.HOST) {
      const family = p.meta >> 8;
      if (
        Addresses.isLoopback(p.sourceHigh, p.sourceLow, family) ||
        Addresses.isLoopback(p.destinationHigh, p.destinationLow, family)
      ) {
        p.reason = Reason.MARTIAN_LOOPBACK;
      }
    }
  }

  /** An IP packet without a link header. */
  static packet(p: Parsed, packet: u32, length: u32, ingress: u32): void {
    Parse.reset(p, packet, length, ingress);
    if (length == 0) {
      p.reason = Reason.TRUNCATED;
      return;
    }
    const version = load<u8>(<usize>packet) >> 4;
    if (version == 4) Parse.ipv4(p, packet, packet + length);
    else if (version == 6) Parse.ipv6(p, packet, packet + length);
    else p.reason = Reason.BAD_VERSION;
  }

  @inline static reset(p: Parsed, frame: u32, length: u32, ingress: u32): void {
    const at = changetype<usize>(p);
    if (ASC_FEATURE_SIMD) {
      const zero = i64x2.splat(0);
      v128.store(at, zero);
      v128.store(at, zero, 16);
      v128.store(at, zero, 32);
      v128.store(at, zero, 48);
      v128.store(at, zero, 64);
      v128.store(at, zero, 80);
      v128.store(at, zero, 96);
      v128.store(at, zero, 112);
    } else memory.fill(at, 0, 128);
    p.frame = frame;
    p.length = length;
    p.ingress = ingress;
    p.network = frame;
    p.end = frame + length;
    p.egress = NONE;
    p.candidate = NONE;
  }

  @inline static ipv4(p: Parsed, network: u32, limit: u32): void {
    const n = <usize>network;
    const room = limit - network;
    p.network = network;
    if (room < 20) {
      p.reason = Reason.TRUNCATED;
      return;
    }
    const first = <u32>load<u8>(n);
    if (first >> 4 != 4) {
      p.reason = Reason.BAD_VERSION;
      return;
    }
    const header = (first & 15) << 2;
    if (header < 20) {
      p.reason = Reason.BAD_HEADER_LENGTH;
      return;
    }
    const total = <u32>bswap<u16>(load<u16>(n, 2));
    if (total < header) {
      p.reason = Reason.BAD_TOTAL_LENGTH;
      return;
    }
    if (total > room) {
      p.reason = Reason.TRUNCATED;
      return;
    }
    let sum = Checksum.header20(n);
    if (header > 20) sum += Checksum.sum(n + 20, header - 20);
    if (Checksum.fold(sum) != 0xffff) {
      p.reason = Reason.BAD_HEADER_CHECKSUM;
      return;
    }
    p.end = network + total;
    p.ttl = load<u8>(n, 8);
    const protocol = <u32>load<u8>(n, 9);
    p.meta = protocol | 0x400;
    p.sourceLow = ((<u64>load<u32>(n, 12)) << 32) | 0xffff0000;
    p.destinationLow = ((<u64>load<u32>(n, 16)) << 32) | 0xffff0000;
    const fragment = <u32>bswap<u16>(load<u16>(n, 6));
    if ((fragment & 0x4000) != 0) p.flags |= ParsedFlag.DONT_FRAGMENT;
    if ((fragment & 0x3fff) != 0) {
      p.fragment = load<u16>(n, 4);
      const offset = fragment & 0x1fff;
      if (offset != 0) {
        // An offset of 8 bytes can only overwrite TCP flags (RFC 1858, RFC 3128).
        if (protocol == 6 && offset == 1) {
          p.reason = Reason.BAD_FRAGMENT;
          return;
        }
        p.flags |= ParsedFlag.LATER_FRAGMENT;
        return;
      }
      p.flags |= ParsedFlag.FIRST_FRAGMENT;
    }
    Parse.transport(p, protocol, network + header);
  }

  static ipv6(p: Parsed, network: u32, limit: u32): void {
    const n = <usize>network;
    p.network = network;
    if (limit - network < 40) {
      p.reason = Reason.TRUNCATED;
      return;
    }
    if (load<u8>(n) >> 4 != 6) {
      p.reason = Reason.BAD_VERSION;
      return;
    }
    const end = network + 40 + <u32>bswap<u16>(load<u16>(n, 4));
    if (end > limit) {
      p.reason = Reason.TRUNCATED;
      return;
    }
    p.end = end;
    p.ttl = load<u8>(n, 7);
    p.flags |= ParsedFlag.DONT_FRAGMENT;
    p.sourceHigh = load<u64>(n, 8);
    p.sourceLow = load<u64>(n, 16);
    p.destinationHigh = load<u64>(n, 24);
    p.destinationLow = load<u64>(n, 32);
    let next = <u32>load<u8>(n, 6);
    let at = network + 40;
    p.meta = next | 0x600;
    // IPv4-mapped addresses never appear on the wire (RFC 4291 2.5.5.2, RFC 6890).
    if (
      (p.sourceHigh == 0 && (p.sourceLow & 0xffffffff) == 0xffff0000) ||
      (p.destinationHigh == 0 && (p.destinationLow & 0xffffffff) == 0xffff0000)
    ) {
      p.reason = Reason.INVALID_SOURCE;
      return;
    }
    for (let count = 0; count < 8; count++) {
      if (next == 0 || next == 43 || next == 60 || next == 51) {
        if (end - at < 8 || (next == 0 && count != 0)) {
          p.reason = Reason.BAD_EXTENSION_HEADER;
          return;
        }
        const units = <u32>load<u8>(<usize>at, 1);
        const size = next == 51 ? (units + 2) << 2 : (units + 1) << 3;
        if (size > end - at) {
          p.reason = Reason.BAD_EXTENSION_HEADER;
          return;
        }
        next = load<u8>(<usize>at);
        at += size;
      } else if (next == 44) {
        if (end - at < 8) {
          p.reason = Reason.BAD_EXTENSION_HEADER;
          return;
        }
        next = load<u8>(<usize>at);
        const field = <u32>bswap<u16>(load<u16>(<usize>at, 2));
        const offset = field >> 3;
        const more = field & 1;
        // A fragment with offset 0 and no more to come is a whole packet (RFC 6946).
        if (offset != 0 || more != 0) {
          p.fragment = load<u32>(<usize>at, 4);
          p.meta = next | 0x600;
          if (offset != 0) {
            p.flags |= ParsedFlag.LATER_FRAGMENT;
            return;
          }
          if (((end - at) & 7) != 0) {
            p.reason = Reason.BAD_FRAGMENT;
            return;
          }
          p.flags |= ParsedFlag.FIRST_FRAGMENT;
        }
        at += 8;
      } else {
        p.meta = next | 0x600;
        Parse.transport(p, next, at);
        return;
      }
    }
    p.reason = Reason.BAD_EXTENSION_HEADER;
  }

  @inline static transport(p: Parsed, protocol: u32, at: u32): void {
    const t = <usize>at;
    const room = p.end - at;
    p.transport = at;
    const first = (p.flags & ParsedFlag.FIRST_FRAGMENT) != 0;
    if (protocol == 6) {
      if (room < 20) {
        Parse.short(p, first);
        return;
      }
      const header = (<u32>(load<u8>(t, 12) >> 4)) << 2;
      if (header < 20 || (!first && header > room)) {
        p.reason = Reason.BAD_TRANSPORT_HEADER;
        return;
      }
      p.tcpFlags = load<u8>(t, 13);
      p.ports = load<u32>(t);
      p.flags |= ParsedFlag.PORTS;
    } else if (protocol == 17) {
      if (room < 8) {
        Parse.short(p, first);
        return;
      }
      const length = <u32>bswap<u16>(load<u16>(t, 4));
      if (length < 8 || (!first && length > room)) {
        p.reason = Reason.BAD_TRANSPORT_HEADER;
        return;
      }
      p.ports = load<u32>(t);
      p.flags |= ParsedFlag.PORTS;
    } else if (protocol == 132) {
      if (room < 12) {
        Parse.short(p, first);
        return;
      }
      p.ports = load<u32>(t);
      p.flags |= ParsedFlag.PORTS;
      // The type of the first chunk drives the state machine; 0 (DATA) when there is none.
      p.tcpFlags = room >= 16 ? <u32>load<u8>(t, 12) : 0;
    } else if ((protocol == 1 && p.meta >> 8 == 4) || (protocol == 58 && p.meta >> 8 == 6)) {
      if (room < 8) {
        Parse.short(p, first);
        return;
      }
      const type = <u32>load<u8>(t);
      p.tcpFlags = type;
      if (protocol == 1) {
        if (type == 3 || type == 4 || type == 5 || type == 11 || type == 12) p.flags |= ParsedFlag.ICMP_ERROR;
        else if (type == 8 || type == 0 || (type >= 13 && type <= 18)) p.flags |= ParsedFlag.ICMP_QUERY;
      } else {
        if (type >= 1 && type <= 4) p.flags |= ParsedFlag.ICMP_ERROR;
        else if (type == 128 || type == 129) p.flags |= ParsedFlag.ICMP_QUERY;
        else if (type >= 133 && type <= 137) p.flags |= ParsedFlag.NEIGHBOR_DISCOVERY;
      }
      if ((p.flags & ParsedFlag.ICMP_QUERY) != 0) {
        const id = <u32>load<u16>(t, 4);
        p.ports = id | (id << 16);
      }
    }
    p.hash = Hash.tuple(p.sourceHigh, p.sourceLow, p.destinationHigh, p.destinationLow, p.ports, p.meta);
  }

  /** Too short for its transport header: as a first fragment that is an evasion attempt, otherwise a truncated packet. */
  static short(p: Parsed, first: bool): void {
    p.reason = first ? Reason.BAD_FRAGMENT : Reason.TRUNCATED;
  }
}
