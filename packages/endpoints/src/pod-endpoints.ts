import type { AddressType, Pod, Service, ServicePort } from "@portolan/core";
import { canonicalAddress, familyOf } from "@portolan/net";

/** Whether a Service selects pods; without a selector its endpoints are made by others. */
export function hasSelector(service: Service): boolean {
  // An empty selector is stored as an absent one.
  return Object.keys(service.spec?.selector ?? {}).length > 0;
}

/** Whether a Service has no cluster IP: `None`, or none at all. */
export function isHeadless(service: Service): boolean {
  const address = service.spec?.clusterIP ?? "";
  return address === "" || address === "None";
}

/** Status of the pod's `Ready` condition. */
export function isPodReady(pod: Pod): boolean {
  return pod.status?.conditions?.find((condition) => condition.type === "Ready")?.status === "True";
}

/** All addresses of a pod, the primary one first. */
export function podAddresses(pod: Pod): string[] {
  const all = (pod.status?.podIPs ?? []).map((entry) => entry.ip).filter((address) => address !== "");
  const single = pod.status?.podIP ?? "";
  return all.length > 0 || single === "" ? all : [single];
}

/**
 * Whether a pod counts as an endpoint at all: not finished, with an address, and not terminating unless `includeTerminating`.
 * Whether it is ready is another question. (`endpointslice/util` ShouldPodBeInEndpoints)
 */
export function isPodEndpoint(pod: Pod, includeTerminating: boolean): boolean {
  const phase = pod.status?.phase;
  if (phase === "Failed" || phase === "Succeeded") return false;
  if (podAddresses(pod).length === 0) return false;
  return includeTerminating || pod.metadata.deletionTimestamp === undefined;
}

/** The pod's address of one family in canonical form, leading zeros of IPv4 cleaned; undefined when it has none. */
export function podAddressOf(pod: Pod, family: AddressType): string | undefined {
  for (const text of podAddresses(pod)) {
    const cleaned = text.includes(":") ? text : text.replace(/(^|\.)0+(?=[0-9])/g, "$1");
    if (familyOf(cleaned) === family) return canonicalAddress(cleaned);
  }
  return undefined;
}

/** Whether the endpoint of `pod` gets a hostname record under `service`: its hostname is set and its subdomain names the Service. */
export function hasServiceHostname(pod: Pod, service: Service): boolean {
  return (
    (pod.spec?.hostname ?? "") !== "" &&
    pod.spec?.subdomain === service.metadata.name &&
    pod.metadata.namespace === service.metadata.namespace
  );
}

/**
 * The number of a Service port on one pod. Numbers stand for themselves; names are looked up among the ports of containers, then of
 * sidecars (init containers with restartPolicy Always), by name and protocol. Undefined when there is none.
 */
export function findPort(pod: Pod, port: ServicePort): number | undefined {
  const target = port.targetPort ?? port.port;
  if (typeof target === "number") return target === 0 ? port.port : target;
  const sidecars = (pod.spec?.initContainers ?? []).filter((container) => container.restartPolicy === "Always");
  for (const container of [...(pod.spec?.containers ?? []), ...sidecars])
    for (const candidate of container.ports ?? [])
      if (candidate.name === target && (candidate.protocol ?? "TCP") === (port.protocol ?? "TCP"))
        return candidate.containerPort;
  return undefined;
}

/**
 * Whether a pod's step from `old` to `pod` can change endpoints, other than by its labels and hostname. A change of the phase alone is
 * none: the kubelet takes readiness away first. Every update of a terminating pod is one.
 */
export function podEndpointChanged(old: Pod, pod: Pod): boolean {
  return (
    old.metadata.deletionTimestamp !== undefined ||
    pod.metadata.deletionTimestamp !== undefined ||
    isPodReady(old) !== isPodReady(pod) ||
    podAddresses(old).join() !== podAddresses(pod).join()
  );
}

/** Whether a pod's step from `old` to `pod` can change which Services it belongs to, or its hostname under them. */
export function podMembershipChanged(old: Pod, pod: Pod): boolean {
  return (
    !sameStringMap(old.metadata.labels, pod.metadata.labels) ||
    (old.spec?.hostname ?? "") !== (pod.spec?.hostname ?? "") ||
    (old.spec?.subdomain ?? "") !== (pod.spec?.subdomain ?? "")
  );
}

/** Equality of labels or annotations; an absent map is an empty one. */
export function sameStringMap(
  a: Readonly<Record<string, string>> = {},
  b: Readonly<Record<string, string>> = {},
): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

/** A copy of a map without some of its keys. */
export function without(
  map: Readonly<Record<string, string>> | undefined,
  ...keys: readonly string[]
): Record<string, string> {
  const copy = { ...map };
  for (const key of keys) delete copy[key];
  return copy;
}
