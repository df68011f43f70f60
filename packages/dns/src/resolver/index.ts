/**
 * The client's side of cluster DNS: what stands in a Pod's resolv.conf, which queries a C library makes of a name, and what each
 * of them comes to. Pure functions, no I/O.
 *
 * ```ts
 * import { explainLookup, resolvConf } from "@portolan/dns/resolver";
 *
 * const conf = resolvConf({ metadata: { namespace: "default" } }, { clusterDns: ["10.96.0.10"], domain: "cluster.local" });
 * console.log(explainLookup("web", { zone, conf, libc: "musl" }).toText());
 * ```
 *
 * @packageDocumentation
 */
export { type ExplainedQuery, explainLookup, type LookupExplanation, type LookupOptions } from "./explanation.ts";
export {
  attemptsOf,
  formatResolvConf,
  legacyResolvConfLimits,
  limitNameservers,
  limitSearches,
  mergeResolverOptions,
  ndotsOf,
  type PodDnsSource,
  type PodResolvConf,
  parseResolvConf,
  podDnsSource,
  type ResolvConf,
  ResolvConfError,
  type ResolvConfLimits,
  type ResolvConfPod,
  type ResolvConfSettings,
  type ResolvConfWarning,
  resolvConf,
  resolvConfLimits,
} from "./resolv-conf.ts";
export {
  type LookupFamily,
  type ResolverLibrary,
  type SearchWalk,
  type SearchWalkOptions,
  searchCandidates,
  searchWalk,
  type WalkQuery,
  type WalkResult,
  type WalkStep,
} from "./search-walk.ts";
