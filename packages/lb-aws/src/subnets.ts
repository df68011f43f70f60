import type { Service } from "@portolan/core";
import { ProviderError } from "@portolan/lb";
import { formatAddress, parseAddress, parsePrefix, prefixContains } from "@portolan/net";
import { annotationPrefix, badAnnotation, listOf } from "./annotations.ts";
import type { AwsConfiguration, IPAddressType, Scheme } from "./configuration.ts";

/** A subnet, as far as load balancers care. */
export interface Subnet {
  readonly id: string;
  readonly cidr: string;
  readonly ipv6Cidrs?: readonly string[];
  readonly vpcId?: string;
  /** Name of its zone: `us-east-1a`. */
  readonly zone?: string;
  /** Id of its zone: `use1-az1`. */
  readonly zoneId?: string;
  /** Default `availability-zone`. */
  readonly zoneType?: string;
  readonly outpostArn?: string;
  readonly availableIPs?: number;
  readonly tags?: Readonly<Record<string, string>>;
  /** Whether its routes lead to an internet gateway. */
  readonly public?: boolean;
}

const roleTags = { internal: "kubernetes.io/role/internal-elb", "internet-facing": "kubernetes.io/role/elb" } as const;
const clusterTagPrefix = "kubernetes.io/cluster/";
const minimumAvailableIPs = 8;

const byText = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0);

/** Whether a subnet carries the tag that offers it to load balancers of a scheme. */
export function hasRoleTag(subnet: Subnet, scheme: Scheme): boolean {
  const value = subnet.tags?.[roleTags[scheme]];
  return value === "" || value === "1";
}

const hasClusterTag = (subnet: Subnet, cluster: string): boolean =>
  subnet.tags?.[clusterTagPrefix + cluster] !== undefined;

function onlyOtherClusters(subnet: Subnet, cluster: string): boolean {
  const clusters = Object.keys(subnet.tags ?? {}).filter((key) => key.startsWith(clusterTagPrefix));
  return clusters.length > 0 && !hasClusterTag(subnet, cluster);
}

function localeOf(subnet: Subnet): string {
  return subnet.outpostArn ? "outpost" : (subnet.zoneType ?? "availability-zone");
}

function requireOneLocale(subnets: readonly Subnet[]): string {
  const locales = [...new Set(subnets.map(localeOf))];
  if (locales.length > 1) {
    throw new ProviderError("UserConfig", `subnets are of different kinds of zone: ${locales.join(", ")}`);
  }
  return locales[0] ?? "availability-zone";
}

function requireEnough(subnets: readonly Subnet[], minimum: number): void {
  const locale = requireOneLocale(subnets);
  const needed = locale === "availability-zone" ? minimum : 1;
  if (subnets.length >= needed) return;
  throw new ProviderError("UserConfig", `subnets in ${needed} zones are needed, found ${subnets.length}`);
}

/** What subnet discovery is asked for. */
export interface SubnetDiscovery {
  readonly cluster: string;
  readonly scheme: Scheme;
  readonly ipAddressType: IPAddressType;
  /** Default true. */
  readonly clusterTagCheck?: boolean;
  /** Default true. */
  readonly discoveryByReachability?: boolean;
  /** Free addresses that a subnet must have. Default 8. */
  readonly minimumAvailableIPs?: number;
  /** Zones that are needed. Default 1, as for Network Load Balancers. */
  readonly minimumZones?: number;
}

/**
 * Subnets for a load balancer: those with the scheme's role tag or, if there are none, those that the internet reaches (or not);
 * without those of other clusters and those without room; one per zone, first those that carry the cluster's tag, then by id.
 *
 * @param subnets all subnets of the VPC
 * @throws ProviderError UserConfig if none is left, with the numbers of those that were passed over
 */
