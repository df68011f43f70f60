import {
  createServer as createHttpServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { connect as connectSocket, createServer, type Server, type Socket } from "node:net";
import type { Dataplane } from "@portolan/dataplane";
import { canonicalAddress } from "@portolan/net";
import { readSocksRequest, replySocks, socksReply } from "./socks.ts";

/** Whom a connection comes from: decides which node's dataplane chooses, and what it sees as the source. */
export interface GatewayClient {
  /** Canonical text. */
  readonly address: string;
  readonly node: string;
}

/** Options of {@link createGateway}. */
export interface GatewayOptions {
  /** The dataplane of each node, by name. */
  readonly dataplanes: ReadonlyMap<string, Dataplane>;
  /** Resolves a cluster name to addresses, as the cluster's DNS would; empty when there is none. */
  readonly resolve: (name: string) => readonly string[] | Promise<readonly string[]>;
  /** Where a pod's port really listens on this machine; `undefined` when no pod has the address or it does not listen. */
  readonly locate: (address: string, port: number) => { readonly host: string; readonly port: number } | undefined;
  /** Who a client is that gave a user name; `undefined` for unknown names. */
  readonly clientOf: (user: string) => GatewayClient | undefined;
  /** Who clients are that give none: outsiders at some node. */
  readonly outsider: () => GatewayClient;
  /** Seconds, for affinity and connection tables. */
  readonly now: () => number;
  /** Called for each connection that was tried. */
  readonly onConnection?: (record: GatewayRecord) => void;
}

/** What became of one connection. */
export interface GatewayRecord {
  readonly client: GatewayClient;
  /** What was dialled. */
  readonly host: string;
  readonly address?: string;
  readonly port: number;
  readonly verdict: "ALLOW" | "REJECT" | "DROP" | "PASS" | "UNRESOLVED" | "UNREACHABLE";
  readonly backend?: { readonly address: string; readonly port: number };
}

/** A listener that leads to one frontend. */
export interface LoopbackDoor {
  /** `127.0.0.1:PORT` that was opened. */
  readonly port: number;
  close(): void;
}

/** A gateway: the way from a machine's sockets into the cluster, through the dataplane's `connect` program. */
export interface Gateway {
  /** Port on 127.0.0.1 that speaks SOCKS5 and HTTP (CONNECT and plain proxy requests). */
  readonly port: number;
  /**
   * Opens 127.0.0.1:`port` for a frontend such as a node port. With `fallback` another port is taken when it cannot be had.
   * @throws the error of `listen` (`EADDRINUSE`, `EACCES`) without fallback
   */
  open(
    port: number,
    target: { address: string; port: number; client: () => GatewayClient },
    fallback?: boolean,
  ): Promise<LoopbackDoor>;
  close(): Promise<void>;
}

/** A refused connection, as SOCKS and HTTP tell it. */
class Refusal extends Error {
  readonly socks: number;
  readonly http: number;

  constructor(message: string, socks: number, http: number) {
    super(message);
    this.socks = socks;
    this.http = http;
  }
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port }, () => {
      server.off("error", reject);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}

/** Joins two sockets until either ends. */
function splice(a: Socket, b: Socket, done: () => void): void {
  let open = 2;
  const closed = (): void => {
    if (--open === 0) done();
  };
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on("error", () => {
      from.destroy();
      to.destroy();
    });
    from.on("close", () => {
      to.destroySoon();
      closed();
    });
  }
  a.pipe(b);
  b.pipe(a);
}

