import type { Service, ServicePort } from "@portolan/core";
import {
  defaultLoadBalancerName,
  ProviderError,
  readBoolean,
  readList,
  type ServiceKey,
  sourceRangesOf,
} from "@portolan/lb";
import { annotationOf, annotationPrefix, badAnnotation, flagOf } from "./annotations.ts";
import type { AwsConfiguration, ListenerProtocol, Scheme, TargetType } from "./configuration.ts";
import { inTreeHealthCheck, type TargetHealthCheck } from "./health-check.ts";
import { inTreeTargetGroupName } from "./names.ts";
import { isInTreeNetworkLoadBalancer } from "./ownership.ts";
import { type IngressRule, inTreeNodeRules } from "./security-groups.ts";
import { inTreeSubnetMappings, inTreeSubnets, namedSubnets, type Subnet, type SubnetMapping } from "./subnets.ts";

/** `key`, `key=` and `key=value` entries of a list; spaces around a value belong to it, and of repeated keys the last counts. */
function loosePairs(text: string): Map<string, string> {
  const entries = text.split(",").map((entry): [string, string] => {
    const [key = "", value = ""] = entry.trim().split("=");
    return [key, value];
  });
  return new Map(entries.filter(([key]) => key !== ""));
}

/** Who reaches an in-tree load balancer: everything but an absent, an empty and a `false` annotation means inside. */
export function inTreeScheme(service: Service): Scheme {
  const internal = readBoolean(annotationOf(service, "internal") ?? "", "non-empty");
  return internal ? "internal" : "internet-facing";
}

/** Tags of the in-tree provider's objects, which mark their owner. */
export function inTreeTags(service: Service, key: ServiceKey, cluster: string): Record<string, string> {
  return {
    ...Object.fromEntries(loosePairs(annotationOf(service, "additional-resource-tags") ?? "")),
    "kubernetes.io/service-name": `${key.namespace}/${key.name}`,
    [`kubernetes.io/cluster/${cluster}`]: "owned",
  };
}

/** Whether annotation `ssl-ports` covers a port; names compare in lower case. */
export function tlsApplies(service: Service, port: ServicePort): boolean {
  const text = annotationOf(service, "ssl-ports") ?? "";
  if (text === "" || text === "*") return true;
  const entries = readList(text);
  return entries.includes(String(port.port)) || (!!port.name && entries.includes(port.name.toLowerCase()));
}

const supportedAttributes = ["preserve_client_ip.enabled", "proxy_protocol_v2.enabled"];

/**
 * Target-group attributes that the in-tree provider takes.
 *
 * @throws ProviderError UserConfig for other keys, and values but exactly `true` and `false`
 */
export function inTreeTargetGroupAttributes(service: Service): Record<string, string> {
  const suffix = "target-group-attributes";
  const pairs = loosePairs(annotationOf(service, suffix) ?? "");
  for (const [key, value] of pairs) {
    if (!supportedAttributes.includes(key)) {
      throw badAnnotation(service, suffix, `${key} is not one of ${supportedAttributes.join(", ")}`);
    }
    if (value !== "true" && value !== "false") {
      throw badAnnotation(service, suffix, `${key}=${value} must be true or false`);
    }
  }
  const hidden = pairs.get("preserve_client_ip.enabled") === "false";
  if (hidden && service.spec?.ports?.some((port) => port.protocol === "UDP")) {
    const wanted = "preserve_client_ip.enabled=false is not possible with UDP ports";
    throw badAnnotation(service, suffix, wanted);
  }
  return Object.fromEntries(pairs);
}

/** @throws ProviderError UserConfig unless all ports have one protocol, which the kind of load balancer knows */
export function requireOneProtocol(service: Service): void {
  const protocols = [...new Set((service.spec?.ports ?? []).map((port) => port.protocol ?? "TCP"))];
  if (protocols.length > 1) {
    const message = `ports of more than one protocol (${protocols.join(", ")}) are not supported by one load balancer`;
    throw new ProviderError("UserConfig", message);
  }
  const isNetwork = isInTreeNetworkLoadBalancer(service);
  const [protocol = "TCP"] = protocols;
  if (protocol === "TCP" || (protocol === "UDP" && isNetwork)) return;
  const hint = protocol === "UDP" ? `; set annotation ${annotationPrefix}type: nlb` : "";
  const kind = isNetwork ? "Network" : "Classic";
  throw new ProviderError(
    "UserConfig",
    `${kind} Load Balancers of the in-tree provider do not know ${protocol}${hint}`,
  );
}

