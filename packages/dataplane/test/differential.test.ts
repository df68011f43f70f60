import type { Dataplane, NodeSpec, ServicePortSpec } from "@portolan/dataplane";
import { packet, parsePacket } from "@portolan/net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { builds, dataplaneOf } from "./builds.ts";
import { decide, type ModelFlow } from "./model.ts";
import { addPorts, configure, macs, peers } from "./scenario.ts";

const podAddresses = ["10.244.1.11", "10.244.1.12", "10.244.2.13", "192.168.50.10"];
const sources = ["10.244.1.11", "10.244.2.99", "192.168.50.10", "203.0.113.7", "203.0.113.200", "1.2.3.4", "127.0.0.1"];
const addresses = [
  "10.96.0.1",
  "10.96.0.2",
  "1.2.3.4",
  "5.6.7.8",
  "192.168.50.10",
  "192.168.51.10",
  "10.96.9.9",
  "198.51.100.1",
];

const backend = fc.record({
  address: fc.constantFrom(...podAddresses),
  port: fc.constantFrom(80, 8080),
  local: fc.boolean(),
});
const frontend = fc.oneof(
  fc.record({
    kind: fc.constantFrom("ClusterIP" as const),
    address: fc.constantFrom("10.96.0.1", "10.96.0.2"),
    port: fc.constantFrom(80, 443),
  }),
  fc.record({
    kind: fc.constantFrom("LoadBalancer" as const),
    address: fc.constant("1.2.3.4"),
    port: fc.constantFrom(80, 443),
  }),
  fc.record({
    kind: fc.constantFrom("ExternalIP" as const),
    address: fc.constantFrom("5.6.7.8", "192.168.51.10"),
    port: fc.constantFrom(80, 443),
  }),
  fc.record({ kind: fc.constant("NodePort" as const), port: fc.constantFrom(30080, 30443) }),
);
const policy = fc.constantFrom("Cluster" as const, "Local" as const);
const service: fc.Arbitrary<ServicePortSpec> = fc
  .record({
    protocol: fc.constantFrom("TCP" as const, "UDP" as const),
    frontends: fc.uniqueArray(frontend, {
      minLength: 1,
      maxLength: 4,
      selector: (one) => `${"address" in one ? one.address : ""}:${one.port}`,
    }),
    cluster: fc.uniqueArray(backend, { maxLength: 4, selector: (one) => one.address }),
    internalTrafficPolicy: policy,
    externalTrafficPolicy: policy,
    sourceRanges: fc.constantFrom([], [], ["203.0.113.0/25"], ["192.168.0.0/16", " 10.244.0.0/16"]),
    orphan: fc.boolean(),
  })
  .map(({ orphan, ...one }) => ({
    id: "",
    family: "IPv4" as const,
    ...one,
    local: one.cluster.filter((member) => member.local),
    hasAny: one.cluster.length > 0 || orphan,
  }));
const node: fc.Arbitrary<NodeSpec> = fc.record(
  {
    addresses: fc.constant(["192.168.50.10", "192.168.51.10"]),
    clusterCIDRs: fc.constantFrom(["10.244.0.0/16"], []),
    nodePortAddresses: fc.constantFrom(["192.168.50.10"], ["192.168.50.10", "192.168.51.10"], []),
    serviceCIDRs: fc.constantFrom(["10.96.0.0/16"], []),
    masqueradeAll: fc.boolean(),
    mode: fc.constantFrom("nftables" as const, "iptables" as const),
  },
  { requiredKeys: ["addresses", "clusterCIDRs"] },
);

describe("decisions", () => {
  test("agree with the model on every first packet", { timeout: 120_000 }, () => {
    fc.assert(
      fc.property(node, fc.array(service, { minLength: 1, maxLength: 4 }), fc.nat(0xffff), (nodeSpec, specs, seed) => {
        const services = specs.map((one, i) => ({ ...one, id: `s${i}` }));
        const dataplane = dataplaneOf("release", { seed });
        dataplane.configureNode(nodeSpec);
        dataplane.replaceServicePorts(services);
        let sourcePort = 1024;
        for (const source of sources) {
          for (const destination of addresses) {
            for (const destinationPort of [80, 30080]) {
              for (const protocol of ["TCP", "UDP"] as const) {
                const flow: ModelFlow = { protocol, source, destination, destinationPort };
                const ports = { sourcePort: sourcePort++, destinationPort };
                const base = packet().ipv4({ source, destination });
                const bytes = protocol === "TCP" ? base.tcp({ ...ports, flags: "S" }).build() : base.udp(ports).build();
                check(dataplane, nodeSpec, services, flow, bytes);
              }
            }
          }
        }
      }),
      { numRuns: 40 },
    );
  });
});

