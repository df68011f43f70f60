import type { KubernetesObject, ResourceType } from "@portolan/core";
import { linkAbort } from "./abort.ts";
import type { KubernetesApi } from "./api.ts";
import { ApiError, apiErrorOf, isExpired, isResourceVersionTooLarge } from "./api-error.ts";
import { createBackoff } from "./backoff.ts";
import { type Clock, sleep, systemClock } from "./clock.ts";
import { createObjectStore, type IndexFunction, type Lister } from "./object-store.ts";

/**
 * Told about changes, synchronously and in the order in which the store changes; the lister already shows the change. Objects are
 * shared with the store and with every other handler: treat them as immutable.
 */
export interface InformerHandler<T> {
  add?(object: T): void;
  /** `old` and `object` have the same UID; an object deleted and made anew under its name is a `delete` and an `add`. */
  update?(old: T, object: T): void;
  /** The last state known. After a relist that may be older than the state in which the object was deleted. */
  delete?(object: T): void;
}

/** Where an informer met an error. */
export type InformerPhase = "list" | "watch" | "handler";

/** Options of {@link createInformer}; times in milliseconds. */
export interface InformerOptions<T> {
  /** All namespaces when absent. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly indexes?: Readonly<Record<string, IndexFunction<T>>>;
  readonly clock?: Clock;
  /** Random numbers in `[0, 1)` for jitter. Default `Math.random`. */
  readonly random?: () => number;
  /** Objects per page of a list. Default 500. */
  readonly pageSize?: number;
  /** Gets the initial state by a watch with `sendInitialEvents`; falls back to lists when the server rejects it. Default false. */
  readonly watchList?: boolean;
  /**
   * A watch without any event (bookmarks included, which servers send about once a minute) for this long is taken for dead and
   * resumed where it was. Default 180 000.
   */
  readonly idleTimeout?: number;
  /** Time asked of the server for one watch; the real one is random between this and twice this. Default 300 000. */
  readonly watchTimeout?: number;
  /** A list that takes longer is given up and tried again. Default 60 000. */
  readonly listTimeout?: number;
  /** First delay after a failure; doubles up to `maximumBackoff`. Default 200. */
  readonly initialBackoff?: number;
  /** Default 30 000. */
  readonly maximumBackoff?: number;
  /**
   * Told about everything that goes wrong; the informer goes on by itself. Without it, errors of handlers are thrown where the
   * engine reports uncaught ones, and errors of lists and watches only show in `lastError`.
   */
  readonly onError?: (error: unknown, phase: InformerPhase) => void;
}

/**
 * A local copy of one kind of object, kept up to date by one list and one watch, whatever happens to the connection: cut or
 * half-open connections, compaction (410), error statuses, servers that restart.
 */
export interface Informer<T> {
  readonly type: ResourceType;
  readonly lister: Lister<T>;
  /** Objects known already are replayed as `add` before this returns. Returns the function that removes the handler. */
  addHandler(handler: InformerHandler<T>): () => void;
  /** Adds indexes; may be called at any time. Throws when an index of that name exists with another function. */
  addIndexes(indexes: Readonly<Record<string, IndexFunction<T>>>): void;
  /** Starts; until `signal` fires. Starting a running informer does nothing. */
  start(signal: AbortSignal): void;
  /** Resolves when the first list has been stored and handed to the handlers; rejects with the reason of `signal`. */
  synced(signal?: AbortSignal): Promise<void>;
  readonly hasSynced: boolean;
  /** Newest resourceVersion seen, empty before the first list. */
  readonly resourceVersion: string;
  /** The last error of a list or a watch since the last success. */
  readonly lastError: unknown;
}

/** A watch that lived shorter than this counts as a failure, so that a server that hangs up at once is not hammered. */
const shortestGoodWatch = 1_000;

/** How many deletions are remembered, to recognise late duplicates of events before them. */
const rememberedDeletions = 1_024;

const initialEventsEnd = "k8s.io/initial-events-end";

/**
 * Whether `candidate` is older than or as old as `known`. Resource versions of one resource compare as decimal numbers
 * (KEP-5504); of servers that use other forms nothing but equality is assumed.
 */
function notNewer(candidate: string | undefined, known: string | undefined): boolean {
  if (candidate === undefined || known === undefined) return false;
  if (candidate === known) return true;
  if (!/^[1-9][0-9]*$/.test(candidate) || !/^[1-9][0-9]*$/.test(known)) return false;
  return candidate.length === known.length ? candidate < known : candidate.length < known.length;
}

