import type { Store, StoredObject, StoreEvent, StorePosition } from "./store.ts";

/** A list as of one revision. */
export interface Snapshot {
  readonly revision: number;
  readonly items: StoredObject[];
  /** Where the next page begins; absent when this is the last. */
  readonly next?: StorePosition;
  /** Objects after the page, before selection. */
  readonly remaining: number;
}

/** What to list. */
export interface SnapshotRequest {
  readonly collection: string;
  readonly namespace: string | undefined;
  /** Absent for the newest. */
  readonly revision: number | undefined;
  readonly after: StorePosition | undefined;
  /** 0 for no limit. */
  readonly limit: number;
  readonly matches: (object: StoredObject) => boolean;
}

/**
 * Lists a collection as it was at a revision: the newest state with later events undone.
 *
 * @returns `undefined` when the log does not reach back that far
 */
export function takeSnapshot(store: Store, request: SnapshotRequest): Snapshot | undefined {
  const { collection, namespace, after, limit } = request;
  const revision = request.revision ?? store.revision;
  let source: Iterable<StoredObject>;
  if (revision >= store.revision) source = store.list(collection, namespace, after);
  else {
    const events = store.eventsAfter(collection, revision);
    if (events === undefined) return undefined;
    source = events.length === 0 ? store.list(collection, namespace, after) : undo(store, request, events);
  }

  const items: StoredObject[] = [];
  let remaining = 0;
  let next: StorePosition | undefined;
  for (const stored of source) {
    if (limit > 0 && items.length >= limit) {
      if (next === undefined) {
        // Without a further match there is no next page.
        if (!request.matches(stored)) continue;
        const last = items[items.length - 1] as StoredObject;
        next = { namespace: last.namespace, name: last.name };
      }
      remaining++;
      continue;
    }
    if (request.matches(stored)) items.push(stored);
  }
  return {
    revision: Math.min(revision, Math.max(store.revision, revision)),
    items,
    remaining,
    ...(next === undefined ? {} : { next }),
  };
}

function undo(store: Store, request: SnapshotRequest, events: readonly StoreEvent[]): StoredObject[] {
  const { collection, namespace, after } = request;
  const objects = new Map<string, StoredObject>();
  const key = (stored: StoredObject): string => `${stored.namespace}/${stored.name}`;
  for (const stored of store.list(collection, namespace)) objects.set(key(stored), stored);
  for (let i = events.length - 1; i >= 0; i--) {
    const event = events[i] as StoreEvent;
    if (namespace !== undefined && event.current.namespace !== namespace) continue;
    if (event.previous === undefined) objects.delete(key(event.current));
    else objects.set(key(event.current), event.previous);
  }
  return [...objects.values()]
    .filter(
      (stored) =>
        after === undefined ||
        stored.namespace > after.namespace ||
        (stored.namespace === after.namespace && stored.name > after.name),
    )
    .sort((a, b) =>
      a.namespace < b.namespace ? -1 : a.namespace > b.namespace ? 1 : a.name < b.name ? -1 : a.name > b.name ? 1 : 0,
    );
}
