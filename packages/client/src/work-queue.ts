import { type Clock, systemClock } from "./clock.ts";
import {
  createExponentialRateLimiter,
  createLongestOfRateLimiter,
  createTokenBucketRateLimiter,
  type RateLimiter,
} from "./rate-limiter.ts";

/** Options of {@link createWorkQueue}. */
export interface WorkQueueOptions<K> {
  readonly clock?: Clock;
  /** Default: 5 ms doubling to 1000 s per key, and 10 retries a second with bursts of 100 over all keys. */
  readonly rateLimiter?: RateLimiter<K>;
}

/** Counters of a queue since it was made; times in milliseconds. */
export interface WorkQueueMetrics {
  /** Keys that wait for a worker now. */
  readonly depth: number;
  /** Keys that a worker has now. */
  readonly processing: number;
  /** Keys that wait for their time (`addAfter`, `addRateLimited`). */
  readonly delayed: number;
  readonly adds: number;
  readonly retries: number;
  /** Keys handed to workers, and their time in the queue, together and at most. */
  readonly gets: number;
  readonly totalQueueTime: number;
  readonly longestQueueTime: number;
  /** Keys done, and the time they took, together and at most. */
  readonly dones: number;
  readonly totalWorkTime: number;
  readonly longestWorkTime: number;
  /** Age of the oldest key that a worker has now; grows without bound when one hangs. */
  readonly longestRunningTime: number;
}

/**
 * A queue of keys for reconcilers, with the semantics of client-go's: a key is queued at most once, however often it is added; a key
 * that a worker has is not given to another one, and when it is added meanwhile it is queued again as soon as it is `done`.
 */
export interface WorkQueue<K = string> {
  add(key: K): void;
  /** Adds after `milliseconds`; of several waits of one key the shortest counts. */
  addAfter(key: K, milliseconds: number): void;
  /** Adds when the rate limiter allows; counts as a failure of `key`. */
  addRateLimited(key: K): void;
  /** Forgets the failures of `key`. Call it on success and on giving up. */
  forget(key: K): void;
  /** Failures of `key` since it was forgotten. */
  requeues(key: K): number;
  /** The next key, as soon as there is one; undefined when the queue is shut down or `signal` fires. Every key must be `done`. */
  get(signal?: AbortSignal): Promise<K | undefined>;
  /** The worker is through with `key`. */
  done(key: K): void;
  /** Takes no more keys and drops delayed ones; queued ones are still handed out. Leaves no timer. */
  shutDown(): void;
  /** Shuts down and resolves when all queued keys are done. */
  drain(): Promise<void>;
  readonly length: number;
  readonly shuttingDown: boolean;
  metrics(): WorkQueueMetrics;
}

