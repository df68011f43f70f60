/**
 * Cluster DNS: wire codec, zone semantics, server, upstream forwarding.
 *
 * @packageDocumentation
 */
export {};
