import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import type { Service } from "@portolan/core";
import { createCallContext, type LoadBalancerProvider, type NodeReference, ProviderError } from "@portolan/lb";
import { sampleNodes, sampleService } from "@portolan/lb/conformance";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { GcpPort } from "../src/port.ts";
import { type GcpProviderOptions, gcpProvider } from "../src/provider.ts";
import { restPort } from "../src/rest.ts";
import { sdkPort } from "../src/sdk.ts";
import {
  createMemoryCloud,
  type FakeEndpoint,
  type MemoryCloud,
  type MemoryCloudOptions,
  memoryPort,
  startFakeEndpoint,
} from "../src/testing.ts";

vi.setConfig({ testTimeout: 120_000 });

const project = "projects/shop";
const region = `${project}/regions/europe-west1`;
const annotation = (name: string): string => `networking.gke.io/${name}`;

// Not among the dependencies: it is large.
const officialLibrary: string = "@google-cloud/compute";
const authLibrary: string = "google-auth-library";

/** Where the official library is, if it is installed: beside the package, or in the folder that `GOOGLE_CLOUD_COMPUTE` names. */
function sdkFolder(): string | undefined {
  const folder = process.env["GOOGLE_CLOUD_COMPUTE"];
  if (folder !== undefined) return existsSync(folder) ? folder : undefined;
  try {
    return createRequire(import.meta.url).resolve(`${officialLibrary}/package.json`);
  } catch {
    return undefined;
  }
}

const endpoints: FakeEndpoint[] = [];
afterEach(async () => {
  for (const endpoint of endpoints.splice(0)) await endpoint.close();
});

async function started(cloud: MemoryCloud): Promise<FakeEndpoint> {
  const endpoint = await startFakeEndpoint(cloud, { token: "secret-token" });
  endpoints.push(endpoint);
  return endpoint;
}

const ports: Record<string, (cloud: MemoryCloud) => Promise<GcpPort>> = {
  "a cloud in memory": async (cloud) => memoryPort(cloud),
  "REST against the fake endpoint": async (cloud) =>
    restPort({ endpoint: (await started(cloud)).url, token: () => "secret-token" }),
};
const folder = sdkFolder();
if (folder !== undefined) {
  ports["the official library against the fake endpoint"] = async (cloud) => {
    const require = createRequire(`${folder}/index.js`);
    const { OAuth2Client } = require(authLibrary) as {
      OAuth2Client: new () => { setCredentials(credentials: object): void };
    };
    const authClient = new OAuth2Client();
    authClient.setCredentials({ access_token: "secret-token", expiry_date: Date.now() + 3_600_000 });
    const { port } = await started(cloud);
    return sdkPort({
      library: require(officialLibrary),
      clientOptions: { apiEndpoint: "127.0.0.1", port, protocol: "http", authClient },
    });
  };
}

/** A provider with the controller's part of its work: passes until one succeeds. */
class Bench {
  readonly cloud: MemoryCloud;
  readonly provider: LoadBalancerProvider;
  readonly reports: string[] = [];
  private readonly waits = { count: 0 };

  private constructor(cloud: MemoryCloud, provider: LoadBalancerProvider) {
    this.cloud = cloud;
    this.provider = provider;
  }

  static async create(
    options: {
      cloud?: MemoryCloudOptions;
      port?: (cloud: MemoryCloud) => Promise<GcpPort>;
      configuration?: Partial<GcpProviderOptions["configuration"]>;
      takeOver?: boolean;
      inventoryAge?: number;
    } = {},
  ): Promise<Bench> {
    const cloud = createMemoryCloud(options.cloud);
    const port = await (options.port ?? ports["a cloud in memory"]!)(cloud);
    const provider = gcpProvider({
      port,
      takeOver: options.takeOver ?? false,
      inventoryAge: options.inventoryAge ?? 0,
      configuration: {
        project: "shop",
        region: "europe-west1",
        kubeSystemUID: "0a1b",
        network: "default",
        subnetwork: "default",
        nodeTags: ["nodes"],
        ...options.configuration,
      },
    }) as LoadBalancerProvider;
    return new Bench(cloud, provider);
  }

