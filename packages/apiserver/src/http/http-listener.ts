import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { ApiRequest, ApiResponse } from "@portolan/client";
import { requestEntityTooLargeStatus, StatusError, statusErrorOf, unauthorizedStatus } from "@portolan/core";
import { anonymousUser, type User } from "../authorization.ts";
import { maxBodyBytes } from "../requests/body.ts";
import type { CertificateSet } from "./certificates.ts";

/** Request headers together may be this long, in bytes. */
const maxHeaderSize = 64 * 1024;
/** A request must be read within this time, in milliseconds; answers may take longer. */
const requestTimeout = 60_000;
/** Idle connections stay open this long, in milliseconds: longer than those of usual clients (90 s), so that they close first and lose nothing. */
const keepAliveTimeout = 120_000;

/** Who takes nothing of a stream for this long is cut off, in milliseconds. */
const stallTimeout = 30_000;

/** What a listener serves. */
export interface HttpListenerOptions {
  readonly handle: (request: ApiRequest, user: User, form: "bytes") => Promise<ApiResponse>;
  /** Finds the user of a bearer token. */
  readonly userOfToken: (token: string) => User | undefined;
  /** Serves `upgrade`: exec, attach and port-forward. */
  readonly upgrade: ((request: IncomingMessage, socket: Duplex, head: Buffer) => void) | undefined;
  /** TLS with client certificates of the same authority; absent for plain HTTP, where everybody is {@link HttpListenerOptions.plainUser}. */
  readonly certificates?: CertificateSet;
  readonly plainUser?: User;
  /** @default 30_000 */
  readonly stallTimeout?: number;
}

/** An HTTP server in front of the request handler. */
export interface HttpListener {
  /** Listens on a port (0 for any free one) or on the path of a UNIX socket. */
  listen(where: { readonly host: string; readonly port: number } | { readonly path: string }): Promise<number>;
  userOf(request: IncomingMessage): User;
  close(): Promise<void>;
}

function bearerToken(request: IncomingMessage): string | undefined {
  const header = request.headers.authorization;
  if (header === undefined) return undefined;
  const match = /^bearer\s+(\S+)$/i.exec(header.trim());
  return match?.[1];
}

/**
 * Who sends a request: the client certificate's subject, else the bearer token's user, else nobody.
 *
 * @throws StatusError 401 for credentials that are not known
 */
function authenticate(request: IncomingMessage, options: HttpListenerOptions): User {
  if (options.certificates === undefined) return options.plainUser ?? anonymousUser;
  const socket = request.socket as TLSSocket;
  if (socket.authorized) {
    const subject = socket.getPeerCertificate().subject as { CN?: string; O?: string | string[] } | undefined;
    if (subject?.CN !== undefined) {
      const organizations = subject.O === undefined ? [] : Array.isArray(subject.O) ? subject.O : [subject.O];
      return {
        name: subject.CN,
        groups: [...organizations, "system:authenticated"],
        access: organizations.includes("system:masters") ? "admin" : "none",
      };
    }
  }
  if (request.headers.authorization !== undefined) {
    const token = bearerToken(request);
    const user = token === undefined ? undefined : options.userOfToken(token);
    if (user === undefined) throw unauthorizedStatus();
    return user;
  }
  return anonymousUser;
}

function readBody(request: IncomingMessage): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const declared = Number(request.headers["content-length"] ?? 0);
    if (declared > maxBodyBytes) {
      reject(requestEntityTooLargeStatus(`limit is ${maxBodyBytes}`));
      return;
    }
    const chunks: Buffer[] = [];
    let size = 0;
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBodyBytes) {
        reject(requestEntityTooLargeStatus(`limit is ${maxBodyBytes}`));
        request.removeAllListeners("data");
        request.resume();
        return;
      }
      chunks.push(chunk);
    });
    request.on("end", () => resolve(size === 0 ? undefined : Buffer.concat(chunks)));
    request.on("error", reject);
    request.on("aborted", () => reject(new Error("the client went away")));
  });
}

function headersOf(request: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(",") : value;
  }
  return headers;
}

