import type { IPAddressType, ListenerProtocol, Scheme, TargetType } from "../configuration.ts";
import type { TargetHealthCheck } from "../health-check.ts";
import {
  AwsError,
  type AwsPort,
  type Listener,
  type ListenerSettings,
  type LoadBalancer,
  type TargetGroup,
} from "../port.ts";
import type { IngressRule } from "../security-groups.ts";
import type { SubnetMapping } from "../subnets.ts";
import type { Target } from "../targets.ts";
import type { QueryValue, XmlValue } from "./query-protocol.ts";

/** Parameters of one request, with readers for what they may be. */
export class Parameters {
  private readonly values: Readonly<Record<string, QueryValue>>;

  constructor(values: Readonly<Record<string, QueryValue>>) {
    this.values = values;
  }

  text(name: string): string | undefined {
    const value = this.values[name];
    return typeof value === "string" && value !== "" ? value : undefined;
  }

  required(name: string): string {
    const value = this.text(name);
    if (value !== undefined) return value;
    throw new AwsError("ValidationError", `The parameter ${name} is required`, { status: 400 });
  }

  number(name: string): number | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : Number(text);
  }

  /** A list of texts; sent as an empty text when it is empty. */
  texts(name: string): string[] {
    const value = this.values[name];
    return Array.isArray(value) ? value.map(String) : [];
  }

  /** A list of structures. */
  list(name: string): Parameters[] {
    const value = this.values[name];
    return Array.isArray(value) ? value.map((each) => new Parameters(each as Record<string, QueryValue>)) : [];
  }

  structure(name: string): Parameters {
    const value = this.values[name];
    return new Parameters(
      typeof value === "object" && !Array.isArray(value) ? (value as Record<string, QueryValue>) : {},
    );
  }

  has(name: string): boolean {
    return name in this.values;
  }
}

/** Answers one action of an API on a cloud. */
export type Action = (cloud: AwsPort, parameters: Parameters, page: PageOf) => Promise<XmlValue>;

/** One page of a list, and the mark of the next one. */
export type PageOf = <T>(list: readonly T[], mark: string | undefined) => { entries: readonly T[]; next?: string };

/** Tags in a list of a request. */
export const tagsIn = (parameters: Parameters, name: string): Record<string, string> =>
  Object.fromEntries(parameters.list(name).map((each) => [each.required("Key"), each.text("Value") ?? ""]));
/** Tags, or attributes, for an answer. */
export const pairs = (values: Readonly<Record<string, string>>): XmlValue =>
  Object.entries(values).map(([Key, Value]) => ({ Key, Value }));

function loadBalancerXml(each: LoadBalancer): XmlValue {
  return {
    LoadBalancerArn: each.arn,
    DNSName: each.dnsName,
    CanonicalHostedZoneId: "Z26RNL4JYFTOTI",
    CreatedTime: "2026-01-01T00:00:00.000Z",
    LoadBalancerName: each.name,
    Scheme: each.scheme,
    VpcId: each.vpcId,
    State: { Code: each.state },
    Type: "network",
    AvailabilityZones: each.subnetMappings.map((mapping) => ({
      ZoneName: "us-east-1a",
      SubnetId: mapping.subnetId,
      LoadBalancerAddresses:
        mapping.allocationId === undefined &&
        mapping.privateIPv4Address === undefined &&
        mapping.ipv6Address === undefined
          ? []
          : [
              {
                AllocationId: mapping.allocationId,
                PrivateIPv4Address: mapping.privateIPv4Address,
                IPv6Address: mapping.ipv6Address,
              },
            ],
      SourceNatIpv6Prefixes: mapping.sourceNatIpv6Prefix === undefined ? [] : [mapping.sourceNatIpv6Prefix],
    })),
    SecurityGroups: each.securityGroups,
    IpAddressType: each.ipAddressType,
    EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic: each.inboundRulesOnPrivateLink,
    EnablePrefixForIpv6SourceNat: each.enablePrefixForIpv6SourceNat,
  };
}