/** Makes an {@link Informer}. Nothing happens before `start`. */
export function createInformer<T extends KubernetesObject>(
  api: KubernetesApi,
  type: ResourceType,
  options: InformerOptions<T> = {},
): Informer<T> {
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const pageSize = options.pageSize ?? 500;
  const idleTimeout = options.idleTimeout ?? 180_000;
  const watchTimeout = options.watchTimeout ?? 300_000;
  const listTimeout = options.listTimeout ?? 60_000;
  const scope = {
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
    ...(options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector }),
    ...(options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector }),
  };
  const store = createObjectStore<T>(options.indexes);
  const handlers = new Set<InformerHandler<T>>();
  const deletions = new Map<string, string>();
  const waiting = new Set<() => void>();
  let running = false;
  let hasSynced = false;
  let resourceVersion = "";
  let lastError: unknown;
  let useWatchList = options.watchList ?? false;

  function report(error: unknown, phase: InformerPhase): void {
    if (phase !== "handler") lastError = error;
    if (options.onError !== undefined) options.onError(error, phase);
    else if (phase === "handler")
      queueMicrotask(() => {
        throw error;
      });
  }

  function tell(
    call: (handler: InformerHandler<T>) => void,
    listeners: Iterable<InformerHandler<T>> = [...handlers],
  ): void {
    for (const handler of listeners) {
      try {
        call(handler);
      } catch (error) {
        report(error, "handler");
      }
    }
  }

  /** Tells about the step from `old` to `object` in the store; either may be missing. */
  function announce(old: T | undefined, object: T | undefined): void {
    if (old !== undefined && object !== undefined && old.metadata?.uid === object.metadata?.uid)
      tell((handler) => handler.update?.(old, object));
    else {
      if (old !== undefined) tell((handler) => handler.delete?.(old));
      if (object !== undefined) tell((handler) => handler.add?.(object));
    }
  }

  function upsert(object: T): void {
    const key = store.keyOf(object);
    const version = object.metadata?.resourceVersion;
    const old = store.get(key);
    if (old === undefined) {
      if (notNewer(version, deletions.get(key))) return;
    } else if (notNewer(version, old.metadata?.resourceVersion)) return;
    deletions.delete(key);
    store.set(key, object);
    announce(old, object);
  }

  function remove(object: T): void {
    const key = store.keyOf(object);
    const version = object.metadata?.resourceVersion;
    const old = store.get(key);
    if (old === undefined) return;
    // A late duplicate of the deletion of a predecessor must not take the successor away.
    const sameObject = old.metadata?.uid === object.metadata?.uid;
    if (!sameObject && notNewer(version, old.metadata?.resourceVersion)) return;
    if (version !== undefined) {
      deletions.set(key, version);
      if (deletions.size > rememberedDeletions) deletions.delete(deletions.keys().next().value!);
    }
    store.delete(key);
    announce(old, undefined);
  }

  /** Makes the store equal to a list, then tells about every difference, deletions first. */
  function replace(items: Iterable<T>, version: string): void {
    const changes: [T | undefined, T | undefined][] = [];
    const next = new Map<string, T>();
    for (const item of items) next.set(store.keyOf(item), item);
    for (const [key, old] of store.entries()) if (!next.has(key)) changes.push([old, undefined]);
    for (const [old] of changes) store.delete(store.keyOf(old!));
    for (const [key, object] of next) {
      const old = store.get(key);
      if (
        old !== undefined &&
        old.metadata?.resourceVersion === object.metadata?.resourceVersion &&
        old.metadata?.uid === object.metadata?.uid
      )
        continue;
      store.set(key, object);
      changes.push([old, object]);
    }
    deletions.clear();
    resourceVersion = version;
    for (const [old, object] of changes) announce(old, object);
    lastError = undefined;
    if (!hasSynced) {
      hasSynced = true;
      for (const resolve of waiting) resolve();
      waiting.clear();
    }
  }

  async function list(signal: AbortSignal): Promise<void> {
    const deadline = linkAbort(signal);
    let late = false;
    const cancel = clock.schedule(() => {
      late = true;
      deadline.abort();
    }, listTimeout);
    try {
      const items: T[] = [];
      let next: string | undefined;
      let version = "";
      let paged = pageSize > 0;
      for (;;) {
        try {
          const page = await api.list<T>(type, {
            ...scope,
            ...(paged ? { limit: pageSize } : {}),
            ...(next === undefined ? {} : { continue: next }),
            signal: deadline.signal,
          });
          for (const item of page.items) items.push(item);
          // All pages show the state of the first one's version.
          if (version === "") version = page.metadata.resourceVersion ?? "";
          next = page.metadata.continue === "" ? undefined : page.metadata.continue;
          if (next === undefined) return replace(items, version);
        } catch (error) {
          if (next === undefined || !isExpired(error)) throw error;
          // The snapshot behind the token was compacted away: only one unpaged list is consistent.
          items.length = 0;
          version = "";
          next = undefined;
          paged = false;
        }
      }
    } catch (error) {
      if (late)
        throw new ApiError({
          code: "timeout",
          message: `list of ${type.resource}: no answer within ${listTimeout} ms`,
          cause: error,
        });
      throw error;
    } finally {
      cancel();
      deadline.release();
    }
  }

  /**
   * One watch from `resourceVersion`, or with the initial state first when `initial`. Returns when the server ended it; throws when
   * it broke, went idle, or an ERROR event came.
   */
  async function watch(signal: AbortSignal, initial: boolean): Promise<void> {
    const abort = linkAbort(signal);
    let dead = false;
    const giveUp = (): void => {
      dead = true;
      abort.abort();
    };
    const timeout = Math.round(watchTimeout * (1 + random()));
    let idle = (): void => {};
    const touch = (): void => {
      idle();
      idle = clock.schedule(giveUp, idleTimeout);
    };
    // The server ends the watch after `timeout`; a connection that outlives it by far is half-open.
    const overdue = clock.schedule(giveUp, timeout + Math.min(idleTimeout, 30_000));
    let gathered: Map<string, T> | undefined = initial ? new Map() : undefined;
    touch();
    try {
      const events = api.watch<T>(type, {
        ...scope,
        allowWatchBookmarks: true,
        timeoutSeconds: Math.max(1, Math.round(timeout / 1000)),
        ...(initial ? { sendInitialEvents: true, resourceVersionMatch: "NotOlderThan" as const } : { resourceVersion }),
        signal: abort.signal,
      });
      for await (const event of events) {
        if (signal.aborted) return;
        touch();
        if (event.type === "ERROR") throw apiErrorOf(event.object);
        const object = event.object;
        const version = object.metadata?.resourceVersion;
        if (gathered !== undefined) {
          if (event.type === "BOOKMARK") {
            if (object.metadata?.annotations?.[initialEventsEnd] !== "true") continue;
            const items = gathered.values();
            gathered = undefined;
            replace(items, version ?? "");
          } else if (event.type === "DELETED") gathered.delete(store.keyOf(object));
          else gathered.set(store.keyOf(object), object);
          continue;
        }
        lastError = undefined;
        if (event.type === "DELETED") remove(object);
        else if (event.type !== "BOOKMARK") upsert(object);
        if (version !== undefined && !notNewer(version, resourceVersion)) resourceVersion = version;
      }
      if (dead)
        throw new ApiError({ code: "timeout", message: `watch of ${type.resource}: silent for ${idleTimeout} ms` });
      if (gathered !== undefined && !signal.aborted)
        throw new ApiError({
          code: "connection",
          message: `watch of ${type.resource}: ended before the initial state was complete`,
        });
    } finally {
      idle();
      overdue();
      abort.release();
    }
  }

  async function run(signal: AbortSignal): Promise<void> {
    const backoff = createBackoff({
      initial: options.initialBackoff ?? 200,
      maximum: options.maximumBackoff ?? 30_000,
      random,
    });
    let relist = true;
    let expiries = 0;
    while (!signal.aborted) {
      const started = clock.now();
      let phase: InformerPhase = relist ? "list" : "watch";
      let wait: number | undefined;
      try {
        if (relist && useWatchList) {
          await watch(signal, true);
          relist = !hasSynced;
        } else {
          if (relist) await list(signal);
          relist = false;
          phase = "watch";
          await watch(signal, false);
        }
        if (clock.now() - started >= shortestGoodWatch) {
          backoff.reset();
          expiries = 0;
        } else wait = backoff.next();
      } catch (error) {
        if (signal.aborted) break;
        report(error, phase);
        if (clock.now() - started >= shortestGoodWatch) backoff.reset();
        const rejected = error instanceof ApiError && (error.statusCode === 400 || error.statusCode === 422);
        if (relist && useWatchList && rejected) {
          useWatchList = false;
          continue;
        }
        if (relist && useWatchList && resourceVersion !== "" && hasSynced) relist = false;
        if (isExpired(error) || isResourceVersionTooLarge(error)) {
          relist = true;
          // The first relist is wanted at once; a server that goes on like that is not to be flooded with lists.
          if (expiries++ === 0) continue;
        }
        wait = Math.max(backoff.next(), (error instanceof ApiError ? error.retryAfter : undefined) ?? 0);
      }
      if (wait !== undefined) await sleep(clock, wait, signal);
    }
  }

  return {
    type,
    lister: store.lister,
    addHandler(handler) {
      handlers.add(handler);
      for (const [, object] of [...store.entries()]) tell((one) => one.add?.(object), [handler]);
      return () => {
        handlers.delete(handler);
      };
    },
    addIndexes: store.addIndexes,
    start(signal) {
      if (running || signal.aborted) return;
      running = true;
      run(signal).finally(() => {
        running = false;
      });
    },
    synced(signal) {
      if (hasSynced) return Promise.resolve();
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const succeed = (): void => {
          signal?.removeEventListener("abort", fail);
          resolve();
        };
        const fail = (): void => {
          waiting.delete(succeed);
          reject(signal?.reason);
        };
        waiting.add(succeed);
        signal?.addEventListener("abort", fail, { once: true });
      });
    },
    get hasSynced() {
      return hasSynced;
    },
    get resourceVersion() {
      return resourceVersion;
    },
    get lastError() {
      return lastError;
    },
  };
}
