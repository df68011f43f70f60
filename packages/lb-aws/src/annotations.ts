import type { Service } from "@portolan/core";
import {
  type AnnotationRegistry,
  type AnnotationRow,
  ProviderError,
  readBoolean,
  readList,
  readMap,
  sourceRangesAnnotation,
} from "@portolan/lb";

/** Prefix of all annotations that only AWS reads. */
export const annotationPrefix = "service.beta.kubernetes.io/aws-load-balancer-";

/** Semantics of a Service's annotations: the AWS Load Balancer Controller's, or those of the in-tree cloud provider. */
export type Mode = "nlb-modern" | "ccm-nlb" | "ccm-clb";

type Row = Omit<AnnotationRow, "key"> & { readonly suffix: string; readonly modes: readonly Mode[] };

const modern = ["nlb-modern"] as const;
const networks = ["nlb-modern", "ccm-nlb"] as const;
const classic = ["ccm-clb"] as const;
const inTree = ["ccm-nlb", "ccm-clb"] as const;
const all = ["nlb-modern", "ccm-nlb", "ccm-clb"] as const;

const strict = { kind: "boolean", reading: "strict" } as const;
const text = { kind: "string" } as const;
const list = { kind: "list" } as const;
const ports = { kind: "list", minimumItems: 1 } as const;
const map = { kind: "map", escapes: true } as const;
const switchOn = { kind: "enumeration", values: ["on", "off"] } as const;

/** What the in-tree provider reads differently from the controller. */
const inTreeTypes: Readonly<Record<string, AnnotationRow["type"]>> = {
  internal: { kind: "boolean", reading: "non-empty" },
  "additional-resource-tags": text,
  "target-node-labels": text,
  "ssl-cert": text,
};

