import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { CommandError, explainError } from "./command-error.ts";

/** The folder that a running cluster owns: kubeconfig, logs, sockets. One cluster at a time has it. */
export interface RunDirectory {
  /** Absolute path. */
  readonly path: string;
  /** Remembers a process that the cluster started, so that the next run can end it if this one is killed. */
  addProcess(pid: number): void;
  removeProcess(pid: number): void;
  /** Removes the folder. */
  remove(): void;
}

interface Owner {
  readonly pid: number;
  readonly started: string;
}

/**
 * When a process started, in clock ticks since boot, on Linux; `undefined` when there is no such process or the system does not
 * tell. A pid that was given to another process since has another start.
 */
export function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

function isAlive({ pid, started }: Owner): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const now = processStart(pid);
  return now === undefined || started === "" || now === started;
}

/** Ends what a killed run left: process groups that it had started and that are still the same processes. */
function endLeftovers(path: string): number {
  let ended = 0;
  let lines: string[] = [];
  try {
    lines = readFileSync(join(path, "processes"), "utf8").split("\n");
  } catch {
    return 0;
  }
  for (const line of lines) {
    const [pid, started = ""] = line.split(" ");
    if (!pid || started === "" || processStart(Number(pid)) !== started) continue;
    for (const target of [-Number(pid), Number(pid)]) {
      try {
        process.kill(target, "SIGKILL");
        ended++;
        break;
      } catch {
        // Not a group leader, or gone in the meantime.
      }
    }
  }
  return ended;
}

/**
 * Takes a folder for this process. What an earlier run left there when it was killed is ended and removed first.
 *
 * @param say told what was cleaned up
 * @throws CommandError when a running cluster has the folder, or it cannot be made
 */
export function claimRunDirectory(directory: string, say: (text: string) => void): RunDirectory {
  const path = resolve(directory);
  const ownerFile = join(path, "owner.json");
  let owner: Owner | undefined;
  try {
    owner = JSON.parse(readFileSync(ownerFile, "utf8")) as Owner;
  } catch {
    owner = undefined;
  }
  if (owner !== undefined) {
    if (owner.pid !== process.pid && isAlive(owner)) {
      throw new CommandError(
        `a cluster is already running here (process ${owner.pid}); end it with Ctrl-C in its terminal, or start another one with --directory`,
      );
    }
    const ended = endLeftovers(path);
    rmSync(path, { recursive: true, force: true });
    say(`removed what an earlier run left behind${ended > 0 ? ` (${ended} processes ended)` : ""}`);
  }
  const processes = new Map<number, string>();
  const write = (): void => {
    const text = [...processes].map(([pid, started]) => `${pid} ${started}\n`).join("");
    try {
      writeFileSync(join(path, "processes"), text);
    } catch {
      // The list serves the next run only; a full disk must not end this one.
    }
  };
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    writeFileSync(ownerFile, JSON.stringify({ pid: process.pid, started: processStart(process.pid) ?? "" }));
  } catch (error) {
    throw new CommandError(`cannot use the folder ${directory}: ${explainError(error)}`);
  }
  return {
    path,
    addProcess(pid) {
      processes.set(pid, processStart(pid) ?? "");
      write();
    },
    removeProcess(pid) {
      if (processes.delete(pid)) write();
    },
    remove() {
      rmSync(path, { recursive: true, force: true });
    },
  };
}