function check(
  dataplane: Dataplane,
  nodeSpec: NodeSpec,
  services: readonly ServicePortSpec[],
  flow: ModelFlow,
  bytes: Uint8Array,
): void {
  const expected = decide(nodeSpec, services, flow);
  const traced = dataplane.trace(bytes, { now: 1 }).at(-1);
  const result = dataplane.process(bytes, { now: 1 });
  const what = `${flow.protocol} ${flow.source} to ${flow.destination}:${flow.destinationPort}`;
  expect(traced, what).toMatchObject({ step: "verdict", verdict: result.verdict });
  if (expected.kind === "pass") expect([result.verdict, result.packet], what).toEqual(["PASS", bytes]);
  else if (expected.kind === "reject") expect(result.verdict, what).toBe("REJECT");
  else if (expected.kind === "drop") expect(result.verdict, what).toBe("DROP");
  else {
    expect(result.verdict, what).toBe("PASS");
    const out = parsePacket(result.packet!);
    expect(out.isIntact, what).toBe(true);
    expect(expected.backends, what).toContain(out.destination);
    // A source that is masqueraded to itself shows by its port.
    const wire = parsePacket(bytes);
    const kept = out.source === flow.source && (out.tcp ?? out.udp)!.sourcePort === (wire.tcp ?? wire.udp)!.sourcePort;
    expect(kept, `${what}: source ${out.source}`).toBe(!expected.masquerades(out.destination!));
  }
}

describe("builds", () => {
  test("release, scalar and debug do the same to the same traffic, byte for byte", { timeout: 120_000 }, () => {
    const pod = ["10.244.1.11", "10.244.1.12", "203.0.113.5"];
    const destination = [
      "10.96.0.10",
      "10.96.0.53",
      "10.96.0.66",
      "1.2.3.4",
      "192.168.50.10",
      "10.244.2.13",
      "198.51.100.9",
    ];
    const step = fc.record({
      source: fc.constantFrom(...pod),
      destination: fc.constantFrom(...destination),
      sourcePort: fc.integer({ min: 1024, max: 1100 }),
      destinationPort: fc.constantFrom(80, 53, 30080, 30053),
      flags: fc.constantFrom("S", "A", "FA", "R", "SA"),
      udp: fc.boolean(),
      advance: fc.constantFrom(0, 0, 0, 1, 40, 130),
      ingress: fc.constantFrom(0, 1),
      reply: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 400 }), fc.nat(0xffff), (steps, seed) => {
        const planes = builds.map((build) => addPorts(configure(dataplaneOf(build, { seed }))));
        let now = 1;
        let last: Uint8Array | undefined;
        for (const one of steps) {
          now += one.advance;
          const link =
            one.ingress === 0
              ? { source: peers.pod, destination: macs.pod }
              : { source: peers.router, destination: macs.uplink };
          let addresses = { source: one.source, destination: one.destination };
          let ports: { sourcePort: number; destinationPort: number } = one;
          const before = last === undefined ? undefined : parsePacket(last, { link: "ethernet" });
          const transport = before?.tcp ?? before?.udp;
          if (one.reply && before?.ipv4 !== undefined && transport !== undefined) {
            addresses = { source: before.destination!, destination: before.source! };
            ports = { sourcePort: transport.destinationPort, destinationPort: transport.sourcePort };
          }
          const base = packet().ethernet(link).ipv4(addresses);
          const frame = one.udp
            ? base.udp(ports).payload("x").build()
            : base.tcp({ ...ports, flags: one.flags }).build();
          const [release, ...others] = planes.map((plane) => plane.processFrame(frame, { now, ingress: one.ingress }));
          for (const other of others) expect(other).toEqual(release);
          last = release!.packet ?? last;
        }
        const [first, ...rest] = planes.map((plane) => ({
          connections: plane.connections(),
          counters: plane.counters(),
          events: plane.events(),
          size: plane.size(),
        }));
        for (const other of rest) expect(other).toEqual(first);
      }),
      { numRuns: 40 },
    );
  });
});
