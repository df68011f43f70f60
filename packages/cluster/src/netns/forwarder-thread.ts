/** The main thread's hold on a node's forwarder: a worker thread that lives in the node's network namespace. */

import { MessageChannel, Worker } from "node:worker_threads";
import type { ServicePortSpec } from "@portolan/dataplane";
import { createDescriptorLedger, createEventCounter, type NetworkNamespace } from "@portolan/netio-linux";
import { forwarderEntry } from "./forwarder-entry.ts";
import type { ForwarderCalls, ForwarderData, ForwarderReply, ForwarderRequest, FrameInterface } from "./protocol.ts";

/**
 * A forwarder failed, or refused a call. `code` is that of the original error (`ERR_EPERM`, `INVALID_SERVICE_PORT`, …) or
 * `ERR_FORWARDER_ENDED`.
 */
export class ForwarderError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = "ForwarderError";
    this.code = code;
  }
}

/** Mebibytes of the engine's heap, in which maps and frames do not lie. What runs over it is a fault, and ends no more than this thread. */
const HEAP_LIMIT = 512;
/** What a forwarder is born with. */
export interface ForwarderOptions {
  readonly frames: FrameInterface;
  /** Questions to these addresses of the cluster's DNS are answered from their frames, as far as the forwarder is told names. */
  readonly dnsAddresses: readonly string[];
}

/** Service ports in a message; the forwarder forwards between two messages. */
const SERVICE_PORTS_PER_MESSAGE = 64;

/** What a forwarder of a row of them is born with. */
export interface ForwarderInheritance {
  /** Descriptor of the memory file in which its connections survive it. */
  readonly connections: number;
  /** The same of its predecessor, whose connections it takes over. */
  readonly earlierConnections?: number;
}

/** Calls to a running forwarder. They take effect in the order in which they are made, each between two batches. */
export interface ForwarderThread {
  /** Makes a call and waits for its result. */
  call<Name extends keyof ForwarderCalls>(
    name: Name,
    ...parameters: Parameters<ForwarderCalls[Name]>
  ): Promise<ReturnType<ForwarderCalls[Name]>>;
  /** Makes a call without waiting; a failure goes to `onError`. */
  post<Name extends keyof ForwarderCalls>(name: Name, ...parameters: Parameters<ForwarderCalls[Name]>): void;
  /** Ends the thread wherever it is, as a fault of the engine does: it runs no further code. */
  terminate(): void;
  /** Ends the thread; what it opened is closed when the promise resolves. */
  close(): Promise<void>;
}

/**
 * Starts a forwarder in a namespace. Resolves when it is ready for calls.
 *
 * @param onError failures of posted calls, and the end of the thread when nobody asked for it
 */
export async function startForwarder(
  namespace: NetworkNamespace,
  onError: (error: ForwarderError) => void,
  options: ForwarderOptions & ForwarderInheritance,
): Promise<ForwarderThread> {
  const entry = await forwarderEntry();
  const wake = createEventCounter();
  const { port1, port2 } = new MessageChannel();
  const { name, fd } = namespace;
  const ledger = createDescriptorLedger();
  const data: ForwarderData = {
    name,
    namespace: fd,
    wake: wake.fd,
    descriptors: ledger.memory,
    port: port2,
    ...options,
  };
  const worker = new Worker(entry, {
    workerData: data,
    transferList: [port2],
    name: `forwarder ${namespace.name}`,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_LIMIT },
  });
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  let lastId = 0;
  let ended: ForwarderError | undefined;
  let closing = false;

  port1.on("message", (reply: ForwarderReply) => {
    const caller = waiting.get(reply.id);
    waiting.delete(reply.id);
    if (reply.error === undefined) return caller?.resolve(reply.value);
    const error = new ForwarderError(reply.error.code ?? "ERR_FORWARDER", `${namespace.name}: ${reply.error.message}`);
    if (caller === undefined) onError(error);
    else caller.reject(error);
  });
  let cause = "it ended";
  worker.on("error", (error) => {
    cause = error instanceof Error ? error.message : String(error);
  });
  const exited = new Promise<void>((resolve) => {
    worker.once("exit", () => {
      ended = new ForwarderError("ERR_FORWARDER_ENDED", `the forwarder of ${namespace.name} does not run: ${cause}`);
      for (const caller of waiting.values()) caller.reject(ended);
      waiting.clear();
      port1.close();
      wake.close();
      ledger.closeAll();
      if (!closing) onError(ended);
      resolve();
    });
  });

  const request = (id: number, call: keyof ForwarderCalls, parameters: readonly unknown[]): void => {
    const send = (message: ForwarderRequest): void => port1.postMessage(message);
    if (call === "replaceServicePorts") {
      const specs = parameters[0] as readonly ServicePortSpec[];
      const last = Math.max(0, specs.length - SERVICE_PORTS_PER_MESSAGE);
      let at = 0;
      for (; at < last; at += SERVICE_PORTS_PER_MESSAGE) {
        send({ id, call, arguments: [specs.slice(at, at + SERVICE_PORTS_PER_MESSAGE)], more: true });
      }
      send({ id, call, arguments: [specs.slice(at)] });
    } else send({ id, call, arguments: parameters });
    wake.wake();
  };
  const call = ((name: keyof ForwarderCalls, ...parameters: unknown[]): Promise<unknown> => {
    if (ended !== undefined) return Promise.reject(ended);
    const id = ++lastId;
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      request(id, name, parameters);
    });
  }) as ForwarderThread["call"];

  await call("synchronize");
  return {
    call,
    post(name, ...parameters): void {
      if (ended === undefined) request(0, name, parameters);
      else onError(ended);
    },
    terminate: () => void worker.terminate(),
    async close(): Promise<void> {
      if (closing) return exited;
      closing = true;
      if (ended === undefined) request(0, "close", []);
      await exited;
    },
  };
}
