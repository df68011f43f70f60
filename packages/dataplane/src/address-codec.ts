import { formatAddress, type IPFamily, parseAddress } from "@portolan/net";

/** An address as the maps hold it: 16 bytes, IPv4 as `::ffff:a.b.c.d`, and its family. */
export interface EncodedAddress {
  readonly bytes: Uint8Array;
  readonly family: 4 | 6;
}

function parseDottedQuad(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(16);
  let value = -1;
  let part = 0;
  for (let i = 0; i <= text.length; i++) {
    const code = i === text.length ? 46 : text.charCodeAt(i);
    if (code === 46) {
      if (value < 0 || value > 255 || part > 3) return undefined;
      bytes[12 + part++] = value;
      value = -1;
    } else if (code >= 48 && code <= 57) {
      if (value === 0) return undefined;
      value = (value < 0 ? 0 : value * 10) + code - 48;
    } else return undefined;
  }
  if (part !== 4) return undefined;
  bytes[10] = 255;
  bytes[11] = 255;
  return bytes;
}

/** Encodes a textual address; `undefined` when it is none. */
export function encodeAddress(text: string): EncodedAddress | undefined {
  if (!text.includes(":")) {
    const bytes = parseDottedQuad(text);
    return bytes && { bytes, family: 4 };
  }
  const address = parseAddress(text);
  return address && { bytes: address.bytes, family: 6 };
}

/** Canonical text of 16 bytes at an offset, given the family. */
export function decodeAddress(bytes: Uint8Array, offset: number, family: number): string {
  if (family === 4) return `${bytes[offset + 12]}.${bytes[offset + 13]}.${bytes[offset + 14]}.${bytes[offset + 15]}`;
  return formatAddress({ family: "IPv6", bytes: bytes.slice(offset, offset + 16) });
}

/** A key for maps on the host's side. */
export function addressKey(address: EncodedAddress): string {
  const b = address.bytes;
  if (address.family === 4) return `${((b[12]! << 24) | (b[13]! << 16) | (b[14]! << 8) | b[15]!) >>> 0}`;
  let key = "6";
  for (let i = 0; i < 16; i += 2) key += String.fromCharCode((b[i]! << 8) | b[i + 1]!);
  return key;
}

/** A port as it lies on the wire, read as a little-endian number. */
export function rawPort(port: number): number {
  return ((port & 0xff) << 8) | (port >> 8);
}

export function familyNumber(family: IPFamily): 4 | 6 {
  return family === "IPv4" ? 4 : 6;
}

export function familyName(family: number): IPFamily {
  return family === 4 ? "IPv4" : "IPv6";
}

/** The mask of a prefix length in the 128-bit form. */
export function maskBytes(length: number): Uint8Array {
  const mask = new Uint8Array(16);
  for (let i = 0; i < 16; i++) {
    const bits = Math.min(8, Math.max(0, length - i * 8));
    mask[i] = bits === 0 ? 0 : (0xff << (8 - bits)) & 0xff;
  }
  return mask;
}

/** Six bytes of a link-layer address, from `aa:bb:cc:dd:ee:ff`. */
export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) return undefined;
  return Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
}

/** Text of a link-layer address. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}
