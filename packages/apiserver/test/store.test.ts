import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createMemoryStore, openSqliteStore, type Store } from "../src/index.ts";
import { storeConformance } from "../src/store/store-conformance.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "portolan-store-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;
const freshDirectory = (): string => join(root, String(folders++));

describe("the store in memory", () => {
  for (const { name, run } of storeConformance({ open: createMemoryStore })) it(name, run);
});

describe("the store in SQLite", () => {
  const directories = new WeakMap<Store, string>();
  async function open(directory = freshDirectory()): Promise<Store> {
    const store = await openSqliteStore({ directory });
    directories.set(store, directory);
    return store;
  }
  const subject = {
    open: () => open(),
    reopen(store: Store) {
      store.close();
      return open(directories.get(store));
    },
  };
  for (const { name, run } of storeConformance(subject)) it(name, run);

  it("belongs to one server at a time", async () => {
    const directory = freshDirectory();
    const store = await openSqliteStore({ directory });
    await expect(openSqliteStore({ directory })).rejects.toThrow(/another server has it open/);
    store.close();
    (await openSqliteStore({ directory })).close();
  });

  it("takes no other file for its own", async () => {
    const directory = freshDirectory();
    (await openSqliteStore({ directory })).close();
    writeFileSync(
      join(directory, "store.db"),
      "something else, and long enough to be looked at as a database header".repeat(20),
    );
    await expect(openSqliteStore({ directory })).rejects.toThrow(/cannot open the store .*not a database/);
  });

  it("refuses writes after it was closed", async () => {
    const store = await openSqliteStore({ directory: freshDirectory() });
    store.close();
    const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "x" } };
    expect(() =>
      store.write([{ collection: "configmaps", namespace: "a", name: "x", object, expectedRevision: undefined }]),
    ).toThrow(/the store is closed/);
  });
});
