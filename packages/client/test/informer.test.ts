import { type ConfigMap, resources } from "@portolan/core";
import { expect, test } from "vitest";
import { createApiClient, createInformer, createInformerFactory } from "../src/index.ts";
import { createFakeClock, createFaultInjector, createMemoryApi, settle } from "../src/testing/index.ts";

function configMap(name: string, value: string, namespace = "default"): ConfigMap {
  return { metadata: { name, namespace }, data: { value } };
}

function start(options: { watchList?: boolean; pageSize?: number } = {}) {
  const memory = createMemoryApi();
  const faults = createFaultInjector(memory.transport);
  const clock = createFakeClock();
  const api = createApiClient(faults.transport);
  const informer = createInformer<ConfigMap>(api, resources.configMaps, { clock, ...options });
  const log: string[] = [];
  informer.addHandler({
    add: (object) => log.push(`+${object.metadata.name}=${object.data?.["value"]}`),
    update: (old, object) => log.push(`~${object.metadata.name}:${old.data?.["value"]}>${object.data?.["value"]}`),
    delete: (object) => log.push(`-${object.metadata.name}`),
  });
  const abort = new AbortController();
  return { memory, faults, clock, informer, log, abort };
}

test("lists, watches, and tells handlers in order", async () => {
  const { memory, informer, log, abort, faults, clock } = start({ pageSize: 1 });
  memory.apply(resources.configMaps, configMap("a", "1"));
  memory.apply(resources.configMaps, configMap("b", "1"));
  informer.start(abort.signal);
  expect(informer.hasSynced).toBe(false);
  await informer.synced();
  expect(log).toEqual(["+a=1", "+b=1"]);
  await settle();
  memory.apply(resources.configMaps, configMap("a", "2"));
  memory.remove(resources.configMaps, "b", "default");
  await settle();
  expect(log.slice(2)).toEqual(["~a:1>2", "-b"]);
  expect(informer.lister.list("default").map((object) => object.metadata.name)).toEqual(["a"]);
  const late: string[] = [];
  informer.addHandler({ add: (object) => late.push(object.metadata.name!) });
  expect(late).toEqual(["a"]);
  abort.abort();
  await settle();
  expect(faults.openWatches).toBe(0);
  expect(clock.timers).toBe(0);
});

test("gets its state by a watch-list when asked to, and falls back when the server rejects it", async () => {
  const first = start({ watchList: true });
  first.memory.apply(resources.configMaps, configMap("a", "1"));
  first.informer.start(first.abort.signal);
  await first.informer.synced();
  expect(first.faults.requests.map((request) => request.watch)).toEqual([true]);
  first.abort.abort();

  const second = start({ watchList: true });
  second.memory.apply(resources.configMaps, configMap("a", "1"));
  second.faults.failNext(1, 422);
  second.informer.start(second.abort.signal);
  await second.informer.synced();
  expect(second.faults.requests.map((request) => request.watch).slice(0, 2)).toEqual([true, false]);
  expect(second.log).toEqual(["+a=1"]);
  second.abort.abort();
});

test("a factory shares informers and starts late ones", async () => {
  const memory = createMemoryApi();
  memory.apply(resources.configMaps, configMap("a", "1"));
  const factory = createInformerFactory(createApiClient(memory.transport));
  const abort = new AbortController();
  factory.start(abort.signal);
  const one = factory.informer<ConfigMap>(resources.configMaps, {
    indexes: { value: (object) => Object.values(object.data ?? {}) },
  });
  expect(factory.informer(resources.configMaps)).toBe(one);
  expect(factory.informer(resources.configMaps, { namespace: "x" })).not.toBe(one);
  await factory.synced();
  expect(one.lister.byIndex("value", "1").map((object) => object.metadata.name)).toEqual(["a"]);
  expect(() => one.lister.byIndex("colour", "red")).toThrow(/there is no index "colour"/);
  abort.abort();
});
