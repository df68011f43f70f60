import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { programFile } from "../images/program-file.ts";
import type { NetnsNode, NetworkPlace } from "../netns/node.ts";
import { createAddressPool } from "./address-pool.ts";
import { connectSocket } from "./loopback-runtime.ts";
import { createMountPlaces } from "./mount-places.ts";
import type { PodRuntime, PodSandbox } from "./pod-runtime.ts";

/** Options of {@link createNetnsRuntime}. */
export interface NetnsRuntimeOptions {
  readonly node: NetnsNode;
}

/**
 * Pods as processes in network namespaces of a node of the fabric: they have addresses of their own and everything they send goes
 * through the node's dataplane. Linux, as root. Files are shown at their mount paths: where this machine lacks the path, the nearest
 * folder above it is shown with the missing ones in it, read-only; `/` stays writable. Only paths that would be new in a folder for
 * temporary files or in a home cannot be had that way, and are left out.
 */
export function createNetnsRuntime(options: NetnsRuntimeOptions): PodRuntime {
  const { node } = options;
  const pools = node.podCIDRs.map(createAddressPool);
  let relay: Promise<Relay> | undefined;
  // Started with the first pod: it takes a while, and an empty node needs none.
  const startedRelay = (): Promise<Relay> => {
    relay ??= startRelay(node);
    return relay;
  };

  return {
    name: "portolan-netns",
    isolated: true,
    async createSandbox(pod, { hostname }): Promise<PodSandbox> {
      const through = startedRelay();
      const hostNetwork = pod.spec?.hostNetwork === true;
      const name = pod.metadata.uid ?? pod.metadata.name ?? "";
      const addresses = hostNetwork ? node.addresses : pools.map((pool) => pool.take());
      const release = (): void => {
        if (!hostNetwork) for (const [index, address] of addresses.entries()) pools[index]?.release(address);
      };
      let place: NetworkPlace = node;
      try {
        if (!hostNetwork) place = await node.addPod({ name, addresses });
      } catch (error) {
        release();
        throw error;
      }
      const [address = ""] = addresses;
      const places = createMountPlaces();
      return {
        addresses,
        environment: {},
        command: (argv, { mounts, directory }) =>
          place.command(argv, {
            ...places.of(mounts),
            hostname: hostNetwork ? node.name : hostname,
            ...(directory === undefined ? {} : { directory }),
          }),
        connect: async (port, signal) => (await through).connect(address, port, signal),
        async close() {
          places.remove();
          if (!hostNetwork) await node.removePod(name);
          release();
        },
      };
    },
    async close() {
      const started = relay;
      relay = undefined;
      await (await started?.catch(() => undefined))?.close();
    },
  };
}

interface Relay {
  connect(address: string, port: number, signal?: AbortSignal): Promise<Duplex>;
  close(): Promise<void>;
}

/** A program in the node's namespace that opens connections for us: this process' own sockets are elsewhere. */
async function startRelay(node: NetnsNode): Promise<Relay> {
  const directory = mkdtempSync(join(tmpdir(), "portolan-relay-"));
  const path = join(directory, "socket");
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  const argv = [process.execPath, "--max-old-space-size=32", "--v8-pool-size=1", programFile("relay"), path];
  const { command, args } = node.command(argv);
  const child: ChildProcess = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  try {
    await new Promise<void>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`the relay of node ${node.name} ended with status ${code}`)));
      child.stdout?.once("data", () => resolve());
    });
  } catch (error) {
    remove();
    throw error;
  }
  child.stdout?.resume();
  return {
    async connect(address, port, signal) {
      const socket = await connectSocket({ path }, signal);
      try {
        socket.write(`${address} ${port}\n`);
        const answer = await firstLine(socket, signal);
        if (answer === "ok") return socket;
        const [, code = "EIO", message = answer] = /^error (\S+) (.*)$/.exec(answer) ?? [];
        throw Object.assign(new Error(message), { code });
      } catch (error) {
        socket.destroy();
        throw error;
      }
    },
    async close() {
      child.stdin?.end();
      const timer = setTimeout(() => child.kill("SIGKILL"), 1_000);
      await exited;
      clearTimeout(timer);
      remove();
    },
  };
}

/** Reads up to the first line feed, and puts back what follows. */
function firstLine(socket: Duplex, signal: AbortSignal | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    let head = Buffer.alloc(0);
    const done = (): void => {
      socket.off("readable", onReadable);
      socket.off("error", onError);
      socket.off("close", onClose);
      signal?.removeEventListener("abort", onAbort);
    };
    // By `readable`, not `data`: a stream that was paused by hand would not start to flow for its next reader.
    const onReadable = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf(10);
      if (end < 0) return;
      done();
      const rest = head.subarray(end + 1);
      if (rest.length > 0) socket.unshift(rest);
      resolve(head.subarray(0, end).toString("latin1"));
    };
    const onError = (error: Error): void => {
      done();
      reject(error);
    };
    const onClose = (): void => onError(new Error("the relay hung up"));
    const onAbort = (): void => onError(signal?.reason ?? new Error("aborted"));
    socket.on("readable", onReadable);
    socket.on("error", onError);
    socket.on("close", onClose);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
