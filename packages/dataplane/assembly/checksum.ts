import { CRC_TABLE } from "./generated/layout";

/**
 * Internet checksum arithmetic (RFC 1071, RFC 1624 equation 3) and CRC-32C (RFC 4960 appendix B). One's complement sums do not
 * depend on byte order, so everything works on raw words.
 */
export class Checksum {
  /** Adds the halves of a word: the result needs folding. */
  @inline static halves(word: u64): u64 {
    return (word & 0xffffffff) + (word >> 32);
  }

  /** Folds a sum to 16 bits: added to itself with its halves exchanged, its upper half is the sum of both and their carry. */
  @inline static fold(sum: u64): u32 {
    const word = <u32>((sum + rotl<u64>(sum, 32)) >> 32);
    return (word + rotl<u32>(word, 16)) >> 16;
  }

  /** A checksum after a change whose sum of ~m + m' is `delta` (16 bits). */
  @inline static apply(checksum: u32, delta: u32): u32 {
    let s = (~checksum & 0xffff) + delta;
    s = (s & 0xffff) + (s >> 16);
    return ~s & 0xffff;
  }

  /** Sum of `length` bytes at `at`, unfolded; an odd last byte counts as the first of its word. */
  static sum(at: usize, length: u32): u64 {
    let sum: u64 = 0;
    let p = at;
    const end = at + length;
    while (p + 8 <= end) {
      sum += Checksum.halves(load<u64>(p));
      p += 8;
    }
    while (p + 2 <= end) {
      sum += load<u16>(p);
      p += 2;
    }
    if (p < end) sum += load<u8>(p);
    return sum;
  }

  /** Checksum of an IPv4 header without options. */
  @inline static header20(at: usize): u64 {
    return Checksum.halves(load<u64>(at)) + Checksum.halves(load<u64>(at, 8)) + <u64>load<u32>(at, 16);
  }

  /** Fills the table of CRC-32C. */
  static initialize(): void {
    for (let i: u32 = 0; i < 256; i++) {
      let crc = i;
      for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >> 1) ^ 0x82f63b78 : crc >> 1;
      store<u32>(<usize>(CRC_TABLE + (i << 2)), crc);
    }
  }

  /** CRC-32C of an SCTP packet whose checksum field counts as zero; ready to be stored little-endian. */
  static sctp(at: usize, length: u32): u32 {
    let crc: u32 = 0xffffffff;
    for (let i: u32 = 0; i < length; i++) {
      const byte: u32 = i >= 8 && i < 12 ? 0 : <u32>load<u8>(at + i);
      crc = load<u32>(<usize>(CRC_TABLE + (((crc ^ byte) & 0xff) << 2))) ^ (crc >> 8);
    }
    return ~crc;
  }
}
