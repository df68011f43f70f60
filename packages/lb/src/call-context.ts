import { type Clock, sleep, systemClock } from "@portolan/client";
import type { CallContext } from "./provider.ts";

/** Locks by name, each first come, first served. */
export interface LockTable {
  run<T>(scope: string, work: () => Promise<T>): Promise<T>;
}

/** Makes a {@link LockTable}. Nothing of a scope is kept when nobody holds or waits for it. */
export function createLockTable(): LockTable {
  const tails = new Map<string, Promise<unknown>>();
  return {
    async run(scope, work) {
      const before = tails.get(scope) ?? Promise.resolve();
      const turn = before.then(work);
      const tail = turn.catch(() => {});
      tails.set(scope, tail);
      try {
        return await turn;
      } finally {
        if (tails.get(scope) === tail) tails.delete(scope);
      }
    },
  };
}

/** Options of {@link createCallContext}. */
export interface CallContextOptions {
  readonly signal: AbortSignal;
  readonly idempotencyKey: string;
  /** Default: the engine's clock. */
  readonly clock?: Clock;
  /** Milliseconds until the deadline. Default 60,000. */
  readonly budget?: number;
  /** Shared by all contexts whose work may touch the same cloud objects. Default: one of its own. */
  readonly locks?: LockTable;
  readonly report?: CallContext["report"];
}

/** Makes the context that a provider's effectful calls get. */
export function createCallContext(options: CallContextOptions): CallContext {
  const { signal, idempotencyKey, clock = systemClock, locks = createLockTable() } = options;
  return {
    signal,
    idempotencyKey,
    deadline: clock.now() + (options.budget ?? 60_000),
    now: clock.now,
    report: options.report ?? (() => {}),
    lock: locks.run,
    async sleep(milliseconds) {
      await sleep(clock, milliseconds, signal);
      signal.throwIfAborted();
    },
  };
}
