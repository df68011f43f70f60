/**
 * AWS in memory, for tests of what uses the provider: {@link MemoryCloud} is the provider's port.
 *
 * @packageDocumentation
 */
export { MemoryCloud, type MemoryCloudOptions } from "./memory-cloud.ts";
