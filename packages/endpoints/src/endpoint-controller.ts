import {
  type Clock,
  type EventRecorder,
  type Informer,
  type InformerFactory,
  informersSynced,
  type ReconcileFailure,
  runController,
  type WorkQueue,
  type WorkQueueMetrics,
} from "@portolan/client";

/** Options that the endpoint controllers share; times in milliseconds. */
export interface EndpointControllerOptions {
  /** Informers to share with other controllers; who made them starts them. Without, the controller has its own. */
  readonly informers?: InformerFactory;
  /** Records events. Without, the controller has one of its own, with upstream's component name. */
  readonly events?: EventRecorder;
  readonly clock?: Clock;
  /** Keys in work at the same time. Default 5. */
  readonly workers?: number;
  /** Waits this long after a change of a pod, to take further ones along in one write. Default 0. */
  readonly batchPeriod?: number;
  /** Retries of one Service before it waits for its next change. Default: no limit; upstream gives up after 15. */
  readonly maximumRetries?: number;
  /** Told about every failed reconciliation. */
  readonly onError?: (error: unknown, failure: ReconcileFailure<string>) => void;
}

/**
 * Longest wait between retries, in ms. Upstream waits up to 1000 s, and then for ever: after an outage its slices may stay wrong for
 * a quarter of an hour, or until the next change.
 */
export const longestRetryDelay = 100_000;

/** A controller, ready to run. */
export interface EndpointController {
  /** Runs until `signal` fires; resolves when the last reconciliation has returned. Runs once. */
  run(signal: AbortSignal): Promise<void>;
  /** Figures of the work queue. */
  metrics(): WorkQueueMetrics;
}

/** The informer cache has not caught up with the controller's own writes: try again. */
export class StaleCacheError extends Error {
  override readonly name: string = "StaleCacheError";
  readonly code: "stale-cache" = "stale-cache";
}

/** What a controller of this package consists of. */
export interface EndpointControllerParts {
  readonly name: string;
  readonly options: EndpointControllerOptions;
  readonly queue: WorkQueue;
  readonly factory: InformerFactory;
  readonly informers: readonly Pick<Informer<never>, "synced">[];
  /** Adds handlers; returns the functions that remove them. */
  readonly watch: () => readonly (() => void)[];
  /** Called once when the informers have synced. */
  readonly synced?: () => void;
  readonly reconcile: (key: string, signal: AbortSignal) => Promise<void>;
}

/** Runs the parts: handlers, informers if they are the controller's own, workers; and takes them apart again. */
export async function runEndpointController(parts: EndpointControllerParts, signal: AbortSignal): Promise<void> {
  const { name, options, queue, reconcile } = parts;
  const remove = parts.watch();
  try {
    if (options.informers === undefined) parts.factory.start(signal);
    await informersSynced(parts.informers, signal);
    parts.synced?.();
    await runController({
      name,
      queue,
      reconcile,
      signal,
      workers: options.workers ?? 5,
      ...(options.maximumRetries === undefined ? {} : { maximumRetries: options.maximumRetries }),
      ...(options.onError === undefined ? {} : { onError: options.onError }),
    });
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    queue.shutDown();
    for (const handler of remove) handler();
  }
}
