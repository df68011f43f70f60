import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { linkTypes, packet, parsePacket, readCapture, readPcapng, writePcap } from "@portolan/net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { replayCapture } from "../src/replay.ts";

const objects = `
apiVersion: v1
kind: Service
metadata: { name: web, namespace: default }
spec: { clusterIP: 10.96.0.10, ports: [{ name: http, port: 80, protocol: TCP }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, namespace: default, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ name: http, port: 8080, protocol: TCP }]
endpoints: [{ addresses: [10.244.2.7] }]
`;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "replay-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

test("a capture goes through the tables of the objects and comes out as a capture", () => {
  const at = (name: string) => join(folder, name);
  const syn = (destination: string) =>
    packet()
      .ipv4({ source: "10.244.1.2", destination })
      .tcp({ sourcePort: 1234, destinationPort: 80, flags: "S" })
      .build();
  const packets = ["10.96.0.10", "198.51.100.1"].map((to, i) => ({ time: 10 + i, bytes: syn(to) }));
  packets.push({ time: 13, bytes: new Uint8Array(12) });
  writeFileSync(at("in.pcap"), writePcap({ linkType: linkTypes.raw, packets }));
  writeFileSync(at("objects.yaml"), objects);
  const lines: string[] = [];
  const run = (...more: string[]) =>
    replayCapture([at("in.pcap"), "-f", at("objects.yaml"), ...more], (text) => lines.push(text));
  expect(run("-o", at("out.pcap"))).toBe(0);
  expect(lines).toEqual(["1 PASS", "2 PASS", "3 DROP bad-version"]);
  expect(readCapture(readFileSync(at("out.pcap"))).packets.map((one) => parsePacket(one.bytes).destination)).toEqual([
    "10.244.2.7",
    "198.51.100.1",
  ]);
  run("-o", at("out.pcapng"), "--trace");
  const annotated = readPcapng(readFileSync(at("out.pcapng")));
  expect(annotated.packets.map((one) => one.comment!.split("\n")[0])).toEqual(["PASS", "PASS", "DROP bad-version"]);
  expect(annotated.packets[0]!.comment).toContain("scheduler random picks 10.244.2.7:8080");
  expect(() => run("--mode", "userspace")).toThrow("--mode is");
  expect(() => run("--node", "nobody")).toThrow('no Node "nobody"');
  writeFileSync(at("in.pcap"), "not a capture at all");
  expect(() => run()).toThrow("not a classic pcap file");
});
