import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ApiServer, createApiServer } from "../src/index.ts";
import { send } from "./client.ts";

let server: ApiServer;
const deployments = "/apis/apps/v1/namespaces/default/deployments";
const scale = `${deployments}/web/scale`;
const mergePatch = { "content-type": "application/merge-patch+json" };
const jsonPatch = { "content-type": "application/json-patch+json" };
const applyPatch = { "content-type": "application/apply-patch+yaml" };

beforeEach(async () => {
  server = await createApiServer();
  const template = {
    metadata: { labels: { app: "web" } },
    spec: { containers: [{ name: "web", image: "web" }] },
  };
  const spec = { replicas: 3, selector: { matchLabels: { app: "web" } }, template };
  const web = { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "web" }, spec };
  await send(server, "POST", `${deployments}?fieldManager=creator`, web);
});
afterEach(() => server.close());

const scaleTo = (replicas: unknown, metadata: object = { name: "web" }): object => ({
  apiVersion: "autoscaling/v1",
  kind: "Scale",
  metadata,
  spec: { replicas },
});

describe("the scale of a workload", () => {
  test("is a table of what is desired and what is there", async () => {
    const accept = { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" };
    const { body } = await send(server, "GET", scale, undefined, accept);
    expect(body.columnDefinitions.map((column: { name: string }) => column.name)).toEqual([
      "Name",
      "Desired",
      "Available",
      "Age",
    ]);
    expect(body.rows[0].cells.slice(0, 3)).toEqual(["web", 3, 0]);
  });

  test("is replaced only under its own name and version", async () => {
    const other = await send(server, "PUT", scale, scaleTo(5, { name: "other" }));
    expect(other.body.message).toBe("the name of the object (other) does not match the name on the URL (web)");
    expect((await send(server, "PUT", scale, scaleTo(5, { name: "web", namespace: "other" }))).status).toBe(400);
    expect((await send(server, "PUT", scale, scaleTo(5, { name: "web", resourceVersion: "1" }))).status).toBe(409);
    expect((await send(server, "PUT", scale, scaleTo(-1))).status).toBe(422);
    expect((await send(server, "PUT", `${scale}?dryRun=All`, scaleTo(5))).body.spec.replicas).toBe(5);
    expect((await send(server, "GET", scale)).body.spec.replicas).toBe(3);
    expect((await send(server, "PUT", scale, scaleTo(5))).body.spec.replicas).toBe(5);
    expect((await send(server, "GET", `${deployments}/web`)).body.spec.replicas).toBe(5);
  });

  test("is patched as any object is", async () => {
    const patch = [{ op: "replace", path: "/spec/replicas", value: 4 }];
    expect((await send(server, "PATCH", scale, patch, jsonPatch)).body.spec.replicas).toBe(4);
    const text = await send(server, "PATCH", scale, { spec: { replicas: "x" } }, mergePatch);
    expect(text.status).toBe(422);
    expect(text.body.message).toContain(
      "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32",
    );
    expect((await send(server, "PATCH", scale, [1], mergePatch)).status).toBe(400);
    expect((await send(server, "PATCH", scale, {}, { "content-type": "application/json" })).status).toBe(415);
    expect((await send(server, "PATCH", scale, { metadata: { name: "other" } }, mergePatch)).status).toBe(400);
    expect((await send(server, "PATCH", `${deployments}/absent/scale`, {}, mergePatch)).status).toBe(404);
    const unknown = await send(server, "PATCH", scale, { spec: { replica: 1 } }, mergePatch);
    expect(unknown.headers["warning"]).toEqual([`299 - ${JSON.stringify('unknown field "spec.replica"')}`]);
  });

  test("is applied by who owns the number, or takes it", async () => {
    const refused = await send(server, "PATCH", `${scale}?fieldManager=scaler`, scaleTo(6), applyPatch);
    expect(refused.status).toBe(409);
    expect(refused.body.message).toBe(
      'Apply failed with 1 conflict: conflict with "creator" using autoscaling/v1: .spec.replicas',
    );
    expect((await send(server, "PATCH", scale, scaleTo(6), applyPatch)).status).toBe(422);
    const kind = await send(server, "PATCH", `${scale}?fieldManager=scaler`, { kind: "Deployment" }, applyPatch);
    expect(kind.status).toBe(400);
    const forced = await send(server, "PATCH", `${scale}?fieldManager=scaler&force=true`, scaleTo(6), applyPatch);
    expect(forced.body.spec.replicas).toBe(6);
    const { body } = await send(server, "GET", `${deployments}/web`);
    expect(body.spec.replicas).toBe(6);
    expect(body.spec.template.spec.containers[0].image).toBe("web");
    const [applied, ...others] = body.metadata.managedFields;
    expect(applied).toMatchObject({
      manager: "scaler",
      operation: "Apply",
      subresource: "scale",
      fieldsV1: { "f:spec": { "f:replicas": {} } },
    });
    for (const entry of others) expect(entry.fieldsV1["f:spec"]?.["f:replicas"]).toBeUndefined();
  });
});
