import { join } from "node:path";
import { type Clock, sleep } from "@portolan/client";
import { type Container, expandVariables, type Probe } from "@portolan/core";
import { containerArgv, type ImageTable, type ResolvedImage } from "../images/image-table.ts";
import { findExecutable } from "../images/program-file.ts";
import { ContainerConfigurationError } from "./container-environment.ts";
import { type ContainerLog, createContainerLog } from "./container-log.ts";
import {
  type ContainerProcess,
  type ContainerProcessOptions,
  type ProcessExit,
  startContainerProcess,
  terminalCommand,
} from "./container-process.ts";
import type { PodMount, PodSandbox } from "./pod-runtime.ts";
import { type ContainerRecord, waitingRecord } from "./pod-status.ts";
import { type ProbeTarget, runProbe, runProber, withTimeout } from "./probe.ts";

/** Times of retries, in milliseconds. */
export interface RestartTimes {
  /** First wait before a restart; doubles. The very first restart is immediate. */
  readonly initialBackoff: number;
  readonly maximumBackoff: number;
  /** A container that ran this long starts over with the first wait. */
  readonly resetAfter: number;
}

/** What a runner gets from its pod. */
export interface ContainerSurroundings {
  readonly podName: string;
  readonly podNamespace: string;
  readonly podUid: string;
  readonly podAddress: string;
  readonly nodeName: string;
  readonly restartPolicy: "Always" | "OnFailure" | "Never";
  readonly sandbox: PodSandbox;
  /** Whether pods have a network of their own. */
  readonly isolated: boolean;
  readonly images: ImageTable;
  readonly mounts: readonly PodMount[];
  /** Folder for the logs of this container. */
  readonly logDirectory: string;
  readonly clock: Clock;
  readonly times: RestartTimes;
  /** Variables of the container, without those of image and runtime. */
  environment(container: Container): Promise<Record<string, string>>;
  /** Folder with the commands of an image, made when needed. */
  commandDirectory(image: ResolvedImage): string | undefined;
  event(type: "Normal" | "Warning", reason: string, message: string): void;
  /** The record has changed. */
  changed(): void;
}

/** How to run a command in a container that runs. */
export interface ExecOptions {
  readonly stdin: boolean;
  readonly tty: boolean;
  readonly onOutput: (stream: "stdout" | "stderr", chunk: Uint8Array) => void;
}

/** Runs one container, again and again as its pod's policy says. */
export interface ContainerRunner {
  readonly record: ContainerRecord;
  /** The program that runs now. */
  readonly process: ContainerProcess | undefined;
  /** Resolves when the container will not run again (undefined: it never ran). Call once. */
  run(): Promise<ProcessExit | undefined>;
  /** Resolves when the container has started for the first time (startup probe included), or will not. */
  readonly started: Promise<void>;
  /** Ends it: preStop, SIGTERM, after `graceSeconds` SIGKILL. Resolves when it has ended. */
  stop(graceSeconds: number): Promise<void>;
  log(previous: boolean): ContainerLog | undefined;
  /** Starts another program in the container. @throws when the container does not run or there is no such program */
  exec(argv: readonly string[], options: ExecOptions): Promise<ContainerProcess>;
  /**
   * Gets the raw output of the program from now on; returns the function that ends that. The first listener of an interactive
   * container also gets what it said before: a client cannot attach before the program runs, and must not miss its first words.
   */
  onOutput(listener: (stream: "stdout" | "stderr", chunk: Uint8Array) => void): () => void;
  /** True when the container is interactive and nobody has listened yet. */
  readonly unheard: boolean;
  remove(): void;
}

const MACHINE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** A program of our images that should listen is waited for this long before it counts as started anyway. */
const LONGEST_START = 5_000;
/** Output that an interactive container may say before somebody attaches, in octets. */
const LONGEST_UNHEARD = 256 * 1024;

