import { createFakeClock } from "@portolan/client/testing";
import { type Deployment, type EndpointSlice, type Pod, resources, type Service } from "@portolan/core";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { startCluster, type TestCluster } from "../src/testing/index.ts";

const labels = { app: "web" };
const web: Deployment = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "web", namespace: "default" },
  spec: {
    replicas: 3,
    selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: { containers: [{ name: "web", image: "web" }] } },
  },
};
const service: Service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "default" },
  spec: { selector: labels, ports: [{ port: 80 }] },
};

async function readyAddresses({ api }: TestCluster): Promise<string[]> {
  const { items } = await api.list<EndpointSlice>(resources.endpointSlices, {
    namespace: "default",
    labelSelector: "kubernetes.io/service-name=web",
  });
  return items
    .flatMap(({ endpoints }) => endpoints ?? [])
    .filter(({ conditions }) => conditions?.ready === true)
    .flatMap(({ addresses }) => addresses)
    .sort();
}
const pods = async ({ api }: TestCluster): Promise<readonly Pod[]> =>
  (await api.list<Pod>(resources.pods, { namespace: "default" })).items;
const waiting = { timeout: 10_000 };

describe("a control plane for tests", () => {
  let cluster: TestCluster;
  const errors: string[] = [];
  beforeAll(async () => {
    cluster = await startCluster({ onError: (error, what) => errors.push(`${what}: ${(error as Error).message}`) });
  });
  afterEach(() => cluster.reset());
  afterAll(() => cluster.close());

  it("runs what it is told to, and says so in EndpointSlices", async () => {
    await cluster.api.create(resources.services, service);
    await cluster.api.create(resources.deployments, web);
    await vi.waitFor(async () => expect(await readyAddresses(cluster)).toHaveLength(3), waiting);
    expect(new Set((await pods(cluster)).map((pod) => pod.spec?.nodeName))).toEqual(new Set(["node1", "node2"]));
    cluster.kubelet.setReady("default", (await pods(cluster))[0]?.metadata.name ?? "", false);
    await vi.waitFor(async () => expect(await readyAddresses(cluster)).toHaveLength(2), waiting);
  });

  it("forgets it between tests, and goes on", async () => {
    await vi.waitFor(async () => expect(await pods(cluster)).toEqual([]), waiting);
    expect((await cluster.api.list(resources.nodes)).items).toHaveLength(2);
    await cluster.api.create(resources.services, service);
    await cluster.api.create(resources.deployments, { ...web, spec: { ...web.spec, replicas: 1 } } as Deployment);
    cluster.server.faults.cutWatches();
    await vi.waitFor(async () => expect(await readyAddresses(cluster)).toHaveLength(1), waiting);
  });
});

describe("a control plane on a clock that is turned by hand", () => {
  it("does nothing before its time", async () => {
    const clock = createFakeClock();
    const cluster = await startCluster({ clock, script: () => ({ readyAfter: 60_000 }) });
    try {
      await cluster.api.create(resources.services, service);
      await cluster.api.create(resources.deployments, web);
      await clock.advance(50_000);
      expect(await pods(cluster)).toHaveLength(3);
      expect(await readyAddresses(cluster)).toEqual([]);
      await clock.advance(20_000);
      expect(await readyAddresses(cluster)).toHaveLength(3);
    } finally {
      await cluster.close();
    }
  });
});
