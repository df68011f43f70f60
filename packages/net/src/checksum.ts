import type { IPAddress } from "./address.ts";

/** One's complement sum of 16-bit big-endian words, unfolded; an odd last byte is padded with zero (RFC 1071). */
export function sumWords(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  const even = bytes.length & ~1;
  for (let i = 0; i < even; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  if (even < bytes.length) sum += bytes[even]! << 8;
  return sum;
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
}

/**
 * Internet checksum (RFC 1071) of bytes whose checksum field is zero, as the number to store big-endian. Over bytes that include a
 * right checksum it is 0.
 *
 * @param initial sum to start from, such as that of a pseudo header
 */
export function internetChecksum(bytes: Uint8Array, initial = 0): number {
  return ~fold(sumWords(bytes, initial)) & 0xffff;
}

/** Sum of the pseudo header of TCP, UDP and ICMPv6 (RFC 9293 3.1, RFC 8200 8.1). `length` is that of the transport packet. */
export function pseudoHeaderSum(source: IPAddress, destination: IPAddress, protocol: number, length: number): number {
  return sumWords(destination.bytes, sumWords(source.bytes, protocol + (length >>> 16) + (length & 0xffff)));
}

/**
 * A checksum after bytes under it changed (RFC 1624, equation 3). Both sides have the same even length and lie at an even offset.
 *
 * UDP's special case, that a computed zero is sent as 0xffff, is the caller's.
 */
export function updateChecksum(checksum: number, before: Uint8Array, after: Uint8Array): number {
  let sum = ~checksum & 0xffff;
  for (let i = 0; i + 1 < before.length; i += 2) {
    sum += (~((before[i]! << 8) | before[i + 1]!) & 0xffff) + ((after[i]! << 8) | after[i + 1]!);
  }
  return ~fold(sum) & 0xffff;
}

const crcTable: Uint32Array = Uint32Array.from({ length: 256 }, (_, i) => {
  let crc = i;
  for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32C (Castagnoli), SCTP's checksum; stored little-endian (RFC 9260 appendix A). Of "123456789" it is 0xe3069283. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crcTable[(crc ^ byte) & 0xff]! ^ (crc >>> 8)) >>> 0;
  return ~crc >>> 0;
}
