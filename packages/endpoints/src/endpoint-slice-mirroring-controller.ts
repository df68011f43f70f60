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
import { type EndpointSlice, type Endpoints, resources, type Service } from "@portolan/core";
import {
  type EndpointController,
  type EndpointControllerOptions,
  longestRetryDelay,
  runEndpointController,
  StaleCacheError,
} from "./endpoint-controller.ts";
import { hasSelector } from "./pod-endpoints.ts";
import { isMirrorable, reconcileMirroredSlices } from "./reconcile-mirrored-slices.ts";
import { serviceKeyOf, sliceIndexes } from "./service-pods.ts";
import { createSliceTracker } from "./slice-tracker.ts";
import { mirroringControllerName, sliceManagedByLabel } from "./well-known.ts";

/** Options of {@link createEndpointSliceMirroringController}. */
export interface EndpointSliceMirroringControllerOptions extends EndpointControllerOptions {
  /** Addresses per Endpoints subset, at most. Default 1000. */
  readonly maximumEndpointsPerSubset?: number;
}

/**
 * Shows hand-written Endpoints as EndpointSlices, for Services without a selector. (KEP-2091; upstream
 * `pkg/controller/endpointslicemirroring`)
 *
 * Retries wait 1 s, doubling to 100 s. Events about Endpoints come from `endpoint-slice-mirroring-controller`.
 */
export function createEndpointSliceMirroringController(
  api: KubernetesApi,
  options: EndpointSliceMirroringControllerOptions = {},
): EndpointController {
  const clock = options.clock ?? systemClock;
  const informers = options.informers ?? createInformerFactory(api, { clock });
  const services = informers.informer<Service>(resources.services);
  const endpoints = informers.informer<Endpoints>(resources.endpoints);
  const slices = informers.informer<EndpointSlice>(resources.endpointSlices, { indexes: sliceIndexes });
  const queue = createWorkQueue({
    clock,
    rateLimiter: createExponentialRateLimiter({ initial: 1_000, maximum: longestRetryDelay }),
  });
  const tracker = createSliceTracker();
  const batchPeriod = options.batchPeriod ?? 0;
  const behind = new Set<string>();

  function isOurs(slice: EndpointSlice): boolean {
    return slice.metadata.labels?.[sliceManagedByLabel] === mirroringControllerName;
  }

  function slicesOf(key: string): EndpointSlice[] {
    return slices.lister.byIndex("service", key).filter(isOurs);
  }

  function sliceChanged(old: EndpointSlice | undefined, slice: EndpointSlice): void {
    const key = serviceKeyOf(slice);
    const oldKey = old === undefined ? key : serviceKeyOf(old);
    if (key !== oldKey) {
      for (const one of [key, oldKey]) if (one !== undefined) queue.add(one);
      return;
    }
    if (key === undefined) return;
    const changedHands = old !== undefined && isOurs(old) !== isOurs(slice);
    if (changedHands || (isOurs(slice) && tracker.isNews(key, slice))) queue.add(key);
    caughtUp(key);
  }

  function caughtUp(key: string): void {
    if (behind.has(key) && !tracker.isStale(key, slicesOf(key))) {
      behind.delete(key);
      queue.add(key);
    }
  }

  function watch(): (() => void)[] {
    const addIf = (condition: boolean, object: Endpoints): void => {
      if (condition) queue.addAfter(objectKey(object), batchPeriod);
    };
    return [
      endpoints.addHandler({
        add: (object) => addIf(isMirrorable(object), object),
        update: (old, object) => addIf(isMirrorable(old) || isMirrorable(object), object),
        delete: (object) => addIf(isMirrorable(object), object),
      }),
      services.addHandler({
        add: (service) => queue.add(objectKey(service)),
        update: (old, service) => {
          if (hasSelector(old) !== hasSelector(service)) queue.add(objectKey(service));
        },
        delete: (service) => queue.add(objectKey(service)),
      }),
      slices.addHandler({
        add: (slice) => sliceChanged(undefined, slice),
        update: sliceChanged,
        delete: (slice) => {
          const key = serviceKeyOf(slice);
          if (key === undefined) return;
          if (isOurs(slice) && tracker.deleted(key, slice)) queue.add(key);
          caughtUp(key);
        },
      }),
    ];
  }

  async function run(ending: AbortSignal): Promise<void> {
    const recorder =
      options.events ??
      createEventRecorder({ api, component: "endpoint-slice-mirroring-controller", clock, signal: ending });

    async function reconcile(key: string, signal: AbortSignal): Promise<void> {
      const { namespace, name } = splitObjectKey(key);
      const object = endpoints.lister.get(namespace, name);
      const present = slicesOf(key);
      if (object !== undefined && tracker.isStale(key, present)) {
        behind.add(key);
        throw new StaleCacheError(`EndpointSlices of ${key} in the cache are older than those written`);
      }
      behind.delete(key);
      const changes = reconcileMirroredSlices({
        endpoints: object,
        service: services.lister.get(namespace, name),
        existing: present,
        ...(options.maximumEndpointsPerSubset === undefined
          ? {}
          : { maximumEndpointsPerSubset: options.maximumEndpointsPerSubset }),
      });
      if (object !== undefined)
        for (const event of changes.events)
          recorder.event(object, event.type, event.reason, event.message, resources.endpoints);
      for (const slice of changes.create) {
        try {
          tracker.wrote(key, await api.create<EndpointSlice>(resources.endpointSlices, slice, { signal }));
        } catch (error) {
          if (!isNamespaceTerminating(error)) throw error;
        }
      }
      for (const slice of changes.update)
        tracker.wrote(key, await api.update<EndpointSlice>(resources.endpointSlices, slice, { signal }));
      for (const slice of changes.delete) {
        tracker.deleting(key, slice);
        const path = { name: slice.metadata.name ?? "", namespace: slice.metadata.namespace ?? "" };
        await api.delete(resources.endpointSlices, path, { signal }).catch((error: unknown) => {
          if (isNotFound(error)) return;
          tracker.wrote(key, slice);
          throw error;
        });
      }
      if (object === undefined) tracker.forget(key);
    }

    await runEndpointController(
      {
        name: "endpoint-slice-mirroring",
        options,
        queue,
        factory: informers,
        informers: [services, endpoints, slices],
        watch,
        reconcile,
      },
      ending,
    );
  }

  return { run, metrics: () => queue.metrics() };
}
