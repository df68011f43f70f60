import { ApiError, type KubernetesApi, type WatchEvent, type WatchOptions } from "@portolan/client";
import type { KubernetesObject, ResourceType, Status } from "@portolan/core";

type Loose = KubernetesObject & { spec?: Record<string, unknown>; status?: Record<string, unknown> };

function failure(code: number, reason: string, message: string): ApiError {
  const status: Status = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message, reason, code };
  return new ApiError({ code: "status", message, status });
}

function merge(target: unknown, patch: unknown, key = ""): unknown {
  // Strategic merge of the one list that matters here.
  if (key === "conditions" && Array.isArray(patch)) {
    const rest = (Array.isArray(target) ? target : []).filter((old) => !patch.some((one) => one.type === old.type));
    return [...rest, ...patch];
  }
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> =
    target !== null && typeof target === "object" && !Array.isArray(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merge(result[name], value, name);
  }
  return result;
}

/** A Kubernetes API in memory with what workloads need: graceful deletion of pods, binding, status, generation, collection of dependents. */
export function createMemoryKubernetes(): KubernetesApi & {
  objects<T extends KubernetesObject = Loose>(type: ResourceType): T[];
} {
  const stores = new Map<string, Map<string, Loose>>();
  const watchers = new Map<string, Set<(event: WatchEvent<Loose>) => void>>();
  const history: { readonly resource: string; readonly revision: number; readonly event: WatchEvent<Loose> }[] = [];
  let revision = 1;
  let names = 0;
  const storeOf = (resource: string): Map<string, Loose> => {
    let store = stores.get(resource);
    if (store === undefined) {
      store = new Map();
      stores.set(resource, store);
    }
    return store;
  };
  const keyOf = (namespace: string | undefined, name: string): string => `${namespace ?? ""}/${name}`;
  const emit = (resource: string, type: "ADDED" | "MODIFIED" | "DELETED", object: Loose): void => {
    const event = { type, object: structuredClone(object) };
    history.push({ resource, revision, event });
    for (const push of watchers.get(resource) ?? []) push(event);
  };
  const put = (resource: string, object: Loose, type: "ADDED" | "MODIFIED"): Loose => {
    object.metadata!.resourceVersion = String(++revision);
    storeOf(resource).set(keyOf(object.metadata!.namespace, object.metadata!.name!), object);
    emit(resource, type, object);
    return structuredClone(object);
  };
  const take = (resource: string, namespace: string | undefined, name: string): Loose => {
    const found = storeOf(resource).get(keyOf(namespace, name));
    if (found === undefined) throw failure(404, "NotFound", `${resource} "${name}" not found`);
    return structuredClone(found);
  };
  const drop = (resource: string, object: Loose): void => {
    storeOf(resource).delete(keyOf(object.metadata!.namespace, object.metadata!.name!));
    object.metadata!.resourceVersion = String(++revision);
    emit(resource, "DELETED", object);
    const uid = object.metadata!.uid;
    for (const [other, store] of stores) {
      for (const dependent of [...store.values()]) {
        if (dependent.metadata?.ownerReferences?.some((reference) => reference.uid === uid)) {
          remove(other, dependent.metadata.namespace, dependent.metadata.name!, {});
        }
      }
    }
  };
  function remove(
    resource: string,
    namespace: string | undefined,
    name: string,
    options: { gracePeriodSeconds?: number },
  ): void {
    const object = take(resource, namespace, name);
    const spec = object.spec as { nodeName?: string; terminationGracePeriodSeconds?: number } | undefined;
    if (resource === "pods" && (spec?.nodeName ?? "") !== "" && options.gracePeriodSeconds !== 0) {
      if (object.metadata!.deletionTimestamp !== undefined) return;
      const grace = options.gracePeriodSeconds ?? spec?.terminationGracePeriodSeconds ?? 30;
      object.metadata!.deletionTimestamp = new Date(Date.now() + grace * 1000).toISOString();
      object.metadata!.deletionGracePeriodSeconds = grace;
      put(resource, object, "MODIFIED");
      return;
    }
    drop(resource, object);
  }
  const pickAnnotations = ({ metadata }: Loose) =>
    metadata?.annotations === undefined ? {} : { annotations: metadata.annotations };
  const write = (type: ResourceType, next: Loose, subresource: string | undefined): Loose => {
    const { namespace, name = "" } = next.metadata ?? {};
    const old = take(type.resource, namespace, name);
    if (
      next.metadata?.resourceVersion !== undefined &&
      next.metadata.resourceVersion !== old.metadata?.resourceVersion
    ) {
      throw failure(409, "Conflict", `${type.resource} "${name}": the object has been modified`);
    }
    if (next.metadata?.uid !== undefined && next.metadata.uid !== old.metadata?.uid) {
      throw failure(409, "Conflict", "uid mismatch");
    }
    const result: Loose =
      subresource === "status"
        ? { ...old, metadata: { ...old.metadata }, ...(next.status === undefined ? {} : { status: next.status }) }
        : { ...next, ...(old.status === undefined ? {} : { status: old.status }) };
    const changed = JSON.stringify(result.spec) !== JSON.stringify(old.spec);
    result.metadata = {
      // The status of a workload takes annotations as well.
      ...(subresource === "status" ? { ...old.metadata, ...pickAnnotations(next) } : next.metadata),
      uid: old.metadata!.uid!,
      generation: (old.metadata?.generation ?? 1) + (changed ? 1 : 0),
    };
    return put(type.resource, structuredClone(result), "MODIFIED");
  };
  const api = {
    objects: (type: ResourceType) => [...storeOf(type.resource).values()].map((object) => structuredClone(object)),
    async get(type: ResourceType, path: { name: string; namespace?: string }) {
      return take(type.resource, path.namespace, path.name);
    },
    async list(type: ResourceType) {
      return { metadata: { resourceVersion: String(revision) }, items: api.objects(type) };
    },
    async create(type: ResourceType, object: Loose) {
      const next = structuredClone(object);
      const binding = /^pods\/(.*)\/binding$/.exec(type.resource);
      if (binding !== null) {
        const pod = take("pods", next.metadata?.namespace, binding[1]!);
        pod.spec = { ...pod.spec, nodeName: (next as unknown as { target: { name: string } }).target.name };
        return put("pods", pod, "MODIFIED");
      }
      next.metadata ??= {};
      next.metadata.name ??= `${next.metadata.generateName ?? ""}${(++names).toString(36).padStart(5, "x")}`;
      if (storeOf(type.resource).has(keyOf(next.metadata.namespace, next.metadata.name))) {
        throw failure(409, "AlreadyExists", `${type.resource} "${next.metadata.name}" already exists`);
      }
      next.metadata.uid = `uid-${++revision}`;
      next.metadata.generation = 1;
      next.metadata.creationTimestamp = new Date().toISOString();
      if (type.resource === "pods") next.status = { phase: "Pending", ...next.status };
      return put(type.resource, next, "ADDED");
    },
    async update(type: ResourceType, object: Loose, options: { subresource?: string } = {}) {
      return write(type, structuredClone(object), options.subresource);
    },
    async patch(type: ResourceType, path: { name: string; namespace?: string; subresource?: string }, patch: unknown) {
      const old = take(type.resource, path.namespace, path.name);
      const wanted = (patch as Loose).metadata;
      if (wanted?.uid !== undefined && wanted.uid !== old.metadata?.uid) throw failure(409, "Conflict", "uid mismatch");
      const merged = merge(old, patch) as Loose;
      return write(type, merged, path.subresource);
    },
    async delete(
      type: ResourceType,
      path: { name: string; namespace?: string },
      options: { gracePeriodSeconds?: number } = {},
    ) {
      remove(type.resource, path.namespace, path.name, options);
      return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success" } as Status;
    },
    async deleteCollection() {},
    async *watch(type: ResourceType, options: WatchOptions = {}) {
      const queue: WatchEvent<Loose>[] = [];
      let wake: (() => void) | undefined;
      const push = (event: WatchEvent<Loose>): void => {
        queue.push(event);
        wake?.();
      };
      let set = watchers.get(type.resource);
      if (set === undefined) {
        set = new Set();
        watchers.set(type.resource, set);
      }
      for (const past of history) {
        if (past.resource === type.resource && past.revision > Number(options.resourceVersion ?? 0))
          queue.push(past.event);
      }
      set.add(push);
      options.signal?.addEventListener("abort", () => wake?.(), { once: true });
      try {
        for (;;) {
          const event = queue.shift();
          if (event !== undefined) yield event;
          else if (options.signal?.aborted === true) return;
          else
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
        }
      } finally {
        set.delete(push);
      }
    },
  };
  return api as unknown as KubernetesApi & { objects<T extends KubernetesObject = Loose>(type: ResourceType): T[] };
}

/** Resolves when the condition holds; fails after five seconds with the text of `describe`. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  describe: () => string,
  seconds = 10,
): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`did not come true: ${describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
