import { afterEach, describe, expect, test } from "vitest";
import {
  createExponentialRateLimiter,
  createLongestOfRateLimiter,
  createTokenBucketRateLimiter,
  createWorkQueue,
  runController,
} from "../src/index.ts";
import { createFakeClock, settle } from "../src/testing/index.ts";

const clock = createFakeClock();
afterEach(() => expect(clock.timers).toBe(0));

describe("work queue", () => {
  test("holds a key once, in order of addition", async () => {
    const queue = createWorkQueue({ clock });
    for (const key of ["a", "b", "a", "b", "c"]) queue.add(key);
    expect(queue.length).toBe(3);
    expect([await queue.get(), await queue.get(), await queue.get()]).toEqual(["a", "b", "c"]);
  });

  test("queues a key again after its work when it was added meanwhile, never beside it", async () => {
    const queue = createWorkQueue({ clock });
    queue.add("a");
    expect(await queue.get()).toBe("a");
    queue.add("a");
    queue.add("a");
    expect(queue.length).toBe(0);
    queue.done("a");
    expect(queue.length).toBe(1);
    expect(await queue.get()).toBe("a");
    queue.done("a");
    expect(queue.length).toBe(0);
  });

  test("hands keys to those who wait, first come first served", async () => {
    const queue = createWorkQueue({ clock });
    const first = queue.get();
    const abort = new AbortController();
    const leaving = queue.get(abort.signal);
    const second = queue.get();
    abort.abort();
    expect(await leaving).toBeUndefined();
    queue.add("a");
    queue.add("b");
    expect([await first, await second]).toEqual(["a", "b"]);
  });

  test("delays, and the shortest of several waits counts", async () => {
    const queue = createWorkQueue({ clock });
    queue.addAfter("slow", 500);
    queue.addAfter("fast", 100);
    queue.addAfter("slow", 50);
    queue.addAfter("slow", 900);
    queue.addAfter("now", 0);
    expect(queue.length).toBe(1);
    await clock.advance(49);
    expect(queue.length).toBe(1);
    await clock.advance(1);
    expect(queue.length).toBe(2);
    await clock.advance(50);
    expect([await queue.get(), await queue.get(), await queue.get()]).toEqual(["now", "slow", "fast"]);
    await clock.advance(10_000);
    expect(queue.length).toBe(0);
  });

  test("backs off per key until it is forgotten", async () => {
    const queue = createWorkQueue({ clock, rateLimiter: createExponentialRateLimiter({ initial: 5, maximum: 1_000 }) });
    for (const wait of [5, 10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]) {
      queue.addRateLimited("a");
      await clock.advance(wait - 1);
      expect(queue.length).toBe(0);
      await clock.advance(1);
      expect(queue.length).toBe(1);
      queue.done((await queue.get())!);
    }
    expect(queue.requeues("a")).toBe(10);
    queue.forget("a");
    expect(queue.requeues("a")).toBe(0);
    queue.addRateLimited("a");
    await clock.advance(5);
    expect(queue.length).toBe(1);
  });

  test("limits all keys together by a token bucket", () => {
    const limiter = createLongestOfRateLimiter(
      createExponentialRateLimiter({ initial: 1, maximum: 1 }),
      createTokenBucketRateLimiter({ rate: 10, burst: 2, clock }),
    );
    expect([limiter.when("a"), limiter.when("b"), limiter.when("c"), limiter.when("d")]).toEqual([1, 1, 100, 200]);
  });

  test("shutting down drops delayed keys, hands out queued ones, and drains", async () => {
    const queue = createWorkQueue({ clock });
    queue.add("a");
    queue.addAfter("later", 10);
    const drained = queue.drain();
    queue.add("late");
    expect(await queue.get()).toBe("a");
    expect(await queue.get()).toBeUndefined();
    let done = false;
    drained.then(() => {
      done = true;
    });
    await settle();
    expect(done).toBe(false);
    queue.done("a");
    await drained;
    expect(queue.shuttingDown).toBe(true);
  });

  test("measures", async () => {
    const queue = createWorkQueue({ clock });
    queue.add("a");
    await clock.advance(30);
    await queue.get();
    await clock.advance(70);
    expect(queue.metrics()).toMatchObject({ depth: 0, processing: 1, longestQueueTime: 30, longestRunningTime: 70 });
    queue.done("a");
    expect(queue.metrics()).toMatchObject({ adds: 1, gets: 1, dones: 1, totalWorkTime: 70, longestRunningTime: 0 });
  });
});

describe("controller", () => {
  test("retries what throws, gives up after the limit, and requeues on request", async () => {
    const queue = createWorkQueue({ clock, rateLimiter: createExponentialRateLimiter({ initial: 10, maximum: 40 }) });
    const abort = new AbortController();
    const seen: string[] = [];
    const failures: string[] = [];
    let again = true;
    const run = runController({
      name: "test",
      queue,
      signal: abort.signal,
      workers: 2,
      maximumRetries: 2,
      async reconcile(key) {
        seen.push(key);
        if (key === "bad") throw new Error("no");
        if (key === "twice" && again) {
          again = false;
          return { requeueAfter: 15 };
        }
        return undefined;
      },
      onError: (_, { key, attempt, retrying }) => failures.push(`${key} ${attempt} ${retrying}`),
    });
    queue.add("bad");
    queue.add("twice");
    await clock.advance(1_000);
    expect(failures).toEqual(["bad 1 true", "bad 2 true", "bad 3 false"]);
    expect(seen.filter((key) => key === "twice")).toHaveLength(2);
    queue.add("bad");
    await settle();
    expect(failures.at(-1)).toBe("bad 1 true");
    abort.abort();
    await run;
  });

  test("never works on one key twice at a time, and finishes its work before it resolves", async () => {
    const queue = createWorkQueue({ clock });
    const abort = new AbortController();
    let now = 0;
    let most = 0;
    const run = runController({
      name: "test",
      queue,
      signal: abort.signal,
      workers: 8,
      async reconcile() {
        most = Math.max(most, ++now);
        await settle();
        now--;
      },
    });
    for (let round = 0; round < 5; round++) {
      queue.add("only");
      await settle();
    }
    queue.add("only");
    await Promise.resolve();
    abort.abort();
    await run;
    expect(most).toBe(1);
    expect(now).toBe(0);
  });
});
