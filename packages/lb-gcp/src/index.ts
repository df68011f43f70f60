/**
 * A load-balancer provider for Google Cloud: passthrough network load balancers, external and internal.
 *
 * ```ts
 * import { gcpProvider } from "@portolan/lb-gcp";
 * import { googleAuthToken, restPort } from "@portolan/lb-gcp/rest";
 *
 * const provider = gcpProvider({
 *   port: restPort({ token: googleAuthToken() }),
 *   configuration: {
 *     project: "shop",
 *     region: "europe-west1",
 *     kubeSystemUID: "0a1b2c3d-…",
 *     network: "default",
 *     subnetwork: "default",
 *     nodeTags: ["gke-shop-node"],
 *   },
 * });
 * ```
 *
 * @packageDocumentation
 */
export { GcpApiError, type GcpPort, type Operation } from "./port.ts";
export { type GcpProviderOptions, gcpProvider } from "./provider.ts";
export type { GcpConfiguration, GcpDesired, GcpFeatures, GcpObserved } from "./rules.ts";
