import type { DesiredState } from "./desired.ts";
import { isFrontendInForeignUse } from "./frontend.ts";
import {
  type LoadBalancerResource,
  nameOfId,
  type PublicIPResource,
  type ResourceIds,
  type SecurityGroupResource,
} from "./port.ts";
import type { PublicIP } from "./public-ip.ts";
import type { SecurityRule } from "./security-group.ts";

type Parts<K extends keyof LoadBalancerResource["properties"]> = NonNullable<LoadBalancerResource["properties"][K]>;

/** Whether a part of a load balancer belongs to the Service of a prefix. The name is all that parts have for a mark. */
function isOwn(name: string, prefix: string): boolean {
  return name.toLowerCase() === prefix.toLowerCase() || name.toLowerCase().startsWith(`${prefix.toLowerCase()}-`);
}

/** Whether a load balancer has a frontend of the Service. */
export function servesPrefix(resource: LoadBalancerResource, prefix: string): boolean {
  return (resource.properties.frontendIPConfigurations ?? []).some((each) => isOwn(each.name, prefix));
}

/** Keeps what the document says beyond what is wanted of a part: fields that others set, or that Azure added. */
function merged<T extends { readonly name: string; readonly properties: object }>(before: T | undefined, after: T): T {
  if (before === undefined) return after;
  return { ...before, ...after, properties: { ...before.properties, ...after.properties } };
}

/** A list in which the parts that are `mine` are replaced by `wanted`; the others stay, in their places. */
function replaced<T extends { readonly name: string; readonly properties: object }>(
  before: readonly T[] | undefined,
  mine: (part: T) => boolean,
  wanted: readonly T[],
): readonly T[] {
  const list = before ?? [];
  const kept = list.flatMap((part) => {
    const want = wanted.find((each) => each.name.toLowerCase() === part.name.toLowerCase());
    if (want !== undefined) return [merged(part, want)];
    return mine(part) ? [] : [part];
  });
  const added = wanted.filter((want) => !list.some((part) => part.name.toLowerCase() === want.name.toLowerCase()));
  return [...kept, ...added];
}

/** The document of a load balancer with what the Service needs, and without what it had and needs no more. */
export function withService(
  before: LoadBalancerResource | undefined,
  desired: DesiredState,
  prefix: string,
  context: {
    readonly ids: ResourceIds;
    readonly location: string;
    readonly subnetId: (subnet: string) => string;
    readonly vnetId: string;
    readonly publicIPId: (name: string) => string;
  },
): LoadBalancerResource {
  const { name } = desired.loadBalancer;
  const own = (kind: string, part: string): { id: string } => ({
    id: `${context.ids.network("loadBalancers", name)}/${kind}/${part}`,
  });
  const frontends: Parts<"frontendIPConfigurations"> = desired.frontends.map((frontend) => ({
    name: frontend.name,
    properties: {
      ...(frontend.publicIPAddress === undefined
        ? {
            subnet: { id: context.subnetId(frontend.subnet ?? "") },
            privateIPAllocationMethod: frontend.privateIPAllocationMethod ?? "Dynamic",
            privateIPAddressVersion: frontend.family,
            ...(frontend.privateIPAddress === undefined ? {} : { privateIPAddress: frontend.privateIPAddress }),
          }
        : { publicIPAddress: { id: context.publicIPId(frontend.publicIPAddress) } }),
    },
  }));
  const pools: Parts<"backendAddressPools"> = desired.pools.map((pool) => ({
    name: pool.name,
    properties: {
      loadBalancerBackendAddresses: pool.nodes.map(
        (node) =>
          // What Azure added to a member stays with it.
          (before?.properties.backendAddressPools ?? [])
            .find((each) => each.name.toLowerCase() === pool.name.toLowerCase())
            ?.properties.loadBalancerBackendAddresses?.find(
              (each) => each.name === node.name && each.properties.ipAddress === node.address,
            ) ?? {
            name: node.name,
            properties: { ipAddress: node.address, virtualNetwork: { id: context.vnetId } },
          },
      ),
    },
  }));
  const rules: Parts<"loadBalancingRules"> = desired.rules.map((rule) => {
    const { name: ruleName, probe, frontendIPConfiguration, backendAddressPool, ...rest } = rule;
    return {
      name: ruleName,
      properties: {
        ...rest,
        frontendIPConfiguration: own("frontendIPConfigurations", frontendIPConfiguration),
        backendAddressPool: own("backendAddressPools", backendAddressPool),
        ...(probe === undefined ? {} : { probe: own("probes", probe) }),
      },
    };
  });
  const probes: Parts<"probes"> = desired.probes.map(({ name: probeName, ...properties }) => ({
    name: probeName,
    properties,
  }));
  const properties = before?.properties ?? {};
  // A rule or probe whose members change must lose those that it has no more, such as a probe or a path.
  const fresh = <T extends { readonly name: string; readonly properties: object }>(
    parts: readonly T[] | undefined,
    wanted: readonly T[],
    optional: readonly string[],
  ): readonly T[] =>
    (parts ?? []).map((part) => {
      const want = wanted.find((each) => each.name.toLowerCase() === part.name.toLowerCase());
      if (want === undefined) return part;
      const rest = Object.entries(part.properties).filter(([key]) => !optional.includes(key) || key in want.properties);
      return { ...part, properties: Object.fromEntries(rest) };
    }) as readonly T[];
  const isMine = (part: { readonly name: string }): boolean => isOwn(part.name, prefix);
  return {
    ...before,
    name,
    location: before?.location ?? context.location,
    sku: before?.sku ?? { name: desired.loadBalancer.sku },
    properties: {
      ...properties,
      frontendIPConfigurations: replaced(
        properties.frontendIPConfigurations,
        (frontend) => isMine(frontend) && !isFrontendInForeignUse(before ?? {}, frontend.id ?? frontend.name, prefix),
        frontends,
      ),
      backendAddressPools: replaced(properties.backendAddressPools, () => false, pools),
      loadBalancingRules: replaced(
        fresh(properties.loadBalancingRules, rules, ["probe", "enableTcpReset"]),
        isMine,
        rules,
      ),
      probes: prunedProbes(replaced(fresh(properties.probes, probes, ["requestPath"]), isMine, probes), [
        ...replaced(properties.loadBalancingRules, isMine, rules),
      ]),
    },
  };
}

