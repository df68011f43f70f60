import type { Node, Service } from "@portolan/core";
import { type Change, defaultLoadBalancerName, needsUpdate, nodeReference, type Plan } from "@portolan/lb";
import {
  addressToUse,
  asksForBackendService,
  backendProtocol,
  type ComparableRule,
  checkProtocols,
  checkTierOfFamilies,
  clusterHash,
  collectionPath,
  describeOwner,
  type ExistingAddress,
  externalRulePorts,
  type ForwardingRule,
  type GcpConfiguration,
  type GcpDesired,
  type GcpModel,
  type HealthCheck,
  healthCheckNeedsUpdate,
  inTreeNames,
  internalRulePorts,
  isUserOwned,
  localityPolicy,
  mergeTimes,
  namedAddresses,
  networkTier,
  type ObservedResource,
  ownsInstanceGroups,
  ownsTargetPool,
  passthroughNames,
  passthroughTimes,
  planOf,
  portRange,
  portRanges,
  type ResourceKind,
  removalOf,
  removesInstanceGroups,
  ruleProtocol,
  rulesEqual,
  sourceRangesOfFamily,
  strictNetworkTier,
  strongAffinityOf,
  targetPoolRule,
  trafficFirewall,
  type Variant,
  wantsExternalPassthrough,
  wantsInternal,
  withAddresses,
} from "@portolan/lb-gcp/model";
import type { Answers, CloudVector } from "./vector.ts";

// biome-ignore lint/suspicious/noExplicitAny: inputs of vectors, whose shape depends on their kind.
type Input = any;

/** The Service of an input; upstream's units leave out what they do not look at. */
const serviceOf = (input: Input): Service => ({ ...input.service, metadata: input.service?.metadata ?? {} });

function configurationOf(config: Input = {}): GcpConfiguration {
  return {
    project: "test-project",
    region: "us-central1",
    kubeSystemUID: "kubesystem-uid1",
    clusterId: "test-cluster-id",
    network: "default",
    subnetwork: "default",
    nodeTags: ["node-tag"],
    ...config,
    features: {
      denyFirewall: config.denyFirewall ?? false,
      discretePorts: config.discretePorts ?? false,
      weightedLoadBalancing: config.weighted ?? false,
      strongSessionAffinity: config.strongSessionAffinity ?? false,
      mixedProtocol: config.mixedProtocol ?? false,
      backendServiceDefault: config.rbsDefault ?? false,
      subsetting: config.subsetting ?? false,
    },
  };
}

function variantOfMode({ mode, input }: CloudVector): Variant {
  if (mode === "ccm-external") return "target-pool";
  if (mode === "ccm-internal") return "instance-group";
  return wantsInternal(serviceOf(input)) ? "internal" : "external";
}

function existingAddress(rule: Input): ExistingAddress | undefined {
  if (!rule) return undefined;
  const address = rule.IPAddress ?? rule.ip ?? "";
  return {
    address,
    subnetwork: rule.subnetwork ?? rule.Subnetwork ?? "",
    ...(rule.networkTier === undefined ? {} : { networkTier: rule.networkTier }),
  };
}

/** The plan of a vector's Service. What is observed is its own: the vectors leave out descriptions, and what links name. */
function planOfVector(vector: CloudVector): Plan<GcpDesired> {
  const { input } = vector;
  const service = serviceOf(input);
  const { namespace = "", name = "", uid = "" } = service.metadata;
  const key = { namespace, name, uid };
  const configuration = configurationOf(input.config);
  const { forwardingRule: rule, addresses, ...others } = input.observed ?? {};
  const planWith = (resources: readonly ObservedResource[]): Plan<GcpDesired> =>
    planOf({
      service,
      nodes: (input.nodes ?? []).map((node: Node) => nodeReference(node)),
      observed: { key, resources, reserved: addresses ?? input.reservedAddresses ?? [], inUse: [] },
      configuration,
      variant: variantOfMode(vector),
      cut: "hash",
    });
  if (input.observed === undefined) return planWith([]);

  const description = describeOwner({ cluster: clusterHash(configuration.kubeSystemUID), key });
  const seen = new Map<string, ObservedResource>();
  const project = `projects/${configuration.project}`;
  const link = (collection: string, name: string | undefined): string | undefined =>
    name === undefined || name.includes("projects/") ? name : `${project}/${collection}/${name}`;
  const see = (kind: ResourceKind, { healthChecks, ...body }: Input): string => {
    const place = kind === "firewall" || kind === "httpHealthCheck" ? "global" : "region";
    const path = `${collectionPath(configuration, kind, place)}/${body.name}`;
    const collection = kind === "targetPool" ? "global/httpHealthChecks" : "global/healthChecks";
    const checks = healthChecks?.map((check: string) => link(collection, check));
    if (!seen.has(path)) {
      const whole = { ...body, ...(checks === undefined ? {} : { healthChecks: checks }), description };
      seen.set(path, { kind, name: body.name, path, body: whole });
    }
    return path;
  };
  for (const kind of ["backendService", "targetPool", "firewall"] as const) {
    for (const body of [others[kind] ?? []].flat() as Input[]) if (body.name !== undefined) see(kind, body);
  }
  if (rule) {
    const named = (kind: ResourceKind, target: string | undefined, body: object): string | undefined =>
      target ? see(kind, { ...body, name: target.slice(target.lastIndexOf("/") + 1) }) : undefined;
    const { loadBalancingScheme = "EXTERNAL", IPProtocol: protocol, network = "default", subnetwork } = rule;
    see("forwardingRule", {
      ...rule,
      loadBalancingScheme,
      backendService: named("backendService", rule.backendService, { protocol, loadBalancingScheme }),
      target: named("targetPool", rule.target, {}),
      ...(loadBalancingScheme === "INTERNAL" ? { network: link("global/networks", network) } : {}),
      ...(subnetwork ? { subnetwork: link(`regions/${configuration.region}/subnetworks`, subnetwork) } : {}),
    });
  }
  // What a vector does not say of what a rule points to is as it is wanted.
  const first = planWith([...seen.values()]);
  const wanted = new Map(first.desired.resources.map((entry) => [entry.path, entry.body]));
  return planWith(
    [...seen.values()].map((entry) =>
      entry.kind === "forwardingRule" ? entry : { ...entry, body: { ...wanted.get(entry.path), ...entry.body } },
    ),
  );
}

