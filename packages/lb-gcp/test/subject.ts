import type { LoadBalancerProvider } from "@portolan/lb";
import type { ProviderSubject } from "@portolan/lb/conformance";
import { gcpProvider } from "../src/provider.ts";
import { createMemoryCloud, type MemoryCloud, memoryPort } from "../src/testing.ts";

const project = "projects/shop";
const region = `${project}/regions/europe-west1`;

/** What is there, without what the cloud makes up. */
function snapshotOf(cloud: MemoryCloud): unknown {
  const invented = new Set(["id", "creationTimestamp", "fingerprint", "labelFingerprint", "address"]);
  return [...cloud.objects()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, body]) => {
      const members = Object.entries(body)
        .filter(([name]) => !invented.has(name))
        .map(([name, value]): [string, unknown] => {
          if (name === "IPAddress") return [name, "address"];
          if (name === "destinationRanges") return [name, (value as string[]).map(() => "address")];
          return [name, value];
        })
        .sort(([a], [b]) => (a < b ? -1 : 1));
      return { path, body: Object.fromEntries(members), members: cloud.members(path) };
    });
}

const find = (cloud: MemoryCloud, collection: string): [string, Record<string, unknown>][] =>
  [...cloud.objects()]
    .filter(([path]) => path.includes(`/${collection}/`))
    .map(([path, body]) => [path, body as Record<string, unknown>]);

/** The provider on a cloud in memory, for the kit. */
export const subject = subjectOf("gcp", 0);

/** The same with what it reads remembered: it does not see what others change meanwhile. */
export const { drift: _unseen, ...rememberingSubject } = subjectOf("gcp that remembers", 3_600_000);

function subjectOf(name: string, inventoryAge: number): ProviderSubject<MemoryCloud> {
  return {
    name,
    createCloud: () => createMemoryCloud(),
    createProvider: (cloud, { instrument, cluster }): LoadBalancerProvider =>
      gcpProvider({
        port: instrument(memoryPort(cloud)),
        inventoryAge,
        configuration: {
          project: "shop",
          region: "europe-west1",
          kubeSystemUID: cluster,
          network: "default",
          subnetwork: "default",
          nodeTags: ["nodes"],
          features: { weightedLoadBalancing: true, strongSessionAffinity: true, denyFirewall: true },
        },
      }) as LoadBalancerProvider,
    snapshot: snapshotOf,
    internal: (service) => ({
      ...service,
      metadata: {
        ...service.metadata,
        annotations: { ...service.metadata.annotations, "networking.gke.io/load-balancer-type": "Internal" },
      },
    }),
    annotations: [
      { "cloud.google.com/network-tier": "Standard" },
      { "networking.gke.io/weighted-load-balancing": "pods-per-node" },
      { "networking.gke.io/load-balancer-type": "Internal" },
      {
        "networking.gke.io/load-balancer-type": "Internal",
        "networking.gke.io/internal-load-balancer-allow-global-access": "true",
      },
      {
        "networking.gke.io/load-balancer-type": "Internal",
        "networking.gke.io/internal-load-balancer-subnet": "other",
      },
    ],
    drift: [
      (cloud) => cloud.remove(find(cloud, "forwardingRules")[0]![0]),
      (cloud) => cloud.remove(find(cloud, "firewalls").find(([, body]) => body["denied"] !== undefined)![0]),
      (cloud) => cloud.put(find(cloud, "backendServices")[0]![0], { sessionAffinity: "CLIENT_IP_PROTO" }),
      (cloud) => {
        const [path] = find(cloud, "firewalls").find(([, body]) => !("denied" in body) && body["destinationRanges"])!;
        cloud.put(path, { sourceRanges: ["10.0.0.0/8"] });
      },
      (cloud) => cloud.put(find(cloud, "healthChecks")[0]![0], { httpHealthCheck: { port: 80, requestPath: "/" } }),
      (cloud) => cloud.put(find(cloud, "backendServices")[0]![0], { backends: [] }),
    ],
    plantForeign(cloud, names) {
      cloud.put(`${region}/forwardingRules/${names["forwardingRule"]}`, {
        IPAddress: "192.0.2.7",
        description: "mine",
      });
      cloud.put(`${region}/backendServices/${names["backendService"]}`, { protocol: "TCP" });
      cloud.put(`${project}/global/firewalls/${names["firewall"]}`, { sourceRanges: ["10.0.0.0/8"] });
    },
    foreign: (cloud) =>
      [...cloud.objects()].filter(([, body]) => !String(body["description"]).includes("portolan.dev")),
    exposed: (cloud) =>
      find(cloud, "forwardingRules").length > 0 &&
      (find(cloud, "firewalls").length < 3 || find(cloud, "backendServices").length === 0),
  };
}
