/**
 * Test doubles of Azure: in memory, and as an HTTP server that speaks Azure Resource Manager.
 *
 * @packageDocumentation
 */
export { AzureCloud, type AzureCloudOptions } from "./azure-cloud.ts";
export {
  type AzureEndpoint,
  type AzureEndpointOptions,
  type EndpointFault,
  startAzureEndpoint,
} from "./azure-endpoint.ts";
