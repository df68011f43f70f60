import { defaultLoadBalancerName, type ServiceKey } from "@portolan/lb";
import type { GcpConfiguration } from "./configuration.ts";
import { classified } from "./errors.ts";
import { resourcePath } from "./forwarding-rule.ts";
import { describe, type Mark, readGkeMark, readMark } from "./mark.ts";
import { clusterHash, inTreeNames, passthroughNames } from "./names.ts";
import type { GcpObserved, ObservedResource } from "./plan.ts";
import type { GcpPort } from "./port.ts";
import { type Body, collectionPath, type Place, type ResourceKind } from "./resources.ts";

/** An object with the mark in its description. */
export interface MarkedResource extends ObservedResource {
  readonly mark: Mark | undefined;
}

/** Collections that new load balancers have objects in, and those that only the in-tree controller's have. */
const regular: readonly (readonly [ResourceKind, Place | "zones"])[] = [
  ["forwardingRule", "region"],
  ["backendService", "region"],
  ["healthCheck", "region"],
  ["firewall", "global"],
  ["address", "region"],
  ["networkEndpointGroup", "zones"],
];
const inTreeOnly: readonly (readonly [ResourceKind, Place | "zones"])[] = [
  ["targetPool", "region"],
  ["healthCheck", "global"],
  ["httpHealthCheck", "global"],
  ["instanceGroup", "zones"],
];

/** Reads everything of the kinds that load balancers are made of, whoever made it. */
export async function listResources(
  port: GcpPort,
  configuration: GcpConfiguration,
  inTree: boolean,
): Promise<MarkedResource[]> {
  const lists = [...regular, ...(inTree ? inTreeOnly : [])].map(async ([kind, place]) => {
    const zonal = place === "zones";
    const collection = zonal
      ? collectionPath(configuration, kind, "region").replace(/regions\/[^/]+/, "aggregated")
      : collectionPath(configuration, kind, place);
    try {
      const bodies = await (zonal ? port.listAggregated(collection) : port.list(collection));
      return bodies.map((body): MarkedResource => {
        const name = String(body["name"]);
        const link = resourcePath(String(body["selfLink"] ?? ""));
        return {
          kind,
          name,
          path: link !== "" ? link : `${collection}/${name}`,
          body,
          mark: readMark(body["description"]),
        };
      });
    } catch (error) {
      throw classified(error, `cannot list ${kind}s`);
    }
  });
  return (await Promise.all(lists)).flat();
}

/** Names that objects of a Service can have, its own and those that it shares: others with them are in the way. */
function namesOf(
  key: ServiceKey,
  configuration: GcpConfiguration,
  cut: "readable" | "hash",
): { readonly own: ReadonlySet<string>; readonly shared: ReadonlySet<string> } {
  const names = passthroughNames({ ...key, kubeSystemUID: configuration.kubeSystemUID }, cut);
  const loadBalancer = defaultLoadBalancerName(key.uid);
  const { clusterId } = configuration;
  const checksOf = (shared: boolean): string[] => [
    names.healthCheck(shared),
    names.healthCheckFirewall(shared),
    names.healthCheckFirewallIPv6(shared),
    inTreeNames.healthCheck(loadBalancer, clusterId, shared),
    inTreeNames.externalHealthCheckFirewall(loadBalancer, clusterId, shared),
    inTreeNames.internalHealthCheckFirewall(loadBalancer, clusterId, shared),
  ];
  const own = new Set([
    loadBalancer,
    `${loadBalancer}-ipv6`,
    names.backend,
    names.firewallIPv6,
    names.firewallDeny,
    names.firewallDenyIPv6,
    ...["TCP", "UDP", "L3_DEFAULT"].flatMap((protocol) => [
      names.internalRule(protocol),
      names.internalRuleIPv6(protocol),
      names.externalRuleIPv6(protocol, 0),
    ]),
    ...checksOf(false),
    inTreeNames.firewall(loadBalancer),
    inTreeNames.firewallDeny(loadBalancer),
  ]);
  return { own, shared: new Set([...checksOf(true), inTreeNames.instanceGroup(clusterId)]) };
}

/** Paths that an object names in the members by which objects refer to each other. */
function referencesOf(body: Body): string[] {
  const groups = ((body["backends"] as { group?: string }[] | undefined) ?? []).map((entry) => entry.group ?? "");
  const checks = (body["healthChecks"] as string[] | undefined) ?? [];
  return [...checks, ...groups].map(resourcePath);
}

/**
 * What of everything concerns one Service: its own, what it shares, what bears a name of its own. With `takeOver` objects that a
 * controller of Google's made for it count as its own, if their names fit too.
 */
export async function observationOf(
  port: GcpPort,
  configuration: GcpConfiguration,
  key: ServiceKey,
  everything: readonly MarkedResource[],
  takeOver: boolean,
): Promise<GcpObserved> {
  const cluster = clusterHash(configuration.kubeSystemUID);
  const names = namesOf(key, configuration, takeOver ? "hash" : "readable");

  function taken(entry: MarkedResource): MarkedResource {
    if (!takeOver || entry.mark !== undefined) return entry;
    const made = readGkeMark(entry.body["description"]);
    const own = names.own.has(entry.name) && made?.namespace === key.namespace && made.name === key.name;
    if (!own && !names.shared.has(entry.name)) return entry;
    const mark = own ? { cluster, key } : { cluster };
    return { ...entry, mark, body: { ...entry.body, description: describe(mark) } };
  }

  const all = everything.map(taken);
  const isOwn = ({ mark }: MarkedResource): boolean => mark?.cluster === cluster && mark.key?.uid === key.uid;
  const ours = all.filter((entry) => {
    if (names.own.has(entry.name) || names.shared.has(entry.name) || isOwn(entry)) return true;
    return entry.mark?.cluster === cluster && entry.mark.key === undefined;
  });
  const inUse = new Set(all.filter((entry) => !isOwn(entry)).flatMap(({ body }) => referencesOf(body)));
  const withMembers = ours.map(async ({ mark, ...entry }): Promise<ObservedResource> => {
    const grouped =
      entry.kind === "networkEndpointGroup" || entry.kind === "instanceGroup" || entry.kind === "targetPool";
    const counts = mark?.cluster === cluster && (mark.key === undefined || mark.key.uid === key.uid);
    if (!grouped || !counts) return entry;
    try {
      return { ...entry, members: await port.listMembers(entry.path) };
    } catch (error) {
      throw classified(error, `cannot list the members of ${entry.kind} ${entry.name}`);
    }
  });
  const reserved = all
    .filter((entry) => entry.kind === "address")
    .map(({ name, body }) => ({
      name,
      address: String(body["address"] ?? ""),
      ...(typeof body["ipVersion"] === "string" ? { ipVersion: body["ipVersion"] } : {}),
      ...(typeof body["networkTier"] === "string" ? { networkTier: body["networkTier"] } : {}),
      ...(typeof body["description"] === "string" ? { description: body["description"] } : {}),
    }));
  return { key, resources: await Promise.all(withMembers), reserved, inUse: [...inUse].sort() };
}
