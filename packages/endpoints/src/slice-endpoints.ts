import type {
  AddressType,
  Endpoint,
  EndpointPort,
  EndpointSlice,
  KubernetesObject,
  Node,
  OwnerReference,
  Pod,
  Service,
  StringMap,
} from "@portolan/core";
import { familyOf } from "@portolan/net";
import {
  findPort,
  hasServiceHostname,
  isHeadless,
  isPodReady,
  podAddressOf,
  sameStringMap,
  without,
} from "./pod-endpoints.ts";
import {
  endpointSliceControllerName,
  headlessLabel,
  serviceNameLabel,
  sliceManagedByLabel,
  zoneLabel,
} from "./well-known.ts";

/** Address families a Service gets slices for, in order. */
export function addressTypesOf(service: Service): AddressType[] {
  const families = service.spec?.ipFamilies ?? [];
  if (families.length > 0) return [...new Set<AddressType>(families)];
  const address = service.spec?.clusterIP ?? "";
  // Objects from before dual-stack: the cluster IP tells, and a headless Service may have either.
  if (address !== "" && address !== "None") return [familyOf(address) ?? "IPv4"];
  return ["IPv4", "IPv6"];
}

/** Ports of a Service as one pod has them. Ports that cannot be resolved are left out. */
export function endpointPortsOf(service: Service, pod: Pod): EndpointPort[] {
  const ports: EndpointPort[] = [];
  for (const port of service.spec?.ports ?? []) {
    const number = findPort(pod, port);
    if (number === undefined) continue;
    ports.push({
      name: port.name ?? "",
      protocol: port.protocol ?? "TCP",
      port: number,
      ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
    });
  }
  return ports;
}

/** Key of a set of ports, whatever their order: slices with one key can share endpoints. */
export function portSetKey(ports: readonly EndpointPort[] | null | undefined): string {
  return (ports ?? [])
    .map((port) =>
      JSON.stringify([port.name ?? "", port.protocol ?? "TCP", port.port ?? null, port.appProtocol ?? null]),
    )
    .sort()
    .join();
}

/** One pod as an endpoint of a slice; undefined when it has no address of that family. `node` gives the zone. */
export function endpointOf(
  pod: Pod,
  node: Node | undefined,
  service: Service,
  addressType: AddressType,
): Endpoint | undefined {
  const address = podAddressOf(pod, addressType);
  if (address === undefined) return undefined;
  const serving = isPodReady(pod);
  const terminating = pod.metadata.deletionTimestamp !== undefined;
  const zone = node?.metadata.labels?.[zoneLabel] ?? "";
  return {
    addresses: [address],
    conditions: {
      ready: service.spec?.publishNotReadyAddresses === true || (serving && !terminating),
      serving,
      terminating,
    },
    targetRef: {
      kind: "Pod",
      ...(pod.metadata.namespace === undefined ? {} : { namespace: pod.metadata.namespace }),
      name: pod.metadata.name ?? "",
      uid: pod.metadata.uid ?? "",
    },
    ...(pod.spec?.nodeName ? { nodeName: pod.spec.nodeName } : {}),
    ...(zone === "" ? {} : { zone }),
    ...(hasServiceHostname(pod, service) ? { hostname: pod.spec!.hostname! } : {}),
  };
}

/** What makes two endpoints the same one: addresses, hostname and the object behind it. */
export function endpointIdentity(endpoint: Endpoint): string {
  return JSON.stringify([
    [...endpoint.addresses].sort(),
    endpoint.hostname ?? "",
    endpoint.targetRef?.namespace ?? "",
    endpoint.targetRef?.name ?? "",
  ]);
}

/** Whether two endpoints of one identity are equal in what else the controllers set; hints are compared elsewhere. */
export function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return (
    (a.nodeName ?? "") === (b.nodeName ?? "") &&
    (a.zone ?? "") === (b.zone ?? "") &&
    a.conditions?.ready === b.conditions?.ready &&
    a.conditions?.serving === b.conditions?.serving &&
    a.conditions?.terminating === b.conditions?.terminating &&
    (a.targetRef?.kind ?? "") === (b.targetRef?.kind ?? "") &&
    (a.targetRef?.uid ?? "") === (b.targetRef?.uid ?? "")
  );
}

const reservedLabels = [headlessLabel, serviceNameLabel, sliceManagedByLabel] as const;

/**
 * Labels of a Service's slices: those of the Service, then the reserved ones, which no Service can override. `changed` compares with
 * the labels that a slice has, reserved ones apart: a change of those alone is no reason to write.
 */
export function sliceLabels(service: Service, present: StringMap | undefined): { labels: StringMap; changed: boolean } {
  const copied = without(service.metadata.labels, ...reservedLabels);
  return {
    changed: !sameStringMap(without(present, ...reservedLabels), copied),
    labels: {
      ...copied,
      [serviceNameLabel]: service.metadata.name ?? "",
      [sliceManagedByLabel]: endpointSliceControllerName,
      ...(isHeadless(service) ? { [headlessLabel]: "" } : {}),
    },
  };
}

/** Owner reference of a controller's object. */
export function controllerReference(owner: KubernetesObject, apiVersion: string, kind: string): OwnerReference {
  return {
    apiVersion,
    kind,
    name: owner.metadata?.name ?? "",
    uid: owner.metadata?.uid ?? "",
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** Whether `owner` controls a slice, by UID. */
export function isOwnedBy(slice: EndpointSlice, owner: KubernetesObject): boolean {
  return (
    slice.metadata.ownerReferences?.some(
      (reference) => reference.controller && reference.uid === owner.metadata?.uid,
    ) ?? false
  );
}

/** `generateName` of slices: the name and a dash, or the bare name where the dash makes it too long for a DNS subdomain. */
export function sliceNamePrefix(name: string): string {
  return name.length < 253 ? `${name}-` : name;
}

/** A slice of a Service that does not exist yet. */
export function newSlice(
  service: Service,
  addressType: AddressType,
  ports: EndpointPort[],
  endpoints: Endpoint[],
): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      generateName: sliceNamePrefix(service.metadata.name ?? ""),
      ...(service.metadata.namespace === undefined ? {} : { namespace: service.metadata.namespace }),
      labels: sliceLabels(service, undefined).labels,
      ownerReferences: [controllerReference(service, "v1", "Service")],
    },
    addressType,
    ports,
    endpoints,
  };
}
