import { createApiClient, createInformerFactory } from "@portolan/client";
import { createMemoryApi } from "@portolan/client/testing";
import { type EndpointSlice, resources, type Service } from "@portolan/core";
import type { ServicePortSpec, ServiceTables } from "@portolan/dataplane";
import { createProxy, type ProxyOptions, type SyncReport } from "@portolan/proxy";
import { afterEach, describe, expect, it } from "vitest";

/** Tables that keep what they are told, and a journal of the calls. */
function createJournal(): ServiceTables & { ports: Map<string, ServicePortSpec>; calls: string[]; broken: boolean } {
  const ports = new Map<string, ServicePortSpec>();
  const calls: string[] = [];
  const journal = {
    ports,
    calls,
    broken: false,
    configureNode: () => void calls.push("configureNode"),
    setServicePort(spec: ServicePortSpec) {
      if (journal.broken) throw new Error("no");
      calls.push(`set ${spec.id}`);
      ports.set(spec.id, spec);
    },
    removeServicePort(id: string) {
      calls.push(`remove ${id}`);
      ports.delete(id);
    },
    replaceServicePorts(specs: readonly ServicePortSpec[]) {
      calls.push(`replace ${specs.length}`);
      ports.clear();
      for (const spec of specs) ports.set(spec.id, spec);
    },
    flushUdp: (frontends: readonly { port: number }[], _family: string, keep: readonly string[]) => {
      calls.push(`flush ${frontends[0]?.port} keep ${keep.join(",")}`);
      return 3;
    },
  };
  return journal;
}

function service(name: string, address: string, protocol: "TCP" | "UDP" = "TCP"): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: "default", name },
    spec: { clusterIP: address, clusterIPs: [address], ports: [{ name: "p", port: 80, protocol }] },
  };
}

function slice(name: string, addresses: string[], protocol: "TCP" | "UDP" = "TCP"): EndpointSlice {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace: "default", name: `${name}-1`, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "p", port: 8080, protocol }],
    endpoints: addresses.map((address) => ({ addresses: [address], nodeName: "node1" })),
  };
}

const stops: AbortController[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop.abort();
});

async function start(
  prepare: (memory: ReturnType<typeof createMemoryApi>) => void,
  more: Partial<ProxyOptions> = {},
  tables = createJournal(),
) {
  const memory = createMemoryApi();
  prepare(memory);
  const informers = createInformerFactory(createApiClient(memory.transport));
  const reports: SyncReport[] = [];
  const errors: Error[] = [];
  const stop = new AbortController();
  stops.push(stop);
  const proxy = createProxy({
    informers,
    nodeName: "node1",
    tables,
    syncPeriod: 20,
    onSync: (report) => reports.push(report),
    onError: (error) => errors.push(error),
    ...more,
  });
  void proxy.run(stop.signal);
  informers.start(stop.signal);
  await proxy.synced();
  return { memory, tables, reports, errors, proxy };
}

