import { createApiClient, createEventRecorder, createInformerFactory } from "@portolan/client";
import { createMemoryApi } from "@portolan/client/testing";
import { type Node, resources, type Service } from "@portolan/core";
import {
  allowAddressChangeAnnotation,
  type CallContext,
  cleanupFinalizer,
  collectOrphans,
  createCallContext,
  createServiceController,
  defaultLoadBalancerName,
  findOrphans,
  isLoadBalancerTarget,
  type LoadBalancerProvider,
  ProviderError,
  type ServiceKey,
} from "@portolan/lb";
import { afterEach, describe, expect, it } from "vitest";

interface Balancers {
  readonly provider: LoadBalancerProvider<{ ip: string; nodes: readonly string[] }, string | undefined>;
  readonly owned: Map<string, string>;
  readonly calls: string[];
  fail: ProviderError | undefined;
  /** Names of the nodes that it was last given. */
  nodes: readonly string[];
}

/** A provider that keeps its load balancers in a map and can be told to fail. */
function createBalancers(): Balancers {
  const owned = new Map<string, string>();
  const keyOf = (key: ServiceKey) => `${key.namespace}/${key.name}/${key.uid}`;
  const balancers: Balancers = {
    owned,
    calls: [],
    fail: undefined,
    nodes: [],
    provider: {
      apiVersion: 1,
      id: "map",
      classes: [],
      default: true,
      capabilities: {
        protocols: ["TCP"],
        mixedProtocol: "none",
        status: "ip",
        ipMode: "VIP",
        dualStack: false,
        requestedIP: "none",
        sourceRanges: "ignored",
        sharedFrontend: false,
        needsNodePorts: true,
        targets: "node",
        internal: false,
        sessionAffinity: false,
        callBudget: { steadyReads: 1 },
      },
      annotations: { prefixes: [], rows: [] },
      nameFor: (key) => ({ balancer: keyOf(key) }),
      claim: (service) => (service.spec?.loadBalancerClass === undefined ? "mine" : "not-mine"),
      validate: (service) =>
        service.metadata.annotations?.["bad"] === undefined
          ? []
          : [{ severity: "error", code: "Bad", message: "annotation bad is not allowed; remove it" }],
      observe: async (_context, key) => owned.get(keyOf(key)),
      plan: ({ service, observed, nodes }) => ({
        key: { namespace: service.metadata.namespace!, name: service.metadata.name!, uid: service.metadata.uid! },
        desired: {
          ip: service.metadata.annotations?.["move"] ?? observed ?? `203.0.113.${owned.size + 1}`,
          nodes: nodes.map((entry) => entry.name),
        },
        changes:
          observed !== undefined && service.metadata.annotations?.["move"] !== undefined
            ? [
                {
                  id: "lb",
                  action: "replace",
                  resource: { kind: "LB", name: "lb" },
                  fields: [["ip", observed, service.metadata.annotations["move"]]],
                  disruptive: "ip-change",
                  because: "annotation move changed",
                  dependsOn: [],
                },
              ]
            : observed === undefined
              ? [
                  {
                    id: "lb",
                    action: "create",
                    resource: { kind: "LB", name: "lb" },
                    fields: [],
                    disruptive: "none",
                    because: "new",
                    dependsOn: [],
                  },
                ]
              : [],
        diagnostics: [],
      }),
      async apply(_context: CallContext, plan) {
        balancers.calls.push(`apply ${plan.key.name}`);
        if (balancers.fail !== undefined) throw balancers.fail;
        owned.set(keyOf(plan.key), plan.desired.ip);
        balancers.nodes = plan.desired.nodes;
        return { ingress: [{ ip: plan.desired.ip, ipMode: "VIP" }] };
      },
      async destroy(_context, key) {
        balancers.calls.push(`destroy ${key.name}`);
        owned.delete(keyOf(key));
      },
      async updateNodes(_context, key, nodes) {
        balancers.calls.push(`updateNodes ${key.name}`);
        balancers.nodes = nodes.map((entry) => entry.name);
      },
      async *listOwned() {
        for (const [text, ip] of owned) {
          const [namespace = "", name = "", uid = ""] = text.split("/");
          yield { kind: "LB", id: ip, key: { namespace, name, uid } };
        }
      },
    },
  };
  return balancers;
}

const stops: AbortController[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop.abort();
});

function start(backoff = { base: 10, max: 50 }) {
  const memory = createMemoryApi();
  const api = createApiClient(memory.transport);
  const informers = createInformerFactory(api);
  const stop = new AbortController();
  stops.push(stop);
  const balancers = createBalancers();
  const events = createEventRecorder({ api, component: "service-controller", signal: stop.signal });
  const controller = createServiceController({
    api,
    informers,
    providers: [balancers.provider],
    events,
    backoff,
  });
  const run = controller.run(stop.signal);
  informers.start(stop.signal);
  return { memory, api, balancers, run, stop };
}

