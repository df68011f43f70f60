import { get } from "node:http";
import type { AddressInfo } from "node:net";
import {
  createProxyServers,
  healthCheckResponse,
  isProxyHealthy,
  nodePortAddresses,
  proxyConfigz,
  proxyHealthResponse,
  proxyMetricsResponse,
} from "@portolan/proxy";
import { describe, expect, it } from "vitest";

describe("health", () => {
  it("answers as kube-proxy does, byte for byte", () => {
    const answer = healthCheckResponse({ namespace: "ns", name: "web", port: 31000, localEndpoints: 0 }, true);
    expect(answer.status).toBe(503);
    expect(answer.body).toBe(
      '{\n\t"service": {\n\t\t"namespace": "ns",\n\t\t"name": "web"\n\t},\n\t"localEndpoints": 0,\n\t"serviceProxyHealthy": true\n}',
    );
    expect(answer.headers["X-Load-Balancing-Endpoint-Weight"]).toBe("0");
  });

  it("stays healthy while idle and turns unhealthy when a change waits too long", () => {
    expect(isProxyHealthy({ now: 1e9, timeout: 60_000 })).toBe(true);
    expect(isProxyHealthy({ now: 100_000, oldestPending: 50_000, timeout: 60_000 })).toBe(true);
    expect(isProxyHealthy({ now: 120_000, oldestPending: 50_000, timeout: 60_000 })).toBe(false);
  });

  it("makes /healthz and not /livez depend on the node", () => {
    const health = { now: 1000, timeout: 60_000, lastUpdated: 900 };
    expect(proxyHealthResponse("/healthz", health, { eligible: false }, ["IPv4"]).status).toBe(503);
    expect(proxyHealthResponse("/livez", health, { eligible: false }, ["IPv4"]).status).toBe(200);
    expect(proxyHealthResponse("/other", health, { eligible: true }, ["IPv4"]).status).toBe(404);
  });
});

describe("the proxy's own servers", () => {
  it("show the configuration in effect under its group", () => {
    const renderConfiguration = () =>
      proxyConfigz(
        { mode: "iptables", clusterCIDRs: ["10.244.0.0/16", "fd00::/56"], masqueradeAll: true },
        { minSyncPeriod: 200, syncPeriod: 90_000 },
      );
    const source = { mode: "iptables", renderMetrics: () => "", renderConfiguration };
    const answer = proxyMetricsResponse("/configz", source);
    expect(answer).toMatchObject({ status: 200, headers: { "Content-Type": "application/json" } });
    expect(JSON.parse(answer.body)).toMatchObject({
      "kubeproxy.config.k8s.io": {
        kind: "KubeProxyConfiguration",
        mode: "iptables",
        clusterCIDR: "10.244.0.0/16,fd00::/56",
        iptables: { masqueradeAll: true, syncPeriod: "1m30s", minSyncPeriod: "200ms" },
      },
    });
    expect(proxyMetricsResponse("/proxyMode", source).body).toBe("iptables");
    expect(proxyMetricsResponse("/configz", { renderMetrics: () => "" }).status).toBe(404);
  });

  it("answer over HTTP, and health answers are counted", async () => {
    const answers: string[] = [];
    const ports: number[] = [];
    const listening: Promise<void>[] = [];
    const servers = createProxyServers(
      {
        health: () => ({ now: 1000, timeout: 60_000, lastUpdated: 900 }),
        nodeEligible: () => false,
        renderMetrics: () => "a 1\n",
        renderConfiguration: () => proxyConfigz({}, { minSyncPeriod: 0, syncPeriod: 30_000 }),
        families: ["IPv4"],
        onHealthAnswer: (path, status) => answers.push(`${path} ${status}`),
      },
      (server) => {
        server.listen(0, "127.0.0.1");
        listening.push(
          new Promise((resolve) =>
            server.once("listening", () => {
              ports.push((server.address() as AddressInfo).port);
              resolve();
            }),
          ),
        );
      },
      (error) => {
        throw error;
      },
    );
    await Promise.all(listening);
    const fetch = (port: number, path: string) =>
      new Promise<{ status: number; length: string | undefined; body: string }>((resolve, reject) => {
        get({ port, path, host: "127.0.0.1" }, (response) => {
          let body = "";
          response.on("data", (part) => {
            body += part;
          });
          response.on("end", () =>
            resolve({ status: response.statusCode!, length: response.headers["content-length"], body }),
          );
        }).on("error", reject);
      });
    try {
      const [health, metrics] = ports as [number, number];
      expect((await fetch(health, "/healthz")).status).toBe(503);
      expect((await fetch(health, "/livez?verbose")).status).toBe(200);
      expect(answers).toEqual(["/healthz 503", "/livez 200"]);
      expect(await fetch(metrics, "/metrics")).toEqual({ status: 200, length: "4", body: "a 1\n" });
      // Go sends what does not fit its buffer of 2 KiB in chunks.
      const configuration = await fetch(metrics, "/configz");
      expect(Object.keys(JSON.parse(configuration.body))).toEqual(["kubeproxy.config.k8s.io"]);
      expect(configuration.length === undefined).toBe(Buffer.byteLength(configuration.body) > 2048);
    } finally {
      servers.close();
    }
  });
});

describe("nodePortAddresses", () => {
  const addresses = ["192.168.50.10", "192.168.51.10", "fd00:50::10", "fd00:51::10"];
  const primary = ["192.168.50.10", "fd00:50::10"];

  it("defaults to the primary addresses in nftables mode and to all in the others", () => {
    expect(nodePortAddresses(addresses, primary, { mode: "nftables" })).toEqual(primary);
    expect(nodePortAddresses(addresses, primary, { mode: "ipvs" })).toEqual(addresses);
    expect(nodePortAddresses(addresses, primary, { mode: "iptables" })).toContain("127.0.0.1");
  });

  it("leaves a family without an entry at every local address", () => {
    expect(nodePortAddresses(addresses, primary, { nodePortAddresses: ["192.168.51.0/24"] })).toEqual([
      "192.168.51.10",
      "fd00:50::10",
      "fd00:51::10",
    ]);
  });
});
