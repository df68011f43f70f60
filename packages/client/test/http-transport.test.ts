import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConfigMap, resources } from "@portolan/core";
import { afterEach, expect, test } from "vitest";
import { ApiError, createApiClient, createInformer, isConnectionError, isNotFound } from "../src/index.ts";
import {
  createHttpTransport,
  type KubeconfigError,
  readKubeconfigContext,
  transportFromKubeconfig,
} from "../src/node.ts";
import { createMemoryApi, type MemoryApi } from "../src/testing/index.ts";
import { serveTransport } from "./loopback-server.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** Puts a memory API on a loopback port. */
async function serve(memory: MemoryApi) {
  const server = await serveTransport(memory.transport);
  cleanups.push(() => void server.close());
  return server;
}

test("requests, error statuses and watches over real sockets; a reset connection is survived", async () => {
  const memory = createMemoryApi();
  const { reset, url, headers } = await serve(memory);
  const transport = createHttpTransport({ url, token: () => "secret" });
  cleanups.push(() => transport.close());
  const api = createApiClient(transport);
  await api.create<ConfigMap>(resources.configMaps, {
    metadata: { name: "größe", namespace: "default" },
    data: { value: "„1“" },
  });
  expect(headers[0]).toMatchObject({ authorization: "Bearer secret", "content-type": "application/json" });
  const missing = await api
    .get(resources.configMaps, { namespace: "default", name: "none" })
    .catch((error: unknown) => error);
  expect(isNotFound(missing)).toBe(true);
  expect(missing).toMatchObject({ code: "status", statusCode: 404, reason: "NotFound" });

  const abort = new AbortController();
  cleanups.push(() => abort.abort());
  const informer = createInformer<ConfigMap>(api, resources.configMaps, { initialBackoff: 1 });
  informer.start(abort.signal);
  await informer.synced();
  const seen = (value: string) =>
    new Promise<void>((resolve) => {
      const remove = informer.addHandler({
        add: check,
        update: (_, object) => check(object),
      });
      function check(object: ConfigMap): void {
        if (object.data?.["value"] !== value) return;
        resolve();
        queueMicrotask(() => remove());
      }
    });
  memory.apply(resources.configMaps, { metadata: { name: "größe", namespace: "default" }, data: { value: "2" } });
  await seen("2");
  reset();
  memory.apply(resources.configMaps, { metadata: { name: "größe", namespace: "default" }, data: { value: "3" } });
  await seen("3");
});

test("no server, a silent server and an aborted request are told apart", async () => {
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const port = (silent.address() as AddressInfo).port;
  const slow = createHttpTransport({ url: `http://127.0.0.1:${port}`, requestTimeout: 30 });
  const first = await createApiClient(slow)
    .list(resources.nodes)
    .catch((error: unknown) => error);
  expect(first).toMatchObject({ name: "ApiError", code: "timeout" });

  const patient = createHttpTransport({ url: `http://127.0.0.1:${port}` });
  const abort = new AbortController();
  const pending = createApiClient(patient).list(resources.nodes, { signal: abort.signal });
  abort.abort();
  await expect(pending).rejects.toMatchObject({ code: "aborted" });

  silent.closeAllConnections();
  await new Promise((resolve) => silent.close(resolve));
  const second = await createApiClient(patient)
    .list(resources.nodes)
    .catch((error: unknown) => error);
  expect(isConnectionError(second)).toBe(true);
  expect(second).toBeInstanceOf(ApiError);
  slow.close();
  patient.close();
});

test("a watch that goes silent fails after its idle time", async () => {
  const memory = createMemoryApi();
  const { url } = await serve(memory);
  const transport = createHttpTransport({ url, watchIdleTimeout: 40 });
  cleanups.push(() => transport.close());
  const events = createApiClient(transport).watch(resources.configMaps, { resourceVersion: "100" });
  await expect(
    (async () => {
      for await (const _ of events) {
      }
    })(),
  ).rejects.toMatchObject({ name: "ApiError" });
});

test("kubeconfig: inline and file credentials, merged files, and errors that say what is wrong", async () => {
  const folder = mkdtempSync(join(tmpdir(), "kubeconfig-"));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  const memory = createMemoryApi();
  const { url, headers } = await serve(memory);
  writeFileSync(join(folder, "token"), "from-file\n");
  writeFileSync(
    join(folder, "one"),
    `apiVersion: v1
kind: Config
current-context: a
contexts:
- name: a
  context: {cluster: c, user: u, namespace: team}
- name: plugin
  context: {cluster: c, user: exec}
users:
- name: u
  user: {tokenFile: token, as: alice, as-groups: [x, y]}
- name: exec
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: ${process.execPath}, args: [${join(folder, "plugin.mjs")}]}}
`,
  );
  const credential = {
    apiVersion: "client.authentication.k8s.io/v1",
    kind: "ExecCredential",
    status: { token: "from-plugin" },
  };
  writeFileSync(join(folder, "plugin.mjs"), `console.log(${JSON.stringify(JSON.stringify(credential))})`);
  writeFileSync(
    join(folder, "two"),
    `clusters:\n- name: c\n  cluster: {server: "${url}", insecure-skip-tls-verify: true}\n`,
  );
  const environment = { KUBECONFIG: `${join(folder, "one")}:${join(folder, "absent")}:${join(folder, "two")}` };
  expect(readKubeconfigContext(undefined, { environment })).toEqual({ name: "a", namespace: "team", server: url });
  const transport = await transportFromKubeconfig(undefined, { environment });
  cleanups.push(() => transport.close());
  await createApiClient(transport).list(resources.nodes);
  expect(headers[0]).toMatchObject({ authorization: "Bearer from-file", "impersonate-user": "alice" });
  expect(headers[0]!["impersonate-group"]).toBe("x, y");

  const codeOf = (promise: Promise<unknown>) =>
    promise.then(
      () => "no error",
      (error: KubeconfigError) => error.code,
    );
  expect(await codeOf(transportFromKubeconfig(join(folder, "absent")))).toBe("not-found");
  expect(await codeOf(transportFromKubeconfig(join(folder, "token")))).toBe("invalid");
  expect(await codeOf(transportFromKubeconfig(join(folder, "one"), { context: "b" }))).toBe("no-context");
  // The official client runs the plugin, and is loaded for that.
  const plugged = await transportFromKubeconfig(undefined, { environment, context: "plugin" });
  cleanups.push(() => plugged.close());
  await createApiClient(plugged).list(resources.nodes);
  expect(headers.at(-1)).toMatchObject({ authorization: "Bearer from-plugin" });
});
