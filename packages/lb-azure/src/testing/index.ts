/**
 * Test doubles of Azure: in memory, and as an HTTP server that speaks Azure Resource Manager.
 *
 * @packageDocumentation
 */
export { AzureCloud, type AzureCloudOptions } from "./azure-cloud.ts";
