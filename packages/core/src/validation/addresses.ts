/**
 * Textual addresses and prefixes as API fields accept them. Fields older than Kubernetes 1.36 once accepted leading zeros
 * ("sloppy" parsing); strict validation refuses them now but values that an object already holds stay valid
 * (apimachinery `util/validation/ip.go`, KEP-4858).
 *
 * @packageDocumentation
 */
import {
  equalAddresses,
  formatAddress,
  type IPAddress,
  type IPFamily,
  type IPPrefix,
  isIPv4Mapped,
  maskAddress,
  parseAddress,
  parsePrefix,
} from "@portolan/net";

const addressText = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const prefixText = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/** The text with leading zeros of dotted-decimal octets removed. */
function withoutLeadingZeros(text: string): string {
  if (text.length > 64 || !text.includes(".")) return text;
  const colon = text.lastIndexOf(":");
  const tail = text.slice(colon + 1);
  return text.slice(0, colon + 1) + tail.replace(/(^|\.)0+(?=[0-9])/g, "$1");
}

/** Parses an address as legacy fields do: dotted-decimal octets may have leading zeros and are decimal nevertheless. */
export function parseAddressSloppy(text: string): IPAddress | undefined {
  return parseAddress(text) ?? parseAddress(withoutLeadingZeros(text));
}

/** Parses a prefix as legacy fields do: octets and length may have leading zeros. */
export function parsePrefixSloppy(text: string): IPPrefix | undefined {
  const slash = text.indexOf("/");
  if (slash < 0 || text.length > 80) return undefined;
  const length = text.slice(slash + 1).replace(/^0+(?=[0-9])/, "");
  return parsePrefix(`${withoutLeadingZeros(text.slice(0, slash))}/${length}`);
}

/** The IPv4 address inside an IPv4-mapped one, any other address as it is. */
function unmapped(address: IPAddress): IPAddress {
  return isIPv4Mapped(address) ? { family: "IPv4", bytes: address.bytes.slice(12) } : address;
}

/** The family a legacy field's address counts as: IPv4-mapped IPv6 is IPv4, as in Go. */
export function familyOfSloppy(text: string): IPFamily | undefined {
  const address = parseAddressSloppy(text);
  return address && unmapped(address).family;
}

/** Problems of an address: in legacy mode only that it is none. */
export function addressProblems(text: string, strict = true): string[] {
  const address = parseAddressSloppy(text);
  if (address === undefined) return [addressText];
  if (!strict) return [];
  if (parseAddress(text) === undefined) return ["must not have leading 0s"];
  return isIPv4Mapped(address) ? ["must not be an IPv4-mapped IPv6 address"] : [];
}

/** Problems of an address that must be canonical: those of {@link addressProblems}, or the canonical form. */
export function canonicalAddressProblems(text: string): string[] {
  const problems = addressProblems(text);
  if (problems.length > 0) return problems;
  const canonical = formatAddress(parseAddress(text)!);
  return canonical === text ? [] : [`must be in canonical form ("${canonical}")`];
}

/** Problems of a prefix: in legacy mode only that it is none; strictly at most one more. */
export function prefixProblems(text: string, strict = true): string[] {
  const sloppy = parsePrefixSloppy(text);
  if (sloppy === undefined) return [prefixText];
  if (!strict) return [];
  const prefix = parsePrefix(text);
  if (prefix === undefined) return ["must not have leading 0s in IP or prefix length"];
  if (isIPv4Mapped(prefix.address)) return ["must not have an IPv4-mapped IPv6 address"];
  return equalAddresses(maskAddress(prefix.address, prefix.length), prefix.address)
    ? []
    : ["must not have bits set beyond the prefix length"];
}

/** Problems of a prefix that must be canonical: those of {@link prefixProblems}, or the canonical form. */
export function canonicalPrefixProblems(text: string): string[] {
  const problems = prefixProblems(text);
  if (problems.length > 0) return problems;
  const prefix = parsePrefix(text)!;
  const canonical = `${formatAddress(prefix.address)}/${prefix.length}`;
  return canonical === text ? [] : [`must be in canonical form ("${canonical}")`];
}

/** Why an address cannot be an endpoint's: unspecified, loopback or link-local. */
export function endpointAddressProblems(text: string): string[] {
  const parsed = parseAddressSloppy(text);
  if (parsed === undefined) return [addressText];
  const { bytes } = unmapped(parsed);
  const [first, second] = [bytes[0]!, bytes[1]!];
  if (bytes.every((byte) => byte === 0)) return [`may not be unspecified (${text})`];
  const isIPv4 = bytes.length === 4;
  if (isIPv4 ? first === 127 : bytes.subarray(0, 15).every((byte) => byte === 0) && bytes[15] === 1) {
    return ["may not be in the loopback range (127.0.0.0/8, ::1/128)"];
  }
  if (isIPv4 ? first === 169 && second === 254 : first === 0xfe && (second & 0xc0) === 0x80) {
    return ["may not be in the link-local range (169.254.0.0/16, fe80::/10)"];
  }
  if (isIPv4 ? first === 224 && second === 0 && bytes[2] === 0 : first === 0xff && (second & 0x0f) === 2) {
    return ["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"];
  }
  return [];
}

/** Warnings about an address in a legacy field: not standard, or IPv6 not canonical. */
export function addressWarnings(field: string, text: string): string[] {
  const address = parseAddressSloppy(text);
  if (address === undefined) return [];
  const canonical = formatAddress(unmapped(address));
  if (parseAddress(text) === undefined || isIPv4Mapped(address)) {
    return [`${field}: non-standard IP address ${JSON.stringify(text)} is invalid: use ${JSON.stringify(canonical)}`];
  }
  return address.family === "IPv6" && canonical !== text
    ? [
        `${field}: IPv6 address ${JSON.stringify(text)} should be in RFC 5952 canonical format (${JSON.stringify(canonical)})`,
      ]
    : [];
}

/** Warnings about a prefix in a legacy field: not standard, host bits set, or IPv6 not canonical. */
export function prefixWarnings(field: string, text: string): string[] {
  const sloppy = parsePrefixSloppy(text);
  if (sloppy === undefined) return [];
  const masked = formatAddress(unmapped(maskAddress(sloppy.address, sloppy.length)));
  const mapped = isIPv4Mapped(sloppy.address);
  const length = mapped ? Math.max(0, sloppy.length - 96) : sloppy.length;
  const canonical = `${masked}/${length}`;
  if (parsePrefix(text) === undefined || mapped) {
    return [`${field}: non-standard CIDR value ${JSON.stringify(text)} is invalid: use ${JSON.stringify(canonical)}`];
  }
  if (prefixProblems(text).length > 0) {
    return [
      `${field}: CIDR value ${JSON.stringify(text)} is ambiguous in this context (should be ${JSON.stringify(canonical)} or ${JSON.stringify(formatAddress(sloppy.address))}?)`,
    ];
  }
  return sloppy.address.family === "IPv6" && canonical !== text
    ? [
        `${field}: IPv6 CIDR value ${JSON.stringify(text)} should be in RFC 5952 canonical format (${JSON.stringify(canonical)})`,
      ]
    : [];
}
