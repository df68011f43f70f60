import { spawnSync } from "node:child_process";
import { cpus } from "node:os";

/** Nanoseconds that a fixed amount of work takes on a processor: the least of ten tries. */
const work = `let best = Infinity;
for (let n = 0; n < 10; n++) {
  const started = process.hrtime.bigint();
  for (let i = 0, x = 1; i < 5e6; i++) x = Math.imul(x, 48271) ^ (x >>> 7);
  best = Math.min(best, Number(process.hrtime.bigint() - started));
}
console.log(best);`;

/**
 * Command that runs a program and its children on one processor, so that all peers have the same: neighbours on a host that is shared
 * slow processors down one by one. It is the one that is fastest now. Empty without taskset, or where there is only one.
 */
export function onOneProcessor() {
  if (cpus().length === 1) return [];
  const times = cpus().map((_, index) => {
    const { status, stdout } = spawnSync("taskset", ["-c", String(index), process.execPath, "-e", work], {
      encoding: "utf8",
    });
    return status === 0 ? Number(stdout) : Number.POSITIVE_INFINITY;
  });
  const best = times.indexOf(Math.min(...times));
  if (!Number.isFinite(times[best])) return [];
  console.log(
    `on processor ${best}; a loop takes ${times.map((time) => `${(time / 1e6).toFixed(1)} ms`).join(", ")} on each`,
  );
  return ["taskset", "-c", String(best)];
}