/** Starts a gateway on a free port of 127.0.0.1 (or the given one). */
export async function createGateway(options: GatewayOptions, port = 0): Promise<Gateway> {
  const sockets = new Set<Socket>();
  const servers = new Set<Server>();

  /** The dataplane decides; what it chose is looked up among the pods of this machine and connected to. */
  async function dial(
    client: GatewayClient,
    host: string,
    dialled: number,
  ): Promise<{ socket: Socket; release: () => void }> {
    const record = (verdict: GatewayRecord["verdict"], rest: Partial<GatewayRecord> = {}): void =>
      options.onConnection?.({ client, host, port: dialled, verdict, ...rest });
    const address = canonicalAddress(host) ?? (await options.resolve(host.replace(/\.$/, "")))[0];
    if (address === undefined) {
      record("UNRESOLVED");
      throw new Refusal(`no address for ${host}`, socksReply.hostUnreachable, 502);
    }
    const dataplane = options.dataplanes.get(client.node);
    if (dataplane === undefined) throw new Refusal(`no node ${client.node}`, socksReply.generalFailure, 502);
    const decision = dataplane.connect({
      protocol: "TCP",
      source: client.address,
      destination: address,
      destinationPort: dialled,
      now: options.now(),
    });
    const release = (): void => {
      if (decision.handle !== undefined) dataplane.release(decision.handle);
    };
    if (decision.verdict === "REJECT") {
      record("REJECT", { address });
      throw new Refusal(`${host}:${dialled} has no endpoints`, socksReply.connectionRefused, 503);
    }
    if (decision.verdict === "DROP") {
      record("DROP", { address });
      throw new Refusal(`${host}:${dialled} was dropped by the dataplane`, socksReply.hostUnreachable, 504);
    }
    const backend = decision.backend ?? { address, port: dialled };
    const real = options.locate(backend.address, backend.port);
    if (real === undefined) {
      release();
      record("UNREACHABLE", { address, backend });
      throw new Refusal(
        `nothing on this machine listens for ${backend.address}:${backend.port}`,
        decision.verdict === "PASS" ? socksReply.networkUnreachable : socksReply.connectionRefused,
        502,
      );
    }
    record(decision.verdict, { address, backend });
    const socket = connectSocket({ host: real.host, port: real.port });
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("error", reject);
      });
    } catch (error) {
      release();
      throw new Refusal(
        `${backend.address}:${backend.port}: ${(error as Error).message}`,
        socksReply.connectionRefused,
        502,
      );
    }
    return { socket, release };
  }

  function identify(user: string | undefined): GatewayClient {
    if (user === undefined || user === "") return options.outsider();
    const client = options.clientOf(user);
    if (client === undefined) throw new Refusal(`no pod ${user}`, socksReply.notAllowed, 407);
    return client;
  }

  function refusalOf(error: unknown): Refusal {
    return error instanceof Refusal ? error : new Refusal((error as Error).message, socksReply.generalFailure, 502);
  }

  async function serveSocks(socket: Socket): Promise<void> {
    try {
      const request = await readSocksRequest(socket);
      if (request === undefined) return;
      const { socket: upstream, release } = await dial(identify(request.user), request.host, request.port);
      replySocks(socket, socksReply.succeeded);
      splice(socket, upstream, release);
    } catch (error) {
      if (!socket.destroyed) {
        replySocks(socket, refusalOf(error).socks);
        socket.end();
      }
    }
  }

  function userOf(message: IncomingMessage): string | undefined {
    const [scheme, value] = (message.headers["proxy-authorization"] ?? "").split(" ");
    if (scheme?.toLowerCase() !== "basic" || value === undefined) return undefined;
    return Buffer.from(value, "base64").toString("utf8").split(":")[0];
  }

  const http = createHttpServer((request: IncomingMessage, response: ServerResponse) => {
    const fail = (error: unknown): void => {
      const refusal = refusalOf(error);
      if (response.headersSent) response.destroy();
      else response.writeHead(refusal.http, { "Content-Type": "text/plain" }).end(`portolan: ${refusal.message}\n`);
    };
    let url: URL;
    try {
      url = new URL(request.url ?? "");
    } catch {
      response
        .writeHead(400, { "Content-Type": "text/plain" })
        .end("portolan: this is a proxy for the cluster; use it with curl --proxy, or as SOCKS5.\n");
      return;
    }
    const { "proxy-authorization": _credentials, "proxy-connection": _connection, ...headers } = request.headers;
    dial(identifySafely(request), url.hostname.replace(/^\[|\]$/g, ""), Number(url.port || 80))
      .then(({ socket, release }) => {
        socket.once("close", release);
        const upstream = httpRequest(
          {
            createConnection: () => socket,
            method: request.method,
            path: url.pathname + url.search,
            headers: { ...headers, connection: "close" },
          },
          (answer) => {
            response.writeHead(answer.statusCode ?? 502, answer.headers);
            answer.pipe(response);
          },
        );
        upstream.on("error", fail);
        request.pipe(upstream);
      })
      .catch(fail);
  });

  function identifySafely(request: IncomingMessage): GatewayClient {
    try {
      return identify(userOf(request));
    } catch {
      return options.outsider();
    }
  }

  http.on("connect", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const at = (request.url ?? "").lastIndexOf(":");
    const host = (request.url ?? "").slice(0, at).replace(/^\[|\]$/g, "");
    const connectTo = async (): Promise<void> => {
      const { socket: upstream, release } = await dial(
        identify(userOf(request)),
        host,
        Number((request.url ?? "").slice(at + 1)),
      );
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      if (head.length > 0) upstream.write(head);
      splice(socket, upstream, release);
    };
    connectTo().catch((error: unknown) => {
      const refusal = refusalOf(error);
      socket.end(
        `HTTP/1.1 ${refusal.http} ${refusal.http === 503 ? "Service Unavailable" : "Bad Gateway"}\r\nContent-Type: text/plain\r\n\r\nportolan: ${refusal.message}\n`,
      );
    });
  });

  function track(server: Server, serve: (socket: Socket) => void): Server {
    servers.add(server);
    server.on("connection", (socket: Socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      serve(socket);
    });
    return server;
  }

  // The first byte tells the two protocols apart: 5 is SOCKS, anything else a letter of an HTTP method.
  const entry = track(createServer({ pauseOnConnect: false }), (socket) => {
    socket.once("readable", () => {
      const first = socket.read(1) as Buffer | null;
      if (first === null) {
        socket.destroy();
        return;
      }
      socket.unshift(first);
      if (first[0] === 5) void serveSocks(socket);
      else http.emit("connection", socket);
    });
  });
  const bound = await listen(entry, port);

  return {
    port: bound,
    async open(wanted, target, fallback = false) {
      const server = track(createServer({ pauseOnConnect: true, allowHalfOpen: true }), (socket) => {
        dial(target.client(), target.address, target.port)
          .then(({ socket: upstream, release }) => {
            splice(socket, upstream, release);
            socket.resume();
          })
          .catch(() => socket.resetAndDestroy());
      });
      let actual: number;
      try {
        actual = await listen(server, wanted);
      } catch (error) {
        servers.delete(server);
        if (!fallback) throw error;
        return await this.open(0, target);
      }
      return {
        port: actual,
        close() {
          servers.delete(server);
          server.close();
        },
      };
    },
    async close() {
      for (const server of servers) server.close();
      for (const socket of sockets) socket.destroy();
      http.close();
    },
  };
}
