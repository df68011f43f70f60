import type { Duplex } from "node:stream";
import { constants, createDeflate, createInflate, type Deflate, type Inflate } from "node:zlib";
import { type ByteQueue, createByteQueue } from "./byte-queue.ts";
import { spdyDictionary } from "./spdy-dictionary.ts";

/**
 * SPDY/3.1 as Kubernetes clients speak it, the server's side: streams that the client opens, headers, data, half-close, reset, ping.
 * No priorities, no pushed streams, and no flow control, which those clients do not have either.
 *
 * ```text
 * control frame  │1│ version 3 (15) │ type (16) │ flags (8) │ length (24) │ payload …
 * data frame     │0│ stream id (31)             │ flags (8) │ length (24) │ payload …
 * header block   │ count (32) │ { name length (32) │ name │ value length (32) │ value } …    compressed, one zlib stream a direction
 * ```
 *
 * Source: draft-mbelshe-httpbis-spdy-00.
 */
export interface SpdyConnection {
  /** Resolves when the connection has ended, however that came. */
  readonly closed: Promise<void>;
  close(): void;
}

/** A stream that the client has opened. */
export interface SpdyStream {
  readonly id: number;
  /** Names in lower case; of repeated ones the first value. */
  readonly headers: ReadonlyMap<string, string>;
  /** What the client sends; ends with its half-close, throws when it resets the stream. */
  readonly readable: ByteQueue;
  /** Accepts the stream: the client waits for that. */
  reply(): void;
  write(chunk: Uint8Array): void;
  /** Half-closes: the client reads end of file. */
  end(): void;
  reset(): void;
}

/** Frames that are longer than this end the connection. */
const LONGEST_FRAME = 16 * 1024 * 1024;
/** Our own data frames. */
const LONGEST_DATA = 32 * 1024;
const MOST_STREAMS = 1024;
const VERSION = 3;
const FLAG_FIN = 1;
const SYN_STREAM = 1;
const SYN_REPLY = 2;
const RST_STREAM = 3;
const PING = 6;
const GOAWAY = 7;
const HEADERS = 8;
const PROTOCOL_ERROR = 1;
const REFUSED_STREAM = 3;
const CANCEL = 5;

/** One direction of header compression. Chunks go through one after the other. */
function createCodec(stream: Deflate | Inflate): (chunk: Buffer) => Promise<Buffer> {
  const out: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => out.push(chunk));
  return (chunk) =>
    new Promise((resolve, reject) => {
      stream.once("error", reject);
      stream.write(chunk, () => {
        // What the last write gave may still be in the stream's own buffer for a turn.
        setImmediate(() => {
          stream.off("error", reject);
          resolve(Buffer.concat(out.splice(0)));
        });
      });
    });
}

/** Reads a header block. @throws RangeError when it is cut or too large */
export function parseHeaderBlock(block: Buffer): Map<string, string> {
  const headers = new Map<string, string>();
  let offset = 4;
  const text = (): string => {
    const length = block.readUInt32BE(offset);
    if (offset + 4 + length > block.length) throw new RangeError("a SPDY header block is cut");
    const value = block.toString("latin1", offset + 4, offset + 4 + length);
    offset += 4 + length;
    return value;
  };
  for (let left = block.readUInt32BE(0); left > 0; left--) {
    const name = text().toLowerCase();
    const value = text();
    if (!headers.has(name)) headers.set(name, value.split("\0")[0] ?? "");
  }
  return headers;
}

/** Writes a header block. */
export function formatHeaderBlock(headers: ReadonlyMap<string, string>): Buffer {
  const parts: Buffer[] = [];
  const number = (value: number): void => {
    const part = Buffer.alloc(4);
    part.writeUInt32BE(value);
    parts.push(part);
  };
  number(headers.size);
  for (const [name, value] of headers) {
    for (const text of [name, value]) {
      const bytes = Buffer.from(text, "latin1");
      number(bytes.length);
      parts.push(bytes);
    }
  }
  return Buffer.concat(parts);
}

function controlFrame(type: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(0x8000 | VERSION, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt32BE(((flags << 24) | payload.length) >>> 0, 4);
  return Buffer.concat([head, payload]);
}

function numbers(...values: number[]): Buffer {
  const payload = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) payload.writeUInt32BE(value >>> 0, index * 4);
  return payload;
}

interface OpenStream {
  readonly stream: SpdyStream;
  readonly queue: ByteQueue;
  localEnd: boolean;
  remoteEnd: boolean;
}

/**
 * Speaks SPDY over `transport`. `head` is what came with the upgrade. `onStream` is called for each stream that the client opens, in
 * order. Malformed frames end the connection, never the process.
 */
