import type { ProviderSubject } from "@portolan/lb/conformance";
import { Harbour } from "./harbour.ts";
import { harbourProvider } from "./provider.ts";

const loadBalancerClass = "harbour.example/balancer";

/** What the conformance kit needs to put the provider to the test. */
export const harbourSubject: ProviderSubject<Harbour> = {
  name: "harbour",
  createCloud: () => new Harbour(),
  createProvider: (cloud, { instrument, cluster }) => harbourProvider(instrument<Harbour>(cloud), cluster),
  snapshot: (cloud) =>
    [...cloud.balancers.values()]
      .map(({ address: _, ...balancer }) => balancer)
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  prepare: (service) => ({ ...service, spec: { ...service.spec, loadBalancerClass } }),
  internal: (service) => ({
    ...service,
    metadata: { ...service.metadata, annotations: { "harbour.example/network": "private" } },
  }),
  annotations: [{ "harbour.example/network": "private" }],
  drift: [
    (cloud) => cloud.balancers.clear(),
    (cloud) => {
      for (const [name, balancer] of cloud.balancers) cloud.balancers.set(name, { ...balancer, nodes: [] });
    },
  ],
  plantForeign(cloud, names) {
    const name = names["Balancer"]!;
    const address = "203.0.113.250";
    cloud.balancers.set(name, { name, network: "public", ports: [], allow: [], nodes: [], address });
  },
  foreign: (cloud) => [...cloud.balancers.values()].filter((balancer) => balancer.mark === undefined),
};
