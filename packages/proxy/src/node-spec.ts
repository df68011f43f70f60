import type { Node } from "@portolan/core";
import type { NodeSpec } from "@portolan/dataplane";
import { canonicalAddress, familyOf, type IPFamily, parseAddress, parsePrefix, prefixContains } from "@portolan/net";

/** The part of kube-proxy's configuration that decides on packets. */
export interface ProxyConfiguration {
  /** Which kube-proxy mode to follow. Default `nftables`. */
  readonly mode?: "nftables" | "iptables" | "ipvs";
  /** Prefixes whose sources are pods. Empty or absent: no detector. */
  readonly clusterCIDRs?: readonly string[];
  /** CIDRs of addresses that accept NodePorts, or `["primary"]`; absent or empty means the mode's default. */
  readonly nodePortAddresses?: readonly string[];
  /** iptables mode: NodePorts on 127.0.0.0/8. Default true. */
  readonly localhostNodePorts?: boolean;
  readonly masqueradeAll?: boolean;
  readonly serviceCIDRs?: readonly string[];
}

const isLoopback = (address: string): boolean => address === "::1" || address.startsWith("127.");

/** Which addresses a node accepts NodePorts on (canonical text), by the rules of its mode. */
export function nodePortAddresses(
  addresses: readonly string[],
  primary: readonly string[],
  configuration: ProxyConfiguration,
): string[] {
  const mode = configuration.mode ?? "nftables";
  const wanted = configuration.nodePortAddresses ?? [];
  const out: string[] = [];
  for (const family of ["IPv4", "IPv6"] as const) {
    const local = addresses.filter((address) => familyOf(address) === family && !isLoopback(address));
    const mine = primary.filter((address) => familyOf(address) === family);
    const prefixes = wanted.map((text) => parsePrefix(text)).filter((prefix) => prefix !== undefined);
    const ofFamily = prefixes.filter((prefix) => prefix.address.family === family);
    const loopbackWanted =
      mode === "iptables" && family === "IPv4" && (configuration.localhostNodePorts ?? true) ? ["127.0.0.1"] : [];
    if (wanted.includes("primary") || (wanted.length === 0 && mode === "nftables")) {
      out.push(...mine);
    } else if (ofFamily.length === 0) {
      // A list without an entry of this family leaves the family at "every local address"; it does not switch it off.
      out.push(...local, ...loopbackWanted);
    } else {
      const inside = (address: string) => ofFamily.some((prefix) => prefixContains(prefix, parseAddress(address)!));
      out.push(...local.filter(inside), ...loopbackWanted.filter(inside));
    }
  }
  return out;
}

/**
 * Which addresses of a node health-check node ports listen on. As {@link nodePortAddresses}, but where that means every address
 * of a family, loopback is one of them.
 */
export function healthCheckAddresses(
  addresses: readonly string[],
  primary: readonly string[],
  configuration: ProxyConfiguration,
): string[] {
  const everyAddress: Readonly<Record<IPFamily, string>> = { IPv4: "0.0.0.0/0", IPv6: "::/0" };
  const wanted = configuration.nodePortAddresses ?? [];
  const listens = nodePortAddresses(addresses, primary, configuration);
  for (const family of ["IPv4", "IPv6"] as const) {
    const ofFamily = wanted.filter((text) => parsePrefix(text)?.address.family === family);
    const unfiltered = wanted.length === 0 ? configuration.mode === "iptables" : ofFamily.length === 0;
    if (wanted.includes("primary") || (!unfiltered && !ofFamily.includes(everyAddress[family]))) continue;
    listens.push(...addresses.filter((address) => familyOf(address) === family && isLoopback(address)));
  }
  return [...new Set(listens)];
}

/**
 * What the dataplane of a node needs to know about it.
 *
 * @param localAddresses further addresses on the node's interfaces, such as pod gateways; loopback is always local
 */
export function compileNodeSpec(
  node: Node,
  configuration: ProxyConfiguration,
  localAddresses: readonly string[] = [],
): NodeSpec {
  const own = (node.status?.addresses ?? [])
    .filter((entry) => entry.type === "InternalIP" || entry.type === "ExternalIP")
    .map((entry) => canonicalAddress(entry.address))
    .filter((address) => address !== undefined);
  const extra = localAddresses.map((address) => canonicalAddress(address)).filter((address) => address !== undefined);
  const addresses = [...new Set([...own, ...extra])];
  const primaryIPv4 = own.find((address) => familyOf(address) === "IPv4");
  const primaryIPv6 = own.find((address) => familyOf(address) === "IPv6");
  const primary = [primaryIPv4, primaryIPv6].filter((address) => address !== undefined);
  return {
    addresses,
    ...(primaryIPv4 === undefined ? {} : { primaryIPv4 }),
    ...(primaryIPv6 === undefined ? {} : { primaryIPv6 }),
    clusterCIDRs: configuration.clusterCIDRs ?? [],
    nodePortAddresses: nodePortAddresses(addresses, primary, configuration),
    ...(configuration.serviceCIDRs === undefined ? {} : { serviceCIDRs: configuration.serviceCIDRs }),
    masqueradeAll: configuration.masqueradeAll ?? false,
    mode: configuration.mode ?? "nftables",
  };
}
