/** A bounded queue of frames with waiters: what in-memory devices receive from. */
export interface FrameQueue {
  /** @returns false when it is full or ended */
  push(frame: Uint8Array): boolean;
  shift(): Uint8Array | undefined;
  readable(signal?: AbortSignal): Promise<boolean>;
  /** No frame comes any more. */
  end(): void;
  readonly length: number;
}

/** Makes an empty queue of at most `capacity` frames. */
export function createFrameQueue(capacity: number): FrameQueue {
  const frames: Uint8Array[] = [];
  const waiting = new Set<() => void>();
  let ended = false;
  const wake = (): void => {
    for (const waiter of [...waiting]) waiter();
  };
  return {
    push(frame): boolean {
      if (ended || frames.length >= capacity) return false;
      frames.push(frame);
      wake();
      return true;
    },
    shift: () => frames.shift(),
    readable(signal): Promise<boolean> {
      if (signal?.aborted === true) return Promise.reject(signal.reason as Error);
      if (frames.length > 0 || ended) return Promise.resolve(frames.length > 0);
      return new Promise((resolve, reject) => {
        const settle = (finish: () => void): void => {
          waiting.delete(look);
          signal?.removeEventListener("abort", abort);
          finish();
        };
        const look = (): void => {
          // Another waiter may have taken the frame that woke both.
          if (frames.length > 0 || ended) settle(() => resolve(frames.length > 0));
        };
        const abort = (): void => settle(() => reject(signal?.reason as Error));
        waiting.add(look);
        signal?.addEventListener("abort", abort, { once: true });
      });
    },
    end(): void {
      ended = true;
      wake();
    },
    get length(): number {
      return frames.length;
    },
  };
}