  context(): ReturnType<typeof createCallContext> {
    let now = 0;
    return {
      ...createCallContext({
        signal: new AbortController().signal,
        idempotencyKey: "test",
        report: (_type, reason, message) => this.reports.push(`${reason}: ${message}`),
      }),
      now: () => now,
      deadline: 60_000,
      sleep: async (milliseconds) => {
        now += milliseconds;
        this.waits.count++;
        // Lets timers of sockets have their turn.
        await new Promise((resolve) => setImmediate(resolve));
      },
    };
  }

  async plan(service: Service, nodes: readonly NodeReference[] = sampleNodes()) {
    const { namespace = "", name = "", uid = "" } = service.metadata;
    const observed = await this.provider.observe(this.context(), { namespace, name, uid });
    return this.provider.plan({ service, nodes, observed });
  }

  async once(service: Service, nodes?: readonly NodeReference[]) {
    return await this.provider.apply(this.context(), await this.plan(service, nodes));
  }

  async ensure(service: Service, nodes?: readonly NodeReference[], attempts = 30): Promise<string[]> {
    for (let attempt = 0; ; attempt++) {
      try {
        return (await this.once(service, nodes)).ingress.map((entry) => entry.ip ?? "");
      } catch (error) {
        const passes = ["NotReady", "Throttled", "Transient", "Concurrency"];
        if (!(error instanceof ProviderError) || !passes.includes(error.code) || attempt > attempts) throw error;
      }
    }
  }

  async destroy({ metadata: { namespace = "", name = "", uid = "" } }: Service, attempts = 30): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.provider.destroy(this.context(), { namespace, name, uid });
      } catch (error) {
        if (!(error instanceof ProviderError) || attempt > attempts) throw error;
      }
    }
  }

  paths(): string[] {
    return [...this.cloud.objects().keys()].map((path) => path.slice(project.length + 1)).sort();
  }

  find(collection: string): Record<string, unknown> {
    const [, body] = [...this.cloud.objects()].find(([path]) => path.includes(`/${collection}/`)) ?? [];
    return { ...body };
  }
}

const web = (annotations: Record<string, string> = {}, spec: Partial<NonNullable<Service["spec"]>> = {}): Service =>
  sampleService("web", (service) => {
    service.metadata.annotations = annotations;
    Object.assign(service.spec!, spec);
  });
const internal = { [annotation("load-balancer-type")]: "Internal" };

