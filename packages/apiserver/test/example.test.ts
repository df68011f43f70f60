/** The example of the README: a small controller, and its test. */
import {
  createInformerFactory,
  createWorkQueue,
  type KubernetesApi,
  objectKey,
  runController,
  splitObjectKey,
} from "@portolan/client";
import { resources, type Service } from "@portolan/core";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { startApiServer, type TestApiServer } from "../src/testing/index.ts";

/** The controller under test: labels Services that are open to the world. */
async function runLabeller(api: KubernetesApi, signal: AbortSignal): Promise<void> {
  const informers = createInformerFactory(api);
  const services = informers.informer<Service>(resources.services);
  const queue = createWorkQueue();
  services.addHandler({
    add: (service) => queue.add(objectKey(service)),
    update: (_, service) => queue.add(objectKey(service)),
  });
  informers.start(signal);
  await runController({
    name: "labeller",
    queue,
    signal,
    async reconcile(key) {
      const { namespace = "", name } = splitObjectKey(key);
      const service = services.lister.get(namespace, name);
      if (service === undefined) return;
      const exposed = service.spec?.type === "LoadBalancer" ? "true" : null;
      if ((service.metadata.labels?.["exposed"] ?? null) === exposed) return;
      await api.patch(resources.services, { namespace, name }, { metadata: { labels: { exposed } } });
    },
  });
}

let server: TestApiServer;
const stop = new AbortController();
let running: Promise<void>;
beforeAll(async () => {
  server = await startApiServer();
  running = runLabeller(server.api, stop.signal);
});
afterEach(() => server.reset());
afterAll(async () => {
  stop.abort();
  await running;
  await server.close();
});

const web: Service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "default" },
  spec: { type: "LoadBalancer", ports: [{ port: 80 }] },
};
const label = async (): Promise<string | undefined> => {
  const { metadata } = await server.api.get<Service>(resources.services, { namespace: "default", name: "web" });
  return metadata.labels?.["exposed"];
};

test("labels what is exposed, and takes the label away", async () => {
  await server.api.create(resources.services, web);
  await vi.waitFor(async () => expect(await label()).toBe("true"));
  await server.api.patch(resources.services, { namespace: "default", name: "web" }, { spec: { type: "ClusterIP" } });
  await vi.waitFor(async () => expect(await label()).toBeUndefined());
});

test("gets there when the server has trouble", async () => {
  server.faults.inject({ verb: "patch", resource: "services", status: 500, times: 2 });
  server.faults.inject({ verb: "patch", resource: "services", status: 409 });
  await server.api.create(resources.services, web);
  server.faults.cutWatches("services");
  server.faults.compact();
  await vi.waitFor(async () => expect(await label()).toBe("true"), { timeout: 5000 });
});