async function eventually(check: () => void): Promise<void> {
  for (let i = 0; ; i++) {
    try {
      return check();
    } catch (error) {
      if (i > 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

describe("createProxy", () => {
  it("installs everything in one step first, then only what changed", async () => {
    const { memory, tables, reports } = await start((api) => {
      for (let i = 1; i <= 20; i++) {
        api.apply(resources.services, service(`s${i}`, `10.96.0.${i}`));
        api.apply(resources.endpointSlices, slice(`s${i}`, [`10.244.0.${i}`]));
      }
    });
    expect(tables.calls.filter((call) => call.startsWith("replace"))).toEqual(["replace 20"]);
    tables.calls.length = 0;
    memory.apply(resources.endpointSlices, slice("s7", ["10.244.0.7", "10.244.1.7"]));
    await eventually(() => expect(tables.ports.get("default/s7:p/TCP/IPv4")?.cluster).toHaveLength(2));
    expect(tables.calls).toEqual(["set default/s7:p/TCP/IPv4"]);
    expect(reports.at(-1)).toEqual({ full: false, services: 1, set: 1, removed: 0, refused: 0 });
  });

  it("writes nothing for a change that no packet can see", async () => {
    const { memory, tables, proxy } = await start((api) => {
      api.apply(resources.services, service("web", "10.96.0.1"));
      api.apply(resources.endpointSlices, slice("web", ["10.244.0.1"]));
    });
    tables.calls.length = 0;
    const labelled = service("web", "10.96.0.1");
    memory.apply(resources.services, { ...labelled, metadata: { ...labelled.metadata, labels: { a: "b" } } });
    await eventually(() => expect(proxy.metrics.serviceChanges).toEqual({ pending: 0, total: 2 }));
    expect(tables.calls).toEqual([]);
  });

  it("removes entries of deleted Services and of slices that move to another one", async () => {
    const { memory, tables } = await start((api) => {
      api.apply(resources.services, service("a", "10.96.0.1"));
      api.apply(resources.services, service("b", "10.96.0.2"));
      api.apply(resources.endpointSlices, slice("a", ["10.244.0.1"]));
    });
    const moved = slice("a", ["10.244.0.1"]);
    memory.apply(resources.endpointSlices, {
      ...moved,
      metadata: { ...moved.metadata, labels: { "kubernetes.io/service-name": "b" } },
    });
    await eventually(() => {
      expect(tables.ports.get("default/a:p/TCP/IPv4")?.hasAny).toBe(false);
      expect(tables.ports.get("default/b:p/TCP/IPv4")?.cluster).toHaveLength(1);
    });
    memory.remove(resources.services, "a", "default");
    await eventually(() => expect([...tables.ports.keys()]).toEqual(["default/b:p/TCP/IPv4"]));
  });

  it("flushes UDP after the tables say the new endpoints, and not when there are none", async () => {
    const { memory, proxy, tables } = await start((api) => {
      api.apply(resources.services, service("dns", "10.96.0.10", "UDP"));
      api.apply(resources.endpointSlices, slice("dns", ["10.244.0.1", "10.244.0.2"], "UDP"));
    });
    tables.calls.length = 0;
    const metric = (name: string, family: string) =>
      new RegExp(`^kubeproxy_${name}\\{ip_family="${family}"\\} (.*)$`, "m").exec(proxy.metrics.render())?.[1];
    expect(metric("conntrack_reconciler_deleted_entries_total", "IPv4")).toBe("3");
    expect(metric("sync_full_proxy_rules_duration_seconds_count", "IPv6")).toBe("1");
    memory.apply(resources.endpointSlices, slice("dns", ["10.244.0.2"], "UDP"));
    await eventually(() => expect(tables.calls).toEqual(["set default/dns:p/UDP/IPv4", "flush 80 keep 10.244.0.2"]));
    tables.calls.length = 0;
    memory.apply(resources.endpointSlices, slice("dns", [], "UDP"));
    await eventually(() => expect(tables.calls).toEqual(["set default/dns:p/UDP/IPv4"]));
    // The slices are of one family: the other one has nothing to sync, and has no flows that were removed.
    expect(metric("conntrack_reconciler_deleted_entries_total", "IPv4")).toBe("6");
    expect(metric("conntrack_reconciler_deleted_entries_total", "IPv6")).toBeUndefined();
    expect(metric("sync_partial_proxy_rules_duration_seconds_count", "IPv4")).toBe("2");
    expect(metric("sync_partial_proxy_rules_duration_seconds_count", "IPv6")).toBeUndefined();
  });

  it("tries a failed sync again and is unhealthy only while it waits", async () => {
    const { memory, tables, errors, proxy } = await start(
      (api) => void api.apply(resources.services, service("web", "10.96.0.1")),
    );
    tables.broken = true;
    memory.apply(resources.endpointSlices, slice("web", ["10.244.0.1"]));
    await eventually(() => expect(errors.length).toBeGreaterThan(0));
    expect(proxy.health().oldestPending).toBeDefined();
    tables.broken = false;
    await eventually(() => expect(tables.ports.get("default/web:p/TCP/IPv4")?.cluster).toHaveLength(1));
    expect(proxy.health().oldestPending).toBeUndefined();
  });

  it("one entry that is refused does not hold up the others, and keeps what it had", async () => {
    const journal = createJournal();
    const refusing = {
      ...journal,
      setServicePort(spec: ServicePortSpec) {
        if (spec.id.startsWith("default/bad") && spec.hasAny) throw new Error("refused");
        journal.setServicePort(spec);
      },
      replaceServicePorts(specs: readonly ServicePortSpec[]) {
        if (specs.some((spec) => spec.id.startsWith("default/bad") && spec.hasAny)) throw new Error("refused");
        journal.replaceServicePorts(specs);
      },
    };
    const { memory, errors, proxy } = await start(
      (api) => {
        for (const [i, name] of ["a", "bad", "c"].entries()) {
          api.apply(resources.services, service(name, `10.96.0.${i + 1}`));
          api.apply(resources.endpointSlices, slice(name, [`10.244.0.${i + 1}`]));
        }
      },
      { syncPeriod: 10_000 },
      refusing,
    );
    expect([...journal.ports.keys()].sort()).toEqual(["default/a:p/TCP/IPv4", "default/c:p/TCP/IPv4"]);
    expect(errors).toHaveLength(1);
    expect(proxy.health().oldestPending).toBeDefined();
    // The retry is seconds away; another change does not wait for it, and what was refused is tried again with it.
    memory.apply(resources.endpointSlices, slice("c", ["10.244.1.3"]));
    await eventually(() => expect(journal.ports.get("default/c:p/TCP/IPv4")?.cluster[0]?.address).toBe("10.244.1.3"));
    expect(errors).toHaveLength(2);
    memory.apply(resources.endpointSlices, slice("bad", []));
    await eventually(() => expect(journal.ports.get("default/bad:p/TCP/IPv4")?.hasAny).toBe(false));
    expect(proxy.health().oldestPending).toBeUndefined();
    expect(proxy.metrics.render()).toContain(
      'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 2',
    );
    expect(proxy.metrics.render()).not.toContain('failures_total{ip_family="IPv6"}');
  });

  it("installs everything anew once in a full-sync period, whatever was lost", async () => {
    const { tables, reports } = await start(
      (api) => {
        api.apply(resources.services, service("web", "10.96.0.1"));
        api.apply(resources.endpointSlices, slice("web", ["10.244.0.1"]));
      },
      { fullSyncPeriod: 30 },
    );
    tables.ports.clear();
    await eventually(() => expect([...tables.ports.keys()]).toEqual(["default/web:p/TCP/IPv4"]));
    expect(reports.filter((report) => report.full).length).toBeGreaterThan(1);
  });

  it("waits the shortest time between syncs and applies what came meanwhile together", async () => {
    const { memory, tables, reports } = await start(
      (api) => void api.apply(resources.services, service("web", "10.96.0.1")),
      { minSyncPeriod: 150 },
    );
    const before = reports.length;
    for (let i = 1; i <= 5; i++) {
      memory.apply(resources.endpointSlices, slice("web", [`10.244.0.${i}`]));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await eventually(() => expect(tables.ports.get("default/web:p/TCP/IPv4")?.cluster[0]?.address).toBe("10.244.0.5"));
    expect(reports.length - before).toBeLessThan(3);
  });

  it("counts Service ports without local endpoints as they come and go", async () => {
    const local = (name: string, address: string): Service => {
      const made = service(name, address);
      return { ...made, spec: { ...made.spec!, internalTrafficPolicy: "Local" } };
    };
    const { memory, proxy } = await start((api) => {
      api.apply(resources.services, local("near", "10.96.0.1"));
      api.apply(resources.endpointSlices, slice("near", ["10.244.0.1"]));
      api.apply(resources.services, local("far", "10.96.0.2"));
      const far = slice("far", ["10.244.1.1"]);
      api.apply(resources.endpointSlices, {
        ...far,
        endpoints: [{ addresses: ["10.244.1.1"], nodeName: "node2" }],
      });
    });
    const line = (count: number) =>
      `kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="internal"} ${count}\n`;
    expect(proxy.metrics.render()).toContain(line(1));
    memory.remove(resources.services, "far", "default");
    await eventually(() => expect(proxy.metrics.render()).toContain(line(0)));
  });
});
