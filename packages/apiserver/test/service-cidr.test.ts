import { createApiClient, createInformerFactory } from "@portolan/client";
import { resources, type ServiceCIDR } from "@portolan/core";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type ApiServer, createApiServer, createServiceCIDRController } from "../src/index.ts";
import { send, service, services } from "./client.ts";

let server: ApiServer;
let stop: AbortController;
let running: Promise<void>;
beforeEach(async () => {
  server = await createApiServer({ serviceCIDRs: ["10.96.0.0/29"] });
  stop = new AbortController();
  const api = createApiClient(server.transport);
  const informers = createInformerFactory(api);
  running = createServiceCIDRController({ api, informers }).run(stop.signal);
  informers.start(stop.signal);
  await informers.synced(stop.signal);
});
afterEach(async () => {
  stop.abort();
  await running;
  await server.close();
});

const cidrs = "/apis/networking.k8s.io/v1/servicecidrs";

async function read(name: string): Promise<ServiceCIDR | undefined> {
  const { status, body } = await send(server, "GET", `${cidrs}/${name}`);
  return status === 404 ? undefined : body;
}

function ready(cidr: ServiceCIDR | undefined): string | undefined {
  return cidr?.status?.conditions?.find((condition) => condition.type === "Ready")?.status;
}

it("a further range takes over when the first is full, and stays as long as it is needed", async () => {
  for (let i = 0; i < 5; i++) await send(server, "POST", services, service(`s${i}`));
  expect((await send(server, "POST", services, service("full"))).status).toBe(500);
  await send(server, "POST", cidrs, { metadata: { name: "extra" }, spec: { cidrs: ["10.97.0.0/24"] } });
  await vi.waitFor(async () => expect(ready(await read("extra"))).toBe("True"));
  const more = await send(server, "POST", services, service("more"));
  expect(more.body.spec.clusterIP).toMatch(/^10\.97\.0\./);

  await send(server, "DELETE", `${cidrs}/extra`);
  await vi.waitFor(async () => expect(ready(await read("extra"))).toBe("False"));
  expect((await send(server, "POST", services, service("none"))).status).toBe(500);
  await send(server, "DELETE", `${services}/more`);
  await vi.waitFor(async () => expect(await read("extra")).toBeUndefined(), { timeout: 5_000 });
});

it("the default range is left as it is", async () => {
  const before = await read("kubernetes");
  await send(server, "POST", services, service("web"));
  expect(await read("kubernetes")).toEqual(before);
  expect(resources.serviceCIDRs.namespaced).toBe(false);
});
