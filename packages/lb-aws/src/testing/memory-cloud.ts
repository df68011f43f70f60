import type { ClassicAttributes, ClassicListener } from "../classic.ts";
import type { IPAddressType, Scheme } from "../configuration.ts";
import type { ClassicHealthCheck, TargetHealthCheck } from "../health-check.ts";
import {
  type Attributes,
  AwsError,
  type AwsPort,
  type ClassicLoadBalancer,
  type ClassicLoadBalancerRequest,
  type ClassicPolicy,
  type Listener,
  type ListenerSettings,
  type LoadBalancer,
  type LoadBalancerRequest,
  type RegisteredTarget,
  type RouteTable,
  type SecurityGroup,
  type Tags,
  type TargetGroup,
  type TargetGroupRequest,
} from "../port.ts";
import type { IngressRule } from "../security-groups.ts";
import type { Subnet, SubnetMapping } from "../subnets.ts";
import type { Target } from "../targets.ts";

/** How a {@link MemoryCloud} behaves. Counts of polls and reads make what takes AWS seconds or minutes repeatable. */
export interface MemoryCloudOptions {
  readonly region?: string;
  readonly accountId?: string;
  readonly vpcId?: string;
  readonly vpcCidrs?: { readonly ipv4: readonly string[]; readonly ipv6: readonly string[] };
  /** Default: three public subnets with the role tags, in three zones. */
  readonly subnets?: readonly Subnet[];
  /** Default: public by way of the main table. */
  readonly routeTables?: readonly RouteTable[];
  /** Groups that are there already. Default: one of nodes, tagged for cluster `kit` and `other`. */
  readonly securityGroups?: readonly SecurityGroup[];
  /** Times that a new load balancer is seen provisioning before it is active. Default 0. */
  readonly provisioningPolls?: number;
  /** Times that a security group cannot be deleted after its load balancer is gone. Default 0. */
  readonly lingeringInterfacePolls?: number;
  /** Times that a new load balancer or target group is missing in lists. Default 0. */
  readonly describeLag?: number;
  /** Default 60, as in AWS. */
  readonly rulesPerSecurityGroup?: number;
  /** Default 50, as in AWS. */
  readonly loadBalancersPerRegion?: number;
  /** Default 20, as in AWS. */
  readonly classicLoadBalancersPerRegion?: number;
  /** Default 500, as in AWS. */
  readonly targetsPerGroup?: number;
}

interface Aged {
  /** Lists in which it does not show up yet. */
  hidden: number;
}

type StoredLoadBalancer = { -readonly [Name in keyof LoadBalancer]: LoadBalancer[Name] } & Aged & {
    polls: number;
    capacityUnits: number;
  };
type StoredTargetGroup = { -readonly [Name in keyof TargetGroup]: TargetGroup[Name] } & Aged & {
    targets: Map<string, Target>;
  };

type StoredClassic = { -readonly [Name in keyof ClassicLoadBalancer]: ClassicLoadBalancer[Name] } & Aged & {
    policies: ClassicPolicy[];
    attributes: Required<ClassicAttributes>;
  };

const classicDefaults = {
  accessLog: { enabled: false },
  connectionDraining: { enabled: false, timeout: 300 },
  connectionSettings: { idleTimeout: 60 },
  crossZoneLoadBalancing: { enabled: false },
} as const;

/** Policy about TLS that AWS attaches to listeners which end it. */
const defaultTlsPolicy: ClassicPolicy = {
  name: "ELBSecurityPolicy-2016-08",
  type: "SSLNegotiationPolicyType",
  attributes: { "Reference-Security-Policy": "ELBSecurityPolicy-2016-08" },
};

const endsTls = ({ protocol }: ClassicListener): boolean => ["SSL", "HTTPS"].includes(protocol.toUpperCase());

const targetGroupDefaults = (request: Pick<TargetGroupRequest, "targetType" | "protocol">): Attributes => ({
  "deregistration_delay.timeout_seconds": "300",
  "deregistration_delay.connection_termination.enabled": "false",
  "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
  "preserve_client_ip.enabled": String(request.targetType === "instance" || !["TCP", "TLS"].includes(request.protocol)),
  "proxy_protocol_v2.enabled": "false",
  "stickiness.enabled": "false",
  "stickiness.type": "source_ip",
});

const loadBalancerDefaults: Attributes = {
  "access_logs.s3.bucket": "",
  "access_logs.s3.enabled": "false",
  "access_logs.s3.prefix": "",
  "deletion_protection.enabled": "false",
  "dns_record.client_routing_policy": "any_availability_zone",
  "load_balancing.cross_zone.enabled": "false",
  "zonal_shift.config.enabled": "false",
};

const ruleKey = ({ protocol, fromPort, toPort, source }: IngressRule): string =>
  [protocol, fromPort ?? -1, toPort ?? -1, source].join(" ");

const nodeGroup: SecurityGroup = {
  id: "sg-00000000000000001",
  name: "nodes",
  vpcId: "vpc-1",
  tags: { "kubernetes.io/cluster/kit": "owned", "kubernetes.io/cluster/other": "owned" },
  ingress: [{ protocol: "-1", source: "sg-00000000000000001" }],
};

