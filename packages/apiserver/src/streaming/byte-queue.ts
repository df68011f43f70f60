/** Chunks on their way from a callback to a consumer. */
export interface ByteQueue extends AsyncIterable<Uint8Array> {
  push(chunk: Uint8Array): void;
  end(): void;
  /** The iterator throws once it has given what was pushed before. */
  fail(error: Error): void;
  /** Bytes that wait. */
  readonly size: number;
}

/**
 * Makes a {@link ByteQueue} for one consumer. `onDrain` is called whenever waiting bytes fall below `lowWater`, so that a source that
 * was told to pause can go on.
 */
export function createByteQueue(
  options: { readonly lowWater?: number; readonly onDrain?: () => void } = {},
): ByteQueue {
  const lowWater = options.lowWater ?? 256 * 1024;
  const chunks: Uint8Array[] = [];
  let size = 0;
  let ended = false;
  let failure: Error | undefined;
  let wake: (() => void) | undefined;
  return {
    get size() {
      return size;
    },
    push(chunk) {
      if (ended || chunk.length === 0) return;
      chunks.push(chunk);
      size += chunk.length;
      wake?.();
    },
    end() {
      ended = true;
      wake?.();
    },
    fail(error) {
      failure ??= error;
      ended = true;
      wake?.();
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const chunk = chunks.shift();
        if (chunk !== undefined) {
          const above = size >= lowWater;
          size -= chunk.length;
          if (above && size < lowWater) options.onDrain?.();
          yield chunk;
          continue;
        }
        if (failure !== undefined) throw failure;
        if (ended) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
