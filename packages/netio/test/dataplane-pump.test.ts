import { createDataplane } from "@portolan/dataplane";
import { formatAddress, packet, parsePacket } from "@portolan/net";
import { expect, test } from "vitest";
import { createDataplanePump, createMemoryPair } from "../src/index.ts";

const frameOf = (source: string, destination: string, destinationPort: number, mac = "02:00:00:00:00:10"): Uint8Array =>
  packet()
    .ethernet({ source: "02:00:00:00:00:99", destination: mac })
    .ipv4({ source, destination })
    .tcp({ sourcePort: 40000, destinationPort, flags: "S" })
    .build();

function node() {
  const dataplane = createDataplane({ seed: 1, capacity: { connections: 1024, backends: 64, servicePorts: 16 } });
  dataplane.configureNode({ addresses: ["192.168.0.1"], clusterCIDRs: ["10.244.0.0/16"] });
  const pump = createDataplanePump(dataplane);
  const [podEnd, pod] = createMemoryPair();
  const [uplinkEnd, uplink] = createMemoryPair();
  dataplane.setPort(0, { kind: "uplink", mac: "02:00:00:00:00:20", addresses: ["192.168.0.1"] });
  dataplane.setPort(1, { kind: "pod", mac: "02:00:00:00:00:10", addresses: ["10.244.1.1"] });
  dataplane.setRoute("10.244.1.2/32", { port: 1, nextHopMac: "02:00:00:00:00:99" });
  dataplane.setRoute("10.244.2.0/24", { port: 0, nextHopMac: "02:00:00:00:00:77" });
  pump.attach(0, uplinkEnd);
  pump.attach(1, podEnd);
  return { dataplane, pump, pod, uplink };
}

test("frames go from device to device through the ingress program", () => {
  const { dataplane, pump, pod, uplink } = node();
  dataplane.setServicePort({
    id: "default/web:/TCP/IPv4",
    family: "IPv4",
    protocol: "TCP",
    frontends: [{ kind: "ClusterIP", address: "10.96.0.1", port: 80 }],
    cluster: [{ address: "10.244.2.9", port: 8080 }],
    local: [],
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
  });
  pod.transmit(frameOf("10.244.1.2", "10.96.0.1", 80));
  expect(pump.pump(1)).toBe(1);
  const sent = uplink.receive()!;
  const { ethernet, ipv4, tcp } = parsePacket(sent, { link: "ethernet" });
  expect([formatAddress(ipv4!.source), formatAddress(ipv4!.destination), ipv4?.ttl]).toEqual([
    "10.244.1.2",
    "10.244.2.9",
    63,
  ]);
  expect([tcp?.sourcePort, tcp?.destinationPort]).toEqual([40000, 8080]);
  expect([ethernet?.source, ethernet?.destination]).toEqual(["02:00:00:00:00:20", "02:00:00:00:00:77"]);
  expect(pod.receive()).toBeUndefined();
  expect(pump.pump(2)).toBe(0);
});

test("frames for the node's own stack are handed over, and the rest is counted", () => {
  const { dataplane, pump, pod, uplink } = node();
  pod.transmit(frameOf("10.244.1.2", "192.168.0.1", 22));
  pod.transmit(new Uint8Array(14));
  pump.pump(1);
  const passed = pump.passed();
  expect(passed.map(({ port }) => port)).toEqual([1]);
  expect(parsePacket(passed[0]!.frame, { link: "ethernet" }).tcp?.destinationPort).toBe(22);
  expect(pump.passed()).toEqual([]);
  expect(uplink.receive()).toBeUndefined();
  expect(Object.values(dataplane.counters().reasons).reduce((sum, n) => sum + n, 0)).toBe(1);
});

test("a detached port is silent", () => {
  const { pump, pod, uplink } = node();
  pump.detach(0);
  pod.transmit(frameOf("10.244.1.2", "10.244.2.5", 80));
  expect(pump.pump(1)).toBe(1);
  expect(uplink.receive()).toBeUndefined();
});
