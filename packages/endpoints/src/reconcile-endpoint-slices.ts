import type { AddressType, Endpoint, EndpointPort, EndpointSlice, Node, Pod, Service } from "@portolan/core";
import { type EndpointCache, noEndpointCache } from "./endpoint-cache.ts";
import { isPodEndpoint, sameStringMap } from "./pod-endpoints.ts";
import { addressTypesOf, isOwnedBy, newSlice, sliceLabels } from "./slice-endpoints.ts";
import { type PackedSlices, packSlices } from "./slice-packing.ts";
import { applyTopologyHints, type EndpointEvent, topologyModeEnabled, type ZoneShares } from "./topology-hints.ts";
import { applyHints, distributionHints } from "./traffic-distribution.ts";
import { triggerTimeAnnotation } from "./well-known.ts";

/** What {@link reconcileEndpointSlices} looks at. Nothing of it is modified. */
export interface EndpointSliceInput {
  readonly service: Service;
  /** Pods that the Service selects, finished and addressless ones too. */
  readonly pods: readonly Pod[];
  /** Node by name, for zones; undefined when it is not known. */
  readonly node: (name: string) => Node | undefined;
  /** Slices labelled with this Service and this controller. */
  readonly existing: readonly EndpointSlice[];
  /** Endpoints per slice, at most. Default 100; the API allows 1000. */
  readonly maximumEndpointsPerSlice?: number;
  /** RFC 3339 time of the change behind this, for the annotation; undefined removes it. */
  readonly triggerTime?: string | undefined;
  /** CPU shares of the zones, for `topology-mode: Auto`. */
  readonly zoneShares?: ZoneShares;
  /** Whether topology hints were given the last time. */
  readonly topologyHintsEnabled?: boolean;
  /** What was derived before, where the objects given are never modified; see {@link createEndpointCache}. Default: none. */
  readonly cache?: EndpointCache;
}

/** What is to be written, in this order: creates, updates, deletes. Objects are complete. */
export interface EndpointSliceChanges {
  readonly create: readonly EndpointSlice[];
  readonly update: readonly EndpointSlice[];
  readonly delete: readonly EndpointSlice[];
  /** To be recorded about the Service. */
  readonly events: readonly EndpointEvent[];
  /** Pods left out because their node is not known (yet): reconcile again when it is. */
  readonly skipped: readonly { readonly pod: Pod; readonly nodeName: string }[];
  /** Whether topology hints were given; pass it in the next time. */
  readonly topologyHintsEnabled: boolean;
  /** Ready endpoints hinted to each zone, by family, when topology hints were given. */
  readonly allocatedHints: ReadonlyMap<AddressType, ReadonlyMap<string, number>>;
}

/** Equality of an empty slice with the placeholder a Service has when it has no endpoints. */
function isPlaceholder(slice: EndpointSlice, placeholder: EndpointSlice): boolean {
  return (
    (slice.endpoints ?? []).length === 0 &&
    (slice.ports ?? []).length === 0 &&
    slice.addressType === placeholder.addressType &&
    sameStringMap(slice.metadata.labels, placeholder.metadata.labels)
  );
}

function withTriggerTime(slice: EndpointSlice, triggerTime: string | undefined): EndpointSlice {
  const { [triggerTimeAnnotation]: _, ...annotations } = slice.metadata.annotations ?? {};
  if (triggerTime !== undefined) annotations[triggerTimeAnnotation] = triggerTime;
  const { annotations: __, ...metadata } = slice.metadata;
  return {
    ...slice,
    metadata: Object.keys(annotations).length === 0 ? metadata : { ...metadata, annotations },
  };
}

/** A new slice in the place of one that would be deleted: one write instead of two. */
export function recycle(slice: EndpointSlice, discarded: EndpointSlice): EndpointSlice {
  const { name, namespace, uid, resourceVersion } = discarded.metadata;
  return {
    ...slice,
    metadata: {
      ...slice.metadata,
      ...(name === undefined ? {} : { name }),
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    },
  };
}

/**
 * The slices a Service with a selector should have, as changes to those it has: per family and set of resolved ports, packed for few
 * writes ({@link packSlices}), with labels, hints, and a placeholder where there would be none. Services without selector and of type
 * ExternalName are not this function's business: the controller leaves their slices alone.
 *
 * Pure, and idempotent: applied to its own result it finds nothing to do. Costs about the number of pods times the number of ports
 * plus that of endpoints present. (KEP-752; upstream `staging/src/k8s.io/endpointslice`)
 */
