/**
 * A load-balancer provider for laptops and bare metal: address pools, sharing, L2 election.
 *
 * @packageDocumentation
 */
export {};
