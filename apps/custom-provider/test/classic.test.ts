import { defaultLoadBalancerName, fromClassic, type LoadBalancerProvider, sourceRangesOf } from "@portolan/lb";
import { registerProviderTests } from "@portolan/lb/conformance";
import { describe, it } from "vitest";
import type { Balancer, Harbour } from "../src/harbour.ts";
import { harbourProvider } from "../src/provider.ts";
import { harbourSubject } from "../src/subject.ts";

/** The Harbour cloud by four functions instead of plans, in the shape of cloud-provider's interface. */
function classicProvider(port: Harbour, cluster: string): LoadBalancerProvider {
  const planned = harbourProvider(port, cluster);
  const markOf = (key: { namespace: string; name: string; uid: string }) =>
    [cluster, key.namespace, key.name, key.uid].join("|");
  const find = async (mark: string) => (await port.listBalancers()).find((each) => each.mark === mark);
  return fromClassic(
    {
      async get(_context, key) {
        const found = await find(markOf(key));
        return found === undefined ? undefined : [{ ip: found.address, ipMode: "VIP" }];
      },
      async ensure(_context, service, nodes) {
        const { namespace = "", name = "", uid = "" } = service.metadata;
        const network = service.metadata.annotations?.["harbour.example/network"] === "private" ? "private" : "public";
        const wanted: Balancer = {
          name: defaultLoadBalancerName(uid),
          mark: markOf({ namespace, name, uid }),
          network,
          ports: (service.spec?.ports ?? []).map(({ port: number, protocol = "TCP", nodePort = 0 }) => ({
            port: number,
            protocol,
            nodePort,
          })),
          allow: sourceRangesOf(service),
          nodes: nodes.map((node) => node.name).sort(),
        };
        const found = await find(wanted.mark!);
        const { address, ...before } = found ?? { address: "" };
        const same = JSON.stringify(before) === JSON.stringify(wanted);
        return [{ ip: same ? address : await port.putBalancer(wanted), ipMode: "VIP" }];
      },
      async delete(_context, key) {
        const found = await find(markOf(key));
        if (found !== undefined) await port.deleteBalancer(found.name);
      },
      list: (context) => planned.listOwned(context),
    },
    {
      id: "harbour-classic",
      classes: planned.classes,
      capabilities: { ...planned.capabilities, protocols: ["TCP", "UDP", "SCTP"] },
      annotations: planned.annotations,
    },
  ) as LoadBalancerProvider;
}

registerProviderTests(
  {
    ...harbourSubject,
    name: "harbour by four functions",
    createProvider: (cloud, { instrument, cluster }) => classicProvider(instrument<Harbour>(cloud), cluster),
    skip: {
      C24: "nothing tells what a classic provider would do",
      C39: "these four functions take what has their name",
      C55: "the plan of a classic provider is one opaque change",
    },
  },
  { describe, it },
);
