/**
 * Where the forwarder's thread begins: a file beside this one in the built package. From source (tests), it is bundled
 * once a process, in memory, because worker threads do not read TypeScript.
 */
import { fileURLToPath } from "node:url";
import { bundleSource } from "../source-bundle.ts";

let bundled: Promise<URL> | undefined;

/** The file to start a forwarder's thread from. */
export function forwarderEntry(): Promise<URL> {
  if (!import.meta.url.endsWith(".ts")) return Promise.resolve(new URL("./forwarder-worker.js", import.meta.url));
  bundled ??= bundleSource(fileURLToPath(new URL("./forwarder-worker.ts", import.meta.url))).then(
    (text) => new URL(`data:text/javascript;base64,${Buffer.from(text).toString("base64")}`),
  );
  return bundled;
}
