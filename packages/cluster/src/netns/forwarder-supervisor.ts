/**
 * Keeps a node's forwarder running: remembers what it was told, and when it ends unasked starts another one and tells it the same.
 * Links, addresses and hardware addresses stay, and so do its connections, whose records lie in a memory file that outlives the thread:
 * flows only lose what was under way.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { NodeSpec, ServicePortSpec } from "@portolan/dataplane";
import type { DnsNameSpec, DnsZoneSpec } from "@portolan/dataplane/dns";
import { createMemoryFile, type NetworkNamespace } from "@portolan/netio-linux";
import { ForwarderError, type ForwarderOptions, type ForwarderThread, startForwarder } from "./forwarder-thread.ts";
import type { ForwarderCalls, ForwarderPort, ForwarderRoute } from "./protocol.ts";

/** Milliseconds before another try, when a new forwarder does not start: doubled each time, up to the limit. */
const FIRST_WAIT = 50;
const LONGEST_WAIT = 5_000;

type Call = { [Name in keyof ForwarderCalls]: [Name, ...Parameters<ForwarderCalls[Name]>] }[keyof ForwarderCalls];

/** What a forwarder was told and still holds. */
class DesiredState {
  readonly #ports = new Map<number, ForwarderPort>();
  readonly #routes = new Map<string, ForwarderRoute>();
  readonly #announced = new Map<string, number>();
  readonly #servicePorts = new Map<string, ServicePortSpec>();
  readonly #names = new Map<string, readonly DnsNameSpec[]>();
  #zone: DnsZoneSpec | undefined;
  #node: NodeSpec | undefined;

  /** @returns whether the call changes what a forwarder holds */
  record(call: Call): boolean {
    switch (call[0]) {
      case "configureNode":
        this.#node = call[1];
        return true;
      case "setServicePort":
        this.#servicePorts.set(call[1].id, call[1]);
        return true;
      case "removeServicePort":
        this.#servicePorts.delete(call[1]);
        return true;
      case "replaceServicePorts":
        this.#servicePorts.clear();
        for (const spec of call[1]) this.#servicePorts.set(spec.id, spec);
        return true;
      case "clearNames":
        this.#names.clear();
        this.#zone = undefined;
        return true;
      case "setZone":
        this.#zone = call[1];
        return true;
      case "setNames":
        if (call[2].length === 0) this.#names.delete(call[1]);
        else this.#names.set(call[1], call[2]);
        return true;
      case "openPort":
        this.#ports.set(call[1].index, call[1]);
        return true;
      case "closePort":
        this.#ports.delete(call[1]);
        return true;
      case "setRoute":
        this.#routes.set(call[1].prefix, call[1]);
        return true;
      case "removeRoute":
        this.#routes.delete(call[1]);
        return true;
      case "announce":
        this.#announced.set(call[1], call[2]);
        return true;
      case "withdraw":
        this.#announced.delete(call[1]);
        return true;
      default:
        return false;
    }
  }

  /** The calls that bring a new forwarder to this state, in their order. */
  *calls(): Generator<Call> {
    if (this.#node !== undefined) yield ["configureNode", this.#node];
    yield ["replaceServicePorts", [...this.#servicePorts.values()]];
    for (const [group, names] of this.#names) yield ["setNames", group, names];
    yield ["setZone", this.#zone];
    for (const route of this.#routes.values()) yield ["setRoute", route];
    // No frame comes in before it is known where to.
    for (const port of this.#ports.values()) yield ["openPort", port];
    for (const [address, port] of this.#announced) yield ["announce", address, port];
  }
}

/**
 * Starts a forwarder in a namespace and another one whenever it ends unasked. Calls made meanwhile take effect in the new one.
 *
 * @param onError failures of posted calls, ends of forwarders, and what a new one refused
 */
export async function superviseForwarder(
  namespace: NetworkNamespace,
  onError: (error: ForwarderError) => void,
  options: ForwarderOptions,
): Promise<ForwarderThread> {
  const state = new DesiredState();
  let closing = false;
  /** Resolves when there is a forwarder again, or none is wanted; undefined while one runs. */
  let restart: Promise<void> | undefined;

  const failed = (error: ForwarderError): void => {
    onError(error);
    if (error.code === "ERR_FORWARDER_ENDED" && !closing) restart ??= startAgain();
  };
  const memoryFile = () => createMemoryFile(`connections of ${namespace.name}`);
  /** Of the forwarder that runs, or ran last. */
  let connections = memoryFile();
  let current: ForwarderThread;
  try {
    current = await startForwarder(namespace, failed, { ...options, connections: connections.fd });
  } catch (error) {
    connections.close();
    throw error;
  }
  /** What nobody could be told while none ran, beside what is remembered. */
  const missed: Parameters<ForwarderCalls["flushUdp"]>[] = [];

  async function startAgain(): Promise<void> {
    for (let wait = FIRST_WAIT; !closing; wait = Math.min(2 * wait, LONGEST_WAIT)) {
      const next = memoryFile();
      try {
        current = await startForwarder(namespace, failed, {
          ...options,
          connections: next.fd,
          earlierConnections: connections.fd,
        });
        connections.close();
        connections = next;
        restart = undefined;
        // In one go: what is asked from now on comes after it.
        for (const [name, ...parameters] of state.calls()) {
          const told = (current.call as (name: string, ...parameters: unknown[]) => Promise<unknown>)(
            name,
            ...parameters,
          );
          told.catch((error: ForwarderError) => {
            if (error.code !== "ERR_FORWARDER_ENDED") onError(error);
          });
        }
        for (const parameters of missed.splice(0)) current.post("flushUdp", ...parameters);
        return;
      } catch (error) {
        next.close();
        onError(error instanceof ForwarderError ? error : new ForwarderError("ERR_FORWARDER", String(error)));
        await delay(wait);
      }
    }
  }

  async function call(name: keyof ForwarderCalls, ...parameters: unknown[]): Promise<unknown> {
    const changes = state.record([name, ...parameters] as Call);
    for (;;) {
      if (restart === undefined) {
        try {
          return await (current.call as typeof call)(name, ...parameters);
        } catch (error) {
          if (!(error instanceof ForwarderError) || error.code !== "ERR_FORWARDER_ENDED" || closing) throw error;
        }
      }
      await restart;
      // The new forwarder was told already.
      if (changes) return (current.call as typeof call)("synchronize");
    }
  }

  return {
    call: call as ForwarderThread["call"],
    post(name, ...parameters): void {
      state.record([name, ...parameters] as unknown as Call);
      if (restart === undefined) current.post(name, ...parameters);
      else if (name === "flushUdp") missed.push(parameters as Parameters<ForwarderCalls["flushUdp"]>);
    },
    terminate: () => current.terminate(),
    async close(): Promise<void> {
      closing = true;
      await restart;
      await current.close();
      connections.close();
    },
  };
}
