/** A controller that also fires when another signal does, until it is released. */
export interface LinkedAbort {
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
  /** Removes the listener from the outer signal. Long-lived signals would otherwise gather one per request. */
  release(): void;
}

/** Like `AbortSignal.any` of a new controller and `outer`, but leaves nothing behind on `outer` once released. */
export function linkAbort(outer: AbortSignal | undefined): LinkedAbort {
  const controller = new AbortController();
  const forward = (): void => controller.abort(outer?.reason);
  if (outer?.aborted) forward();
  else outer?.addEventListener("abort", forward, { once: true });
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    release: () => outer?.removeEventListener("abort", forward),
  };
}

/** Settles as `promise` does, or rejects with the signal's reason as soon as it fires, even if `promise` never settles. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const fail = (): void => reject(signal.reason);
    if (signal.aborted) fail();
    else signal.addEventListener("abort", fail, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", fail));
  });
}

/** The chunks of `stream` until `signal` fires, then throws its reason; does not rely on the stream to notice. */
export async function* chunksUntilAborted<T>(stream: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = stream[Symbol.asyncIterator]();
  let finished = false;
  try {
    for (;;) {
      const next = await untilAborted(iterator.next(), signal);
      if (next.done) {
        finished = true;
        return;
      }
      yield next.value;
    }
  } finally {
    // Not awaited: `return` of a generator waits for its pending `next`, which may never come.
    if (!finished) iterator.return?.().catch(() => {});
  }
}
