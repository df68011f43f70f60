import {
  ApiError,
  type Clock,
  createExponentialRateLimiter,
  createWorkQueue,
  type Informer,
  type InformerFactory,
  isConflict,
  type KubernetesApi,
  objectKey,
  type ReconcileFailure,
  type ReconcileResult,
  runController,
  splitObjectKey,
  systemClock,
  type WorkQueue,
} from "@portolan/client";
import {
  type KubernetesObject,
  type LabelSelector,
  matchLabelSelector,
  type Pod,
  type ResourceType,
  resources,
} from "@portolan/core";
import type { EventSink } from "./event-sink.ts";
import { createExpectations } from "./expectations.ts";
import { isTerminating } from "./pod-state.ts";
import { controllerOf, controllerReference, semanticallyEqual } from "./pod-template.ts";

/** What every controller of workloads needs. */
export interface WorkloadControllerOptions {
  readonly api: KubernetesApi;
  /** Started by the caller, or by `run`. */
  readonly informers: InformerFactory;
  readonly clock?: Clock;
  readonly events?: EventSink;
  /** Keys in work at the same time. Default 5. */
  readonly workers?: number;
  /** Told about reconciliations that failed; they are tried again. */
  readonly onError?: (error: unknown, failure: ReconcileFailure<string>) => void;
}

/** A controller. `run` resolves when `signal` has fired and the last reconciliation has returned. */
export interface WorkloadController {
  readonly name: string;
  run(signal: AbortSignal): Promise<void>;
}

/** Index of pods and ReplicaSets by the UID of the controller that owns them. */
export const CONTROLLER_INDEX = "portolan/controller";
/** Index of pods without controller, by namespace. */
export const ORPHAN_INDEX = "portolan/orphan";

/** Index function of {@link CONTROLLER_INDEX}. */
export function controllerIndex(object: KubernetesObject): string[] {
  const owner = controllerOf(object);
  return owner === undefined ? [] : [owner.uid];
}

/** Index function of {@link ORPHAN_INDEX}. */
export function orphanIndex(object: KubernetesObject): string[] {
  return controllerOf(object) === undefined ? [object.metadata?.namespace ?? ""] : [];
}

/** The shared informer of pods with the indexes that controllers use. */
export function podInformer(informers: InformerFactory): Informer<Pod> {
  return informers.informer<Pod>(resources.pods, {
    indexes: { [CONTROLLER_INDEX]: controllerIndex, [ORPHAN_INDEX]: orphanIndex },
  });
}

/** A queue that tries failed keys again soon: on one machine a conflict is over in milliseconds. */
export function workloadQueue(clock: Clock): WorkQueue {
  return createWorkQueue({ clock, rateLimiter: createExponentialRateLimiter({ initial: 5, maximum: 60_000 }) });
}

/** What one pass does to the pods of a workload. */
export interface PodPlan {
  readonly create: readonly Pod[];
  readonly delete: readonly Pod[];
  readonly status: object;
  readonly recheckAfter?: number;
  /** True when the workload itself is to be deleted. */
  readonly expired?: boolean;
}

/** A failure to make or to delete pods. */
export interface PodFailure {
  readonly reason: "FailedCreate" | "FailedDelete";
  readonly message: string;
}

/** How a kind of workload decides and speaks. */
export interface PodWorkload<T extends KubernetesObject> {
  readonly name: string;
  readonly type: ResourceType;
  selector(object: T): LabelSelector | undefined;
  plan(object: T, pods: readonly Pod[], now: number): PodPlan;
  /** Done before the plan of an object that is not being deleted. */
  prepare?(object: T, pods: readonly Pod[]): Promise<void>;
  /** Status when making or deleting pods failed; `plan`'s when absent. */
  failed?(object: T, pods: readonly Pod[], now: number, failure: PodFailure): object;
  createdMessage?(object: T, pod: Pod): string;
  deletedMessage?(object: T, pod: Pod): string;
  /** Told after the status was written. */
  written?(before: T, status: object, events: EventSink): void;
}

interface Statused extends KubernetesObject {
  status?: object;
}

/** Writes a status when it differs from what the object has. */
export async function writeStatus<T extends Statused>(
  api: KubernetesApi,
  type: ResourceType,
  object: T,
  status: object,
  signal?: AbortSignal,
): Promise<boolean> {
  if (semanticallyEqual(object.status ?? {}, status)) return false;
  const next = { apiVersion: type.apiVersion, kind: type.kind, ...object, status };
  await api.update(type, next, { subresource: "status", ...(signal === undefined ? {} : { signal }) });
  return true;
}

/** True for answers that say the object is gone, or is another one by now. */
export function isGone(error: unknown): boolean {
  return error instanceof ApiError && error.statusCode === 404;
}

