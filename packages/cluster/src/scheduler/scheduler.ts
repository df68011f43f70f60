import {
  ApiError,
  type Clock,
  createExponentialRateLimiter,
  createWorkQueue,
  type InformerFactory,
  type KubernetesApi,
  objectKey,
  type ReconcileFailure,
  runController,
  splitObjectKey,
  systemClock,
} from "@portolan/client";
import {
  type Condition,
  type KubernetesObject,
  type Node,
  type Pod,
  type ResourceType,
  resources,
} from "@portolan/core";
import type { EventSink } from "../workloads/event-sink.ts";
import { findCondition } from "../workloads/pod-state.ts";
import { schedulePod } from "./schedule.ts";

/** Options of {@link createScheduler}. */
export interface SchedulerOptions {
  readonly api: KubernetesApi;
  readonly informers: InformerFactory;
  readonly clock?: Clock;
  readonly events?: EventSink;
  /** Pods with another `schedulerName` are left alone. Default `default-scheduler`. */
  readonly name?: string;
  /** Told about failures; the pod is tried again. */
  readonly onError?: (error: unknown, failure: ReconcileFailure<string>) => void;
}

/** Assigns pods to nodes. `run` resolves when `signal` has fired and the last binding is done. */
export interface Scheduler {
  run(signal: AbortSignal): Promise<void>;
}

/** `pods/binding` takes a Binding, which is no kind of its own in the API. */
interface Binding extends KubernetesObject {
  readonly target: { readonly apiVersion: "v1"; readonly kind: "Node"; readonly name: string };
}

/** `pods/NAME/binding`: creating there assigns the pod. */
function bindingOf(pod: string): ResourceType {
  return {
    group: "",
    version: "v1",
    apiVersion: "v1",
    kind: "Binding",
    resource: `pods/${encodeURIComponent(pod)}/binding`,
    namespaced: true,
  };
}

/**
 * Assigns each pod without a node to one that can take it. A pod that fits nowhere gets the condition `PodScheduled: False` and is
 * tried again when nodes or pods change. Events: Scheduled, FailedScheduling.
 */
export function createScheduler(options: SchedulerOptions): Scheduler {
  const { api, informers, clock = systemClock, events, name: own = "default-scheduler" } = options;
  const pods = informers.informer<Pod>(resources.pods);
  const nodes = informers.informer<Node>(resources.nodes);
  const queue = createWorkQueue({ clock, rateLimiter: createExponentialRateLimiter({ initial: 10, maximum: 10_000 }) });
  /** Bound by us, not yet shown by the informer: pod UID → node. */
  const assumed = new Map<string, string>();
  const waiting = new Set<string>();

  function isPending(pod: Pod): boolean {
    return (
      (pod.spec?.nodeName ?? "") === "" &&
      pod.metadata.deletionTimestamp === undefined &&
      (pod.spec?.schedulerName ?? "default-scheduler") === own &&
      pod.status?.phase !== "Succeeded" &&
      pod.status?.phase !== "Failed"
    );
  }

  function retryWaiting(): void {
    for (const key of waiting) queue.add(key);
  }

  function currentPods(): Pod[] {
    return pods.lister.list().map((pod) => {
      const nodeName = assumed.get(pod.metadata.uid ?? "");
      if (nodeName === undefined || (pod.spec?.nodeName ?? "") !== "") return pod;
      return { ...pod, spec: { ...(pod.spec ?? { containers: [] }), nodeName } };
    });
  }

  async function refuse(pod: Pod, reason: string, message: string): Promise<void> {
    const { name = "", namespace = "default", uid } = pod.metadata;
    const time = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, "Z");
    const old = findCondition(pod.status?.conditions, "PodScheduled");
    if (old?.reason === reason && old.message === message) return;
    const condition: Condition = {
      type: "PodScheduled",
      status: "False",
      reason,
      message,
      lastProbeTime: null,
      lastTransitionTime: old?.status === "False" ? (old.lastTransitionTime ?? time) : time,
    };
    await api.patch(
      resources.pods,
      { name, namespace, subresource: "status" },
      { metadata: { uid }, status: { conditions: [condition] } },
      { patchType: "application/strategic-merge-patch+json" },
    );
  }

  async function reconcile(key: string): Promise<void> {
    const { namespace = "default", name } = splitObjectKey(key);
    const pod = pods.lister.get(namespace, name);
    const uid = pod?.metadata.uid ?? "";
    if (pod === undefined || !isPending(pod) || assumed.has(uid)) {
      waiting.delete(key);
      return;
    }
    if ((pod.spec?.schedulingGates?.length ?? 0) > 0) {
      await refuse(pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates");
      return;
    }
    const result = schedulePod(pod, { nodes: nodes.lister.list(), pods: currentPods() });
    if (result.node === undefined) {
      waiting.add(key);
      const old = findCondition(pod.status?.conditions, "PodScheduled");
      if (old?.message !== result.message) {
        events?.event(pod, "Warning", "FailedScheduling", result.message, resources.pods);
      }
      await refuse(pod, "Unschedulable", result.message);
      return;
    }
    waiting.delete(key);
    assumed.set(uid, result.node);
    try {
      const binding: Binding = {
        apiVersion: "v1",
        kind: "Binding",
        metadata: { name, namespace, uid },
        target: { apiVersion: "v1", kind: "Node", name: result.node },
      };
      await api.create(bindingOf(name), binding);
    } catch (error) {
      assumed.delete(uid);
      if (error instanceof ApiError && (error.statusCode === 404 || error.statusCode === 409)) return;
      throw error;
    }
    const text = `Successfully assigned ${namespace}/${name} to ${result.node}`;
    events?.event(pod, "Normal", "Scheduled", text, resources.pods);
  }

  return {
    async run(signal) {
      const removers = [
        pods.addHandler({
          add(pod) {
            if (isPending(pod)) queue.add(objectKey(pod));
          },
          update(_, pod) {
            if (isPending(pod)) queue.add(objectKey(pod));
            else {
              if ((pod.spec?.nodeName ?? "") !== "") assumed.delete(pod.metadata.uid ?? "");
              waiting.delete(objectKey(pod));
              if (pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed") retryWaiting();
            }
          },
          delete(pod) {
            assumed.delete(pod.metadata.uid ?? "");
            waiting.delete(objectKey(pod));
            retryWaiting();
          },
        }),
        nodes.addHandler({
          add: retryWaiting,
          update(old, node) {
            // Heartbeats change nothing that matters here.
            const facts = ({ metadata, spec, status }: Node): string =>
              JSON.stringify([metadata.labels, spec?.taints, spec?.unschedulable, status?.allocatable]);
            if (facts(old) !== facts(node)) retryWaiting();
          },
          delete: retryWaiting,
        }),
      ];
      informers.start(signal);
      await Promise.all([pods.synced(signal), nodes.synced(signal)]).catch(() => undefined);
      // One at a time: each decision must see the ones before.
      await runController({
        name: "scheduler",
        queue,
        reconcile: (key) => reconcile(key),
        workers: 1,
        signal,
        ...(options.onError === undefined ? {} : { onError: options.onError }),
      });
      for (const remove of removers) remove();
    },
  };
}
