import type { ClassicAttributes, ClassicListener } from "../classic.ts";
import type { Scheme } from "../configuration.ts";
import { AwsError, type ClassicLoadBalancer } from "../port.ts";
import { type Action, type Parameters, pairs, tagsIn } from "./fake-actions.ts";
import type { XmlValue } from "./query-protocol.ts";

const nameIn = (parameters: Parameters): string => parameters.required("LoadBalancerName");

const listenersIn = (parameters: Parameters): ClassicListener[] =>
  parameters.list("Listeners").map((each) => {
    const certificate = each.text("SSLCertificateId");
    const protocol = each.required("Protocol");
    return {
      loadBalancerPort: Number(each.required("LoadBalancerPort")),
      protocol,
      instancePort: Number(each.required("InstancePort")),
      instanceProtocol: each.text("InstanceProtocol") ?? protocol,
      ...(certificate === undefined ? {} : { sslCertificateId: certificate }),
    };
  });

const instancesIn = (parameters: Parameters): string[] =>
  parameters.list("Instances").map((each) => each.required("InstanceId"));

function loadBalancerXml(each: ClassicLoadBalancer): XmlValue {
  const { healthCheck } = each;
  return {
    LoadBalancerName: each.name,
    DNSName: each.dnsName,
    CanonicalHostedZoneNameID: "Z35SXDOTRQ7X7K",
    CreatedTime: "2026-01-01T00:00:00.000Z",
    Scheme: each.scheme,
    Subnets: each.subnetIds,
    SecurityGroups: each.securityGroups,
    ListenerDescriptions: each.listeners.map(({ policies, ...listener }) => ({
      Listener: {
        LoadBalancerPort: listener.loadBalancerPort,
        Protocol: listener.protocol,
        InstancePort: listener.instancePort,
        InstanceProtocol: listener.instanceProtocol,
        SSLCertificateId: listener.sslCertificateId,
      },
      PolicyNames: policies,
    })),
    HealthCheck: {
      Target: healthCheck.target,
      Interval: healthCheck.interval,
      Timeout: healthCheck.timeout,
      HealthyThreshold: healthCheck.healthyThreshold,
      UnhealthyThreshold: healthCheck.unhealthyThreshold,
    },
    Instances: each.instances.map((InstanceId) => ({ InstanceId })),
    BackendServerDescriptions: each.backendPolicies.map(({ instancePort, policies }) => ({
      InstancePort: instancePort,
      PolicyNames: policies,
    })),
  };
}

function attributesXml(attributes: ClassicAttributes): XmlValue {
  const { accessLog, connectionDraining, connectionSettings, crossZoneLoadBalancing } = attributes;
  return {
    AccessLog: {
      Enabled: accessLog.enabled,
      EmitInterval: accessLog.emitInterval,
      S3BucketName: accessLog.s3BucketName,
      S3BucketPrefix: accessLog.s3BucketPrefix,
    },
    ConnectionDraining: { Enabled: connectionDraining.enabled, Timeout: connectionDraining.timeout },
    ConnectionSettings: { IdleTimeout: connectionSettings.idleTimeout },
    CrossZoneLoadBalancing: { Enabled: crossZoneLoadBalancing.enabled },
  };
}