for (const [name, port] of Object.entries(ports)) {
  describe(name, () => {
    test("a Service is served, changed in place and removed", async () => {
      const bench = await Bench.create({ port });
      const [ip] = await bench.ensure(web());
      expect(bench.find("forwardingRules")).toMatchObject({
        IPAddress: ip,
        loadBalancingScheme: "EXTERNAL",
        ports: ["80"],
      });
      const before = bench.cloud.requests.length;
      expect(await bench.ensure(web())).toEqual([ip]);
      // Members of groups are listed by POST.
      const writes = bench.cloud.requests
        .slice(before)
        .filter(({ method, path }) => method !== "GET" && !path.endsWith("/listNetworkEndpoints"));
      expect(writes).toEqual([]);

      const { id } = bench.find("backendServices");
      expect(
        await bench.ensure(web({}, { sessionAffinity: "ClientIP", loadBalancerSourceRanges: ["192.0.2.0/24"] })),
      ).toEqual([ip]);
      expect(bench.find("backendServices")).toMatchObject({ id, sessionAffinity: "CLIENT_IP" });

      await bench.destroy(web());
      expect(bench.paths()).toEqual([]);
    });

    test("ports change: the rule is made anew and keeps its address", async () => {
      const bench = await Bench.create({ port });
      const [ip] = await bench.ensure(web());
      expect(await bench.ensure(web({}, { ports: [{ port: 53, protocol: "UDP" }] }))).toEqual([ip]);
      expect(bench.find("forwardingRules")).toMatchObject({ IPAddress: ip, IPProtocol: "UDP", ports: ["53"] });
      expect(bench.paths().filter((path) => path.includes("/addresses/"))).toEqual([]);
    });

    test("nodes over several pages, added and removed in chunks", async () => {
      const bench = await Bench.create({ port, cloud: { pageSize: 50 } });
      await bench.ensure(web(), sampleNodes(240));
      const groups = bench.paths().filter((path) => path.includes("/networkEndpointGroups/"));
      const count = (): number =>
        groups.reduce((sum, path) => sum + bench.cloud.members(`${project}/${path}`).length, 0);
      expect(groups).toHaveLength(3);
      expect(count()).toBe(240);
      expect((await bench.plan(web(), sampleNodes(240))).changes).toEqual([]);
      await bench.ensure(web(), sampleNodes(90));
      expect(count()).toBe(90);
    });

    test("answers that are lost, throttling and server errors are got over, without a twin", async () => {
      const bench = await Bench.create({ port });
      const isWrite = (request: { method: string }): boolean => request.method === "POST";
      bench.cloud.fail({ when: isWrite, answer: "lost" });
      bench.cloud.fail({ when: isWrite, answer: { status: 429, reason: "rateLimitExceeded", retryAfterSeconds: 7 } });
      bench.cloud.fail({ when: isWrite, times: 2, answer: { status: 503, reason: "backendError" } });
      await bench.ensure(web());
      const clean = await Bench.create();
      await clean.ensure(web());
      expect(bench.paths()).toEqual(clean.paths());
    });

    test("a stale fingerprint is a collision, not a lost update", async () => {
      const bench = await Bench.create({ port });
      await bench.ensure(web());
      const plan = await bench.plan(web({}, { sessionAffinity: "ClientIP" }));
      const path = [...bench.cloud.objects().keys()].find((each) => each.includes("/backendServices/"))!;
      bench.cloud.put(path, { fingerprint: "c29tZWJvZHkgZWxzZQ==", logConfig: { enable: true } });
      await expect(bench.provider.apply(bench.context(), plan)).rejects.toMatchObject({ code: "Concurrency" });
      await bench.ensure(web({}, { sessionAffinity: "ClientIP" }));
      // What somebody else set stays.
      expect(bench.find("backendServices")).toMatchObject({
        sessionAffinity: "CLIENT_IP",
        logConfig: { enable: true },
      });
    });

    test("a quota is told as such, by the operation that met it", async () => {
      const bench = await Bench.create({ port, cloud: { quotas: { backendServices: 0 } } });
      await expect(bench.once(web())).rejects.toMatchObject({ code: "Quota" });
    });
  });
}
if (folder === undefined) {
  test.skip("the official library against the fake endpoint (skipped: @google-cloud/compute is not installed)", () => {});
}

