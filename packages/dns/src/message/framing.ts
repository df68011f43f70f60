import { headerLength } from "./message.ts";
import { DnsMessageError } from "./message-error.ts";

/**
 * Takes a TCP byte stream apart into messages (RFC 1035 4.2.2, RFC 7766 section 8): segments may split or join messages anywhere.
 *
 * ```text
 * +--------+--------+------------------ - - -+--------+--- - -
 * | length, 16 bits | message of that length | length | …
 * +--------+--------+------------------ - - -+--------+--- - -
 * ```
 */
export interface FrameDecoder {
  /**
   * Adds received octets and returns the messages that are complete, in order. Memory follows what was received, not what a length
   * prefix promises. Throws {@link DnsMessageError} `frame-too-short` for a message shorter than a header: the stream cannot be
   * trusted any more and must be closed.
   */
  push(chunk: Uint8Array): Uint8Array[];
  /** Octets of a message that is not complete. */
  readonly pending: number;
}

/** Creates a decoder for one connection. */
export function createFrameDecoder(): FrameDecoder {
  let store = new Uint8Array(0);
  let used = 0;
  return {
    get pending() {
      return used;
    },
    push(chunk) {
      let bytes = chunk;
      if (used > 0) {
        if (used + chunk.length > store.length) {
          const grown = new Uint8Array(Math.max(2 * store.length, used + chunk.length));
          grown.set(store.subarray(0, used));
          store = grown;
        }
        store.set(chunk, used);
        used += chunk.length;
        bytes = store.subarray(0, used);
      }
      const messages: Uint8Array[] = [];
      let at = 0;
      while (at + 2 <= bytes.length) {
        const length = (bytes[at]! << 8) | bytes[at + 1]!;
        if (length < headerLength)
          throw new DnsMessageError("frame-too-short", `a message of ${length} octets is announced`, at);
        if (at + 2 + length > bytes.length) break;
        messages.push(bytes.slice(at + 2, at + 2 + length));
        at += 2 + length;
      }
      if (bytes === chunk) {
        store = bytes.slice(at);
        used = store.length;
      } else if (at > 0) {
        store.copyWithin(0, at, used);
        used -= at;
      }
      return messages;
    },
  };
}

/** A message with its length in front. Throws `frame-too-long` above 65535 octets. */
export function frameMessage(message: Uint8Array): Uint8Array {
  if (message.length > 0xffff)
    throw new DnsMessageError("frame-too-long", `${message.length} octets do not fit a 16-bit length`);
  const frame = new Uint8Array(message.length + 2);
  frame[0] = message.length >>> 8;
  frame[1] = message.length & 0xff;
  frame.set(message, 2);
  return frame;
}
