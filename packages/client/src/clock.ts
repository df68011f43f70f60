/** Time as a dependency: controllers take one, tests turn it by hand (`createFakeClock` of `@portolan/client/testing`). */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls `callback` once after `milliseconds`; the returned function cancels, and may be called any number of times. */
  schedule(callback: () => void, milliseconds: number): () => void;
}

/** Longest delay that timers of JavaScript engines take; longer ones would fire at once. */
const longestDelay = 2 ** 31 - 1;

/** The engine's own clock and timers. */
export const systemClock: Clock = {
  now: () => Date.now(),
  schedule(callback, milliseconds) {
    let timer: ReturnType<typeof setTimeout>;
    const arm = (left: number): void => {
      const delay = Math.min(Math.max(0, left), longestDelay);
      timer = setTimeout(() => (left > longestDelay ? arm(left - longestDelay) : callback()), delay);
    };
    arm(milliseconds);
    return () => clearTimeout(timer);
  },
};

/** Resolves after `milliseconds`, or as soon as `signal` fires; leaves no timer and no listener behind. */
export function sleep(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const finish = (): void => {
      cancel();
      signal?.removeEventListener("abort", finish);
      resolve();
    };
    const cancel = clock.schedule(finish, milliseconds);
    signal?.addEventListener("abort", finish);
  });
}
