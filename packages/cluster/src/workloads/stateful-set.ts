import { type Pod, type PodTemplateSpec, resources, type StatefulSet } from "@portolan/core";
import { availableIn, isPodAvailable, isPodReady, isTerminating } from "./pod-state.ts";
import { CONTROLLER_REVISION_HASH_LABEL, podFromTemplate, podTemplateHash } from "./pod-template.ts";

/** What one pass over a StatefulSet does. */
export interface StatefulSetPlan {
  readonly create: readonly Pod[];
  readonly delete: readonly Pod[];
  readonly status: NonNullable<StatefulSet["status"]>;
  /** Milliseconds until a pod becomes available by `minReadySeconds`. */
  readonly recheckAfter?: number;
}

/** The ordinal in the name of a StatefulSet's pod, or undefined when the name is not of that form. */
export function ordinalOf(pod: Pod, statefulSetName: string): number | undefined {
  const name = pod.metadata.name ?? "";
  if (!name.startsWith(`${statefulSetName}-`)) return undefined;
  const digits = name.slice(statefulSetName.length + 1);
  return /^(0|[1-9]\d*)$/.test(digits) ? Number(digits) : undefined;
}

/** Name of the StatefulSet's present revision, as in `status.updateRevision` and the pods' `controller-revision-hash`. */
export function statefulSetRevision(set: StatefulSet): string {
  return `${set.metadata.name}-${podTemplateHash(set.spec?.template ?? {}, set.status?.collisionCount)}`;
}

function statefulSetPod(set: StatefulSet, ordinal: number, revision: string, template: PodTemplateSpec): Pod {
  const name = `${set.metadata.name}-${ordinal}`;
  const pod = podFromTemplate(template, set, resources.statefulSets, {
    name,
    labels: {
      "statefulset.kubernetes.io/pod-name": name,
      "apps.kubernetes.io/pod-index": String(ordinal),
      [CONTROLLER_REVISION_HASH_LABEL]: revision,
    },
  });
  // DNS names of single pods come from these two.
  pod.spec!.hostname = name;
  if (set.spec?.serviceName !== undefined && set.spec.serviceName !== "") pod.spec!.subdomain = set.spec.serviceName;
  return pod;
}

/**
 * One pass over a StatefulSet (pkg/controller/statefulset): pods `name-0` … in order, each only when the ones before it are ready
 * (unless `podManagementPolicy` is Parallel), surplus ones away from the highest, then the update from the highest
 * ordinal down to `partition`. `pods` are those the StatefulSet controls; `templates` are those of its revisions by hash, so that a
 * pod that has not been updated yet comes back as it was.
 */
