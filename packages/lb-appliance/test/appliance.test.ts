import { createServer } from "node:net";
import { createFakeClock } from "@portolan/client/testing";
import type { FlowPolicy, NodeReference } from "@portolan/lb";
import {
  type ApplianceOptions,
  createAppliance,
  listenForClients,
  nextTargetState,
  proxyProtocolHeader,
} from "@portolan/lb-appliance";
import { packet, parsePacket } from "@portolan/net";
import { describe, expect, it } from "vitest";

const check = {
  protocol: "TCP",
  port: "traffic-port",
  intervalSeconds: 10,
  timeoutSeconds: 5,
  healthyThreshold: 3,
  unhealthyThreshold: 2,
} as const;

const policy: FlowPolicy = {
  scheme: "external",
  destination: "node",
  clientAddress: "kept",
  hash: ["source-address", "source-port", "destination-address", "destination-port", "protocol"],
  proxyProtocol: "none",
  idleTimeoutSeconds: { tcp: 350, udp: 120 },
  crossZone: true,
  sourceRanges: ["0.0.0.0/0"],
  ports: [{ protocol: "TCP", port: 80, targetPort: 30080, healthCheck: check }],
};

const nodes: readonly NodeReference[] = [1, 2, 3].map((index) => ({
  name: `node${index}`,
  addresses: [`172.18.0.${index + 1}`],
  zone: index === 3 ? "zone-b" : "zone-a",
}));

const make = (change: Partial<FlowPolicy> = {}, options: Partial<ApplianceOptions> = {}) =>
  createAppliance({
    policy: { ...policy, ...change },
    addresses: ["203.0.113.10"],
    ownAddresses: ["172.18.0.250"],
    nodes,
    seed: 7,
    ...options,
  });

const syn = (source: string, sourcePort: number) =>
  packet().ipv4({ source, destination: "203.0.113.10" }).tcp({ sourcePort, destinationPort: 80, flags: "S" }).build();

describe("an appliance that rewrites the destination", () => {
  it("sends packets to the node port of one node and brings answers back under its own address", () => {
    const appliance = make();
    const { node, packet: out } = appliance.process(syn("198.51.100.7", 40000));
    const sent = parsePacket(out!);
    expect(nodes.find((each) => each.name === node)!.addresses).toEqual([sent.destination]);
    expect([sent.source, sent.tcp!.destinationPort]).toEqual(["198.51.100.7", 30080]);
    const answer = packet()
      .ipv4({ source: sent.destination!, destination: "198.51.100.7" })
      .tcp({ sourcePort: 30080, destinationPort: 40000, flags: "SA" })
      .build();
    const back = parsePacket(appliance.process(answer).packet!);
    expect([back.source, back.tcp!.sourcePort, back.destination]).toEqual(["203.0.113.10", 80, "198.51.100.7"]);
  });

  it("puts its own address in the client's place where the policy says so", () => {
    const sent = parsePacket(make({ clientAddress: "replaced" }).process(syn("198.51.100.7", 40000)).packet!);
    expect(sent.source).toBe("172.18.0.250");
  });
});

describe("an appliance that keeps the destination", () => {
  it("hands packets to a node as they came, all of a flow to the same", () => {
    const appliance = make({ destination: "keep" });
    const first = appliance.process(syn("198.51.100.7", 40000));
    expect(first.packet).toEqual(syn("198.51.100.7", 40000));
    appliance.setNodes([...nodes].reverse());
    for (let index = 0; index < 5; index++) {
      expect(appliance.process(syn("198.51.100.7", 40000)).node).toBe(first.node);
    }
  });
});

