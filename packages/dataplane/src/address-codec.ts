import { formatAddress, type IPFamily, parseAddress } from "@portolan/net";

/**
 * An address as the maps hold it: 16 bytes, IPv4 as `::ffff:a.b.c.d`, read as four little-endian words. Numbers instead of an array,
 * because a sync of thousands of Services makes tens of thousands of these.
 */
export interface EncodedAddress extends AddressWords {
  readonly family: 4 | 6;
}

/** The four words of an address, or of a mask. */
export interface AddressWords {
  readonly word0: number;
  readonly word1: number;
  readonly word2: number;
  readonly word3: number;
}

/**
 * Writes the raw word of a dotted quad; false when the text is none. Leading zeros are refused: they mean octal to some. (To return
 * the word would make an object of it, for each address of each Service.)
 */
export function writeDottedQuad(text: string, words: Uint32Array, at: number): boolean {
  let value = -1;
  let part = 0;
  let word = 0;
  for (let i = 0; i <= text.length; i++) {
    const code = i === text.length ? 46 : text.charCodeAt(i);
    if (code === 46) {
      if (value < 0 || value > 255 || part > 3) return false;
      word |= value << (8 * part++);
      value = -1;
    } else if (code >= 48 && code <= 57) {
      if (value === 0) return false;
      value = (value < 0 ? 0 : value * 10) + code - 48;
    } else return false;
  }
  if (part !== 4) return false;
  words[at] = word;
  return true;
}

/** The third word of every IPv4 address. */
export const mappedWord = 0xffff0000;

const quad = new Uint32Array(1);

/** Encodes a textual address; `undefined` when it is none. */
export function encodeAddress(text: string): EncodedAddress | undefined {
  if (!text.includes(":")) {
    if (!writeDottedQuad(text, quad, 0)) return undefined;
    return { family: 4, word0: 0, word1: 0, word2: mappedWord, word3: quad[0]! };
  }
  const address = parseAddress(text);
  if (address === undefined) return undefined;
  const view = new DataView(address.bytes.buffer, address.bytes.byteOffset, 16);
  const [word0, word1, word2, word3] = [0, 4, 8, 12].map((at) => view.getUint32(at, true)) as [
    number,
    number,
    number,
    number,
  ];
  return { family: 6, word0, word1, word2, word3 };
}

/** Writes an address at a word index. */
export function writeAddress(words: Uint32Array, index: number, address: AddressWords): void {
  words[index] = address.word0;
  words[index + 1] = address.word1;
  words[index + 2] = address.word2;
  words[index + 3] = address.word3;
}

/** The address with every bit after `length` (of the 128-bit form) cleared. */
export function maskEncoded(address: EncodedAddress, length: number): EncodedAddress {
  const mask = maskWords(length);
  return {
    family: address.family,
    word0: (address.word0 & mask.word0) >>> 0,
    word1: (address.word1 & mask.word1) >>> 0,
    word2: (address.word2 & mask.word2) >>> 0,
    word3: (address.word3 & mask.word3) >>> 0,
  };
}

/** An address as one 32-bit number, as IPVS's hashes take it: IPv4 itself, IPv6 its four words XORed. */
export function foldAddress(address: EncodedAddress): number {
  const word = address.family === 4 ? address.word3 : address.word0 ^ address.word1 ^ address.word2 ^ address.word3;
  return (((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}

/** Canonical text of 16 bytes at an offset, given the family. */
export function decodeAddress(bytes: Uint8Array, offset: number, family: number): string {
  if (family === 4) return `${bytes[offset + 12]}.${bytes[offset + 13]}.${bytes[offset + 14]}.${bytes[offset + 15]}`;
  return formatAddress({ family: "IPv6", bytes: bytes.slice(offset, offset + 16) });
}

/** A key of maps on the host's side: a number for IPv4, which is cheaper to make. */
export type AddressKey = number | string;

export function addressKey(address: EncodedAddress): AddressKey {
  if (address.family === 4) return address.word3;
  return `${address.word0}:${address.word1}:${address.word2}:${address.word3}`;
}

/** Key of an address with a port and a further number below 16. */
export function endpointKey(address: EncodedAddress, port: number, further = 0): AddressKey {
  const rest = further * 65_536 + port;
  const key = addressKey(address);
  return typeof key === "number" ? key + rest * 2 ** 32 : `${rest}/${key}`;
}

/** {@link endpointKey} of an address that lies in words. */
export function endpointKeyAt(words: Uint32Array, at: number, port: number): AddressKey {
  const [word0, word1, word2, word3] = [words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!];
  const isIPv4 = word0 === 0 && word1 === 0 && word2 === mappedWord;
  return endpointKey({ family: isIPv4 ? 4 : 6, word0, word1, word2, word3 }, port);
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

/** The mask of a prefix length in the 128-bit form, as words like those of an address. */
export function maskWords(length: number): AddressWords {
  const word = (i: number) => {
    const bits = Math.min(32, Math.max(0, length - i * 32));
    const big = bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
    return (((big & 0xff) << 24) | ((big & 0xff00) << 8) | ((big >>> 8) & 0xff00) | (big >>> 24)) >>> 0;
  };
  return { word0: word(0), word1: word(1), word2: word(2), word3: word(3) };
}

/** Six bytes of a link-layer address, from `aa:bb:cc:dd:ee:ff`. */
export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) return undefined;
  return Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
}
