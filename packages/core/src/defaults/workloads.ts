import { isJsonObject, type JsonObject, objectOf, pathOf } from "../json.ts";
import type { DaemonSet, Deployment, Job, PodTemplateSpec, ReplicaSet, StatefulSet } from "../types/workload.ts";
import { ensureObject, fill, fillText } from "./fill.ts";
import { defaultPodTemplate } from "./pod.ts";

function specOf(object: unknown): JsonObject | undefined {
  if (!isJsonObject(object)) return undefined;
  const spec = ensureObject(object, "spec");
  if (spec !== undefined && isJsonObject(spec.template)) defaultPodTemplate(spec.template as PodTemplateSpec);
  return spec;
}

/** Decode-time defaults of a Deployment, in place. Returns the same object. */
export function defaultDeployment<T extends Deployment>(deployment: T): T {
  const spec = specOf(deployment);
  if (spec === undefined) return deployment;
  fill(spec, "replicas", 1);
  const strategy = ensureObject(spec, "strategy");
  if (strategy !== undefined) {
    fillText(strategy, "type", "RollingUpdate");
    if (strategy.type === "RollingUpdate") {
      const rollingUpdate = ensureObject(strategy, "rollingUpdate");
      if (rollingUpdate !== undefined) {
        fill(rollingUpdate, "maxUnavailable", "25%");
        fill(rollingUpdate, "maxSurge", "25%");
      }
    }
  }
  fill(spec, "revisionHistoryLimit", 10);
  fill(spec, "progressDeadlineSeconds", 600);
  return deployment;
}

/** Decode-time defaults of a ReplicaSet, in place. Returns the same object. */
export function defaultReplicaSet<T extends ReplicaSet>(replicaSet: T): T {
  const spec = specOf(replicaSet);
  if (spec !== undefined) fill(spec, "replicas", 1);
  return replicaSet;
}

/** Decode-time defaults of a StatefulSet, in place. Returns the same object. */
export function defaultStatefulSet<T extends StatefulSet>(statefulSet: T): T {
  const spec = specOf(statefulSet);
  if (spec === undefined) return statefulSet;
  fillText(spec, "podManagementPolicy", "OrderedReady");
  const strategy = ensureObject(spec, "updateStrategy");
  if (strategy !== undefined) {
    if (strategy.type === undefined || strategy.type === null || strategy.type === "") {
      strategy.type = "RollingUpdate";
      fill(strategy, "rollingUpdate", {});
    }
    if (strategy.type === "RollingUpdate" && isJsonObject(strategy.rollingUpdate)) {
      fill(strategy.rollingUpdate, "partition", 0);
    }
  }
  const retention = ensureObject(spec, "persistentVolumeClaimRetentionPolicy");
  if (retention !== undefined) {
    fillText(retention, "whenDeleted", "Retain");
    fillText(retention, "whenScaled", "Retain");
  }
  fill(spec, "replicas", 1);
  fill(spec, "revisionHistoryLimit", 10);
  return statefulSet;
}

/** Decode-time defaults of a DaemonSet, in place. Returns the same object. */
export function defaultDaemonSet<T extends DaemonSet>(daemonSet: T): T {
  const spec = specOf(daemonSet);
  if (spec === undefined) return daemonSet;
  const strategy = ensureObject(spec, "updateStrategy");
  if (strategy !== undefined) {
    fillText(strategy, "type", "RollingUpdate");
    if (strategy.type === "RollingUpdate") {
      const rollingUpdate = ensureObject(strategy, "rollingUpdate");
      if (rollingUpdate !== undefined) {
        fill(rollingUpdate, "maxUnavailable", 1);
        fill(rollingUpdate, "maxSurge", 0);
      }
    }
  }
  fill(spec, "revisionHistoryLimit", 10);
  return daemonSet;
}

/** Decode-time defaults of a CronJob, in place. Returns the same object. */
export function defaultCronJob<T extends object>(cronJob: T): T {
  const spec = specOf(cronJob);
  if (spec === undefined) return cronJob;
  fillText(spec, "concurrencyPolicy", "Allow");
  fill(spec, "suspend", false);
  fill(spec, "successfulJobsHistoryLimit", 3);
  fill(spec, "failedJobsHistoryLimit", 1);
  const template = pathOf(spec, "jobTemplate", "spec", "template");
  if (isJsonObject(template)) defaultPodTemplate(template as never);
  return cronJob;
}

/** Decode-time defaults of a Job, in place. Labels of the template become the Job's when it has none. Returns the same object. */
export function defaultJob<T extends Job>(job: T): T {
  const spec = specOf(job);
  if (spec === undefined) return job;
  if (spec.completions === undefined || spec.completions === null) {
    if (spec.parallelism === undefined || spec.parallelism === null) spec.completions = 1;
  }
  fill(spec, "parallelism", 1);
  fill(spec, "backoffLimit", spec.backoffLimitPerIndex === undefined ? 6 : 2147483647);
  fill(spec, "completionMode", "NonIndexed");
  fill(spec, "suspend", false);
  fill(spec, "podReplacementPolicy", isJsonObject(spec.podFailurePolicy) ? "Failed" : "TerminatingOrFailed");
  const labels = objectOf(pathOf(spec, "template", "metadata", "labels"));
  const metadata = ensureObject(job as JsonObject, "metadata");
  if (metadata !== undefined && Object.keys(labels).length > 0 && Object.keys(objectOf(metadata.labels)).length === 0) {
    metadata.labels = { ...labels };
  }
  return job;
}
