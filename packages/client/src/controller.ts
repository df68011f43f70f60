import type { WorkQueue } from "./work-queue.ts";

/** What a reconciliation may ask for. */
export interface ReconcileResult {
  /** Reconcile again after this many milliseconds, although nothing failed. */
  readonly requeueAfter?: number;
}

/** What happened to a key whose reconciliation threw. */
export interface ReconcileFailure<K> {
  /** Name of the controller. */
  readonly controller: string;
  readonly key: K;
  /** Failures of this key in a row, this one included. */
  readonly attempt: number;
  /** Whether the key was queued again; false when its retries are used up. */
  readonly retrying: boolean;
}

/** Options of {@link runController}. */
export interface ControllerOptions<K> {
  /** Named in failures. */
  readonly name: string;
  readonly queue: WorkQueue<K>;
  /**
   * Makes the world match what is wanted for `key`. Must be idempotent: it runs once for any number of changes. Throwing queues the
   * key again, as the queue's rate limiter allows.
   */
  readonly reconcile: (key: K, signal: AbortSignal) => Promise<ReconcileResult | undefined> | Promise<void>;
  /** Keys in work at the same time. Default 1. */
  readonly workers?: number;
  /** Ends the controller, and with it the signals of reconciliations in work. */
  readonly signal: AbortSignal;
  /** Retries of one key before it is dropped until something adds it again. Default: no limit. */
  readonly maximumRetries?: number;
  /** Told about every failure. */
  readonly onError?: (error: unknown, failure: ReconcileFailure<K>) => void;
}

/**
 * Takes keys from a queue and reconciles them until `signal` fires; resolves when the queue is shut down and the last reconciliation
 * has returned. A key is never in work twice at the same time. Never rejects.
 */
export async function runController<K = string>(options: ControllerOptions<K>): Promise<void> {
  const { name, queue, reconcile, signal, workers = 1, maximumRetries = Number.POSITIVE_INFINITY } = options;

  // A signal per worker: thousands of requests would otherwise gather their listeners on the one of the process.
  const aborts = Array.from({ length: workers }, () => new AbortController());

  async function work({ signal: own }: AbortController): Promise<void> {
    for (;;) {
      const key = await queue.get();
      if (key === undefined || own.aborted) return;
      try {
        const result = await reconcile(key, own);
        queue.forget(key);
        if (result !== undefined && result.requeueAfter !== undefined) queue.addAfter(key, result.requeueAfter);
      } catch (error) {
        if (!signal.aborted) {
          const attempt = queue.requeues(key) + 1;
          const retrying = attempt <= maximumRetries;
          if (retrying) queue.addRateLimited(key);
          else queue.forget(key);
          options.onError?.(error, { controller: name, key, attempt, retrying });
        }
      } finally {
        queue.done(key);
      }
    }
  }

  const stop = (): void => {
    queue.shutDown();
    for (const abort of aborts) abort.abort(signal.reason);
  };
  if (signal.aborted) return stop();
  signal.addEventListener("abort", stop, { once: true });
  await Promise.all(aborts.map(work));
  signal.removeEventListener("abort", stop);
}