/** Makes a {@link WorkQueue}. All operations are O(1), but `addAfter` and expiry O(log delayed keys). */
export function createWorkQueue<K = string>(options: WorkQueueOptions<K> = {}): WorkQueue<K> {
  const clock = options.clock ?? systemClock;
  const limiter =
    options.rateLimiter ??
    createLongestOfRateLimiter<K>(
      createExponentialRateLimiter({ initial: 5, maximum: 1_000_000 }),
      createTokenBucketRateLimiter({ rate: 10, burst: 100, clock }),
    );
  // Insertion order of maps is the order of the queue; values are the times of addition, of start, and of readiness.
  const queued = new Map<K, number>();
  const processing = new Map<K, number>();
  const again = new Set<K>();
  const delays = createDelayHeap<K>();
  const takers: ((key: K | undefined) => void)[] = [];
  const drained: (() => void)[] = [];
  let cancelTimer: (() => void) | undefined;
  let timerAt = Number.POSITIVE_INFINITY;
  let closed = false;
  const count = { adds: 0, retries: 0, gets: 0, dones: 0 };
  const time = { totalQueueTime: 0, longestQueueTime: 0, totalWorkTime: 0, longestWorkTime: 0 };

  function take(key: K): K {
    const added = queued.get(key)!;
    queued.delete(key);
    const now = clock.now();
    processing.set(key, now);
    count.gets++;
    time.totalQueueTime += now - added;
    time.longestQueueTime = Math.max(time.longestQueueTime, now - added);
    return key;
  }

  function enqueue(key: K): void {
    queued.set(key, clock.now());
    const taker = takers.shift();
    if (taker !== undefined) taker(take(key));
  }

  function add(key: K): void {
    if (closed || queued.has(key) || again.has(key)) return;
    count.adds++;
    if (processing.has(key)) again.add(key);
    else enqueue(key);
  }

  function arm(): void {
    const next = delays.peek() ?? Number.POSITIVE_INFINITY;
    if (next === timerAt) return;
    cancelTimer?.();
    cancelTimer = undefined;
    timerAt = next;
    if (next !== Number.POSITIVE_INFINITY)
      cancelTimer = clock.schedule(
        () => {
          timerAt = Number.POSITIVE_INFINITY;
          cancelTimer = undefined;
          for (const key of delays.take(clock.now())) add(key);
          arm();
        },
        Math.max(0, next - clock.now()),
      );
  }

  function addAfter(key: K, milliseconds: number): void {
    if (closed) return;
    if (milliseconds > 0) {
      delays.push(key, clock.now() + milliseconds);
      arm();
    } else add(key);
  }

  function settle(): void {
    if (!closed) return;
    if (queued.size === 0) for (const taker of takers.splice(0)) taker(undefined);
    if (queued.size === 0 && processing.size === 0) for (const resolve of drained.splice(0)) resolve();
  }

  function shutDown(): void {
    closed = true;
    delays.clear();
    arm();
    settle();
  }

  return {
    add,
    addAfter,
    addRateLimited(key) {
      if (closed) return;
      count.retries++;
      addAfter(key, limiter.when(key));
    },
    forget: (key) => limiter.forget(key),
    requeues: (key) => limiter.requeues(key),
    get(signal) {
      const first = queued.keys().next();
      if (!signal?.aborted && !first.done) {
        const key = take(first.value);
        return Promise.resolve(key);
      }
      if (closed || signal?.aborted) return Promise.resolve(undefined);
      return new Promise((resolve) => {
        const taker = (key: K | undefined): void => {
          signal?.removeEventListener("abort", leave);
          resolve(key);
        };
        const leave = (): void => {
          takers.splice(takers.indexOf(taker), 1);
          resolve(undefined);
        };
        takers.push(taker);
        signal?.addEventListener("abort", leave, { once: true });
      });
    },
    done(key) {
      const started = processing.get(key);
      if (started === undefined) return;
      processing.delete(key);
      const duration = clock.now() - started;
      count.dones++;
      time.totalWorkTime += duration;
      time.longestWorkTime = Math.max(time.longestWorkTime, duration);
      if (again.delete(key)) enqueue(key);
      settle();
    },
    shutDown,
    drain() {
      const promise = new Promise<void>((resolve) => drained.push(resolve));
      shutDown();
      return promise;
    },
    get length() {
      return queued.size;
    },
    get shuttingDown() {
      return closed;
    },
    metrics() {
      let oldest = clock.now();
      const now = oldest;
      for (const started of processing.values()) oldest = Math.min(oldest, started);
      return {
        depth: queued.size,
        processing: processing.size,
        delayed: delays.size(),
        ...count,
        ...time,
        longestRunningTime: now - oldest,
      };
    },
  };
}

interface DelayHeap<K> {
  /** Earliest time, undefined when empty. */
  peek(): number | undefined;
  push(key: K, at: number): void;
  /** Removes and returns the keys due at `now`, in order of their times. */
  take(now: number): K[];
  clear(): void;
  size(): number;
}

/**
 * Binary heap by time, one valid entry per key. A key pushed again with an earlier time leaves its old entry behind as garbage, which
 * is dropped when it comes to the top.
 */
function createDelayHeap<K>(): DelayHeap<K> {
  let heap: { key: K; at: number; order: number }[] = [];
  const times = new Map<K, number>();
  let order = 0;

  function before(a: number, b: number): boolean {
    const x = heap[a]!;
    const y = heap[b]!;
    return x.at === y.at ? x.order < y.order : x.at < y.at;
  }
  function swap(a: number, b: number): void {
    const x = heap[a]!;
    heap[a] = heap[b]!;
    heap[b] = x;
  }
  function pop(): void {
    const last = heap.pop()!;
    if (heap.length === 0) return;
    heap[0] = last;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      if (left >= heap.length) break;
      const child = left + 1 < heap.length && before(left + 1, left) ? left + 1 : left;
      if (!before(child, at)) break;
      swap(at, child);
      at = child;
    }
  }
  function clean(): void {
    while (heap.length > 0 && times.get(heap[0]!.key) !== heap[0]!.at) pop();
  }

  return {
    peek() {
      clean();
      return heap[0]?.at;
    },
    push(key, at) {
      const known = times.get(key);
      if (known !== undefined && known <= at) return;
      times.set(key, at);
      heap.push({ key, at, order: order++ });
      for (let child = heap.length - 1; child > 0; ) {
        const parent = (child - 1) >> 1;
        if (!before(child, parent)) break;
        swap(child, parent);
        child = parent;
      }
    },
    take(now) {
      const due: K[] = [];
      for (clean(); heap.length > 0 && heap[0]!.at <= now; clean()) {
        const { key } = heap[0]!;
        pop();
        times.delete(key);
        due.push(key);
      }
      return due;
    },
    clear() {
      heap = [];
      times.clear();
    },
    size: () => times.size,
  };
}
