import type { Endpoint, EndpointSlice, Service } from "@portolan/core";
import type { BackendSpec } from "@portolan/dataplane";
import { canonicalAddress, familyOf, type IPFamily } from "@portolan/net";

/** One endpoint of one Service port, conditions resolved (absent ready and serving mean true, absent terminating false). */
export interface ProxyEndpoint {
  /** Canonical text. */
  readonly address: string;
  readonly port: number;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly nodeName?: string;
  /** `nodeName` is set and is this node: an endpoint without a node is local nowhere. */
  readonly local: boolean;
  readonly zoneHints: readonly string[];
  readonly nodeHints: readonly string[];
  /** For traces. */
  readonly name?: string;
}

/** What decides locality and topology: the node that the tables are for. */
export interface NodeTopology {
  readonly nodeName: string;
  /** Label `topology.kubernetes.io/zone`; a node without one never matches a zone hint. */
  readonly zone?: string;
}

/** The endpoint sets of one Service port on one node; `undefined` means that no policy of the Service ever uses the set. */
export interface EndpointSets {
  readonly cluster: readonly ProxyEndpoint[] | undefined;
  readonly local: readonly ProxyEndpoint[] | undefined;
  /** Decides REJECT (false) against DROP (true, but the set in question is empty). */
  readonly hasAny: boolean;
}

/** The facts about a Service port that decide which sets exist. */
export interface SetPolicies {
  readonly internalLocal: boolean;
  /** `externalTrafficPolicy: Local` in effect. */
  readonly externalLocal: boolean;
  /** A node port, an external IP or a load-balancer VIP exists. */
  readonly externallyAccessible: boolean;
}

function sortKey(endpoint: ProxyEndpoint): string {
  return `${endpoint.address} ${endpoint.port}`;
}

/**
 * The endpoints of one Service port: those of every slice that belongs to the Service, has the family and lists the port by its
 * *name* with the same protocol. An address that several slices list counts once; a copy on this node wins, then a ready one.
 *
 * @returns endpoints in a stable order (address, port)
 */
export function endpointsOf(
  slices: readonly EndpointSlice[],
  portName: string,
  protocol: string,
  family: IPFamily,
  topology: NodeTopology,
): ProxyEndpoint[] {
  const found = new Map<string, ProxyEndpoint>();
  for (const slice of slices) {
    if (slice.addressType !== family) continue;
    for (const port of slice.ports ?? []) {
      if ((port.name ?? "") !== portName || (port.protocol ?? "TCP") !== protocol) continue;
      if (port.port === null || port.port === undefined || port.port < 1 || port.port > 65535) continue;
      for (const endpoint of slice.endpoints ?? []) {
        const resolved = resolve(endpoint, port.port, family, slice.metadata.namespace ?? "", topology);
        if (resolved === undefined) continue;
        const key = sortKey(resolved);
        const other = found.get(key);
        if (other === undefined || preferred(resolved, other)) found.set(key, resolved);
      }
    }
  }
  return [...found.values()].sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
}

function resolve(
  endpoint: Endpoint,
  port: number,
  family: IPFamily,
  namespace: string,
  topology: NodeTopology,
): ProxyEndpoint | undefined {
  const text = endpoint.addresses?.[0];
  const address = text === undefined ? undefined : canonicalAddress(text);
  if (address === undefined || familyOf(address) !== family) return undefined;
  const conditions = endpoint.conditions ?? {};
  const target = endpoint.targetRef;
  return {
    address,
    port,
    ready: conditions.ready ?? true,
    serving: conditions.serving ?? true,
    terminating: conditions.terminating ?? false,
    ...(endpoint.nodeName ? { nodeName: endpoint.nodeName } : {}),
    local: !!endpoint.nodeName && endpoint.nodeName === topology.nodeName,
    zoneHints: (endpoint.hints?.forZones ?? []).map((hint) => hint.name),
    nodeHints: (endpoint.hints?.forNodes ?? []).map((hint) => hint.name),
    ...(target?.name ? { name: `${target.namespace ?? namespace}/${target.name}` } : {}),
  };
}

function preferred(a: ProxyEndpoint, b: ProxyEndpoint): boolean {
  if (a.local !== b.local) return a.local;
  if (a.ready !== b.ready) return a.ready;
  return a.serving && a.terminating && !(b.serving && b.terminating) && !b.ready;
}

/** Which topology hints apply to a set of ready endpoints: all members carry the hint and one of them names this node or zone. */
function hinted(ready: readonly ProxyEndpoint[], topology: NodeTopology): readonly ProxyEndpoint[] {
  if (ready.length === 0) return ready;
  if (ready.every((endpoint) => endpoint.nodeHints.length > 0)) {
    const mine = ready.filter((endpoint) => endpoint.nodeHints.includes(topology.nodeName));
    if (mine.length > 0) return mine;
  }
  const zone = topology.zone;
  if (zone !== undefined && zone !== "" && ready.every((endpoint) => endpoint.zoneHints.length > 0)) {
    const mine = ready.filter((endpoint) => endpoint.zoneHints.includes(zone));
    if (mine.length > 0) return mine;
  }
  return ready;
}

const draining = (endpoint: ProxyEndpoint): boolean => endpoint.serving && endpoint.terminating;

/**
 * Which endpoints the policies `Cluster` and `Local` use. Ready ones first; where a policy's ready set is empty, those that are
 * terminating but still serving. Hints shape the cluster set only, and never its fallback. (upstream: pkg/proxy/topology.go)
 */
export function endpointSets(
  endpoints: readonly ProxyEndpoint[],
  policies: SetPolicies,
  topology: NodeTopology,
): EndpointSets {
  const usesCluster = !policies.internalLocal || policies.externallyAccessible;
  const usesLocal = policies.internalLocal || (policies.externalLocal && policies.externallyAccessible);
  const ready = endpoints.filter((endpoint) => endpoint.ready);

  let cluster: readonly ProxyEndpoint[] | undefined;
  if (usesCluster) {
    cluster = hinted(ready, topology);
    if (cluster.length === 0) cluster = endpoints.filter(draining);
  }
  let local: readonly ProxyEndpoint[] | undefined;
  if (usesLocal) {
    local = ready.filter((endpoint) => endpoint.local);
    if (local.length === 0) local = endpoints.filter((endpoint) => endpoint.local && draining(endpoint));
  }
  const hasAny =
    (cluster !== undefined && cluster.length > 0) ||
    (usesLocal && endpoints.some((endpoint) => endpoint.ready || draining(endpoint)));
  return { cluster, local, hasAny };
}

/** True for Services that have no packets to translate: headless, ExternalName, and those that another proxy serves. */
export function isProxied(service: Service): boolean {
  const spec = service.spec;
  if (spec === undefined || spec.type === "ExternalName") return false;
  if (spec.clusterIP === undefined || spec.clusterIP === "" || spec.clusterIP === "None") return false;
  return service.metadata.labels?.["service.kubernetes.io/service-proxy-name"] === undefined;
}

/** True for slices that a proxy reads; those of headless Services are left out. */
export function isProxiedSlice(slice: EndpointSlice): boolean {
  return slice.metadata.labels?.["service.kubernetes.io/headless"] === undefined;
}

/** A backend as the dataplane wants it. */
export function backendOf(endpoint: ProxyEndpoint): BackendSpec {
  return {
    address: endpoint.address,
    port: endpoint.port,
    local: endpoint.local,
    ...(endpoint.name === undefined ? {} : { name: endpoint.name }),
  };
}
