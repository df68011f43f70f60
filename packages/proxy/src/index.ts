/**
 * kube-proxy's role: Services and EndpointSlices compiled to dataplane maps.
 *
 * @packageDocumentation
 */
export {};
