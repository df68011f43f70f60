import type { Clock } from "../clock.ts";

/** A clock that stands still until a test turns it. */
export interface FakeClock extends Clock {
  /**
   * Lets `milliseconds` pass. Timers fire in the order of their times, also those set meanwhile; before and after each, promises that
   * can settle without real time do.
   */
  advance(milliseconds: number): Promise<void>;
  /** Timers that are set: 0 when a subject left none behind. */
  readonly timers: number;
}

/** Turns of the microtask queue between timers; chains of promises in the subjects are shorter. */
const turns = 64;

/** Lets promises settle that wait for nothing real. Uses a macrotask too, so that streams move. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await Promise.resolve();
  await new Promise<void>((resolve) => setTimeout(resolve, 0));
  for (let turn = 0; turn < turns; turn++) await Promise.resolve();
}

/**
 * Makes a {@link FakeClock} that shows `now` (milliseconds since the epoch).
 *
 * @param rest waits after each timer until its consequences have come to rest; more than {@link settle} where sockets are involved
 */
export function createFakeClock(now: number = Date.UTC(2026, 0, 1), rest: () => Promise<void> = settle): FakeClock {
  const pending = new Map<number, { at: number; callback: () => void }>();
  let time = now;
  let sequence = 0;

  function next(limit: number): number | undefined {
    let best: number | undefined;
    for (const [id, timer] of pending)
      if (timer.at <= limit && (best === undefined || timer.at < pending.get(best)!.at)) best = id;
    return best;
  }

  return {
    now: () => time,
    schedule(callback, milliseconds) {
      const id = sequence++;
      pending.set(id, { at: time + Math.max(0, milliseconds), callback });
      return () => void pending.delete(id);
    },
    async advance(milliseconds) {
      const end = time + milliseconds;
      await rest();
      for (let id = next(end); id !== undefined; id = next(end)) {
        const timer = pending.get(id)!;
        pending.delete(id);
        time = Math.max(time, timer.at);
        timer.callback();
        await rest();
      }
      time = end;
    },
    get timers() {
      return pending.size;
    },
  };
}
