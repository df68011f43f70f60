/**
 * Kubernetes API types for Service networking with defaulting, validation, selectors and Status.
 *
 * @packageDocumentation
 */
export * from "./schema/kinds.ts";
export * from "./schema/schema.ts";
export * from "./types/meta.ts";
export * from "./types/resources.ts";
export * from "./types/service.ts";
export * from "./types/workload.ts";
