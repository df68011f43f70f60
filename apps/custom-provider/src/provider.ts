import {
  type AnnotationRegistry,
  type Change,
  defaultLoadBalancerName,
  type LoadBalancerProvider,
  ProviderError,
  type ServiceKey,
  sourceRangesOf,
} from "@portolan/lb";
import type { Balancer, HarbourPort } from "./harbour.ts";

const networkAnnotation = "harbour.example/network";

const annotations: AnnotationRegistry = {
  prefixes: ["harbour.example/"],
  rows: [
    {
      key: networkAnnotation,
      type: { kind: "enumeration", values: ["public", "private"] },
      default: "public",
      sets: "the network that clients come from",
      change: "ip-change",
      exposure: true,
    },
  ],
};

type Observed = (Balancer & { readonly address: string }) | undefined;

/** A provider for the Harbour cloud. What it desires and observes are balancers of that cloud. */
export function harbourProvider(port: HarbourPort, cluster: string): LoadBalancerProvider<Balancer, Observed> {
  const markOf = (key: ServiceKey): string => [cluster, key.namespace, key.name, key.uid].join("|");

  const find = async (key: ServiceKey): Promise<Observed> =>
    (await port.listBalancers()).find((each) => each.mark === markOf(key));

  return {
    apiVersion: 1,
    id: "harbour",
    classes: ["harbour.example/balancer"],
    default: false,
    annotations,
    capabilities: {
      protocols: ["TCP", "UDP"],
      targets: "node",
      mixedProtocol: "full",
      status: "ip",
      ipMode: "VIP",
      dualStack: false,
      requestedIP: "none",
      sourceRanges: "enforced",
      sharedFrontend: false,
      needsNodePorts: true,
      internal: true,
      sessionAffinity: false,
      callBudget: { steadyReads: 2 },
    },
    claim: (service) => (service.spec?.loadBalancerClass === "harbour.example/balancer" ? "mine" : "not-mine"),
    nameFor: (key) => ({ Balancer: defaultLoadBalancerName(key.uid) }),
    validate(service) {
      const unsupported = service.spec?.ports?.find((each) => each.protocol === "SCTP");
      if (unsupported === undefined) return [];
      const message = `port ${unsupported.port}: Harbour balances TCP and UDP, not SCTP`;
      return [{ severity: "error", code: "UnsupportedProtocol", message, field: "spec.ports" }];
    },
    observe: (_context, key) => find(key),
    plan({ service, nodes, observed }) {
      const { namespace = "", name = "", uid = "" } = service.metadata;
      const key = { namespace, name, uid };
      const desired: Balancer = {
        name: defaultLoadBalancerName(uid),
        mark: markOf(key),
        network: service.metadata.annotations?.[networkAnnotation] === "private" ? "private" : "public",
        ports: (service.spec?.ports ?? []).map((each) => ({
          port: each.port,
          protocol: each.protocol ?? "TCP",
          nodePort: each.nodePort ?? 0,
        })),
        allow: sourceRangesOf(service),
        nodes: nodes.map((each) => each.name).sort(),
      };
      const fields = (["network", "ports", "allow", "nodes"] as const)
        .filter((field) => JSON.stringify(observed?.[field]) !== JSON.stringify(desired[field]))
        .map((field) => [field, observed?.[field], desired[field]] as const);
      const moved = observed !== undefined && observed.network !== desired.network;
      const change: Change = {
        id: "balancer",
        action: observed === undefined ? "create" : "update",
        resource: { kind: "Balancer", name: desired.name },
        fields,
        disruptive: moved ? "ip-change" : "none",
        because: observed === undefined ? "there is none yet" : `${fields.map(([field]) => field).join(", ")} changed`,
        dependsOn: [],
        ...(moved ? { requested: true } : {}),
      };
      return { key, desired, changes: fields.length > 0 ? [change] : [], diagnostics: [] };
    },
    async apply(context, plan) {
      const { desired } = plan;
      const existing = (await port.listBalancers()).find((each) => each.name === desired.name);
      if (existing !== undefined && existing.mark !== desired.mark) {
        throw new ProviderError("Conflict", `balancer ${desired.name} exists and is not of this cluster`);
      }
      context.signal.throwIfAborted();
      const address = plan.changes.length > 0 ? await port.putBalancer(desired) : existing?.address;
      return { ingress: address === undefined ? [] : [{ ip: address, ipMode: "VIP" }] };
    },
    async destroy(_context, key) {
      const found = await find(key);
      if (found !== undefined) await port.deleteBalancer(found.name);
    },
    async *listOwned() {
      for (const { name, mark = "" } of await port.listBalancers()) {
        const [owner, namespace = "", service = "", uid = ""] = mark.split("|");
        if (owner === cluster) yield { kind: "Balancer", id: name, key: { namespace, name: service, uid } };
      }
    },
  };
}
