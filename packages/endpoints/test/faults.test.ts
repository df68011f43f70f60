import { createApiClient, createInformerFactory } from "@portolan/client";
import { createFakeClock, createFaultInjector, createMemoryApi, settle } from "@portolan/client/testing";
import { type EndpointSlice, type Pod, resources } from "@portolan/core";
import { afterEach, describe, expect, test } from "vitest";
import { createEndpointSliceController } from "../src/index.ts";
import { node, pod, service } from "./fixtures.ts";

const stops: AbortController[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) stop.abort();
  await settle();
});

/** A server, and controllers that can be started and ended one by one. */
function createWorld() {
  const clock = createFakeClock();
  const memory = createMemoryApi({ now: clock.now });
  for (const name of ["node1", "node2"]) memory.apply(resources.nodes, node(name, "zone-a"));
  const replicas: ReturnType<typeof createFaultInjector>[] = [];

  /** Starts a controller of its own connection. */
  function start() {
    const faults = createFaultInjector(memory.transport);
    replicas.push(faults);
    const api = createApiClient(faults.transport);
    const informers = createInformerFactory(api, { clock, random: () => 0.5 });
    const abort = new AbortController();
    stops.push(abort);
    const end = createEndpointSliceController(api, { clock, informers }).run(abort.signal);
    informers.start(abort.signal);
    return {
      faults,
      async stop() {
        abort.abort();
        await end;
      },
    };
  }

  const slices = () =>
    (memory.objects(resources.endpointSlices) as EndpointSlice[]).filter(
      (slice) => slice.metadata.labels?.["kubernetes.io/service-name"] === "web",
    );
  const ready = (slice: EndpointSlice) =>
    (slice.endpoints ?? []).map((one) => `${one.addresses[0]} ${one.conditions?.ready ? "ready" : "unready"}`);
  /** What the slices say in all, and whether any endpoint is in them twice. */
  const said = () => slices().flatMap(ready).sort();
  const wanted = () =>
    (memory.objects(resources.pods) as Pod[])
      .map((each) => {
        const isReady = each.status?.conditions?.some((one) => one.type === "Ready" && one.status === "True");
        return `${each.status?.podIP} ${isReady ? "ready" : "unready"}`;
      })
      .sort();
  const writes = () =>
    replicas
      .flatMap((each) => each.requests)
      .filter((request) => request.method !== "GET" && !request.path.includes("/events")).length;
  /** Lets everybody come to rest, with time for retries. */
  const rest = async (milliseconds = 0) => {
    for (let passed = 0; passed < milliseconds; passed += 500) {
      await clock.advance(500);
      await settle();
    }
    for (let turn = 0; turn < 4; turn++) await settle();
  };
  return { clock, memory, start, slices, said, wanted, writes, rest };
}

function populate(world: ReturnType<typeof createWorld>, count: number): void {
  world.memory.apply(resources.services, service());
  for (let index = 1; index <= count; index++) world.memory.apply(resources.pods, pod(index));
}

describe("the EndpointSlice controller converges, in bounded writes, when", () => {
  test("it is ended and started again at any time", async () => {
    const world = createWorld();
    populate(world, 250);
    let replica = world.start();
    for (let step = 0; step < 8; step++) {
      // Another moment of the work each time.
      for (let turn = 0; turn < step; turn++) await Promise.resolve();
      await replica.stop();
      world.memory.apply(resources.pods, pod(300 + step));
      replica = world.start();
    }
    await world.rest(5_000);
    expect(world.said()).toEqual(world.wanted());
    expect(world.slices().every((slice) => (slice.endpoints ?? []).length <= 100)).toBe(true);
    const before = world.writes();
    await replica.stop();
    world.start();
    await world.rest(5_000);
    expect(world.writes()).toBe(before);
  });

  test("watches are cut, stalled and doubled, and history is compacted, while pods change", async () => {
    const world = createWorld();
    populate(world, 20);
    const { faults } = world.start();
    await world.rest(1_000);
    const before = world.writes();
    for (let round = 0; round < 10; round++) {
      const [fault] = [
        () => faults.cutWatches(),
        () => faults.cutWatches({ midEvent: true }),
        () => faults.endWatches(),
        () => faults.duplicateEvents(true),
        () => faults.swapNextEvents(),
        () => world.memory.compact(),
      ].slice(round % 6);
      fault!();
      world.memory.apply(resources.pods, pod(1 + (round % 20), { ready: round % 2 === 0 }));
      await world.rest(10_000);
    }
    await world.rest(200_000);
    expect(world.said()).toEqual(world.wanted());
    // One write for each change that was one, none for the noise.
    expect(world.writes() - before).toBeLessThanOrEqual(10);
  });

  test("a human edits its slices: they are put right once, not fought over", async () => {
    const world = createWorld();
    populate(world, 10);
    world.start();
    await world.rest(1_000);
    const before = world.writes();
    for (let round = 0; round < 5; round++) {
      const [slice] = world.slices();
      world.memory.apply(resources.endpointSlices, { ...slice!, endpoints: (slice!.endpoints ?? []).slice(round + 1) });
      await world.rest(2_000);
      expect(world.said()).toEqual(world.wanted());
    }
    expect(world.writes() - before).toBeLessThanOrEqual(10);
  });

  test("every request fails for a minute", async () => {
    const world = createWorld();
    populate(world, 10);
    const { faults } = world.start();
    await world.rest(1_000);
    const before = world.writes();
    let away = true;
    faults.failNext(1_000_000, 503, (request) => away && request.method !== "GET");
    for (let index = 1; index <= 10; index++) {
      world.memory.apply(resources.pods, pod(index, { ready: index % 2 === 0 }));
      await world.rest(6_000);
    }
    expect(world.said()).not.toEqual(world.wanted());
    // Retries wait 1 s and double: a minute has room for about six of each change, not for hundreds.
    expect(world.writes() - before).toBeLessThan(80);
    away = false;
    await world.rest(180_000);
    expect(world.said()).toEqual(world.wanted());
  });

  test("the clock jumps by hours", async () => {
    const world = createWorld();
    populate(world, 10);
    world.start();
    await world.rest(1_000);
    const before = world.writes();
    await world.clock.advance(3 * 3_600_000);
    world.memory.apply(resources.pods, pod(1, { ready: false }));
    await world.rest(2_000);
    expect(world.said()).toEqual(world.wanted());
    expect(world.writes() - before).toBe(1);
  });

  test("two replicas work at the same time", async () => {
    const world = createWorld();
    populate(world, 150);
    world.start();
    world.start();
    await world.rest(5_000);
    for (let round = 0; round < 20; round++) {
      world.memory.apply(resources.pods, pod(1 + round * 7, { ready: round % 3 === 0 }));
      await world.rest(1_500);
    }
    await world.rest(60_000);
    const said = world.said();
    expect([...new Set(said)]).toEqual(world.wanted());
    const settled = world.writes();
    await world.rest(60_000);
    // However they disagreed, they do not go on for ever.
    expect(world.writes()).toBe(settled);
    expect(settled).toBeLessThan(150);
  });
});