const defaultSubnets: readonly Subnet[] = ["a", "b", "c"].map((letter, index) => ({
  id: `subnet-0000000000000000${letter}`,
  vpcId: "vpc-1",
  zone: `us-east-1${letter}`,
  zoneId: `use1-az${index + 1}`,
  cidr: `10.0.${index}.0/24`,
  ipv6Cidrs: [`2600:1f13:837:850${index}::/64`],
  availableIPs: 250,
  tags: { "kubernetes.io/role/elb": "1", "kubernetes.io/role/internal-elb": "1" },
}));

/** A copy without members that are undefined, which the answers of the wire do not have either. */
function copy<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

/**
 * Elastic Load Balancing, v2 and classic, and the part of EC2 that it needs, in memory: names that are unique, objects that are used by others
 * and cannot go, rules that exist already, quotas, and states that change with the number of times they are looked at.
 */
export class MemoryCloud implements AwsPort {
  readonly region: string;
  readonly accountId: string;
  readonly vpcId: string;
  /** Load balancers, target groups, listeners, their tags and attributes, by ARN; security groups by id. */
  readonly loadBalancers: Map<string, StoredLoadBalancer> = new Map();
  /** Classic load balancers by name; their tags are among the others, by name too. */
  readonly classicLoadBalancers: Map<string, StoredClassic> = new Map();
  readonly targetGroups: Map<string, StoredTargetGroup> = new Map();
  readonly listeners: Map<string, Listener & { certificates: string[] }> = new Map();
  readonly tags: Map<string, Record<string, string>> = new Map();
  readonly attributes: Map<string, Record<string, string>> = new Map();
  readonly securityGroups: Map<string, SecurityGroup & { description: string }> = new Map();
  readonly subnets: readonly Subnet[];
  private readonly options: MemoryCloudOptions;
  private readonly lingering = new Map<string, number>();
  private serial = 1;

  constructor(options: MemoryCloudOptions = {}) {
    this.options = options;
    this.region = options.region ?? "us-east-1";
    this.accountId = options.accountId ?? "123456789012";
    this.vpcId = options.vpcId ?? "vpc-1";
    this.subnets = options.subnets ?? defaultSubnets;
    for (const group of options.securityGroups ?? [nodeGroup]) {
      this.securityGroups.set(group.id, { ...group, description: group.name });
    }
  }

  private hex(): string {
    return (this.serial++).toString(16).padStart(16, "0");
  }

  private arn(path: string): string {
    return `arn:aws:elasticloadbalancing:${this.region}:${this.accountId}:${path}`;
  }

  private loadBalancer(arn: string): StoredLoadBalancer {
    const found = this.loadBalancers.get(arn);
    if (found !== undefined) return found;
    throw new AwsError("LoadBalancerNotFound", `One or more load balancers not found: ${arn}`, { status: 400 });
  }

  private targetGroup(arn: string): StoredTargetGroup {
    const found = this.targetGroups.get(arn);
    if (found !== undefined) return found;
    throw new AwsError("TargetGroupNotFound", `One or more target groups not found: ${arn}`, { status: 400 });
  }

  private listener(arn: string): Listener & { certificates: string[] } {
    const found = this.listeners.get(arn);
    if (found !== undefined) return found;
    throw new AwsError("ListenerNotFound", `One or more listeners not found: ${arn}`, { status: 400 });
  }

  private group(id: string): SecurityGroup & { description: string } {
    const found = this.securityGroups.get(id);
    if (found !== undefined) return found;
    throw new AwsError("InvalidGroup.NotFound", `The security group '${id}' does not exist`, { status: 400 });
  }

  private visible<T extends Aged>(list: Iterable<T>): T[] {
    return [...list].filter((each) => {
      if (each.hidden <= 0) return true;
      each.hidden -= 1;
      return false;
    });
  }

  async describeLoadBalancers(): Promise<readonly LoadBalancer[]> {
    return this.visible(this.loadBalancers.values()).map((stored) => {
      if (stored.state === "provisioning" && stored.polls-- <= 0) stored.state = "active";
      const { hidden: _, polls: __, capacityUnits: ___, ...each } = stored;
      return copy(each);
    });
  }

  async describeTargetGroups(): Promise<readonly TargetGroup[]> {
    return this.visible(this.targetGroups.values()).map(({ hidden: _, targets: __, ...each }) => {
      const users = [...this.listeners.values()].filter((listener) => listener.targetGroupArn === each.arn);
      return copy({ ...each, loadBalancerArns: [...new Set(users.map((listener) => listener.loadBalancerArn))] });
    });
  }

  async describeListeners(loadBalancerArn: string): Promise<readonly Listener[]> {
    this.loadBalancer(loadBalancerArn);
    return [...this.listeners.values()]
      .filter((listener) => listener.loadBalancerArn === loadBalancerArn)
      .map(({ certificates: _, ...listener }) => copy(listener));
  }

  async describeListenerCertificates(listenerArn: string): Promise<readonly string[]> {
    return [...this.listener(listenerArn).certificates];
  }

  async describeTags(arns: readonly string[]): Promise<Readonly<Record<string, Tags>>> {
    return Object.fromEntries(arns.filter((arn) => this.tags.has(arn)).map((arn) => [arn, { ...this.tags.get(arn) }]));
  }

