import type { Service } from "@portolan/core";
import type { ProviderSubject } from "@portolan/lb/conformance";
import { awsProvider } from "../src/index.ts";
import type { AwsPort } from "../src/port.ts";
import { sdkPort } from "../src/sdk/index.ts";
import {
  type FakeEndpoint,
  type FakeEndpointOptions,
  MemoryCloud,
  type MemoryCloudOptions,
  startFakeEndpoint,
} from "../src/testing/index.ts";

const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

const prefix = "service.beta.kubernetes.io/aws-load-balancer-";

/** A Service with annotations of AWS, by the ends of their keys. */
export function annotated(service: Service, values: Readonly<Record<string, string>>): Service {
  const added = Object.fromEntries(Object.entries(values).map(([suffix, value]) => [prefix + suffix, value]));
  return { ...service, metadata: { ...service.metadata, annotations: { ...service.metadata.annotations, ...added } } };
}

const modernAnnotations: readonly Readonly<Record<string, string>>[] = [
  { attributes: "load_balancing.cross_zone.enabled=true,dns_record.client_routing_policy=availability_zone_affinity" },
  { "target-group-attributes": "deregistration_delay.timeout_seconds=30,preserve_client_ip.enabled=false" },
  { "additional-resource-tags": "team=net,cost-centre=42" },
  { "healthcheck-protocol": "http", "healthcheck-path": "/ready" },
  { "healthcheck-healthy-threshold": "5" },
  { "listener-attributes.TCP-80": "tcp.idle_timeout.seconds=60" },
  { "ssl-cert": "arn:aws:acm:us-east-1:123456789012:certificate/a,arn:aws:acm:us-east-1:123456789012:certificate/b" },
  { "proxy-protocol": "*" },
  { "minimum-load-balancer-capacity": "CapacityUnits=3000" },
  { "ip-address-type": "dualstack" },
  { "enable-icmp-for-path-mtu-discovery": "on" },
  { "inbound-sg-rules-on-private-link-traffic": "off" },
  { "private-ipv4-addresses": "10.0.0.10,10.0.1.10,10.0.2.10", scheme: "internal" },
];

const inTreeAnnotations: readonly Readonly<Record<string, string>>[] = [
  { "cross-zone-load-balancing-enabled": "true" },
  { "target-group-attributes": "proxy_protocol_v2.enabled=true,preserve_client_ip.enabled=false" },
  { "additional-resource-tags": "team=net,cost-centre=42" },
  { "healthcheck-protocol": "http", "healthcheck-path": "/ready" },
  { "eip-allocations": "eipalloc-1,eipalloc-2,eipalloc-3" },
];

const classicAnnotations: readonly Readonly<Record<string, string>>[] = [
  { "cross-zone-load-balancing-enabled": "true", "connection-idle-timeout": "120" },
  { "connection-draining-enabled": "true", "connection-draining-timeout": "30" },
  { "access-log-enabled": "true", "access-log-s3-bucket-name": "logs", "access-log-emit-interval": "5" },
  { "additional-resource-tags": "team=net,cost-centre=42" },
  { "healthcheck-protocol": "http", "healthcheck-path": "/ready", "healthcheck-unhealthy-threshold": "4" },
  { "backend-protocol": "http" },
  { "proxy-protocol": "*" },
  { "ssl-cert": "arn:aws:acm:us-east-1:123456789012:certificate/a", "ssl-ports": "80" },
  {
    "ssl-cert": "arn:aws:acm:us-east-1:123456789012:certificate/a",
    "ssl-negotiation-policy": "ELBSecurityPolicy-TLS-1-2-2017-01",
  },
  { subnets: "subnet-0000000000000000a,subnet-0000000000000000b" },
  { "security-groups": "sg-00000000000000001" },
];

/** The kit makes more Services at once than a new account may have classic load balancers. */
export const classicLimit = { classicLoadBalancersPerRegion: 100 };

/** Annotations that stand for the in-tree provider's classic load balancers, which are asked for by none. */
export const classic: Readonly<Record<string, string>> = {};

async function revokeRules(cloud: MemoryCloud): Promise<void> {
  for (const [id, group] of cloud.securityGroups) {
    const ours = group.ingress.filter((rule) => rule.description?.includes("/"));
    if (ours.length > 0) await cloud.revokeIngress(id, ours);
  }
}

const networkDrift: readonly ((cloud: MemoryCloud) => Promise<void>)[] = [
  async (cloud) => {
    for (const arn of [...cloud.listeners.keys()]) await cloud.deleteListener(arn);
  },
  async (cloud) => {
    for (const arn of [...cloud.loadBalancers.keys()]) await cloud.deleteLoadBalancer(arn);
  },
  async (cloud) => {
    for (const [arn, group] of cloud.targetGroups) {
      await cloud.deregisterTargets(arn, [[...group.targets.values()][0]!]);
    }
  },
  revokeRules,
  async (cloud) => {
    for (const arn of cloud.targetGroups.keys()) {
      await cloud.modifyAttributes(arn, { "proxy_protocol_v2.enabled": "true" });
    }
  },
];

