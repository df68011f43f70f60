import type { KubernetesObject, ResourceType, Status } from "@portolan/core";
import type { ApiRequest, ApiResponse, Transport } from "../transport.ts";

/**
 * The least API that clients can be tested against: get, list (paged), create, update, merge patch of top-level metadata and spec,
 * delete and watch of any kind, with one revision counter and a compactable history. No validation, no defaulting, no allocation:
 * for those there is `@portolan/apiserver`.
 */
export interface MemoryApi {
  readonly transport: Transport;
  /** Writes an object past the transport, as another client would; makes or replaces it. */
  apply<T extends KubernetesObject>(type: ResourceType, object: T): T;
  remove(type: ResourceType, name: string, namespace?: string): void;
  /** All objects of a kind as they are now. */
  objects(type: ResourceType): KubernetesObject[];
  /** Forgets the history up to now: older resourceVersions and continue tokens are answered with 410. */
  compact(): void;
  /** Sends a bookmark to every watch that asked for them. */
  bookmark(): void;
  readonly revision: number;
}

interface Change {
  readonly revision: number;
  readonly collection: string;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: KubernetesObject;
}

interface Watcher {
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly bookmarks: boolean;
  push(event: unknown): void;
}

function failure(code: number, reason: string, message: string): ApiResponse {
  const status: Status = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code };
  return answer(code, status);
}