/** Deletes a pod if it is still the same. */
export async function deletePod(api: KubernetesApi, pod: Pod, signal?: AbortSignal): Promise<void> {
  const { name = "", namespace = "default", uid } = pod.metadata;
  await api.delete(
    resources.pods,
    { name, namespace },
    { ...(uid === undefined ? {} : { preconditions: { uid } }), ...(signal === undefined ? {} : { signal }) },
  );
}

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/**
 * The controller of a kind of workload that owns pods itself: keeps the pods as its plan says, takes over matching pods without
 * controller, lets go of those that no longer match, and writes the status.
 */
export function createPodController<T extends Statused>(
  workload: PodWorkload<T>,
  options: WorkloadControllerOptions & {
    readonly enqueueAllOn?: readonly Informer<KubernetesObject>[];
    /** Further informers that must have synced before the first plan. */
    readonly alsoSynced?: readonly Informer<KubernetesObject>[];
  },
): WorkloadController {
  const { api, informers, clock = systemClock, events } = options;
  const { type } = workload;
  const objects = informers.informer<T>(type);
  const pods = podInformer(informers);
  const queue = workloadQueue(clock);
  const expectations = createExpectations(() => clock.now());

  const enqueueOwner = (pod: Pod): void => {
    const owner = controllerOf(pod);
    if (owner === undefined) {
      for (const object of objects.lister.list(pod.metadata.namespace)) {
        if (matchLabelSelector(workload.selector(object), pod.metadata.labels)) queue.add(objectKey(object));
      }
    } else if (owner.kind === type.kind) queue.add(`${pod.metadata.namespace}/${owner.name}`);
  };
  const removers = [
    objects.addHandler({
      add: (object) => queue.add(objectKey(object)),
      update: (_, object) => queue.add(objectKey(object)),
      delete(object) {
        expectations.forget(objectKey(object));
        queue.add(objectKey(object));
      },
    }),
    pods.addHandler({
      add(pod) {
        expectations.observed(pod.metadata.uid ?? "");
        enqueueOwner(pod);
      },
      update(old, pod) {
        if (isTerminating(pod)) expectations.observed(pod.metadata.uid ?? "");
        if (controllerOf(old)?.uid !== controllerOf(pod)?.uid) enqueueOwner(old);
        enqueueOwner(pod);
      },
      delete(pod) {
        expectations.observed(pod.metadata.uid ?? "");
        enqueueOwner(pod);
      },
    }),
    ...(options.enqueueAllOn ?? []).map((informer) => {
      const all = (): void => {
        for (const object of objects.lister.list()) queue.add(objectKey(object));
      };
      return informer.addHandler({ add: all, update: all, delete: all });
    }),
  ];

  /** The pods that the object controls, after taking over orphans and letting go of strangers. */
  async function claim(object: T, signal: AbortSignal): Promise<Pod[]> {
    const selector = workload.selector(object);
    const { namespace = "default", uid = "" } = object.metadata ?? {};
    const result: Pod[] = [];
    const patch = (pod: Pod, ownerReferences: unknown): Promise<Pod> =>
      api.patch<Pod>(
        resources.pods,
        { name: pod.metadata.name ?? "", namespace },
        { metadata: { uid: pod.metadata.uid, resourceVersion: pod.metadata.resourceVersion, ownerReferences } },
        { patchType: "application/merge-patch+json", signal },
      );
    for (const pod of pods.lister.byIndex(CONTROLLER_INDEX, uid)) {
      if (selector === undefined || matchLabelSelector(selector, pod.metadata.labels) || isTerminating(object)) {
        result.push(pod);
        continue;
      }
      const rest = pod.metadata.ownerReferences?.filter((reference) => reference.uid !== uid) ?? [];
      await patch(pod, rest).catch((error: unknown) => {
        if (!isGone(error)) throw error;
      });
    }
    if (selector === undefined || isTerminating(object)) return result;
    for (const pod of pods.lister.byIndex(ORPHAN_INDEX, namespace)) {
      if (isTerminating(pod) || !matchLabelSelector(selector, pod.metadata.labels)) continue;
      const references = [...(pod.metadata.ownerReferences ?? []), controllerReference(object, type)];
      try {
        result.push(await patch(pod, references));
      } catch (error) {
        if (!isGone(error)) throw error;
      }
    }
    return result;
  }

  async function createPods(object: T, key: string, wanted: readonly Pod[], signal: AbortSignal): Promise<void> {
    // Small batches first: when the server refuses one pod it refuses all, and must not be asked hundreds of times.
    for (let start = 0, size = 1; start < wanted.length; start += size, size *= 2) {
      const results = await Promise.allSettled(
        wanted.slice(start, start + size).map(async (pod) => {
          const created = await api.create<Pod>(resources.pods, pod, { signal });
          const { namespace, name = "", uid = "" } = created.metadata;
          if (pods.lister.get(namespace, name)?.metadata.uid !== uid) expectations.expectCreation(key, uid);
          const text = workload.createdMessage?.(object, created) ?? `Created pod: ${name}`;
          events?.event(object, "Normal", "SuccessfulCreate", text, type);
        }),
      );
      const failed = results.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    }
  }

  async function deletePods(object: T, key: string, unwanted: readonly Pod[], signal: AbortSignal): Promise<void> {
    await Promise.all(
      unwanted.map(async (pod) => {
        const uid = pod.metadata.uid ?? "";
        expectations.expectDeletion(key, uid);
        try {
          await deletePod(api, pod, signal);
          const known = pods.lister.get(pod.metadata.namespace, pod.metadata.name ?? "");
          if (known?.metadata.uid !== uid || isTerminating(known)) expectations.observed(uid);
        } catch (error) {
          expectations.observed(uid);
          if (isGone(error)) return;
          throw error;
        }
        const text = workload.deletedMessage?.(object, pod) ?? `Deleted pod: ${pod.metadata.name}`;
        events?.event(object, "Normal", "SuccessfulDelete", text, type);
      }),
    );
  }

  async function reconcile(key: string, signal: AbortSignal): Promise<{ requeueAfter?: number }> {
    const { namespace, name } = splitObjectKey(key);
    const object = objects.lister.get(namespace, name);
    if (object === undefined) return {};
    const owned = await claim(object, signal);
    if (!isTerminating(object)) await workload.prepare?.(object, owned);
    const plan = workload.plan(object, owned, clock.now());
    if (plan.expired === true) {
      await api
        .delete(type, { name, ...(namespace === undefined ? {} : { namespace }) }, { propagationPolicy: "Background" })
        .catch((error: unknown) => {
          if (!isGone(error)) throw error;
        });
      return {};
    }
    let failure: PodFailure | undefined;
    let thrown: unknown;
    if (expectations.satisfied(key)) {
      try {
        await createPods(object, key, plan.create, signal);
      } catch (error) {
        thrown = error;
        failure = { reason: "FailedCreate", message: message(error) };
        events?.event(object, "Warning", "FailedCreate", `Error creating: ${message(error)}`, type);
      }
      try {
        await deletePods(object, key, plan.delete, signal);
      } catch (error) {
        thrown = error;
        failure = { reason: "FailedDelete", message: message(error) };
        events?.event(object, "Warning", "FailedDelete", `Error deleting: ${message(error)}`, type);
      }
    }
    const status =
      failure === undefined ? plan.status : (workload.failed?.(object, owned, clock.now(), failure) ?? plan.status);
    if ((await writeStatus(api, type, object, status, signal)) && events !== undefined) {
      workload.written?.(object, status, events);
    }
    if (thrown !== undefined && !isNamespaceTerminating(thrown)) throw thrown;
    return plan.recheckAfter === undefined ? {} : { requeueAfter: plan.recheckAfter + 50 };
  }

  return {
    name: workload.name,
    async run(signal) {
      informers.start(signal);
      const needed = [objects, pods, ...(options.alsoSynced ?? []), ...(options.enqueueAllOn ?? [])];
      await Promise.all(needed.map((informer) => informer.synced(signal))).catch(() => undefined);
      await runReconciler(workload.name, queue, reconcile, options, signal);
      for (const remove of removers) remove();
    },
  };
}

/** Conflicts of a key in a row that are nobody's trouble: another controller wrote in between, and its event is on the way. */
const expectedConflicts = 5;

/**
 * Reconciles keys until `signal` fires. Errors about an object that has just gone need no second try: its deletion is an event of its
 * own. A conflict gets one, and is told only when it comes again and again.
 */
export async function runReconciler(
  name: string,
  queue: WorkQueue,
  reconcile: (key: string, signal: AbortSignal) => Promise<ReconcileResult>,
  { workers = 5, onError }: WorkloadControllerOptions,
  signal: AbortSignal,
): Promise<void> {
  await runController({
    name,
    queue,
    async reconcile(key, stop) {
      try {
        return await reconcile(key, stop);
      } catch (error) {
        if (isGone(error)) return undefined;
        throw error;
      }
    },
    workers,
    signal,
    onError(error, failure) {
      if (!isConflict(error) || failure.attempt > expectedConflicts) onError?.(error, failure);
    },
  });
}

function isNamespaceTerminating(error: unknown): boolean {
  return error instanceof ApiError && error.causes.some((cause) => cause.reason === "NamespaceTerminating");
}
