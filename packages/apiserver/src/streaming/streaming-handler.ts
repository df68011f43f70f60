import type { IncomingMessage } from "node:http";
import { Duplex } from "node:stream";
import { badRequestStatus, type Pod, type StatusError, statusErrorOf } from "@portolan/core";
import { type WebSocket, WebSocketServer } from "ws";
import type { PodStreams } from "../pod-streams.ts";
import { servePortForward } from "./port-forward.ts";
import { type RemoteCommandRequest, serveSpdyCommand, serveWebSocketCommand } from "./remote-command.ts";

/** What a streaming request wants; `authorize` decides by it. */
export interface StreamingRequest {
  readonly namespace: string;
  readonly pod: string;
  readonly subresource: "exec" | "attach" | "portforward";
}

/** Options of {@link createStreamingHandler}. */
export interface StreamingHandlerOptions {
  readonly podStreams: PodStreams;
  /** The pod. @throws StatusError 404 */
  getPod(namespace: string, name: string): Pod | Promise<Pod>;
  /** Passes, or throws a `StatusError` (401, 403). */
  authorize(request: IncomingMessage, wanted: StreamingRequest): void | Promise<void>;
}

/** Handles the `upgrade` event of an HTTP server. */
export type StreamingHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

const PATH = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/(exec|attach|portforward)\/?$/;
const WEBSOCKET_COMMAND_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const SPDY_COMMAND_PROTOCOLS = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const PORT_FORWARD = "portforward.k8s.io";
const TUNNEL = `SPDY/3.1+${PORT_FORWARD}`;

