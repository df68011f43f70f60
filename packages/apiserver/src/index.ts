/**
 * An embedded Kubernetes API server that real kubectl talks to.
 *
 * @packageDocumentation
 */
export {};
