/** Options of {@link createBackoff}; times in milliseconds. */
export interface BackoffOptions {
  /** Delay after the first failure. */
  readonly initial: number;
  /** Longest delay, before jitter. */
  readonly maximum: number;
  /** Growth per failure. Default 2. */
  readonly factor?: number;
  /** Share of the delay that is random, 0 to 1: the delay lies in `[d·(1-jitter), d]`. Default 0.5. */
  readonly jitter?: number;
  /** Random numbers in `[0, 1)`. Default `Math.random`. */
  readonly random?: () => number;
}

/** Exponential back-off with jitter. */
export interface Backoff {
  /** Milliseconds to wait now; each call counts as one more failure. */
  next(): number;
  /** Forgets all failures. */
  reset(): void;
}

/** Exponential back-off: `initial·factorⁿ` up to `maximum`, less a random share, so that many clients do not come back as one. */
export function createBackoff(options: BackoffOptions): Backoff {
  const { initial, maximum, factor = 2, jitter = 0.5, random = Math.random } = options;
  let failures = 0;
  return {
    next() {
      const delay = Math.min(maximum, initial * factor ** Math.min(failures++, 64));
      return delay * (1 - jitter * random());
    },
    reset() {
      failures = 0;
    },
  };
}
