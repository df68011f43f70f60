import { kind, labelSelector } from "./meta.ts";
import { list, nested, object, string, strings } from "./notation.ts";
import type { Schema } from "./schema.ts";

/** Kinds of `rbac.authorization.k8s.io`: who may do what. */

const rbac = "io.k8s.api.rbac.v1.";

const policyRule = object(
  `${rbac}PolicyRule`,
  "PolicyRule allows verbs on resources, or on paths that are no resource.",
  () => ({
    apiGroups: strings(2, "Groups of the resources; empty text for the core group, * for all."),
    nonResourceURLs: strings(5, "Paths that are no resource; a * at the end stands for all that begin so."),
    resourceNames: strings(4, "Names to which the rule is limited."),
    resources: strings(3, "Resources, or resource/subresource; * for all."),
    verbs: strings(1, "Verbs; * for all."),
  }),
  { required: ["verbs"] },
);

const rules = list(2, policyRule, "What is allowed.");

export const role: Schema = kind(`${rbac}Role`, "Role is a set of permissions within a namespace.", () => ({ rules }), {
  required: ["rules"],
});

export const clusterRole: Schema = kind(
  `${rbac}ClusterRole`,
  "ClusterRole is a set of permissions, for the whole cluster or, by a RoleBinding, within a namespace.",
  () => ({
    aggregationRule: nested(
      3,
      object(`${rbac}AggregationRule`, "AggregationRule gathers the rules of other roles.", () => ({
        clusterRoleSelectors: list(1, labelSelector, "Labels of the roles whose rules are gathered."),
      })),
      "How the rules are gathered from other roles. Rules set by hand are overwritten then.",
    ),
    rules,
  }),
  { required: ["rules"] },
);

const roleRef = object(
  `${rbac}RoleRef`,
  "RoleRef names the role that is granted.",
  () => ({
    apiGroup: string(1, "Group of the role."),
    kind: string(2, "Role or ClusterRole."),
    name: string(3, "Name of the role."),
  }),
  { required: ["apiGroup", "kind", "name"], atomic: true },
);

const subject = object(
  `${rbac}Subject`,
  "Subject is somebody to whom a role is granted.",
  () => ({
    apiGroup: string(2, "Group of the subject's kind; empty for service accounts."),
    kind: string(1, "User, Group or ServiceAccount."),
    name: string(3, "Name of the subject."),
    namespace: string(4, "Namespace of a service account."),
  }),
  { required: ["kind", "name"], atomic: true },
);

const binding = {
  roleRef: nested(3, roleRef, "Role that is granted. Cannot be changed."),
  subjects: list(2, subject, "To whom the role is granted."),
};

export const roleBinding: Schema = kind(
  `${rbac}RoleBinding`,
  "RoleBinding grants a Role, or a ClusterRole within its namespace.",
  () => binding,
  { required: ["roleRef"] },
);

export const clusterRoleBinding: Schema = kind(
  `${rbac}ClusterRoleBinding`,
  "ClusterRoleBinding grants a ClusterRole in the whole cluster.",
  () => binding,
  { required: ["roleRef"] },
);