export function discoverSubnets(subnets: readonly Subnet[], query: SubnetDiscovery): Subnet[] {
  const { cluster, scheme, ipAddressType, clusterTagCheck = true, discoveryByReachability = true } = query;
  let candidates = subnets.filter((subnet) => hasRoleTag(subnet, scheme));
  if (candidates.length === 0 && discoveryByReachability) {
    candidates = subnets.filter((subnet) => (subnet.public ?? false) === (scheme === "internet-facing"));
  }
  const minimum = query.minimumAvailableIPs ?? minimumAvailableIPs;
  const passedOver = { otherCluster: 0, insufficientIPs: 0, noIpv6: 0 };
  const eligible = candidates.filter((subnet) => {
    if (clusterTagCheck && onlyOtherClusters(subnet, cluster)) passedOver.otherCluster += 1;
    else if ((subnet.availableIPs ?? minimum) < minimum) passedOver.insufficientIPs += 1;
    else if (ipAddressType === "dualstack" && (subnet.ipv6Cidrs ?? []).length === 0) passedOver.noIpv6 += 1;
    else return true;
    return false;
  });
  if (eligible.length === 0) {
    const { otherCluster, insufficientIPs, noIpv6 } = passedOver;
    const reasons = [
      `${otherCluster} are tagged for other clusters`,
      `${insufficientIPs} have fewer than ${minimum} free addresses`,
      ...(ipAddressType === "dualstack" ? [`${noIpv6} have no IPv6 CIDR`] : []),
    ];
    throw new ProviderError(
      "UserConfig",
      `no eligible subnet for an ${scheme} load balancer: evaluated ${candidates.length}, of which ${reasons.join(", ")}; tag subnets with ${roleTags[scheme]}=1 or name them in annotation ${annotationPrefix}subnets`,
    );
  }
  const chosen = new Map<string, Subnet>();
  const preferred = [...eligible].sort(
    (left, right) =>
      Number(hasClusterTag(right, cluster)) - Number(hasClusterTag(left, cluster)) || byText(left.id, right.id),
  );
  for (const subnet of preferred) {
    const zone = subnet.zone ?? subnet.id;
    if (!chosen.has(zone)) chosen.set(zone, subnet);
  }
  const out = [...chosen.values()].sort((left, right) => byText(left.id, right.id));
  requireEnough(out, query.minimumZones ?? 1);
  return out;
}

/**
 * The subnets that annotation `subnets` names, in its order.
 *
 * @param found what the cloud has under these ids and names
 * @throws ProviderError UserConfig if the list is empty or an entry is not found
 */
export function namedSubnets(service: Service, found: readonly Subnet[]): Subnet[] {
  const suffix = "subnets";
  const wanted = listOf(service, suffix) ?? [];
  if (wanted.length === 0) throw badAnnotation(service, suffix, "names no subnet");
  const left = [...found];
  const out = wanted.map((entry) => {
    const isId = entry.startsWith("subnet-");
    const at = left.findIndex((subnet) => (isId ? subnet.id : subnet.tags?.["Name"]) === entry);
    return at < 0 ? undefined : left.splice(at, 1)[0];
  });
  // Answers of the cloud need not carry the tag that they were asked by.
  const resolved = out.map((subnet, index) =>
    subnet === undefined && !wanted[index]!.startsWith("subnet-") ? left.shift() : subnet,
  );
  const missing = wanted.filter((_, index) => resolved[index] === undefined);
  if (missing.length > 0) {
    const count = `wanted ${wanted.length} subnets, found ${wanted.length - missing.length}`;
    throw badAnnotation(service, suffix, `${count}; missing ${missing.join(", ")}`);
  }
  const all = resolved as Subnet[];
  const zones = new Set<string>();
  for (const { id, zone } of all) {
    if (zone !== undefined && zones.has(zone)) {
      throw badAnnotation(service, suffix, `${id} is a second subnet in zone ${zone}; one per zone is allowed`);
    }
    if (zone !== undefined) zones.add(zone);
  }
  requireOneLocale(all);
  return all;
}

/**
 * Subnets for a load balancer of the in-tree provider, in the order of their zones: of the cluster or of none; with a route to the
 * internet unless internal; in ordinary zones; one per zone, first by role tag, then by cluster tag, then by id.
 */
