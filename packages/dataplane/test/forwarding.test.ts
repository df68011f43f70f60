import { packet, parsePacket } from "@portolan/net";
import { describe, expect, test } from "vitest";
import { dataplaneOf } from "./builds.ts";
import { addPorts, configure, macs, peers } from "./scenario.ts";

const fresh = () => addPorts(configure(dataplaneOf("debug")));
const fromPod = { source: peers.pod, destination: macs.pod };
const fromRouter = { source: peers.router, destination: macs.uplink };
const fromStack = { source: peers.stack, destination: macs.host };
const pod = "10.244.1.11";
const remotePod = "10.244.2.13";

function parsed(result: { packet?: Uint8Array }) {
  const out = parsePacket(result.packet!, { link: "ethernet" });
  expect(out.isIntact).toBe(true);
  return out;
}

describe("routing", () => {
  test("a pod's packet to a remote pod leaves by the uplink, addressed to the router, one hop older", () => {
    const frame = packet()
      .ethernet(fromPod)
      .ipv4({ source: pod, destination: remotePod, ttl: 64 })
      .udp({ sourcePort: 1, destinationPort: 2 })
      .payload("x")
      .build();
    const result = fresh().processFrame(frame, { now: 1, ingress: 0 });
    expect(result).toMatchObject({ verdict: "REDIRECT", egress: 1 });
    const out = parsed(result);
    expect(out.ethernet).toMatchObject({ source: macs.uplink, destination: peers.router });
    expect(out.ipv4).toMatchObject({ ttl: 63 });
    expect(out).toMatchObject({ source: pod, destination: remotePod });
  });

  test("the longest prefix decides", () => {
    const dataplane = fresh();
    dataplane.setRoute("10.244.2.128/25", { port: 0, nextHopMac: peers.pod });
    const to = (destination: string) =>
      dataplane.processFrame(
        packet()
          .ethernet(fromRouter)
          .ipv4({ source: "192.168.50.11", destination })
          .udp({ sourcePort: 1, destinationPort: 2 })
          .build(),
        { now: 1, ingress: 1 },
      );
    expect(to("10.244.2.200")).toMatchObject({ verdict: "REDIRECT", egress: 0 });
    expect(to("10.244.2.13")).toMatchObject({ verdict: "TX", egress: 1 });
    dataplane.removeRoute("10.244.2.128/25");
    expect(to("10.244.2.200")).toMatchObject({ verdict: "TX", egress: 1 });
  });

  test("packets to the node go to its stack by the host port, and the stack's own keep their TTL", () => {
    const dataplane = fresh();
    const toNode = packet()
      .ethernet(fromPod)
      .ipv4({ source: pod, destination: "192.168.50.10", ttl: 9 })
      .tcp({ sourcePort: 1, destinationPort: 22, flags: "S" })
      .build();
    const delivered = dataplane.processFrame(toNode, { now: 1, ingress: 0 });
    expect(delivered).toMatchObject({ verdict: "REDIRECT", egress: 2 });
    expect(parsed(delivered).ethernet).toMatchObject({ destination: peers.stack });
    expect(parsed(delivered).ipv4).toMatchObject({ ttl: 9 });
    const sent = dataplane.processFrame(
      packet()
        .ethernet(fromStack)
        .ipv4({ source: "192.168.50.10", destination: pod, ttl: 9 })
        .tcp({ sourcePort: 22, destinationPort: 1, flags: "SA" })
        .build(),
      { now: 1, ingress: 2 },
    );
    expect(sent).toMatchObject({ verdict: "REDIRECT", egress: 0 });
    expect(parsed(sent).ipv4).toMatchObject({ ttl: 9 });
  });

  test("without a host port, packets to the node are passed on", () => {
    const dataplane = fresh();
    dataplane.removePort(2);
    const frame = packet()
      .ethernet(fromPod)
      .ipv4({ source: pod, destination: "192.168.50.10" })
      .udp({ sourcePort: 1, destinationPort: 2 })
      .build();
    expect(dataplane.processFrame(frame, { now: 1, ingress: 0 }).verdict).toBe("PASS");
  });

  test("frames for another host, broadcasts and loopback addresses go nowhere", () => {
    const dataplane = fresh();
    const udp = (link: { source: string; destination: string }, source: string) =>
      dataplane.processFrame(
        packet()
          .ethernet(link)
          .ipv4({ source, destination: remotePod })
          .udp({ sourcePort: 1, destinationPort: 2 })
          .build(),
        { now: 1, ingress: 0 },
      );
    expect(udp({ source: peers.pod, destination: "02:00:00:00:09:09" }, pod)).toMatchObject({
      verdict: "DROP",
      reason: "other-host",
    });
    expect(udp({ source: peers.pod, destination: "ff:ff:ff:ff:ff:ff" }, pod)).toMatchObject({
      verdict: "DROP",
      reason: "multicast",
    });
    expect(udp(fromPod, "127.0.0.1")).toMatchObject({ verdict: "DROP", reason: "martian-loopback" });
  });
});

