import type * as Ec2 from "@aws-sdk/client-ec2";
import type * as Elb from "@aws-sdk/client-elastic-load-balancing-v2";
import type { ListenerProtocol } from "../configuration.ts";
import type { TargetHealthCheck } from "../health-check.ts";
import {
  type Attributes,
  AwsError,
  type AwsPort,
  type Listener,
  type ListenerSettings,
  type LoadBalancer,
  type SecurityGroup,
  type Tags,
  type TargetGroup,
} from "../port.ts";
import type { IngressRule } from "../security-groups.ts";
import type { Subnet, SubnetMapping } from "../subnets.ts";
import type { Target } from "../targets.ts";
import { classicCalls } from "./classic-calls.ts";
import { inPieces, pages, set, tagList, tagsOf } from "./sdk-values.ts";

/** Options of {@link sdkPort}. */
export interface SdkPortOptions {
  /** Default: as the SDK finds it. */
  readonly region?: string;
  /** URL of both APIs, for tests. Default: those of the region. */
  readonly endpoint?: string;
  /** Default: as the SDK finds them. */
  readonly credentials?: {
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  };
  /** Tries of one call, with the SDK's own delays. Default 3. */
  readonly maxAttempts?: number;
  /** Milliseconds until a call without an answer is given up. Default 20,000. */
  readonly requestTimeout?: number;
}

async function load<Module>(name: string, work: () => Promise<Module>): Promise<Module> {
  try {
    return await work();
  } catch (error) {
    const message = `${name} is not installed; run: npm install ${name}`;
    throw new AwsError("MissingPeerDependency", message, { cause: error });
  }
}

/** What the SDK's errors have in common. */
interface SdkError extends Error {
  readonly Code?: string;
  readonly code?: string;
  readonly $fault?: string;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly requestId?: string };
}

function awsErrorOf(thrown: unknown): AwsError {
  if (thrown instanceof AwsError) return thrown;
  const error = thrown as SdkError;
  const { httpStatusCode: status, requestId } = error.$metadata ?? {};
  const answered = status !== undefined && (error.$fault !== undefined || error.Code !== undefined);
  const code = answered ? (error.Code ?? error.name).replace(/Exception$/, "") : "NetworkError";
  return new AwsError(code, error.message || error.code || error.name, {
    cause: thrown,
    ...(status === undefined ? {} : { status }),
    ...(requestId === undefined ? {} : { requestId }),
  });
}

/** Kind of a zone, which its name tells: `us-west-2a`, `us-west-2-lax-1a` (local), `us-east-1-wl1-bos-wlz-1` (wavelength). */
function zoneTypeOf(zone: string): string {
  if (zone.includes("-wl")) return "wavelength-zone";
  return /^[a-z]+(?:-[a-z]+)+-\d+[a-z]$/.test(zone) ? "availability-zone" : "local-zone";
}

function mappingOf(zone: Elb.AvailabilityZone): SubnetMapping {
  const addresses = zone.LoadBalancerAddresses ?? [];
  const first = <Name extends keyof Elb.LoadBalancerAddress>(name: Name): string | undefined =>
    addresses.find((each) => each[name])?.[name];
  return set({
    subnetId: zone.SubnetId ?? "",
    allocationId: first("AllocationId"),
    privateIPv4Address: first("PrivateIPv4Address"),
    ipv6Address: first("IPv6Address"),
    sourceNatIpv6Prefix: zone.SourceNatIpv6Prefixes?.[0],
  }) as SubnetMapping;
}

function loadBalancerOf(each: Elb.LoadBalancer): LoadBalancer {
  const link = each.EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic;
  return {
    arn: each.LoadBalancerArn ?? "",
    name: each.LoadBalancerName ?? "",
    scheme: each.Scheme === "internal" ? "internal" : "internet-facing",
    ipAddressType: each.IpAddressType === "dualstack" ? "dualstack" : "ipv4",
    dnsName: each.DNSName ?? "",
    state: each.State?.Code ?? "active",
    vpcId: each.VpcId ?? "",
    subnetMappings: (each.AvailabilityZones ?? []).map(mappingOf),
    securityGroups: each.SecurityGroups ?? [],
    ...(link === "on" || link === "off" ? { inboundRulesOnPrivateLink: link } : {}),
    enablePrefixForIpv6SourceNat: each.EnablePrefixForIpv6SourceNat === "on" ? "on" : "off",
  };
}