describe("a cloud that takes its time", () => {
  test("lists that lag behind, and names that are taken before they are seen, make no twin", async () => {
    const bench = await Bench.create({ cloud: { listLag: 30, operationRequests: 9 } });
    await bench.ensure(web());
    const clean = await Bench.create();
    await clean.ensure(web());
    expect(bench.paths()).toEqual(clean.paths());
  });

  test("an operation that outlasts the deadline is waited for in the next pass", async () => {
    const bench = await Bench.create({ cloud: { operationRequests: 40 } });
    await expect(bench.once(web())).rejects.toMatchObject({ code: "NotReady", retryAfter: 5000 });
    expect(await bench.ensure(web(), undefined, 500)).toHaveLength(1);
    await bench.destroy(web(), 500);
    expect(bench.paths()).toEqual([]);
  });

  test("what somebody else still uses keeps the removal waiting", async () => {
    const bench = await Bench.create();
    await bench.ensure(web());
    const backend = [...bench.cloud.objects().keys()].find((path) => path.includes("/backendServices/"))!;
    const rule = `${region}/forwardingRules/somebody-elses`;
    bench.cloud.put(rule, { backendService: backend, IPAddress: "34.0.0.9", loadBalancingScheme: "EXTERNAL" });
    const { namespace = "", name = "", uid = "" } = web().metadata;
    await expect(bench.provider.destroy(bench.context(), { namespace, name, uid })).rejects.toMatchObject({
      code: "NotReady",
      message: expect.stringContaining("somebody-elses"),
    });
    bench.cloud.remove(rule);
    await bench.destroy(web());
    expect(bench.paths()).toEqual([]);
  });

  test("faults at random end in the same state, and in none after the removal", async () => {
    const clean = await Bench.create();
    await clean.ensure(web());
    for (let seed = 1; seed <= 12; seed++) {
      const bench = await Bench.create({ cloud: { operationRequests: 1 + (seed % 4), listLag: seed % 3 } });
      let state = seed;
      const random = (below: number): number => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor((state / 2 ** 32) * below);
      };
      bench.cloud.fail({ when: () => random(8) === 0, times: 40, answer: "lost" });
      bench.cloud.fail({ when: () => random(8) === 0, times: 20, answer: { status: 503, reason: "backendError" } });
      bench.cloud.fail({
        when: () => random(8) === 0,
        times: 10,
        answer: { status: 403, reason: "rateLimitExceeded" },
      });
      await bench.ensure(web(), undefined, 500);
      expect(bench.paths(), `seed ${seed}`).toEqual(clean.paths());
      await bench.destroy(web(), 500);
      expect(bench.paths(), `seed ${seed}`).toEqual([]);
    }
  });
});

describe("a change that dies at any call", () => {
  const local = { externalTrafficPolicy: "Local", healthCheckNodePort: 32000 } as const;
  const changes: Record<string, [Service, Service]> = {
    "to another protocol": [web(internal), web(internal, { ports: [{ port: 53, protocol: "UDP" }] })],
    "to the other network": [web(), web(internal)],
    "to its own health check, fewer clients and another port": [
      web(),
      web({}, { ...local, loadBalancerSourceRanges: ["192.0.2.0/24"], ports: [{ port: 443, protocol: "TCP" }] }),
    ],
  };
  for (const [name, [before, after]] of Object.entries(changes)) {
    test(`${name}: the next pass finishes it, and no client is ever let in without a firewall`, async () => {
      const clean = await Bench.create();
      await clean.ensure(after);
      for (let index = 0; ; index++) {
        // What dies, dies after a call had its effect; before it is the same as after the one before.
        let left = Number.POSITIVE_INFINITY;
        const dying = async (cloud: MemoryCloud): Promise<GcpPort> => {
          const port = memoryPort(cloud);
          return new Proxy(port, {
            get: (target, property) => {
              const member: unknown = Reflect.get(target, property);
              if (typeof member !== "function") return member;
              return async (...parameters: unknown[]) => {
                if (left <= 0) throw new Error("dead");
                left--;
                return (await Reflect.apply(member, target, parameters)) as unknown;
              };
            },
          });
        };
        const bench = await Bench.create({ port: dying });
        const [ip] = await bench.ensure(before);
        left = index;
        const died = await bench.once(after).then(
          () => false,
          (error: unknown) => (error as Error).message === "dead",
        );
        left = Number.POSITIVE_INFINITY;
        for (const [path, body] of bench.cloud.objects()) {
          if (!path.includes("/forwardingRules/")) continue;
          const guards = [...bench.cloud.objects().values()].filter(({ destinationRanges }) =>
            (destinationRanges as string[] | undefined)?.includes(String(body["IPAddress"])),
          );
          expect(guards, `call ${index}`).toHaveLength(1);
        }
        const [now] = await bench.ensure(after);
        expect(bench.paths(), `call ${index}`).toEqual(clean.paths());
        if (name !== "to the other network") expect(now, `call ${index}`).toBe(ip);
        if (!died) break;
      }
    });
  }
});

