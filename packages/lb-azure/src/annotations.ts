import type { Service } from "@portolan/core";
import type { AnnotationRegistry, AnnotationRow, AnnotationType } from "@portolan/lb";
import { readBoolean } from "@portolan/lb";

const prefix = "service.beta.kubernetes.io/";

/** Keys of the annotations, without their common prefix `service.beta.kubernetes.io/`. */
export const keys = {
  internal: "azure-load-balancer-internal",
  internalSubnet: "azure-load-balancer-internal-subnet",
  mode: "azure-load-balancer-mode",
  dnsLabel: "azure-dns-label-name",
  resourceGroup: "azure-load-balancer-resource-group",
  addressIPv4: "azure-load-balancer-ipv4",
  addressIPv6: "azure-load-balancer-ipv6",
  publicIPName: "azure-pip-name",
  publicIPNameIPv6: "azure-pip-name-ipv6",
  publicIPPrefix: "azure-pip-prefix-id",
  publicIPPrefixIPv6: "azure-pip-prefix-id-ipv6",
  publicIPTags: "azure-pip-tags",
  publicIPAddressTags: "azure-pip-ip-tags",
  allowedServiceTags: "azure-allowed-service-tags",
  allowedRanges: "azure-allowed-ip-ranges",
  denyAllExceptRanges: "azure-deny-all-except-load-balancer-source-ranges",
  additionalPublicIPs: "azure-additional-public-ips",
  sharedSecurityRule: "azure-shared-securityrule",
  disableFloatingIP: "azure-disable-load-balancer-floating-ip",
  disableSecurityRule: "azure-disable-load-balancer-nsg-rule",
  idleTimeout: "azure-load-balancer-tcp-idle-timeout",
  disableTcpReset: "azure-load-balancer-disable-tcp-reset",
  highAvailabilityPorts: "azure-load-balancer-enable-high-availability-ports",
  probeProtocol: "azure-load-balancer-health-probe-protocol",
  probeInterval: "azure-load-balancer-health-probe-interval",
  probeCount: "azure-load-balancer-health-probe-num-of-probe",
  probePath: "azure-load-balancer-health-probe-request-path",
  configurations: "azure-load-balancer-configurations",
  privateLinkCreate: "azure-pls-create",
  privateLinkProxyProtocol: "azure-pls-proxy-protocol",
} as const;

/** The text of an annotation, trimmed; undefined when absent or empty. */
export function annotation(service: Service, key: string): string | undefined {
  const text = service.metadata?.annotations?.[prefix + key]?.trim();
  return text === undefined || text === "" ? undefined : text;
}

/** An annotation as Azure's controller reads booleans: `true` in any case, all else is false. */
export function flag(service: Service, key: string): boolean {
  return readBoolean(annotation(service, key) ?? "", "true-ignoring-case") ?? false;
}

/** Full key, as it stands in manifests. */
export function fullKey(key: string): string {
  return prefix + key;
}

const boolean: AnnotationType = { kind: "boolean", reading: "true-ignoring-case" };
const text: AnnotationType = { kind: "string" };
const list: AnnotationType = { kind: "list" };

function row(
  key: string,
  type: AnnotationType,
  sets: string,
  change: AnnotationRow["change"] = "in-place",
  more: Partial<AnnotationRow> = {},
): AnnotationRow {
  return { key: prefix + key, type, sets, change, ...more };
}

