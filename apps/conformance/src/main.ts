import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import type { Area, CaseResult } from "./area.ts";
import { judge, readExpectedDifferences, unknownDifferences } from "./expected-differences.ts";

const areas: Record<string, () => Promise<{ area: Area }>> = {
  api: () => import("./areas/api.ts"),
  kubectl: () => import("./areas/kubectl.ts"),
  "control-plane": () => import("./areas/control-plane.ts"),
  controllers: () => import("./areas/controllers.ts"),
  proxy: () => import("./areas/proxy.ts"),
  dataplane: () => import("./areas/dataplane.ts"),
  dns: () => import("./areas/dns.ts"),
  "dns-malformed": () => import("./areas/dns-malformed.ts"),
  cloud: () => import("./areas/cloud.ts"),
};

const usage = `usage: pnpm conformance AREA FILE... [--json FILE] [--only TEXT] [--quiet]

Runs recorded cases against Portolan and ends with "N passed, N failed". Cases of expected-differences.json may differ, and are counted as
listed; one that passes or does not exist is a failure.
AREA is one of ${Object.keys(areas).join(", ")}.
--only TEXT   runs the cases whose id contains TEXT
--json FILE   writes {"id", "outcome", "difference"} per case
--quiet       prints only the last line`;

function fail(message: string): never {
  console.error(`conformance: ${message}\n\n${usage}`);
  process.exit(2);
}

let options: ReturnType<typeof parse>;
function parse() {
  return parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "string" },
      only: { type: "string" },
      quiet: { type: "boolean" },
      help: { type: "boolean" },
    },
  });
}
try {
  options = parse();
} catch (error) {
  fail((error as Error).message);
}
if (options.values.help) {
  console.log(usage);
  process.exit(0);
}
const [name, ...paths] = options.positionals;
if (name === undefined) fail("no area given");
const load = areas[name];
if (load === undefined) fail(`there is no area "${name}"`);
if (paths.length === 0) fail("no file given");

// pnpm runs scripts in the package's folder; paths are meant from where the user typed the command.
const from = process.env["INIT_CWD"] ?? process.cwd();
const files = paths.map((path) => {
  const absolute = resolve(from, path);
  try {
    return { path: absolute, text: readFileSync(absolute, "utf8") };
  } catch (error) {
    fail(`cannot read ${path}: ${(error as Error).message}`);
  }
});

const only = options.values.only;
const results: CaseResult[] = [];
const differences = readExpectedDifferences(name);
const count = { passed: 0, failed: 0, skipped: 0, listed: 0 };
const { area } = await load();
for await (const found of area.run(files, (id) => only === undefined || id.includes(only))) {
  const result = judge(found, differences);
  results.push(result);
  count[result.outcome]++;
  if (result.outcome === "failed" && !options.values.quiet)
    console.log(`FAIL ${result.id}: ${result.difference ?? ""}`);
  if (result.outcome === "skipped" && !options.values.quiet)
    console.log(`skip ${result.id}: ${result.difference ?? ""}`);
  if (result.outcome === "listed" && !options.values.quiet)
    console.log(`listed ${result.id}: ${result.difference ?? ""}`);
}
for (const id of only === undefined ? unknownDifferences(results, differences) : []) {
  const result: CaseResult = { id, outcome: "failed", difference: "is listed as different, but there is no such case" };
  results.push(result);
  count.failed++;
  if (!options.values.quiet) console.log(`FAIL ${id}: ${result.difference}`);
}
if (options.values.json !== undefined)
  writeFileSync(resolve(from, options.values.json), `${JSON.stringify(results, null, 1)}\n`);
const rest = (["listed", "skipped"] as const).filter((outcome) => count[outcome] > 0);
console.log(
  `${count.passed} passed, ${count.failed} failed${rest.map((outcome) => `, ${count[outcome]} ${outcome}`).join("")}`,
);
process.exit(count.failed > 0 || count.passed === 0 ? 1 : 0);
