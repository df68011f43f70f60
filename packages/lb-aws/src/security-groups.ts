import type { IntOrString, Service } from "@portolan/core";
import { ProviderError, readList, sourceRangesAnnotation } from "@portolan/lb";
import { parsePrefix } from "@portolan/net";
import { annotationPrefix, badAnnotation, choiceOf, flagOf, listOf } from "./annotations.ts";
import type { AwsConfiguration, IPAddressType, ListenerProtocol, Scheme } from "./configuration.ts";
import type { TargetHealthCheck } from "./health-check.ts";
import type { Subnet } from "./subnets.ts";

/** One rule that lets traffic in: ports of a protocol from one source. */
export interface IngressRule {
  readonly protocol: "tcp" | "udp" | "icmp" | "icmpv6" | "-1";
  /** First port; type of ICMP; absent where `-1` stands for all protocols. */
  readonly fromPort?: number;
  /** Last port; code of ICMP. */
  readonly toPort?: number;
  /** A CIDR, a prefix list (`pl-…`) or a security group (`sg-…`). */
  readonly source: string;
  readonly description?: string;
}

/** Stands for the security group that is made for a Service, until its id is known. */
export const managedGroup = "<managed>";

/** Clients that are let in: the field of the Service, else the annotation, else everybody if no prefix list is given. */
export function clientRanges(service: Service, ipAddressType: IPAddressType, hasPrefixLists: boolean): string[] {
  const field = service.spec?.loadBalancerSourceRanges ?? [];
  const ranges = field.length > 0 ? field : readList(service.metadata.annotations?.[sourceRangesAnnotation] ?? "");
  const where = field.length > 0 ? "spec.loadBalancerSourceRanges" : `annotation ${sourceRangesAnnotation}`;
  for (const range of ranges) {
    const prefix = parsePrefix(range);
    if (prefix === undefined) throw new ProviderError("UserConfig", `${where}: "${range}" is not a CIDR`);
    if (prefix.address.family === "IPv6" && ipAddressType !== "dualstack") {
      const message = `${where}: ${range} is an IPv6 CIDR, which needs annotation ${annotationPrefix}ip-address-type: dualstack`;
      throw new ProviderError("UserConfig", message);
    }
  }
  if (ranges.length > 0 || hasPrefixLists) return [...new Set(ranges)];
  return ipAddressType === "dualstack" ? ["0.0.0.0/0", "::/0"] : ["0.0.0.0/0"];
}

/** Rules of the security group that is made for a Service: its ports, from its clients. */
export function managedGroupRules(service: Service, ipAddressType: IPAddressType): IngressRule[] {
  const prefixLists = listOf(service, "security-group-prefix-lists") ?? [];
  const ranges = clientRanges(service, ipAddressType, prefixLists.length > 0);
  const sources = [...ranges, ...prefixLists];
  const rules = (service.spec?.ports ?? []).flatMap(({ port, protocol = "TCP" }) =>
    sources.map((source): IngressRule => {
      return { protocol: protocol.toLowerCase() as "tcp" | "udp", fromPort: port, toPort: port, source };
    }),
  );
  if (choiceOf(service, "enable-icmp-for-path-mtu-discovery", ["on", "off"]) !== "on") return rules;
  for (const source of sources) {
    if (!source.includes(":")) rules.push({ protocol: "icmp", fromPort: 3, toPort: 4, source });
    if (source.includes(":") || (source.startsWith("pl-") && ipAddressType === "dualstack")) {
      rules.push({ protocol: "icmpv6", fromPort: 2, toPort: 0, source });
    }
  }
  return rules;
}

/** Whether rules of nodes are managed although the user brings the load balancer's security groups. */
export function managesBackendRules(
  service: Service,
  configuration: Pick<AwsConfiguration, "enableManageBackendSecurityGroupRules">,
): boolean {
  const flag = flagOf(service, "manage-backend-security-group-rules");
  return flag ?? configuration.enableManageBackendSecurityGroupRules ?? false;
}

/** The security groups of a load balancer. */
export interface SecurityGroupChoice {
  /** Ids, and {@link managedGroup}. */
  readonly groups: readonly string[];
  /** Source of the traffic that nodes see, if rules of nodes are to be managed. */
  readonly backend?: string;
  readonly managed: boolean;
}

/**
 * Which security groups a load balancer has. One that was made without any can never get some, and one with some can never lose
 * all.
 *
 * @param existing groups of the load balancer that is there already
 * @param resolve ids of groups that the user names by id or by tag Name
 */