/** Makes a runner; nothing happens before `run`. */
export function createContainerRunner(
  container: Container,
  kind: ContainerRecord["kind"],
  surroundings: ContainerSurroundings,
): ContainerRunner {
  const { clock, sandbox, times, changed, event } = surroundings;
  const { name } = container;
  const podText = `${surroundings.podName}_${surroundings.podNamespace}(${surroundings.podUid})`;
  const record = waitingRecord(container, kind, kind === "main");
  const stopping = new AbortController();
  const listeners = new Set<(stream: "stdout" | "stderr", chunk: Uint8Array) => void>();
  const logs: ContainerLog[] = [];
  let unheard: { stream: "stdout" | "stderr"; chunk: Uint8Array }[] | undefined =
    container.stdin === true || container.tty === true ? [] : undefined;
  let unheardSize = 0;
  let current: ContainerProcess | undefined;
  let currentEnvironment: Record<string, string> = {};
  let image: ResolvedImage | undefined;
  let restartsInARow = 0;
  let markStarted: () => void = () => undefined;
  const started = new Promise<void>((resolve) => {
    markStarted = resolve;
  });
  const timestamp = (): string => new Date(clock.now()).toISOString().replace(/\.\d+Z$/, "Z");
  const always = kind === "sidecar" || surroundings.restartPolicy === "Always";

  function wait(reason: string, message?: string): void {
    record.state = { waiting: message === undefined ? { reason } : { reason, message } };
    record.ready = false;
    changed();
  }

  /** The image, tried with growing waits until the table knows it (a user may add it). Undefined: stopped meanwhile. */
  async function resolveImage(): Promise<ResolvedImage | undefined> {
    const reference = container.image ?? "";
    for (let backoff = times.initialBackoff; !stopping.signal.aborted; ) {
      const found = surroundings.images.resolve(reference);
      if ("program" in found) {
        event("Normal", "Pulled", `Container image "${reference}" already present on machine`);
        return found;
      }
      if (found.reason === "InvalidImageName") {
        event("Warning", "InspectFailed", found.message);
        event("Warning", "Failed", "Error: InvalidImageName");
        wait("InvalidImageName", found.message);
      } else {
        event("Normal", "Pulling", `Pulling image "${reference}"`);
        event("Warning", "Failed", `Failed to pull image "${reference}": ${found.message}`);
        event("Warning", "Failed", `Error: ${found.reason}`);
        wait(found.reason, found.message);
      }
      await sleep(clock, Math.min(backoff, 1000), stopping.signal);
      if (found.reason !== "InvalidImageName" && !stopping.signal.aborted) {
        event("Normal", "BackOff", `Back-off pulling image "${reference}"`);
        event("Warning", "Failed", "Error: ImagePullBackOff");
        wait("ImagePullBackOff", `Back-off pulling image "${reference}": ${found.reason}: ${found.message}`);
      }
      await sleep(clock, backoff, stopping.signal);
      backoff = Math.min(backoff * 2, times.maximumBackoff);
    }
    return undefined;
  }

  async function resolveEnvironment(): Promise<Record<string, string> | undefined> {
    while (!stopping.signal.aborted) {
      try {
        return await surroundings.environment(container);
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        event("Warning", "Failed", `Error: ${text}`);
        wait(error instanceof ContainerConfigurationError ? error.code : "CreateContainerError", text);
        await sleep(clock, Math.min(times.initialBackoff, 5_000), stopping.signal);
      }
    }
    return undefined;
  }

  function programEnvironment(found: ResolvedImage, declared: Record<string, string>): Record<string, string> {
    const commands = surroundings.commandDirectory(found);
    const machine = process.env["PATH"] ?? MACHINE_PATH;
    const base = declared["PATH"] ?? found.program.environment?.["PATH"] ?? machine;
    return {
      PATH: commands === undefined ? base : `${commands}:${base}`,
      HOME: "/root",
      HOSTNAME: surroundings.podName,
      ...(container.tty === true ? { TERM: "xterm" } : {}),
      ...found.program.environment,
      ...sandbox.environment,
      ...declared,
      ...(commands === undefined ? {} : { PATH: `${commands}:${base}` }),
      // What loopback ports stand for the pod's must win over a PORT that the container sets for itself.
      ...(sandbox.environment["PORT"] === undefined ? {} : mappedPort(declared)),
    };
  }

  function mappedPort(declared: Record<string, string>): Record<string, string> {
    const own = Number(declared["PORT"] ?? 0);
    const local = own > 0 ? sandbox.environment[`PORT_${own}`] : sandbox.environment["PORT"];
    return local === undefined ? {} : { PORT: local };
  }

  /** `argv` with an absolute program, in the sandbox. @throws when there is no such program */
  function sandboxCommand(argv: readonly string[], environment: Record<string, string>, tty: boolean) {
    const [first = "", ...rest] = argv;
    const path = environment["PATH"] ?? MACHINE_PATH;
    const directory = container.workingDir;
    const program = findExecutable(first, path, directory);
    if (program === undefined) {
      const problem = first.includes("/")
        ? `exec: "${first}": stat ${first}: no such file or directory`
        : `exec: "${first}": executable file not found in $PATH`;
      throw Object.assign(new Error(problem), { code: "ENOENT" });
    }
    let command: readonly string[] = [program, ...rest];
    if (tty) {
      const script = findExecutable("script", process.env["PATH"] ?? MACHINE_PATH);
      if (script === undefined) {
        throw Object.assign(new Error("a terminal needs the program `script` (util-linux) on this machine"), {
          code: "ENOENT",
        });
      }
      command = terminalCommand(script, command);
    }
    const options = { mounts: surroundings.mounts, ...(directory === undefined ? {} : { directory }) };
    return sandbox.command(command, options);
  }

  function openLog(): ContainerLog {
    const log = createContainerLog(join(surroundings.logDirectory, `${name}-${record.restartCount}.log`), {
      now: () => clock.now(),
    });
    logs.push(log);
    // The present run and the one before are kept.
    while (logs.length > 2) logs.shift()?.remove();
    return log;
  }

  const probeTarget: ProbeTarget = {
    address: surroundings.podAddress,
    container,
    connect: (port, signal) => sandbox.connect(port, signal),
    async execute(command, signal) {
      const chunks: Uint8Array[] = [];
      let size = 0;
      const started = await exec(command, {
        stdin: false,
        tty: false,
        onOutput(_, chunk) {
          if (size > 10 * 1024) return;
          size += chunk.length;
          chunks.push(chunk);
        },
      });
      const kill = (): void => started.kill("SIGKILL");
      signal.addEventListener("abort", kill, { once: true });
      const { exitCode } = await started.exited;
      signal.removeEventListener("abort", kill);
      if (signal.aborted) throw new Error("command timed out");
      return { exitCode, output: Buffer.concat(chunks).toString("utf8") };
    },
  };

  async function exec(argv: readonly string[], options: ExecOptions): Promise<ContainerProcess> {
    if (current === undefined) throw new Error(`container not running (${record.containerId ?? name})`);
    const environment: Record<string, string> = { ...currentEnvironment, ...(options.tty ? { TERM: "xterm" } : {}) };
    const { command, args } = sandboxCommand(argv, environment, options.tty);
    return startProcess({
      command,
      args,
      environment: options.tty ? { ...environment, SHELL: "/bin/sh" } : environment,
      stdin: options.stdin,
      tty: options.tty,
      onOutput: options.onOutput,
      ...workingDirectory(),
    });
  }

  async function startProcess(options: ContainerProcessOptions): Promise<ContainerProcess> {
    const started = await startContainerProcess(options);
    sandbox.onProcess?.(started.pid, true);
    void started.exited.then(() => sandbox.onProcess?.(started.pid, false));
    return started;
  }

  function workingDirectory(): { directory?: string } {
    const directory = container.workingDir ?? image?.program.workingDirectory;
    return directory === undefined ? {} : { directory };
  }

  /** Programs of ours listen some 100 ms after their start; until then the pod would refuse its clients. */
  async function listening(ports: readonly number[], signal: AbortSignal): Promise<void> {
    const [port] = ports;
    if (port === undefined) return;
    for (const began = clock.now(); !signal.aborted && clock.now() - began < LONGEST_START; ) {
      try {
        (await sandbox.connect(port, signal)).destroy();
        return;
      } catch {
        await sleep(clock, 20, signal);
      }
    }
  }

  /** Probes of one run. `ended` fires when the program has ended. */
  function startProbes(running: ContainerProcess, ended: AbortSignal): void {
    const failed = (what: string) => (text: string) => {
      event("Warning", "Unhealthy", `${what} probe failed: ${text}`);
    };
    const kill = (what: string, probe: Probe): void => {
      event("Normal", "Killing", `Container ${name} failed ${what} probe, will be restarted`);
      void terminate(running, probe.terminationGracePeriodSeconds ?? 30);
    };
    const { startupProbe, readinessProbe, livenessProbe } = container;
    const live = AbortSignal.any([ended, stopping.signal]);
    const afterStart = (): void => {
      record.started = true;
      if (readinessProbe === undefined) record.ready = true;
      else {
        const changedTo = (success: boolean): void => {
          if (record.ready === success || ended.aborted) return;
          record.ready = success;
          changed();
        };
        // Readiness goes on while the pod ends: endpoints that serve on are told apart from those that do not.
        void runProber(readinessProbe, probeTarget, { changed: changedTo, failed: failed("Readiness") }, clock, ended);
      }
      if (livenessProbe !== undefined) {
        const changedTo = (success: boolean): void => {
          if (!success) kill("liveness", livenessProbe);
        };
        // A kubelet's clock ticks at any time of the period; a program is never killed for what it had no time to do.
        const initialDelaySeconds = livenessProbe.initialDelaySeconds || (livenessProbe.periodSeconds ?? 10);
        void runProber(
          { ...livenessProbe, initialDelaySeconds },
          probeTarget,
          { changed: changedTo, failed: failed("Liveness") },
          clock,
          live,
        );
      }
      changed();
      markStarted();
    };
    if (startupProbe === undefined) {
      afterStart();
      return;
    }
    const settled = new AbortController();
    const changedTo = (success: boolean): void => {
      if (settled.signal.aborted) return;
      settled.abort();
      if (success) afterStart();
      else kill("startup", startupProbe);
    };
    const signal = AbortSignal.any([live, settled.signal]);
    void runProber(startupProbe, probeTarget, { changed: changedTo, failed: failed("Startup") }, clock, signal);
  }

  async function terminate(running: ContainerProcess, graceSeconds: number): Promise<void> {
    const deadline = clock.now() + graceSeconds * 1000;
    const hook = container.lifecycle?.preStop;
    if (hook !== undefined && graceSeconds > 0) {
      const limit = withTimeout(clock, graceSeconds * 1000, new AbortController().signal);
      const result = await Promise.race([
        runProbe(hook, probeTarget, limit.signal),
        running.exited.then(() => ({ success: true, message: "" })),
      ]);
      limit.done();
      if (!result.success) event("Warning", "FailedPreStopHook", `PreStopHook failed: ${result.message}`);
    }
    // At least two seconds, as the kubelet gives after a preStop hook that took all the time.
    const left = graceSeconds === 0 ? 0 : Math.max(deadline - clock.now(), 2_000);
    if (left > 0) running.kill("SIGTERM");
    const cancel = clock.schedule(() => running.kill("SIGKILL"), left);
    await running.exited;
    cancel();
  }

  /** One run from start to end. Undefined when it was stopped before it began. */
  async function once(): Promise<ProcessExit | undefined> {
    image = await resolveImage();
    if (image === undefined) return undefined;
    record.imageId = image.imageId;
    const declared = await resolveEnvironment();
    if (declared === undefined || stopping.signal.aborted) return undefined;
    const containerId = `portolan://${crypto.randomUUID().replaceAll("-", "")}${crypto.randomUUID().replaceAll("-", "")}`;
    const log = openLog();
    const startedAt = timestamp();
    const tty = container.tty === true;
    const variables = new Map(Object.entries(declared));
    const { argv, ownEntrypoint } = containerArgv(
      {
        command: (container.command ?? []).map((part) => expandVariables(part, variables)),
        args: (container.args ?? []).map((part) => expandVariables(part, variables)),
      },
      image.program,
    );
    const ports = (container.ports ?? []).map(({ containerPort, protocol }) => ({
      port: containerPort,
      protocol: protocol ?? ("TCP" as const),
    }));
    const listens =
      ports.length > 0 ? ports : (image.program.ports ?? []).map((port) => ({ port, protocol: "TCP" as const }));
    currentEnvironment = programEnvironment(image, declared);
    if (ownEntrypoint && image.program.podEnvironment !== undefined) {
      Object.assign(
        currentEnvironment,
        image.program.podEnvironment({
          podName: surroundings.podName,
          podNamespace: surroundings.podNamespace,
          podAddress: surroundings.podAddress,
          nodeName: surroundings.nodeName,
          ports: listens,
        }),
      );
    }
    const ended = new AbortController();
    let running: ContainerProcess;
    try {
      if (argv.length === 0) {
        throw new Error(`no command specified: image "${image.image}" has none in the image table`);
      }
      const { command, args } = sandboxCommand(argv, currentEnvironment, tty);
      event("Normal", "Created", `Created container: ${name}`);
      running = await startProcess({
        command,
        args,
        environment: tty ? { ...currentEnvironment, SHELL: "/bin/sh" } : currentEnvironment,
        stdin: container.stdin === true,
        tty,
        onOutput(stream, chunk) {
          log.write(stream, chunk);
          if (unheard !== undefined && unheardSize < LONGEST_UNHEARD) {
            unheard.push({ stream, chunk });
            unheardSize += chunk.length;
          }
          for (const listener of listeners) listener(stream, chunk);
        },
        ...workingDirectory(),
      });
    } catch (error) {
      const text = `failed to start container "${name}": ${error instanceof Error ? error.message : String(error)}`;
      log.end();
      event("Warning", "Failed", `Error: ${text}`);
      const finishedAt = timestamp();
      record.containerId = containerId;
      const exitCode = 128;
      record.state = {
        terminated: { exitCode, reason: "StartError", message: text, startedAt, finishedAt, containerID: containerId },
      };
      return { exitCode };
    }
    current = running;
    record.containerId = containerId;
    record.state = { running: { startedAt } };
    event("Normal", "Started", `Started container ${name}`);
    changed();
    if (stopping.signal.aborted) running.kill("SIGTERM");
    const hook = container.lifecycle?.postStart;
    if (hook !== undefined) {
      const result = await runProbe(hook, probeTarget, ended.signal);
      if (!result.success) {
        event("Warning", "FailedPostStartHook", `PostStartHook failed: ${result.message}`);
        void terminate(running, 2);
      }
    }
    void (async () => {
      const tcp = listens.filter(({ protocol }) => protocol === "TCP").map(({ port }) => port);
      if (ownEntrypoint && image?.program.podEnvironment !== undefined && container.readinessProbe === undefined) {
        await listening(tcp, ended.signal);
      }
      if (!ended.signal.aborted) startProbes(running, ended.signal);
    })();
    const exit = await running.exited;
    ended.abort();
    current = undefined;
    log.end();
    record.ready = false;
    record.started = false;
    record.state = {
      terminated: {
        exitCode: exit.exitCode,
        ...(exit.signal === undefined ? {} : { signal: exit.signal }),
        reason: exit.exitCode === 0 ? "Completed" : "Error",
        startedAt,
        finishedAt: timestamp(),
        containerID: containerId,
      },
    };
    return exit;
  }

  async function run(): Promise<ProcessExit | undefined> {
    let last: ProcessExit | undefined;
    try {
      while (!stopping.signal.aborted) {
        const began = clock.now();
        const exit = await once();
        if (exit === undefined) return last;
        last = exit;
        changed();
        const again = always || (surroundings.restartPolicy === "OnFailure" && exit.exitCode !== 0);
        if (!again || kind === "ephemeral" || (kind === "init" && exit.exitCode === 0) || stopping.signal.aborted) {
          return exit;
        }
        if (clock.now() - began >= times.resetAfter) restartsInARow = 0;
        const backoff = Math.min(times.initialBackoff * 2 ** (restartsInARow - 1), times.maximumBackoff);
        const { terminated } = record.state;
        if (restartsInARow++ > 0) {
          event("Warning", "BackOff", `Back-off restarting failed container ${name} in pod ${podText}`);
          const text = `back-off ${durationText(backoff)} restarting failed container=${name} pod=${podText}`;
          if (terminated !== undefined) record.lastState = { terminated };
          wait("CrashLoopBackOff", text);
          await sleep(clock, backoff, stopping.signal);
          if (stopping.signal.aborted) {
            if (terminated !== undefined) record.state = { terminated };
            return exit;
          }
        }
        if (terminated !== undefined) record.lastState = { terminated };
        record.restartCount++;
      }
      return last;
    } finally {
      markStarted();
    }
  }

  return {
    record,
    get process() {
      return current;
    },
    run,
    started,
    async stop(graceSeconds) {
      const running = current;
      const first = !stopping.signal.aborted;
      stopping.abort();
      if (running === undefined) return;
      if (first) event("Normal", "Killing", `Stopping container ${name}`);
      await terminate(running, graceSeconds);
    },
    log(previous) {
      const ran = record.state.running !== undefined || record.state.terminated !== undefined;
      // While it waits for its restart the newest log is that of the run before.
      const index = previous ? (ran ? logs.length - 2 : logs.length - 1) : logs.length - 1;
      return logs[index];
    },
    exec,
    get unheard() {
      return unheard !== undefined;
    },
    onOutput(listener) {
      for (const { stream, chunk } of unheard ?? []) listener(stream, chunk);
      unheard = undefined;
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    remove() {
      for (const log of logs) log.remove();
    },
  };
}

/** A duration as Go prints it: `10s`, `1m20s`, `5m0s`. */
export function durationText(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
