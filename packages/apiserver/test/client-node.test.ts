import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ApiException,
  AuthenticationV1Api,
  CoreV1Api,
  CustomObjectsApi,
  KubeConfig,
  type KubernetesObject,
  KubernetesObjectApi,
  makeInformer,
  PatchStrategy,
  setHeaderOptions,
  type V1Service,
} from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ApiServer, createApiServer } from "../src/index.ts";
import { send } from "./client.ts";

/* The official client for Node, unmodified, by the kubeconfig that the server writes. */

const directory = mkdtempSync(join(tmpdir(), "portolan-client-node-"));
const config = new KubeConfig();
let server: ApiServer;

beforeAll(async () => {
  server = await createApiServer();
  config.loadFromFile((await server.listen({ directory })).kubeconfigPath);
});
afterAll(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

const namespace = "default";

function service(name: string): V1Service {
  return { metadata: { name, namespace }, spec: { selector: { app: name }, ports: [{ port: 80 }] } };
}

describe("@kubernetes/client-node", () => {
  test("asks a program for its token, as an exec plugin of the kubeconfig", async () => {
    const robot = `/api/v1/namespaces/${namespace}/serviceaccounts/robot`;
    const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "robot" } };
    expect((await send(server, "POST", robot.slice(0, robot.lastIndexOf("/")), account)).status).toBe(201);
    const request = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: {} };
    const { body } = await send(server, "POST", `${robot}/token`, request);
    const apiVersion = "client.authentication.k8s.io/v1";
    const credential = { apiVersion, kind: "ExecCredential", status: { token: body.status.token } };
    const plugin = join(directory, "plugin.mjs");
    writeFileSync(plugin, `process.stdout.write(${JSON.stringify(JSON.stringify(credential))});`);

    const cluster = config.getCurrentCluster();
    const plugged = new KubeConfig();
    plugged.loadFromString(
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        clusters: [
          { name: "here", cluster: { server: cluster?.server, "certificate-authority-data": cluster?.caData } },
        ],
        users: [
          {
            name: "robot",
            user: { exec: { apiVersion, command: process.execPath, args: [plugin], interactiveMode: "Never" } },
          },
        ],
        contexts: [{ name: "it", context: { cluster: "here", user: "robot" } }],
        "current-context": "it",
      }),
    );
    const review = await plugged
      .makeApiClient(AuthenticationV1Api)
      .createSelfSubjectReview({ body: { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" } });
    expect(review.status?.userInfo?.username).toBe(`system:serviceaccount:${namespace}:robot`);
    const refused = await plugged
      .makeApiClient(CoreV1Api)
      .listNode()
      .catch((error: unknown) => error);
    expect((refused as ApiException<unknown>).code).toBe(403);
  });

  test("creates, reads, lists, replaces and deletes", async () => {
    const api = config.makeApiClient(CoreV1Api);
    const created = await api.createNamespacedService({ namespace, body: service("a") });
    expect(created.spec?.clusterIP).toMatch(/^10\.96\./);
    expect(created.metadata?.creationTimestamp).toBeInstanceOf(Date);
    const listed = await api.listNamespacedService({ namespace, labelSelector: "app" });
    expect(listed.items).toEqual([]);
    created.metadata = { ...created.metadata, labels: { app: "a" } };
    await api.replaceNamespacedService({ name: "a", namespace, body: created });
    expect((await api.listNamespacedService({ namespace, labelSelector: "app=a" })).items).toHaveLength(1);
    await api.deleteNamespacedService({ name: "a", namespace });
    const gone = await api.readNamespacedService({ name: "a", namespace }).catch((error: unknown) => error);
    expect(gone).toBeInstanceOf(ApiException);
    expect((gone as ApiException<unknown>).code).toBe(404);
  });

  test("patches in every way", async () => {
    const api = config.makeApiClient(CoreV1Api);
    await api.createNamespacedService({ namespace, body: service("b") });
    const patch = (type: PatchStrategy, body: object, fieldManager?: string) =>
      api.patchNamespacedService(
        { name: "b", namespace, body, ...(fieldManager === undefined ? {} : { fieldManager, force: true }) },
        setHeaderOptions("Content-Type", type),
      );
    await patch(PatchStrategy.MergePatch, { metadata: { labels: { one: "1" } } });
    await patch(PatchStrategy.StrategicMergePatch, {
      spec: {
        ports: [
          { port: 81, name: "b" },
          { port: 80, name: "a" },
        ],
      },
    });
    await patch(PatchStrategy.JsonPatch, [{ op: "add", path: "/metadata/labels/two", value: "2" }]);
    const applied = { apiVersion: "v1", kind: "Service", metadata: { name: "b", labels: { three: "3" } } };
    const result = await patch(PatchStrategy.ServerSideApply, applied, "tester");
    expect(result.metadata?.labels).toEqual({ one: "1", two: "2", three: "3" });
    expect(result.spec?.ports?.map(({ port }) => port).sort()).toEqual([80, 81]);
  });

  test("follows with an informer", async () => {
    const api = config.makeApiClient(CoreV1Api);
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const informer = makeInformer(config, path, () => api.listNamespacedConfigMap({ namespace }));
    const seen: string[] = [];
    for (const event of ["add", "update", "delete"] as const)
      informer.on(event, (object) => seen.push(`${event} ${object.metadata?.name}`));
    await informer.start();
    try {
      await send(server, "POST", path, { metadata: { name: "c" } });
      await expect.poll(() => seen, { timeout: 10_000 }).toEqual(["add c"]);
      await send(
        server,
        "PATCH",
        `${path}/c`,
        { data: { a: "b" } },
        { "content-type": "application/merge-patch+json" },
      );
      await send(server, "DELETE", `${path}/c`);
      await expect.poll(() => seen, { timeout: 10_000 }).toEqual(["add c", "update c", "delete c"]);
    } finally {
      await informer.stop();
    }
  });

  test("handles custom resources, also by discovery", async () => {
    const objects = KubernetesObjectApi.makeApiClient(config);
    await objects.create({
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: "boats.example.com" },
      spec: {
        group: "example.com",
        scope: "Namespaced",
        names: { plural: "boats", kind: "Boat" },
        versions: [
          {
            name: "v1",
            served: true,
            storage: true,
            schema: {
              openAPIV3Schema: {
                type: "object",
                properties: { spec: { type: "object", properties: { sails: { type: "integer" } } } },
              },
            },
          },
        ],
      },
      // biome-ignore lint/suspicious/noExplicitAny: the client takes any kind, but its type knows none of them
    } as any);
    const boat = { apiVersion: "example.com/v1", kind: "Boat", metadata: { name: "d", namespace }, spec: { sails: 2 } };
    expect(((await objects.create(boat)) as KubernetesObject).metadata?.uid).toBeDefined();
    const custom = config.makeApiClient(CustomObjectsApi);
    const where = { group: "example.com", version: "v1", namespace, plural: "boats" };
    const list = (await custom.listNamespacedCustomObject(where)) as { items: { spec: { sails: number } }[] };
    expect(list.items.map(({ spec }) => spec.sails)).toEqual([2]);
    await custom.deleteNamespacedCustomObject({ ...where, name: "d" });
    const left = (await custom.listNamespacedCustomObject(where)) as { items: unknown[] };
    expect(left.items).toEqual([]);
  });
});
