import { type CallContext, createCallContext, ProviderError } from "@portolan/lb";
import { sampleNodes, sampleService } from "@portolan/lb/conformance";
import { describe, expect, it } from "vitest";
import { type AwsPlan, awsProvider } from "../src/index.ts";
import { createRateLimiter } from "../src/rate-limit.ts";
import { MemoryCloud } from "../src/testing/index.ts";
import { annotated } from "./subject.ts";
import { createWorkbench, serviceWith } from "./workbench.ts";

const outside = { scheme: "internet-facing" };
const inside = { scheme: "internal" };
const prefix = "service.beta.kubernetes.io/aws-load-balancer-";

async function failure(work: Promise<unknown>): Promise<ProviderError> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ProviderError);
  return error as ProviderError;
}

describe("the seed's examples", () => {
  it("annotation type: nlb makes an internet-facing Network Load Balancer as the in-tree provider does", async () => {
    const bench = createWorkbench();
    const service = serviceWith({ type: "nlb" });
    expect(bench.provider.validate(service)).toEqual([]);
    const [hostname] = await bench.once(service);
    const [loadBalancer] = [...bench.cloud.loadBalancers.values()];
    expect(loadBalancer).toMatchObject({ scheme: "internet-facing", securityGroups: [] });
    expect(loadBalancer?.name).toMatch(/^a[0-9a-f]{31}$/);
    expect(hostname).toBe(loadBalancer?.dnsName);
    const rules = bench.cloud.securityGroups.get("sg-00000000000000001")!.ingress;
    expect(rules).toContainEqual({
      protocol: "tcp",
      fromPort: 30080,
      toPort: 30080,
      source: "0.0.0.0/0",
      description: `kubernetes.io/rule/nlb/client=${loadBalancer?.name}`,
    });
  });

  it('annotation internal: "true" makes an internal one, whatever the default is', async () => {
    const bench = createWorkbench({}, { defaultScheme: "internet-facing" });
    await bench.once(serviceWith({ internal: "true" }));
    expect([...bench.cloud.loadBalancers.values()].map((each) => each.scheme)).toEqual(["internal"]);
  });

  it("without any annotation the load balancer is internal", async () => {
    const bench = createWorkbench();
    const [hostname] = await bench.once(sampleService());
    expect(hostname).toMatch(/^internal-/);
  });
});

describe("plans", () => {
  it("put what traffic needs before the listener, and say why", async () => {
    const bench = createWorkbench();
    const plan = await bench.plan(serviceWith(outside));
    const methods = (plan.desired as AwsPlan).list.steps.map(({ call }) => call.method);
    expect(methods.at(-1)).toBe("createListener");
    expect(methods.indexOf("registerTargets")).toBeLessThan(methods.indexOf("createLoadBalancer"));
    expect(plan.changes.map(({ action, resource }) => `${action} ${resource.kind}`)).toContain("create Listener");
    const listener = plan.changes.find((change) => change.resource.kind === "Listener")!;
    expect(listener.dependsOn).toContain("create:LoadBalancer");
    expect(bench.calls.every((call) => call.startsWith("describe"))).toBe(true);
  });

  it("grant before they revoke when source ranges change", async () => {
    const bench = createWorkbench();
    await bench.once(serviceWith(outside));
    const narrow = serviceWith(outside, (service) => {
      service.spec!.loadBalancerSourceRanges = ["198.51.100.0/24"];
    });
    const start = bench.calls.length;
    await bench.once(narrow);
    const writes = bench.calls.slice(start).filter((call) => !call.startsWith("describe"));
    expect(writes).toEqual(["authorizeIngress", "revokeIngress"]);
  });

  it("mark another scheme as asked for and as ip-change", async () => {
    const bench = createWorkbench();
    await bench.once(serviceWith(outside));
    const changes = (await bench.plan(serviceWith(inside))).changes.filter((each) => each.disruptive === "ip-change");
    expect(changes.length).toBeGreaterThan(0);
    expect(changes.every((change) => change.requested)).toBe(true);
  });
});

