import type { ServiceKey } from "@portolan/lb";
import type { ClassicAttributes } from "./classic.ts";
import type { AwsConfiguration } from "./configuration.ts";
import { isOwnedBy } from "./ownership-marks.ts";
import type {
  Attributes,
  AwsPort,
  ClassicLoadBalancer,
  ClassicPolicy,
  Listener,
  LoadBalancer,
  RegisteredTarget,
  SecurityGroup,
  Tags,
  TargetGroup,
} from "./port.ts";
import type { Subnet } from "./subnets.ts";

/** A listener with what has calls of its own. */
export interface ObservedListener extends Listener {
  readonly tags: Tags;
  readonly attributes: Attributes;
  /** Certificates beside the default one. */
  readonly certificates: readonly string[];
}

/** A load balancer with what has calls of its own. */
export interface ObservedLoadBalancer extends LoadBalancer {
  readonly tags: Tags;
  readonly attributes: Attributes;
  readonly listeners: readonly ObservedListener[];
}

/** A target group with what has calls of its own. */
export interface ObservedTargetGroup extends TargetGroup {
  readonly tags: Tags;
  readonly attributes: Attributes;
  readonly targets: readonly RegisteredTarget[];
}

/** A classic load balancer with what has calls of its own. */
export interface ObservedClassicLoadBalancer extends ClassicLoadBalancer {
  readonly tags: Tags;
  readonly attributes: ClassicAttributes;
  readonly policies: readonly ClassicPolicy[];
}

/** The network that a cluster is in. */
export interface Network {
  readonly vpcId: string;
  readonly subnets: readonly Subnet[];
  readonly cidrs: { readonly ipv4: readonly string[]; readonly ipv6: readonly string[] };
}

/** What there is of a Service, and what its load balancer will stand in. */
export interface AwsObservation {
  readonly network: Network;
  readonly loadBalancers: readonly ObservedLoadBalancer[];
  readonly targetGroups: readonly ObservedTargetGroup[];
  /** Only in mode `ccm`; in other modes nothing is asked. */
  readonly classicLoadBalancers: readonly ObservedClassicLoadBalancer[];
  /** Groups that were made for the Service. */
  readonly securityGroups: readonly SecurityGroup[];
  /** All groups of the VPC. */
  readonly allSecurityGroups: readonly SecurityGroup[];
  /** Names that objects of others have. */
  readonly foreignNames: {
    readonly loadBalancers: readonly string[];
    readonly targetGroups: readonly string[];
    readonly classicLoadBalancers: readonly string[];
  };
}

/** Objects of one Service, by their marks. */
export interface OwnedObjects {
  readonly loadBalancers: readonly (LoadBalancer & { readonly tags: Tags })[];
  readonly targetGroups: readonly (TargetGroup & { readonly tags: Tags })[];
  readonly classicLoadBalancers: readonly (ClassicLoadBalancer & { readonly tags: Tags })[];
  readonly foreignNames: AwsObservation["foreignNames"];
}

/** Reads the network: subnets with their routes, and the VPC's CIDRs. */
export async function readNetwork(port: AwsPort, configuration: AwsConfiguration): Promise<Network> {
  const { clusterName } = configuration;
  const all = await port.describeSubnets(configuration.vpcId);
  const ours = all.find((subnet) => subnet.tags?.[`kubernetes.io/cluster/${clusterName}`] !== undefined) ?? all[0];
  const vpcId = configuration.vpcId ?? ours?.vpcId ?? "";
  const tables = await port.describeRouteTables(vpcId);
  const cidrs = await port.describeVpcCidrs(vpcId);
  const main = tables.find((table) => table.main);
  const subnets = all
    .filter((subnet) => (subnet.vpcId ?? vpcId) === vpcId)
    .map((subnet) => {
      const table = tables.find((each) => each.subnetIds.includes(subnet.id)) ?? main;
      return { ...subnet, public: table?.gatewayIds.some((id) => id.startsWith("igw-")) ?? false };
    });
  return { vpcId, subnets, cidrs };
}

