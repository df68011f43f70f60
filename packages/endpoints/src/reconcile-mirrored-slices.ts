import type {
  AddressType,
  Endpoint,
  EndpointAddress,
  EndpointPort,
  EndpointSlice,
  Endpoints,
  Service,
} from "@portolan/core";
import { formatAddress, isIPv4Mapped, parseAddress } from "@portolan/net";
import { repackSubsets } from "./endpoint-subsets.ts";
import { hasSelector, sameStringMap, without } from "./pod-endpoints.ts";
import { recycle } from "./reconcile-endpoint-slices.ts";
import { controllerReference, endpointIdentity, portSetKey, sameEndpoint, sliceNamePrefix } from "./slice-endpoints.ts";
import type { EndpointEvent } from "./topology-hints.ts";
import {
  lastAppliedAnnotation,
  leaderAnnotation,
  mirroringControllerName,
  serviceNameLabel,
  skipMirrorLabel,
  sliceManagedByLabel,
  triggerTimeAnnotation,
} from "./well-known.ts";

/** Whether Endpoints are to be mirrored, as far as they themselves can tell: no skip label, no lock of a leader election. */
export function isMirrorable(endpoints: Endpoints): boolean {
  return (
    endpoints.metadata.labels?.[skipMirrorLabel] !== "true" &&
    endpoints.metadata.annotations?.[leaderAnnotation] === undefined
  );
}

/** What {@link reconcileMirroredSlices} looks at. Nothing of it is modified. */
export interface MirroredSliceInput {
  /** Undefined when there are none (any more). */
  readonly endpoints: Endpoints | undefined;
  /** The Service of the same name; without one, or with a selector, nothing is mirrored. */
  readonly service: Service | undefined;
  /** Slices labelled with this name and the mirroring controller. */
  readonly existing: readonly EndpointSlice[];
  /** Addresses per subset, at most. Default 1000. */
  readonly maximumEndpointsPerSubset?: number;
}

/** What is to be written, in this order: creates, updates, deletes. Objects are complete. */
export interface MirroredSliceChanges {
  readonly create: readonly EndpointSlice[];
  readonly update: readonly EndpointSlice[];
  readonly delete: readonly EndpointSlice[];
  /** To be recorded about the Endpoints. */
  readonly events: readonly EndpointEvent[];
}

function mirroredEndpoint(
  address: EndpointAddress,
  ready: boolean,
): { family: AddressType; endpoint: Endpoint } | undefined {
  // Old objects may hold addresses with leading zeros; slices only take canonical ones.
  const parsed = parseAddress(address.ip.includes(":") ? address.ip : address.ip.replace(/(^|\.)0+(?=[0-9])/g, "$1"));
  if (parsed === undefined) return undefined;
  const mapped = isIPv4Mapped(parsed);
  const text = formatAddress(mapped ? { family: "IPv4", bytes: parsed.bytes.slice(12) } : parsed);
  return {
    family: mapped ? "IPv4" : parsed.family,
    endpoint: {
      addresses: [text],
      conditions: { ready },
      ...(address.targetRef === undefined ? {} : { targetRef: address.targetRef }),
      ...(address.nodeName === undefined ? {} : { nodeName: address.nodeName }),
      ...(address.hostname ? { hostname: address.hostname } : {}),
    },
  };
}

interface Group {
  readonly family: AddressType;
  readonly ports: EndpointPort[];
  readonly endpoints: Map<string, Endpoint>;
}

/** Whether a slice already is what would be written. */
function isMirror(slice: EndpointSlice, wanted: EndpointSlice, group: Group): boolean {
  const present = slice.endpoints ?? [];
  return (
    slice.metadata.ownerReferences?.[0]?.uid === wanted.metadata.ownerReferences?.[0]?.uid &&
    present.length === group.endpoints.size &&
    present.every((endpoint) => {
      const mirrored = group.endpoints.get(endpointIdentity(endpoint));
      return mirrored !== undefined && sameEndpoint(mirrored, endpoint);
    }) &&
    sameStringMap(slice.metadata.labels, wanted.metadata.labels) &&
    sameStringMap(slice.metadata.annotations, wanted.metadata.annotations)
  );
}

