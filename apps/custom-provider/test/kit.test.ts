import { type LoadBalancerProvider, ProviderError } from "@portolan/lb";
import { type ProviderSubject, providerProperties, registerProviderTests } from "@portolan/lb/conformance";
import { describe, expect, it } from "vitest";
import type { Harbour } from "../src/harbour.ts";
import { harbourProvider } from "../src/provider.ts";
import { harbourSubject } from "../src/subject.ts";

registerProviderTests(harbourSubject, { describe, it });

type Break = (provider: LoadBalancerProvider, cloud: Harbour, cluster: string) => Partial<LoadBalancerProvider>;

/** The provider with one thing wrong in it. */
function broken(change: Break): ProviderSubject<Harbour> {
  return {
    ...harbourSubject,
    createProvider(cloud, { instrument, cluster }) {
      const port = instrument<Harbour>(cloud);
      const good = harbourProvider(port, cluster) as LoadBalancerProvider;
      return { ...good, ...change(good, port, cluster) };
    },
  };
}

async function failuresOf(subject: ProviderSubject<Harbour>): Promise<Set<string>> {
  const failed = new Set<string>();
  for (const { id, skipped, run } of providerProperties(subject)) {
    if (skipped !== undefined) continue;
    await run().catch(() => failed.add(id));
  }
  return failed;
}

const defects: readonly { name: string; change: Break; caught: readonly string[] }[] = [
  {
    name: "writes at every sync",
    caught: ["C2", "C54", "C55"],
    change: (good) => ({
      plan: (input) => ({
        ...good.plan(input),
        changes: good.plan({ ...input, observed: undefined }).changes,
      }),
    }),
  },
  {
    name: "names what it makes by chance",
    caught: ["C6"],
    change: () => ({ nameFor: () => ({ Balancer: `b-${Math.random()}` }) }),
  },
  {
    name: "gives all Services one name",
    caught: ["C6"],
    change: () => ({ nameFor: () => ({ Balancer: "balancer" }) }),
  },
  {
    name: "takes over what has its name",
    caught: ["C39"],
    change: (good, port) => ({
      async apply(_context, plan) {
        const desired = plan.desired as Parameters<Harbour["putBalancer"]>[0];
        const ip = await port.putBalancer(desired);
        return { ingress: [{ ip, ipMode: "VIP" }] };
      },
      plan: good.plan,
    }),
  },
  {
    name: "leaves everything behind",
    caught: ["C36", "C37", "C41", "C43"],
    change: () => ({ destroy: async () => {} }),
  },
  {
    name: "forgets after a restart what it made",
    caught: ["C41"],
    change: (good) => {
      const made = new Set<string>();
      return {
        apply(context, plan) {
          made.add(plan.key.uid);
          return good.apply(context, plan);
        },
        async destroy(context, key) {
          if (made.has(key.uid)) await good.destroy(context, key);
        },
      };
    },
  },
  {
    name: "owns what any cluster made",
    caught: ["C45"],
    change: (_good, port) => ({
      async *listOwned() {
        for (const { name, mark = "" } of await port.listBalancers()) {
          const [, namespace = "", service = "", uid = ""] = mark.split("|");
          yield { kind: "Balancer", id: name, key: { namespace, name: service, uid } };
        }
      },
    }),
  },
  {
    name: "writes into the Service",
    caught: ["C1", "C51"],
    change: (good) => ({
      plan(input) {
        input.service.metadata.annotations = { seen: "yes" };
        return good.plan(input);
      },
    }),
  },
  {
    name: "says nothing of an address that changes",
    caught: ["C24"],
    change: (good) => ({
      plan(input) {
        const plan = good.plan(input);
        return { ...plan, changes: plan.changes.map((each) => ({ ...each, disruptive: "none" as const })) };
      },
    }),
  },
  {
    name: "sees nodes in the order they come",
    caught: ["C54"],
    change: (good) => ({
      plan(input) {
        const plan = good.plan(input);
        const nodes = input.nodes.map((node) => node.name);
        const observed = input.observed as { nodes?: readonly string[] } | undefined;
        const same = JSON.stringify(observed?.nodes) === JSON.stringify(nodes);
        const template = good.plan({ ...input, observed: undefined }).changes[0]!;
        return { ...plan, desired: { ...(plan.desired as object), nodes }, changes: same ? plan.changes : [template] };
      },
    }),
  },
  {
    name: "reads more than it declares",
    caught: ["C52"],
    change: (good, port) => ({
      async observe(context, key) {
        for (let index = 0; index < 5; index++) await port.listBalancers();
        return await good.observe(context, key);
      },
    }),
  },
  {
    name: "calls the cloud to validate",
    caught: ["C47"],
    change: (good, port) => ({
      validate(service) {
        void port.listBalancers().catch(() => {});
        return good.validate(service);
      },
    }),
  },
  {
    name: "takes protocols that it cannot do",
    caught: ["C33"],
    change: () => ({ validate: () => [] }),
  },
  {
    name: "keeps what an annotation set when the annotation is gone",
    caught: ["C25"],
    change: (good) => ({
      plan(input) {
        const observed = input.observed as { network?: string } | undefined;
        if (observed?.network !== "private") return good.plan(input);
        const annotations = { "harbour.example/network": "private" };
        return good.plan({
          ...input,
          service: { ...input.service, metadata: { ...input.service.metadata, annotations } },
        });
      },
    }),
  },
  {
    name: "gives up for good when a call is throttled",
    caught: ["C10"],
    change: (good) => ({
      async apply(context, plan) {
        try {
          return await good.apply(context, plan);
        } catch {
          throw new ProviderError("UserConfig", "gave up");
        }
      },
    }),
  },
];

describe("the kit rejects a provider that", () => {
  for (const { name, change, caught } of defects) {
    it(name, async () => {
      const failed = await failuresOf(broken(change));
      for (const id of caught) expect([...failed], `${id} should not hold`).toContain(id);
    });
  }
});
