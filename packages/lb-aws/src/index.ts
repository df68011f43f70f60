/**
 * A load-balancer provider for AWS: Network Load Balancers with target groups and security groups, in the semantics of the AWS
 * Load Balancer Controller, or of the in-tree cloud provider for Services that ask for that one; and in mode `ccm` its classic
 * load balancers.
 *
 * ```ts
 * import { awsProvider } from "@portolan/lb-aws";
 * import { sdkPort } from "@portolan/lb-aws/sdk";
 *
 * const provider = awsProvider({ clusterName: "prod", port: await sdkPort({ region: "eu-central-1" }) });
 * ```
 *
 * @packageDocumentation
 */
export type { AwsConfiguration } from "./configuration.ts";
export type { AwsObservation } from "./observation.ts";
export { AwsError, type AwsPort } from "./port.ts";
export { type AwsPlan, type AwsProviderOptions, awsProvider } from "./provider.ts";
export type { RateLimit, RateLimits } from "./rate-limit.ts";
