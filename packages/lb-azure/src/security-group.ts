import { createHash } from "node:crypto";
import type { Service } from "@portolan/core";
import { ProviderError, readList } from "@portolan/lb";
import { canonicalAddress, familyOf, type IPFamily } from "@portolan/net";
import { allowedSources, deniesAllElse } from "./access-control.ts";
import { annotation, flag, keys } from "./annotations.ts";
import { familiesOf } from "./names.ts";

/** A rule of a network security group, as far as it concerns load balancers. */
export interface SecurityRule {
  readonly name: string;
  readonly access: "Allow" | "Deny";
  readonly direction: "Inbound" | "Outbound";
  readonly protocol: "Tcp" | "Udp" | "*" | string;
  readonly priority: number;
  readonly sources: readonly string[];
  readonly destinations: readonly string[];
  readonly destinationPorts: readonly string[];
  readonly sourcePort: string;
}

/** Addresses by family. */
export type AddressesByFamily = Readonly<Partial<Record<IPFamily, readonly string[]>>>;

const allowPrefix = "k8s-azure-lb_allow_";
const denyPrefix = "k8s-azure-lb_deny-all_";
const firstAllow = 500;
const lastDeny = 4095;
/** Rules that one group may have. */
const maximumRules = 1000;

/** Name of an allow rule: the same for all Services with the same sources, protocol and ports, which share the rule. */
export function allowRuleName(
  family: IPFamily,
  protocol: string,
  sources: readonly string[],
  ports: readonly string[],
): string {
  const text = [protocol, [...sources].sort().join(","), [...ports].sort().join(",")].join("_");
  return `${allowPrefix}${family}_${createHash("md5").update(text).digest("hex")}`;
}

/** Whether a rule is one that this provider makes. */
export function isManagedRule(rule: Pick<SecurityRule, "name">): boolean {
  return rule.name.startsWith(allowPrefix) || rule.name.startsWith(denyPrefix);
}

const unique = (texts: readonly string[]): string[] => [...new Set(texts)].sort();

/** A rule that a Service needs, before it has a priority. */
type WantedRule = Omit<SecurityRule, "priority">;

/** The rules that a Service needs, in the order in which priorities are given. */
export function wantedRules(
  service: Service,
  frontendAddresses: AddressesByFamily,
  nodeAddresses: AddressesByFamily,
): WantedRule[] {
  if (flag(service, keys.disableSecurityRule)) return [];
  const direct = flag(service, keys.disableFloatingIP);
  const additional = readList(annotation(service, keys.additionalPublicIPs) ?? "");
  const destinationsOf = (family: IPFamily): string[] =>
    direct
      ? unique(nodeAddresses[family] ?? [])
      : unique([
          ...(frontendAddresses[family] ?? []),
          ...additional.filter((address) => familyOf(address) === family).map((address) => canonicalAddress(address)!),
        ]);
  const families = (["IPv4", "IPv6"] as const).filter((family) => familiesOf(service).includes(family));
  const common = { direction: "Inbound", sourcePort: "*" } as const;
  const out: WantedRule[] = [];
  for (const [protocol, name] of [
    ["TCP", "Tcp"],
    ["UDP", "Udp"],
    ["SCTP", "*"],
  ] as const) {
    const ports = (service.spec?.ports ?? []).filter((port) => (port.protocol ?? "TCP") === protocol);
    if (ports.length === 0) continue;
    const destinationPorts = unique(ports.map((port) => String(direct ? (port.nodePort ?? 0) : port.port)));
    for (const family of families) {
      const destinations = destinationsOf(family);
      if (destinations.length === 0) continue;
      for (const sources of allowedSources(service, family)) {
        out.push({
          ...common,
          name: allowRuleName(family, name, sources, destinationPorts),
          access: "Allow",
          protocol: name,
          sources: unique(sources),
          destinations,
          destinationPorts,
        });
      }
    }
  }
  if (deniesAllElse(service)) {
    for (const family of families) {
      const destinations = destinationsOf(family);
      if (destinations.length === 0) continue;
      out.push({
        ...common,
        name: `${denyPrefix}${family}`,
        access: "Deny",
        protocol: "*",
        sources: ["*"],
        destinations,
        destinationPorts: ["*"],
      });
    }
  }
  return out;
}

/**
 * The rules of a group after a Service got what it needs and lost what it does not need any more. Other Services' destinations in
 * shared rules stay, and so do all rules that are not this provider's, with their priorities.
 *
 * @param own every address that is, or was, the Service's: only these are taken out of rules
 * @param isStale whether nothing stands behind a rule any more, so that it goes altogether
 * @throws ProviderError `Quota` if the group would have more rules than Azure allows
 */
export function reconcileSecurityRules(
  existing: readonly SecurityRule[],
  wanted: readonly WantedRule[],
  own: readonly string[],
  isStale: (rule: SecurityRule) => boolean = () => false,
): readonly SecurityRule[] {
  const mine = new Set([...own, ...wanted.flatMap((rule) => rule.destinations)]);
  const needed = new Map(wanted.map((rule) => [rule.name, rule]));
  const out: SecurityRule[] = [];
  for (const rule of existing) {
    if (!isManagedRule(rule)) {
      out.push(rule);
      continue;
    }
    const want = needed.get(rule.name);
    needed.delete(rule.name);
    const others = isStale(rule) ? [] : rule.destinations.filter((address) => !mine.has(address));
    const destinations = unique([...others, ...(want?.destinations ?? [])]);
    if (destinations.length > 0) out.push({ ...rule, ...want, priority: rule.priority, destinations });
  }
  const taken = new Set(out.filter((rule) => rule.direction === "Inbound").map((rule) => rule.priority));
  for (const rule of needed.values()) {
    const step = rule.access === "Allow" ? 1 : -1;
    let priority = rule.access === "Allow" ? firstAllow : lastDeny;
    while (taken.has(priority)) priority += step;
    if (priority > lastDeny + 1 || priority < firstAllow) {
      throw new ProviderError("Quota", "no priority is free in the network security group (500 to 4096)");
    }
    taken.add(priority);
    out.push({ ...rule, priority });
  }
  if (out.length > maximumRules) {
    throw new ProviderError(
      "Quota",
      `the network security group would have ${out.length} rules; Azure allows ${maximumRules} (SecurityRules per group)`,
    );
  }
  return out;
}
