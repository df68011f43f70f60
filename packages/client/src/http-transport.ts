import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { ApiRequest, ApiResponse, Transport } from "./transport.ts";

/** Options of {@link createHttpTransport}; times in milliseconds. */
export interface HttpTransportOptions {
  /** `https://host:port` or `http://…`; a path is put before every request's. */
  readonly url: string;
  /** PEM of the certificate authorities to trust instead of the system's. */
  readonly ca?: string | Uint8Array;
  /** PEM of the client certificate, with `key`. */
  readonly cert?: string | Uint8Array;
  readonly key?: string | Uint8Array;
  /** Bearer token, or a function asked before every request: for tokens that are renewed. */
  readonly token?: string | (() => string | Promise<string>);
  /** Basic authentication; used when there is no token. */
  readonly username?: string;
  readonly password?: string;
  /** Name to verify in the server's certificate instead of the host of `url`. */
  readonly serverName?: string;
  /** Accepts any server certificate: for tests only. */
  readonly insecureSkipTlsVerify?: boolean;
  /** Connects to this Unix socket instead of the host of `url`. */
  readonly socketPath?: string;
  /** Headers of every request; a list is sent as one header line each. Lower-case names. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  /** A connection attempt that takes longer fails. Default 10 000. */
  readonly connectTimeout?: number;
  /** A request that is no watch and sends nothing for this long fails; also one that has not begun to answer. Default 60 000. */
  readonly requestTimeout?: number;
  /**
   * A watch that sends nothing for this long fails. Servers send a bookmark about once a minute to those who ask for them. Default
   * 300 000; 0 turns it off.
   */
  readonly watchIdleTimeout?: number;
  /** Interval of TCP keep-alive probes, by which the kernel notices dead peers. Default 15 000. */
  readonly keepAliveInterval?: number;
  /** Connections kept for reuse, at most. Default 16. Open watches do not count. */
  readonly maximumIdleConnections?: number;
}

/** A {@link Transport} over HTTP/1.1 with connections of its own. */
export interface HttpTransport extends Transport {
  /** Ends all connections. Requests in flight fail; the transport must not be used after. */
  close(): void;
}

