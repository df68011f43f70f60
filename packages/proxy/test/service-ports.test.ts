import type { Endpoint, EndpointSlice, Service } from "@portolan/core";
import { compileServicePorts, localReadyEndpoints } from "@portolan/proxy";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const topology = { nodeName: "node-a", zone: "zone-a" };

function service(spec: Partial<NonNullable<Service["spec"]>> = {}, status?: Service["status"]): Service {
  return {
    metadata: { namespace: "default", name: "web" },
    spec: {
      type: "ClusterIP",
      clusterIP: "10.96.0.10",
      clusterIPs: ["10.96.0.10"],
      ports: [{ name: "http", port: 80, protocol: "TCP" }],
      ...spec,
    },
    ...(status ? { status } : {}),
  };
}

function slice(endpoints: Endpoint[], port = 8080, name = "http"): EndpointSlice {
  return {
    metadata: { namespace: "default", name: "web-1", labels: { "kubernetes.io/service-name": "web" } },
    addressType: "IPv4",
    ports: [{ name, port, protocol: "TCP" }],
    endpoints,
  };
}

const ready = (address: string, nodeName: string, more: Partial<Endpoint> = {}): Endpoint => ({
  addresses: [address],
  nodeName,
  conditions: { ready: true, serving: true, terminating: false },
  ...more,
});

const addresses = (backends: readonly { address: string }[]) => backends.map((backend) => backend.address);

describe("compileServicePorts", () => {
  it("compiles one entry per Service port and family, with every frontend", () => {
    const compiled = compileServicePorts(
      service(
        {
          type: "LoadBalancer",
          clusterIPs: ["10.96.0.10", "fd00:10:96::a"],
          externalIPs: ["203.0.113.9"],
          ports: [{ name: "http", port: 80, nodePort: 30080 }],
          loadBalancerSourceRanges: [" 10.0.0.0/8 ", "fd00::/8"],
        },
        {
          loadBalancer: {
            ingress: [
              { ip: "198.51.100.1", ipMode: "VIP" },
              { ip: "198.51.100.2", ipMode: "Proxy" },
            ],
          },
        },
      ),
      [slice([ready("10.244.0.5", "node-a")])],
      topology,
    );
    expect(compiled.map(({ spec }) => spec.id)).toEqual(["default/web:http/TCP/IPv4", "default/web:http/TCP/IPv6"]);
    const [v4, v6] = compiled.map(({ spec }) => spec);
    expect(v4!.frontends).toEqual([
      { kind: "ClusterIP", address: "10.96.0.10", port: 80 },
      { kind: "ExternalIP", address: "203.0.113.9", port: 80 },
      { kind: "LoadBalancer", address: "198.51.100.1", port: 80 },
      { kind: "NodePort", port: 30080 },
    ]);
    expect(v4!.sourceRanges).toEqual(["10.0.0.0/8"]);
    expect(v6!.sourceRanges).toEqual(["fd00::/8"]);
    expect(v6!.hasAny).toBe(false);
  });

  it("has nothing for headless and ExternalName Services, and for those of another proxy", () => {
    const none = [
      service({ clusterIP: "None", clusterIPs: ["None"] }),
      service({ type: "ExternalName", externalName: "x.example" }),
      { ...service(), metadata: { name: "web", labels: { "service.kubernetes.io/service-proxy-name": "other" } } },
    ];
    for (const each of none)
      expect(compileServicePorts(each, [slice([ready("10.244.0.5", "node-a")])], topology)).toEqual([]);
  });

  it("matches endpoints by port name and protocol, not by number", () => {
    const [port] = compileServicePorts(service(), [slice([ready("10.244.0.5", "node-a")], 8080, "other")], topology);
    expect(port!.spec.cluster).toEqual([]);
    expect(port!.spec.hasAny).toBe(false);
  });

  it("falls back to terminating endpoints that still serve, for each policy by itself", () => {
    const draining = ready("10.244.0.5", "node-a", { conditions: { ready: false, serving: true, terminating: true } });
    const [port] = compileServicePorts(
      service({
        type: "NodePort",
        externalTrafficPolicy: "Local",
        ports: [{ name: "http", port: 80, nodePort: 30080 }],
      }),
      [slice([draining, ready("10.244.1.5", "node-b")])],
      topology,
    );
    expect(addresses(port!.spec.cluster)).toEqual(["10.244.1.5"]);
    expect(addresses(port!.spec.local)).toEqual(["10.244.0.5"]);
  });

  it("honours zone hints only when every ready endpoint has one and one names this zone", () => {
    const hint = (zone: string) => ({ hints: { forZones: [{ name: zone }] } });
    const all = [ready("10.244.0.5", "node-a", hint("zone-a")), ready("10.244.1.5", "node-b", hint("zone-b"))];
    const missing = [all[0]!, ready("10.244.1.5", "node-b")];
    const compile = (endpoints: Endpoint[], zone?: string) =>
      addresses(
        compileServicePorts(service(), [slice(endpoints)], { nodeName: "node-a", ...(zone ? { zone } : {}) })[0]!.spec
          .cluster,
      );
    expect(compile(all, "zone-a")).toEqual(["10.244.0.5"]);
    expect(compile(all, "zone-c")).toEqual(["10.244.0.5", "10.244.1.5"]);
    expect(compile(all)).toEqual(["10.244.0.5", "10.244.1.5"]);
    expect(compile(missing, "zone-a")).toEqual(["10.244.0.5", "10.244.1.5"]);
  });

  it("counts distinct ready local addresses for the health check", () => {
    const two = service({
      ports: [
        { name: "http", port: 80 },
        { name: "https", port: 443 },
      ],
    });
    const slices = [
      slice([ready("10.244.0.5", "node-a"), ready("10.244.1.5", "node-b")], 8080, "http"),
      { ...slice([ready("10.244.0.5", "node-a")], 8443, "https"), metadata: { name: "web-2", namespace: "default" } },
    ];
    expect(localReadyEndpoints(two, slices, topology)).toBe(1);
  });

  it("does not depend on the order of slices and endpoints", () => {
    const endpoint = fc.record({
      address: fc.integer({ min: 1, max: 20 }).map((n) => `10.244.0.${n}`),
      node: fc.constantFrom("node-a", "node-b"),
      ready: fc.boolean(),
      terminating: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.uniqueArray(endpoint, { selector: (e) => e.address, maxLength: 12 }), fc.nat(), (list, cut) => {
        const made = list.map((e) =>
          ready(e.address, e.node, {
            conditions: { ready: e.ready && !e.terminating, serving: true, terminating: e.terminating },
          }),
        );
        const at = made.length === 0 ? 0 : cut % made.length;
        const one = compileServicePorts(service({ internalTrafficPolicy: "Local" }), [slice(made)], topology);
        const other = compileServicePorts(
          service({ internalTrafficPolicy: "Local" }),
          [
            slice(made.slice(at).reverse()),
            { ...slice(made.slice(0, at)), metadata: { name: "web-2", namespace: "default" } },
          ],
          topology,
        );
        expect(other.map((port) => port.spec)).toEqual(one.map((port) => port.spec));
      }),
    );
  });
});