export function reconcileEndpointSlices(input: EndpointSliceInput): EndpointSliceChanges {
  const { service } = input;
  const families = addressTypesOf(service);
  const unwanted = input.existing.filter((slice) => !families.includes(slice.addressType));
  const create: EndpointSlice[] = [];
  const update: EndpointSlice[] = [];
  const discard: EndpointSlice[] = [...unwanted];
  const events: EndpointEvent[] = [];
  const skipped = new Map<Pod, string>();
  const allocatedHints = new Map<AddressType, ReadonlyMap<string, number>>();
  let topologyHintsEnabled = input.topologyHintsEnabled ?? false;

  for (const family of families) {
    const packed = reconcileFamily(input, family, skipped);
    let hinted: PackedSlices;
    if (topologyModeEnabled(service)) {
      const result = applyTopologyHints(packed, input.zoneShares, family, topologyHintsEnabled);
      events.push(...result.events);
      topologyHintsEnabled = result.allocated !== undefined;
      if (result.allocated !== undefined) allocatedHints.set(family, result.allocated);
      hinted = result.slices;
    } else {
      if (topologyHintsEnabled) {
        const message = `Topology Aware Hints has been disabled, addressType: ${family}`;
        events.push({ type: "Warning", reason: "TopologyAwareHintsDisabled", message });
        topologyHintsEnabled = false;
      }
      const distribution = service.spec?.trafficDistribution;
      hinted = applyHints(packed, (endpoint) => distributionHints(distribution, endpoint));
    }
    create.push(...hinted.create);
    update.push(...hinted.update);
    discard.push(...hinted.delete);
  }

  const removed: EndpointSlice[] = [];
  for (const slice of discard) {
    const at = create.findLastIndex((candidate) => candidate.addressType === slice.addressType);
    if (at < 0 || !isOwnedBy(slice, service)) removed.push(slice);
    else update.push(recycle(create.splice(at, 1)[0]!, slice));
  }
  const finished = (slice: EndpointSlice): EndpointSlice => withTriggerTime(slice, input.triggerTime);
  return {
    // What belongs to a Service on its way out would only have to be collected again.
    create: service.metadata.deletionTimestamp === undefined ? create.map(finished) : [],
    update: update.map(finished),
    delete: removed,
    events,
    skipped: [...skipped].map(([pod, nodeName]) => ({ pod, nodeName })),
    topologyHintsEnabled,
    allocatedHints,
  };
}

function reconcileFamily(input: EndpointSliceInput, family: AddressType, skipped: Map<Pod, string>): PackedSlices {
  const { service, cache = noEndpointCache } = input;
  const existing = input.existing.filter((slice) => slice.addressType === family);
  const result: PackedSlices = { create: [], update: [], delete: [], unchanged: [] };

  const existingByPorts = new Map<string, EndpointSlice[]>();
  for (const slice of existing) {
    // Slices of a deleted Service of the same name go; they are never filled again.
    if (!isOwnedBy(slice, service)) {
      result.delete.push(slice);
      continue;
    }
    const key = cache.portsKey(slice);
    const group = existingByPorts.get(key);
    if (group === undefined) existingByPorts.set(key, [slice]);
    else group.push(slice);
  }

  const wanted = new Map<string, { ports: EndpointPort[]; endpoints: Endpoint[] }>();
  for (const pod of input.pods) {
    if (!isPodEndpoint(pod, true)) continue;
    const nodeName = pod.spec?.nodeName ?? "";
    const node = input.node(nodeName);
    if (node === undefined && service.spec?.publishNotReadyAddresses !== true) {
      skipped.set(pod, nodeName);
      continue;
    }
    const { endpoint, ports, portsKey } = cache.derive(pod, node, service, family);
    if (endpoint === undefined) continue;
    const group = wanted.get(portsKey);
    if (group === undefined) wanted.set(portsKey, { ports, endpoints: [endpoint] });
    else group.endpoints.push(endpoint);
  }

  for (const [key, { ports, endpoints }] of wanted) {
    const packed = packSlices({
      existing: existingByPorts.get(key) ?? [],
      desired: endpoints,
      maximum: input.maximumEndpointsPerSlice ?? 100,
      identity: cache.identity,
      labels: (slice) => sliceLabels(service, slice.metadata.labels),
      create: () => newSlice(service, family, ports, []),
    });
    result.create.push(...packed.create);
    result.update.push(...packed.update);
    result.delete.push(...packed.delete);
    result.unchanged.push(...packed.unchanged);
  }
  for (const [key, slices] of existingByPorts) if (!wanted.has(key)) result.delete.push(...slices);

  if (result.delete.length === existing.length && result.create.length === 0) {
    const placeholder = newSlice(service, family, [], []);
    const at = result.delete.findIndex((slice) => isOwnedBy(slice, service) && isPlaceholder(slice, placeholder));
    if (at >= 0) result.unchanged.push(...result.delete.splice(at, 1));
    else result.create.push(placeholder);
  }
  return result;
}
