import { Control } from "./generated/layout";
import { Tables } from "./maps/tables";

/**
 * Seeded multiply-xorshift hashes. Map indices come from the high half and tags from the low bits; each use has constants of its
 * own, since two maps that share a hash leave whole buckets empty.
 */
export class Hash {
  @inline static get seed(): u64 {
    return load<u64>(changetype<usize>(Tables.control), offsetof<Control>("seedLow"));
  }

  /** Of the tuple of an IPv4 connection: both addresses as they lie in a header. */
  @inline static v4(addresses: u64, ports: u32, meta: u32): u64 {
    let h = (addresses ^ Hash.seed) * 0xbf58476d1ce4e5b9;
    h = (h ^ (h >> 32) ^ (<u64>ports | ((<u64>meta) << 32))) * 0x94d049bb133111eb;
    return h ^ (h >> 32);
  }

  /**
   * Of a connection tuple. A multiplication moves differences upwards only: so what may differ at the top of a word is brought down
   * before the next.
   */
  @inline static tuple(
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    ports: u32,
    meta: u32,
  ): u64 {
    return ((meta >> 8) & 0xff) == 4
      ? Hash.v4((sourceLow >> 32) | (destinationLow & 0xffffffff00000000), ports, meta)
      : Hash.v6(sourceHigh, sourceLow, destinationHigh, destinationLow, ports, meta);
  }

  static v6(sourceHigh: u64, sourceLow: u64, destinationHigh: u64, destinationLow: u64, ports: u32, meta: u32): u64 {
    const both = <u64>ports | ((<u64>ports) << 32);
    let h = ((rotl<u64>(sourceLow, 32) + sourceHigh * 0x9e3779b97f4a7c15) ^ both ^ Hash.seed) * 0xbf58476d1ce4e5b9;
    h ^= h >> 32;
    h =
      (h + rotl<u64>(destinationLow, 32) + destinationHigh * 0xc2b2ae3d27d4eb4f + ((<u64>meta) << 40)) *
      0x94d049bb133111eb;
    h ^= h >> 32;
    h *= 0xff51afd7ed558ccd;
    return h ^ (h >> 32);
  }

  /** Of an address and one further word. */
  @inline static address(high: u64, low: u64, word: u64): u64 {
    let h = (rotl<u64>(low, 32) + high * 0xd6e8feb86659fd93 + Hash.seed) * 0xa0761d6478bd642f;
    h ^= h >> 32;
    h = (h + word) * 0xe7037ed1a0b428db;
    return h ^ (h >> 32);
  }
}