/**
 * The slices that show hand-written Endpoints to those who read slices only: one per family and set of ports, as changes to those
 * there are. Pure, and idempotent. (KEP-2091; upstream `pkg/controller/endpointslicemirroring`)
 */
export function reconcileMirroredSlices(input: MirroredSliceInput): MirroredSliceChanges {
  const { endpoints, service } = input;
  if (endpoints === undefined || service === undefined || hasSelector(service) || !isMirrorable(endpoints))
    return { create: [], update: [], delete: input.existing, events: [] };

  const maximum = input.maximumEndpointsPerSubset ?? 1000;
  const groups = new Map<string, Group>();
  let invalid = 0;
  let skipped = 0;
  for (const subset of repackSubsets(endpoints.subsets ?? [])) {
    const ports: EndpointPort[] = (subset.ports ?? []).map((port) => ({
      name: port.name ?? "",
      protocol: port.protocol ?? "TCP",
      port: port.port,
      ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
    }));
    let added = 0;
    const mirror = (addresses: readonly EndpointAddress[] = [], ready: boolean): void => {
      for (const address of addresses) {
        const mirrored = mirroredEndpoint(address, ready);
        if (added >= maximum) skipped++;
        else if (mirrored === undefined) invalid++;
        else {
          const key = `${mirrored.family} ${portSetKey(ports)}`;
          let group = groups.get(key);
          if (group === undefined) {
            group = { family: mirrored.family, ports, endpoints: new Map() };
            groups.set(key, group);
          }
          group.endpoints.set(endpointIdentity(mirrored.endpoint), mirrored.endpoint);
          added++;
        }
      }
    };
    mirror(subset.addresses, true);
    mirror(subset.notReadyAddresses, false);
  }

  const events: EndpointEvent[] = [];
  if (invalid > 0)
    events.push({
      type: "Warning",
      reason: "InvalidIPAddress",
      message: `Skipped ${invalid} invalid IP addresses when mirroring to EndpointSlices`,
    });
  if (skipped > 0)
    events.push({
      type: "Warning",
      reason: "TooManyAddressesToMirror",
      message: `A max of ${maximum} addresses can be mirrored to EndpointSlices per Endpoints subset. ${skipped + invalid} addresses were skipped`,
    });

  const labels = {
    ...endpoints.metadata.labels,
    [serviceNameLabel]: endpoints.metadata.name ?? "",
    [sliceManagedByLabel]: mirroringControllerName,
  };
  const annotations = without(endpoints.metadata.annotations, triggerTimeAnnotation, lastAppliedAnnotation);
  const sliceOf = (group: Group): EndpointSlice => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      ...(endpoints.metadata.namespace === undefined ? {} : { namespace: endpoints.metadata.namespace }),
      labels,
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
      ownerReferences: [controllerReference(endpoints, "v1", "Endpoints")],
    },
    addressType: group.family,
    ports: group.ports,
    endpoints: [...group.endpoints.values()],
  });

  const create: EndpointSlice[] = [];
  const update: EndpointSlice[] = [];
  const discard: EndpointSlice[] = [];
  const present = new Map<string, EndpointSlice[]>();
  for (const slice of input.existing) {
    const key = `${slice.addressType} ${portSetKey(slice.ports)}`;
    present.set(key, [...(present.get(key) ?? []), slice]);
  }
  for (const [key, group] of groups) {
    const [first, ...others] = present.get(key) ?? [];
    discard.push(...others);
    if (first === undefined) create.push(sliceOf(group));
    else if (!isMirror(first, sliceOf(group), group)) update.push(recycle(sliceOf(group), first));
  }
  for (const [key, slices] of present) if (!groups.has(key)) discard.push(...slices);

  const removed: EndpointSlice[] = [];
  for (const slice of discard) {
    const at = create.findIndex((candidate) => candidate.addressType === slice.addressType);
    if (at < 0) removed.push(slice);
    else update.push(recycle(create.splice(at, 1)[0]!, slice));
  }
  const generateName = sliceNamePrefix(endpoints.metadata.name ?? "");
  return {
    create:
      endpoints.metadata.deletionTimestamp === undefined
        ? create.map((slice) => ({ ...slice, metadata: { generateName, ...slice.metadata } }))
        : [],
    update,
    delete: removed,
    events,
  };
}
