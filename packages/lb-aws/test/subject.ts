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
    createCloud: () => startFakeEndpoint({ ...options, cloud: new MemoryCloud() }),
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
      return awsProvider({ clusterName: cluster, port: instrument<AwsPort>(await port), vpcId: "vpc-1" });
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
  return {
    name,
    createCloud: () => new MemoryCloud(options),
    createProvider: (cloud, { instrument, cluster }) =>
      awsProvider({ clusterName: cluster, port: instrument<AwsPort>(cloud), vpcId: "vpc-1" }),
    snapshot: (cloud) => cloud.snapshot(),
    prepare: (service) => annotated(service, annotations),
    internal: (service) =>
      annotated(service, annotations["type"] === "nlb" ? { internal: "true" } : { scheme: "internal" }),
    annotations: (annotations["type"] === "nlb" ? inTreeAnnotations : modernAnnotations).map(
      (values) => annotated({ metadata: {} }, values).metadata.annotations!,
    ),
    drift: [
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
      async (cloud) => {
        for (const [id, group] of cloud.securityGroups) {
          const ours = group.ingress.filter((rule) => rule.description?.includes("/"));
          if (ours.length > 0) await cloud.revokeIngress(id, ours);
        }
      },
      async (cloud) => {
        for (const arn of cloud.targetGroups.keys()) {
          await cloud.modifyAttributes(arn, { "proxy_protocol_v2.enabled": "true" });
        }
      },
    ],
    async plantForeign(cloud, names) {
      cloud.plantLoadBalancer(names["InternetFacingLoadBalancer"]!, "internet-facing");
      cloud.plantLoadBalancer(names["LoadBalancer"]!, "internal");
      cloud.plantLoadBalancer(names["InTreeLoadBalancer"]!, "internet-facing");
      await cloud.createSecurityGroup({
        name: names["SecurityGroup"]!,
        vpcId: "vpc-1",
        description: "somebody else's",
        tags: { team: "other" },
      });
    },
    foreign: (cloud) => cloud.snapshot(isForeign),
    exposed: (cloud) =>
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
