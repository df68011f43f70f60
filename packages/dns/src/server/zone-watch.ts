import { createInformer, type KubernetesApi } from "@portolan/client";
import { type KubernetesObject, type ResourceType, resources, type Service } from "@portolan/core";
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
 * Watches Services, EndpointSlices and Namespaces, and Pods when the zone verifies them, and feeds the zone.
 * `onProgrammed` is told how long ago the change was that an EndpointSlice brought (annotation
 * `endpoints.kubernetes.io/last-change-trigger-time`). Until all first lists are complete
 * the zone answers SERVFAIL, not NXDOMAIN, for what it does not know. Afterwards it keeps the last state for as long as the API is away.
 */
export function watchZone(
  api: KubernetesApi,
  zone: ClusterZone,
  onError: (error: unknown) => void,
  onProgrammed?: (kind: "cluster_ip" | "headless_with_selector", seconds: number) => void,
): ZoneWatch {
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
  let service: (namespace: string, name: string) => Service | undefined = () => undefined;
  const programmed = (object: KubernetesObject): void => {
    const { annotations, labels, namespace } = object.metadata ?? {};
    const changed = Date.parse(annotations?.["endpoints.kubernetes.io/last-change-trigger-time"] ?? "");
    if (onProgrammed === undefined || !zone.synced || Number.isNaN(changed)) return;
    const spec = service(namespace ?? "", labels?.["kubernetes.io/service-name"] ?? "")?.spec;
    if (spec === undefined) return;
    const headless = (spec.clusterIP ?? spec.clusterIPs?.[0]) === "None";
    if (headless && spec.selector === undefined) return;
    onProgrammed(headless ? "headless_with_selector" : "cluster_ip", Math.max(0, (Date.now() - changed) / 1000));
  };
  const all = kinds.map(([type, fieldSelector]) => {
    const informer = createInformer<KubernetesObject>(api, type, {
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
      onError: (error) => onError(error),
    });
    const { kind } = type;
    pending.add(kind);
    const apply = (object: KubernetesObject): void => {
      zone.apply(object, kind);
      if (type === resources.endpointSlices) programmed(object);
    };
    if (type === resources.services)
      service = (namespace, name) => informer.lister.get(namespace, name) as Service | undefined;
    informer.addHandler({
      add: apply,
      update: (_old, object) => apply(object),
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