describe("Services at a node", () => {
  test("a connection crosses the node both ways and the client never sees the backend", () => {
    const dataplane = fresh();
    dataplane.setServicePort({
      id: "s",
      family: "IPv4",
      protocol: "TCP",
      hasAny: true,
      internalTrafficPolicy: "Cluster",
      externalTrafficPolicy: "Cluster",
      frontends: [{ kind: "ClusterIP", address: "10.96.0.77", port: 80 }],
      cluster: [{ address: remotePod, port: 8080 }],
      local: [],
    });
    const syn = dataplane.processFrame(
      packet()
        .ethernet(fromPod)
        .ipv4({ source: pod, destination: "10.96.0.77" })
        .tcp({ sourcePort: 40000, destinationPort: 80, flags: "S" })
        .build(),
      { now: 1, ingress: 0 },
    );
    expect(syn).toMatchObject({ verdict: "REDIRECT", egress: 1 });
    expect(parsed(syn)).toMatchObject({ source: pod, destination: remotePod, tcp: { destinationPort: 8080 } });
    const answer = dataplane.processFrame(
      packet()
        .ethernet(fromRouter)
        .ipv4({ source: remotePod, destination: pod })
        .tcp({ sourcePort: 8080, destinationPort: 40000, flags: "SA" })
        .build(),
      { now: 1, ingress: 1 },
    );
    expect(answer).toMatchObject({ verdict: "REDIRECT", egress: 0 });
    expect(parsed(answer)).toMatchObject({ source: "10.96.0.77", destination: pod, tcp: { sourcePort: 80 } });
    expect(dataplane.counters().servicePorts["s"]).toMatchObject({ connections: 1, packets: 1, replyPackets: 1 });
  });

  test("the masquerade address is ours on the outgoing link", () => {
    const dataplane = fresh();
    const sources = new Map<string, string>();
    for (let i = 0; i < 60; i++) {
      const result = dataplane.processFrame(
        packet()
          .ethernet(fromRouter)
          .ipv4({ source: "192.168.60.5", destination: "192.168.50.10" })
          .tcp({ sourcePort: 40000 + i, destinationPort: 30080, flags: "S" })
          .build(),
        { now: 1 + i * 200, ingress: 1 },
      );
      const out = parsed(result);
      sources.set(out.destination!, out.source!);
      expect(out.tcp!.sourcePort).toBeGreaterThanOrEqual(32768);
    }
    // Affinity of the first pick expires between tries, so that all three endpoints are seen.
    expect(Object.fromEntries(sources)).toEqual({
      "10.244.1.11": "10.244.1.1",
      "10.244.1.12": "10.244.1.1",
      "10.244.2.13": "192.168.50.10",
    });
  });

  test("a refused connection is answered through the port that it came from, by the node", () => {
    const frame = packet()
      .ethernet(fromPod)
      .ipv4({ source: pod, destination: "10.96.0.66" })
      .tcp({ sourcePort: 40000, destinationPort: 80, flags: "S" })
      .build();
    const result = fresh().processFrame(frame, { now: 1, ingress: 0 });
    expect(result).toMatchObject({ verdict: "REJECT", reason: "no-endpoints", egress: 0 });
    const out = parsed(result);
    expect(out.ethernet).toMatchObject({ source: macs.pod, destination: peers.pod });
    expect(out).toMatchObject({ source: "10.244.1.1", destination: pod, icmp: { type: 3, code: 3 } });
    expect([...out.icmp!.payload]).toEqual([...frame.subarray(14)]);
  });

  test("pods leave the cluster with the node's address and get their answers", () => {
    const dataplane = fresh();
    const ping = dataplane.processFrame(
      packet()
        .ethernet(fromPod)
        .ipv4({ source: pod, destination: "198.51.100.7" })
        .icmp({ type: 8, identifier: 7, sequence: 1 })
        .payload("ping")
        .build(),
      { now: 1, ingress: 0 },
    );
    const out = parsed(ping);
    expect(out).toMatchObject({ source: "192.168.50.10", destination: "198.51.100.7" });
    const pong = dataplane.processFrame(
      packet()
        .ethernet(fromRouter)
        .ipv4({ source: "198.51.100.7", destination: "192.168.50.10" })
        .icmp({ type: 0, identifier: out.icmp!.identifier, sequence: 1 })
        .payload("ping")
        .build(),
      { now: 1, ingress: 1 },
    );
    expect(pong).toMatchObject({ verdict: "REDIRECT", egress: 0 });
    expect(parsed(pong)).toMatchObject({ destination: pod, icmp: { identifier: 7 } });
    const inside = dataplane.processFrame(
      packet().ethernet(fromPod).ipv4({ source: pod, destination: remotePod }).icmp({ type: 8, identifier: 8 }).build(),
      { now: 1, ingress: 0 },
    );
    expect(parsed(inside).source).toBe(pod);
  });

  test("fragments follow the first one, whose ports they do not have", () => {
    const dataplane = fresh();
    const base = { source: pod, destination: "10.96.0.53", identification: 77 };
    const first = dataplane.processFrame(
      packet()
        .ethernet(fromPod)
        .ipv4({ ...base, moreFragments: true })
        .udp({ sourcePort: 40000, destinationPort: 53 })
        .payload(new Uint8Array(1000))
        .build(),
      { now: 1, ingress: 0 },
    );
    const to = parsed(first).destination!;
    const later = dataplane.processFrame(
      packet()
        .ethernet(fromPod)
        .ipv4({ ...base, fragmentOffset: 1008, protocol: 17 })
        .payload("tail")
        .build(),
      { now: 1, ingress: 0 },
    );
    expect(parsed(later).destination).toBe(to);
    const orphan = dataplane.processFrame(
      packet()
        .ethernet(fromPod)
        .ipv4({ ...base, identification: 78, fragmentOffset: 1008, protocol: 17 })
        .payload("tail")
        .build(),
      { now: 1, ingress: 0 },
    );
    expect(orphan).toMatchObject({ verdict: "DROP", reason: "first-fragment-not-found" });
  });
});

