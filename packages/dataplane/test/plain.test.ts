import { batchVerdicts, type Dataplane } from "@portolan/dataplane";
import { packet } from "@portolan/net";
import fc from "fast-check";
import { expect, test } from "vitest";
import { builds, dataplaneOf, small } from "./builds.ts";
import { addPorts, configure, macs, node, peers } from "./scenario.ts";

/*
 * A batch forwards segments of established connections by a short cut (assembly/plain.ts); a single frame takes the general path. Both
 * must do the same to the same traffic: bytes, verdicts, counters and connections.
 */

const pod = { source: peers.pod, destination: macs.pod };
const router = { source: peers.router, destination: macs.uplink };

interface Happening {
  readonly flow: number;
  readonly reply: boolean;
  readonly flags: string;
  readonly length: number;
  readonly ttl: number;
  readonly after: number;
  readonly change: number;
  /** The frame is traced before it is sent, and connections are listed, which changes nothing. */
  readonly looked: boolean;
}

const happening: fc.Arbitrary<Happening> = fc.record({
  flow: fc.nat(5),
  reply: fc.boolean(),
  flags: fc.oneof({ arbitrary: fc.constant("A"), weight: 8 }, fc.constantFrom("S", "SA", "FA", "R", "PA", "UA", "")),
  length: fc.oneof({ arbitrary: fc.nat(40), weight: 8 }, fc.constantFrom(1360, 1380, 1460)),
  ttl: fc.oneof({ arbitrary: fc.constant(64), weight: 8 }, fc.constantFrom(0, 1, 2)),
  after: fc.oneof({ arbitrary: fc.constant(0), weight: 6 }, fc.constantFrom(0.5, 3, 31, 200)),
  change: fc.oneof({ arbitrary: fc.constant(0), weight: 8 }, fc.integer({ min: 1, max: 5 })),
  looked: fc.oneof({ arbitrary: fc.constant(false), weight: 6 }, fc.constant(true)),
});

/** Client port and Service of a flow; every third is UDP. */
const flowOf = (flow: number) => ({ udp: flow % 3 === 2, port: 40_000 + flow });

function frameOf(
  { flow, reply, flags, length, ttl }: Happening,
  backends: Map<number, { address: string; port: number }>,
) {
  const { udp, port } = flowOf(flow);
  const service = udp ? { address: "10.96.0.53", port: 53 } : { address: "10.96.0.10", port: 80 };
  const backend = backends.get(flow);
  if (reply && backend === undefined) return undefined;
  const far = reply && backend!.address.startsWith("10.244.2.");
  const ends = reply
    ? { source: backend!.address, destination: "10.244.1.12", ttl }
    : { source: "10.244.1.12", destination: service.address, ttl };
  const ports = reply
    ? { sourcePort: backend!.port, destinationPort: port }
    : { sourcePort: port, destinationPort: service.port };
  const base = packet()
    .ethernet(far ? router : pod)
    .ipv4(ends);
  return {
    ingress: far ? 1 : 0,
    bytes: (udp ? base.udp(ports) : base.tcp({ ...ports, flags })).payload(new Uint8Array(length).fill(flow)).build(),
  };
}

function change(dataplane: Dataplane, kind: number): void {
  if (kind === 1) dataplane.setRoute("10.244.2.0/24", { port: 1, nextHopMac: "02:00:00:00:02:77" });
  if (kind === 2) dataplane.setRoute("10.244.2.0/24", { port: 1 });
  if (kind === 3) dataplane.removeRoute("10.244.1.12");
  if (kind === 4) dataplane.setPort(1, { mac: macs.uplink, kind: "uplink", mtu: 1400 - kind });
  if (kind === 5) dataplane.configureNode({ ...node, addresses: [...node.addresses, "10.244.2.13"] });
}

