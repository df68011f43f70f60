/**
 * A real API server for tests of controllers and clients: in process, in milliseconds, with its time and its faults in the test's hands.
 *
 * ```ts
 * import { startApiServer } from "@portolan/apiserver/testing";
 *
 * const server = await startApiServer();
 * afterEach(() => server.reset());
 * afterAll(() => server.close());
 * ```
 *
 * @packageDocumentation
 */
import { type Clock, createApiClient, type KubernetesApi } from "@portolan/client";
import { createFakeClock, type FakeClock } from "@portolan/client/testing";
import { type ApiServer, type ApiServerOptions, createApiServer } from "../api-server.ts";
import { restoreState, takeState } from "../store/state.ts";
import type { StoreState } from "../store/store.ts";
import { createRandom } from "./random.ts";

/** Options of {@link startApiServer}: those of the server, but for what makes a test repeatable. */
export interface TestApiServerOptions<C extends Clock = FakeClock> extends Omit<ApiServerOptions, "clock" | "random"> {
  /** Time and timers; one that a test turns by hand unless given. */
  readonly clock?: C;
  /**
   * Chooses addresses, ports and generated names.
   *
   * @default 1
   */
  readonly seed?: number;
  /**
   * What the clock shows at first unless one is given, in milliseconds since the epoch.
   *
   * @default 2026-01-01T00:00:00Z
   */
  readonly now?: number;
}

/** What a server held at one moment. */
export type Snapshot = StoreState;

/** An API server in a test's hands. */
export interface TestApiServer<C extends Clock = FakeClock> extends ApiServer {
  /** The administrator's client. */
  readonly api: KubernetesApi;
  /** The server's time, which stands still until it is turned: timestamps, timeouts of watches, delays of faults. */
  readonly clock: C;
  /** Remembers all objects. */
  snapshot(): Snapshot;
  /**
   * Makes the objects what they were, with their uids. Revisions go on: watches stay open and are told what changes, and allocations follow. Resolves
   * when that is persisted.
   */
  restore(snapshot: Snapshot): Promise<void>;
  /** Back to the beginning: {@link TestApiServer.restore} of what the server started with, and no faults. */
  reset(): Promise<void>;
}

/** Starts a server. `listen` gives it a port, for clients that need one. */
export async function startApiServer<C extends Clock = FakeClock>(
  options: TestApiServerOptions<C> = {},
): Promise<TestApiServer<C>> {
  const { seed = 1, now, ...rest } = options;
  const clock = options.clock ?? (createFakeClock(now) as Clock as C);
  const server = await createApiServer({ ...rest, clock, random: createRandom(seed) });
  const restore = async (snapshot: Snapshot): Promise<void> => {
    restoreState(server.store, snapshot);
    await server.store.persisted();
  };
  const beginning = takeState(server.store);
  return {
    ...server,
    api: createApiClient(server.transport),
    clock,
    snapshot: () => takeState(server.store),
    restore,
    async reset() {
      server.faults.clear();
      await restore(beginning);
    },
  };
}
