import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Bursts, burst } from "./bursts.mjs";
import { PortolanTarget } from "./portolan.mjs";

const program = fileURLToPath(import.meta.url);
const node = [
  "--no-liftoff",
  "--no-wasm-tier-up",
  "--predictable-gc-schedule",
  "--single-threaded",
  "--random-seed=1",
  "--hash-seed=1",
];

function count(command, input) {
  const valgrind = ["-R", "valgrind", "--tool=callgrind", "--smc-check=all-non-file", "--callgrind-out-file=/dev/null"];
  const { stderr, error, status } = spawnSync("setarch", [...valgrind, ...command], { input, encoding: "utf8" });
  if (error !== undefined) throw error;
  const collected = /Collected : (\d+)/.exec(stderr);
  if (collected === null || status !== 0) throw new Error(stderr.slice(-500));
  return Number(collected[1]);
}

/** Why instructions cannot be counted here; undefined when they can. */
export function obstacle() {
  if (spawnSync("valgrind", ["--version"]).status !== 0) return "no valgrind";
  if (spawnSync("setarch", ["-R", "true"]).status !== 0) return "no setarch -R";
  return undefined;
}

/** Instructions a packet: of two run lengths the difference, less the same without packets. The JIT's own work falls out. */
export function ofPortolan(kind, few = 800, many = 1600) {
  const run = (bursts, processed) =>
    count([process.execPath, ...node, program, kind, String(bursts), String(processed)]);
  const packets = (many - few) * burst;
  return (run(many, burst) - run(few, burst) - (run(many, 0) - run(few, 0))) / packets;
}

/** The same of the C pipeline; its copying of frames is some ten instructions that are not taken out. */
export function ofMinimal(compiled, kind, variant, few = 100, many = 300) {
  const run = (bursts) => count([compiled, "100", "100", variant], `new\n${kind} ${bursts}\n`);
  return (run(many) - run(few)) / ((many - few) * burst);
}

// The run that is counted: this file as a program, KIND BURSTS PROCESSED.
if (process.argv[1] === program) {
  const [kind, bursts, processed] = process.argv.slice(2);
  const driver = new Bursts(new PortolanTarget(100, 100), 100, 100);
  driver.open();
  driver.run(kind, Number(bursts), Number(processed));
}
