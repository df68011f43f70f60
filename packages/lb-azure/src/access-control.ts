import type { Service } from "@portolan/core";
import { ProviderError, readList } from "@portolan/lb";
import { addressToBigInt, formatPrefix, type IPFamily, type IPPrefix, maskAddress, parsePrefix } from "@portolan/net";
import { annotation, flag, fullKey, keys } from "./annotations.ts";
import { isInternal } from "./names.ts";

/** CIDRs that a Service lets in, as written, and those that are none. */
export interface AllowedRanges {
  readonly IPv4: readonly string[];
  readonly IPv6: readonly string[];
  /** No CIDR, or one with host bits. */
  readonly invalid: readonly string[];
}

/**
 * The ranges that a Service lets in, by family. A range with host bits is invalid: what was meant is unclear.
 *
 * @throws ProviderError `UserConfig` if both the field and the annotation are set
 */
export function allowedRanges(service: Service): AllowedRanges {
  const field = service.spec?.loadBalancerSourceRanges ?? [];
  const text = annotation(service, keys.allowedRanges);
  if (field.length > 0 && text !== undefined) {
    throw new ProviderError(
      "UserConfig",
      `annotation ${fullKey(keys.allowedRanges)} and spec.loadBalancerSourceRanges exclude each other; remove one of them`,
    );
  }
  const out: Record<"IPv4" | "IPv6" | "invalid", string[]> = { IPv4: [], IPv6: [], invalid: [] };
  for (const entry of field.length > 0 ? field.map((each) => each.trim()) : readList(text ?? "")) {
    const prefix = parsePrefix(entry);
    const exact =
      prefix !== undefined &&
      addressToBigInt(maskAddress(prefix.address, prefix.length)) === addressToBigInt(prefix.address);
    out[exact ? prefix.address.family : "invalid"].push(entry);
  }
  return out;
}

/** Service tags of Azure that a Service lets in. */
export function allowedServiceTags(service: Service): string[] {
  return readList(annotation(service, keys.allowedServiceTags) ?? "");
}

function allowsAll(ranges: AllowedRanges): boolean {
  return [...ranges.IPv4, ...ranges.IPv6].some((range) => parsePrefix(range)!.length === 0);
}

/** Whether everybody who can reach the load balancer may use it. */
export function allowsInternet(service: Service): boolean {
  const ranges = allowedRanges(service);
  if (allowedServiceTags(service).length > 0) return false;
  const count = ranges.IPv4.length + ranges.IPv6.length;
  if (count > 0) return allowsAll(ranges);
  return ranges.invalid.length === 0 && !isInternal(service);
}

/** Whether deny rules stand behind the allowed ranges: on request, and always when a range was not understood. */
export function deniesAllElse(service: Service): boolean {
  const ranges = allowedRanges(service);
  if (ranges.invalid.length > 0) return true;
  return flag(service, keys.denyAllExceptRanges) && ranges.IPv4.length + ranges.IPv6.length > 0;
}

/** The fewest prefixes that cover the same addresses, in ascending order: contained ones go, two halves become one. */
export function aggregatePrefixes(ranges: readonly string[]): string[] {
  const parsed = ranges.map((range) => parsePrefix(range)!);
  const bits = (prefix: IPPrefix): bigint => addressToBigInt(prefix.address);
  const kept = new Map<string, IPPrefix>();
  const keyOf = (prefix: IPPrefix): string => formatPrefix(prefix);
  const cover = (prefix: IPPrefix): boolean => {
    for (let length = prefix.length; length >= 0; length--) {
      if (kept.has(keyOf({ address: maskAddress(prefix.address, length), length }))) return true;
    }
    return false;
  };
  for (let prefix of [...parsed].sort((a, b) => a.length - b.length)) {
    if (cover(prefix)) continue;
    // A sibling that is there already makes both their parent.
    while (prefix.length > 0) {
      const width = BigInt(prefix.address.bytes.length * 8 - prefix.length);
      const sibling = [...kept.values()].find(
        (other) => other.length === prefix.length && (bits(other) ^ bits(prefix)) === 1n << width,
      );
      if (sibling === undefined) break;
      kept.delete(keyOf(sibling));
      prefix = { address: maskAddress(prefix.address, prefix.length - 1), length: prefix.length - 1 };
    }
    kept.set(keyOf(prefix), prefix);
  }
  return [...kept.values()].sort((a, b) => (bits(a) < bits(b) ? -1 : 1)).map(formatPrefix);
}

/** Sources of the allow rules of a family: each a rule of its own. */
export function allowedSources(service: Service, family: IPFamily): readonly (readonly string[])[] {
  const ranges = allowedRanges(service);
  const tags = allowedServiceTags(service);
  const none = tags.length + ranges.IPv4.length + ranges.IPv6.length + ranges.invalid.length === 0;
  if (none) return isInternal(service) ? [] : [["Internet"]];
  const own = aggregatePrefixes(ranges[family]);
  return [...tags.map((tag) => [tag]), ...(own.length > 0 ? [own] : [])];
}
