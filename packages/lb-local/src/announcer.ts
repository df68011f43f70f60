import { createHash } from "node:crypto";
import type { InformerFactory } from "@portolan/client";
import { type EndpointSlice, type Node, resources, type Service } from "@portolan/core";
import { isLoadBalancerTarget } from "@portolan/lb";

/**
 * Candidates in the order in which they should answer for an address on the link: those with a higher preference first, then by
 * SHA-256 of `node#address`, so that every observer elects the same one and addresses spread over nodes.
 */
export function announcerOrder(
  address: string,
  candidates: readonly string[],
  preferences: Readonly<Record<string, number>> = {},
): string[] {
  const ranked = candidates.map((node) => ({
    node,
    preference: preferences[node] ?? 0,
    rank: createHash("sha256").update(`${node}#${address}`).digest("hex"),
  }));
  ranked.sort((a, b) => b.preference - a.preference || (a.rank < b.rank ? -1 : 1));
  return ranked.map((entry) => entry.node);
}

/** The first of {@link announcerOrder}, or `undefined` when there is no candidate. */
export function electAnnouncer(address: string, candidates: readonly string[]): string | undefined {
  return announcerOrder(address, candidates)[0];
}

/**
 * Nodes that may answer for a Service's address: none while it has no usable endpoint; with policy Local only those that have one.
 *
 * @param usable names of nodes with at least one endpoint that is ready or still serving
 */
export function announcerCandidates(
  nodes: readonly string[],
  externalTrafficPolicy: string | undefined,
  usable: ReadonlySet<string>,
): string[] {
  if (usable.size === 0) return [];
  return externalTrafficPolicy === "Local" ? nodes.filter((node) => usable.has(node)) : [...nodes];
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
    return announcerCandidates(
      eligible,
      service.spec?.externalTrafficPolicy,
      new Set(usable.map((endpoint) => endpoint.nodeName ?? "")),
    );
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
