import { Connection, ConnectionFlag, NONE, Parsed, SteadyLine } from "../generated/layout";
import { Hash } from "../hash";
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
 * A tag holds eight bits of the hash, with 1 for 0, which marks a free slot. `o` counts entries that are not here, where their
 * hash says, but in the alternative (bucket XOR a function of the tag); while it is 0 a lookup reads one line. When both are full, an
 * entry of either moves to its other bucket: so the index holds what it has lines for, up to nine tenths. SIMD compares all tags at once;
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
    const tag = <u32>hash & 0xff;
    return tag | <u32>(tag == 0);
  }

  @inline static alternative(index: u32, tag: u32): u32 {
    return (index ^ (((tag * 0x9e3779b1) >> 8) | 1)) & Tables.control.connectionBucketMask;
  }

  /** The other line that an entry of this hash may be in. */
  @inline static other(hash: u64): usize {
    return ConnectionIndex.bucket(ConnectionIndex.alternative(ConnectionIndex.home(hash), ConnectionIndex.tag(hash)));
  }

  /** Reference of the first of `matches`. */
  @inline static at(bucket: usize, matches: u32): u32 {
    return load<u32>(bucket + ((<usize>ctz<u32>(matches)) << 2), 16);
  }

  /** Reference in a bucket whose line looks like that of an IPv4 connection: the last with this tag if none does. */
  static plain(bucket: usize, tag: u32, addresses: u64, ports: u32): u32 {
    let matches = ConnectionIndex.matches(bucket, tag);
    while (true) {
      const reference = ConnectionIndex.at(bucket, matches);
      const line = changetype<SteadyLine>(<usize>Tables.control.connections + ((<usize>reference) << 6));
      matches &= matches - 1;
      if (
        matches == 0 ||
        (line.ports == ports && line.source == <u32>addresses && line.destination == <u32>(addresses >> 32))
      )
        return reference;
    }
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
      const reference = ConnectionIndex.at(bucket, matches);
      if (ConnectionIndex.isOf(reference, sourceHigh, sourceLow, destinationHigh, destinationLow, ports, meta))
        return reference;
      matches &= matches - 1;
    }
    return NONE;
  }

  /** Free places (bit i for place i) of a bucket that no entry with this tag is in or away from; else 0. */
  @inline static vacancy(bucket: usize, tag: u32): u32 {
    if (load<u8>(bucket, 12) != 0 || ConnectionIndex.matches(bucket, tag) != 0) return 0;
    return ConnectionIndex.matches(bucket, 0);
  }

  /** Enters a reference in the first of such places. */
  @inline static enter(bucket: usize, vacancy: u32, tag: u32, reference: u32): void {
    const i = <usize>ctz<u32>(vacancy);
    store<u32>(bucket + (i << 2), reference, 16);
    store<u8>(bucket + i, tag);
  }

  /** Does a reference still name the live record of the packet's tuple? */
  @inline static isFor(reference: u32, p: Parsed): bool {
    const flags = <u32>Tables.connection(reference >> 1).flags;
    return (
      ConnectionIndex.isOf(
        reference,
        p.sourceHigh,
        p.sourceLow,
        p.destinationHigh,
        p.destinationLow,
        p.ports,
        p.meta,
      ) && (flags & (ConnectionFlag.IN_USE | ConnectionFlag.SOCKET)) == ConnectionFlag.IN_USE
    );
  }

  /** Has the line of a reference that tuple? Of IPv4 the rest of the line is not looked at: it may be in steady form. */
  @inline static isOf(
    reference: u32,
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    ports: u32,
    meta: u32,
  ): bool {
    const tuple = <usize>Tables.control.connections + ((<usize>reference) << 6);
    if (load<u32>(tuple, 32) != ports || <u32>changetype<Connection>(tuple & ~127).meta != meta) return false;
    if (load<u32>(tuple, 12) != <u32>(sourceLow >> 32) || load<u32>(tuple, 28) != <u32>(destinationLow >> 32))
      return false;
    return (
      meta >> 8 == 4 ||
      (load<u64>(tuple, 8) == sourceLow &&
        load<u64>(tuple, 24) == destinationLow &&
        load<u64>(tuple) == sourceHigh &&
        load<u64>(tuple, 16) == destinationHigh)
    );
  }

  /** Enters a reference, if need be by moving another entry to the other of its buckets. False when there is no room. */
  static insert(hash: u64, reference: u32): bool {
    const tag = ConnectionIndex.tag(hash);
    const home = ConnectionIndex.home(hash);
    const first = ConnectionIndex.bucket(home);
    if (ConnectionIndex.place(first, tag, reference)) return true;
    const other = ConnectionIndex.alternative(home, tag);
    if (!ConnectionIndex.place(ConnectionIndex.bucket(other), tag, reference)) {
      if (ConnectionIndex.makeRoom(home)) return ConnectionIndex.place(first, tag, reference);
      if (!ConnectionIndex.makeRoom(other)) return false;
      ConnectionIndex.place(ConnectionIndex.bucket(other), tag, reference);
    }
    ConnectionIndex.countAway(first, 1);
    return true;
  }

  /** Moves one entry of a full bucket to the other that it may be in. */
  static makeRoom(index: u32): bool {
    const bucket = ConnectionIndex.bucket(index);
    for (let i: usize = 0; i < 12; i++) {
      const tag = <u32>load<u8>(bucket + i);
      const to = ConnectionIndex.bucket(ConnectionIndex.alternative(index, tag));
      const reference = load<u32>(bucket + (i << 2), 16);
      if (!ConnectionIndex.place(to, tag, reference)) continue;
      store<u8>(bucket + i, 0);
      if (ConnectionIndex.home(ConnectionIndex.hashOf(reference)) == index) ConnectionIndex.countAway(bucket, 1);
      else ConnectionIndex.countAway(to, -1);
      return true;
    }
    return false;
  }

  /** Counts entries that are not in this bucket, which is their home. A saturated count stays. */
  static countAway(bucket: usize, by: i32): void {
    const away = <i32>load<u8>(bucket, 12);
    if (away < 255 && away + by >= 0) store<u8>(bucket, <u8>(away + by), 12);
  }

  static hashOf(reference: u32): u64 {
    const tuple = <usize>Tables.control.connections + ((<usize>reference) << 6);
    const meta = changetype<Connection>(tuple & ~127).meta;
    return Hash.tuple(
      load<u64>(tuple),
      load<u64>(tuple, 8),
      load<u64>(tuple, 16),
      load<u64>(tuple, 24),
      load<u32>(tuple, 32),
      meta,
    );
  }

  static place(bucket: usize, tag: u32, reference: u32): bool {
    const free = ConnectionIndex.matches(bucket, 0);
    if (free == 0) return false;
    ConnectionIndex.enter(bucket, free, tag, reference);
    return true;
  }

  static remove(hash: u64, reference: u32): void {
    const tag = ConnectionIndex.tag(hash);
    const home = ConnectionIndex.home(hash);
    const first = ConnectionIndex.bucket(home);
    if (ConnectionIndex.clear(first, tag, reference)) return;
    if (!ConnectionIndex.clear(ConnectionIndex.bucket(ConnectionIndex.alternative(home, tag)), tag, reference)) return;
    ConnectionIndex.countAway(first, -1);
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