/** A transport's failure. `code` is `timeout`, or the system's (`ECONNREFUSED`, `ECONNRESET`, …) as on every Node error. */
export class TransportError extends Error {
  override readonly name: string = "TransportError";
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** Requests whose answer goes on for as long as something happens. */
const followed = /[?&](watch|follow)=(true|1|t|T|TRUE|True)(&|$)/;

function headersOf(message: IncomingMessage): ApiResponse["headers"] {
  const headers: Record<string, string | readonly string[]> = {};
  for (const [name, values] of Object.entries(message.headersDistinct))
    if (values !== undefined)
      headers[name] = values.length === 1 ? values[0]! : name === "warning" ? values : values.join(", ");
  return headers;
}

/**
 * A transport over `node:https` (or `node:http`, or a Unix socket) with keep-alive connections. Watches and followed logs come as
 * streams, everything else as one body. Fails with `TransportError` or Node's own errors; an error status is no failure.
 *
 * @throws TypeError when `url` is no http(s) URL
 */
export function createHttpTransport(options: HttpTransportOptions): HttpTransport {
  const url = new URL(options.url);
  const secure = url.protocol === "https:";
  if (!secure && url.protocol !== "http:")
    throw new TypeError(`URL of an API server must begin with https: or http:, got "${options.url}"`);
  const connectTimeout = options.connectTimeout ?? 10_000;
  const requestTimeout = options.requestTimeout ?? 60_000;
  const watchIdleTimeout = options.watchIdleTimeout ?? 300_000;
  const base = url.pathname.replace(/\/$/, "");
  const pool = {
    keepAlive: true,
    keepAliveMsecs: options.keepAliveInterval ?? 15_000,
    maxFreeSockets: options.maximumIdleConnections ?? 16,
    scheduling: "lifo" as const,
  };
  const bytes = (pem: string | Uint8Array): string | Buffer => (typeof pem === "string" ? pem : Buffer.from(pem));
  const agent = secure
    ? new HttpsAgent({
        ...pool,
        ...(options.ca === undefined ? {} : { ca: bytes(options.ca) }),
        ...(options.cert === undefined ? {} : { cert: bytes(options.cert) }),
        ...(options.key === undefined ? {} : { key: bytes(options.key) }),
        ...(options.serverName === undefined ? {} : { servername: options.serverName }),
        rejectUnauthorized: !options.insecureSkipTlsVerify,
      })
    : new HttpAgent(pool);

  async function authorization(): Promise<Record<string, string>> {
    const token = typeof options.token === "function" ? await options.token() : options.token;
    if (token !== undefined) return { authorization: `Bearer ${token}` };
    if (options.username === undefined) return {};
    const pair = `${options.username}:${options.password ?? ""}`;
    return { authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
  }

  function send(request: ApiRequest, headers: OutgoingHttpHeaders, stream: boolean): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const outgoing: ClientRequest = (secure ? httpsRequest : httpRequest)({
        agent,
        method: request.method,
        path: base + request.path,
        headers,
        ...(options.socketPath === undefined
          ? {
              host: url.hostname.replace(/^\[|\]$/g, ""),
              port: url.port === "" ? (secure ? 443 : 80) : Number(url.port),
            }
          : { socketPath: options.socketPath }),
        ...(request.signal === undefined ? {} : { signal: request.signal }),
      });
      const idle = stream ? watchIdleTimeout : requestTimeout;
      const fail = (code: string, message: string): void => {
        outgoing.destroy(new TransportError(code, message));
      };
      let connecting: ReturnType<typeof setTimeout> | undefined;
      outgoing.once("socket", (socket) => {
        if (!socket.connecting) return;
        connecting = setTimeout(
          () => fail("timeout", `no connection to ${url.host} within ${connectTimeout} ms`),
          connectTimeout,
        );
        socket.once(secure ? "secureConnect" : "connect", () => clearTimeout(connecting));
      });
      outgoing.once("close", () => clearTimeout(connecting));
      outgoing.setTimeout(stream ? Math.min(requestTimeout, idle || requestTimeout) : requestTimeout, () =>
        fail("timeout", `${url.host} sent nothing for too long`),
      );
      outgoing.once("response", (message) => {
        // From here on silence is normal for a watch: its own limit counts.
        if (stream) outgoing.setTimeout(idle);
        resolve(message);
      });
      outgoing.on("error", reject);
      outgoing.end(request.body);
    });
  }

  const transport = async (request: ApiRequest): Promise<ApiResponse> => {
    const stream = followed.test(request.path);
    const headers: OutgoingHttpHeaders = {
      ...(options.headers as OutgoingHttpHeaders),
      ...(await authorization()),
      ...request.headers,
    };
    if (request.body !== undefined) headers["content-length"] = String(Buffer.byteLength(request.body));
    const idempotent = request.method === "GET" || request.method === "HEAD";
    let message: IncomingMessage;
    try {
      message = await send(request, headers, stream);
    } catch (error) {
      // A kept connection may have been closed by the server just now. Nothing was answered, so reading again is safe.
      const reset = (error as NodeJS.ErrnoException).code === "ECONNRESET";
      if (!reset || !idempotent || request.signal?.aborted) throw error;
      message = await send(request, headers, stream);
    }
    const status = message.statusCode ?? 0;
    if (stream && status === 200) return { status, headers: headersOf(message), stream: message };
    const chunks: Buffer[] = [];
    for await (const chunk of message) chunks.push(chunk as Buffer);
    return { status, headers: headersOf(message), body: Buffer.concat(chunks).toString("utf8") };
  };
  return Object.assign(transport, {
    close() {
      agent.destroy();
    },
  });
}
