import type { EndpointSlice, Service } from "@portolan/core";
import type { NodeReference, ServiceKey } from "@portolan/lb";
import type { ClassicModel, ClassicSettings } from "./classic.ts";
import type { AwsConfiguration, Scheme } from "./configuration.ts";
import type { InTreeModel } from "./in-tree.ts";
import type { NetworkModel, TargetGroupModel } from "./model.ts";
import { inTreeOwnerTags, ownerTags, ruleMark, sharedRuleMark } from "./ownership-marks.ts";
import type { Attributes, ClassicLoadBalancerRequest, LoadBalancerRequest, Tags, TargetGroupRequest } from "./port.ts";
import { type IngressRule, inTreeRuleMarks } from "./security-groups.ts";
import { instanceIdOf, type Target } from "./targets.ts";

/** A load balancer to have, with what is set by calls of its own. */
export interface DesiredLoadBalancer extends LoadBalancerRequest {
  readonly attributes: Attributes;
  readonly inboundRulesOnPrivateLink?: "on" | "off";
  /** 0: no reservation. */
  readonly capacityUnits: number;
}

/** A listener to have. */
export interface DesiredListener {
  readonly port: number;
  readonly protocol: TargetGroupRequest["protocol"];
  /** Name of its target group. */
  readonly targetGroup: string;
  readonly certificates: readonly string[];
  readonly sslPolicy?: string;
  readonly alpnPolicy?: readonly string[];
  readonly attributes: Attributes;
  readonly tags: Tags;
}

/** A target group to have. */
export interface DesiredTargetGroup extends Omit<TargetGroupRequest, "vpcId"> {
  readonly attributes: Attributes;
  readonly targets: readonly Target[];
  /** Targets that others registered stay. */
  readonly isShared: boolean;
}

/** A security group to have for one Service. */
export interface ManagedSecurityGroup {
  readonly name: string;
  readonly description: string;
  readonly tags: Tags;
  readonly ingress: readonly IngressRule[];
}

/** All that a Service should have, whatever semantics it was derived by. */
export interface DesiredState {
  readonly loadBalancer: DesiredLoadBalancer;
  readonly listeners: readonly DesiredListener[];
  readonly targetGroups: readonly DesiredTargetGroup[];
  readonly managedSecurityGroup?: ManagedSecurityGroup;
  /** Rules of the nodes' security groups. */
  readonly nodeRules: readonly IngressRule[];
  /** Descriptions of rules that belong to the Service: those that are not desired go. */
  readonly ruleMarks: readonly string[];
  /** Whether the Service itself asks for the scheme and the addresses that it has. */
  readonly asksForAddress: boolean;
}

/** All that a Service with a classic load balancer should have. */
export interface ClassicState
  extends Pick<DesiredState, "managedSecurityGroup" | "nodeRules" | "ruleMarks" | "asksForAddress">,
    Pick<ClassicSettings, "healthCheck" | "attributes" | "proxyProtocol" | "sslNegotiationPolicy"> {
  readonly loadBalancer: ClassicLoadBalancerRequest;
  readonly instances: readonly string[];
}

/** Keys of what was set by annotations, so that their defaults come back when the annotations go. */
export const recordTag = "portolan.dev/attributes";

/** Stands among these keys for the setting about PrivateLink, which is no attribute. */
export const privateLinkRecord = "private-link";

/** Keys of the tags that the user asked for. */
export const tagRecord = "portolan.dev/tags";

/** Units of capacity that were reserved. */
export const capacityTag = "portolan.dev/capacity-units";

/** Tags of an object: the marks, the user's, and the records of what was set. */
function tagsOf(marks: Tags, own: Tags, attributes?: Attributes): Tags {
  const keys = Object.keys(own).sort().join(" ");
  const set = Object.keys(attributes ?? {})
    .sort()
    .join(" ");
  return {
    ...own,
    ...marks,
    ...(keys === "" ? {} : { [tagRecord]: keys.slice(0, 256) }),
    ...(set === "" ? {} : { [recordTag]: set.slice(0, 256) }),
  };
}

function hasLabels(node: NodeReference, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(labels).every(([key, value]) => node.labels?.[key] === value);
}

const byId = (left: Target, right: Target): number =>
  left.id < right.id ? -1 : left.id > right.id ? 1 : left.port - right.port;

