import { ProviderError } from "./provider.ts";

/** When a Service is looked at again after a failure. */
export type Requeue =
  /** After a fixed time (ms); the count of failures stays as it is. */
  | { readonly kind: "after"; readonly delay: number }
  /** After a time that doubles with each failure in a row, within bounds (ms). */
  | { readonly kind: "exponential"; readonly minimum: number; readonly maximum: number };

/** Bounds of the delay after failures that may pass by themselves. */
export const backoffBounds = { minimum: 5_000, maximum: 300_000 } as const;

const minute = 60_000;

/**
 * The controller's reaction to a failure: what a user must change is not retried soon, what a cloud still does is asked for after
 * a fixed time, and only what may pass by itself is tried with growing delays. A delay that the error carries wins.
 */
export function requeueAfterFailure(error: unknown): Requeue {
  const exponential: Requeue = { kind: "exponential", ...backoffBounds };
  if (!(error instanceof ProviderError)) return exponential;
  if (error.retryAfter !== undefined) return { kind: "after", delay: error.retryAfter };
  switch (error.code) {
    case "UserConfig":
    case "ImmutableField":
    case "Unsupported":
    case "Bug":
      return { kind: "after", delay: 10 * minute };
    case "Conflict":
    case "Quota":
    case "Auth":
      return { kind: "after", delay: 5 * minute };
    case "NotReady":
      return { kind: "after", delay: 10_000 };
    case "Throttled":
      return { kind: "after", delay: 30_000 };
    case "Concurrency":
    case "Transient":
      return exponential;
  }
}
