// Sets up a fresh clone with nothing but Node and npm, then runs what was asked for: `start`, `test` or `setup`.
// Everything it fetches stays below .cache/ in the clone.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [task = "setup", ...args] = process.argv.slice(2);

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(
    `portolan: Node ${process.versions.node} is too old; install Node 20.19 or newer (https://nodejs.org).`,
  );
  process.exit(1);
}
process.chdir(root);

const manifest = JSON.parse(readFileSync("package.json", "utf8"));
const pnpmVersion = manifest.packageManager.split("@")[1];
const tools = join(root, ".cache", "tools");
const pnpm = join(tools, "node_modules", ".bin", process.platform === "win32" ? "pnpm.cmd" : "pnpm");
const env = {
  ...process.env,
  TURBO_TELEMETRY_DISABLED: "1",
  DO_NOT_TRACK: "1",
  XDG_CACHE_HOME: join(root, ".cache", "xdg"),
  XDG_DATA_HOME: join(root, ".cache", "xdg"),
  XDG_STATE_HOME: join(root, ".cache", "xdg"),
  XDG_CONFIG_HOME: join(root, ".cache", "xdg"),
  npm_config_cache: join(root, ".cache", "npm"),
  // Programs of the machine come before those that test-programs.mjs fetched.
  PATH: [join(tools, "node_modules", ".bin"), process.env.PATH, join(tools, "bin")].join(delimiter),
};

/** Runs one command with its output shown; ends this process with its exit code when it fails. */
function run(command, commandArgs, what, options = {}) {
  const result = spawnSync(command, commandArgs, {
    stdio: "inherit",
    env,
    shell: process.platform === "win32",
    ...options,
  });
  if (result.error || result.status !== 0) {
    if (what) {
      const reason =
        result.error?.message ?? (result.signal ? `ended by ${result.signal}` : `exit code ${result.status}`);
      console.error(
        `portolan: ${what} failed (${reason}). The lines above say why; when it is mended, run the same command again.`,
      );
    }
    process.exit(result.status || 1);
  }
}

const started = Date.now();
const step = (text) => console.log(`[${((Date.now() - started) / 1000).toFixed(1).padStart(5)} s] ${text}`);

const installedPnpm = join(tools, "node_modules", "pnpm", "package.json");
if (!existsSync(installedPnpm) || JSON.parse(readFileSync(installedPnpm, "utf8")).version !== pnpmVersion) {
  step(`fetching pnpm ${pnpmVersion} into .cache/tools`);
  mkdirSync(tools, { recursive: true });
  writeFileSync(join(tools, "package.json"), JSON.stringify({ name: "portolan-tools", private: true }));
  run(
    "npm",
    ["install", "--prefix", tools, "--no-save", "--no-audit", "--no-fund", "--loglevel=error", `pnpm@${pnpmVersion}`],
    "fetching pnpm",
  );
}

const lock = existsSync("pnpm-lock.yaml") ? readFileSync("pnpm-lock.yaml", "utf8") : "";
const stamp = join(root, "node_modules", ".portolan-lock");
if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== lock) {
  step("installing dependencies");
  run(pnpm, ["install", "--frozen-lockfile", "--reporter=append-only", "--loglevel=warn"], "installing dependencies");
  writeFileSync(stamp, lock);
}

if (task === "start") {
  step("building what the local cluster needs");
  run(pnpm, ["exec", "turbo", "run", "build", "--filter=local-cluster", "--output-logs=hash-only"], "the build");
  step("starting");
  // Signals reach the whole foreground process group; this process waits for the cluster to clean up after itself.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
  run(process.execPath, ["apps/local-cluster/dist/main.js", ...args], undefined);
} else if (task === "test") {
  step("preparing the machine's test programs");
  run(process.execPath, ["scripts/test-programs.mjs"], "preparing the test programs");
  step("building");
  run(pnpm, ["exec", "turbo", "run", "build", "--output-logs=hash-only"], "the build");
  step("testing");
  run(process.execPath, ["scripts/test.mjs", ...args], undefined);
} else if (task !== "setup") {
  console.error(`portolan: no task "${task}"; there are start, test and setup.`);
  process.exit(2);
}
