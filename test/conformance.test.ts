import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { removeFolders, root, run, temporaryFolder } from "./portolan.ts";

afterAll(removeFolders);

const program = join(root, "apps", "conformance", "dist", "main.js");
const record = {
  id: "made-up-1",
  title: "a Service that is read back",
  tags: [],
  steps: [
    {
      req: { method: "GET", path: "/api/v1/namespaces/$NS/services/none" },
      res: {
        status: 404,
        headers: { "content-type": "application/json" },
        body: {
          kind: "Status",
          apiVersion: "v1",
          metadata: {},
          status: "Failure",
          message: 'services "none" not found',
          reason: "NotFound",
          details: { name: "none", kind: "services" },
          code: 404,
        },
      },
    },
  ],
};

describe("conformance", () => {
  it("passes a right expectation, and fails a wrong one with the difference", async () => {
    const folder = temporaryFolder();
    const right = join(folder, "right.jsonl");
    const wrong = join(folder, "wrong.jsonl");
    writeFileSync(right, `${JSON.stringify(record)}\n`);
    writeFileSync(wrong, `${JSON.stringify(record).replace('services \\"none\\" not found', "nothing of the kind")}\n`);
    expect(readFileSync(wrong, "utf8")).not.toBe(readFileSync(right, "utf8"));
    const good = await run(process.execPath, [program, "api", right, "--json", join(folder, "results.json")]);
    expect(good.stdout.trim().split("\n").at(-1)).toBe("1 passed, 0 failed");
    expect(good.code).toBe(0);
    expect(JSON.parse(readFileSync(join(folder, "results.json"), "utf8"))).toEqual([
      { id: "made-up-1", outcome: "passed" },
    ]);
    const bad = await run(process.execPath, [program, "api", wrong]);
    expect(bad.stdout).toContain("made-up-1");
    expect(bad.stdout).toContain("nothing of the kind");
    expect(bad.stdout.trim().split("\n").at(-1)).toBe("0 passed, 1 failed");
    expect(bad.code).toBe(1);
  });

  it("explains wrong usage", async () => {
    const unknown = await run(process.execPath, [program, "weather", "x.jsonl"]);
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain('no area "weather"');
    const missing = await run(process.execPath, [program, "api", "nowhere.jsonl"]);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain("cannot read nowhere.jsonl");
    expect(existsSync(program)).toBe(true);
  });
});
