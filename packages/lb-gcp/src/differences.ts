import { formatPrefix, maskAddress, parseAddress, parsePrefix } from "@portolan/net";
import { type ComparableRule, plainAddress, resourcePath, rulesEqual } from "./forwarding-rule.ts";
import { type HealthCheckTimes, mergeTimes } from "./health-check.ts";
import type { Body, Resource, ResourceKind } from "./resources.ts";

/** A member that differs: its name, what is there, what is wanted. */
export type Difference = readonly [member: string, observed: unknown, wanted: unknown];

/** Members that the cloud changes only by making the object anew; of kinds that are not listed it changes all. */
const immutable: Partial<Record<ResourceKind, readonly string[]>> = {
  backendService: ["loadBalancingScheme"],
  targetPool: ["sessionAffinity", "healthChecks"],
  firewall: ["network", "direction"],
};

/** Members that can be changed in place of kinds that otherwise cannot. */
const mutable: Partial<Record<ResourceKind, readonly string[]>> = {
  forwardingRule: ["allowGlobalAccess"],
  networkEndpointGroup: [],
  instanceGroup: [],
  address: [],
};

/** Whether a change of a member makes its object anew. */
export function makesAnew(kind: ResourceKind, member: string): boolean {
  const only = mutable[kind];
  if (only !== undefined) return !only.includes(member);
  return immutable[kind]?.includes(member) ?? false;
}

/** A CIDR or address in one spelling, so that `0::0/0` is `::/0`, and `10.0.0.1` is `10.0.0.1/32`. */
function canonicalRange(text: string): string {
  const address = parseAddress(text);
  const prefix = parsePrefix(text) ?? (address && { address, length: address.family === "IPv4" ? 32 : 128 });
  if (prefix === undefined) return text;
  return formatPrefix({ address: maskAddress(prefix.address, prefix.length), length: prefix.length });
}

/** Ports of firewall entries one by one, so that ranges and lists of the same ports are equal. */
function expandPorts(ports: readonly string[] = []): string {
  const out = new Set<number>();
  for (const text of ports) {
    const [from = 0, to = from] = text.split("-").map(Number);
    for (let port = from; port <= to; port++) out.add(port);
  }
  return [...out].sort((a, b) => a - b).join();
}

const sorted = (values: readonly string[]): string => [...values].sort().join("\n");

function canonical(member: string, value: unknown): unknown {
  if (value === undefined || value === null || value === "") return null;
  switch (member) {
    case "sessionAffinity":
      return value === "NONE" ? null : value;
    case "networkTier":
      return value === "PREMIUM" ? null : value;
    case "sourceRanges":
    case "destinationRanges":
      return (value as string[]).length === 0 ? null : sorted((value as string[]).map(canonicalRange));
    case "allowed":
    case "denied":
      return sorted(
        (value as { IPProtocol: string; ports?: string[] }[]).map(
          (entry) => `${entry.IPProtocol.toLowerCase()} ${expandPorts(entry.ports)}`,
        ),
      );
    case "backends":
      return sorted((value as { group: string }[]).map((entry) => resourcePath(entry.group)));
  }
  if (typeof value === "string") return resourcePath(value);
  if (Array.isArray(value)) {
    return value.length === 0 ? null : sorted(value.map((entry) => resourcePath(String(entry))));
  }
  return value;
}

/** Whether everything that is wanted of a value is there; what the cloud adds does not matter. */
function covers(member: string, observed: unknown, wanted: unknown): boolean {
  if (typeof wanted !== "object" || wanted === null || Array.isArray(wanted)) {
    return canonical(member, observed) === canonical(member, wanted);
  }
  if (typeof observed !== "object" || observed === null) return false;
  return Object.entries(wanted).every(([name, value]) => covers(name, (observed as Body)[name], value));
}

/** A wanted body with the times of a health check that users raised. */
function withRaisedTimes(resource: Resource, observed: Body): Body {
  if (resource.kind !== "healthCheck" && resource.kind !== "httpHealthCheck") return resource.body;
  const { body } = resource;
  return { ...body, ...mergeTimes(observed as Partial<HealthCheckTimes>, body as unknown as HealthCheckTimes) };
}

function ruleOf(body: Body): ComparableRule {
  const { IPAddress, IPProtocol, ...rest } = body as Record<string, string>;
  return { ...(rest as ComparableRule), ip: IPAddress ?? "", protocol: IPProtocol ?? "" };
}

const portMembers: readonly string[] = ["ports", "portRange", "allPorts"];

/** What differs between a wanted object and the one that is there. Members that are not wanted are not looked at. */
export function differencesOf(resource: Resource, observed: Body): Difference[] {
  const wanted = withRaisedTimes(resource, observed);
  // A description that says the same in other words changes nothing; whose object it is has been looked at before.
  const names = Object.keys(wanted).filter((name) => name !== "name" && name !== "description");
  if (resource.kind !== "forwardingRule") {
    return names
      .filter((name) => !covers(name, observed[name], wanted[name]))
      .map((name) => [name, observed[name] ?? null, wanted[name]]);
  }
  const out: Difference[] = [];
  const [is, should] = [ruleOf(observed), ruleOf(wanted)];
  const { protocol: _protocol, ...portsOnly } = should;
  const pick = (rule: ComparableRule): ComparableRule => ({
    ...(rule.ports === undefined ? {} : { ports: rule.ports }),
    ...(rule.portRange === undefined ? {} : { portRange: rule.portRange }),
    ...(rule.allPorts === undefined ? {} : { allPorts: rule.allPorts }),
  });
  if (!rulesEqual(pick(is), pick(portsOnly))) {
    for (const name of portMembers) {
      const pair = [observed[name] ?? null, wanted[name] ?? null] as const;
      if (canonical(name, pair[0]) !== canonical(name, pair[1])) out.push([name, ...pair]);
    }
  }
  for (const name of names) {
    if (portMembers.includes(name)) continue;
    const pair = [observed[name], wanted[name]];
    if (name === "IPAddress" && plainAddress(String(pair[0] ?? "")) === plainAddress(String(pair[1]))) continue;
    if (typeof pair[1] === "boolean" ? (pair[0] ?? false) === pair[1] : covers(name, pair[0], pair[1])) continue;
    out.push([name, pair[0] ?? null, pair[1]]);
  }
  return out;
}