const rows: readonly Row[] = [
  {
    suffix: "type",
    type: text,
    modes: all,
    sets: "which controller serves the Service, and the kind of load balancer",
    default: "a Network Load Balancer in mode modern, a classic one in mode ccm",
    change: "forbidden",
  },
  {
    suffix: "nlb-target-type",
    type: { kind: "enumeration", values: ["instance", "ip"] },
    modes: modern,
    sets: "TargetGroup TargetType",
    default: "defaultTargetType of the configuration (instance)",
    change: "replace",
  },
  {
    suffix: "name",
    type: { kind: "string", maximumLength: 32 },
    modes: modern,
    sets: "LoadBalancer Name",
    default: "k8s-namespace-name-hash",
    change: "ignored",
  },
  {
    suffix: "scheme",
    type: { kind: "enumeration", values: ["internal", "internet-facing"] },
    modes: modern,
    sets: "LoadBalancer Scheme",
    default: "that of the load balancer that exists, else internal",
    change: "ip-change",
    exposure: true,
  },
  {
    suffix: "internal",
    type: strict,
    modes: all,
    sets: "LoadBalancer Scheme; annotation scheme wins over it",
    default: "internal in mode modern, internet-facing in mode ccm",
    change: "ip-change",
    exposure: true,
    deprecatedFor: `${annotationPrefix}scheme`,
  },
  {
    suffix: "ip-address-type",
    type: { kind: "enumeration", values: ["ipv4", "dualstack"] },
    modes: modern,
    sets: "LoadBalancer IpAddressType",
    default: "ipv4",
    change: "in-place",
  },
  {
    suffix: "subnets",
    type: ports,
    modes: all,
    sets: "Subnets or SubnetMappings: ids, or values of the tag Name; one per zone",
    default: "discovery by tags",
    change: "in-place",
  },
  {
    suffix: "eip-allocations",
    type: ports,
    modes: networks,
    sets: "SubnetMappings[].AllocationId, in the order of the subnets",
    appliesWhen: "the load balancer is internet-facing",
    conflictsWith: [`${annotationPrefix}private-ipv4-addresses`],
    change: "ip-change",
  },
  {
    suffix: "private-ipv4-addresses",
    type: { kind: "addresses" },
    modes: networks,
    sets: "SubnetMappings[].PrivateIPv4Address, one inside each subnet",
    appliesWhen: "the load balancer is internal",
    conflictsWith: [`${annotationPrefix}eip-allocations`],
    change: "ip-change",
  },
  {
    suffix: "ipv6-addresses",
    type: { kind: "addresses" },
    modes: modern,
    sets: "SubnetMappings[].IPv6Address, one inside each subnet",
    appliesWhen: "ip-address-type is dualstack",
    change: "ip-change",
  },
  {
    suffix: "enable-prefix-for-ipv6-source-nat",
    type: switchOn,
    modes: modern,
    sets: "EnablePrefixForIpv6SourceNat, which UDP listeners of dualstack load balancers need",
    appliesWhen: "ip-address-type is dualstack",
    default: "off",
    change: "in-place",
  },
  {
    suffix: "source-nat-ipv6-prefixes",
    type: ports,
    modes: modern,
    sets: "SubnetMappings[].SourceNatIpv6Prefix: prefixes of length 80, or auto_assigned",
    appliesWhen: "enable-prefix-for-ipv6-source-nat is on",
    default: "auto_assigned",
    change: "in-place",
  },
  {
    suffix: "security-group-prefix-lists",
    type: { kind: "list", item: /^pl-/ },
    modes: modern,
    sets: "sources of the managed security group's rules, beside the source ranges",
    change: "in-place",
    exposure: true,
  },
  {
    suffix: "security-groups",
    type: list,
    modes: all,
    sets: "SecurityGroups: ids, or values of the tag Name; no group is managed then",
    default: "a managed group",
    change: "in-place",
    exposure: true,
  },
  {
    suffix: "extra-security-groups",
    type: list,
    modes: inTree,
    sets: "SecurityGroups beside the managed one; an error for Network Load Balancers",
    change: "in-place",
  },
  {
    suffix: "manage-backend-security-group-rules",
    type: strict,
    modes: modern,
    sets: "whether rules of the nodes' security groups are managed",
    default: "true with managed groups, else enableManageBackendSecurityGroupRules of the configuration",
    change: "in-place",
  },
  {
    suffix: "disable-nlb-sg",
    type: strict,
    modes: modern,
    sets: "a load balancer without any security group",
    default: "false",
    conflictsWith: [`${annotationPrefix}security-groups`],
    change: "ip-change",
    exposure: true,
  },
  {
    suffix: "inbound-sg-rules-on-private-link-traffic",
    type: switchOn,
    modes: modern,
    sets: "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic",
    appliesWhen: "the load balancer has security groups",
    change: "in-place",
  },
  {
    suffix: "enable-icmp-for-path-mtu-discovery",
    type: switchOn,
    modes: modern,
    sets: "rules of the managed security group that let ICMP's size messages in",
    default: "off",
    change: "in-place",
  },
  {
    suffix: "ssl-cert",
    type: list,
    modes: all,
    sets: "Listener Certificates; the first is the default one",
    change: "in-place",
  },
  {
    suffix: "ssl-ports",
    type: list,
    modes: all,
    sets: "ports, by number or name, whose listeners end TLS; * for all",
    appliesWhen: "ssl-cert is set",
    default: "all",
    change: "replace",
  },
  {
    suffix: "ssl-negotiation-policy",
    type: text,
    modes: all,
    sets: "SslPolicy",
    default: "ELBSecurityPolicy-2016-08",
    change: "in-place",
  },
  {
    suffix: "backend-protocol",
    type: { kind: "enumeration", values: ["http", "https", "ssl", "tcp"] },
    modes: all,
    sets: "protocol towards the targets; Network Load Balancers know ssl only",
    default: "tcp",
    change: "replace",
  },
  {
    suffix: "alpn-policy",
    type: {
      kind: "enumeration",
      values: ["None", "HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred"],
    },
    modes: modern,
    sets: "AlpnPolicy",
    appliesWhen: "the listener ends TLS",
    change: "in-place",
  },
  {
    suffix: "proxy-protocol",
    type: { kind: "enumeration", values: ["*"] },
    modes: ["nlb-modern", "ccm-clb"],
    sets: "proxy_protocol_v2.enabled of all target groups; ProxyProtocolPolicyType of classic ones",
    change: "in-place",
  },
  {
    suffix: "proxy-protocol-per-target-group",
    type: { kind: "list", item: /^\d+$/ },
    modes: modern,
    sets: "proxy_protocol_v2.enabled of the target groups of these ports",
    change: "in-place",
  },
  {
    suffix: "target-group-attributes",
    type: map,
    modes: networks,
    sets: "ModifyTargetGroupAttributes of all target groups",
    default: "proxy_protocol_v2.enabled=false",
    change: "in-place",
  },
  {
    suffix: "target-group-attributes.{port}",
    type: map,
    modes: modern,
    sets: "ModifyTargetGroupAttributes of the target group of one port; empty values leave the general one",
    change: "in-place",
  },
  {
    suffix: "attributes",
    type: map,
    modes: modern,
    sets: "ModifyLoadBalancerAttributes",
    change: "in-place",
  },
  {
    suffix: "access-log-enabled",
    type: strict,
    modes: all,
    sets: "access_logs.s3.enabled",
    default: "false",
    change: "in-place",
  },
  {
    suffix: "access-log-emit-interval",
    type: { kind: "integer", minimum: 5, maximum: 60 },
    modes: classic,
    sets: "AccessLog EmitInterval in minutes: 5 or 60",
    change: "in-place",
  },
  {
    suffix: "access-log-s3-bucket-name",
    type: text,
    modes: all,
    sets: "access_logs.s3.bucket",
    appliesWhen: "access-log-enabled is true",
    change: "in-place",
  },
  {
    suffix: "access-log-s3-bucket-prefix",
    type: text,
    modes: all,
    sets: "access_logs.s3.prefix",
    appliesWhen: "access-log-enabled is true",
    change: "in-place",
  },
  {
    suffix: "cross-zone-load-balancing-enabled",
    type: strict,
    modes: all,
    sets: "load_balancing.cross_zone.enabled",
    default: "false",
    change: "in-place",
  },
  {
    suffix: "connection-draining-enabled",
    type: strict,
    modes: classic,
    sets: "ConnectionDraining Enabled",
    default: "false",
    change: "in-place",
  },
  {
    suffix: "connection-draining-timeout",
    type: { kind: "integer", minimum: 1, maximum: 3600 },
    modes: classic,
    sets: "ConnectionDraining Timeout in seconds",
    default: "300",
    change: "in-place",
  },
  {
    suffix: "connection-idle-timeout",
    type: { kind: "integer", minimum: 1, maximum: 4000 },
    modes: classic,
    sets: "ConnectionSettings IdleTimeout in seconds",
    default: "60",
    change: "in-place",
  },
  {
    suffix: "additional-resource-tags",
    type: map,
    modes: all,
    sets: "tags of all objects",
    change: "in-place",
  },
  {
    suffix: "healthcheck-protocol",
    type: { kind: "enumeration", values: ["tcp", "http", "https"], ignoreCase: true },
    modes: all,
    sets: "HealthCheckProtocol",
    default: "TCP; HTTP with externalTrafficPolicy: Local and instance targets",
    change: "replace",
  },
  {
    suffix: "healthcheck-port",
    type: text,
    modes: all,
    sets: "HealthCheckPort: traffic-port, a number, or the name of a port of the Service",
    default: "traffic-port; healthCheckNodePort with externalTrafficPolicy: Local and instance targets",
    change: "in-place",
  },
  {
    suffix: "healthcheck-path",
    type: text,
    modes: all,
    sets: "HealthCheckPath",
    appliesWhen: "the health check's protocol is HTTP or HTTPS",
    default: "/; /healthz with externalTrafficPolicy: Local and instance targets",
    change: "in-place",
  },
  {
    suffix: "healthcheck-interval",
    type: { kind: "integer", minimum: 5, maximum: 300 },
    modes: all,
    sets: "HealthCheckIntervalSeconds",
    default: "10; 30 for ccm-nlb",
    change: "replace",
  },
  {
    suffix: "healthcheck-timeout",
    type: { kind: "integer", minimum: 2, maximum: 120 },
    modes: all,
    sets: "HealthCheckTimeoutSeconds",
    default: "10; 6 with externalTrafficPolicy: Local; 5 for ccm-clb",
    change: "in-place",
  },
  {
    suffix: "healthcheck-healthy-threshold",
    type: { kind: "integer", minimum: 2, maximum: 10 },
    modes: all,
    sets: "HealthyThresholdCount",
    default: "3; 2 with externalTrafficPolicy: Local or for ccm-clb",
    change: "in-place",
  },
  {
    suffix: "healthcheck-unhealthy-threshold",
    type: { kind: "integer", minimum: 2, maximum: 10 },
    modes: all,
    sets: "UnhealthyThresholdCount",
    default: "3; 2 with externalTrafficPolicy: Local; 6 for ccm-clb",
    change: "in-place",
  },
  {
    suffix: "healthcheck-success-codes",
    type: text,
    modes: modern,
    sets: "Matcher.HttpCode",
    appliesWhen: "the health check's protocol is HTTP or HTTPS",
    default: "200-399",
    change: "in-place",
  },
  {
    suffix: "target-node-labels",
    type: map,
    modes: all,
    sets: "which nodes are targets",
    appliesWhen: "targets are instances",
    change: "in-place",
  },
  {
    suffix: "enable-tcp-udp-listener",
    type: strict,
    modes: modern,
    sets: "one TCP_UDP listener where a port number has both protocols",
    default: "enableTcpUdpListener of the configuration (false)",
    change: "replace",
  },
  {
    suffix: "quic-enabled-ports",
    type: list,
    modes: modern,
    sets: "UDP ports, by number or name, that become QUIC listeners",
    change: "replace",
  },
  {
    suffix: "listener-attributes.{Protocol}-{Port}",
    type: map,
    modes: modern,
    sets: "ModifyListenerAttributes, such as tcp.idle_timeout.seconds",
    change: "in-place",
  },
  {
    suffix: "minimum-load-balancer-capacity",
    type: { kind: "map", keys: ["CapacityUnits"] },
    modes: modern,
    sets: "ModifyCapacityReservation",
    change: "in-place",
  },
  {
    suffix: "multi-cluster-target-group",
    type: strict,
    modes: modern,
    sets: "target groups that several clusters share: only targets of its own are removed",
    default: "false",
    change: "in-place",
  },
];

