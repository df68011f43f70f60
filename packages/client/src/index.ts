/**
 * List/watch, informers, work queue and leader election over any Kubernetes API.
 *
 * @packageDocumentation
 */
export * from "./api.ts";
export * from "./transport.ts";