const mappingsIn = (parameters: Parameters): SubnetMapping[] =>
  parameters.list("SubnetMappings").map((each) => {
    const members = {
      subnetId: each.required("SubnetId"),
      allocationId: each.text("AllocationId"),
      privateIPv4Address: each.text("PrivateIPv4Address"),
      ipv6Address: each.text("IPv6Address"),
      sourceNatIpv6Prefix: each.text("SourceNatIpv6Prefix"),
    };
    return Object.fromEntries(
      Object.entries(members).filter(([, value]) => value !== undefined),
    ) as unknown as SubnetMapping;
  });

function targetGroupXml(each: TargetGroup): XmlValue {
  const { healthCheck } = each;
  return {
    TargetGroupArn: each.arn,
    TargetGroupName: each.name,
    Protocol: each.protocol,
    Port: each.port,
    VpcId: each.vpcId,
    HealthCheckProtocol: healthCheck.protocol,
    HealthCheckPort: healthCheck.port,
    HealthCheckEnabled: true,
    HealthCheckIntervalSeconds: healthCheck.intervalSeconds,
    HealthCheckTimeoutSeconds: healthCheck.timeoutSeconds,
    HealthyThresholdCount: healthCheck.healthyThresholdCount,
    UnhealthyThresholdCount: healthCheck.unhealthyThresholdCount,
    HealthCheckPath: healthCheck.path,
    Matcher: healthCheck.matcher && { HttpCode: healthCheck.matcher.httpCode },
    LoadBalancerArns: each.loadBalancerArns,
    TargetType: each.targetType,
    IpAddressType: each.ipAddressType,
  };
}

function healthCheckIn(parameters: Parameters): TargetHealthCheck {
  const port = parameters.text("HealthCheckPort") ?? "traffic-port";
  const path = parameters.text("HealthCheckPath");
  const httpCode = parameters.structure("Matcher").text("HttpCode");
  return {
    protocol: (parameters.text("HealthCheckProtocol") ?? "TCP") as TargetHealthCheck["protocol"],
    port: port === "traffic-port" ? port : Number(port),
    ...(path === undefined ? {} : { path }),
    intervalSeconds: parameters.number("HealthCheckIntervalSeconds") ?? 30,
    timeoutSeconds: parameters.number("HealthCheckTimeoutSeconds") ?? 10,
    healthyThresholdCount: parameters.number("HealthyThresholdCount") ?? 3,
    unhealthyThresholdCount: parameters.number("UnhealthyThresholdCount") ?? 3,
    ...(httpCode === undefined ? {} : { matcher: { httpCode } }),
  };
}

const isTls = (settings: ListenerSettings): boolean => settings.protocol === "TLS";

function listenerXml(each: Listener): XmlValue {
  return {
    ListenerArn: each.arn,
    LoadBalancerArn: each.loadBalancerArn,
    Port: each.port,
    Protocol: each.protocol,
    Certificates: each.certificate === undefined ? [] : [{ CertificateArn: each.certificate }],
    SslPolicy: isTls(each) ? each.sslPolicy : undefined,
    AlpnPolicy: each.alpnPolicy,
    DefaultActions: [
      {
        Type: "forward",
        TargetGroupArn: each.targetGroupArn,
        ForwardConfig: { TargetGroups: [{ TargetGroupArn: each.targetGroupArn, Weight: 1 }] },
      },
    ],
  };
}

