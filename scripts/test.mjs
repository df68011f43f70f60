// Runs all tests and ends with counts per layer, the skipped tests with their reasons, and a line "N passed, N failed".
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const report = join(root, "report.json");
rmSync(report, { force: true });
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
const run = spawnSync(
  process.execPath,
  [vitest, "run", "--reporter=default", "--reporter=json", `--outputFile=${report}`, ...process.argv.slice(2)],
  { cwd: root, stdio: "inherit" },
);
if (!existsSync(report)) {
  console.error("portolan: the test runner ended without a report; its output above says why.");
  console.log("0 passed, 1 failed");
  process.exit(run.status || 1);
}
const results = JSON.parse(readFileSync(report, "utf8"));
const layers = new Map();
const skipped = [];
let failed = 0;
for (const file of results.testResults) {
  const parts = relative(root, file.name).split("/");
  const layer = parts[0] === "test" ? "journeys" : parts.slice(0, 2).join("/");
  const count = layers.get(layer) ?? { passed: 0, failed: 0, skipped: 0 };
  layers.set(layer, count);
  // A file that could not be loaded has no tests in it, and is a failure all the same.
  if (file.status === "failed" && file.assertionResults.every((test) => test.status !== "failed")) count.failed++;
  for (const test of file.assertionResults) {
    if (test.status === "passed") count.passed++;
    else if (test.status === "failed") count.failed++;
    else {
      count.skipped++;
      skipped.push(`${layer}: ${test.fullName}`);
    }
  }
}
let passed = 0;
console.log("\nlayer                       passed  failed  skipped");
for (const [layer, count] of [...layers].sort()) {
  const cell = (n) => String(n).padStart(8);
  console.log(`${layer.padEnd(26)}${cell(count.passed)}${cell(count.failed)}${cell(count.skipped)}`);
  passed += count.passed;
  failed += count.failed;
}
if (skipped.length > 0) console.log(`\nskipped:\n${skipped.map((line) => `  ${line}`).join("\n")}`);
if (run.status !== 0 && failed === 0) failed = 1;
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
