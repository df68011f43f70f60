import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout. */
export const root: string = dirname(dirname(fileURLToPath(import.meta.url)));

/** The built main job. */
export const mainProgram: string = join(root, "apps", "local-cluster", "dist", "main.js");

/** Absolute path of a program, or `undefined` when the machine has none. */
export function findProgram(name: string): string | undefined {
  for (const folder of [
    ...(process.env["PATH"] ?? "").split(delimiter),
    "/usr/sbin",
    "/sbin",
    join(root, ".cache/tools/bin"),
  ]) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      // Not here.
    }
  }
  return undefined;
}

/** How a program ended. */
export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs, and what it printed so far. */
export interface Running {
  readonly child: ChildProcess;
  readonly output: () => string;
  /** Resolves when the text was printed, rejects when the program ends before. */
  readonly printed: (text: string) => Promise<void>;
  readonly ended: Promise<Outcome>;
}

/** Starts a program. */
export function start(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; input?: string } = {},
): Running {
  const child = spawn(command, args, {
    cwd: options.cwd ?? root,
    env: options.env ?? process.env,
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  return {
    child,
    output: () => stdout + stderr,
    ended,
    printed: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if ((stdout + stderr).includes(text)) resolve();
        };
        child.stdout.on("data", look);
        child.stderr.on("data", look);
        void ended.then(() => {
          look();
          reject(new Error(`ended before it printed "${text}":\n${stdout}${stderr}`));
        }, reject);
        look();
      }),
  };
}

/** Runs a program to its end. */
export async function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; input?: string } = {},
): Promise<Outcome> {
  return await start(command, args, options).ended;
}

/** A folder that is removed with {@link removeFolders}. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "portolan-test-"));
  folders.push(folder);
  return folder;
}
const folders: string[] = [];

/** Removes all folders of {@link temporaryFolder}. */
export function removeFolders(): void {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

/** The modes that this machine can run, and why one is missing. */
export const modes: readonly ("netns" | "gateway")[] =
  process.platform === "linux" && process.getuid?.() === 0 ? ["gateway", "netns"] : ["gateway"];

/** Waits until a condition holds. @throws the last failure after `seconds` */
export async function eventually(check: () => Promise<void> | void, seconds = 10): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    try {
      await check();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