describe("plans", () => {
  test("the first one: everything in order, the rule last, the address held and let go", async () => {
    const bench = await Bench.create();
    const { changes } = await bench.plan(web());
    expect(changes.map(({ action, resource }) => `${action} ${resource.kind}`)).toEqual([
      "create healthCheck",
      "create firewall",
      ...Array.from({ length: 3 }, () => ["create networkEndpointGroup", "update networkEndpointGroup"]).flat(),
      "create address",
      "create firewall",
      "create backendService",
      "create forwardingRule",
      "delete address",
    ]);
    expect(changes.every(({ disruptive }) => disruptive === "none")).toBe(true);
  });

  test("to the other network: the address is lost, and the Service asked for it", async () => {
    const bench = await Bench.create();
    await bench.ensure(web());
    const { changes } = await bench.plan(web(internal));
    expect(changes.filter(({ disruptive }) => disruptive === "ip-change")).toMatchObject([
      { action: "delete", requested: true, resource: { kind: "forwardingRule" } },
    ]);
    const [ip] = await bench.ensure(web(internal));
    expect(ip).toMatch(/^10\./);
    expect(bench.find("backendServices")).toMatchObject({ loadBalancingScheme: "INTERNAL" });
  });

  test("to another tier or subnet: the address is lost, which needs consent", async () => {
    const bench = await Bench.create();
    await bench.ensure(web());
    const tier = await bench.plan(web({ "cloud.google.com/network-tier": "Standard" }));
    const lost = tier.changes.find(({ disruptive }) => disruptive === "ip-change");
    expect(lost).toMatchObject({ because: expect.stringContaining("network-tier") });
    expect(lost).not.toHaveProperty("requested");
  });

  test("global access of an internal rule is set and taken back in place", async () => {
    const bench = await Bench.create();
    const access = { ...internal, [annotation("internal-load-balancer-allow-global-access")]: "true" };
    const [ip] = await bench.ensure(web(internal));
    const { id } = bench.find("forwardingRules");
    expect(await bench.ensure(web(access))).toEqual([ip]);
    expect(bench.find("forwardingRules")).toMatchObject({ id, allowGlobalAccess: true });
    await bench.ensure(web(internal));
    expect(bench.find("forwardingRules")).toMatchObject({ id, allowGlobalAccess: false });
  });

  test("health-check times that a user raised stay", async () => {
    const bench = await Bench.create();
    await bench.ensure(web());
    const path = [...bench.cloud.objects().keys()].find((each) => each.includes("/healthChecks/"))!;
    bench.cloud.put(path, { checkIntervalSec: 20 });
    expect((await bench.plan(web())).changes).toEqual([]);
    bench.cloud.put(path, { checkIntervalSec: 2 });
    await bench.ensure(web());
    expect(bench.find("healthChecks")).toMatchObject({ checkIntervalSec: 8 });
  });
});

