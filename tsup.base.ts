import type { Options } from "tsup";

/** The bundler options that every package shares: ESM for ES2022, no declarations (`tsc -b` writes them). */
export const base: Options = {
  entry: ["src/index.ts"],
  format: ["esm"],
  target: "es2022",
  dts: false,
  sourcemap: true,
  treeshake: true,
  clean: true,
  silent: true,
  external: [/\.wasm$/],
};
