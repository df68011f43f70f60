import type { Service } from "@portolan/core";
import {
  type ApplyOutcome,
  type CallContext,
  type Capabilities,
  type Change,
  type Claim,
  type Diagnostic,
  defaultLoadBalancerName,
  type LoadBalancerProvider,
  type NodeReference,
  type OwnedResource,
  type PlanInput,
  ProviderError,
  type ServiceKey,
} from "@portolan/lb";
import { annotationOf, annotationPrefix, annotationRegistry, flagOf } from "./annotations.ts";
import { classicModel, classicSettings } from "./classic.ts";
import { classicStepsOf } from "./classic-steps.ts";
import type { AwsConfiguration } from "./configuration.ts";
import { type ClassicState, type DesiredState, desiredOf, desiredOfClassic, desiredOfInTree } from "./desired.ts";
import { awsCodeOf, boundPort } from "./errors.ts";
import { flowPolicyOf } from "./flow-policy.ts";
import { requireHealthNodePort } from "./health-check.ts";
import { inTreeModel, validateInTree } from "./in-tree.ts";
import { certificates, listenerPorts, tlsPorts } from "./listeners.ts";
import { ipAddressTypeOf, refuseProtected, schemeOf } from "./load-balancer.ts";
import { networkModel, portModels } from "./model.ts";
import { classicSecurityGroupName, loadBalancerName, managedSecurityGroupName } from "./names.ts";
import { type AwsObservation, type Network, observe, readNetwork, readOwned, readTagged } from "./observation.ts";
import { networkLoadBalancerClass, type Serving, servingOf } from "./ownership.ts";
import { isOwnedBy, ownerOf, ruleMark } from "./ownership-marks.ts";
import type { AwsPort, ClassicPolicy, ListenerSettings, LoadBalancer, SecurityGroup } from "./port.ts";
import { createRateLimiter, defaultRateLimits, type RateLimits } from "./rate-limit.ts";
import {
  clientRanges,
  type IngressRule,
  inTreeRuleMarks,
  managedGroupRules,
  orphanedMtuRules,
} from "./security-groups.ts";
import { type Call, nodeSecurityGroups, type Step, type StepList } from "./step-builder.ts";
import { stepsOf } from "./steps.ts";
import { discoverSubnets, namedSubnets, subnetDiscovery } from "./subnets.ts";
import { instanceIdOf, inTreeTargetNodes } from "./targets.ts";

/** Options of {@link awsProvider}. */
export interface AwsProviderOptions extends AwsConfiguration {
  /** The calls to AWS; see `@portolan/lb-aws/sdk` for those over the official SDK. */
  readonly port: AwsPort;
  /** Calls per second, by kind. Default: those of the AWS Load Balancer Controller. */
  readonly rateLimits?: RateLimits;
}

/** What a plan of the AWS provider wants: state, steps, and the load balancer that is there. */
export interface AwsPlan {
  readonly state: DesiredState | ClassicState;
  readonly list: StepList;
  /** The load balancer that serves already and stays. */
  readonly current?: Pick<LoadBalancer, "dnsName" | "state">;
  readonly vpcId: string;
}

/** Time (ms) that what is known of the network stays good for. */
const networkLifetime = 60_000;

const capabilities: Capabilities = {
  protocols: ["TCP", "UDP"],
  targets: "both",
  mixedProtocol: "same-port-merge",
  status: "hostname",
  ipMode: "Proxy",
  dualStack: true,
  requestedIP: "preallocated",
  sourceRanges: "enforced",
  sharedFrontend: false,
  needsNodePorts: true,
  internal: true,
  sessionAffinity: true,
  maximum: { ports: 50, nodes: 500 },
  callBudget: { steadyReads: 14 },
};

/** How often `destroy` looks again. */
const sweeps = 4;

/** Replaces names of ids by the ids. */
function withIds(value: unknown, ids: ReadonlyMap<string, string>): unknown {
  if (typeof value === "string") return value.startsWith("@") ? (ids.get(value) ?? value) : value;
  if (Array.isArray(value)) return value.map((each) => withIds(each, ids));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, withIds(member, ids)]));
}

