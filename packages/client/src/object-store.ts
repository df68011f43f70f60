import type { KubernetesObject } from "@portolan/core";

/** Keys under which an object is found in an index; an object may have none or several. */
export type IndexFunction<T> = (object: T) => readonly string[];

/** Reads of a local copy. Objects are shared: treat them as immutable. Lists are new arrays, in order of insertion. */
export interface Lister<T> {
  /** `namespace` is undefined for objects of the whole cluster. O(1). */
  get(namespace: string | undefined, name: string): T | undefined;
  /** All objects, or those of one namespace; O(result). */
  list(namespace?: string): T[];
  /** Objects under `key` of an index; O(result). Throws `RangeError` when there is no index of that name. */
  byIndex(index: string, key: string): T[];
  /** How many objects are under `key` of an index; O(1). */
  count(index: string, key: string): number;
}

/** A keyed set of objects with indexes. */
export interface ObjectStore<T> {
  readonly lister: Lister<T>;
  /** `namespace/name`, or `name` for objects of the whole cluster. */
  keyOf(object: T): string;
  get(key: string): T | undefined;
  set(key: string, object: T): void;
  delete(key: string): void;
  entries(): IterableIterator<[string, T]>;
  addIndexes(indexes: Readonly<Record<string, IndexFunction<T>>>): void;
}

/** Key of an object in stores and work queues: `namespace/name`, or `name` for objects of the whole cluster. */
export function objectKey(object: KubernetesObject): string {
  const { namespace, name = "" } = object.metadata ?? {};
  return namespace === undefined || namespace === "" ? name : `${namespace}/${name}`;
}

/** The two parts of an {@link objectKey}. */
export function splitObjectKey(key: string): { namespace: string | undefined; name: string } {
  const slash = key.indexOf("/");
  return slash < 0
    ? { namespace: undefined, name: key }
    : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

interface Index<T> {
  readonly keysOf: IndexFunction<T>;
  readonly buckets: Map<string, Map<string, T>>;
}

/** The store behind an informer. */
export function createObjectStore<T extends KubernetesObject>(
  initialIndexes: Readonly<Record<string, IndexFunction<T>>> = {},
): ObjectStore<T> {
  const objects = new Map<string, T>();
  const namespaces: Index<T> = {
    keysOf: (object) => (object.metadata?.namespace ? [object.metadata.namespace] : []),
    buckets: new Map(),
  };
  const indexes = new Map<string, Index<T>>();

  function enter(index: Index<T>, key: string, object: T): void {
    for (const value of index.keysOf(object)) {
      let bucket = index.buckets.get(value);
      if (bucket === undefined) {
        bucket = new Map();
        index.buckets.set(value, bucket);
      }
      bucket.set(key, object);
    }
  }

  function leave(index: Index<T>, key: string, object: T): void {
    for (const value of index.keysOf(object)) {
      const bucket = index.buckets.get(value);
      if (bucket?.delete(key) && bucket.size === 0) index.buckets.delete(value);
    }
  }

  function remove(key: string): void {
    const old = objects.get(key);
    if (old === undefined) return;
    objects.delete(key);
    leave(namespaces, key, old);
    for (const index of indexes.values()) leave(index, key, old);
  }

  function addIndexes(more: Readonly<Record<string, IndexFunction<T>>>): void {
    for (const [name, keysOf] of Object.entries(more)) {
      const known = indexes.get(name);
      if (known?.keysOf === keysOf) continue;
      if (known !== undefined)
        throw new RangeError(`index "${name}" exists with another function; give the new one a name of its own`);
      const index: Index<T> = { keysOf, buckets: new Map() };
      for (const [key, object] of objects) enter(index, key, object);
      indexes.set(name, index);
    }
  }
  addIndexes(initialIndexes);

  function indexOf(name: string): Index<T> {
    const index = indexes.get(name);
    if (index === undefined)
      throw new RangeError(`there is no index "${name}"; pass it as options.indexes or to addIndexes`);
    return index;
  }

  return {
    keyOf: objectKey,
    get: (key) => objects.get(key),
    set(key, object) {
      remove(key);
      objects.set(key, object);
      enter(namespaces, key, object);
      for (const index of indexes.values()) enter(index, key, object);
    },
    delete: remove,
    entries: () => objects.entries(),
    addIndexes,
    lister: {
      get: (namespace, name) =>
        objects.get(namespace === undefined || namespace === "" ? name : `${namespace}/${name}`),
      list: (namespace) =>
        namespace === undefined ? [...objects.values()] : [...(namespaces.buckets.get(namespace)?.values() ?? [])],
      byIndex: (name, key) => [...(indexOf(name).buckets.get(key)?.values() ?? [])],
      count: (name, key) => indexOf(name).buckets.get(key)?.size ?? 0,
    },
  };
}
