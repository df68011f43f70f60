import { type Clock, sleep, systemClock } from "@portolan/client";
import { ProviderError } from "./provider.ts";

/** How often calls of one kind may be made. */
export interface Pace {
  /** Names of the methods. The first pace whose pattern fits counts. */
  readonly methods: RegExp;
  /** Calls a second in the long run. */
  readonly perSecond: number;
  /** Calls that may be made at once after a quiet time. */
  readonly burst: number;
}

/** Options of {@link pacedPort}. */
export interface PacedPortOptions {
  /** Methods that fit none are not paced. */
  readonly paces: readonly Pace[];
  /** Default: the engine's clock. */
  readonly clock?: Clock;
  /** Milliseconds to wait after an error that says that calls come too fast; undefined for other errors. Default: `Throttled` errors. */
  readonly throttled?: (error: unknown) => number | undefined;
  /** Repetitions of a call that was throttled all the same. Default 10. */
  readonly retries?: number;
}

function throttledBy(error: unknown): number | undefined {
  return error instanceof ProviderError && error.code === "Throttled" ? (error.retryAfter ?? 1000) : undefined;
}

/**
 * A port whose calls wait for their turn instead of being refused by the cloud: clouds count calls per account, so that one provider
 * with a thousand Services would take the quota of everything else, and every refused call costs a pass. Calls of one pace go in
 * the order in which they were made. After a refusal all calls of the pace wait.
 *
 * Methods must return promises.
 */
export function pacedPort<Port extends object>(port: Port, options: PacedPortOptions): Port {
  const { paces, clock = systemClock, throttled = throttledBy, retries = 10 } = options;
  const states = paces.map((pace) => ({ pace, tokens: pace.burst, at: clock.now(), tail: Promise.resolve() }));

  /** Takes a token; resolves when there is one. */
  function turn(state: (typeof states)[number]): Promise<void> {
    const { perSecond, burst } = state.pace;
    const mine = state.tail.then(async () => {
      for (;;) {
        const now = clock.now();
        state.tokens = Math.min(burst, state.tokens + ((now - state.at) / 1000) * perSecond);
        state.at = now;
        if (state.tokens >= 1) {
          state.tokens -= 1;
          return;
        }
        await sleep(clock, Math.ceil(((1 - state.tokens) / perSecond) * 1000));
      }
    });
    state.tail = mine;
    return mine;
  }

  return new Proxy(port, {
    get(target, property) {
      const member: unknown = Reflect.get(target, property, target);
      const state = typeof property === "string" ? states.find(({ pace }) => pace.methods.test(property)) : undefined;
      if (typeof member !== "function" || state === undefined) return member;
      return async (...parameters: unknown[]): Promise<unknown> => {
        for (let attempt = 0; ; attempt++) {
          await turn(state);
          try {
            return await (Reflect.apply(member, target, parameters) as Promise<unknown>);
          } catch (error) {
            const delay = throttled(error);
            if (delay === undefined || attempt >= retries) throw error;
            // Debt, so that the calls behind this one wait as well.
            state.tokens = Math.min(state.tokens, 1 - (delay / 1000) * state.pace.perSecond);
          }
        }
      };
    },
  });
}
