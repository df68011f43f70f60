import type { KubernetesObject } from "@portolan/core";
import { createDataplane, type Dataplane } from "@portolan/dataplane";
import { createDnsProgram, type DnsProgram } from "@portolan/dataplane/dns";
import { packet, parsePacket } from "@portolan/net";
import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { createQueryHandler, feedDataplane, type QueryHandler } from "../src/index.ts";
import { decodeMessage, encodeMessage, nameFromText, queryMessage, recordToText } from "../src/message/index.ts";
import { createClusterZone } from "../src/zone/index.ts";

const server = { v4: "10.96.0.10", v6: "fd00::a" };
const pod = { v4: "10.244.1.11", v6: "fd00:1::b" };
const node = "02:00:00:00:01:00";
const peer = "02:00:00:00:01:01";
const region = 1 << 20;
const schedule = { soon: () => undefined, later: () => undefined, now: () => 0 };

let dataplane: Dataplane;
let program: DnsProgram;
let handler: QueryHandler;

beforeEach(() => {
  dataplane = createDataplane({
    seed: 1,
    capacity: { reserved: region, connections: 1024, backends: 256, maglevSlots: 4096, frames: 256 },
  });
  dataplane.configureNode({ addresses: ["192.168.0.2", "fd00:2::2"], clusterCIDRs: ["10.244.0.0/16"] });
  dataplane.setPort(0, { kind: "pod", mac: node, mtu: 1500, addresses: ["10.244.1.1"] });
  dataplane.setPort(1, { kind: "pod", mac: node, mtu: 1500 });
  dataplane.setRoute(pod.v4, { port: 0, nextHopMac: peer });
  dataplane.setRoute("10.244.1.53", { port: 1, nextHopMac: peer });
  dataplane.setServicePort({
    id: "kube-system/kube-dns:dns/UDP/IPv4",
    family: "IPv4",
    protocol: "UDP",
    frontends: [{ kind: "ClusterIP", address: server.v4, port: 53 }],
    cluster: [{ address: "10.244.1.53", port: 53 }],
    local: [],
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
  });
  program = createDnsProgram({
    dataplane,
    region: { address: dataplane.reserved.address, length: region },
    addresses: [server.v4, server.v6],
    seed: 1,
  });
  const zone = createClusterZone({ ttl: 30 });
  handler = createQueryHandler({ blocks: [{ origins: zone.zones, zone }] });
  const feed = feedDataplane(handler, zone, program, schedule)!;
  zone.apply({ kind: "Namespace", metadata: { name: "default" } });
  zone.apply({
    kind: "Service",
    metadata: { name: "web", namespace: "default" },
    spec: { clusterIPs: ["10.96.0.7", "fd00::7"], ports: [{ name: "http", port: 80 }] },
  } as KubernetesObject);
  feed.flush();
});

function query(name: string, type = 1): Uint8Array {
  return encodeMessage(queryMessage(4711, { name: nameFromText(name), type, class: 1 }));
}

interface Question {
  readonly payload: Uint8Array;
  readonly six?: boolean;
  readonly destination?: string;
  readonly destinationPort?: number;
  readonly sourcePort?: number;
  readonly ttl?: number;
  readonly mac?: string;
}

function frameOf({ payload, six = false, ...more }: Question): Uint8Array {
  const family = six ? "v6" : "v4";
  const link = packet().ethernet({ source: peer, destination: more.mac ?? node });
  const addresses = { source: pod[family], destination: more.destination ?? server[family] };
  const network = six
    ? link.ipv6({ ...addresses, hopLimit: more.ttl ?? 64 })
    : link.ipv4({ ...addresses, ttl: more.ttl ?? 64 });
  return network
    .udp({ sourcePort: more.sourcePort ?? 40000, destinationPort: more.destinationPort ?? 53 })
    .payload(payload)
    .build();
}

/** Puts frames into a batch and runs it as a node does; returns how many were left, and what became of each. */
function run(frames: readonly Uint8Array[], ingress = 0) {
  const octets = new Uint8Array(dataplane.memory.buffer);
  frames.forEach((frame, index) => {
    const at = dataplane.frames.address + index * dataplane.frames.size;
    octets.set(frame, at);
    dataplane.descriptors.frame[index] = at;
    dataplane.descriptors.length[index] = frame.length;
    dataplane.descriptors.ingress[index] = ingress;
    dataplane.descriptors.user[index] = index;
  });
  const left = program.ingress(frames.length);
  dataplane.ingress(left, 1);
  const { frame, length, verdict, egress, user } = dataplane.descriptors;
  const results = frames.map((_, index) => ({
    user: user[index],
    verdict: verdict[index],
    egress: egress[index],
    frame: octets.slice(frame[index]!, frame[index]! + length[index]!),
  }));
  return { left, results };
}

const transmit = 3;
const redirect = 4;

