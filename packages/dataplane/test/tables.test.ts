import { createDataplane, linuxTimeouts, type ServicePortSpec } from "@portolan/dataplane";
import { packet } from "@portolan/net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dataplaneOf } from "./builds.ts";
import { code, dial, spec } from "./dialing.ts";

describe("Service tables", { timeout: 60_000 }, () => {
  test("what is removed is gone, what is replaced is new, the rest stays", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.replaceServicePorts([spec("a", "10.96.0.1", ["10.0.0.1"]), spec("b", "10.96.0.2", ["10.0.0.2"])]);
    expect(dial(dataplane, "10.96.0.1")).toBe("10.0.0.1");
    dataplane.replaceServicePorts([spec("b", "10.96.0.2", ["10.0.0.3"]), spec("c", "10.96.0.3", ["10.0.0.4"])]);
    expect(dial(dataplane, "10.96.0.1")).toBe("10.96.0.1");
    expect(dial(dataplane, "10.96.0.2")).toBe("10.0.0.3");
    expect(dial(dataplane, "10.96.0.3")).toBe("10.0.0.4");
    dataplane.removeServicePort("c");
    dataplane.removeServicePort("never there");
    expect(dial(dataplane, "10.96.0.3")).toBe("10.96.0.3");
    expect(dataplane.size()).toMatchObject({ servicePorts: 1, backends: 1, frontends: 1 });
  });

  test("of two entries that claim a frontend the first has it, and the other inherits it", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.1"]));
    dataplane.setServicePort(spec("b", "10.96.0.1", ["10.0.0.2"]));
    expect(dial(dataplane, "10.96.0.1")).toBe("10.0.0.1");
    dataplane.removeServicePort("a");
    expect(dial(dataplane, "10.96.0.1")).toBe("10.0.0.2");
  });

  test("round robin goes on where it was when endpoints change", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.1", "10.0.0.2", "10.0.0.3"], { scheduler: "rr" }));
    expect([dial(dataplane, "10.96.0.1"), dial(dataplane, "10.96.0.1")]).toEqual(["10.0.0.1", "10.0.0.2"]);
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.1", "10.0.0.3", "10.0.0.4"], { scheduler: "rr" }));
    expect([dial(dataplane, "10.96.0.1"), dial(dataplane, "10.96.0.1"), dial(dataplane, "10.96.0.1")]).toEqual([
      "10.0.0.3",
      "10.0.0.4",
      "10.0.0.1",
    ]);
  });

  test.each([
    ["a frontend that is no address", spec("a", "10.96.0.300", ["10.0.0.1"])],
    ["a backend of the other family", spec("a", "10.96.0.1", ["fd00::1"])],
    ["port 0", spec("a", "10.96.0.1", [], { frontends: [{ kind: "NodePort", port: 0 }] })],
    ["an affinity of two days", spec("a", "10.96.0.1", ["10.0.0.1"], { affinitySeconds: 172_800 })],
    ["a range that is no CIDR", spec("a", "10.96.0.1", ["10.0.0.1"], { sourceRanges: ["everyone"] })],
    ["an unknown scheduler", spec("a", "10.96.0.1", ["10.0.0.1"], { scheduler: "fastest" as never })],
    ["a negative weight", spec("a", "10.96.0.1", [], { cluster: [{ address: "10.0.0.1", port: 1, weight: -1 }] })],
  ])("%s is refused, and nothing changes", (_, bad) => {
    const dataplane = dataplaneOf("debug");
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.9"]));
    expect(code(() => dataplane.setServicePort(bad))).toBe("INVALID_SERVICE_PORT");
    expect(code(() => dataplane.replaceServicePorts([spec("z", "10.96.0.9", ["10.0.0.1"]), bad]))).toBe(
      "INVALID_SERVICE_PORT",
    );
    expect(dial(dataplane, "10.96.0.1")).toBe("10.0.0.9");
    expect(dataplane.size().servicePorts).toBe(1);
  });

  test("a full map refuses the change whole", () => {
    const dataplane = createDataplane({ seed: 1, capacity: { servicePorts: 2, backends: 4 } });
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    expect(code(() => dataplane.setServicePort(spec("b", "10.96.0.2", ["10.0.0.4", "10.0.0.5"])))).toBe("MAP_FULL");
    expect(dial(dataplane, "10.96.0.2")).toBe("10.96.0.2");
    dataplane.setServicePort(spec("b", "10.96.0.2", ["10.0.0.4"]));
    expect(code(() => dataplane.setServicePort(spec("c", "10.96.0.3", [])))).toBe("MAP_FULL");
    expect(
      code(() => dataplane.replaceServicePorts(["x", "y", "z"].map((id, i) => spec(id, `10.96.1.${i}`, [])))),
    ).toBe("MAP_FULL");
    expect(dial(dataplane, "10.96.0.2")).toBe("10.0.0.4");
  });

  test("any sequence of changes ends in the same tables as the last state alone", () => {
    const one = fc.record({
      id: fc.constantFrom("a", "b", "c", "d"),
      ip: fc.constantFrom("10.96.0.1", "10.96.0.2", "10.96.0.3"),
      n: fc.nat(5),
      affinity: fc.boolean(),
      mh: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(fc.oneof(one, fc.constantFrom("a", "b", "c", "d")), { maxLength: 60 }), (changes) => {
        const dataplane = dataplaneOf("debug");
        const state = new Map<string, ServicePortSpec>();
        for (const change of changes) {
          if (typeof change === "string") {
            dataplane.removeServicePort(change);
            state.delete(change);
            continue;
          }
          const backends = Array.from({ length: change.n }, (_, i) => `10.0.${change.id.charCodeAt(0)}.${i + 1}`);
          const next = spec(change.id, change.ip, backends, {
            ...(change.affinity ? { affinitySeconds: 10 } : {}),
            scheduler: change.mh ? "mh" : "rr",
          });
          dataplane.setServicePort(next);
          state.set(change.id, next);
        }
        expect(dataplane.size()).toMatchObject({
          servicePorts: state.size,
          backends: [...state.values()].reduce((sum, entry) => sum + entry.cluster.length, 0),
        });
        for (const ip of ["10.96.0.1", "10.96.0.2", "10.96.0.3"]) {
          const claimants = [...state.values()].filter((entry) => entry.frontends[0]!.address === ip);
          const got = dial(dataplane, ip);
          if (claimants.length === 0) expect(got).toBe(ip);
          else {
            const possible = claimants.flatMap((entry) =>
              entry.hasAny ? entry.cluster.map((member) => member.address) : ["REJECT no-endpoints"],
            );
            expect(possible).toContain(got);
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe("connections", { timeout: 60_000 }, () => {
  test("an established flow keeps its backend whatever becomes of the tables", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.1"]));
    dial(dataplane, "10.96.0.1", { sourcePort: 500 });
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.2"], { sourceRanges: ["203.0.113.0/24"] }));
    expect(dial(dataplane, "10.96.0.1", { sourcePort: 500 })).toBe("10.0.0.1");
    dataplane.removeServicePort("a");
    expect(dial(dataplane, "10.96.0.1", { sourcePort: 500 })).toBe("10.0.0.1");
    expect(dial(dataplane, "10.96.0.1", { sourcePort: 501 })).toBe("10.96.0.1");
  });

  test("UDP flows to backends that are gone are flushed, except when none is left", () => {
    const dataplane = dataplaneOf("debug");
    const udp = (backends: readonly string[]) => spec("u", "10.96.0.53", backends, { protocol: "UDP" });
    dataplane.setServicePort(udp(["10.0.0.1"]));
    expect(dial(dataplane, "10.96.0.53", { protocol: "UDP", sourcePort: 700 })).toBe("10.0.0.1");
    dataplane.setServicePort(udp([]));
    dataplane.flushUdp(udp([]).frontends, "IPv4", []);
    expect(dial(dataplane, "10.96.0.53", { protocol: "UDP", sourcePort: 700 })).toBe("10.0.0.1");
    dataplane.setServicePort(udp(["10.0.0.2"]));
    dataplane.flushUdp(udp([]).frontends, "IPv4", ["10.0.0.2"]);
    expect(dial(dataplane, "10.96.0.53", { protocol: "UDP", sourcePort: 700 })).toBe("10.0.0.2");
  });

  test("expiry is noticed by the next packet, by ticks and by the dump", () => {
    const dataplane = dataplaneOf("debug", { timeouts: linuxTimeouts });
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.1"]));
    dial(dataplane, "10.96.0.1", { now: 10 });
    expect(dataplane.connections()).toMatchObject([{ state: "SYN_SENT", expiresIn: 120 }]);
    expect(dataplane.tick(129)).toBe(0);
    expect(dataplane.tick(130)).toBe(1);
    expect(dataplane.size().connections).toBe(0);
  });

  test("a flood of half-open connections does not push out an established one", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.1"]));
    dial(dataplane, "10.96.0.1", { sourcePort: 900 });
    const reply = packet()
      .ipv4({ source: "10.0.0.1", destination: "10.244.1.20" })
      .tcp({ sourcePort: 8080, destinationPort: 900, flags: "SA" })
      .build();
    dataplane.process(reply, { now: 1 });
    dial(dataplane, "10.96.0.1", { sourcePort: 900, flags: "A" });
    for (let i = 0; i < 2560; i++) dial(dataplane, "10.96.0.1", { source: `203.0.${i >> 8}.${i & 255}`, now: 2 });
    expect(dataplane.connections().filter((entry) => entry.assured)).toHaveLength(1);
    expect(dial(dataplane, "10.96.0.1", { sourcePort: 900, flags: "A", now: 3 })).toBe("10.0.0.1");
    expect(dataplane.counters().connections.evicted).toBeGreaterThan(2000);
  });

  test("two connections of one client that meet at one backend do not share a reply tuple", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.1"]));
    dataplane.setServicePort(spec("b", "10.96.0.2", ["10.0.0.1"]));
    dial(dataplane, "10.96.0.1", { sourcePort: 600 });
    dial(dataplane, "10.96.0.2", { sourcePort: 600 });
    const [first, second] = dataplane.connections();
    expect(first!.reply.destinationPort).toBe(600);
    expect(second!.reply.destinationPort).not.toBe(600);
    expect(second!.reply.destination).toBe("10.244.1.20");
  });
});

describe("sockets", () => {
  test("get the decision of a first packet, and count until they are released", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.1", "10.0.0.2"], { scheduler: "lc" }));
    dataplane.setServicePort(spec("empty", "10.96.0.2", []));
    const connect = (destination: string) =>
      dataplane.connect({ protocol: "TCP", source: "10.244.1.20", destination, destinationPort: 80, now: 1 });
    const first = connect("10.96.0.1");
    expect(first).toMatchObject({ verdict: "ALLOW", servicePort: "a", backend: { address: "10.0.0.1", port: 8080 } });
    expect(connect("10.96.0.1").backend!.address).toBe("10.0.0.2");
    dataplane.release(first.handle!);
    dataplane.release(first.handle!);
    expect(connect("10.96.0.1").backend!.address).toBe("10.0.0.1");
    expect(dataplane.counters().servicePorts["a"]!.backends.map((one) => one.active)).toEqual([1, 1]);
    expect(connect("10.96.0.2")).toMatchObject({ verdict: "REJECT", reason: "no-endpoints" });
    expect(connect("198.51.100.1")).toEqual({ verdict: "PASS" });
    expect(
      dataplane.connect({ protocol: "TCP", source: "nobody", destination: "10.96.0.1", destinationPort: 80 }),
    ).toEqual({ verdict: "PASS" });
  });

  test("datagram sockets count as inactive until they are released, whatever becomes of the tables meanwhile", () => {
    const dataplane = dataplaneOf("debug");
    const dns = (backends: readonly string[]) =>
      spec("dns", "10.96.0.53", backends, { scheduler: "lc", protocol: "UDP" });
    dataplane.setServicePort(dns(["10.0.0.1", "10.0.0.2"]));
    const send = () =>
      dataplane.connect({
        protocol: "UDP",
        source: "10.244.1.20",
        destination: "10.96.0.53",
        destinationPort: 80,
        now: 1,
      });
    const counts = () => dataplane.counters().servicePorts["dns"]!.backends.map((one) => [one.active, one.inactive]);
    const sockets = Array.from({ length: 6 }, send);
    expect(counts()).toEqual([
      [0, 3],
      [0, 3],
    ]);
    for (const { handle, backend } of sockets) if (backend!.address === "10.0.0.1") dataplane.release(handle!);
    expect(counts()).toEqual([
      [0, 0],
      [0, 3],
    ]);
    expect(Array.from({ length: 3 }, send).map((one) => one.backend!.address)).toEqual(new Array(3).fill("10.0.0.1"));
    // A backend that left takes its sockets' counts with it; releasing them is no concern of whoever has its slot now.
    dataplane.setServicePort(dns(["10.0.0.1"]));
    dataplane.setServicePort(dns(["10.0.0.1", "10.0.0.9"]));
    for (const { handle, backend } of sockets) if (backend!.address === "10.0.0.2") dataplane.release(handle!);
    expect(counts()).toEqual([
      [0, 3],
      [0, 0],
    ]);
    expect(dataplane.connections().filter((one) => one.socket)).toHaveLength(3);
  });

  test("share affinity with packets", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.setServicePort(
      spec("a", "10.96.0.1", ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"], { affinitySeconds: 60 }),
    );
    const { backend } = dataplane.connect({
      protocol: "TCP",
      source: "10.244.1.20",
      destination: "10.96.0.1",
      destinationPort: 80,
      now: 1,
    });
    for (let i = 0; i < 20; i++) expect(dial(dataplane, "10.96.0.1", { now: 2 + i })).toBe(backend!.address);
  });
});

describe("looking inside", () => {
  test("a trace changes nothing", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.setServicePort(
      spec("a", "10.96.0.1", ["10.0.0.1", "10.0.0.2", "10.0.0.3"], { scheduler: "rr", affinitySeconds: 60 }),
    );
    dial(dataplane, "10.96.0.1", { sourcePort: 800, source: "10.244.1.30" });
    dataplane.events();
    const state = () =>
      JSON.stringify([dataplane.connections(), dataplane.counters(), dataplane.events(), dataplane.size()]);
    const before = state();
    const syn = packet()
      .ipv4({ source: "10.244.1.20", destination: "10.96.0.1" })
      .tcp({ sourcePort: 1, destinationPort: 80, flags: "S" })
      .build();
    const known = packet()
      .ipv4({ source: "10.244.1.30", destination: "10.96.0.1" })
      .tcp({ sourcePort: 800, destinationPort: 80, flags: "R" })
      .build();
    const texts = dataplane.trace(syn, { now: 500 }).map((step) => step.text);
    expect(dataplane.trace(syn, { now: 500 }).map((step) => step.text)).toEqual(texts);
    expect(dataplane.trace(known, { now: 500_000 }).map((step) => step.step)).toContain("verdict");
    expect(state()).toBe(before);
  });

  test("drops are counted by reason and told as events, and a full ring loses the newest, counted", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.setServicePort(
      spec("a", "10.96.0.1", ["10.0.0.1"], {
        frontends: [{ kind: "LoadBalancer", address: "1.2.3.4", port: 80 }],
        sourceRanges: ["203.0.113.0/24"],
      }),
    );
    for (let i = 0; i < 100; i++) expect(dial(dataplane, "1.2.3.4")).toBe("DROP source-range");
    expect(dataplane.counters()).toMatchObject({
      reasons: { "source-range": 100 },
      eventsLost: 36,
      servicePorts: { a: { dropped: 100 } },
    });
    const events = dataplane.events();
    expect(events).toHaveLength(64);
    expect(events[0]).toMatchObject({
      kind: "drop",
      reason: "source-range",
      source: "10.244.1.20",
      destination: "1.2.3.4",
      destinationPort: 80,
    });
    expect(dataplane.events()).toEqual([]);
  });
});

describe("caches", () => {
  test("a destination that was plain is a Service's as soon as one has it", () => {
    const dataplane = dataplaneOf("debug");
    dataplane.configureNode({ addresses: ["192.168.50.10"], clusterCIDRs: ["10.244.0.0/16"] });
    dataplane.setPort(0, { mac: "02:00:00:00:01:01", kind: "pod" });
    dataplane.setRoute("0.0.0.0/0", { port: 0, nextHopMac: "02:00:00:00:02:11" });
    for (let i = 0; i < 3; i++) expect(dial(dataplane, "10.96.0.9")).toBe("10.96.0.9");
    dataplane.setServicePort(spec("a", "10.96.0.9", ["10.0.0.1"]));
    expect(dial(dataplane, "10.96.0.9")).toBe("10.0.0.1");
    dataplane.removeServicePort("a");
    expect(dial(dataplane, "10.96.0.9")).toBe("10.96.0.9");
    dataplane.configureNode({
      addresses: ["192.168.50.10"],
      clusterCIDRs: ["10.244.0.0/16"],
      serviceCIDRs: ["10.96.0.0/16"],
    });
    expect(dial(dataplane, "10.96.0.9")).toBe("DROP unallocated-service-address");
  });

  test("in ipvs mode each address of a Service has its own persistence, which open connections prolong", () => {
    const frontends = [
      { kind: "ClusterIP", address: "10.96.0.1", port: 80 },
      { kind: "ExternalIP", address: "5.6.7.8", port: 80 },
    ] as const;
    const picks = new Set<boolean>();
    for (let seed = 1; seed <= 20; seed++) {
      const dataplane = createDataplane({ seed });
      dataplane.configureNode({ addresses: ["192.168.50.10"], clusterCIDRs: ["10.244.0.0/16"], mode: "ipvs" });
      dataplane.setServicePort(spec("a", "10.96.0.1", ["10.0.0.1", "10.0.0.2"], { frontends, affinitySeconds: 100 }));
      const first = dial(dataplane, "10.96.0.1", { now: 1 });
      expect(dial(dataplane, "10.96.0.1", { now: 2 })).toBe(first);
      picks.add(dial(dataplane, "5.6.7.8", { now: 3 }) === first);
      // Both connections are half-open for 120 seconds, the affinity has ended.
      expect(dial(dataplane, "10.96.0.1", { now: 110 })).toBe(first);
    }
    expect(picks.size).toBe(2);
  });
});
