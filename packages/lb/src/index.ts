/**
 * The load-balancer provider contract and the service controller that drives it.
 *
 * @packageDocumentation
 */
export {};