const mappingRequest = (mapping: SubnetMapping): Elb.SubnetMapping => ({
  SubnetId: mapping.subnetId,
  ...(mapping.allocationId === undefined ? {} : { AllocationId: mapping.allocationId }),
  ...(mapping.privateIPv4Address === undefined ? {} : { PrivateIPv4Address: mapping.privateIPv4Address }),
  ...(mapping.ipv6Address === undefined ? {} : { IPv6Address: mapping.ipv6Address }),
  ...(mapping.sourceNatIpv6Prefix === undefined ? {} : { SourceNatIpv6Prefix: mapping.sourceNatIpv6Prefix }),
});

function targetGroupOf(each: Elb.TargetGroup): TargetGroup {
  const protocol = (each.HealthCheckProtocol ?? "TCP") as TargetHealthCheck["protocol"];
  const isTcp = protocol === "TCP";
  const port = each.HealthCheckPort ?? "traffic-port";
  return {
    arn: each.TargetGroupArn ?? "",
    name: each.TargetGroupName ?? "",
    targetType: each.TargetType === "ip" ? "ip" : "instance",
    ipAddressType: each.IpAddressType === "ipv6" ? "ipv6" : "ipv4",
    port: each.Port ?? 0,
    protocol: (each.Protocol ?? "TCP") as ListenerProtocol,
    vpcId: each.VpcId ?? "",
    healthCheck: {
      protocol,
      port: port === "traffic-port" ? port : Number(port),
      ...(isTcp || each.HealthCheckPath === undefined ? {} : { path: each.HealthCheckPath }),
      intervalSeconds: each.HealthCheckIntervalSeconds ?? 0,
      timeoutSeconds: each.HealthCheckTimeoutSeconds ?? 0,
      healthyThresholdCount: each.HealthyThresholdCount ?? 0,
      unhealthyThresholdCount: each.UnhealthyThresholdCount ?? 0,
      ...(isTcp || each.Matcher?.HttpCode === undefined ? {} : { matcher: { httpCode: each.Matcher.HttpCode } }),
    },
    loadBalancerArns: each.LoadBalancerArns ?? [],
  };
}

function healthCheckRequest(check: TargetHealthCheck) {
  return {
    HealthCheckProtocol: check.protocol,
    HealthCheckPort: String(check.port),
    ...(check.path === undefined ? {} : { HealthCheckPath: check.path }),
    HealthCheckIntervalSeconds: check.intervalSeconds,
    HealthCheckTimeoutSeconds: check.timeoutSeconds,
    HealthyThresholdCount: check.healthyThresholdCount,
    UnhealthyThresholdCount: check.unhealthyThresholdCount,
    ...(check.matcher === undefined ? {} : { Matcher: { HttpCode: check.matcher.httpCode } }),
  };
}

function listenerOf(each: Elb.Listener): Listener {
  const [action] = each.DefaultActions ?? [];
  const certificate = each.Certificates?.[0]?.CertificateArn;
  const alpnPolicy = each.AlpnPolicy ?? [];
  return {
    arn: each.ListenerArn ?? "",
    loadBalancerArn: each.LoadBalancerArn ?? "",
    port: each.Port ?? 0,
    protocol: (each.Protocol ?? "TCP") as ListenerProtocol,
    targetGroupArn: action?.TargetGroupArn ?? action?.ForwardConfig?.TargetGroups?.[0]?.TargetGroupArn ?? "",
    ...(certificate === undefined ? {} : { certificate }),
    ...(each.SslPolicy === undefined || each.SslPolicy === "" ? {} : { sslPolicy: each.SslPolicy }),
    ...(alpnPolicy.length === 0 ? {} : { alpnPolicy }),
  };
}

function listenerRequest(settings: ListenerSettings) {
  return {
    Port: settings.port,
    Protocol: settings.protocol as Elb.ProtocolEnum,
    DefaultActions: [{ Type: "forward" as const, TargetGroupArn: settings.targetGroupArn }],
    ...(settings.certificate === undefined ? {} : { Certificates: [{ CertificateArn: settings.certificate }] }),
    ...(settings.sslPolicy === undefined ? {} : { SslPolicy: settings.sslPolicy }),
    ...(settings.alpnPolicy === undefined ? {} : { AlpnPolicy: [...settings.alpnPolicy] }),
  };
}

