import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KubernetesObject, Service } from "@portolan/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createApiServer, createMemoryStore, type User } from "../src/index.ts";
import { send, service, services, watch } from "./client.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "portolan-data-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const reader: User = { name: "reader", groups: ["system:authenticated"], access: "read-only" };

function status(url: string, ca: string, token: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { ca, agent: false, headers: { authorization: `Bearer ${token}` } }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
    });
    sent.on("error", reject);
    sent.end();
  });
}

describe("a data directory", () => {
  it("keeps objects, revisions, allocations, authority and tokens over a restart", async () => {
    const dataDirectory = join(root, "data");
    const first = await createApiServer({ dataDirectory });
    const token = first.issueToken(reader);
    const { certificateAuthority: ca } = await first.listen({ directory: root });
    const created = await send(first, "POST", services, service("web", { type: "NodePort" }));
    const { revision } = first.store;
    await first.close();

    const second = await createApiServer({ dataDirectory });
    try {
      expect(second.store.revision).toBe(revision);
      expect((await send(second, "GET", `${services}/web`)).body).toEqual(created.body);
      const { clusterIP, ports } = created.body.spec;
      const stolen = await send(second, "POST", services, service("thief", { clusterIP }));
      expect(stolen.status).toBe(422);
      const port = await send(
        second,
        "POST",
        services,
        service("thief", { type: "NodePort", ports: [{ port: 80, nodePort: ports[0].nodePort }] }),
      );
      expect(port.status).toBe(422);
      const next = await send(second, "POST", services, service("next"));
      expect(Number(next.body.metadata.resourceVersion)).toBeGreaterThan(revision);

      const [expired] = await watch(second, `${services}?watch=1&resourceVersion=${revision - 1}`);
      expect(expired).toMatchObject({ type: "ERROR", object: { code: 410, reason: "Expired" } });
      const events = await watch(second, `${services}?watch=1&resourceVersion=${revision}&timeoutSeconds=1`);
      expect(events.map(({ type, object }) => [type, (object as KubernetesObject).metadata?.name])).toEqual([
        ["ADDED", "next"],
      ]);

      const { url, certificateAuthority } = await second.listen({ directory: root });
      expect(certificateAuthority).toBe(ca);
      expect(await status(`${url}${services}`, ca, token)).toBe(200);
      expect(await status(`${url}${services}`, ca, `${token.slice(0, -4)}AAAA`)).toBe(401);
      for (const file of ["ca.pem", "token.key"]) expect(statSync(join(dataDirectory, file)).mode & 0o777).toBe(0o600);
      expect(statSync(dataDirectory).mode & 0o777).toBe(0o700);
    } finally {
      await second.close();
    }
  });

  it("is refused when it is taken, damaged, or given beside a store", async () => {
    const dataDirectory = join(root, "data");
    const server = await createApiServer({ dataDirectory });
    await expect(createApiServer({ dataDirectory })).rejects.toThrow(/another server has it open/);
    await server.listen({ directory: root });
    await server.close();
    await expect(createApiServer({ dataDirectory, store: createMemoryStore() })).rejects.toThrow(RangeError);
    writeFileSync(join(dataDirectory, "ca.pem"), readFileSync(join(dataDirectory, "ca.pem"), "utf8").slice(0, 100));
    const damaged = await createApiServer({ dataDirectory });
    await expect(damaged.listen({ directory: root })).rejects.toThrow(/ca\.pem has no /);
    await damaged.close();
  });
});

describe("tokens", () => {
  it("of one server are none of another, and end when they say so", async () => {
    const clock = { time: Date.UTC(2026, 0, 1) };
    const server = await createApiServer({
      clock: { now: () => clock.time, schedule: () => () => {} },
    });
    const other = await createApiServer();
    const { certificateAuthority: ca, url } = await server.listen({ directory: join(root, "a") });
    try {
      await send(server, "POST", "/api/v1/namespaces/default/serviceaccounts", {
        apiVersion: "v1",
        kind: "ServiceAccount",
        metadata: { name: "robot" },
      });
      const path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
      const { body } = await send(server, "POST", path, {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        spec: { expirationSeconds: 600 },
      });
      const ask = (token: string): Promise<number | undefined> => status(`${url}/api`, ca, token);
      expect(await ask(body.status.token)).toBe(200);
      expect(await ask(other.issueToken(reader))).toBe(401);
      for (const forged of ["", ".", "a.b", "a.b.c", body.status.token.replace(/\.[^.]*\./, ".e30.")])
        expect(await ask(forged)).toBe(401);
      clock.time += 601_000;
      expect(await ask(body.status.token)).toBe(401);
    } finally {
      await server.close();
      await other.close();
    }
  });
});

describe("records of addresses", () => {
  it("are made equal to what Services say when a server starts", async () => {
    const store = createMemoryStore();
    const first = await createApiServer({ store });
    const addresses: string[] = [];
    for (const name of ["a", "b", "c"]) {
      const { body } = await send(first, "POST", services, service(name));
      addresses.push((body as Service).spec?.clusterIP ?? "");
    }
    await first.close();
    const records = "ipaddresses.networking.k8s.io";
    const [a, b, c] = addresses.map((name) => store.get(records, "", name)) as [never, never, never];
    const { object: record, revision } = c as { object: KubernetesObject; revision: number };
    const strange = { ...record, spec: { parentRef: { resource: "services", namespace: "default", name: "nobody" } } };
    // One record is missing, one names somebody else, and one is of a Service that is not there.
    store.write([
      {
        collection: records,
        namespace: "",
        name: addresses[0] ?? "",
        expectedRevision: (a as { revision: number }).revision,
      },
      { collection: records, namespace: "", name: addresses[2] ?? "", object: strange, expectedRevision: revision },
      {
        collection: records,
        namespace: "",
        name: "10.96.0.77",
        object: { ...strange, metadata: { ...strange.metadata, name: "10.96.0.77" } },
        expectedRevision: undefined,
      },
    ]);

    const second = await createApiServer({ store });
    try {
      const parents = [...store.list(records)].map(({ name, object }) => [
        name,
        (object as { spec?: { parentRef?: { name?: string } } }).spec?.parentRef?.name,
      ]);
      expect(Object.fromEntries(parents)).toEqual({
        "10.96.0.1": "kubernetes",
        [addresses[0] ?? ""]: "a",
        [addresses[1] ?? ""]: "b",
        [addresses[2] ?? ""]: "c",
      });
      expect(store.get(records, "", addresses[1] ?? "")).toBe(b);
    } finally {
      await second.close();
    }
  });
});
