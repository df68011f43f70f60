import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { findProgram, removeFolders, root, run, temporaryFolder } from "./portolan.ts";

afterAll(removeFolders);

interface Manifest {
  readonly name: string;
  readonly private?: boolean;
  readonly exports: Record<string, unknown>;
}

describe("packed packages", () => {
  it("install into an empty folder and can be imported, every entry of them", async () => {
    const folder = temporaryFolder();
    const tarballs = join(folder, "tarballs");
    mkdirSync(tarballs);
    const packages = readdirSync(join(root, "packages")).map((name) => join(root, "packages", name));
    const manifests = packages.map((path) => JSON.parse(readFileSync(join(path, "package.json"), "utf8")) as Manifest);
    const pnpm = findProgram("pnpm") ?? join(root, ".cache/tools/node_modules/.bin/pnpm");
    for (const path of packages) {
      const packed = await run(pnpm, ["pack", "--pack-destination", tarballs], { cwd: path });
      expect(packed.code, packed.stderr).toBe(0);
    }
    const files = new Map(
      readdirSync(tarballs).map((file) => [
        file.replace(/-\d+\.\d+\.\d+\.tgz$/, "").replace(/^portolan-/, "@portolan/"),
        file,
      ]),
    );
    const overrides = Object.fromEntries([...files].map(([name, file]) => [name, `file:${join(tarballs, file)}`]));
    writeFileSync(
      join(folder, "package.json"),
      JSON.stringify({ name: "consumer", private: true, type: "module", dependencies: overrides, overrides }),
    );
    const install = await run("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefer-offline"], {
      cwd: folder,
    });
    expect(install.code, install.stderr).toBe(0);
    const entries = manifests.flatMap((manifest) =>
      Object.keys(manifest.exports)
        .filter((key) => !key.endsWith(".json") && !key.endsWith(".wasm"))
        .map((key) => manifest.name + key.slice(1)),
    );
    const program = entries.map(
      (entry) =>
        `if (Object.keys(await import(${JSON.stringify(entry)})).length === 0) throw new Error(${JSON.stringify(`${entry} exports nothing`)});`,
    );
    const imported = await run(process.execPath, ["--input-type=module", "-e", program.join("\n")], { cwd: folder });
    expect(imported.code, imported.stderr).toBe(0);
  });
});
