import type { ClusterRole, PolicyRule, RoleBinding, RoleSubject } from "@portolan/core";

/**
 * Roles and bindings that every cluster has (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`), as far as they are for people. Those of
 * Kubernetes' own components are left out: the controllers here act as administrator.
 */

const apiVersion = "rbac.authorization.k8s.io/v1";
const reading = ["get", "list", "watch"];
const writing = ["create", "delete", "deletecollection", "patch", "update"];

/** Label of roles whose rules another one gathers. */
export function aggregationLabel(role: string): string {
  return `rbac.authorization.k8s.io/aggregate-to-${role}`;
}

function resources(apiGroup: string, names: string, verbs: readonly string[]): PolicyRule {
  return { apiGroups: [apiGroup], resources: names.split(" "), verbs: [...verbs] };
}

function paths(...nonResourceURLs: string[]): PolicyRule {
  return { nonResourceURLs, verbs: ["get"] };
}

function role(
  name: string,
  rules: readonly PolicyRule[],
  options: { readonly aggregatedTo?: string; readonly gathers?: string } = {},
): ClusterRole {
  const { aggregatedTo, gathers } = options;
  return {
    apiVersion,
    kind: "ClusterRole",
    metadata: {
      name,
      labels: {
        "kubernetes.io/bootstrapping": "rbac-defaults",
        ...(aggregatedTo === undefined ? {} : { [aggregationLabel(aggregatedTo)]: "true" }),
      },
      annotations: { "rbac.authorization.kubernetes.io/autoupdate": "true" },
    },
    rules: [...rules],
    ...(gathers === undefined
      ? {}
      : { aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [aggregationLabel(gathers)]: "true" } }] } }),
  };
}

function binding(name: string, ...groups: string[]): RoleBinding {
  return {
    apiVersion,
    kind: "ClusterRoleBinding",
    metadata: {
      name,
      labels: { "kubernetes.io/bootstrapping": "rbac-defaults" },
      annotations: { "rbac.authorization.kubernetes.io/autoupdate": "true" },
    },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
    subjects: groups.map(
      (group): RoleSubject => ({
        kind: "Group",
        apiGroup: "rbac.authorization.k8s.io",
        name: group,
      }),
    ),
  };
}

const workloads =
  "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale";
const workloadStatus = "daemonsets/status deployments/status replicasets/status statefulsets/status";
const claims = "persistentvolumeclaims";
const editedCore = `configmaps events ${claims} replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy`;
const podAccess = "pods/attach pods/exec pods/portforward pods/proxy";
const networking = "networking.k8s.io";

const viewRules: readonly PolicyRule[] = [
  resources(
    "",
    `configmaps endpoints ${claims} ${claims}/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status`,
    reading,
  ),
  resources(
    "",
    "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status",
    reading,
  ),
  resources("", "namespaces", reading),
  resources("discovery.k8s.io", "endpointslices", reading),
  resources("apps", `controllerrevisions ${workloads} ${workloadStatus}`, reading),
  resources("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", reading),
  resources("batch", "cronjobs cronjobs/status jobs jobs/status", reading),
  resources("policy", "poddisruptionbudgets poddisruptionbudgets/status", reading),
  resources(networking, "ingresses ingresses/status networkpolicies", reading),
];

const editRules: readonly PolicyRule[] = [
  resources("", `${podAccess} secrets services/proxy`, reading),
  resources("", "serviceaccounts", ["impersonate"]),
  resources("", `pods ${podAccess}`, writing),
  resources("", "pods/eviction", ["create"]),
  resources("", editedCore, writing),
  resources("", "serviceaccounts/token", ["create"]),
  resources("apps", `${workloads} deployments/rollback`, writing),
  resources("autoscaling", "horizontalpodautoscalers", writing),
  resources("batch", "cronjobs jobs", writing),
  resources("policy", "poddisruptionbudgets", writing),
  resources(networking, "ingresses networkpolicies", writing),
  resources("coordination.k8s.io", "leases", [...writing, ...reading]),
];

const adminRules: readonly PolicyRule[] = [
  resources("authorization.k8s.io", "localsubjectaccessreviews", ["create"]),
  resources("rbac.authorization.k8s.io", "rolebindings roles", [...writing, ...reading]),
];

const health = ["/healthz", "/livez", "/readyz", "/version", "/version/"];

export const defaultClusterRoles: readonly ClusterRole[] = [
  role("cluster-admin", [resources("*", "*", ["*"]), { nonResourceURLs: ["*"], verbs: ["*"] }]),
  role("system:discovery", [paths("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", ...health)]),
  role("system:public-info-viewer", [paths(...health)]),
  role("system:monitoring", [
    paths("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"),
  ]),
  role("system:basic-user", [
    resources("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", ["create"]),
    resources("authentication.k8s.io", "selfsubjectreviews", ["create"]),
  ]),
  role("system:aggregate-to-view", viewRules, { aggregatedTo: "view" }),
  role("system:aggregate-to-edit", editRules, { aggregatedTo: "edit" }),
  role("system:aggregate-to-admin", adminRules, { aggregatedTo: "admin" }),
  // What these gather is written with them, so that nothing is left to do when a server starts.
  role("view", viewRules, { gathers: "view", aggregatedTo: "edit" }),
  role("edit", [...editRules, ...viewRules], { gathers: "edit", aggregatedTo: "admin" }),
  role("admin", [...editRules, ...viewRules, ...adminRules], { gathers: "admin" }),
];

export const defaultClusterRoleBindings: readonly RoleBinding[] = [
  binding("cluster-admin", "system:masters"),
  binding("system:basic-user", "system:authenticated"),
  binding("system:discovery", "system:authenticated"),
  binding("system:monitoring", "system:monitoring"),
  binding("system:public-info-viewer", "system:authenticated", "system:unauthenticated"),
];
