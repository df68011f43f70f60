import type { KubernetesObject } from "@portolan/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nameFromText, recordToText, recordTypes, responseCodeName } from "../src/message/index.ts";
import { type ClusterZone, createClusterZone } from "../src/zone/index.ts";

const namespace = (name: string): KubernetesObject => ({ kind: "Namespace", metadata: { name } });
const service = (name: string, spec: object): KubernetesObject =>
  ({ kind: "Service", metadata: { name, namespace: "default" }, spec }) as KubernetesObject;
const slice = (name: string, of: string, addresses: string[], more: object = {}): KubernetesObject =>
  ({
    kind: "EndpointSlice",
    metadata: { name, namespace: "default", labels: { "kubernetes.io/service-name": of } },
    addressType: "IPv4",
    endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    ports: [{ name: "http", port: 80, protocol: "TCP" }],
    ...more,
  }) as KubernetesObject;

function ask(zone: ClusterZone, name: string, type: keyof typeof recordTypes = "A"): string[] {
  const answer = zone.answer(nameFromText(name), recordTypes[type]);
  if (answer === undefined) return ["not in the zone"];
  return [responseCodeName(answer.rcode), ...answer.answers.map(recordToText)];
}

const S = "svc.cluster.local.";

describe("a zone", () => {
  it("has ClusterIP names with ports, reverse names, and no others", () => {
    const zone = createClusterZone({ ttl: 30 });
    zone.apply(namespace("default"));
    zone.apply(
      service("web", { clusterIPs: ["10.96.0.7", "fd00::7"], ports: [{ name: "http", port: 80, protocol: "TCP" }] }),
    );
    expect(ask(zone, `web.default.${S}`)).toEqual(["NOERROR", `web.default.${S} 30 IN A 10.96.0.7`]);
    expect(ask(zone, `WEB.Default.${S}`)).toEqual(["NOERROR", `WEB.Default.${S} 30 IN A 10.96.0.7`]);
    expect(ask(zone, `web.default.${S}`, "AAAA")).toEqual(["NOERROR", `web.default.${S} 30 IN AAAA fd00::7`]);
    expect(ask(zone, `_http._tcp.web.default.${S}`, "SRV")).toEqual([
      "NOERROR",
      `_http._tcp.web.default.${S} 30 IN SRV 0 50 80 web.default.${S}`,
    ]);
    expect(ask(zone, `_http._udp.web.default.${S}`, "SRV")).toEqual(["NXDOMAIN"]);
    expect(ask(zone, "7.0.96.10.in-addr.arpa.", "PTR")).toEqual([
      "NOERROR",
      `7.0.96.10.in-addr.arpa. 30 IN PTR web.default.${S}`,
    ]);
    expect(ask(zone, `nothing.default.${S}`)).toEqual(["NXDOMAIN"]);
    expect(ask(zone, `default.${S}`)).toEqual(["NOERROR"]);
    expect(ask(zone, "example.com.")).toEqual(["not in the zone"]);
  });

  it("says SERVFAIL for what it does not know until the lists are complete", () => {
    const zone = createClusterZone({ synced: false });
    zone.apply(namespace("default"));
    zone.apply(service("web", { clusterIPs: ["10.96.0.7"], ports: [{ port: 80 }] }));
    expect(ask(zone, `web.default.${S}`)[0]).toBe("NOERROR");
    expect(ask(zone, `late.default.${S}`)).toEqual(["SERVFAIL"]);
    zone.synced = true;
    expect(ask(zone, `late.default.${S}`)).toEqual(["NXDOMAIN"]);
  });

  it("lists ready endpoints of headless Services under names, and forgets those that leave", () => {
    const zone = createClusterZone({ ttl: 5 });
    zone.apply(namespace("default"));
    zone.apply(service("db", { clusterIP: "None", clusterIPs: ["None"], ports: [{ name: "http", port: 80 }] }));
    expect(ask(zone, `db.default.${S}`)).toEqual(["NXDOMAIN"]);
    zone.apply(
      slice("db-1", "db", [], {
        endpoints: [
          { addresses: ["10.2.0.1"], hostname: "db-0", conditions: { ready: true } },
          { addresses: ["10.2.0.2"], conditions: { ready: true } },
          { addresses: ["10.2.0.3"], conditions: { ready: false } },
        ],
      }),
    );
    expect(ask(zone, `db.default.${S}`)).toHaveLength(3);
    expect(ask(zone, `db-0.db.default.${S}`)).toEqual(["NOERROR", `db-0.db.default.${S} 5 IN A 10.2.0.1`]);
    expect(ask(zone, `10-2-0-2.db.default.${S}`)[0]).toBe("NOERROR");
    expect(ask(zone, `10-2-0-1.db.default.${S}`)).toEqual(["NXDOMAIN"]);
    zone.remove({ kind: "EndpointSlice", metadata: { name: "db-1", namespace: "default" } });
    expect(ask(zone, `db.default.${S}`)).toEqual(["NXDOMAIN"]);
    expect(ask(zone, "1.0.2.10.in-addr.arpa.", "PTR")).toEqual(["NXDOMAIN"]);
  });

  it("follows ExternalName inside the zone and hands the rest on", () => {
    const zone = createClusterZone();
    zone.apply(namespace("default"));
    zone.apply(service("web", { clusterIPs: ["10.96.0.7"], ports: [{ port: 80 }] }));
    zone.apply(service("alias", { type: "ExternalName", externalName: `web.default.${S}` }));
    zone.apply(service("away", { type: "ExternalName", externalName: "www.example.com" }));
    zone.apply(service("loop", { type: "ExternalName", externalName: `loop.default.${S}` }));
    expect(ask(zone, `alias.default.${S}`)).toHaveLength(3);
    expect(zone.answer(nameFromText(`away.default.${S}`), recordTypes.A)?.chase).toEqual(
      nameFromText("www.example.com."),
    );
    expect(ask(zone, `loop.default.${S}`)).toEqual(["NOERROR"]);
  });

  it("knows pods by mode", () => {
    const pod = (name: string, podIP: string, phase = "Running"): KubernetesObject =>
      ({ kind: "Pod", metadata: { name, namespace: "default" }, status: { phase, podIP } }) as KubernetesObject;
    const name = "10-2-0-1.default.pod.cluster.local.";
    const outcomes = (["disabled", "insecure", "verified"] as const).map((podMode) => {
      const zone = createClusterZone({ podMode });
      zone.apply(namespace("default"));
      const before = ask(zone, name)[0];
      zone.apply(pod("p", "10.2.0.1"));
      return [before, ask(zone, name)[0], ask(zone, "10-2-0-9.default.pod.cluster.local.")[0]];
    });
    expect(outcomes).toEqual([
      ["NXDOMAIN", "NXDOMAIN", "NXDOMAIN"],
      ["NOERROR", "NOERROR", "NOERROR"],
      ["NXDOMAIN", "NOERROR", "NXDOMAIN"],
    ]);
  });

  it("refuses options that contradict each other", () => {
    expect(() => createClusterZone({ namespaces: ["a"], namespaceLabels: {} })).toThrowError(
      expect.objectContaining({ code: "namespaces" }),
    );
    expect(() => createClusterZone({ ttl: 4000 })).toThrowError(expect.objectContaining({ code: "ttl" }));
  });

  it("answers the same whatever the order of events", () => {
    const objects: KubernetesObject[] = [
      namespace("default"),
      service("web", { clusterIPs: ["10.96.0.7"], ports: [{ name: "http", port: 80 }] }),
      service("db", { clusterIPs: ["None"], ports: [{ name: "http", port: 80 }] }),
      slice("db-1", "db", ["10.2.0.1", "10.2.0.2"]),
      slice("db-2", "db", ["10.2.0.2", "10.2.0.3"]),
      slice("web-1", "web", ["10.2.0.1"]),
      service("away", { type: "ExternalName", externalName: "www.example.com" }),
    ];
    const gone: KubernetesObject[] = [
      service("old", { clusterIPs: ["10.96.0.7"], ports: [] }),
      slice("old-1", "db", ["10.2.0.9"]),
    ];
    const questions: [string, keyof typeof recordTypes][] = [
      [`web.default.${S}`, "A"],
      [`db.default.${S}`, "A"],
      [`db.default.${S}`, "SRV"],
      [`_http._tcp.db.default.${S}`, "SRV"],
      [`10-2-0-1.db.default.${S}`, "A"],
      [`away.default.${S}`, "CNAME"],
      ["7.0.96.10.in-addr.arpa.", "PTR"],
      ["1.0.2.10.in-addr.arpa.", "PTR"],
      ["9.0.2.10.in-addr.arpa.", "PTR"],
    ];
    const answers = (zone: ClusterZone): string[][] => questions.map(([name, type]) => ask(zone, name, type).sort());
    const plain = createClusterZone();
    for (const object of objects) plain.apply(object);
    const expected = answers(plain);
    fc.assert(
      fc.property(fc.shuffledSubarray(objects, { minLength: objects.length }), (order) => {
        const zone = createClusterZone();
        for (const object of gone) zone.apply(object);
        for (const object of order) zone.apply(object);
        for (const object of gone) zone.remove(object);
        expect(answers(zone)).toEqual(expected);
        // A list that replaces what is there changes nothing either.
        for (const kind of ["Namespace", "Service", "EndpointSlice"])
          zone.replace(
            kind,
            order.filter((object) => object.kind === kind),
          );
        expect(answers(zone)).toEqual(expected);
      }),
    );
  });
});
