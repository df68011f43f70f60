import type { Duplex } from "node:stream";
import type { Pod, Status } from "@portolan/core";
import type { WebSocket } from "ws";
import type { PodStreams, RemoteCommandResult, RemoteCommandStreams } from "../pod-streams.ts";
import { createByteQueue } from "./byte-queue.ts";
import { createSpdyConnection, type SpdyStream } from "./spdy.ts";

/** What an exec or attach request asks for. */
export interface RemoteCommandRequest {
  readonly kind: "exec" | "attach";
  readonly pod: Pod;
  readonly container?: string;
  readonly command: readonly string[];
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;
/** In v5: the next octet names a channel that the client has closed. */
const CLOSE = 255;

/** How long SPDY clients may take to open their streams, in milliseconds. */
const STREAMS_TIMEOUT = 30_000;

/** The end of a remote command as clients read it from the error channel. */
export function remoteCommandStatus(result: RemoteCommandResult): Omit<Status, "kind" | "apiVersion"> {
  if ("error" in result) {
    return {
      metadata: {},
      status: "Failure",
      message: `Internal error occurred: ${result.error}`,
      reason: "InternalError",
      details: { causes: [{ message: result.error }] },
      code: 500,
    };
  }
  if (result.exitCode === 0) return { metadata: {}, status: "Success" };
  return {
    metadata: {},
    status: "Failure",
    message: `command terminated with non-zero exit code: exit status ${result.exitCode}`,
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(result.exitCode) }] },
  };
}

function run(
  podStreams: PodStreams,
  request: RemoteCommandRequest,
  streams: RemoteCommandStreams,
): Promise<RemoteCommandResult> {
  const { kind, pod, container, command, tty } = request;
  const options = { tty, ...(container === undefined ? {} : { container }) };
  const running =
    kind === "exec" ? podStreams.exec(pod, { ...options, command }, streams) : podStreams.attach(pod, options, streams);
  return running.catch((error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }));
}

/** Sizes as a stream of JSON values `{"Width":80,"Height":24}`; anything else is skipped. */
async function* terminalSizes(source: AsyncIterable<Uint8Array>): AsyncIterable<{ width: number; height: number }> {
  let text = "";
  for await (const chunk of source) {
    text += Buffer.from(chunk).toString("utf8");
    for (let end = text.indexOf("}"); end >= 0; end = text.indexOf("}")) {
      const document = text.slice(0, end + 1);
      text = text.slice(end + 1);
      try {
        const { Width: width, Height: height } = JSON.parse(document) as { Width?: unknown; Height?: unknown };
        if (typeof width === "number" && typeof height === "number" && width > 0 && height > 0) yield { width, height };
      } catch {
        // Not a size.
      }
    }
    if (text.length > 1024) text = "";
  }
}

/**
 * Serves exec and attach over a WebSocket of protocol `v4.channel.k8s.io` or `v5.channel.k8s.io`: binary messages whose first octet
 * names the channel.
 */
export async function serveWebSocketCommand(
  socket: WebSocket,
  request: RemoteCommandRequest,
  podStreams: PodStreams,
): Promise<void> {
  const gone = new AbortController();
  const input = createByteQueue({ onDrain: () => socket.resume() });
  const sizes = createByteQueue();
  socket.on("message", (data: Buffer | ArrayBuffer | Buffer[], binary: boolean) => {
    const bytes = Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as Buffer);
    const channel = binary ? bytes[0] : undefined;
    const payload = bytes.subarray(1);
    if (channel === STDIN) {
      input.push(payload);
      if (input.size > 1024 * 1024) socket.pause();
    } else if (channel === RESIZE) sizes.push(payload);
    else if (channel === CLOSE && payload[0] === STDIN && socket.protocol === "v5.channel.k8s.io") input.end();
  });
  const leave = (): void => {
    gone.abort();
    input.end();
    sizes.end();
  };
  socket.on("close", leave);
  socket.on("error", leave);
  const send = (channel: number, payload: Uint8Array): void => {
    if (socket.readyState !== socket.OPEN) return;
    const message = Buffer.alloc(1 + payload.length);
    message[0] = channel;
    message.set(payload, 1);
    socket.send(message);
  };
  // An empty message tells the client that the connection stands.
  send(request.stdout ? STDOUT : request.stderr ? STDERR : ERROR, new Uint8Array(0));
  const result = await run(podStreams, request, {
    ...(request.stdin ? { stdin: input } : {}),
    ...(request.stdout ? { stdout: (chunk) => send(STDOUT, chunk) } : {}),
    ...(request.stderr && !request.tty ? { stderr: (chunk) => send(STDERR, chunk) } : {}),
    ...(request.tty ? { resize: terminalSizes(sizes) } : {}),
    signal: gone.signal,
  });
  send(ERROR, Buffer.from(JSON.stringify(remoteCommandStatus(result))));
  socket.close(1000);
}

/** Serves exec and attach over SPDY, protocols `v4.channel.k8s.io` and older; a stream per channel. */
export async function serveSpdyCommand(
  transport: Duplex,
  head: Uint8Array,
  protocol: string,
  request: RemoteCommandRequest,
  podStreams: PodStreams,
): Promise<void> {
  const wanted = new Set(["error"]);
  if (request.stdin) wanted.add("stdin");
  if (request.stdout) wanted.add("stdout");
  if (request.stderr && !request.tty) wanted.add("stderr");
  const hasResize = request.tty && !/^(v2\.)?channel\.k8s\.io$/.test(protocol);
  if (hasResize) wanted.add("resize");
  const streams = new Map<string, SpdyStream>();
  let complete: (all: boolean) => void = () => undefined;
  const opened = new Promise<boolean>((resolve) => {
    complete = resolve;
  });
  const connection = createSpdyConnection(transport, head, (stream) => {
    const type = stream.headers.get("streamtype") ?? "";
    if (!wanted.has(type) || streams.has(type)) {
      stream.reset();
      return;
    }
    stream.reply();
    streams.set(type, stream);
    if (streams.size === wanted.size) complete(true);
  });
  const timer = setTimeout(() => complete(false), STREAMS_TIMEOUT);
  void connection.closed.then(() => complete(false));
  const all = await opened;
  clearTimeout(timer);
  if (!all) {
    connection.close();
    return;
  }
  const gone = new AbortController();
  void connection.closed.then(() => gone.abort());
  const stdin = streams.get("stdin");
  const stdout = streams.get("stdout");
  const stderr = streams.get("stderr");
  const resize = streams.get("resize");
  const result = await run(podStreams, request, {
    ...(stdin === undefined ? {} : { stdin: stdin.readable }),
    ...(stdout === undefined ? {} : { stdout: (chunk) => stdout.write(chunk) }),
    ...(stderr === undefined ? {} : { stderr: (chunk) => stderr.write(chunk) }),
    ...(resize === undefined ? {} : { resize: terminalSizes(resize.readable) }),
    signal: gone.signal,
  });
  const status = remoteCommandStatus(result);
  const error = streams.get("error");
  if (protocol === "v4.channel.k8s.io") error?.write(Buffer.from(JSON.stringify(status)));
  else if (status.status === "Failure") error?.write(Buffer.from(status.message ?? ""));
  for (const stream of [stdout, stderr, stdin, resize, error]) stream?.end();
  // The client closes when it has read everything; one that does not is not waited for.
  const limit = setTimeout(() => connection.close(), 5_000);
  await connection.closed;
  clearTimeout(limit);
}
