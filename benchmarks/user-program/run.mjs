import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { batchVerdicts, createDataplane } from "@portolan/dataplane";
import { attachProgram } from "@portolan/dataplane/sdk";
import asc from "assemblyscript/asc";
import { heading, quantile, report } from "../figures.mjs";

const sdk = dirname(dirname(fileURLToPath(import.meta.resolve("@portolan/dataplane"))));
const batch = 64;
const rounds = Number(process.argv[2] ?? 25);
const batches = 400;

/** Compiles an example of the SDK, or a text beside them. */
async function compile(name, text) {
  let bytes;
  const { error, stderr } = await asc.main(
    [name, "--baseDir", `${sdk}/sdk/examples`, "--config", "../asconfig.json", "--target", "release", "-o", "out.wasm"],
    {
      ...(text === undefined ? {} : { readFile: await withText(name, text) }),
      writeFile: (file, contents) => {
        if (file.endsWith(".wasm")) bytes = contents;
      },
    },
  );
  if (error !== null) throw new Error(`${name}: ${error.message}\n${stderr.toString()}`);
  return bytes;
}

async function withText(name, text) {
  const { readFile } = await import("node:fs/promises");
  const { resolve } = await import("node:path");
  return async (file, base) =>
    file === name ? text : await readFile(resolve(base ?? ".", file), "utf8").catch(() => null);
}

const empty = await compile(
  "empty.ts",
  'import { contextOf } from "../index"; export function program(a: usize): u32 { return contextOf(a).verdict; }',
);
const limiter = await compile("rate-limiter.ts");
const mirror = await compile("port-mirror.ts");
const words = ({ memory }) => new DataView(memory.buffer, memory.byteOffset);

function world(attach) {
  const dataplane = createDataplane({ seed: 1 });
  dataplane.configureNode({ addresses: ["192.168.0.1"], clusterCIDRs: ["10.244.0.0/16"] });
  dataplane.setPort(0, { mac: "02:00:00:00:00:01", kind: "pod" });
  dataplane.setPort(1, { mac: "02:00:00:00:00:02", kind: "uplink" });
  dataplane.setRoute("0.0.0.0/0", { port: 1, nextHopMac: "02:00:00:00:00:09" });
  dataplane.replaceServicePorts(
    Array.from({ length: 1000 }, (_, i) => ({
      id: `service-${i}`,
      family: "IPv4",
      protocol: "UDP",
      frontends: [{ kind: "ClusterIP", address: `10.96.${i >> 8}.${i & 255}`, port: 80 }],
      cluster: [1, 2, 3].map((e) => ({ address: `10.24${e}.${i >> 8}.${i & 255}`, port: 8080 })),
      local: [],
      hasAny: true,
      internalTrafficPolicy: "Cluster",
      externalTrafficPolicy: "Cluster",
    })),
  );
  return { dataplane, after: attach?.(dataplane) ?? (() => {}), callback: undefined, samples: [] };
}

const worlds = {
  "no program": world(),
  "one that does nothing, before": world((dataplane) => void attachProgram(dataplane, empty)),
  "one that does nothing, after": world((dataplane) => void attachProgram(dataplane, empty, { hook: "after" })),
  "rate limiter": world((dataplane) => {
    const program = attachProgram(dataplane, limiter, { memory: 65_536 });
    words(program).setUint32(0, 1_000_000, true);
    words(program).setUint32(4, 1_000_000, true);
  }),
  "port mirror, nothing to copy": world(
    (dataplane) => void attachProgram(dataplane, mirror, { hook: "after", memory: 65_536 }),
  ),
  "port mirror, copies all": world((dataplane) => {
    const program = attachProgram(dataplane, mirror, { hook: "after", memory: 65_536 });
    words(program).setUint32(0, 8080, true);
    // The host has read everything.
    return () => words(program).setUint32(64 + 4, words(program).getUint32(64, true), true);
  }),
  "peer: a JavaScript function per frame": { ...world(), callback: (verdict) => verdict },
};

let seed = 20_261_124;
const random = (below) => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return (seed >>> 8) % below;
};

function runBatch({ dataplane, after, callback }, now) {
  const { descriptors, frames, memory } = dataplane;
  const view = new DataView(memory.buffer);
  const u8 = new Uint8Array(memory.buffer);
  for (let i = 0; i < batch; i++) {
    const flow = random(1000);
    const at = frames.address + i * frames.size;
    u8.fill(0, at, at + 64);
    u8.set([2, 0, 0, 0, 0, 1], at);
    view.setUint16(at + 12, 0x0800);
    u8.set([0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17], at + 14);
    view.setUint32(at + 26, 0x0af40101);
    view.setUint32(at + 30, 0x0a600000 + flow);
    let sum = 0;
    for (let word = 14; word < 34; word += 2) sum += view.getUint16(at + word);
    view.setUint16(at + 24, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
    view.setUint16(at + 34, 1000 + flow);
    view.setUint16(at + 36, 80);
    view.setUint16(at + 38, 30);
    descriptors.frame[i] = at;
    descriptors.length[i] = 64;
    descriptors.ingress[i] = 0;
  }
  const started = performance.now();
  dataplane.ingress(batch, now);
  if (callback !== undefined) {
    for (let i = 0; i < batch; i++) {
      const { frame, length, verdict } = descriptors;
      verdict[i] = callback(verdict[i], u8.subarray(frame[i], frame[i] + length[i]));
    }
  }
  const elapsed = performance.now() - started;
  after();
  for (let i = 0; i < batch; i++) {
    if (descriptors.verdict[i] !== batchVerdicts.REDIRECT) throw new Error(`verdict ${descriptors.verdict[i]}`);
  }
  return (elapsed * 1e6) / batch;
}

heading("user-program");
let now = 1;
for (let round = -5; round < rounds; round++) {
  for (const each of Object.values(worlds)) {
    now += 0.25;
    const samples = Array.from({ length: batches }, (_, i) => runBatch(each, now + i / 2000));
    if (round >= 0) each.samples.push(quantile(samples, 0.5));
  }
}
const base = worlds["no program"].samples;
for (const [name, { samples }] of Object.entries(worlds)) {
  const more = quantile(
    samples.map((value, i) => value - base[i]),
    0.5,
  );
  report(name, `${quantile(samples, 0.5).toFixed(1)} ns/packet${samples === base ? "" : `, ${more.toFixed(1)} more`}`);
}
