import { type Condition, type Pod, type ReplicaSet, type ResourceType, resources } from "@portolan/core";
import {
  availableIn,
  findCondition,
  isPodActive,
  isPodReady,
  isTerminating,
  orderForDeletion,
  withCondition,
} from "./pod-state.ts";
import { podFromTemplate, podNamePrefix } from "./pod-template.ts";

/** What one pass over a ReplicaSet does. */
export interface ReplicaSetPlan {
  readonly create: readonly Pod[];
  readonly delete: readonly Pod[];
}

/** At most this many pods are made or deleted in one pass. */
const BURST = 500;

/** The pods to make and to delete so that `replicas` are active. `pods` are those the ReplicaSet controls. */
export function planReplicaSet(replicaSet: ReplicaSet, pods: readonly Pod[]): ReplicaSetPlan {
  if (isTerminating(replicaSet)) return { create: [], delete: [] };
  const active = pods.filter(isPodActive);
  const desired = replicaSet.spec?.replicas ?? 1;
  const missing = Math.min(desired - active.length, BURST);
  if (missing > 0) return { create: Array.from({ length: missing }, () => replicaSetPod(replicaSet)), delete: [] };
  return { create: [], delete: orderForDeletion(active).slice(0, Math.min(active.length - desired, BURST)) };
}

function replicaSetPod(replicaSet: ReplicaSet): Pod {
  const type: ResourceType = resources.replicaSets;
  const prefix = podNamePrefix(replicaSet.metadata.name ?? "");
  return podFromTemplate(replicaSet.spec?.template ?? {}, replicaSet, type, { generateName: prefix });
}

/** On its way out, and not ended yet. */
function isPodTerminating(pod: Pod): boolean {
  const ended = pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
  return pod.metadata.deletionTimestamp !== undefined && !ended;
}

/** Status of a ReplicaSet as its pods are; `failure` is the error of the last attempt to make or delete pods. */
export function replicaSetStatus(
  replicaSet: ReplicaSet,
  pods: readonly Pod[],
  now: number,
  failure?: { readonly reason: "FailedCreate" | "FailedDelete"; readonly message: string },
): NonNullable<ReplicaSet["status"]> {
  const active = pods.filter(isPodActive);
  const templateLabels = Object.entries(replicaSet.spec?.template?.metadata?.labels ?? {});
  const minReadySeconds = replicaSet.spec?.minReadySeconds ?? 0;
  const ready = active.filter(isPodReady);
  let conditions: Condition[] = [...(replicaSet.status?.conditions ?? [])];
  if (failure !== undefined) {
    if (findCondition(conditions, "ReplicaFailure") === undefined) {
      conditions = withCondition(conditions, {
        type: "ReplicaFailure",
        status: "True",
        reason: failure.reason,
        message: failure.message,
        lastTransitionTime: new Date(now).toISOString().replace(/\.\d+Z$/, "Z"),
      });
    }
  } else conditions = conditions.filter((condition) => condition.type !== "ReplicaFailure");
  return {
    replicas: active.length,
    fullyLabeledReplicas: active.filter((pod) =>
      templateLabels.every(([key, value]) => pod.metadata.labels?.[key] === value),
    ).length,
    readyReplicas: ready.length,
    availableReplicas: ready.filter((pod) => availableIn(pod, minReadySeconds, now) === 0).length,
    terminatingReplicas: pods.filter(isPodTerminating).length,
    observedGeneration: replicaSet.metadata.generation ?? 0,
    ...(conditions.length === 0 ? {} : { conditions }),
  };
}