  async describeAttributes(arn: string): Promise<Attributes> {
    return { ...this.attributesOf(arn) };
  }

  private attributesOf(arn: string): Record<string, string> {
    if (arn.includes(":targetgroup/")) this.targetGroup(arn);
    else if (arn.includes(":listener/")) this.listener(arn);
    else this.loadBalancer(arn);
    return this.attributes.get(arn)!;
  }

  async describeTargetHealth(targetGroupArn: string): Promise<readonly RegisteredTarget[]> {
    const group = this.targetGroup(targetGroupArn);
    const isUsed = [...this.listeners.values()].some((listener) => listener.targetGroupArn === targetGroupArn);
    return [...group.targets.values()].map((target) => ({ ...target, state: isUsed ? "healthy" : "unused" }));
  }

  async describeSubnets(vpcId?: string): Promise<readonly Subnet[]> {
    return copy(this.subnets.filter((subnet) => vpcId === undefined || (subnet.vpcId ?? this.vpcId) === vpcId)).map(
      (subnet) => ({ vpcId: this.vpcId, ...subnet }),
    );
  }

  async describeRouteTables(_vpcId: string): Promise<readonly RouteTable[]> {
    return this.options.routeTables ?? [{ main: true, subnetIds: [], gatewayIds: ["local", "igw-1"] }];
  }

  async describeVpcCidrs(
    _vpcId: string,
  ): Promise<{ readonly ipv4: readonly string[]; readonly ipv6: readonly string[] }> {
    return this.options.vpcCidrs ?? { ipv4: ["10.0.0.0/16"], ipv6: ["2600:1f13:837:8500::/56"] };
  }

  async describeSecurityGroups(vpcId: string): Promise<readonly SecurityGroup[]> {
    return [...this.securityGroups.values()]
      .filter((group) => group.vpcId === vpcId)
      .map(({ description: _, ...group }) => copy(group));
  }

  async createLoadBalancer(request: LoadBalancerRequest): Promise<LoadBalancer> {
    const { tags, ...settings } = request;
    const existing = [...this.loadBalancers.values()].find((each) => each.name === request.name);
    if (existing !== undefined) {
      const ids = (mappings: readonly SubnetMapping[]): string =>
        mappings
          .map((each) => each.subnetId)
          .sort()
          .join();
      if (existing.scheme === request.scheme && ids(existing.subnetMappings) === ids(request.subnetMappings)) {
        const { hidden: _, polls: __, capacityUnits: ___, ...each } = existing;
        return copy(each);
      }
      const message = `A load balancer with the same name '${request.name}' exists, but with different settings`;
      throw new AwsError("DuplicateLoadBalancerName", message, { status: 400 });
    }
    if (this.loadBalancers.size >= (this.options.loadBalancersPerRegion ?? 50)) {
      const message = "The maximum number of load balancers has been reached";
      throw new AwsError("TooManyLoadBalancers", message, { status: 400 });
    }
    if (!/^(?!internal-)[0-9A-Za-z](?:[0-9A-Za-z-]{0,30}[0-9A-Za-z])?$/.test(request.name)) {
      throw new AwsError("ValidationError", `The load balancer name '${request.name}' is not valid`, { status: 400 });
    }
    for (const { subnetId } of request.subnetMappings) {
      if (this.subnets.some((subnet) => subnet.id === subnetId)) continue;
      throw new AwsError("SubnetNotFound", `The subnet ID '${subnetId}' is not valid`, { status: 400 });
    }
    for (const id of request.securityGroups) this.group(id);
    const hex = this.hex();
    const arn = this.arn(`loadbalancer/net/${request.name}/${hex}`);
    const polls = this.options.provisioningPolls ?? 0;
    const inside = request.scheme === "internal" ? "internal-" : "";
    const created: StoredLoadBalancer = {
      ...copy(settings),
      arn,
      dnsName: `${inside}${request.name}-${hex}.elb.${this.region}.amazonaws.com`,
      state: polls > 0 ? "provisioning" : "active",
      vpcId: this.vpcId,
      ...(request.securityGroups.length > 0 ? { inboundRulesOnPrivateLink: "on" } : {}),
      polls: polls - 1,
      capacityUnits: 0,
      hidden: this.options.describeLag ?? 0,
    };
    this.loadBalancers.set(arn, created);
    this.tags.set(arn, { ...tags });
    this.attributes.set(arn, { ...loadBalancerDefaults });
    const { hidden: _, polls: __, capacityUnits: ___, ...answer } = created;
    return copy(answer);
  }

  async setSecurityGroups(
    arn: string,
    groups: readonly string[],
    inboundRulesOnPrivateLink?: "on" | "off",
  ): Promise<void> {
    const stored = this.loadBalancer(arn);
    if ((stored.securityGroups.length === 0) !== (groups.length === 0)) {
      const message =
        "You cannot add security groups to, or remove all from, a Network Load Balancer after it was created";
      throw new AwsError("InvalidConfigurationRequest", message, { status: 400 });
    }
    for (const id of groups) this.group(id);
    stored.securityGroups = [...groups];
    if (inboundRulesOnPrivateLink !== undefined) stored.inboundRulesOnPrivateLink = inboundRulesOnPrivateLink;
  }

