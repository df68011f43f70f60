import type { Pod } from "@portolan/core";

/** What a resolv.conf says. */
export interface ResolvConf {
  readonly nameservers: readonly string[];
  readonly searches: readonly string[];
  /** `ndots:5`, `attempts:2`, `use-vc` … in order. */
  readonly options: readonly string[];
}

/** Limits that a kubelet keeps (pkg/apis/core/validation, KEP-2595). */
export interface ResolvConfLimits {
  /** Default 3; resolvers ignore the rest. */
  readonly nameservers: number;
  /** Default 32. */
  readonly searches: number;
  /** Characters of all search domains and the blanks between them. Default 2048. */
  readonly searchCharacters: number;
}

/** Limits since Kubernetes 1.28. */
export const resolvConfLimits: ResolvConfLimits = { nameservers: 3, searches: 32, searchCharacters: 2048 };
/** Limits before, and of old C libraries. */
export const legacyResolvConfLimits: ResolvConfLimits = { nameservers: 3, searches: 6, searchCharacters: 256 };

/** What a kubelet would report as an event on the Pod. */
export interface ResolvConfWarning {
  readonly reason: "DNSConfigForming" | "MissingClusterDNS";
  readonly message: string;
}

/** A resolv.conf that cannot be read. */
export class ResolvConfError extends Error {
  override readonly name = "ResolvConfError";
  readonly code = "nameserver" as const;
}

/** Longest domain name in text form. */
const maximumSearchLength = 253;

/**
 * Reads a resolv.conf as a kubelet does (pkg/kubelet/network/dns `parseResolvConf`): comments start at the beginning of a line only,
 * `nameserver` lines add up, the last `search` line counts, options of all lines are merged by name. Throws {@link ResolvConfError} on a
 * `nameserver` line without an address.
 */
export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = [];
  let searches: string[] = [];
  let options: readonly string[] = [];
  for (const line of text.split("\n")) {
    const trimmed = line.trim();
    if (trimmed.startsWith("#")) continue;
    const [word, ...fields] = trimmed.split(/\s+/);
    if (word === "nameserver") {
      if (fields[0] === undefined) throw new ResolvConfError("a nameserver line has no address");
      nameservers.push(fields[0]);
    } else if (word === "search")
      searches = fields.filter((domain) => domain !== ".").map((domain) => domain.replace(/\.$/, ""));
    else if (word === "options") options = mergeResolverOptions(options, fields);
  }
  return { nameservers, searches, options };
}

/** Merges options by what stands before the colon; later ones win and keep the place of the first. */
export function mergeResolverOptions(existing: readonly string[], added: readonly string[]): string[] {
  const merged = new Map<string, string>();
  for (const option of [...existing, ...added]) merged.set(option.split(":")[0]!, option);
  return [...merged.values()];
}

/** Cuts a search list to the limits: too long entries fall out, then the end goes. */
export function limitSearches(
  searches: readonly string[],
  limits: ResolvConfLimits = resolvConfLimits,
): { readonly searches: string[]; readonly warning: ResolvConfWarning | undefined } {
  let kept = searches.filter((domain) => domain.length <= maximumSearchLength);
  let cut = kept.length < searches.length;
  if (kept.length > limits.searches) {
    kept = kept.slice(0, limits.searches);
    cut = true;
  }
  while (kept.join(" ").length > limits.searchCharacters) {
    kept = kept.slice(0, -1);
    cut = true;
  }
  const message = `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${kept.join(" ")}`;
  return { searches: kept, warning: cut ? { reason: "DNSConfigForming", message } : undefined };
}

/** Cuts a list of name servers to the limit. */
export function limitNameservers(
  nameservers: readonly string[],
  limits: ResolvConfLimits = resolvConfLimits,
): { readonly nameservers: string[]; readonly warning: ResolvConfWarning | undefined } {
  const kept = nameservers.slice(0, limits.nameservers);
  const message = `Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ${kept.join(" ")}`;
  return {
    nameservers: kept,
    warning: kept.length < nameservers.length ? { reason: "DNSConfigForming", message } : undefined,
  };
}

/** Where a Pod's DNS settings come from. */
export type PodDnsSource = "cluster" | "host" | "none";

/** What `dnsPolicy` means for a Pod (pkg/kubelet/network/dns `getPodDNSType`). Unknown values count as `Default`. */
export function podDnsSource(dnsPolicy: string | undefined, hostNetwork: boolean): PodDnsSource {
  switch (dnsPolicy ?? "ClusterFirst") {
    case "None":
      return "none";
    case "ClusterFirstWithHostNet":
      return "cluster";
    case "ClusterFirst":
      return hostNetwork ? "host" : "cluster";
    default:
      return "host";
  }
}

