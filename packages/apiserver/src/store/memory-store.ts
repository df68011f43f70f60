import type { KubernetesObject } from "@portolan/core";
import {
  type Store,
  StoreConflictError,
  type StoredObject,
  type StoreEvent,
  type StorePosition,
  type StoreState,
  type StoreWrite,
} from "./store.ts";

/** Settings of {@link createMemoryStore}. */
export interface MemoryStoreOptions {
  /**
   * Events that the log holds before the oldest are compacted away.
   *
   * @default 20_000
   */
  readonly maxEvents?: number;
  /** What is stored at first. Watches from older revisions are answered 410: how it came about is not known. */
  readonly initial?: StoreState;
}

/** Names in order, with their objects. */
class Partition {
  readonly objects = new Map<string, StoredObject>();
  readonly names: string[] = [];

  set(stored: StoredObject): void {
    if (!this.objects.has(stored.name)) {
      const names = this.names;
      const last = names[names.length - 1];
      // Names that come in order, as most bulk loads do, are appended without a search.
      if (last === undefined || last < stored.name) names.push(stored.name);
      else names.splice(lowerBound(names, stored.name), 0, stored.name);
    }
    this.objects.set(stored.name, stored);
  }

  delete(name: string): void {
    if (this.objects.delete(name)) this.names.splice(lowerBound(this.names, name), 1);
  }
}

interface Collection {
  readonly partitions: Map<string, Partition>;
  readonly namespaces: string[];
  events: StoreEvent[];
  size: number;
}

/** Index of the first element that is not less than the value. */
function lowerBound(sorted: readonly string[], value: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as string) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Freezes to the leaves. What is frozen already is not entered: frozen objects here are frozen throughout. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  if (Array.isArray(value)) for (const item of value) deepFreeze(item);
  else for (const key in value) deepFreeze((value as Record<string, unknown>)[key]);
  return Object.freeze(value);
}

/**
 * A store in memory: maps for reads by name (constant time), a sorted array of names per namespace for lists, and a bounded log per collection.
 * A write costs a binary search; nothing scans.
 */
