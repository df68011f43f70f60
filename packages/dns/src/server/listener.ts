import { createSocket, type Socket } from "node:dgram";
import { createServer, isIP, type Server, type Socket as TcpSocket } from "node:net";
import { createFrameDecoder, frameMessage } from "../message/framing.ts";
import type { QueryClient, QueryHandler } from "./query-handler.ts";

/** Limits of listeners; times in milliseconds. */
export interface ListenerLimits {
  /** Until the first octet of a TCP connection. Default 3000. */
  readonly readTimeout?: number;
  /** Between messages. Default 10 000. */
  readonly idleTimeout?: number;
  /** Connections at once. Default 4096. */
  readonly maximumConnections?: number;
  /** Connections at once from one address. Default 512. */
  readonly maximumConnectionsPerClient?: number;
  /** Questions of one connection under way at once; reading stops until some are answered (RFC 7766 6.2.1.1). Default 100. */
  readonly maximumInFlight?: number;
  /** Queries per connection, then it is closed; 0: no limit. Default 0. */
  readonly maximumQueries?: number;
}

/** An open endpoint. */
export interface Listener {
  readonly address: string;
  readonly port: number;
  readonly transport: "udp" | "tcp";
  /** Stops taking queries; resolves when those under way are answered or `grace` milliseconds are over. */
  close(grace: number): Promise<void>;
}

/** Sources that answer to everything; a reply to one of them starts an endless exchange (echo, daytime, chargen, time). */
const reflectingPorts = new Set([0, 7, 13, 19, 37, 464]);

/** Replies between two looks at the send queue; fewer than half of the replies that are kept apart. */
const sendsPerLook = 16;

/** An IPv4 client of a socket for both families, as the IPv4 client that it is. */
function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}

/** Whether several processes can have sockets of their own on one port, among which the kernel spreads clients. */
const reusesPorts = (() => {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  return process.platform === "linux" && (major > 23 || (major === 23 && minor >= 1) || (major === 22 && minor >= 12));
})();

/**
 * Opens a UDP endpoint. `shared`: other processes listen there, too, as workers of `node:cluster`. Rejects with the system's error when it
 * cannot be bound.
 */
export function listenUdp(
  host: string,
  port: number,
  handler: Pick<QueryHandler, "handle">,
  onError: (error: unknown) => void,
  shared = false,
): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const six = isIP(host) === 6;
    const socket: Socket = createSocket({
      type: six ? "udp6" : "udp4",
      ipv6Only: six && host !== "::",
      recvBufferSize: 4 << 20,
      ...(shared && reusesPorts ? { reusePort: true } : {}),
      // Clients are addresses already; the usual look-up would wait a turn of the event loop for each reply.
      lookup: (address, _options, found) => found(null, address, six ? 6 : 4),
    });
    let inFlight = 0;
    let drained: (() => void) | undefined;
    let sends = 0;
    let congested = false;
    /** `shared` octets are another reply's after some more; those that the system does not take at once must be kept. */
    const send = (reply: Uint8Array, clientPort: number, address: string, shared: boolean): void => {
      if (congested || sends++ % sendsPerLook === 0) congested = socket.getSendQueueCount() > 0;
      // Without a callback an unreachable client is no error, and nothing waits for the next turn of the event loop.
      socket.send(shared && congested ? reply.slice() : reply, clientPort, address);
    };
    socket.on("message", (message, from) => {
      if (reflectingPorts.has(from.port)) return;
      const client: QueryClient = { address: plainAddress(from.address), port: from.port, transport: "udp" };
      const result = handler.handle(message, client);
      if (result === undefined) return;
      if (result instanceof Promise) {
        inFlight++;
        void result
          .then((reply) => {
            if (reply !== undefined) send(reply, from.port, from.address, false);
          }, onError)
          .finally(() => {
            inFlight--;
            if (inFlight === 0) drained?.();
          });
      } else if (result instanceof Uint8Array) send(result, from.port, from.address, true);
    });
    socket.once("error", reject);
    socket.bind({ port, address: host, exclusive: !shared || reusesPorts }, () => {
      socket.off("error", reject);
      socket.on("error", onError);
      const bound = socket.address();
      resolve({
        address: bound.address,
        port: bound.port,
        transport: "udp",
        close: (grace) =>
          new Promise((closed) => {
            // Replies go out by the same socket, so it stays open until the last one.
            const end = (): void => {
              drained = undefined;
              clearTimeout(timer);
              socket.close(() => closed());
            };
            const timer = setTimeout(end, inFlight === 0 ? 0 : grace);
            drained = end;
          }),
      });
    });
  });
}