const common: readonly AnnotationRow[] = [
  {
    key: sourceRangesAnnotation,
    type: { kind: "cidrs" },
    sets: "sources of the security group's rules; spec.loadBalancerSourceRanges wins over it",
    default: "0.0.0.0/0, and ::/0 for dualstack load balancers",
    change: "in-place",
    exposure: true,
  },
];

/**
 * All annotations that are read in some mode; those of other modes are known, so that they are not taken for typing errors.
 *
 * @param lenient lets values pass that any mode takes, for a provider that serves Services of several modes
 */
export function annotationRegistry(mode: Mode = "nlb-modern", lenient = false): AnnotationRegistry {
  return {
    prefixes: [annotationPrefix],
    rows: [
      ...rows.map(({ suffix, modes, ...row }): AnnotationRow => {
        const read = modes.includes(mode);
        const { deprecatedFor, ...rest } = row;
        return {
          ...rest,
          key: annotationPrefix + suffix,
          type: mode === "nlb-modern" && !lenient ? row.type : (inTreeTypes[suffix] ?? row.type),
          ...(read ? {} : { badValue: "warning", appliesWhen: `mode ${modes.join(" or ")}` }),
          ...(deprecatedFor !== undefined && mode === "nlb-modern" ? { deprecatedFor } : {}),
        };
      }),
      ...common,
    ],
  };
}