describe("addresses", () => {
  test("a reserved one is used by name and never given back", async () => {
    const bench = await Bench.create();
    const reserved = `${region}/addresses/shop-ip`;
    bench.cloud.put(reserved, { address: "34.1.2.3", networkTier: "PREMIUM", addressType: "EXTERNAL" });
    const named = web({ [annotation("load-balancer-ip-addresses")]: "shop-ip" });
    expect(await bench.ensure(named)).toEqual(["34.1.2.3"]);
    await bench.destroy(named);
    expect([...bench.cloud.objects().keys()]).toEqual([reserved]);
  });

  test("a name of none is a warning, and another address is used", async () => {
    const bench = await Bench.create();
    const { diagnostics } = await bench.plan(web({ [annotation("load-balancer-ip-addresses")]: "nobody" }));
    expect(diagnostics).toMatchObject([{ severity: "warning", code: "AddressNotFound" }]);
  });

  test("a requested address that is not reserved is refused before any write", async () => {
    const bench = await Bench.create();
    await expect(bench.plan(web({}, { loadBalancerIP: "34.9.9.9" }))).rejects.toMatchObject({ code: "UserConfig" });
    expect(bench.cloud.requests.every((request) => request.method === "GET")).toBe(true);
  });

  test("a reservation in another tier is refused", async () => {
    const bench = await Bench.create();
    bench.cloud.put(`${region}/addresses/shop-ip`, { address: "34.1.2.3", networkTier: "STANDARD" });
    await expect(bench.plan(web({}, { loadBalancerIP: "34.1.2.3" }))).rejects.toMatchObject({
      code: "UserConfig",
      message: expect.stringContaining("STANDARD"),
    });
  });

  test("two families have an address each, and one can go", async () => {
    const bench = await Bench.create();
    const both = web({}, { ipFamilies: ["IPv4", "IPv6"], ipFamilyPolicy: "RequireDualStack" });
    const [four, six] = await bench.ensure(both);
    expect(six).toContain(":");
    expect(await bench.ensure(both)).toEqual([four, six]);
    expect(await bench.ensure(web())).toEqual([four]);
    await bench.destroy(web());
    expect(bench.paths()).toEqual([]);
  });
});

describe("what others have", () => {
  test("the shared health check stays as long as somebody uses it", async () => {
    const bench = await Bench.create();
    const other = sampleService("other");
    await bench.ensure(web());
    await bench.ensure(other);
    await bench.destroy(web());
    expect(bench.find("healthChecks")).toMatchObject({ name: expect.stringContaining("l4-shared-hc") });
    expect(bench.paths().some((path) => path.includes("default-web"))).toBe(false);
    await bench.destroy(other);
    expect(bench.paths()).toEqual([]);
  });

  test("an object of somebody else with our name is a conflict that names it", async () => {
    const bench = await Bench.create();
    const { backendService } = bench.provider.nameFor({ namespace: "default", name: "web", uid: "" });
    bench.cloud.put(`${region}/backendServices/${backendService}`, { protocol: "TCP" });
    await expect(bench.plan(web())).rejects.toMatchObject({
      code: "Conflict",
      message: expect.stringContaining(backendService!),
    });
  });

  test("firewall rules of a shared network that may not be written become commands for its administrator", async () => {
    const bench = await Bench.create({
      cloud: { forbidden: ({ path }) => path.includes("/firewalls") },
      configuration: { networkProject: "host" },
    });
    const [ip] = await bench.ensure(web());
    expect(bench.reports).toContainEqual(
      expect.stringMatching(
        /^LoadBalancerManualChange: .*gcloud compute firewall-rules create k8s2-\w{8}-default-web-\w{8} /,
      ),
    );
    expect(bench.reports.join()).toContain(`--destination-ranges ${ip}`);
    expect(bench.reports.join()).toContain("--project host");
  });

  test("Services that a controller of Google's holds are left to it", async () => {
    const bench = await Bench.create();
    const held = sampleService("web", (service) => {
      service.metadata.finalizers = ["gke.networking.io/l4-netlb-v2"];
    });
    expect(bench.provider.claim(held)).toBe("elsewhere");
    expect(bench.provider.claim(web({}, { loadBalancerClass: "somebody.else/s" }))).toBe("not-mine");
  });
});

