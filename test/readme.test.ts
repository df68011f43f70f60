import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { root } from "./portolan.ts";

/** The code under `<!-- example: NAME -->` in the README, as a module of its own. */
async function runExample(name: string): Promise<string[]> {
  const readme = readFileSync(join(root, "README.md"), "utf8");
  const code = readme.split(`<!-- example: ${name} -->\n\`\`\`ts\n`)[1]?.split("```")[0];
  expect(code, `README has an example ${name}`).toBeDefined();
  const folder = join(root, "test", "generated");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.ts`), code!);
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    await import(/* @vite-ignore */ join(folder, `${name}.ts`));
    return log.mock.calls.map((call) => String(call[0]));
  } finally {
    log.mockRestore();
  }
}

describe("README", () => {
  it("shows a packet's way: the reasons, then the verdict", async () => {
    const lines = await runExample("first");
    expect(lines.at(-1)).toBe("PASS");
    expect(lines.join("\n")).toMatch(/default\/web/);
    expect(lines.join("\n")).toMatch(/10\.244\.\d\.\d:8080/);
  });
});
