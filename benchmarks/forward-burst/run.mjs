import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createDataplane } from "@portolan/dataplane";
import { heading, quantile, report } from "../figures.mjs";
import { onOneProcessor } from "../one-processor.mjs";
import { Bursts, burst } from "./bursts.mjs";
import { obstacle, ofMinimal, ofPortolan } from "./instructions.mjs";
import { MapsTarget } from "./maps.mjs";
import { compile, MinimalTarget } from "./minimal.mjs";
import { PortolanTarget } from "./portolan.mjs";

if (globalThis.gc === undefined) {
  const args = ["--expose-gc", "--max-old-space-size=3072", fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const [command, ...rest] = [...onOneProcessor(), process.execPath, ...args];
  process.exit(spawnSync(command, rest, { stdio: "inherit" }).status ?? 1);
}

/** What is recorded by who does not ask for an event per connection. */
const silently = ["drop", "reject"];
const established = ["forward", "reply", "mixed"];
const median = (values) => quantile(values, 0.5);
const number = (n) => n.toLocaleString("en");
const nanoseconds = (values) => `${median(values).toFixed(1)} ns`;
/** Median of the ratios within each round. */
const ratio = (ours, theirs) => `×${median(ours.map((value, i) => value / theirs[i])).toFixed(2)}`;

/**
 * Measures implementations in turn, round after round. `opens` is how often all flows are opened in a round, of which the median
 * counts. Samples by implementation and kind.
 */
async function rounds(implementations, count, { opens, bursts }) {
  const samples = Object.fromEntries(
    Object.keys(implementations).map((name) => [name, { new: [], forward: [], reply: [], mixed: [] }]),
  );
  for (let round = -1; round < count; round++) {
    for (const [name, implementation] of Object.entries(implementations)) {
      const opened = [];
      for (let n = 0; n < opens; n++) opened.push(await implementation.open());
      const ran = [];
      for (const kind of established) ran.push(await implementation.run(kind, bursts));
      if (round < 0) continue;
      samples[name].new.push(median(opened));
      for (const [i, kind] of established.entries()) samples[name][kind].push(ran[i]);
    }
  }
  return samples;
}

const compiled = compile();
if (compiled.program === undefined) report("minimal C", `skipped: ${compiled.reason}`);

async function compare(serviceCount, flowCount, count, effort, { maps = false, staged = false } = {}) {
  const implementations = {
    portolan: new Bursts(new PortolanTarget(serviceCount, flowCount), flowCount, serviceCount),
  };
  const children = [];
  const minimal = (...variant) => {
    const child = new MinimalTarget(compiled.program, serviceCount, flowCount, ...variant);
    children.push(child);
    return child;
  };
  if (compiled.program !== undefined) {
    implementations["C, Service first"] = minimal("service");
    implementations["C, connection first"] = minimal("connection");
    if (staged) implementations["C, connection first, prefetching"] = minimal("connection", "staged");
  }
  if (maps) {
    const silent = new PortolanTarget(serviceCount, flowCount, silently);
    implementations["portolan, connections without events"] = new Bursts(silent, flowCount, serviceCount);
    implementations["JavaScript over Map"] = new Bursts(new MapsTarget(serviceCount), flowCount, serviceCount);
  }
  const samples = await rounds(implementations, count, effort);
  for (const child of children) child.close();
  console.log(`\n${number(serviceCount)} Services × ${number(flowCount)} flows (${count} rounds)`);
  for (const [name, kinds] of Object.entries(samples)) {
    for (const [kind, values] of Object.entries(kinds)) {
      const ours = samples.portolan[kind];
      report(
        `  ${name}: ${kind}`,
        name === "portolan" ? nanoseconds(values) : `${nanoseconds(values)}; Portolan ${ratio(ours, values)}`,
      );
    }
  }
}

async function flatness(label, few, many, count, effort, events) {
  const targets = {
    few: new Bursts(new PortolanTarget(...few, events), few[1], few[0]),
    many: new Bursts(new PortolanTarget(...many, events), many[1], many[0]),
  };
  const samples = await rounds(targets, count, effort);
  console.log(`\n${label}`);
  for (const kind of ["new", "mixed"]) {
    report(
      `  ${kind}`,
      `${nanoseconds(samples.few[kind])} → ${nanoseconds(samples.many[kind])}, ${ratio(samples.many[kind], samples.few[kind])}`,
    );
  }
}

heading("forward-burst");
const quick = process.argv.includes("--quick");
const n = quick ? 3 : 9;
await compare(1000, 1000, n, { opens: 15, bursts: 1000 }, { maps: true });
await compare(1000, 100_000, quick ? 2 : 5, { opens: 1, bursts: 1000 }, { staged: true });
await compare(1000, 1_000_000, quick ? 1 : 3, { opens: 1, bursts: 1500 }, { staged: true });
await flatness("10 → 100,000 Services, 1,000 flows", [10, 1000], [100_000, 1000], n, { opens: 15, bursts: 1000 });
const silentLabel = "10 → 100,000 Services, 1,000 flows, connections without events";
await flatness(silentLabel, [10, 1000], [100_000, 1000], n, { opens: 15, bursts: 1000 }, silently);
await flatness("1,000 → 1,000,000 flows, 1,000 Services", [1000, 1000], [1000, 1_000_000], quick ? 1 : 3, {
  opens: 1,
  bursts: 1500,
});

console.log("\nInstructions a packet (callgrind), 100 Services × 100 flows");
const why = obstacle();
if (why !== undefined) report("  skipped", why);
else {
  report("  portolan: forward", ofPortolan("forward").toFixed(0));
  if (compiled.program !== undefined) {
    for (const variant of ["service", "connection"]) {
      report(
        `  C, ${variant} first: forward, with its copying`,
        ofMinimal(compiled.program, "forward", variant).toFixed(0),
      );
    }
  }
}
compiled.remove();

console.log("\nMemory, size, calls");
const octets = (capacity) => createDataplane({ capacity }).size().memory;
const flows = 2 ** 19;
report(
  "  octets a flow, both directions",
  ((octets({ connections: 2 * flows }) - octets({ connections: flows })) / flows).toFixed(1),
);
const services = 2 ** 15;
const sized = (k, endpoints = 3) =>
  octets({ servicePorts: k * services, backends: endpoints * k * services, frontends: k * services });
report("  octets a Service with three endpoints", ((sized(2) - sized(1)) / services).toFixed(1));
report("  one more endpoint", ((sized(1, 4) - sized(1)) / services).toFixed(1));
report(
  "  a policy Local, affinity, source ranges or a scheduler",
  ((octets({ extensions: 2 * services }) - octets({ extensions: services })) / services).toFixed(1),
);
report(
  "  an IPv6 address of a Service or endpoint",
  ((octets({ ipv6Addresses: 2 * services }) - octets({ ipv6Addresses: services })) / services).toFixed(1),
);

const target = new PortolanTarget(1000, 1000);
const driver = new Bursts(target, 1000, 1000);
driver.open();
driver.run("mixed", 200);
globalThis.gc();
const before = process.memoryUsage().heapUsed;
const calls = 2000;
for (let i = 0; i < calls; i++) target.process(burst);
const grown = process.memoryUsage().heapUsed - before;
report(`  octets of heap a call of ${burst} packets, before any collection`, (grown / calls).toFixed(0));

const wasm = readFileSync(new URL(import.meta.resolve("@portolan/dataplane/dataplane.wasm")));
report("  Wasm module", `${number(wasm.length)} octets`);
const timed = (work) => {
  const samples = [];
  for (let i = 0; i < 21; i++) {
    const started = performance.now();
    work();
    samples.push(performance.now() - started);
  }
  return median(samples);
};
// Node keeps what it compiled by content: a custom section with a number makes each a module of its own.
let module = 0;
const compileAnew = () => {
  const section = Uint8Array.of(0, 6, 1, 0x6e, ...new Uint8Array(Uint32Array.of(module++).buffer));
  return new WebAssembly.Module(Buffer.concat([wasm, section]));
};
report("  compiling it", `${timed(compileAnew).toFixed(1)} ms`);
report("  creating a dataplane of default capacity", `${timed(() => createDataplane()).toFixed(1)} ms`);
const empty = 1_000_000;
report(
  "  a call without frames; it looks at 16 records for expiry",
  `${(
    (timed(() => {
      for (let i = 0; i < empty; i++) target.process(0);
    }) *
      1e6) /
      empty
  ).toFixed(1)} ns`,
);
report("  packets a call", String(burst));