export function inTreeSubnets(subnets: readonly Subnet[], cluster: string, internal: boolean): Subnet[] {
  const scheme = internal ? "internal" : "internet-facing";
  const rank = (subnet: Subnet): number =>
    (subnet.tags?.[roleTags[scheme]] === undefined ? 2 : 0) + (hasClusterTag(subnet, cluster) ? 0 : 1);
  const chosen = new Map<string, Subnet>();
  for (const subnet of subnets) {
    const { zone, zoneType = "availability-zone" } = subnet;
    if (zone === undefined || zoneType !== "availability-zone") continue;
    if (onlyOtherClusters(subnet, cluster) || !(internal || subnet.public)) continue;
    const held = chosen.get(zone);
    if (held === undefined || (rank(subnet) - rank(held) || byText(subnet.id, held.id)) < 0) chosen.set(zone, subnet);
  }
  return [...chosen].sort(([left], [right]) => byText(left, right)).map(([, subnet]) => subnet);
}

/** One subnet of a load balancer, with the addresses that it takes there. */
export interface SubnetMapping {
  readonly subnetId: string;
  readonly allocationId?: string;
  readonly privateIPv4Address?: string;
  readonly ipv6Address?: string;
  readonly sourceNatIpv6Prefix?: string;
}

/** Mappings of the in-tree provider: entry by entry, in the order of the subnets. */
export function inTreeSubnetMappings(
  subnetIds: readonly string[],
  allocationIds: readonly string[],
  privateIPv4Addresses: readonly string[],
): SubnetMapping[] {
  return subnetIds.map((subnetId, index) => ({
    subnetId,
    ...(allocationIds[index] === undefined ? {} : { allocationId: allocationIds[index] }),
    ...(privateIPv4Addresses[index] === undefined ? {} : { privateIPv4Address: privateIPv4Addresses[index] }),
  }));
}

function requireCount(service: Service, suffix: string, entries: readonly string[], subnets: readonly Subnet[]): void {
  if (entries.length === subnets.length) return;
  throw badAnnotation(service, suffix, `${entries.length} entries for ${subnets.length} subnets; one each is needed`);
}

/** The one address of a list that lies in a subnet. */
function addressWithin(
  service: Service,
  suffix: string,
  addresses: readonly string[],
  subnet: Subnet,
  cidrs: readonly string[],
): string {
  const prefixes = cidrs.map(parsePrefix).filter((prefix) => prefix !== undefined);
  const inside = addresses.filter((text) => prefixes.some((prefix) => prefixContains(prefix, parseAddress(text)!)));
  if (inside.length !== 1) {
    const wanted = `${inside.length} addresses lie in subnet ${subnet.id} (${cidrs.join(", ")}); one is needed`;
    throw badAnnotation(service, suffix, wanted);
  }
  return formatAddress(parseAddress(inside[0]!)!);
}

function requireFamily(service: Service, suffix: string, addresses: readonly string[], family: "IPv4" | "IPv6"): void {
  const bad = addresses.find((text) => parseAddress(text)?.family !== family);
  if (bad !== undefined) throw badAnnotation(service, suffix, `"${bad}" is not an ${family} address`);
}

function requireSourceNatPrefixes(
  service: Service,
  suffix: string,
  prefixes: readonly string[],
  subnets: readonly Subnet[],
): void {
  requireCount(service, suffix, prefixes, subnets);
  for (const [index, text] of prefixes.entries()) {
    if (text === "auto_assigned") continue;
    const prefix = parsePrefix(text);
    if (prefix === undefined || prefix.address.family !== "IPv6" || prefix.length !== 80) {
      throw badAnnotation(service, suffix, `"${text}" is neither auto_assigned nor an IPv6 prefix of length 80`);
    }
    const subnet = subnets[index]!;
    const cidrs = subnet.ipv6Cidrs ?? [];
    const within = cidrs.some((cidr) => {
      const outer = parsePrefix(cidr);
      return outer !== undefined && outer.length <= 80 && prefixContains(outer, prefix.address);
    });
    if (!within)
      throw badAnnotation(service, suffix, `${text} is not inside subnet ${subnet.id} (${cidrs.join(", ")})`);
  }
}

