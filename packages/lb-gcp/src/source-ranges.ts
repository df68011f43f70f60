import type { Service } from "@portolan/core";
import { sourceRangesAnnotation, sourceRangesOf } from "@portolan/lb";
import type { IPFamily } from "@portolan/net";

/** Everything of a family, in the words of Google's controllers. */
const everything = { IPv4: "0.0.0.0/0", IPv6: "0::0/0" } as const;

/**
 * CIDRs of one family that may use a Service. A family for which none is named stays open, also when the other one is narrowed.
 *
 * @throws ProviderError `UserConfig` if an entry of the list that counts is not a CIDR
 */
export function sourceRangesOfFamily(service: Service, family: IPFamily): string[] {
  const named =
    (service.spec?.loadBalancerSourceRanges ?? []).length > 0 ||
    (service.metadata.annotations?.[sourceRangesAnnotation]?.trim() ?? "") !== "";
  const ranges = named ? sourceRangesOf(service).filter((range) => range.includes(":") === (family === "IPv6")) : [];
  return ranges.length > 0 ? ranges : [everything[family]];
}