describe("ICMP errors of the node", () => {
  const quote = (frame: Uint8Array) => [...frame.subarray(14)];

  test.each([
    ["IPv4", { source: pod, destination: "10.96.0.10" }, 11],
    ["IPv6", { source: "fd00:10:244:1::11", destination: "fd00:10:96::10" }, 3],
  ] as const)(
    "%s: time exceeded quotes the packet as it came in, before any translation",
    (family, addresses, type) => {
      const ip =
        family === "IPv4"
          ? packet()
              .ethernet(fromPod)
              .ipv4({ ...addresses, ttl: 1 })
          : packet()
              .ethernet(fromPod)
              .ipv6({ ...addresses, hopLimit: 1 });
      const frame = ip.tcp({ sourcePort: 40000, destinationPort: 80, flags: "S" }).build();
      const dataplane = fresh();
      const result = dataplane.processFrame(frame, { now: 1, ingress: 0 });
      expect(result).toMatchObject({ verdict: "TX", reason: "ttl-exceeded" });
      const out = parsed(result);
      expect(out.icmp).toMatchObject({ type, code: 0 });
      expect([...out.icmp!.payload]).toEqual(quote(frame));
      expect(dataplane.size().connections).toBe(0);
    },
  );

  test("a packet that does not fit is answered with the size that does", () => {
    const big = new Uint8Array(1450);
    const four = fresh().processFrame(
      packet()
        .ethernet(fromPod)
        .ipv4({ source: pod, destination: remotePod })
        .udp({ sourcePort: 1, destinationPort: 2 })
        .payload(big)
        .build(),
      { now: 1, ingress: 0 },
    );
    expect(four).toMatchObject({ verdict: "TX", reason: "packet-too-big" });
    expect(parsed(four).icmp).toMatchObject({ type: 3, code: 4, rest: 1400 });
    const six = fresh().processFrame(
      packet()
        .ethernet(fromPod)
        .ipv6({ source: "fd00:10:244:1::11", destination: "fd00:10:244:2::13" })
        .udp({ sourcePort: 1, destinationPort: 2 })
        .payload(big)
        .build(),
      { now: 1, ingress: 0 },
    );
    expect(parsed(six).icmp).toMatchObject({ type: 2, code: 0, rest: 1400 });
    expect(six.packet!.length).toBe(14 + 1280);
  });

  test("an error about a translated packet reaches the client as about what it sent", () => {
    const dataplane = fresh();
    const sent = packet()
      .ethernet(fromPod)
      .ipv6({ source: "fd00:10:244:1::11", destination: "fd00:10:96::53" })
      .udp({ sourcePort: 40000, destinationPort: 53 })
      .payload("question")
      .build();
    const translated = parsed(dataplane.processFrame(sent, { now: 1, ingress: 0 }));
    const inner = packet()
      .ipv6({ source: translated.source!, destination: translated.destination!, hopLimit: 63 })
      .udp({ sourcePort: translated.udp!.sourcePort, destinationPort: translated.udp!.destinationPort })
      .payload("question")
      .build();
    const error = dataplane.processFrame(
      packet()
        .ethernet(fromRouter)
        .ipv6({ source: "fd00:50::99", destination: translated.source! })
        .icmp({ type: 1, code: 4 })
        .payload(inner)
        .build(),
      { now: 1, ingress: 1 },
    );
    expect(error).toMatchObject({ verdict: "REDIRECT", egress: 0 });
    const out = parsed(error);
    expect(out.source).toBe("fd00:10:96::53");
    const quoted = parsePacket(out.icmp!.payload);
    expect(quoted).toMatchObject({
      source: "fd00:10:244:1::11",
      destination: "fd00:10:96::53",
      isIntact: true,
      udp: { destinationPort: 53 },
    });
  });
});