/** The annotation of that suffix, or undefined. */
export function annotationOf(service: Service, suffix: string): string | undefined {
  return service.metadata.annotations?.[annotationPrefix + suffix];
}

/** An error about the annotation of that suffix, with its value and what it should be. */
export function badAnnotation(service: Service, suffix: string, wanted: string): ProviderError {
  const value = annotationOf(service, suffix) ?? "";
  return new ProviderError("UserConfig", `annotation ${annotationPrefix}${suffix} is "${value}": ${wanted}`);
}

/** Reads `true` or `false`. @throws ProviderError UserConfig for anything else */
export function flagOf(service: Service, suffix: string): boolean | undefined {
  const value = annotationOf(service, suffix);
  if (value === undefined) return undefined;
  const flag = readBoolean(value, "strict");
  if (flag === undefined) throw badAnnotation(service, suffix, 'must be "true" or "false"');
  return flag;
}

/** Reads an integer. @throws ProviderError UserConfig for anything else */
export function integerOf(service: Service, suffix: string): number | undefined {
  const value = annotationOf(service, suffix);
  if (value === undefined) return undefined;
  if (!/^[+-]?\d{1,10}$/.test(value)) throw badAnnotation(service, suffix, "must be an integer");
  return Number(value);
}

/** Reads a list; undefined if the annotation is absent. */
export function listOf(service: Service, suffix: string): string[] | undefined {
  const value = annotationOf(service, suffix);
  return value === undefined ? undefined : readList(value);
}

/** Reads a `key=value` list. @throws ProviderError UserConfig if an entry is no pair */
export function pairsOf(service: Service, suffix: string): Map<string, string> | undefined {
  const value = annotationOf(service, suffix);
  if (value === undefined) return undefined;
  const pairs = readMap(value, true);
  if (pairs === undefined) throw badAnnotation(service, suffix, "must be a list of key=value");
  return pairs;
}

/** Reads one of some texts. @throws ProviderError UserConfig for anything else */
export function choiceOf<Text extends string>(
  service: Service,
  suffix: string,
  values: readonly Text[],
): Text | undefined {
  const value = annotationOf(service, suffix);
  if (value === undefined) return undefined;
  const found = values.find((each) => each === value);
  if (found === undefined) throw badAnnotation(service, suffix, `must be one of ${values.join(", ")}`);
  return found;
}
