import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

/** A request as a client sent it, with the status of its answer. */
export interface RecordedRequest {
  readonly method: string;
  /** With the query, as it was sent. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
  status: number;
}

/** Where requests go. */
export interface Upstream {
  /** A UNIX socket with HTTP; whoever can open it is administrator. */
  readonly socketPath: string;
}

/** A plain-text HTTP server on loopback that passes everything on and remembers it. */
export interface RecordingProxy {
  readonly url: string;
  /** Requests since the last call, in order of arrival. */
  take(): RecordedRequest[];
  close(): Promise<void>;
}

/** Starts a proxy on a free port of 127.0.0.1. WebSocket and SPDY upgrades pass through. */
export async function createRecordingProxy(upstream: Upstream): Promise<RecordingProxy> {
  let requests: RecordedRequest[] = [];

  function forward(incoming: IncomingMessage, body: Uint8Array | undefined): ReturnType<typeof httpRequest> {
    const { host: _, authorization: __, "transfer-encoding": ___, ...headers } = incoming.headers;
    return httpRequest({
      socketPath: upstream.socketPath,
      method: incoming.method ?? "GET",
      path: incoming.url ?? "/",
      headers: { ...headers, host: "localhost", ...(body === undefined ? {} : { "content-length": body.length }) },
    });
  }

  function record(incoming: IncomingMessage, body: Uint8Array): RecordedRequest {
    const recorded = {
      method: incoming.method ?? "GET",
      url: incoming.url ?? "/",
      headers: incoming.headers,
      body,
      status: 0,
    };
    requests.push(recorded);
    return recorded;
  }

  async function pass(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const recorded = record(incoming, body);
    const forwarded = forward(incoming, body.length > 0 ? body : undefined);
    outgoing.on("close", () => forwarded.destroy());
    forwarded.on("response", (answer) => {
      recorded.status = answer.statusCode ?? 0;
      outgoing.writeHead(recorded.status, answer.headers);
      outgoing.flushHeaders();
      answer.pipe(outgoing);
    });
    forwarded.on("error", () => outgoing.destroy());
    forwarded.end(body);
  }

  const server = createServer((incoming, outgoing) => {
    pass(incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.on("upgrade", (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
    const recorded = record(incoming, new Uint8Array(0));
    const forwarded = forward(incoming, undefined);
    const fail = (): void => {
      socket.destroy();
    };
    socket.on("error", () => forwarded.destroy());
    forwarded.on("error", fail);
    forwarded.on("upgrade", (answer, upstreamSocket, upstreamHead) => {
      recorded.status = answer.statusCode ?? 0;
      const headers = answer.rawHeaders
        .map((value, index) => (index % 2 === 0 ? `${value}: ` : `${value}\r\n`))
        .join("");
      socket.write(`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\n${headers}\r\n`);
      socket.write(upstreamHead);
      upstreamSocket.write(head);
      upstreamSocket.on("error", fail);
      upstreamSocket.pipe(socket).pipe(upstreamSocket);
    });
    forwarded.on("response", (answer) => {
      recorded.status = answer.statusCode ?? 0;
      socket.write(`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\nconnection: close\r\n`);
      socket.write(`content-type: ${answer.headers["content-type"] ?? "text/plain"}\r\n\r\n`);
      answer.pipe(socket);
    });
    forwarded.end();
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    take: () => {
      const taken = requests;
      requests = [];
      return taken;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
