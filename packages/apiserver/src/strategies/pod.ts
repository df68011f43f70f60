import type { Node, Pod, PodSpec, Toleration } from "@portolan/core";
import { deepEqual } from "../encoding/equality.ts";
import { fieldSetOf } from "../fields/field-set.ts";
import { type Strategy, type StrategyContext, statusFields } from "./strategy.ts";

const tokenMountPath = "/var/run/secrets/kubernetes.io/serviceaccount";
const randomAlphabet = "bcdfghjklmnpqrstvwxz2456789";

/** Five characters as generated names end with; without vowels, so that they spell nothing. */
export function randomSuffix(random: () => number): string {
  let suffix = "";
  for (let i = 0; i < 5; i++) suffix += randomAlphabet[Math.floor(random() * randomAlphabet.length)] as string;
  return suffix;
}

/** ServiceAccount admission (`plugin/pkg/admission/serviceaccount`). */
function admitServiceAccount(spec: PodSpec, context: StrategyContext): void {
  spec.serviceAccountName ??= "default";
  spec.serviceAccount ??= spec.serviceAccountName;
  if (spec.automountServiceAccountToken === false) return;
  const containers = [...(spec.initContainers ?? []), ...(spec.containers ?? [])];
  const needing = containers.filter(
    (container) => container.volumeMounts?.some((mount) => mount.mountPath === tokenMountPath) !== true,
  );
  if (needing.length === 0) return;
  const name =
    spec.volumes?.find((volume) => volume.name.startsWith("kube-api-access-"))?.name ??
    `kube-api-access-${randomSuffix(context.random)}`;
  if (spec.volumes?.some((volume) => volume.name === name) !== true) {
    spec.volumes = [
      ...(spec.volumes ?? []),
      {
        name,
        projected: {
          sources: [
            { serviceAccountToken: { expirationSeconds: 3607, path: "token" } },
            { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
            {
              downwardAPI: {
                items: [{ path: "namespace", fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } }],
              },
            },
            ...context.projectedConfigMaps.map((configMap) => ({
              configMap: { name: configMap, items: [{ key: "service-ca.crt", path: "service-ca.crt" }] },
            })),
          ],
          defaultMode: 420,
        },
      },
    ];
  }
  for (const container of needing) {
    container.volumeMounts = [...(container.volumeMounts ?? []), { name, readOnly: true, mountPath: tokenMountPath }];
  }
}

/** DefaultTolerationSeconds admission. */
function admitTolerations(spec: PodSpec): void {
  for (const key of ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]) {
    const tolerates = (toleration: Toleration): boolean =>
      (toleration.key === key || (toleration.key === undefined && toleration.operator === "Exists")) &&
      (toleration.effect === "NoExecute" || toleration.effect === undefined);
    if (spec.tolerations?.some(tolerates) === true) continue;
    spec.tolerations = [
      ...(spec.tolerations ?? []),
      { key, operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 },
    ];
  }
}

const priorityClasses: Readonly<Record<string, number | undefined>> = {
  "system-cluster-critical": 2_000_000_000,
  "system-node-critical": 2_000_001_000,
};

/** Labels that a pod takes over from its node (PodTopologyLabels admission). */
const topologyLabels = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/** Copies the topology labels of the node onto the pod. */
export function copyTopologyLabels(pod: Pod, nodeName: string, context: Pick<StrategyContext, "store">): void {
  const node = context.store.get("nodes", "", nodeName)?.object as Node | undefined;
  for (const label of topologyLabels) {
    const value = node?.metadata.labels?.[label];
    if (value !== undefined) pod.metadata.labels = { ...pod.metadata.labels, [label]: value };
  }
}

const computeResources = ["cpu", "memory"];

/** `status.qosClass` (`pkg/apis/core/v1/helper/qos`). */
function qosClass(spec: PodSpec): string {
  const containers = [...(spec.containers ?? []), ...(spec.initContainers ?? [])];
  let any = false;
  let guaranteed = true;
  for (const { resources } of containers) {
    for (const name of computeResources) {
      const limit = resources?.limits?.[name];
      const request = resources?.requests?.[name] ?? limit;
      if (limit !== undefined || request !== undefined) any = true;
      if (limit === undefined || request !== limit) guaranteed = false;
    }
  }
  return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

export const podStrategy: Strategy = {
  returnsDeletedObject: true,
  reset: statusFields,
  resetStatus: fieldSetOf([["spec"], ["metadata", "deletionTimestamp"], ["metadata", "ownerReferences"]]),
  changesGeneration: (object, old) => !deepEqual((object as Pod).spec, (old as Pod).spec),
  gracePeriod(object, asked) {
    const pod = object as Pod;
    // What runs nowhere, or runs no more, needs no time to end.
    if ((pod.spec?.nodeName ?? "") === "" || pod.status?.phase === "Failed" || pod.status?.phase === "Succeeded")
      return 0;
    return asked ?? pod.spec?.terminationGracePeriodSeconds ?? 30;
  },
  admit(object, old, context) {
    const pod = object as Pod;
    if (old !== undefined || pod.spec === undefined) return;
    admitServiceAccount(pod.spec, context);
    admitTolerations(pod.spec);
    pod.spec.priority ??= priorityClasses[pod.spec.priorityClassName ?? ""] ?? 0;
    pod.spec.preemptionPolicy ??= "PreemptLowerPriority";
    if ((pod.spec.nodeName ?? "") !== "") copyTopologyLabels(pod, pod.spec.nodeName as string, context);
  },
  prepareForCreate(object) {
    const pod = object as Pod;
    pod.status = { phase: "Pending", ...(pod.spec === undefined ? {} : { qosClass: qosClass(pod.spec) }) };
  },
  prepareForStatusUpdate(object, old) {
    const pod = object as Pod;
    if ((pod.status?.qosClass ?? "") === "" && (old as Pod).status?.qosClass !== undefined) {
      pod.status = { ...pod.status, qosClass: (old as Pod).status?.qosClass as string };
    }
  },
};
