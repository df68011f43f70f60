import type { EndpointAddress, EndpointSubset, Endpoints, EndpointsPort, Pod, Service } from "@portolan/core";
import { familyOf } from "@portolan/net";
import { maximumEndpointsAddresses, repackSubsets, truncateSubsets } from "./endpoint-subsets.ts";
import {
  findPort,
  hasServiceHostname,
  isHeadless,
  isPodEndpoint,
  isPodReady,
  podAddresses,
  podAddressOf,
  sameStringMap,
  without,
} from "./pod-endpoints.ts";
import {
  endpointsControllerName,
  endpointsManagedByLabel,
  headlessLabel,
  overCapacityAnnotation,
  triggerTimeAnnotation,
} from "./well-known.ts";

/** What {@link reconcileEndpoints} looks at. Nothing of it is modified. */
export interface EndpointsInput {
  readonly service: Service;
  /** Pods that the Service selects, finished and addressless ones too. */
  readonly pods: readonly Pod[];
  /** The Endpoints of the Service's name, if there is one. */
  readonly existing?: Endpoints | undefined;
  /** RFC 3339 time of the change behind this, for the annotation; undefined removes it. */
  readonly triggerTime?: string | undefined;
  /** Addresses in all, at most. Default 1000. */
  readonly capacity?: number;
}

/** What is to be written: nothing, a new object, or the whole object anew. */
export type EndpointsChange =
  | { readonly action: "none" }
  | { readonly action: "create" | "update"; readonly endpoints: Endpoints };

/** The family of a Service's Endpoints: its primary one only. */
function primaryFamily(service: Service, pod: Pod): "IPv4" | "IPv6" | undefined {
  const [family] = service.spec?.ipFamilies ?? [];
  const address = service.spec?.clusterIP ?? "";
  if (family !== undefined) return family;
  return familyOf(address === "" || address === "None" ? (podAddresses(pod)[0] ?? "") : address);
}

/** Subsets of a Service: each eligible pod on each port it has, ready ones and others, repacked. Not truncated. */
export function endpointSubsetsOf(service: Service, pods: readonly Pod[]): EndpointSubset[] {
  const subsets: EndpointSubset[] = [];
  const publishNotReady = service.spec?.publishNotReadyAddresses === true;
  const ports = service.spec?.ports ?? [];
  for (const pod of pods) {
    if (!isPodEndpoint(pod, publishNotReady)) continue;
    const family = primaryFamily(service, pod);
    const ip = family === undefined ? undefined : podAddressOf(pod, family);
    if (ip === undefined) continue;
    const address: EndpointAddress = {
      ip,
      ...(hasServiceHostname(pod, service) ? { hostname: pod.spec!.hostname! } : {}),
      // Set even when empty, which the API refuses: a pod with an address but without a node is an error worth seeing.
      nodeName: pod.spec?.nodeName ?? "",
      targetRef: {
        kind: "Pod",
        ...(pod.metadata.namespace === undefined ? {} : { namespace: pod.metadata.namespace }),
        name: pod.metadata.name ?? "",
        uid: pod.metadata.uid ?? "",
      },
    };
    const add = (list: EndpointsPort[]): void => {
      const side = publishNotReady || isPodReady(pod) ? { addresses: [address] } : { notReadyAddresses: [address] };
      subsets.push({ ...side, ...(list.length === 0 ? {} : { ports: list }) });
    };
    if (ports.length === 0 && service.spec?.clusterIP === "None") add([]);
    for (const port of ports) {
      const number = findPort(pod, port);
      if (number === undefined) continue;
      add([
        {
          ...(port.name ? { name: port.name } : {}),
          port: number,
          protocol: port.protocol ?? "TCP",
          ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
        },
      ]);
    }
  }
  return repackSubsets(subsets);
}

/** Text that is equal for equal subsets; what referred objects' resourceVersions are does not count. */
function subsetsText(subsets: readonly EndpointSubset[] | undefined): string {
  const address = (entry: EndpointAddress): unknown => [
    entry.ip,
    entry.hostname ?? "",
    entry.nodeName ?? null,
    entry.targetRef?.kind ?? "",
    entry.targetRef?.namespace ?? "",
    entry.targetRef?.name ?? "",
    entry.targetRef?.uid ?? "",
    entry.targetRef?.apiVersion ?? "",
    entry.targetRef?.fieldPath ?? "",
  ];
  return JSON.stringify(
    (subsets ?? []).map((subset) => [
      (subset.addresses ?? []).map(address),
      (subset.notReadyAddresses ?? []).map(address),
      (subset.ports ?? []).map((port) => [
        port.name ?? "",
        port.port,
        port.protocol ?? "TCP",
        port.appProtocol ?? null,
      ]),
    ]),
  );
}

/**
 * The Endpoints a Service with a selector should have, as a change to the one it has: addresses of the primary family, at most
 * `capacity`, with the Service's labels. Pure, and idempotent. (upstream `pkg/controller/endpoint`)
 */
export function reconcileEndpoints(input: EndpointsInput): EndpointsChange {
  const { service, existing } = input;
  const cut = truncateSubsets(endpointSubsetsOf(service, input.pods), input.capacity ?? maximumEndpointsAddresses);
  const { truncated } = cut;
  // The API refuses subsets without addresses.
  const subsets = cut.subsets.filter(
    (subset) => subset.addresses !== undefined || subset.notReadyAddresses !== undefined,
  );
  const copied = without(service.metadata.labels, headlessLabel, endpointsManagedByLabel);
  // The reserved labels alone are no reason to write: upstream compares without them, too.
  if (
    existing !== undefined &&
    subsetsText(existing.subsets) === subsetsText(subsets) &&
    sameStringMap(without(existing.metadata.labels, headlessLabel, endpointsManagedByLabel), copied) &&
    (existing.metadata.annotations?.[overCapacityAnnotation] === "truncated") === truncated &&
    (truncated || existing.metadata.annotations?.[overCapacityAnnotation] === undefined)
  )
    return { action: "none" };

  const annotations = without(existing?.metadata.annotations, triggerTimeAnnotation, overCapacityAnnotation);
  if (input.triggerTime !== undefined) annotations[triggerTimeAnnotation] = input.triggerTime;
  if (truncated) annotations[overCapacityAnnotation] = "truncated";
  const { annotations: _, ...metadata } = existing?.metadata ?? {};
  return {
    action: existing === undefined ? "create" : "update",
    endpoints: {
      apiVersion: "v1",
      kind: "Endpoints",
      metadata: {
        ...metadata,
        name: service.metadata.name ?? "",
        ...(service.metadata.namespace === undefined ? {} : { namespace: service.metadata.namespace }),
        labels: {
          ...copied,
          [endpointsManagedByLabel]: endpointsControllerName,
          ...(isHeadless(service) ? { [headlessLabel]: "" } : {}),
        },
        ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
      },
      subsets,
    },
  };
}
