import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { createApiServer } from "@portolan/apiserver";
import { createApiClient, createInformerFactory } from "@portolan/client";
import { type EndpointSlice, resources, type Service } from "@portolan/core";
import type { ServicePortSpec } from "@portolan/dataplane";
import { packet } from "@portolan/net";
import { createProxy } from "@portolan/proxy";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  createNetnsFabric,
  type NetnsFabric,
  type NetnsNode,
  type NetworkPlace,
  type PodNamespace,
} from "../src/netns/index.ts";
import { frameInterfaces } from "./frame-interfaces.ts";
import { eventually } from "./memory-kubernetes.ts";

const echo = `
  require("net").createServer((socket) => { socket.on("error", () => {}); socket.pipe(socket); })
    .listen(8080, "0.0.0.0", () => console.log("ready"));`;

// Holds connections open and sends something over each every 20 ms. Answers a line on standard input with what it saw since the last.
const talker = `
  const [host, port, count] = process.argv.slice(1);
  let [exchanged, broken, gap] = [0, 0, 0];
  const heard = [];
  let connected = 0;
  for (let i = 0; i < +count; i++) {
    const socket = require("net").connect({ host, port: +port });
    socket.on("connect", () => {
      heard[i] = Date.now();
      setInterval(() => { if (!socket.destroyed) socket.write("tick"); }, 20);
      if (++connected === +count) console.log("ready");
    });
    socket.on("data", () => {
      exchanged++;
      gap = Math.max(gap, Date.now() - heard[i]);
      heard[i] = Date.now();
    });
    socket.on("error", () => {});
    socket.on("close", () => { broken++; heard[i] = undefined; });
  }
  require("readline").createInterface({ input: process.stdin }).on("line", () => {
    const now = Date.now();
    const silent = heard.filter((at) => at !== undefined && now - at > 1000).length;
    console.log(JSON.stringify({ exchanged, broken, silent, gap }));
    [exchanged, gap] = [0, 0];
  });`;

interface Account {
  /** Answers received. */
  readonly exchanged: number;
  /** Connections that ended. */
  readonly broken: number;
  /** Connections without an answer for a second. */
  readonly silent: number;
  /** Longest time between two answers on a connection, milliseconds. */
  readonly gap: number;
}

