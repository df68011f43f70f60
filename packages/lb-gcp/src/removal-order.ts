import type { GcpConfiguration } from "./configuration.ts";
import { readMark } from "./mark.ts";
import { clusterHash } from "./names.ts";
import { type GcpObserved, type ObservedResource, sharedLeftovers } from "./plan.ts";
import type { ResourceKind } from "./resources.ts";

/** What clients meet goes first; then what refers before what is referred to. */
const order: readonly ResourceKind[] = [
  "forwardingRule",
  "address",
  "firewall",
  "backendService",
  "targetPool",
  "healthCheck",
  "httpHealthCheck",
  "networkEndpointGroup",
  "instanceGroup",
];

const inOrder = (resources: readonly ObservedResource[]): ObservedResource[] =>
  [...resources].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));

/** What a removal takes away, in its order. */
export interface Removal {
  /** What bears the Service's mark. */
  readonly own: readonly ObservedResource[];
  /** What it shared and nobody refers to; the firewall rules of health checks, which have to get through while these are used, last. */
  readonly shared: readonly ObservedResource[];
}

/** What has to go, and in which order, for a Service to have nothing left. Pure. */
export function removalOf(observed: GcpObserved, configuration: GcpConfiguration): Removal {
  const cluster = clusterHash(configuration.kubeSystemUID);
  const mine = observed.resources.filter((entry) => {
    const mark = readMark(entry.body["description"]);
    return mark?.cluster === cluster && mark.key?.uid === observed.key.uid;
  });
  const shared = sharedLeftovers(observed, cluster, new Set());
  return {
    own: inOrder(mine),
    shared: [
      ...inOrder(shared.filter((entry) => entry.kind !== "firewall")),
      ...shared.filter((entry) => entry.kind === "firewall"),
    ],
  };
}
