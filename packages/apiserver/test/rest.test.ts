import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ApiServer, createApiServer } from "../src/index.ts";
import { send, service, services, watch } from "./client.ts";

let server: ApiServer;
beforeEach(async () => {
  server = await createApiServer({ serviceCIDRs: ["10.96.0.0/16"] });
});
afterEach(async () => server.close());

const merge = { "content-type": "application/merge-patch+json" };
const apply = { "content-type": "application/apply-patch+yaml" };
const configMaps = "/api/v1/namespaces/default/configmaps";

describe("writes", () => {
  it("refuse a stale version and change nothing when nothing changes", async () => {
    const created = await send(server, "POST", services, service("web"));
    await send(server, "PATCH", `${services}/web`, { metadata: { labels: { a: "b" } } }, merge);
    const stale = await send(server, "PUT", `${services}/web`, created.body);
    expect(stale.status).toBe(409);
    const current = (await send(server, "GET", `${services}/web`)).body;
    const again = await send(server, "PUT", `${services}/web`, current);
    expect(again.body.metadata.resourceVersion).toBe(current.metadata.resourceVersion);
  });

  it("warn of unknown and duplicate fields, or refuse them, as asked", async () => {
    const text = '{"metadata":{"name":"web"},"spec":{"ports":[{"port":80,"port":81}],"colour":"red"}}';
    const strict = await send(server, "POST", `${services}?fieldValidation=Strict`, text);
    expect(strict.status).toBe(400);
    expect(strict.body.message).toContain(
      'strict decoding error: duplicate field "spec.ports[0].port", unknown field "spec.colour"',
    );
    const ignored = await send(server, "POST", `${services}?fieldValidation=Ignore&dryRun=All`, text);
    expect(ignored.headers["warning"]).toBeUndefined();
    const warned = await send(server, "POST", services, text);
    expect(warned.status).toBe(201);
    expect(warned.headers["warning"]).toEqual([
      '299 - "duplicate field \\"spec.ports[0].port\\""',
      '299 - "unknown field \\"spec.colour\\""',
    ]);
  });

  it("write nothing in a dry run", async () => {
    const before = server.store.revision;
    const created = await send(server, "POST", `${services}?dryRun=All`, service("web", { type: "NodePort" }));
    expect(created.status).toBe(201);
    expect(created.body.spec.ports[0].nodePort).toBe(32769);
    expect(server.store.revision).toBe(before);
  });

  it("keep names like __proto__ as names", async () => {
    const text = '{"metadata":{"name":"c"},"data":{"__proto__":"x","constructor":"y"}}';
    await send(server, "POST", configMaps, text);
    const { body } = await send(server, "GET", `${configMaps}/c`);
    expect(Object.keys(body.data).sort()).toEqual(["__proto__", "constructor"]);
    const patched = await send(server, "PATCH", `${configMaps}/c`, '{"data":{"__proto__":null}}', merge);
    expect(Object.keys(patched.body.data)).toEqual(["constructor"]);
    expect(({} as Record<string, unknown>)["x"]).toBeUndefined();
  });

  it("wait for finalizers", async () => {
    await send(server, "POST", configMaps, { metadata: { name: "c", finalizers: ["example.com/hold"] } });
    const removed = await send(server, "DELETE", `${configMaps}/c`);
    expect(removed.body.metadata.deletionTimestamp).toBeDefined();
    expect((await send(server, "GET", `${configMaps}/c`)).status).toBe(200);
    const added = await send(
      server,
      "PATCH",
      `${configMaps}/c`,
      { metadata: { finalizers: ["example.com/hold", "example.com/more"] } },
      merge,
    );
    expect(added.status).toBe(422);
    await send(server, "PATCH", `${configMaps}/c`, { metadata: { finalizers: null } }, merge);
    expect((await send(server, "GET", `${configMaps}/c`)).status).toBe(404);
  });

  it("remove the Endpoints of a Service with it", async () => {
    await send(server, "POST", services, service("web"));
    await send(server, "POST", "/api/v1/namespaces/default/endpoints", { metadata: { name: "web" } });
    await send(server, "DELETE", `${services}/web`);
    expect((await send(server, "GET", "/api/v1/namespaces/default/endpoints/web")).status).toBe(404);
  });

  it("take YAML", async () => {
    const yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: y}\nspec:\n  ports:\n  - port: 80\n";
    expect((await send(server, "POST", services, yaml, { "content-type": "application/yaml" })).status).toBe(201);
  });

  it("stop at 3 MiB", async () => {
    const big = await send(server, "POST", configMaps, {
      metadata: { name: "big" },
      data: { a: "x".repeat(3_200_000) },
    });
    expect(big.status).toBe(413);
  });
});