export function createMemoryStore(options: MemoryStoreOptions = {}): Store {
  const maxEvents = options.maxEvents ?? 20_000;
  const collections = new Map<string, Collection>();
  const listeners = new Set<(event: StoreEvent) => void>();
  let revision = 1;
  let compacted = 0;
  /** Collections in order of their events, for compaction by count. */
  let eventCount = 0;

  function collectionOf(name: string): Collection {
    let collection = collections.get(name);
    if (collection === undefined) {
      collection = { partitions: new Map(), namespaces: [], events: [], size: 0 };
      collections.set(name, collection);
    }
    return collection;
  }

  function get(collection: string, namespace: string, name: string): StoredObject | undefined {
    return collections.get(collection)?.partitions.get(namespace)?.objects.get(name);
  }

  function* list(name: string, namespace?: string, after?: StorePosition): Generator<StoredObject> {
    const collection = collections.get(name);
    if (collection === undefined) return;
    const namespaces = namespace === undefined ? collection.namespaces : [namespace];
    for (let n = after === undefined ? 0 : lowerBound(namespaces, after.namespace); n < namespaces.length; n++) {
      const partition = collection.partitions.get(namespaces[n] as string);
      if (partition === undefined) continue;
      let i = 0;
      if (after !== undefined && namespaces[n] === after.namespace) {
        i = lowerBound(partition.names, after.name);
        if (partition.names[i] === after.name) i++;
      }
      for (; i < partition.names.length; i++) yield partition.objects.get(partition.names[i] as string) as StoredObject;
    }
  }

  function place(collection: Collection, stored: StoredObject): void {
    let partition = collection.partitions.get(stored.namespace);
    if (partition === undefined) {
      partition = new Partition();
      collection.partitions.set(stored.namespace, partition);
      collection.namespaces.splice(lowerBound(collection.namespaces, stored.namespace), 0, stored.namespace);
    }
    if (!partition.objects.has(stored.name)) collection.size++;
    partition.set(stored);
  }

  function compact(to: number = revision): void {
    if (to <= compacted) return;
    compacted = Math.min(to, revision);
    eventCount = 0;
    for (const collection of collections.values()) {
      collection.events = collection.events.slice(firstAfter(collection.events, compacted));
      eventCount += collection.events.length;
    }
  }

  /** What a write will have stored. It may fail, for objects that cannot be frozen, so it comes before anything is changed. */
  function prepare(write: StoreWrite, own: number): StoredObject {
    const { namespace, name } = write;
    const source = (write.object ?? get(write.collection, namespace, name)?.object) as KubernetesObject;
    const object = deepFreeze({ ...source, metadata: { ...source.metadata, resourceVersion: String(own) } });
    return { collection: write.collection, namespace, name, revision: own, object };
  }

  function apply(write: StoreWrite, current: StoredObject): StoreEvent {
    const { namespace, name } = write;
    const previous = get(write.collection, namespace, name);
    const collection = collectionOf(write.collection);
    revision = current.revision;
    let event: StoreEvent;
    if (write.object === undefined) {
      const partition = collection.partitions.get(namespace) as Partition;
      partition.delete(name);
      if (partition.names.length === 0) {
        collection.partitions.delete(namespace);
        collection.namespaces.splice(lowerBound(collection.namespaces, namespace), 1);
      }
      collection.size--;
      event = { type: "DELETED", revision, current, previous: previous as StoredObject };
    } else {
      place(collection, current);
      if (previous === undefined) {
        event = { type: "ADDED", revision, current };
      } else {
        event = { type: "MODIFIED", revision, current, previous };
      }
    }
    collection.events.push(event);
    eventCount++;
    return event;
  }

  if (options.initial !== undefined) {
    revision = options.initial.revision;
    compacted = revision;
    for (const stored of options.initial.objects) {
      deepFreeze(stored.object);
      place(collectionOf(stored.collection), stored);
    }
  }

  function subscribe(listener: (event: StoreEvent) => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  return {
    get revision() {
      return revision;
    },
    get persistedRevision() {
      return revision;
    },
    get compactedRevision() {
      return compacted;
    },
    collections: () => [...collections].flatMap(([name, { size }]) => (size > 0 ? [name] : [])).sort(),
    get,
    list,
    count(name, namespace) {
      const collection = collections.get(name);
      if (collection === undefined) return 0;
      return namespace === undefined ? collection.size : (collection.partitions.get(namespace)?.names.length ?? 0);
    },
    write(writes) {
      for (const write of writes) {
        const stored = get(write.collection, write.namespace, write.name);
        if (stored?.revision !== write.expectedRevision) throw new StoreConflictError(write, stored);
        if (write.object === undefined && stored === undefined) throw new StoreConflictError(write, stored);
      }
      const prepared = writes.map((write, index) => prepare(write, revision + 1 + index));
      const events = writes.map((write, index) => apply(write, prepared[index] as StoredObject));
      // Dropping half of the log at a time makes the cost of compaction constant per event.
      if (eventCount > maxEvents) compact(revision - Math.floor(maxEvents / 2));
      for (const event of events) for (const listener of [...listeners]) listener(event);
      return events.map((event) => event.current);
    },
    eventsAfter(name, after) {
      if (after < compacted) return undefined;
      const events = collections.get(name)?.events ?? [];
      return events.slice(firstAfter(events, after));
    },
    persisted: () => undefined,
    subscribe,
    follow: subscribe,
    compact,
    close() {
      listeners.clear();
    },
  };
}

/** Index of the first event after a revision. */
function firstAfter(events: readonly StoreEvent[], revision: number): number {
  let low = 0;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((events[middle] as StoreEvent).revision <= revision) low = middle + 1;
    else high = middle;
  }
  return low;
}
