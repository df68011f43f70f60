import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { readManifests } from "@portolan/cluster";
import { describe, expect, it } from "vitest";
import { sections } from "../src/sections/index.ts";
import { renderOutcomes } from "../src/table.ts";

const folder = fileURLToPath(new URL("../manifests/", import.meta.url));
const manifests = readdirSync(folder).filter((file) => !file.startsWith("annotations-"));

describe("the article's cases", () => {
  it.each(manifests)("%s holds objects that are served", (file) => {
    expect(readManifests(readFileSync(`${folder}${file}`, "utf8"), file).length).toBeGreaterThan(0);
  });

  it("names each step once in its section, and each is run or has a reason", () => {
    for (const { title, steps } of sections) {
      expect(new Set(steps.map(({ command }) => command)).size, title).toBe(steps.length);
      for (const step of steps)
        expect(step.run !== undefined || step.notApplicable !== undefined, step.command).toBe(true);
    }
  });

  it("gives sections that redefine each other's names namespaces of their own", () => {
    const own = sections.map(({ namespace }) => namespace).filter((name) => name.startsWith("article-"));
    expect(new Set(own).size).toBe(own.length);
  });

  it("finds the manifests that its steps apply", () => {
    const source = readdirSync(fileURLToPath(new URL("../src/sections/", import.meta.url)))
      .map((file) => readFileSync(new URL(`../src/sections/${file}`, import.meta.url), "utf8"))
      .join("\n");
    for (const [, name] of source.matchAll(/session\.manifest\("([^"]+)"\)/g)) {
      expect(existsSync(`${folder}${name}.yaml`), name).toBe(true);
    }
  });
});

describe("the table", () => {
  it("shows outcome, duration, the reason of a failure, and the note", () => {
    const step = { command: "kubectl get svc", note: "the page differs" };
    const text = renderOutcomes([
      { section: "Services", step, result: "FAILED", milliseconds: 1230, reason: "expected this, got that" },
    ]);
    expect(text).toMatch(/^Services$/m);
    expect(text).toMatch(/^FAILED +1\.23 s +kubectl get svc$/m);
    expect(text).toContain("expected this, got that");
    expect(text).toContain("(the page differs)");
  });
});
