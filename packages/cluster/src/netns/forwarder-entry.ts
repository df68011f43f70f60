/**
 * Where the forwarder's thread begins: a file beside this one in the built package. From source (tests), it is bundled
 * once a process, in memory, because worker threads do not read TypeScript.
 */
import { fileURLToPath, pathToFileURL } from "node:url";

let bundled: Promise<URL> | undefined;

/** The file to start a forwarder's thread from. */
export function forwarderEntry(): Promise<URL> {
  if (!import.meta.url.endsWith(".ts")) return Promise.resolve(new URL("./forwarder-worker.js", import.meta.url));
  bundled ??= bundle(fileURLToPath(new URL("./forwarder-worker.ts", import.meta.url)));
  return bundled;
}

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

async function bundle(entry: string): Promise<URL> {
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
        // Native code stays where it is installed, and the bundle lies nowhere: it is named by its full path.
        name: "native",
        setup(hooks: BundlerHooks): void {
          hooks.onResolve({ filter: /^koffi$/ }, async ({ path, resolveDir, pluginData }) => {
            if (pluginData === "resolved") return undefined;
            const found = await hooks.resolve(path, { resolveDir, kind: "import-statement", pluginData: "resolved" });
            return { path: pathToFileURL(found.path).href, external: true };
          });
        },
      },
    ],
  });
  return new URL(`data:text/javascript;base64,${Buffer.from(outputFiles[0]!.text).toString("base64")}`);
}
