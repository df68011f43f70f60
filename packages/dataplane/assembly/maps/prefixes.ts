import { MAPPED, Prefix, PrefixScope } from "../generated/layout";
import { Hash } from "../hash";
import { Tables } from "./tables";

/** What `nodeFlags` was asked last, and what it said; valid while `routeEpoch` is the same. */
class NodeAnswer {
  static high: u64 = 0;
  static low: u64 = 0;
  static maskHigh: u64 = 0;
  static maskLow: u64 = 0;
  /** 0: nothing was asked yet. */
  static family: u32 = 0;
  static epoch: u32 = 0;
  static flags: u32 = 0;
}

/**
 * Longest prefix match: one hash table for all prefixes and, per scope, the set of lengths in use. A lookup probes once for each
 * length in use, longest first: host routes cost one probe. Lengths are those of the 128-bit form.
 */
export class Prefixes {
  @inline static slot(index: u32): Prefix {
    return changetype<Prefix>(<usize>(Tables.control.prefixes + (index << 6)));
  }

  /** Network mask of the first (n = 0) or second word for a length, raw. */
  @inline static maskHigh(length: u32): u64 {
    return length >= 64 ? 0xffffffffffffffff : length == 0 ? 0 : bswap<u64>((<u64>0xffffffffffffffff) << (64 - length));
  }
  @inline static maskLow(length: u32): u64 {
    return length >= 128
      ? 0xffffffffffffffff
      : length <= 64
        ? 0
        : bswap<u64>((<u64>0xffffffffffffffff) << (128 - length));
  }

  @inline static key(scope: u32, family: u32, length: u32): u32 {
    return 0x80000000 | (family << 16) | (scope << 8) | length;
  }

  static find(high: u64, low: u64, key: u32): usize {
    const mask = Tables.control.prefixMask;
    let i = <u32>(Hash.address(high, low, key) >> 32) & mask;
    while (true) {
      const slot = Prefixes.slot(i);
      const k = slot.key;
      if (k == key && slot.low == low && slot.high == high) return changetype<usize>(slot);
      if (k == 0) return 0;
      i = (i + 1) & mask;
    }
  }

  @inline static probe(scope: u32, high: u64, low: u64, family: u32, length: u32): usize {
    return Prefixes.find(
      high & Prefixes.maskHigh(length),
      low & Prefixes.maskLow(length),
      Prefixes.key(scope, family, length),
    );
  }

  /** Longest match: address of the entry, or 0. */
  static match(scope: u32, high: u64, low: u64, family: u32): usize {
    const control = Tables.control;
    const routes = scope == PrefixScope.ROUTE;
    if ((routes ? control.routeLength128 : control.nodeLength128) != 0) {
      const found = Prefixes.find(high, low, Prefixes.key(scope, family, 128));
      if (found != 0) return found;
    }
    let bits = routes ? control.routeLengthsHigh : control.nodeLengthsHigh;
    while (bits != 0) {
      const bit = 63 - <u32>clz<u64>(bits);
      const found = Prefixes.probe(scope, high, low, family, 64 + bit);
      if (found != 0) return found;
      bits ^= (<u64>1) << bit;
    }
    // IPv4 lengths are 96 and more in the 128-bit form.
    if (family == 4) return 0;
    bits = routes ? control.routeLengthsLow : control.nodeLengthsLow;
    while (bits != 0) {
      const bit = 63 - <u32>clz<u64>(bits);
      const found = Prefixes.probe(scope, high, low, family, bit);
      if (found != 0) return found;
      bits ^= (<u64>1) << bit;
    }
    return 0;
  }

  /**
   * Flags of the node's prefix that an address is in. The last answer is kept: what agrees with that address as far as the longest
   * prefix in use is in the same one.
   */
  @inline static nodeFlags(high: u64, low: u64, family: u32): u32 {
    return (((high ^ NodeAnswer.high) & NodeAnswer.maskHigh) | ((low ^ NodeAnswer.low) & NodeAnswer.maskLow)) == 0 &&
      family == NodeAnswer.family &&
      Tables.control.routeEpoch == NodeAnswer.epoch
      ? NodeAnswer.flags
      : Prefixes.findNodeFlags(high, low, family);
  }

  /** The same for an IPv4 address. */
  @inline static nodeFlagsV4(address: u32): u32 {
    return ((address ^ <u32>(NodeAnswer.low >> 32)) & <u32>(NodeAnswer.maskLow >> 32)) == 0 &&
      NodeAnswer.family == 4 &&
      Tables.control.routeEpoch == NodeAnswer.epoch
      ? NodeAnswer.flags
      : Prefixes.findNodeFlags(0, ((<u64>address) << 32) | <u64>MAPPED, 4);
  }

  static findNodeFlags(high: u64, low: u64, family: u32): u32 {
    const control = Tables.control;
    const found = Prefixes.match(PrefixScope.NODE, high, low, family);
    let longest: u32 = 0;
    if (control.nodeLength128 != 0) longest = 128;
    else if (control.nodeLengthsHigh != 0) longest = 127 - <u32>clz<u64>(control.nodeLengthsHigh);
    else if (control.nodeLengthsLow != 0) longest = 63 - <u32>clz<u64>(control.nodeLengthsLow);
    NodeAnswer.high = high;
    NodeAnswer.low = low;
    NodeAnswer.maskHigh = Prefixes.maskHigh(longest);
    NodeAnswer.maskLow = Prefixes.maskLow(longest);
    NodeAnswer.family = family;
    NodeAnswer.epoch = control.routeEpoch;
    NodeAnswer.flags = found == 0 ? 0 : changetype<Prefix>(found).flags;
    return NodeAnswer.flags;
  }

  /** Finds or creates the entry of a masked prefix. The host counts lengths and keeps the table at most half full. */
  static ensure(high: u64, low: u64, key: u32): usize {
    const found = Prefixes.find(high, low, key);
    if (found != 0) return found;
    const mask = Tables.control.prefixMask;
    let i = <u32>(Hash.address(high, low, key) >> 32) & mask;
    while (Prefixes.slot(i).key != 0) i = (i + 1) & mask;
    const slot = Prefixes.slot(i);
    memory.fill(changetype<usize>(slot), 0, 64);
    slot.high = high;
    slot.low = low;
    slot.key = key;
    return changetype<usize>(slot);
  }

  static remove(high: u64, low: u64, key: u32): void {
    const found = Prefixes.find(high, low, key);
    if (found == 0) return;
    const mask = Tables.control.prefixMask;
    let hole = <u32>((found - <usize>Tables.control.prefixes) >> 6);
    let i = hole;
    while (true) {
      i = (i + 1) & mask;
      const slot = Prefixes.slot(i);
      if (slot.key == 0) break;
      const home = <u32>(Hash.address(slot.high, slot.low, slot.key) >> 32) & mask;
      if (((i - home) & mask) >= ((i - hole) & mask)) {
        memory.copy(changetype<usize>(Prefixes.slot(hole)), changetype<usize>(slot), 64);
        hole = i;
      }
    }
    Prefixes.slot(hole).key = 0;
  }
}