describe("server-side apply", () => {
  const configuration = (spec: object): object => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web" },
    spec,
  });

  it("lets managers own what they name, and conflicts over the rest", async () => {
    const one = await send(
      server,
      "PATCH",
      `${services}/web?fieldManager=one`,
      configuration({ selector: { app: "a" }, ports: [{ name: "a", port: 80 }] }),
      apply,
    );
    expect(one.status).toBe(201);
    const conflict = await send(
      server,
      "PATCH",
      `${services}/web?fieldManager=two`,
      configuration({ selector: { app: "b" } }),
      apply,
    );
    expect(conflict.status).toBe(409);
    expect(conflict.body.message).toBe('Apply failed with 1 conflict: conflict with "one": .spec.selector');
    const forced = await send(
      server,
      "PATCH",
      `${services}/web?fieldManager=two&force=true`,
      configuration({ selector: { app: "b" } }),
      apply,
    );
    expect(forced.body.spec.selector).toEqual({ app: "b" });
    const owners = forced.body.metadata.managedFields.map((entry: { manager: string }) => entry.manager);
    expect(owners).toEqual(["one", "two"]);
  });

  it("changes nothing when it is repeated, and removes what is no longer named", async () => {
    const two = configuration({
      ports: [
        { name: "a", port: 80 },
        { name: "b", port: 81 },
      ],
    });
    const first = await send(server, "PATCH", `${services}/web?fieldManager=one`, two, apply);
    const again = await send(server, "PATCH", `${services}/web?fieldManager=one`, two, apply);
    expect(again.body).toEqual(first.body);
    const less = await send(
      server,
      "PATCH",
      `${services}/web?fieldManager=one`,
      configuration({ ports: [{ name: "a", port: 80 }] }),
      apply,
    );
    expect(less.body.spec.ports.map((port: { port: number }) => port.port)).toEqual([80]);
  });

  it("needs a field manager", async () => {
    const { status, body } = await send(server, "PATCH", `${services}/web`, configuration({}), apply);
    expect(status).toBe(422);
    expect(body.message).toBe(
      'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    );
  });
});

describe("lists", () => {
  it("are consistent across pages, whatever happens in between", async () => {
    for (const name of ["a", "b", "c", "d", "e"]) await send(server, "POST", configMaps, { metadata: { name } });
    const first = await send(server, "GET", `${configMaps}?limit=2`);
    expect(first.body.metadata.remainingItemCount).toBe(3);
    await send(server, "DELETE", `${configMaps}/c`);
    await send(server, "POST", configMaps, { metadata: { name: "bb" } });
    const rest = await send(server, "GET", `${configMaps}?limit=500&continue=${first.body.metadata.continue}`);
    expect(rest.body.items.map((item: { metadata: { name: string } }) => item.metadata.name)).toEqual(["c", "d", "e"]);
    expect(rest.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion);
  });

  it("say so when a page can no longer be had, and offer to go on without consistency", async () => {
    for (const name of ["a", "b", "c"]) await send(server, "POST", configMaps, { metadata: { name } });
    const first = await send(server, "GET", `${configMaps}?limit=1`);
    await send(server, "DELETE", `${configMaps}/c`);
    server.faults.compact();
    const expired = await send(server, "GET", `${configMaps}?limit=1&continue=${first.body.metadata.continue}`);
    expect(expired.status).toBe(410);
    const rest = await send(server, "GET", `${configMaps}?continue=${expired.body.metadata.continue}`);
    expect(rest.body.items.map((item: { metadata: { name: string } }) => item.metadata.name)).toEqual(["b"]);
  });

  it("come as tables", async () => {
    await send(server, "POST", services, service("web"));
    const { body } = await send(server, "GET", services, undefined, {
      accept: "application/json;as=Table;v=v1;g=meta.k8s.io",
    });
    expect(body.kind).toBe("Table");
    expect(body.rows[1].cells.slice(0, 2)).toEqual(["web", "ClusterIP"]);
  });
});

