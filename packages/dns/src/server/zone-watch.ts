import { createInformer, type KubernetesApi } from "@portolan/client";
import { type KubernetesObject, type ResourceType, resources } from "@portolan/core";
import type { ClusterZone } from "../zone/cluster-zone.ts";

/** Keeps a zone equal to the objects of an API. */
export interface ZoneWatch {
  /** Resolves when every list has been stored in the zone; rejects when stopped before. */
  readonly synced: Promise<void>;
  /** Kinds whose first list is not complete. */
  pending(): string[];
  stop(): void;
}

/**
 * Watches Services, EndpointSlices and Namespaces, and Pods when the zone verifies them, and feeds the zone. Until all first lists are complete
 * the zone answers SERVFAIL, not NXDOMAIN, for what it does not know. Afterwards it keeps the last state for as long as the API is away.
 */
export function watchZone(api: KubernetesApi, zone: ClusterZone, onError: (error: unknown) => void): ZoneWatch {
  const abort = new AbortController();
  const kinds: [ResourceType, string | undefined][] = [
    [resources.namespaces, undefined],
    [resources.services, undefined],
    [resources.endpointSlices, undefined],
  ];
  if (zone.podMode === "verified")
    kinds.push([resources.pods, "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"]);
  zone.synced = false;
  const pending = new Set<string>();
  const all = kinds.map(([type, fieldSelector]) => {
    const informer = createInformer<KubernetesObject>(api, type, {
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
      onError: (error) => onError(error),
    });
    const { kind } = type;
    pending.add(kind);
    informer.addHandler({
      add: (object) => zone.apply(object, kind),
      update: (_old, object) => zone.apply(object, kind),
      delete: (object) => zone.remove(object, kind),
    });
    informer.start(abort.signal);
    return informer.synced(abort.signal).then(() => pending.delete(kind));
  });
  const synced = Promise.all(all).then(() => {
    zone.synced = true;
  });
  synced.catch(() => undefined);
  return { synced, pending: () => [...pending], stop: () => abort.abort() };
}
