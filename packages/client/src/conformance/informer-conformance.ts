import { type ConfigMap, resources } from "@portolan/core";
import type { KubernetesApi } from "../api.ts";
import { createApiClient } from "../api-client.ts";
import type { Informer, InformerOptions } from "../informer.ts";
import { objectKey } from "../object-store.ts";
import { createFakeClock, type FakeClock, settle } from "../testing/fake-clock.ts";
import { createFaultInjector, type FaultInjector } from "../testing/fault-injector.ts";
import { createMemoryApi, type MemoryApi } from "../testing/memory-api.ts";
import type { Transport } from "../transport.ts";

/** An informer implementation, and what it claims. */
export interface InformerSubject {
  /** An informer of ConfigMaps over `api`. It must take its time from `options.clock`. */
  create(api: KubernetesApi, options: InformerOptions<ConfigMap>): Informer<ConfigMap>;
  readonly supports: {
    /** Events that come twice are told once. */
    readonly duplicates: boolean;
    /** Events of one object that come in the wrong order do not bring back old state. */
    readonly reordering: boolean;
    /** The option `watchList`. */
    readonly watchList: boolean;
  };
}

/** The way between informer and server. Default: a function call. */
export interface ConformanceEnvironment {
  /** A transport to `inner` on that way, for one case. */
  connect(inner: Transport): Promise<{ readonly transport: Transport; close(): Promise<void> }>;
  /** Waits until everything that was sent has arrived. */
  settle(): Promise<void>;
}

const inProcess: ConformanceEnvironment = {
  connect: async (transport) => ({ transport, close: async () => {} }),
  settle,
};

/** One case: `run` rejects with an `Error` that says what was expected. */
export interface ConformanceCase {
  readonly name: string;
  run(): Promise<void>;
}

function require(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Error(message());
}

/** Small deterministic generator: a case can be replayed from its seed. (Mulberry32) */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Scene {
  readonly memory: MemoryApi;
  readonly faults: FaultInjector;
  readonly clock: FakeClock;
  readonly informer: Informer<ConfigMap>;
  /** What handlers were told: `+name=value`, `~name=value`, `-name`. */
  readonly told: string[];
  readonly abort: AbortController;
  settle(): Promise<void>;
  write(name: string, value: string): void;
  remove(name: string): void;
  /** Store, handlers' view and server agree. */
  agree(): void;
  listRequests(): number;
  watchRequests(): number;
}