describe("a scheme that changes", () => {
  it("leaves the old load balancer serving until the new one is active", async () => {
    const bench = createWorkbench({ provisioningPolls: 4 });
    const before = serviceWith(outside);
    for (let pass = 0; (await bench.once(before)).length === 0; pass++) expect(pass).toBeLessThan(10);
    const after = serviceWith(inside);
    const waiting = await failure(bench.once(after));
    expect(waiting.code).toBe("NotReady");
    const old = [...bench.cloud.loadBalancers.values()].find((each) => each.scheme === "internet-facing")!;
    const serving = [...bench.cloud.listeners.values()].filter((each) => each.loadBalancerArn === old.arn);
    expect(serving).toHaveLength(1);
    let hostnames: string[] = [];
    for (let pass = 0; hostnames.length === 0; pass++) {
      expect(pass).toBeLessThan(20);
      hostnames = await bench.once(after).catch((error: unknown) => {
        if (error instanceof ProviderError && error.code === "NotReady") return [];
        throw error;
      });
    }
    expect(hostnames[0]).toMatch(/^internal-/);
    expect([...bench.cloud.loadBalancers.values()].map((each) => each.scheme)).toEqual(["internal"]);
  });
});

describe("addresses", () => {
  it("of subnets that change make the load balancer anew, in one pass", async () => {
    const bench = createWorkbench();
    const first = serviceWith({ ...inside, "private-ipv4-addresses": "10.0.0.10,10.0.1.10,10.0.2.10" });
    const second = serviceWith({ ...inside, "private-ipv4-addresses": "10.0.0.11,10.0.1.11,10.0.2.11" });
    await bench.once(first);
    await bench.once(second);
    const all = [...bench.cloud.loadBalancers.values()];
    expect(all).toHaveLength(1);
    expect(all[0]!.subnetMappings.map((each) => each.privateIPv4Address)).toEqual([
      "10.0.0.11",
      "10.0.1.11",
      "10.0.2.11",
    ]);
  });

  it("are refused when they do not fit the subnets, before any write", async () => {
    const bench = createWorkbench();
    const error = await failure(bench.once(serviceWith({ ...outside, "eip-allocations": "eipalloc-1" })));
    expect(error.code).toBe("UserConfig");
    expect(error.message).toMatch(/1 entries for 3 subnets/);
    expect(bench.calls.every((call) => call.startsWith("describe"))).toBe(true);
  });
});

describe("what others set", () => {
  it("tags, attributes and rules stay through updates", async () => {
    const bench = createWorkbench();
    await bench.once(serviceWith(outside));
    const [arn] = [...bench.cloud.loadBalancers.keys()];
    await bench.cloud.tagResources([arn!], { owner: "finance" });
    await bench.cloud.modifyAttributes(arn!, { "load_balancing.cross_zone.enabled": "true" });
    const theirs = { protocol: "tcp", fromPort: 22, toPort: 22, source: "10.0.0.0/8", description: "ssh" } as const;
    await bench.cloud.authorizeIngress("sg-00000000000000001", [theirs]);
    await bench.once(serviceWith({ ...outside, "additional-resource-tags": "team=net" }));
    await bench.once(serviceWith(outside));
    expect(bench.cloud.tags.get(arn!)).toMatchObject({ owner: "finance" });
    expect(bench.cloud.tags.get(arn!)).not.toHaveProperty("team");
    expect(bench.cloud.attributes.get(arn!)).toMatchObject({ "load_balancing.cross_zone.enabled": "true" });
    await bench.destroy(serviceWith(outside));
    expect(bench.cloud.securityGroups.get("sg-00000000000000001")!.ingress).toContainEqual(theirs);
  });

  it("deletion protection stops a removal with what to do, and nothing is taken away", async () => {
    const bench = createWorkbench();
    const service = serviceWith({ ...outside, attributes: "deletion_protection.enabled=true" });
    await bench.once(service);
    const error = await failure(bench.destroy(service));
    expect(error.code).toBe("UserConfig");
    expect(error.message).toMatch(/deletion_protection\.enabled=false/);
    expect(bench.cloud.listeners.size).toBe(1);
    await bench.once(serviceWith(outside));
    await bench.destroy(service);
    expect(bench.cloud.loadBalancers.size).toBe(0);
  });

  it("a load balancer of somebody else under our name is a conflict", async () => {
    const bench = createWorkbench();
    const service = serviceWith({ ...outside, name: "shop" });
    bench.cloud.plantLoadBalancer("shop", "internet-facing");
    const error = await failure(bench.once(service));
    expect(error.code).toBe("Conflict");
    expect(error.message).toMatch(/load balancer shop exists and is not of Service default\/web/);
    expect(bench.calls.every((call) => call.startsWith("describe"))).toBe(true);
  });
});