  async setSubnets(arn: string, mappings: readonly SubnetMapping[], nat: "on" | "off"): Promise<void> {
    const stored = this.loadBalancer(arn);
    stored.subnetMappings = copy(mappings);
    stored.enablePrefixForIpv6SourceNat = nat;
  }

  async setIpAddressType(arn: string, type: IPAddressType): Promise<void> {
    this.loadBalancer(arn).ipAddressType = type;
  }

  async modifyCapacityReservation(arn: string, capacityUnits: number): Promise<void> {
    this.loadBalancer(arn).capacityUnits = capacityUnits;
  }

  async deleteLoadBalancer(arn: string): Promise<void> {
    const stored = this.loadBalancers.get(arn);
    if (stored === undefined) return;
    if (this.attributes.get(arn)?.["deletion_protection.enabled"] === "true") {
      const message = `Load balancer '${arn}' cannot be deleted because deletion protection is enabled`;
      throw new AwsError("OperationNotPermitted", message, { status: 400 });
    }
    for (const [key, listener] of this.listeners) if (listener.loadBalancerArn === arn) this.forget(key);
    const polls = this.options.lingeringInterfacePolls ?? 0;
    for (const id of stored.securityGroups) if (polls > 0) this.lingering.set(id, polls);
    this.forget(arn);
  }

  private forget(arn: string): void {
    for (const map of [this.loadBalancers, this.targetGroups, this.listeners, this.tags, this.attributes])
      map.delete(arn);
  }

  async createTargetGroup(request: TargetGroupRequest): Promise<TargetGroup> {
    const { tags, ...settings } = request;
    const existing = [...this.targetGroups.values()].find((each) => each.name === request.name);
    if (existing !== undefined) {
      const { hidden: _, targets: __, ...each } = existing;
      const fixed = ({
        targetType,
        protocol,
        port,
        ipAddressType,
        vpcId,
      }: Omit<TargetGroup, "arn" | "loadBalancerArns">) => [targetType, protocol, port, ipAddressType, vpcId].join();
      if (fixed(existing) === fixed(request)) return copy(each);
      const message = `A target group with the same name '${request.name}' exists, but with different settings`;
      throw new AwsError("DuplicateTargetGroupName", message, { status: 400 });
    }
    const arn = this.arn(`targetgroup/${request.name}/${this.hex()}`);
    const created = { ...copy(settings), arn, loadBalancerArns: [] };
    this.targetGroups.set(arn, { ...created, targets: new Map(), hidden: this.options.describeLag ?? 0 });
    this.tags.set(arn, { ...tags });
    this.attributes.set(arn, { ...targetGroupDefaults(request) });
    return created;
  }

  async modifyTargetGroup(arn: string, healthCheck: TargetHealthCheck): Promise<void> {
    this.targetGroup(arn).healthCheck = copy(healthCheck);
  }

  async deleteTargetGroup(arn: string): Promise<void> {
    this.targetGroup(arn);
    if ([...this.listeners.values()].some((listener) => listener.targetGroupArn === arn)) {
      const message = `Target group '${arn}' is currently in use by a listener or a rule`;
      throw new AwsError("ResourceInUse", message, { status: 400 });
    }
    this.forget(arn);
  }

  async registerTargets(targetGroupArn: string, targets: readonly Target[]): Promise<void> {
    const group = this.targetGroup(targetGroupArn);
    const next = new Map(group.targets);
    for (const target of targets) next.set(`${target.id}:${target.port}`, { ...target });
    if (next.size > (this.options.targetsPerGroup ?? 500)) {
      const message = `The maximum number of targets in '${targetGroupArn}' has been reached`;
      throw new AwsError("TooManyTargets", message, { status: 400 });
    }
    group.targets = next;
  }

  async deregisterTargets(targetGroupArn: string, targets: readonly Target[]): Promise<void> {
    const group = this.targetGroup(targetGroupArn);
    for (const target of targets) group.targets.delete(`${target.id}:${target.port}`);
  }

  /** Fails if a target group already serves another load balancer. */
  private requireFree(targetGroupArn: string, loadBalancerArn: string): void {
    this.targetGroup(targetGroupArn);
    const users = [...this.listeners.values()].filter((listener) => listener.targetGroupArn === targetGroupArn);
    if (users.every((listener) => listener.loadBalancerArn === loadBalancerArn)) return;
    const message = `Target group '${targetGroupArn}' is associated with another load balancer`;
    throw new AwsError("TargetGroupAssociationLimit", message, { status: 400 });
  }

  async createListener(loadBalancerArn: string, settings: ListenerSettings, tags: Tags): Promise<Listener> {
    const loadBalancer = this.loadBalancer(loadBalancerArn);
    for (const listener of this.listeners.values()) {
      if (listener.loadBalancerArn !== loadBalancerArn || listener.port !== settings.port) continue;
      const message = `A listener already exists on port ${settings.port} of this load balancer '${loadBalancerArn}'`;
      throw new AwsError("DuplicateListener", message, { status: 400 });
    }
    this.requireFree(settings.targetGroupArn, loadBalancerArn);
    const suffix = loadBalancer.arn.slice(loadBalancer.arn.indexOf("loadbalancer/") + "loadbalancer/".length);
    const arn = this.arn(`listener/${suffix}/${this.hex()}`);
    const created: Listener = { ...copy(settings), arn, loadBalancerArn };
    this.listeners.set(arn, { ...created, certificates: [] });
    this.tags.set(arn, { ...tags });
    this.attributes.set(arn, settings.protocol === "TCP" ? { "tcp.idle_timeout.seconds": "350" } : {});
    return created;
  }