/** The frame alone in a batch of two, the other a runt: a batch of one would be as good. */
function byBatch(dataplane: Dataplane, bytes: Uint8Array, ingress: number, now: number) {
  const memory = new Uint8Array(dataplane.memory.buffer);
  const { address, size } = dataplane.frames;
  const { frame, length, ingress: from, verdict, egress, reason } = dataplane.descriptors;
  memory.set(bytes, address + size);
  frame[0] = address;
  length[0] = 3;
  frame[1] = address + size;
  length[1] = bytes.length;
  from[0] = from[1] = ingress;
  dataplane.ingress(2, now);
  const sends = verdict[1] === batchVerdicts.TX || verdict[1] === batchVerdicts.REDIRECT;
  return {
    verdict: verdict[1],
    reason: reason[1],
    egress: sends ? egress[1] : undefined,
    bytes: verdict[1] === batchVerdicts.DROP ? [] : [...memory.subarray(address + size, address + size + length[1]!)],
  };
}

function byFrame(dataplane: Dataplane, bytes: Uint8Array, ingress: number, now: number) {
  const at = dataplane.frames.address;
  const memory = new Uint8Array(dataplane.memory.buffer);
  memory.set(bytes, at);
  // The batch's runt, so that counters agree.
  dataplane.exports.processFrame(at + dataplane.frames.size, 3, ingress, Math.floor(now * 64));
  const verdict = dataplane.exports.processFrame(at, bytes.length, ingress, Math.floor(now * 64));
  const sends = verdict === batchVerdicts.TX || verdict === batchVerdicts.REDIRECT;
  const result = {
    verdict,
    reason: dataplane.exports.resultReason(),
    egress: sends ? dataplane.exports.resultEgress() >>> 0 : undefined,
    bytes: verdict === batchVerdicts.DROP ? [] : [...memory.subarray(at, at + dataplane.exports.resultLength())],
  };
  // What a batch collects at its end.
  dataplane.exports.collect(16, Math.floor(now * 64));
  return result;
}

test.each(builds)("%s: batches and single frames agree", { timeout: 120_000 }, (build) => {
  let shortened = 0;
  fc.assert(
    fc.property(fc.array(happening, { minLength: 20, maxLength: 120 }), (happenings) => {
      const batched = addPorts(configure(dataplaneOf(build)));
      const single = addPorts(configure(dataplaneOf(build)));
      const backends = new Map<number, { address: string; port: number }>();
      // Every flow is opened first, so that the short cut is taken often.
      const opening = [0, 1, 2, 3, 4, 5].flatMap((flow) =>
        [
          { flow, reply: false, flags: "S" },
          { flow, reply: true, flags: "SA" },
          { flow, reply: false, flags: "A" },
          { flow, reply: true, flags: "A" },
        ].map((one) => ({ ...one, length: 4, ttl: 64, after: flow % 3 === 2 ? 1.5 : 0, change: 0, looked: false })),
      );
      let now = 1;
      for (const one of [...opening, ...happenings]) {
        now += one.after;
        for (const dataplane of [batched, single]) change(dataplane, one.change);
        const made = frameOf(one, backends);
        if (made === undefined) continue;
        if (one.looked) {
          batched.trace(made.bytes.subarray(14));
          expect(single.connections()).toEqual(batched.connections());
        }
        const result = byBatch(batched, made.bytes, made.ingress, now);
        expect(byFrame(single, made.bytes, made.ingress, now)).toEqual(result);
        if (result.verdict === batchVerdicts.REDIRECT || result.verdict === batchVerdicts.TX) {
          const { bytes } = result;
          if (!one.reply && result.reason === 0)
            backends.set(one.flow, { address: bytes.slice(30, 34).join("."), port: (bytes[36]! << 8) | bytes[37]! });
          if (one.flags === "A") shortened++;
        }
      }
      expect(single.connections()).toEqual(batched.connections());
      expect(single.counters()).toEqual(batched.counters());
    }),
    { numRuns: build === "debug" ? 20 : 100 },
  );
  expect(shortened).toBeGreaterThan(500);
});