/** Sets the scene with objects `a` and `b`, runs `act`, and checks that the informer leaves nothing behind. */
async function play(
  subject: InformerSubject,
  act: (scene: Scene) => Promise<void>,
  environment: ConformanceEnvironment,
  options: InformerOptions<ConfigMap> & { readonly started?: boolean } = {},
): Promise<void> {
  const { started = true, ...informerOptions } = options;
  const memory = createMemoryApi();
  const faults = createFaultInjector(memory.transport);
  const { settle } = environment;
  const clock = createFakeClock(undefined, settle);
  const connection = await environment.connect(faults.transport);
  const abort = new AbortController();
  const informer = subject.create(createApiClient(connection.transport), {
    clock,
    random: randomFrom(7),
    idleTimeout: 60_000,
    ...informerOptions,
  });
  const told: string[] = [];
  const view = new Map<string, ConfigMap>();
  const problems: string[] = [];
  const dataOf = (object: ConfigMap): string => object.data?.["value"] ?? "";
  informer.addHandler({
    add(object) {
      told.push(`+${object.metadata.name}=${dataOf(object)}`);
      if (view.has(objectKey(object))) problems.push(`${objectKey(object)} was added twice`);
      view.set(objectKey(object), object);
      if (informer.lister.get(object.metadata.namespace, object.metadata.name ?? "") !== object)
        problems.push(`${objectKey(object)} was told before it was in the lister`);
    },
    update(old, object) {
      told.push(`~${object.metadata.name}=${dataOf(object)}`);
      if (view.get(objectKey(object)) !== old)
        problems.push(`${objectKey(object)} was updated from a state never told`);
      if (old.metadata.uid !== object.metadata.uid) problems.push(`${objectKey(object)} was updated across two UIDs`);
      view.set(objectKey(object), object);
    },
    delete(object) {
      told.push(`-${object.metadata.name}`);
      if (!view.delete(objectKey(object))) problems.push(`${objectKey(object)} was deleted without having been added`);
    },
  });
  const scene: Scene = {
    memory,
    faults,
    clock,
    informer,
    told,
    abort,
    settle,
    write: (name, value) => {
      memory.apply<ConfigMap>(resources.configMaps, { metadata: { name, namespace: "default" }, data: { value } });
    },
    remove: (name) => memory.remove(resources.configMaps, name, "default"),
    agree() {
      const truth = memory
        .objects(resources.configMaps)
        .map((object) => `${objectKey(object)}@${object.metadata?.resourceVersion}`);
      const show = (objects: Iterable<ConfigMap>): string =>
        [...objects]
          .map((object) => `${objectKey(object)}@${object.metadata.resourceVersion}`)
          .sort()
          .join(" ");
      const expected = truth.sort().join(" ");
      require(show(informer.lister.list()) === expected, () =>
        `lister has [${show(informer.lister.list())}], server [${expected}]`);
      require(show(view.values()) === expected, () =>
        `handlers were told [${show(view.values())}], server has [${expected}]`);
      require(problems.length === 0, () => problems.join("; "));
    },
    listRequests: () => faults.requests.filter((request) => !request.watch).length,
    watchRequests: () => faults.requests.filter((request) => request.watch).length,
  };
  scene.write("a", "1");
  scene.write("b", "1");
  if (started) {
    informer.start(abort.signal);
    await settle();
    require(informer.hasSynced, () => "not synced although the server answered");
  }
  try {
    await act(scene);
    require(faults.mostOpenWatches <= 1, () => `${faults.mostOpenWatches} watches were open at one time`);
  } finally {
    abort.abort();
    await settle();
    await connection.close();
    await settle();
  }
  require(faults.openWatches === 0, () => "a watch is open after the signal fired");
  require(clock.timers === 0, () => `${clock.timers} timers are set after the signal fired`);
}

/** Longer than any back-off of the scenes. */
const longEnough = 120_000;

