import { type ConfigMap, resources } from "@portolan/core";
import { describe, expect, test } from "vitest";
import { type ConformanceEnvironment, type InformerSubject, informerConformance } from "../src/conformance/index.ts";
import { createInformer, type Informer, type KubernetesApi } from "../src/index.ts";
import { createHttpTransport } from "../src/node.ts";
import { serveTransport } from "./loopback-server.ts";

const supports = { duplicates: true, reordering: true, watchList: true };
const subject: InformerSubject = {
  create: (api, options) => createInformer<ConfigMap>(api, resources.configMaps, options),
  supports,
};

describe("createInformer", () => {
  for (const { name, run } of informerConformance(subject)) test(name, run);
});

describe("createInformer over real sockets", () => {
  const environment: ConformanceEnvironment = {
    async connect(inner) {
      const server = await serveTransport(inner);
      const transport = createHttpTransport({ url: server.url });
      return {
        transport,
        async close() {
          transport.close();
          await server.close();
        },
      };
    },
    // Both ends are in this process: what one sends, the other reads a few turns of the event loop later, however slow they are.
    async settle() {
      for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    },
  };
  for (const { name, run } of informerConformance(subject, 3, environment)) test(name, run, 60_000);
});

/** Runs the named cases against a broken subject: each must reject it. */
async function rejected(create: InformerSubject["create"], ...names: readonly string[]): Promise<void> {
  const cases = informerConformance({ create, supports }, 0).filter(({ name }) => names.includes(name));
  expect(cases.map(({ name }) => name).sort()).toEqual([...names].sort());
  for (const { name, run } of cases) await expect(run(), name).rejects.toThrow();
}

function wrapped(change: (informer: Informer<ConfigMap>) => Partial<Informer<ConfigMap>>): InformerSubject["create"] {
  return (api, options) => {
    const informer = subject.create(api, options);
    return new Proxy(informer, {
      get: (target, name) => (change(target) as Record<PropertyKey, unknown>)[name] ?? Reflect.get(target, name),
    });
  };
}

function withApi(change: (api: KubernetesApi) => Partial<KubernetesApi>): InformerSubject["create"] {
  return (api, options) => subject.create({ ...api, ...change(api) }, options);
}

describe("the kit rejects an informer that", () => {
  test("does not notice half-open connections", async () => {
    await rejected(
      (api, options) => subject.create(api, { ...options, idleTimeout: 1e12, watchTimeout: 1e12 }),
      "notices a half-open connection",
    );
  });

  test("hammers the server", async () => {
    await rejected(
      (api, options) => subject.create(api, { ...options, initialBackoff: 1_000, maximumBackoff: 1_000 }),
      "does not flood a server that refuses everything",
      "does not flood a server that ends every watch at once",
      "does not flood a server that answers every watch with 410",
    );
  }, 30_000);

  test("does not tell deletions", async () => {
    await rejected(
      wrapped((informer) => ({
        addHandler: (handler) => informer.addHandler({ ...handler, delete: () => {} }),
      })),
      "relists after compaction and tells the difference",
      "lists, then follows the watch",
    );
  });

  test("does not replay to late handlers", async () => {
    await rejected(
      wrapped((informer) => ({
        addHandler: (handler) => {
          let replaying = informer.hasSynced;
          const remove = informer.addHandler({ ...handler, add: (object) => replaying || handler.add?.(object) });
          replaying = false;
          return remove;
        },
      })),
      "replays what it has to late handlers, before addHandler returns",
    );
  });

  test("lists again after every cut", async () => {
    await rejected(
      withApi((api) => ({
        watch: async function* (type, options) {
          try {
            yield* api.watch(type, options);
          } catch {
            const status = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", code: 410 } as const;
            yield { type: "ERROR", object: status };
          }
        } as KubernetesApi["watch"],
      })),
      "resumes after a cut without listing again, and misses nothing",
    );
  });

  test("starts each watch from now, and so misses what happened meanwhile", async () => {
    await rejected(
      withApi((api) => ({
        watch: ((type, { resourceVersion: _, ...options } = {}) =>
          (async function* () {
            const { metadata } = await api.list(type, {});
            yield* api.watch(type, { ...options, resourceVersion: metadata.resourceVersion! });
          })()) as KubernetesApi["watch"],
      })),
      "resumes after a cut without listing again, and misses nothing",
    );
  });

  test("opens a second watch", async () => {
    await rejected((api, options) => {
      const informer = subject.create(api, options);
      const second = subject.create(api, options);
      return new Proxy(informer, {
        get: (target, name) =>
          name === "start"
            ? (signal: AbortSignal) => {
                target.start(signal);
                second.start(signal);
              }
            : Reflect.get(target, name),
      });
    }, "lists, then follows the watch");
  });

  test("leaves a timer behind", async () => {
    await rejected((api, options) => {
      options.clock?.schedule(() => {}, 1e12);
      return subject.create(api, options);
    }, "synced rejects when its signal fires");
  });
});