/** Opens a TCP endpoint (RFC 7766). Rejects with the system's error when it cannot be bound. */
export function listenTcp(
  host: string,
  port: number,
  handler: Pick<QueryHandler, "handle">,
  onError: (error: unknown) => void,
  limits: ListenerLimits = {},
  onConnections: (open: number) => void = () => undefined,
  shared = false,
): Promise<Listener> {
  const {
    readTimeout = 3000,
    idleTimeout = 10_000,
    maximumConnections = 4096,
    maximumConnectionsPerClient = 512,
    maximumInFlight = 100,
    maximumQueries = 0,
  } = limits;
  const connections = new Set<TcpSocket>();
  const perClient = new Map<string, number>();
  let closing = false;

  function serve(socket: TcpSocket): void {
    const address = plainAddress(socket.remoteAddress ?? "");
    const open = perClient.get(address) ?? 0;
    if (closing || connections.size >= maximumConnections || open >= maximumConnectionsPerClient) {
      socket.destroy();
      return;
    }
    connections.add(socket);
    perClient.set(address, open + 1);
    onConnections(connections.size);
    const client: QueryClient = { address, port: socket.remotePort ?? 0, transport: "tcp" };
    const decoder = createFrameDecoder();
    let waiting: Uint8Array[] = [];
    let inFlight = 0;
    let served = 0;
    let ended = false;
    socket.setNoDelay(true);
    socket.setTimeout(readTimeout);
    socket.on("timeout", () => socket.destroy());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      connections.delete(socket);
      const left = (perClient.get(address) ?? 1) - 1;
      if (left === 0) perClient.delete(address);
      else perClient.set(address, left);
      onConnections(connections.size);
    });
    const write = (reply: Uint8Array): void => {
      if (!socket.destroyed) socket.write(frameMessage(reply));
    };
    const settle = (): void => {
      if (ended && inFlight === 0 && waiting.length === 0) socket.end();
    };
    const work = (): void => {
      while (waiting.length > 0 && inFlight < maximumInFlight && !socket.destroyed && !socket.writableNeedDrain) {
        const message = waiting.shift()!;
        served++;
        const result = handler.handle(message, client);
        if (result instanceof Promise) {
          inFlight++;
          void result
            .then((reply) => {
              if (reply !== undefined) write(reply);
            }, onError)
            .finally(() => {
              inFlight--;
              work();
            });
        } else if (result instanceof Uint8Array) write(result);
        else if (result !== undefined) for (const reply of result) write(reply);
        if ((maximumQueries > 0 && served >= maximumQueries) || closing) {
          waiting = [];
          ended = true;
        }
      }
      // Who sends faster than answers can be made or taken has to wait.
      if (waiting.length > 0) socket.pause();
      else if (!ended && !socket.destroyed) socket.resume();
      settle();
    };
    socket.on("drain", work);
    socket.on("data", (chunk) => {
      socket.setTimeout(idleTimeout);
      try {
        for (const message of decoder.push(chunk)) waiting.push(message);
      } catch {
        // Not DNS: answer what came before, then close.
        ended = true;
        work();
        if (inFlight === 0 && waiting.length === 0) socket.destroySoon();
        return;
      }
      work();
    });
    socket.on("end", () => {
      ended = true;
      settle();
    });
  }

  return new Promise((resolve, reject) => {
    const server: Server = createServer({ allowHalfOpen: true }, serve);
    server.once("error", reject);
    const own = !shared || reusesPorts;
    const reuse = shared && reusesPorts ? { reusePort: true } : {};
    server.listen({ port, host, exclusive: own, ...reuse, ipv6Only: isIP(host) === 6 && host !== "::" }, () => {
      server.off("error", reject);
      server.on("error", onError);
      const bound = server.address() as { address: string; port: number };
      resolve({
        address: bound.address,
        port: bound.port,
        transport: "tcp",
        close: (grace) =>
          new Promise((closed) => {
            closing = true;
            const timer = setTimeout(() => {
              for (const socket of connections) socket.destroy();
            }, grace);
            server.close(() => {
              clearTimeout(timer);
              closed();
            });
            for (const socket of connections) socket.end();
          }),
      });
    });
  });
}
