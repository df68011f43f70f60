import { cpus } from "node:os";

/** The value below which the fraction `q` of the samples lies. */
export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];
}

/** Minimum, median and maximum as text. */
export function spread(values, digits = 0) {
  return [0, 0.5, 1].map((q) => quantile(values, q).toFixed(digits)).join(" / ");
}

export function report(label, text) {
  console.log(`${label.padEnd(48)} ${text}`);
}

export function heading(name) {
  console.log(
    `${name}: Node ${process.versions.node}, ${cpus().length} × ${cpus()[0].model}, ${new Date().toISOString()}`,
  );
}

/** Octets that live after a collection; run Node with --expose-gc. */
export function liveOctets() {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

export const mebibytes = (octets) => `${(octets / 2 ** 20).toFixed(0)} MiB`;