describe("address resolution", () => {
  const ask = (target: string, ingress: number, source: string, sender: string) =>
    fresh().processFrame(
      packet()
        .ethernet({ source, destination: "ff:ff:ff:ff:ff:ff" })
        .arp({ operation: "request", senderMac: source, sender, target })
        .build(),
      { now: 1, ingress },
    );

  test("the gateway is answered for on pod links, the node's addresses on the uplink", () => {
    const gateway = ask("10.244.1.1", 0, peers.pod, pod);
    expect(gateway).toMatchObject({ verdict: "TX", egress: 0 });
    const out = parsed(gateway);
    expect(out.ethernet).toMatchObject({ source: macs.pod, destination: peers.pod });
    expect(out.arp).toMatchObject({ operation: 2, senderMac: macs.pod, targetMac: peers.pod });
    expect([...out.arp!.sender.bytes]).toEqual([10, 244, 1, 1]);
    expect(ask("192.168.50.10", 1, peers.router, "192.168.50.1").verdict).toBe("TX");
  });

  test("a Service's address is answered for where it is announced, until it is withdrawn", () => {
    const dataplane = fresh();
    const question = (target: string, ingress: number) =>
      dataplane.processFrame(
        packet()
          .ethernet({ source: peers.router, destination: "ff:ff:ff:ff:ff:ff" })
          .arp({ operation: "request", senderMac: peers.router, sender: "192.168.50.1", target })
          .build(),
        { now: 1, ingress },
      );
    const solicitation = (ingress: number) =>
      dataplane.processFrame(
        packet()
          .ethernet({ source: peers.router, destination: "33:33:ff:00:00:07" })
          .ipv6({ source: "fd00:50::1", destination: "ff02::1:ff00:7", hopLimit: 255 })
          .icmp({ type: 135 })
          .payload(Uint8Array.of(0xfd, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1, 1, 2, 0, 0, 0, 2, 1))
          .build(),
        { now: 1, ingress },
      );
    expect(question("1.2.3.4", 1).verdict).toBe("DROP");
    dataplane.announceAddress("1.2.3.4");
    dataplane.announceAddress("fd00:50::7", 1);
    expect(parsed(question("1.2.3.4", 1)).arp).toMatchObject({ operation: 2, senderMac: macs.uplink });
    expect(question("1.2.3.4", 0).verdict).toBe("DROP");
    expect(parsed(solicitation(1)).source).toBe("fd00:50::7");
    expect(solicitation(0).verdict).toBe("DROP");
    dataplane.announceAddress("1.2.3.4", 0);
    expect([question("1.2.3.4", 0).verdict, question("1.2.3.4", 1).verdict]).toEqual(["TX", "DROP"]);
    // Withdrawing an address leaves the Service that it belongs to.
    dataplane.withdrawAddress("1.2.3.4");
    dataplane.withdrawAddress("fd00:50::7");
    dataplane.withdrawAddress("203.0.113.7");
    expect(question("1.2.3.4", 0).verdict).toBe("DROP");
    expect(solicitation(1).verdict).toBe("DROP");
    expect(() => dataplane.announceAddress("nowhere")).toThrow("not an IP address");
    expect(() => dataplane.announceAddress("1.2.3.4", 999)).toThrow("does not exist");
  });

  test("nothing else is answered for", () => {
    expect(ask("10.244.1.12", 0, peers.pod, pod)).toEqual({ verdict: "DROP" });
    expect(ask("192.168.50.77", 1, peers.router, "192.168.50.1")).toEqual({ verdict: "DROP" });
    expect(ask("1.2.3.4", 0, peers.pod, pod)).toEqual({ verdict: "DROP" });
  });

  test("a neighbour solicitation for the gateway is answered, checksum and all", () => {
    const solicitation = packet()
      .ethernet({ source: peers.pod, destination: "33:33:ff:00:00:01" })
      .ipv6({ source: "fd00:10:244:1::11", destination: "ff02::1:ff00:1", hopLimit: 255 })
      .icmp({ type: 135 })
      .payload(Uint8Array.of(0xfd, 0, 0, 0x10, 2, 0x44, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 0, 0, 0, 2, 0x11))
      .build();
    const out = parsed(fresh().processFrame(solicitation, { now: 1, ingress: 0 }));
    expect(out).toMatchObject({
      source: "fd00:10:244:1::1",
      destination: "fd00:10:244:1::11",
      icmp: { type: 136, rest: 0xe0000000 },
      ipv6: { hopLimit: 255 },
    });
    expect([...out.icmp!.payload.subarray(16)]).toEqual([2, 1, 2, 0, 0, 0, 1, 1]);
  });

  test("an unknown next hop is asked for, and used once it has answered", () => {
    const dataplane = fresh();
    dataplane.setRoute("203.0.113.0/24", { port: 1, neighbor: "192.168.50.1" });
    const frame = packet()
      .ethernet(fromPod)
      .ipv4({ source: pod, destination: "203.0.113.9" })
      .udp({ sourcePort: 1, destinationPort: 2 })
      .build();
    const question = dataplane.processFrame(frame, { now: 1, ingress: 0 });
    expect(question).toMatchObject({ verdict: "REDIRECT", egress: 1, reason: "neighbor-unresolved" });
    expect(parsed(question).arp).toMatchObject({ operation: 1, senderMac: macs.uplink });
    expect([...parsed(question).arp!.target.bytes]).toEqual([192, 168, 50, 1]);
    dataplane.processFrame(
      packet()
        .ethernet(fromRouter)
        .arp({
          operation: "reply",
          senderMac: peers.router,
          sender: "192.168.50.1",
          targetMac: macs.uplink,
          target: "192.168.50.10",
        })
        .build(),
      { now: 1, ingress: 1 },
    );
    const sent = dataplane.processFrame(frame, { now: 1, ingress: 0 });
    expect(parsed(sent)).toMatchObject({ destination: "203.0.113.9", ethernet: { destination: peers.router } });
  });

  test("an unknown IPv6 neighbour is asked for by its solicited-node address", () => {
    const dataplane = fresh();
    dataplane.setRoute("2001:db8::/32", { port: 1, neighbor: "fd00:50::ab:cdef" });
    const question = dataplane.processFrame(
      packet()
        .ethernet(fromPod)
        .ipv6({ source: "fd00:10:244:1::11", destination: "2001:db8::1" })
        .udp({ sourcePort: 1, destinationPort: 2 })
        .build(),
      { now: 1, ingress: 0 },
    );
    const out = parsed(question);
    expect(out).toMatchObject({
      source: "fd00:50::10",
      destination: "ff02::1:ffab:cdef",
      icmp: { type: 135 },
      ethernet: { destination: "33:33:ff:ab:cd:ef" },
    });
  });
});