/**
 * Checks what annotations say about an in-tree load balancer.
 *
 * @throws ProviderError ImmutableField if the kind of a load balancer that exists would change, which its host name tells; else
 *   UserConfig
 */
export function validateInTreeAnnotations(service: Service): void {
  const isNetwork = isInTreeNetworkLoadBalancer(service);
  const hostname = service.status?.loadBalancer?.ingress?.[0]?.hostname;
  if (hostname !== undefined) {
    const isClassic = hostname.endsWith(".elb.amazonaws.com");
    if (isClassic === isNetwork) {
      const kind = isClassic ? "classic" : "network";
      const message = `annotation ${annotationPrefix}type cannot be changed: the load balancer ${hostname} is a ${kind} one; delete the Service and make it anew`;
      throw new ProviderError("ImmutableField", message);
    }
  }
  if (isNetwork && annotationOf(service, "extra-security-groups") !== undefined) {
    throw badAnnotation(service, "extra-security-groups", "is not supported for Network Load Balancers");
  }
  if (annotationOf(service, "target-group-attributes") !== undefined) {
    if (!isNetwork) throw badAnnotation(service, "target-group-attributes", "is for Network Load Balancers only");
    inTreeTargetGroupAttributes(service);
  }
  const { ipFamilyPolicy, ipFamilies = [] } = service.spec ?? {};
  if (ipFamilyPolicy === "RequireDualStack" && !isNetwork) {
    throw new ProviderError("UserConfig", "ipFamilyPolicy RequireDualStack needs a Network Load Balancer");
  }
  if (ipFamilyPolicy === "SingleStack" && ipFamilies.length === 1 && ipFamilies[0] === "IPv6") {
    throw new ProviderError("UserConfig", "load balancers for IPv6 only do not exist; use PreferDualStack");
  }
}

/** Checks a Service for the in-tree provider, without asking the cloud. */
export function validateInTree(service: Service): void {
  const spec = service.spec ?? {};
  if ((spec.sessionAffinity ?? "None") !== "None") {
    const message = `session affinity is not supported by the in-tree provider: sessionAffinity is ${spec.sessionAffinity}, only None works`;
    throw new ProviderError("UserConfig", message);
  }
  if ((spec.ports ?? []).length === 0) throw new ProviderError("UserConfig", "the Service has no ports");
  requireOneProtocol(service);
  if (spec.loadBalancerIP) {
    const message = `LoadBalancerIP cannot be requested (spec.loadBalancerIP ${spec.loadBalancerIP}); use annotation ${annotationPrefix}eip-allocations`;
    throw new ProviderError("UserConfig", message);
  }
  validateInTreeAnnotations(service);
}

/** One listener of an in-tree Network Load Balancer. */
export interface InTreeListener {
  readonly port: number;
  readonly protocol: ListenerProtocol;
  readonly certificateArn?: string;
  readonly sslPolicy?: string;
  /** Name of the target group. */
  readonly targetGroup: string;
}

/** One target group of an in-tree Network Load Balancer. */
export interface InTreeTargetGroup {
  readonly name: string;
  readonly port: number;
  readonly protocol: ListenerProtocol;
  readonly targetType: TargetType;
  readonly targets: readonly string[];
  readonly healthCheck: TargetHealthCheck;
  readonly attributes: Readonly<Record<string, string>>;
}

/** What an in-tree Network Load Balancer should be. */
export interface InTreeModel {
  readonly name: string;
  readonly scheme: Scheme;
  readonly subnetMappings: readonly SubnetMapping[];
  readonly attributes: Readonly<Record<string, string>>;
  readonly tags: Readonly<Record<string, string>>;
  readonly listeners: readonly InTreeListener[];
  readonly targetGroups: readonly InTreeTargetGroup[];
  /** Rules of the nodes' security group. */
  readonly nodeRules: readonly IngressRule[];
}

