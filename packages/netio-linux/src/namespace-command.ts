/**
 * How to start a program inside a network namespace: a command line of util-linux's small programs, each of which replaces
 * itself by the next, so that any spawner can use it (`child_process`, a shell, another process on the same machine).
 */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { NetworkNamespace } from "./network-namespace.ts";

/** A file or directory that a program sees in place of another. */
export interface BindMount {
  /** Absolute path of what to show. */
  readonly source: string;
  /** Absolute path, existing, where it is shown. */
  readonly target: string;
  readonly readOnly?: boolean;
}

/** Entries that a program sees in a directory beside those that are there. */
export interface DirectoryAddition {
  /** Absolute path, existing, without symbolic links. */
  readonly directory: string;
  /** Absolute path of a directory with the further entries; without commas and colons. */
  readonly entries: string;
}

/** What to run, and where. */
export interface NamespaceCommandOptions {
  /** The namespace, or the path of one (`/proc/PID/ns/net`, `/proc/PID/fd/N`). */
  readonly netns: Pick<NetworkNamespace, "path"> | string;
  /** The program and its arguments. */
  readonly argv: readonly string[];
  /**
   * Directories shown with more in them than they have, read-only: places for {@link mounts} that this machine lacks. They come
   * before the mounts. `/` stays as it is, and what is new in it can be written to while the program runs.
   */
  readonly additions?: readonly DirectoryAddition[];
  /** Files of a private mount namespace, for example `/etc/resolv.conf`. */
  readonly mounts?: readonly BindMount[];
  /** Hostname in a UTS namespace of its own. */
  readonly hostname?: string;
  /** Working directory. */
  readonly directory?: string;
  /**
   * A process namespace of its own: the program's children die with it, and it sees only them. A small init is process 1,
   * so the program's signal handling is the usual one. Default false.
   */
  readonly privateProcesses?: boolean;
}

/** A command line for `spawn`. */
export interface NamespaceCommand {
  readonly command: string;
  readonly args: string[];
}

const paths = new Map<string, string>();

/**
 * Absolute path of a program on this process's PATH: the program that is started may have another PATH, where another program has
 * the name. A program that is not found keeps its bare name, so that `spawn` says what is missing.
 */
function absolutePath(name: string): string {
  let path = paths.get(name);
  if (path !== undefined) return path;
  path = name;
  for (const folder of [...(process.env["PATH"] ?? "").split(delimiter), "/usr/bin", "/bin", "/usr/sbin", "/sbin"]) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      path = join(folder, name);
      break;
    } catch {
      // The next folder may have it.
    }
  }
  paths.set(name, path);
  return path;
}

// Process 1 of a process namespace ignores signals without a handler and must reap orphans; a shell that waits does both.
// The program keeps standard input (a background job of a shell would read /dev/null), through descriptor 9.
const INIT =
  'exec 9<&0; "$@" <&9 9<&- & main=$!; exec 9<&-; trap "kill -TERM $main" TERM; trap "kill -INT $main" INT; ' +
  "while :; do wait $main; status=$?; kill -0 $main 2>/dev/null || exit $status; done";

// Where the program was to begin is entered again after the change of root.
const INSIDE = 'cd "$0" || exit 126; main=$1; shift; eval "$main"';

/**
 * The shell commands that make `$root`: what `/` has, and what the folder `$1` has, in a file system in memory that may be written. One
 * `mount` for all, since a program that is called every second would wait for thirty of them.
 */
function extendedRoot(mount: string): string {
  return [
    '{ root="$1-root"; mkdir -p "$root"',
    `${mount} -t tmpfs -o mode=755 tmpfs "$root"`,
    'cp -R "$1/." "$root/"',
    "directories= files= links= mounts=",
    "for entry in /* /.[!.]*; do case $entry in *[[:space:]]*) continue;; esac; " +
      'if [ -L "$entry" ]; then links="$links $entry"; ' +
      'elif [ -d "$entry" ]; then directories="$directories $root$entry"; mounts="$mounts$entry $root$entry none rbind 0 0\n"; ' +
      'elif [ -f "$entry" ]; then files="$files $root$entry"; mounts="$mounts$entry $root$entry none bind 0 0\n"; fi; done',
    "mkdir $directories",
    'for file in $files; do : > "$file"; done',
    '{ [ -z "$links" ] || cp -P $links "$root/"; }',
    'printf "%b" "$mounts" > "$root/.mounts"',
    `${mount} --all --fstab "$root/.mounts"`,
    'rm "$root/.mounts"; }',
  ].join(" && ");
}

/**
 * The command line that runs a program in a network namespace. The program is killed when the process that spawned it
 * dies, even by SIGKILL. Spawn it with `detached: true` for a process group of its own, and signal that group
 * (`process.kill(-pid, "SIGTERM")`): with `privateProcesses` the spawned process is only the keeper of the namespace and
 * ignores everything but SIGKILL, which ends all.
 *
 * Its exit code is the program's; with `privateProcesses` a program killed by signal N gives 128 + N.
 */
export function namespaceCommand(options: NamespaceCommandOptions): NamespaceCommand {
  const path = typeof options.netns === "string" ? options.netns : options.netns.path;
  const mounts = options.mounts ?? [];
  const { hostname, privateProcesses = false } = options;
  if (options.argv.length === 0) throw new RangeError("argv is empty; name the program to run");
  const args = ["--pdeathsig", "KILL", "--", absolutePath("nsenter"), `--net=${path}`];
  if (options.directory !== undefined) args.push(`--wdns=${options.directory}`);
  args.push("--");
  const mountProgram = absolutePath("mount");
  const steps: string[] = [];
  const parameters: string[] = [];
  let isRootExtended = false;
  for (const { directory, entries } of options.additions ?? []) {
    if (directory === "/") {
      isRootExtended = true;
      continue;
    }
    steps.push(`${mountProgram} -t overlay overlay -o "lowerdir=$2:$1" "$1"`, "shift 2");
    parameters.push(directory, entries);
  }
  if (isRootExtended) {
    steps.push(extendedRoot(mountProgram), "shift");
    parameters.push(options.additions!.find(({ directory }) => directory === "/")!.entries);
  }
  for (const mount of mounts) {
    steps.push(`${mountProgram} --bind "$1" "$root$2"`);
    if (mount.readOnly === true) steps.push(`${mountProgram} -o remount,bind,ro "$root$2"`);
    steps.push("shift 2");
    parameters.push(mount.source, mount.target);
  }
  if (hostname !== undefined) {
    steps.push('echo "$1" > /proc/sys/kernel/hostname', "shift");
    parameters.push(hostname);
  }
  if (steps.length === 0 && !privateProcesses)
    return { command: absolutePath("setpriv"), args: [...args, ...options.argv] };
  args.push(absolutePath("unshare"), "--mount", "--propagation", "private");
  if (hostname !== undefined) args.push("--uts");
  if (privateProcesses) args.push("--pid", "--fork", "--kill-child", "--mount-proc");
  const main = privateProcesses ? INIT : 'exec "$@"';
  const last = isRootExtended
    ? `exec ${absolutePath("chroot")} "$root" /bin/sh -c '${INSIDE}' "$PWD" '${main}' "$@"`
    : main;
  const script = ["root=", ...steps.map((step) => `${step} || exit 126`), last].join("\n");
  args.push("--", "/bin/sh", "-c", script, "namespace", ...parameters, ...options.argv);
  return { command: absolutePath("setpriv"), args };
}
