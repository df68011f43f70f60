import type { ClassicAttributes, ClassicListener } from "./classic.ts";
import type { IPAddressType, ListenerProtocol, Scheme, TargetType } from "./configuration.ts";
import type { ClassicHealthCheck, TargetHealthCheck } from "./health-check.ts";
import type { IngressRule } from "./security-groups.ts";
import type { Subnet, SubnetMapping } from "./subnets.ts";
import type { Target } from "./targets.ts";

/** Tags of an object. */
export type Tags = Readonly<Record<string, string>>;

/** Attributes of a load balancer, a listener or a target group: texts, as AWS has them. */
export type Attributes = Readonly<Record<string, string>>;

/** A Network Load Balancer as it is. */
export interface LoadBalancer {
  readonly arn: string;
  readonly name: string;
  readonly scheme: Scheme;
  readonly ipAddressType: IPAddressType;
  readonly dnsName: string;
  readonly state: "provisioning" | "active" | "active_impaired" | "failed";
  readonly vpcId: string;
  /** Its subnets, with the addresses that were asked for. */
  readonly subnetMappings: readonly SubnetMapping[];
  readonly securityGroups: readonly string[];
  readonly inboundRulesOnPrivateLink?: "on" | "off";
  readonly enablePrefixForIpv6SourceNat: "on" | "off";
}

/** What a load balancer is made of. */
export interface LoadBalancerRequest
  extends Omit<LoadBalancer, "arn" | "dnsName" | "state" | "vpcId" | "inboundRulesOnPrivateLink"> {
  readonly tags: Tags;
}

/** A target group as it is. */
export interface TargetGroup {
  readonly arn: string;
  readonly name: string;
  readonly targetType: TargetType;
  readonly ipAddressType: "ipv4" | "ipv6";
  readonly port: number;
  readonly protocol: ListenerProtocol;
  readonly vpcId: string;
  readonly healthCheck: TargetHealthCheck;
  /** Load balancers whose listeners forward to it: one at most. */
  readonly loadBalancerArns: readonly string[];
}

/** What a target group is made of. */
export interface TargetGroupRequest extends Omit<TargetGroup, "arn" | "loadBalancerArns"> {
  readonly tags: Tags;
}

/** What a listener does; it forwards to one target group. */
export interface ListenerSettings {
  readonly port: number;
  readonly protocol: ListenerProtocol;
  readonly targetGroupArn: string;
  /** ARN of the default certificate of a TLS listener. */
  readonly certificate?: string;
  readonly sslPolicy?: string;
  readonly alpnPolicy?: readonly string[];
}

/** A listener as it is. */
export interface Listener extends ListenerSettings {
  readonly arn: string;
  readonly loadBalancerArn: string;
}

/** A target and whether it works. */
export interface RegisteredTarget extends Target {
  readonly state: "initial" | "healthy" | "unhealthy" | "unused" | "draining" | "unavailable";
}

/** A security group with its rules, one per source. */
export interface SecurityGroup {
  readonly id: string;
  readonly name: string;
  readonly vpcId: string;
  readonly tags: Tags;
  readonly ingress: readonly IngressRule[];
}

/** A route table, as far as it tells which subnets the internet reaches. */
export interface RouteTable {
  readonly main: boolean;
  readonly subnetIds: readonly string[];
  readonly gatewayIds: readonly string[];
}

/** What a classic load balancer is made of. */
export interface ClassicLoadBalancerRequest {
  /** What calls refer to it by: it has no ARN. */
  readonly name: string;
  readonly scheme: Scheme;
  readonly subnetIds: readonly string[];
  readonly securityGroups: readonly string[];
  readonly listeners: readonly ClassicListener[];
  readonly tags: Tags;
}

/** A classic load balancer as it is. Protocols are in upper case. */
export interface ClassicLoadBalancer extends Omit<ClassicLoadBalancerRequest, "tags"> {
  readonly dnsName: string;
  readonly listeners: readonly (ClassicListener & { readonly policies: readonly string[] })[];
  readonly healthCheck: ClassicHealthCheck;
  readonly instances: readonly string[];
  /** Names of the policies towards instances, by the port of these. */
  readonly backendPolicies: readonly { readonly instancePort: number; readonly policies: readonly string[] }[];
}

/** A policy that listeners or instance ports of one classic load balancer may refer to. */
export interface ClassicPolicy {
  readonly name: string;
  /** `ProxyProtocolPolicyType`, `SSLNegotiationPolicyType`, … */
  readonly type: string;
  readonly attributes: Attributes;
}

/**
 * The calls to AWS that the provider makes: actions of the APIs Elastic Load Balancing v2, its classic version (`…Classic…`; only
 * in mode `ccm`), and EC2, with plain data. Paging,
 * retries of single calls and the wire are the implementation's; it throws {@link AwsError}. All lists are complete.
 */
export interface AwsPort {
  /** All Network Load Balancers of the account in the region. */
  describeLoadBalancers(): Promise<readonly LoadBalancer[]>;
  describeTargetGroups(): Promise<readonly TargetGroup[]>;
  describeListeners(loadBalancerArn: string): Promise<readonly Listener[]>;
  /** ARNs of the certificates beside the default one. */
  describeListenerCertificates(listenerArn: string): Promise<readonly string[]>;
  /**
   * Tags of load balancers, listeners and target groups, by ARN, or of classic load balancers, by name; what does not exist is left
   * out.
   */
  describeTags(ids: readonly string[]): Promise<Readonly<Record<string, Tags>>>;
  /** Attributes of a load balancer, a listener or a target group. */
  describeAttributes(arn: string): Promise<Attributes>;
  describeTargetHealth(targetGroupArn: string): Promise<readonly RegisteredTarget[]>;
  /** Without `public`, which routes tell. */
  describeSubnets(vpcId?: string): Promise<readonly Subnet[]>;
  describeRouteTables(vpcId: string): Promise<readonly RouteTable[]>;
  describeVpcCidrs(vpcId: string): Promise<{ readonly ipv4: readonly string[]; readonly ipv6: readonly string[] }>;
  /** All groups of a VPC. */
  describeSecurityGroups(vpcId: string): Promise<readonly SecurityGroup[]>;
  /** All classic load balancers of the account in the region. */
  describeClassicLoadBalancers(): Promise<readonly ClassicLoadBalancer[]>;
  describeClassicAttributes(name: string): Promise<ClassicAttributes>;
  /** Policies of one classic load balancer, those that AWS made with it too. */
  describeClassicPolicies(name: string): Promise<readonly ClassicPolicy[]>;

