import { Connection, ConnectionFlag, NONE, Parsed } from "../generated/layout";
import { Tables } from "./tables";

/**
 * Index of connections by tuple. Both directions of a connection have an entry of their own that refers to the same record. A
 * bucket is one cache line:
 *
 *     0        12  13      16                                            64
 *     +---------+---+-------+----------------------------------------------+
 *     | 12 tags | o |  pad  |     12 references (record << 1 | direction)  |
 *     +---------+---+-------+----------------------------------------------+
 *
 * A tag holds seven bits of the hash and is never 0, which marks a free slot. `o` counts entries that found their bucket full and
 * went to its alternative (bucket XOR a function of the tag); while it is 0 a lookup reads one line. SIMD compares all tags at once;
 * the scalar build does the same with two words.
 */
export class ConnectionIndex {
  @inline static bucket(index: u32): usize {
    return <usize>(Tables.control.connectionBuckets + (index << 6));
  }

  @inline static home(hash: u64): u32 {
    return <u32>(hash >> 32) & Tables.control.connectionBucketMask;
  }

  @inline static tag(hash: u64): u32 {
    return (<u32>hash & 0x7f) | 0x80;
  }

  @inline static alternative(index: u32, tag: u32): u32 {
    return (index ^ (((tag * 0x9e3779b1) >> 8) | 1)) & Tables.control.connectionBucketMask;
  }

  /** Bit i is set when tag i equals `tag`. */
  @inline static matches(bucket: usize, tag: u32): u32 {
    if (ASC_FEATURE_SIMD) {
      return <u32>i8x16.bitmask(i8x16.eq(v128.load(bucket), i8x16.splat(<i8>tag))) & 0xfff;
    }
    const pattern = <u64>tag * 0x0101010101010101;
    return (
      ConnectionIndex.zeros(load<u64>(bucket) ^ pattern) |
      ((ConnectionIndex.zeros(<u64>load<u32>(bucket, 8) ^ (pattern & 0xffffffff)) & 15) << 8)
    );
  }

  /** Bit i is set when byte i is zero. */
  @inline static zeros(word: u64): u32 {
    const marks = ~(((word & 0x7f7f7f7f7f7f7f7f) + 0x7f7f7f7f7f7f7f7f) | word | 0x7f7f7f7f7f7f7f7f);
    return <u32>(((marks >> 7) * 0x0102040810204080) >> 56);
  }

  /** Reference of the tuple, or none. */
  @inline static find(
    hash: u64,
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    ports: u32,
    meta: u32,
  ): u32 {
    const tag = ConnectionIndex.tag(hash);
    const home = ConnectionIndex.home(hash);
    const first = ConnectionIndex.bucket(home);
    const found = ConnectionIndex.scan(first, tag, sourceHigh, sourceLow, destinationHigh, destinationLow, ports, meta);
    if (found != NONE || load<u8>(first, 12) == 0) return found;
    return ConnectionIndex.scan(
      ConnectionIndex.bucket(ConnectionIndex.alternative(home, tag)),
      tag,
      sourceHigh,
      sourceLow,
      destinationHigh,
      destinationLow,
      ports,
      meta,
    );
  }

  @inline static scan(
    bucket: usize,
    tag: u32,
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    ports: u32,
    meta: u32,
  ): u32 {
    let matches = ConnectionIndex.matches(bucket, tag);
    while (matches != 0) {
      const reference = load<u32>(bucket + ((<usize>ctz<u32>(matches)) << 2), 16);
      const record = changetype<usize>(Tables.connection(reference >> 1));
      const tuple = record + ((<usize>(reference & 1)) << 6);
      if (
        load<u64>(tuple, 8) == sourceLow &&
        load<u64>(tuple, 24) == destinationLow &&
        load<u32>(tuple, 32) == ports &&
        <u32>changetype<Connection>(record).meta == meta &&
        load<u64>(tuple) == sourceHigh &&
        load<u64>(tuple, 16) == destinationHigh
      ) {
        return reference;
      }
      matches &= matches - 1;
    }
    return NONE;
  }

  /** Does a reference still name the live record of the packet's tuple? */
  @inline static isFor(reference: u32, p: Parsed): bool {
    const record = Tables.connection(reference >> 1);
    const tuple = changetype<usize>(record) + ((<usize>(reference & 1)) << 6);
    return (
      load<u64>(tuple, 8) == p.sourceLow &&
      load<u64>(tuple, 24) == p.destinationLow &&
      load<u32>(tuple, 32) == p.ports &&
      <u32>record.meta == p.meta &&
      load<u64>(tuple) == p.sourceHigh &&
      load<u64>(tuple, 16) == p.destinationHigh &&
      (<u32>record.flags & (ConnectionFlag.IN_USE | ConnectionFlag.SOCKET)) == ConnectionFlag.IN_USE
    );
  }

  /** True when one more entry of that hash fits. */
  static fits(hash: u64): bool {
    const home = ConnectionIndex.home(hash);
    if (ConnectionIndex.matches(ConnectionIndex.bucket(home), 0) != 0) return true;
    const other = ConnectionIndex.alternative(home, ConnectionIndex.tag(hash));
    return ConnectionIndex.matches(ConnectionIndex.bucket(other), 0) != 0;
  }

  static insert(hash: u64, reference: u32): bool {
    const tag = ConnectionIndex.tag(hash);
    const home = ConnectionIndex.home(hash);
    const first = ConnectionIndex.bucket(home);
    if (ConnectionIndex.place(first, tag, reference)) return true;
    if (!ConnectionIndex.place(ConnectionIndex.bucket(ConnectionIndex.alternative(home, tag)), tag, reference))
      return false;
    const overflowed = load<u8>(first, 12);
    // A saturated counter stays: the bucket then always looks at its alternative.
    if (overflowed < 255) store<u8>(first, overflowed + 1, 12);
    return true;
  }

  static place(bucket: usize, tag: u32, reference: u32): bool {
    const free = ConnectionIndex.matches(bucket, 0);
    if (free == 0) return false;
    const i = <usize>ctz<u32>(free);
    store<u32>(bucket + (i << 2), reference, 16);
    store<u8>(bucket + i, tag);
    return true;
  }

  static remove(hash: u64, reference: u32): void {
    const tag = ConnectionIndex.tag(hash);
    const home = ConnectionIndex.home(hash);
    const first = ConnectionIndex.bucket(home);
    if (ConnectionIndex.clear(first, tag, reference)) return;
    if (!ConnectionIndex.clear(ConnectionIndex.bucket(ConnectionIndex.alternative(home, tag)), tag, reference)) return;
    const overflowed = load<u8>(first, 12);
    if (overflowed < 255 && overflowed > 0) store<u8>(first, overflowed - 1, 12);
  }

  static clear(bucket: usize, tag: u32, reference: u32): bool {
    let matches = ConnectionIndex.matches(bucket, tag);
    while (matches != 0) {
      const i = <usize>ctz<u32>(matches);
      if (load<u32>(bucket + (i << 2), 16) == reference) {
        store<u8>(bucket + i, 0);
        return true;
      }
      matches &= matches - 1;
    }
    return false;
  }
}