test("counts of a Service port are those of its connections, open and closed", () => {
  const dataplane = addPorts(configure(dataplaneOf("release")));
  const open = packet()
    .ethernet(pod)
    .ipv4({ source: "10.244.1.12", destination: "10.96.0.53" })
    .udp({ sourcePort: 5, destinationPort: 53 })
    .payload("question")
    .build();
  for (let i = 0; i < 3; i++) byBatch(dataplane, open, 0, 1 + i);
  const counts = () => dataplane.counters().servicePorts["default/dns:dns/UDP/IPv4"]!;
  expect(counts()).toMatchObject({ connections: 1, packets: 3, bytes: 3 * (open.length - 14) });
  expect(counts()).toMatchObject({ packets: 3 });
  dataplane.tick(100);
  expect(dataplane.size().connections).toBe(0);
  expect(counts()).toMatchObject({ connections: 1, packets: 3, bytes: 3 * (open.length - 14) });
});

test("a connection lives as long as one of its directions does", () => {
  const dataplane = addPorts(configure(dataplaneOf("release")));
  const send = (reply: boolean, flags: string, now: number) => {
    const base = { flow: 0, length: 4, ttl: 64, after: 0, change: 0, looked: false };
    const { bytes, ingress } = frameOf({ ...base, reply, flags }, backends)!;
    return byBatch(dataplane, bytes, ingress, now);
  };
  const backends = new Map<number, { address: string; port: number }>();
  const { bytes } = send(false, "S", 1);
  backends.set(0, { address: bytes.slice(30, 34).join("."), port: (bytes[36]! << 8) | bytes[37]! });
  send(true, "SA", 1);
  send(false, "A", 1);
  const timeout = 86_400;
  for (const [reply, silent] of [
    [true, false],
    [false, true],
  ] as const) {
    const from = silent ? 1 + 4 * timeout : 1;
    for (let i = 0; i <= 6; i++)
      expect(send(reply, "A", from + (i * timeout) / 2).verdict).not.toBe(batchVerdicts.DROP);
    // The other line follows this one from time to time only.
    send(reply, "A", from + 3 * timeout + 3600);
    expect(dataplane.tick(from + 4 * timeout + 1800)).toBe(0);
    expect(dataplane.connections()).toMatchObject([{ state: "ESTABLISHED", assured: true }]);
  }
  expect(dataplane.tick(1 + 20 * timeout)).toBe(1);
});

test.each([false, true])("nor longer, also when one of them was silent for years (replies: %s)", (reply) => {
  const dataplane = addPorts(configure(dataplaneOf("release")));
  const backends = new Map<number, { address: string; port: number }>();
  const send = (back: boolean, flags: string, now: number) => {
    const one = { flow: 0, reply: back, flags, length: 4, ttl: 64, after: 0, change: 0, looked: false };
    const { bytes, ingress } = frameOf(one, backends)!;
    return byBatch(dataplane, bytes, ingress, now);
  };
  const { bytes } = send(false, "S", 1);
  backends.set(0, { address: bytes.slice(30, 34).join("."), port: (bytes[36]! << 8) | bytes[37]! });
  send(true, "SA", 1);
  send(false, "A", 1);
  send(true, "A", 1);
  const halfDay = 43_200;
  const halfDays = 2 * 2 * 365;
  for (let i = 0; i < halfDays; i++) expect(send(reply, "A", 1 + i * halfDay).verdict).not.toBe(batchVerdicts.DROP);
  expect(dataplane.counters().connections.inserted).toBe(1);
  expect(dataplane.tick(1 + (halfDays + 1) * halfDay)).toBe(1);
});

