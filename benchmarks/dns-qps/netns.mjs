// Questions of a pod over AF_XDP: answered by its node, and by Knot in another pod behind a Service of the same node.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createNetnsFabric } from "@portolan/cluster/netns";
import { createQueryHandler, feedDataplane } from "@portolan/dns";
import { createClusterZone } from "@portolan/dns/zone";
import { probe } from "@portolan/netio-linux";
import { quantile, report, spread } from "../figures.mjs";
import { configureKnot, processorSeconds } from "./peers.mjs";

const rounds = 5;
const seconds = 2;
const addresses = { node: "10.96.0.10", knot: "10.96.0.11" };
const knotPod = "10.244.1.53";

function run(place, argv) {
  const { command, args } = place.command(argv);
  return spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
}

async function outputOf(child) {
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => {
      text += chunk;
    });
  await new Promise((resolve) => child.once("close", resolve));
  return text;
}

export async function measureNetns(serviceObjects, names) {
  const capabilities = probe();
  const missing = [capabilities.namespaces, capabilities.xdp, capabilities.launcher].find((one) => !one.available);
  const lacks = ["dnsperf", "knotd"].find((command) => spawnSync("which", [command]).status !== 0);
  if (missing !== undefined || lacks !== undefined) {
    report("over AF_XDP", `skipped: ${missing?.reason ?? `${lacks} is not installed`}`);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "portolan-bench-"));
  const fabric = await createNetnsFabric();
  let knot;
  try {
    const node = await fabric.addNode({
      name: "dns-node",
      addresses: ["172.18.0.2"],
      podCIDRs: ["10.244.1.0/24"],
      dnsAddresses: [addresses.node],
    });
    const client = await node.addPod({ name: "dns-client", addresses: ["10.244.1.10"] });
    const server = await node.addPod({ name: "dns-server", addresses: [knotPod] });
    node.setServicePort({
      id: "default/knot:dns/UDP/IPv4",
      family: "IPv4",
      protocol: "UDP",
      frontends: [{ kind: "ClusterIP", address: addresses.knot, port: 53 }],
      cluster: [{ address: knotPod, port: 53 }],
      local: [],
      hasAny: true,
      internalTrafficPolicy: "Cluster",
      externalTrafficPolicy: "Cluster",
    });
    const zone = createClusterZone({ ttl: 30 });
    zone.apply({ kind: "Namespace", metadata: { name: "default" } });
    for (const service of serviceObjects) zone.apply(service);
    const handler = createQueryHandler({ blocks: [{ origins: zone.zones, zone }] });
    feedDataplane(handler, zone, node.names, { soon: (task) => task(), later: setImmediate, now: () => 0 });
    knot = run(server, configureKnot(folder, serviceObjects.length, knotPod));
    await node.synchronize();
    await delay(1000);
    const lists = { hits: names.existing, misses: names.missing };
    for (const [name, nameOf] of Object.entries(lists))
      writeFileSync(join(folder, name), Array.from({ length: 10_000 }, (_, i) => `${nameOf(i)} A\n`).join(""));
    const cases = [
      ["the node: A of existing Services", "node", "hits"],
      ["the node: names that do not exist", "node", "misses"],
      ["Knot in a pod: A of existing Services", "knot", "hits"],
    ].map(([label, who, list]) => ({ label, who, list, rates: [], costs: [], lost: 0 }));
    for (let round = 0; round < rounds; round++)
      for (const one of cases) {
        const cost = async () =>
          (await node.processorNanoseconds()) + (one.who === "knot" ? processorSeconds(knot.pid) * 1e9 : 0);
        const before = await cost();
        const perf = [
          "dnsperf",
          "-s",
          addresses[one.who],
          "-d",
          join(folder, one.list),
          "-l",
          `${seconds}`,
          "-q",
          "200",
        ];
        const text = await outputOf(run(client, perf));
        const completed = Number(/Queries completed:\s+(\d+)/.exec(text)?.[1]);
        if (!(completed > 0)) throw new Error(`dnsperf: ${text}`);
        one.costs.push(((await cost()) - before) / completed);
        one.rates.push(Number(/Queries per second:\s+([\d.]+)/.exec(text)?.[1]));
        one.lost += Number(/Queries lost:\s+(\d+)/.exec(text)?.[1]);
      }
    const [first, , last] = cases;
    for (const { label, rates, costs, lost } of cases)
      report(
        `over AF_XDP, ${label}`,
        `${spread(rates)} answers/s; ${spread(costs)} ns of processor each${lost > 0 ? `; ${lost} lost` : ""}`,
      );
    const ratio = (values, others) =>
      quantile(
        values.map((value, i) => value / others[i]),
        0.5,
      ).toFixed(2);
    report(
      "the node against Knot behind it",
      `×${ratio(first.rates, last.rates)} answers/s, ×${ratio(first.costs, last.costs)} processor time each`,
    );
  } finally {
    knot?.kill("SIGKILL");
    await fabric.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
