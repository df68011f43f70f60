import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { constants } from "node:os";
import type { Writable } from "node:stream";

/** How a program ended: its exit code, 128 + number when a signal ended it. */
export interface ProcessExit {
  readonly exitCode: number;
  readonly signal?: number;
}

/** A running program with its process group. */
export interface ContainerProcess {
  readonly pid: number;
  readonly exited: Promise<ProcessExit>;
  readonly stdin: Writable | undefined;
  /** Sends a signal to the program, SIGKILL to its whole group; nothing once it has ended. */
  kill(signal: NodeJS.Signals): void;
  /** Sets the size of the terminal; nothing without one. */
  resize(width: number, height: number): void;
}

/** What to run. */
export interface ContainerProcessOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly directory?: string;
  /** Keeps standard input open for writing; otherwise the program reads end of file. */
  readonly stdin?: boolean;
  readonly tty?: boolean;
  readonly onOutput: (stream: "stdout" | "stderr", chunk: Uint8Array) => void;
}

// Programs that must not outlive this process, whatever ends it. The handler is there only while there are any.
const running = new Set<number>();
function endAll(): void {
  for (const pid of running) signalGroup(pid, "SIGKILL");
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}

/**
 * Starts a program in a process group of its own.
 * @throws the error of `spawn` (`ENOENT`, `EACCES`)
 */
export async function startContainerProcess(options: ContainerProcessOptions): Promise<ContainerProcess> {
  const { environment, directory } = options;
  const child: ChildProcess = spawn(options.command, [...options.args], {
    env: { ...environment },
    detached: true,
    stdio: [options.stdin === true ? "pipe" : "ignore", "pipe", "pipe"],
    ...(directory === undefined ? {} : { cwd: directory }),
  });
  const exited = new Promise<ProcessExit>((resolve) => {
    // `close`: all output has arrived. A child that keeps the pipe open must not delay it for ever, hence the timer.
    let result: ProcessExit | undefined;
    const finish = (): void => {
      if (result !== undefined) resolve(result);
    };
    child.once("exit", (code, signal) => {
      if (child.pid !== undefined) {
        running.delete(child.pid);
        // What the program left behind in its group ends with it.
        signalGroup(child.pid, "SIGKILL");
      }
      if (running.size === 0) process.off("exit", endAll);
      const number = signal === null ? undefined : constants.signals[signal];
      result = number === undefined ? { exitCode: code ?? 0 } : { exitCode: 128 + number, signal: number };
      setTimeout(finish, 500).unref();
    });
    child.once("close", finish);
  });
  child.stdout?.on("data", (chunk: Uint8Array) => options.onOutput("stdout", chunk));
  child.stderr?.on("data", (chunk: Uint8Array) => options.onOutput("stderr", chunk));
  child.stdin?.on("error", () => undefined);
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  const pid = child.pid!;
  child.on("error", () => undefined);
  if (running.size === 0) process.on("exit", endAll);
  if (child.exitCode === null && child.signalCode === null) running.add(pid);
  return {
    pid,
    exited,
    stdin: child.stdin ?? undefined,
    kill(signal) {
      if (!running.has(pid)) return;
      // As in a container: what the program started is its own to end, but nothing survives it.
      if (signal === "SIGKILL") signalGroup(pid, signal);
      else process.kill(pid, signal);
    },
    resize(width, height) {
      if (options.tty === true && running.has(pid)) setTerminalSize(pid, width, height);
    },
  };
}

/** A shell word that stands for exactly this text. */
export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * The command line that gives a program a terminal: Node has no pseudo-terminals, util-linux' `script` does. `script` must be an
 * absolute path.
 */
export function terminalCommand(script: string, argv: readonly string[]): string[] {
  return [script, "--quiet", "--return", "--flush", "--command", `exec ${argv.map(shellQuote).join(" ")}`, "/dev/null"];
}

function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1");
    return text.split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** The terminal is that of the first descendant that has one as its standard input. */
function setTerminalSize(pid: number, width: number, height: number, tries = 20): void {
  const open = [pid];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    try {
      const device = readlinkSync(`/proc/${next}/fd/0`);
      if (device.startsWith("/dev/pts/")) {
        const args = ["-F", device, "rows", String(height), "cols", String(width)];
        spawn("stty", args, { stdio: "ignore" }).on("error", () => undefined);
        return;
      }
    } catch {
      // Gone meanwhile.
    }
    open.push(...childrenOf(next));
  }
  // The terminal appears a few milliseconds after the start.
  if (tries > 0) setTimeout(() => setTerminalSize(pid, width, height, tries - 1), 25).unref();
}