/** The cases for one subject on one way to the server. `seeds` is the number of random histories. */
export function informerConformance(
  subject: InformerSubject,
  seeds: number = 20,
  environment: ConformanceEnvironment = inProcess,
): readonly ConformanceCase[] {
  const cases: ConformanceCase[] = [];
  const add = (
    name: string,
    act: (scene: Scene) => Promise<void>,
    options?: InformerOptions<ConfigMap> & { readonly started?: boolean },
  ): void => {
    cases.push({ name, run: () => play(subject, act, environment, options) });
  };

  add("lists, then follows the watch", async (scene) => {
    require(scene.told.join() === "+a=1,+b=1", () => `told ${scene.told}`);
    scene.write("a", "2");
    scene.remove("b");
    scene.write("c", "1");
    await scene.settle();
    require(scene.told.slice(2).join() === "~a=2,-b,+c=1", () => `told ${scene.told}`);
    scene.agree();
  });

  add(
    "lists in pages, and anew without pages when the continue token expires",
    async (scene) => {
      let pages = 0;
      const { transport } = scene.memory;
      const informer = subject.create(
        createApiClient(async (request) => {
          const answer = await transport(request);
          if (!request.path.includes("watch=true") && pages++ === 0) scene.memory.compact();
          return answer;
        }),
        { clock: scene.clock, pageSize: 1 },
      );
      informer.start(scene.abort.signal);
      await scene.settle();
      require(informer.lister.list().length === 2, () => `${informer.lister.list().length} of 2 objects`);
    },
    { started: false },
  );

  add("resumes after a cut without listing again, and misses nothing", async (scene) => {
    scene.faults.cutWatches();
    scene.write("a", "2");
    scene.remove("b");
    await scene.clock.advance(longEnough);
    scene.agree();
    require(scene.listRequests() === 1, () => `listed ${scene.listRequests()} times`);
  });

  add("survives a cut in the middle of an event", async (scene) => {
    scene.faults.cutWatches({ midEvent: true });
    scene.write("a", "2");
    await scene.clock.advance(longEnough);
    scene.agree();
  });

  add("reads events whatever the chunks, also inside a character", async (scene) => {
    scene.faults.splitChunks(3);
    scene.write("a", "„größer“ 漢字 🗺");
    await scene.settle();
    scene.agree();
    require(scene.told.includes("~a=„größer“ 漢字 🗺"), () => `told ${scene.told}`);
  });

  add("goes on after the server ended the watch", async (scene) => {
    await scene.clock.advance(10_000);
    scene.faults.endWatches();
    scene.write("a", "2");
    await scene.clock.advance(longEnough);
    scene.agree();
    require(scene.listRequests() === 1, () => `listed ${scene.listRequests()} times`);
  });

  add("notices a half-open connection", async (scene) => {
    scene.faults.stallWatches();
    scene.write("a", "2");
    scene.remove("b");
    await scene.clock.advance(longEnough);
    scene.agree();
  });

  add("relists after compaction and tells the difference", async (scene) => {
    scene.faults.cutWatches();
    scene.faults.failNext(2, 0, (request) => request.watch);
    await scene.settle();
    scene.write("a", "2");
    scene.remove("b");
    scene.write("c", "1");
    scene.memory.compact();
    await scene.clock.advance(longEnough);
    scene.agree();
    require(scene.told.includes("-b"), () => `told ${scene.told}`);
  });

  add("relists after compaction that the server tells by HTTP status", async (scene) => {
    scene.faults.cutWatches();
    scene.faults.failNext(1, 410, (request) => request.watch);
    scene.write("a", "2");
    await scene.clock.advance(longEnough);
    scene.agree();
    require(scene.listRequests() === 2, () => `listed ${scene.listRequests()} times`);
  });

  add("resumes from a bookmark after compaction", async (scene) => {
    scene.memory.compact();
    scene.memory.bookmark();
    await scene.settle();
    scene.faults.cutWatches();
    scene.write("a", "2");
    await scene.clock.advance(longEnough);
    scene.agree();
    require(scene.listRequests() === 1, () => `listed ${scene.listRequests()} times`);
  });

  add("tells a deletion and an addition when an object was made anew meanwhile", async (scene) => {
    scene.faults.cutWatches();
    scene.faults.failNext(1, 0, (request) => request.watch);
    await scene.settle();
    scene.remove("a");
    scene.write("a", "9");
    scene.memory.compact();
    await scene.clock.advance(longEnough);
    scene.agree();
    require(scene.told.slice(-2).join() === "-a,+a=9", () => `told ${scene.told}`);
  });

  for (const status of [0, 429, 500, 503])
    add(
      `gets over ${status === 0 ? "refused connections" : `status ${status}`} on lists and watches`,
      async (scene) => {
        scene.faults.failNext(5, status);
        scene.informer.start(scene.abort.signal);
        await scene.settle();
        require(!scene.informer.hasSynced, () => "synced without an answer");
        await scene.clock.advance(longEnough);
        scene.faults.failNext(5, status, (request) => request.watch);
        scene.faults.cutWatches();
        scene.write("a", "2");
        await scene.clock.advance(longEnough);
        scene.agree();
      },
      { started: false },
    );

  add(
    "does not flood a server that refuses everything",
    async (scene) => {
      scene.faults.failNext(1e9, 0);
      scene.informer.start(scene.abort.signal);
      await scene.clock.advance(10 * 60_000);
      const count = scene.faults.requests.length;
      require(count > 3 && count < 80, () => `${count} requests in ten minutes`);
    },
    { started: false },
  );

  add("does not flood a server that ends every watch at once", async (scene) => {
    const before = scene.watchRequests();
    for (let second = 0; second < 600; second++) {
      scene.faults.endWatches();
      await scene.clock.advance(100);
      scene.faults.endWatches();
    }
    const count = scene.watchRequests() - before;
    require(count < 30, () => `${count} watches in a minute`);
  });

  add("does not flood a server that answers every watch with 410", async (scene) => {
    scene.faults.failNext(1e9, 410, (request) => request.watch);
    scene.faults.cutWatches();
    await scene.clock.advance(10 * 60_000);
    const count = scene.faults.requests.length;
    require(count < 160, () => `${count} requests in ten minutes`);
  });

  add("replays what it has to late handlers, before addHandler returns", async (scene) => {
    const late: string[] = [];
    const remove = scene.informer.addHandler({
      add: (object) => late.push(`+${object.metadata.name}`),
      update: (_, object) => late.push(`~${object.metadata.name}`),
    });
    require([...late].sort().join() === "+a,+b", () => `replayed ${late}`);
    scene.write("a", "2");
    await scene.settle();
    require(late.at(-1) === "~a", () => `told ${late}`);
    remove();
    scene.write("a", "3");
    await scene.settle();
    require(late.length === 3, () => `told ${late} after removal`);
  });

  const errors: unknown[] = [];
  add(
    "goes on when a handler throws, and reports it",
    async (scene) => {
      errors.length = 0;
      scene.informer.addHandler({
        update() {
          throw new Error("handler");
        },
      });
      const after: string[] = [];
      scene.informer.addHandler({ update: (_, object) => after.push(object.metadata.name ?? "") });
      scene.write("a", "2");
      scene.write("b", "2");
      await scene.settle();
      scene.agree();
      require(after.join() === "a,b", () => `the next handler was told ${after}`);
      require(errors.length === 2, () => `${errors.length} of 2 errors were reported`);
    },
    { onError: (error) => errors.push(error) },
  );

  add(
    "synced rejects when its signal fires",
    async (scene) => {
      const abort = new AbortController();
      const synced = scene.informer.synced(abort.signal).then(
        () => "resolved",
        () => "rejected",
      );
      abort.abort(new Error("enough"));
      require((await synced) === "rejected", () => "resolved without having started");
    },
    { started: false },
  );

  if (subject.supports.duplicates)
    add("tells duplicated events once", async (scene) => {
      scene.faults.duplicateEvents(true);
      scene.write("c", "1");
      scene.write("c", "2");
      scene.remove("b");
      scene.remove("c");
      scene.write("c", "3");
      await scene.settle();
      scene.agree();
      require(scene.told.slice(2).join() === "+c=1,~c=2,-b,-c,+c=3", () => `told ${scene.told}`);
    });

  if (subject.supports.reordering)
    add("takes no old state for new when events are swapped", async (scene) => {
      scene.faults.swapNextEvents();
      scene.write("a", "2");
      scene.write("a", "3");
      await scene.settle();
      scene.agree();
      scene.faults.swapNextEvents();
      scene.write("b", "2");
      scene.remove("b");
      await scene.settle();
      scene.agree();
    });

  if (subject.supports.watchList) {
    add(
      "gets its state by a watch when asked to",
      async (scene) => {
        require(scene.listRequests() === 0, () => `listed ${scene.listRequests()} times`);
        scene.write("a", "2");
        await scene.settle();
        scene.agree();
      },
      { watchList: true },
    );
    add(
      "falls back to lists when the server rejects a watch with initial events",
      async (scene) => {
        scene.faults.failNext(1, 422);
        scene.informer.start(scene.abort.signal);
        await scene.settle();
        require(scene.informer.hasSynced, () => "not synced");
        scene.agree();
      },
      { watchList: true, started: false },
    );
  }

  for (let seed = 1; seed <= seeds; seed++)
    add(`ends up with the server's state after a random history (seed ${seed})`, async (scene) => {
      const random = randomFrom(seed);
      const pick = (count: number): number => Math.floor(random() * count);
      const trouble: (() => void)[] = [
        () => scene.faults.cutWatches(),
        () => scene.faults.cutWatches({ midEvent: true }),
        () => scene.faults.endWatches(),
        () => scene.faults.stallWatches(),
        () => scene.memory.compact(),
        () => scene.memory.bookmark(),
        () => scene.faults.failNext(1 + pick(3), [0, 429, 500][pick(3)]!),
        () => scene.faults.splitChunks(pick(40)),
        () => scene.faults.duplicateEvents(subject.supports.duplicates && pick(2) === 0),
      ];
      for (let step = 0; step < 60; step++) {
        const name = "abcdef"[pick(6)]!;
        if (pick(3) === 0) scene.remove(name);
        else scene.write(name, String(step));
        if (pick(4) === 0) trouble[pick(trouble.length)]!();
        if (pick(3) === 0) await scene.clock.advance(pick(4_000));
      }
      await scene.clock.advance(2 * longEnough);
      scene.agree();
    });
  return cases;
}
