import { annotatedCapture, describeReplayed, outputCapture, replay } from "@portolan/dataplane/replay";
import { linkTypes, packet, parsePacket, readCapture, readPcapng, writePcap, writePcapng } from "@portolan/net";
import { expect, test } from "vitest";
import { dataplaneOf } from "./builds.ts";
import { spec } from "./dialing.ts";
import { addPorts, configure, macs, peers } from "./scenario.ts";

const client = "10.244.1.20";
const tcp = (source: string, destination: string, sourcePort: number, destinationPort: number, flags: string) =>
  packet().ipv4({ source, destination }).tcp({ sourcePort, destinationPort, flags }).build();

test("a connection of a capture is translated both ways, by the capture's clock", () => {
  const dataplane = dataplaneOf("debug");
  dataplane.configureNode({ addresses: ["192.168.50.10"], clusterCIDRs: ["10.244.0.0/16"] });
  dataplane.setServicePort(spec("web", "10.96.0.1", ["10.244.2.2"]));
  dataplane.setServicePort(spec("empty", "10.96.0.2", []));
  const start = 1_700_000_000;
  const input = writePcap({
    linkType: linkTypes.raw,
    packets: [
      { time: start, bytes: tcp(client, "10.96.0.1", 40_000, 80, "S") },
      { time: start + 0.1, bytes: tcp("10.244.2.2", client, 8080, 40_000, "SA") },
      { time: start + 0.2, bytes: tcp(client, "10.96.0.1", 40_000, 80, "A") },
      { time: start + 1, bytes: tcp(client, "10.96.0.2", 40_001, 80, "S") },
      { time: start + 2, bytes: tcp(client, "10.96.0.1", 40_000, 80, "SF") },
      { time: start + 90_000, bytes: tcp(client, "10.96.0.1", 40_000, 80, "R") },
    ],
  });
  const results = replay(dataplane, readCapture(input), { trace: true });
  expect(results.map((one) => [one.verdict, one.reason].join(" ").trim())).toEqual([
    "PASS",
    "PASS",
    "PASS",
    "REJECT no-endpoints",
    "DROP invalid-connection-state",
    "DROP invalid-connection-state",
  ]);
  expect(describeReplayed(results[0]!)).toContain("the destination is the ClusterIP of web");
  const out = parsePacket(results[1]!.packet!);
  expect([out.source, out.tcp!.sourcePort, out.isIntact]).toEqual(["10.96.0.1", 80, true]);
  // After a day without packets the connection is gone: a reset opens none.
  expect(dataplane.connections()).toEqual([]);

  const passed = readCapture(writePcapng(annotatedCapture(results, linkTypes.raw)));
  expect(passed.packets).toHaveLength(6);
  const { packets } = readPcapng(writePcapng(annotatedCapture(results, linkTypes.raw)));
  expect(packets[4]).toMatchObject({
    time: start + 2,
    comment: expect.stringMatching(/^DROP invalid-connection-state\n/),
  });
  const outputs = readCapture(writePcap(outputCapture(results, linkTypes.raw)));
  expect(outputs.packets).toHaveLength(4);
  expect(parsePacket(outputs.packets[0]!.bytes).destination).toBe("10.244.2.2");
});

test("frames come in on a port and leave by one; other link types are refused", () => {
  const dataplane = addPorts(configure(dataplaneOf("debug")));
  const bytes = packet()
    .ethernet({ source: peers.pod, destination: macs.pod })
    .ipv4({ source: "10.244.1.11", destination: "10.244.2.13" })
    .udp({ sourcePort: 1, destinationPort: 2 })
    .build();
  const [result] = replay(dataplane, { linkType: linkTypes.ethernet, packets: [{ time: 5, bytes }] });
  expect(result).toMatchObject({ verdict: "REDIRECT", egress: 1 });
  expect(describeReplayed(result!)).toBe("REDIRECT port 1");
  expect(() => replay(dataplane, { linkType: 105, packets: [] })).toThrow("link type 105");
});
