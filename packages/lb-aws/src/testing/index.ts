/**
 * AWS for tests of what uses the provider: {@link MemoryCloud} is the provider's port in memory, and `startFakeEndpoint` puts it
 * behind an HTTP server on the loopback address that speaks AWS' wire protocol, for the unmodified SDK.
 *
 * @packageDocumentation
 */
export {
  type FakeEndpoint,
  type FakeEndpointOptions,
  type FakeRequest,
  startFakeEndpoint,
} from "./fake-endpoint.ts";
export { MemoryCloud, type MemoryCloudOptions } from "./memory-cloud.ts";
