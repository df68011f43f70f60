import type { Change, ServiceKey } from "@portolan/lb";
import type { AwsConfiguration } from "./configuration.ts";
import {
  capacityTag,
  type DesiredListener,
  type DesiredState,
  type DesiredTargetGroup,
  privateLinkRecord,
  recordTag,
} from "./desired.ts";
import type { AwsObservation, ObservedLoadBalancer, ObservedTargetGroup } from "./observation.ts";
import type { Attributes, AwsPort, ListenerSettings, Tags } from "./port.ts";
import { type Call, disruptionOf, StepBuilder, type StepList, same } from "./step-builder.ts";
import type { SubnetMapping } from "./subnets.ts";
import { alwaysPreservesClientIP } from "./target-group.ts";
import { targetCalls } from "./targets.ts";

/** Defaults of attributes that annotations may set, which come back when these go. Source: AWS' lists of attributes. */
const defaults: Attributes = {
  "deletion_protection.enabled": "false",
  "access_logs.s3.enabled": "false",
  "access_logs.s3.bucket": "",
  "access_logs.s3.prefix": "",
  "load_balancing.cross_zone.enabled": "false",
  "dns_record.client_routing_policy": "any_availability_zone",
  "zonal_shift.config.enabled": "false",
  "tcp.idle_timeout.seconds": "350",
  "proxy_protocol_v2.enabled": "false",
  "deregistration_delay.timeout_seconds": "300",
  "deregistration_delay.connection_termination.enabled": "false",
  "stickiness.enabled": "false",
  "stickiness.type": "source_ip",
};

function defaultOf(name: string, group?: DesiredTargetGroup): string | undefined {
  if (group === undefined) return defaults[name];
  if (name === "preserve_client_ip.enabled") {
    return String(group.targetType === "instance" || alwaysPreservesClientIP(group.protocol));
  }
  return name === "load_balancing.cross_zone.enabled" ? "use_load_balancer_configuration" : defaults[name];
}

/** Differences of attributes; what was set once and is not wanted any more goes back to its default. */
function attributeDifference(
  desired: Attributes,
  observed: Attributes | undefined,
  record: string | undefined,
  group?: DesiredTargetGroup,
): { set: Attributes; fields: Change["fields"] } {
  const wanted: Record<string, string> = { ...desired };
  for (const name of (record ?? "").split(" ")) {
    const value = name === "" || name in wanted ? undefined : defaultOf(name, group);
    if (value !== undefined) wanted[name] = value;
  }
  // What is yet to be made will have the defaults.
  const before = (name: string): string | undefined =>
    observed === undefined ? defaultOf(name, group) : observed[name];
  const set = Object.fromEntries(Object.entries(wanted).filter(([name, value]) => before(name) !== value));
  const fields = Object.entries(set).map(([name, value]) => [`attributes[${name}]`, before(name), value] as const);
  return { set, fields };
}

/**
 * Whether a subnet's addresses would have to change, which AWS does not do in place. IPv6 addresses that were not asked for are
 * shown all the same, so that only wanted ones tell.
 */
function movesAddresses(before: readonly SubnetMapping[], after: readonly SubnetMapping[]): boolean {
  return after.some((mapping) => {
    const held = before.find((each) => each.subnetId === mapping.subnetId);
    return (
      held !== undefined &&
      (held.allocationId !== mapping.allocationId ||
        held.privateIPv4Address !== mapping.privateIPv4Address ||
        (mapping.ipv6Address !== undefined && held.ipv6Address !== mapping.ipv6Address))
    );
  });
}

/**
 * The steps from what is observed to what is desired, in the order in which they are safe: what traffic needs comes before the
 * listener that starts it, grants before revocations, what is replaced goes last.
 */