describe("calls that write", () => {
  const writesOf = async (
    bench: ReturnType<typeof createWorkbench>,
    work: () => Promise<unknown>,
  ): Promise<string[]> => {
    const start = bench.calls.length;
    await work();
    return bench.calls.slice(start).filter((call) => !call.startsWith("describe"));
  };

  it("are seven to create, two for other nodes, none without a change, five to remove", async () => {
    const bench = createWorkbench();
    const service = serviceWith(outside);
    expect(await writesOf(bench, () => bench.once(service))).toEqual([
      "createSecurityGroup",
      "authorizeIngress",
      "authorizeIngress",
      "createTargetGroup",
      "registerTargets",
      "createLoadBalancer",
      "createListener",
    ]);
    expect(await writesOf(bench, () => bench.once(service))).toEqual([]);
    const others = sampleNodes(4).slice(1);
    expect(await writesOf(bench, () => bench.once(service, others))).toEqual(["registerTargets", "deregisterTargets"]);
    expect(await writesOf(bench, () => bench.destroy(service))).toEqual([
      "deleteListener",
      "deleteLoadBalancer",
      "deleteTargetGroup",
      "revokeIngress",
      "deleteSecurityGroup",
    ]);
  });
});

describe("limits", () => {
  it("of rules name the security group and its number of rules", async () => {
    const bench = createWorkbench({ rulesPerSecurityGroup: 2 });
    const service = serviceWith(outside, ({ spec }) => {
      spec!.loadBalancerSourceRanges = ["198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24"];
    });
    const error = await failure(bench.once(service));
    expect(error.code).toBe("Quota");
    expect(error.message).toMatch(/sg-[0-9a-f]+ has 0, 3 more/);
    expect(bench.cloud.listeners.size).toBe(0);
  });

  it("of targets make old ones go before new ones come", async () => {
    const bench = createWorkbench({ targetsPerGroup: 3 });
    const service = serviceWith(outside);
    await bench.once(service, sampleNodes(3));
    const start = bench.calls.length;
    await bench.once(service, sampleNodes(6).slice(3));
    const writes = bench.calls.slice(start).filter((call) => !call.startsWith("describe"));
    expect(writes).toEqual(["registerTargets", "deregisterTargets", "registerTargets"]);
    const error = await failure(bench.once(service, sampleNodes(4)));
    expect(error.code).toBe("Quota");
  });
});

it("an abort ends the wait for a call at once", async () => {
  const never = new Proxy(new MemoryCloud(), {
    get: (target, property) =>
      property === "describeSubnets" ? () => new Promise(() => {}) : Reflect.get(target, property),
  });
  const provider = awsProvider({ clusterName: "kit", port: never });
  const stop = new AbortController();
  const key = { namespace: "default", name: "web", uid: "u" };
  const waiting = provider.observe(createCallContext({ signal: stop.signal, idempotencyKey: "u" }), key);
  stop.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
});

