import type { KubernetesList, KubernetesObject, ResourceType, Status } from "@portolan/core";

/** Options of writes. */
export interface WriteOptions {
  readonly fieldManager?: string;
  readonly dryRun?: boolean;
  readonly fieldValidation?: "Ignore" | "Warn" | "Strict";
  readonly signal?: AbortSignal;
}

/** Options of deletes. */
export interface DeleteOptions {
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan";
  readonly gracePeriodSeconds?: number;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
}

/** Options of lists. Without `namespace` all namespaces are listed. */
export interface ListOptions {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly limit?: number;
  readonly continue?: string;
  readonly resourceVersion?: string;
  readonly resourceVersionMatch?: "NotOlderThan" | "Exact";
  readonly signal?: AbortSignal;
}

/** Options of watches. */
export interface WatchOptions extends Omit<ListOptions, "limit" | "continue"> {
  readonly allowWatchBookmarks?: boolean;
  readonly sendInitialEvents?: boolean;
  readonly timeoutSeconds?: number;
}

/** One event of a watch. */
export type WatchEvent<T> =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK"; readonly object: T }
  | { readonly type: "ERROR"; readonly object: Status };

/** Media types of patches. */
export type PatchType =
  | "application/json-patch+json"
  | "application/merge-patch+json"
  | "application/strategic-merge-patch+json"
  | "application/apply-patch+yaml";

/** Where an object is. `subresource` is `status`, `scale`, `eviction` or the like. */
export interface ObjectPath {
  readonly name: string;
  readonly namespace?: string;
  readonly subresource?: string;
}

/**
 * Typed access to a Kubernetes API, embedded or real. Every failure is an `ApiError` that carries the server's `Status`
 * (`code` 404, 409, 422, …); connection failures are `ApiError`s with code `connection`.
 */
export interface KubernetesApi {
  get<T extends KubernetesObject>(type: ResourceType, path: ObjectPath, options?: { signal?: AbortSignal }): Promise<T>;
  list<T extends KubernetesObject>(type: ResourceType, options?: ListOptions): Promise<KubernetesList<T>>;
  /** The namespace is taken from the object. */
  /** POST; with `subresource` (`token`, `eviction`) of the object that has the name in `object`. */
  create<T extends KubernetesObject>(
    type: ResourceType,
    object: T,
    options?: WriteOptions & { subresource?: string },
  ): Promise<T>;
  /** PUT; `subresource` is usually `status`. The object must carry its name and, to be safe against lost updates, its resourceVersion. */
  update<T extends KubernetesObject>(
    type: ResourceType,
    object: T,
    options?: WriteOptions & { subresource?: string },
  ): Promise<T>;
  patch<T extends KubernetesObject>(
    type: ResourceType,
    path: ObjectPath,
    patch: unknown,
    options?: WriteOptions & { patchType?: PatchType; force?: boolean },
  ): Promise<T>;
  delete(type: ResourceType, path: ObjectPath, options?: DeleteOptions): Promise<KubernetesObject | Status>;
  deleteCollection(type: ResourceType, options?: ListOptions & DeleteOptions): Promise<void>;
  /** Events until the server ends the watch, the signal fires, or the consumer leaves the loop (which ends the request). */
  watch<T extends KubernetesObject>(type: ResourceType, options?: WatchOptions): AsyncIterable<WatchEvent<T>>;
}
