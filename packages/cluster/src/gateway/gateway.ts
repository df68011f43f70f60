import {
  createServer as createHttpServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import { type Dial, Refusal } from "./dial.ts";
import { readSocksRequest, replySocks, socksReply } from "./socks.ts";

/** Whom a connection comes from: decides which node's dataplane chooses, and what it sees as the source. */
export interface GatewayClient {
  /** Canonical text. */
  readonly address: string;
  readonly node: string;
  /** In which short names are looked for. */
  readonly namespace: string;
}

/** Options of {@link createGateway}. */
export interface GatewayOptions {
  readonly dial: Dial;
  /** Who a client is that gave a user name; `undefined` for unknown names. */
  readonly clientOf: (user: string) => GatewayClient | undefined;
  /** Who clients are that give none: outsiders at some node. */
  readonly outsider: () => GatewayClient;
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

  async function dial(
    client: GatewayClient,
    host: string,
    port: number,
  ): Promise<{ socket: Socket; release: () => void }> {
    const connection = await options.dial(client, host.replace(/\.$/, ""), port);
    sockets.add(connection.socket);
    connection.socket.once("close", () => sockets.delete(connection.socket));
    return connection;
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
    Promise.resolve()
      .then(() => dial(identify(userOf(request)), url.hostname.replace(/^\[|\]$/g, ""), Number(url.port || 80)))
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

  async function open(
    wanted: number,
    target: { address: string; port: number; client: () => GatewayClient },
    fallback = false,
  ): Promise<LoopbackDoor> {
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
      return await open(0, target);
    }
    return {
      port: actual,
      close() {
        servers.delete(server);
        server.close();
      },
    };
  }

  return {
    port: bound,
    open,
    async close() {
      for (const server of servers) server.close();
      for (const socket of sockets) socket.destroy();
      http.close();
    },
  };
}