export function stepsOf(
  key: ServiceKey,
  desired: DesiredState,
  observed: AwsObservation,
  configuration: AwsConfiguration,
): StepList {
  const builder = new StepBuilder(key, configuration.clusterName, desired, observed);
  const { ids } = builder;
  const { vpcId } = observed.network;

  const candidates = observed.loadBalancers.filter((each) => each.scheme === desired.loadBalancer.scheme);
  const held = candidates.find((each) => each.name === desired.loadBalancer.name) ?? candidates[0];
  const mustMove = held !== undefined && movesAddresses(held.subnetMappings, desired.loadBalancer.subnetMappings);
  const current: ObservedLoadBalancer | undefined = mustMove ? undefined : held;
  const stale = observed.loadBalancers.filter((each) => each !== current);

  // Security groups: granted first.
  builder.managedGroup();
  builder.grantClients();
  builder.grantNodes();

  // Target groups: those that listeners will forward to.
  const doomed = targetGroupSteps();

  // The load balancer.
  const name = desired.loadBalancer.name;
  const isTaken = stale.some((each) => each.name === name);
  const isFirst = stale.length > 0 && current === undefined && isTaken;
  if (isFirst) removeLoadBalancers(stale, "it cannot be changed in place", true);
  loadBalancerSteps();
  if (!isFirst && stale.length > 0 && (current === undefined || current.state === "provisioning")) {
    builder.add(
      "await:LoadBalancer",
      { method: "awaitActive", parameters: ["@lb"] },
      {
        action: "update",
        resource: { kind: "LoadBalancer", name },
        because: "its predecessor serves until it works",
      },
    );
  }
  for (const each of stale) deleteListeners(each, "its successor takes over");
  listenerSteps();
  if (!isFirst) removeLoadBalancers(stale, "another load balancer took its place", false);
  for (const each of doomed) removeTargetGroup(each, "no listener forwards to it any more");
  builder.revokeStale();
  return builder.list();

  function attributeSteps(
    kind: string,
    objectName: string,
    reference: string,
    wanted: Attributes,
    present: { readonly attributes: Attributes; readonly tags: Tags } | undefined,
    targetGroup?: DesiredTargetGroup,
  ): void {
    const record = present?.tags[recordTag];
    const { set, fields } = attributeDifference(wanted, present?.attributes, record, targetGroup);
    if (Object.keys(set).length === 0) return;
    builder.add(
      `attributes:${kind}:${objectName}`,
      { method: "modifyAttributes", parameters: [reference, set] },
      { action: "update", resource: { kind, name: objectName }, fields, because: `annotations about its attributes` },
    );
  }

  /** @returns target groups that are not needed any more */
  function targetGroupSteps(): ObservedTargetGroup[] {
    const kept = new Set<ObservedTargetGroup>();
    for (const wanted of desired.targetGroups) {
      const reference = `@tg:${wanted.name}`;
      const resource = { kind: "TargetGroup", name: wanted.name };
      let existing = observed.targetGroups.find((each) => each.name === wanted.name);
      if (existing !== undefined) {
        const fixed = (
          each: Pick<DesiredTargetGroup, "targetType" | "ipAddressType" | "port" | "protocol">,
        ): unknown => [each.targetType, each.ipAddressType, each.port, each.protocol];
        kept.add(existing);
        if (!same(fixed(existing), fixed(wanted))) {
          for (const each of observed.loadBalancers) {
            const users = each.listeners.filter((listener) => listener.targetGroupArn === existing?.arn);
            deleteListeners({ ...each, listeners: users }, "its target group has to be made anew");
          }
          removeTargetGroup(existing, "what it forwards to cannot be changed in place");
          existing = undefined;
        }
      } else if (observed.foreignNames.targetGroups.includes(wanted.name)) {
        builder.conflict("target group", wanted.name);
      }
      if (existing === undefined) {
        const { attributes: _, targets: __, isShared: ___, ...request } = wanted;
        builder.add(
          `create:TargetGroup:${wanted.name}`,
          { method: "createTargetGroup", parameters: [{ ...request, vpcId }], produces: reference },
          { action: "create", resource, because: "a port of the Service forwards to it" },
        );
      } else {
        ids[reference] = existing.arn;
        if (!same(existing.healthCheck, wanted.healthCheck)) {
          builder.add(
            `modify:TargetGroup:${wanted.name}`,
            { method: "modifyTargetGroup", parameters: [existing.arn, wanted.healthCheck] },
            {
              action: "update",
              resource: { ...resource, cloudId: existing.arn },
              fields: [["healthCheck", existing.healthCheck, wanted.healthCheck]],
              because: "the health check of the Service changed",
            },
          );
        }
      }
      attributeSteps("TargetGroup", wanted.name, reference, wanted.attributes, existing, wanted);
      if (existing !== undefined) builder.tags("TargetGroup", wanted.name, existing.arn, wanted.tags, existing.tags);
      targetSteps(wanted, existing, reference);
    }
    return observed.targetGroups.filter((each) => !kept.has(each));
  }

  function targetSteps(wanted: DesiredTargetGroup, existing: ObservedTargetGroup | undefined, reference: string): void {
    const present = (existing?.targets ?? [])
      .filter((target) => target.state !== "draining")
      .map(({ id, port }) => ({ id, port }));
    const calls = targetCalls(wanted.targets, present).filter(
      (each) => !(wanted.isShared && each.call === "DeregisterTargets"),
    );
    for (const [index, { call, targets }] of calls.entries()) {
      const comes = call === "RegisterTargets";
      const names = targets.map(({ id, port }) => `${id}:${port}`);
      builder.add(
        `${comes ? "register" : "deregister"}:${wanted.name}:${index}`,
        { method: comes ? "registerTargets" : "deregisterTargets", parameters: [reference, targets] },
        {
          action: "update",
          resource: { kind: "TargetGroup", name: wanted.name },
          fields: [["targets", comes ? [] : names, comes ? names : []]],
          because: comes ? "these targets serve the Service" : "these targets do not serve the Service any more",
        },
      );
    }
  }

  function loadBalancerSteps(): void {
    const wanted = desired.loadBalancer;
    const { attributes, capacityUnits, inboundRulesOnPrivateLink, ...request } = wanted;
    const securityGroups = builder.groupIds(wanted.securityGroups);
    const tags = { ...wanted.tags, ...(capacityUnits > 0 ? { [capacityTag]: String(capacityUnits) } : {}) };
    const resource = { kind: "LoadBalancer", name: current?.name ?? wanted.name };
    if (current === undefined) {
      if (observed.foreignNames.loadBalancers.includes(wanted.name)) {
        builder.conflict("load balancer", wanted.name);
      }
      const before = stale[0];
      const moves = before !== undefined;
      builder.add(
        "create:LoadBalancer",
        {
          method: "createLoadBalancer",
          parameters: [{ ...request, securityGroups, tags: wanted.tags }],
          produces: "@lb",
        },
        {
          action: moves ? "replace" : "create",
          resource,
          fields: [["scheme", before?.scheme, wanted.scheme]],
          because: !moves
            ? "the Service has no load balancer yet"
            : before.scheme === wanted.scheme
              ? "the addresses of a load balancer cannot be changed in place"
              : "the scheme of a load balancer cannot be changed in place",
          ...disruptionOf(moves ? "ip-change" : "none", moves && desired.asksForAddress),
        },
        builder.withPrefix(""),
      );
    } else {
      ids["@lb"] = current.arn;
      const update = (field: string, before: unknown, after: unknown, method: keyof AwsPort, rest: unknown[]): void =>
        builder.add(
          `${method}:LoadBalancer`,
          { method, parameters: [current.arn, ...rest] },
          {
            action: "update",
            resource: { ...resource, cloudId: current.arn },
            fields: [[field, before, after]],
            because: `${field} of the Service's load balancer changed`,
          },
        );
      if (current.ipAddressType !== wanted.ipAddressType) {
        update("ipAddressType", current.ipAddressType, wanted.ipAddressType, "setIpAddressType", [
          wanted.ipAddressType,
        ]);
      }
      const subnetsOf = (mappings: readonly SubnetMapping[]): string[] => mappings.map((each) => each.subnetId).sort();
      const before = subnetsOf(current.subnetMappings);
      const after = subnetsOf(wanted.subnetMappings);
      const nat = wanted.enablePrefixForIpv6SourceNat;
      if (!same(before, after) || current.enablePrefixForIpv6SourceNat !== nat) {
        update("subnets", before, after, "setSubnets", [wanted.subnetMappings, nat]);
      }
      const sameGroups = same([...current.securityGroups].sort(), [...securityGroups].sort());
      const wasSet = (current.tags[recordTag] ?? "").split(" ").includes(privateLinkRecord);
      const link = inboundRulesOnPrivateLink ?? (wasSet ? "on" : undefined);
      if (
        securityGroups.length > 0 &&
        (!sameGroups || (link !== undefined && current.inboundRulesOnPrivateLink !== link))
      ) {
        const rest = link === undefined ? [securityGroups] : [securityGroups, link];
        update("securityGroups", current.securityGroups, securityGroups, "setSecurityGroups", rest);
      }
    }
    if (current === undefined && inboundRulesOnPrivateLink !== undefined && securityGroups.length > 0) {
      builder.add(
        "setSecurityGroups:LoadBalancer",
        { method: "setSecurityGroups", parameters: ["@lb", securityGroups, inboundRulesOnPrivateLink] },
        { action: "update", resource, because: "annotation inbound-sg-rules-on-private-link-traffic" },
      );
    }
    attributeSteps("LoadBalancer", resource.name, "@lb", attributes, current);
    const reserved = Number(current?.tags[capacityTag] ?? 0);
    if (reserved !== capacityUnits) {
      builder.add(
        "capacity:LoadBalancer",
        { method: "modifyCapacityReservation", parameters: ["@lb", capacityUnits] },
        {
          action: "update",
          resource,
          fields: [["capacityUnits", reserved, capacityUnits]],
          because: "annotation minimum-load-balancer-capacity",
        },
      );
    }
    if (current !== undefined) builder.tags("LoadBalancer", resource.name, current.arn, tags, current.tags);
    else if (capacityUnits > 0) {
      // Recorded when it is done: the tag says that the reservation was made.
      builder.add(
        "tag:LoadBalancer:capacity",
        { method: "tagResources", parameters: [["@lb"], { [capacityTag]: String(capacityUnits) }] },
        { action: "update", resource, because: "annotation minimum-load-balancer-capacity" },
      );
    }
  }

  function listenerSteps(): void {
    const present = current?.listeners ?? [];
    const readyFirst = builder
      .withPrefix("")
      .filter((id) => /^(rules|node-rules|register|create:TargetGroup)/.test(id));
    for (const wanted of desired.listeners) {
      const existing = present.find((each) => each.port === wanted.port);
      const isGone = existing !== undefined && builder.withPrefix(`delete:listener:${existing.arn}`).length > 0;
      if (existing === undefined || isGone) createListener(wanted, readyFirst);
      else updateListener(wanted, existing, readyFirst);
    }
    for (const each of present) {
      if (desired.listeners.some((wanted) => wanted.port === each.port)) continue;
      if (builder.withPrefix(`delete:listener:${each.arn}`).length > 0) continue;
      deleteListeners({ ...current!, listeners: [each] }, "the Service has no such port any more");
    }
  }

  function settingsOf(wanted: DesiredListener): ListenerSettings {
    const [certificate] = wanted.certificates;
    return {
      port: wanted.port,
      protocol: wanted.protocol,
      targetGroupArn: ids[`@tg:${wanted.targetGroup}`] ?? `@tg:${wanted.targetGroup}`,
      ...(certificate === undefined ? {} : { certificate }),
      ...(wanted.sslPolicy === undefined ? {} : { sslPolicy: wanted.sslPolicy }),
      ...(wanted.alpnPolicy === undefined ? {} : { alpnPolicy: wanted.alpnPolicy }),
    };
  }

  function createListener(wanted: DesiredListener, after: readonly string[]): void {
    const reference = `@listener:${wanted.port}`;
    const resource = { kind: "Listener", name: `${wanted.protocol}:${wanted.port}` };
    builder.add(
      `listener:${wanted.port}`,
      { method: "createListener", parameters: ["@lb", settingsOf(wanted), wanted.tags], produces: reference },
      { action: "create", resource, because: `port ${wanted.port} of the Service` },
      after,
    );
    certificateSteps(wanted, reference, []);
    attributeSteps("Listener", resource.name, reference, wanted.attributes, undefined);
  }

  function updateListener(
    wanted: DesiredListener,
    existing: ObservedLoadBalancer["listeners"][number],
    after: readonly string[],
  ): void {
    const reference = `@listener:${wanted.port}`;
    ids[reference] = existing.arn;
    const resource = { kind: "Listener", name: `${wanted.protocol}:${wanted.port}`, cloudId: existing.arn };
    const settings = settingsOf(wanted);
    const fields = (["protocol", "targetGroupArn", "certificate", "sslPolicy", "alpnPolicy"] as const)
      .filter((field) => !same(existing[field] ?? null, settings[field] ?? null))
      .map((field) => [field, existing[field], settings[field]] as const);
    if (fields.length > 0) {
      const changes = fields.map(([field]) => field);
      builder.add(
        `listener:${wanted.port}`,
        { method: "modifyListener", parameters: [existing.arn, settings] },
        {
          action: "update",
          resource,
          fields,
          because: `${changes.join(", ")} of port ${wanted.port} changed`,
          ...disruptionOf(changes.includes("protocol") || changes.includes("targetGroupArn") ? "brief" : "none"),
        },
        after,
      );
    }
    certificateSteps(wanted, reference, existing.certificates);
    attributeSteps("Listener", resource.name, reference, wanted.attributes, existing);
    builder.tags("Listener", resource.name, existing.arn, wanted.tags, existing.tags);
  }

  function certificateSteps(wanted: DesiredListener, reference: string, present: readonly string[]): void {
    const others = wanted.certificates.slice(1);
    const resource = { kind: "Listener", name: `${wanted.protocol}:${wanted.port}` };
    const because = "annotation ssl-cert";
    const coming = others.filter((each) => !present.includes(each));
    const going = present.filter((each) => !others.includes(each) && each !== wanted.certificates[0]);
    if (coming.length > 0) {
      const call: Call = { method: "addListenerCertificates", parameters: [reference, coming] };
      builder.add(`certificates:${wanted.port}`, call, { action: "update", resource, because });
    }
    if (going.length > 0) {
      const call: Call = { method: "removeListenerCertificates", parameters: [reference, going] };
      builder.add(`old-certificates:${wanted.port}`, call, { action: "update", resource, because });
    }
  }

  function deleteListeners(
    loadBalancer: Pick<ObservedLoadBalancer, "name"> & {
      readonly listeners: readonly { arn: string; port: number; protocol: string }[];
    },
    because: string,
  ): void {
    for (const each of loadBalancer.listeners) {
      if (builder.withPrefix(`delete:listener:${each.arn}`).length > 0) continue;
      builder.add(
        `delete:listener:${each.arn}`,
        { method: "deleteListener", parameters: [each.arn] },
        {
          action: "delete",
          resource: { kind: "Listener", name: `${each.protocol}:${each.port}`, cloudId: each.arn },
          because,
          disruptive: "outage",
        },
        builder.withPrefix("await:"),
      );
    }
  }

  function removeLoadBalancers(list: readonly ObservedLoadBalancer[], because: string, withListeners: boolean): void {
    for (const each of list) {
      if (withListeners) deleteListeners(each, because);
      builder.add(
        `delete:LoadBalancer:${each.name}:${each.scheme}`,
        { method: "deleteLoadBalancer", parameters: [each.arn] },
        {
          action: "delete",
          resource: { kind: "LoadBalancer", name: each.name, cloudId: each.arn },
          because,
          ...disruptionOf("ip-change", desired.asksForAddress),
        },
        builder.withPrefix("listener:"),
      );
    }
  }

  function removeTargetGroup(targetGroup: ObservedTargetGroup, because: string): void {
    builder.add(
      `delete:TargetGroup:${targetGroup.name}`,
      { method: "deleteTargetGroup", parameters: [targetGroup.arn] },
      {
        action: "delete",
        resource: { kind: "TargetGroup", name: targetGroup.name, cloudId: targetGroup.arn },
        because,
      },
      builder.withPrefix("listener:"),
    );
  }
}