describe("watches", () => {
  it("translate changes of what their selectors match", async () => {
    const start = (await send(server, "GET", configMaps)).body.metadata.resourceVersion;
    const events = watch(server, `${configMaps}?watch=1&timeoutSeconds=1&labelSelector=a%3Db&resourceVersion=${start}`);
    await send(server, "POST", configMaps, { metadata: { name: "c" } });
    await send(server, "PATCH", `${configMaps}/c`, { metadata: { labels: { a: "b" } } }, merge);
    await send(server, "PATCH", `${configMaps}/c`, { data: { x: "y" } }, merge);
    await send(server, "PATCH", `${configMaps}/c`, { metadata: { labels: { a: null } } }, merge);
    expect((await events).map((event) => event.type)).toEqual(["ADDED", "MODIFIED", "DELETED"]);
  });

  it("begin with what there is and a bookmark when asked to", async () => {
    await send(server, "POST", configMaps, { metadata: { name: "c" } });
    const events = await watch(
      server,
      `${configMaps}?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
    );
    expect(events.map((event) => event.type)).toEqual(["ADDED", "BOOKMARK"]);
    expect(events[1]?.object).toMatchObject({ metadata: { annotations: { "k8s.io/initial-events-end": "true" } } });
  });

  it("end with 410 when their start is forgotten", async () => {
    await send(server, "POST", configMaps, { metadata: { name: "c" } });
    server.faults.compact();
    const events = await watch(server, `${configMaps}?watch=1&resourceVersion=2`);
    expect(events).toMatchObject([{ type: "ERROR", object: { code: 410, reason: "Expired" } }]);
  });

  it("are cut when their reader is too slow, and the server lives on", async () => {
    const response = await server.transport({ method: "GET", path: `${configMaps}?watch=1`, headers: {} });
    await send(server, "POST", configMaps, { metadata: { name: "c" }, data: { a: "x".repeat(1_000_000) } });
    for (let i = 0; i < 40; i++) await send(server, "PATCH", `${configMaps}/c`, { data: { i: String(i) } }, merge);
    let size = 0;
    for await (const chunk of response.stream ?? []) size += chunk.length;
    expect(size).toBeLessThan(40_000_000);
    expect((await send(server, "GET", `${configMaps}/c`)).status).toBe(200);
  });
});

describe("access", () => {
  it("is refused to strangers, and reading is not writing", async () => {
    const reader = { name: "reader", groups: ["system:authenticated"], access: "read-only" } as const;
    const nobody = { name: "nobody", groups: ["system:authenticated"], access: "none" } as const;
    expect((await send(server, "GET", services, undefined, {}, reader)).status).toBe(200);
    expect((await send(server, "POST", services, service("web"), {}, reader)).status).toBe(403);
    expect((await send(server, "GET", "/api/v1/namespaces/default/secrets", undefined, {}, reader)).status).toBe(403);
    expect((await send(server, "GET", services, undefined, {}, nobody)).status).toBe(403);
    expect((await send(server, "GET", "/version", undefined, {}, nobody)).status).toBe(200);
    expect(
      (
        await send(
          server,
          "GET",
          services,
          undefined,
          { "impersonate-user": "admin", "impersonate-group": "system:masters" },
          reader,
        )
      ).status,
    ).toBe(403);
  });
});

describe("faults", () => {
  it("hit the requests they are meant for, as often as they say", async () => {
    server.faults.inject({ resource: "services", verb: "create", status: 500, times: 2 });
    expect((await send(server, "GET", services)).status).toBe(200);
    expect((await send(server, "POST", services, service("web"))).status).toBe(500);
    expect((await send(server, "POST", services, service("web"))).status).toBe(500);
    expect((await send(server, "POST", services, service("web"))).status).toBe(201);
    server.faults.inject({ status: 429 });
    const busy = await send(server, "GET", services);
    expect(busy.status).toBe(429);
    expect(busy.headers["retry-after"]).toBe("1");
  });
});
