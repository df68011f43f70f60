import type { KubernetesObject, LabelSelector } from "./meta.ts";

/** What a role allows: verbs on resources, or on paths that are no resource. */
export interface PolicyRule {
  verbs: string[];
  apiGroups?: string[];
  /** `pods`, `pods/log`, `*` */
  resources?: string[];
  resourceNames?: string[];
  nonResourceURLs?: string[];
}

/** `rbac.authorization.k8s.io/v1` Role. */
export interface Role extends KubernetesObject {
  rules?: PolicyRule[];
}

/** `rbac.authorization.k8s.io/v1` ClusterRole. */
export interface ClusterRole extends Role {
  aggregationRule?: { clusterRoleSelectors?: LabelSelector[] };
}

/** Somebody to whom a role is granted. */
export interface RoleSubject {
  kind: "User" | "Group" | "ServiceAccount";
  name: string;
  apiGroup?: string;
  /** Of a service account. */
  namespace?: string;
}

/** `rbac.authorization.k8s.io/v1` RoleBinding and ClusterRoleBinding. */
export interface RoleBinding extends KubernetesObject {
  subjects?: RoleSubject[];
  roleRef: { apiGroup: string; kind: "Role" | "ClusterRole"; name: string };
}
