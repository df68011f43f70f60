import { accessSync, constants, existsSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Names of the small Node programs that this package brings. */
export type ProgramName = "commands" | "mysql-responder" | "network-responder" | "relay";

let sourceDirectory: string | undefined;
const fromSource = new Map<ProgramName, string>();

/**
 * Path of one of this package's programs, to be run as `node PATH`. In the built package these are files beside the entry
 * point. When the package runs from its TypeScript source (tests), a Node that strips types runs the source; an older one
 * needs {@link prepareProgramsFromSource} first.
 */
export function programFile(name: ProgramName): string {
  const prepared = fromSource.get(name);
  if (prepared !== undefined) return prepared;
  const built = fileURLToPath(new URL(`./programs/${name}.js`, import.meta.url));
  if (existsSync(built)) return built;
  return fileURLToPath(new URL(`./programs/${name}.ts`, import.meta.url));
}

/**
 * Only for running this package from source on a Node without type stripping: writes the programs as JavaScript to a temporary
 * directory, by the given transformer (`(code, fileName) → code`).
 */
export async function prepareProgramsFromSource(
  transform: (code: string, fileName: string) => Promise<string>,
): Promise<void> {
  sourceDirectory ??= mkdtempSync(join(tmpdir(), "portolan-programs-"));
  for (const name of ["commands", "mysql-responder", "network-responder", "relay"] as const) {
    const source = fileURLToPath(new URL(`./programs/${name}.ts`, import.meta.url));
    if (fromSource.has(name) || !existsSync(source)) continue;
    const target = join(sourceDirectory, `${name}.mjs`);
    writeFileSync(target, await transform(readFileSync(source, "utf8"), source));
    fromSource.set(name, target);
  }
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
