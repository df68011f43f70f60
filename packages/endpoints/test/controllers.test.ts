import { createApiClient, createInformerFactory, type ReconcileFailure } from "@portolan/client";
import { createFakeClock, createFaultInjector, createMemoryApi, settle } from "@portolan/client/testing";
import { type EndpointSlice, type Endpoints, type Event, type KubernetesObject, resources } from "@portolan/core";
import { expect, test } from "vitest";
import {
  createEndpointSliceController,
  createEndpointSliceMirroringController,
  createEndpointsController,
  type EndpointControllerOptions,
  portSetKey,
} from "../src/index.ts";
import { node, pod, service } from "./fixtures.ts";

function start(options: EndpointControllerOptions & { readonly random?: () => number } = {}) {
  const clock = createFakeClock();
  const memory = createMemoryApi({ now: clock.now });
  const faults = createFaultInjector(memory.transport);
  const api = createApiClient(faults.transport);
  const informers = createInformerFactory(api, { clock, random: options.random ?? (() => 0.5) });
  const abort = new AbortController();
  const failures: ReconcileFailure<string>[] = [];
  const shared = {
    clock,
    informers,
    onError: (_: unknown, failure: ReconcileFailure<string>) => failures.push(failure),
    ...options,
  };
  const ends = [createEndpointSliceController, createEndpointsController, createEndpointSliceMirroringController].map(
    (create) => create(api, shared).run(abort.signal),
  );
  for (const name of ["node1", "node2"]) memory.apply(resources.nodes, node(name, "zone-a"));
  const apply = (type: (typeof resources)[keyof typeof resources], object: KubernetesObject) =>
    memory.apply(type, object);
  const slices = () => memory.objects(resources.endpointSlices) as EndpointSlice[];
  const addresses = () =>
    slices()
      .flatMap((slice) => (slice.endpoints ?? []).map((one) => one.addresses[0]))
      .sort();
  const endpoints = () => memory.objects(resources.endpoints) as Endpoints[];
  const writes = () =>
    faults.requests.filter((request) => request.method !== "GET" && !request.path.includes("/events")).length;
  return { clock, memory, faults, api, informers, abort, failures, ends, apply, slices, addresses, endpoints, writes };
}

test("a Service gets slices and Endpoints, which follow its pods without waiting for any timer", async () => {
  const world = start();
  world.informers.start(world.abort.signal);
  world.apply(resources.services, service());
  world.apply(resources.pods, pod(1));
  await settle();
  expect(world.addresses()).toEqual(["10.244.0.1"]);
  expect(world.endpoints()).toMatchObject([
    { metadata: { name: "web" }, subsets: [{ addresses: [{ ip: "10.244.0.1" }] }] },
  ]);
  world.apply(resources.pods, pod(2));
  world.apply(resources.pods, pod(1, { ready: false }));
  await settle();
  await settle();
  expect(world.addresses()).toEqual(["10.244.0.1", "10.244.0.2"]);
  expect(world.slices()[0]!.endpoints!.find((one) => one.addresses[0] === "10.244.0.1")!.conditions!.ready).toBe(false);
  expect(world.endpoints()[0]!.subsets).toMatchObject([
    { addresses: [{ ip: "10.244.0.2" }], notReadyAddresses: [{ ip: "10.244.0.1" }] },
  ]);
  world.memory.remove(resources.pods, "web-1", "default");
  await settle();
  await settle();
  expect(world.addresses()).toEqual(["10.244.0.2"]);
  world.abort.abort();
  await Promise.all(world.ends);
  await settle();
  expect(world.clock.timers).toBe(0);
});

test("changes that concern no endpoint write nothing", async () => {
  const world = start();
  world.informers.start(world.abort.signal);
  world.apply(resources.services, service());
  world.apply(resources.pods, pod(1));
  await world.clock.advance(5_000);
  const before = world.writes();
  world.apply(resources.pods, { ...pod(1), metadata: { ...pod(1).metadata, annotations: { x: "y" } } });
  world.apply(resources.pods, pod(7, { labels: { app: "other" } }));
  world.apply(resources.services, service({ ports: [{ port: 8000, protocol: "TCP", targetPort: 8080 }] }));
  await world.clock.advance(5_000);
  world.apply(resources.nodes, node("node1", "zone-b"));
  await world.clock.advance(5_000);
  expect(world.writes()).toBe(before);
  world.abort.abort();
});

test("deleted and edited slices are put right at once; Endpoints when deleted", async () => {
  const world = start();
  world.informers.start(world.abort.signal);
  world.apply(resources.services, service());
  world.apply(resources.pods, pod(1));
  await world.clock.advance(100);
  world.memory.remove(resources.endpointSlices, world.slices()[0]!.metadata.name!, "default");
  world.memory.remove(resources.endpoints, "web", "default");
  await settle();
  expect(world.addresses()).toEqual(["10.244.0.1"]);
  expect(world.endpoints()).toHaveLength(1);
  world.apply(resources.endpointSlices, { ...world.slices()[0]!, endpoints: [] } as KubernetesObject);
  await settle();
  expect(world.addresses()).toEqual(["10.244.0.1"]);
  world.abort.abort();
});

