import { type Condition, type Job, type Pod, resources } from "@portolan/core";
import { findCondition, isPodReady, isTerminating, withCondition } from "./pod-state.ts";
import { podFromTemplate, podNamePrefix } from "./pod-template.ts";

/** What one pass over a Job does. */
export interface JobPlan {
  readonly create: readonly Pod[];
  readonly delete: readonly Pod[];
  readonly status: NonNullable<Job["status"]>;
  /** True when the Job is past its `ttlSecondsAfterFinished` and shall be deleted. */
  readonly expired: boolean;
  readonly recheckAfter?: number;
}

function timestamp(now: number): string {
  return new Date(now).toISOString().replace(/\.\d+Z$/, "Z");
}

/** Labels of a Job's pods. */
export function jobLabels(job: Job): Record<string, string> {
  const name = job.metadata.name ?? "";
  const uid = job.metadata.uid ?? "";
  return {
    "batch.kubernetes.io/controller-uid": uid,
    "batch.kubernetes.io/job-name": name,
    "controller-uid": uid,
    "job-name": name,
  };
}

function finishTime(job: Job): number | undefined {
  const condition = job.status?.conditions?.find(
    ({ type, status }) => (type === "Complete" || type === "Failed") && status === "True",
  );
  return condition === undefined ? undefined : Date.parse(condition.lastTransitionTime ?? "");
}

/**
 * One pass over a Job (`completionMode` NonIndexed): `parallelism` pods at a time until `completions` have succeeded, given
 * up after `backoffLimit` failures or `activeDeadlineSeconds`. `pods` are those the Job controls.
 */
export function planJob(job: Job, pods: readonly Pod[], now: number): JobPlan {
  const spec = job.spec;
  const finished = finishTime(job);
  if (finished !== undefined) {
    const ttl = spec?.ttlSecondsAfterFinished;
    const left = ttl === undefined ? undefined : finished + ttl * 1000 - now;
    return {
      create: [],
      delete: [],
      status: job.status ?? {},
      expired: left !== undefined && left <= 0,
      ...(left === undefined || left <= 0 ? {} : { recheckAfter: left }),
    };
  }
  const succeeded = pods.filter((pod) => pod.status?.phase === "Succeeded").length;
  const failed = pods.filter((pod) => pod.status?.phase === "Failed").length;
  const active = pods.filter(
    (pod) => !isTerminating(pod) && pod.status?.phase !== "Succeeded" && pod.status?.phase !== "Failed",
  );
  const startTime = job.status?.startTime ?? (spec?.suspend === true ? undefined : timestamp(now));
  const deadline =
    spec?.activeDeadlineSeconds === undefined || startTime === undefined
      ? undefined
      : Date.parse(startTime) + spec.activeDeadlineSeconds * 1000 - now;
  let conditions: Condition[] = [...(job.status?.conditions ?? [])];
  const end = (type: "Complete" | "Failed", reason: string, message: string): void => {
    const time = timestamp(now);
    const before = type === "Complete" ? "SuccessCriteriaMet" : "FailureTarget";
    for (const name of [before, type]) {
      conditions = withCondition(conditions, {
        type: name,
        status: "True",
        reason,
        message,
        lastProbeTime: time,
        lastTransitionTime: time,
      });
    }
  };
  // Without `completions` one success ends the Job once all its pods have ended.
  const wanted = spec?.completions;
  const complete = wanted === undefined ? succeeded > 0 && active.length === 0 : succeeded >= wanted;
  const backoffLimit = spec?.backoffLimit ?? 6;
  let create: Pod[] = [];
  let remove: Pod[] = [];
  if (isTerminating(job)) {
    // The garbage collector takes the pods.
  } else if (deadline !== undefined && deadline <= 0) {
    end("Failed", "DeadlineExceeded", "Job was active longer than specified deadline");
    remove = active;
  } else if (failed > backoffLimit) {
    end("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    remove = active;
  } else if (complete) {
    end("Complete", "CompletionsReached", "Reached expected number of succeeded pods");
  } else if (spec?.suspend === true) {
    remove = active;
  } else {
    const parallelism = spec?.parallelism ?? 1;
    const room =
      wanted === undefined ? (succeeded > 0 ? active.length : parallelism) : Math.min(parallelism, wanted - succeeded);
    const missing = room - active.length;
    const pod = (): Pod =>
      podFromTemplate(spec?.template ?? {}, job, resources.jobs, {
        generateName: podNamePrefix(job.metadata.name ?? ""),
        labels: jobLabels(job),
      });
    if (missing > 0) create = Array.from({ length: missing }, pod);
    else remove = active.slice(0, -missing || 0);
  }
  const done = findCondition(conditions, "Complete")?.status === "True";
  return {
    create,
    delete: remove,
    expired: false,
    status: {
      ...(conditions.length === 0 ? {} : { conditions }),
      ...(startTime === undefined ? {} : { startTime }),
      ...(done ? { completionTime: timestamp(now) } : {}),
      active: remove === active ? 0 : active.length,
      succeeded,
      failed,
      ready: remove === active ? 0 : active.filter(isPodReady).length,
    },
    ...(deadline === undefined || deadline <= 0 ? {} : { recheckAfter: deadline }),
  };
}