/** Answers an upgrade request that fails with a `Status`, as any other request. */
function refuse(socket: Duplex, error: StatusError): void {
  const body = JSON.stringify(error.status);
  const { code = 500, reason = "" } = error.status;
  socket.end(
    `HTTP/1.1 ${code} ${reason || "Error"}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

function isTrue(query: URLSearchParams, name: string): boolean {
  return query.get(name) === "true" || query.get(name) === "1";
}

/** Checks an exec or attach request. @throws StatusError 400 */
function commandRequest(kind: "exec" | "attach", pod: Pod, query: URLSearchParams): RemoteCommandRequest {
  const { name } = pod.metadata;
  const phase = pod.status?.phase;
  if (phase === "Succeeded" || phase === "Failed") {
    throw badRequestStatus(`cannot exec into a container in a completed pod; current phase is ${phase}`);
  }
  const containers = [
    ...(pod.spec?.containers ?? []),
    ...(pod.spec?.initContainers ?? []),
    ...(pod.spec?.ephemeralContainers ?? []),
  ].map((container) => container.name);
  const container = query.get("container") ?? undefined;
  const main = (pod.spec?.containers ?? []).map((one) => one.name);
  if (container === undefined && main.length > 1) {
    throw badRequestStatus(`a container name must be specified for pod ${name}, choose one of: [${main.join(" ")}]`);
  }
  if (container !== undefined && !containers.includes(container)) {
    throw badRequestStatus(`container ${container} is not valid for pod ${name}`);
  }
  const command = query.getAll("command");
  if (kind === "exec" && command.length === 0)
    throw badRequestStatus("you must specify at least one command for the container");
  const [stdin, stdout, stderr] = ["stdin", "stdout", "stderr"].map((stream) => isTrue(query, stream));
  if (!stdin && !stdout && !stderr) throw badRequestStatus("you must specify at least 1 of stdin, stdout, stderr");
  return {
    kind,
    pod,
    command,
    stdin: stdin === true,
    stdout: stdout === true,
    stderr: stderr === true,
    tty: isTrue(query, "tty"),
    ...(container === undefined ? {} : { container }),
  };
}

/** Values of a header that may come repeated or as a list. */
function headerList(request: IncomingMessage, name: string): string[] {
  const { rawHeaders } = request;
  const values: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.toLowerCase() === name) values.push(...(rawHeaders[index + 1] ?? "").split(","));
  }
  return values.map((value) => value.trim()).filter((value) => value !== "");
}

/** The bytes that binary messages of a WebSocket carry, as a stream. */
function webSocketStream(socket: WebSocket): Duplex {
  const stream = new Duplex({
    allowHalfOpen: false,
    read: () => {
      socket.resume();
    },
    write(chunk: Buffer, _encoding, callback) {
      if (socket.readyState !== socket.OPEN) callback(new Error("the WebSocket is closed"));
      else socket.send(chunk, (error) => callback(error ?? null));
    },
    final(callback) {
      socket.close(1000);
      callback();
    },
    destroy(error, callback) {
      if (socket.readyState === socket.OPEN) socket.close(1000);
      callback(error);
    },
  });
  socket.on("message", (data: Buffer) => {
    if (!stream.push(data)) socket.pause();
  });
  socket.on("close", () => stream.push(null));
  socket.on("error", (error) => stream.destroy(error));
  return stream;
}

/**
 * Serves exec, attach and port-forward of pods, over WebSockets (kubectl 1.30 and newer) and SPDY (older ones). The returned function
 * is for the server's `upgrade` event; paths of other kinds are answered 400.
 */
export function createStreamingHandler(options: StreamingHandlerOptions): StreamingHandler {
  const { podStreams } = options;
  const webSockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    handleProtocols: (protocols) =>
      [...WEBSOCKET_COMMAND_PROTOCOLS, TUNNEL].find((protocol) => protocols.has(protocol)) ?? false,
  });

  function upgradeToWebSocket(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<WebSocket> {
    return new Promise((resolve) => webSockets.handleUpgrade(request, socket, head, resolve));
  }

  function upgradeToSpdy(request: IncomingMessage, socket: Duplex, supported: readonly string[]): string {
    const offered = headerList(request, "x-stream-protocol-version");
    const protocol =
      offered.length === 0 ? supported[supported.length - 1] : supported.find((one) => offered.includes(one));
    if (protocol === undefined) {
      throw badRequestStatus(
        `unable to upgrade: unable to negotiate protocol: client supports [${offered.join(" ")}], server accepts [${supported.join(" ")}]`,
      );
    }
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n" +
        `X-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
    );
    return protocol;
  }

  async function serve(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const url = new URL(request.url ?? "/", "http://server");
    const match = PATH.exec(url.pathname);
    if (match === null) throw notUpgradable();
    const [, namespace = "", name = "", subresource = ""] = match.map(decodeURIComponent);
    const wanted: StreamingRequest = {
      namespace,
      pod: name,
      subresource: subresource as StreamingRequest["subresource"],
    };
    await options.authorize(request, wanted);
    const pod = await options.getPod(namespace, name);
    const upgrade = (request.headers.upgrade ?? "").toLowerCase();
    const offered = headerList(request, "sec-websocket-protocol");
    if (wanted.subresource === "portforward") {
      if (pod.status?.phase !== "Running") {
        throw badRequestStatus(
          `unable to forward port because pod is not running. Current status=${pod.status?.phase}`,
        );
      }
      if (upgrade === "websocket") {
        if (!offered.includes(TUNNEL)) throw unsupportedProtocol(offered, [TUNNEL]);
        const tunnel = webSocketStream(await upgradeToWebSocket(request, socket, head));
        await servePortForward(tunnel, new Uint8Array(0), pod, podStreams);
      } else if (upgrade === "spdy/3.1") {
        upgradeToSpdy(request, socket, [PORT_FORWARD]);
        await servePortForward(socket, head, pod, podStreams);
      } else throw badRequestStatus("Upgrade request required");
      return;
    }
    const command = commandRequest(wanted.subresource, pod, url.searchParams);
    if (upgrade === "websocket") {
      if (!offered.some((protocol) => WEBSOCKET_COMMAND_PROTOCOLS.includes(protocol))) {
        throw unsupportedProtocol(offered, WEBSOCKET_COMMAND_PROTOCOLS);
      }
      await serveWebSocketCommand(await upgradeToWebSocket(request, socket, head), command, podStreams);
    } else if (upgrade === "spdy/3.1") {
      const protocol = upgradeToSpdy(request, socket, SPDY_COMMAND_PROTOCOLS);
      await serveSpdyCommand(socket, head, protocol, command, podStreams);
    } else throw badRequestStatus("Upgrade request required");
  }

  return (request, socket, head) => {
    socket.on("error", () => socket.destroy());
    serve(request, socket, head).catch((error: unknown) => refuse(socket, statusErrorOf(error)));
  };
}

function notUpgradable(): StatusError {
  return badRequestStatus("only exec, attach and portforward of pods can be upgraded");
}

function unsupportedProtocol(offered: readonly string[], accepted: readonly string[]): StatusError {
  return badRequestStatus(
    `unable to upgrade: the client offers WebSocket protocols [${offered.join(" ")}], the server accepts [${accepted.join(" ")}]`,
  );
}
