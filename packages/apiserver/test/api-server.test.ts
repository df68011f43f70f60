import { afterEach, describe, expect, it } from "vitest";
import { type ApiServer, createApiServer } from "../src/index.ts";

let server: ApiServer;
afterEach(async () => server.close());

async function call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const response = await server.transport({
    method: method as "GET",
    path,
    headers: {
      accept: "application/json",
      "user-agent": "test/1.0",
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, body: JSON.parse(String(response.body)) };
}

describe("services", () => {
  it("creates, reads, changes and deletes", async () => {
    server = await createApiServer();
    const created = await call("POST", "/api/v1/namespaces/default/services", {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web" },
      spec: { selector: { app: "web" }, ports: [{ port: 80 }] },
    });
    expect(created.status, JSON.stringify(created.body)).toBe(201);
    expect(created.body.spec.clusterIP).toMatch(/^10\.96\./);
    const read = await call("GET", "/api/v1/namespaces/default/services/web");
    expect(read.body).toEqual(created.body);
    const patched = await call(
      "PATCH",
      "/api/v1/namespaces/default/services/web",
      { spec: { type: "NodePort" } },
      { "content-type": "application/merge-patch+json" },
    );
    expect(patched.body.spec.ports[0].nodePort).toBeGreaterThanOrEqual(30000);
    const removed = await call("DELETE", "/api/v1/namespaces/default/services/web");
    expect(removed.status).toBe(200);
    expect((await call("GET", "/api/v1/namespaces/default/services/web")).status).toBe(404);
  });
});