export function createSpdyConnection(
  transport: Duplex,
  head: Uint8Array,
  onStream: (stream: SpdyStream) => void,
): SpdyConnection {
  const inflate = createInflate({ dictionary: spdyDictionary, finishFlush: constants.Z_SYNC_FLUSH });
  const deflate = createDeflate({ dictionary: spdyDictionary, flush: constants.Z_SYNC_FLUSH });
  const decompress = createCodec(inflate);
  const compress = createCodec(deflate);
  const streams = new Map<number, OpenStream>();
  let ended = false;
  let finish: () => void = () => undefined;
  const closed = new Promise<void>((resolve) => {
    finish = resolve;
  });
  // Frames leave in the order of the calls, also those that wait for the compressor.
  let sending: Promise<void> = Promise.resolve();
  let lastStream = 0;

  function send(frame: Buffer | (() => Promise<Buffer>)): void {
    sending = sending
      .then(async () => {
        const bytes = typeof frame === "function" ? await frame() : frame;
        if (!ended && transport.writable) transport.write(bytes);
      })
      .catch(() => close());
  }

  function close(): void {
    if (ended) return;
    ended = true;
    for (const { queue } of streams.values()) queue.end();
    streams.clear();
    inflate.destroy();
    deflate.destroy();
    transport.destroy();
    finish();
  }

  function forgetIfDone(id: number): void {
    const open = streams.get(id);
    if (open?.localEnd === true && open.remoteEnd) streams.delete(id);
  }

  function sendData(id: number, chunk: Uint8Array, flags: number): void {
    const frame = Buffer.alloc(8 + chunk.length);
    frame.writeUInt32BE(id & 0x7fffffff, 0);
    frame.writeUInt32BE(((flags << 24) | chunk.length) >>> 0, 4);
    frame.set(chunk, 8);
    send(frame);
  }

  function openStream(id: number, headers: ReadonlyMap<string, string>, remoteEnd: boolean): void {
    const queue = createByteQueue({
      onDrain: () => {
        transport.resume();
      },
    });
    const open: OpenStream = {
      queue,
      localEnd: false,
      remoteEnd,
      stream: {
        id,
        headers,
        readable: queue,
        reply() {
          send(async () => {
            const block = await compress(formatHeaderBlock(new Map()));
            return controlFrame(SYN_REPLY, 0, Buffer.concat([numbers(id), block]));
          });
        },
        write(chunk) {
          if (open.localEnd) return;
          for (let start = 0; start < chunk.length; start += LONGEST_DATA) {
            sendData(id, chunk.subarray(start, start + LONGEST_DATA), 0);
          }
        },
        end() {
          if (open.localEnd) return;
          open.localEnd = true;
          sendData(id, new Uint8Array(0), FLAG_FIN);
          forgetIfDone(id);
        },
        reset() {
          if (!streams.delete(id)) return;
          open.localEnd = true;
          queue.end();
          send(controlFrame(RST_STREAM, 0, numbers(id, CANCEL)));
        },
      },
    };
    if (remoteEnd) queue.end();
    streams.set(id, open);
    onStream(open.stream);
  }

  function endRemote(id: number): void {
    const open = streams.get(id);
    if (open === undefined) return;
    open.remoteEnd = true;
    open.queue.end();
    forgetIfDone(id);
  }

  async function handle(head: Buffer, payload: Buffer): Promise<void> {
    const flags = head[4] ?? 0;
    if (((head[0] ?? 0) & 0x80) === 0) {
      const id = head.readUInt32BE(0) & 0x7fffffff;
      const open = streams.get(id);
      if (open !== undefined && !open.remoteEnd) {
        open.queue.push(payload);
        if (open.queue.size > 1024 * 1024) transport.pause();
        if ((flags & FLAG_FIN) !== 0) endRemote(id);
      }
      return;
    }
    if ((head.readUInt16BE(0) & 0x7fff) !== VERSION) throw new RangeError("not SPDY/3");
    switch (head.readUInt16BE(2)) {
      case SYN_STREAM: {
        const id = payload.readUInt32BE(0) & 0x7fffffff;
        // The block must be read in any case: the compression of the next one depends on it.
        const headers = parseHeaderBlock(await decompress(payload.subarray(10)));
        if (id % 2 === 0 || id <= lastStream) send(controlFrame(RST_STREAM, 0, numbers(id, PROTOCOL_ERROR)));
        else if (streams.size >= MOST_STREAMS) send(controlFrame(RST_STREAM, 0, numbers(id, REFUSED_STREAM)));
        else {
          lastStream = id;
          openStream(id, headers, (flags & FLAG_FIN) !== 0);
        }
        return;
      }
      case SYN_REPLY:
      case HEADERS:
        await decompress(payload.subarray(4));
        return;
      case RST_STREAM: {
        const id = payload.readUInt32BE(0) & 0x7fffffff;
        const open = streams.get(id);
        streams.delete(id);
        if (open !== undefined) {
          open.localEnd = true;
          open.queue.fail(new Error("the client reset the stream"));
        }
        return;
      }
      case PING:
        // Odd numbers are the client's own pings; an even one would be the answer to one of ours.
        if (payload.readUInt32BE(0) % 2 === 1) send(controlFrame(PING, 0, payload.subarray(0, 4)));
        return;
      case GOAWAY:
        return;
      default:
        return;
    }
  }

  async function read(): Promise<void> {
    let buffer: Buffer = Buffer.from(head);
    const drain = async (): Promise<void> => {
      let offset = 0;
      while (buffer.length - offset >= 8 && !ended) {
        const length = buffer.readUIntBE(offset + 5, 3);
        if (length > LONGEST_FRAME) throw new RangeError("a SPDY frame is too long");
        if (buffer.length - offset < 8 + length) break;
        const start = offset + 8;
        offset = start + length;
        // A copy: queues keep payloads, and must not keep all of a large buffer.
        await handle(buffer.subarray(start - 8, start), Buffer.from(buffer.subarray(start, offset)));
      }
      buffer = buffer.subarray(offset);
    };
    await drain();
    for await (const chunk of transport as AsyncIterable<Buffer>) {
      buffer = buffer.length === 0 ? chunk : Buffer.concat([buffer, chunk]);
      await drain();
    }
  }

  transport.on("error", close);
  transport.on("close", close);
  read().then(close, close);
  return { closed, close };
}
