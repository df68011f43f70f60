import { accessControlStrategy } from "./access-control.ts";
import {
  endpointSliceStrategy,
  namespaceStrategy,
  nodeStrategy,
  plainSpecStrategy,
  secretStrategy,
  serviceCIDRStrategy,
  specStrategy,
} from "./cluster.ts";
import { customResourceDefinitionStrategy } from "./custom-resource-definition.ts";
import { podStrategy } from "./pod.ts";
import { serviceStrategy } from "./service.ts";
import type { Strategy } from "./strategy.ts";

const strategies: Readonly<Record<string, Strategy | undefined>> = {
  services: serviceStrategy,
  endpoints: { allowCreateOnUpdate: true },
  pods: podStrategy,
  nodes: nodeStrategy,
  namespaces: namespaceStrategy,
  secrets: secretStrategy,
  serviceaccounts: { allowUnconditionalUpdate: false, returnsDeletedObject: true },
  events: { allowCreateOnUpdate: true },
  "events.events.k8s.io": { allowCreateOnUpdate: true },
  "leases.coordination.k8s.io": { allowCreateOnUpdate: true, allowUnconditionalUpdate: false },
  "endpointslices.discovery.k8s.io": endpointSliceStrategy,
  "servicecidrs.networking.k8s.io": serviceCIDRStrategy,
  "networkpolicies.networking.k8s.io": plainSpecStrategy,
  "ingresses.networking.k8s.io": plainSpecStrategy,
  "ingressclasses.networking.k8s.io": plainSpecStrategy,
  "deployments.apps": specStrategy,
  "replicasets.apps": plainSpecStrategy,
  "statefulsets.apps": plainSpecStrategy,
  "daemonsets.apps": plainSpecStrategy,
  "jobs.batch": plainSpecStrategy,
  "roles.rbac.authorization.k8s.io": accessControlStrategy,
  "clusterroles.rbac.authorization.k8s.io": accessControlStrategy,
  "rolebindings.rbac.authorization.k8s.io": accessControlStrategy,
  "clusterrolebindings.rbac.authorization.k8s.io": accessControlStrategy,
  "customresourcedefinitions.apiextensions.k8s.io": customResourceDefinitionStrategy,
};

const none: Strategy = {};

/** Rules of a collection; kinds without rules of their own follow the generic ones. */
export function strategyOf(collection: string): Strategy {
  return Object.hasOwn(strategies, collection) ? (strategies[collection] ?? none) : none;
}
