import { spawn, spawnSync } from "node:child_process";
import type { FrontendSpec, ServicePortSpec } from "@portolan/dataplane";
import { packet } from "@portolan/net";
import { setOffloads } from "@portolan/netio-linux";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  createNetnsFabric,
  type NetnsFabric,
  type NetnsNode,
  type NetworkPlace,
  type PodNamespace,
} from "../src/netns/index.ts";
import { frameInterfaces } from "./frame-interfaces.ts";

describe.each(frameInterfaces("nodes as network namespaces"))("nodes as network namespaces, frames by %s", (frames) => {
  let fabric: NetnsFabric;
  let nodes: NetnsNode[];
  const pods = new Map<string, PodNamespace>();
  const running: ReturnType<typeof spawn>[] = [];
  const errors: Error[] = [];

  function start(place: NetworkPlace, argv: string[]): ReturnType<typeof spawn> {
    const { command, args } = place.command(argv, { privateProcesses: true });
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
    running.push(child);
    return child;
  }

  // Answers each TCP connection and each datagram with its own name and the client's address.
  const server = `
    const [name, port] = process.argv.slice(1);
    const say = (address) => name + " " + address.replace("::ffff:", "");
    let ready = 0;
    const up = () => { if (++ready === 2) console.log("ready"); };
    require("net").createServer((socket) => { socket.on("error", () => {}); socket.end(say(socket.remoteAddress)); }).listen(+port, "::", up);
    const udp = require("dgram").createSocket("udp6");
    udp.on("message", (_, from) => udp.send(say(from.address), from.port, from.address));
    udp.bind(+port, "::", up);`;

  async function serve(name: string, port: number): Promise<void> {
    const child = start(pods.get(name)!, [process.execPath, "-e", server, name, String(port)]);
    await new Promise<void>((resolve, reject) => {
      child.stdout!.once("data", () => resolve());
      child.stderr!.once("data", (data) => reject(new Error(String(data))));
    });
  }

  async function run(place: NetworkPlace, argv: string[]): Promise<string> {
    const { command, args } = place.command(argv);
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    child.stdout.on("data", (data) => {
      out += data;
    });
    child.stderr.on("data", (data) => {
      out += data;
    });
    await new Promise((resolve) => child.once("close", resolve));
    return out.trim();
  }

  const dialer = `
    const [host, port, times] = process.argv.slice(1);
    (async () => {
      const results = [];
      for (let i = 0; i < +times; i++) results.push(await new Promise((resolve) => {
        let text = "";
        const socket = require("net").connect({ host, port: +port });
        socket.setTimeout(1500, () => { resolve("timeout"); socket.destroy(); });
        socket.on("data", (data) => { text += data; });
        socket.on("error", (error) => resolve(error.code));
        socket.on("close", () => resolve(text));
      }));
      console.log(JSON.stringify(results));
    })();`;

  async function dial(place: NetworkPlace, host: string, port: number, times = 1): Promise<string[]> {
    return JSON.parse(
      await run(place, [process.execPath, "-e", dialer, host, String(port), String(times)]),
    ) as string[];
  }

  const asker = `
    const [host, port] = process.argv.slice(1);
    const socket = require("dgram").createSocket(host.includes(":") ? "udp6" : "udp4");
    const end = (result) => { clearTimeout(timer); console.log(result); socket.close(); };
    socket.on("error", (error) => end(error.code));
    socket.on("message", (data) => end(String(data)));
    const timer = setTimeout(() => end("timeout"), 1500);
    socket.connect(+port, host, () => socket.send("?"));`;

  const ask = (place: NetworkPlace, host: string, port: number): Promise<string> =>
    run(place, [process.execPath, "-e", asker, host, String(port)]);

  interface ServiceSettings extends Partial<ServicePortSpec> {
    readonly name: string;
    readonly endpoints: readonly string[];
    readonly targetPort?: number;
  }

  function program(settings: ServiceSettings): void {
    const { name, endpoints, targetPort = 8080, ...more } = settings;
    const family = more.family ?? "IPv4";
    for (const node of nodes) {
      const backends = endpoints.map((endpoint) => {
        const pod = pods.get(endpoint)!;
        const address = pod.addresses[family === "IPv4" ? 0 : 1]!;
        return { address, port: targetPort, local: endpoint.startsWith(node.name), name: endpoint };
      });
      node.setServicePort({
        id: `default/${name}:/${more.protocol ?? "TCP"}/${family}`,
        family,
        protocol: "TCP",
        frontends: [],
        cluster: backends,
        local: backends.filter((backend) => backend.local),
        hasAny: endpoints.length > 0,
        internalTrafficPolicy: "Cluster",
        externalTrafficPolicy: "Cluster",
        ...more,
      });
    }
  }
  const synchronize = () => Promise.all(nodes.map((node) => node.synchronize()));
  const frontends = (clusterIP: string, nodePort?: number, vip?: string): FrontendSpec[] => [
    { kind: "ClusterIP", address: clusterIP, port: 80 },
    ...(nodePort === undefined ? [] : [{ kind: "NodePort" as const, port: nodePort }]),
    ...(vip === undefined ? [] : [{ kind: "LoadBalancer" as const, address: vip, port: 80 }]),
  ];

  beforeAll(async () => {
    fabric = await createNetnsFabric({ frames, onError: (error) => errors.push(error) });
    nodes = await Promise.all(
      [1, 2].map((n) =>
        fabric.addNode({
          name: `node${n}`,
          addresses: [`172.18.0.${n + 1}`, `fd00:172:18::${n + 1}`],
          podCIDRs: [`10.244.${n}.0/24`, `fd00:10:244:${n}::/64`],
        }),
      ),
    );
    for (const [i, node] of nodes.entries()) {
      node.configureNode({
        addresses: node.addresses,
        clusterCIDRs: ["10.244.0.0/16", "fd00:10:244::/48"],
        serviceCIDRs: ["10.96.0.0/16", "fd00:10:96::/112"],
      });
      for (const n of [2, 3]) {
        const name = `${node.name}-pod${n}`;
        pods.set(name, await node.addPod({ name, addresses: [`10.244.${i + 1}.${n}`, `fd00:10:244:${i + 1}::${n}`] }));
      }
    }
    await Promise.all([...pods.keys()].filter((name) => name.endsWith("pod2")).map((name) => serve(name, 8080)));
    program({
      name: "web",
      endpoints: ["node1-pod2", "node2-pod2"],
      frontends: frontends("10.96.0.10", 30080, "172.18.255.1"),
    });
    program({
      name: "web",
      endpoints: ["node1-pod2", "node2-pod2"],
      frontends: frontends("fd00:10:96::10", 30080, "fd00:172:18::ff01"),
      family: "IPv6",
    });
    program({
      name: "dns",
      endpoints: ["node1-pod2", "node2-pod2"],
      frontends: frontends("10.96.0.10", 30080, "172.18.255.1"),
      protocol: "UDP",
    });
    program({ name: "none", endpoints: [], frontends: frontends("10.96.0.20", 30020) });
    program({ name: "silent", endpoints: [], frontends: frontends("10.96.0.21"), protocol: "UDP" });
    program({
      name: "local",
      endpoints: ["node2-pod2"],
      frontends: frontends("10.96.0.30", 30030, "172.18.255.2"),
      externalTrafficPolicy: "Local",
    });
    program({
      name: "inside",
      endpoints: ["node2-pod2"],
      frontends: frontends("10.96.0.40"),
      internalTrafficPolicy: "Local",
    });
    await nodes[0]!.announce("172.18.255.1");
    await nodes[0]!.announce("fd00:172:18::ff01");
    await nodes[1]!.announce("172.18.255.2");
    await synchronize();
  }, 60_000);

  afterAll(async () => {
    for (const child of running) child.kill("SIGKILL");
    await fabric?.close();
  });

  const pod = (name: string): PodNamespace => pods.get(name)!;
  const backendsOf = (results: string[]): string[] =>
    [...new Set(results.map((result) => result.split(" ")[0]!))].sort();
  const sourcesOf = (results: string[]): string[] =>
    [...new Set(results.map((result) => result.split(" ")[1] ?? ""))].sort();

  test("pods reach each other directly, on a node and across nodes, in both families", async () => {
    expect(await dial(pod("node1-pod3"), "10.244.1.2", 8080)).toEqual(["node1-pod2 10.244.1.3"]);
    expect(await dial(pod("node1-pod3"), "10.244.2.2", 8080)).toEqual(["node2-pod2 10.244.1.3"]);
    expect(await dial(pod("node1-pod3"), "fd00:10:244:2::2", 8080)).toEqual(["node2-pod2 fd00:10:244:1::3"]);
  });

  test("a pod reaches a Service by its ClusterIP with its own address", async () => {
    const results = await dial(pod("node1-pod3"), "10.96.0.10", 80, 16);
    expect(backendsOf(results)).toEqual(["node1-pod2", "node2-pod2"]);
    expect(sourcesOf(results)).toEqual(["10.244.1.3"]);
    const six = await dial(pod("node1-pod3"), "fd00:10:96::10", 80, 16);
    expect(backendsOf(six)).toEqual(["node1-pod2", "node2-pod2"]);
    expect(sourcesOf(six)).toEqual(["fd00:10:244:1::3"]);
  });

  test("a pod that reaches itself through a Service sees the gateway as its client", async () => {
    const results = await dial(pod("node1-pod2"), "10.96.0.10", 80, 16);
    expect([...new Set(results)].sort()).toEqual(["node1-pod2 10.244.1.1", "node2-pod2 10.244.1.2"]);
  });

  test("a node reaches a Service by ClusterIP, by NodePort of itself and of others, and by load-balancer address", async () => {
    const place = nodes[0]!;
    expect(backendsOf(await dial(place, "10.96.0.10", 80, 16))).toEqual(["node1-pod2", "node2-pod2"]);
    expect(sourcesOf(await dial(place, "10.96.0.10", 80, 16))).toEqual(["10.244.1.1", "172.18.0.2"]);
    expect(backendsOf(await dial(place, "172.18.0.2", 30080, 16))).toEqual(["node1-pod2", "node2-pod2"]);
    expect(backendsOf(await dial(place, "172.18.0.3", 30080, 16))).toEqual(["node1-pod2", "node2-pod2"]);
    expect(backendsOf(await dial(place, "172.18.255.1", 80, 16))).toEqual(["node1-pod2", "node2-pod2"]);
  });

  test("a node's own programs are reached at its address, from itself and from others", async () => {
    const child = start(nodes[0]!, [process.execPath, "-e", server, "kubelet", "10250"]);
    await new Promise((resolve) => child.stdout!.once("data", resolve));
    expect(await dial(nodes[0]!, "172.18.0.2", 10250)).toEqual(["kubelet 172.18.0.2"]);
    expect(await dial(nodes[0]!, "127.0.0.1", 10250)).toEqual(["kubelet 127.0.0.1"]);
    expect(await dial(nodes[1]!, "172.18.0.2", 10250)).toEqual(["kubelet 172.18.0.3"]);
    expect(await dial(pod("node1-pod3"), "172.18.0.2", 10250)).toEqual(["kubelet 10.244.1.3"]);
    expect(await dial(fabric.client, "172.18.0.2", 10250)).toEqual(["kubelet 172.18.0.100"]);
    expect(await dial(nodes[0]!, "172.18.0.2", 10251)).toEqual(["ECONNREFUSED"]);
  });

  test("an external client reaches NodePorts and the load-balancer address, masqueraded", async () => {
    for (const [host, port] of [
      ["172.18.0.2", 30080],
      ["172.18.0.3", 30080],
      ["172.18.255.1", 80],
    ] as const) {
      const results = await dial(fabric.client, host, port, 16);
      expect(backendsOf(results)).toEqual(["node1-pod2", "node2-pod2"]);
      expect(sourcesOf(results)).not.toContain("172.18.0.100");
    }
    const six = await dial(fabric.client, "fd00:172:18::ff01", 80, 16);
    expect(backendsOf(six)).toEqual(["node1-pod2", "node2-pod2"]);
  });

  test("externalTrafficPolicy Local keeps the client's address, and is silent on a node without endpoints", async () => {
    expect(await dial(fabric.client, "172.18.255.2", 80)).toEqual(["node2-pod2 172.18.0.100"]);
    expect(await dial(fabric.client, "172.18.0.3", 30030)).toEqual(["node2-pod2 172.18.0.100"]);
    expect(await dial(fabric.client, "172.18.0.2", 30030)).toEqual(["timeout"]);
  });

  test("internalTrafficPolicy Local is silent on a node without endpoints", async () => {
    expect(await dial(pod("node2-pod3"), "10.96.0.40", 80)).toEqual(["node2-pod2 10.244.2.3"]);
    expect(await dial(pod("node1-pod3"), "10.96.0.40", 80)).toEqual(["timeout"]);
  });

  test("a Service without endpoints refuses connections", async () => {
    expect(await dial(pod("node1-pod3"), "10.96.0.20", 80)).toEqual(["ECONNREFUSED"]);
    expect(await dial(nodes[0]!, "10.96.0.20", 80)).toEqual(["ECONNREFUSED"]);
    expect(await dial(fabric.client, "172.18.0.2", 30020)).toEqual(["ECONNREFUSED"]);
  });

  test("datagrams are answered from the address that was asked", async () => {
    expect(await ask(pod("node1-pod3"), "10.96.0.10", 80)).toMatch(/^node[12]-pod2 10\.244\.1\.3$/);
    expect(await ask(fabric.client, "172.18.0.3", 30080)).toMatch(/^node[12]-pod2 /);
    expect(await ask(pod("node1-pod3"), "10.96.0.21", 80)).toBe("ECONNREFUSED");
  });

  test("a load-balancer address moves with its announcement", async () => {
    await nodes[1]!.withdraw("172.18.255.2");
    await nodes[0]!.announce("172.18.255.2");
    expect(await dial(fabric.client, "172.18.255.2", 80)).toEqual(["timeout"]);
    await nodes[0]!.withdraw("172.18.255.2");
    await nodes[1]!.announce("172.18.255.2");
    expect(await dial(fabric.client, "172.18.255.2", 80)).toEqual(["node2-pod2 172.18.0.100"]);
  });

  test("a long transfer through a Service arrives whole on another node, in both families", async () => {
    const octets = 16 * 1024 * 1024;
    // Answers with the digest of what it was sent, once the sender has ended.
    const digester = `
      require("net").createServer({ allowHalfOpen: true }, (socket) => {
        const hash = require("crypto").createHash("sha256");
        socket.on("data", (data) => hash.update(data)).on("end", () => socket.end(hash.digest("hex")));
      }).listen(9090, "::", () => console.log("ready"));`;
    const sender = `
      const [host, octets] = process.argv.slice(1);
      // A keystream: the same octets every time, none of them like their neighbours.
      const cipher = require("crypto").createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16));
      const data = cipher.update(Buffer.alloc(+octets));
      const socket = require("net").connect({ host, port: 80 });
      let answer = "";
      socket.on("data", (text) => { answer += text; }).on("error", (error) => { answer = error.code; });
      socket.on("close", () => console.log(answer === require("crypto").createHash("sha256").update(data).digest("hex") ? "whole" : answer));
      socket.end(data);`;
    const child = start(pod("node2-pod2"), [process.execPath, "-e", digester]);
    await new Promise((resolve) => child.stdout!.once("data", resolve));
    const { nodeLink } = pod("node2-pod2");
    for (const [family, address, offloads] of [
      ["IPv4", "10.96.0.50", true],
      ["IPv6", "fd00:10:96::50", true],
      // The node's kernel cuts segments and sums them up before the last link, so that the receiver checks every sum.
      ["IPv4", "10.96.0.50", false],
      ["IPv6", "fd00:10:96::50", false],
    ] as const) {
      if (!offloads) nodes[1]!.namespace.run(() => setOffloads(nodeLink, { tx: false, tso: false, gso: false }));
      program({ name: "bulk", endpoints: ["node2-pod2"], targetPort: 9090, frontends: frontends(address), family });
      await synchronize();
      const received = async (): Promise<number> => (await nodes[1]!.counters()).frames;
      const before = await received();
      expect(await run(pod("node1-pod3"), [process.execPath, "-e", sender, address, String(octets)])).toBe("whole");
      const count = (await received()) - before;
      // Whole segments of senders that leave cutting them to a device, or one packet a frame.
      if (frames === "segments") expect(count).toBeLessThan(octets / 4000);
      else expect(count).toBeGreaterThan(octets / 1500);
    }
    const { command, args } = pod("node2-pod2").command(["cat", "/proc/net/snmp"]);
    const tcp = spawnSync(command, args, { encoding: "utf8" })
      .stdout.match(/^Tcp: .*/gm)!
      .map((line) => line.split(" "));
    expect(tcp[1]![tcp[0]!.indexOf("InCsumErrors")]).toBe("0");
  }, 60_000);

  test("pods come and go, and their frames come back to the pool", async () => {
    const node = nodes[0]!;
    const before = await node.counters();
    for (let i = 0; i < 4; i++) {
      const place = await node.addPod({ name: "transient", addresses: ["10.244.1.77"] });
      expect(await dial(place, "10.96.0.10", 80)).toEqual([expect.stringContaining("10.244.1.77")]);
      await node.removePod("transient");
    }
    const after = await node.counters();
    expect(after.ports.length).toBe(before.ports.length);
    expect(Math.abs(after.freeFrames - before.freeFrames)).toBeLessThan(1600);
  });

  test("a node takes as many pods as a kubelet, and the last of them is served", async () => {
    const node = nodes[1]!;
    const taken = (await node.counters()).ports.length;
    const names: string[] = [];
    for (let i = 0; i < 112 - taken; i++) {
      names.push(`crowd${i}`);
      await node.addPod({ name: `crowd${i}`, addresses: [`10.244.2.${100 + i}`] });
    }
    await expect(node.addPod({ name: "late", addresses: ["10.244.2.99"] })).rejects.toThrow("limit");
    const last = await node
      .removePod(names.pop()!)
      .then(() => node.addPod({ name: "last", addresses: ["10.244.2.98"] }));
    expect(await dial(last, "10.96.0.10", 80)).toEqual([expect.stringContaining("10.244.2.98")]);
    for (const name of [...names, "last"]) await node.removePod(name);
  }, 60_000);

  test("connections and counters are shown", async () => {
    const connections = await nodes[0]!.connections();
    expect(connections.some((c) => c.original.destination === "10.96.0.10" && c.reply.source === "10.244.2.2")).toBe(
      true,
    );
    const counters = await nodes[0]!.counters();
    expect(counters.frames).toBeGreaterThan(100);
    expect(counters.dataplane.reasons["no-endpoints"]).toBeGreaterThan(0);
  });

  test("a trace says what the node would do with a packet", async () => {
    const syn = packet()
      .ipv4({ source: "10.244.1.3", destination: "10.96.0.40" })
      .tcp({ sourcePort: 40000, destinationPort: 80, flags: "S" })
      .build();
    const steps = await nodes[0]!.trace(syn, "node1-pod3");
    expect(JSON.stringify(steps)).toContain("no-local-endpoints");
  });

  test("refused table entries are told", async () => {
    expect(errors).toEqual([]);
    program({ name: "bad", endpoints: [], frontends: [{ kind: "ClusterIP", address: "10.96.0.999", port: 80 }] });
    await synchronize();
    expect(errors.map((error) => error.message).join()).toContain("10.96.0.999");
    errors.length = 0;
  });
});
