import type { NodeSpec, ServicePortSpec } from "@portolan/dataplane";
import { parseAddress, parsePrefix, prefixContains } from "@portolan/net";

/*
 * A second, slow and obvious statement of the decision about a first packet, for nftables and iptables modes. It names sets, not
 * picks: which backends a flow may get, and whether its source is rewritten if it gets one of them.
 */

export interface ModelFlow {
  readonly protocol: "TCP" | "UDP";
  readonly source: string;
  readonly destination: string;
  readonly destinationPort: number;
}

export type ModelDecision =
  | { readonly kind: "pass" }
  | { readonly kind: "reject" }
  | { readonly kind: "drop" }
  | { readonly kind: "dnat"; readonly backends: readonly string[]; masquerades(backend: string): boolean };

const inside = (prefixes: readonly string[], address: string) =>
  prefixes.some((text) => prefixContains(parsePrefix(text.trim())!, parseAddress(address)!));

export function decide(node: NodeSpec, services: readonly ServicePortSpec[], flow: ModelFlow): ModelDecision {
  const family = flow.destination.includes(":") ? "IPv6" : "IPv4";
  const candidates = services.filter((service) => service.family === family && service.protocol === flow.protocol);
  const primary = family === "IPv4" ? node.primaryIPv4 : node.primaryIPv6;
  const own = (address: string) => node.addresses.includes(address) || address.startsWith("127.") || address === "::1";
  const first = node.addresses.find((address) => address.includes(":") === (family === "IPv6"));
  const nodePortAddresses = node.nodePortAddresses ?? [primary ?? first ?? ""];
  let match: { service: ServicePortSpec; kind: string } | undefined;
  for (const service of candidates) {
    for (const frontend of service.frontends) {
      if (
        frontend.kind !== "NodePort" &&
        frontend.address === flow.destination &&
        frontend.port === flow.destinationPort
      )
        match ??= { service, kind: frontend.kind };
    }
  }
  if (match === undefined && nodePortAddresses.includes(flow.destination)) {
    for (const service of candidates) {
      for (const frontend of service.frontends) {
        if (frontend.kind === "NodePort" && frontend.port === flow.destinationPort)
          match ??= { service, kind: "NodePort" };
      }
    }
  }
  const nftables = (node.mode ?? "nftables") === "nftables";
  if (match === undefined) {
    if (!nftables) {
      // iptables rejects node ports without endpoints on every address of the node, accepted or not.
      const dead = candidates.find((service) =>
        service.frontends.some((one) => one.kind === "NodePort" && one.port === flow.destinationPort),
      );
      const rejects = dead !== undefined && !dead.hasAny && own(flow.destination);
      return rejects ? { kind: "reject" } : { kind: "pass" };
    }
    const clusterIPs = services.flatMap((service) =>
      service.frontends.filter((frontend) => frontend.kind === "ClusterIP").map((frontend) => frontend.address),
    );
    if (clusterIPs.includes(flow.destination)) return { kind: "reject" };
    return inside(node.serviceCIDRs ?? [], flow.destination) && !own(flow.destination)
      ? { kind: "drop" }
      : { kind: "pass" };
  }
  const { service, kind } = match;
  const ranges = service.sourceRanges ?? [];
  if (kind === "LoadBalancer" && ranges.length > 0 && (service.hasAny || nftables)) {
    const vips = service.frontends
      .filter((frontend) => frontend.kind === "LoadBalancer")
      .map((frontend) => frontend.address);
    const viaVip = vips.includes(flow.source) && inside(ranges, primary ?? first ?? "0.0.0.0");
    if (!inside(ranges, flow.source) && !viaVip) return { kind: "drop" };
  }
  if (!service.hasAny) {
    const unhooked =
      !nftables && own(flow.source) && (kind === "LoadBalancer" || kind === "ExternalIP") && !own(flow.destination);
    return unhooked ? { kind: "pass" } : { kind: "reject" };
  }
  const detector = node.clusterCIDRs.length > 0;
  const pod = detector && inside(node.clusterCIDRs, flow.source);
  let set = service.cluster;
  let masquerade = false;
  if (kind === "ClusterIP") {
    masquerade = (node.masqueradeAll ?? false) || (detector && !pod);
    if (service.internalTrafficPolicy === "Local") set = service.local;
  } else if (service.externalTrafficPolicy === "Cluster") masquerade = true;
  else if (pod) masquerade = false;
  else if (own(flow.source)) masquerade = true;
  else set = service.local;
  if (set.length === 0) return set === service.local && set !== service.cluster ? { kind: "drop" } : { kind: "reject" };
  const members = new Map(set.map((backend) => [backend.address, backend]));
  return {
    kind: "dnat",
    backends: set.filter((backend) => (backend.weight ?? 1) > 0).map((backend) => backend.address),
    masquerades: (address) => {
      if (own(address)) return false;
      return masquerade || (address === flow.source && (!nftables || (members.get(address)?.local ?? false)));
    },
  };
}