const kinds = [
  "httpHealthCheck",
  "healthCheck",
  "instanceGroup",
  "networkEndpointGroup",
  "backendService",
  "targetPool",
  "address",
  "firewall",
  "forwardingRule",
];

type Step = Pick<Change, "action" | "resource">;

/** Whether a change is what a step of a vector's order names: a kind, with a verb or without. */
function isStep({ action, resource }: Step, step: string): boolean {
  const text = step.toLowerCase();
  const deletes = /delete|remove|release/.test(text);
  const updates = /update|patch/.test(text);
  return (
    resource.kind === kinds.find((kind) => text.includes(kind.toLowerCase())) &&
    (deletes ? action === "delete" : updates ? action === "update" : action !== "delete")
  );
}

/** The pairs of steps of an expected order that a plan keeps. In a removal every step is a deletion. */
function orderOf(changes: readonly Step[], expected: Input, removal = false): object {
  const at = (step: string): number[] =>
    changes.flatMap((change, index) => (isStep(change, removal ? `delete ${step}` : step) ? [index] : []));
  const kept = (expected?.before ?? []).filter(([first, second]: [string, string]) => {
    const [earlier, later] = [at(first), at(second)];
    return earlier.length > 0 && later.length > 0 && Math.max(...earlier) < Math.min(...later);
  });
  return { before: kept };
}

const healthCheckBody = ({ shared: _shared, ...check }: HealthCheck): object => ({ ...check, type: "HTTP" });

function ruleBody(rule: ForwardingRule): object {
  return {
    ...rule,
    scope: "region",
    ...(rule.allPorts ? {} : { allPorts: undefined }),
    ...(rule.portRange === "" ? { portRange: undefined } : {}),
    ...(rule.target === undefined ? {} : { target: `targetPools/${rule.target}` }),
  };
}

/** Address of a model's rule: a reference to what the cloud gives, unless it is known. */
const ruleIP = (model: GcpModel): string => model.forwardingRules[0]?.IPAddress || "<forwardingRule.IPAddress>";

/** A model in the words of the vectors. */
function planBody({ firewalls, ...rest }: GcpModel): object {
  const model = {
    ...rest,
    firewalls: firewalls.map((entry) => withAddresses(entry, { IPv4: ruleIP({ firewalls, ...rest }) })),
  };
  const rules = model.forwardingRules.map(ruleBody);
  const traffic = model.firewalls.filter((entry) => entry.purpose === "traffic");
  const checks = model.firewalls.filter((entry) => entry.purpose === "health-check");
  const deny = model.firewalls.filter((entry) => entry.purpose === "deny");
  return {
    ...(model.variant === "target-pool"
      ? { httpHealthCheck: healthCheckBody(model.healthCheck) }
      : { healthCheck: healthCheckBody(model.healthCheck) }),
    targetPool: model.targetPool && {
      ...model.targetPool,
      instances: model.targetPool.instances.map((instance) => instance.name),
    },
    backendService: model.backendService,
    instanceGroups: model.groups,
    networkEndpointGroups: model.groups,
    forwardingRule: rules[0],
    forwardingRules: rules,
    forwardingRuleIPv6: rules[model.forwardingRules.findIndex((rule) => rule.family === "IPv6")],
    firewalls: model.firewalls,
    firewall: traffic[0],
    denyFirewall: deny[0],
    healthCheckFirewall: checks[0],
    finalizer: model.finalizer,
  };
}