/** Members that are there, of one attribute. */
function members(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function attributesIn(parameters: Parameters): Partial<ClassicAttributes> {
  const all = parameters.structure("LoadBalancerAttributes");
  const log = all.structure("AccessLog");
  const draining = all.structure("ConnectionDraining");
  const read: Readonly<Record<string, [string, Record<string, unknown>]>> = {
    AccessLog: [
      "accessLog",
      {
        enabled: log.text("Enabled") === "true",
        emitInterval: log.number("EmitInterval"),
        s3BucketName: log.text("S3BucketName"),
        s3BucketPrefix: log.text("S3BucketPrefix"),
      },
    ],
    ConnectionDraining: [
      "connectionDraining",
      { enabled: draining.text("Enabled") === "true", timeout: draining.number("Timeout") },
    ],
    ConnectionSettings: [
      "connectionSettings",
      { idleTimeout: all.structure("ConnectionSettings").number("IdleTimeout") },
    ],
    CrossZoneLoadBalancing: [
      "crossZoneLoadBalancing",
      { enabled: all.structure("CrossZoneLoadBalancing").text("Enabled") === "true" },
    ],
  };
  const sent = Object.entries(read).filter(([name]) => all.has(name));
  return Object.fromEntries(sent.map(([, [member, values]]) => [member, members(values)]));
}

function oneName(parameters: Parameters): string {
  const [name, ...more] = parameters.texts("LoadBalancerNames");
  if (name !== undefined && more.length === 0) return name;
  throw new AwsError("ValidationError", "Exactly one load balancer has to be named", { status: 400 });
}

/** Actions of Elastic Load Balancing, version 2012-06-01: classic load balancers. */
export const classicActions: Readonly<Record<string, Action>> = {
  async DescribeLoadBalancers(cloud, parameters, page) {
    const { entries, next } = page(await cloud.describeClassicLoadBalancers(), parameters.text("Marker"));
    return { LoadBalancerDescriptions: entries.map(loadBalancerXml), NextMarker: next };
  },
  async DescribeLoadBalancerAttributes(cloud, parameters) {
    return { LoadBalancerAttributes: attributesXml(await cloud.describeClassicAttributes(nameIn(parameters))) };
  },
  async DescribeLoadBalancerPolicies(cloud, parameters) {
    const policies = await cloud.describeClassicPolicies(nameIn(parameters));
    return {
      PolicyDescriptions: policies.map(({ name, type, attributes }) => ({
        PolicyName: name,
        PolicyTypeName: type,
        PolicyAttributeDescriptions: Object.entries(attributes).map(([AttributeName, AttributeValue]) => ({
          AttributeName,
          AttributeValue,
        })),
      })),
    };
  },
  async DescribeTags(cloud, parameters) {
    const names = parameters.texts("LoadBalancerNames");
    if (names.length > 20) {
      throw new AwsError("ValidationError", "At most 20 load balancers can be named in one call", { status: 400 });
    }
    const tags = Object.entries(await cloud.describeTags(names));
    return { TagDescriptions: tags.map(([LoadBalancerName, each]) => ({ LoadBalancerName, Tags: pairs(each) })) };
  },
  async AddTags(cloud, parameters) {
    await cloud.tagResources([oneName(parameters)], tagsIn(parameters, "Tags"));
    return {};
  },
  async RemoveTags(cloud, parameters) {
    const keys = parameters.list("Tags").map((each) => each.required("Key"));
    await cloud.untagResources([oneName(parameters)], keys);
    return {};
  },
  async CreateLoadBalancer(cloud, parameters) {
    const DNSName = await cloud.createClassicLoadBalancer({
      name: nameIn(parameters),
      scheme: (parameters.text("Scheme") ?? "internet-facing") as Scheme,
      subnetIds: parameters.texts("Subnets"),
      securityGroups: parameters.texts("SecurityGroups"),
      listeners: listenersIn(parameters),
      tags: tagsIn(parameters, "Tags"),
    });
    return { DNSName };
  },
  async DeleteLoadBalancer(cloud, parameters) {
    await cloud.deleteClassicLoadBalancer(nameIn(parameters));
    return {};
  },
  async CreateLoadBalancerListeners(cloud, parameters) {
    await cloud.createClassicListeners(nameIn(parameters), listenersIn(parameters));
    return {};
  },
  async DeleteLoadBalancerListeners(cloud, parameters) {
    await cloud.deleteClassicListeners(nameIn(parameters), parameters.texts("LoadBalancerPorts").map(Number));
    return {};
  },
  async ConfigureHealthCheck(cloud, parameters) {
    const check = parameters.structure("HealthCheck");
    await cloud.configureClassicHealthCheck(nameIn(parameters), {
      target: check.required("Target"),
      interval: Number(check.required("Interval")),
      timeout: Number(check.required("Timeout")),
      healthyThreshold: Number(check.required("HealthyThreshold")),
      unhealthyThreshold: Number(check.required("UnhealthyThreshold")),
    });
    return {};
  },
  async ModifyLoadBalancerAttributes(cloud, parameters) {
    const name = nameIn(parameters);
    await cloud.modifyClassicAttributes(name, attributesIn(parameters));
    const attributes = await cloud.describeClassicAttributes(name);
    return { LoadBalancerName: name, LoadBalancerAttributes: attributesXml(attributes) };
  },
  async CreateLoadBalancerPolicy(cloud, parameters) {
    const attributes = parameters
      .list("PolicyAttributes")
      .map((each) => [each.required("AttributeName"), each.text("AttributeValue") ?? ""] as const);
    await cloud.createClassicPolicy(nameIn(parameters), {
      name: parameters.required("PolicyName"),
      type: parameters.required("PolicyTypeName"),
      attributes: Object.fromEntries(attributes),
    });
    return {};
  },
  async DeleteLoadBalancerPolicy(cloud, parameters) {
    await cloud.deleteClassicPolicy(nameIn(parameters), parameters.required("PolicyName"));
    return {};
  },
  async SetLoadBalancerPoliciesOfListener(cloud, parameters) {
    const port = Number(parameters.required("LoadBalancerPort"));
    await cloud.setClassicListenerPolicies(nameIn(parameters), port, parameters.texts("PolicyNames"));
    return {};
  },
  async SetLoadBalancerPoliciesForBackendServer(cloud, parameters) {
    const port = Number(parameters.required("InstancePort"));
    await cloud.setClassicBackendPolicies(nameIn(parameters), port, parameters.texts("PolicyNames"));
    return {};
  },
  async RegisterInstancesWithLoadBalancer(cloud, parameters) {
    await cloud.registerClassicInstances(nameIn(parameters), instancesIn(parameters));
    return {};
  },
  async DeregisterInstancesFromLoadBalancer(cloud, parameters) {
    await cloud.deregisterClassicInstances(nameIn(parameters), instancesIn(parameters));
    return {};
  },
  async ApplySecurityGroupsToLoadBalancer(cloud, parameters) {
    const SecurityGroups = parameters.texts("SecurityGroups");
    await cloud.applyClassicSecurityGroups(nameIn(parameters), SecurityGroups);
    return { SecurityGroups };
  },
  async AttachLoadBalancerToSubnets(cloud, parameters) {
    await cloud.attachClassicSubnets(nameIn(parameters), parameters.texts("Subnets"));
    return { Subnets: [] };
  },
  async DetachLoadBalancerFromSubnets(cloud, parameters) {
    await cloud.detachClassicSubnets(nameIn(parameters), parameters.texts("Subnets"));
    return { Subnets: [] };
  },
};
