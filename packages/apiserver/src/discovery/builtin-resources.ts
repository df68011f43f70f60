import type { ResourceDefinition, SubresourceDefinition } from "../resource-definition.ts";

const all: readonly string[] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const readWrite: readonly string[] = ["get", "patch", "update"];
const connect: readonly string[] = ["create", "get"];
const proxy: readonly string[] = ["create", "delete", "get", "patch", "update"];

interface Options {
  readonly namespaced?: boolean;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly verbs?: readonly string[];
  readonly subresources?: readonly SubresourceDefinition[];
}

function define(
  apiVersion: string,
  kind: string,
  resource: string,
  singular: string,
  options: Options = {},
): ResourceDefinition {
  const slash = apiVersion.indexOf("/");
  const { namespaced = true, verbs = all, ...rest } = options;
  return {
    group: slash < 0 ? "" : apiVersion.slice(0, slash),
    version: apiVersion.slice(slash + 1),
    apiVersion,
    kind,
    resource,
    singular,
    namespaced,
    verbs,
    ...rest,
  };
}

function status(kind: string): SubresourceDefinition {
  return { name: "status", kind, verbs: readWrite };
}

const scale: SubresourceDefinition = {
  name: "scale",
  kind: "Scale",
  group: "autoscaling",
  version: "v1",
  verbs: readWrite,
};

/**
 * The kinds that the API server serves unless it is given others: what a real v1.36 server lists for them in discovery
 * (singular and short names, categories, verbs, subresources), in discovery's order, by group and then by resource name.
 *
 * `selfsubjectaccessreviews` and the other reviews are create-only. Endpoints and the two `events` are served side by side, as
 * the real server does.
 */
export const builtinResources: readonly ResourceDefinition[] = [
  define("v1", "Binding", "bindings", "binding", { verbs: ["create"] }),
  define("v1", "ConfigMap", "configmaps", "configmap", { shortNames: ["cm"] }),
  define("v1", "Endpoints", "endpoints", "endpoints", { shortNames: ["ep"] }),
  define("v1", "Event", "events", "event", { shortNames: ["ev"] }),
  define("v1", "Namespace", "namespaces", "namespace", {
    namespaced: false,
    shortNames: ["ns"],
    verbs: all.filter((verb) => verb !== "deletecollection"),
    subresources: [{ name: "finalize", kind: "Namespace", verbs: ["update"] }, status("Namespace")],
  }),
  define("v1", "Node", "nodes", "node", {
    namespaced: false,
    shortNames: ["no"],
    subresources: [{ name: "proxy", kind: "NodeProxyOptions", verbs: proxy }, status("Node")],
  }),
  define("v1", "Pod", "pods", "pod", {
    shortNames: ["po"],
    categories: ["all"],
    subresources: [
      { name: "attach", kind: "PodAttachOptions", verbs: connect },
      { name: "binding", kind: "Binding", verbs: ["create"] },
      { name: "ephemeralcontainers", kind: "Pod", verbs: readWrite },
      { name: "eviction", kind: "Eviction", group: "policy", version: "v1", verbs: ["create"] },
      { name: "exec", kind: "PodExecOptions", verbs: connect },
      { name: "log", kind: "Pod", verbs: ["get"] },
      { name: "portforward", kind: "PodPortForwardOptions", verbs: connect },
      { name: "proxy", kind: "PodProxyOptions", verbs: proxy },
      { name: "resize", kind: "Pod", verbs: readWrite },
      status("Pod"),
    ],
  }),
  define("v1", "Secret", "secrets", "secret"),
  define("v1", "ServiceAccount", "serviceaccounts", "serviceaccount", {
    shortNames: ["sa"],
    subresources: [
      { name: "token", kind: "TokenRequest", group: "authentication.k8s.io", version: "v1", verbs: ["create"] },
    ],
  }),
  define("v1", "Service", "services", "service", {
    shortNames: ["svc"],
    categories: ["all"],
    subresources: [{ name: "proxy", kind: "ServiceProxyOptions", verbs: proxy }, status("Service")],
  }),
  define(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    "customresourcedefinition",
    {
      namespaced: false,
      shortNames: ["crd", "crds"],
      categories: ["api-extensions"],
      subresources: [status("CustomResourceDefinition")],
    },
  ),
  define("apps/v1", "DaemonSet", "daemonsets", "daemonset", {
    shortNames: ["ds"],
    categories: ["all"],
    subresources: [status("DaemonSet")],
  }),
  define("apps/v1", "Deployment", "deployments", "deployment", {
    shortNames: ["deploy"],
    categories: ["all"],
    subresources: [scale, status("Deployment")],
  }),
  define("apps/v1", "ReplicaSet", "replicasets", "replicaset", {
    shortNames: ["rs"],
    categories: ["all"],
    subresources: [scale, status("ReplicaSet")],
  }),
  define("apps/v1", "StatefulSet", "statefulsets", "statefulset", {
    shortNames: ["sts"],
    categories: ["all"],
    subresources: [scale, status("StatefulSet")],
  }),
  define("authentication.k8s.io/v1", "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview", {
    namespaced: false,
    verbs: ["create"],
  }),
  define("authentication.k8s.io/v1", "TokenReview", "tokenreviews", "tokenreview", {
    namespaced: false,
    verbs: ["create"],
  }),
  define(
    "authorization.k8s.io/v1",
    "LocalSubjectAccessReview",
    "localsubjectaccessreviews",
    "localsubjectaccessreview",
    {
      verbs: ["create"],
    },
  ),
  define("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview", {
    namespaced: false,
    verbs: ["create"],
  }),
  define("authorization.k8s.io/v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview", {
    namespaced: false,
    verbs: ["create"],
  }),
  define("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", {
    namespaced: false,
    verbs: ["create"],
  }),
  define("batch/v1", "Job", "jobs", "job", { categories: ["all"], subresources: [status("Job")] }),
  define("coordination.k8s.io/v1", "Lease", "leases", "lease"),
  define("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", "endpointslice"),
  define("events.k8s.io/v1", "Event", "events", "event", { shortNames: ["ev"] }),
  define("networking.k8s.io/v1", "IngressClass", "ingressclasses", "ingressclass", { namespaced: false }),
  define("networking.k8s.io/v1", "Ingress", "ingresses", "ingress", {
    shortNames: ["ing"],
    subresources: [status("Ingress")],
  }),
  define("networking.k8s.io/v1", "IPAddress", "ipaddresses", "ipaddress", { namespaced: false, shortNames: ["ip"] }),
  define("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", "networkpolicy", { shortNames: ["netpol"] }),
  define("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs", "servicecidr", {
    namespaced: false,
    subresources: [status("ServiceCIDR")],
  }),
];