  /** The one that exists already, if its name and settings are the same. */
  createLoadBalancer(request: LoadBalancerRequest): Promise<LoadBalancer>;
  setSecurityGroups(arn: string, groups: readonly string[], inboundRulesOnPrivateLink?: "on" | "off"): Promise<void>;
  setSubnets(
    arn: string,
    mappings: readonly SubnetMapping[],
    enablePrefixForIpv6SourceNat: "on" | "off",
  ): Promise<void>;
  setIpAddressType(arn: string, type: IPAddressType): Promise<void>;
  /** Reserves capacity units; 0 ends the reservation. */
  modifyCapacityReservation(arn: string, capacityUnits: number): Promise<void>;
  /** Succeeds if there is none. */
  deleteLoadBalancer(arn: string): Promise<void>;
  /** The one that exists already, if its name and settings are the same. */
  createTargetGroup(request: TargetGroupRequest): Promise<TargetGroup>;
  modifyTargetGroup(arn: string, healthCheck: TargetHealthCheck): Promise<void>;
  deleteTargetGroup(arn: string): Promise<void>;
  registerTargets(targetGroupArn: string, targets: readonly Target[]): Promise<void>;
  deregisterTargets(targetGroupArn: string, targets: readonly Target[]): Promise<void>;
  createListener(loadBalancerArn: string, settings: ListenerSettings, tags: Tags): Promise<Listener>;
  modifyListener(listenerArn: string, settings: ListenerSettings): Promise<void>;
  deleteListener(listenerArn: string): Promise<void>;
  addListenerCertificates(listenerArn: string, certificates: readonly string[]): Promise<void>;
  removeListenerCertificates(listenerArn: string, certificates: readonly string[]): Promise<void>;
  /** Sets attributes of a load balancer, a listener or a target group. */
  modifyAttributes(arn: string, attributes: Attributes): Promise<void>;
  /** Sets tags of objects of one API: ARNs, ids of security groups, or names of classic load balancers. */
  tagResources(ids: readonly string[], tags: Tags): Promise<void>;
  untagResources(ids: readonly string[], keys: readonly string[]): Promise<void>;
  /** @returns id of the group */
  createSecurityGroup(request: Omit<SecurityGroup, "id" | "ingress"> & { description: string }): Promise<string>;
  authorizeIngress(groupId: string, rules: readonly IngressRule[]): Promise<void>;
  revokeIngress(groupId: string, rules: readonly IngressRule[]): Promise<void>;
  deleteSecurityGroup(groupId: string): Promise<void>;

  /** @returns its host name */
  createClassicLoadBalancer(request: ClassicLoadBalancerRequest): Promise<string>;
  /** Succeeds if there is none. */
  deleteClassicLoadBalancer(name: string): Promise<void>;
  createClassicListeners(name: string, listeners: readonly ClassicListener[]): Promise<void>;
  /** Succeeds for ports without a listener. */
  deleteClassicListeners(name: string, ports: readonly number[]): Promise<void>;
  configureClassicHealthCheck(name: string, healthCheck: ClassicHealthCheck): Promise<void>;
  /** Sets whole members; what is absent in one of them is its default then. */
  modifyClassicAttributes(name: string, attributes: Partial<ClassicAttributes>): Promise<void>;
  createClassicPolicy(name: string, policy: ClassicPolicy): Promise<void>;
  /** The policy must not be in use. */
  deleteClassicPolicy(name: string, policyName: string): Promise<void>;
  /** Replaces the policies of a listener. */
  setClassicListenerPolicies(name: string, port: number, policyNames: readonly string[]): Promise<void>;
  /** Replaces the policies towards a port of the instances, which a listener must forward to. */
  setClassicBackendPolicies(name: string, instancePort: number, policyNames: readonly string[]): Promise<void>;
  registerClassicInstances(name: string, instances: readonly string[]): Promise<void>;
  deregisterClassicInstances(name: string, instances: readonly string[]): Promise<void>;
  /** Replaces the security groups. */
  applyClassicSecurityGroups(name: string, groups: readonly string[]): Promise<void>;
  attachClassicSubnets(name: string, subnetIds: readonly string[]): Promise<void>;
  detachClassicSubnets(name: string, subnetIds: readonly string[]): Promise<void>;
}

/** A failure that AWS answered, or that kept its answer away. */
export class AwsError extends Error {
  override readonly name = "AwsError";
  /** AWS' code: `LoadBalancerNotFound`, `InvalidPermission.Duplicate`, …; `NetworkError` where no answer came. */
  readonly code: string;
  /** HTTP status, if there was an answer. */
  readonly status?: number;
  /** AWS' id of the request, for its support. */
  readonly requestId?: string;

  constructor(code: string, message: string, options: { status?: number; requestId?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    if (options.status !== undefined) this.status = options.status;
    if (options.requestId !== undefined) this.requestId = options.requestId;
  }
}
