import type { Informer } from "@portolan/client";
import {
  type DaemonSet,
  type Job,
  type KubernetesObject,
  type LabelSelector,
  type Node,
  type Pod,
  type ReplicaSet,
  resources,
  type StatefulSet,
} from "@portolan/core";
import { keepRevisions, revisionInformer, revisionTemplates } from "./controller-revisions.ts";
import { planDaemonSet } from "./daemon-set.ts";
import { jobLabels, planJob } from "./job.ts";
import { availableIn, isPodActive, isPodReady } from "./pod-state.ts";
import { CONTROLLER_REVISION_HASH_LABEL } from "./pod-template.ts";
import { planReplicaSet, replicaSetStatus } from "./replica-set.ts";
import { planStatefulSet } from "./stateful-set.ts";
import { createPodController, type WorkloadController, type WorkloadControllerOptions } from "./workload-controller.ts";

/** Keeps `spec.replicas` pods of each ReplicaSet. Events: SuccessfulCreate, SuccessfulDelete, FailedCreate, FailedDelete. */
export function createReplicaSetController(options: WorkloadControllerOptions): WorkloadController {
  return createPodController<ReplicaSet>(
    {
      name: "replicaset",
      type: resources.replicaSets,
      selector: (set) => set.spec?.selector,
      plan(set, pods, now) {
        const minReadySeconds = set.spec?.minReadySeconds ?? 0;
        const waits = pods
          .filter((pod) => isPodActive(pod) && isPodReady(pod))
          .map((pod) => availableIn(pod, minReadySeconds, now))
          .filter((wait) => wait > 0);
        return {
          ...planReplicaSet(set, pods),
          status: replicaSetStatus(set, pods, now),
          ...(waits.length === 0 ? {} : { recheckAfter: Math.min(...waits) }),
        };
      },
      failed: (set, pods, now, failure) => replicaSetStatus(set, pods, now, failure),
    },
    options,
  );
}

/** Keeps the ordered pods of each StatefulSet. */
export function createStatefulSetController(options: WorkloadControllerOptions): WorkloadController {
  const revisions = revisionInformer(options.informers);
  const text = (verb: string, name?: string, set?: string): string =>
    `${verb} Pod ${name} in StatefulSet ${set} successful`;
  return createPodController<StatefulSet>(
    {
      name: "statefulset",
      type: resources.statefulSets,
      selector: (set) => set.spec?.selector,
      prepare: (set, pods) => keepRevisions(options.api, revisions, set, resources.statefulSets, usedBy(pods, set)),
      plan: (set, pods, now) => planStatefulSet(set, pods, now, revisionTemplates(revisions, set)),
      createdMessage: (set, pod) => text("create", pod.metadata.name, set.metadata.name),
      deletedMessage: (set, pod) => text("delete", pod.metadata.name, set.metadata.name),
    },
    { ...options, alsoSynced: [revisions as unknown as Informer<KubernetesObject>] },
  );
}

/** Tells revisions that pods still have, and the one a StatefulSet rolls out from. */
function usedBy(pods: readonly Pod[], owner: StatefulSet | DaemonSet): (hash: string) => boolean {
  const hashes = new Set(pods.map((pod) => hashOf(pod.metadata.labels?.[CONTROLLER_REVISION_HASH_LABEL] ?? "")));
  const current = (owner.status as StatefulSet["status"])?.currentRevision;
  if (current !== undefined) hashes.add(hashOf(current));
  return (hash) => hashes.has(hash);
}

/** StatefulSets label pods with the revision's name, DaemonSets with its hash; hashes have no dash. */
function hashOf(revision: string): string {
  return revision.slice(revision.lastIndexOf("-") + 1);
}

/** Keeps one pod of each DaemonSet on every node that it fits. */
export function createDaemonSetController(options: WorkloadControllerOptions): WorkloadController {
  const nodes = options.informers.informer<Node>(resources.nodes);
  const revisions = revisionInformer(options.informers);
  return createPodController<DaemonSet>(
    {
      name: "daemonset",
      type: resources.daemonSets,
      selector: (set) => set.spec?.selector,
      prepare: (set, pods) => keepRevisions(options.api, revisions, set, resources.daemonSets, usedBy(pods, set)),
      plan: (set, pods, now) => planDaemonSet(set, nodes.lister.list(), pods, now),
    },
    { ...options, enqueueAllOn: [nodes], alsoSynced: [revisions as unknown as Informer<KubernetesObject>] },
  );
}

/** Runs the pods of each Job to completion. Events: SuccessfulCreate, Completed, BackoffLimitExceeded, DeadlineExceeded. */
export function createJobController(options: WorkloadControllerOptions): WorkloadController {
  return createPodController<Job>(
    {
      name: "job",
      type: resources.jobs,
      // The API server writes the selector of a Job; a server that does not leaves the pods' labels to go by.
      selector: (job): LabelSelector => job.spec?.selector ?? { matchLabels: jobLabels(job) },
      plan: planJob,
      written(job, status, events) {
        const before = new Set(job.status?.conditions?.map((condition) => condition.type));
        for (const condition of (status as NonNullable<Job["status"]>).conditions ?? []) {
          if (before.has(condition.type)) continue;
          if (condition.type === "Complete") events.event(job, "Normal", "Completed", "Job completed", resources.jobs);
          if (condition.type === "Failed") {
            events.event(job, "Warning", condition.reason ?? "Failed", condition.message ?? "", resources.jobs);
          }
        }
      },
    },
    options,
  );
}
