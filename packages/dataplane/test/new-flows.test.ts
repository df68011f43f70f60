import { batchVerdicts, createDataplane, type ServicePortSpec } from "@portolan/dataplane";
import { packet, parsePacket } from "@portolan/net";
import { expect, test } from "vitest";
import { builds, dataplaneOf, small } from "./builds.ts";
import { addPorts, configure, macs, peers } from "./scenario.ts";

/*
 * A batch looks up ahead what its first packets will need, all of them at once; one by one they are decided without that. Both must come
 * to the same, whatever lies beside a packet.
 */

const seed = 20_261_124;

/** First packets of every kind, some twice: both families and transports, with options, to no Service, refused, malformed. */
function frames(count: number): Uint8Array[] {
  let state = seed;
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % below;
  };
  const made: Uint8Array[] = [];
  const link = { source: peers.pod, destination: macs.pod };
  for (let i = 0; i < count; i++) {
    const again = i > 8 && random(5) === 0;
    if (again) {
      made.push(made[i - 1 - random(8)]!);
      continue;
    }
    const sourcePort = 40_000 + random(200);
    const kind = random(10);
    const frame = packet().ethernet(random(20) === 0 ? { ...link, destination: "02:00:00:00:07:07" } : link);
    const v6 = kind >= 8;
    const source = v6 ? "fd00:10:244:1::12" : random(4) === 0 ? "172.16.0.9" : `10.244.1.${12 + random(3)}`;
    const service = v6
      ? ["fd00:10:96::10", "fd00:10:96::53"]
      : random(2) === 0
        ? [["10.96.0.20", "10.96.0.21"][random(2)]!, "10.96.0.22"]
        : [["10.96.0.10", "10.96.0.66", "1.2.3.4", "198.51.100.7", "192.168.50.10"][random(5)]!, "10.96.0.53"];
    const udp = kind % 3 === 2;
    const ends = { source, destination: service[udp ? 1 : 0]!, ...(random(16) === 0 ? { ttl: 1 } : {}) };
    const addressed = v6 ? frame.ipv6(ends) : frame.ipv4(ends);
    const port = random(12) === 0 ? 81 : udp ? 53 : [80, 30080][random(6) === 0 ? 1 : 0]!;
    const flags = ["S", "S", "S", "A", "SA", "R", "FA", "PA"][random(8)]!;
    made.push(
      udp
        ? addressed.udp({ sourcePort, destinationPort: port }).payload(new Uint8Array(20)).build()
        : addressed.tcp({ sourcePort, destinationPort: port, flags }).payload(new Uint8Array(8)).build(),
    );
  }
  return made;
}

/** Services as most are: a cluster IP, endpoints picked at random. Two share their endpoints, so that reply tuples collide. */
const plain = ["10.96.0.20", "10.96.0.21", "10.96.0.22"].map((address, i): ServicePortSpec => {
  const [protocol, port, targetPort] = i === 2 ? (["UDP", 53, 5353] as const) : (["TCP", 80, 8080] as const);
  const endpoints = ["10.244.1.11", "10.244.1.12", "10.244.2.13", "10.244.2.14"];
  return {
    id: `default/plain-${i}:/${protocol}/IPv4`,
    family: "IPv4",
    protocol,
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
    frontends: [{ kind: "ClusterIP", address, port }],
    cluster: endpoints.map((endpoint, k) => ({ address: endpoint, port: targetPort, local: k < 2 })),
    local: [],
  };
});

test.each(builds)(`%s: first packets in batches and one by one, seed ${seed}`, (build) => {
  const options = { capacity: { ...small, connections: 4096, frames: 256, events: 8192 } };
  const create = () => {
    const dataplane = addPorts(configure(dataplaneOf(build, options)));
    for (const spec of plain) dataplane.setServicePort(spec);
    return dataplane;
  };
  const batched = create();
  const single = create();
  const all = frames(2000);
  let redirected = 0;
  let refused = 0;
  for (let from = 0; from < all.length; from += 200) {
    const part = all.slice(from, from + 200);
    const { descriptors, frames: room } = batched;
    const memory = new Uint8Array(batched.memory.buffer);
    for (const [i, bytes] of part.entries()) {
      memory.set(bytes, room.address + i * room.size);
      descriptors.frame[i] = room.address + i * room.size;
      descriptors.length[i] = bytes.length;
      descriptors.ingress[i] = 0;
    }
    batched.ingress(part.length, 1);
    for (const [i, bytes] of part.entries()) {
      const at = room.address + i * room.size;
      const alone = single.frames.address;
      const other = new Uint8Array(single.memory.buffer);
      other.set(bytes, alone);
      const verdict = single.exports.processFrame(alone, bytes.length, 0, 64);
      expect(descriptors.verdict[i], `frame ${from + i}`).toBe(verdict);
      expect(descriptors.reason[i], `frame ${from + i}`).toBe(single.exports.resultReason());
      if (verdict === batchVerdicts.REDIRECT) redirected++;
      if (descriptors.reason[i] !== 0) refused++;
      if (verdict === batchVerdicts.DROP) continue;
      const length = single.exports.resultLength();
      expect(
        Buffer.compare(memory.subarray(at, at + descriptors.length[i]!), other.subarray(alone, alone + length)),
      ).toBe(0);
    }
    expect([...batched.connections()]).toEqual([...single.connections()]);
    expect(batched.events()).toEqual(single.events());
    expect(batched.counters()).toEqual(single.counters());
  }
  expect(redirected).toBeGreaterThan(500);
  expect(refused).toBeGreaterThan(200);
  const opened = batched.counters().servicePorts["default/plain-0:/TCP/IPv4"]!.connections;
  expect(opened).toBeGreaterThan(50);
});

test("the longest of the node's prefixes says whether a source is a pod, also after they change", () => {
  const dataplane = createDataplane({ seed });
  const isKept = (source: string, sourcePort: number): boolean => {
    const v6 = source.includes(":");
    const base = v6
      ? packet().ipv6({ source, destination: "fd00:10:96::10" })
      : packet().ipv4({ source, destination: "10.96.0.10" });
    const syn = base.tcp({ sourcePort, destinationPort: 80, flags: "S" }).build();
    const { packet: sent } = dataplane.process(syn, { now: 1 });
    return parsePacket(sent!).source === source;
  };
  configure(dataplane);
  const addresses = ["192.168.50.10", "fd00:50::10"];
  const sources = ["10.244.1.20", "10.100.0.7", "10.244.1.21", "172.16.0.1", "fd00:10:244:1::30", "fd00:77::1"];
  const kept = (port: number) => sources.map((source, i) => isKept(source, port + i));
  dataplane.configureNode({
    addresses,
    clusterCIDRs: ["10.0.0.0/8", "fd00:10:244::/56"],
    serviceCIDRs: ["10.96.0.0/12"],
  });
  expect(kept(1000)).toEqual([true, true, true, false, true, false]);
  expect(kept(2000)).toEqual([true, true, true, false, true, false]);
  dataplane.configureNode({ addresses, clusterCIDRs: ["172.16.0.0/24", "fd00:77::/64"] });
  expect(kept(3000)).toEqual([false, false, false, true, false, true]);
  dataplane.configureNode({
    addresses,
    clusterCIDRs: ["10.244.1.20", "fd00:10:244:1::30"].map((a) => `${a}/${a.includes(":") ? 128 : 32}`),
  });
  expect(kept(4000)).toEqual([true, false, false, false, true, false]);
});
