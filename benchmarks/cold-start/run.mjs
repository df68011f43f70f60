import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const main = join(root, "apps", "local-cluster", "dist", "main.js");
const runs = 3;
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

if (!existsSync(main)) {
  console.error("cold-start: nothing is built; run `pnpm build` first");
  process.exit(1);
}

/** Runs a command and gives the milliseconds until each marker was printed, and until it ended. */
function time(command, args, markers, options = {}) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    const seen = {};
    let text = "";
    const read = (chunk) => {
      text += chunk;
      for (const [name, marker] of Object.entries(markers)) {
        if (seen[name] === undefined && text.includes(marker)) seen[name] = performance.now() - started;
      }
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("exit", (code) => {
      if (code === 0) resolve({ ...seen, end: performance.now() - started });
      else reject(new Error(`${command} ${args.join(" ")} ended with ${code}:\n${text.slice(-2000)}`));
    });
  });
}

const floorProgram = `
const { createServer } = require("node:net");
const server = createServer((socket) => socket.end("ok")).listen(0, "127.0.0.1", () => {
  require("node:net").connect(server.address().port, "127.0.0.1").on("data", () => process.exit(0));
});`;

console.log(
  `cold-start: Node ${process.versions.node}, ${cpus().length} × ${cpus()[0].model}, ${new Date().toISOString()}`,
);
const floors = [];
for (let i = 0; i < runs; i++) floors.push((await time(process.execPath, ["-e", floorProgram], {})).end);
const floor = median(floors);
console.log(`bare Node, one listener, one answer: ${floor.toFixed(0)} ms (median of ${runs})`);

const modes = process.platform === "linux" && process.getuid?.() === 0 ? ["netns", "gateway"] : ["gateway"];
for (const mode of modes) {
  const samples = [];
  for (let i = 0; i < runs; i++) {
    const directory = mkdtempSync(join(tmpdir(), "portolan-bench-"));
    try {
      samples.push(
        await time(process.execPath, [main, "--once", "--mode", mode, "--directory", join(directory, "run")], {
          api: "API server ready",
          table: "SERVICE ",
        }),
      );
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }
  for (const [name, what] of [
    ["api", "API server ready for kubectl"],
    ["table", "table printed"],
    ["end", "everything ended again"],
  ]) {
    const values = samples.map((sample) => sample[name]);
    const range = `${Math.min(...values).toFixed(0)}–${Math.max(...values).toFixed(0)}`;
    console.log(
      `${mode.padEnd(8)} ${what.padEnd(30)} ${median(values).toFixed(0).padStart(6)} ms (${range}; ×${(median(values) / floor).toFixed(1)} bare Node)`,
    );
  }
}

if (process.argv.includes("--fresh")) {
  const directory = mkdtempSync(join(tmpdir(), "portolan-fresh-"));
  try {
    spawnSync("git", ["clone", "--quiet", root, join(directory, "clone")], { stdio: "inherit" });
    const { end } = await time("npm", ["start", "--silent", "--", "--once"], {}, { cwd: join(directory, "clone") });
    console.log(`fresh clone: npm start -- --once  ${(end / 1000).toFixed(1)} s`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