describe("the DNS program before the Service programs", () => {
  for (const six of [false, true])
    it(`answers a pod's question from its frame (IPv${six ? 6 : 4})`, () => {
      for (const [name, type] of [
        ["web.default.svc.cluster.local.", 1],
        ["WEB.default.svc.cluster.local.", 28],
        ["_http._tcp.web.default.svc.cluster.local.", 33],
        ["www.example.com.default.svc.cluster.local.", 1],
      ] as const) {
        const payload = query(name, type);
        const { left, results } = run([frameOf({ payload, six })]);
        expect(left).toBe(0);
        expect(results[0]).toMatchObject({ verdict: transmit, egress: 0 });
        const reply = parsePacket(results[0]!.frame, { link: "ethernet" });
        expect(reply.isIntact).toBe(true);
        expect(reply.ethernet).toMatchObject({ source: node, destination: peer });
        const family = six ? "v6" : "v4";
        expect(reply).toMatchObject({
          source: server[family],
          destination: pod[family],
          udp: { sourcePort: 53, destinationPort: 40000 },
        });
        expect(reply.payload).toEqual(handler.handle(payload, { address: pod.v4, port: 40000, transport: "udp" }));
      }
    });

  it("leaves all other frames to the Service programs, in their order and unchanged", () => {
    const other = query("www.example.com.");
    const mine = query("web.default.svc.cluster.local.");
    const frames = [mine, other, mine, other, other, mine].map((payload, index) =>
      frameOf({ payload, sourcePort: 40000 + index }),
    );
    const { left, results } = run(frames);
    expect(left).toBe(3);
    expect(results.map(({ user }) => user)).toEqual([1, 3, 4, 0, 2, 5]);
    expect(results.map(({ verdict }) => verdict)).toEqual([
      ...[redirect, redirect, redirect],
      ...[transmit, transmit, transmit],
    ]);
    for (const { frame, user } of results.slice(0, 3)) {
      const passed = parsePacket(frame, { link: "ethernet" });
      expect(passed).toMatchObject({
        destination: "10.244.1.53",
        udp: { destinationPort: 53, sourcePort: 40000 + user! },
      });
      expect(passed.payload).toEqual(other);
    }
  });

  it("does not touch what is not a sound question to the DNS Service", () => {
    const payload = query("web.default.svc.cluster.local.");
    const broken = frameOf({ payload });
    broken[broken.length - 1]! ^= 1;
    const cut = frameOf({ payload }).slice(0, -3);
    const odd: [string, Uint8Array][] = [
      ["another address", frameOf({ payload, destination: "10.96.0.11" })],
      ["another port", frameOf({ payload, destinationPort: 5353 })],
      ["a source that answers everything", frameOf({ payload, sourcePort: 7 })],
      ["no hop left", frameOf({ payload, ttl: 1 })],
      ["a frame for another host", frameOf({ payload, mac: "02:00:00:00:09:09" })],
      ["a wrong checksum", broken],
      ["a truncated frame", cut],
      ["a response", frameOf({ payload: payload.map((octet, index) => (index === 2 ? octet | 0x80 : octet)) })],
    ];
    for (const [what, frame] of odd) {
      const before = frame.slice();
      const octets = new Uint8Array(dataplane.memory.buffer);
      const at = dataplane.frames.address;
      octets.set(frame, at);
      dataplane.descriptors.frame[0] = at;
      dataplane.descriptors.length[0] = frame.length;
      dataplane.descriptors.ingress[0] = 0;
      expect(program.ingress(1), what).toBe(1);
      expect(octets.slice(at, at + frame.length), what).toEqual(before);
    }
  });

  it("never does anything but answer or leave alone, whatever the octets, and answers the next good question", () => {
    const good = frameOf({ payload: query("web.default.svc.cluster.local.") });
    const octets = new Uint8Array(dataplane.memory.buffer);
    const { address, size } = dataplane.frames;
    const changes = fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(changes, fc.nat(good.length), fc.boolean(), (list, length, cut) => {
        const frame = good.slice();
        for (const [at, octet] of list) frame[at] = octet;
        const end = cut ? length : frame.length;
        octets.fill(0xee, address, address + 2 * size);
        octets.set(frame.subarray(0, end), address);
        dataplane.descriptors.frame[0] = address;
        dataplane.descriptors.length[0] = end;
        dataplane.descriptors.ingress[0] = 0;
        const left = program.ingress(1);
        if (left === 1) expect(octets.slice(address, address + end)).toEqual(frame.subarray(0, end));
        else {
          const reply = parsePacket(octets.slice(address, address + dataplane.descriptors.length[0]!), {
            link: "ethernet",
          });
          expect(reply.isIntact).toBe(true);
          expect(decodeMessage(reply.payload).response).toBe(true);
        }
        // Nothing behind the room that a program may write.
        expect(octets.subarray(address + 1536, address + 2 * size).every((octet) => octet === 0xee)).toBe(true);
      }),
      { numRuns: 2000 },
    );
    const { left, results } = run([good]);
    expect(left).toBe(0);
    const answer = decodeMessage(parsePacket(results[0]!.frame, { link: "ethernet" }).payload);
    expect(answer.answers.map(recordToText)).toEqual(["web.default.svc.cluster.local. 30 IN A 10.96.0.7"]);
  }, 60_000);
});
