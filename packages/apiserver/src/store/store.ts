import type { KubernetesObject } from "@portolan/core";

/**
 * An object at one revision, as a {@link Store} keeps it. The object is frozen to its leaves: it is handed to many readers and never copied.
 * Its `metadata.resourceVersion` is `revision` in decimal.
 */
export interface StoredObject {
  /** `resource.group`, the unit of lists and watches; the group is absent for the core group. */
  readonly collection: string;
  /** Empty for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
  readonly revision: number;
  readonly object: KubernetesObject;
}

/** One change to be written: `object` absent means removal. */
export interface StoreWrite {
  readonly collection: string;
  readonly namespace: string;
  readonly name: string;
  /** Without `metadata.resourceVersion`, which the store sets; the store freezes it. */
  readonly object?: KubernetesObject;
  /**
   * Revision that the stored object must have; `undefined` means that it must not exist.
   */
  readonly expectedRevision: number | undefined;
}

/** One entry of the revision log. */
export interface StoreEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly revision: number;
  /** The new object; for DELETED the last one, with the revision of the removal. */
  readonly current: StoredObject;
  /** What was stored before; absent for ADDED. */
  readonly previous?: StoredObject;
}

/** Where a list goes on. */
export interface StorePosition {
  readonly namespace: string;
  readonly name: string;
}

/** All objects at one revision. */
export interface StoreState {
  readonly revision: number;
  readonly objects: Iterable<StoredObject>;
}

/**
 * Where objects live: one revision counter for everything, an ordered log of changes, atomic writes. All calls are synchronous and see a
 * consistent state, so a request handler that does not await runs as one transaction.
 */
export interface Store {
  /** Revision of the newest change; 1 when nothing was written yet. */
  readonly revision: number;
  /** Revision of the newest change that a crash would leave in place. {@link Store.revision} in stores that keep nothing. */
  readonly persistedRevision: number;
  /** Events at or below this revision are forgotten. */
  readonly compactedRevision: number;
  /** Collections that hold objects, in order of their names. */
  collections(): readonly string[];
  get(collection: string, namespace: string, name: string): StoredObject | undefined;
  /**
   * Objects in order of namespace and name.
   *
   * @param namespace absent for all namespaces
   * @param after skips everything up to and including this position
   */
  list(collection: string, namespace?: string, after?: StorePosition): Iterable<StoredObject>;
  /** Number of objects, without looking at each. */
  count(collection: string, namespace?: string): number;
  /**
   * Writes all or nothing, also when a crash comes, and gives each write a revision of its own, in order.
   *
   * @throws StoreConflictError when an expectation does not hold; nothing is written then
   * @throws StoreFailedError when the storage broke before
   */
  write(writes: readonly StoreWrite[]): readonly StoredObject[];
  /**
   * Events of a collection after a revision, oldest first.
   *
   * @returns `undefined` when the log does not reach back that far
   */
  eventsAfter(collection: string, revision: number): readonly StoreEvent[] | undefined;
  /**
   * Waits until a crash can take back nothing of what was written so far. Whoever answers a request waits for it, reads too: nobody may
   * learn of a state that could still vanish.
   *
   * @returns `undefined` when there is nothing to wait for; rejects with {@link StoreFailedError} when the storage broke
   */
  persisted(): Promise<void> | undefined;
  /** Calls the listener within every write, once per event and in order. Returns what ends it. */
  subscribe(listener: (event: StoreEvent) => void): () => void;
  /** As {@link Store.subscribe}, but calls when the event is {@link Store.persisted}: for whoever tells others. */
  follow(listener: (event: StoreEvent) => void): () => void;
  /** Forgets events at or below a revision (the newest by default). */
  compact(revision?: number): void;
  close(): void;
}

/** A write whose expectation about the stored revision does not hold. */
export class StoreConflictError extends Error {
  readonly code = "store-conflict";
  readonly write: StoreWrite;
  /** What is stored instead. */
  readonly stored: StoredObject | undefined;

  constructor(write: StoreWrite, stored: StoredObject | undefined) {
    super(
      `${write.collection} ${write.namespace}/${write.name}: expected ${write.expectedRevision === undefined ? "no object" : `revision ${write.expectedRevision}`}, found ${stored === undefined ? "none" : `revision ${stored.revision}`}; read it again and retry`,
    );
    this.name = "StoreConflictError";
    this.write = write;
    this.stored = stored;
  }
}

/** The storage under a store broke: a full disk, a device that is gone. What was not persisted by then is lost, and nothing more is written. */
export class StoreFailedError extends Error {
  readonly code = "store-failed";

  constructor(what: string, cause: unknown) {
    super(`${what} failed: ${(cause as Error).message}; make room or repair it, and start the server again`, { cause });
    this.name = "StoreFailedError";
  }
}
