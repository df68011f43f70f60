/**
 * A load balancer in front of nodes that behaves like a cloud's. A provider's flow policy says what that cloud does to packets;
 * the dataplane decides by it.
 *
 * @packageDocumentation
 */
export { type Appliance, type ApplianceOptions, type ApplianceResult, createAppliance } from "./appliance.ts";
export { type ProxiedConnection, proxyProtocolHeader } from "./proxy-protocol.ts";
export { listenForClients, type RelayOptions } from "./relay.ts";
export { nextTargetState, type Probe, type TargetState } from "./target-health.ts";
