import { sampleService } from "@portolan/lb/conformance";
import { describe, expect, it } from "vitest";
import {
  annotationRegistry,
  classicModel,
  discoverSubnets,
  networkModel,
  type Subnet,
  targetCalls,
  targetHealthCheck,
} from "../src/rules.ts";
import { createWorkbench, serviceWith } from "./workbench.ts";

const key = { namespace: "default", name: "web", uid: "11111111-2222-3333-4444-555555555555" };
const query = { cluster: "kit", scheme: "internet-facing", ipAddressType: "ipv4" } as const;

function subnet(id: string, zone: string, tags: Record<string, string> = {}, availableIPs = 100): Subnet {
  return { id, zone, cidr: "10.0.0.0/24", availableIPs, tags };
}

const role = { "kubernetes.io/role/elb": "1" };

describe("subnets", () => {
  it("that were passed over are counted, with the tag to set", () => {
    const subnets = [
      subnet("subnet-1", "a", { ...role, "kubernetes.io/cluster/other": "owned" }),
      subnet("subnet-2", "b", role, 3),
    ];
    expect(() => discoverSubnets(subnets, query)).toThrow(
      /evaluated 2, of which 1 are tagged for other clusters, 1 have fewer than 8 free addresses; tag subnets with kubernetes\.io\/role\/elb=1/,
    );
  });

  it("with the cluster's tag come first, then those with the lesser id; one per zone", () => {
    const subnets = [
      subnet("subnet-1", "a", role),
      subnet("subnet-2", "a", { ...role, "kubernetes.io/cluster/kit": "shared" }),
      subnet("subnet-4", "b", role),
      subnet("subnet-3", "b", role),
    ];
    expect(discoverSubnets(subnets, query).map(({ id }) => id)).toEqual(["subnet-2", "subnet-3"]);
  });

  it("go by their routes where no tag says anything", () => {
    const subnets = [
      { ...subnet("subnet-1", "a"), public: true },
      { ...subnet("subnet-2", "b"), public: false },
    ];
    expect(discoverSubnets(subnets, query).map(({ id }) => id)).toEqual(["subnet-1"]);
    expect(discoverSubnets(subnets, { ...query, scheme: "internal" }).map(({ id }) => id)).toEqual(["subnet-2"]);
  });

  it("that are missing stop a Service before any write", async () => {
    const bench = createWorkbench({ subnets: [] });
    await expect(bench.once(serviceWith({ scheme: "internet-facing" }))).rejects.toMatchObject({ code: "UserConfig" });
    expect(bench.calls.every((call) => call.startsWith("describe"))).toBe(true);
  });
});

describe("models", () => {
  const input = {
    key,
    configuration: { clusterName: "kit" },
    subnetsFor: () => [subnet("subnet-1", "a")],
    resolveSecurityGroups: () => [],
    vpcCidrs: { ipv4: ["10.0.0.0/16"], ipv6: [] },
  };

  it("merge TCP and UDP of one port when asked", () => {
    const service = serviceWith({ "enable-tcp-udp-listener": "true" }, ({ spec }) => {
      spec!.ports = [
        { name: "dns", protocol: "UDP", port: 53, nodePort: 30053 },
        { name: "dns-tcp", protocol: "TCP", port: 53, nodePort: 30053 },
      ];
    });
    const { listeners, targetGroups, managedSecurityGroup } = networkModel({ ...input, service });
    expect(listeners.map(({ port, protocol }) => [port, protocol])).toEqual([[53, "TCP_UDP"]]);
    expect(targetGroups[0]!.ingress[0]!.ports).toEqual([
      { protocol: "UDP", port: 30053 },
      { protocol: "TCP", port: 30053 },
    ]);
    expect(managedSecurityGroup!.ingress.map((rule) => rule.protocol)).toEqual(["udp", "tcp"]);
  });

  it("of a load balancer that has no security group keep it without one", () => {
    const existing = { scheme: "internal", subnetIds: ["subnet-1"], securityGroups: [] } as const;
    const model = networkModel({ ...input, service: sampleService(), existing });
    expect(model.loadBalancer.securityGroups).toEqual([]);
    expect(model.targetGroups[0]!.ingress[0]!.from).toEqual(["10.0.0.0/16"]);
  });

  it("of classic load balancers end TLS by certificate and backend protocol", () => {
    const subnets = [{ ...subnet("subnet-1", "us-east-1a"), public: true }];
    const service = serviceWith({ "ssl-cert": "arn:cert", "backend-protocol": "http" });
    const model = classicModel({ service, key, configuration: { clusterName: "kit" }, subnets, instances: ["i-1"] });
    expect(model).toMatchObject({
      scheme: "internet-facing",
      subnetIds: ["subnet-1"],
      listeners: [{ protocol: "https", instanceProtocol: "http", sslCertificateId: "arn:cert", instancePort: 30080 }],
      healthCheck: { target: "TCP:30080", interval: 10, timeout: 5, healthyThreshold: 2, unhealthyThreshold: 6 },
      attributes: { connectionSettings: { idleTimeout: 60 } },
      managedSecurityGroup: { name: "k8s-elb-a1111111122223333444455555555555" },
    });
  });
});

it("health checks with policy Local ask the node's own port", () => {
  const service = serviceWith({ "healthcheck-interval": "5" }, ({ spec }) => {
    spec!.externalTrafficPolicy = "Local";
    spec!.healthCheckNodePort = 32000;
  });
  expect(targetHealthCheck(service, "instance")).toEqual({
    protocol: "HTTP",
    port: 32000,
    path: "/healthz",
    intervalSeconds: 5,
    timeoutSeconds: 6,
    healthyThresholdCount: 2,
    unhealthyThresholdCount: 2,
    matcher: { httpCode: "200-399" },
  });
  expect(targetHealthCheck(service, "ip")).toMatchObject({ protocol: "TCP", port: "traffic-port", timeoutSeconds: 10 });
});

it("new targets come before old ones go, unless the quota has no room for both", () => {
  const target = (id: string) => ({ id, port: 1 });
  const calls = (quota?: number): string[] => targetCalls([target("b")], [target("a")], quota).map(({ call }) => call);
  expect(calls()).toEqual(["RegisterTargets", "DeregisterTargets"]);
  expect(calls(1)).toEqual(["DeregisterTargets", "RegisterTargets"]);
});

it("the registry has each key once, and a row for every mode", () => {
  const rows = annotationRegistry().rows.map((row) => row.key);
  expect(new Set(rows).size).toBe(rows.length);
  for (const mode of ["nlb-modern", "ccm-nlb", "ccm-clb"] as const) {
    expect(annotationRegistry(mode).rows.map((row) => row.key)).toEqual(rows);
  }
});
