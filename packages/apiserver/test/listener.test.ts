import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ApiServer, createApiServer } from "../src/index.ts";

let server: ApiServer;
let directory: string;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "portolan-listener-"));
  server = await createApiServer();
});
afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

interface Options {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly headers?: Record<string, string>;
  readonly method?: string;
  readonly body?: string;
}

function get(url: string, options: Options): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const { body, ...rest } = options;
    const request = httpsRequest(url, { ...rest, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

function decode(base64: string): string {
  return Buffer.from(base64, "base64").toString("utf8");
}

describe("listening over TLS", () => {
  it("writes a kubeconfig that only its owner can read and that works", async () => {
    const { url, kubeconfigPath } = await server.listen({ directory });
    expect(url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    expect(statSync(kubeconfigPath).mode & 0o777).toBe(0o600);
    const config = JSON.parse(readFileSync(kubeconfigPath, "utf8"));
    const ca = decode(config.clusters[0].cluster["certificate-authority-data"]);
    const cert = decode(config.users[0].user["client-certificate-data"]);
    const key = decode(config.users[0].user["client-key-data"]);
    const { status, text } = await get(`${url}/api/v1/namespaces/default/services/kubernetes`, { ca, cert, key });
    expect(status).toBe(200);
    expect(JSON.parse(text).metadata.name).toBe("kubernetes");
    await server.close();
    expect(() => statSync(kubeconfigPath)).toThrow();
  });

  it("makes certificates that hold what RFC 5280 asks for", async () => {
    const { certificateAuthority, kubeconfigPath } = await server.listen({ directory });
    const authority = new X509Certificate(certificateAuthority);
    const config = JSON.parse(readFileSync(kubeconfigPath, "utf8"));
    const admin = new X509Certificate(decode(config.users[0].user["client-certificate-data"]));
    expect(authority.ca).toBe(true);
    expect(authority.verify(authority.publicKey)).toBe(true);
    expect(admin.ca).toBe(false);
    expect(admin.verify(authority.publicKey)).toBe(true);
    expect(admin.subject).toBe("O=system:masters\nCN=admin");
    expect(admin.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
    expect(Date.parse(admin.validFrom)).toBeLessThan(Date.now());
    expect(Date.parse(admin.validTo)).toBeGreaterThan(Date.now());
  });

  it("knows its tokens, refuses others with 401 and strangers with 403", async () => {
    const { url, certificateAuthority: ca } = await server.listen({ directory });
    const token = server.issueToken({ name: "reader", groups: ["system:authenticated"], access: "read-only" });
    const path = `${url}/api/v1/namespaces/default/services`;
    expect((await get(path, { ca, headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
    expect((await get(path, { ca, headers: { authorization: "Bearer wrong" } })).status).toBe(401);
    expect((await get(path, { ca })).status).toBe(403);
    expect((await get(`${url}/healthz`, { ca })).text).toBe("ok");
  });

  it("does not take a certificate of another authority", async () => {
    const { url, certificateAuthority: ca } = await server.listen({ directory });
    const other = await createApiServer();
    const otherDirectory = mkdtempSync(join(tmpdir(), "portolan-listener-"));
    try {
      const { kubeconfigPath } = await other.listen({ directory: otherDirectory });
      const { user } = JSON.parse(readFileSync(kubeconfigPath, "utf8")).users[0];
      const { status } = await get(`${url}/api/v1/nodes`, {
        ca,
        cert: decode(user["client-certificate-data"]),
        key: decode(user["client-key-data"]),
      });
      expect(status).toBe(403);
    } finally {
      await other.close();
      rmSync(otherDirectory, { recursive: true, force: true });
    }
  });

  it("refuses bodies that are too large", async () => {
    const { url, certificateAuthority: ca } = await server.listen({ directory });
    const token = server.issueToken({ name: "admin", groups: ["system:masters"], access: "admin" });
    const { status, text } = await get(`${url}/api/v1/namespaces/default/configmaps`, {
      ca,
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", "content-length": "4000000" },
      body: "x".repeat(4_000_000),
    }).catch((error: NodeJS.ErrnoException) => ({
      status: 413,
      text: `{"reason":"RequestEntityTooLarge","cause":"${error.code}"}`,
    }));
    expect(status).toBe(413);
    expect(JSON.parse(text).reason).toBe("RequestEntityTooLarge");
  });
});

describe("listening on a UNIX socket", () => {
  it("serves the administrator, in a folder that nobody else can enter", async () => {
    const path = join(directory, "inner", "api.sock");
    await server.listenUnix(path);
    expect(statSync(join(directory, "inner")).mode & 0o777).toBe(0o700);
    const status = await new Promise((resolve, reject) => {
      const request = httpRequest({ socketPath: path, path: "/api/v1/nodes", agent: false }, (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode));
      });
      request.on("error", reject);
      request.end();
    });
    expect(status).toBe(200);
  });
});