  async modifyListener(listenerArn: string, settings: ListenerSettings): Promise<void> {
    const { loadBalancerArn, certificates } = this.listener(listenerArn);
    this.requireFree(settings.targetGroupArn, loadBalancerArn);
    this.listeners.set(listenerArn, { ...copy(settings), arn: listenerArn, loadBalancerArn, certificates });
    const { "tcp.idle_timeout.seconds": idle = "350", ...rest } = this.attributes.get(listenerArn)!;
    const attributes = settings.protocol === "TCP" ? { ...rest, "tcp.idle_timeout.seconds": idle } : rest;
    this.attributes.set(listenerArn, attributes);
  }

  async deleteListener(listenerArn: string): Promise<void> {
    this.listener(listenerArn);
    this.forget(listenerArn);
  }

  async addListenerCertificates(listenerArn: string, certificates: readonly string[]): Promise<void> {
    const listener = this.listener(listenerArn);
    listener.certificates = [...new Set([...listener.certificates, ...certificates])];
  }

  async removeListenerCertificates(listenerArn: string, certificates: readonly string[]): Promise<void> {
    const listener = this.listener(listenerArn);
    listener.certificates = listener.certificates.filter((each) => !certificates.includes(each));
  }

  async modifyAttributes(arn: string, attributes: Attributes): Promise<void> {
    Object.assign(this.attributesOf(arn), attributes);
  }

  async tagResources(ids: readonly string[], tags: Tags): Promise<void> {
    for (const id of ids) {
      if (id.startsWith("sg-")) {
        const group = this.group(id);
        this.securityGroups.set(id, { ...group, tags: { ...group.tags, ...tags } });
      } else {
        if (id.startsWith("arn:")) this.attributesOf(id);
        else this.classic(id);
        Object.assign(this.tags.get(id)!, tags);
      }
    }
  }

  async untagResources(ids: readonly string[], keys: readonly string[]): Promise<void> {
    const without = (tags: Tags): Record<string, string> =>
      Object.fromEntries(Object.entries(tags).filter(([key]) => !keys.includes(key)));
    for (const id of ids) {
      if (id.startsWith("sg-")) this.securityGroups.set(id, { ...this.group(id), tags: without(this.group(id).tags) });
      else this.tags.set(id, without(this.tags.get(id) ?? {}));
    }
  }

  async createSecurityGroup(request: Omit<SecurityGroup, "id" | "ingress"> & { description: string }): Promise<string> {
    const { name, vpcId } = request;
    if ([...this.securityGroups.values()].some((group) => group.name === name && group.vpcId === vpcId)) {
      const message = `The security group '${name}' already exists for VPC '${vpcId}'`;
      throw new AwsError("InvalidGroup.Duplicate", message, { status: 400 });
    }
    const id = `sg-${this.hex()}0`;
    this.securityGroups.set(id, { ...copy(request), id, ingress: [] });
    return id;
  }

  async authorizeIngress(groupId: string, rules: readonly IngressRule[]): Promise<void> {
    const group = this.group(groupId);
    const present = new Set(group.ingress.map(ruleKey));
    for (const rule of rules) {
      if (present.has(ruleKey(rule))) {
        const message = `the specified rule "peer: ${rule.source}, ${rule.protocol}, from port: ${rule.fromPort}" already exists`;
        throw new AwsError("InvalidPermission.Duplicate", message, { status: 400 });
      }
      if (rule.source.startsWith("sg-")) this.group(rule.source);
    }
    if (group.ingress.length + rules.length > (this.options.rulesPerSecurityGroup ?? 60)) {
      const message = `The maximum number of rules per security group has been reached: ${groupId} has ${group.ingress.length}, ${rules.length} more were asked for`;
      throw new AwsError("RulesPerSecurityGroupLimitExceeded", message, { status: 400 });
    }
    this.securityGroups.set(groupId, { ...group, ingress: [...group.ingress, ...copy(rules)] });
  }

  async revokeIngress(groupId: string, rules: readonly IngressRule[]): Promise<void> {
    const group = this.group(groupId);
    const gone = new Set(rules.map(ruleKey));
    const kept = group.ingress.filter((rule) => !gone.has(ruleKey(rule)));
    if (kept.length + gone.size > group.ingress.length) {
      throw new AwsError("InvalidPermission.NotFound", "The specified rule does not exist in this security group", {
        status: 400,
      });
    }
    this.securityGroups.set(groupId, { ...group, ingress: kept });
  }

  async deleteSecurityGroup(groupId: string): Promise<void> {
    this.group(groupId);
    const lingering = this.lingering.get(groupId) ?? 0;
    const isReferenced = [...this.securityGroups.values()].some(
      (group) => group.id !== groupId && group.ingress.some((rule) => rule.source === groupId),
    );
    const isUsed = [...this.loadBalancers.values(), ...this.classicLoadBalancers.values()].some((each) =>
      each.securityGroups.includes(groupId),
    );
    if (lingering > 0 || isReferenced || isUsed) {
      this.lingering.set(groupId, lingering - 1);
      throw new AwsError("DependencyViolation", `resource ${groupId} has a dependent object`, { status: 400 });
    }
    this.securityGroups.delete(groupId);
  }

