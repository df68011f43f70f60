import { type Event, resources, type Service } from "@portolan/core";
import { expect, test } from "vitest";
import { createApiClient, createEventRecorder } from "../src/index.ts";
import { createFakeClock, createFaultInjector, createMemoryApi } from "../src/testing/index.ts";

const service: Service = { metadata: { name: "web", namespace: "shop", uid: "u1" } };

function start(options: { burst?: number } = {}) {
  const clock = createFakeClock();
  const memory = createMemoryApi();
  const faults = createFaultInjector(memory.transport);
  const recorder = createEventRecorder({
    api: createApiClient(faults.transport),
    component: "test",
    clock,
    ...options,
  });
  const events = () => memory.objects(resources.events) as Event[];
  return { clock, memory, faults, recorder, events };
}

test("writes an event that says about what, and counts repetitions in place", async () => {
  const { clock, recorder, events } = start();
  recorder.event(service, "Warning", "Broken", "it broke", resources.services);
  await clock.advance(5_000);
  recorder.event(service, "Warning", "Broken", "it broke", resources.services);
  await recorder.flush();
  expect(events()).toHaveLength(1);
  expect(events()[0]).toMatchObject({
    metadata: { namespace: "shop", name: expect.stringMatching(/^web\.[0-9a-f]{16}$/) },
    involvedObject: { kind: "Service", apiVersion: "v1", name: "web", namespace: "shop", uid: "u1" },
    type: "Warning",
    reason: "Broken",
    message: "it broke",
    count: 2,
    firstTimestamp: "2026-01-01T00:00:00Z",
    lastTimestamp: "2026-01-01T00:00:05Z",
    source: { component: "test" },
    reportingComponent: "test",
  });
});

test("combines similar events, and drops a flood", async () => {
  const { recorder, events } = start({ burst: 20 });
  for (let number = 0; number < 30; number++)
    recorder.event(service, "Normal", "Tick", `tick ${number}`, resources.services);
  await recorder.flush();
  expect(events()).toHaveLength(11);
  const combined = events().find((event) => event.message?.startsWith("(combined from similar events): "));
  expect(combined).toMatchObject({ count: 10, message: "(combined from similar events): tick 19" });
});

test("starts anew when the event has expired on the server, and waits for one that is away", async () => {
  const { clock, memory, faults, recorder, events } = start();
  recorder.event(service, "Normal", "Made", "made", resources.services);
  await recorder.flush();
  memory.remove(resources.events, events()[0]!.metadata.name!, "shop");
  faults.failNext(2, 0);
  recorder.event(service, "Normal", "Made", "made", resources.services);
  await clock.advance(30_000);
  await recorder.flush();
  expect(events()).toHaveLength(1);
  expect(events()[0]).toMatchObject({ count: 1 });
});