export function securityGroupsOf(
  service: Service,
  configuration: AwsConfiguration,
  existing: readonly string[] | undefined,
  resolve: (names: readonly string[]) => readonly string[],
): SecurityGroupChoice {
  const { securityGroups = true, enableBackendSecurityGroup = false, backendSecurityGroup } = configuration;
  const disabled = flagOf(service, "disable-nlb-sg") ?? false;
  if (existing !== undefined && existing.length === 0) return { groups: [], managed: false };
  if (!securityGroups || disabled) {
    if (existing === undefined) return { groups: [], managed: false };
    const message = `the load balancer has security groups ${existing.join(", ")}, and cannot lose all of them: ${
      disabled
        ? `remove annotation ${annotationPrefix}disable-nlb-sg`
        : "switch security groups on in the configuration"
    }, or make the Service anew`;
    throw new ProviderError("UserConfig", message);
  }
  const shared = (): string => {
    if (backendSecurityGroup !== undefined) return backendSecurityGroup;
    throw new ProviderError("UserConfig", "the shared backend security group is on and its id is not configured");
  };
  const names = listOf(service, "security-groups") ?? [];
  if (names.length === 0) {
    if (!enableBackendSecurityGroup) return { groups: [managedGroup], backend: managedGroup, managed: true };
    return { groups: [managedGroup, shared()], backend: shared(), managed: true };
  }
  const groups = resolve(names);
  if (groups.length < names.length) {
    throw badAnnotation(service, "security-groups", `wanted ${names.length} groups, found ${groups.length}`);
  }
  if (!managesBackendRules(service, configuration)) return { groups, managed: false };
  if (!enableBackendSecurityGroup) {
    const key = "manage-backend-security-group-rules";
    throw badAnnotation(service, key, "needs the shared backend security group (enableBackendSecurityGroup)");
  }
  return { groups: [...groups, shared()], backend: shared(), managed: false };
}

/** Traffic that targets must let in. */
export interface TargetIngress {
  /** CIDRs, or one security group. */
  readonly from: readonly string[];
  /** Without a port: all ports of the protocol. */
  readonly ports: readonly { readonly protocol: "TCP" | "UDP"; readonly port?: IntOrString }[];
}

/** The part of a target group that decides what its targets must let in. */
export interface TargetTraffic {
  readonly port: IntOrString;
  readonly protocol: ListenerProtocol;
  readonly healthCheck: TargetHealthCheck;
}

const isUdp = (protocol: ListenerProtocol): boolean => protocol !== "TCP" && protocol !== "TLS";
const isBoth = (protocol: ListenerProtocol): boolean => protocol === "TCP_UDP" || protocol === "TCP_QUIC";

/** What targets let in from a security group of the load balancer: the traffic's port, and the health check's over TCP. */
export function groupIngress(
  group: string,
  { port, protocol, healthCheck }: TargetTraffic,
  wholeProtocols = false,
): TargetIngress[] {
  if (wholeProtocols) {
    const ports = [{ protocol: "TCP" as const }, ...(isUdp(protocol) ? [{ protocol: "UDP" as const }] : [])];
    return [{ from: [group], ports }];
  }
  const onTraffic = healthCheck.port === "traffic-port" || healthCheck.port === port;
  const ports: { protocol: "TCP" | "UDP"; port: IntOrString }[] = [];
  if (isUdp(protocol)) ports.push({ protocol: "UDP", port });
  if (!isUdp(protocol) || isBoth(protocol) || onTraffic) ports.push({ protocol: "TCP", port });
  if (healthCheck.port !== "traffic-port" && !onTraffic) ports.push({ protocol: "TCP", port: healthCheck.port });
  return [{ from: [group], ports }];
}

/** What decides about the sources of a load balancer without security groups. */
export interface AddressIngressInput extends TargetTraffic {
  readonly service: Service;
  readonly scheme: Scheme;
  readonly ipAddressType: "ipv4" | "ipv6";
  readonly preservesClientIP: boolean;
  readonly subnets: readonly Subnet[];
  /** CIDRs of the VPC of that family. */
  readonly vpcCidrs: readonly string[];
}

/**
 * What targets let in from a load balancer that has no security group: its clients where targets see their addresses, else its
 * subnets; health checks come from its subnets.
 */
