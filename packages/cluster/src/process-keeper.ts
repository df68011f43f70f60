import { spawn } from "node:child_process";
import { programFile } from "./images/program-file.ts";

/** Knows the processes that must not outlive this one. */
export interface ProcessKeeper {
  /** Process groups, or processes that lead none. */
  add(pid: number): void;
  remove(pid: number): void;
  /** Ends it; processes still known to it are killed. */
  close(): Promise<void>;
}

/**
 * Starts a small program that kills what it was told of when this process is gone, even by `kill -9`: where processes share this
 * machine's loopback, nothing else would end them.
 */
export function startProcessKeeper(): ProcessKeeper {
  const child = spawn(process.execPath, ["--max-old-space-size=16", programFile("keeper")], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  child.stdin.on("error", () => {});
  child.unref();
  return {
    add: (pid) => void child.stdin.write(`+${pid}\n`),
    remove: (pid) => void child.stdin.write(`-${pid}\n`),
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}
