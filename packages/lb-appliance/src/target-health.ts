import { type Clock, sleep, systemClock } from "@portolan/client";
import type { HealthCheck, NodeReference } from "@portolan/lb";

/** Asks a node once whether it wants traffic. `port` is resolved: never `traffic-port`. Rejecting counts as "no". */
export type Probe = (
  node: NodeReference,
  check: HealthCheck & { readonly port: number },
  signal: AbortSignal,
) => Promise<boolean>;

/** What is known of one target. */
export interface TargetState {
  readonly healthy: boolean;
  /** Equal answers in a row, the last one included. */
  readonly streak: number;
}

/**
 * Turns single answers into a state with the thresholds of a check: a target is healthy after `healthyThreshold` successes in a
 * row, and unhealthy after `unhealthyThreshold` failures. At first it is unhealthy, but its first success counts at once.
 */
export function nextTargetState(before: TargetState | undefined, answer: boolean, check: HealthCheck): TargetState {
  if (before === undefined) return { healthy: answer, streak: 1 };
  const continued = before.streak > 0 === answer;
  const streak = continued ? before.streak + (answer ? 1 : -1) : answer ? 1 : -1;
  if (answer) return { healthy: before.healthy || streak >= check.healthyThreshold, streak };
  return { healthy: before.healthy && -streak < check.unhealthyThreshold, streak };
}

/** Checks one target until the signal fires; `changed` is told each new state. */
export async function watchTarget(options: {
  readonly node: NodeReference;
  readonly check: HealthCheck & { readonly port: number };
  readonly probe: Probe;
  readonly changed: (state: TargetState) => void;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}): Promise<void> {
  const { node, check, probe, changed, signal, clock = systemClock } = options;
  let state: TargetState | undefined;
  while (!signal.aborted) {
    const timeout = new AbortController();
    const stop = (): void => timeout.abort();
    signal.addEventListener("abort", stop, { once: true });
    const cancel = clock.schedule(stop, check.timeoutSeconds * 1000);
    const given = new Promise<boolean>((resolve) => {
      timeout.signal.addEventListener("abort", () => resolve(false), { once: true });
    });
    const answer = await Promise.race([probe(node, check, timeout.signal).catch(() => false), given]);
    cancel();
    signal.removeEventListener("abort", stop);
    if (signal.aborted) return;
    const next = nextTargetState(state, answer, check);
    if (next.healthy !== state?.healthy) changed(next);
    state = next;
    await sleep(clock, check.intervalSeconds * 1000, signal);
  }
}
