/**
 * IP addresses and prefixes as values: 4 or 16 bytes in network order, parsed strictly and printed canonically (RFC 5952).
 *
 * @packageDocumentation
 */

/** The two address families, spelled as Kubernetes spells them. */
export type IPFamily = "IPv4" | "IPv6";

/** An IP address. `bytes` holds 4 or 16 octets in network order and is never mutated. */
export interface IPAddress {
  readonly family: IPFamily;
  readonly bytes: Uint8Array;
}

/** An address block. `address` is kept as written; use {@link maskAddress} for the network address. */
export interface IPPrefix {
  readonly address: IPAddress;
  /** Number of leading one bits: 0–32 or 0–128. */
  readonly length: number;
}

function parseIPv4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = parts[i]!;
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return undefined;
    const value = Number(part);
    if (value > 255) return undefined;
    bytes[i] = value;
  }
  return bytes;
}

function parseIPv6(text: string): Uint8Array | undefined {
  const gap = text.indexOf("::");
  if (gap !== text.lastIndexOf("::")) return undefined;
  const words = (part: string): number[] | undefined => {
    if (part === "") return [];
    const out: number[] = [];
    const groups = part.split(":");
    for (let i = 0; i < groups.length; i++) {
      const group = groups[i]!;
      if (group.includes(".")) {
        if (i !== groups.length - 1) return undefined;
        const v4 = parseIPv4(group);
        if (v4 === undefined) return undefined;
        out.push((v4[0]! << 8) | v4[1]!, (v4[2]! << 8) | v4[3]!);
      } else {
        if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
        out.push(Number.parseInt(group, 16));
      }
    }
    return out;
  };
  let all: number[];
  if (gap < 0) {
    const whole = words(text);
    if (whole === undefined || whole.length !== 8) return undefined;
    all = whole;
  } else {
    const head = text.slice(0, gap);
    if (head.includes(".")) return undefined;
    const left = words(head);
    const right = words(text.slice(gap + 2));
    if (left === undefined || right === undefined || left.length + right.length > 7) return undefined;
    all = [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
  }
  const bytes = new Uint8Array(16);
  all.forEach((word, i) => {
    bytes[2 * i] = word >> 8;
    bytes[2 * i + 1] = word & 255;
  });
  return bytes;
}

/**
 * Parses a textual address. IPv4 octets with leading zeros, zones (`%eth0`) and blanks are refused, as Go's `netip` does.
 *
 * @returns the address, or `undefined` when the text is not one
 */
export function parseAddress(text: string): IPAddress | undefined {
  if (text.length > 45) return undefined;
  if (text.includes(":")) {
    const bytes = parseIPv6(text);
    return bytes && { family: "IPv6", bytes };
  }
  const bytes = parseIPv4(text);
  return bytes && { family: "IPv4", bytes };
}

/** Parses `address/length`. The length has no sign and no leading zeros; host bits may be set. */
export function parsePrefix(text: string): IPPrefix | undefined {
  const slash = text.lastIndexOf("/");
  if (slash < 0) return undefined;
  const address = parseAddress(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (address === undefined || !/^(0|[1-9][0-9]{0,2})$/.test(digits)) return undefined;
  const length = Number(digits);
  if (length > address.bytes.length * 8) return undefined;
  return { address, length };
}

/** True for `::ffff:a.b.c.d`. */
export function isIPv4Mapped(address: IPAddress): boolean {
  const b = address.bytes;
  return b.length === 16 && b.subarray(0, 10).every((x) => x === 0) && b[10] === 255 && b[11] === 255;
}

/** Canonical text: dotted quad, or RFC 5952 for IPv6 (IPv4-mapped addresses keep a dotted tail). */
export function formatAddress(address: IPAddress): string {
  const b = address.bytes;
  if (b.length === 4) return `${b[0]}.${b[1]}.${b[2]}.${b[3]}`;
  if (isIPv4Mapped(address)) return `::ffff:${b[12]}.${b[13]}.${b[14]}.${b[15]}`;
  const words: number[] = [];
  for (let i = 0; i < 16; i += 2) words.push((b[i]! << 8) | b[i + 1]!);
  let bestStart = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; ) {
    let n = 0;
    while (i + n < 8 && words[i + n] === 0) n++;
    if (n > bestLength) {
      bestStart = i;
      bestLength = n;
    }
    i += n || 1;
  }
  const hex = (part: number[]) => part.map((w) => w.toString(16)).join(":");
  if (bestStart < 0) return hex(words);
  return `${hex(words.slice(0, bestStart))}::${hex(words.slice(bestStart + bestLength))}`;
}

/** Canonical text of a prefix, host bits kept. */
export function formatPrefix(prefix: IPPrefix): string {
  return `${formatAddress(prefix.address)}/${prefix.length}`;
}

/** The canonical form of a textual address, or `undefined` when it is none. */
export function canonicalAddress(text: string): string | undefined {
  const address = parseAddress(text);
  return address && formatAddress(address);
}

/** The family of a textual address, or `undefined` when it is none. */
export function familyOf(text: string): IPFamily | undefined {
  return parseAddress(text)?.family;
}

/** Byte-wise equality; addresses of different families differ. */
export function equalAddresses(a: IPAddress, b: IPAddress): boolean {
  return compareAddresses(a, b) === 0;
}

/** Orders by family (IPv4 first), then by value. */
export function compareAddresses(a: IPAddress, b: IPAddress): number {
  if (a.bytes.length !== b.bytes.length) return a.bytes.length - b.bytes.length;
  for (let i = 0; i < a.bytes.length; i++) {
    const difference = a.bytes[i]! - b.bytes[i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The address with every bit after `length` cleared. */
export function maskAddress(address: IPAddress, length: number): IPAddress {
  const bytes = address.bytes.slice();
  for (let i = 0; i < bytes.length; i++) {
    const bits = length - 8 * i;
    if (bits <= 0) bytes[i] = 0;
    else if (bits < 8) bytes[i] = bytes[i]! & (0xff << (8 - bits));
  }
  return { family: address.family, bytes };
}

/** True when the address lies in the block; families must agree. */
export function prefixContains(prefix: IPPrefix, address: IPAddress): boolean {
  return (
    prefix.address.bytes.length === address.bytes.length &&
    equalAddresses(maskAddress(address, prefix.length), maskAddress(prefix.address, prefix.length))
  );
}

/** The numeric value of an address. */
export function addressToBigInt(address: IPAddress): bigint {
  let value = 0n;
  for (const byte of address.bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/** The address of that numeric value; the value is taken modulo the family's size. */
export function addressFromBigInt(value: bigint, family: IPFamily): IPAddress {
  const bytes = new Uint8Array(family === "IPv4" ? 4 : 16);
  let rest = value;
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 255n);
    rest >>= 8n;
  }
  return { family, bytes };
}
