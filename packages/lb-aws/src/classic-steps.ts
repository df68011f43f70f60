import type { Change, ServiceKey } from "@portolan/lb";
import { type ClassicAttributes, type ClassicListener, diffClassicListeners } from "./classic.ts";
import type { AwsConfiguration } from "./configuration.ts";
import type { ClassicState } from "./desired.ts";
import type { AwsObservation, ObservedClassicLoadBalancer } from "./observation.ts";
import type { AwsPort, ClassicPolicy } from "./port.ts";
import { disruptionOf, StepBuilder, type StepList, same } from "./step-builder.ts";

const tlsPolicyType = "SSLNegotiationPolicyType";

/** Policy that AWS attaches to listeners which end TLS. */
const defaultTlsPolicy = "ELBSecurityPolicy-2016-08";

/** Names of the in-tree provider's policies, which are marks too: no others are taken away. */
const tlsPolicyPrefix = "k8s-SSLNegotiationPolicy-";
const proxyPolicy: ClassicPolicy = {
  name: "k8s-proxyprotocol-enabled",
  type: "ProxyProtocolPolicyType",
  attributes: { ProxyProtocol: "true" },
};

const tlsPolicy = (name: string, reference: string): ClassicPolicy => ({
  name,
  type: tlsPolicyType,
  attributes: { "Reference-Security-Policy": reference },
});

/** What absent members of attributes are. Source: AWS' defaults of classic load balancers. */
const attributeDefaults: ClassicAttributes = {
  accessLog: { enabled: false, emitInterval: 60, s3BucketName: "", s3BucketPrefix: "" },
  connectionDraining: { enabled: false, timeout: 300 },
  connectionSettings: { idleTimeout: 60 },
  crossZoneLoadBalancing: { enabled: false },
};

const attributeNames = ["accessLog", "connectionDraining", "connectionSettings", "crossZoneLoadBalancing"] as const;

/** An attribute with its defaults; of what is switched off only that. */
function completed(name: (typeof attributeNames)[number], attributes: ClassicAttributes): unknown {
  const value = { ...attributeDefaults[name], ...attributes[name] };
  return "enabled" in value && !value.enabled ? { enabled: false } : value;
}

const endsTls = ({ protocol }: ClassicListener): boolean => ["ssl", "https"].includes(protocol.toLowerCase());

const missing = (left: readonly string[], right: readonly string[]): string[] =>
  left.filter((each) => !right.includes(each)).sort();

/**
 * The steps to the classic load balancer that is desired. It cannot be made without listeners, so what lets clients in to a new
 * one are the rules of its security group, which are granted when instances serve; revocations come last.
 */
