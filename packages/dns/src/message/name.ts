import { DnsMessageError } from "./message-error.ts";

/**
 * A domain name in wire form: length-prefixed labels and the root label, never compressed, at most 255 octets, letters in the case
 * they came in (RFC 1035 3.1, RFC 4343).
 *
 * ```text
 *  +---+---+---+---+---+---+---+---+---+---+---+---+
 *  | 3 |'w'|'e'|'b'| 5 |'l'|'o'|'c'|'a'|'l'| 0 |        web.local.
 *  +---+---+---+---+---+---+---+---+---+---+---+---+
 * ```
 *
 * Wire form and not text, because a label may hold any octet, a dot included (RFC 2181 section 11): `svc-0.ns-0` as one label and as
 * two are different names, and a codec on dotted strings confuses them.
 */
export type DomainName = Uint8Array;

/** Longest name in octets, the root label included (RFC 1035 2.3.4). */
export const maximumNameLength = 255;
/** Longest label in octets (RFC 1035 2.3.4). */
export const maximumLabelLength = 63;

/** The root. */
export const rootName: DomainName = new Uint8Array(1);

const lowerCase = new Uint8Array(256);
for (let octet = 0; octet < 256; octet++) lowerCase[octet] = octet >= 0x41 && octet <= 0x5a ? octet + 0x20 : octet;

/** The octet with A–Z folded to a–z and nothing else (RFC 4343: 0x40 and 0x60 differ). */
export function foldCase(octet: number): number {
  return lowerCase[octet]!;
}

/**
 * Builds a name from labels, leftmost first; strings are taken octet by octet (Latin-1), never split at dots.
 * Throws {@link DnsMessageError} `label-too-long`, `name-syntax` (an empty label) or `name-too-long`.
 */
export function nameFromLabels(labels: readonly (string | Uint8Array)[]): DomainName {
  let length = 1;
  for (const label of labels) {
    if (label.length === 0) throw new DnsMessageError("name-syntax", "a label is empty");
    if (label.length > maximumLabelLength)
      throw new DnsMessageError("label-too-long", `a label has ${label.length} octets; 63 are allowed`);
    length += label.length + 1;
  }
  if (length > maximumNameLength)
    throw new DnsMessageError("name-too-long", `the name has ${length} octets; 255 are allowed`);
  const name = new Uint8Array(length);
  let at = 0;
  for (const label of labels) {
    name[at++] = label.length;
    if (typeof label === "string")
      for (let index = 0; index < label.length; index++) name[at++] = label.charCodeAt(index);
    else {
      name.set(label, at);
      at += label.length;
    }
  }
  return name;
}

/**
 * Reads a name in presentation form (RFC 1035 5.1): `\.` and `\\` for the octets themselves, `\DDD` in decimal. The name is absolute
 * whether or not it ends in a dot, unless `origin` is given, which is appended to names without one; `@` is the origin itself.
 * Throws {@link DnsMessageError} `name-syntax`, `label-too-long` or `name-too-long`.
 */
export function nameFromText(text: string, origin?: DomainName): DomainName {
  if (text === ".") return rootName;
  if (text === "@" && origin !== undefined) return origin;
  if (text === "") {
    if (origin !== undefined) return origin;
    return rootName;
  }
  const labels: Uint8Array[] = [];
  let label: number[] = [];
  let open = false;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 0x2e) {
      if (!open) throw new DnsMessageError("name-syntax", `"${text}" has an empty label`, index);
      labels.push(Uint8Array.from(label));
      label = [];
      open = false;
      continue;
    }
    open = true;
    if (code !== 0x5c) {
      if (code > 0xff)
        throw new DnsMessageError("name-syntax", `"${text}" has a character above U+00FF; encode it as A-label`, index);
      label.push(code);
      continue;
    }
    const digits = text.slice(index + 1, index + 4);
    if (/^[0-9]{3}$/.test(digits)) {
      const octet = Number(digits);
      if (octet > 255) throw new DnsMessageError("name-syntax", `"\\${digits}" is above 255`, index);
      label.push(octet);
      index += 3;
    } else {
      const next = text.charCodeAt(index + 1);
      if (Number.isNaN(next) || next > 0xff || (next >= 0x30 && next <= 0x39))
        throw new DnsMessageError("name-syntax", `"${text}" ends in, or has, a broken escape`, index);
      label.push(next);
      index += 1;
    }
  }
  if (open) {
    labels.push(Uint8Array.from(label));
    if (origin !== undefined) labels.push(...labelsOf(origin));
  }
  return nameFromLabels(labels);
}

/** Characters that mean something else in master files when they stand alone. */
const special = '.\\"();@$';

