import type { ResourceType } from "./meta.ts";

function define(apiVersion: string, kind: string, resource: string, namespaced: boolean): ResourceType {
  const slash = apiVersion.indexOf("/");
  return {
    group: slash < 0 ? "" : apiVersion.slice(0, slash),
    version: apiVersion.slice(slash + 1),
    apiVersion,
    kind,
    resource,
    namespaced,
  };
}

/** Names of the kinds in {@link resources}. */
export type ResourceName =
  | "services"
  | "endpoints"
  | "pods"
  | "nodes"
  | "namespaces"
  | "configMaps"
  | "secrets"
  | "serviceAccounts"
  | "events"
  | "endpointSlices"
  | "serviceCIDRs"
  | "ipAddresses"
  | "networkPolicies"
  | "ingresses"
  | "ingressClasses"
  | "leases"
  | "deployments"
  | "replicaSets"
  | "statefulSets"
  | "daemonSets"
  | "jobs";

/** The kinds that Portolan knows, by name; a client takes any of these, or one made by the caller. */
export const resources: Readonly<Record<ResourceName, ResourceType>> = {
  services: define("v1", "Service", "services", true),
  endpoints: define("v1", "Endpoints", "endpoints", true),
  pods: define("v1", "Pod", "pods", true),
  nodes: define("v1", "Node", "nodes", false),
  namespaces: define("v1", "Namespace", "namespaces", false),
  configMaps: define("v1", "ConfigMap", "configmaps", true),
  secrets: define("v1", "Secret", "secrets", true),
  serviceAccounts: define("v1", "ServiceAccount", "serviceaccounts", true),
  events: define("v1", "Event", "events", true),
  endpointSlices: define("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", true),
  serviceCIDRs: define("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs", false),
  ipAddresses: define("networking.k8s.io/v1", "IPAddress", "ipaddresses", false),
  networkPolicies: define("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true),
  ingresses: define("networking.k8s.io/v1", "Ingress", "ingresses", true),
  ingressClasses: define("networking.k8s.io/v1", "IngressClass", "ingressclasses", false),
  leases: define("coordination.k8s.io/v1", "Lease", "leases", true),
  deployments: define("apps/v1", "Deployment", "deployments", true),
  replicaSets: define("apps/v1", "ReplicaSet", "replicasets", true),
  statefulSets: define("apps/v1", "StatefulSet", "statefulsets", true),
  daemonSets: define("apps/v1", "DaemonSet", "daemonsets", true),
  jobs: define("batch/v1", "Job", "jobs", true),
};