function inTreeAttributes(service: Service): Record<string, string> {
  return {
    "load_balancing.cross_zone.enabled": String(flagOf(service, "cross-zone-load-balancing-enabled") ?? false),
    "access_logs.s3.enabled": String(flagOf(service, "access-log-enabled") ?? false),
    "access_logs.s3.bucket": annotationOf(service, "access-log-s3-bucket-name") ?? "",
    "access_logs.s3.prefix": annotationOf(service, "access-log-s3-bucket-prefix") ?? "",
  };
}

/** Makes the model of an in-tree Network Load Balancer. @throws ProviderError UserConfig if the Service cannot be served by one */
export function inTreeModel(input: {
  readonly service: Service;
  readonly key: ServiceKey;
  readonly configuration: AwsConfiguration;
  readonly subnets: readonly Subnet[];
  readonly instances: readonly string[];
}): InTreeModel {
  const { service, key, configuration, instances } = input;
  const cluster = configuration.clusterName;
  validateInTree(service);
  const certificate = annotationOf(service, "ssl-cert") ?? "";
  const attributes = inTreeTargetGroupAttributes(service);
  const policy = annotationOf(service, "ssl-negotiation-policy") ?? "";
  const healthCheck = inTreeHealthCheck(service, configuration);
  const forwarded = (service.spec?.ports ?? [])
    .filter((port) => port.nodePort)
    .map((port) => {
      const plain = (port.protocol ?? "TCP") as "TCP" | "UDP";
      const isTls = plain !== "UDP" && certificate !== "" && tlsApplies(service, port);
      const protocol: ListenerProtocol = isTls ? "TLS" : plain;
      const target: ListenerProtocol = isTls && annotationOf(service, "backend-protocol") === "ssl" ? "TLS" : plain;
      const targetType: TargetType = "instance";
      const name = inTreeTargetGroupName(cluster, key, {
        port: port.nodePort!,
        servicePort: port.port,
        targetType,
        protocol: target,
        healthCheckProtocol: healthCheck.protocol,
        healthCheckInterval: healthCheck.intervalSeconds,
      });
      return { port, protocol, target, targetType, name, isTls };
    });
  const scheme = inTreeScheme(service);
  const subnets =
    annotationOf(service, "subnets") === undefined
      ? inTreeSubnets(input.subnets, cluster, scheme === "internal")
      : namedSubnets(service, input.subnets);
  if (subnets.length === 0) {
    throw new ProviderError("UserConfig", "no suitable subnet was found for the load balancer");
  }
  const lists = ["eip-allocations", "private-ipv4-addresses"].map((suffix) => {
    const entries = readList(annotationOf(service, suffix) ?? "");
    if (annotationOf(service, suffix) !== undefined && entries.length !== subnets.length) {
      const wanted = `${entries.length} entries for ${subnets.length} subnets; one each is needed`;
      throw badAnnotation(service, suffix, wanted);
    }
    return entries;
  });
  const name = defaultLoadBalancerName(key.uid);
  return {
    name,
    scheme,
    subnetMappings: inTreeSubnetMappings(
      subnets.map((subnet) => subnet.id),
      lists[0]!,
      lists[1]!,
    ),
    attributes: inTreeAttributes(service),
    tags: inTreeTags(service, key, cluster),
    listeners: forwarded.map(({ port, protocol, name, isTls }) => ({
      port: port.port,
      protocol,
      ...(isTls ? { certificateArn: certificate, ...(policy === "" ? {} : { sslPolicy: policy }) } : {}),
      targetGroup: name,
    })),
    targetGroups: forwarded.map(({ port, target, targetType, name }) => ({
      name,
      port: port.nodePort!,
      protocol: target,
      targetType,
      targets: instances,
      healthCheck,
      attributes,
    })),
    nodeRules: inTreeNodeRules(
      name,
      forwarded.map(({ port, target }) => ({ nodePort: port.nodePort!, protocol: target, healthCheck })),
      sourceRangesOf(service),
      subnets.map((subnet) => subnet.cidr),
    ),
  };
}