/** Runs a call on all rules at once, and on one after the other if some of them make it fail. */
async function ruleByRule(
  rules: readonly IngressRule[],
  tolerated: string,
  call: (rules: readonly IngressRule[]) => Promise<void>,
): Promise<void> {
  try {
    await call(rules);
    return;
  } catch (error) {
    if (awsCodeOf(error) !== tolerated) throw error;
  }
  for (const rule of rules) {
    await call([rule]).catch((error: unknown) => {
      if (awsCodeOf(error) !== tolerated) throw error;
    });
  }
}

/** Waits for what else uses an object, as long as that is a matter of seconds. */
async function untilUnused(
  context: CallContext,
  busy: string,
  absent: readonly string[],
  attempts: number,
  call: () => Promise<void>,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await call();
      return;
    } catch (error) {
      const code = awsCodeOf(error) ?? "";
      if (absent.includes(code)) return;
      if (code !== busy || attempt >= attempts || context.now() + 2000 > context.deadline) throw error;
      await context.sleep(2000);
    }
  }
}

async function perform(
  port: AwsPort,
  context: CallContext,
  cluster: string,
  key: ServiceKey,
  call: Call,
  parameters: readonly unknown[],
): Promise<unknown> {
  const method = call.method;
  const plain = (): Promise<unknown> =>
    Reflect.apply(port[method as keyof AwsPort], port, parameters) as Promise<unknown>;
  switch (method) {
    case "awaitActive": {
      const all = await port.describeLoadBalancers();
      const found = all.find((each) => each.arn === parameters[0]);
      if (found?.state === "active" || found?.state === "active_impaired") return undefined;
      const message = `load balancer ${found?.name ?? parameters[0]} is being provisioned; its predecessor serves until then`;
      throw new ProviderError("NotReady", message, { retryAfter: 10_000 });
    }
    case "authorizeIngress":
    case "revokeIngress": {
      const [group, rules] = parameters as [string, readonly IngressRule[]];
      const tolerated = method === "authorizeIngress" ? "InvalidPermission.Duplicate" : "InvalidPermission.NotFound";
      return ruleByRule(rules, tolerated, (some) => port[method](group, some));
    }
    case "createSecurityGroup":
      try {
        return await plain();
      } catch (error) {
        if (awsCodeOf(error) !== "InvalidGroup.Duplicate") throw error;
        const [{ name, vpcId }] = parameters as [SecurityGroup];
        const found = (await port.describeSecurityGroups(vpcId)).find((each) => each.name === name);
        if (found !== undefined && isOwnedBy(cluster, found.tags, key)) return found.id;
        if (found === undefined) throw new ProviderError("NotReady", (error as Error).message, { retryAfter: 2000 });
        throw new ProviderError("Conflict", `security group ${name} (${found.id}) is not of this Service`);
      }
    case "createLoadBalancer":
    case "createClassicLoadBalancer":
    case "createTargetGroup":
      try {
        return await plain();
      } catch (error) {
        if (!/^Duplicate/.test(awsCodeOf(error) ?? "")) throw error;
        // It was not in the list: it is a moment old, or of another kind.
        const message = `${(error as Error).message}; waiting until it can be seen whose it is`;
        throw new ProviderError("NotReady", message, { retryAfter: 5000, cause: error });
      }
    case "createListener":
      try {
        return await plain();
      } catch (error) {
        if (awsCodeOf(error) !== "DuplicateListener") throw error;
        // The load balancer is of this Service, so the listener is: it was made a moment ago, and lists lag behind.
        const [loadBalancerArn, settings] = parameters as [string, ListenerSettings];
        const found = (await port.describeListeners(loadBalancerArn)).find((each) => each.port === settings.port);
        if (found === undefined) throw error;
        await port.modifyListener(found.arn, settings);
        return found;
      }
    case "createClassicPolicy":
      // Its name tells what is in it.
      return untilUnused(context, "", ["DuplicatePolicyName"], 1, () =>
        port.createClassicPolicy(parameters[0] as string, parameters[1] as ClassicPolicy),
      );
    case "deleteListener":
      return untilUnused(context, "", ["ListenerNotFound"], 1, () => port.deleteListener(parameters[0] as string));
    case "deleteTargetGroup":
      return untilUnused(context, "ResourceInUse", ["TargetGroupNotFound"], 10, () =>
        port.deleteTargetGroup(parameters[0] as string),
      );
    case "deleteSecurityGroup":
      return untilUnused(context, "DependencyViolation", ["InvalidGroup.NotFound", "InvalidGroupId.NotFound"], 5, () =>
        port.deleteSecurityGroup(parameters[0] as string),
      );
    default:
      return plain();
  }
}

