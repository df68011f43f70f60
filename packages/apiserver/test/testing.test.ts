import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isConflict, isNotFound } from "@portolan/client";
import { resources, type Service } from "@portolan/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApiServer, type TestApiServer } from "../src/testing/index.ts";
import { send, service, services } from "./client.ts";

let server: TestApiServer;
let directory: string;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "portolan-testing-"));
  server = await startApiServer();
});
afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

const get = (name: string): Promise<Service> =>
  server.api.get<Service>(resources.services, { namespace: "default", name });

/** Opens a watch of all Services and gathers what it is told. */
function follow(): { events: string[]; stop: () => Promise<void> } {
  const abort = new AbortController();
  const events: string[] = [];
  const done = (async () => {
    const response = await server.transport({
      method: "GET",
      path: `${services}?watch=1&resourceVersion=${server.store.revision}`,
      headers: {},
      signal: abort.signal,
    });
    for await (const text of response.stream ?? [])
      for (const line of String(text).trim().split("\n")) {
        const { type, object } = JSON.parse(line);
        events.push(`${type} ${object.metadata.name}`);
      }
  })();
  return {
    events,
    async stop() {
      abort.abort();
      await done;
    },
  };
}

describe("snapshots", () => {
  it("bring back what was changed and removed, with its uid, and take away what came", async () => {
    const kept = (await send(server, "POST", services, service("kept", { type: "NodePort" }))).body as Service;
    const removed = (await send(server, "POST", services, service("removed"))).body as Service;
    const snapshot = server.snapshot();
    await send(
      server,
      "PATCH",
      `${services}/kept`,
      { metadata: { labels: { a: "b" } } },
      {
        "content-type": "application/merge-patch+json",
      },
    );
    await send(server, "DELETE", `${services}/removed`);
    const { clusterIP } = removed.spec ?? {};
    await send(server, "POST", services, service("thief", { clusterIP }));
    const { events, stop } = follow();
    await new Promise((resolve) => setImmediate(resolve));

    await server.restore(snapshot);
    const strip = ({ metadata, ...rest }: Service): object => ({ ...rest, uid: metadata.uid, labels: metadata.labels });
    expect(strip(await get("kept"))).toEqual(strip(kept));
    expect(strip(await get("removed"))).toEqual(strip(removed));
    await expect(get("thief")).rejects.toSatisfy(isNotFound);
    await stop();
    expect(events.sort()).toEqual(["ADDED removed", "DELETED thief", "MODIFIED kept"]);
    // Allocations are those of the snapshot.
    expect((await send(server, "POST", services, service("thief", { clusterIP }))).status).toBe(422);
    const { nodePort } = kept.spec?.ports?.[0] ?? {};
    const port = await send(
      server,
      "POST",
      services,
      service("thief", { type: "NodePort", ports: [{ port: 1, nodePort }] }),
    );
    expect(port.status).toBe(422);
  });

  it("reset to what the server began with, also its faults", async () => {
    const before = await send(server, "GET", "/api/v1/services");
    await send(server, "POST", services, service("web", { type: "LoadBalancer" }));
    await send(server, "DELETE", `${services}/kubernetes`);
    await send(server, "POST", "/api/v1/namespaces", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "extra" },
    });
    server.faults.inject({ status: 500, times: 100 });
    await server.reset();
    const after = await send(server, "GET", "/api/v1/services");
    const strip = (list: { items: Service[] }): unknown =>
      list.items.map(({ metadata: { resourceVersion: _, ...metadata }, ...rest }) => ({ ...rest, metadata }));
    expect(strip(after.body)).toEqual(strip(before.body));
    expect((await send(server, "GET", "/api/v1/namespaces/extra")).status).toBe(404);
    await server.reset();
    expect((await send(server, "GET", "/api/v1/services")).body).toEqual(after.body);
  });
});

describe("a server in a test's hands", () => {
  it("has a clock that stands still, and is the same for the same seed", async () => {
    const names = async (seed: number): Promise<unknown> => {
      const one = await startApiServer({ seed });
      const object = { ...service("x"), metadata: { generateName: "web-" } };
      const { metadata, spec } = (await send(one, "POST", services, object)).body as Service;
      await one.clock.advance(3_600_000);
      const later = (await send(one, "POST", services, service("later"))).body as Service;
      await one.close();
      return [metadata.name, metadata.creationTimestamp, spec?.clusterIP, later.metadata.creationTimestamp];
    };
    const first = await names(5);
    expect(first).toMatchObject({ 1: "2026-01-01T00:00:00Z", 3: "2026-01-01T01:00:00Z" });
    expect(await names(5)).toEqual(first);
    expect(await names(6)).not.toEqual(first);
  });

  it("delays, refuses and cuts as it is told", async () => {
    server.faults.inject({ verb: "create", resource: "services", delay: 5000 });
    let answered = false;
    const slow = send(server, "POST", services, service("slow")).then(() => (answered = true));
    await server.clock.advance(4999);
    expect(answered).toBe(false);
    await server.clock.advance(1);
    await slow;

    server.faults.inject({ verb: "update", status: 409 });
    const slowService = await get("slow");
    await expect(server.api.update(resources.services, slowService)).rejects.toSatisfy(isConflict);
    expect((await server.api.update(resources.services, slowService)).metadata?.uid).toBe(slowService.metadata.uid);

    const { stop } = follow();
    await new Promise((resolve) => setImmediate(resolve));
    server.faults.cutWatches("services");
    await stop();
    server.faults.compact();
    const old = await send(server, "GET", `${services}?watch=1&resourceVersion=2`);
    expect(old.status).toBe(200);
  });

  it("listens over TLS when asked", async () => {
    const { url } = await server.listen({ directory });
    expect(url).toMatch(/^https:\/\/127\.0\.0\.1:/);
  });
});

describe("the README", () => {
  it("shows the example that is tested", () => {
    const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");
    const example = read("./example.test.ts");
    const code = example
      .slice(example.indexOf("import {"))
      .replace("../src/testing/index.ts", "@portolan/apiserver/testing");
    expect(read("../README.md")).toContain(code);
  });
});
