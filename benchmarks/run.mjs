// `pnpm bench` lists the benchmarks, `pnpm bench NAME [ARGS]` runs one.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = dirname(fileURLToPath(import.meta.url));
const [name, ...args] = process.argv.slice(2);
const names = readdirSync(folder).filter((entry) => existsSync(join(folder, entry, "run.mjs")));
if (name === undefined || !names.includes(name)) {
  console.log(`benchmarks: ${names.join(", ")}\nrun one with: pnpm bench NAME`);
  process.exit(name === undefined ? 0 : 2);
}
/** What the kernel's side needs beside what tests do. */
const programs = { "node-forward": ["nft", "iptables-restore"], "table-swap": ["nft", "iptables-restore"] }[name];
if (programs !== undefined)
  spawnSync(process.execPath, [join(dirname(folder), "scripts", "test-programs.mjs"), ...programs], {
    stdio: "inherit",
  });
const run = spawnSync(process.execPath, [join(folder, name, "run.mjs"), ...args], { stdio: "inherit" });
process.exit(run.status ?? 1);
