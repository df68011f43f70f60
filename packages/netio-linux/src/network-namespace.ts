/**
 * Network namespaces without a name: a descriptor keeps each alive, nothing is written to `/run/netns`. When the process
 * ends, however it ends, the kernel closes the descriptor and removes the namespace with every link in it.
 */
import { closeSync, openSync, writeFileSync } from "node:fs";
import { checked, libc, SystemCallError } from "./libc.ts";
import { createRtnetlink, type Rtnetlink } from "./rtnetlink.ts";

const CLONE_NEWNET = 0x40000000;
const CURRENT = "/proc/thread-self/ns/net";

/** A network namespace held open by this process. */
export interface NetworkNamespace {
  /** For messages only; the kernel does not know it. */
  readonly name: string;
  /** A descriptor of the namespace, valid in every thread of the process. */
  readonly fd: number;
  /** `/proc/PID/fd/N`: how other processes of the same user enter it while this process lives. */
  readonly path: string;
  /**
   * Runs a function with the calling thread inside the namespace. The function must not wait: asynchronous work would run
   * outside, so it must not return a promise.
   */
  run<T>(work: () => T): T;
  /** A routing socket whose requests act in this namespace. Opened on first use, closed with the namespace. */
  readonly links: Rtnetlink;
  /** Writes a sysctl below `/proc/sys/net`, given with slashes: `ipv4/ip_forward`. */
  setSysctl(name: string, value: string | number): void;
  /** Lets go. The kernel removes the namespace when its last process and socket are gone. */
  close(): void;
}

/**
 * Makes an empty network namespace with its loopback up.
 *
 * @param name used in error messages
 * @throws {@link SystemCallError} `ERR_EPERM` without CAP_SYS_ADMIN
 */
export function createNetworkNamespace(name: string): NetworkNamespace {
  const origin = openSync(CURRENT, "r");
  let fd: number;
  try {
    checked(libc().unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)", `network namespace ${name}`);
    try {
      fd = openSync(CURRENT, "r");
    } finally {
      returnTo(origin, name);
    }
  } finally {
    closeSync(origin);
  }
  const namespace = namespaceOf(name, fd);
  try {
    namespace.links.setLink("lo", { up: true });
    return namespace;
  } catch (error) {
    namespace.close();
    throw error;
  }
}

/**
 * Moves the calling thread into a namespace for good. For worker threads that own a namespace's devices; the main thread
 * uses {@link NetworkNamespace.run}.
 *
 * @throws {@link SystemCallError} `ERR_EPERM` without CAP_SYS_ADMIN
 */
export function enterNetworkNamespace(fd: number): void {
  checked(libc().setns(fd, CLONE_NEWNET), "setns", `network namespace at descriptor ${fd}`);
}

function namespaceOf(name: string, fd: number): NetworkNamespace {
  let links: Rtnetlink | undefined;
  let open = true;
  const run = <T>(work: () => T): T => {
    if (!open) throw new SystemCallError("setns", 9, `network namespace ${name} is closed`);
    const origin = openSync(CURRENT, "r");
    try {
      checked(libc().setns(fd, CLONE_NEWNET), "setns", `network namespace ${name}`);
      try {
        return work();
      } finally {
        returnTo(origin, name);
      }
    } finally {
      closeSync(origin);
    }
  };
  return {
    name,
    fd,
    path: `/proc/${process.pid}/fd/${fd}`,
    run,
    get links(): Rtnetlink {
      links ??= run(() => createRtnetlink(name));
      return links;
    },
    setSysctl(sysctl, value): void {
      run(() => writeFileSync(`/proc/sys/net/${sysctl}`, String(value)));
    },
    close(): void {
      if (!open) return;
      open = false;
      links?.close();
      closeSync(fd);
    },
  };
}

// A thread left in a foreign namespace would connect, listen and resolve there: better to end than to go on.
function returnTo(origin: number, name: string): void {
  if (libc().setns(origin, CLONE_NEWNET) < 0) {
    process.stderr.write(`portolan: cannot leave network namespace ${name}; ending the process\n`);
    process.abort();
  }
}
