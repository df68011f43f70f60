import type { PodSpec } from "@portolan/core";

/** A resolver's configuration file, read. */
export interface ResolverConfiguration {
  readonly nameservers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/** What pods' resolvers are made from. */
export interface ResolverSources {
  /** Addresses of the cluster's DNS; without any, `ClusterFirst` is as `Default`. */
  readonly clusterDns: readonly string[];
  /** `cluster.local`. */
  readonly clusterDomain: string;
  /** The node's own. */
  readonly node: ResolverConfiguration;
}

/** A pod's configuration, and what had to be left out to keep the limits. */
export interface PodResolver extends ResolverConfiguration {
  readonly warnings: readonly string[];
}

const MOST_NAMESERVERS = 3;
const MOST_SEARCHES = 32;
const MOST_SEARCH_CHARACTERS = 2048;
const LONGEST_SEARCH = 253;

/**
 * Reads a `resolv.conf`: comments only at line starts, nameserver lines add up, the last search line wins, options of all lines
 * merge, trailing dots go.
 */
export function parseResolverConfiguration(text: string): ResolverConfiguration {
  const nameservers: string[] = [];
  let searches: string[] = [];
  const options: string[] = [];
  for (const line of text.split("\n")) {
    if (/^\s*#/.test(line)) continue;
    const [keyword, ...values] = line.trim().split(/\s+/);
    if (keyword === "nameserver" && values[0] !== undefined) nameservers.push(values[0]);
    if (keyword === "search") {
      searches = values
        .map((value) => (value === "." ? value : value.replace(/\.$/, "")))
        .filter((value) => value !== ".");
    }
    if (keyword === "options") options.push(...values);
  }
  return { nameservers, searches, options: mergeOptions(options) };
}

const unique = (values: readonly string[]): string[] => [...new Set(values)];

/** Later options replace earlier ones of the same name (`ndots:5`). */
function mergeOptions(...lists: readonly (readonly string[])[]): string[] {
  const byName = new Map<string, string>();
  for (const option of lists.flat()) byName.set(option.split(":")[0] ?? "", option);
  return [...byName.values()];
}

/** The resolver configuration of a pod, by its `dnsPolicy` and `dnsConfig` (pkg/kubelet/network/dns). */
export function podResolver(namespace: string, spec: PodSpec, sources: ResolverSources): PodResolver {
  const warnings: string[] = [];
  let policy = spec.dnsPolicy ?? "ClusterFirst";
  if (policy === "ClusterFirst" && spec.hostNetwork === true) policy = "Default";
  if (policy === "ClusterFirstWithHostNet") policy = "ClusterFirst";
  if (policy === "ClusterFirst" && sources.clusterDns.length === 0) policy = "Default";
  const { clusterDomain: domain, node } = sources;
  let base: ResolverConfiguration = { nameservers: [], searches: [], options: [] };
  if (policy === "Default") base = node;
  if (policy === "ClusterFirst") {
    const own = domain === "" ? [] : [`${namespace}.svc.${domain}`, `svc.${domain}`, domain];
    base = { nameservers: sources.clusterDns, searches: unique([...own, ...node.searches]), options: ["ndots:5"] };
  }
  const config = spec.dnsConfig ?? {};
  const configured = (config.options ?? []).map(({ name, value }) =>
    value === undefined || value === "" ? name : `${name}:${value}`,
  );
  let nameservers = unique([...base.nameservers, ...(config.nameservers ?? [])]);
  let searches = unique([...base.searches, ...(config.searches ?? []).map((one) => one.replace(/(.)\.$/, "$1"))]);
  if (nameservers.length > MOST_NAMESERVERS) {
    nameservers = nameservers.slice(0, MOST_NAMESERVERS);
    warnings.push(
      `Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ${nameservers.join(" ")}`,
    );
  }
  const kept: string[] = [];
  let characters = 0;
  for (const search of searches.filter((one) => one.length <= LONGEST_SEARCH)) {
    characters += search.length + (kept.length > 0 ? 1 : 0);
    if (kept.length === MOST_SEARCHES || characters > MOST_SEARCH_CHARACTERS) break;
    kept.push(search);
  }
  if (kept.length < searches.length) {
    warnings.push(
      `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${kept.join(" ")}`,
    );
  }
  searches = kept;
  return { nameservers, searches, options: mergeOptions(base.options, configured), warnings };
}

/** The file's text. */
export function formatResolverConfiguration(configuration: ResolverConfiguration): string {
  const lines = configuration.nameservers.map((nameserver) => `nameserver ${nameserver}`);
  if (configuration.searches.length > 0) lines.unshift(`search ${configuration.searches.join(" ")}`);
  if (configuration.options.length > 0) lines.push(`options ${configuration.options.join(" ")}`);
  return `${lines.join("\n")}\n`;
}

/** `/etc/hosts` of a pod. */
export function hostsFile(options: {
  readonly addresses: readonly string[];
  readonly hostname: string;
  /** `hostname.subdomain.namespace.svc.domain`, for pods with a subdomain. */
  readonly fullName?: string;
  readonly aliases?: readonly { readonly ip: string; readonly hostnames?: readonly string[] }[];
}): string {
  const lines = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
    ...options.addresses.map((address) =>
      [address, ...(options.fullName === undefined ? [] : [options.fullName]), options.hostname].join("\t"),
    ),
    ...(options.aliases ?? []).map(({ ip, hostnames }) => [ip, ...(hostnames ?? [])].join("\t")),
  ];
  return `${lines.join("\n")}\n`;
}
