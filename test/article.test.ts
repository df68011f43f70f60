import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { findProgram, modes, root, run } from "./portolan.ts";

const program = join(root, "apps", "article", "dist", "main.js");
const missing = ["kubectl", "curl"].filter((name) => findProgram(name) === undefined);
if (missing.length > 0) console.log(`skipped: the article: ${missing.join(", ")} not found`);
if (!modes.includes("netns")) console.log("skipped: the article: needs Linux and root");

describe.skipIf(missing.length > 0 || !modes.includes("netns"))("the article", () => {
  it("says what Kubernetes does, command by command, in mode netns", { timeout: 900_000 }, async () => {
    const outcome = await run(process.execPath, [program, "--mode", "netns"]);
    // The table of all commands, and the count.
    const [, table = outcome.stdout] = /\n\n([\s\S]*)$/.exec(outcome.stdout) ?? [];
    console.log(table);
    expect(outcome.stderr).toBe("");
    expect(outcome.stdout).toMatch(/mode netns: \d\d+ ok, 0 failed, /);
    expect(outcome.code).toBe(0);
  });
});
