import type { Condition, KubernetesObject, Pod } from "@portolan/core";

/** The condition of that type. */
export function findCondition(conditions: readonly Condition[] | undefined, type: string): Condition | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/**
 * The conditions with `condition` in place of the one of its type. An equal status keeps the old transition time; a condition
 * that says the same as before is kept as it was.
 */
export function withCondition(conditions: readonly Condition[] | undefined, condition: Condition): Condition[] {
  const result = [...(conditions ?? [])];
  const index = result.findIndex((other) => other.type === condition.type);
  const old = result[index];
  if (old === undefined) return [...result, condition];
  if (old.status === condition.status && old.reason === condition.reason && old.message === condition.message) {
    return result;
  }
  const transition = old.status === condition.status ? old.lastTransitionTime : condition.lastTransitionTime;
  result[index] = transition === undefined ? condition : { ...condition, lastTransitionTime: transition };
  return result;
}

/** True while the pod is neither finished nor being deleted. */
export function isPodActive(pod: Pod): boolean {
  return pod.status?.phase !== "Succeeded" && pod.status?.phase !== "Failed" && !isTerminating(pod);
}

/** True once deletion has been asked for. */
export function isTerminating(object: KubernetesObject): boolean {
  return object.metadata?.deletionTimestamp !== undefined;
}

/** True when the pod's Ready condition is True. */
export function isPodReady(pod: Pod): boolean {
  return findCondition(pod.status?.conditions, "Ready")?.status === "True";
}

/** True when the pod has been ready for `minReadySeconds`. */
export function isPodAvailable(pod: Pod, minReadySeconds: number, now: number): boolean {
  return isPodReady(pod) && availableIn(pod, minReadySeconds, now) === 0;
}

/** Milliseconds until a ready pod counts as available; 0 when it does. */
export function availableIn(pod: Pod, minReadySeconds: number, now: number): number {
  if (minReadySeconds === 0) return 0;
  const since = Date.parse(findCondition(pod.status?.conditions, "Ready")?.lastTransitionTime ?? "");
  if (Number.isNaN(since)) return minReadySeconds * 1000;
  return Math.max(0, since + minReadySeconds * 1000 - now);
}

/** Restarts of the container that restarted most. */
function restarts(pod: Pod): number {
  return Math.max(0, ...(pod.status?.containerStatuses ?? []).map((status) => status.restartCount));
}

const PHASE_RANK: Readonly<Record<string, number>> = { Pending: 0, Unknown: 1, Running: 2 };

/**
 * Order in which a controller gives pods up: unassigned before assigned, pending before running, not ready before ready, lower
 * `controller.kubernetes.io/pod-deletion-cost`, then the one whose node holds more pods of the same owner, then the one
 * ready for less time, restarted more often, made later (pkg/controller `ActivePodsWithRanks`). Logarithmic buckets of age
 * are not used: the newest goes first.
 */
export function orderForDeletion(pods: readonly Pod[]): Pod[] {
  const perNode = new Map<string, number>();
  for (const pod of pods) {
    if (isPodActive(pod)) perNode.set(pod.spec?.nodeName ?? "", (perNode.get(pod.spec?.nodeName ?? "") ?? 0) + 1);
  }
  const keys = new Map(
    pods.map((pod) => {
      const ready = isPodReady(pod);
      return [
        pod,
        [
          (pod.spec?.nodeName ?? "") === "" ? 0 : 1,
          PHASE_RANK[pod.status?.phase ?? "Pending"] ?? 0,
          ready ? 1 : 0,
          Number(pod.metadata.annotations?.["controller.kubernetes.io/pod-deletion-cost"] ?? 0) || 0,
          -(perNode.get(pod.spec?.nodeName ?? "") ?? 0),
          ready ? -Date.parse(findCondition(pod.status?.conditions, "Ready")?.lastTransitionTime ?? "") || 0 : 0,
          -restarts(pod),
          -Date.parse(pod.metadata.creationTimestamp ?? "") || 0,
        ],
      ] as const;
    }),
  );
  return [...pods].sort((a, b) => {
    const left = keys.get(a)!;
    const right = keys.get(b)!;
    for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return left[i]! - right[i]!;
    return 0;
  });
}

/** A number or a percentage of `total`, rounded up or down. */
export function resolveIntOrPercent(value: number | string | undefined, total: number, roundUp: boolean): number {
  if (value === undefined) return 0;
  if (typeof value === "number") return value;
  const match = /^(\d+)%$/.exec(value);
  if (match === null) return Number.parseInt(value, 10) || 0;
  const share = (Number(match[1]) * total) / 100;
  return roundUp ? Math.ceil(share) : Math.floor(share);
}
