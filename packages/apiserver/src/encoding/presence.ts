import type { Schema } from "@portolan/core";
import type { JsonValue } from "./json.ts";

/**
 * Which fields of an object are there although nobody set them, and which zero values stay although nobody would miss them.
 *
 * Kubernetes' types are Go structs whose fields mostly say `omitempty`: an empty string, a zero, `false`, an empty list or map is the same as an
 * absent one and is left out. Pointers are the exception (a zero behind one is kept), struct values another (they are always written, `{}` if
 * need be), and fields without `omitempty` the third (always written, with their zero). The schema knows the last kind as `required`; the tables
 * here know the rest, by `Type.field`. Sources: `k8s.io/api/GROUP/VERSION/types.go`.
 */

function names(text: string): ReadonlySet<string> {
  return new Set(text.split(/\s+/).filter((name) => name !== ""));
}

/** Scalars behind pointers. */
const pointers = names(`
  ServiceSpec.internalTrafficPolicy ServiceSpec.ipFamilyPolicy ServiceSpec.allocateLoadBalancerNodePorts ServiceSpec.loadBalancerClass
  ServiceSpec.trafficDistribution ServicePort.appProtocol ClientIPConfig.timeoutSeconds LoadBalancerIngress.ipMode PortStatus.error
  EndpointPort.appProtocol EndpointAddress.nodeName
  discovery.EndpointPort.name discovery.EndpointPort.protocol discovery.EndpointPort.port discovery.EndpointPort.appProtocol
  Endpoint.hostname Endpoint.nodeName Endpoint.zone EndpointConditions.ready EndpointConditions.serving EndpointConditions.terminating
  OwnerReference.controller OwnerReference.blockOwnerDeletion ObjectMeta.deletionGracePeriodSeconds
  DeleteOptions.gracePeriodSeconds DeleteOptions.orphanDependents DeleteOptions.propagationPolicy Preconditions.uid Preconditions.resourceVersion
  PodSpec.terminationGracePeriodSeconds PodSpec.activeDeadlineSeconds PodSpec.automountServiceAccountToken PodSpec.shareProcessNamespace
  PodSpec.priority PodSpec.enableServiceLinks PodSpec.preemptionPolicy PodSpec.runtimeClassName PodSpec.setHostnameAsFQDN PodSpec.hostUsers
  PodSpec.hostnameOverride PodDNSConfigOption.value
  SecurityContext.privileged SecurityContext.runAsUser SecurityContext.runAsGroup SecurityContext.runAsNonRoot
  SecurityContext.readOnlyRootFilesystem SecurityContext.allowPrivilegeEscalation SecurityContext.procMount
  PodSecurityContext.runAsUser PodSecurityContext.runAsGroup PodSecurityContext.runAsNonRoot PodSecurityContext.fsGroup
  PodSecurityContext.fsGroupChangePolicy PodSecurityContext.supplementalGroupsPolicy PodSecurityContext.seLinuxChangePolicy
  SeccompProfile.localhostProfile Container.restartPolicy Container.resizePolicy ContainerStatus.started ContainerState.stopSignal
  Probe.terminationGracePeriodSeconds GRPCAction.service Toleration.tolerationSeconds
  ConfigMapKeySelector.optional SecretKeySelector.optional ConfigMapEnvSource.optional SecretEnvSource.optional
  ConfigMapVolumeSource.optional SecretVolumeSource.optional ConfigMapProjection.optional SecretProjection.optional
  ConfigMapVolumeSource.defaultMode SecretVolumeSource.defaultMode ProjectedVolumeSource.defaultMode DownwardAPIVolumeSource.defaultMode
  KeyToPath.mode DownwardAPIVolumeFile.mode ServiceAccountTokenProjection.expirationSeconds HostPathVolumeSource.type
  VolumeMount.mountPropagation VolumeMount.recursiveReadOnly EmptyDirVolumeSource.sizeLimit TopologySpreadConstraint.minDomains
  TopologySpreadConstraint.nodeAffinityPolicy TopologySpreadConstraint.nodeTaintsPolicy
  ConfigMap.immutable Secret.immutable ServiceAccount.automountServiceAccountToken
  DeploymentSpec.replicas DeploymentSpec.revisionHistoryLimit DeploymentSpec.progressDeadlineSeconds DeploymentStatus.collisionCount
  DeploymentStatus.terminatingReplicas ReplicaSetSpec.replicas ReplicaSetStatus.terminatingReplicas
  StatefulSetSpec.replicas StatefulSetSpec.revisionHistoryLimit StatefulSetStatus.collisionCount RollingUpdateStatefulSetStrategy.partition
  DaemonSetSpec.revisionHistoryLimit DaemonSetStatus.collisionCount
  JobSpec.parallelism JobSpec.completions JobSpec.activeDeadlineSeconds JobSpec.backoffLimit JobSpec.backoffLimitPerIndex JobSpec.maxFailedIndexes
  JobSpec.manualSelector JobSpec.ttlSecondsAfterFinished JobSpec.completionMode JobSpec.suspend JobSpec.podReplacementPolicy JobSpec.managedBy
  JobStatus.terminating JobStatus.ready CronJobSpec.suspend CronJobSpec.startingDeadlineSeconds CronJobSpec.successfulJobsHistoryLimit
  CronJobSpec.failedJobsHistoryLimit CronJobSpec.timeZone PriorityClass.preemptionPolicy PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy
  LeaseSpec.holderIdentity LeaseSpec.leaseDurationSeconds LeaseSpec.leaseTransitions LeaseSpec.strategy LeaseSpec.preferredHolder
  IngressSpec.ingressClassName HTTPIngressPath.pathType IngressClassParametersReference.apiGroup IngressClassParametersReference.scope
  IngressClassParametersReference.namespace IngressPortStatus.error NetworkPolicyPort.protocol NetworkPolicyPort.endPort
  TypedLocalObjectReference.apiGroup TypedObjectReference.apiGroup TypedObjectReference.namespace TokenRequestSpec.expirationSeconds
`);

