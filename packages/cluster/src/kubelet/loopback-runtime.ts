import { connect, createServer } from "node:net";
import type { Duplex } from "node:stream";
import type { Pod } from "@portolan/core";
import { createAddressPool } from "./address-pool.ts";
import type { PodRuntime } from "./pod-runtime.ts";

/** Options of {@link createLoopbackRuntime}. */
export interface LoopbackRuntimeOptions {
  /** Blocks for the pods' virtual addresses, one per family: `10.244.1.0/24`. */
  readonly podCidrs: readonly string[];
  /** Addresses of pods with `hostNetwork`. */
  readonly nodeAddresses: readonly string[];
  /** More variables for the programs of a pod, for example `http_proxy` of a gateway into the cluster. */
  readonly environment?: (pod: Pod) => Readonly<Record<string, string>>;
  /** Told about process groups that are started and that have ended. */
  readonly onProcess?: (pid: number, running: boolean) => void;
}

/** A runtime whose pods share this machine's loopback. */
export interface LoopbackRuntime extends PodRuntime {
  /** Where a pod's port really is, for gateways; undefined when no pod has that address and port. */
  locate(address: string, port: number): { readonly host: string; readonly port: number } | undefined;
}

/** Ports of 127.0.0.1 that nothing listens on now. All are held until all are found, so they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.once("error", reject);
          server.listen({ port: 0, host: "127.0.0.1" }, () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/**
 * The connection when it is made.
 * @throws the error of `connect`, with its `code`
 */
export function connectSocket(
  target: { port: number; host: string } | { path: string },
  signal?: AbortSignal,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...target, allowHalfOpen: true });
    const abort = (): void => {
      socket.destroy();
      reject(signal?.reason);
    };
    if (signal?.aborted === true) return abort();
    signal?.addEventListener("abort", abort, { once: true });
    socket.once("connect", () => {
      signal?.removeEventListener("abort", abort);
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", (error) => {
      signal?.removeEventListener("abort", abort);
      reject(error);
    });
  });
}

/**
 * Pods without root, on any system: their programs run on 127.0.0.1. Each pod has virtual addresses, and each of its ports is a
 * free port of loopback, which the program is told by `PORT_<n>` (and `PORT` for the first one).
 */
export function createLoopbackRuntime(options: LoopbackRuntimeOptions): LoopbackRuntime {
  const pools = options.podCidrs.map(createAddressPool);
  const locations = new Map<string, Map<number, number>>();
  return {
    name: "portolan-loopback",
    isolated: false,
    locate(address, port) {
      const local = locations.get(address)?.get(port);
      return local === undefined ? undefined : { host: "127.0.0.1", port: local };
    },
    async createSandbox(pod, { ports }) {
      const hostNetwork = pod.spec?.hostNetwork === true;
      const wanted = [...new Set(ports)];
      const free = await freePorts(wanted.length);
      const map = new Map(wanted.map((port, index) => [port, free[index]!]));
      const addresses = hostNetwork ? options.nodeAddresses : pools.map((pool) => pool.take());
      for (const address of addresses) {
        const known = hostNetwork ? (locations.get(address) ?? new Map<number, number>()) : new Map<number, number>();
        for (const [port, local] of map) known.set(port, local);
        locations.set(address, known);
      }
      const environment: Record<string, string> = { ...options.environment?.(pod) };
      for (const [port, local] of map) environment[`PORT_${port}`] = String(local);
      const [first] = map.values();
      if (first !== undefined) Object.assign(environment, { PORT: String(first), PORT_IS_MAPPED: "1" });
      return {
        addresses,
        environment,
        command: (argv) => ({ command: argv[0]!, args: argv.slice(1) }),
        connect(port, signal) {
          const local = map.get(port);
          if (local !== undefined) return connectSocket({ port: local, host: "127.0.0.1" }, signal);
          const error = new Error(
            `port ${port} is not among the pod's ports (${wanted.join(", ") || "none"}); add it to the container's ports`,
          );
          return Promise.reject(Object.assign(error, { code: "ECONNREFUSED" }));
        },
        portMap: (port) => map.get(port),
        ...(options.onProcess === undefined ? {} : { onProcess: options.onProcess }),
        async close() {
          for (const [index, address] of addresses.entries()) {
            if (hostNetwork) for (const port of wanted) locations.get(address)?.delete(port);
            else {
              locations.delete(address);
              pools[index]?.release(address);
            }
          }
        },
      };
    },
    async close() {
      locations.clear();
    },
  };
}