/**
 * A load-balancer provider for AWS. It makes Network Load Balancers with target groups and security groups, in the semantics of
 * the AWS Load Balancer Controller; Services with annotation `type: nlb` get one in the in-tree provider's semantics, and in mode
 * `ccm` those without the annotation get a classic load balancer as that one makes it.
 */
export function awsProvider(options: AwsProviderOptions): LoadBalancerProvider<AwsPlan, AwsObservation> {
  const { port: unbound, rateLimits = defaultRateLimits, ...configuration } = options;
  const limit = createRateLimiter(rateLimits);
  const { clusterName: cluster, loadBalancerClass = networkLoadBalancerClass } = configuration;
  let network: { readonly value: Network; readonly until: number } | undefined;

  async function networkFor(port: AwsPort, context: CallContext): Promise<Network> {
    if (network === undefined || context.now() >= network.until) {
      network = { value: await readNetwork(port, configuration), until: context.now() + networkLifetime };
    }
    return network.value;
  }

  function claim(service: Service): Claim {
    if (service.spec?.type !== "LoadBalancer" && service.metadata.finalizers === undefined) return "not-mine";
    const wanted = service.spec?.loadBalancerClass;
    return wanted === undefined || wanted === loadBalancerClass ? "mine" : "not-mine";
  }

  function validate(service: Service): Diagnostic[] {
    const out: Diagnostic[] = [];
    const collect = (code: string, work: () => unknown): void => {
      try {
        work();
      } catch (error) {
        if (!(error instanceof ProviderError)) throw error;
        const repeated = out.some((each) => each.message === error.message);
        if (!repeated) out.push({ severity: "error", code, message: error.message });
      }
    };
    const serving = servingOf(service, configuration);
    const key = `${annotationPrefix}type`;
    if (serving === "half-specified") {
      const message = `annotation ${key} is "external", which needs annotation ${annotationPrefix}nlb-target-type: instance or ip; without it no controller serves the Service`;
      return [{ severity: "error", code: "HalfSpecified", message, field: `metadata.annotations[${key}]` }];
    }
    if (serving === "unknown-type") {
      const message = `annotation ${key} is "${annotationOf(service, "type")}"; known are nlb, nlb-ip and external`;
      return [{ severity: "error", code: "UnknownType", message, field: `metadata.annotations[${key}]` }];
    }
    collect("BadHealthCheck", () => requireHealthNodePort(service));
    if (serving === "ccm-nlb") {
      collect("BadService", () => validateInTree(service));
      return out;
    }
    if (serving === "ccm-clb") {
      collect("BadService", () => {
        if (classicSettings(service, configuration).listeners.length > 0) return;
        throw new ProviderError("UserConfig", "classic load balancers forward to node ports, and no port has one");
      });
      return out;
    }
    if (service.spec?.loadBalancerIP) {
      const message = `spec.loadBalancerIP is not supported: use annotation ${annotationPrefix}eip-allocations or ${annotationPrefix}private-ipv4-addresses`;
      out.push({ severity: "error", code: "Unsupported", message, field: "spec.loadBalancerIP" });
    }
    collect("BadScheme", () => schemeOf(service, configuration));
    collect("BadPorts", () => tlsPorts(service));
    collect("BadPorts", () => portModels({ service, key: keyOf(service), configuration }));
    collect("BadSourceRanges", () => managedGroupRules(service, ipAddressTypeOf(service)));
    collect("BadSourceRanges", () => clientRanges(service, ipAddressTypeOf(service), false));
    for (const suffix of ["disable-nlb-sg", "manage-backend-security-group-rules"]) {
      collect("BadAnnotationValue", () => flagOf(service, suffix));
    }
    const tls = out.length === 0 && certificates(service).length > 0;
    if (service.spec?.sessionAffinity === "ClientIP" && tls) {
      const ended = listenerPorts(service, configuration).filter((each) => each.targetProtocol === "TLS");
      for (const { port } of ended) {
        const message = `port ${port.port} ends TLS at the targets, where sessionAffinity ClientIP has no effect`;
        out.push({ severity: "warning", code: "AffinityIgnored", message });
      }
    }
    return out;
  }

  function classicStateFor({ service, nodes, observed }: PlanInput<AwsObservation>): ClassicState {
    const key = keyOf(service);
    const instances = inTreeInstances(service, nodes);
    const { subnets } = observed.network;
    const model = classicModel({ service, key, configuration, subnets, instances });
    return desiredOfClassic(model, configuration, key, service);
  }

  function stateFor({ service, nodes, observed, endpointSlices = [] }: PlanInput<AwsObservation>): DesiredState {
    const key = keyOf(service);
    const { subnets, cidrs } = observed.network;
    if (servingOf(service, configuration) === "ccm-nlb") {
      const instances = inTreeInstances(service, nodes);
      const model = inTreeModel({ service, key, configuration, subnets, instances });
      return desiredOfInTree(model, cluster, key, service, model.scheme);
    }
    // While one replaces another there are two; the one that the Service asks for is the one to go by.
    const asked = annotationOf(service, "scheme") !== undefined || annotationOf(service, "internal") !== undefined;
    const scheme = asked ? schemeOf(service, configuration) : undefined;
    const held = observed.loadBalancers.find((each) => scheme === undefined || each.scheme === scheme);
    const existing = held && { ...held, subnetIds: held.subnetMappings.map((mapping) => mapping.subnetId) };
    const model = networkModel({
      service,
      key,
      configuration,
      ...(existing === undefined ? {} : { existing }),
      vpcCidrs: cidrs,
      resolveSecurityGroups: (names) =>
        names
          .map((name) => observed.allSecurityGroups.find(({ id, tags }) => id === name || tags["Name"] === name)?.id)
          .filter((id) => id !== undefined),
      subnetsFor(loadBalancer) {
        if (annotationOf(service, "subnets") !== undefined) return namedSubnets(service, subnets);
        if (existing?.scheme === loadBalancer.scheme) {
          const kept = subnets.filter((subnet) => existing.subnetIds.includes(subnet.id));
          if (kept.length > 0 && kept.length === existing.subnetIds.length) return kept;
        }
        return discoverSubnets(subnets, subnetDiscovery(service, configuration, loadBalancer));
      },
    });
    // A load balancer keeps the name that it was made with.
    const kept = existing === undefined || existing.scheme !== model.loadBalancer.scheme ? undefined : existing.name;
    const named = kept === undefined ? model : { ...model, loadBalancer: { ...model.loadBalancer, name: kept } };
    const asksForAddress = ["scheme", "internal", "eip-allocations", "private-ipv4-addresses", "ipv6-addresses"].some(
      (suffix) => annotationOf(service, suffix) !== undefined,
    );
    return desiredOf(named, cluster, nodes, endpointSlices, asksForAddress);
  }

  function planned(input: PlanInput<AwsObservation>): Pick<AwsPlan, "state" | "list" | "current"> {
    const { service, observed } = input;
    const key = keyOf(service);
    const serving = servingOf(service, configuration);
    requireOneKind(serving, observed);
    if (serving === "ccm-clb") {
      const state = classicStateFor(input);
      const list = classicStepsOf(key, state, observed, configuration);
      const { name, scheme } = state.loadBalancer;
      const held = observed.classicLoadBalancers.find((each) => each.name === name && each.scheme === scheme);
      // Classic load balancers have no states: what is there works.
      return { state, list, ...(held === undefined ? {} : { current: { dnsName: held.dnsName, state: "active" } }) };
    }
    const state = stateFor(input);
    const list = stepsOf(key, state, observed, configuration);
    const current = observed.loadBalancers.find((each) => each.arn === list.ids["@lb"]);
    return { state, list, ...(current === undefined ? {} : { current }) };
  }

  async function revokeMarked(
    port: AwsPort,
    context: CallContext,
    group: SecurityGroup,
    marks: readonly string[],
  ): Promise<boolean> {
    const marked = group.ingress.filter((rule) => marks.includes(rule.description ?? ""));
    if (marked.length === 0) return false;
    const rest = group.ingress.filter((rule) => !marked.includes(rule));
    const isInTree = marked.some((rule) => rule.description !== marks[0]);
    const gone = [...marked, ...(isInTree ? orphanedMtuRules(rest) : [])];
    await context.lock(`aws/securityGroup/${group.id}`, () =>
      ruleByRule(gone, "InvalidPermission.NotFound", (rules) => port.revokeIngress(group.id, rules)),
    );
    return true;
  }

  /** Refuses to make a load balancer of one kind beside one of another kind. */
  function requireOneKind(serving: Serving, observed: AwsObservation): void {
    const others = serving === "ccm-clb" ? observed.loadBalancers : observed.classicLoadBalancers;
    if (others.length === 0) return;
    const kind = serving === "ccm-clb" ? "Network Load Balancer" : "classic load balancer";
    const message = `the Service has the ${kind} ${others[0]!.name} and asks for another kind now, which would lose its address; delete the Service and make it anew`;
    throw new ProviderError("ImmutableField", message);
  }

  /** Removes what there is of a Service, found by its marks. @returns whether there was anything */
  async function sweep(port: AwsPort, context: CallContext, key: ServiceKey, vpcId: string): Promise<boolean> {
    const owned = await readOwned(port, configuration, key);
    const groups = await port.describeSecurityGroups(vpcId);
    for (const each of owned.loadBalancers) refuseProtected(each.name, await port.describeAttributes(each.arn));
    const call = (method: Call["method"], ...parameters: unknown[]): Promise<unknown> =>
      perform(port, context, cluster, key, { method, parameters }, parameters);
    for (const { name, listeners } of owned.classicLoadBalancers) {
      const ports = listeners.map((each) => each.loadBalancerPort);
      if (ports.length > 0) await call("deleteClassicListeners", name, ports);
    }
    for (const each of owned.loadBalancers) {
      for (const listener of await port.describeListeners(each.arn)) await call("deleteListener", listener.arn);
      await call("deleteLoadBalancer", each.arn);
    }
    for (const each of owned.targetGroups) await call("deleteTargetGroup", each.arn);
    const marks = [ruleMark(cluster, key), ...inTreeRuleMarks(defaultLoadBalancerName(key.uid))];
    const own = groups.filter((each) => isOwnedBy(cluster, each.tags, key));
    let revoked = false;
    for (const each of groups) {
      if (!own.includes(each)) revoked = (await revokeMarked(port, context, each, marks)) || revoked;
    }
    for (const { name } of owned.classicLoadBalancers) await call("deleteClassicLoadBalancer", name);
    for (const each of own) await call("deleteSecurityGroup", each.id);
    const { loadBalancers, targetGroups, classicLoadBalancers } = owned;
    return [loadBalancers, targetGroups, classicLoadBalancers, own].some((list) => list.length > 0) || revoked;
  }

  return {
    apiVersion: 1,
    id: "aws",
    classes: [loadBalancerClass],
    default: true,
    capabilities,
    annotations: annotationRegistry("nlb-modern", true),
    claim,
    validate,
    flowPolicy: (service) => flowPolicyOf(service, keyOf(service), configuration),
    nameFor: (key) => ({
      LoadBalancer: loadBalancerName(cluster, key, "internal"),
      InTreeLoadBalancer: defaultLoadBalancerName(key.uid),
      InternetFacingLoadBalancer: loadBalancerName(cluster, key, "internet-facing"),
      SecurityGroup: managedSecurityGroupName(cluster, key),
      ClassicSecurityGroup: classicSecurityGroupName(key.uid),
    }),
    async observe(context, key) {
      const port = boundPort(unbound, context, limit);
      return await observe(port, configuration, key, await networkFor(port, context));
    },
    plan(input) {
      const key = keyOf(input.service);
      const { observed } = input;
      const { state, list, current } = planned(input);
      const diagnostics: Diagnostic[] = [];
      if (state.nodeRules.length > 0 && nodeSecurityGroups(observed, cluster).length === 0) {
        diagnostics.push({
          severity: "warning",
          code: "NoNodeSecurityGroup",
          message: `no security group of the VPC carries tag kubernetes.io/cluster/${cluster}: nodes are not opened to the load balancer`,
        });
      }
      const unknown = input.nodes.filter((node) => instanceIdOf(node.providerID) === undefined);
      if (unknown.length > 0) {
        const names = unknown.map((node) => node.name).join(", ");
        const message = `nodes ${names} have no spec.providerID and cannot be targets`;
        diagnostics.push({ severity: "warning", code: "NodeWithoutInstance", message });
      }
      return {
        key,
        desired: {
          state,
          list,
          ...(current === undefined ? {} : { current: { dnsName: current.dnsName, state: current.state } }),
          vpcId: observed.network.vpcId,
        },
        changes: list.steps.map(({ change }): Change => change),
        diagnostics,
      };
    },
    async apply(context, { key, desired }): Promise<ApplyOutcome> {
      const { list, current } = desired;
      if (list.conflict !== undefined) throw new ProviderError("Conflict", list.conflict);
      const port = boundPort(unbound, context, limit);
      const ids = new Map(Object.entries(list.ids));
      let loadBalancer = current;
      const done = new Set<Step>();
      const run = async (step: Step): Promise<void> => {
        const { call } = step;
        const once = (): Promise<unknown> =>
          perform(port, context, cluster, key, call, withIds(call.parameters, ids) as unknown[]);
        const result = call.lock === undefined ? await once() : await context.lock(call.lock, once);
        done.add(step);
        if (call.method === "createClassicLoadBalancer") loadBalancer = { dnsName: result as string, state: "active" };
        if (call.produces === undefined) return;
        ids.set(call.produces, typeof result === "string" ? result : (result as { arn: string }).arn);
        if (call.method === "createLoadBalancer") loadBalancer = result as LoadBalancer;
      };
      for (const step of list.steps) {
        if (done.has(step)) continue;
        try {
          await run(step);
        } catch (error) {
          // At its quota a group takes new targets only after old ones went.
          const leaving = list.steps.filter(
            ({ call }) => call.method === "deregisterTargets" && call.parameters[0] === step.call.parameters[0],
          );
          if (awsCodeOf(error) !== "TooManyTargets" || leaving.every((each) => done.has(each))) throw error;
          for (const each of leaving) await run(each);
          await run(step);
        }
      }
      if (loadBalancer === undefined) throw new ProviderError("Bug", "no load balancer after all steps");
      if (loadBalancer.state === "failed") {
        const message = "AWS could not provision the load balancer; it may lack addresses in the subnets";
        throw new ProviderError("Quota", message);
      }
      // Its name does not resolve before it is active.
      if (loadBalancer.state === "provisioning") return { ingress: [], requeueAfter: 10_000 };
      return { ingress: [{ hostname: loadBalancer.dnsName.toLowerCase(), ipMode: "Proxy" }] };
    },
    async destroy(context, key) {
      const port = boundPort(unbound, context, limit);
      const { vpcId } = await networkFor(port, context);
      // Lists lag behind: only one that is empty after the work says that nothing is left.
      for (let pass = 1; await sweep(port, context, key, vpcId); pass++) {
        if (pass < sweeps) continue;
        const message = "objects of the Service are still listed after they were removed";
        throw new ProviderError("NotReady", message, { retryAfter: 5000 });
      }
    },
    async *listOwned(context): AsyncIterable<OwnedResource> {
      const port = boundPort(unbound, context, limit);
      const { vpcId } = await networkFor(port, context);
      const { loadBalancers, targetGroups, classicLoadBalancers } = await readTagged(port, configuration);
      const all = [
        ...loadBalancers.map(({ arn, tags }) => ({ kind: "LoadBalancer", id: arn, tags })),
        ...targetGroups.map(({ arn, tags }) => ({ kind: "TargetGroup", id: arn, tags })),
        ...classicLoadBalancers.map(({ name, tags }) => ({ kind: "ClassicLoadBalancer", id: name, tags })),
      ];
      for (const { kind, id, tags } of all) {
        const owner = ownerOf(cluster, tags);
        if (owner !== undefined) yield { kind, id, key: owner };
      }
      for (const group of await port.describeSecurityGroups(vpcId)) {
        const owner = ownerOf(cluster, group.tags);
        if (owner !== undefined) yield { kind: "SecurityGroup", id: group.id, key: owner };
      }
    },
  };
}

function keyOf({ metadata }: Service): ServiceKey {
  return { namespace: metadata.namespace ?? "", name: metadata.name ?? "", uid: metadata.uid ?? "" };
}

/** Instances that the in-tree provider takes for targets, by the labels of nodes. */
function inTreeInstances(service: Service, nodes: readonly NodeReference[]): string[] {
  const wanted = new Set(
    inTreeTargetNodes(
      service,
      nodes.map(({ name, labels }) => ({ metadata: { name, labels: { ...labels } } })),
    ),
  );
  return nodes
    .filter((node) => wanted.has(node.name))
    .map((node) => instanceIdOf(node.providerID))
    .filter((id) => id !== undefined);
}
