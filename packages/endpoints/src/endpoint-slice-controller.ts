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
import { type AddressType, type EndpointSlice, type Node, type Pod, resources, type Service } from "@portolan/core";
import { createEndpointCache } from "./endpoint-cache.ts";
import {
  type EndpointController,
  type EndpointControllerOptions,
  longestRetryDelay,
  runEndpointController,
  StaleCacheError,
} from "./endpoint-controller.ts";
import { hasSelector } from "./pod-endpoints.ts";
import { reconcileEndpointSlices } from "./reconcile-endpoint-slices.ts";
import {
  podIndexes,
  podsOf,
  serviceIndexes,
  serviceKeyOf,
  servicesOf,
  servicesTouched,
  sliceIndexes,
} from "./service-pods.ts";
import { createSliceTracker } from "./slice-tracker.ts";
import { type ZoneShares, zoneSharesOf, zonesOverloaded } from "./topology-hints.ts";
import { createTriggerTimeTracker } from "./trigger-time.ts";
import { endpointSliceControllerName, sliceManagedByLabel } from "./well-known.ts";

/** Options of {@link createEndpointSliceController}. */
export interface EndpointSliceControllerOptions extends EndpointControllerOptions {
  /** Endpoints per slice, at most. Default 100; the API allows 1000. */
  readonly maximumEndpointsPerSlice?: number;
}

/**
 * Keeps the EndpointSlices of Services with a selector equal to their pods. (upstream `pkg/controller/endpointslice`)
 *
 * A change of a pod is written as soon as the API answers; retries wait 1 s, doubling to 100 s. Events about Services come from
 * `endpoint-slice-controller`.
 */
export function createEndpointSliceController(
  api: KubernetesApi,
  options: EndpointSliceControllerOptions = {},
): EndpointController {
  const clock = options.clock ?? systemClock;
  const informers = options.informers ?? createInformerFactory(api, { clock });
  const services = informers.informer<Service>(resources.services, { indexes: serviceIndexes });
  const pods = informers.informer<Pod>(resources.pods, { indexes: podIndexes });
  const nodes = informers.informer<Node>(resources.nodes);
  const slices = informers.informer<EndpointSlice>(resources.endpointSlices, { indexes: sliceIndexes });
  const queue = createWorkQueue({
    clock,
    rateLimiter: createExponentialRateLimiter({ initial: 1_000, maximum: longestRetryDelay }),
  });
  const tracker = createSliceTracker();
  const triggerTimes = createTriggerTimeTracker();
  const cache = createEndpointCache();
  const batchPeriod = options.batchPeriod ?? 0;
  // Services whose sync waits for the cache, and those with pods on nodes that are not known yet.
  const behind = new Set<string>();
  const missingNodes = new Map<string, Set<string>>();
  const hinted = new Map<string, ReadonlyMap<AddressType, ReadonlyMap<string, number>>>();
  let zoneShares: ZoneShares;
  let sharesKnown = false;

  function isOurs(slice: EndpointSlice): boolean {
    return slice.metadata.labels?.[sliceManagedByLabel] === endpointSliceControllerName;
  }

  function slicesOf(key: string): EndpointSlice[] {
    return slices.lister.byIndex("service", key).filter(isOurs);
  }

  function currentShares(): ZoneShares {
    if (!sharesKnown) {
      zoneShares = zoneSharesOf(nodes.lister.list());
      sharesKnown = true;
    }
    return zoneShares;
  }

  function caughtUp(key: string): void {
    if (behind.has(key) && !tracker.isStale(key, slicesOf(key))) {
      behind.delete(key);
      queue.add(key);
    }
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

  function nodesChanged(): void {
    sharesKnown = false;
    if (hinted.size === 0) return;
    const shares = currentShares();
    for (const [key, families] of hinted)
      if ([...families.values()].some((allocated) => zonesOverloaded(allocated, shares))) queue.add(key);
  }

  function watch(): (() => void)[] {
    const addAll = (keys: Iterable<string>): void => {
      for (const key of keys) queue.addAfter(key, batchPeriod);
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
      nodes.addHandler({
        add: (node) => {
          for (const key of missingNodes.get(node.metadata.name ?? "") ?? []) queue.add(key);
          nodesChanged();
        },
        update: nodesChanged,
        delete: nodesChanged,
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
      options.events ?? createEventRecorder({ api, component: "endpoint-slice-controller", clock, signal: ending });

    async function write(key: string, service: Service, signal: AbortSignal): Promise<void> {
      const present = slicesOf(key);
      if (tracker.isStale(key, present)) {
        behind.add(key);
        throw new StaleCacheError(`EndpointSlices of ${key} in the cache are older than those written`);
      }
      behind.delete(key);
      const selected = podsOf(service, pods.lister);
      const changes = reconcileEndpointSlices({
        service,
        pods: selected,
        node: (name) => nodes.lister.get(undefined, name),
        existing: present,
        triggerTime: triggerTimes.next(service, selected),
        zoneShares: currentShares(),
        topologyHintsEnabled: hinted.has(key),
        cache,
        ...(options.maximumEndpointsPerSlice === undefined
          ? {}
          : { maximumEndpointsPerSlice: options.maximumEndpointsPerSlice }),
      });
      if (changes.topologyHintsEnabled) hinted.set(key, changes.allocatedHints);
      else hinted.delete(key);
      for (const event of changes.events)
        recorder.event(service, event.type, event.reason, event.message, resources.services);

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

      for (const waiting of missingNodes.values()) waiting.delete(key);
      for (const { nodeName } of changes.skipped) {
        const waiting = missingNodes.get(nodeName) ?? new Set<string>();
        missingNodes.set(nodeName, waiting.add(key));
      }
      for (const [name, waiting] of missingNodes) if (waiting.size === 0) missingNodes.delete(name);
      const [first] = changes.skipped;
      if (first !== undefined)
        throw new Error(
          `skipping Pod ${first.pod.metadata.name} for Service ${key}: Node ${first.nodeName || "(none)"} Not Found`,
        );
    }

    async function reconcile(key: string, signal: AbortSignal): Promise<void> {
      const { namespace, name } = splitObjectKey(key);
      const service = services.lister.get(namespace, name);
      if (service === undefined) {
        // Slices of a deleted Service are left to the garbage collector, which knows its UID.
        tracker.forget(key);
        triggerTimes.forget(key);
        hinted.delete(key);
        behind.delete(key);
        for (const waiting of missingNodes.values()) waiting.delete(key);
        return;
      }
      if (service.spec?.type === "ExternalName" || !hasSelector(service)) return;
      try {
        await write(key, service, signal);
      } catch (error) {
        if (!(error instanceof StaleCacheError) && !signal.aborted) {
          const text = error instanceof Error ? error.message : String(error);
          const message = `Error updating Endpoint Slices for Service ${key}: ${text}`;
          recorder.event(service, "Warning", "FailedToUpdateEndpointSlices", message, resources.services);
        }
        throw error;
      }
    }

    await runEndpointController(
      {
        name: "endpoint-slice",
        options,
        queue,
        factory: informers,
        informers: [services, pods, nodes, slices],
        watch,
        reconcile,
      },
      ending,
    );
  }

  return { run, metrics: () => queue.metrics() };
}
