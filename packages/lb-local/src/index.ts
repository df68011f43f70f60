/**
 * A load-balancer provider for laptops and bare metal: address pools, sharing, L2 election.
 *
 * @packageDocumentation
 */
export { type AnnouncerOptions, createAnnouncer, electAnnouncer } from "./announcer.ts";
export { type LocalModel, type LocalProviderOptions, localAnnotations, localProvider } from "./local-provider.ts";
export {
  type AddressAllocator,
  type AddressPool,
  type AllocationFailure,
  type AllocationRequest,
  createAddressAllocator,
  type ParsedPool,
  parsePools,
  poolAddresses,
  poolContains,
} from "./pool.ts";
