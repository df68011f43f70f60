import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { probe } from "@portolan/netio-linux";
import { heading, quantile, report, spread } from "../figures.mjs";
import {
  endpointPorts,
  hasProgram,
  runProgram,
  service,
  startAfXdp,
  startIptables,
  startNftables,
  startNode,
  startProgram,
} from "./peers.mjs";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "1.5" },
    services: { type: "string", default: "10,10000" },
    measures: { type: "string", default: "flood,connect,roundtrip,bulk" },
    systems: { type: "string", default: "c,nftables,iptables,node,packet,segments" },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const flows = 64;
const parallel = 32;
const wanted = new Set(values.systems.split(","));
/** How frames come into a node, by the names of `--systems`. */
const nodes = { node: "af-xdp", packet: "packet", segments: "segments" };
const titles = { node: "node", packet: "node, packet sockets", segments: "node, packet sockets with segments" };

const capabilities = probe();
const missing = [capabilities.namespaces, capabilities.xdp, capabilities.launcher].find((found) => !found.available);
if (missing !== undefined || !hasProgram("cc")) {
  console.log(`node-forward needs root, AF_XDP and cc: ${missing?.reason ?? "there is no cc"}`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), "portolan-node-forward-"));

function compile(name) {
  const source = fileURLToPath(new URL(`${name}.c`, import.meta.url));
  const output = join(folder, name);
  const made = spawnSync("cc", ["-O2", "-march=native", "-Wall", "-o", output, source], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`cc could not compile ${name}.c:\n${made.stderr}`);
  return output;
}

/** Packets that came in on a namespace's eth0. */
const receivedBy = (namespace) =>
  namespace.run(() => {
    const line = /eth0: *\d+ +(\d+)/.exec(readFileSync("/proc/thread-self/net/dev", "utf8"));
    return Number(line[1]);
  });

const drop = `table netdev bench { chain in { type filter hook ingress device "eth0" priority 0; udp dport 9001-9003 drop; }; }`;

const measures = {
  /** Datagrams as fast as one sender can; the backend drops them at its door. */
  async flood(system, load) {
    await runProgram(system.backend, ["nft", "-f", "-"], drop);
    try {
      const [packets, used] = [receivedBy(system.backend), await system.forwarder()];
      const sent = await load("flood", seconds, flows);
      // What is under way arrives.
      await delay(50);
      const delivered = receivedBy(system.backend) - packets;
      const forwarder = ((await system.forwarder()) - used) / delivered;
      return {
        "thousand packets per second": delivered / sent.nanoseconds / 1e-6,
        "delivered of sent, %": (100 * delivered) / sent.sent,
        "ns of the forwarder per packet": forwarder,
        "ns of sender and forwarder per packet": sent.processor / delivered + forwarder,
      };
    } finally {
      await runProgram(system.backend, ["nft", "delete", "table", "netdev", "bench"]);
    }
  },
  async connect(system, load) {
    const used = await system.forwarder();
    const { made, failed, nanoseconds } = await load("connect", seconds, parallel);
    return {
      "TCP connections per second": made / nanoseconds / 1e-9,
      "failed connections": failed,
      "µs of the forwarder per connection": ((await system.forwarder()) - used) / made / 1000,
    };
  },
  async roundtrip(_system, load) {
    const { p50, p99, lost } = await load("roundtrip", seconds);
    return { "round trip p50, µs": p50 / 1000, "round trip p99, µs": p99 / 1000, "round trips lost": lost };
  },
  async bulk(system, load) {
    const used = await system.forwarder();
    const { octets, nanoseconds } = await load("bulk", seconds);
    return {
      "TCP Gbit/s": (8 * octets) / nanoseconds,
      "ns of the forwarder per KiB": ((await system.forwarder()) - used) / (octets / 1024),
    };
  },
};

async function compare() {
  heading("node-forward");
  const [loadProgram, forwarder] = [compile("load"), compile("af-xdp-forwarder")];
  const systems = [];
  try {
    const candidates = [];
    for (const count of values.services.split(",").map(Number)) {
      if (wanted.has("c")) candidates.push(["AF_XDP in C", count, (services) => startAfXdp(services, forwarder)]);
      if (wanted.has("nftables") && hasProgram("nft")) candidates.push(["nftables", count, startNftables]);
      if (wanted.has("iptables") && hasProgram("iptables-restore")) candidates.push(["iptables", count, startIptables]);
      for (const [name, frames] of Object.entries(nodes)) {
        if (wanted.has(name)) candidates.push([titles[name], count, () => startNode(count, { frames })]);
      }
    }
    for (const [kind, count, start] of candidates) {
      const name = `${kind}, ${count} Services`;
      const system = await start(count);
      systems.push({ name, count, system, results: new Map() });
      if (system.loadSeconds !== undefined) report(`${name}: seconds to load`, system.loadSeconds.toFixed(3));
      system.server = await startProgram(system.backend, [loadProgram, "serve", ...endpointPorts.map(String)]);
    }
    for (let round = 0; round <= rounds; round++) {
      for (const measure of values.measures.split(",")) {
        for (const { system, results } of systems) {
          const load = async (role, ...more) => {
            const target = [service.address, `${service.port}`];
            return JSON.parse(await runProgram(system.client, [loadProgram, role, ...target, ...more.map(String)]));
          };
          const figures = await measures[measure](system, load);
          // The first round warms up.
          if (round === 0) continue;
          for (const [figure, value] of Object.entries(figures)) {
            const key = `${measure}\0${figure}`;
            if (!results.has(key)) results.set(key, []);
            results.get(key).push(value);
          }
        }
      }
    }
    print(systems);
    await idle(systems);
  } finally {
    for (const { system } of systems.reverse()) {
      await system.server?.end();
      await system.close();
    }
  }
}

/**
 * A table a figure: each system's minimum, median and maximum, and the median of its ratios to the first one with as many Services,
 * round by round: what was started later is slower, whatever it is.
 */
function print(systems) {
  for (const key of systems[0].results.keys()) {
    console.log(
      `\n${key.split("\0")[1]} (minimum / median / maximum; × to the first with as many Services, median of rounds)`,
    );
    for (const { name, count, results } of systems) {
      const first = systems.find((system) => system.count === count).results.get(key);
      const samples = results.get(key);
      const ratio = quantile(
        samples.map((value, round) => value / first[round]),
        0.5,
      );
      report(
        `  ${name}`,
        `${spread(samples, samples[0] < 100 ? 2 : 0)}  ${Number.isFinite(ratio) ? `×${ratio.toFixed(2)}` : ""}`,
      );
    }
  }
}

async function idle(systems) {
  console.log("\nnobody sends (3 s): % of a processor that the forwarder uses");
  for (const { name, system } of systems) {
    const [began, used] = [performance.now(), await system.forwarder()];
    await delay(3000);
    const share = ((await system.forwarder()) - used) / (performance.now() - began) / 1e4;
    report(`  ${name}`, share.toFixed(2));
  }
}

try {
  await compare();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
