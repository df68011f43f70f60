import { parseLabelSelector } from "@portolan/core";
import { createCallContext } from "@portolan/lb";
import {
  type AddressPool,
  announcerCandidates,
  announcerOrder,
  createAddressAllocator,
  discoverVirtualAddresses,
  localProvider,
  parsePool,
  poolSize,
  proxyConfiguration,
  proxyContainerName,
  proxyListenAddress,
  type ServiceAllocation,
} from "@portolan/lb-local";
import type { Answers } from "./vector.ts";

type VectorPool = Omit<AddressPool, "serviceAllocation"> & {
  readonly serviceAllocation?: Omit<ServiceAllocation, "serviceSelectors"> & {
    readonly serviceSelectors?: readonly string[];
  };
};

/** A pool with the selectors of the vectors (`team=metallb`) as label selectors. */
function poolOf(pool: VectorPool): AddressPool {
  const { serviceAllocation, ...rest } = pool;
  if (serviceAllocation === undefined) return rest;
  const serviceSelectors = (serviceAllocation.serviceSelectors ?? []).map((text) => ({
    matchLabels: Object.fromEntries(
      parseLabelSelector(text).map((entry): [string, string] => [entry.key, entry.values[0] ?? ""]),
    ),
  }));
  return { ...rest, serviceAllocation: { ...serviceAllocation, serviceSelectors } };
}

/** Rules of the providers for laptops and bare metal. */
export const answers: Answers = {
  async allocation({ input }) {
    const service = {
      ...input.service,
      metadata: { namespace: "default", name: "web", uid: "u1", ...input.service.metadata },
    };
    const provider = localProvider({ allocator: createAddressAllocator(input.pools.map(poolOf).map(parsePool)) });
    if (provider.claim(service) !== "mine" || service.spec.type !== "LoadBalancer") return { ingressIPs: [] };
    const wrong = provider.validate(service).find((entry) => entry.severity === "error");
    if (wrong !== undefined) return { error: { class: "UserConfig", message: wrong.message }, ingressIPs: [] };
    provider.restore?.([service]);
    const context = createCallContext({ signal: new AbortController().signal, idempotencyKey: "vector" });
    const key = { namespace: service.metadata.namespace, name: service.metadata.name, uid: service.metadata.uid };
    const plan = provider.plan({ service, nodes: [], observed: await provider.observe(context, key) });
    const { ingress } = await provider.apply(context, plan);
    return { ingressIPs: ingress.map((entry) => entry.ip), unchanged: plan.changes.length === 0 };
  },
  allocatorSequence({ input, expect }) {
    const allocator = createAddressAllocator(input.pools.map(poolOf).map(parsePool));
    const given = new Set<string>();
    const eachStepOk: boolean[] = [];
    for (const step of input.steps) {
      if (step.op === "unassign") {
        allocator.release(`default/${step.service}`);
        eachStepOk.push(true);
        continue;
      }
      const asked: string[] = step.ips ?? (step.ip === undefined ? [] : [step.ip]);
      const families =
        step.family === "DualStack"
          ? (["IPv4", "IPv6"] as const)
          : [step.family ?? (asked[0]?.includes(":") ? "IPv6" : "IPv4")];
      const result = allocator.allocate({
        owner: `default/${step.service}`,
        families,
        requireAll: step.family === "DualStack",
        addresses: asked,
        ports: (step.ports ?? []).map(String),
        backendKey: step.backendKey ?? "",
        ...(step.sharingKey ? { sharingKey: step.sharingKey } : {}),
        ...(step.pool ? { pool: step.pool } : {}),
      });
      eachStepOk.push("addresses" in result);
      if ("addresses" in result) for (const address of result.addresses) given.add(address);
    }
    // Which of the allowed addresses are given is up to the allocator.
    const allowed = (expect["allowedIPs"] ?? []) as string[];
    const within = [...given].every((address) => allowed.includes(address));
    return { eachStepOk, allowedIPs: within ? allowed : [...given] };
  },
  poolSize: ({ input }) => poolSize(parsePool({ name: "pool", ...input })),
  l2Election({ input }) {
    const order = announcerOrder(input.ip, input.candidates, input.preferences);
    return { order, announcer: order[0] ?? null };
  },
  l2Candidates({ input }) {
    const ready = Object.entries(input.readyEndpointsByNode ?? {}).filter(([, usable]) => usable);
    const usable = new Set(ready.map(([node]) => node));
    return { candidates: announcerCandidates(input.nodes, input.externalTrafficPolicy, usable) };
  },
  name: ({ input }) => ({ name: proxyContainerName(input.clusterName, input.service) }),
  listenAddress: ({ input }) => ({ listenAddress: proxyListenAddress(input.service) }),
  proxyConfig: ({ input }) => proxyConfiguration(input.service, input.nodes),
  discoverVIPs({ input }) {
    return { vips: discoverVirtualAddresses({ ...input, ipFamilies: input.ipFamilies ?? [] }) };
  },
};
