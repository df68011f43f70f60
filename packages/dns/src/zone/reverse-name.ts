import { type IPAddress, parsePrefix } from "@portolan/net";
import { type DomainName, labelsOf, nameFromLabels, nameFromText } from "../message/name.ts";

/** The zone of all reversed IPv4 addresses. */
export const reverseZoneIPv4: DomainName = nameFromText("in-addr.arpa.");
/** The zone of all reversed IPv6 addresses. */
export const reverseZoneIPv6: DomainName = nameFromText("ip6.arpa.");

/** A key of an address for maps: its octets as Latin-1 text, so that a key is as short as can be and prefixes are prefixes. */
export function addressKey(bytes: Uint8Array): string {
  return String.fromCharCode.apply(undefined, bytes as unknown as number[]);
}

const hexadecimal = "0123456789abcdef";

/** Labels of the reverse name of an address in the order of the name, without `in-addr` or `ip6` and `arpa`. */
export function reverseLabels(address: IPAddress): string[] {
  if (address.family === "IPv4") return [...address.bytes].reverse().map(String);
  const labels: string[] = [];
  for (const octet of [...address.bytes].reverse()) labels.push(hexadecimal[octet & 0xf]!, hexadecimal[octet >>> 4]!);
  return labels;
}

/** What the labels in front of `in-addr.arpa` or `ip6.arpa` say: a whole address, the start of some addresses, or nothing. */
export type ReverseName =
  | { readonly kind: "address"; readonly address: IPAddress }
  /** `digits` are the leading octets (IPv4, in decimal) or nibbles (IPv6, in hexadecimal), most significant first. */
  | { readonly kind: "prefix"; readonly family: "IPv4" | "IPv6"; readonly digits: readonly string[] };

/**
 * Reads a reverse name, folded labels leftmost first, the two labels of the arpa zone included. Undefined for labels that no address
 * has: leading zeros, octets above 255, other characters, too many labels.
 */
export function readReverseName(labels: readonly string[]): ReverseName | undefined {
  const count = labels.length - 2;
  if (count < 0 || labels[count + 1] !== "arpa") return undefined;
  const digits = labels.slice(0, count).reverse();
  if (labels[count] === "in-addr") {
    if (count > 4 || !digits.every((digit) => /^(?:0|[1-9][0-9]{0,2})$/.test(digit) && Number(digit) <= 255))
      return undefined;
    if (count < 4) return { kind: "prefix", family: "IPv4", digits };
    return { kind: "address", address: { family: "IPv4", bytes: Uint8Array.from(digits, Number) } };
  }
  if (labels[count] !== "ip6" || count > 32 || !digits.every((digit) => /^[0-9a-f]$/.test(digit))) return undefined;
  if (count < 32) return { kind: "prefix", family: "IPv6", digits };
  const bytes = new Uint8Array(16);
  for (let index = 0; index < 16; index++)
    bytes[index] = Number.parseInt(digits[2 * index]! + digits[2 * index + 1]!, 16);
  return { kind: "address", address: { family: "IPv6", bytes } };
}

/**
 * The reverse zones of a block, as few as octet or nibble boundaries allow: 10.96.0.0/16 is one, 10.0.0.0/15 two
 * (RFC 1035 3.5, RFC 3596 2.5). Undefined when the text is no block.
 */
export function reverseZonesOfPrefix(text: string): DomainName[] | undefined {
  const prefix = parsePrefix(text);
  if (prefix === undefined) return undefined;
  const { family, bytes } = prefix.address;
  const step = family === "IPv4" ? 8 : 4;
  const steps = Math.ceil(prefix.length / step);
  const spare = steps * step - prefix.length;
  const zone = labelsOf(family === "IPv4" ? reverseZoneIPv4 : reverseZoneIPv6);
  const digits: number[] = [];
  for (let index = 0; index < steps; index++) {
    const octet = bytes[Math.floor((index * step) / 8)]!;
    digits.push(step === 8 ? octet : index % 2 === 0 ? octet >>> 4 : octet & 0xf);
  }
  const zones: DomainName[] = [];
  const last = digits.pop();
  const first = last === undefined ? 0 : (last >>> spare) << spare;
  for (let value = first; value < first + 2 ** spare; value++) {
    const all = last === undefined ? [] : [...digits, value];
    zones.push(nameFromLabels([...all.reverse().map((digit) => digit.toString(step === 8 ? 10 : 16)), ...zone]));
  }
  return zones;
}
