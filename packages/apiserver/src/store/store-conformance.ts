/**
 * What any `Store` must do, as named checks without a test runner:
 *
 * ```ts
 * import { storeConformance } from "@portolan/apiserver/store-conformance";
 *
 * for (const { name, run } of storeConformance({ open: () => myStore() })) test(name, run);
 * ```
 *
 * @packageDocumentation
 */
import type { KubernetesObject } from "@portolan/core";
import { createRandom } from "../testing/random.ts";
import { type Store, StoreConflictError, type StoredObject, type StoreEvent, type StoreWrite } from "./store.ts";

/** A store implementation. */
export interface StoreSubject {
  /** Opens an empty store. Checks close it. */
  open(): Promise<Store> | Store;
  /** Closes the store and opens what it has kept; absent for stores that keep nothing. */
  reopen?(store: Store): Promise<Store> | Store;
}

/** One check: `run` rejects with an `Error` that says what was expected. */
export interface StoreCheck {
  readonly name: string;
  run(): Promise<void>;
}

const collection = "configmaps";

/** JSON with members in order of their names, so that equal values have equal text. */
function textOf(value: unknown): string {
  const sorted = (_: string, member: unknown): unknown =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member;
  return JSON.stringify(value, sorted) ?? "undefined";
}

function expectEqual(found: unknown, wanted: unknown, what: string): void {
  const [a, b] = [textOf(found), textOf(wanted)];
  if (a === b) return;
  let same = 0;
  while (a[same] === b[same]) same++;
  const shown = (text: string): string => text.slice(Math.max(0, same - 80), same + 160);
  throw new Error(`${what}: expected …${shown(b)}…, found …${shown(a)}…`);
}

function expectConflict(write: () => unknown, what: string): StoreConflictError {
  try {
    write();
  } catch (error) {
    if (error instanceof StoreConflictError) return error;
    throw error;
  }
  throw new Error(`${what}: expected a StoreConflictError, the write went through`);
}

function objectOf(namespace: string, name: string, value: string): KubernetesObject {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name, ...(namespace === "" ? {} : { namespace }) },
    data: { value },
  } as KubernetesObject;
}

function put(
  namespace: string,
  name: string,
  value: string,
  expectedRevision?: number,
  into: string = collection,
): StoreWrite {
  return { collection: into, namespace, name, object: objectOf(namespace, name, value), expectedRevision };
}

function removal(stored: StoredObject): StoreWrite {
  const { namespace, name, revision } = stored;
  return { collection: stored.collection, namespace, name, expectedRevision: revision };
}

function writeOne(store: Store, write: StoreWrite): StoredObject {
  return store.write([write])[0] as StoredObject;
}

const keys = (objects: Iterable<StoredObject>): string[] =>
  [...objects].map(({ namespace, name }) => `${namespace}/${name}`);
const told = (event: StoreEvent): string =>
  `${event.type} ${event.current.name}@${event.revision}${event.previous === undefined ? "" : ` was ${event.previous.revision}`}`;
const valueIn = (stored: StoredObject | undefined): unknown =>
  (stored?.object as unknown as { data: { value: unknown } } | undefined)?.data.value;

/** Everything of a store that a reader can see. */
function contentOf(store: Store, collections: readonly string[]): unknown {
  return collections.map((name) => [
    name,
    store.count(name),
    [...store.list(name)].map(({ namespace, name: own, revision, object }) => [namespace, own, revision, object]),
  ]);
}

function isFrozen(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return true;
  return Object.isFrozen(value) && Object.values(value).every(isFrozen);
}

/** Writes at random, with conflicts among them, and tells what must be stored then. */
function churn(store: Store, seed: number, rounds: number): Map<string, unknown> {
  const draw = createRandom(seed);
  const random = (below: number): number => Math.floor(draw() * below);
  const expected = new Map<string, unknown>();
  for (let round = 0; round < rounds; round++) {
    const writes: StoreWrite[] = [];
    const names = new Set<string>();
    for (let i = 0; i <= random(3); i++) names.add(`n${random(20)}`);
    for (const name of names) {
      const namespace = `s${random(3)}`;
      const stored = store.get(collection, namespace, name);
      // One in eight expects what is not there.
      const expectedRevision = random(8) === 0 ? (stored?.revision ?? 0) + 1 : stored?.revision;
      writes.push(
        stored !== undefined && random(3) === 0
          ? { ...removal(stored), expectedRevision }
          : put(namespace, name, `${seed}-${round}`, expectedRevision),
      );
    }
    try {
      for (const [index, stored] of store.write(writes).entries()) {
        const key = `${stored.namespace}/${stored.name}`;
        if (writes[index]?.object === undefined) expected.delete(key);
        else expected.set(key, `${seed}-${round}`);
      }
    } catch (error) {
      if (!(error instanceof StoreConflictError)) throw error;
    }
  }
  return expected;
}