/** All annotations that are read, as Azure's cloud provider documents and codes them. */
export const azureAnnotations: AnnotationRegistry = {
  prefixes: [`${prefix}azure-`, `${prefix}port_`],
  rows: [
    row(keys.internal, boolean, "which load balancer: public, or the internal one", "ip-change", {
      default: "false",
      exposure: true,
    }),
    row(keys.internalSubnet, text, "frontendIPConfigurations[].subnet", "ip-change", {
      default: "the cluster's subnet",
      appliesWhen: "the load balancer is internal",
    }),
    row(keys.mode, text, "which virtual-machine set serves", "ignored", { appliesWhen: "SKU Basic only" }),
    row(keys.dnsLabel, { kind: "string", maximumLength: 63 }, "publicIPAddress.dnsSettings.domainNameLabel"),
    row(keys.resourceGroup, text, "resource group of the public IP", "ip-change", { default: "the cluster's" }),
    row(keys.addressIPv4, { kind: "addresses" }, "the frontend's IPv4 address", "ip-change"),
    row(keys.addressIPv6, { kind: "addresses" }, "the frontend's IPv6 address", "ip-change"),
    row(keys.publicIPName, text, "an existing public IP (IPv4)", "ip-change"),
    row(keys.publicIPNameIPv6, text, "an existing public IP (IPv6)", "ip-change"),
    row(keys.publicIPPrefix, text, "publicIPAddress.publicIPPrefix (IPv4)", "ip-change"),
    row(keys.publicIPPrefixIPv6, text, "publicIPAddress.publicIPPrefix (IPv6)", "ip-change"),
    row(keys.publicIPTags, { kind: "map" }, "publicIPAddress.tags", "in-place", { badValue: "warning" }),
    row(keys.publicIPAddressTags, { kind: "map" }, "publicIPAddress.ipTags", "ip-change", { badValue: "warning" }),
    row(keys.allowedServiceTags, list, "sources of security rules, one rule for each tag"),
    row(keys.allowedRanges, { kind: "cidrs" }, "sources of security rules", "in-place", { badValue: "warning" }),
    row(keys.denyAllExceptRanges, boolean, "deny rules behind the allowed ranges"),
    row(keys.additionalPublicIPs, { kind: "addresses" }, "more destinations of security rules"),
    row(keys.sharedSecurityRule, boolean, "nothing any more: rules are always shared", "ignored"),
    row(keys.disableFloatingIP, boolean, "enableFloatingIP and backendPort of rules"),
    row(keys.disableSecurityRule, boolean, "whether there are security rules for the Service"),
    row(keys.idleTimeout, { kind: "integer", minimum: 4, maximum: 100 }, "idleTimeoutInMinutes", "in-place", {
      default: "4",
    }),
    row(keys.disableTcpReset, boolean, "enableTcpReset", "in-place", { default: "false (Standard resets)" }),
    row(keys.highAvailabilityPorts, boolean, "one rule for all ports", "in-place", {
      appliesWhen: "the load balancer is internal and Standard",
    }),
    row(keys.probeProtocol, text, "probe.protocol", "in-place", { default: "tcp" }),
    row(keys.probeInterval, { kind: "integer", minimum: 5 }, "probe.intervalInSeconds", "in-place", { default: "5" }),
    row(keys.probeCount, { kind: "integer", minimum: 2 }, "probe.probeThreshold", "in-place", { default: "2" }),
    row(keys.probePath, text, "probe.requestPath", "in-place", { default: "/" }),
    row("port_{port}_health-probe_protocol", text, "protocol of one port's probe"),
    row("port_{port}_health-probe_port", text, "port of one port's probe"),
    row("port_{port}_health-probe_interval", { kind: "integer", minimum: 5 }, "interval of one port's probe"),
    row("port_{port}_health-probe_num-of-probe", { kind: "integer", minimum: 2 }, "threshold of one port's probe"),
    row("port_{port}_health-probe_request-path", text, "path of one port's probe"),
    row("port_{port}_no_lb_rule", boolean, "whether the port has a rule and a probe"),
    row("port_{port}_no_probe_rule", boolean, "whether the port has a probe"),
    row(keys.configurations, list, "which of several load balancers may be chosen", "ip-change"),
    row(keys.privateLinkCreate, boolean, "a Private Link Service on the frontend"),
    row("azure-pls-name", text, "name of the Private Link Service"),
    row("azure-pls-resource-group", text, "resource group of the Private Link Service"),
    row("azure-pls-ip-configuration-subnet", text, "subnet of its addresses"),
    row("azure-pls-ip-configuration-ip-address-count", { kind: "integer", minimum: 1, maximum: 8 }, "its addresses"),
    row("azure-pls-ip-configuration-ip-address", list, "its static addresses"),
    row("azure-pls-fqdns", list, "its names"),
    row(keys.privateLinkProxyProtocol, boolean, "whether it sends the PROXY protocol"),
    row("azure-pls-visibility", list, "subscriptions that see it"),
    row("azure-pls-auto-approval", list, "subscriptions that are approved at once"),
  ],
};