function listenerIn(parameters: Parameters): ListenerSettings {
  const [action] = parameters.list("DefaultActions");
  const certificate = parameters.list("Certificates")[0]?.text("CertificateArn");
  const sslPolicy = parameters.text("SslPolicy");
  const alpnPolicy = parameters.texts("AlpnPolicy");
  const protocol = parameters.required("Protocol") as ListenerProtocol;
  if (protocol === "TLS" && certificate === undefined) {
    throw new AwsError("CertificateNotFound", "A certificate must be specified for TLS listeners", { status: 400 });
  }
  return {
    port: parameters.number("Port") ?? 0,
    protocol,
    targetGroupArn: action?.required("TargetGroupArn") ?? "",
    ...(certificate === undefined ? {} : { certificate }),
    ...(sslPolicy === undefined ? {} : { sslPolicy }),
    ...(alpnPolicy.length === 0 ? {} : { alpnPolicy }),
  };
}

const targetsIn = (parameters: Parameters): Target[] => {
  const targets = parameters.list("Targets").map((each): Target => {
    const zone = each.text("AvailabilityZone");
    const target = { id: each.required("Id"), port: each.number("Port") ?? 0 };
    return zone === undefined ? target : { ...target, zone };
  });
  if (targets.length <= 1000) return targets;
  throw new AwsError("ValidationError", "At most 1000 targets can be named in one call", { status: 400 });
};

const certificatesIn = (parameters: Parameters): string[] =>
  parameters.list("Certificates").map((each) => each.required("CertificateArn"));

/** The one load balancer, target group or listener whose attributes are asked for. */
const attributesOf =
  (name: string): Action =>
  async (cloud, parameters) => ({
    Attributes: pairs(await cloud.describeAttributes(parameters.required(name))),
  });

const modifyAttributes =
  (name: string): Action =>
  async (cloud, parameters) => {
    const arn = parameters.required(name);
    await cloud.modifyAttributes(arn, tagsIn(parameters, "Attributes"));
    return { Attributes: pairs(await cloud.describeAttributes(arn)) };
  };

