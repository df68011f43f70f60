import type { LoadBalancerProvider } from "@portolan/lb";
import { awsProvider } from "@portolan/lb-aws";
import { MemoryCloud } from "@portolan/lb-aws/testing";
import { azureProvider } from "@portolan/lb-azure";
import { AzureCloud } from "@portolan/lb-azure/testing";
import { gcpProvider } from "@portolan/lb-gcp";
import { createMemoryCloud, memoryPort } from "@portolan/lb-gcp/testing";

/** A cloud without an account, and how a Service is written for it. */
export interface Cloud {
  readonly name: string;
  provider(): LoadBalancerProvider;
  /** Annotations of a Service that clients outside may use, and of one that only clients inside may. */
  readonly external: Readonly<Record<string, string>>;
  readonly internal: Readonly<Record<string, string>>;
}

/** The clouds of the article, with its own annotations. */
export const clouds: readonly Cloud[] = [
  {
    name: "AWS",
    provider: () => awsProvider({ clusterName: "shop", port: new MemoryCloud() }) as LoadBalancerProvider,
    external: { "service.beta.kubernetes.io/aws-load-balancer-type": "nlb" },
    internal: {
      "service.beta.kubernetes.io/aws-load-balancer-type": "nlb",
      "service.beta.kubernetes.io/aws-load-balancer-internal": "true",
    },
  },
  {
    name: "GCP",
    provider: () =>
      gcpProvider({
        port: memoryPort(createMemoryCloud()),
        configuration: {
          project: "shop",
          region: "europe-west1",
          kubeSystemUID: "0a1b2c3d-0000-1111-2222-333344445555",
          network: "default",
          subnetwork: "default",
          nodeTags: ["gke-shop-node"],
        },
      }) as LoadBalancerProvider,
    external: { "cloud.google.com/l4-rbs": "enabled" },
    internal: { "networking.gke.io/load-balancer-type": "Internal" },
  },
  {
    name: "Azure",
    provider: () =>
      azureProvider({
        port: new AzureCloud(),
        configuration: {
          clusterName: "kubernetes",
          resourceGroup: "shop",
          location: "westeurope",
          vnetName: "shop",
          subnetName: "nodes",
        },
      }) as LoadBalancerProvider,
    external: {},
    internal: { "service.beta.kubernetes.io/azure-load-balancer-internal": "true" },
  },
];
