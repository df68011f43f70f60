import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chooseMode, startCluster } from "@portolan/cluster";
import { missingPrograms, runSections } from "./run.ts";
import { sections } from "./sections/index.ts";
import { renderOutcomes } from "./table.ts";

const usage = `Usage: pnpm article [--mode netns|gateway] [--only TEXT] [--lanes N] [--verbose]

Starts an empty cluster, runs every manifest and every command of an article about Services, checks what each says, and prints a
table. --only takes sections whose title has TEXT. Sections that do not get into each other's way run beside each other, N at a time.`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      mode: { type: "string", default: "auto" },
      only: { type: "string", default: "" },
      lanes: { type: "string", default: "2" },
      verbose: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const { mode } = values;
  if (mode !== "auto" && mode !== "netns" && mode !== "gateway") {
    console.error(`--mode ${mode}: there are netns, gateway and auto\n\n${usage}`);
    return 2;
  }
  const lanes = Number(values.lanes);
  if (!Number.isInteger(lanes) || lanes < 1) {
    console.error(`--lanes ${values.lanes}: a number of 1 and more\n\n${usage}`);
    return 2;
  }
  const missing = missingPrograms(["kubectl", "curl", ...(chooseMode(mode).mode === "gateway" ? ["nslookup"] : [])]);
  if (missing.length > 0) {
    console.error(`not on the PATH: ${missing.join(", ")}; the article's commands need that`);
    return 2;
  }
  const stop = new AbortController();
  const onSignal = (): void => stop.abort(new Error("interrupted"));
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  const directory = mkdtempSync(join(tmpdir(), "portolan-article-"));
  const started = Date.now();
  try {
    const cluster = await startCluster({
      mode,
      nodes: 3,
      directory,
      ports: { api: 0, dns: 0, gateway: 0 },
      signal: stop.signal,
      onProgress: (text) => console.log(text),
      onError: (error, what) => {
        if (values.verbose) console.error(`${what}: ${(error as Error).message}`);
      },
    });
    try {
      const wanted = sections.filter(({ title }) => title.toLowerCase().includes(values.only.toLowerCase()));
      const outcomes = await runSections(cluster, wanted, {
        directory,
        signal: stop.signal,
        lanes,
        onStep: (outcome) => console.log(`${outcome.result.padEnd(14)} ${outcome.section}: ${outcome.step.command}`),
      });
      console.log(`\n${renderOutcomes(outcomes)}\n`);
      const count = (result: string): number => outcomes.filter((outcome) => outcome.result === result).length;
      if (cluster.mode === "gateway")
        console.log("nslookup asked the cluster's DNS from this machine, not from a pod\n");
      console.log(
        `mode ${cluster.mode}: ${count("ok")} ok, ${count("FAILED")} failed, ${count("not applicable")} not applicable, ` +
          `${count("skipped")} skipped, in ${((Date.now() - started) / 1000).toFixed(1)} s`,
      );
      return count("FAILED") > 0 || stop.signal.aborted || count("ok") === 0 ? 1 : 0;
    } finally {
      await cluster.close();
    }
  } catch (error) {
    console.error(stop.signal.aborted ? "interrupted; everything is removed" : error);
    return 1;
  } finally {
    rmSync(directory, { recursive: true, force: true });
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

process.exitCode = await main();
