import {
  createEventRecorder,
  createExponentialRateLimiter,
  createInformerFactory,
  createWorkQueue,
  isNamespaceTerminating,
  isNotFound,
  type KubernetesApi,
  objectKey,
  splitObjectKey,
  systemClock,
} from "@portolan/client";
import { type Endpoints, type Pod, resources, type Service } from "@portolan/core";
import {
  type EndpointController,
  type EndpointControllerOptions,
  longestRetryDelay,
  runEndpointController,
  StaleCacheError,
} from "./endpoint-controller.ts";
import { hasSelector } from "./pod-endpoints.ts";
import { reconcileEndpoints } from "./reconcile-endpoints.ts";
import { podIndexes, podsOf, serviceIndexes, servicesOf, servicesTouched } from "./service-pods.ts";
import { createTriggerTimeTracker } from "./trigger-time.ts";
import { endpointsControllerName, endpointsManagedByLabel } from "./well-known.ts";

/**
 * Keeps the Endpoints of Services with a selector equal to their pods. (upstream `pkg/controller/endpoint`)
 *
 * Endpoints edited by hand are put right when something else changes, deleted ones at once. Retries wait 5 ms, doubling. Events about
 * Endpoints come from `endpoint-controller`.
 */
export function createEndpointsController(
  api: KubernetesApi,
  options: EndpointControllerOptions = {},
): EndpointController {
  const clock = options.clock ?? systemClock;
  const informers = options.informers ?? createInformerFactory(api, { clock });
  const services = informers.informer<Service>(resources.services, { indexes: serviceIndexes });
  const pods = informers.informer<Pod>(resources.pods, { indexes: podIndexes });
  const endpoints = informers.informer<Endpoints>(resources.endpoints);
  const queue = createWorkQueue({
    clock,
    rateLimiter: createExponentialRateLimiter({ initial: 5, maximum: longestRetryDelay }),
  });
  const triggerTimes = createTriggerTimeTracker();
  const batchPeriod = options.batchPeriod ?? 0;
  // resourceVersions that updates have replaced: in the cache they mean that it has not caught up.
  const replaced = new Map<string, string>();
  const behind = new Set<string>();

  function watch(): (() => void)[] {
    const addAll = (keys: Iterable<string>): void => {
      for (const key of keys) queue.addAfter(key, batchPeriod);
    };
    const caughtUp = (object: Endpoints): void => {
      if (behind.delete(objectKey(object))) queue.add(objectKey(object));
    };
    return [
      services.addHandler({
        add: (service) => queue.add(objectKey(service)),
        update: (_, service) => queue.add(objectKey(service)),
        delete: (service) => queue.add(objectKey(service)),
      }),
      pods.addHandler({
        add: (pod) => addAll(servicesOf(pod, services.lister)),
        update: (old, pod) => addAll(servicesTouched(old, pod, services.lister)),
        delete: (pod) => addAll(servicesOf(pod, services.lister)),
      }),
      endpoints.addHandler({
        add: caughtUp,
        update: (_, object) => caughtUp(object),
        delete: (object) => {
          replaced.delete(objectKey(object));
          queue.add(objectKey(object));
        },
      }),
    ];
  }

  /** Endpoints whose Service went while nobody looked: their keys are queued, and the sync deletes them. */
  function queueLeftovers(): void {
    for (const object of endpoints.lister.list())
      if (object.metadata.labels?.[endpointsManagedByLabel] === endpointsControllerName) queue.add(objectKey(object));
  }

  async function run(ending: AbortSignal): Promise<void> {
    const recorder =
      options.events ?? createEventRecorder({ api, component: "endpoint-controller", clock, signal: ending });

    async function reconcile(key: string, signal: AbortSignal): Promise<void> {
      const { namespace, name } = splitObjectKey(key);
      const service = services.lister.get(namespace, name);
      const existing = endpoints.lister.get(namespace, name);
      if (service === undefined) {
        triggerTimes.forget(key);
        replaced.delete(key);
        behind.delete(key);
        // Only the ones this controller made: hand-made ones may wait for their Service.
        if (existing?.metadata.labels?.[endpointsManagedByLabel] !== endpointsControllerName) return;
        const { uid } = existing.metadata;
        await api
          .delete(
            resources.endpoints,
            { name, ...(namespace === undefined ? {} : { namespace }) },
            { signal, ...(uid === undefined ? {} : { preconditions: { uid } }) },
          )
          .catch((error: unknown) => {
            if (!isNotFound(error)) throw error;
          });
        return;
      }
      if (service.spec?.type === "ExternalName" || !hasSelector(service)) return;
      if (existing !== undefined && replaced.get(key) === existing.metadata.resourceVersion) {
        behind.add(key);
        throw new StaleCacheError(`Endpoints ${key} in the cache are older than those written`);
      }
      behind.delete(key);
      const selected = podsOf(service, pods.lister);
      const change = reconcileEndpoints({
        service,
        pods: selected,
        existing,
        triggerTime: triggerTimes.next(service, selected),
      });
      if (change.action === "none") return;
      try {
        if (change.action === "create") await api.create<Endpoints>(resources.endpoints, change.endpoints, { signal });
        else {
          const updated = await api.update<Endpoints>(resources.endpoints, change.endpoints, { signal });
          const before = existing?.metadata.resourceVersion;
          if (before !== undefined && updated.metadata.resourceVersion !== before) replaced.set(key, before);
        }
      } catch (error) {
        if (change.action === "create" && isNamespaceTerminating(error)) return;
        const text = error instanceof Error ? error.message : String(error);
        const [reason, message] =
          change.action === "create"
            ? ["FailedToCreateEndpoint", `Failed to create endpoint for service ${key}: ${text}`]
            : ["FailedToUpdateEndpoint", `Failed to update endpoint ${key}: ${text}`];
        if (!signal.aborted) recorder.event(change.endpoints, "Warning", reason!, message!);
        throw error;
      }
    }

    await runEndpointController(
      {
        name: "endpoint",
        options,
        queue,
        factory: informers,
        informers: [services, pods, endpoints],
        watch,
        synced: queueLeftovers,
        reconcile,
      },
      ending,
    );
  }

  return { run, metrics: () => queue.metrics() };
}