/** The checks for one implementation. Those of keeping are left out for stores that cannot be reopened. */
export function storeConformance(subject: StoreSubject): readonly StoreCheck[] {
  const checks: StoreCheck[] = [];
  function check(name: string, act: (store: Store) => Promise<void> | void): void {
    checks.push({
      name,
      async run() {
        const store = await subject.open();
        try {
          await act(store);
        } finally {
          store.close();
        }
      },
    });
  }

  check("begins at revision 1 with nothing", (store) => {
    expectEqual(store.revision, 1, "revision");
    expectEqual(keys(store.list(collection)), [], "objects");
    expectEqual(store.count(collection), 0, "count");
    expectEqual(store.get(collection, "a", "b") === undefined, true, "get of nothing");
    expectEqual(store.eventsAfter(collection, store.revision), [], "events");
  });

  check("gives each write the next revision and shows it as resourceVersion", (store) => {
    const first = writeOne(store, put("a", "x", "1"));
    const [second, third] = store.write([put("a", "y", "1"), put("a", "x", "2", first.revision)]);
    expectEqual([first.revision, second?.revision, third?.revision], [2, 3, 4], "revisions");
    expectEqual(store.revision, 4, "revision of the store");
    for (const stored of [first, second, third])
      expectEqual(stored?.object.metadata?.resourceVersion, String(stored?.revision), "resourceVersion");
    expectEqual(valueIn(store.get(collection, "a", "x")), "2", "the newest value");
  });

  check("does not change what it was given and freezes what it gives", (store) => {
    const given = objectOf("a", "x", "1");
    const stored = writeOne(store, {
      collection,
      namespace: "a",
      name: "x",
      object: given,
      expectedRevision: undefined,
    });
    expectEqual(
      given.metadata?.resourceVersion === undefined,
      true,
      "the object that was given has no resourceVersion",
    );
    expectEqual(isFrozen(stored.object), true, "frozen to the leaves");
  });

  check("refuses what does not fit the stored revision, and writes nothing of it", (store) => {
    const stored = writeOne(store, put("a", "x", "1"));
    const told: StoreEvent[] = [];
    store.subscribe((event) => told.push(event));
    for (const [what, write] of [
      ["creation of what exists", put("a", "x", "2")],
      ["update of an old revision", put("a", "x", "2", stored.revision - 1)],
      ["update of what is not there", put("a", "y", "2", stored.revision)],
      ["removal of what is not there", { collection, namespace: "a", name: "y", expectedRevision: undefined }],
      ["removal of an old revision", { ...removal(stored), expectedRevision: stored.revision + 1 }],
    ] as const) {
      const error = expectConflict(() => store.write([put("a", "other", "1"), write]), what);
      expectEqual(error.stored?.revision, store.get(write.collection, write.namespace, write.name)?.revision, what);
    }
    expectEqual(store.revision, stored.revision, "revision");
    expectEqual(keys(store.list(collection)), ["a/x"], "objects");
    expectEqual(told.length, 0, "events");
  });

  check("lists by namespace and name, from a position on, and counts", (store) => {
    for (const key of ["b/z", "a/10", "a/2", "b/a", "a/Z", "c/m", "a-/x"]) {
      const [namespace, name] = key.split("/") as [string, string];
      writeOne(store, put(namespace, name, ""));
    }
    writeOne(store, put("", "node", "", undefined, "nodes"));
    const all = ["a/10", "a/2", "a/Z", "a-/x", "b/a", "b/z", "c/m"];
    expectEqual(keys(store.list(collection)), all, "order");
    expectEqual(keys(store.list(collection, "a")), ["a/10", "a/2", "a/Z"], "one namespace");
    expectEqual(keys(store.list(collection, undefined, { namespace: "a", name: "2" })), all.slice(2), "after a/2");
    expectEqual(keys(store.list(collection, undefined, { namespace: "b", name: "k" })), all.slice(5), "after b/k");
    expectEqual(keys(store.list(collection, "a", { namespace: "a", name: "Z" })), [], "after the last");
    expectEqual([store.count(collection), store.count(collection, "a"), store.count("nodes")], [7, 3, 1], "counts");
    expectEqual(store.collections(), [collection, "nodes"], "collections");
    store.write([removal(store.get(collection, "c", "m") as StoredObject)]);
    expectEqual([store.count(collection), store.count(collection, "c")], [6, 0], "counts after a removal");
    store.write([removal(store.get("nodes", "", "node") as StoredObject)]);
    expectEqual(store.collections(), [collection], "collections after a removal");
  });

  check("tells every change in order, to subscribers at once and to followers when it lasts", async (store) => {
    const subscribed: string[] = [];
    const followed: string[] = [];
    const stop = store.subscribe((event) => subscribed.push(told(event)));
    store.follow((event) => {
      if (event.revision > store.persistedRevision) throw new Error("a follower was told too early");
      followed.push(told(event));
    });
    const x = writeOne(store, put("a", "x", "1"));
    const x2 = writeOne(store, put("a", "x", "2", x.revision));
    store.write([removal(x2), put("a", "y", "1")]);
    const wanted = ["ADDED x@2", "MODIFIED x@3 was 2", "DELETED x@4 was 3", "ADDED y@5"];
    expectEqual(subscribed, wanted, "subscribers, within the write");
    await store.persisted();
    expectEqual(followed, wanted, "followers, once it lasts");
    expectEqual(store.persistedRevision, store.revision, "persistedRevision");
    expectEqual(store.persisted() === undefined, true, "nothing to wait for");
    stop();
    writeOne(store, put("a", "z", "1"));
    expectEqual(subscribed.length, wanted.length, "events after the end of a subscription");
    await store.persisted();
  });

  check("keeps a log by collection until it is compacted", (store) => {
    const x = writeOne(store, put("a", "x", "1"));
    writeOne(store, put("", "n", "1", undefined, "nodes"));
    const x2 = writeOne(store, put("a", "x", "2", x.revision));
    store.write([removal(x2)]);
    const since = (revision: number): string[] | undefined => store.eventsAfter(collection, revision)?.map(told);
    expectEqual(since(1), ["ADDED x@2", "MODIFIED x@4 was 2", "DELETED x@5 was 4"], "all events");
    expectEqual(since(2), ["MODIFIED x@4 was 2", "DELETED x@5 was 4"], "events after 2");
    expectEqual(since(5), [], "events after the newest");
    expectEqual(store.eventsAfter(collection, 4)?.[0]?.current.object.metadata?.resourceVersion, "5", "of a removal");
    store.compact(4);
    expectEqual(store.compactedRevision, 4, "compactedRevision");
    expectEqual(since(3) === undefined, true, "events from before the compaction");
    expectEqual(since(4), ["DELETED x@5 was 4"], "events after the compaction");
    store.compact();
    expectEqual(since(4) === undefined, true, "events from before the second compaction");
    expectEqual(since(5), [], "events after the second compaction");
  });

  check("holds after a thousand random writes what was written", async (store) => {
    const expected = churn(store, 1, 1000);
    const found = new Map(
      [...store.list(collection)].map((stored) => [`${stored.namespace}/${stored.name}`, valueIn(stored)]),
    );
    expectEqual([...found].sort(), [...expected].sort(), "content");
    await store.persisted();
  });

  if (subject.reopen === undefined) return checks;
  const reopen = subject.reopen.bind(subject);

  /** Runs `act`, closes the store, opens it again and hands over what there was. */
  function checkKept(
    name: string,
    act: (store: Store) => Promise<void> | void,
    verify: (store: Store, before: { revision: number; content: unknown }) => Promise<void> | void,
  ): void {
    checks.push({
      name,
      async run() {
        let store = await subject.open();
        try {
          await act(store);
          const before = { revision: store.revision, content: contentOf(store, [collection, "nodes"]) };
          store = await reopen(store);
          await verify(store, before);
        } finally {
          store.close();
        }
      },
    });
  }

  checkKept(
    "keeps everything over a restart, frozen as before",
    (store) => {
      churn(store, 2, 500);
      writeOne(store, put("", "nödé \u0000\u2028\ud800", "1", undefined, "nodes"));
    },
    (store, before) => {
      expectEqual(contentOf(store, [collection, "nodes"]), before.content, "content");
      for (const stored of store.list(collection)) expectEqual(isFrozen(stored.object), true, "frozen to the leaves");
    },
  );

  checkKept(
    "goes on after the last revision, also when that was a removal",
    (store) => {
      const stored = writeOne(store, put("a", "x", "1"));
      store.write([removal(stored)]);
    },
    async (store, before) => {
      expectEqual(store.revision, before.revision, "revision");
      expectEqual(store.persistedRevision, before.revision, "persistedRevision");
      expectEqual(writeOne(store, put("a", "x", "2")).revision, before.revision + 1, "the next revision");
      await store.persisted();
    },
  );

  checkKept(
    "answers from the log only what it still knows",
    (store) => {
      churn(store, 3, 20);
    },
    async (store, before) => {
      const old = store.eventsAfter(collection, 1);
      if (old !== undefined) expectEqual(old.length > 0, true, "events since the beginning, when they are known");
      writeOne(store, put("a", "new", "1"));
      expectEqual(
        store.eventsAfter(collection, before.revision)?.map(({ current }) => current.name),
        ["new"],
        "events since the restart",
      );
      await store.persisted();
    },
  );

  checkKept(
    "keeps what was written just before closing, and writes again and again",
    async (store) => {
      for (let i = 0; i < 50; i++) {
        const stored = store.get(collection, "a", "x");
        writeOne(store, put("a", "x", String(i), stored?.revision));
        if (i % 7 === 0) await store.persisted();
      }
    },
    (store) => expectEqual(valueIn(store.get(collection, "a", "x")), "49", "value"),
  );

  return checks;
}
