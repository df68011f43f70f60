import { connect, type Socket } from "node:net";
import type { Dataplane } from "@portolan/dataplane";
import { canonicalAddress } from "@portolan/net";
import type { GatewayClient } from "./gateway.ts";
import { socksReply } from "./socks.ts";

/** A connection that was not made, as SOCKS (RFC 1928 §6) and HTTP tell it. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly socks: number;
  readonly http: number;

  constructor(message: string, socks: number, http: number) {
    super(message);
    this.socks = socks;
    this.http = http;
  }
}

/** An open connection; `release` is called once when it is over. */
export interface Connection {
  readonly socket: Socket;
  release(): void;
}

/**
 * Connects a client to a host (a name of the cluster or an address) and port.
 * @throws Refusal
 */
export type Dial = (client: GatewayClient, host: string, port: number) => Promise<Connection>;

/** Resolves a name to addresses as it would be in a pod of the namespace; empty when there is none. */
export type Resolve = (name: string, namespace: string) => readonly string[] | Promise<readonly string[]>;

async function addressOf(resolve: Resolve, { namespace }: GatewayClient, host: string): Promise<string> {
  const address = canonicalAddress(host) ?? (await resolve(host, namespace))[0];
  if (address === undefined) throw new Refusal(`no address for ${host}`, socksReply.hostUnreachable, 502);
  return address;
}

function opened(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve();
    });
    socket.once("error", reject);
  });
}

/** Options of {@link createConnectDial}. */
export interface ConnectDialOptions {
  /** The dataplane of each node, by name. */
  readonly dataplanes: ReadonlyMap<string, Dataplane>;
  readonly resolve: Resolve;
  /** Where a pod's port really listens on this machine; `undefined` when no pod has the address or the port is not mapped. */
  readonly locate: (address: string, port: number) => { readonly host: string; readonly port: number } | undefined;
  /** Seconds, for affinity and connection tables. */
  readonly now: () => number;
}

/** Dials as the dataplane's `connect` program decides; what it chose is looked up among the pods of this machine. */
export function createConnectDial(options: ConnectDialOptions): Dial {
  return async (client, host, port) => {
    const address = await addressOf(options.resolve, client, host);
    const dataplane = options.dataplanes.get(client.node);
    if (dataplane === undefined) throw new Refusal(`there is no node ${client.node}`, socksReply.generalFailure, 502);
    const decision = dataplane.connect({
      protocol: "TCP",
      source: client.address,
      destination: address,
      destinationPort: port,
      now: options.now(),
    });
    let held = decision.handle;
    const release = (): void => {
      if (held !== undefined) dataplane.release(held);
      held = undefined;
    };
    if (decision.verdict === "REJECT") {
      throw new Refusal(`${host}:${port} has no endpoints`, socksReply.connectionRefused, 503);
    }
    if (decision.verdict === "DROP") {
      const why = decision.reason === undefined ? "" : ` (${decision.reason})`;
      throw new Refusal(
        `the dataplane dropped the connection to ${host}:${port}${why}`,
        socksReply.hostUnreachable,
        504,
      );
    }
    const backend = decision.backend ?? { address, port };
    const real = options.locate(backend.address, backend.port);
    if (real === undefined) {
      release();
      const code = decision.verdict === "PASS" ? socksReply.networkUnreachable : socksReply.connectionRefused;
      throw new Refusal(`nothing on this machine listens for ${backend.address}:${backend.port}`, code, 502);
    }
    const socket = connect({ host: real.host, port: real.port });
    try {
      await opened(socket);
    } catch (error) {
      release();
      const message = `${backend.address}:${backend.port}: ${(error as Error).message}`;
      throw new Refusal(message, socksReply.connectionRefused, 502);
    }
    return { socket, release };
  };
}

const refusals: Readonly<Record<string, readonly [socks: number, http: number]>> = {
  ECONNREFUSED: [socksReply.connectionRefused, 503],
  ENETUNREACH: [socksReply.networkUnreachable, 502],
  EHOSTUNREACH: [socksReply.hostUnreachable, 502],
  ETIMEDOUT: [socksReply.hostUnreachable, 504],
};

/**
 * Dials through the program `relay`, which runs in a network namespace of the cluster.
 *
 * @param path of the relay's UNIX socket
 */
export function createRelayDial(path: string, resolve: Resolve): Dial {
  return async (client, host, port) => {
    const address = await addressOf(resolve, client, host);
    const socket = connect({ path });
    await opened(socket);
    socket.write(`${address} ${port}\n`);
    const answer = await new Promise<string>((resolveAnswer, reject) => {
      let text = "";
      const read = (): void => {
        for (;;) {
          const byte = socket.read(1) as Buffer | null;
          if (byte === null) return;
          if (byte[0] === 10) {
            socket.off("readable", read);
            resolveAnswer(text);
            return;
          }
          text += byte.toString("latin1");
        }
      };
      socket.on("readable", read);
      socket.once("error", reject);
      socket.once("close", () => reject(new Refusal("the relay closed", socksReply.generalFailure, 502)));
    });
    if (answer !== "ok") {
      socket.destroy();
      const code = answer.split(" ")[1] ?? "";
      const [socks, http] = refusals[code] ?? [socksReply.generalFailure, 502];
      throw new Refusal(`${host}:${port}: ${answer}`, socks, http);
    }
    return { socket, release: () => {} };
  };
}
