// Builds an app with what it depends on and runs it: `node scripts/run-app.mjs conformance dns cases.jsonl`.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [app, ...args] = process.argv.slice(2);
const build = spawnSync("pnpm", ["exec", "turbo", "run", "build", `--filter=${app}`, "--output-logs=errors-only"], {
  cwd: root,
  stdio: ["ignore", "ignore", "inherit"],
  env: { ...process.env, TURBO_TELEMETRY_DISABLED: "1" },
});
if (build.status !== 0) {
  console.error(`portolan: the build of ${app} failed; \`pnpm exec turbo run build --filter=${app}\` shows why.`);
  process.exit(1);
}
const run = spawnSync(process.execPath, [join(root, "apps", app, "dist", "main.js"), ...args], { stdio: "inherit" });
process.exit(run.status ?? 1);
