import { type CallContext, ProviderError } from "@portolan/lb";

/** Calls per second of one kind, and how many may come at once. */
export interface RateLimit {
  readonly perSecond: number;
  readonly burst: number;
}

/** Limits by kind of call. Calls of other kinds are not limited. */
export interface RateLimits {
  readonly describe: RateLimit;
  readonly modify: RateLimit;
  readonly register: RateLimit;
}

/** The AWS Load Balancer Controller's limits, which keep a cluster below those that AWS sets for an account and region. */
export const defaultRateLimits: RateLimits = {
  describe: { perSecond: 50, burst: 200 },
  modify: { perSecond: 3, burst: 20 },
  register: { perSecond: 4, burst: 20 },
};

/** Waits until a call may be made. */
export type RateLimiter = (method: string, context: CallContext) => Promise<void>;

const kinds: readonly [RegExp, keyof RateLimits][] = [
  [/^describe/, "describe"],
  [/^modify/, "modify"],
  [/^(de)?register/, "register"],
];

/**
 * Makes a token bucket per kind of call, shared by all Services.
 *
 * @throws (from the limiter) ProviderError Throttled if the turn comes after the context's deadline
 */
export function createRateLimiter(limits: RateLimits): RateLimiter {
  const buckets = new Map<string, { tokens: number; at: number }>();
  return async (method, context) => {
    const kind = kinds.find(([pattern]) => pattern.test(method))?.[1];
    if (kind === undefined) return;
    const { perSecond, burst } = limits[kind];
    const now = context.now();
    const bucket = buckets.get(kind) ?? { tokens: burst, at: now };
    buckets.set(kind, bucket);
    bucket.tokens = Math.min(burst, bucket.tokens + (Math.max(0, now - bucket.at) * perSecond) / 1000);
    bucket.at = Math.max(bucket.at, now);
    const wait = bucket.tokens >= 1 ? 0 : Math.ceil(((1 - bucket.tokens) * 1000) / perSecond);
    if (now + wait > context.deadline) {
      const message = `more than ${perSecond} ${kind} calls per second are waiting`;
      throw new ProviderError("Throttled", message, { retryAfter: wait });
    }
    bucket.tokens -= 1;
    if (wait > 0) await context.sleep(wait);
  };
}
