import { close as closeFile, closeSync, fdatasync, fdatasyncSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import type { KubernetesObject } from "@portolan/core";
import { objectText } from "../encoding/object-text.ts";
import { createMemoryStore, type MemoryStoreOptions } from "./memory-store.ts";
import { openSqlite, type SqliteDatabase } from "./sqlite.ts";
import { type Store, type StoredObject, type StoreEvent, StoreFailedError } from "./store.ts";

/** Settings of {@link openSqliteStore}. */
export interface SqliteStoreOptions extends Pick<MemoryStoreOptions, "maxEvents"> {
  /** Folder of the database; made when absent (mode 0700). One store at a time has it. */
  readonly directory: string;
}

/** Says that a database is a store of this kind ("Prtl"), so that no other is taken for one. */
const applicationId = 0x5072746c;
const schemaVersion = 1;
const databaseName = "store.db";

const schema = `
  CREATE TABLE objects (
    key TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    object TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE counter (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), revision INTEGER NOT NULL) STRICT;
  INSERT INTO counter VALUES (1, 1);
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${schemaVersion};
`;

/** A caller of `persisted`. */
interface Waiter {
  readonly revision: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

function pragma(database: SqliteDatabase, name: string): unknown {
  return Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0];
}

/** Takes the database for this process alone and makes the tables of a new one. */
function claimDatabase(database: SqliteDatabase, path: string): void {
  try {
    // Exclusive before WAL: the index of the log stays in memory then, and no second process can come in.
    database.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE");
    const version = pragma(database, "user_version") as number;
    const id = pragma(database, "application_id") as number;
    if (version === 0 && id === 0 && database.prepare("SELECT 1 FROM sqlite_schema").get() === undefined)
      database.exec(schema);
    else if (id !== applicationId) throw new Error("it is a database of another program");
    else if (version > schemaVersion) throw new Error("a newer version of this program has written it");
    // SQLite syncs at checkpoints; in between the log is synced here, once for many transactions.
    database.exec("COMMIT; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    // The log is made by the first write.
    database.exec("UPDATE counter SET revision = revision");
  } catch (error) {
    closeDatabase(database);
    const { message } = error as Error;
    const reason = /locked|busy/i.test(message) ? "another server has it open" : message;
    throw new Error(`cannot open the store ${path}: ${reason}`, { cause: error });
  }
}

/** Closes the database, whose log goes into the file then. */
function closeDatabase(database: SqliteDatabase): void {
  try {
    // Statements that are not collected yet would keep the file locked beyond `close`; who leaves WAL can unlock before.
    database.exec("PRAGMA journal_mode = DELETE; PRAGMA locking_mode = NORMAL; SELECT 1 FROM sqlite_schema");
  } catch {
    // A broken file is left as it is, with its log, for the next start.
  } finally {
    database.close();
  }
}

/** Names as JSON: bindings of SQLite cut text at NUL and change lone surrogates, which names of some kinds may hold. */
function keyOf({ collection, namespace, name }: StoredObject): string {
  return JSON.stringify([collection, namespace, name]);
}

function* storedObjects(database: SqliteDatabase, path: string): Generator<StoredObject> {
  for (const { key, revision, object } of database.prepare("SELECT * FROM objects").iterate()) {
    let stored: StoredObject;
    try {
      const [collection, namespace, name] = JSON.parse(key as string) as [string, string, string];
      const parsed = JSON.parse(object as string) as KubernetesObject;
      stored = { collection, namespace, name, revision: revision as number, object: parsed };
    } catch (error) {
      throw new Error(`the store ${path} is damaged at ${key}: ${(error as Error).message}`, { cause: error });
    }
    yield stored;
  }
}

/**
 * A store in one SQLite file. Everything is in memory too, so reads never touch the disk. Writes of one turn of the event loop, and those that
 * come while the disk is busy, are one transaction and one `fdatasync` of the write-ahead log, which runs beside the event loop:
 *
 * ```
 *   write ──► memory, subscribers          (at once)
 *         └─► transaction ─► fdatasync ─► persisted(), followers
 * ```
 *
 * After a crash the file holds all that was {@link Store.persisted}, each write whole or not at all. The log of events is not kept: a watch from
 * before the restart is answered 410.
 *
 * @throws Error when the folder is in use, the file damaged or of another program, or SQLite not to be had
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  const path = join(options.directory, databaseName);
  const database = await openSqlite(path);
  claimDatabase(database, path);
  const log = openSync(`${path}-wal`, "r+");
  syncDirectory(options.directory);
  fdatasyncSync(log);

  const revision = database.prepare("SELECT revision FROM counter").get()?.["revision"] as number;
  let memory: Store;
  try {
    memory = createMemoryStore({ ...options, initial: { revision, objects: storedObjects(database, path) } });
  } catch (error) {
    closeSync(log);
    closeDatabase(database);
    throw error;
  }
  const upsert = database.prepare("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)");
  const remove = database.prepare("DELETE FROM objects WHERE key = ?");
  const count = database.prepare("UPDATE counter SET revision = ?");

  const followers = new Set<(event: StoreEvent) => void>();
  /** Events that are in memory only. */
  let pending: StoreEvent[] = [];
  /** Events of the transaction that is being synced. */
  let syncing: StoreEvent[] = [];
  let waiters: Waiter[] = [];
  let persistedRevision = revision;
  let isScheduled = false;
  let isClosed = false;
  let failure: StoreFailedError | undefined;

  memory.subscribe((event) => {
    pending.push(event);
    schedule();
  });

  function schedule(): void {
    if (isScheduled || syncing.length > 0 || isClosed) return;
    isScheduled = true;
    setImmediate(() => {
      isScheduled = false;
      if (pending.length > 0 && syncing.length === 0 && !isClosed) commit();
    });
  }

  /** Puts all pending events into one transaction, which is in the operating system's hands afterwards. */
  function transact(): void {
    syncing = pending;
    pending = [];
    const newest = new Map<string, StoreEvent>();
    for (const event of syncing) newest.set(keyOf(event.current), event);
    database.exec("BEGIN IMMEDIATE");
    for (const [key, { type, current }] of newest) {
      const { object, revision } = current;
      if (type === "DELETED") remove.run(key);
      else upsert.run(key, revision, objectText(object, object.kind ?? "", object.apiVersion ?? ""));
    }
    count.run((syncing[syncing.length - 1] as StoreEvent).revision);
    database.exec("COMMIT");
  }

  function commit(): void {
    try {
      transact();
    } catch (error) {
      fail(error);
      return;
    }
    fdatasync(log, (error) => {
      if (isClosed) closeFile(log, () => {});
      else if (error !== null) fail(error);
      else {
        announce();
        if (pending.length > 0) schedule();
      }
    });
  }

  function announce(): void {
    const events = syncing;
    syncing = [];
    if (events.length === 0) return;
    persistedRevision = (events[events.length - 1] as StoreEvent).revision;
    for (const event of events) for (const follower of [...followers]) follower(event);
    const reached = waiters.filter((waiter) => waiter.revision <= persistedRevision);
    waiters = waiters.filter((waiter) => waiter.revision > persistedRevision);
    for (const waiter of reached) waiter.resolve();
  }

  /** What memory has and the disk has not cannot be taken back, so nothing is answered any more. */
  function fail(cause: unknown): void {
    failure = new StoreFailedError("writing the store", cause);
    for (const waiter of waiters.splice(0)) waiter.reject(failure);
  }

  return {
    get revision() {
      return memory.revision;
    },
    get persistedRevision() {
      return persistedRevision;
    },
    get compactedRevision() {
      return memory.compactedRevision;
    },
    collections: memory.collections,
    get: memory.get,
    list: memory.list,
    count: memory.count,
    eventsAfter: memory.eventsAfter,
    subscribe: memory.subscribe,
    compact: memory.compact,
    write(writes) {
      if (failure !== undefined) throw failure;
      if (isClosed) throw new StoreFailedError("writing the store", new Error("the store is closed"));
      return memory.write(writes);
    },
    persisted() {
      if (failure !== undefined) return Promise.reject(failure);
      if (memory.revision === persistedRevision) return undefined;
      return new Promise<void>((resolve, reject) => waiters.push({ revision: memory.revision, resolve, reject }));
    },
    follow(listener) {
      followers.add(listener);
      return () => followers.delete(listener);
    },
    close() {
      if (isClosed) return;
      const isBusy = syncing.length > 0;
      isClosed = true;
      try {
        if (failure === undefined && pending.length > 0) {
          const before = syncing;
          transact();
          syncing = [...before, ...syncing];
        }
        if (failure === undefined) {
          fdatasyncSync(log);
          announce();
        }
      } catch (error) {
        fail(error);
      } finally {
        if (!isBusy) closeSync(log);
        followers.clear();
        memory.close();
        closeDatabase(database);
      }
    },
  };
}

/** Makes the names of new files last. Some systems cannot sync folders; they keep names without it. */
function syncDirectory(directory: string): void {
  try {
    const folder = openSync(directory, "r");
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  } catch (error) {
    if (!["EISDIR", "EPERM", "EINVAL", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}
