import type { Service } from "@portolan/core";
import {
  type Change,
  type Diagnostic,
  type Disruption,
  defaultLoadBalancerName,
  type NodeReference,
  type Plan,
  ProviderError,
  type ServiceKey,
} from "@portolan/lb";
import type { IPFamily } from "@portolan/net";
import { addressNames, type ExistingAddress, type ReservedAddress } from "./address.ts";
import { annotationKeys } from "./annotations.ts";
import type { GcpConfiguration } from "./configuration.ts";
import { type Difference, differencesOf, makesAnew } from "./differences.ts";
import { ruleAddress, ruleAddressIPv6 } from "./firewall.ts";
import { plainAddress } from "./forwarding-rule.ts";
import { type Mark, readMark } from "./mark.ts";
import { type ForwardingRule, type GcpModel, modelOf, type Variant, variantOf } from "./model.ts";
import { clusterHash } from "./names.ts";
import { ownsInstanceGroups, ownsTargetPool } from "./ownership.ts";
import { type Body, holdOf, type Resource, type ResourceKind, resourcesOf } from "./resources.ts";

/** An object that is there. */
export interface ObservedResource {
  readonly kind: ResourceKind;
  readonly name: string;
  readonly path: string;
  readonly body: Body;
  /** Instances of a group or pool, as `ZONE/NAME`. */
  readonly members?: readonly string[];
}

/** What the cloud has that concerns a Service: objects with its mark or with names of its objects, and reserved addresses. */
export interface GcpObserved {
  readonly key: ServiceKey;
  readonly resources: readonly ObservedResource[];
  readonly reserved: readonly (ReservedAddress & { readonly description?: string })[];
  /** Paths of objects that others refer to. */
  readonly inUse: readonly string[];
}

/** The model of a Service and the objects that make it so. */
export interface GcpDesired {
  readonly model: GcpModel;
  readonly resources: readonly Resource[];
  /** Reservations that hold addresses while rules are made anew. */
  readonly holds: readonly Resource[];
  /** Fingerprints of what was observed, by path: an update that is based on something older is refused by the cloud. */
  readonly fingerprints: Readonly<Record<string, string>>;
}

const because: Readonly<Record<string, string>> = {
  IPAddress: "another address is requested",
  IPProtocol: "the protocols of spec.ports changed",
  protocol: "the protocols of spec.ports changed",
  ports: "spec.ports changed",
  portRange: "spec.ports changed",
  allPorts: "spec.ports changed",
  allowed: "spec.ports changed",
  subnetwork: `annotation ${annotationKeys.subnet} or ${annotationKeys.internalSubnet} changed`,
  networkTier: `annotation ${annotationKeys.networkTier} changed`,
  allowGlobalAccess: `annotation ${annotationKeys.globalAccess} changed`,
  ipCollection: `annotation ${annotationKeys.ipv6Collection} changed`,
  localityLbPolicy: `annotation ${annotationKeys.weighted} or spec.externalTrafficPolicy changed`,
  connectionTrackingPolicy: `annotation ${annotationKeys.strongAffinity} or spec.sessionAffinityConfig changed`,
  sourceRanges: "spec.loadBalancerSourceRanges changed",
  sessionAffinity: "spec.sessionAffinity changed",
  healthChecks: "spec.externalTrafficPolicy changed",
  httpHealthCheck: "spec.healthCheckNodePort changed",
  loadBalancingScheme: `annotation ${annotationKeys.type} or spec.loadBalancerClass changed`,
  backends: "the zones of the nodes changed",
  members: "the nodes changed",
  destinationRanges: "the address changed",
};

const reasonOf = (differences: readonly Difference[]): string =>
  [...new Set(differences.map(([member]) => because[member] ?? `${member} is not what the Service asks for`))].join(
    "; ",
  );