/** Rules of a permission, one per source. */
function rulesOf(permission: Ec2.IpPermission): IngressRule[] {
  const protocol = (permission.IpProtocol ?? "-1") as IngressRule["protocol"];
  const ports =
    permission.FromPort === undefined || permission.ToPort === undefined
      ? {}
      : { fromPort: permission.FromPort, toPort: permission.ToPort };
  const rule = (source: string | undefined, description: string | undefined): IngressRule => ({
    protocol,
    ...ports,
    source: source ?? "",
    ...(description === undefined || description === "" ? {} : { description }),
  });
  return [
    ...(permission.IpRanges ?? []).map((each) => rule(each.CidrIp, each.Description)),
    ...(permission.Ipv6Ranges ?? []).map((each) => rule(each.CidrIpv6, each.Description)),
    ...(permission.PrefixListIds ?? []).map((each) => rule(each.PrefixListId, each.Description)),
    ...(permission.UserIdGroupPairs ?? []).map((each) => rule(each.GroupId, each.Description)),
  ];
}

function permissionOf({ protocol, fromPort, toPort, source, description }: IngressRule): Ec2.IpPermission {
  const described = description === undefined ? {} : { Description: description };
  return {
    IpProtocol: protocol,
    ...(fromPort === undefined ? {} : { FromPort: fromPort }),
    ...(toPort === undefined ? {} : { ToPort: toPort }),
    ...(source.startsWith("sg-")
      ? { UserIdGroupPairs: [{ GroupId: source, ...described }] }
      : source.startsWith("pl-")
        ? { PrefixListIds: [{ PrefixListId: source, ...described }] }
        : source.includes(":")
          ? { Ipv6Ranges: [{ CidrIpv6: source, ...described }] }
          : { IpRanges: [{ CidrIp: source, ...described }] }),
  };
}

const targetRequest = ({ id, port, zone }: Target): Elb.TargetDescription => ({
  Id: id,
  Port: port,
  ...(zone === undefined ? {} : { AvailabilityZone: zone }),
});

const vpcFilter = (vpcId: string): { Name: string; Values: string[] }[] => [{ Name: "vpc-id", Values: [vpcId] }];
const isTargetGroup = (arn: string): boolean => arn.includes(":targetgroup/");
const isListener = (arn: string): boolean => arn.includes(":listener/");
const arnsPerCall = 20;

/**
 * Makes the provider's port over `@aws-sdk/client-elastic-load-balancing-v2` and `@aws-sdk/client-ec2`, which have to be
 * installed beside this package. `@aws-sdk/client-elastic-load-balancing` is loaded at the first call about a classic load
 * balancer.
 *
 * @throws AwsError `MissingPeerDependency` if one of them is not; calls about classic load balancers throw it for theirs
 */
