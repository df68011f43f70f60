import { type Clock, systemClock } from "./clock.ts";

/** Decides how long an item of a work queue has to wait before it is tried again. */
export interface RateLimiter<K> {
  /** Milliseconds that `key` has to wait now; counts as one more failure of it. */
  when(key: K): number;
  /** `key` succeeded, or is given up: its failures are forgotten. */
  forget(key: K): void;
  /** Failures of `key` since it was last forgotten. */
  requeues(key: K): number;
}

/** Per key: `initial·2ⁿ` up to `maximum`, in milliseconds. */
export function createExponentialRateLimiter<K = string>(options: {
  readonly initial: number;
  readonly maximum: number;
}): RateLimiter<K> {
  const failures = new Map<K, number>();
  return {
    when(key) {
      const count = failures.get(key) ?? 0;
      failures.set(key, count + 1);
      return Math.min(options.maximum, options.initial * 2 ** Math.min(count, 64));
    },
    forget: (key) => void failures.delete(key),
    requeues: (key) => failures.get(key) ?? 0,
  };
}

/** Over all keys: `rate` items a second with bursts of `burst` (token bucket). */
export function createTokenBucketRateLimiter<K = string>(options: {
  readonly rate: number;
  readonly burst: number;
  readonly clock?: Clock;
}): RateLimiter<K> {
  const clock = options.clock ?? systemClock;
  let tokens = options.burst;
  let filled = clock.now();
  return {
    when() {
      const now = clock.now();
      tokens = Math.min(options.burst, tokens + ((now - filled) / 1000) * options.rate);
      filled = now;
      tokens -= 1;
      return tokens >= 0 ? 0 : (-tokens / options.rate) * 1000;
    },
    forget() {},
    requeues: () => 0,
  };
}

/** The longest wait of several limiters. */
export function createLongestOfRateLimiter<K = string>(...limiters: readonly RateLimiter<K>[]): RateLimiter<K> {
  return {
    when: (key) => Math.max(...limiters.map((limiter) => limiter.when(key))),
    forget: (key) => {
      for (const limiter of limiters) limiter.forget(key);
    },
    requeues: (key) => Math.max(...limiters.map((limiter) => limiter.requeues(key))),
  };
}