/** A firewall rule with the addresses of forwarding rules in place of what stands for them, as far as they are known. */
export function withAddresses<T extends { readonly destinationRanges?: unknown }>(
  body: T,
  addresses: Partial<Record<IPFamily, string>>,
): T {
  const ranges = body.destinationRanges as readonly string[] | null | undefined;
  if (!ranges) return body;
  const known: Record<string, string | undefined> = {
    [ruleAddress]: addresses.IPv4,
    [ruleAddressIPv6]: addresses.IPv6,
  };
  return { ...body, destinationRanges: ranges.map((range) => known[range] ?? range) };
}

function isOf(mark: Mark | undefined, cluster: string, key: ServiceKey): boolean {
  return mark?.cluster === cluster && mark.key?.uid === key.uid;
}

const familyOfRule = (body: Body): IPFamily =>
  body["ipVersion"] === "IPV6" || String(body["IPAddress"] ?? "").includes(":") ? "IPv6" : "IPv4";

/** Addresses that the Service has now, by the rules that serve it or by what holds them. */
function existingOf(mine: readonly ObservedResource[], scheme: string): Partial<Record<IPFamily, ExistingAddress>> {
  const out: Partial<Record<IPFamily, ExistingAddress>> = {};
  const take = (family: IPFamily, address: unknown, body: Body): void => {
    if (typeof address !== "string" || address === "") return;
    out[family] ??= {
      address: plainAddress(address),
      ...(typeof body["subnetwork"] === "string" ? { subnetwork: body["subnetwork"] } : {}),
      ...(typeof body["networkTier"] === "string" ? { networkTier: body["networkTier"] } : {}),
    };
  };
  for (const { kind, body } of mine) {
    if (kind === "forwardingRule" && body["loadBalancingScheme"] === scheme) {
      take(familyOfRule(body), body["IPAddress"], body);
    }
  }
  for (const { kind, body } of mine) {
    if (kind === "address" && (body["addressType"] ?? "EXTERNAL") === scheme) {
      take(body["ipVersion"] === "IPV6" ? "IPv6" : "IPv4", body["address"], body);
    }
  }
  return out;
}

/**
 * Shared objects that no load balancer needs when this one does not: health checks and groups that nobody refers to, and firewall
 * rules of such checks.
 */
export function sharedLeftovers(
  observed: GcpObserved,
  cluster: string,
  wanted: ReadonlySet<string>,
): readonly ObservedResource[] {
  const shared = observed.resources.filter((entry) => {
    const mark = readMark(entry.body["description"]);
    return mark?.cluster === cluster && mark.key === undefined;
  });
  const unused = ({ path }: ObservedResource): boolean => !observed.inUse.includes(path) && !wanted.has(path);
  const used = shared.filter((entry) => entry.kind !== "firewall" && !unused(entry));
  return shared.filter((entry) =>
    entry.kind === "firewall"
      ? !wanted.has(entry.path) && !used.some((other) => entry.name.startsWith(`${other.name}-`))
      : unused(entry),
  );
}

/**
 * How the load balancer of a Service is built that may have been made by a controller of Google's: as it is, if the Service leaves
 * that open. Adding or removing annotations does not move it from one kind to another.
 */
export function establishedVariant(service: Service, observed: GcpObserved): Variant {
  const asked = variantOf(service);
  if (service.spec?.loadBalancerClass !== undefined) return asked;
  const name = defaultLoadBalancerName(observed.key.uid);
  const rule = observed.resources.find((entry) => entry.kind === "forwardingRule" && entry.name === name);
  const text = (member: string): string => String(rule?.body[member] ?? "");
  const internal = text("loadBalancingScheme") === "INTERNAL";
  if (asked === "internal") {
    return ownsInstanceGroups(service, { subsetting: true }, internal ? {} : undefined) ? "instance-group" : "internal";
  }
  const existing = { backendService: text("backendService"), target: text("target") };
  return ownsTargetPool(service, { backendServiceDefault: true }, internal ? undefined : existing)
    ? "target-pool"
    : "external";
}

