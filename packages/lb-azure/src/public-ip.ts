import type { Service } from "@portolan/core";
import { ProviderError } from "@portolan/lb";
import { canonicalAddress, type IPFamily, parseAddress } from "@portolan/net";
import { annotation, keys } from "./annotations.ts";
import { familiesOf, managedPublicIPName, publicIPPrefix, requestedAddress, requestedPublicIPName } from "./names.ts";

/** Tags by which public IPs are known. */
export const publicIPTags = {
  service: "k8s-azure-service",
  cluster: "k8s-azure-cluster-name",
  dnsLabel: "k8s-azure-dns-label-service",
} as const;

/** What has to be known about a public IP to say whose it is. */
export interface PublicIPFacts {
  readonly name?: string | null;
  readonly ipAddress?: string | null;
  readonly tags?: Readonly<Record<string, string>> | null;
}

/** `namespace/name`, as tags carry it. */
export function serviceTag(service: Service): string {
  return `${service.metadata.namespace ?? ""}/${service.metadata.name ?? ""}`;
}

/** Entries of the service tag: several Services may share one public IP. */
export function taggedServices(tags: PublicIPFacts["tags"]): string[] {
  return (tags?.[publicIPTags.service] ?? "")
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");
}

/**
 * Whether a Service may use a public IP, and whether somebody else made it. Made by this provider is what carries the service tag;
 * what somebody made is used by name or address, and never removed.
 *
 * @param service `namespace/name`
 * @param requested what the Service asks for
 */
export function publicIPOwnership(
  publicIP: PublicIPFacts,
  service: string,
  clusterName: string,
  requested: { readonly address?: string | undefined; readonly name?: string | undefined } = {},
): { readonly owns: boolean; readonly userAssigned: boolean } {
  const byAddress = Boolean(requested.address) && publicIP.ipAddress === requested.address;
  const byName = Boolean(requested.name) && publicIP.name?.toLowerCase() === requested.name?.toLowerCase();
  const selected = byAddress || byName;
  const services = taggedServices(publicIP.tags);
  if (services.length === 0) return { owns: selected, userAssigned: true };
  if (!services.some((entry) => entry.toLowerCase() === service.toLowerCase())) {
    return { owns: selected, userAssigned: false };
  }
  // Releases before the cluster tag set the service tag only.
  const cluster = publicIP.tags?.[publicIPTags.cluster] ?? "";
  return { owns: cluster === "" || cluster.toLowerCase() === clusterName.toLowerCase(), userAssigned: false };
}

function isPrivate(address: string): boolean {
  const parsed = parseAddress(address);
  if (parsed === undefined) return false;
  const [first = 0, second = 0] = parsed.bytes;
  if (parsed.family === "IPv6") return (first & 0xfe) === 0xfc || (first === 0xfe && (second & 0xc0) === 0x80);
  return (
    first === 10 ||
    first === 127 ||
    (first === 172 && second >= 16 && second < 32) ||
    (first === 192 && second === 168) ||
    (first === 169 && second === 254)
  );
}

/**
 * Name of the public IP of a frontend.
 *
 * @throws ProviderError `UserConfig` if the address that the Service asks for is private or is no public IP that exists
 */
export function publicIPName(
  service: Service,
  family: IPFamily,
  clusterName: string,
  resourceGroup: string,
  existing: readonly PublicIPFacts[],
): string {
  const named = requestedPublicIPName(service, family);
  if (named !== undefined) return named;
  const address = requestedAddress(service, family);
  if (address === undefined || publicIPPrefix(service, family) !== undefined) {
    return managedPublicIPName(service, clusterName, family);
  }
  const found = existing.find((each) => canonicalAddress(each.ipAddress ?? "") === canonicalAddress(address));
  if (found?.name) return found.name;
  throw new ProviderError(
    "UserConfig",
    isPrivate(address)
      ? `the load balancer is public, but the requested address ${address} is private; ask for the address of a public IP`
      : `the requested address ${address} is not a public IP in resource group ${resourceGroup}`,
  );
}

/** Resource group that a Service's public IPs lie in. */
export function publicIPResourceGroup(service: Service, resourceGroup: string): string {
  return annotation(service, keys.resourceGroup) ?? resourceGroup;
}

/** Pairs of a `key=value,…` text. What is no pair is left out; the last of a key counts; keys may be empty. */
export function tagMap(text: string): Record<string, string> {
  const out: Record<string, string> = {};
  for (const entry of text.split(",")) {
    const parts = entry.split("=");
    if (parts.length !== 2) continue;
    Object.defineProperty(out, parts[0]!.trim(), {
      value: parts[1]!.trim(),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return out;
}

/** A public IP that a Service needs. */
export interface PublicIP {
  readonly name: string;
  readonly sku: "Standard" | "Basic";
  readonly publicIPAllocationMethod: "Static" | "Dynamic";
  readonly publicIPAddressVersion: IPFamily;
  readonly tags: Readonly<Record<string, string>>;
  readonly domainNameLabel?: string;
  readonly ipTags?: readonly { readonly ipTagType: string; readonly tag: string }[];
  readonly publicIPPrefix?: string;
}

/** The public IP that this provider makes for a family of a Service. */
export function managedPublicIP(
  service: Service,
  name: string,
  clusterName: string,
  family: IPFamily,
  standard: boolean,
): PublicIP {
  const label = annotation(service, keys.dnsLabel);
  const ipTags = Object.entries(tagMap(annotation(service, keys.publicIPAddressTags) ?? "")).map(
    ([ipTagType, tag]) => ({
      ipTagType,
      tag,
    }),
  );
  const prefix = publicIPPrefix(service, family);
  const dual = familiesOf(service).length > 1;
  return {
    name,
    sku: standard ? "Standard" : "Basic",
    publicIPAllocationMethod: standard || !dual ? "Static" : "Dynamic",
    publicIPAddressVersion: family,
    tags: {
      ...tagMap(annotation(service, keys.publicIPTags) ?? ""),
      [publicIPTags.service]: serviceTag(service),
      [publicIPTags.cluster]: clusterName,
      ...(label === undefined ? {} : { [publicIPTags.dnsLabel]: serviceTag(service) }),
    },
    ...(label === undefined ? {} : { domainNameLabel: label }),
    ...(ipTags.length === 0 ? {} : { ipTags }),
    ...(prefix === undefined ? {} : { publicIPPrefix: prefix }),
  };
}
