import { type IndexFunction, type Lister, objectKey } from "@portolan/client";
import type { EndpointSlice, Pod, Service, StringMap } from "@portolan/core";
import { podEndpointChanged, podMembershipChanged } from "./pod-endpoints.ts";
import { serviceNameLabel } from "./well-known.ts";

function pairKey(namespace: string | undefined, key: string, value: string): string {
  return `${namespace ?? ""}\n${key}\n${value}`;
}

/** Selects by plain equality of labels, as Services do. */
function selects(selector: StringMap, labels: StringMap = {}): boolean {
  for (const key in selector) if (labels[key] !== selector[key]) return false;
  return true;
}

/** The pair of a selector by which its Service is indexed: any one that all its pods have. */
function indexedPair(selector: StringMap): [string, string] | undefined {
  let first: string | undefined;
  for (const key in selector) if (first === undefined || key < first) first = key;
  return first === undefined ? undefined : [first, selector[first]!];
}

/** Index of pods by each of their labels. */
export const podIndexes: Readonly<Record<string, IndexFunction<Pod>>> = {
  label: (pod) =>
    Object.entries(pod.metadata.labels ?? {}).map(([key, value]) => pairKey(pod.metadata.namespace, key, value)),
};

/** Index of Services by one pair of their selector. */
export const serviceIndexes: Readonly<Record<string, IndexFunction<Service>>> = {
  selector: (service) => {
    const pair = indexedPair(service.spec?.selector ?? {});
    return pair === undefined ? [] : [pairKey(service.metadata.namespace, ...pair)];
  },
};

/** Index of slices by the key of the Service in their label. */
export const sliceIndexes: Readonly<Record<string, IndexFunction<EndpointSlice>>> = {
  service: (slice) => {
    const key = serviceKeyOf(slice);
    return key === undefined ? [] : [key];
  },
};

/** Key of the Service a slice is labelled with. */
export function serviceKeyOf(slice: EndpointSlice): string | undefined {
  const name = slice.metadata.labels?.[serviceNameLabel] ?? "";
  return name === "" ? undefined : `${slice.metadata.namespace}/${name}`;
}

/** Pods that a Service selects. Costs the number of pods with the rarest label of its selector. */
export function podsOf(service: Service, pods: Lister<Pod>): Pod[] {
  const selector = service.spec?.selector ?? {};
  let rarest: string | undefined;
  let fewest = Number.POSITIVE_INFINITY;
  for (const [key, value] of Object.entries(selector)) {
    const pair = pairKey(service.metadata.namespace, key, value);
    const count = pods.count("label", pair);
    if (count < fewest) {
      rarest = pair;
      fewest = count;
    }
  }
  if (rarest === undefined) return [];
  return pods.byIndex("label", rarest).filter((pod) => selects(selector, pod.metadata.labels));
}

/** Keys of the Services that select a pod. Costs the number of Services that share a selector pair with it. */
export function servicesOf(pod: Pod, services: Lister<Service>): Set<string> {
  const keys = new Set<string>();
  for (const [key, value] of Object.entries(pod.metadata.labels ?? {}))
    for (const service of services.byIndex("selector", pairKey(pod.metadata.namespace, key, value)))
      if (selects(service.spec!.selector!, pod.metadata.labels)) keys.add(objectKey(service));
  return keys;
}

/** Keys of the Services whose endpoints may differ after a pod's step from `old` to `pod`. */
export function servicesTouched(old: Pod, pod: Pod, services: Lister<Service>): Set<string> {
  const changed = podEndpointChanged(old, pod);
  if (!podMembershipChanged(old, pod)) return changed ? servicesOf(pod, services) : new Set();
  const after = servicesOf(pod, services);
  const before = servicesOf(old, services);
  const hostname = old.spec?.hostname !== pod.spec?.hostname || old.spec?.subdomain !== pod.spec?.subdomain;
  if (changed || hostname) return new Set([...before, ...after]);
  const touched = new Set<string>();
  for (const key of before) if (!after.has(key)) touched.add(key);
  for (const key of after) if (!before.has(key)) touched.add(key);
  return touched;
}
