/**
 * Distinguished encoding rules (X.690), as much of them as certificates need. Each function makes one element:
 *
 * ```
 *   tag (1) | length (1, or 1 + n) | content
 * ```
 */

function element(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const size = contents.reduce((sum, content) => sum + content.length, 0);
  const length: number[] = [];
  if (size < 0x80) length.push(size);
  else {
    for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) length.unshift(rest % 256);
    length.unshift(0x80 | length.length);
  }
  return Buffer.concat([Uint8Array.of(tag, ...length), ...contents]);
}

export function sequence(...contents: readonly Uint8Array[]): Uint8Array {
  return element(0x30, ...contents);
}

export function set(...contents: readonly Uint8Array[]): Uint8Array {
  return element(0x31, ...contents);
}

/** A non-negative integer, most significant octet first. */
export function integer(octets: Uint8Array): Uint8Array {
  let start = 0;
  while (start < octets.length - 1 && octets[start] === 0) start++;
  const shortest = octets.subarray(start);
  // A first bit of one would make it negative.
  return element(0x02, (shortest[0] as number) >= 0x80 ? Buffer.concat([Uint8Array.of(0), shortest]) : shortest);
}

export function boolean(value: boolean): Uint8Array {
  return element(0x01, Uint8Array.of(value ? 0xff : 0));
}

export function octetString(octets: Uint8Array): Uint8Array {
  return element(0x04, octets);
}

/** @param unused number of bits at the end that do not count */
export function bitString(octets: Uint8Array, unused = 0): Uint8Array {
  return element(0x03, Uint8Array.of(unused), octets);
}

export function utf8String(text: string): Uint8Array {
  return element(0x0c, Buffer.from(text, "utf8"));
}

/** An object identifier such as `2.5.29.17`. */
export function objectIdentifier(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const octets: number[] = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift(0x80 | (left & 0x7f));
    octets.push(...groups);
  }
  return element(0x06, Uint8Array.from(octets));
}

/** A time in UTC: the two-digit form up to 2049, as RFC 5280 (section 4.1.2.5) wants. */
export function time(date: Date): Uint8Array {
  const digits = date.toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  return date.getUTCFullYear() < 2050
    ? element(0x17, Buffer.from(digits.slice(2), "latin1"))
    : element(0x18, Buffer.from(digits, "latin1"));
}

/** An element tagged by context: `[number]`, constructed when it holds elements. */
export function tagged(number: number, content: Uint8Array, isConstructed: boolean): Uint8Array {
  return element(0x80 | (isConstructed ? 0x20 : 0) | number, content);
}
