/**
 * An embedded Kubernetes API server that real kubectl talks to.
 *
 * @packageDocumentation
 */
export type * from "./pod-streams.ts";
