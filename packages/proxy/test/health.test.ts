import { healthCheckResponse, isProxyHealthy, nodePortAddresses, proxyHealthResponse } from "@portolan/proxy";
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
