import { connect, type Socket } from "node:net";
import type {
  PodConnection,
  PodStreams,
  RemoteCommandOptions,
  RemoteCommandResult,
  RemoteCommandStreams,
} from "@portolan/apiserver";
import { type Pod, StatusError } from "@portolan/core";
import {
  channels,
  type Frame,
  framesOf,
  jsonOf,
  type PodStreamCall,
  type PodStreamOutcome,
  sendAll,
  sendFrame,
  sendValue,
} from "./frames.ts";

/** Pods' streams of another process, which serves them with `servePodStreams` on this UNIX socket. */
export function createPodStreamClient(path: string): PodStreams {
  const command =
    (name: "exec" | "attach") =>
    async (pod: Pod, options: RemoteCommandOptions, streams: RemoteCommandStreams): Promise<RemoteCommandResult> => {
      const { stdin, resize, signal } = streams;
      const call = { name, pod, options, stdin: stdin !== undefined, resize: resize !== undefined };
      const socket = await open(path, call, signal);
      try {
        if (stdin !== undefined) void sendInput(socket, stdin).catch(() => socket.destroy());
        if (resize !== undefined) void sendSizes(socket, resize).catch(() => {});
        for await (const frame of framesOf(socket)) {
          if (frame.channel === channels.output) streams.stdout?.(frame.content);
          else if (frame.channel === channels.errorOutput) streams.stderr?.(frame.content);
          else return outcomeOf(frame).result ?? { error: "it ended without a result" };
        }
        return { error: "the connection to the pod's node was lost" };
      } catch (error) {
        return { error: (error as Error).message };
      } finally {
        socket.destroy();
      }
    };

  return {
    async *logs(pod, options, signal) {
      const socket = await open(path, { name: "logs", pod, options }, signal);
      try {
        for await (const frame of framesOf(socket)) {
          if (frame.channel === channels.output) yield frame.content;
          else return void outcomeOf(frame);
        }
      } finally {
        socket.destroy();
      }
    },
    exec: command("exec"),
    attach: command("attach"),
    async portForward(pod, port, signal): Promise<PodConnection> {
      const socket = await open(path, { name: "portForward", pod, port }, signal);
      const frames = framesOf(socket);
      try {
        const first = await frames.next();
        if (first.done === true) throw new Error("the connection to the pod's node was lost");
        outcomeOf(first.value);
      } catch (error) {
        socket.destroy();
        throw error;
      }
      return {
        readable: contentOf(frames),
        write: (chunk) => void sendFrame(socket, channels.input, chunk),
        end: () => void sendFrame(socket, channels.endOfInput),
      };
    },
  };
}

function open(path: string, call: PodStreamCall, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    const destroy = (): void => void socket.destroy();
    if (signal.aborted) destroy();
    signal.addEventListener("abort", destroy, { once: true });
    socket.once("close", () => signal.removeEventListener("abort", destroy));
    socket.on("error", (error) => {
      destroy();
      reject(error);
    });
    socket.once("close", () => reject(new Error("the connection to the pod's node was lost")));
    socket.once("connect", () => {
      sendValue(socket, channels.call, call);
      resolve(socket);
    });
  });
}

/** @throws StatusError when that is the outcome */
function outcomeOf(frame: Frame): { readonly result?: RemoteCommandResult } {
  const outcome = jsonOf<PodStreamOutcome>(frame);
  if ("error" in outcome) throw new StatusError(outcome.error);
  return outcome;
}

async function sendInput(socket: Socket, stdin: AsyncIterable<Uint8Array>): Promise<void> {
  await sendAll(socket, channels.input, stdin);
  sendFrame(socket, channels.endOfInput);
}

async function sendSizes(socket: Socket, sizes: NonNullable<RemoteCommandStreams["resize"]>): Promise<void> {
  for await (const size of sizes) sendValue(socket, channels.resize, size);
}

async function* contentOf(frames: AsyncIterable<Frame>): AsyncGenerator<Uint8Array, void> {
  for await (const frame of frames) if (frame.channel === channels.output) yield frame.content;
}
