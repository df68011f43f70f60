import { createHash } from "node:crypto";
import type { NodeReference } from "@portolan/lb";

/** Nodes of one zone as backends: an instance group of all, or an endpoint group of those that one Service uses. */
export interface NodeGroup {
  readonly name: string;
  readonly zone: string;
  /** Names of instances, ascending. */
  readonly instances: readonly string[];
}

/** Most instances of an instance group. */
const maximumInstances = 1000;

/** Most nodes that one load balancer with endpoint groups sends to. */
export const subsetSize = {
  INTERNAL: { Cluster: 25, Local: 250 },
  EXTERNAL: { Cluster: 250, Local: 3000 },
} as const;

const gkeSubnetLabel = "cloud.google.com/gke-node-pool-subnet";

/** Name of a node's instance: the last part of `gce://PROJECT/ZONE/INSTANCE`, else the node's name up to its first dot. */
export function instanceOf(node: NodeReference): string {
  const parts = /^gce:\/\/[^/]+\/[^/]+\/([^/]+)$/.exec(node.providerID ?? "");
  return parts?.[1] ?? node.name.split(".")[0]!;
}

/** Zone of a node: by its provider id, else by its label. */
export function zoneOf(node: NodeReference): string {
  return /^gce:\/\/[^/]+\/([^/]+)\//.exec(node.providerID ?? "")?.[1] ?? node.zone ?? "";
}

/** Nodes by zone, of the cluster's own subnet only. A node whose zone is not known cannot be named to the cloud. */
function byZone(nodes: readonly NodeReference[], subnetwork: string): Map<string, string[]> {
  const zones = new Map<string, string[]>();
  for (const node of nodes) {
    const subnet = node.labels?.[gkeSubnetLabel] ?? "";
    const zone = zoneOf(node);
    if (zone === "" || (subnet !== "" && subnet !== subnetwork)) continue;
    zones.set(zone, [...(zones.get(zone) ?? []), instanceOf(node)]);
  }
  return new Map([...zones].sort(([a], [b]) => (a < b ? -1 : 1)).map(([zone, names]) => [zone, names.sort()]));
}

/** Instance groups of all nodes, one a zone, which all load balancers of the cluster share. */
export function instanceGroups(nodes: readonly NodeReference[], name: string, subnetwork: string): NodeGroup[] {
  return [...byZone(nodes, subnetwork)].map(([zone, instances]) => ({
    name,
    zone,
    instances: instances.slice(0, maximumInstances),
  }));
}

/**
 * Endpoint groups with a subset of the nodes, spread over zones. Every node has a rank by a hash of its name and the group's: a node
 * that comes or goes moves no other one in or out but at the edge.
 */
export function endpointGroups(
  nodes: readonly NodeReference[],
  name: string,
  subnetwork: string,
  size: number,
): NodeGroup[] {
  const rank = (instance: string): string => createHash("sha256").update(`${name}/${instance}`).digest("hex");
  const zones = [...byZone(nodes, subnetwork)].map(([zone, instances]) => ({
    zone,
    ranked: instances
      .map((instance) => ({ instance, rank: rank(instance) }))
      .sort((a, b) => (a.rank < b.rank ? -1 : 1)),
    taken: 0,
  }));
  let left = size;
  for (let took = true; took && left > 0; ) {
    took = false;
    for (const zone of zones) {
      if (left === 0 || zone.taken === zone.ranked.length) continue;
      zone.taken++;
      left--;
      took = true;
    }
  }
  return zones
    .filter((zone) => zone.taken > 0)
    .map(({ zone, ranked, taken }) => ({
      name,
      zone,
      instances: ranked
        .slice(0, taken)
        .map((entry) => entry.instance)
        .sort(),
    }));
}
