import { objectKey } from "@portolan/client";
import type { Pod, Service } from "@portolan/core";

/** Remembers, per Service, when its pods last changed, to tell what made a sync necessary. */
export interface TriggerTimeTracker {
  /**
   * RFC 3339 time of the earliest change since the last call: of a pod's Ready condition, or the Service's creation. Undefined when
   * nothing with a time changed (labels and ports have none).
   */
  next(service: Service, pods: readonly Pod[]): string | undefined;
  forget(key: string): void;
}

function timeOf(text: string | null | undefined): number {
  const time = text ? Date.parse(text) : Number.NaN;
  return Number.isNaN(time) ? 0 : time;
}

/** Makes a {@link TriggerTimeTracker}. (upstream `endpointslice/util` TriggerTimeTracker) */
export function createTriggerTimeTracker(): TriggerTimeTracker {
  const services = new Map<string, { created: number; pods: Map<string, number> }>();
  // Objects of a cache are not modified: one has one time.
  const times = new WeakMap<Pod, number>();
  const readyTimeOf = (pod: Pod): number => {
    let time = times.get(pod);
    if (time === undefined) {
      time = timeOf(pod.status?.conditions?.find((condition) => condition.type === "Ready")?.lastTransitionTime);
      times.set(pod, time);
    }
    return time;
  };
  return {
    next(service, pods) {
      const key = objectKey(service);
      const before = services.get(key);
      const now = { created: timeOf(service.metadata.creationTimestamp), pods: new Map<string, number>() };
      let earliest = Number.POSITIVE_INFINITY;
      for (const pod of pods) {
        const time = readyTimeOf(pod);
        if (time === 0) continue;
        const name = pod.metadata.name ?? "";
        now.pods.set(name, time);
        if (time > (before?.pods.get(name) ?? 0)) earliest = Math.min(earliest, time);
      }
      if (now.created > (before?.created ?? 0)) earliest = Math.min(earliest, now.created);
      services.set(key, now);
      return earliest === Number.POSITIVE_INFINITY
        ? undefined
        : new Date(earliest).toISOString().replace(/\.000Z$/, "Z");
    },
    forget: (key) => void services.delete(key),
  };
}