/** Probes without the shared one when no rule uses it any more; others belong to rules of their own Services. */
function prunedProbes(probes: Parts<"probes">, rules: Parts<"loadBalancingRules">): Parts<"probes"> {
  return probes.filter(
    (probe) =>
      probe.name !== "cluster-service-shared-health-probe" ||
      rules.some((rule) => nameOfId(rule.properties.probe?.id) === probe.name),
  );
}

/**
 * The document of a load balancer without anything of the Service, or `undefined` if nothing is left that is worth a load
 * balancer. Frontends that something else uses stay.
 */
export function withoutService(before: LoadBalancerResource, prefix: string): LoadBalancerResource | undefined {
  const { properties } = before;
  const isMine = (part: { readonly name: string }): boolean => isOwn(part.name, prefix);
  const rules = (properties.loadBalancingRules ?? []).filter((rule) => !isMine(rule));
  const rest = { ...before, properties: { ...properties, loadBalancingRules: rules } };
  const frontends = (properties.frontendIPConfigurations ?? []).filter(
    (frontend) => !isMine(frontend) || isFrontendInForeignUse(rest, frontend.id ?? frontend.name, prefix),
  );
  if (frontends.length === 0) return undefined;
  const used = new Set(rules.map((rule) => nameOfId(rule.properties.backendAddressPool.id).toLowerCase()));
  const served = new Set(
    (properties.loadBalancingRules ?? []).map((rule) => nameOfId(rule.properties.backendAddressPool.id).toLowerCase()),
  );
  return {
    ...before,
    properties: {
      ...properties,
      frontendIPConfigurations: frontends,
      loadBalancingRules: rules,
      // A pool goes with the last rule that used it.
      backendAddressPools: (properties.backendAddressPools ?? []).filter(
        (pool) => used.has(pool.name.toLowerCase()) || !served.has(pool.name.toLowerCase()),
      ),
      probes: prunedProbes(
        (properties.probes ?? []).filter((probe) => !isMine(probe)),
        rules,
      ),
    },
  };
}

/**
 * Whether two documents ask for the same: Azure's own additions (versions, states, ids of parts) do not count, the order of
 * members does not either, and ids compare without regard to case.
 */
export function sameDocument(left: unknown, right: unknown): boolean {
  return canonical(left) === canonical(right);
}

const additions: ReadonlySet<string> = new Set(["etag", "provisioningState", "resourceGuid", "type"]);

