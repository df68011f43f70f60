/**
 * Frames on a connection between the API server's process and the one that runs pods. Each connection is one call of `PodStreams`:
 *
 * ```text
 *  length   u32, big endian   octets after the channel
 *  channel  u8
 *  octets
 * ```
 */
import type { Socket } from "node:net";
import type { RemoteCommandResult } from "@portolan/apiserver";
import type { Pod, Status } from "@portolan/core";

/** What a frame holds: JSON on the channels `call`, `outcome` and `resize`, an end of input without octets, else data. */
export const channels = { call: 0, outcome: 1, input: 2, endOfInput: 3, output: 4, errorOutput: 5, resize: 6 } as const;
type Channel = (typeof channels)[keyof typeof channels];

/** The first frame: a call by its name and arguments, as far as they are data. */
export type PodStreamCall =
  | { readonly name: "logs"; readonly pod: Pod; readonly options: object }
  | {
      readonly name: "exec" | "attach";
      readonly pod: Pod;
      readonly options: object;
      /** Which streams the client has. */
      readonly stdin: boolean;
      readonly resize: boolean;
    }
  | { readonly name: "portForward"; readonly pod: Pod; readonly port: number };

/** How a call went: once, when it is over; for a forwarded port when it is connected. */
export type PodStreamOutcome = { readonly result?: RemoteCommandResult } | { readonly error: Status };

/** A frame as it came. */
export interface Frame {
  readonly channel: number;
  readonly content: Buffer;
}

const HEADER = 5;

/** Sends a frame; who has gone gets nothing. @returns whether there is room for more */
export function sendFrame(socket: Socket, channel: Channel, content: Uint8Array = Buffer.alloc(0)): boolean {
  if (!socket.writable) return true;
  const header = Buffer.alloc(HEADER);
  header.writeUInt32BE(content.length);
  header[4] = channel;
  socket.cork();
  socket.write(header);
  const roomy = socket.write(content);
  socket.uncork();
  return roomy;
}

/** Sends a value as JSON. */
export function sendValue(
  socket: Socket,
  channel: Channel,
  value: PodStreamCall | PodStreamOutcome | { readonly width: number; readonly height: number },
): void {
  sendFrame(socket, channel, Buffer.from(JSON.stringify(value)));
}

/** Sends chunks as frames, no faster than they are taken. */
export async function sendAll(socket: Socket, channel: Channel, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) if (!sendFrame(socket, channel, chunk)) await room(socket);
}

function room(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
    if (socket.destroyed || !socket.writableNeedDrain) done();
  });
}

/** The frames that come in, to the end of the connection. One that is cut off is left out. */
export async function* framesOf(socket: Socket): AsyncGenerator<Frame, void> {
  let pending: Buffer = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    while (pending.length >= HEADER) {
      const end = HEADER + pending.readUInt32BE();
      if (pending.length < end) break;
      yield { channel: pending[4]!, content: pending.subarray(HEADER, end) };
      pending = pending.subarray(end);
    }
  }
}

/** The value of a frame of JSON. */
export function jsonOf<T extends object>(frame: Frame): T {
  return JSON.parse(frame.content.toString()) as T;
}
