import { ProviderError } from "@portolan/lb";
import { canonicalAddress, familyOf, type IPFamily } from "@portolan/net";
import { type ParsedPool, parsePool, poolAddresses, poolContains } from "./pool.ts";

/** What {@link discoverVirtualAddresses} chooses from. */
export interface VirtualAddressRequest {
  /** Ranges and CIDRs of both families, separated by commas. */
  readonly pool: string;
  readonly ipFamilies?: readonly IPFamily[];
  readonly ipFamilyPolicy?: "SingleStack" | "PreferDualStack" | "RequireDualStack";
  readonly inUse: readonly string[];
  /** IPv4 address to take although it is in use, if the pool holds it: for Services that share one. */
  readonly preferredIPv4?: string;
}

/**
 * Virtual addresses from a kube-vip pool text: the first free one of each family, ascending, in the order of the Service's families.
 *
 * @throws ProviderError `UserConfig` if the pool is malformed or cannot give what the policy demands
 */
export function discoverVirtualAddresses(request: VirtualAddressRequest): string[] {
  const { ipFamilyPolicy = "SingleStack", preferredIPv4 = "" } = request;
  const entries = request.pool
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");
  let pool: ParsedPool;
  try {
    pool = parsePool({ name: request.pool, addresses: entries });
  } catch (error) {
    throw new ProviderError("UserConfig", (error as Error).message);
  }
  const offered = new Set(pool.ranges.map((range) => range.family));
  const named = request.ipFamilies ?? [];
  const both: readonly IPFamily[] = named[0] === "IPv6" ? ["IPv6", "IPv4"] : ["IPv4", "IPv6"];
  const families = ipFamilyPolicy === "SingleStack" ? [named[0] ?? [...offered][0] ?? "IPv4"] : both;
  const inUse = new Set(request.inUse.map((address) => canonicalAddress(address)));
  const found: string[] = [];
  const missing: IPFamily[] = [];
  for (const family of families) {
    let chosen: string | undefined;
    if (family === "IPv4" && familyOf(preferredIPv4) === "IPv4" && poolContains(pool, preferredIPv4)) {
      chosen = preferredIPv4;
    } else {
      for (const address of poolAddresses(pool, family)) {
        if (inUse.has(address)) continue;
        chosen = address;
        break;
      }
    }
    if (chosen === undefined) missing.push(family);
    else found.push(chosen);
  }
  if (found.length === 0 || (ipFamilyPolicy !== "PreferDualStack" && missing.length > 0)) {
    throw new ProviderError("UserConfig", `pool "${request.pool}" has no free ${missing.join(" and ")} address`);
  }
  return found;
}
