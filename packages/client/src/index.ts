/**
 * List/watch, informers, work queue and leader election over any Kubernetes API.
 *
 * @packageDocumentation
 */
export * from "./api.ts";
export * from "./api-client.ts";
export * from "./api-error.ts";
export * from "./backoff.ts";
export * from "./clock.ts";
export * from "./controller.ts";
export * from "./event-recorder.ts";
export * from "./informer.ts";
export * from "./informer-factory.ts";
export * from "./leader-elector.ts";
export { type IndexFunction, type Lister, objectKey, splitObjectKey } from "./object-store.ts";
export * from "./rate-limiter.ts";
export * from "./transport.ts";
export * from "./work-queue.ts";