  private classic(name: string): StoredClassic {
    const found = this.classicLoadBalancers.get(name);
    if (found !== undefined) return found;
    throw new AwsError("LoadBalancerNotFound", `There is no ACTIVE Load Balancer named '${name}'`, { status: 400 });
  }

  async describeClassicLoadBalancers(): Promise<readonly ClassicLoadBalancer[]> {
    return this.visible(this.classicLoadBalancers.values()).map(
      ({ hidden: _, policies: __, attributes: ___, ...each }) => copy(each),
    );
  }

  async describeClassicAttributes(name: string): Promise<ClassicAttributes> {
    return copy(this.classic(name).attributes);
  }

  async describeClassicPolicies(name: string): Promise<readonly ClassicPolicy[]> {
    return copy(this.classic(name).policies);
  }

  async createClassicLoadBalancer(request: ClassicLoadBalancerRequest): Promise<string> {
    const { name, scheme, subnetIds, securityGroups, listeners, tags } = request;
    if (this.classicLoadBalancers.has(name)) {
      const message = `Load Balancer named '${name}' already exists and it is configured with different parameters`;
      throw new AwsError("DuplicateLoadBalancerName", message, { status: 400 });
    }
    if (this.classicLoadBalancers.size >= (this.options.classicLoadBalancersPerRegion ?? 20)) {
      throw new AwsError("TooManyLoadBalancers", "Exceeded quota of account", { status: 400 });
    }
    if (!/^[0-9A-Za-z](?:[0-9A-Za-z-]{0,30}[0-9A-Za-z])?$/.test(name) || listeners.length === 0) {
      throw new AwsError("ValidationError", `'${name}' needs a valid name and a listener`, { status: 400 });
    }
    this.requireClassicSubnets(subnetIds);
    this.requireGroups(securityGroups);
    const [first] = listeners;
    const created: StoredClassic = {
      name,
      scheme,
      subnetIds: [...subnetIds],
      securityGroups: [...securityGroups],
      dnsName: this.classicDnsName(name, scheme),
      listeners: [],
      healthCheck: {
        target: `TCP:${first!.instancePort}`,
        interval: 30,
        timeout: 5,
        healthyThreshold: 10,
        unhealthyThreshold: 2,
      },
      instances: [],
      backendPolicies: [],
      policies: [],
      attributes: copy(classicDefaults),
      hidden: this.options.describeLag ?? 0,
    };
    this.addClassicListeners(created, listeners);
    this.classicLoadBalancers.set(name, created);
    this.tags.set(name, { ...tags });
    return created.dnsName;
  }

  private classicDnsName(name: string, scheme: Scheme): string {
    return `${scheme === "internal" ? "internal-" : ""}${name}-${this.serial++}.${this.region}.elb.amazonaws.com`;
  }

  private requireGroups(groups: readonly string[]): void {
    const unknown = groups.find((id) => !this.securityGroups.has(id));
    if (unknown === undefined) return;
    throw new AwsError("InvalidSecurityGroup", `'${unknown}' is not a security group`, { status: 400 });
  }

  /** Fails unless there are some, all exist, and no two are in one zone. */
  private requireClassicSubnets(ids: readonly string[]): void {
    const zones = new Set<string | undefined>();
    for (const id of ids) {
      const subnet = this.subnets.find((each) => each.id === id);
      if (subnet === undefined) {
        throw new AwsError("SubnetNotFound", `The requested subnet '${id}' does not exist`, { status: 400 });
      }
      if (zones.has(subnet.zone)) {
        const message = `More than one subnet in availability zone ${subnet.zone}`;
        throw new AwsError("InvalidConfigurationRequest", message, { status: 409 });
      }
      zones.add(subnet.zone);
    }
    if (ids.length > 0) return;
    throw new AwsError("InvalidConfigurationRequest", "At least one subnet must remain", { status: 409 });
  }

  private addClassicListeners(to: StoredClassic, listeners: readonly ClassicListener[]): void {
    const next = [...to.listeners];
    for (const each of listeners) {
      if (endsTls(each) && each.sslCertificateId === undefined) {
        const message = `Secure listeners need a certificate: port ${each.loadBalancerPort}`;
        throw new AwsError("InvalidConfigurationRequest", message, { status: 409 });
      }
      const listener = {
        ...copy(each),
        protocol: each.protocol.toUpperCase(),
        instanceProtocol: each.instanceProtocol.toUpperCase(),
      };
      const present = next.find((other) => other.loadBalancerPort === listener.loadBalancerPort);
      if (present !== undefined) {
        const { policies: _, ...settings } = present;
        if (JSON.stringify(Object.entries(settings).sort()) === JSON.stringify(Object.entries(listener).sort()))
          continue;
        const message = `A listener already exists for ${to.name} with LoadBalancerPort ${listener.loadBalancerPort}`;
        throw new AwsError("DuplicateListener", message, { status: 400 });
      }
      next.push({ ...listener, policies: endsTls(listener) ? [defaultTlsPolicy.name] : [] });
      if (endsTls(listener) && !to.policies.some(({ name }) => name === defaultTlsPolicy.name)) {
        to.policies.push(defaultTlsPolicy);
      }
    }
    to.listeners = next;
  }