/** Finds the load balancers and target groups of a Service by their tags. */
export async function readOwned(
  port: AwsPort,
  configuration: Pick<AwsConfiguration, "clusterName" | "mode">,
  key: ServiceKey,
): Promise<OwnedObjects> {
  const all = await readTagged(port, configuration);
  const isOurs = ({ tags }: { readonly tags: Tags }): boolean => isOwnedBy(configuration.clusterName, tags, key);
  const foreign = (list: readonly { readonly name: string; readonly tags: Tags }[]): string[] =>
    list.filter((each) => !isOurs(each)).map(({ name }) => name);
  return {
    loadBalancers: all.loadBalancers.filter(isOurs),
    targetGroups: all.targetGroups.filter(isOurs),
    classicLoadBalancers: all.classicLoadBalancers.filter(isOurs),
    foreignNames: {
      loadBalancers: foreign(all.loadBalancers),
      targetGroups: foreign(all.targetGroups),
      classicLoadBalancers: foreign(all.classicLoadBalancers),
    },
  };
}

/** All load balancers and target groups with their tags; classic ones in mode `ccm` only. */
export async function readTagged(
  port: AwsPort,
  { mode }: Pick<AwsConfiguration, "mode">,
): Promise<Omit<OwnedObjects, "foreignNames">> {
  const loadBalancers = await port.describeLoadBalancers();
  const targetGroups = await port.describeTargetGroups();
  const arns = [...loadBalancers, ...targetGroups].map(({ arn }) => arn);
  const tags = arns.length === 0 ? {} : await port.describeTags(arns);
  const withTags = <T extends { readonly arn: string }>(list: readonly T[]): (T & { readonly tags: Tags })[] =>
    list.map((each) => ({ ...each, tags: tags[each.arn] ?? {} }));
  const classic = mode === "ccm" ? await port.describeClassicLoadBalancers() : [];
  const classicTags = classic.length === 0 ? {} : await port.describeTags(classic.map(({ name }) => name));
  return {
    loadBalancers: withTags(loadBalancers),
    targetGroups: withTags(targetGroups),
    classicLoadBalancers: classic.map((each) => ({ ...each, tags: classicTags[each.name] ?? {} })),
  };
}

async function readListeners(port: AwsPort, loadBalancerArn: string): Promise<ObservedListener[]> {
  const listeners = await port.describeListeners(loadBalancerArn);
  const tags = listeners.length === 0 ? {} : await port.describeTags(listeners.map(({ arn }) => arn));
  const out: ObservedListener[] = [];
  for (const listener of listeners) {
    out.push({
      ...listener,
      tags: tags[listener.arn] ?? {},
      attributes: await port.describeAttributes(listener.arn),
      certificates: listener.protocol === "TLS" ? await port.describeListenerCertificates(listener.arn) : [],
    });
  }
  return out;
}

/** Reads all that there is of a Service. */
export async function observe(
  port: AwsPort,
  configuration: Pick<AwsConfiguration, "clusterName" | "mode">,
  key: ServiceKey,
  network: Network,
): Promise<AwsObservation> {
  const owned = await readOwned(port, configuration, key);
  const allSecurityGroups = await port.describeSecurityGroups(network.vpcId);
  const loadBalancers: ObservedLoadBalancer[] = [];
  for (const loadBalancer of owned.loadBalancers) {
    const attributes = await port.describeAttributes(loadBalancer.arn);
    loadBalancers.push({ ...loadBalancer, attributes, listeners: await readListeners(port, loadBalancer.arn) });
  }
  const targetGroups: ObservedTargetGroup[] = [];
  for (const group of owned.targetGroups) {
    targetGroups.push({
      ...group,
      attributes: await port.describeAttributes(group.arn),
      targets: await port.describeTargetHealth(group.arn),
    });
  }
  const classicLoadBalancers: ObservedClassicLoadBalancer[] = [];
  for (const each of owned.classicLoadBalancers) {
    const attributes = await port.describeClassicAttributes(each.name);
    classicLoadBalancers.push({ ...each, attributes, policies: await port.describeClassicPolicies(each.name) });
  }
  return {
    network,
    loadBalancers,
    targetGroups,
    classicLoadBalancers,
    securityGroups: allSecurityGroups.filter((group) => isOwnedBy(configuration.clusterName, group.tags, key)),
    allSecurityGroups,
    foreignNames: owned.foreignNames,
  };
}