function writeHead(response: ServerResponse, answer: ApiResponse, length: number | undefined): void {
  const headers: Record<string, string | string[]> = { "cache-control": "no-cache, private" };
  for (const [name, value] of Object.entries(answer.headers))
    headers[name] = typeof value === "string" ? value : [...value];
  if (length !== undefined) headers["content-length"] = String(length);
  response.writeHead(answer.status, headers);
}

/** Sends a stream, no faster than the client reads it. A client that stops reading is cut off: it would hold what was buffered for it. */
async function pipe(
  answer: ApiResponse,
  response: ServerResponse,
  isClosed: () => boolean,
  patience: number,
): Promise<void> {
  writeHead(response, answer, undefined);
  response.flushHeaders();
  for await (const chunk of answer.stream as AsyncIterable<string | Uint8Array>) {
    if (isClosed()) break;
    if (!response.write(chunk)) {
      await new Promise<void>((resolve) => {
        const stalled = setTimeout(() => response.destroy(), patience);
        const done = (): void => {
          clearTimeout(stalled);
          response.off("drain", done);
          response.off("close", done);
          resolve();
        };
        response.on("drain", done);
        response.on("close", done);
      });
    }
  }
  response.end();
}

function sendStatus(response: ServerResponse, error: unknown): void {
  const { status, code } = statusErrorOf(error);
  const body = JSON.stringify(status);
  response.writeHead(code, {
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(body)),
    ...(code === 413 ? { connection: "close" } : {}),
  });
  response.end(body);
}

/** Makes a listener. */
export function createHttpListener(options: HttpListenerOptions): HttpListener {
  const sockets = new Set<Duplex>();

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const controller = new AbortController();
    let isClosed = false;
    response.on("close", () => {
      isClosed = true;
      controller.abort();
    });
    try {
      const user = authenticate(request, options);
      const body = await readBody(request);
      const apiRequest: ApiRequest = {
        method: (request.method ?? "GET") as ApiRequest["method"],
        path: request.url ?? "/",
        headers: headersOf(request),
        signal: controller.signal,
        ...(body === undefined ? {} : { body }),
      };
      const answer = await options.handle(apiRequest, user, "bytes");
      if (isClosed) {
        // Whoever streams must learn that nobody reads.
        await answer.stream?.[Symbol.asyncIterator]().return?.();
        return;
      }
      if (answer.stream !== undefined)
        await pipe(answer, response, () => isClosed, options.stallTimeout ?? stallTimeout);
      else {
        const content = answer.body ?? "";
        writeHead(response, answer, typeof content === "string" ? Buffer.byteLength(content) : content.byteLength);
        response.end(request.method === "HEAD" ? undefined : content);
      }
    } catch (error) {
      if (isClosed) return;
      if (response.headersSent) response.destroy();
      else sendStatus(response, error instanceof StatusError ? error : statusErrorOf(error));
    }
  }

  const listener: RequestListener = (request, response) => {
    void serve(request, response);
  };
  const settings = { maxHeaderSize, requestTimeout, keepAliveTimeout, keepAlive: true };
  const server: Server =
    options.certificates === undefined
      ? createHttpServer(settings, listener)
      : createHttpsServer(
          {
            ...settings,
            minVersion: "TLSv1.2",
            cert: options.certificates.server.certificate,
            key: options.certificates.server.key,
            ca: options.certificates.authority,
            requestCert: true,
            // Who has no certificate may have a token; that is decided per request.
            rejectUnauthorized: false,
            ALPNProtocols: ["http/1.1"],
          },
          listener,
        );
  server.on("connection", (socket: Duplex) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("secureConnection", (socket: Duplex) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) => {
    if (!socket.writable) return socket.destroy();
    const line = error.code === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : "400 Bad Request";
    socket.end(`HTTP/1.1 ${line}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    return undefined;
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (options.upgrade === undefined)
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    else options.upgrade(request, socket, head);
  });

  return {
    userOf: (request) => authenticate(request, options),
    listen(where) {
      return new Promise((resolve, reject) => {
        server.once("error", reject);
        const listening = (): void => {
          server.off("error", reject);
          const address = server.address();
          resolve(typeof address === "object" && address !== null ? (address as AddressInfo).port : 0);
        };
        if ("path" in where) server.listen(where.path, listening);
        else server.listen(where.port, where.host, listening);
      });
    },
    close() {
      return new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
    },
  };
}
