import { createServer, type Socket } from "node:net";
import { PassThrough } from "node:stream";
import type { PodConnection, PodStreams, RemoteCommandStreams } from "@portolan/apiserver";
import { statusErrorOf } from "@portolan/core";
import { channels, type Frame, framesOf, jsonOf, type PodStreamCall, sendAll, sendFrame, sendValue } from "./frames.ts";

/** Serves pods' streams to API servers in other processes. */
export interface PodStreamServer {
  /** Ends its connections too. */
  close(): Promise<void>;
}

/**
 * Listens on a UNIX socket for calls of {@link createPodStreamClient}; whoever can open it may run programs in pods.
 *
 * @throws the system's error when it cannot listen there
 */
export async function servePodStreams(path: string, podStreams: PodStreams): Promise<PodStreamServer> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => sockets.delete(socket));
    void serve(socket, podStreams).finally(() => socket.end());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  return {
    close(): Promise<void> {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

async function serve(socket: Socket, podStreams: PodStreams): Promise<void> {
  const gone = new AbortController();
  socket.once("close", () => gone.abort());
  const frames = framesOf(socket);
  try {
    const first = await frames.next();
    if (first.done === true) return;
    const call = jsonOf<PodStreamCall>(first.value);
    if (call.name === "logs") {
      await sendAll(socket, channels.output, podStreams.logs(call.pod, call.options, gone.signal));
      sendValue(socket, channels.outcome, {});
    } else if (call.name === "portForward") {
      const connection = await podStreams.portForward(call.pod, call.port, gone.signal);
      sendValue(socket, channels.outcome, {});
      await Promise.all([toPort(frames, connection), fromPort(connection, socket)]);
    } else {
      const stdin = call.stdin ? new PassThrough() : undefined;
      const resize = call.resize ? new PassThrough({ objectMode: true }) : undefined;
      void readCommand(frames, stdin, resize).catch(() => socket.destroy());
      const streams: RemoteCommandStreams = {
        ...(stdin === undefined ? {} : { stdin }),
        ...(resize === undefined ? {} : { resize }),
        stdout: (chunk) => void sendFrame(socket, channels.output, chunk),
        stderr: (chunk) => void sendFrame(socket, channels.errorOutput, chunk),
        signal: gone.signal,
      };
      const result = await podStreams[call.name](call.pod, call.options as { readonly tty: boolean }, streams);
      sendValue(socket, channels.outcome, { result });
    }
  } catch (error) {
    sendValue(socket, channels.outcome, { error: statusErrorOf(error).status });
  }
}

/** Hands on what a client types and how large its terminal is, no faster than it is taken. */
async function readCommand(
  frames: AsyncIterable<Frame>,
  stdin: PassThrough | undefined,
  resize: PassThrough | undefined,
): Promise<void> {
  for await (const frame of frames) {
    if (frame.channel === channels.resize) resize?.write(jsonOf(frame));
    else if (frame.channel === channels.endOfInput) stdin?.end();
    else if (frame.channel === channels.input && stdin !== undefined && !stdin.write(frame.content))
      await new Promise((resolve) => stdin.once("drain", resolve));
  }
  stdin?.end();
  resize?.end();
}

async function toPort(frames: AsyncIterable<Frame>, connection: PodConnection): Promise<void> {
  for await (const frame of frames) {
    if (frame.channel === channels.input) connection.write(frame.content);
    else if (frame.channel === channels.endOfInput) connection.end();
  }
}

async function fromPort(connection: PodConnection, socket: Socket): Promise<void> {
  await sendAll(socket, channels.output, connection.readable);
  socket.end();
}