/** Actions of Elastic Load Balancing, version 2015-12-01. */
export const balancingActions: Readonly<Record<string, Action>> = {
  async DescribeLoadBalancers(cloud, parameters, page) {
    const { entries, next } = page(await cloud.describeLoadBalancers(), parameters.text("Marker"));
    return { LoadBalancers: entries.map(loadBalancerXml), NextMarker: next };
  },
  async DescribeTargetGroups(cloud, parameters, page) {
    const { entries, next } = page(await cloud.describeTargetGroups(), parameters.text("Marker"));
    return { TargetGroups: entries.map(targetGroupXml), NextMarker: next };
  },
  async DescribeListeners(cloud, parameters, page) {
    const all = await cloud.describeListeners(parameters.required("LoadBalancerArn"));
    const { entries, next } = page(all, parameters.text("Marker"));
    return { Listeners: entries.map(listenerXml), NextMarker: next };
  },
  async DescribeListenerCertificates(cloud, parameters) {
    const others = await cloud.describeListenerCertificates(parameters.required("ListenerArn"));
    return { Certificates: others.map((CertificateArn) => ({ CertificateArn, IsDefault: false })) };
  },
  async DescribeTags(cloud, parameters) {
    const arns = parameters.texts("ResourceArns");
    if (arns.length > 20) {
      throw new AwsError("ValidationError", "At most 20 resources can be named in one call", { status: 400 });
    }
    const tags = await cloud.describeTags(arns);
    return { TagDescriptions: Object.entries(tags).map(([ResourceArn, each]) => ({ ResourceArn, Tags: pairs(each) })) };
  },
  DescribeLoadBalancerAttributes: attributesOf("LoadBalancerArn"),
  DescribeTargetGroupAttributes: attributesOf("TargetGroupArn"),
  DescribeListenerAttributes: attributesOf("ListenerArn"),
  ModifyLoadBalancerAttributes: modifyAttributes("LoadBalancerArn"),
  ModifyTargetGroupAttributes: modifyAttributes("TargetGroupArn"),
  ModifyListenerAttributes: modifyAttributes("ListenerArn"),
  async DescribeTargetHealth(cloud, parameters) {
    const targets = await cloud.describeTargetHealth(parameters.required("TargetGroupArn"));
    return {
      TargetHealthDescriptions: targets.map(({ id, port, state }) => ({
        Target: { Id: id, Port: port },
        HealthCheckPort: String(port),
        TargetHealth: { State: state },
      })),
    };
  },
  async CreateLoadBalancer(cloud, parameters) {
    const created = await cloud.createLoadBalancer({
      name: parameters.required("Name"),
      scheme: (parameters.text("Scheme") ?? "internet-facing") as Scheme,
      ipAddressType: (parameters.text("IpAddressType") ?? "ipv4") as IPAddressType,
      subnetMappings: mappingsIn(parameters),
      securityGroups: parameters.texts("SecurityGroups"),
      enablePrefixForIpv6SourceNat: parameters.text("EnablePrefixForIpv6SourceNat") === "on" ? "on" : "off",
      tags: tagsIn(parameters, "Tags"),
    });
    return { LoadBalancers: [loadBalancerXml(created)] };
  },
  async SetSecurityGroups(cloud, parameters) {
    const groups = parameters.texts("SecurityGroups");
    const link = parameters.text("EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic") as "on" | "off" | undefined;
    await cloud.setSecurityGroups(parameters.required("LoadBalancerArn"), groups, link);
    return { SecurityGroupIds: groups };
  },
  async SetSubnets(cloud, parameters) {
    const nat = parameters.text("EnablePrefixForIpv6SourceNat") === "on" ? "on" : "off";
    await cloud.setSubnets(parameters.required("LoadBalancerArn"), mappingsIn(parameters), nat);
    return { AvailabilityZones: [] };
  },
  async SetIpAddressType(cloud, parameters) {
    const type = parameters.required("IpAddressType") as IPAddressType;
    await cloud.setIpAddressType(parameters.required("LoadBalancerArn"), type);
    return { IpAddressType: type };
  },
  async ModifyCapacityReservation(cloud, parameters) {
    const units = parameters.structure("MinimumLoadBalancerCapacity").number("CapacityUnits") ?? 0;
    await cloud.modifyCapacityReservation(parameters.required("LoadBalancerArn"), units);
    return { MinimumLoadBalancerCapacity: { CapacityUnits: units } };
  },
  async DeleteLoadBalancer(cloud, parameters) {
    await cloud.deleteLoadBalancer(parameters.required("LoadBalancerArn"));
    return {};
  },
  async CreateTargetGroup(cloud, parameters) {
    const created = await cloud.createTargetGroup({
      name: parameters.required("Name"),
      targetType: (parameters.text("TargetType") ?? "instance") as TargetType,
      ipAddressType: parameters.text("IpAddressType") === "ipv6" ? "ipv6" : "ipv4",
      port: parameters.number("Port") ?? 0,
      protocol: parameters.required("Protocol") as ListenerProtocol,
      vpcId: parameters.required("VpcId"),
      healthCheck: healthCheckIn(parameters),
      tags: tagsIn(parameters, "Tags"),
    });
    return { TargetGroups: [targetGroupXml(created)] };
  },
  async ModifyTargetGroup(cloud, parameters) {
    const arn = parameters.required("TargetGroupArn");
    await cloud.modifyTargetGroup(arn, healthCheckIn(parameters));
    return { TargetGroups: [] };
  },
  async DeleteTargetGroup(cloud, parameters) {
    await cloud.deleteTargetGroup(parameters.required("TargetGroupArn"));
    return {};
  },
  async RegisterTargets(cloud, parameters) {
    await cloud.registerTargets(parameters.required("TargetGroupArn"), targetsIn(parameters));
    return {};
  },
  async DeregisterTargets(cloud, parameters) {
    await cloud.deregisterTargets(parameters.required("TargetGroupArn"), targetsIn(parameters));
    return {};
  },
  async CreateListener(cloud, parameters) {
    const arn = parameters.required("LoadBalancerArn");
    const created = await cloud.createListener(arn, listenerIn(parameters), tagsIn(parameters, "Tags"));
    return { Listeners: [listenerXml(created)] };
  },
  async ModifyListener(cloud, parameters) {
    await cloud.modifyListener(parameters.required("ListenerArn"), listenerIn(parameters));
    return { Listeners: [] };
  },
  async DeleteListener(cloud, parameters) {
    await cloud.deleteListener(parameters.required("ListenerArn"));
    return {};
  },
  async AddListenerCertificates(cloud, parameters) {
    await cloud.addListenerCertificates(parameters.required("ListenerArn"), certificatesIn(parameters));
    return { Certificates: [] };
  },
  async RemoveListenerCertificates(cloud, parameters) {
    await cloud.removeListenerCertificates(parameters.required("ListenerArn"), certificatesIn(parameters));
    return {};
  },
  async AddTags(cloud, parameters) {
    await cloud.tagResources(parameters.texts("ResourceArns"), tagsIn(parameters, "Tags"));
    return {};
  },
  async RemoveTags(cloud, parameters) {
    await cloud.untagResources(parameters.texts("ResourceArns"), parameters.texts("TagKeys"));
    return {};
  },
};