function answer(status: number, body: unknown): ApiResponse {
  return { status, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

/** `/api/v1/namespaces/x/pods/y/status` in parts; collection is group, version and resource. */
function parsePath(path: string): { collection: string; namespace?: string; name?: string } | undefined {
  const parts = path.split("/").slice(1).map(decodeURIComponent);
  const prefix = parts[0] === "api" ? 2 : 3;
  const base = parts.slice(0, prefix);
  const rest = parts.slice(prefix);
  if (rest.length === 0) return undefined;
  if (rest[0] === "namespaces" && rest.length > 2)
    return {
      collection: [...base, rest[2]].join("/"),
      namespace: rest[1]!,
      ...(rest[3] === undefined ? {} : { name: rest[3] }),
    };
  return { collection: [...base, rest[0]].join("/"), ...(rest[1] === undefined ? {} : { name: rest[1] }) };
}

function mergePatch(target: unknown, patch: unknown): unknown {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> =
    target !== null && typeof target === "object" && !Array.isArray(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

/** Makes a {@link MemoryApi}. `now` gives creation times. */
export function createMemoryApi(options: { readonly now?: () => number } = {}): MemoryApi {
  const now = options.now ?? Date.now;
  const objects = new Map<string, Map<string, KubernetesObject>>();
  const history: Change[] = [];
  const watchers = new Set<Watcher>();
  let revision = 100;
  let compacted = 100;
  let uids = 0;

  const collectionOf = (type: ResourceType): string =>
    [type.group === "" ? "api" : `apis/${type.group}`, type.version, type.resource].join("/");
  const keyOf = (namespace: string | undefined, name: string): string => `${namespace ?? ""}/${name}`;

  function store(collection: string): Map<string, KubernetesObject> {
    let map = objects.get(collection);
    if (map === undefined) {
      map = new Map();
      objects.set(collection, map);
    }
    return map;
  }

  function commit(collection: string, type: Change["type"], object: KubernetesObject): void {
    const change: Change = { revision, collection, type, object };
    history.push(change);
    for (const watcher of watchers)
      if (
        watcher.collection === collection &&
        (watcher.namespace ?? object.metadata?.namespace) === object.metadata?.namespace
      )
        watcher.push({ type, object });
  }

  function write(collection: string, object: KubernetesObject): KubernetesObject {
    const map = store(collection);
    const metadata = object.metadata ?? {};
    let name = metadata.name ?? "";
    if (name === "") name = `${metadata.generateName ?? ""}${(++uids).toString(36).padStart(5, "0")}`;
    const key = keyOf(metadata.namespace, name);
    const old = map.get(key);
    revision++;
    const stored: KubernetesObject = {
      ...object,
      metadata: {
        ...metadata,
        name,
        uid: old?.metadata?.uid ?? `uid-${++uids}`,
        creationTimestamp: old?.metadata?.creationTimestamp ?? `${new Date(now()).toISOString().slice(0, 19)}Z`,
        generation: (old?.metadata?.generation ?? 0) + 1,
        resourceVersion: String(revision),
      },
    };
    map.set(key, stored);
    commit(collection, old === undefined ? "ADDED" : "MODIFIED", stored);
    return stored;
  }

  function erase(collection: string, key: string): KubernetesObject | undefined {
    const old = store(collection).get(key);
    if (old === undefined) return undefined;
    store(collection).delete(key);
    revision++;
    const last = { ...old, metadata: { ...old.metadata, resourceVersion: String(revision) } };
    commit(collection, "DELETED", last);
    return last;
  }

  function selected(collection: string, namespace: string | undefined): KubernetesObject[] {
    return [...store(collection).entries()]
      .filter(([, object]) => namespace === undefined || object.metadata?.namespace === namespace)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, object]) => object);
  }

  function list(collection: string, namespace: string | undefined, query: URLSearchParams): ApiResponse {
    const limit = Number(query.get("limit") ?? 0);
    const token = query.get("continue");
    let items = selected(collection, namespace);
    let version = revision;
    if (token !== null) {
      const [at, after] = JSON.parse(token) as [number, string];
      if (at < compacted) return failure(410, "Expired", "The provided continue parameter is too old");
      version = at;
      items = items.filter((item) => keyOf(item.metadata?.namespace, item.metadata?.name ?? "") > after);
    }
    const page = limit > 0 ? items.slice(0, limit) : items;
    const last = page.at(-1)?.metadata;
    return answer(200, {
      kind: "List",
      apiVersion: "v1",
      metadata: {
        resourceVersion: String(version),
        ...(page.length < items.length
          ? { continue: JSON.stringify([version, keyOf(last?.namespace, last?.name ?? "")]) }
          : {}),
      },
      items: page,
    });
  }

  function watch(
    collection: string,
    namespace: string | undefined,
    query: URLSearchParams,
    signal: AbortSignal | undefined,
  ): ApiResponse {
    const queue: string[] = [];
    let wake = (): void => {};
    let ended = false;
    const push = (event: unknown): void => {
      queue.push(`${JSON.stringify(event)}\n`);
      wake();
    };
    const from = query.get("resourceVersion") ?? "";
    const bookmarks = query.get("allowWatchBookmarks") === "true";
    const watcher: Watcher = { collection, namespace, bookmarks, push };
    if (query.get("sendInitialEvents") === "true" || from === "" || from === "0") {
      for (const object of selected(collection, namespace)) push({ type: "ADDED", object });
      if (query.get("sendInitialEvents") === "true")
        push({
          type: "BOOKMARK",
          object: {
            metadata: { resourceVersion: String(revision), annotations: { "k8s.io/initial-events-end": "true" } },
          },
        });
    } else if (Number(from) < compacted) {
      const message = `too old resource version: ${from} (${compacted})`;
      push({ type: "ERROR", object: JSON.parse(failure(410, "Expired", message).body as string) });
      ended = true;
    } else if (Number(from) > revision)
      return failure(504, "Timeout", `Too large resource version: ${from}, current: ${revision}`);
    else
      for (const change of history)
        if (
          change.revision > Number(from) &&
          change.collection === collection &&
          (namespace === undefined || change.object.metadata?.namespace === namespace)
        )
          push({ type: change.type, object: change.object });
    const leave = (): void => {
      ended = true;
      wake();
    };
    async function* stream(): AsyncGenerator<string> {
      watchers.add(watcher);
      signal?.addEventListener("abort", leave, { once: true });
      try {
        while (!signal?.aborted) {
          const chunk = queue.shift();
          if (chunk !== undefined) yield chunk;
          else if (ended) return;
          else
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
        }
      } finally {
        watchers.delete(watcher);
        signal?.removeEventListener("abort", leave);
      }
    }
    // Registered now, not at the first read: nothing that happens in between may be missed.
    if (!ended) watchers.add(watcher);
    return { status: 200, headers: { "content-type": "application/json" }, stream: stream() };
  }

  const transport: Transport = async (request: ApiRequest) => {
    request.signal?.throwIfAborted();
    const [path = "", search = ""] = request.path.split("?");
    const query = new URLSearchParams(search);
    const target = parsePath(path);
    if (target === undefined) return failure(404, "NotFound", "the server could not find the requested resource");
    const { collection, namespace, name } = target;
    const body = request.body === undefined ? undefined : (JSON.parse(String(request.body)) as KubernetesObject);
    if (name === undefined) {
      if (request.method === "GET" && query.get("watch") === "true")
        return watch(collection, namespace, query, request.signal);
      if (request.method === "GET") return list(collection, namespace, query);
      if (request.method === "POST") {
        const object = { ...body, metadata: { ...body?.metadata, ...(namespace === undefined ? {} : { namespace }) } };
        if (object.metadata.name && store(collection).has(keyOf(namespace, object.metadata.name)))
          return failure(409, "AlreadyExists", `${collection} "${object.metadata.name}" already exists`);
        return answer(201, write(collection, object));
      }
      return failure(405, "MethodNotAllowed", `${request.method} is not supported here`);
    }
    const key = keyOf(namespace, name);
    const old = store(collection).get(key);
    if (old === undefined) return failure(404, "NotFound", `${collection} "${name}" not found`);
    switch (request.method) {
      case "GET":
        return answer(200, old);
      case "PUT": {
        const version = body?.metadata?.resourceVersion;
        if (version !== undefined && version !== "" && version !== old.metadata?.resourceVersion)
          return failure(409, "Conflict", `Operation cannot be fulfilled on ${collection} "${name}"`);
        return answer(200, write(collection, body!));
      }
      case "PATCH":
        return answer(200, write(collection, mergePatch(old, body) as KubernetesObject));
      case "DELETE":
        return answer(200, erase(collection, key));
      default:
        return failure(405, "MethodNotAllowed", `${request.method} is not supported here`);
    }
  };

  return {
    transport,
    apply: <T extends KubernetesObject>(type: ResourceType, object: T) =>
      write(collectionOf(type), { apiVersion: type.apiVersion, kind: type.kind, ...object }) as T,
    remove(type, name, namespace) {
      erase(collectionOf(type), keyOf(namespace, name));
    },
    objects: (type) => selected(collectionOf(type), undefined),
    compact() {
      compacted = ++revision;
      history.length = 0;
    },
    bookmark() {
      for (const watcher of watchers)
        if (watcher.bookmarks)
          watcher.push({ type: "BOOKMARK", object: { metadata: { resourceVersion: String(revision) } } });
    },
    get revision() {
      return revision;
    },
  };
}
