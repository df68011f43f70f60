// Everything that CI checks beside the tests: levels, format, lint, types, unused code, package contents.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const env = { ...process.env, TURBO_TELEMETRY_DISABLED: "1", DO_NOT_TRACK: "1" };
const failures = [];

function step(name, command, args, cwd = root) {
  const started = Date.now();
  const result = spawnSync(command, args, { cwd, env, encoding: "utf8" });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const ok = result.status === 0;
  console.log(`${ok ? "ok  " : "FAIL"} ${name} (${seconds} s)`);
  if (!ok) {
    failures.push(name);
    console.log(`${result.stdout ?? ""}${result.stderr ?? ""}`.trimEnd());
  }
}

const bin = (name) => join(root, "node_modules", ".bin", name);
step("build", bin("turbo"), ["run", "build", "--output-logs=errors-only"]);
step("types", bin("tsc"), ["-b"]);
step("types of tests", bin("tsc"), ["-p", "tsconfig.test.json"]);
step("levels", bin("turbo"), ["boundaries"]);
step("format and lint", bin("biome"), ["ci", "."]);
step("unused code", bin("knip"), []);
for (const folder of readdirSync(join(root, "packages")).sort()) {
  const cwd = join(root, "packages", folder);
  const manifest = JSON.parse(readFileSync(join(cwd, "package.json"), "utf8"));
  if (manifest.private) continue;
  step(`publint ${manifest.name}`, bin("publint"), ["--strict"], cwd);
  const assets = Object.keys(manifest.exports).filter((key) => key.endsWith(".wasm"));
  const exclude = assets.length > 0 ? ["--exclude-entrypoints", ...assets] : [];
  step(`attw ${manifest.name}`, bin("attw"), ["--pack", "--profile", "esm-only", ...exclude], cwd);
}
if (failures.length > 0) {
  console.log(`\n${failures.length} failed: ${failures.join(", ")}`);
  process.exit(1);
}
console.log("\neverything in order");
