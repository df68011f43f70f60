import type { Service, ServicePort } from "@portolan/core";
import { ProviderError } from "@portolan/lb";
import { annotationOf, annotationPrefix, badAnnotation, choiceOf, listOf, pairsOf } from "./annotations.ts";
import type { AwsConfiguration, IPAddressType, ListenerProtocol, TargetType } from "./configuration.ts";

const proxyProtocolAttribute = "proxy_protocol_v2.enabled";
const preserveClientIPAttribute = "preserve_client_ip.enabled";

/** Reads what Go's `strconv.ParseBool` takes for a boolean. */
function parseBoolean(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
}

function readPreserveClientIP(value: string, where: string): boolean {
  const flag = parseBoolean(value);
  if (flag !== undefined) return flag;
  throw new ProviderError("UserConfig", `${where}: ${preserveClientIPAttribute}=${value} is neither true nor false`);
}

/**
 * Attributes of the target group of one port. Values for the port win over general ones, empty ones of them count as absent;
 * annotations about the PROXY protocol win over both. Session affinity by client address becomes the group's stickiness.
 */
export function targetGroupAttributes(
  service: Service,
  servicePort: number,
  protocol?: ListenerProtocol,
): Record<string, string> {
  const out = new Map<string, string>([[proxyProtocolAttribute, "false"]]);
  if (service.spec?.sessionAffinity === "ClientIP" && protocol !== undefined && protocol !== "TLS") {
    out.set("stickiness.enabled", "true");
    out.set("stickiness.type", "source_ip");
  }
  for (const suffix of ["target-group-attributes", `target-group-attributes.${servicePort}`]) {
    for (const [key, value] of pairsOf(service, suffix) ?? []) {
      if (key === preserveClientIPAttribute) readPreserveClientIP(value, `annotation ${annotationPrefix}${suffix}`);
      if (value !== "" || suffix === "target-group-attributes") out.set(key, value);
    }
  }
  const proxied = listOf(service, "proxy-protocol-per-target-group");
  if (proxied !== undefined) {
    if (proxied.some((port) => !/^\d+$/.test(port))) {
      throw badAnnotation(service, "proxy-protocol-per-target-group", "must be a list of port numbers");
    }
    out.set(proxyProtocolAttribute, String(proxied.includes(String(servicePort))));
  }
  if (choiceOf(service, "proxy-protocol", ["*"]) !== undefined) out.set(proxyProtocolAttribute, "true");
  if (out.get(proxyProtocolAttribute) === "") out.delete(proxyProtocolAttribute);
  return Object.fromEntries([...out].sort(([left], [right]) => (left < right ? -1 : 1)));
}

/** Whether targets see the client's address: as the attribute says, else for instances only. */
export function preservesClientIP(targetType: TargetType, attributes: Readonly<Record<string, string>>): boolean {
  const value = attributes[preserveClientIPAttribute];
  return value === undefined ? targetType === "instance" : readPreserveClientIP(value, "target group attributes");
}

/** Protocols whose target groups cannot hide the client's address. */
export function alwaysPreservesClientIP(protocol: ListenerProtocol): boolean {
  return protocol !== "TCP" && protocol !== "TLS";
}

/** What a port's target group forwards to. @throws ProviderError UserConfig if that cannot be reached */
export function targetTypeOf(
  service: Service,
  port: ServicePort,
  configuration: Pick<AwsConfiguration, "defaultTargetType" | "enableIPTargetType">,
): TargetType {
  const { defaultTargetType = "instance", enableIPTargetType = true } = configuration;
  const wanted = choiceOf(service, "nlb-target-type", ["instance", "ip"]) ?? defaultTargetType;
  if (wanted === "ip" && !enableIPTargetType) {
    const message = `target type ip is switched off in the provider's configuration (enableIPTargetType)`;
    throw new ProviderError("UserConfig", message);
  }
  if (wanted === "ip" || annotationOf(service, "type") === "nlb-ip") return "ip";
  if (service.spec?.type === "ClusterIP") {
    const message = `target type instance needs node ports, which a Service of type ClusterIP does not have`;
    throw new ProviderError("UserConfig", message);
  }
  if (!port.nodePort && service.spec?.allocateLoadBalancerNodePorts === false) {
    const message = `port ${port.port} has no node port, which target type instance needs: set one, or allocateLoadBalancerNodePorts: true, or target type ip`;
    throw new ProviderError("UserConfig", message);
  }
  return "instance";
}

/** Port that a target group is made with. Targets are registered with ports of their own, so it is for people to read. */
export function targetGroupPort(targetType: TargetType, port: ServicePort): number {
  if (targetType === "instance") return port.nodePort ?? 0;
  return typeof port.targetPort === "string" ? 1 : (port.targetPort ?? port.port);
}

/** Families of a target group: IPv6 as soon as the Service has that family. @throws ProviderError UserConfig without a dualstack load balancer */
export function targetGroupIPAddressType(service: Service, loadBalancer: IPAddressType): "ipv4" | "ipv6" {
  if (!service.spec?.ipFamilies?.includes("IPv6")) return "ipv4";
  if (loadBalancer === "dualstack") return "ipv6";
  const message = `the Service has family IPv6, so annotation ${annotationPrefix}ip-address-type must be dualstack`;
  throw new ProviderError("UserConfig", message);
}

/** Labels of nodes that are targets, or undefined for all nodes. Pods are not chosen by labels of nodes. */
export function targetNodeLabels(service: Service, targetType: TargetType): Record<string, string> | undefined {
  if (targetType !== "instance") return undefined;
  const labels = pairsOf(service, "target-node-labels");
  return labels === undefined || labels.size === 0 ? undefined : Object.fromEntries(labels);
}
