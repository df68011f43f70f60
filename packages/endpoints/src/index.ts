/**
 * EndpointSlice, Endpoints and EndpointSliceMirroring controllers.
 *
 * The decisions are pure functions over objects; the controllers add informers, a work queue and writes.
 *
 * @packageDocumentation
 */
export { createEndpointCache, type DerivedEndpoint, type EndpointCache } from "./endpoint-cache.ts";
export { type EndpointController, type EndpointControllerOptions, StaleCacheError } from "./endpoint-controller.ts";
export { createEndpointSliceController, type EndpointSliceControllerOptions } from "./endpoint-slice-controller.ts";
export {
  createEndpointSliceMirroringController,
  type EndpointSliceMirroringControllerOptions,
} from "./endpoint-slice-mirroring-controller.ts";
export { maximumEndpointsAddresses, repackSubsets, truncateSubsets } from "./endpoint-subsets.ts";
export { createEndpointsController } from "./endpoints-controller.ts";
export {
  findPort,
  hasSelector,
  hasServiceHostname,
  isHeadless,
  isPodEndpoint,
  isPodReady,
  podAddresses,
  podAddressOf,
} from "./pod-endpoints.ts";
export {
  type EndpointSliceChanges,
  type EndpointSliceInput,
  reconcileEndpointSlices,
} from "./reconcile-endpoint-slices.ts";
export {
  type EndpointsChange,
  type EndpointsInput,
  endpointSubsetsOf,
  reconcileEndpoints,
} from "./reconcile-endpoints.ts";
export {
  isMirrorable,
  type MirroredSliceChanges,
  type MirroredSliceInput,
  reconcileMirroredSlices,
} from "./reconcile-mirrored-slices.ts";
export {
  addressTypesOf,
  endpointIdentity,
  endpointOf,
  endpointPortsOf,
  portSetKey,
  sliceLabels,
} from "./slice-endpoints.ts";
export { type PackedSlices, type PackingInput, packSlices } from "./slice-packing.ts";
export {
  allocateZones,
  applyTopologyHints,
  balanceZones,
  type EndpointEvent,
  type TopologyHints,
  topologyModeEnabled,
  type ZoneAllocation,
  type ZoneShares,
  zoneSharesOf,
  zonesOverloaded,
} from "./topology-hints.ts";
export { applyHints, distributionHints } from "./traffic-distribution.ts";
export * from "./well-known.ts";
