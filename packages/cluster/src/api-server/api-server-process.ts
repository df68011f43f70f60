/**
 * The API server as a process of its own, as where clusters are real: what it does and suffers is then no business of nodes, pods and
 * controllers, which wait for it. When it ends, another one takes its place, at the same port and with the objects of the one before.
 */
import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { AdvertisedAddress, Listening, PodStreams } from "@portolan/apiserver";
import type { Transport } from "@portolan/client";
import { createHttpTransport } from "@portolan/client/node";
import { bundleSource } from "../source-bundle.ts";
import { servePodStreams } from "./pod-stream-server.ts";

/** Options of {@link startApiServerProcess}. */
export interface ApiServerProcessOptions {
  /** Folder of its kubeconfig and sockets. */
  readonly directory: string;
  /** Folder of its objects and credentials. */
  readonly dataDirectory: string;
  /** On 127.0.0.1; 0 for any that is free. */
  readonly port: number;
  /** Path of its UNIX socket. */
  readonly socket: string;
  readonly serviceCIDRs: readonly string[];
  readonly advertise: AdvertisedAddress;
  readonly podStreams: PodStreams;
  /** Told about processes that are started and that have ended. */
  readonly onProcess: (pid: number, running: boolean) => void;
  /** Told in a sentence what became of it. */
  readonly onProgress: (text: string) => void;
  /** Told about ends that nobody asked for, and starts that failed. */
  readonly onError: (error: Error) => void;
  /** Fires when the cluster begins to end: a process that is stopped goes on then, because others end with its help. */
  readonly signal: AbortSignal;
}

/** What a server's process is told when it begins. */
export interface ApiServerProgramOptions
  extends Pick<
    ApiServerProcessOptions,
    "directory" | "dataDirectory" | "port" | "socket" | "serviceCIDRs" | "advertise"
  > {
  /** UNIX socket of the process that runs pods. */
  readonly podStreams: string;
}

/** What it says when it listens, or cannot. */
export type ApiServerProgramReport =
  | { readonly listening: Listening }
  | { readonly error: { readonly message: string; readonly code?: string } };

/** An API server in a process of its own. */
export interface ApiServerProcess {
  readonly listening: Listening;
  /** Sends requests as administrator. */
  readonly transport: Transport;
  close(): Promise<void>;
}

/** Milliseconds before another try when a new process does not start: doubled each time, up to the limit. */
const FIRST_WAIT = 50;
const LONGEST_WAIT = 5_000;
/** Milliseconds that a process has to end by itself. One that is stopped never does. */
const PATIENCE = 3_000;

interface StartedProcess {
  readonly child: ChildProcess;
  readonly listening: Listening;
  readonly ended: Promise<string>;
}

/**
 * Starts an API server in a process of its own, and another one whenever it ends unasked.
 *
 * @throws the system's error when the port is taken, Error when the first start fails
 */
export async function startApiServerProcess(options: ApiServerProcessOptions): Promise<ApiServerProcess> {
  const podStreams = join(options.directory, "pods.sock");
  const streams = await servePodStreams(podStreams, options.podStreams);
  let closing = false;
  let current: StartedProcess;
  try {
    current = await start(options, podStreams);
  } catch (error) {
    await streams.close();
    throw error;
  }
  const { listening } = current;
  const transport = createHttpTransport({ url: "http://localhost", socketPath: options.socket });

  async function supervise(): Promise<void> {
    while (!closing) {
      const how = await current.ended;
      if (closing) return;
      options.onError(new Error(`the API server's process ended: ${how}`));
      for (let wait = FIRST_WAIT; !closing; wait = Math.min(2 * wait, LONGEST_WAIT)) {
        try {
          current = await start({ ...options, port: listening.port }, podStreams);
          options.onProgress(`API server is back, as process ${current.child.pid}`);
          break;
        } catch (error) {
          options.onError(error as Error);
          await delay(wait);
        }
      }
    }
  }
  const supervision = supervise();
  options.signal.addEventListener("abort", () => current.child.kill("SIGCONT"), { once: true });
  options.onProgress(`API server runs as process ${current.child.pid}`);

  return {
    listening,
    transport,
    async close(): Promise<void> {
      closing = true;
      transport.close();
      await end(current);
      await supervision;
      // It may have been about to start another one.
      await end(current);
      await streams.close();
    },
  };
}

async function start(options: ApiServerProcessOptions, podStreams: string): Promise<StartedProcess> {
  const { directory, dataDirectory, port, socket, serviceCIDRs, advertise, onProcess } = options;
  // In a group of its own: who interrupts the cluster at a terminal lets it end in its order.
  const child = fork(await programFile(), [directory], {
    detached: true,
    execArgv: [],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const { pid } = child;
  if (pid !== undefined) onProcess(pid, true);
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => {
      if (pid !== undefined) onProcess(pid, false);
      resolve(signal ?? `exit code ${code}`);
    });
  });
  const told: ApiServerProgramOptions = { directory, dataDirectory, port, socket, serviceCIDRs, advertise, podStreams };
  child.send(told);
  const report = await new Promise<ApiServerProgramReport>((resolve) => {
    child.once("message", resolve as (message: unknown) => void);
    void ended.then((how) => resolve({ error: { message: `the API server's process ended: ${how}` } }));
  });
  if ("listening" in report) return { child, ended, listening: report.listening };
  child.kill("SIGKILL");
  await ended;
  throw Object.assign(new Error(report.error.message), { code: report.error.code });
}

async function end({ child, ended }: StartedProcess): Promise<void> {
  if (child.connected) child.disconnect();
  const timeout = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
  await ended;
  clearTimeout(timeout);
}

let bundled: Promise<string> | undefined;

/** The file to start a process from: beside this one in the built package; from source (tests) bundled once a process. */
function programFile(): Promise<string> {
  if (!import.meta.url.endsWith(".ts"))
    return Promise.resolve(fileURLToPath(new URL("./api-server-program.js", import.meta.url)));
  bundled ??= bundleSource(fileURLToPath(new URL("./api-server-program.ts", import.meta.url))).then((text) => {
    const directory = mkdtempSync(join(tmpdir(), "portolan-program-"));
    process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
    const file = join(directory, "api-server-program.mjs");
    writeFileSync(file, text);
    return file;
  });
  return bundled;
}
