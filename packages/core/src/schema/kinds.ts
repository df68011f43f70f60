import { clusterRole, clusterRoleBinding, role, roleBinding } from "./access-control.ts";
import { podDisruptionBudget, priorityClass, resourceQuota } from "./budgets.ts";
import {
  customResourceDefinition,
  eviction,
  lease,
  localSubjectAccessReview,
  selfSubjectAccessReview,
  selfSubjectReview,
  selfSubjectRulesReview,
  subjectAccessReview,
  tokenRequest,
  tokenReview,
} from "./control.ts";
import { configMap, event, eventsEvent, namespace, node, secret, serviceAccount } from "./core.ts";
import { endpointSlice } from "./discovery.ts";
import { deleteOptions, status } from "./meta.ts";
import { ingress, ingressClass, ipAddress, networkPolicy, serviceCIDR } from "./networking.ts";
import { outlinedKinds } from "./outline.ts";
import { binding, pod } from "./pod.ts";
import type { Schema } from "./schema.ts";
import { endpoints, service } from "./service.ts";
import { persistentVolumeClaim } from "./volume.ts";
import { controllerRevision, cronJob, daemonSet, deployment, job, replicaSet, scale, statefulSet } from "./workload.ts";

/** A schema with the kind it describes. */
export interface KindSchema {
  /** `v1` or `group/version`. */
  readonly apiVersion: string;
  readonly kind: string;
  readonly schema: Schema;
}

const kinds: readonly KindSchema[] = [
  { apiVersion: "v1", kind: "Binding", schema: binding },
  { apiVersion: "v1", kind: "ConfigMap", schema: configMap },
  { apiVersion: "v1", kind: "Endpoints", schema: endpoints },
  { apiVersion: "v1", kind: "Event", schema: event },
  { apiVersion: "v1", kind: "Namespace", schema: namespace },
  { apiVersion: "v1", kind: "Node", schema: node },
  { apiVersion: "v1", kind: "PersistentVolumeClaim", schema: persistentVolumeClaim },
  { apiVersion: "v1", kind: "Pod", schema: pod },
  { apiVersion: "v1", kind: "ResourceQuota", schema: resourceQuota },
  { apiVersion: "v1", kind: "Secret", schema: secret },
  { apiVersion: "v1", kind: "Service", schema: service },
  { apiVersion: "v1", kind: "ServiceAccount", schema: serviceAccount },
  { apiVersion: "v1", kind: "DeleteOptions", schema: deleteOptions },
  { apiVersion: "meta.k8s.io/v1", kind: "DeleteOptions", schema: deleteOptions },
  { apiVersion: "v1", kind: "Status", schema: status },
  { apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", schema: customResourceDefinition },
  { apiVersion: "apps/v1", kind: "ControllerRevision", schema: controllerRevision },
  { apiVersion: "apps/v1", kind: "DaemonSet", schema: daemonSet },
  { apiVersion: "apps/v1", kind: "Deployment", schema: deployment },
  { apiVersion: "apps/v1", kind: "ReplicaSet", schema: replicaSet },
  { apiVersion: "apps/v1", kind: "StatefulSet", schema: statefulSet },
  { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview", schema: selfSubjectReview },
  { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", schema: tokenRequest },
  { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", schema: tokenReview },
  { apiVersion: "authorization.k8s.io/v1", kind: "LocalSubjectAccessReview", schema: localSubjectAccessReview },
  { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", schema: selfSubjectAccessReview },
  { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectRulesReview", schema: selfSubjectRulesReview },
  { apiVersion: "authorization.k8s.io/v1", kind: "SubjectAccessReview", schema: subjectAccessReview },
  { apiVersion: "autoscaling/v1", kind: "Scale", schema: scale },
  { apiVersion: "batch/v1", kind: "CronJob", schema: cronJob },
  { apiVersion: "batch/v1", kind: "Job", schema: job },
  { apiVersion: "coordination.k8s.io/v1", kind: "Lease", schema: lease },
  { apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", schema: endpointSlice },
  { apiVersion: "events.k8s.io/v1", kind: "Event", schema: eventsEvent },
  { apiVersion: "networking.k8s.io/v1", kind: "IPAddress", schema: ipAddress },
  { apiVersion: "networking.k8s.io/v1", kind: "Ingress", schema: ingress },
  { apiVersion: "networking.k8s.io/v1", kind: "IngressClass", schema: ingressClass },
  { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", schema: networkPolicy },
  { apiVersion: "networking.k8s.io/v1", kind: "ServiceCIDR", schema: serviceCIDR },
  { apiVersion: "policy/v1", kind: "Eviction", schema: eviction },
  { apiVersion: "policy/v1", kind: "PodDisruptionBudget", schema: podDisruptionBudget },
  { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", schema: clusterRole },
  { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRoleBinding", schema: clusterRoleBinding },
  { apiVersion: "rbac.authorization.k8s.io/v1", kind: "Role", schema: role },
  { apiVersion: "rbac.authorization.k8s.io/v1", kind: "RoleBinding", schema: roleBinding },
  { apiVersion: "scheduling.k8s.io/v1", kind: "PriorityClass", schema: priorityClass },
  ...outlinedKinds,
];

let byKind: Map<string, Schema> | undefined;

/**
 * Schema of a kind, with all fields of v1.36; of kinds that nothing here acts upon (storage, access control, admission, …) the
 * top-level fields alone. `undefined` for kinds that Portolan does not know.
 *
 * Fields are built when somebody first looks into them, and then shared by all.
 *
 * @param apiVersion `v1` or `group/version`
 */
export function schemaOf(apiVersion: string, kind: string): Schema | undefined {
  byKind ??= new Map(kinds.map((entry) => [`${entry.apiVersion} ${entry.kind}`, entry.schema]));
  return byKind.get(`${apiVersion} ${kind}`);
}

/** All kinds that {@link schemaOf} knows, in the order of groups and kinds. */
export function allSchemas(): readonly KindSchema[] {
  return kinds;
}
