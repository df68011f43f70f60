import { accessSync, constants, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Names of the small Node programs that this package brings. */
export type ProgramName = "commands" | "keeper" | "mysql-responder" | "network-responder" | "relay";

const fromSource = new Map<ProgramName, string>();

interface Transformer {
  transformSync(code: string, options: object): { readonly code: string };
}

/**
 * Path of one of this package's programs, to be run as `node PATH`. In the built package these are files beside the entry
 * point. From source (tests) the program is written as JavaScript to a temporary file, once a process.
 */
export function programFile(name: ProgramName): string {
  const known = fromSource.get(name);
  if (known !== undefined) return known;
  if (!import.meta.url.endsWith(".ts")) return fileURLToPath(new URL(`./programs/${name}.js`, import.meta.url));
  const source = fileURLToPath(new URL(`./programs/${name}.ts`, import.meta.url));
  // A development dependency; the name in a variable keeps it out of the built package's dependencies.
  const transformer = "esbuild";
  const { transformSync } = createRequire(import.meta.url)(transformer) as Transformer;
  const directory = mkdtempSync(join(tmpdir(), "portolan-program-"));
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  const target = join(directory, `${name}.mjs`);
  writeFileSync(
    target,
    transformSync(readFileSync(source, "utf8"), { loader: "ts", format: "esm", target: "es2022" }).code,
  );
  fromSource.set(name, target);
  return target;
}

/** Absolute path of a program as a shell would find it, or undefined. `path` is a PATH variable. */
export function findExecutable(name: string, path: string, directory = "/"): string | undefined {
  const candidates = name.includes("/")
    ? [name.startsWith("/") ? name : join(directory, name)]
    : path.split(delimiter).map((folder) => join(folder === "" ? directory : folder, name));
  for (const candidate of candidates) {
    try {
      accessSync(candidate, constants.X_OK);
      if (statSync(candidate).isFile()) return candidate;
    } catch {
      // The next folder may have it.
    }
  }
  return undefined;
}
