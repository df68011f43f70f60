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

/**
 * Where objects live: one revision counter for everything, an ordered log of changes, atomic writes. All calls are synchronous and see a
 * consistent state, so a request handler that does not await runs as one transaction.
 */
export interface Store {
  /** Revision of the newest change; 1 when nothing was written yet. */
  readonly revision: number;
  /** Events at or below this revision are forgotten. */
  readonly compactedRevision: number;
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
   * Writes all or nothing, and gives each write a revision of its own, in order.
   *
   * @throws StoreConflictError when an expectation does not hold; nothing is written then
   */
  write(writes: readonly StoreWrite[]): readonly StoredObject[];
  /**
   * Events of a collection after a revision, oldest first.
   *
   * @returns `undefined` when the log does not reach back that far
   */
  eventsAfter(collection: string, revision: number): readonly StoreEvent[] | undefined;
  /** Calls the listener after every write, once per event and in order. Returns what ends it. */
  subscribe(listener: (event: StoreEvent) => void): () => void;
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