describe("load balancers as the in-tree controller makes them", () => {
  for (const [loadBalancerClass, collections] of [
    ["networking.gke.io/l4-regional-external-legacy", ["targetPools", "httpHealthChecks"]],
    ["networking.gke.io/l4-regional-internal-legacy", ["instanceGroups", "healthChecks", "backendServices"]],
  ] as const) {
    test(loadBalancerClass, async () => {
      const bench = await Bench.create({ takeOver: true, configuration: { clusterId: "c1" } });
      const service = web({}, { loadBalancerClass });
      const [ip] = await bench.ensure(service);
      for (const collection of collections) expect(bench.find(collection)).toHaveProperty("name");
      expect((await bench.plan(service)).changes).toEqual([]);
      expect(await bench.ensure(web({}, { loadBalancerClass, sessionAffinity: "ClientIP" }))).toEqual([ip]);
      await bench.ensure(web({}, { loadBalancerClass, sessionAffinity: "ClientIP" }), sampleNodes(5));
      await bench.ensure(web({}, { loadBalancerClass, externalTrafficPolicy: "Local", healthCheckNodePort: 32000 }));
      expect(await bench.ensure(service)).toEqual([ip]);
      await bench.destroy(service);
      expect(bench.paths()).toEqual([]);
    });
  }
});

describe("what is remembered", () => {
  test("many Services read the cloud once, and the first one to meet a surprise has it read anew", async () => {
    const bench = await Bench.create({ inventoryAge: 600_000 });
    const services = Array.from({ length: 20 }, (_, index) => sampleService(`web-${index}`));
    for (const service of services) await bench.ensure(service);
    const lists = (): number =>
      bench.cloud.requests.filter(({ method, path }) => method === "GET" && path.endsWith("/forwardingRules")).length;
    expect(lists()).toBe(1);
    for (const service of services) await bench.ensure(service);
    const before = bench.cloud.requests.length;
    for (const service of services) await bench.ensure(service);
    expect(bench.cloud.requests.length).toBe(before);

    const path = [...bench.cloud.objects().keys()].find((each) => each.includes("/backendServices/"))!;
    bench.cloud.put(path, { fingerprint: "c29tZWJvZHkgZWxzZQ==", sessionAffinity: "CLIENT_IP_PROTO" });
    await bench.ensure(
      sampleService("web-0", (service) => Object.assign(service.spec!, { sessionAffinity: "ClientIP" })),
    );
    expect(lists()).toBe(2);
    expect(bench.cloud.objects().get(path)).toMatchObject({ sessionAffinity: "CLIENT_IP" });
  });
});

describe("validation and policy", () => {
  test("annotations without effect are told", async () => {
    const { provider } = await Bench.create();
    const codes = (service: Service): string[] => provider.validate(service).map((entry) => entry.code);
    expect(codes(web())).toEqual([]);
    expect(codes(web({ [annotation("weighted-load-balancing")]: "pods-per-node" }))).toEqual(["IneffectiveAnnotation"]);
    expect(codes(web({ "cloud.google.com/neg": "{}" }))).toEqual(["IneffectiveAnnotation"]);
    expect(codes(web(internal, { loadBalancerClass: "networking.gke.io/l4-regional-external" }))).toContain(
      "ConflictingConfiguration",
    );
    expect(codes(web({ [annotation("l4-strong-session-affinity")]: "enabled" }))).toEqual(["UserConfig"]);
  });

  test("packets reach nodes as they are", async () => {
    const { provider } = await Bench.create();
    expect(provider.flowPolicy!(web(internal, { loadBalancerSourceRanges: ["10.0.0.0/8"] }))).toMatchObject({
      scheme: "internal",
      destination: "keep",
      clientAddress: "kept",
      sourceRanges: ["10.0.0.0/8"],
      ports: [{ port: 80, targetPort: 80, healthCheck: { port: 10256, path: "/healthz" } }],
    });
    const local = web({}, { externalTrafficPolicy: "Local", healthCheckNodePort: 32000, sessionAffinity: "ClientIP" });
    expect(provider.flowPolicy!(local)).toMatchObject({
      hash: ["source-address", "destination-address"],
      ports: [{ healthCheck: { port: 32000, intervalSeconds: 3, unhealthyThreshold: 2 } }],
    });
  });
});

test("wrong credentials say so, without the token", async () => {
  const cloud = createMemoryCloud();
  const { url } = await started(cloud);
  const bench = await Bench.create({ port: async () => restPort({ endpoint: url, token: () => "wrong-token" }) });
  const error: unknown = await bench.plan(web()).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: "Auth" });
  expect(String((error as Error).stack)).not.toContain("wrong-token");
  expect(cloud.requests).toEqual([]);
});