/** Pods behind a port of a Service that are ready, in the family of a target group. */
function podTargets(group: TargetGroupModel, slices: readonly EndpointSlice[]): Target[] {
  const { name = "" } = group.servicePort;
  const family = group.ipAddressType === "ipv6" ? "IPv6" : "IPv4";
  const out = new Map<string, Target>();
  for (const slice of slices) {
    if (slice.addressType !== family) continue;
    const port = slice.ports?.find((each) => (each.name ?? "") === name)?.port;
    if (port === undefined || port === null) continue;
    for (const { addresses, conditions } of slice.endpoints ?? []) {
      const [id] = addresses;
      if (id !== undefined && conditions?.ready !== false) out.set(`${id}:${port}`, { id, port });
    }
  }
  return [...out.values()].sort(byId);
}

function nodeTargets(
  port: number,
  labels: Readonly<Record<string, string>>,
  nodes: readonly NodeReference[],
): Target[] {
  return nodes
    .filter((node) => hasLabels(node, labels))
    .map((node) => instanceIdOf(node.providerID))
    .filter((id) => id !== undefined)
    .map((id) => ({ id, port }))
    .sort(byId);
}

/** Numbers that pods have for a target port. */
function podPorts(port: number | string, group: TargetGroupModel, targets: readonly Target[]): number[] {
  if (typeof port === "number") return [port];
  return port === group.servicePort.targetPort ? [...new Set(targets.map((target) => target.port))] : [];
}

/**
 * Rules of nodes. Those whose source is the group that all load balancers share open a whole protocol: two Services that need one
 * port would take it from each other, and one rule per Service soon reaches the quota.
 */
function nodeRulesOf(model: NetworkModel, targets: readonly (readonly Target[])[], cluster: string): IngressRule[] {
  const mark = ruleMark(cluster, model.key);
  const out = new Map<string, IngressRule>();
  for (const [index, group] of model.targetGroups.entries()) {
    for (const { from, ports } of group.ingress) {
      for (const { protocol, port } of ports) {
        const numbers = port === undefined ? [undefined] : podPorts(port, group, targets[index]!);
        for (const source of from) {
          const isShared = source.startsWith("sg-");
          for (const number of isShared ? [undefined] : numbers) {
            const rule: IngressRule = {
              protocol: protocol.toLowerCase() as "tcp" | "udp",
              fromPort: number ?? 0,
              toPort: number ?? 65_535,
              source,
              description: isShared ? sharedRuleMark(cluster) : mark,
            };
            out.set(`${rule.protocol} ${rule.fromPort} ${source}`, rule);
          }
        }
      }
    }
  }
  return [...out.values()];
}

/** The desired state of a model in the semantics of the AWS Load Balancer Controller, with its targets. */
export function desiredOf(
  model: NetworkModel,
  cluster: string,
  nodes: readonly NodeReference[],
  slices: readonly EndpointSlice[],
  asksForAddress: boolean,
): DesiredState {
  const { key, loadBalancer, managedSecurityGroup, tags } = model;
  const mark = ruleMark(cluster, key);
  const targets = model.targetGroups.map((group) =>
    group.targetType === "ip" ? podTargets(group, slices) : nodeTargets(group.port, group.nodeLabels ?? {}, nodes),
  );
  const { minimumCapacity, ...rest } = loadBalancer;
  const capacityUnits = minimumCapacity?.capacityUnits ?? 0;
  const names = new Map(model.targetGroups.map((group) => [group.id, group.name]));
  return {
    loadBalancer: {
      ...rest,
      capacityUnits,
      tags: tagsOf(ownerTags(cluster, key, "LoadBalancer"), tags, {
        ...loadBalancer.attributes,
        ...(loadBalancer.inboundRulesOnPrivateLink === undefined ? {} : { [privateLinkRecord]: "set" }),
      }),
    },
    listeners: model.listeners.map(({ targetGroup, ...listener }) => ({
      ...listener,
      targetGroup: names.get(targetGroup)!,
      tags: tagsOf(ownerTags(cluster, key, String(listener.port)), tags, listener.attributes),
    })),
    targetGroups: model.targetGroups.map((group, index) => ({
      name: group.name,
      targetType: group.targetType,
      ipAddressType: group.ipAddressType,
      port: group.port,
      protocol: group.protocol,
      healthCheck: group.healthCheck,
      attributes: group.attributes,
      targets: targets[index]!,
      isShared: group.isMultiCluster,
      tags: tagsOf(ownerTags(cluster, key, group.id), tags, group.attributes),
    })),
    ...(managedSecurityGroup === undefined
      ? {}
      : {
          managedSecurityGroup: {
            name: managedSecurityGroup.name,
            description: managedSecurityGroup.description,
            tags: tagsOf(ownerTags(cluster, key, "ManagedLBSecurityGroup"), tags),
            ingress: managedSecurityGroup.ingress.map((rule) => ({ ...rule, description: mark })),
          },
        }),
    nodeRules: nodeRulesOf(model, targets, cluster),
    ruleMarks: [mark],
    asksForAddress,
  };
}

