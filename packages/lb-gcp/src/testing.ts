/**
 * Google Cloud without an account: a project in memory, and a server on the loopback interface that speaks the Compute Engine API
 * for it. Both have the cloud's failures: operations that take their time and fail at their end, objects in use, stale
 * fingerprints, quotas, throttling, answers that are lost, pages.
 *
 * @packageDocumentation
 */
import { memoryFetch } from "./fake-endpoint.ts";
import type { MemoryCloud } from "./memory-cloud.ts";
import type { GcpPort } from "./port.ts";
import { restPort } from "./rest.ts";

export { type FakeEndpoint, memoryFetch, startFakeEndpoint } from "./fake-endpoint.ts";
export {
  type CloudAnswer,
  type CloudFault,
  type CloudRequest,
  createMemoryCloud,
  type MemoryCloud,
  type MemoryCloudOptions,
} from "./memory-cloud.ts";

/** The port to a project in memory: the REST client without a network between. */
export function memoryPort(cloud: MemoryCloud): GcpPort {
  return restPort({ fetch: memoryFetch(cloud), token: () => "memory" });
}