const isBeside = folder !== undefined && process.env["GOOGLE_CLOUD_COMPUTE"] === undefined;
test.skipIf(isBeside)("without the official library the error says how to get it", async () => {
  await expect(sdkPort().list(`${region}/addresses`)).rejects.toMatchObject({
    code: "Unsupported",
    message: expect.stringContaining("npm install @google-cloud/compute"),
  });
});

describe("taking over what Google's controller made", () => {
  const held = sampleService("web", (service) => {
    service.metadata.finalizers = ["gke.networking.io/l4-netlb-v1"];
  });
  const name = `a${held.metadata.uid!.replaceAll("-", "")}`.slice(0, 32);
  const made = JSON.stringify({ "kubernetes.io/service-name": "default/web" });

  function plant(cloud: MemoryCloud): void {
    const check = `${project}/global/httpHealthChecks/k8s-c1-node`;
    const times = { checkIntervalSec: 8, timeoutSec: 1, healthyThreshold: 1, unhealthyThreshold: 3 };
    cloud.put(check, { port: 10256, requestPath: "/healthz", ...times });
    cloud.put(`${region}/targetPools/${name}`, { description: made, sessionAffinity: "NONE", healthChecks: [check] });
    cloud.put(`${region}/forwardingRules/${name}`, {
      description: made,
      IPAddress: "34.5.6.7",
      IPProtocol: "TCP",
      portRange: "80-80",
      loadBalancingScheme: "EXTERNAL",
      networkTier: "PREMIUM",
      target: `${region}/targetPools/${name}`,
    });
    cloud.put(`${project}/global/firewalls/k8s-fw-${name}`, {
      description: JSON.stringify({
        "kubernetes.io/service-name": "default/web",
        "kubernetes.io/service-ip": "34.5.6.7",
      }),
      network: `${project}/global/networks/default`,
      direction: "INGRESS",
      sourceRanges: ["0.0.0.0/0"],
      destinationRanges: ["34.5.6.7"],
      targetTags: ["nodes"],
      allowed: [{ IPProtocol: "tcp", ports: ["80"] }],
      priority: 1000,
    });
  }

  test("with consent: the rule and its address stay, what is missing is added, and all goes in the end", async () => {
    const bench = await Bench.create({ takeOver: true, configuration: { clusterId: "c1" } });
    plant(bench.cloud);
    const { changes, desired } = await bench.plan(held);
    expect((desired as { model: { variant: string } }).model.variant).toBe("target-pool");
    expect(changes.map(({ action, resource }) => `${action} ${resource.kind}`)).toEqual([
      "create firewall",
      "update targetPool",
    ]);
    expect(await bench.ensure(held)).toEqual(["34.5.6.7"]);
    expect((await bench.plan(held)).changes).toEqual([]);
    await bench.destroy(held);
    expect(bench.paths()).toEqual([]);
  });

  test("without it they are somebody else's", async () => {
    const bench = await Bench.create({ configuration: { clusterId: "c1" } });
    plant(bench.cloud);
    const before = JSON.stringify([...bench.cloud.objects()]);
    await expect(bench.plan(held)).rejects.toMatchObject({ code: "Conflict" });
    await bench.destroy(held);
    expect(JSON.stringify([...bench.cloud.objects()])).toBe(before);
  });

  test("those of another Service of the same name, with another uid, stay", async () => {
    const bench = await Bench.create({ takeOver: true, configuration: { clusterId: "c1" } });
    plant(bench.cloud);
    const before = bench.paths();
    const other = sampleService("web", (service) => {
      service.metadata.uid = "99999999-0000-0000-0000-000000000000";
    });
    await bench.ensure(other);
    await bench.destroy(other);
    expect(bench.paths()).toEqual(before);
  });
});
