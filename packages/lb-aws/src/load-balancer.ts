import type { Service } from "@portolan/core";
import { ProviderError, type ServiceKey } from "@portolan/lb";
import { annotationOf, annotationPrefix, badAnnotation, choiceOf, flagOf, pairsOf } from "./annotations.ts";
import type { AwsConfiguration, IPAddressType, Scheme } from "./configuration.ts";
import { loadBalancerName } from "./names.ts";
import type { Subnet } from "./subnets.ts";

/** Who reaches the load balancer: annotation `scheme`, else `internal`, else as it is, else as configured. */
export function schemeOf(
  service: Service,
  configuration: Pick<AwsConfiguration, "defaultScheme">,
  existing?: Scheme,
): Scheme {
  const scheme = choiceOf(service, "scheme", ["internal", "internet-facing"]);
  if (scheme !== undefined) return scheme;
  const internal = flagOf(service, "internal");
  if (internal !== undefined) return internal ? "internal" : "internet-facing";
  return existing ?? configuration.defaultScheme ?? "internal";
}

/** Name of the load balancer: the annotation's, else one of namespace, name and a hash. */
export function nameOfLoadBalancer(service: Service, cluster: string, key: ServiceKey, scheme: Scheme): string {
  const name = annotationOf(service, "name");
  if (name === undefined) return loadBalancerName(cluster, key, scheme);
  if (name.length > 32) throw badAnnotation(service, "name", "must have no more than 32 characters");
  if (!/^(?!internal-)[0-9A-Za-z](?:[0-9A-Za-z-]*[0-9A-Za-z])?$/.test(name)) {
    throw badAnnotation(
      service,
      "name",
      "must consist of letters, digits and inner hyphens, and must not begin with internal-",
    );
  }
  return name;
}

/** Families of the load balancer. */
export function ipAddressTypeOf(service: Service): IPAddressType {
  return choiceOf(service, "ip-address-type", ["ipv4", "dualstack"]) ?? "ipv4";
}

/** Whether UDP to IPv6 targets may be translated from prefixes of the subnets. */
export function ipv6SourceNat(
  service: Service,
  ipAddressType: IPAddressType,
  subnets: readonly Pick<Subnet, "id" | "ipv6Cidrs">[],
): "on" | "off" {
  const suffix = "enable-prefix-for-ipv6-source-nat";
  const wanted = choiceOf(service, suffix, ["on", "off"]) ?? "off";
  if (wanted === "off") return "off";
  if (ipAddressType !== "dualstack") throw badAnnotation(service, suffix, "needs ip-address-type dualstack");
  const without = subnets.filter((subnet) => (subnet.ipv6Cidrs ?? []).length === 0);
  if (without.length > 0) {
    const ids = without.map((subnet) => subnet.id).join(", ");
    throw badAnnotation(service, suffix, `subnets ${ids} have no IPv6 CIDR`);
  }
  return "on";
}

const routingPolicies = ["any_availability_zone", "availability_zone_affinity", "partial_availability_zone_affinity"];

/** Attributes of the load balancer: those of annotation `attributes`, overridden by the older annotations that set one each. */
export function loadBalancerAttributes(service: Service): Record<string, string> {
  const out = new Map(pairsOf(service, "attributes") ?? []);
  const policy = out.get("dns_record.client_routing_policy");
  if (policy !== undefined && !routingPolicies.includes(policy)) {
    const wanted = `dns_record.client_routing_policy=${policy} must be one of ${routingPolicies.join(", ")}`;
    throw badAnnotation(service, "attributes", wanted);
  }
  if (flagOf(service, "access-log-enabled") === true) {
    out.set("access_logs.s3.enabled", "true");
    const bucket = annotationOf(service, "access-log-s3-bucket-name");
    const prefix = annotationOf(service, "access-log-s3-bucket-prefix");
    if (bucket !== undefined) out.set("access_logs.s3.bucket", bucket);
    if (prefix !== undefined) out.set("access_logs.s3.prefix", prefix);
  }
  const crossZone = flagOf(service, "cross-zone-load-balancing-enabled");
  if (crossZone !== undefined) out.set("load_balancing.cross_zone.enabled", String(crossZone));
  return Object.fromEntries([...out].sort(([left], [right]) => (left < right ? -1 : 1)));
}

/** Reserved capacity, in load-balancer capacity units. */
export function minimumCapacity(service: Service): { readonly capacityUnits: number } | undefined {
  const suffix = "minimum-load-balancer-capacity";
  const pairs = pairsOf(service, suffix);
  if (pairs === undefined || pairs.size === 0) return undefined;
  const unknown = [...pairs.keys()].find((key) => key !== "CapacityUnits");
  if (unknown !== undefined) throw badAnnotation(service, suffix, `the only key is CapacityUnits, not ${unknown}`);
  const units = pairs.get("CapacityUnits")!;
  if (!/^\d{1,9}$/.test(units)) throw badAnnotation(service, suffix, `CapacityUnits=${units} must be an integer`);
  return { capacityUnits: Number(units) };
}

/** Tags of all objects of a Service, beside those that mark its owner. */
export function resourceTags(
  service: Service,
  configuration: Pick<AwsConfiguration, "defaultTags" | "defaultTagsLowPriority" | "externalManagedTags">,
): Record<string, string> {
  const { defaultTags = {}, defaultTagsLowPriority = false, externalManagedTags = [] } = configuration;
  const own = Object.fromEntries(pairsOf(service, "additional-resource-tags") ?? []);
  const foreign = Object.keys(own).find((key) => externalManagedTags.includes(key));
  if (foreign !== undefined) {
    throw badAnnotation(service, "additional-resource-tags", `tag ${foreign} is managed by somebody else`);
  }
  return defaultTagsLowPriority ? { ...defaultTags, ...own } : { ...own, ...defaultTags };
}

/** Whether the load balancer's groups also guard traffic that comes by PrivateLink; undefined: not set. */
export function inboundRulesOnPrivateLink(service: Service): "on" | "off" | undefined {
  return choiceOf(service, "inbound-sg-rules-on-private-link-traffic", ["on", "off"]);
}

const protection = "deletion_protection.enabled";

/** @throws ProviderError UserConfig if attributes protect a load balancer against being deleted */
export function refuseProtected(name: string, attributes: Readonly<Record<string, string>>): void {
  if (attributes[protection] !== "true") return;
  const key = `${annotationPrefix}attributes`;
  const message = `load balancer ${name} has deletion protection; set ${protection}=false in annotation ${key} first`;
  throw new ProviderError("UserConfig", message);
}

/** @throws ProviderError UserConfig if a Service asks to protect the load balancer that its deletion would remove */
export function requireDeletable(service: Service): void {
  const { namespace = "", name = "" } = service.metadata;
  refuseProtected(`of Service ${namespace}/${name}`, loadBalancerAttributes(service));
}