describe("rates of calls", () => {
  it("are kept by waiting, for all Services together", async () => {
    const limit = createRateLimiter({
      describe: { perSecond: 2, burst: 3 },
      modify: { perSecond: 1, burst: 1 },
      register: { perSecond: 1, burst: 1 },
    });
    let now = 0;
    const waits: number[] = [];
    const context: CallContext = {
      signal: new AbortController().signal,
      now: () => now,
      deadline: 2000,
      idempotencyKey: "",
      report() {},
      lock: (_scope, work) => work(),
      async sleep(milliseconds) {
        waits.push(milliseconds);
      },
    };
    for (let index = 0; index < 6; index++) await limit("describeTags", context);
    expect(waits).toEqual([500, 1000, 1500]);
    await limit("createListener", context);
    await limit("describeTags", context);
    await expect(limit("describeTags", context)).rejects.toMatchObject({ code: "Throttled", retryAfter: 2500 });
    now = 10_000;
    await limit("describeTags", { ...context, deadline: 20_000 });
    expect(waits).toEqual([500, 1000, 1500, 2000]);
  });

  it("slow many Services down and break none", async () => {
    const limits = { perSecond: 1, burst: 2 };
    const bench = createWorkbench({}, { rateLimits: { describe: limits, modify: limits, register: limits } });
    const service = serviceWith(outside);
    let hostnames: string[] = [];
    for (let pass = 0; hostnames.length === 0; pass++) {
      expect(pass).toBeLessThan(10);
      hostnames = await bench.once(service).catch((error: unknown) => {
        if (error instanceof ProviderError && ["Throttled", "NotReady"].includes(error.code)) return [];
        throw error;
      });
    }
    expect(bench.cloud.listeners.size).toBe(1);
  });
});

describe("the security group that load balancers share", () => {
  it("is let in by one rule for a protocol, which no Service takes from another", async () => {
    const shared = "sg-000000000000000aa";
    const nodes = {
      id: "sg-1",
      name: "nodes",
      vpcId: "vpc-1",
      tags: { "kubernetes.io/cluster/kit": "owned" },
      ingress: [],
    };
    const backend = { ...nodes, id: shared, name: "backend", tags: {} };
    const bench = createWorkbench(
      { securityGroups: [nodes, backend] },
      { enableBackendSecurityGroup: true, backendSecurityGroup: shared },
    );
    const services = [serviceWith(outside), annotated(sampleService("api"), outside)];
    for (const service of services) await bench.once(service);
    const rules = [{ protocol: "tcp", fromPort: 0, toPort: 65535, source: shared, description: "portolan/kit/shared" }];
    expect(bench.cloud.securityGroups.get("sg-1")!.ingress).toEqual(rules);
    await bench.destroy(services[0]!);
    expect(bench.cloud.securityGroups.get("sg-1")!.ingress).toEqual(rules);
  });
});

describe("reads that lag behind writes", () => {
  it("make neither a twin nor a leak", async () => {
    const bench = createWorkbench({ describeLag: 3 });
    const service = serviceWith(outside);
    const before = JSON.stringify(bench.cloud.snapshot());
    for (let pass = 0; pass < 6; pass++) await bench.once(service);
    expect(bench.cloud.loadBalancers.size).toBe(1);
    expect(bench.cloud.targetGroups.size).toBe(1);
    expect(bench.cloud.listeners.size).toBe(1);
    await bench.destroy(service);
    expect(JSON.stringify(bench.cloud.snapshot())).toBe(before);
  });
});

