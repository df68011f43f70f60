/** What this machine allows, found by trying it. */
import { accessSync, closeSync, constants, openSync } from "node:fs";
import { delimiter, join } from "node:path";
import { createNetworkNamespace } from "./network-namespace.ts";
import { createPacketSocket, withholdFrames } from "./packet-socket.ts";
import { createXdpSocket, type LinearMemory, ringMemorySize } from "./xdp-socket.ts";

/** Whether something can be used, and if not, why and what to do. */
export interface Capability {
  readonly available: boolean;
  /** One sentence; present when not available. */
  readonly reason?: string;
}

/** Result of {@link probe}. */
export interface NetworkCapabilities {
  /** Network namespaces and links between them. */
  readonly namespaces: Capability;
  /** AF_XDP sockets with their memory in WebAssembly. */
  readonly xdp: Capability;
  /** Packet sockets, and a bridge that keeps their frames away from the stack. */
  readonly packets: Capability;
  /** TAP devices. */
  readonly tap: Capability;
  /** The programs that {@link namespaceCommand} starts. */
  readonly launcher: Capability;
}

// TypeScript's libraries know the WebAssembly global only together with the browser's.
function createLinearMemory(pages: number): LinearMemory {
  const { WebAssembly } = globalThis as unknown as {
    WebAssembly: { Memory: new (limits: { initial: number; maximum: number }) => LinearMemory };
  };
  return new WebAssembly.Memory({ initial: pages, maximum: pages });
}

const yes: Capability = { available: true };
const no = (reason: string): Capability => ({ available: false, reason });
const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function findProgram(name: string): boolean {
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      // Not in this directory.
    }
  }
  return false;
}

function attempt(work: () => void): Capability {
  try {
    work();
    return yes;
  } catch (error) {
    return no(reasonOf(error));
  }
}

/**
 * Tries each mechanism once, in namespaces that are gone when it returns; nothing else on the machine is touched. Takes
 * some tens of milliseconds.
 */
export function probe(): NetworkCapabilities {
  if (process.platform !== "linux") {
    const missing = no(`needs Linux; this is ${process.platform}`);
    return { namespaces: missing, xdp: missing, packets: missing, tap: missing, launcher: missing };
  }
  if (process.geteuid?.() !== 0) {
    const missing = no("needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF)");
    return { namespaces: missing, xdp: missing, packets: missing, tap: missing, launcher: missing };
  }
  const namespaces = attempt(() => {
    const namespace = createNetworkNamespace("probe");
    try {
      namespace.links.addVeth({ name: "probe0" }, { name: "probe1" });
    } finally {
      namespace.close();
    }
  });
  const xdp = namespaces.available
    ? attempt(() => {
        const namespace = createNetworkNamespace("probe");
        try {
          namespace.links.addVeth({ name: "probe0" }, { name: "probe1" });
          const memory = createLinearMemory(4);
          const ringSize = 64;
          const frames = { memory, offset: ringMemorySize(ringSize), length: 16 * 2048, frameSize: 2048 };
          namespace.run(() => createXdpSocket({ link: "probe0", frames, ringOffset: 0, ringSize })).close();
        } finally {
          namespace.close();
        }
      })
    : namespaces;
  const packets = namespaces.available
    ? attempt(() => {
        const namespace = createNetworkNamespace("probe");
        try {
          namespace.links.addVeth({ name: "probe0" }, { name: "probe1" });
          withholdFrames(namespace.links, "probe0");
          namespace.run(() => createPacketSocket({ link: "probe0", memory: createLinearMemory(1) })).close();
        } finally {
          namespace.close();
        }
      })
    : namespaces;
  const tap = attempt(() => closeSync(openSync("/dev/net/tun", "r+")));
  const missing = ["setpriv", "nsenter", "unshare", "mount"].filter((name) => !findProgram(name));
  const launcher =
    missing.length === 0 ? yes : no(`${missing.join(", ")} not found on PATH; install util-linux (and mount)`);
  return { namespaces, xdp, packets, tap, launcher };
}
