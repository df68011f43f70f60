import { Checksum } from "../checksum";
import { Descriptors } from "../descriptors";
import { DNS_ADDRESSES, DNS_ANSWERED, DNS_LARGEST_QUERY } from "../generated/dns-layout";
import { DESCRIPTORS, Parsed, PARSED, ParsedFlag, Reason, Verdict } from "../generated/layout";
import { Addresses } from "../maps/addresses";
import { Tables } from "../maps/tables";
import { Parse } from "../parse";
import { Message } from "./message";
import { Names } from "./names";

/** Octets of a frame before an answer's message, at least: Ethernet, IPv4, UDP. */
const SMALLEST: u32 = 42 + 17;
const USER: usize = 6144;

/**
 * The program before `ingress`: questions to the DNS Service's addresses become answers and leave by the port they came in on; all
 * others stay, in their order, for the Service programs. It decides only about frames that are whole and sound; what is odd about a
 * frame is for `ingress` to say.
 */
export class Frames {
  /**
   * Looks at the first `count` descriptors. Answered frames are moved behind the others, with verdict TX.
   *
   * @returns how many are not answered: the first ones
   */
  static batch(count: u32): u32 {
    let kept: u32 = 0;
    let answered: u32 = 0;
    const aside = <usize>(Names.base + DNS_ANSWERED);
    for (let i: u32 = 0; i < count; i++) {
      const frame = Descriptors.frame(i);
      const length = Descriptors.length(i);
      const octets = Frames.isCandidate(frame, length) ? Frames.answer(frame, length, Descriptors.ingress(i)) : 0;
      if (octets != 0) {
        const entry = aside + ((<usize>answered) << 4);
        store<u32>(entry, frame);
        store<u32>(entry, octets, 4);
        store<u32>(entry, Descriptors.ingress(i), 8);
        store<u32>(entry, Frames.user(i), 12);
        answered++;
        continue;
      }
      if (kept != i) {
        Descriptors.set(kept, frame, length, Descriptors.ingress(i));
        Frames.setUser(kept, Frames.user(i));
      }
      kept++;
    }
    for (let i: u32 = 0; i < answered; i++) {
      const entry = aside + ((<usize>i) << 4);
      const port = load<u32>(entry, 8);
      Descriptors.set(kept + i, load<u32>(entry), load<u32>(entry, 4), port);
      Descriptors.resolve(Descriptors.at(kept + i), Verdict.TX, port, load<u32>(entry, 4), Reason.NONE);
      Frames.setUser(kept + i, load<u32>(entry, 12));
    }
    return kept;
  }

  @inline static user(i: u32): u32 {
    return load<u32>(<usize>(DESCRIPTORS + (i << 2)), USER);
  }
  @inline static setUser(i: u32, value: u32): void {
    store<u32>(<usize>(DESCRIPTORS + (i << 2)), value, USER);
  }

  /** UDP to port 53 in a header without options: two loads tell nearly every other frame apart. */
  @inline static isCandidate(frame: u32, length: u32): bool {
    if (length < SMALLEST) return false;
    const f = <usize>frame;
    const type = load<u16>(f, 12);
    if (type == 0x0008) return load<u16>(f, 36) == 0x3500 && load<u8>(f, 23) == 17 && load<u8>(f, 14) == 0x45;
    return type == 0xdd86 && load<u16>(f, 56) == 0x3500 && load<u8>(f, 20) == 17;
  }