/**
 * Which addresses a load balancer takes in its subnets. Elastic addresses and prefixes follow the subnets' order; other addresses
 * go where they lie.
 */
export function subnetMappings(
  service: Service,
  subnets: readonly Subnet[],
  loadBalancer: {
    readonly scheme: Scheme;
    readonly ipAddressType: IPAddressType;
    readonly enablePrefixForIpv6SourceNat: "on" | "off";
  },
): SubnetMapping[] {
  const { scheme, ipAddressType, enablePrefixForIpv6SourceNat } = loadBalancer;
  const allocations = listOf(service, "eip-allocations");
  if (allocations !== undefined) {
    if (scheme !== "internet-facing") {
      throw badAnnotation(service, "eip-allocations", "only internet-facing load balancers take elastic addresses");
    }
    requireCount(service, "eip-allocations", allocations, subnets);
  }
  const ipv4 = listOf(service, "private-ipv4-addresses");
  if (ipv4 !== undefined) {
    if (scheme !== "internal") {
      throw badAnnotation(service, "private-ipv4-addresses", "only internal load balancers take private addresses");
    }
    requireFamily(service, "private-ipv4-addresses", ipv4, "IPv4");
    requireCount(service, "private-ipv4-addresses", ipv4, subnets);
  }
  const ipv6 = listOf(service, "ipv6-addresses");
  if (ipv6 !== undefined) {
    if (ipAddressType !== "dualstack") {
      throw badAnnotation(service, "ipv6-addresses", "only dualstack load balancers take IPv6 addresses");
    }
    requireFamily(service, "ipv6-addresses", ipv6, "IPv6");
    requireCount(service, "ipv6-addresses", ipv6, subnets);
  }
  const suffix = "source-nat-ipv6-prefixes";
  const prefixes = listOf(service, suffix);
  if (prefixes !== undefined) {
    if (ipAddressType !== "dualstack") throw badAnnotation(service, suffix, "needs ip-address-type dualstack");
    if (enablePrefixForIpv6SourceNat !== "on") {
      throw badAnnotation(service, suffix, "needs enable-prefix-for-ipv6-source-nat on");
    }
    requireSourceNatPrefixes(service, suffix, prefixes, subnets);
  }
  return subnets.map((subnet, index) => ({
    subnetId: subnet.id,
    ...(allocations === undefined ? {} : { allocationId: allocations[index]! }),
    ...(ipv4 === undefined
      ? {}
      : { privateIPv4Address: addressWithin(service, "private-ipv4-addresses", ipv4, subnet, [subnet.cidr]) }),
    ...(ipv6 === undefined
      ? {}
      : { ipv6Address: addressWithin(service, "ipv6-addresses", ipv6, subnet, subnet.ipv6Cidrs ?? []) }),
    ...(prefixes === undefined ? {} : { sourceNatIpv6Prefix: prefixes[index]! }),
  }));
}

/** What subnet discovery is asked for on behalf of a Service. */
export function subnetDiscovery(
  service: Service,
  configuration: AwsConfiguration,
  loadBalancer: { readonly scheme: Scheme; readonly ipAddressType: IPAddressType },
): SubnetDiscovery {
  const { clusterName, clusterTagCheck, discoveryByReachability } = configuration;
  // Addresses that the user chose are taken from the subnet by the user.
  const chosen = loadBalancer.scheme === "internal" && listOf(service, "private-ipv4-addresses") !== undefined;
  return {
    cluster: clusterName,
    ...loadBalancer,
    ...(clusterTagCheck === undefined ? {} : { clusterTagCheck }),
    ...(discoveryByReachability === undefined ? {} : { discoveryByReachability }),
    ...(chosen ? { minimumAvailableIPs: 0 } : {}),
  };
}