/** The part of a Pod that decides about its resolv.conf. */
export type ResolvConfPod = Pick<Pod, "metadata"> & {
  readonly spec?: {
    readonly dnsPolicy?: string;
    readonly hostNetwork?: boolean;
    readonly dnsConfig?: {
      readonly nameservers?: readonly string[];
      readonly searches?: readonly string[];
      readonly options?: readonly { readonly name?: string; readonly value?: string }[];
    };
  };
};

/** A kubelet's settings. */
export interface ResolvConfSettings {
  /** Addresses of the cluster's DNS. Empty: Pods get the node's settings and a warning. */
  readonly clusterDns: readonly string[];
  /** Cluster domain, such as `cluster.local`; empty adds no search domains. */
  readonly domain: string;
  /** The node's own resolv.conf, as text or read. */
  readonly nodeResolvConf?: string | ResolvConf;
  /** Default {@link resolvConfLimits}. */
  readonly limits?: ResolvConfLimits;
}

/** A Pod's resolv.conf with the events that a kubelet would write. */
export interface PodResolvConf extends ResolvConf {
  readonly warnings: readonly ResolvConfWarning[];
}

function distinct(list: readonly string[]): string[] {
  return [...new Set(list)];
}

/**
 * What stands in a Pod's `/etc/resolv.conf`, by its `dnsPolicy` and `dnsConfig` (pkg/kubelet/network/dns `GetPodDNS`). Throws
 * {@link ResolvConfError} when the node's file cannot be read.
 */
export function resolvConf(pod: ResolvConfPod, settings: ResolvConfSettings): PodResolvConf {
  const { clusterDns, domain, limits = resolvConfLimits } = settings;
  const node = settings.nodeResolvConf ?? { nameservers: [], searches: [], options: [] };
  const host = typeof node === "string" ? parseResolvConf(node) : node;
  const warnings: ResolvConfWarning[] = [];
  const { dnsPolicy, dnsConfig, hostNetwork = false } = pod.spec ?? {};
  let source = podDnsSource(dnsPolicy, hostNetwork);
  if (source === "cluster" && clusterDns.length === 0) {
    const message = `pod: "${pod.metadata?.name ?? ""}/${pod.metadata?.namespace ?? ""}". kubelet does not have ClusterDNS IP configured and cannot create Pod using "${dnsPolicy ?? "ClusterFirst"}" policy. Falling back to "Default" policy.`;
    warnings.push({ reason: "MissingClusterDNS", message });
    source = "host";
  }
  let nameservers: readonly string[] = [];
  let searches: readonly string[] = [];
  let options: readonly string[] = [];
  if (source === "host") ({ nameservers, searches, options } = host);
  else if (source === "cluster") {
    const namespace = pod.metadata?.namespace ?? "default";
    nameservers = clusterDns;
    searches =
      domain === ""
        ? host.searches
        : distinct([`${namespace}.svc.${domain}`, `svc.${domain}`, domain, ...host.searches]);
    options = ["ndots:5"];
  }
  if (dnsConfig !== undefined) {
    nameservers = distinct([...nameservers, ...(dnsConfig.nameservers ?? [])]);
    searches = distinct([...searches, ...(dnsConfig.searches ?? [])]);
    options = mergeResolverOptions(
      options,
      (dnsConfig.options ?? []).map(({ name = "", value }) =>
        value === undefined || value === "" ? name : `${name}:${value}`,
      ),
    );
  }
  const limited = limitNameservers(nameservers, limits);
  const list = limitSearches(searches, limits);
  for (const { warning } of [limited, list]) if (warning !== undefined) warnings.push(warning);
  return { nameservers: limited.nameservers, searches: list.searches, options, warnings };
}

/** Text of a resolv.conf in the order in which a kubelet writes it: search, nameserver, options. */
export function formatResolvConf({ nameservers, searches, options }: ResolvConf): string {
  let text = "";
  if (searches.length > 0) text += `search ${searches.join(" ")}\n`;
  for (const nameserver of nameservers) text += `nameserver ${nameserver}\n`;
  if (options.length > 0) text += `options ${options.join(" ")}\n`;
  return text;
}

/** `ndots` of a list of options; 1 when it is not there. Resolvers cap it at 15. */
export function ndotsOf(options: readonly string[]): number {
  for (const option of options) {
    const match = /^ndots:([0-9]+)$/.exec(option);
    if (match !== null) return Math.min(15, Number(match[1]));
  }
  return 1;
}

/** `attempts` of a list of options; 2 when it is not there. glibc caps it at 5. */
export function attemptsOf(options: readonly string[]): number {
  for (const option of options) {
    const match = /^attempts:([0-9]+)$/.exec(option);
    if (match !== null) return Math.min(5, Math.max(1, Number(match[1])));
  }
  return 2;
}