/** Structs held by value: always written. */
const values = names(`
  Service.spec Service.status ServiceStatus.loadBalancer Pod.spec Pod.status PodTemplateSpec.metadata PodTemplateSpec.spec
  Node.spec Node.status NodeStatus.daemonEndpoints NodeDaemonEndpoints.kubeletEndpoint NodeStatus.nodeInfo Namespace.spec Namespace.status
  Deployment.spec Deployment.status DeploymentSpec.template DeploymentSpec.strategy ReplicaSet.spec ReplicaSet.status ReplicaSetSpec.template
  StatefulSet.spec StatefulSet.status StatefulSetSpec.template StatefulSetSpec.updateStrategy
  DaemonSet.spec DaemonSet.status DaemonSetSpec.template DaemonSetSpec.updateStrategy Job.spec Job.status JobSpec.template
  Container.resources EphemeralContainer.resources ContainerStatus.state ContainerStatus.lastState
  Event.involvedObject Event.source Lease.spec Ingress.spec Ingress.status IngressStatus.loadBalancer IngressClass.spec
  NetworkPolicy.spec NetworkPolicySpec.podSelector ServiceCIDR.spec ServiceCIDR.status IPAddress.spec Endpoint.conditions
  HTTPIngressPath.backend IngressServiceBackend.port SelfSubjectAccessReview.spec SelfSubjectAccessReview.status SelfSubjectRulesReview.spec
  SelfSubjectRulesReview.status SubjectAccessReview.spec SubjectAccessReview.status LocalSubjectAccessReview.spec LocalSubjectAccessReview.status
  SelfSubjectReview.status TokenReview.spec TokenReview.status TokenRequest.spec TokenRequest.status Scale.spec Scale.status
  Binding.target PersistentVolumeClaim.spec PersistentVolumeClaim.status PersistentVolumeClaimSpec.resources PersistentVolumeClaimTemplate.spec
  ResourceQuota.spec ResourceQuota.status PodDisruptionBudget.spec PodDisruptionBudget.status CronJob.spec CronJob.status
  CronJobSpec.jobTemplate JobTemplateSpec.spec RoleBinding.roleRef ClusterRoleBinding.roleRef CustomResourceDefinition.spec CustomResourceDefinitionSpec.names
`);

/** Times held by value: `null` when they are not set. */
const timeValues: readonly string[] = [
  ...names(`
  PodCondition.lastProbeTime PodCondition.lastTransitionTime NodeCondition.lastHeartbeatTime NodeCondition.lastTransitionTime
  NamespaceCondition.lastTransitionTime DeploymentCondition.lastUpdateTime DeploymentCondition.lastTransitionTime
  ReplicaSetCondition.lastTransitionTime StatefulSetCondition.lastTransitionTime DaemonSetCondition.lastTransitionTime
  JobCondition.lastProbeTime JobCondition.lastTransitionTime ContainerStateRunning.startedAt ContainerStateTerminated.startedAt
  ContainerStateTerminated.finishedAt Event.firstTimestamp Event.lastTimestamp
`),
];

