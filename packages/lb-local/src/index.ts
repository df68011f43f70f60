/**
 * A load-balancer provider for laptops and bare metal: address pools, sharing, L2 election.
 *
 * @packageDocumentation
 */
export {
  type AnnouncerOptions,
  announcerCandidates,
  announcerOrder,
  createAnnouncer,
  electAnnouncer,
} from "./announcer.ts";
export {
  type ProxyConfiguration,
  type ProxyListener,
  proxyConfiguration,
  proxyContainerName,
  proxyListenAddress,
} from "./embedded-proxy.ts";
export {
  allocationRequest,
  type LocalModel,
  type LocalObservation,
  type LocalProviderOptions,
  localAnnotations,
  localProvider,
  recordedAddresses,
} from "./local-provider.ts";
export {
  type AddressAllocator,
  type AddressPool,
  type AddressUse,
  type Allocation,
  type AllocationFailure,
  type AllocationRequest,
  createAddressAllocator,
  type ParsedPool,
  parsePool,
  parsePools,
  poolAddresses,
  poolContains,
  poolSize,
  type ServiceAllocation,
} from "./pool.ts";
export { discoverVirtualAddresses, type VirtualAddressRequest } from "./virtual-address.ts";