export async function sdkPort(options: SdkPortOptions = {}): Promise<AwsPort> {
  const elb = await load(
    "@aws-sdk/client-elastic-load-balancing-v2",
    () => import("@aws-sdk/client-elastic-load-balancing-v2"),
  );
  const ec2 = await load("@aws-sdk/client-ec2", () => import("@aws-sdk/client-ec2"));
  const configuration = {
    requestHandler: {
      connectionTimeout: 5_000,
      requestTimeout: options.requestTimeout ?? 20_000,
      throwOnRequestTimeout: true,
    },
    ...(options.region === undefined ? {} : { region: options.region }),
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    ...(options.maxAttempts === undefined ? {} : { maxAttempts: options.maxAttempts }),
  };
  const balancing = new elb.ElasticLoadBalancingV2Client(configuration);
  const compute = new ec2.EC2Client(configuration);
  const classic = classicCalls(async () => {
    const name = "@aws-sdk/client-elastic-load-balancing";
    const commands = await load(name, () => import("@aws-sdk/client-elastic-load-balancing"));
    return { commands, client: new commands.ElasticLoadBalancingClient(configuration) };
  });

  const port: AwsPort = {
    ...classic.port,
    async describeLoadBalancers() {
      const all = await pages(
        (token) => balancing.send(new elb.DescribeLoadBalancersCommand(set({ Marker: token }))),
        (page) => page.LoadBalancers,
        (page) => page.NextMarker,
      );
      return all.filter((each) => each.Type === "network").map(loadBalancerOf);
    },
    async describeTargetGroups() {
      const all = await pages(
        (token) => balancing.send(new elb.DescribeTargetGroupsCommand(set({ Marker: token }))),
        (page) => page.TargetGroups,
        (page) => page.NextMarker,
      );
      return all.map(targetGroupOf);
    },
    async describeListeners(loadBalancerArn) {
      const all = await pages(
        (token) =>
          balancing.send(new elb.DescribeListenersCommand(set({ LoadBalancerArn: loadBalancerArn, Marker: token }))),
        (page) => page.Listeners,
        (page) => page.NextMarker,
      );
      return all.map(listenerOf);
    },
    async describeListenerCertificates(listenerArn) {
      const all = await pages(
        (token) =>
          balancing.send(
            new elb.DescribeListenerCertificatesCommand({ ...set({ Marker: token }), ListenerArn: listenerArn }),
          ),
        (page) => page.Certificates,
        (page) => page.NextMarker,
      );
      return all.filter((each) => !each.IsDefault).map((each) => each.CertificateArn ?? "");
    },
    async describeTags(ids) {
      const arns = ids.filter((id) => id.startsWith("arn:"));
      const names = ids.filter((id) => !id.startsWith("arn:"));
      const out: Record<string, Tags> = names.length === 0 ? {} : { ...(await classic.describeTags(names)) };
      for (const piece of inPieces(arns, arnsPerCall)) {
        const { TagDescriptions = [] } = await balancing.send(new elb.DescribeTagsCommand({ ResourceArns: piece }));
        for (const each of TagDescriptions) out[each.ResourceArn ?? ""] = tagsOf(each.Tags);
      }
      return out;
    },
    async describeAttributes(arn) {
      const { Attributes = [] } = isTargetGroup(arn)
        ? await balancing.send(new elb.DescribeTargetGroupAttributesCommand({ TargetGroupArn: arn }))
        : isListener(arn)
          ? await balancing.send(new elb.DescribeListenerAttributesCommand({ ListenerArn: arn }))
          : await balancing.send(new elb.DescribeLoadBalancerAttributesCommand({ LoadBalancerArn: arn }));
      return tagsOf(Attributes);
    },
    async describeTargetHealth(targetGroupArn) {
      const command = new elb.DescribeTargetHealthCommand({ TargetGroupArn: targetGroupArn });
      const { TargetHealthDescriptions = [] } = await balancing.send(command);
      return TargetHealthDescriptions.map(({ Target: target, TargetHealth }) => ({
        id: target?.Id ?? "",
        port: target?.Port ?? 0,
        state: (TargetHealth?.State?.replace(/^(unhealthy|healthy)\..*/, "$1") ?? "initial") as "initial",
      }));
    },
    async describeSubnets(vpcId) {
      const filter = vpcId === undefined ? {} : { Filters: vpcFilter(vpcId) };
      const all = await pages(
        (token) => compute.send(new ec2.DescribeSubnetsCommand({ ...filter, ...set({ NextToken: token }) })),
        (page) => page.Subnets,
        (page) => page.NextToken,
      );
      return all.map((each): Subnet => {
        const ipv6 = (each.Ipv6CidrBlockAssociationSet ?? [])
          .filter((block) => block.Ipv6CidrBlockState?.State === "associated")
          .map((block) => block.Ipv6CidrBlock ?? "");
        return {
          id: each.SubnetId ?? "",
          cidr: each.CidrBlock ?? "",
          ipv6Cidrs: ipv6,
          vpcId: each.VpcId ?? "",
          tags: tagsOf(each.Tags),
          ...(each.AvailabilityZone === undefined
            ? {}
            : { zone: each.AvailabilityZone, zoneType: zoneTypeOf(each.AvailabilityZone) }),
          ...(each.AvailabilityZoneId === undefined ? {} : { zoneId: each.AvailabilityZoneId }),
          ...(each.OutpostArn === undefined ? {} : { outpostArn: each.OutpostArn }),
          ...(each.AvailableIpAddressCount === undefined ? {} : { availableIPs: each.AvailableIpAddressCount }),
        };
      });
    },
    async describeRouteTables(vpcId) {
      const all = await pages(
        (token) =>
          compute.send(new ec2.DescribeRouteTablesCommand({ Filters: vpcFilter(vpcId), ...set({ NextToken: token }) })),
        (page) => page.RouteTables,
        (page) => page.NextToken,
      );
      return all.map((table) => ({
        main: (table.Associations ?? []).some((each) => each.Main === true),
        subnetIds: (table.Associations ?? []).map((each) => each.SubnetId ?? "").filter((id) => id !== ""),
        gatewayIds: (table.Routes ?? []).map((each) => each.GatewayId ?? "").filter((id) => id !== ""),
      }));
    },
    async describeVpcCidrs(vpcId) {
      const { Vpcs = [] } = await compute.send(new ec2.DescribeVpcsCommand({ VpcIds: [vpcId] }));
      const [vpc] = Vpcs;
      return {
        ipv4: (vpc?.CidrBlockAssociationSet ?? [])
          .filter((each) => each.CidrBlockState?.State === "associated")
          .map((each) => each.CidrBlock ?? ""),
        ipv6: (vpc?.Ipv6CidrBlockAssociationSet ?? [])
          .filter((each) => each.Ipv6CidrBlockState?.State === "associated")
          .map((each) => each.Ipv6CidrBlock ?? ""),
      };
    },
    async describeSecurityGroups(vpcId) {
      const all = await pages(
        (token) =>
          compute.send(
            new ec2.DescribeSecurityGroupsCommand({ Filters: vpcFilter(vpcId), ...set({ NextToken: token }) }),
          ),
        (page) => page.SecurityGroups,
        (page) => page.NextToken,
      );
      return all.map(
        (each): SecurityGroup => ({
          id: each.GroupId ?? "",
          name: each.GroupName ?? "",
          vpcId: each.VpcId ?? "",
          tags: tagsOf(each.Tags),
          ingress: (each.IpPermissions ?? []).flatMap(rulesOf),
        }),
      );
    },
    async createLoadBalancer(request) {
      const command = new elb.CreateLoadBalancerCommand({
        Name: request.name,
        Type: "network",
        Scheme: request.scheme,
        IpAddressType: request.ipAddressType,
        SubnetMappings: request.subnetMappings.map(mappingRequest),
        ...(request.securityGroups.length > 0 ? { SecurityGroups: [...request.securityGroups] } : {}),
        ...(request.enablePrefixForIpv6SourceNat === "on" ? { EnablePrefixForIpv6SourceNat: "on" } : {}),
        Tags: tagList(request.tags),
      });
      const [created] = (await balancing.send(command)).LoadBalancers ?? [];
      return loadBalancerOf(created ?? {});
    },
    async setSecurityGroups(arn, groups, inboundRulesOnPrivateLink) {
      const link = inboundRulesOnPrivateLink;
      await balancing.send(
        new elb.SetSecurityGroupsCommand({
          LoadBalancerArn: arn,
          SecurityGroups: [...groups],
          ...(link === undefined ? {} : { EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic: link }),
        }),
      );
    },
    async setSubnets(arn, mappings, enablePrefixForIpv6SourceNat) {
      await balancing.send(
        new elb.SetSubnetsCommand({
          LoadBalancerArn: arn,
          SubnetMappings: mappings.map(mappingRequest),
          EnablePrefixForIpv6SourceNat: enablePrefixForIpv6SourceNat,
        }),
      );
    },
    async setIpAddressType(arn, type) {
      await balancing.send(new elb.SetIpAddressTypeCommand({ LoadBalancerArn: arn, IpAddressType: type }));
    },
    async modifyCapacityReservation(arn, capacityUnits) {
      const wanted =
        capacityUnits === 0
          ? { ResetCapacityReservation: true }
          : { MinimumLoadBalancerCapacity: { CapacityUnits: capacityUnits } };
      await balancing.send(new elb.ModifyCapacityReservationCommand({ LoadBalancerArn: arn, ...wanted }));
    },
    async deleteLoadBalancer(arn) {
      await balancing.send(new elb.DeleteLoadBalancerCommand({ LoadBalancerArn: arn }));
    },
    async createTargetGroup(request) {
      const command = new elb.CreateTargetGroupCommand({
        Name: request.name,
        TargetType: request.targetType,
        IpAddressType: request.ipAddressType,
        Port: request.port,
        Protocol: request.protocol as Elb.ProtocolEnum,
        VpcId: request.vpcId,
        ...healthCheckRequest(request.healthCheck),
        Tags: tagList(request.tags),
      });
      const [created] = (await balancing.send(command)).TargetGroups ?? [];
      return targetGroupOf(created ?? {});
    },
    async modifyTargetGroup(arn, healthCheck) {
      await balancing.send(
        new elb.ModifyTargetGroupCommand({ TargetGroupArn: arn, ...healthCheckRequest(healthCheck) }),
      );
    },
    async deleteTargetGroup(arn) {
      await balancing.send(new elb.DeleteTargetGroupCommand({ TargetGroupArn: arn }));
    },
    async registerTargets(targetGroupArn, targets) {
      const Targets = targets.map(targetRequest);
      await balancing.send(new elb.RegisterTargetsCommand({ TargetGroupArn: targetGroupArn, Targets }));
    },
    async deregisterTargets(targetGroupArn, targets) {
      const Targets = targets.map(targetRequest);
      await balancing.send(new elb.DeregisterTargetsCommand({ TargetGroupArn: targetGroupArn, Targets }));
    },
    async createListener(loadBalancerArn, settings, tags) {
      const command = new elb.CreateListenerCommand({
        LoadBalancerArn: loadBalancerArn,
        ...listenerRequest(settings),
        Tags: tagList(tags),
      });
      const [created] = (await balancing.send(command)).Listeners ?? [];
      return listenerOf(created ?? {});
    },
    async modifyListener(listenerArn, settings) {
      await balancing.send(new elb.ModifyListenerCommand({ ListenerArn: listenerArn, ...listenerRequest(settings) }));
    },
    async deleteListener(listenerArn) {
      await balancing.send(new elb.DeleteListenerCommand({ ListenerArn: listenerArn }));
    },
    async addListenerCertificates(listenerArn, certificates) {
      const Certificates = certificates.map((CertificateArn) => ({ CertificateArn }));
      await balancing.send(new elb.AddListenerCertificatesCommand({ ListenerArn: listenerArn, Certificates }));
    },
    async removeListenerCertificates(listenerArn, certificates) {
      const Certificates = certificates.map((CertificateArn) => ({ CertificateArn }));
      await balancing.send(new elb.RemoveListenerCertificatesCommand({ ListenerArn: listenerArn, Certificates }));
    },
    async modifyAttributes(arn: string, attributes: Attributes) {
      const Attributes = tagList(attributes);
      if (isTargetGroup(arn)) {
        await balancing.send(new elb.ModifyTargetGroupAttributesCommand({ TargetGroupArn: arn, Attributes }));
      } else if (isListener(arn)) {
        await balancing.send(new elb.ModifyListenerAttributesCommand({ ListenerArn: arn, Attributes }));
      } else {
        await balancing.send(new elb.ModifyLoadBalancerAttributesCommand({ LoadBalancerArn: arn, Attributes }));
      }
    },
    async tagResources(ids, tags) {
      if (ids.every((id) => id.startsWith("sg-"))) {
        await compute.send(new ec2.CreateTagsCommand({ Resources: [...ids], Tags: tagList(tags) }));
        return;
      }
      if (!ids.every((id) => id.startsWith("arn:"))) return classic.addTags(ids, tags);
      for (const piece of inPieces(ids, arnsPerCall)) {
        await balancing.send(new elb.AddTagsCommand({ ResourceArns: piece, Tags: tagList(tags) }));
      }
    },
    async untagResources(ids, keys) {
      if (ids.every((id) => id.startsWith("sg-"))) {
        await compute.send(new ec2.DeleteTagsCommand({ Resources: [...ids], Tags: keys.map((Key) => ({ Key })) }));
        return;
      }
      if (!ids.every((id) => id.startsWith("arn:"))) return classic.removeTags(ids, keys);
      for (const piece of inPieces(ids, arnsPerCall)) {
        await balancing.send(new elb.RemoveTagsCommand({ ResourceArns: piece, TagKeys: [...keys] }));
      }
    },
    async createSecurityGroup({ name, description, vpcId, tags }) {
      const command = new ec2.CreateSecurityGroupCommand({
        GroupName: name,
        Description: description,
        VpcId: vpcId,
        TagSpecifications: [{ ResourceType: "security-group", Tags: tagList(tags) }],
      });
      return (await compute.send(command)).GroupId ?? "";
    },
    async authorizeIngress(groupId, rules) {
      const IpPermissions = rules.map(permissionOf);
      await compute.send(new ec2.AuthorizeSecurityGroupIngressCommand({ GroupId: groupId, IpPermissions }));
    },
    async revokeIngress(groupId, rules) {
      const IpPermissions = rules.map(permissionOf);
      await compute.send(new ec2.RevokeSecurityGroupIngressCommand({ GroupId: groupId, IpPermissions }));
    },
    async deleteSecurityGroup(groupId) {
      await compute.send(new ec2.DeleteSecurityGroupCommand({ GroupId: groupId }));
    },
  };
  const calls = Object.entries(port).map(([name, call]) => [
    name,
    async (...parameters: unknown[]): Promise<unknown> => {
      try {
        return await Reflect.apply(call, port, parameters);
      } catch (error) {
        throw awsErrorOf(error);
      }
    },
  ]);
  return Object.fromEntries(calls) as AwsPort;
}