export function classicStepsOf(
  key: ServiceKey,
  desired: ClassicState,
  observed: AwsObservation,
  configuration: Pick<AwsConfiguration, "clusterName">,
): StepList {
  const builder = new StepBuilder(key, configuration.clusterName, desired, observed);
  const wanted = desired.loadBalancer;
  const { name } = wanted;
  const resource = { kind: "ClassicLoadBalancer", name };
  const found = observed.classicLoadBalancers.find((each) => each.name === name);
  const current: ObservedClassicLoadBalancer | undefined = found?.scheme === wanted.scheme ? found : undefined;
  const stale = observed.classicLoadBalancers.filter((each) => each !== current);
  const difference = diffClassicListeners(wanted.listeners, current?.listeners ?? []);
  /** Policies that are there or will be. */
  const policies = new Set((current?.policies ?? []).map((each) => each.name));

  builder.managedGroup();
  builder.grantNodes();
  for (const each of stale) remove(each);
  if (current === undefined) create();
  else update(current);
  if (current === undefined || !same(current.healthCheck, desired.healthCheck)) {
    step("healthcheck", "configureClassicHealthCheck", [desired.healthCheck], "the health check of the Service", [
      ["healthCheck", current?.healthCheck, desired.healthCheck],
    ]);
  }
  attributes();
  const backends = current?.backendPolicies ?? [];
  const instancePorts = [...new Set(wanted.listeners.map((each) => each.instancePort))];
  const proxied = desired.proxyProtocol ? instancePorts : [];
  for (const each of backends) if (!proxied.includes(each.instancePort)) setProxy(each.instancePort, false);
  if (current !== undefined) listeners();
  for (const port of proxied) setProxy(port, true);
  for (const each of wanted.listeners) if (endsTls(each)) setTlsPolicy(each);
  const keptPolicies = new Set([
    ...(proxied.length > 0 ? [proxyPolicy.name] : []),
    ...(wanted.listeners.some(endsTls) && desired.sslNegotiationPolicy
      ? [tlsPolicyPrefix + desired.sslNegotiationPolicy]
      : []),
  ]);
  for (const each of current?.policies ?? []) {
    const isOurs = each.name === proxyPolicy.name || each.name.startsWith(tlsPolicyPrefix);
    if (isOurs && !keptPolicies.has(each.name)) {
      step(`delete:policy:${each.name}`, "deleteClassicPolicy", [each.name], "no listener or instance needs it", []);
    }
  }
  const coming = missing(desired.instances, current?.instances ?? []);
  if (coming.length > 0) {
    step("register", "registerClassicInstances", [coming], "these instances serve the Service", [
      ["instances", [], coming],
    ]);
  }
  builder.grantClients();
  const going = missing(current?.instances ?? [], desired.instances);
  if (going.length > 0) {
    step("deregister", "deregisterClassicInstances", [going], "these instances do not serve the Service any more", [
      ["instances", going, []],
    ]);
  }
  builder.revokeStale();
  return builder.list();

  /** One call on the load balancer. */
  function step(
    id: string,
    method: keyof AwsPort,
    rest: readonly unknown[],
    because: string,
    fields: Change["fields"],
    change: Partial<Change> = {},
  ): void {
    builder.add(
      `${id}:ClassicLoadBalancer`,
      { method, parameters: [name, ...rest] },
      { action: "update", resource, because, fields, ...change },
      ["create:ClassicLoadBalancer"],
    );
  }

  function create(): void {
    if (observed.foreignNames.classicLoadBalancers.includes(name)) builder.conflict("load balancer", name);
    const before = stale[0];
    builder.add(
      "create:ClassicLoadBalancer",
      {
        method: "createClassicLoadBalancer",
        parameters: [{ ...wanted, securityGroups: builder.groupIds(wanted.securityGroups) }],
      },
      {
        action: before === undefined ? "create" : "replace",
        resource,
        fields: [["scheme", before?.scheme, wanted.scheme]],
        because:
          before === undefined
            ? "the Service has no load balancer yet"
            : "the scheme of a load balancer cannot be changed in place",
        ...disruptionOf(before === undefined ? "none" : "ip-change", before !== undefined && desired.asksForAddress),
      },
      builder.withPrefix(""),
    );
  }

  function update(before: ObservedClassicLoadBalancer): void {
    const fields = [["subnets", before.subnetIds, wanted.subnetIds]] as const;
    const because = "subnets of the Service's load balancer changed";
    // One subnet of a zone has to go before another one of it comes.
    const left = missing(before.subnetIds, wanted.subnetIds);
    const entered = missing(wanted.subnetIds, before.subnetIds);
    const isWhole = left.length === before.subnetIds.length;
    if (left.length > 0 && !isWhole) step("detach", "detachClassicSubnets", [left], because, fields);
    if (entered.length > 0) step("attach", "attachClassicSubnets", [entered], because, fields);
    if (left.length > 0 && isWhole) step("detach", "detachClassicSubnets", [left], because, fields);
    const groups = builder.groupIds(wanted.securityGroups);
    if (!same([...before.securityGroups].sort(), [...groups].sort())) {
      step("groups", "applyClassicSecurityGroups", [groups], "security groups of the Service's load balancer changed", [
        ["securityGroups", before.securityGroups, groups],
      ]);
    }
    builder.tags("ClassicLoadBalancer", name, name, wanted.tags, before.tags);
  }

  function attributes(): void {
    const before = current?.attributes ?? attributeDefaults;
    const names = attributeNames.filter((each) => !same(completed(each, before), completed(each, desired.attributes)));
    if (names.length === 0) return;
    const set = Object.fromEntries(names.map((each) => [each, desired.attributes[each]]));
    const fields = names.map((each) => [`attributes[${each}]`, before[each], desired.attributes[each]] as const);
    step("attributes", "modifyClassicAttributes", [set], "annotations about its attributes", fields);
  }

  function listeners(): void {
    const remade = difference.create.map((each) => each.loadBalancerPort);
    if (difference.delete.length > 0) {
      const isRemade = difference.delete.every((port) => remade.includes(port));
      step(
        "delete:listeners",
        "deleteClassicListeners",
        [difference.delete],
        "these ports are not so in the Service any more; a listener that differs is made anew",
        [["listeners", difference.delete, []]],
        { disruptive: isRemade ? "brief" : "outage" },
      );
    }
    if (difference.create.length === 0) return;
    step("create:listeners", "createClassicListeners", [difference.create], "ports of the Service", [
      ["listeners", [], difference.create],
    ]);
  }

  function needPolicy(policy: ClassicPolicy): void {
    if (policies.has(policy.name)) return;
    policies.add(policy.name);
    step(`policy:${policy.name}`, "createClassicPolicy", [policy], "annotations about TLS or the PROXY protocol", []);
  }

  function setProxy(instancePort: number, on: boolean): void {
    const before = backends.find((each) => each.instancePort === instancePort)?.policies ?? [];
    if (before.includes(proxyPolicy.name) === on) return;
    if (on) needPolicy(proxyPolicy);
    const after = on ? [...before, proxyPolicy.name] : before.filter((each) => each !== proxyPolicy.name);
    step(
      `${on ? "" : "no-"}proxy:${instancePort}`,
      "setClassicBackendPolicies",
      [instancePort, after],
      "annotation proxy-protocol",
      [[`backendPolicies[${instancePort}]`, before, after]],
      { disruptive: current === undefined ? "none" : "brief" },
    );
  }

  function setTlsPolicy(listener: ClassicListener): void {
    const port = listener.loadBalancerPort;
    const isNew = difference.create.includes(listener);
    const before = isNew ? [] : (current?.listeners.find((each) => each.loadBalancerPort === port)?.policies ?? []);
    const reference = desired.sslNegotiationPolicy || defaultTlsPolicy;
    const isDefault = !desired.sslNegotiationPolicy;
    const policyName = isDefault ? defaultTlsPolicy : tlsPolicyPrefix + reference;
    // What others chose stays as long as the Service does not choose.
    if (isDefault && !before.some((each) => each.startsWith(tlsPolicyPrefix))) return;
    const others = before.filter(
      (each) => !current?.policies.some((policy) => policy.name === each && policy.type === tlsPolicyType),
    );
    const after = [...others, policyName];
    if (same(before, after)) return;
    needPolicy(tlsPolicy(policyName, reference));
    step(`tls-policy:${port}`, "setClassicListenerPolicies", [port, after], "annotation ssl-negotiation-policy", [
      [`policies[${port}]`, before, after],
    ]);
  }

  function remove(each: ObservedClassicLoadBalancer): void {
    builder.add(
      `delete:ClassicLoadBalancer:${each.name}`,
      { method: "deleteClassicLoadBalancer", parameters: [each.name] },
      {
        action: "delete",
        resource: { ...resource, name: each.name },
        because: "it cannot be changed in place",
        ...disruptionOf("ip-change", desired.asksForAddress),
      },
    );
  }
}
