import { type ProviderSubject, registerProviderTests } from "@portolan/lb/conformance";
import { azureProvider, resourceManagerPort } from "@portolan/lb-azure";
import { AzureCloud, type AzureEndpoint, startAzureEndpoint } from "@portolan/lb-azure/testing";
import { describe, it } from "vitest";

/** What is in the cloud, without versions, ids and addresses. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) {
    const list = value.map(plain);
    const named = list.every((entry) => typeof entry === "object" && entry !== null && "name" in entry);
    return named ? list.sort((a, b) => ((a as { name: string }).name < (b as { name: string }).name ? -1 : 1)) : list;
  }
  if (typeof value !== "object" || value === null) return value;
  const made = ["etag", "id", "ipAddress", "privateIPAddress", "provisioningState", "priority"];
  const addresses = ["destinationAddressPrefix", "destinationAddressPrefixes"];
  const entries = Object.entries(value)
    .filter(([key]) => !made.includes(key) || (key === "ipAddress" && "virtualNetwork" in value))
    .map(([key, member]): [string, unknown] => [key, addresses.includes(key) ? "addresses" : plain(member)]);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

const secret = "token-that-must-not-show";

const configuration = (clusterName: string) => ({
  clusterName,
  resourceGroup: "rg",
  location: "westus",
  vnetName: "vnet",
  subnetName: "subnet",
  securityGroupName: "kubernetes-nsg",
});

const subject: ProviderSubject<AzureCloud> = {
  name: "azure",
  createCloud: () => new AzureCloud(),
  createProvider: (cloud, { instrument, cluster }) =>
    azureProvider({
      port: instrument<AzureCloud>(cloud),
      configuration: configuration(cluster),
    }),
  snapshot: (cloud) =>
    [cloud.loadBalancers, cloud.publicIPs, cloud.securityGroups].map((map) => plain([...map.values()])),
  internal: (service) => ({
    ...service,
    metadata: {
      ...service.metadata,
      annotations: { "service.beta.kubernetes.io/azure-load-balancer-internal": "true" },
    },
  }),
  annotations: [
    { "service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout": "30" },
    { "service.beta.kubernetes.io/azure-dns-label-name": "shop" },
    { "service.beta.kubernetes.io/azure-allowed-service-tags": "AzureCloud" },
    { "service.beta.kubernetes.io/azure-load-balancer-health-probe-protocol": "http" },
    { "service.beta.kubernetes.io/azure-disable-load-balancer-floating-ip": "true" },
    { "service.beta.kubernetes.io/port_80_no_probe_rule": "true" },
  ],
  drift: [
    async (cloud) => {
      const [balancer] = await cloud.listLoadBalancers();
      await cloud.putLoadBalancer({ ...balancer!, properties: { ...balancer!.properties, loadBalancingRules: [] } });
    },
    async (cloud) => {
      const group = await cloud.getSecurityGroup("kubernetes-nsg");
      await cloud.putSecurityGroup({ ...group!, properties: { securityRules: [] } });
    },
    (cloud) => {
      cloud.loadBalancers.clear();
    },
  ],
  async plantForeign(cloud, names) {
    await cloud.putPublicIPAddress("rg", {
      name: names["PublicIPAddress"]!,
      tags: { owner: "somebody" },
      properties: { publicIPAllocationMethod: "Static", publicIPAddressVersion: "IPv4" },
    });
    const group = await cloud.getSecurityGroup("kubernetes-nsg");
    const properties = {
      access: "Allow",
      direction: "Inbound",
      protocol: "Tcp",
      priority: 500,
      sourceAddressPrefix: "192.0.2.0/24",
      destinationAddressPrefix: "*",
      destinationPortRange: "22",
    };
    await cloud.putSecurityGroup({ ...group!, properties: { securityRules: [{ name: "ssh", properties }] } });
  },
  foreign: (cloud) => [
    [...cloud.publicIPs.values()].filter((each) => each.tags?.["owner"] === "somebody"),
    [...cloud.securityGroups.values()].flatMap((each) =>
      (each.properties.securityRules ?? []).filter((rule) => rule.name === "ssh"),
    ),
  ],
  exposed: (cloud) =>
    // Security rules let clients in; they must not be there before the rules and pools that serve them.
    [...cloud.securityGroups.values()].some((group) => (group.properties.securityRules ?? []).length > 0) &&
    [...cloud.loadBalancers.values()].every((each) => (each.properties.loadBalancingRules ?? []).length === 0),
};

registerProviderTests(subject, { describe, it });

/** The same cloud behind HTTP, asked by the REST adapter; operations take a poll, lists come in pages of one. */
interface Remote {
  readonly cloud: AzureCloud;
  readonly endpoint: AzureEndpoint;
}

registerProviderTests<Remote>(
  {
    name: "azure over Azure Resource Manager",
    async createCloud() {
      const cloud = new AzureCloud();
      return { cloud, endpoint: await startAzureEndpoint(cloud, { polls: 1, pageSize: 1 }) };
    },
    createProvider: ({ endpoint }, { instrument, cluster, clock }) =>
      azureProvider({
        port: instrument(
          resourceManagerPort({
            subscription: "00000000-0000-0000-0000-000000000000",
            resourceGroup: "rg",
            endpoint: endpoint.url,
            credential: { getToken: async () => ({ token: secret }) },
            sleep: (milliseconds) => new Promise((resolve) => void clock.schedule(resolve, milliseconds)),
          }),
        ),
        configuration: configuration(cluster),
      }),
    snapshot: ({ cloud }) => subject.snapshot(cloud),
    internal: subject.internal!,
    plantForeign: ({ cloud }, names) => subject.plantForeign!(cloud, names),
    foreign: ({ cloud }) => subject.foreign!(cloud),
    secrets: [secret],
    close: ({ endpoint }) => endpoint.close(),
    skip: { C27: "the rules are those of the provider above; here the transport is asked", C6: "as above" },
  },
  { describe, it },
);
