import { ProviderError } from "@portolan/lb";
import { sampleNodes, sampleService } from "@portolan/lb/conformance";
import { describe, expect, it } from "vitest";
import { createWorkbench, serviceWith, type Workbench } from "./workbench.ts";

const certificate = "arn:aws:acm:us-east-1:123456789012:certificate/a";
const nodeGroup = "sg-00000000000000001";

const createBench = (...[cloud, options]: Parameters<typeof createWorkbench>): Workbench =>
  createWorkbench(cloud, { mode: "ccm", ...options });

async function writesOf(bench: Workbench, work: () => Promise<unknown>): Promise<string[]> {
  const start = bench.calls.length;
  await work();
  return bench.calls.slice(start).filter((call) => !call.startsWith("describe"));
}

async function failure(work: Promise<unknown>): Promise<ProviderError> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ProviderError);
  return error as ProviderError;
}

const only = ({ cloud }: Workbench) => {
  expect(cloud.classicLoadBalancers.size).toBe(1);
  return [...cloud.classicLoadBalancers.values()][0]!;
};

describe("a Service without annotations in mode ccm", () => {
  it("gets a classic load balancer, in the order that lets clients in last", async () => {
    const bench = createBench();
    const service = sampleService();
    expect(bench.provider.validate(service)).toEqual([]);
    expect(await writesOf(bench, () => bench.once(service))).toEqual([
      "createSecurityGroup",
      "authorizeIngress",
      "createClassicLoadBalancer",
      "configureClassicHealthCheck",
      "registerClassicInstances",
      "authorizeIngress",
    ]);
    const made = only(bench);
    expect(made).toMatchObject({
      scheme: "internet-facing",
      healthCheck: { target: "TCP:30080", interval: 10, timeout: 5, healthyThreshold: 2, unhealthyThreshold: 6 },
    });
    expect(made.instances).toHaveLength(sampleNodes().length);
    expect(made.listeners).toMatchObject([
      { loadBalancerPort: 80, protocol: "TCP", instancePort: 30080, instanceProtocol: "TCP" },
    ]);
    const [group] = made.securityGroups;
    expect(bench.cloud.securityGroups.get(group!)).toMatchObject({
      name: `k8s-elb-${made.name}`,
      ingress: [
        { protocol: "tcp", fromPort: 80, toPort: 80, source: "0.0.0.0/0" },
        { protocol: "icmp", fromPort: 3, toPort: 4, source: "0.0.0.0/0" },
      ],
    });
    expect(bench.cloud.securityGroups.get(nodeGroup)!.ingress).toContainEqual({
      protocol: "-1",
      source: group,
      description: "portolan/kit/default/web",
    });
    expect(await bench.once(service)).toEqual([made.dnsName]);
    expect(made.dnsName).toMatch(/\.us-east-1\.elb\.amazonaws\.com$/);
    expect(await writesOf(bench, () => bench.once(service))).toEqual([]);
    expect(await writesOf(bench, () => bench.destroy(service))).toHaveLength(4);
  });

  it("loses it with everything that was made for it, listeners first and its group last", async () => {
    const bench = createBench({ lingeringInterfacePolls: 3 });
    const before = JSON.stringify(bench.cloud.snapshot());
    await bench.once(sampleService());
    const writes = await writesOf(bench, () => bench.destroy(sampleService()));
    expect([...new Set(writes)]).toEqual([
      "deleteClassicListeners",
      "revokeIngress",
      "deleteClassicLoadBalancer",
      "deleteSecurityGroup",
    ]);
    expect(writes.filter((call) => call === "deleteSecurityGroup").length).toBeGreaterThan(1);
    expect(JSON.stringify(bench.cloud.snapshot())).toBe(before);
  });

  it("keeps its name and its address while nodes, ports and ranges change", async () => {
    const bench = createBench();
    await bench.once(sampleService());
    const { dnsName } = only(bench);
    expect(await writesOf(bench, () => bench.once(sampleService(), sampleNodes(4).slice(1)))).toEqual([
      "registerClassicInstances",
      "deregisterClassicInstances",
    ]);
    const other = serviceWith({}, ({ spec }) => {
      spec!.ports = [{ name: "http", protocol: "TCP", port: 8080, nodePort: 30080 }];
      spec!.loadBalancerSourceRanges = ["198.51.100.0/24"];
    });
    expect(await writesOf(bench, () => bench.once(other, sampleNodes(4).slice(1)))).toEqual([
      "deleteClassicListeners",
      "createClassicListeners",
      "authorizeIngress",
      "revokeIngress",
    ]);
    expect(only(bench).dnsName).toBe(dnsName);
  });
});

