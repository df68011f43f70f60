import { spawn, spawnSync } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { createQueryHandler, feedDataplane } from "@portolan/dns";
import { type ClusterZone, createClusterZone } from "@portolan/dns/zone";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createNetnsFabric, type NetnsFabric, type NetnsNode, type PodNamespace } from "../src/netns/index.ts";
import { frameInterfaces } from "./frame-interfaces.ts";

const dig = spawnSync("dig", ["-v"]).status === 0;
if (!dig) console.log("skipped: names answered by nodes: dig is not installed");

describe.skipIf(!dig).each(frameInterfaces("names"))("a node that was told the cluster's names, by %s", (frames) => {
  const server = "10.96.0.10";
  let fabric: NetnsFabric;
  let node: NetnsNode;
  let pod: PodNamespace;
  let zone: ClusterZone;
  const errors: Error[] = [];

  async function ask(...words: string[]): Promise<string> {
    const { command, args } = pod.command(["dig", `@${server}`, "+tries=1", "+time=2", ...words]);
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    child.stdout.on("data", (data) => {
      out += data;
    });
    await new Promise((resolve) => child.once("close", resolve));
    return out.trim();
  }

  const web = (address: string): void =>
    void zone.apply({
      kind: "Service",
      metadata: { name: "web", namespace: "default" },
      spec: { clusterIPs: [address], ports: [{ name: "http", port: 80 }] },
    } as never);

  beforeAll(async () => {
    fabric = await createNetnsFabric({ frames, onError: (error) => errors.push(error) });
    node = await fabric.addNode({
      name: "names-1",
      addresses: ["172.18.0.2"],
      podCIDRs: ["10.244.1.0/24"],
      dnsAddresses: [server],
    });
    pod = await node.addPod({ name: "names-pod", addresses: ["10.244.1.10"] });
    zone = createClusterZone({ ttl: 30 });
    zone.apply({ kind: "Namespace", metadata: { name: "default" } });
    web("10.96.0.7");
    const handler = createQueryHandler({ blocks: [{ origins: zone.zones, zone }] });
    const feed = feedDataplane(handler, zone, node.names, {
      soon: queueMicrotask,
      later: setImmediate,
      now: () => performance.now(),
    });
    expect(feed).toBeDefined();
    await delay(0);
    await node.synchronize();
  }, 60_000);

  afterAll(async () => {
    await fabric?.close();
    expect(errors.map(({ message }) => message).filter((message) => !message.includes("told to fail"))).toEqual([]);
  }, 60_000);

  test("answers its pods' questions itself: there is no DNS server at all", async () => {
    expect(await ask("+short", "web.default.svc.cluster.local")).toBe("10.96.0.7");
    expect(await ask("+short", "SRV", "_http._tcp.web.default.svc.cluster.local")).toBe(
      "0 100 80 web.default.svc.cluster.local.",
    );
    const missingName = await ask("www.example.com.default.svc.cluster.local");
    expect(missingName).toContain("status: NXDOMAIN");
    expect(missingName).not.toMatch(/malformed|unexpected|extra bytes|bad packet/i);
    const { names } = await node.counters();
    expect([names.answered.A.answer, names.answered.A.nameError, names.answered.SRV.answer]).toEqual([1, 1, 1]);
  });

  test("answers a change with the next question, and leaves to the server what it was not told", async () => {
    web("10.96.0.8");
    await delay(0);
    await node.synchronize();
    expect(await ask("+short", "web.default.svc.cluster.local")).toBe("10.96.0.8");
    expect(await ask("www.example.com")).toContain("no servers could be reached");
    expect((await node.counters()).names.passed.zone).toBeGreaterThan(0);
  });

  test("tells a new forwarder the same", async () => {
    node.failForwarder("error");
    await expect.poll(() => ask("+short", "web.default.svc.cluster.local"), { timeout: 20_000 }).toBe("10.96.0.8");
  }, 30_000);
});