/** What {@link planOf} is made from. */
export interface GcpPlanInput {
  readonly service: Service;
  readonly nodes: readonly NodeReference[];
  readonly observed: GcpObserved;
  readonly configuration: GcpConfiguration;
  readonly variant?: Variant;
  readonly cut?: "readable" | "hash";
}

/**
 * What has to change. The order is one in which a client is never let in before everything behind is there, and never further
 * than the firewall lets it: checks and groups, then the address is held, then firewall rules; rules that must go; what is behind
 * them; rules; then the address is let go, and what nobody uses any more is removed.
 *
 * @throws ProviderError `UserConfig` as {@link modelOf}, `Conflict` if an object with a name of ours is somebody else's
 */
export function planOf(input: GcpPlanInput): Plan<GcpDesired> {
  const { service, nodes, observed, configuration } = input;
  const { key } = observed;
  const cluster = clusterHash(configuration.kubeSystemUID);
  const marks = new Map(observed.resources.map((entry) => [entry, readMark(entry.body["description"])]));
  const mine = observed.resources.filter((entry) => isOf(marks.get(entry), cluster, key));
  const variant = input.variant ?? variantOf(service);
  const scheme = variant === "internal" || variant === "instance-group" ? "INTERNAL" : "EXTERNAL";
  const existing = existingOf(mine, scheme);
  const model = modelOf(
    {
      service,
      nodes,
      configuration,
      reserved: observed.reserved.filter((entry) => !isOf(readMark(entry.description), cluster, key)),
      existing,
      ...(input.cut === undefined ? {} : { cut: input.cut }),
    },
    variant,
  );
  const resources = resourcesOf(model, configuration, key);
  const there = new Map(observed.resources.map((entry) => [entry.path, entry]));
  const addresses: Partial<Record<IPFamily, string>> = Object.fromEntries(
    model.forwardingRules.filter((rule) => rule.IPAddress !== "").map((rule) => [rule.family, rule.IPAddress]),
  );

  for (const { kind, name, path, shared } of resources) {
    const found = there.get(path);
    if (found === undefined) continue;
    const mark = marks.get(found);
    if (mark?.cluster === cluster && (shared ? mark.key === undefined : mark.key?.uid === key.uid)) continue;
    const owner =
      mark?.key === undefined
        ? "somebody else made it"
        : mark.cluster !== cluster
          ? `it belongs to Service ${mark.key.namespace}/${mark.key.name} of another cluster`
          : `it belongs to Service ${mark.key.namespace}/${mark.key.name} with uid ${mark.key.uid}`;
    throw new ProviderError(
      "Conflict",
      `${kind} ${name} is there already, but ${owner}; remove or rename it (${path})`,
    );
  }

  const phases: Record<
    "prepare" | "hold" | "firewall" | "unpublish" | "behind" | "publish" | "release" | "sweep",
    Change[]
  > = {
    prepare: [],
    hold: [],
    firewall: [],
    unpublish: [],
    behind: [],
    publish: [],
    release: [],
    sweep: [],
  };
  type Phase = keyof typeof phases;
  const after: Readonly<Record<Phase, readonly Phase[]>> = {
    prepare: [],
    hold: [],
    firewall: ["hold"],
    unpublish: ["hold", "prepare"],
    behind: ["prepare", "unpublish"],
    publish: ["prepare", "hold", "firewall", "unpublish", "behind"],
    release: ["publish"],
    sweep: ["unpublish", "behind", "publish"],
  };
  const add = (phase: Phase, change: Omit<Change, "dependsOn" | "disruptive"> & { disruptive?: Disruption }): void => {
    phases[phase].push({
      disruptive: "none",
      ...change,
      dependsOn: [
        ...after[phase].flatMap((earlier) => phases[earlier].map(({ id }) => id)),
        // What is torn down, and what is put in its place, happens in this order.
        ...(phase === "behind" || phase === "sweep" ? phases[phase].slice(-1).map(({ id }) => id) : []),
      ],
    });
  };
  const nameOf = ({ kind, name, path }: { kind: ResourceKind; name: string; path: string }): Change["resource"] => ({
    kind,
    name,
    cloudId: path,
  });
  const remove = (phase: Phase, entry: ObservedResource, why: string, rest: Partial<Change> = {}): void =>
    add(phase, {
      id: `${entry.path}/remove`,
      action: "delete",
      resource: nameOf(entry),
      fields: [],
      because: why,
      ...rest,
    });

  const differences = new Map(
    resources.flatMap((entry) => {
      const found = there.get(entry.path);
      if (found === undefined) return [];
      const wanted = { ...entry, body: withAddresses(entry.body, addresses) };
      return [[entry, differencesOf(wanted, found.body)] as const];
    }),
  );
  const anew = (entry: Resource): boolean =>
    (differences.get(entry) ?? []).some(([member]) => makesAnew(entry.kind, member));

  // Rules first: whether one is made, or made anew, decides whether its address has to be held.
  const rules = resources.filter((entry) => entry.kind === "forwardingRule");
  const behindAnew = resources.some(
    (entry) => (entry.kind === "backendService" || entry.kind === "targetPool") && anew(entry),
  );
  const made = rules.filter((entry) => !there.has(entry.path) || anew(entry) || behindAnew);
  const ruleModel = (entry: Resource): ForwardingRule =>
    model.forwardingRules.find((rule) => rule.name === entry.name && rule.family === entry.family)!;
  const holds = made
    .map(ruleModel)
    .filter((rule) => !rule.userOwned && rule.ipCollection === undefined)
    .map((rule) => holdOf(rule, configuration, key));
  const held = mine.filter((entry) => entry.kind === "address");
  // A reservation of another scheme or tier holds nothing that is wanted.
  const stale = held.filter((entry) => {
    const wanted = holds.find((hold) => hold.path === entry.path);
    return wanted !== undefined && differencesOf(wanted, entry.body).length > 0;
  });

  const goneRules = mine.filter(
    (entry) =>
      entry.kind === "forwardingRule" &&
      (!rules.some((rule) => rule.path === entry.path) || made.some((rule) => rule.path === entry.path)),
  );
  for (const entry of stale) remove("hold", entry, "it holds an address that is not wanted");
  for (const hold of holds) {
    if (held.some((entry) => entry.path === hold.path && !stale.includes(entry))) continue;
    const now = existing[hold.family!]?.address;
    add("hold", {
      id: hold.id,
      action: "create",
      resource: nameOf(hold),
      fields: hold.body["address"] === undefined ? [] : [["address", null, hold.body["address"]]],
      because:
        now !== undefined && now === hold.body["address"]
          ? "the address is kept while the rule is made anew"
          : "the address has to be known before clients are let in",
    });
  }
  /** Families whose address changes: their firewall rules stay with the old address until its rule is gone. */
  const moved = new Set<IPFamily>();
  const explicit = Boolean(service.spec?.loadBalancerIP) || addressNames(service).length > 0;
  for (const entry of goneRules) {
    const family = familyOfRule(entry.body);
    const successor = model.forwardingRules.find((rule) => rule.family === family);
    const address = plainAddress(String(entry.body["IPAddress"] ?? ""));
    const kept = successor !== undefined && successor.IPAddress === address;
    if (!kept) moved.add(family);
    const flips = entry.body["loadBalancingScheme"] !== scheme;
    const wanted = rules.find((rule) => rule.path === entry.path);
    const found = wanted === undefined ? [] : (differences.get(wanted) ?? []);
    remove(
      "unpublish",
      entry,
      flips
        ? because["loadBalancingScheme"]!
        : successor === undefined
          ? "spec.ipFamilies changed"
          : found.length > 0
            ? reasonOf(found)
            : wanted === undefined
              ? because["protocol"]!
              : "what is behind it is made anew",
      {
        fields: found,
        disruptive: kept ? "brief" : "ip-change",
        // The Service asked for the other network, for this address, or for one family less.
        ...(!kept && (flips || successor === undefined || (explicit && successor.IPAddress !== ""))
          ? { requested: true as const }
          : {}),
      },
    );
  }

  for (const entry of resources) {
    const found = there.get(entry.path);
    const rule = entry.kind === "forwardingRule";
    const phase: Phase = rule
      ? "publish"
      : entry.kind === "backendService" || entry.kind === "targetPool"
        ? "behind"
        : entry.family !== undefined
          ? moved.has(entry.family)
            ? "behind"
            : "firewall"
          : "prepare";
    const fields = differences.get(entry) ?? [];
    const replaced = found !== undefined && (rule ? made.includes(entry) : anew(entry));
    if (replaced && !rule) {
      remove(phase, found, reasonOf(fields), { fields, disruptive: "brief" });
    }
    if (found === undefined || replaced) {
      const { IPAddress } = entry.body;
      add(phase, {
        id: entry.id,
        action: replaced ? "replace" : "create",
        resource: nameOf(entry),
        fields: replaced ? fields : IPAddress === undefined ? [] : [["IPAddress", null, IPAddress]],
        because: replaced
          ? fields.length > 0
            ? reasonOf(fields)
            : "what is behind it is made anew"
          : mine.length === 0
            ? "the Service has no load balancer yet"
            : "it is missing",
        ...(replaced ? { disruptive: "brief" as const } : {}),
      });
    } else if (fields.length > 0) {
      add(phase, {
        id: entry.id,
        action: "update",
        resource: nameOf(entry),
        fields,
        because: reasonOf(fields),
      });
    }
    const before = replaced ? [] : [...(found?.members ?? [])].sort();
    const members = [...(entry.members ?? [])].sort();
    if (entry.members !== undefined && before.join() !== members.join()) {
      add(phase, {
        id: `${entry.id}/members`,
        action: "update",
        resource: nameOf(entry),
        fields: [["members", before, members]],
        because: because["members"]!,
      });
    }
  }

  for (const { id, kind, name, path } of holds) {
    add("release", {
      id: `${id}/release`,
      action: "delete",
      resource: nameOf({ kind, name, path }),
      fields: [],
      because: "the rule has the address now",
    });
  }
  for (const entry of held) {
    if (holds.some((hold) => hold.path === entry.path)) continue;
    remove("release", entry, "no rule needs the address held");
  }
  const sweepOrder: readonly ResourceKind[] = [
    "backendService",
    "targetPool",
    "firewall",
    "healthCheck",
    "httpHealthCheck",
    "networkEndpointGroup",
    "instanceGroup",
  ];
  const wantedPaths = new Set(resources.map((entry) => entry.path));
  const leftovers = [...mine, ...sharedLeftovers(observed, cluster, wantedPaths)];
  for (const kind of sweepOrder) {
    for (const entry of leftovers) {
      if (entry.kind !== kind || wantedPaths.has(entry.path)) continue;
      remove("sweep", entry, "the load balancer no longer uses it");
    }
  }

  const diagnostics: Diagnostic[] = [];
  const missing = addressNames(service).filter((name) => !observed.reserved.some((entry) => entry.name === name));
  for (const name of missing) {
    diagnostics.push({
      severity: "warning",
      code: "AddressNotFound",
      message: `annotation ${annotationKeys.addresses}: no address "${name}" is reserved in ${configuration.region}; another one is used`,
      field: `metadata.annotations[${annotationKeys.addresses}]`,
    });
  }
  return {
    key,
    desired: {
      model,
      resources,
      holds,
      fingerprints: Object.fromEntries(
        mine.flatMap(({ path, body }) =>
          typeof body["fingerprint"] === "string" ? [[path, body["fingerprint"]]] : [],
        ),
      ),
    },
    changes: [
      ...phases.prepare,
      ...phases.hold,
      ...phases.firewall,
      ...phases.unpublish,
      ...phases.behind,
      ...phases.publish,
      ...phases.release,
      ...phases.sweep,
    ],
    diagnostics,
  };
}