describe("flow policies", () => {
  const nodesOf = (appliance: ReturnType<typeof make>, ports: readonly number[]) =>
    new Set(ports.map((port) => appliance.process(syn("198.51.100.7", port)).node));
  const ports = Array.from({ length: 60 }, (_, index) => 40000 + index * 7);

  it("spread flows of one client over nodes, or keep them on one, as the hash says", () => {
    expect(nodesOf(make(), ports).size).toBe(3);
    expect(nodesOf(make({ hash: ["source-address"] }), ports).size).toBe(1);
    expect(nodesOf(make({ affinitySeconds: 60 }), ports).size).toBe(1);
  });

  it("stay in their zone without cross-zone balancing", () => {
    expect(nodesOf(make({ crossZone: false }, { zone: "zone-b" }), ports)).toEqual(new Set(["node3"]));
  });

  it("let in only the source ranges", () => {
    const appliance = make({ sourceRanges: ["198.51.100.0/24"] });
    expect(appliance.process(syn("198.51.100.7", 40000)).node).toBeDefined();
    expect(appliance.process(syn("192.0.2.7", 40000))).toMatchObject({ verdict: "DROP" });
  });
});

describe("health checks", () => {
  it("count answers in a row", () => {
    const answers = [true, false, false, true, true, true];
    const states: boolean[] = [];
    let state: Parameters<typeof nextTargetState>[0];
    for (const answer of answers) {
      state = nextTargetState(state, answer, check);
      states.push(state.healthy);
    }
    expect(states).toEqual([true, true, false, false, false, true]);
  });

  it("take a node that fails out of the balance after so many intervals, and let it back in", async () => {
    const clock = createFakeClock();
    const down = new Set<string>();
    const appliance = make({}, { clock, probe: async (node) => !down.has(node.name) });
    const stop = new AbortController();
    const run = appliance.run(stop.signal);
    const healthy = () => [...appliance.health()].filter(([, each]) => each.get("TCP/80")).map(([name]) => name);
    const pass = async (seconds: number) => {
      for (let index = 0; index < seconds; index++) await clock.advance(1000);
    };
    await pass(1);
    expect(healthy()).toEqual(["node1", "node2", "node3"]);
    down.add("node2");
    await pass(11);
    expect(healthy()).toContain("node2");
    await pass(10);
    expect(healthy()).toEqual(["node1", "node3"]);
    for (let index = 0; index < 30; index++) {
      expect(appliance.process(syn("198.51.100.8", 41000 + index)).node).not.toBe("node2");
    }
    down.clear();
    await pass(31);
    expect(healthy()).toContain("node2");
    stop.abort();
    await run;
  });
});

describe("PROXY protocol", () => {
  const connection = {
    sourceAddress: "198.51.100.7",
    sourcePort: 40000,
    destinationAddress: "203.0.113.10",
    destinationPort: 80,
  };

  it("version 1 is a line, version 2 is binary", () => {
    expect(new TextDecoder().decode(proxyProtocolHeader("v1", connection))).toBe(
      "PROXY TCP4 198.51.100.7 203.0.113.10 40000 80\r\n",
    );
    expect(Buffer.from(proxyProtocolHeader("v2", connection)).toString("hex")).toBe(
      "0d0a0d0a000d0a515549540a2111000cc6336407cb00710a9c400050",
    );
  });

  it("comes before the first byte of a relayed connection", async () => {
    const server = createServer((socket) => socket.once("data", (data) => socket.end(data)));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const target = (server.address() as { port: number }).port;
    const proxied = { ...policy, proxyProtocol: "v1" } as const;
    const appliance = make(proxied, { addresses: ["127.0.0.1"] });
    const relay = await listenForClients({
      appliance,
      policy: proxied,
      port: proxied.ports[0]!,
      listen: { host: "127.0.0.1", port: 0 },
      reach: () => ({ host: "127.0.0.1", port: target }),
    });
    const { port } = relay.address() as { port: number };
    const { connect } = await import("node:net");
    const text = await new Promise<string>((resolve, reject) => {
      const client = connect(port, "127.0.0.1");
      let all = "";
      client.on("data", (data) => {
        all += String(data);
      });
      client.on("end", () => resolve(all));
      client.on("error", reject);
    });
    expect(text).toMatch(new RegExp(`^PROXY TCP4 127\\.0\\.0\\.1 127\\.0\\.0\\.1 \\d+ ${port}\r\n$`));
    relay.close();
    server.close();
  });
});