describe("validation", () => {
  const codes = (values: Readonly<Record<string, string>>, change?: Parameters<typeof serviceWith>[1]): string[] =>
    createWorkbench()
      .provider.validate(serviceWith(values, change))
      .map((each) => `${each.severity} ${each.code}`);

  it("says that external needs a target type, instead of leaving the Service to nobody", () => {
    expect(codes({ type: "external" })).toEqual(["error HalfSpecified"]);
    expect(codes({ type: "external", "nlb-target-type": "ip" })).toEqual([]);
  });

  it("knows the types", () => {
    expect(codes({ type: "alb" })).toEqual(["error UnknownType"]);
  });

  it("refuses TCP and UDP on one port without the annotation that merges them", () => {
    const both: Parameters<typeof serviceWith>[1] = ({ spec }) => {
      spec!.ports = [
        { name: "dns", protocol: "UDP", port: 53, nodePort: 30053 },
        { name: "dns-tcp", protocol: "TCP", port: 53, nodePort: 30053 },
      ];
    };
    expect(codes(outside, both)).toEqual(["error BadPorts"]);
    expect(codes({ ...outside, "enable-tcp-udp-listener": "true" }, both)).toEqual([]);
  });

  it("leaves Services of other classes alone", () => {
    const { provider } = createWorkbench();
    const other = sampleService("web", ({ spec }) => {
      spec!.loadBalancerClass = "example.com/other";
    });
    expect(provider.claim(other)).toBe("not-mine");
  });
});

describe("flow policy", () => {
  it("tells what annotations do to packets", () => {
    const { provider } = createWorkbench();
    const plain = provider.flowPolicy!(serviceWith(outside));
    expect(plain).toMatchObject({
      scheme: "external",
      clientAddress: "kept",
      proxyProtocol: "none",
      destination: "node",
    });
    expect(plain.ports).toMatchObject([{ port: 80, targetPort: 30080, healthCheck: { protocol: "TCP" } }]);
    const changed = provider.flowPolicy!(
      serviceWith(
        {
          ...inside,
          "target-group-attributes": "preserve_client_ip.enabled=false",
          "proxy-protocol": "*",
          "cross-zone-load-balancing-enabled": "true",
          "listener-attributes.TCP-80": "tcp.idle_timeout.seconds=60",
        },
        ({ spec }) => {
          spec!.externalTrafficPolicy = "Local";
          spec!.healthCheckNodePort = 32000;
        },
      ),
    );
    expect(changed).toMatchObject({
      scheme: "internal",
      clientAddress: "replaced",
      proxyProtocol: "v2",
      crossZone: true,
      idleTimeoutSeconds: { tcp: 60 },
      ports: [{ healthCheck: { protocol: "HTTP", port: 32000, path: "/healthz", healthyThreshold: 2 } }],
    });
  });

  it("is that of the in-tree provider for type nlb", () => {
    const { provider } = createWorkbench();
    expect(provider.flowPolicy!(serviceWith({ type: "nlb", internal: "0.0.0.0/0" }))).toMatchObject({
      scheme: "internal",
      ports: [{ healthCheck: { intervalSeconds: 30 } }],
    });
  });
});

describe("pods as targets", () => {
  it("are registered by address, those that are ready", async () => {
    const bench = createWorkbench();
    const service = serviceWith({ ...outside, type: "nlb-ip" });
    const { provider, cloud } = bench;
    const plan = await bench.plan(service);
    const signal = new AbortController().signal;
    const context = {
      signal,
      now: () => 0,
      deadline: 1e9,
      idempotencyKey: "",
      report() {},
      sleep: async () => {},
      lock: (_: string, work: () => Promise<never>) => work(),
    };
    const observed = await provider.observe(context, plan.key);
    const endpointSlices = [
      {
        metadata: { name: "web-1" },
        addressType: "IPv4" as const,
        ports: [{ name: "http", port: 8080, protocol: "TCP" as const }],
        endpoints: [
          { addresses: ["10.0.0.21"], conditions: { ready: true } },
          { addresses: ["10.0.0.22"], conditions: { ready: false } },
        ],
      },
    ];
    await provider.apply(context, provider.plan({ service, nodes: [], observed, endpointSlices }));
    expect([...cloud.targetGroups.values()].map((each) => [...each.targets.keys()])).toEqual([["10.0.0.21:8080"]]);
  });
});

it("annotations that decide about exposure are not taken misspelt", async () => {
  const { checkAnnotations } = await import("@portolan/lb");
  const { provider } = createWorkbench();
  const [finding] = checkAnnotations(provider.annotations, { [`${prefix}interal`]: "true" });
  expect(finding).toMatchObject({ severity: "error", code: "UnknownAnnotation" });
});