const classicDrift: readonly ((cloud: MemoryCloud) => Promise<void>)[] = [
  revokeRules,
  async (cloud) => {
    for (const name of [...cloud.classicLoadBalancers.keys()]) await cloud.deleteClassicLoadBalancer(name);
  },
  async (cloud) => {
    for (const { name, listeners } of cloud.classicLoadBalancers.values()) {
      await cloud.deleteClassicListeners(
        name,
        listeners.map((each) => each.loadBalancerPort),
      );
    }
  },
  async (cloud) => {
    for (const { name, instances } of cloud.classicLoadBalancers.values()) {
      await cloud.deregisterClassicInstances(name, instances.slice(1));
      await cloud.registerClassicInstances(name, ["i-0000000000000dead"]);
    }
  },
  async (cloud) => {
    for (const { name, healthCheck } of cloud.classicLoadBalancers.values()) {
      await cloud.configureClassicHealthCheck(name, { ...healthCheck, interval: 31 });
    }
  },
  async (cloud) => {
    for (const { name } of cloud.classicLoadBalancers.values()) {
      await cloud.modifyClassicAttributes(name, { connectionSettings: { idleTimeout: 7 } });
      await cloud.applyClassicSecurityGroups(name, ["sg-00000000000000001"]);
    }
  },
];

const isForeign = (tags: Readonly<Record<string, string>>): boolean => tags["portolan.dev/service-uid"] === undefined;

/** The subject over the official SDK, which talks to a fake endpoint for each cloud. */
export function sdkSubject(
  name: string,
  options: FakeEndpointOptions = {},
  annotations?: Readonly<Record<string, string>>,
): ProviderSubject<FakeEndpoint> {
  const ports = new WeakMap<FakeEndpoint, Promise<AwsPort>>();
  const {
    createCloud: _,
    createProvider: __,
    drift = [],
    close: ___,
    ...memory
  } = memorySubject(name, {}, annotations);
  return {
    ...memory,
    createCloud: () =>
      startFakeEndpoint({ ...options, cloud: new MemoryCloud(annotations === classic ? classicLimit : {}) }),
    async createProvider(endpoint, { instrument, cluster }) {
      const port =
        ports.get(endpoint) ??
        sdkPort({
          region: "us-east-1",
          endpoint: endpoint.url,
          credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: secret },
          maxAttempts: 1,
        });
      ports.set(endpoint, port);
      const mode = annotations === classic ? "ccm" : "modern";
      return awsProvider({ clusterName: cluster, port: instrument<AwsPort>(await port), vpcId: "vpc-1", mode });
    },
    snapshot: ({ cloud }) => memory.snapshot(cloud),
    drift: drift.map(
      (change) =>
        ({ cloud }): void | Promise<void> =>
          change(cloud),
    ),
    plantForeign: ({ cloud }, names) => memory.plantForeign!(cloud, names),
    foreign: ({ cloud }) => memory.foreign!(cloud),
    exposed: ({ cloud }) => memory.exposed!(cloud),
    secrets: [secret],
    close: (endpoint) => endpoint.close(),
  };
}

/** What the conformance kit needs to put the provider to the test on a cloud in memory. */
export function memorySubject(
  name: string,
  options: MemoryCloudOptions = {},
  annotations: Readonly<Record<string, string>> = { scheme: "internet-facing" },
): ProviderSubject<MemoryCloud> {
  const mode = annotations === classic ? "ccm" : "modern";
  const isInTree = annotations === classic || annotations["type"] === "nlb";
  const tried = annotations === classic ? classicAnnotations : isInTree ? inTreeAnnotations : modernAnnotations;
  return {
    name,
    createCloud: () => new MemoryCloud(options),
    createProvider: (cloud, { instrument, cluster }) =>
      awsProvider({ clusterName: cluster, port: instrument<AwsPort>(cloud), vpcId: "vpc-1", mode }),
    snapshot: (cloud) => cloud.snapshot(),
    prepare: (service) => annotated(service, annotations),
    internal: (service) => annotated(service, isInTree ? { internal: "true" } : { scheme: "internal" }),
    annotations: tried.map((values) => annotated({ metadata: {} }, values).metadata.annotations!),
    drift: annotations === classic ? classicDrift : networkDrift,
    async plantForeign(cloud, names) {
      cloud.plantLoadBalancer(names["InternetFacingLoadBalancer"]!, "internet-facing");
      cloud.plantLoadBalancer(names["LoadBalancer"]!, "internal");
      cloud.plantLoadBalancer(names["InTreeLoadBalancer"]!, "internet-facing");
      cloud.plantClassicLoadBalancer(names["InTreeLoadBalancer"]!);
      for (const kind of ["SecurityGroup", "ClassicSecurityGroup"]) {
        const name = names[kind]!;
        await cloud.createSecurityGroup({ name, vpcId: "vpc-1", description: "another's", tags: { team: "other" } });
      }
    },
    foreign: (cloud) => cloud.snapshot(isForeign),
    exposed: (cloud) =>
      [...cloud.classicLoadBalancers.values()].some(({ securityGroups, listeners, instances }) => {
        const groups = [...cloud.securityGroups.values()];
        const isOpen = groups.some((group) => securityGroups.includes(group.id) && group.ingress.length > 0);
        const nodesLetIn = groups.some((group) => group.ingress.some((rule) => securityGroups.includes(rule.source)));
        return listeners.length > 0 && isOpen && (!nodesLetIn || instances.length === 0);
      }) ||
      [...cloud.listeners.values()].some((listener) => {
        const { securityGroups } = cloud.loadBalancers.get(listener.loadBalancerArn)!;
        const isOpen =
          securityGroups.length === 0 || securityGroups.some((id) => cloud.securityGroups.get(id)!.ingress.length > 0);
        const nodesLetIn = [...cloud.securityGroups.values()].some((group) =>
          group.ingress.some((rule) =>
            securityGroups.length === 0 ? rule.source.includes("/") : securityGroups.includes(rule.source),
          ),
        );
        const targets = cloud.targetGroups.get(listener.targetGroupArn)!.targets.size;
        return !isOpen || !nodesLetIn || targets === 0;
      }),
  };
}