/** Fields without `omitempty` that the schema does not call required, with their zero. */
const always: ReadonlyMap<string, JsonValue> = new Map<string, JsonValue>([
  ["Event.eventTime", null],
  ["Event.reportingComponent", ""],
  ["Event.reportingInstance", ""],
  ["StatefulSetStatus.availableReplicas", 0],
  ["EndpointSlice.ports", null],
  ...timeValues.map((name): [string, JsonValue] => [name, null]),
]);

/** Required in OpenAPI and yet `omitempty` in Go. */
const omitted = names(`
  ServiceSpec.ports Preconditions.uid Binding.metadata Endpoint.conditions
`);

/** How one field of a struct behaves. */
export type Presence =
  /** Left out when zero. */
  | { readonly kind: "omitted" }
  /** Kept as given. */
  | { readonly kind: "pointer" }
  /** A struct that is always written. */
  | { readonly kind: "value" }
  /** Always written, with this when absent. */
  | { readonly kind: "always"; readonly zero: JsonValue };

const omittedPresence: Presence = { kind: "omitted" };
const pointerPresence: Presence = { kind: "pointer" };
const valuePresence: Presence = { kind: "value" };

/** `ServicePort` of `io.k8s.api.core.v1.ServicePort`; names used by two groups carry the group before them. */
export function typeName(schema: Schema): string {
  const reference = schema.reference;
  if (reference === undefined) return "";
  const name = reference.slice(reference.lastIndexOf(".") + 1);
  return reference === "io.k8s.api.discovery.v1.EndpointPort" ? "discovery.EndpointPort" : name;
}

function zeroOf(schema: Schema): JsonValue {
  switch (schema.type) {
    case "string":
      return schema.format === "date-time" ? null : "";
    case "integer":
    case "number":
    case "int-or-string":
      return 0;
    case "boolean":
      return false;
    case "array":
    case "object":
    case "any":
      return null;
  }
}

/** What the fields of a struct do when they are zero, and which of them are written in any case. */
export interface StructPresence {
  readonly of: (field: string) => Presence;
  /** Fields that are written in any case. */
  readonly written: readonly (readonly [string, Presence])[];
}

const known = new Map<string, StructPresence>();

/** Rules for the fields of a named struct; unnamed objects have none. Computed once per type. */
export function presenceOf(schema: Schema): StructPresence {
  const key = schema.reference ?? "";
  const cached = known.get(key);
  if (cached !== undefined && key !== "") return cached;
  const type = typeName(schema);
  const byField = new Map<string, Presence>();
  const written: [string, Presence][] = [];
  for (const [field, child] of Object.entries(schema.properties ?? {})) {
    const name = `${type}.${field}`;
    let presence: Presence = omittedPresence;
    if (values.has(name)) presence = valuePresence;
    else if (pointers.has(name)) presence = pointerPresence;
    else if (always.has(name)) presence = { kind: "always", zero: always.get(name) ?? null };
    else if (child.type === "object" && child.properties !== undefined) presence = pointerPresence;
    else if (child.type === "any") presence = pointerPresence;
    if (schema.required?.includes(field) === true && presence.kind === "omitted" && !omitted.has(name)) {
      presence = { kind: "always", zero: zeroOf(child) };
    }
    byField.set(field, presence);
    if (presence.kind === "value" || presence.kind === "always") written.push([field, presence]);
  }
  const result: StructPresence = { of: (field) => byField.get(field) ?? pointerPresence, written };
  if (key !== "") known.set(key, result);
  return result;
}

/**
 * The object that Go's zero value of a type is in JSON: what a create is compared with to see which fields it has set.
 */
export function zeroObject(schema: Schema): { [key: string]: JsonValue } {
  const result: { [key: string]: JsonValue } = {};
  for (const [field, presence] of presenceOf(schema).written) {
    const child = schema.properties?.[field];
    result[field] =
      presence.kind === "value" && child !== undefined
        ? zeroObject(child)
        : presence.kind === "always"
          ? presence.zero
          : null;
  }
  return result;
}
