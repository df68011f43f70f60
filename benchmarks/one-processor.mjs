import { spawnSync } from "node:child_process";
import { cpus } from "node:os";

/**
 * Prints how many nanoseconds a fixed amount of work takes: the median of many tries. Its eight chains keep all of a core busy, so that
 * it tells when a neighbour has the other half of the core.
 */
const work = `const times = [];
for (let n = 0; n < 25; n++) {
  const started = process.hrtime.bigint();
  let [a, b, c, d, e, f, g, h] = [1, 2, 3, 4, 5, 6, 7, 8];
  for (let i = 0; i < 2e6; i++) {
    a = (Math.imul(a, 48271) ^ (a >>> 7)) + i | 0;
    b = (Math.imul(b, 48271) ^ (b >>> 7)) + i | 0;
    c = (Math.imul(c, 48271) ^ (c >>> 7)) + i | 0;
    d = (Math.imul(d, 48271) ^ (d >>> 7)) + i | 0;
    e = (Math.imul(e, 48271) ^ (e >>> 7)) + i | 0;
    f = (Math.imul(f, 48271) ^ (f >>> 7)) + i | 0;
    g = (Math.imul(g, 48271) ^ (g >>> 7)) + i | 0;
    h = (Math.imul(h, 48271) ^ (h >>> 7)) + i | 0;
  }
  times.push(Number(process.hrtime.bigint() - started));
  if ((a ^ b ^ c ^ d ^ e ^ f ^ g ^ h) === 0.5) times.pop();
}
times.sort((a, b) => a - b);
console.log(times[times.length >> 1]);`;

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
