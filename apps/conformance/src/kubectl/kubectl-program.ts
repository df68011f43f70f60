import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** What a program left behind. */
export interface Output {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where and how a program runs. */
export interface RunOptions {
  readonly cwd: string;
  readonly env: Record<string, string>;
  readonly stdin?: string | undefined;
  readonly seconds: number;
}

/** Runs a program to its end; one that takes too long is ended and has exit code 124. */
export function run(file: string, parameters: readonly string[], options: RunOptions): Promise<Output> {
  return new Promise((resolve) => {
    const child = execFile(
      file,
      [...parameters],
      { cwd: options.cwd, env: options.env, timeout: options.seconds * 1000, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 124;
        resolve({ exit: code, stdout, stderr });
      },
    );
    child.stdin?.on("error", () => {});
    child.stdin?.end(options.stdin ?? "");
  });
}

/** A kubectl on this machine. */
export interface KubectlProgram {
  readonly path: string;
  /** `1.32` */
  readonly version: string;
  /** `v1.32.4` */
  readonly fullVersion: string;
}

/** Asks a kubectl for its version; `undefined` when it is none. */
async function identify(path: string): Promise<KubectlProgram | undefined> {
  const output = await run(path, ["version", "--client", "--output=json"], {
    cwd: tmpdir(),
    env: { PATH: process.env["PATH"] ?? "", HOME: tmpdir() },
    seconds: 20,
  });
  try {
    const { clientVersion } = JSON.parse(output.stdout) as {
      clientVersion: { major: string; minor: string; gitVersion: string };
    };
    return {
      path,
      version: `${clientVersion.major}.${clientVersion.minor.replace(/\D+$/, "")}`,
      fullVersion: clientVersion.gitVersion,
    };
  } catch {
    return undefined;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The kubectl on PATH. */
export async function kubectlOnPath(): Promise<KubectlProgram | undefined> {
  const path = (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "kubectl"))
    .find(isExecutable);
  return path === undefined ? undefined : identify(path);
}

/** `.cache/tools/kubectl-versions` of the repository: a folder for each minor version, which `kubectl-versions.mjs` fetches. */
function versionsFolder(): string {
  // The compiled program lies elsewhere than its source.
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "pnpm-workspace.yaml")) && dirname(folder) !== folder) folder = dirname(folder);
  return join(folder, ".cache", "tools", "kubectl-versions");
}

/** The kubectl on PATH and those that were fetched, oldest first; each minor version once. */
export async function kubectlPrograms(): Promise<readonly KubectlProgram[]> {
  const folder = versionsFolder();
  let names: string[] = [];
  try {
    names = readdirSync(folder);
  } catch {
    // Nothing was fetched.
  }
  const paths = names.map((name) => join(folder, name, "kubectl")).filter(isExecutable);
  const found = [await kubectlOnPath(), ...(await Promise.all(paths.map(identify)))];
  const byVersion = new Map<string, KubectlProgram>();
  for (const program of found) if (program !== undefined) byVersion.set(program.version, program);
  const minor = (program: KubectlProgram): number => Number(program.version.split(".")[1]);
  return [...byVersion.values()].sort((a, b) => minor(a) - minor(b));
}