/** Presentation form with a final dot; octets outside printable ASCII become `\DDD`, so the text is safe to log. */
export function nameToText(name: DomainName): string {
  if (name.length <= 1) return ".";
  let text = "";
  let at = 0;
  while (name[at]! > 0) {
    const end = at + 1 + name[at]!;
    for (at += 1; at < end; at++) {
      const octet = name[at]!;
      const character = String.fromCharCode(octet);
      if (special.includes(character)) text += `\\${character}`;
      else if (octet > 0x20 && octet < 0x7f) text += character;
      else text += `\\${String(octet).padStart(3, "0")}`;
    }
    text += ".";
  }
  return text;
}

/** The labels, leftmost first, as views of the name. */
export function labelsOf(name: DomainName): Uint8Array[] {
  const labels: Uint8Array[] = [];
  for (let at = 0; name[at]! > 0; at += 1 + name[at]!) labels.push(name.subarray(at + 1, at + 1 + name[at]!));
  return labels;
}

/** Number of labels; the root has none. */
export function labelCount(name: DomainName): number {
  let count = 0;
  for (let at = 0; name[at]! > 0; at += 1 + name[at]!) count++;
  return count;
}

/** Whether two names are the same, ASCII letters compared without case (RFC 4343). */
export function equalNames(a: DomainName, b: DomainName): boolean {
  if (a.length !== b.length) return false;
  // Length octets are below 64 and therefore equal to themselves when folded.
  for (let index = 0; index < a.length; index++) if (lowerCase[a[index]!] !== lowerCase[b[index]!]) return false;
  return true;
}

/**
 * Where `zone` starts inside `name` on a label boundary, -1 when the name is not at or below the zone. 0 means that they are equal.
 */
export function offsetOfZone(name: DomainName, zone: DomainName): number {
  const start = name.length - zone.length;
  if (start < 0) return -1;
  let at = 0;
  while (at < start) at += 1 + name[at]!;
  if (at !== start) return -1;
  for (let index = 0; index < zone.length; index++)
    if (lowerCase[name[start + index]!] !== lowerCase[zone[index]!]) return -1;
  return start;
}

/** Whether `name` is `zone` or below it. */
export function isWithin(name: DomainName, zone: DomainName): boolean {
  return offsetOfZone(name, zone) >= 0;
}

/** Case-folded octets as a Latin-1 string: a key for maps in which equal names collide and others do not. */
export function nameKey(name: Uint8Array, start = 0, end: number = name.length): string {
  let key = "";
  for (let index = start; index < end; index++) key += String.fromCharCode(lowerCase[name[index]!]!);
  return key;
}

/** The name without its leftmost label; of the root, the root. */
export function parentOf(name: DomainName): DomainName {
  return name.length <= 1 ? rootName : name.subarray(1 + name[0]!);
}

/** `prefix` (its root label dropped) in front of `suffix`. Throws `name-too-long`. */
export function joinNames(prefix: DomainName, suffix: DomainName): DomainName {
  const length = prefix.length - 1 + suffix.length;
  if (length > maximumNameLength)
    throw new DnsMessageError("name-too-long", `the name has ${length} octets; 255 are allowed`);
  const name = new Uint8Array(length);
  name.set(prefix.subarray(0, prefix.length - 1));
  name.set(suffix, prefix.length - 1);
  return name;
}

const scratch = new Uint8Array(maximumNameLength);

/**
 * Reads a possibly compressed name at `offset` of a message. Pointers must go strictly backwards, to before the start of the part that
 * holds them, so a loop cannot be written at all (RFC 9267 lists what happens otherwise). `next` is the octet after the name as it lies in
 * the message. Throws `name-truncated`, `label-type`, `pointer-not-backwards` or `name-too-long`.
 */
export function readName(
  message: Uint8Array,
  offset: number,
  end: number = message.length,
): { name: DomainName; next: number } {
  let at = offset;
  let limit = offset;
  let length = 0;
  let next = -1;
  for (;;) {
    if (at >= end) throw new DnsMessageError("name-truncated", "the name runs past the end", at);
    const octet = message[at]!;
    if (octet >= 0xc0) {
      if (at + 1 >= end) throw new DnsMessageError("name-truncated", "a pointer is cut off", at);
      const target = ((octet & 0x3f) << 8) | message[at + 1]!;
      if (next < 0) next = at + 2;
      if (target >= limit || target < 12)
        throw new DnsMessageError("pointer-not-backwards", `a pointer goes to octet ${target}`, at);
      limit = target;
      at = target;
      continue;
    }
    if (octet > 63) throw new DnsMessageError("label-type", `label type 0x${octet.toString(16)}`, at);
    if (length + octet + 1 > maximumNameLength)
      throw new DnsMessageError("name-too-long", "the name is over 255 octets", at);
    if (at + octet >= end) throw new DnsMessageError("name-truncated", "a label runs past the end", at);
    for (let index = 0; index <= octet; index++) scratch[length++] = message[at + index]!;
    at += octet + 1;
    if (octet === 0) break;
  }
  return { name: scratch.slice(0, length), next: next < 0 ? at : next };
}