test("an IPv6 connection whose addresses look like an established IPv4 one's is not taken for it", () => {
  // Where the line of an IPv4 connection says until when it lives, that it is steady and which addresses it has: the generation is the
  // first that packets meet.
  const lookalike = { source: "fd00:10:244:1::af4:10c", destination: "fd00:1:306:100::a60:a" };
  const dataplane = addPorts(configure(dataplaneOf("release", { capacity: { ...small, connections: 8 } })));
  dataplane.setServicePort({
    id: "default/lookalike:/TCP/IPv6",
    family: "IPv6",
    protocol: "TCP",
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
    frontends: [{ kind: "ClusterIP", address: lookalike.destination, port: 80 }],
    cluster: [{ address: "fd00:10:244:2::13", port: 8080 }],
    local: [],
  });
  let sent = 0;
  for (let port = 1024; port < 1024 + 3000; port++) {
    const now = 1 + (port - 1024);
    const ports = { sourcePort: port, destinationPort: 80 };
    const open = packet()
      .ethernet(pod)
      .ipv6(lookalike)
      .tcp({ ...ports, flags: "S" })
      .build();
    expect(byBatch(dataplane, open, 0, now).verdict).toBe(batchVerdicts.REDIRECT);
    const ends = { source: "10.244.1.12", destination: "10.96.0.10" };
    const { bytes } = byBatch(
      dataplane,
      packet()
        .ethernet(pod)
        .ipv4(ends)
        .tcp({ ...ports, flags: "A" })
        .build(),
      0,
      now,
    );
    expect(bytes.slice(26, 30).join(".")).toBe("10.244.1.12");
    sent++;
  }
  expect(sent).toBe(3000);
});

test("whatever a header's checksum is, it is right afterwards: first packets and later ones, both directions", () => {
  const options = { capacity: { ...small, connections: 0x20000 }, events: [] };
  const dataplane = addPorts(configure(dataplaneOf("release", options)));
  // With one endpoint, so that each kind of packet has one change of its checksum, which meets every checksum.
  dataplane.setServicePort({
    id: "default/one:/TCP/IPv4",
    family: "IPv4",
    protocol: "TCP",
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
    frontends: [{ kind: "ClusterIP", address: "10.96.0.30", port: 80 }],
    cluster: [{ address: "10.244.2.13", port: 8080 }],
    local: [],
  });
  const sum = (bytes: readonly number[]) => {
    let total = 0;
    for (let at = 14; at < 34; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!;
    while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
    return total;
  };
  const frame = (reply: boolean, flags: string) =>
    reply
      ? packet()
          .ethernet(router)
          .ipv4({ source: "10.244.2.13", destination: "10.244.1.12" })
          .tcp({ sourcePort: 8080, destinationPort: 4000, flags })
          .build()
      : packet()
          .ethernet(pod)
          .ipv4({ source: "10.244.1.12", destination: "10.96.0.30" })
          .tcp({ sourcePort: 4000, destinationPort: 80, flags })
          .build();
  const send = (bytes: Uint8Array, reply: boolean) => byBatch(dataplane, bytes, reply ? 1 : 0, 1);
  send(frame(false, "S"), false);
  send(frame(true, "SA"), true);
  send(frame(false, "A"), false);
  send(frame(true, "A"), true);
  for (const [reply, flags] of [
    [false, "A"],
    [true, "A"],
    [false, "S"],
  ] as const) {
    const bytes = frame(reply, flags);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const wrong: number[] = [];
    for (let identification = 0; identification < 0x10000; identification++) {
      view.setUint16(18, identification);
      view.setUint16(24, 0);
      view.setUint16(24, ~sum([...bytes]) & 0xffff);
      if (flags === "S") view.setUint16(34, identification);
      const sent = send(bytes, reply);
      if (sent.verdict !== batchVerdicts.REDIRECT || sum(sent.bytes) !== 0xffff) wrong.push(identification);
    }
    expect(wrong).toEqual([]);
  }
  expect(dataplane.size().connections).toBeGreaterThan(0xffff);
});