  async deleteClassicLoadBalancer(name: string): Promise<void> {
    const polls = this.options.lingeringInterfacePolls ?? 0;
    for (const id of this.classicLoadBalancers.get(name)?.securityGroups ?? []) {
      if (polls > 0) this.lingering.set(id, polls);
    }
    this.classicLoadBalancers.delete(name);
    this.tags.delete(name);
  }

  async createClassicListeners(name: string, listeners: readonly ClassicListener[]): Promise<void> {
    this.addClassicListeners(this.classic(name), listeners);
  }

  async deleteClassicListeners(name: string, ports: readonly number[]): Promise<void> {
    const found = this.classic(name);
    found.listeners = found.listeners.filter(({ loadBalancerPort }) => !ports.includes(loadBalancerPort));
  }

  async configureClassicHealthCheck(name: string, healthCheck: ClassicHealthCheck): Promise<void> {
    this.classic(name).healthCheck = copy(healthCheck);
  }

  async modifyClassicAttributes(name: string, attributes: Partial<ClassicAttributes>): Promise<void> {
    const found = this.classic(name);
    const { connectionDraining, accessLog } = attributes;
    if (accessLog?.enabled === true && accessLog.s3BucketName === undefined) {
      throw new AwsError("InvalidConfigurationRequest", "Access logs need the name of a bucket", { status: 409 });
    }
    found.attributes = {
      ...found.attributes,
      ...copy(attributes),
      ...(connectionDraining === undefined
        ? {}
        : { connectionDraining: { ...classicDefaults.connectionDraining, ...connectionDraining } }),
      ...(accessLog?.enabled === true ? { accessLog: { emitInterval: 60, s3BucketPrefix: "", ...accessLog } } : {}),
    };
  }

  async createClassicPolicy(name: string, policy: ClassicPolicy): Promise<void> {
    const found = this.classic(name);
    if (found.policies.some((each) => each.name === policy.name)) {
      const message = `A policy with the name ${policy.name} exists already`;
      throw new AwsError("DuplicatePolicyName", message, { status: 400 });
    }
    if (!["ProxyProtocolPolicyType", "SSLNegotiationPolicyType"].includes(policy.type)) {
      throw new AwsError("PolicyTypeNotFound", `There is no policy type ${policy.type}`, { status: 400 });
    }
    found.policies.push(copy(policy));
  }

  async deleteClassicPolicy(name: string, policyName: string): Promise<void> {
    const found = this.classic(name);
    if ([...found.listeners, ...found.backendPolicies].some(({ policies }) => policies.includes(policyName))) {
      throw new AwsError("InvalidConfigurationRequest", `Policy ${policyName} is in use`, { status: 409 });
    }
    found.policies = found.policies.filter((each) => each.name !== policyName);
  }

  private requirePolicies(of: StoredClassic, names: readonly string[]): void {
    const unknown = names.find((name) => !of.policies.some((each) => each.name === name));
    if (unknown === undefined) return;
    throw new AwsError("PolicyNotFound", `There is no policy with name ${unknown}`, { status: 400 });
  }

  async setClassicListenerPolicies(name: string, port: number, policyNames: readonly string[]): Promise<void> {
    const found = this.classic(name);
    this.requirePolicies(found, policyNames);
    if (!found.listeners.some((each) => each.loadBalancerPort === port)) {
      throw new AwsError("ListenerNotFound", `There is no listener on port ${port}`, { status: 400 });
    }
    found.listeners = found.listeners.map((each) =>
      each.loadBalancerPort === port ? { ...each, policies: [...policyNames] } : each,
    );
  }

  async setClassicBackendPolicies(name: string, instancePort: number, policyNames: readonly string[]): Promise<void> {
    const found = this.classic(name);
    this.requirePolicies(found, policyNames);
    if (!found.listeners.some((each) => each.instancePort === instancePort)) {
      const message = `No listener forwards to instance port ${instancePort}`;
      throw new AwsError("InvalidConfigurationRequest", message, { status: 409 });
    }
    found.backendPolicies = [
      ...found.backendPolicies.filter((each) => each.instancePort !== instancePort),
      ...(policyNames.length > 0 ? [{ instancePort, policies: [...policyNames] }] : []),
    ];
  }

  async registerClassicInstances(name: string, instances: readonly string[]): Promise<void> {
    const found = this.classic(name);
    found.instances = [...new Set([...found.instances, ...instances])];
  }

  async deregisterClassicInstances(name: string, instances: readonly string[]): Promise<void> {
    const found = this.classic(name);
    found.instances = found.instances.filter((id) => !instances.includes(id));
  }

  async applyClassicSecurityGroups(name: string, groups: readonly string[]): Promise<void> {
    const found = this.classic(name);
    this.requireGroups(groups);
    found.securityGroups = [...groups];
  }