const lowerPairs = (values: Readonly<Record<string, string>> = {}): XmlValue =>
  Object.entries(values).map(([key, value]) => ({ key, value }));

/** The VPC that a filter names. */
function vpcIn(parameters: Parameters): string | undefined {
  const filter = parameters.list("Filter").find((each) => each.text("Name") === "vpc-id");
  return filter?.texts("Value")[0];
}

function rulesIn(parameters: Parameters): IngressRule[] {
  return parameters.list("IpPermissions").flatMap((permission) => {
    const fromPort = permission.number("FromPort");
    const toPort = permission.number("ToPort");
    const base = {
      protocol: permission.required("IpProtocol") as IngressRule["protocol"],
      ...(fromPort === undefined ? {} : { fromPort }),
      ...(toPort === undefined ? {} : { toPort }),
    };
    const sources: readonly [string, string][] = [
      ["IpRanges", "CidrIp"],
      ["Ipv6Ranges", "CidrIpv6"],
      ["PrefixListIds", "PrefixListId"],
      ["Groups", "GroupId"],
    ];
    return sources.flatMap(([list, member]) =>
      permission.list(list).map((each): IngressRule => {
        const description = each.text("Description");
        const rule = { ...base, source: each.required(member) };
        return description === undefined ? rule : { ...rule, description };
      }),
    );
  });
}

/** Rules as AWS shows them: those of the same protocol and ports together, sources by kind. */
function permissionsXml(rules: readonly IngressRule[]): XmlValue {
  const groups = new Map<string, IngressRule[]>();
  for (const rule of rules) {
    const key = [rule.protocol, rule.fromPort, rule.toPort].join(" ");
    groups.set(key, [...(groups.get(key) ?? []), rule]);
  }
  return [...groups.values()].map((each) => {
    const [{ protocol, fromPort, toPort }] = each as [IngressRule];
    const of = (name: string, isOf: (source: string) => boolean): XmlValue =>
      each.filter((rule) => isOf(rule.source)).map(({ source, description }) => ({ [name]: source, description }));
    return {
      ipProtocol: protocol,
      fromPort,
      toPort,
      groups: of("groupId", (source) => source.startsWith("sg-")),
      ipRanges: of("cidrIp", (source) => source.includes("/") && !source.includes(":")),
      ipv6Ranges: of("cidrIpv6", (source) => source.includes(":")),
      prefixListIds: of("prefixListId", (source) => source.startsWith("pl-")),
    };
  });
}