describe("annotations of classic load balancers", () => {
  it("end TLS with a policy of their own, and with AWS' again when they go", async () => {
    const bench = createBench();
    const tls = { "ssl-cert": certificate, "backend-protocol": "http" };
    await bench.once(serviceWith({ ...tls, "ssl-negotiation-policy": "ELBSecurityPolicy-TLS-1-2-2017-01" }));
    expect(only(bench).listeners).toMatchObject([
      {
        protocol: "HTTPS",
        instanceProtocol: "HTTP",
        sslCertificateId: certificate,
        policies: ["k8s-SSLNegotiationPolicy-ELBSecurityPolicy-TLS-1-2-2017-01"],
      },
    ]);
    await bench.once(serviceWith(tls));
    expect(only(bench).listeners.map((each) => each.policies)).toEqual([["ELBSecurityPolicy-2016-08"]]);
    expect(only(bench).policies.map((each) => each.name)).toEqual(["ELBSecurityPolicy-2016-08"]);
  });

  it("switch the PROXY header on for each port of the instances, and off where a port goes", async () => {
    const bench = createBench();
    const two = (ports: number[]) =>
      serviceWith({ "proxy-protocol": "*" }, ({ spec }) => {
        spec!.ports = ports.map((port) => ({ name: `p${port}`, protocol: "TCP", port, nodePort: 30000 + port }));
      });
    await bench.once(two([80, 443]));
    const policies = ["k8s-proxyprotocol-enabled"];
    expect(only(bench).backendPolicies).toEqual([
      { instancePort: 30080, policies },
      { instancePort: 30443, policies },
    ]);
    await bench.once(two([443]));
    expect(only(bench).backendPolicies).toEqual([{ instancePort: 30443, policies }]);
  });

  it("leave policies of others at a listener where they are", async () => {
    const bench = createBench();
    await bench.once(serviceWith({ "ssl-cert": certificate }));
    const { name } = only(bench);
    only(bench).policies.push({ name: "cookie", type: "LBCookieStickinessPolicyType", attributes: {} });
    await bench.cloud.setClassicListenerPolicies(name, 80, ["cookie", "ELBSecurityPolicy-2016-08"]);
    await bench.once(serviceWith({ "ssl-cert": certificate, "ssl-negotiation-policy": "mine" }));
    expect(only(bench).listeners[0]!.policies).toEqual(["cookie", "k8s-SSLNegotiationPolicy-mine"]);
    expect(only(bench).policies.map((each) => each.name)).toContain("cookie");
  });

  it("replace the group, which goes when nothing refers to it", async () => {
    const bench = createBench();
    await bench.once(sampleService());
    await bench.once(serviceWith({ "security-groups": nodeGroup }));
    expect(only(bench).securityGroups).toEqual([nodeGroup]);
    expect([...bench.cloud.securityGroups.keys()]).toEqual([nodeGroup]);
  });

  it("that are wrong are refused before any call", () => {
    const { provider, calls } = createBench();
    for (const values of [
      { "proxy-protocol": "yes" },
      { "ssl-cert": certificate, "backend-protocol": "udp" },
      { "connection-idle-timeout": "long" },
      { "healthcheck-interval": "1" },
    ]) {
      expect(provider.validate(serviceWith(values))).toMatchObject([{ severity: "error", code: "BadService" }]);
    }
    const portless = serviceWith({}, ({ spec }) => {
      spec!.ports = [{ port: 80 }];
    });
    expect(provider.validate(portless)).toMatchObject([{ message: expect.stringContaining("node ports") }]);
    expect(calls).toEqual([]);
  });
});