/** Marks of the in-tree provider, and all tags of an object that annotations ask for. */
function inTreeTagsOf(tags: Tags, cluster: string, key: ServiceKey): { readonly marks: Tags; readonly own: Tags } {
  const marks = inTreeOwnerTags(cluster, key);
  return { marks, own: Object.fromEntries(Object.entries(tags).filter(([name]) => marks[name] === undefined)) };
}

/** The desired state of a model of a classic load balancer. */
export function desiredOfClassic(
  model: ClassicModel,
  configuration: Pick<AwsConfiguration, "clusterName" | "classicSecurityGroup">,
  key: ServiceKey,
  service: Service,
): ClassicState {
  const { name, scheme, subnetIds, securityGroups, listeners, managedSecurityGroup, nodeSource } = model;
  const { clusterName: cluster, classicSecurityGroup } = configuration;
  const { marks, own } = inTreeTagsOf(model.tags, cluster, key);
  const tags = tagsOf(marks, own);
  const mark = ruleMark(cluster, key);
  // All traffic of a group that serves all load balancers is let in by one rule, which no Service takes from another.
  const description = nodeSource === classicSecurityGroup ? sharedRuleMark(cluster) : mark;
  return {
    loadBalancer: { name, scheme, subnetIds, securityGroups, listeners, tags },
    healthCheck: model.healthCheck,
    attributes: model.attributes,
    proxyProtocol: model.proxyProtocol,
    ...(model.sslNegotiationPolicy === undefined ? {} : { sslNegotiationPolicy: model.sslNegotiationPolicy }),
    instances: model.instances,
    ...(managedSecurityGroup === undefined
      ? {}
      : {
          managedSecurityGroup: {
            name: managedSecurityGroup.name,
            description: `Security group for Kubernetes ELB ${name} (${key.namespace}/${key.name})`,
            tags,
            ingress: managedSecurityGroup.ingress.map((rule) => ({ ...rule, description: mark })),
          },
        }),
    nodeRules: [{ protocol: "-1", source: nodeSource, description }],
    ruleMarks: [mark],
    asksForAddress: service.metadata.annotations !== undefined,
  };
}

/** The desired state of a model in the semantics of the in-tree provider. */
export function desiredOfInTree(
  model: InTreeModel,
  cluster: string,
  key: ServiceKey,
  service: Service,
  scheme: Scheme,
): DesiredState {
  const { marks, own } = inTreeTagsOf(model.tags, cluster, key);
  return {
    loadBalancer: {
      name: model.name,
      scheme,
      ipAddressType: "ipv4",
      subnetMappings: model.subnetMappings,
      securityGroups: [],
      enablePrefixForIpv6SourceNat: "off",
      attributes: model.attributes,
      capacityUnits: 0,
      tags: tagsOf(marks, own, model.attributes),
    },
    listeners: model.listeners.map(({ certificateArn, ...listener }) => ({
      ...listener,
      certificates: certificateArn === undefined ? [] : [certificateArn],
      attributes: {},
      tags: tagsOf(marks, own),
    })),
    targetGroups: model.targetGroups.map(({ targets, port, ...group }) => ({
      ...group,
      attributes: { "preserve_client_ip.enabled": "true", "proxy_protocol_v2.enabled": "false", ...group.attributes },
      port,
      ipAddressType: "ipv4",
      targets: targets.map((id) => ({ id, port })).sort(byId),
      isShared: false,
      tags: tagsOf(marks, own, group.attributes),
    })),
    nodeRules: model.nodeRules,
    // The in-tree provider's rules for ICMP are everybody's: they are not among the marks.
    ruleMarks: inTreeRuleMarks(model.name),
    asksForAddress: service.metadata.annotations !== undefined,
  };
}
