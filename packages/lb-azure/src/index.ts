/**
 * Azure Load Balancer (Standard) behind Services.
 *
 * @packageDocumentation
 */
export { azureAnnotations } from "./annotations.ts";
export { type AzureModel, type AzureObservation, type AzureProviderOptions, azureProvider } from "./azure-provider.ts";
export type { AzureConfiguration } from "./configuration.ts";
export type { AzurePort, LoadBalancerResource, PublicIPResource, SecurityGroupResource } from "./port.ts";
export { type ResourceManagerOptions, resourceManagerPort, type TokenCredential } from "./resource-manager.ts";
