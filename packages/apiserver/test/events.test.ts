import { afterEach, describe, expect, test } from "vitest";
import { type ApiServer, createApiServer } from "../src/index.ts";
import { send, watch } from "./client.ts";

const servers: ApiServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function start(): Promise<ApiServer> {
  const server = await createApiServer();
  servers.push(server);
  return server;
}

const core = "/api/v1/namespaces/default/events";
const group = "/apis/events.k8s.io/v1/namespaces/default/events";
const subject = { kind: "Pod", namespace: "default", name: "web" };

function newEvent(name: string, fields: object = {}): object {
  return {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    metadata: { name },
    eventTime: "2026-01-01T00:00:00.000000Z",
    reportingController: "example.com/controller",
    reportingInstance: "controller-0",
    action: "Starting",
    reason: "Started",
    type: "Normal",
    regarding: subject,
    note: "it has begun",
    ...fields,
  };
}

describe("events", () => {
  test("of the core group are seen in events.k8s.io, under its names", async () => {
    const server = await start();
    const event = {
      metadata: { name: "a" },
      involvedObject: subject,
      reason: "Pulled",
      message: "image pulled",
      type: "Normal",
      source: { component: "kubelet" },
      count: 2,
    };
    await send(server, "POST", core, event);
    const { body } = await send(server, "GET", `${group}/a`);
    expect(body).toMatchObject({
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      regarding: subject,
      note: "image pulled",
      deprecatedSource: { component: "kubelet" },
      deprecatedCount: 2,
    });
    expect(body.involvedObject).toBeUndefined();
    const selected = await send(server, "GET", `${group}?fieldSelector=regarding.name%3Dweb`);
    expect(selected.body.items).toHaveLength(1);
    expect((await send(server, "DELETE", `${group}/a`)).status).toBe(200);
    expect((await send(server, "GET", `${core}/a`)).status).toBe(404);
  });

  test("of events.k8s.io are seen in the core group, are patched in either, and watched in both", async () => {
    const server = await start();
    const stop = new AbortController();
    const events = watch(server, `${core}?watch=true&resourceVersion=${server.store.revision}`, stop.signal);
    const created = await send(server, "POST", group, newEvent("b"));
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({ note: "it has begun", reportingController: "example.com/controller" });
    expect((await send(server, "GET", `${core}/b`)).body).toMatchObject({
      apiVersion: "v1",
      involvedObject: subject,
      message: "it has begun",
      reportingComponent: "example.com/controller",
    });
    const series = { count: 3, lastObservedTime: "2026-01-01T00:01:00.000000Z" };
    const patched = await send(
      server,
      "PATCH",
      `${group}/b`,
      { series },
      { "content-type": "application/strategic-merge-patch+json" },
    );
    expect(patched.body.series).toEqual(series);
    const fields = created.body.metadata.managedFields[0];
    expect(fields.apiVersion).toBe("events.k8s.io/v1");
    expect(fields.fieldsV1).toHaveProperty("f:regarding");
    stop.abort();
    expect((await events).map(({ type }) => type)).toEqual(["ADDED", "MODIFIED"]);
  });

  test("of events.k8s.io have to be complete", async () => {
    const server = await start();
    const wrong = newEvent("c", {
      eventTime: null,
      reportingController: "",
      action: "",
      deprecatedCount: 1,
      type: "Odd",
    });
    const { status, body } = await send(server, "POST", group, wrong);
    expect(status).toBe(422);
    expect(body.details.causes.map((cause: { field: string }) => cause.field)).toEqual([
      "eventTime",
      "reportingController",
      "action",
      "type",
      "count",
    ]);
  });
});
