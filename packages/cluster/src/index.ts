/**
 * The embedded cluster: API server, controllers, nodes, pods, DNS and dataplane composed.
 *
 * @packageDocumentation
 */
export {};