function comparableRule(rule: Input): ComparableRule {
  const scheme = rule.loadBalancingScheme ?? rule.scheme;
  return {
    ...rule,
    ...(scheme === undefined ? {} : { loadBalancingScheme: scheme }),
    protocol: rule.protocol ?? rule.IPProtocol,
  };
}

const discrete = (input: Input): boolean => configurationOf(input.config).features?.discretePorts ?? false;

/** Answers of the rules for Google Cloud. */
export const answers: Answers = {
  backendServiceProtocol: ({ input }) => ({ protocol: backendProtocol(input.ports) }),
  delete(vector) {
    // Everything that the Service would have is there, and what is shared nobody else uses.
    const { key, desired } = planOfVector(vector);
    const resources = desired.resources.map(({ kind, name, path, body }) => ({ kind, name, path, body }));
    const configuration = configurationOf(vector.input.config);
    const { own, shared } = removalOf({ key, resources, reserved: [], inUse: [] }, configuration);
    const removed = [...own, ...shared];
    return {
      ok: true,
      deletes: removed.map(({ kind, name }) => `${kind} ${name}`),
      remaining: resources.filter(({ path }) => !removed.some((entry) => entry.path === path)).map(({ name }) => name),
      order: orderOf(
        removed.map(({ kind, name }) => ({ action: "delete", resource: { kind, name } })),
        vector.expect["order"],
        true,
      ),
    };
  },
  dualStackTier({ input }) {
    checkTierOfFamilies(serviceOf(input));
    return { ok: true };
  },
  error: (vector) => ({ plan: planBody(planOfVector(vector).desired.model) }),
  firewall({ input }) {
    const { priority, ...firewall } = trafficFirewall({
      name: "firewall",
      sourceRanges: input.sourceRanges,
      destination: input.destinationIP,
      ports: input.ports,
      nodeTags: input.nodeTags,
      priority: input.priority,
    });
    return { firewall: { ...firewall, priority } };
  },
  forwardingRuleEqual: ({ input }) => ({
    equal: rulesEqual(comparableRule(input.observed), comparableRule(input.desired)),
  }),
  forwardingRuleNeedsReplace({ input }) {
    const { existing, desired } = input;
    const listed = discrete(input);
    return {
      replace: !rulesEqual(
        targetPoolRule(existing.ip, existing.ports, listed),
        targetPoolRule(desired.ip, desired.ports, listed),
      ),
    };
  },
  forwardingRulePorts({ input }) {
    const internal = (input.scheme ?? input.loadBalancingScheme) === "INTERNAL";
    return internal ? internalRulePorts(input.ports) : externalRulePorts(input.ports, discrete(input));
  },
  forwardingRuleProtocol: ({ input }) => ({ IPProtocol: ruleProtocol(input.ports) }),
  healthCheck: ({ input }) => passthroughTimes(input.shared),
  healthCheckMerge: ({ input }) => ({
    merged: mergeTimes(input.observed, input.defaults ?? passthroughTimes(input.shared)),
  }),
  healthCheckNeedsUpdate: ({ input }) => ({
    update: healthCheckNeedsUpdate({ ...input.desired, ...input.observedDifference }, input.desired),
  }),
  ipToUse({ input }) {
    const existing = existingAddress(input.existingForwardingRule);
    const six = (input.reservedAddresses ?? []).some((entry: { ipVersion?: string }) => entry.ipVersion === "IPV6");
    const { ip, addressName } = addressToUse({
      service: serviceOf(input),
      family: input.family ?? (six || existing?.address.includes(":") ? "IPv6" : "IPv4"),
      reserved: input.reservedAddresses ?? [],
      subnetwork: input.desiredSubnetwork ?? "",
      ...(existing === undefined ? {} : { existing }),
    });
    return { ip, addressName };
  },
  localityLbPolicy: ({ input }) => ({
    localityLbPolicy: localityPolicy(serviceOf(input), input.scheme, configurationOf(input.config).features ?? {}),
  }),
  name({ input }) {
    if (input.service !== undefined) {
      const name = defaultLoadBalancerName(input.service.metadata.uid);
      const clusterId = input.config?.clusterId ?? input.clusterId ?? "";
      return {
        name,
        loadBalancerName: name,
        firewallName: inTreeNames.firewall(name),
        denyFirewallName: inTreeNames.firewallDeny(name),
        instanceGroupName: inTreeNames.instanceGroup(clusterId),
      };
    }
    const names = passthroughNames(input, "hash");
    const { protocol = "TCP", forwardingRuleNumber: number = 0, sharedHealthCheck: shared = false } = input;
    return {
      names: {
        backend: names.backend,
        firewall: names.firewall,
        firewallIPv6: names.firewallIPv6,
        firewallDeny: names.firewallDeny,
        firewallDenyIPv6: names.firewallDenyIPv6,
        healthCheck: names.healthCheck(shared),
        healthCheckFirewall: names.healthCheckFirewall(shared),
        healthCheckFirewallIPv6: names.healthCheckFirewallIPv6(shared),
        ilbForwardingRule: names.internalRule(protocol),
        ilbForwardingRuleIPv6: names.internalRuleIPv6(protocol),
        netlbForwardingRule: names.externalRule(protocol, number),
        netlbForwardingRuleIPv6: names.externalRuleIPv6(protocol, number),
        nonDefaultSubnetNEG: names.subnetGroup(input.subnetName ?? ""),
      },
    };
  },
  needsUpdate({ input }) {
    const service = (families: string[]): Service => ({
      metadata: {},
      spec: { type: "LoadBalancer", ipFamilies: families } as NonNullable<Service["spec"]>,
    });
    return { needsUpdate: needsUpdate(service(input.before), service(input.after)) };
  },
  networkTier: ({ mode, input }) =>
    mode === "rbs" ? networkTier(serviceOf(input)) : { networkTier: strictNetworkTier(serviceOf(input)) },
  ownership(vector) {
    const { mode, input } = vector;
    if (mode === "rbs") {
      return { externalPassthrough: wantsExternalPassthrough(input.service ? serviceOf(input) : undefined) };
    }
    const owns = mode === "ccm-internal" ? ownsInstanceGroups : ownsTargetPool;
    const existing = input.existingForwardingRule || undefined;
    return {
      implementedElsewhere: !owns(serviceOf(input), configurationOf(input.config).features, existing),
    };
  },
  ownershipOnDelete({ mode, input }) {
    const owns = mode === "ccm-internal" ? removesInstanceGroups : ownsTargetPool;
    return { implementedElsewhere: !owns(serviceOf(input), configurationOf(input.config).features) };
  },
  plan(vector) {
    const { desired, changes } = planOfVector(vector);
    return {
      plan: planBody(desired.model),
      status: { ingress: [{ ip: ruleIP(desired.model) }] },
      order: orderOf(changes, vector.expect["order"]),
    };
  },
  portRange: ({ input }) => ({ portRange: portRange(input.ports) }),
  portRanges: ({ input }) => ({ ranges: portRanges(input.ports) }),
  protocols({ input }) {
    checkProtocols(input.ports);
    return { ok: true };
  },
  rbsEnabled: ({ input }) => ({ rbs: asksForBackendService(serviceOf(input)) }),
  requestedIP: ({ input }) => ({
    userOwned: isUserOwned(
      input.requestedIP ?? undefined,
      input.forwardingRuleIP ?? undefined,
      input.networkTier,
      input.reservedAddresses ?? [],
    ),
  }),
  sourceRanges: ({ input }) => ({ sourceRanges: sourceRangesOfFamily(serviceOf(input), input.family) }),
  staticAddresses: ({ input }) => namedAddresses(serviceOf(input), input.reservedAddresses ?? []),
  strongSessionAffinity({ input }) {
    strongAffinityOf(serviceOf(input), configurationOf(input.config).features ?? {});
    return { ok: true };
  },
  transition(vector) {
    const { desired, changes } = planOfVector(vector);
    const now = (vector.input.observed?.forwardingRule ?? {}) as { loadBalancingScheme?: string; IPAddress?: string };
    const scheme = desired.model.forwardingRules[0]?.loadBalancingScheme;
    // The vectors name what carries traffic: rules with their scheme and what they point to.
    const carries = changes.filter(({ resource }) =>
      ["forwardingRule", "backendService", "targetPool"].includes(resource.kind),
    );
    const list = (deletes: boolean): string[] =>
      carries
        .filter(({ action }) => (deletes ? action === "delete" : action === "create" || action === "replace"))
        .map(({ resource: { kind, name } }) =>
          kind === "forwardingRule"
            ? `forwardingRule(${deletes ? (now.loadBalancingScheme ?? "EXTERNAL") : scheme}) ${name}`
            : `${kind} ${name}`,
        );
    const address = desired.model.forwardingRules[0]?.IPAddress ?? "";
    return {
      requestedIP: address,
      ipKept: address !== "" && address === now.IPAddress,
      forwardingRuleReplaced: carries.some(
        ({ action, resource }) => action === "replace" && resource.kind === "forwardingRule",
      ),
      deletes: list(true),
      creates: list(false),
      updates: carries
        .filter(({ action }) => action === "update")
        .map(({ resource: { kind, name } }) => `${kind} ${name}`),
      order: orderOf(changes, vector.expect["order"]),
    };
  },
};