describe("batches", () => {
  test("a batch does what single frames do, in place", () => {
    const one = fresh();
    const many = fresh();
    const frames = Array.from({ length: 12 }, (_, i) =>
      packet()
        .ethernet(fromPod)
        .ipv4({ source: pod, destination: i % 3 === 0 ? "10.96.0.66" : "10.96.0.10" })
        .tcp({ sourcePort: 40000 + (i >> 1), destinationPort: 80, flags: "S" })
        .build(),
    );
    const memory = new Uint8Array(many.memory.buffer);
    frames.forEach((frame, i) => {
      const address = many.frames.address + i * many.frames.size + 256;
      memory.set(frame, address);
      many.descriptors.frame[i] = address;
      many.descriptors.length[i] = frame.length;
      many.descriptors.ingress[i] = 0;
    });
    many.ingress(frames.length, 1);
    const verdicts = { TX: 3, REDIRECT: 4, REJECT: 3, PASS: 2, DROP: 1, ABORTED: 0 };
    frames.forEach((frame, i) => {
      const expected = one.processFrame(frame, { now: 1, ingress: 0 });
      const at = many.descriptors.frame[i]!;
      expect(many.descriptors.verdict[i]).toBe(verdicts[expected.verdict]);
      expect(many.descriptors.egress[i]).toBe(expected.egress);
      expect(memory.slice(at, at + many.descriptors.length[i]!)).toEqual(expected.packet);
    });
    expect(many.counters()).toEqual(one.counters());
  });
});
