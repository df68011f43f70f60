import type { Clock } from "@portolan/client";
import type { KubernetesObject } from "@portolan/core";
import type { Store, StoredObject, StoreEvent } from "../store/store.ts";
import { EventStream } from "./event-stream.ts";

/** Types of watch events. */
export type WatchEventType = "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";

/** One watch. */
export interface WatchRequest {
  readonly collection: string;
  /** Absent for all namespaces. */
  readonly namespace: string | undefined;
  readonly matches: (object: KubernetesObject) => boolean;
  /** Objects that are sent as ADDED first. */
  readonly initial: readonly StoredObject[];
  /** Sends a bookmark that ends the initial events. */
  readonly bookmarkAfterInitial: boolean;
  /** Events after this revision follow. */
  readonly from: number;
  /** Sends bookmarks now and then. */
  readonly bookmarks: boolean;
  readonly timeoutMilliseconds: number;
  /** One line of the stream. */
  readonly encode: (type: WatchEventType, object: StoredObject) => string;
  /** A bookmark's line. */
  readonly encodeBookmark: (revision: number, endsInitialEvents: boolean) => string;
  readonly signal: AbortSignal | undefined;
}

const bookmarkInterval = 60_000;

interface Watcher {
  readonly request: WatchRequest;
  readonly stream: EventStream;
  /** Events up to this revision have been sent, or were before the watch. */
  sent: number;
}

/**
 * Brings events of the store to watchers, when they last. One subscription to the store serves all; an event visits only the watchers of its
 * collection.
 */
export class WatchHub {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #watchers = new Map<string, Set<Watcher>>();
  readonly #unsubscribe: () => void;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
    this.#unsubscribe = store.follow((event) => {
      for (const watcher of this.#watchers.get(event.current.collection) ?? []) deliver(watcher, event);
    });
  }

  /** Number of open watches. */
  get size(): number {
    let size = 0;
    for (const watchers of this.#watchers.values()) size += watchers.size;
    return size;
  }

  /**
   * Opens a watch. What it begins with may not be persisted yet: the stream is for reading when {@link Store.persisted} says so.
   *
   * @returns `undefined` when the log does not reach back to `from`
   */
  open(request: WatchRequest): EventStream | undefined {
    const events = this.#store.eventsAfter(request.collection, Math.min(request.from, this.#store.revision));
    if (events === undefined) return undefined;
    const stream = new EventStream();
    const watcher: Watcher = { request, stream, sent: request.from };
    for (const stored of request.initial) stream.push(request.encode("ADDED", stored));
    if (request.bookmarkAfterInitial) stream.push(request.encodeBookmark(this.#store.revision, true));
    for (const event of events) deliver(watcher, event);
    watcher.sent = Math.max(watcher.sent, this.#store.revision);

    let watchers = this.#watchers.get(request.collection);
    if (watchers === undefined) {
      watchers = new Set();
      this.#watchers.set(request.collection, watchers);
    }
    watchers.add(watcher);

    const cancelTimeout = this.#clock.schedule(() => stream.end(), request.timeoutMilliseconds);
    let cancelBookmark: (() => void) | undefined;
    const scheduleBookmark = (): void => {
      cancelBookmark = this.#clock.schedule(() => {
        stream.push(request.encodeBookmark(this.#store.persistedRevision, false));
        if (!stream.isEnded) scheduleBookmark();
      }, bookmarkInterval);
    };
    if (request.bookmarks) scheduleBookmark();
    const abort = (): void => stream.end();
    request.signal?.addEventListener("abort", abort, { once: true });
    stream.onEnd(() => {
      cancelTimeout();
      cancelBookmark?.();
      request.signal?.removeEventListener("abort", abort);
      watchers.delete(watcher);
    });
    if (request.signal?.aborted === true) stream.end();
    return stream;
  }

  /** Breaks open watches as a lost connection would, all or those of one collection. */
  cut(collection?: string): void {
    for (const [name, watchers] of this.#watchers) {
      if (collection !== undefined && name !== collection) continue;
      for (const watcher of [...watchers]) watcher.stream.end();
    }
  }

  close(): void {
    this.#unsubscribe();
    this.cut();
  }
}

/** Sends an event as the watcher's selectors see it: what stops matching is deleted for it, what starts is added. */
function deliver(watcher: Watcher, event: StoreEvent): void {
  const { request, stream } = watcher;
  if (event.revision <= watcher.sent) return;
  watcher.sent = event.revision;
  if (request.namespace !== undefined && event.current.namespace !== request.namespace) return;
  const isMatch = event.type !== "DELETED" && request.matches(event.current.object);
  const wasMatch = event.previous !== undefined && request.matches(event.previous.object);
  if (isMatch) stream.push(request.encode(wasMatch ? "MODIFIED" : "ADDED", event.current));
  else if (wasMatch)
    stream.push(
      request.encode(
        "DELETED",
        event.type === "DELETED" ? event.current : withRevision(event.previous as StoredObject, event.revision),
      ),
    );
}

function withRevision(stored: StoredObject, revision: number): StoredObject {
  return {
    ...stored,
    revision,
    object: { ...stored.object, metadata: { ...stored.object.metadata, resourceVersion: String(revision) } },
  };
}