export function planStatefulSet(
  set: StatefulSet,
  pods: readonly Pod[],
  now: number,
  templates: ReadonlyMap<string, PodTemplateSpec> = new Map(),
): StatefulSetPlan {
  const spec = set.spec;
  const start = spec?.ordinals?.start ?? 0;
  const replicas = spec?.replicas ?? 1;
  const minReadySeconds = spec?.minReadySeconds ?? 0;
  const parallel = spec?.podManagementPolicy === "Parallel";
  const revision = statefulSetRevision(set);
  const wanted: (Pod | undefined)[] = Array.from({ length: replicas });
  const surplus: { pod: Pod; ordinal: number }[] = [];
  for (const pod of pods) {
    const ordinal = ordinalOf(pod, set.metadata.name ?? "");
    if (ordinal === undefined) continue;
    if (ordinal >= start && ordinal < start + replicas) wanted[ordinal - start] = pod;
    else surplus.push({ pod, ordinal });
  }
  surplus.sort((a, b) => b.ordinal - a.ordinal);
  const create: Pod[] = [];
  const remove: Pod[] = [];
  const rolling = spec?.updateStrategy?.rollingUpdate?.partition;
  const current = set.status?.currentRevision ?? revision;
  const currentTemplate = templates.get(current.slice(current.lastIndexOf("-") + 1));
  const podAt = (index: number): Pod => {
    // Updates go from the highest ordinal down: while a pod above is still old, the rollout has not come here yet. Counting
    // by `status.currentReplicas` instead would act on what the informer has not shown.
    const isOld = (pod: Pod | undefined): boolean =>
      pod !== undefined && pod.metadata.labels?.[CONTROLLER_REVISION_HASH_LABEL] !== revision;
    const keeps = rolling === undefined ? wanted.slice(index + 1).some(isOld) : index < rolling;
    if (current === revision || !keeps || currentTemplate === undefined) {
      return statefulSetPod(set, start + index, revision, spec?.template ?? {});
    }
    return statefulSetPod(set, start + index, current, currentTemplate);
  };
  const done = (): StatefulSetPlan => finish(set, pods, revision, now, create, remove);
  if (isTerminating(set)) return done();

  for (const [index, pod] of wanted.entries()) {
    if (pod === undefined) create.push(podAt(index));
    else if ((pod.status?.phase === "Failed" || pod.status?.phase === "Succeeded") && !isTerminating(pod)) {
      remove.push(pod);
    } else if (!isTerminating(pod) && isPodAvailable(pod, minReadySeconds, now)) continue;
    if (!parallel) return done();
  }
  if (create.length > 0 || remove.length > 0) return done();

  const healthy = (pod: Pod): boolean => !isTerminating(pod) && isPodReady(pod);
  const firstUnhealthy = [...surplus].reverse().find(({ pod }) => !healthy(pod))?.pod;
  for (const { pod } of surplus) {
    if (isTerminating(pod)) {
      if (!parallel) return done();
      continue;
    }
    if (!parallel && !healthy(pod) && pod !== firstUnhealthy) return done();
    remove.push(pod);
    if (!parallel) return done();
  }
  if (remove.length > 0 || spec?.updateStrategy?.type === "OnDelete") return done();

  const partition = spec?.updateStrategy?.rollingUpdate?.partition ?? 0;
  for (let index = replicas - 1; index >= Math.max(0, partition); index--) {
    const pod = wanted[index];
    if (pod === undefined) continue;
    if (pod.metadata.labels?.[CONTROLLER_REVISION_HASH_LABEL] !== revision && !isTerminating(pod)) {
      remove.push(pod);
      return done();
    }
    if (isTerminating(pod) || !isPodAvailable(pod, minReadySeconds, now)) return done();
  }
  return done();
}

function finish(
  set: StatefulSet,
  pods: readonly Pod[],
  revision: string,
  now: number,
  create: Pod[],
  remove: Pod[],
): StatefulSetPlan {
  const minReadySeconds = set.spec?.minReadySeconds ?? 0;
  const owned = pods.filter((pod) => ordinalOf(pod, set.metadata.name ?? "") !== undefined);
  const present = owned.filter((pod) => pod.status?.phase !== "Failed" && pod.status?.phase !== "Succeeded");
  const ready = owned.filter(isPodReady);
  const waits = ready.map((pod) => availableIn(pod, minReadySeconds, now)).filter((wait) => wait > 0);
  const isUpdated = (pod: Pod): boolean => pod.metadata.labels?.[CONTROLLER_REVISION_HASH_LABEL] === revision;
  const updated = present.filter((pod) => !isTerminating(pod) && isUpdated(pod)).length;
  const old = set.status;
  const before = old?.currentRevision ?? "";
  const replicas = set.spec?.replicas ?? 1;
  const rolled = updated === replicas && present.length === replicas && ready.filter(isUpdated).length === replicas;
  const currentRevision = before === "" || (rolled && create.length === 0 && remove.length === 0) ? revision : before;
  const { collisionCount, conditions } = old ?? {};
  return {
    create,
    delete: remove,
    status: {
      observedGeneration: set.metadata.generation ?? 0,
      replicas: present.length,
      readyReplicas: ready.length,
      availableReplicas: ready.length - waits.length,
      currentReplicas: present.filter(
        (pod) => !isTerminating(pod) && pod.metadata.labels?.[CONTROLLER_REVISION_HASH_LABEL] === currentRevision,
      ).length,
      updatedReplicas: updated,
      currentRevision,
      updateRevision: revision,
      collisionCount: collisionCount ?? 0,
      ...(conditions === undefined ? {} : { conditions }),
    },
    ...(waits.length === 0 ? {} : { recheckAfter: Math.min(...waits) }),
  };
}
