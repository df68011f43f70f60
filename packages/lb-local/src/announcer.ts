import { createHash } from "node:crypto";
import type { InformerFactory } from "@portolan/client";
import { type EndpointSlice, type Node, resources, type Service } from "@portolan/core";
import { isLoadBalancerTarget } from "@portolan/lb";

/**
 * The node that answers for an address on the link: the first by SHA-256 of `node#address`, so that every observer elects the
 * same one and addresses spread over nodes. `undefined` when there is no candidate.
 */
export function electAnnouncer(address: string, candidates: readonly string[]): string | undefined {
  const rank = (node: string): string => createHash("sha256").update(`${node}#${address}`).digest("hex");
  return [...candidates].sort((a, b) => (rank(a) < rank(b) ? -1 : 1))[0];
}

/** Options of {@link createAnnouncer}. */
export interface AnnouncerOptions {
  readonly informers: InformerFactory;
  /** Makes a node answer for an address, and no other node. `undefined`: nobody answers. */
  readonly announce: (address: string, node: string | undefined) => void;
}

/**
 * Layer-2 announcement: keeps one node answering for each load-balancer address. With `externalTrafficPolicy: Local` only nodes
 * with a ready endpoint are candidates; a Service without any usable endpoint is announced by nobody.
 */
export function createAnnouncer(options: AnnouncerOptions): { run(signal: AbortSignal): Promise<void> } {
  const { informers, announce } = options;
  const services = informers.informer<Service>(resources.services);
  const slices = informers.informer<EndpointSlice>(resources.endpointSlices);
  const nodes = informers.informer<Node>(resources.nodes);
  const current = new Map<string, string | undefined>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running = false;

  function candidatesOf(service: Service, eligible: readonly string[]): readonly string[] {
    const mine = slices.lister
      .list(service.metadata.namespace)
      .filter((slice) => slice.metadata.labels?.["kubernetes.io/service-name"] === service.metadata.name);
    const usable = mine
      .flatMap((slice) => slice.endpoints ?? [])
      .filter((endpoint) => (endpoint.conditions?.ready ?? true) || (endpoint.conditions?.serving ?? true));
    if (usable.length === 0) return [];
    if (service.spec?.externalTrafficPolicy !== "Local") return eligible;
    return eligible.filter((node) => usable.some((endpoint) => endpoint.nodeName === node));
  }

  function settle(): void {
    timer = undefined;
    if (!running) return;
    const eligible = nodes.lister
      .list()
      .filter(isLoadBalancerTarget)
      .map((node) => node.metadata.name ?? "");
    const wanted = new Map<string, Set<string>>();
    for (const service of services.lister.list()) {
      if (service.spec?.type !== "LoadBalancer") continue;
      for (const ingress of service.status?.loadBalancer?.ingress ?? []) {
        if (!ingress.ip || ingress.ipMode === "Proxy") continue;
        // Services that share an address have the same candidates, or none while they have no endpoint.
        const set = wanted.get(ingress.ip) ?? new Set();
        for (const node of candidatesOf(service, eligible)) set.add(node);
        wanted.set(ingress.ip, set);
      }
    }
    for (const [address, candidates] of wanted) {
      const node = electAnnouncer(address, [...candidates]);
      if (current.has(address) && current.get(address) === node) continue;
      current.set(address, node);
      announce(address, node);
    }
    for (const address of [...current.keys()]) {
      if (wanted.has(address)) continue;
      current.delete(address);
      announce(address, undefined);
    }
  }

  const later = (): void => {
    if (running && timer === undefined) timer = setTimeout(settle, 0);
  };
  for (const informer of [services, slices, nodes]) informer.addHandler({ add: later, update: later, delete: later });

  return {
    async run(signal) {
      await Promise.all([services.synced(signal), slices.synced(signal), nodes.synced(signal)]);
      if (signal.aborted) return;
      running = true;
      settle();
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      running = false;
      clearTimeout(timer);
    },
  };
}
