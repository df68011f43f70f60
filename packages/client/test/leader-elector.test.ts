import { type Lease, resources } from "@portolan/core";
import { expect, test } from "vitest";
import { createApiClient, createLeaderElector, LeadershipLostError } from "../src/index.ts";
import { createFakeClock, createFaultInjector, createMemoryApi, settle } from "../src/testing/index.ts";

function candidates() {
  const clock = createFakeClock();
  const memory = createMemoryApi();
  const leading: string[] = [];
  const log: string[] = [];
  const candidate = (identity: string) => {
    const faults = createFaultInjector(memory.transport);
    const elector = createLeaderElector({
      api: createApiClient(faults.transport),
      namespace: "kube-system",
      name: "controllers",
      identity,
      clock,
      random: () => 0.5,
    });
    const abort = new AbortController();
    const end = elector
      .run(abort.signal, async (signal) => {
        leading.push(identity);
        // Two leaders at one time would show here.
        log.push(leading.join("+"));
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
        leading.splice(leading.indexOf(identity), 1);
      })
      .then(
        () => "stopped",
        (error: unknown) => (error instanceof LeadershipLostError ? error.code : String(error)),
      );
    return { elector, abort, end, faults };
  };
  const lease = () => memory.objects(resources.leases)[0] as Lease;
  return { clock, memory, candidate, leading, log, lease };
}

test("one leads, the other takes over when the first stops, at once because the Lease is released", async () => {
  const { clock, candidate, leading, log, lease } = candidates();
  const a = candidate("a");
  const b = candidate("b");
  await clock.advance(60_000);
  expect(leading).toEqual(["a"]);
  expect([a.elector.isLeader, b.elector.isLeader, b.elector.leader]).toEqual([true, false, "a"]);
  a.abort.abort();
  await clock.advance(5_000);
  expect(leading).toEqual(["b"]);
  expect(lease().spec).toMatchObject({ holderIdentity: "b", leaseDurationSeconds: 15, leaseTransitions: 1 });
  b.abort.abort();
  expect([await a.end, await b.end]).toEqual(["stopped", "stopped"]);
  await settle();
  expect(log).toEqual(["a", "b"]);
  expect(lease().spec?.holderIdentity).toBe("");
  expect(clock.timers).toBe(0);
});

test("a leader that cannot renew steps down before another takes over", async () => {
  const { clock, candidate, leading, log } = candidates();
  const a = candidate("a");
  await clock.advance(5_000);
  const b = candidate("b");
  await clock.advance(1_000);
  a.faults.failNext(1e6, 0);
  await clock.advance(9_000);
  expect(leading).toEqual(["a"]);
  await clock.advance(4_000);
  expect(leading).toEqual([]);
  expect(await a.end).toBe("leadership-lost");
  await clock.advance(20_000);
  expect(leading).toEqual(["b"]);
  expect(log).toEqual(["a", "b"]);
  b.abort.abort();
  await b.end;
  expect(clock.timers).toBe(0);
});

test("a leader whose requests hang steps down in time, too", async () => {
  const { clock, memory, leading } = candidates();
  let hang = false;
  const elector = createLeaderElector({
    api: createApiClient((request) => (hang ? new Promise(() => {}) : memory.transport(request))),
    namespace: "default",
    name: "x",
    identity: "a",
    clock,
  });
  const end = elector
    .run(new AbortController().signal, async (signal) => {
      leading.push("a");
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      leading.pop();
    })
    .catch((error: unknown) => error);
  await clock.advance(1_000);
  hang = true;
  await clock.advance(10_000);
  expect(leading).toEqual([]);
  expect(await end).toBeInstanceOf(LeadershipLostError);
});

test("two that find an expired Lease at the same time: one wins", async () => {
  const { clock, memory, candidate, leading, log } = candidates();
  memory.apply<Lease>(resources.leases, {
    metadata: { name: "controllers", namespace: "kube-system" },
    spec: { holderIdentity: "gone", leaseDurationSeconds: 15, leaseTransitions: 0 },
  });
  const a = candidate("a");
  const b = candidate("b");
  await clock.advance(10_000);
  expect(leading).toEqual([]);
  await clock.advance(30_000);
  expect(leading).toHaveLength(1);
  expect(log).toHaveLength(1);
  a.abort.abort();
  b.abort.abort();
  await Promise.all([a.end, b.end]);
});

test("periods that cannot work are refused", () => {
  const api = createApiClient(createMemoryApi().transport);
  const base = { api, namespace: "default", name: "x", identity: "a" };
  expect(() => createLeaderElector({ ...base, leaseDuration: 5_000 })).toThrow(/leaseDuration > renewDeadline/);
  expect(() => createLeaderElector({ ...base, identity: "" })).toThrow(/identity/);
});