test("a pod on an unknown node waits for the node; the failure is an event", async () => {
  const world = start();
  world.informers.start(world.abort.signal);
  world.apply(resources.services, service());
  world.apply(resources.pods, pod(1, { nodeName: "node9" }));
  await settle();
  expect(world.addresses()).toEqual([]);
  const events = world.memory.objects(resources.events) as Event[];
  expect(events).toMatchObject([
    { reason: "FailedToUpdateEndpointSlices", type: "Warning", involvedObject: { kind: "Service", name: "web" } },
  ]);
  world.apply(resources.nodes, node("node9"));
  await settle();
  expect(world.addresses()).toEqual(["10.244.0.1"]);
  world.abort.abort();
});

test("hand-written Endpoints of a Service without selector are mirrored, and not touched", async () => {
  const world = start();
  world.informers.start(world.abort.signal);
  const { selector: _, ...spec } = service().spec!;
  world.apply(resources.services, { ...service(), spec } as KubernetesObject);
  world.apply(resources.endpoints, {
    metadata: { name: "web", namespace: "default" },
    subsets: [{ addresses: [{ ip: "192.168.1.1" }], ports: [{ port: 3306 }] }],
  } as Endpoints);
  await settle();
  expect(world.addresses()).toEqual(["192.168.1.1"]);
  world.memory.remove(resources.endpoints, "web", "default");
  await settle();
  expect(world.slices()).toEqual([]);
  world.abort.abort();
});

test("Endpoints and slices of a Service that went while nobody looked", async () => {
  const world = start();
  world.apply(resources.endpoints, {
    metadata: {
      name: "gone",
      namespace: "default",
      labels: { "endpoints.kubernetes.io/managed-by": "endpoint-controller" },
    },
    subsets: [],
  } as Endpoints);
  world.apply(resources.endpoints, { metadata: { name: "handmade", namespace: "default" }, subsets: [] } as Endpoints);
  world.informers.start(world.abort.signal);
  await settle();
  expect(world.endpoints().map((one) => one.metadata.name)).toEqual(["handmade"]);
  world.abort.abort();
});

test.each([1, 2, 3, 4, 5, 6, 7, 8])("ends up right after a random history with faults (seed %i)", async (seed) => {
  let state = seed;
  const random = (): number => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
  const pick = (count: number): number => Math.floor(random() * count);
  const world = start({ random });
  world.informers.start(world.abort.signal);
  world.apply(resources.services, service({ ports: [{ port: 80, targetPort: "http" }] }));
  for (let step = 0; step < 80; step++) {
    const index = 1 + pick(12);
    if (pick(4) === 0) world.memory.remove(resources.pods, `web-${index}`, "default");
    else
      world.apply(
        resources.pods,
        pod(index, { ready: pick(3) > 0, port: index % 2 === 0 ? 8080 : 9090, nodeName: `node${1 + pick(2)}` }),
      );
    const trouble = pick(12);
    if (trouble === 0) world.faults.cutWatches({ midEvent: pick(2) === 0 });
    if (trouble === 1) world.faults.stallWatches();
    if (trouble === 2) world.memory.compact();
    if (trouble === 3) world.faults.failNext(1 + pick(2), [0, 409, 500][pick(3)]!);
    if (trouble === 4 && world.slices()[0] !== undefined)
      world.memory.remove(resources.endpointSlices, world.slices()[0]!.metadata.name!, "default");
    if (pick(3) === 0) await world.clock.advance(pick(3_000));
  }
  await world.clock.advance(600_000);
  const expected = world.memory
    .objects(resources.pods)
    .map((object) => object as ReturnType<typeof pod>)
    .map((one) => {
      const port = one.spec!.containers[0]!.ports![0]!.containerPort;
      const ready = one.status!.conditions![0]!.status === "True";
      return `${one.status!.podIP} ${portSetKey([{ name: "", port }])} ${ready}`;
    })
    .sort();
  const actual = world
    .slices()
    .flatMap((slice) =>
      (slice.endpoints ?? []).map((one) => `${one.addresses[0]} ${portSetKey(slice.ports)} ${one.conditions?.ready}`),
    )
    .sort();
  expect(actual, `seed ${seed}`).toEqual(expected);
  const subsets = world
    .endpoints()[0]!
    .subsets!.flatMap((subset) =>
      [
        ...(subset.addresses ?? []).map((one) => [one.ip, true] as const),
        ...(subset.notReadyAddresses ?? []).map((one) => [one.ip, false] as const),
      ].map(([ip, ready]) => `${ip} ${portSetKey([{ name: "", port: subset.ports![0]!.port }])} ${ready}`),
    )
    .sort();
  expect(subsets, `seed ${seed}`).toEqual(expected);
  world.abort.abort();
  await Promise.all(world.ends);
  await settle();
  expect(world.clock.timers).toBe(0);
});