  /** Octets of the frame that the answer is, 0 when there is none. */
  static answer(frame: u32, length: u32, ingress: u32): u32 {
    const p = changetype<Parsed>(<usize>PARSED);
    Parse.frame(p, frame, length, ingress);
    if (p.reason != Reason.NONE) return 0;
    if ((p.flags & ~(ParsedFlag.ETHERNET | ParsedFlag.DONT_FRAGMENT)) != ParsedFlag.PORTS) return 0;
    if (!Frames.isServed(p.destinationHigh, p.destinationLow)) return 0;
    const family = p.meta >> 8;
    if (p.ttl <= 1 || Addresses.isMulticast(p.sourceHigh, p.sourceLow, family)) return 0;
    const t = <usize>p.transport;
    const octets = <u32>bswap<u16>(load<u16>(t, 4));
    if (octets < 25 || octets > p.end - p.transport || octets > DNS_LARGEST_QUERY + 8) return 0;
    if (Frames.isReflecting(<u32>bswap<u16>(load<u16>(t)))) return 0;
    const pseudo = Frames.addresses(p);
    const sum = load<u16>(t, 6);
    if (sum == 0 ? family == 6 : Checksum.fold(pseudo + Frames.header(octets) + Checksum.sum(t, octets)) != 0xffff)
      return 0;
    const reply = Message.answer(p.transport + 8, octets - 8, 0);
    if (reply == 0) return 0;

    const f = <usize>frame;
    const macLow = load<u32>(f);
    const macHigh = load<u16>(f, 4);
    store<u32>(f, load<u32>(f, 6));
    store<u16>(f, load<u16>(f, 10), 4);
    store<u32>(f, macLow, 6);
    store<u16>(f, macHigh, 10);
    const ports = load<u32>(t);
    store<u32>(t, rotl<u32>(ports, 16));
    const size = reply + 8;
    store<u16>(t, bswap<u16>(<u16>size), 4);
    store<u16>(t, 0, 6);
    const checksum = ~Checksum.fold(pseudo + Frames.header(size) + Checksum.sum(t, size)) & 0xffff;
    store<u16>(t, <u16>(checksum == 0 ? 0xffff : checksum), 6);
    const n = <usize>p.network;
    if (family == 4) {
      store<u16>(n, 0x0045);
      store<u16>(n, bswap<u16>(<u16>(size + 20)), 2);
      // No fragments, so no identification is needed (RFC 6864).
      store<u32>(n, 0x00400000, 4);
      store<u16>(n, 0x1140, 8);
      store<u16>(n, 0, 10);
      store<u64>(n, rotl<u64>(load<u64>(n, 12), 32), 12);
      store<u16>(n, <u16>(~Checksum.fold(Checksum.header20(n)) & 0xffff), 10);
      return 34 + size;
    }
    store<u32>(n, 0x00000060);
    store<u16>(n, bswap<u16>(<u16>size), 4);
    store<u8>(n, 64, 7);
    const high = load<u64>(n, 8);
    const low = load<u64>(n, 16);
    store<u64>(n, load<u64>(n, 24), 8);
    store<u64>(n, load<u64>(n, 32), 16);
    store<u64>(n, high, 24);
    store<u64>(n, low, 32);
    return 54 + size;
  }

  static isServed(high: u64, low: u64): bool {
    const count = Names.zone.addressCount;
    for (let i: u32 = 0; i < count; i++) {
      const at = <usize>(Names.base + DNS_ADDRESSES + (i << 4));
      if (load<u64>(at, 8) == low && load<u64>(at) == high) return true;
    }
    return false;
  }

  /** Sources that answer to everything: a reply to one of them starts an endless exchange. */
  @inline static isReflecting(port: u32): bool {
    return port == 0 || port == 7 || port == 13 || port == 19 || port == 37 || port == 464;
  }

  /** Part of the pseudo header's sum that stays when source and destination change places. */
  @inline static addresses(p: Parsed): u64 {
    const n = <usize>p.network;
    if (p.meta >> 8 == 4) return Checksum.halves(load<u64>(n, 12));
    return (
      Checksum.halves(load<u64>(n, 8)) +
      Checksum.halves(load<u64>(n, 16)) +
      Checksum.halves(load<u64>(n, 24)) +
      Checksum.halves(load<u64>(n, 32))
    );
  }

  /** The rest of it: protocol 17 and the length, as raw words. */
  @inline static header(octets: u32): u64 {
    return <u64>(0x1100 + <u32>bswap<u16>(<u16>octets));
  }
}
