/**
 * Several processes behind one endpoint, a processor each. Where Node can (`reusePort`, from 22.12 and 23.1 on), every worker has sockets of its own
 * and the kernel spreads clients over them (SO_REUSEPORT); elsewhere the workers read from one socket that the first process opened.
 */
import cluster, { type Worker } from "node:cluster";
import type { HttpEndpoint } from "./server/configuration.ts";
import { openHttpEndpoint } from "./server/http-endpoint.ts";

/** What the first process serves for all workers. */
interface WorkersOptions {
  readonly count: number;
  /** Variables that the workers get besides those of this process. */
  readonly environment: Readonly<Record<string, string>>;
  readonly endpoints: {
    readonly health?: HttpEndpoint | undefined;
    readonly ready?: HttpEndpoint | undefined;
    readonly metrics?: HttpEndpoint | undefined;
  };
  readonly onReady: (line: string) => void;
  readonly onError: (message: string) => void;
}

/** What a worker says: its line when it answers, or its metrics. */
type WorkerMessage = { readonly ready: string } | { readonly metrics: string };

/** Milliseconds for a worker to tell its metrics. */
const patience = 1000;

/** Adds up metrics of several processes, line by line; what is no sum, such as a version, is the same in all of them. */
export function mergeMetrics(texts: readonly string[]): string {
  const families = new Map<string, { readonly head: string[]; readonly values: Map<string, number> }>();
  const kinds = new Map<string, string>();
  for (const text of texts) {
    let family = "";
    for (const line of text.split("\n")) {
      if (line === "") continue;
      if (line.startsWith("# ")) {
        const [, word, name = "", kind = ""] = line.split(" ");
        family = name;
        if (word === "TYPE") kinds.set(name, kind);
        const known = families.get(name);
        if (known === undefined) families.set(name, { head: [line], values: new Map() });
        else if (!known.head.includes(line)) known.head.push(line);
        continue;
      }
      const at = line.lastIndexOf(" ");
      const key = line.slice(0, at);
      const { values } = families.get(family)!;
      const value = Number(line.slice(at + 1));
      const before = values.get(key);
      const sums = kinds.get(family) !== "gauge" || family.endsWith("_entries") || family.endsWith("_connections");
      values.set(key, before === undefined ? value : sums ? before + value : Math.max(before, value));
    }
  }
  let merged = "";
  for (const { head, values } of families.values())
    merged += `${head.join("\n")}\n${[...values].map(([key, value]) => `${key} ${value}\n`).join("")}`;
  return merged;
}

/** Runs the workers until the process is told to end; they have the same arguments as this process. */
export async function runWorkers({ count, environment, endpoints, onReady, onError }: WorkersOptions): Promise<void> {
  const ready = new Set<Worker>();
  let said = false;
  let ending = false;
  const waiting = new Map<Worker, (text: string) => void>();

  function start(): void {
    const worker = cluster.fork(environment);
    worker.on("message", (message: WorkerMessage) => {
      if ("metrics" in message) {
        waiting.get(worker)?.(message.metrics);
        return;
      }
      ready.add(worker);
      if (said || ready.size < count) return;
      said = true;
      onReady(message.ready);
    });
    worker.on("exit", (code, signal) => {
      ready.delete(worker);
      waiting.get(worker)?.("");
      if (ending) return;
      // One that cannot even start would go on failing.
      if (!said) {
        onError(`a worker ended with ${signal ?? code}`);
        end(1);
        return;
      }
      onError(`a worker ended with ${signal ?? code}; another takes its place`);
      start();
    });
  }

  async function metrics(): Promise<string> {
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    const texts = workers.map(
      (worker) =>
        new Promise<string>((resolve) => {
          const timer = setTimeout(() => resolve(""), patience);
          waiting.set(worker, (text) => {
            clearTimeout(timer);
            resolve(text);
          });
          worker.send("metrics");
        }),
    );
    return mergeMetrics(await Promise.all(texts));
  }

  function end(code: number): void {
    if (ending) return;
    ending = true;
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
    const gone = workers.map((worker) => new Promise((resolve) => worker.once("exit", resolve)));
    for (const worker of workers) worker.process.kill("SIGTERM");
    void Promise.all(gone).then(() => process.exit(code));
  }

  process.on("SIGTERM", () => end(0));
  process.on("SIGINT", () => end(0));
  let text = "";
  const pages = {
    health: { "/health": () => ({ status: 200, body: "OK" }) },
    ready: {
      "/ready": () =>
        ready.size >= count && !ending ? { status: 200, body: "OK" } : { status: 503, body: "kubernetes" },
    },
    metrics: {
      "/metrics": () => ({ status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: text }),
    },
  };
  for (const name of ["health", "ready", "metrics"] as const) {
    const place = endpoints[name];
    if (place !== undefined) await openHttpEndpoint(place.host, place.port, pages[name]);
  }
  for (let index = 0; index < count; index++) start();
  if (endpoints.metrics !== undefined)
    // A page is made at once, so what it shows is up to this old.
    setInterval(() => {
      void metrics().then((merged) => {
        if (merged !== "") text = merged;
      });
    }, patience).unref();
}