const ways = frameInterfaces("faults of a node");
describe.each(ways)("faults of a node, connections open, frames by %s", (frames) => {
  /** A test of what is the same however frames come in. */
  const once = frames === ways[0] ? test : (): void => undefined;
  let fabric: NetnsFabric;
  let nodes: NetnsNode[];
  const pods = new Map<string, PodNamespace>();
  const running: ChildProcess[] = [];
  const talkers: ChildProcess[] = [];
  const errors: Error[] = [];

  async function start(place: NetworkPlace, program: string, ...args: string[]): Promise<() => Promise<string>> {
    const { command, args: argv } = place.command([process.execPath, "-e", program, ...args]);
    const child = spawn(command, argv, { stdio: ["pipe", "pipe", "inherit"] });
    running.push(child);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe("ready");
    return async () => {
      child.stdin.write("\n");
      return (await lines.next()).value as string;
    };
  }

  // Their load is their own test's.
  afterEach(() => {
    for (const child of talkers.splice(0)) child.kill("SIGKILL");
  });

  async function talk(from: string, host: string, port: number, count: number): Promise<() => Promise<Account>> {
    const ask = await start(pods.get(from)!, talker, host, String(port), String(count));
    talkers.push(running.at(-1)!);
    return async () => JSON.parse(await ask()) as Account;
  }

  const backend = (name: string, node: NetnsNode) => ({
    address: pods.get(name)!.addresses[0]!,
    port: 8080,
    local: name.startsWith(node.name),
    name,
  });

  const program = (node: NetnsNode, ...endpoints: string[]): void =>
    node.setServicePort(service(node, "web", "10.96.0.10", ...endpoints));

  function service(node: NetnsNode, name: string, address: string, ...endpoints: string[]): ServicePortSpec {
    const cluster = endpoints.map((endpoint) => backend(endpoint, node));
    return {
      id: `default/${name}:/TCP/IPv4`,
      family: "IPv4",
      protocol: "TCP",
      frontends: [{ kind: "ClusterIP", address, port: 80 }],
      cluster,
      local: cluster.filter(({ local }) => local),
      hasAny: true,
      internalTrafficPolicy: "Cluster",
      externalTrafficPolicy: "Cluster",
    };
  }

  beforeAll(async () => {
    fabric = await createNetnsFabric({ frames, onError: (error) => errors.push(error) });
    nodes = [];
    for (const n of [1, 2]) {
      const node = await fabric.addNode({
        name: `node${n}`,
        addresses: [`172.18.0.${n + 1}`],
        podCIDRs: [`10.244.${n}.0/24`],
      });
      nodes.push(node);
      node.configureNode({
        addresses: node.addresses,
        clusterCIDRs: ["10.244.0.0/16"],
        serviceCIDRs: ["10.96.0.0/16"],
      });
      for (const [i, role] of ["server", "other", "client"].entries()) {
        const name = `${node.name}-${role}`;
        pods.set(name, await node.addPod({ name, addresses: [`10.244.${n}.${i + 2}`] }));
        if (role !== "client") await start(pods.get(name)!, echo);
      }
    }
    for (const node of nodes) program(node, "node1-server", "node2-server");
    await Promise.all(nodes.map((node) => node.synchronize()));
  }, 60_000);

  afterAll(async () => {
    for (const child of running) child.kill("SIGKILL");
    await fabric?.close();
  });

  once(
    "endpoints that come and go leave connections to the others alone, and to themselves while they live",
    async () => {
      const account = await talk("node1-client", "10.96.0.10", 80, 40);
      await delay(300);
      for (let round = 0; round < 10; round++) {
        for (const node of nodes)
          program(node, "node2-server", ...(round % 2 === 0 ? ["node1-other"] : ["node1-server"]));
        await Promise.all(nodes.map((node) => node.synchronize()));
        await delay(50);
      }
      for (const node of nodes) program(node, "node1-server", "node2-server");
      await delay(300);
      const seen = await account();
      console.log(`endpoints replaced 10 times: 40 connections, ${JSON.stringify(seen)}`);
      expect(seen).toMatchObject({ broken: 0, silent: 0 });
      expect(seen.exchanged).toBeGreaterThan(0);
    },
    30_000,
  );

  once(
    "packets go on while 5000 Services are replaced, and what is asked for meanwhile comes after it",
    async () => {
      const [node] = nodes as [NetnsNode];
      const account = await talk("node1-client", "10.96.0.10", 80, 10);
      await delay(300);
      await account();
      const web = service(node, "web", "10.96.0.10", "node1-server", "node2-server");
      const address = (i: number): string => `10.96.${16 + (i >> 8)}.${i & 255}`;
      for (let round = 0; round < 4; round++) {
        const many = Array.from({ length: 5000 }, (_, i) =>
          service(node, `web${i}`, address(i), round % 2 === 0 ? "node2-server" : "node1-other"),
        );
        node.replaceServicePorts([web, ...many]);
        node.removeServicePort(`default/web4999:/TCP/IPv4`);
      }
      await node.synchronize();
      const seen = await account();
      console.log(`5000 Services replaced 4 times: 10 connections, ${JSON.stringify(seen)}`);
      expect(seen).toMatchObject({ broken: 0, silent: 0 });
      const through = await talk("node1-client", address(4998), 80, 1);
      await delay(200);
      expect((await through()).exchanged).toBeGreaterThan(0);
      const removed = packet()
        .ipv4({ source: "10.244.1.4", destination: address(4999) })
        .tcp({ sourcePort: 40000, destinationPort: 80, flags: "S" })
        .build();
      expect(JSON.stringify(await node.trace(removed, "node1-client"))).not.toContain("web4999");
      const twice = service(node, "web", "10.96.0.10", "node1-server");
      errors.length = 0;
      node.replaceServicePorts([twice, twice]);
      await node.synchronize();
      await eventually(
        () => errors.some(({ message }) => message.includes("given twice")),
        () => "a refused replacement is reported",
      );
      node.replaceServicePorts([web]);
      await node.synchronize();
      errors.length = 0;
    },
    60_000,
  );

  const causes = { error: "told to fail", memory: "memory", terminate: "it ended" } as const;

  /** Ends node1's forwarder and waits until another one has taken its place. */
  async function replaceForwarder(fault: keyof typeof causes): Promise<void> {
    errors.length = 0;
    nodes[0]!.failForwarder(fault);
    await eventually(
      () => errors.some(({ message }) => message.includes(causes[fault])),
      () => "the end of the forwarder is reported",
      40, // The engine collects garbage for seconds before it gives up.
    );
    // Calls wait for the new forwarder, and find what the old one was told.
    expect((await nodes[0]!.counters()).ports.map(({ link }) => link)).toEqual([
      "hostport",
      "uplink",
      "pod2",
      "pod3",
      "pod4",
    ]);
    expect(errors.filter(({ message }) => !message.includes(causes[fault]))).toEqual([]);
  }

  /** Waits until every connection has its answers again: senders that waited in vain try again after twice the time, and twice that. */
  async function talkOn(account: () => Promise<Account>): Promise<void> {
    await delay(1000); // What was heard before the fault is old then.
    await account();
    await eventually(
      async () => {
        const { silent, exchanged } = await account();
        return silent === 0 && exchanged > 0;
      },
      () => "frames of every connection flow again",
      30,
    );
  }

  for (const fault of Object.keys(causes) as (keyof typeof causes)[]) {
    (fault === "memory" ? once : test)(
      `a forwarder that ends by ${fault} is replaced: pods talk on, through Services too, other nodes notice nothing`,
      async () => {
        const direct = await talk("node1-client", pods.get("node2-server")!.addresses[0]!, 8080, 10);
        const elsewhere = await talk("node2-client", pods.get("node2-other")!.addresses[0]!, 8080, 10);
        const translated = await talk("node1-client", "10.96.0.10", 80, 20);
        const others = await talk("node2-client", "10.96.0.10", 80, 20);
        await delay(200);
        await replaceForwarder(fault);
        await Promise.all([direct, translated, others].map(talkOn));
        await Promise.all([direct(), elsewhere(), translated(), others()]);
        await delay(1500);
        const [a, b, c, d] = [await direct(), await elsewhere(), await translated(), await others()];
        console.log(
          `forwarder of node1 ended by ${fault}: between nodes ${JSON.stringify(a)}, on node2 ${JSON.stringify(b)}, ` +
            `through a Service from node1 ${JSON.stringify(c)}, from node2 ${JSON.stringify(d)}`,
        );
        for (const seen of [a, b, c, d]) expect(seen).toMatchObject({ broken: 0, silent: 0 });
        const account = await talk("node1-client", "10.96.0.10", 80, 10);
        await delay(300);
        const seen = await account();
        console.log(`new connections through a Service on node1: ${JSON.stringify(seen)}`);
        expect(seen).toMatchObject({ broken: 0, silent: 0 });
      },
      60_000,
    );
  }

  once(
    "a forwarder whose thread is ended twenty times leaves no descriptor open",
    async () => {
      const direct = await talk("node1-client", pods.get("node2-server")!.addresses[0]!, 8080, 10);
      const elsewhere = await talk("node2-client", pods.get("node2-other")!.addresses[0]!, 8080, 10);
      const open = (): number => readdirSync("/proc/self/fd").length;
      const descriptors = [open()];
      for (let round = 0; round < 20; round++) {
        await replaceForwarder("terminate");
        descriptors.push(open());
      }
      await talkOn(direct);
      await delay(1500);
      const [a, b] = [await direct(), await elsewhere()];
      console.log(
        `forwarder of node1 ended 20 times: between nodes ${JSON.stringify(a)}, on node2 ${JSON.stringify(b)}, descriptors ${descriptors}`,
      );
      expect(a).toMatchObject({ broken: 0, silent: 0 });
      expect(b).toMatchObject({ broken: 0, silent: 0 });
      await eventually(
        () => open() === descriptors[0],
        () => `as many descriptors as before: ${descriptors} ${open()}`,
      );
    },
    240_000,
  );

  const cables = {
    "a node's": { link: () => "uplink", unconcerned: ["node2-client", "node2-server"] },
    "a pod's": { link: () => pods.get("node1-client")!.nodeLink, unconcerned: ["node1-other", "node1-server"] },
  } as const;
  for (const [whose, { link, unconcerned }] of Object.entries(cables)) {
    test(`${whose} cable that is out for half a second costs time, not connections`, async () => {
      const [from, to] = unconcerned;
      const through = await talk("node1-client", "10.96.0.10", 80, 20);
      const beside = await talk(from, pods.get(to)!.addresses[0]!, 8080, 10);
      await delay(200);
      await Promise.all([through(), beside()]);
      const { links } = nodes[0]!.namespace;
      links.setLink(link(), { up: false });
      await delay(500);
      links.setLink(link(), { up: true });
      let gap = 0;
      await eventually(
        async () => {
          const seen = await through();
          gap = Math.max(gap, seen.gap);
          return gap >= 450 && seen.silent === 0 && seen.exchanged > 0;
        },
        () => "all connections through the link answer again, and had not answered while it was down",
      );
      await delay(1000);
      const [a, b] = [{ ...(await through()), longestGap: gap }, await beside()];
      console.log(
        `${whose} link down for 500 ms: through it ${JSON.stringify(a)}, between ${from} and ${to} ${JSON.stringify(b)}`,
      );
      expect(a).toMatchObject({ broken: 0, silent: 0 });
      expect(b).toMatchObject({ broken: 0, silent: 0 });
      const account = await talk("node1-client", "10.96.0.10", 80, 10);
      await delay(200);
      expect(await account()).toMatchObject({ broken: 0, silent: 0 });
    }, 30_000);
  }

  once(
    "without an API server Services go on as they are; when it is back they follow what it says",
    async () => {
      const [node] = nodes as [NetnsNode];
      const server = await createApiServer({ serviceCIDRs: ["10.96.0.0/16"] });
      const api = createApiClient(server.transport);
      const informers = createInformerFactory(api);
      const controller = new AbortController();
      const proxy = createProxy({
        informers,
        nodeName: node.name,
        tables: node,
        configuration: { clusterCIDRs: ["10.244.0.0/16"], serviceCIDRs: ["10.96.0.0/16"] },
        localAddresses: ["10.244.1.1"],
      });
      const running = proxy.run(controller.signal);
      informers.start(controller.signal);
      try {
        const address = "10.96.0.30";
        const metadata = { namespace: "default", labels: { "kubernetes.io/service-name": "kept" } };
        const kept: Service = {
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: "kept", namespace: "default" },
          spec: { clusterIP: address, ports: [{ port: 80, targetPort: 8080 }] },
        };
        const slice = (name: string): EndpointSlice => ({
          apiVersion: "discovery.k8s.io/v1",
          kind: "EndpointSlice",
          metadata: { ...metadata, name: "kept-1" },
          addressType: "IPv4",
          ports: [{ name: "", port: 8080, protocol: "TCP" }],
          endpoints: [{ addresses: [pods.get(name)!.addresses[0]!], conditions: { ready: true } }],
        });
        await api.create(resources.services, kept);
        await api.create(resources.endpointSlices, slice("node2-server"));
        const leadsTo = async (name: string): Promise<boolean> => {
          const syn = packet()
            .ipv4({ source: "10.244.1.4", destination: address })
            .tcp({ sourcePort: 40000, destinationPort: 80, flags: "S" })
            .build();
          const told = JSON.stringify(await node.trace(syn, "node1-client"));
          return told.includes(`picks ${pods.get(name)!.addresses[0]}:8080`);
        };
        await eventually(
          () => leadsTo("node2-server"),
          () => "the proxy told the node of the Service",
        );
        const before = await talk("node1-client", address, 80, 10);
        server.faults.inject({ status: 500, times: Number.POSITIVE_INFINITY });
        server.faults.cutWatches();
        await expect(api.list(resources.services, { namespace: "default" })).rejects.toThrow("injected fault");
        await delay(1000);
        await before();
        const meanwhile = await talk("node1-client", address, 80, 10);
        await delay(2000);
        const [old, young] = [await before(), await meanwhile()];
        console.log(`no API server for 3 s: old connections ${JSON.stringify(old)}, new ${JSON.stringify(young)}`);
        for (const seen of [old, young]) {
          expect(seen).toMatchObject({ broken: 0, silent: 0 });
          expect(seen.exchanged).toBeGreaterThan(0);
        }
        server.faults.clear();
        await api.patch(
          resources.endpointSlices,
          { namespace: "default", name: "kept-1" },
          { endpoints: slice("node1-other").endpoints },
        );
        await eventually(
          () => leadsTo("node1-other"),
          () => "the proxy follows again",
        );
        expect(await before()).toMatchObject({ broken: 0, silent: 0 });
      } finally {
        controller.abort();
        await running;
        await server.close();
      }
    },
    60_000,
  );
});