/** Actions of EC2, version 2016-11-15. */
export const computeActions: Readonly<Record<string, Action>> = {
  async DescribeSubnets(cloud, parameters, page) {
    const { entries, next } = page(await cloud.describeSubnets(vpcIn(parameters)), parameters.text("NextToken"));
    return {
      subnetSet: entries.map((each) => ({
        subnetId: each.id,
        state: "available",
        vpcId: each.vpcId,
        cidrBlock: each.cidr,
        ipv6CidrBlockAssociationSet: (each.ipv6Cidrs ?? []).map((ipv6CidrBlock) => ({
          ipv6CidrBlock,
          ipv6CidrBlockState: { state: "associated" },
        })),
        availableIpAddressCount: each.availableIPs,
        availabilityZone: each.zone,
        availabilityZoneId: each.zoneId,
        outpostArn: each.outpostArn,
        tagSet: lowerPairs(each.tags),
      })),
      nextToken: next,
    };
  },
  async DescribeRouteTables(cloud, parameters) {
    const tables = await cloud.describeRouteTables(vpcIn(parameters) ?? "");
    return {
      routeTableSet: tables.map((table, index) => ({
        routeTableId: `rtb-${index}`,
        associationSet: [
          ...(table.main ? [{ main: true }] : []),
          ...table.subnetIds.map((subnetId) => ({ main: false, subnetId })),
        ],
        routeSet: table.gatewayIds.map((gatewayId) => ({ gatewayId, state: "active" })),
      })),
    };
  },
  async DescribeVpcs(cloud, parameters) {
    const [vpcId = ""] = parameters.texts("VpcId");
    const { ipv4, ipv6 } = await cloud.describeVpcCidrs(vpcId);
    return {
      vpcSet: [
        {
          vpcId,
          cidrBlock: ipv4[0],
          cidrBlockAssociationSet: ipv4.map((cidrBlock) => ({ cidrBlock, cidrBlockState: { state: "associated" } })),
          ipv6CidrBlockAssociationSet: ipv6.map((ipv6CidrBlock) => ({
            ipv6CidrBlock,
            ipv6CidrBlockState: { state: "associated" },
          })),
        },
      ],
    };
  },
  async DescribeSecurityGroups(cloud, parameters, page) {
    const all = await cloud.describeSecurityGroups(vpcIn(parameters) ?? "");
    const { entries, next } = page(all, parameters.text("NextToken"));
    return {
      securityGroupInfo: entries.map((group) => ({
        groupId: group.id,
        groupName: group.name,
        vpcId: group.vpcId,
        ipPermissions: permissionsXml(group.ingress),
        tagSet: lowerPairs(group.tags),
      })),
      nextToken: next,
    };
  },
  async CreateSecurityGroup(cloud, parameters) {
    const tags = parameters.list("TagSpecification").flatMap((each) => Object.entries(tagsIn(each, "Tag")));
    const groupId = await cloud.createSecurityGroup({
      name: parameters.required("GroupName"),
      description: parameters.required("GroupDescription"),
      vpcId: parameters.required("VpcId"),
      tags: Object.fromEntries(tags),
    });
    return { return: true, groupId };
  },
  async AuthorizeSecurityGroupIngress(cloud, parameters) {
    await cloud.authorizeIngress(parameters.required("GroupId"), rulesIn(parameters));
    return { return: true };
  },
  async RevokeSecurityGroupIngress(cloud, parameters) {
    await cloud.revokeIngress(parameters.required("GroupId"), rulesIn(parameters));
    return { return: true };
  },
  async DeleteSecurityGroup(cloud, parameters) {
    await cloud.deleteSecurityGroup(parameters.required("GroupId"));
    return { return: true };
  },
  async CreateTags(cloud, parameters) {
    await cloud.tagResources(parameters.texts("ResourceId"), tagsIn(parameters, "Tag"));
    return { return: true };
  },
  async DeleteTags(cloud, parameters) {
    const keys = parameters.list("Tag").map((each) => each.required("Key"));
    await cloud.untagResources(parameters.texts("ResourceId"), keys);
    return { return: true };
  },
};
