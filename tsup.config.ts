import { readFileSync } from "node:fs";
import { defineConfig } from "tsup";

interface Manifest {
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly bin?: Readonly<Record<string, string>>;
  /** Files that run as programs of their own: path below `dist` without `.js` → source. */
  readonly programs?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const read = <T>(file: string): T => JSON.parse(readFileSync(file, "utf8")) as T;
const manifest = read<Manifest>("package.json");
const { compilerOptions } = read<{ compilerOptions: { types?: string[] } }>("tsconfig.json");
const entry: Record<string, string> = { ...manifest.programs };
const name = (output: string): string => output.replace(/^\.\/dist\//, "").replace(/\.js$/, "");

for (const target of Object.values(manifest.exports ?? {})) {
  if (typeof target === "string" || target["@portolan/source"] === undefined) continue;
  const source = target["@portolan/source"];
  entry[name(target["default"] ?? "")] = source;
  const worker = target["workerd"];
  if (worker !== undefined) entry[name(worker)] = source.replace(/\.ts$/, ".workerd.ts");
}
for (const output of Object.values(manifest.bin ?? {})) entry[name(output)] = `src/${name(output)}.ts`;
if (manifest.exports === undefined) entry["main"] = "src/main.ts";

/**
 * Bundles the package in the working directory: what its `exports`, `bin` and `programs` name, as ESM for ES2022. Declarations are
 * written by `tsc -b`; what else lies in `dist` stays.
 */
export default defineConfig({
  entry,
  format: ["esm"],
  target: "es2022",
  platform: compilerOptions.types?.includes("node") ? "node" : "neutral",
  dts: false,
  sourcemap: true,
  treeshake: true,
  clean: false,
  silent: true,
  removeNodeProtocol: false,
  // Other dependencies are external by themselves.
  external: [/\.wasm$/, ...Object.keys(manifest.optionalDependencies ?? {})],
});
