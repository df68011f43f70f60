import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type KubernetesApi, objectKey } from "@portolan/client";
import { resources, type Service } from "@portolan/core";
import { azureProvider } from "@portolan/lb-azure";
import { AzureCloud } from "@portolan/lb-azure/testing";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type ClusterOptions, startCluster } from "../src/index.ts";

// Whole clusters with processes, on machines that do other things as well.
vi.setConfig({ testTimeout: 60_000 });

const folders: string[] = [];
const folder = (): string => folders[folders.push(mkdtempSync(join(tmpdir(), "portolan-cluster-"))) - 1]!;
afterEach(() => {
  for (const each of folders.splice(0)) rmSync(each, { recursive: true });
});

const anyPorts = { api: 0, dns: 0, gateway: 0 };
const options = (rest: Partial<ClusterOptions> = {}): ClusterOptions => ({
  mode: "none",
  nodes: 1,
  directory: folder(),
  ports: anyPorts,
  ...rest,
});

function loadBalancer(name: string, loadBalancerClass?: string): Service {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: {
      type: "LoadBalancer",
      ports: [{ port: 80 }],
      ...(loadBalancerClass === undefined ? {} : { loadBalancerClass }),
    },
  };
}

async function addressesOf(api: KubernetesApi): Promise<Record<string, string | undefined>> {
  const { items } = await api.list<Service>(resources.services, { namespace: "default" });
  const balanced = items.filter(({ spec }) => spec?.type === "LoadBalancer");
  return Object.fromEntries(
    balanced.map((service) => [objectKey(service), service.status?.loadBalancer?.ingress?.[0]?.ip]),
  );
}

describe("providers of load balancers beside the local one", () => {
  it("give Services of their class an address, and close with the cluster", async () => {
    const cloud = new AzureCloud();
    const azure = azureProvider({
      port: cloud,
      configuration: {
        clusterName: "portolan",
        resourceGroup: "rg",
        location: "westus",
        vnetName: "vnet",
        subnetName: "subnet",
        securityGroupName: "kubernetes-nsg",
      },
      loadBalancerClass: "example.com/azure",
    });
    const close = vi.fn(async () => {});
    const cluster = await startCluster(options({ loadBalancerProviders: [{ ...azure, close }] }));
    try {
      const { api } = cluster;
      for (const service of [
        loadBalancer("cloud", "example.com/azure"),
        loadBalancer("plain"),
        loadBalancer("stranger", "example.com/nobody"),
      ])
        await api.create(resources.services, service);
      await vi.waitFor(
        async () => {
          const addresses = await addressesOf(api);
          expect(addresses["default/cloud"]).toBe([...cloud.publicIPs.values()][0]?.properties?.ipAddress);
          expect(addresses["default/cloud"]).toBeDefined();
          expect(addresses["default/plain"]).toMatch(/^172\.18\.255\./);
        },
        { timeout: 20_000 },
      );
      expect((await addressesOf(api))["default/stranger"]).toBeUndefined();
      await api.delete(resources.services, { namespace: "default", name: "cloud" });
      await vi.waitFor(() => expect(cloud.publicIPs.size).toBe(0), { timeout: 20_000 });
      expect(close).not.toHaveBeenCalled();
    } finally {
      await cluster.close();
    }
    expect(close).toHaveBeenCalledOnce();
  });
});

it("takes other ports when the usual ones are busy", async () => {
  const ports = {};
  const first = await startCluster(options({ ports }));
  try {
    const second = await startCluster(options({ ports }));
    const taken = ({ url, dns, gateway }: typeof first): unknown[] => [url, dns.port, gateway.port];
    for (const [i, port] of taken(first).entries()) expect(taken(second)[i]).not.toBe(port);
    await second.close();
  } finally {
    await first.close();
  }
});

describe.each(["none", "gateway"] as const)("a cluster in mode %s that cannot start", (mode) => {
  it("ends what it made when its port is busy", async () => {
    const busy = createServer();
    const port = await new Promise<number>((resolve) => {
      busy.listen(0, "127.0.0.1", () => resolve((busy.address() as { port: number }).port));
    });
    try {
      const start = startCluster(options({ mode, ports: { ...anyPorts, gateway: port } }));
      await expect(start).rejects.toMatchObject({ code: "EADDRINUSE" });
    } finally {
      await new Promise((resolve) => busy.close(resolve));
    }
  });

  it("ends when an object that it needs is refused, after everything runs", async () => {
    const dataDirectory = folder();
    const first = await startCluster(options({ dataDirectory }));
    const dns = { namespace: "kube-system", name: "kube-dns" };
    const { spec } = await first.api.get<Service>(resources.services, dns);
    await first.api.delete(resources.services, dns);
    const thief = { ...loadBalancer("thief"), spec: { clusterIP: spec?.clusterIP ?? "", ports: [{ port: 53 }] } };
    await first.api.create(resources.services, thief);
    await first.close();
    await expect(startCluster(options({ mode, dataDirectory }))).rejects.toThrow("provided IP is already allocated");
  });

  it("ends when it is told to, whatever it was doing", async () => {
    const steps: string[] = [];
    await (await startCluster(options({ mode, onProgress: (text) => steps.push(text) }))).close();
    expect(steps.length).toBeGreaterThan(2);
    for (const last of steps.slice(0, -1).keys()) {
      const stop = new AbortController();
      let step = 0;
      const onProgress = (): void => {
        if (step++ === last) stop.abort(new Error(`told to end at step ${last}`));
      };
      const start = startCluster(options({ mode, onProgress, signal: stop.signal }));
      await expect(start).rejects.toThrow(`told to end at step ${last}`);
    }
    await expect(startCluster(options({ mode, signal: AbortSignal.abort() }))).rejects.toThrow();
  });
});