export function addressIngress(input: AddressIngressInput): TargetIngress[] {
  const { service, port, protocol, healthCheck, scheme, ipAddressType, subnets } = input;
  if (flagOf(service, "manage-backend-security-group-rules") === false) return [];
  const own = subnets.flatMap((subnet) => (ipAddressType === "ipv4" ? [subnet.cidr] : [...(subnet.ipv6Cidrs ?? [])]));
  let sources: readonly string[] = own;
  let isDefault = false;
  if (isUdp(protocol) || input.preservesClientIP) {
    const field = service.spec?.loadBalancerSourceRanges ?? [];
    sources = field.length > 0 ? field : readList(service.metadata.annotations?.[sourceRangesAnnotation] ?? "");
    if (sources.length === 0) {
      isDefault = true;
      const everybody = ipAddressType === "ipv4" ? "0.0.0.0/0" : "::/0";
      sources = scheme === "internal" ? input.vpcCidrs : [everybody];
    }
  }
  const protocols = isBoth(protocol) ? (["TCP", "UDP"] as const) : ([isUdp(protocol) ? "UDP" : "TCP"] as const);
  const out: TargetIngress[] = [{ from: sources, ports: protocols.map((each) => ({ protocol: each, port })) }];
  const onTraffic = healthCheck.port === "traffic-port" || healthCheck.port === port;
  const open = sources.some((source) => source === "0.0.0.0/0" || source === "::/0");
  const covered = protocol !== "UDP" && onTraffic && (!input.preservesClientIP || isDefault || open);
  if (!covered && own.length > 0) {
    const healthPort = healthCheck.port === "traffic-port" ? port : healthCheck.port;
    out.push({ from: own, ports: [{ protocol: "TCP", port: healthPort }] });
  }
  return out;
}

const inTreeMark = "kubernetes.io/rule/nlb";

/** What an in-tree Network Load Balancer's ports do to the rules of nodes. */
export interface InTreeTraffic {
  readonly nodePort: number;
  readonly protocol: ListenerProtocol;
  readonly healthCheck: TargetHealthCheck;
}

/**
 * Rules of the nodes' security group for an in-tree Network Load Balancer, which has none of its own. Their descriptions are the
 * ownership marks. Health checks need no rules where clients are everybody, by TCP, on the same ports.
 */
export function inTreeNodeRules(
  loadBalancer: string,
  traffic: readonly InTreeTraffic[],
  clients: readonly string[],
  subnetCidrs: readonly string[],
): IngressRule[] {
  const unique = (ports: readonly number[]): number[] => [...new Set(ports)];
  const clientPorts = unique(traffic.map(({ nodePort }) => nodePort));
  const healthPorts = unique(
    traffic.map(({ nodePort, healthCheck }) => (healthCheck.port === "traffic-port" ? nodePort : healthCheck.port)),
  );
  const clientProtocol = traffic.some(({ protocol }) => protocol === "UDP") ? "udp" : "tcp";
  const rules = (
    protocol: "tcp" | "udp",
    ports: readonly number[],
    sources: readonly string[],
    kind: string,
  ): IngressRule[] =>
    ports.flatMap((port) =>
      sources.map((source): IngressRule => {
        const description = `${inTreeMark}/${kind}=${loadBalancer}`;
        return { protocol, fromPort: port, toPort: port, source, description };
      }),
    );
  const samePorts =
    healthPorts.length === clientPorts.length && healthPorts.every((port) => clientPorts.includes(port));
  const covered = clients.length === 1 && clients[0] === "0.0.0.0/0" && clientProtocol === "tcp" && samePorts;
  return [
    ...rules(clientProtocol, clientPorts, clients, "client"),
    ...(covered ? [] : rules("tcp", healthPorts, subnetCidrs, "health")),
    ...clients.map((source): IngressRule => {
      return { protocol: "icmp", fromPort: 3, toPort: 4, source, description: `${inTreeMark}/mtu` };
    }),
  ];
}

/** Rules for ICMP that in-tree load balancers shared and whose clients no other rule lets in any more. */
export function orphanedMtuRules(rules: readonly IngressRule[]): IngressRule[] {
  const clients = rules.filter((rule) => rule.description?.startsWith(`${inTreeMark}/client=`));
  const sources = new Set(clients.map((rule) => rule.source));
  return rules.filter((rule) => rule.description === `${inTreeMark}/mtu` && !sources.has(rule.source));
}

/** Descriptions that mark rules of an in-tree load balancer. */
export function inTreeRuleMarks(loadBalancer: string): string[] {
  return ["client", "health"].map((kind) => `${inTreeMark}/${kind}=${loadBalancer}`);
}
