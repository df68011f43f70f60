import { pathToFileURL } from "node:url";

interface ResolveArguments {
  readonly path: string;
  readonly resolveDir: string;
  readonly pluginData?: unknown;
}

interface Bundler {
  build(options: object): Promise<{ readonly outputFiles: readonly { readonly text: string }[] }>;
}

interface BundlerHooks {
  onResolve(filter: object, callback: (resolve: ResolveArguments) => Promise<object | undefined>): void;
  resolve(path: string, options: object): Promise<{ readonly path: string }>;
}

/** Bundles an entry in TypeScript to one module that runs from anywhere on this machine. For programs and threads that tests start. */
export async function bundleSource(entry: string): Promise<string> {
  // A development dependency; the name in a variable keeps it out of the built package's dependencies.
  const name = "esbuild";
  const { build } = (await import(name)) as Bundler;
  const { outputFiles } = await build({
    entryPoints: [entry],
    write: false,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    conditions: ["@portolan/source"],
    logLevel: "error",
    plugins: [
      {
        // Native code and CommonJS stay where they are installed, and the bundle lies elsewhere: they are named by their full paths.
        name: "installed",
        setup(hooks: BundlerHooks): void {
          hooks.onResolve(
            { filter: /^(koffi|ws|yaml|@photostructure\/sqlite)$/ },
            async ({ path, resolveDir, pluginData }) => {
              if (pluginData === "resolved") return undefined;
              const found = await hooks.resolve(path, { resolveDir, kind: "import-statement", pluginData: "resolved" });
              return { path: pathToFileURL(found.path).href, external: true };
            },
          );
        },
      },
    ],
  });
  return outputFiles[0]!.text;
}