describe("one group for all classic load balancers", () => {
  it("is let in to the nodes by one rule, which stays, and never changes itself", async () => {
    const shared = { id: "sg-5", name: "shared", vpcId: "vpc-1", tags: {}, ingress: [] };
    const tags = { "kubernetes.io/cluster/kit": "owned" };
    const nodes = { id: "sg-1", name: "nodes", vpcId: "vpc-1", tags, ingress: [] };
    const bench = createBench({ securityGroups: [nodes, shared] }, { classicSecurityGroup: "sg-5" });
    await bench.once(sampleService());
    expect(only(bench).securityGroups).toEqual(["sg-5"]);
    const rules = [{ protocol: "-1", source: "sg-5", description: "portolan/kit/shared" }];
    expect(bench.cloud.securityGroups.get("sg-1")!.ingress).toEqual(rules);
    await bench.destroy(sampleService());
    expect(bench.cloud.securityGroups.get("sg-1")!.ingress).toEqual(rules);
    expect(bench.cloud.securityGroups.get("sg-5")!.ingress).toEqual([]);
    expect(bench.cloud.classicLoadBalancers.size).toBe(0);
  });
});

it("a classic load balancer of somebody else under our name is a conflict, and nothing is written", async () => {
  const bench = createBench();
  const { InTreeLoadBalancer: name } = bench.provider.nameFor({
    namespace: "default",
    name: "web",
    uid: sampleService().metadata.uid!,
  });
  bench.cloud.plantClassicLoadBalancer(name!);
  const error = await failure(bench.once(sampleService()));
  expect(error.code).toBe("Conflict");
  expect(bench.calls.every((call) => call.startsWith("describe"))).toBe(true);
});

it("what the in-tree provider made, whose group names no Service, is not taken over", async () => {
  const bench = createBench();
  const { uid = "" } = sampleService().metadata;
  const names = bench.provider.nameFor({ namespace: "default", name: "web", uid });
  const tags = { "kubernetes.io/cluster/kit": "owned" };
  bench.cloud.plantClassicLoadBalancer(names["InTreeLoadBalancer"]!);
  await bench.cloud.tagResources([names["InTreeLoadBalancer"]!], {
    ...tags,
    "kubernetes.io/service-name": "default/web",
  });
  const name = names["ClassicSecurityGroup"]!;
  await bench.cloud.createSecurityGroup({ name, vpcId: "vpc-1", description: "in-tree", tags });
  const before = JSON.stringify(bench.cloud.snapshot());
  const error = await failure(bench.once(sampleService()));
  expect(error.code).toBe("Conflict");
  expect(error.message).toContain(name);
  expect(JSON.stringify(bench.cloud.snapshot())).toBe(before);
});

it("a Service that has one kind of load balancer does not get the other one beside it", async () => {
  const bench = createBench();
  await bench.once(sampleService());
  expect((await failure(bench.once(serviceWith({ type: "nlb" })))).code).toBe("ImmutableField");
  await bench.destroy(sampleService());
  await bench.once(serviceWith({ type: "nlb" }));
  expect((await failure(bench.once(sampleService()))).code).toBe("ImmutableField");
  await bench.destroy(sampleService());
  expect(bench.cloud.loadBalancers.size + bench.cloud.classicLoadBalancers.size).toBe(0);
});

it("lists that lag behind make neither a twin nor a leak", async () => {
  const bench = createBench({ describeLag: 2 });
  const before = JSON.stringify(bench.cloud.snapshot());
  let hostnames: string[] = [];
  for (let pass = 0; hostnames.length === 0; pass++) {
    expect(pass).toBeLessThan(6);
    hostnames = await bench.once(sampleService()).catch((error: unknown) => {
      if (error instanceof ProviderError && error.code === "NotReady") return [];
      throw error;
    });
  }
  for (let pass = 0; pass < 3; pass++) await bench.once(sampleService()).catch(() => {});
  expect(only(bench).dnsName).toBe(hostnames[0]);
  await bench.destroy(sampleService());
  expect(JSON.stringify(bench.cloud.snapshot())).toBe(before);
});

it("mode modern does not ask for classic load balancers", async () => {
  const bench = createWorkbench();
  await bench.once(sampleService());
  await bench.destroy(sampleService());
  expect(bench.calls.filter((call) => call.includes("Classic"))).toEqual([]);
});

it("the flow policy ends connections and tells the PROXY header of version 1", () => {
  const { provider } = createBench();
  expect(provider.flowPolicy!(serviceWith({ "proxy-protocol": "*", "connection-idle-timeout": "90" }))).toMatchObject({
    scheme: "external",
    clientAddress: "replaced",
    proxyProtocol: "v1",
    idleTimeoutSeconds: { tcp: 90 },
    ports: [{ port: 80, targetPort: 30080, healthCheck: { protocol: "TCP", port: 30080, intervalSeconds: 10 } }],
  });
});