function service(name: string, spec: Partial<Service["spec"]> = {}, annotations?: Record<string, string>): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: "default", name, ...(annotations ? { annotations } : {}) },
    spec: { type: "LoadBalancer", ports: [{ port: 80 }], ...spec },
  };
}

const node = (name: string): Node => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name },
  status: { addresses: [] },
});

async function eventually(check: () => Promise<void> | void): Promise<void> {
  for (let i = 0; ; i++) {
    try {
      return await check();
    } catch (error) {
      if (i > 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

describe("service controller", () => {
  it("sets the finalizer before the first call, publishes the address, and removes the finalizer last", async () => {
    const { memory, api, balancers } = start();
    memory.apply(resources.nodes, node("node1"));
    memory.apply(resources.services, service("web"));
    const get = () => api.get<Service>(resources.services, { namespace: "default", name: "web" });
    await eventually(async () => {
      const found = await get();
      expect(found.status?.loadBalancer?.ingress).toEqual([
        { ip: "203.0.113.1", ipMode: "VIP", ports: [{ port: 80, protocol: "TCP" }] },
      ]);
      expect(found.metadata.finalizers).toEqual([cleanupFinalizer]);
      expect(found.status?.conditions).toMatchObject([{ type: "LoadBalancerReady", status: "True" }]);
    });
    const found = await get();
    memory.apply(resources.services, {
      ...found,
      metadata: { ...found.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" },
    });
    await eventually(async () => {
      expect((await get()).metadata.finalizers ?? []).toEqual([]);
      expect(balancers.owned.size).toBe(0);
    });
  });

  it("gives the address back when the type changes", async () => {
    const { memory, api, balancers } = start();
    memory.apply(resources.services, service("web"));
    await eventually(() => expect(balancers.owned.size).toBe(1));
    const get = () => api.get<Service>(resources.services, { namespace: "default", name: "web" });
    await eventually(async () => expect((await get()).status?.loadBalancer?.ingress).toHaveLength(1));
    const found = await get();
    memory.apply(resources.services, { ...found, spec: { ...found.spec, type: "ClusterIP" } });
    await eventually(async () => {
      expect(balancers.owned.size).toBe(0);
      expect((await get()).metadata.finalizers ?? []).toEqual([]);
    });
  });

  it("says why a Service stays pending, once, and makes no call for one that is wrong", async () => {
    const { memory, api, balancers } = start();
    memory.apply(resources.services, service("wrong", {}, { bad: "yes" }));
    await eventually(async () => {
      const found = await api.get<Service>(resources.services, { namespace: "default", name: "wrong" });
      expect(found.status?.conditions).toMatchObject([
        { status: "False", reason: "UserConfig", message: "annotation bad is not allowed; remove it" },
      ]);
    });
    await eventually(async () => {
      const events = await api.list(resources.events, { namespace: "default" });
      expect(
        events.items.filter((event) => (event as { reason?: string }).reason === "SyncLoadBalancerFailed"),
      ).toHaveLength(1);
    });
    expect(balancers.calls).toEqual([]);
  });

  it("tries again after a failure", async () => {
    const { memory, balancers } = start();
    balancers.fail = new ProviderError("Transient", "the cloud is away");
    memory.apply(resources.services, service("web"));
    await eventually(() => expect(balancers.calls.length).toBeGreaterThan(1));
    balancers.fail = undefined;
    await eventually(() => expect(balancers.owned.size).toBe(1));
  });

  it("leaves Services of another class alone", async () => {
    const { memory, api, balancers } = start();
    memory.apply(resources.services, service("other", { loadBalancerClass: "example.com/other" }));
    memory.apply(resources.services, service("mine"));
    await eventually(() => expect(balancers.owned.size).toBe(1));
    const other = await api.get<Service>(resources.services, { namespace: "default", name: "other" });
    expect(other.metadata.finalizers).toBeUndefined();
  });
});

describe("service controller and nodes", () => {
  it("tells a provider new nodes without a full sync, and does not for readiness or heartbeats", async () => {
    const { memory, balancers } = start();
    memory.apply(resources.nodes, node("node1"));
    memory.apply(resources.services, service("web"));
    await eventually(() => expect(balancers.nodes).toEqual(["node1"]));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const before = balancers.calls.splice(0);
    expect(new Set(before)).toEqual(new Set(["apply web"]));
    memory.apply(resources.nodes, node("node2"));
    await eventually(() => expect(balancers.nodes).toEqual(["node1", "node2"]));
    expect(balancers.calls).toEqual(["updateNodes web"]);
    memory.apply(resources.nodes, {
      ...node("node2"),
      status: { addresses: [], conditions: [{ type: "Ready", status: "False" }] },
    });
    memory.apply(resources.nodes, {
      ...node("node1"),
      metadata: { name: "node1", labels: { "node.kubernetes.io/exclude-from-external-load-balancers": "" } },
    });
    await eventually(() => expect(balancers.nodes).toEqual(["node2"]));
    expect(balancers.calls).toEqual(["updateNodes web", "updateNodes web"]);
  });
});

describe("service controller and addresses", () => {
  it("refuses to lose an address until the Service allows it", async () => {
    const { memory, api, balancers } = start();
    memory.apply(resources.services, service("web"));
    const get = () => api.get<Service>(resources.services, { namespace: "default", name: "web" });
    await eventually(async () => expect((await get()).status?.loadBalancer?.ingress?.[0]?.ip).toBe("203.0.113.1"));
    const found = await get();
    const moved = { ...found, metadata: { ...found.metadata, annotations: { move: "203.0.113.9" } } };
    memory.apply(resources.services, moved);
    await eventually(async () => {
      const conditions = (await get()).status?.conditions ?? [];
      expect(conditions).toMatchObject([
        { type: "LoadBalancerReady", status: "True" },
        { type: "LoadBalancerDegraded", status: "True", reason: "ImmutableField" },
      ]);
      expect(conditions[1]?.message).toContain(allowAddressChangeAnnotation);
    });
    expect(balancers.calls).toEqual(["apply web"]);
    const annotations = { move: "203.0.113.9", [allowAddressChangeAnnotation]: "true" };
    memory.apply(resources.services, { ...(await get()), metadata: { ...moved.metadata, annotations } });
    await eventually(async () => {
      expect((await get()).status?.loadBalancer?.ingress?.[0]?.ip).toBe("203.0.113.9");
      expect((await get()).status?.conditions).toHaveLength(1);
    });
  });

  it("says what it waits for while a cloud works, and calls that no failure", async () => {
    const { memory, api, balancers } = start();
    balancers.fail = new ProviderError("NotReady", "load balancer is provisioning", { retryAfter: 20 });
    memory.apply(resources.services, service("web"));
    const get = () => api.get<Service>(resources.services, { namespace: "default", name: "web" });
    await eventually(async () =>
      expect((await get()).status?.conditions).toMatchObject([
        { type: "LoadBalancerReady", status: "False", message: "load balancer is provisioning" },
        { type: "LoadBalancerProgressing", status: "True", reason: "NotReady" },
      ]),
    );
    balancers.fail = undefined;
    await eventually(async () =>
      expect((await get()).status?.conditions).toMatchObject([{ type: "LoadBalancerReady", status: "True" }]),
    );
    const reasons = (
      await api.list<{ reason?: string } & Service>(resources.events, { namespace: "default" })
    ).items.map((event) => event.reason);
    expect(reasons).toContain("LoadBalancerProgressing");
    expect(reasons).not.toContain("SyncLoadBalancerFailed");
  });

  it("tries again at once when somebody else changed the same object", async () => {
    const { memory, balancers } = start({ base: 60_000, max: 60_000 });
    balancers.fail = new ProviderError("Concurrency", "etag differs");
    memory.apply(resources.services, service("web"));
    await eventually(() => expect(balancers.calls.length).toBe(4));
  });
});

describe("orphans", () => {
  it("are what no living Service owns, and are removed one by one", async () => {
    const { balancers } = createOrphans();
    const context = createCallContext({ signal: new AbortController().signal, idempotencyKey: "test" });
    const alive: Service = { ...service("web"), metadata: { namespace: "default", name: "web", uid: "u2" } };
    const found = await findOrphans(context, balancers.provider, [alive]);
    expect(found.map((orphan) => orphan.key.uid)).toEqual(["u1"]);
    const collected = await collectOrphans(context, balancers.provider, [alive]);
    expect(collected.map((orphan) => [orphan.key.uid, orphan.error])).toEqual([["u1", undefined]]);
    expect([...balancers.owned.keys()]).toEqual(["default/web/u2"]);
  });
});

function createOrphans() {
  const balancers = createBalancers();
  balancers.owned.set("default/web/u1", "203.0.113.1");
  balancers.owned.set("default/web/u2", "203.0.113.2");
  return { balancers };
}

describe("load-balancer targets", () => {
  it("ignores readiness, honours the exclusion label and the autoscaler's taint", () => {
    const labelled = (value: string): Node => ({
      metadata: { name: "n", labels: { "node.kubernetes.io/exclude-from-external-load-balancers": value } },
    });
    expect(
      isLoadBalancerTarget({ metadata: { name: "n" }, status: { conditions: [{ type: "Ready", status: "False" }] } }),
    ).toBe(true);
    expect(isLoadBalancerTarget(labelled(""))).toBe(false);
    expect(isLoadBalancerTarget(labelled("foo"))).toBe(false);
    expect(isLoadBalancerTarget(labelled("false"))).toBe(true);
    expect(
      isLoadBalancerTarget({
        metadata: {},
        spec: { taints: [{ key: "ToBeDeletedByClusterAutoscaler", effect: "NoSchedule" }] },
      }),
    ).toBe(false);
  });

  it("names load balancers as classic providers do", () => {
    expect(defaultLoadBalancerName("01234567-89ab-cdef-0123-456789abcdef")).toBe("a0123456789abcdef0123456789abcde");
  });
});