  async attachClassicSubnets(name: string, subnetIds: readonly string[]): Promise<void> {
    const found = this.classic(name);
    const next = [...new Set([...found.subnetIds, ...subnetIds])];
    this.requireClassicSubnets(next);
    found.subnetIds = next;
  }

  async detachClassicSubnets(name: string, subnetIds: readonly string[]): Promise<void> {
    const found = this.classic(name);
    const next = found.subnetIds.filter((id) => !subnetIds.includes(id));
    this.requireClassicSubnets(next);
    found.subnetIds = next;
  }

  /** Puts a classic load balancer of somebody else there. */
  plantClassicLoadBalancer(name: string): void {
    this.classicLoadBalancers.set(name, {
      name,
      scheme: "internet-facing",
      subnetIds: [],
      securityGroups: [],
      dnsName: this.classicDnsName(name, "internet-facing"),
      listeners: [],
      healthCheck: { target: "TCP:1", interval: 30, timeout: 5, healthyThreshold: 10, unhealthyThreshold: 2 },
      instances: [],
      backendPolicies: [],
      policies: [],
      attributes: copy(classicDefaults),
      hidden: 0,
    });
    this.tags.set(name, {});
  }

  /** Puts a load balancer of somebody else there. */
  plantLoadBalancer(name: string, scheme: Scheme): string {
    const arn = this.arn(`loadbalancer/net/${name}/${this.hex()}`);
    this.loadBalancers.set(arn, {
      arn,
      name,
      scheme,
      ipAddressType: "ipv4",
      dnsName: `${name}.elb.${this.region}.amazonaws.com`,
      state: "active",
      vpcId: this.vpcId,
      subnetMappings: [],
      securityGroups: [],
      enablePrefixForIpv6SourceNat: "off",
      polls: 0,
      capacityUnits: 0,
      hidden: 0,
    });
    this.tags.set(arn, {});
    this.attributes.set(arn, { ...loadBalancerDefaults });
    return arn;
  }

  /**
   * What there is, by names instead of ids, in a stable order: two clouds in which the same was done are equal.
   *
   * @param isIncluded of the tags of load balancers, target groups, listeners and security groups; default: all
   */
  snapshot(isIncluded: (tags: Tags) => boolean = () => true): unknown {
    const sorted = <T>(list: T[]): T[] =>
      list.sort((left, right) => (JSON.stringify(left) < JSON.stringify(right) ? -1 : 1));
    const groupName = (id: string): string => this.securityGroups.get(id)?.name ?? id;
    const targetGroupName = (arn: string): string => this.targetGroups.get(arn)?.name ?? arn;
    const about = (arn: string): { tags: unknown; attributes: unknown } => ({
      tags: Object.fromEntries(Object.entries(this.tags.get(arn) ?? {}).sort()),
      attributes: Object.fromEntries(Object.entries(this.attributes.get(arn) ?? {}).sort()),
    });
    const rules = (group: Pick<SecurityGroup, "ingress">): unknown =>
      sorted(group.ingress.map((rule) => ({ ...rule, source: groupName(rule.source) })));
    return {
      loadBalancers: sorted(
        [...this.loadBalancers.values()]
          .filter(({ arn }) => isIncluded(this.tags.get(arn) ?? {}))
          .map(({ arn, dnsName: _, polls: __, hidden: ___, state: ____, ...each }) => ({
            ...each,
            ...about(arn),
            securityGroups: each.securityGroups.map(groupName),
            listeners: sorted(
              [...this.listeners.values()]
                .filter((listener) => listener.loadBalancerArn === arn)
                .map(({ arn: own, loadBalancerArn: _, targetGroupArn, ...listener }) => ({
                  ...listener,
                  ...about(own),
                  targetGroup: targetGroupName(targetGroupArn),
                })),
            ),
          })),
      ),
      classicLoadBalancers: sorted(
        [...this.classicLoadBalancers.values()]
          .filter(({ name }) => isIncluded(this.tags.get(name) ?? {}))
          .map(({ dnsName: _, hidden: __, policies, ...each }) => ({
            ...each,
            tags: Object.fromEntries(Object.entries(this.tags.get(each.name) ?? {}).sort()),
            subnetIds: [...each.subnetIds].sort(),
            securityGroups: each.securityGroups.map(groupName).sort(),
            listeners: sorted(each.listeners.map((listener) => Object.fromEntries(Object.entries(listener).sort()))),
            instances: [...each.instances].sort(),
            backendPolicies: sorted([...each.backendPolicies]),
            // AWS makes those of its own and never takes them away.
            policies: sorted(policies.filter((policy) => policy.name !== defaultTlsPolicy.name)),
          })),
      ),
      targetGroups: sorted(
        [...this.targetGroups.values()]
          .filter(({ arn }) => isIncluded(this.tags.get(arn) ?? {}))
          .map(({ arn, targets, hidden: _, loadBalancerArns: __, ...each }) => ({
            ...each,
            ...about(arn),
            targets: sorted([...targets.values()]),
          })),
      ),
      securityGroups: sorted(
        [...this.securityGroups.values()]
          .filter(({ tags }) => isIncluded(tags))
          .map(({ id: _, tags, ...group }) => ({
            ...group,
            tags: Object.fromEntries(Object.entries(tags).sort()),
            ingress: rules(group),
          })),
      ),
    };
  }
}
