import { type PortLike, portRanges } from "./ports.ts";

/** Protocols and ports of a firewall rule. */
export interface FirewallPorts {
  readonly IPProtocol: string;
  readonly ports?: readonly string[];
}

/** Stands in a model for the address of the forwarding rule, which is known only when there is one. */
export const ruleAddress = "<forwardingRule.IPAddress>";
/** The same for the rule with an IPv6 address. */
export const ruleAddressIPv6 = "<forwardingRuleIPv6.IPAddress>";

/** A firewall rule for traffic to nodes. */
export interface Firewall {
  readonly name: string;
  readonly sourceRanges: readonly string[];
  /** Absent: any destination. */
  readonly destinationRanges?: readonly string[];
  readonly targetTags: readonly string[];
  readonly allowed?: readonly FirewallPorts[];
  readonly denied?: readonly FirewallPorts[];
  readonly priority: number;
}

/** Addresses that Google's health checks come from. */
export const healthCheckSources = {
  IPv4: ["130.211.0.0/22", "35.191.0.0/16", "209.85.152.0/22", "209.85.204.0/22"],
  /** For internal load balancers. */
  internalIPv6: ["2600:2d00:1:b029::/64"],
  externalIPv6: ["2600:1901:8001::/48"],
} as const;

/** Most source ranges that one firewall rule holds. */
export const maximumSourceRanges = 256;

/** Ports of a Service by protocol, neighbours joined, in lower case as the cloud gives it back unless `upperCase` is set. */
export function allowedPorts(ports: readonly PortLike[], upperCase = false): FirewallPorts[] {
  const protocols = [...new Set(ports.map((port) => port.protocol ?? "TCP"))];
  return protocols.map((protocol) => ({
    IPProtocol: upperCase ? protocol : protocol.toLowerCase(),
    ports: portRanges(ports.filter((port) => (port.protocol ?? "TCP") === protocol).map((port) => port.port)),
  }));
}

/** What a rule that lets clients in is made from. */
export interface TrafficFirewallInput {
  readonly name: string;
  readonly sourceRanges: readonly string[];
  /** Empty or absent: any destination. */
  readonly destination?: string;
  readonly ports: readonly PortLike[];
  readonly nodeTags: readonly string[];
  readonly priority: number;
  /** Protocols in upper case. */
  readonly upperCase?: boolean;
}

/** The rule that lets clients reach the ports of a Service on its nodes. */
export function trafficFirewall(input: TrafficFirewallInput): Firewall {
  return {
    name: input.name,
    sourceRanges: input.sourceRanges,
    ...(input.destination ? { destinationRanges: [input.destination] } : {}),
    targetTags: input.nodeTags,
    allowed: allowedPorts(input.ports, input.upperCase),
    priority: input.priority,
  };
}

/** The rule that lets health checks reach a port of the nodes; of every load balancer, so without destination. */
export function healthCheckFirewall(input: {
  readonly name: string;
  readonly port: number;
  readonly nodeTags: readonly string[];
  readonly priority: number;
  readonly sourceRanges?: readonly string[];
  readonly upperCase?: boolean;
}): Firewall {
  return trafficFirewall({
    ...input,
    sourceRanges: input.sourceRanges ?? healthCheckSources.IPv4,
    ports: [{ port: input.port, protocol: "TCP" }],
  });
}

/** The rule that keeps out what the others do not let in: the forwarding rule may forward more ports than the Service has. */
export function denyFirewall(input: {
  readonly name: string;
  readonly destination: string;
  readonly nodeTags: readonly string[];
  readonly everything: string;
}): Firewall {
  return {
    name: input.name,
    sourceRanges: [input.everything],
    destinationRanges: [input.destination],
    targetTags: input.nodeTags,
    denied: [{ IPProtocol: "all" }],
    priority: 1000,
  };
}

/** Priority of rules that let traffic in: before the denying rule, if there is one. */
export function allowPriority(denies: boolean): number {
  return denies ? 999 : 1000;
}