function canonical(value: unknown, key = ""): string {
  if (Array.isArray(value)) return `[${value.map((entry) => canonical(entry)).join(",")}]`;
  if (typeof value !== "object" || value === null) {
    return JSON.stringify(key === "id" && typeof value === "string" ? value.toLowerCase() : value) ?? "null";
  }
  // The id of a part follows from its name; that of a reference is all there is to it.
  const isPart = "name" in value;
  const entries = Object.entries(value).filter(
    ([name, member]) => member !== undefined && !additions.has(name) && !(isPart && name === "id"),
  );
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([name, member]) => `${name}:${canonical(member, name)}`).join(",")}}`;
}

/** Rules of a group in plain form. */
export function securityRulesOf(group: SecurityGroupResource): SecurityRule[] {
  const list = (single: string | undefined, many: readonly string[] | undefined): readonly string[] =>
    many !== undefined && many.length > 0 ? many : single === undefined || single === "" ? [] : [single];
  return (group.properties.securityRules ?? []).map(({ name, properties }) => ({
    name,
    access: properties.access === "Deny" ? "Deny" : "Allow",
    direction: properties.direction === "Outbound" ? "Outbound" : "Inbound",
    protocol: properties.protocol,
    priority: properties.priority,
    sources: list(properties.sourceAddressPrefix, properties.sourceAddressPrefixes),
    destinations: list(properties.destinationAddressPrefix, properties.destinationAddressPrefixes),
    destinationPorts: list(properties.destinationPortRange, properties.destinationPortRanges),
    sourcePort: properties.sourcePortRange ?? "*",
  }));
}

/** The document of a group with other rules; those that are the same stay as they are, with all their members. */
export function withSecurityRules(group: SecurityGroupResource, rules: readonly SecurityRule[]): SecurityGroupResource {
  const before = new Map(securityRulesOf(group).map((rule) => [rule.name, JSON.stringify(rule)]));
  const securityRules = rules.map((rule) => {
    const existing = (group.properties.securityRules ?? []).find((each) => each.name === rule.name);
    if (existing !== undefined && before.get(rule.name) === JSON.stringify(rule)) return existing;
    const one = <K extends string>(key: K, values: readonly string[]): Record<string, unknown> =>
      values.length === 1
        ? { [key]: values[0] }
        : { [key === "destinationPortRange" ? "destinationPortRanges" : `${key}es`]: values };
    return {
      name: rule.name,
      properties: {
        access: rule.access,
        direction: rule.direction,
        protocol: rule.protocol,
        priority: rule.priority,
        sourcePortRange: rule.sourcePort,
        ...one("sourceAddressPrefix", rule.sources),
        ...one("destinationAddressPrefix", rule.destinations),
        ...one("destinationPortRange", rule.destinationPorts),
      },
    };
  });
  return { ...group, properties: { ...group.properties, securityRules } };
}

/** The document of a public IP that this provider makes; tags and fields of others stay. */
export function publicIPDocument(
  before: PublicIPResource | undefined,
  desired: PublicIP,
  location: string,
): PublicIPResource {
  const ownTags = ["k8s-azure-service", "k8s-azure-cluster-name", "k8s-azure-dns-label-service"];
  const kept = Object.fromEntries(Object.entries(before?.tags ?? {}).filter(([key]) => !ownTags.includes(key)));
  const { dnsSettings, ...properties } = before?.properties ?? {
    publicIPAllocationMethod: desired.publicIPAllocationMethod,
    publicIPAddressVersion: desired.publicIPAddressVersion,
  };
  return {
    ...before,
    name: desired.name,
    location: before?.location ?? location,
    sku: before?.sku ?? { name: desired.sku },
    tags: { ...kept, ...desired.tags },
    properties: {
      ...properties,
      ...(desired.domainNameLabel === undefined
        ? {}
        : {
            dnsSettings:
              dnsSettings?.domainNameLabel === desired.domainNameLabel
                ? dnsSettings
                : { domainNameLabel: desired.domainNameLabel },
          }),
      ...(desired.ipTags === undefined ? {} : { ipTags: desired.ipTags }),
      ...(desired.publicIPPrefix === undefined ? {} : { publicIPPrefix: { id: desired.publicIPPrefix } }),
    },
  };
}

/**
 * Whether a rule lets clients to node ports that no load balancer sends them to. Node ports belong to one Service each, so that such
 * a rule is left over from one without floating IP; rules on other addresses are none of these.
 */
export function opensUnusedNodePorts(rule: SecurityRule, loadBalancers: readonly LoadBalancerResource[]): boolean {
  const nodes = new Set<string>();
  const ports = new Set<string>();
  for (const { properties } of loadBalancers) {
    for (const pool of properties.backendAddressPools ?? []) {
      for (const member of pool.properties.loadBalancerBackendAddresses ?? []) nodes.add(member.properties.ipAddress);
    }
    for (const each of properties.loadBalancingRules ?? []) {
      if (!each.properties.enableFloatingIP) ports.add(String(each.properties.backendPort));
    }
  }
  return (
    rule.access === "Allow" &&
    rule.destinations.length > 0 &&
    rule.destinations.every((address) => nodes.has(address)) &&
    !rule.destinationPorts.some((port) => ports.has(port))
  );
}
