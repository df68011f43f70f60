import {
  createInformer,
  createWorkQueue,
  type Informer,
  type InformerFactory,
  isConflict,
  isNotFound,
  type KubernetesApi,
  type ReconcileFailure,
  runController,
} from "@portolan/client";
import { type KubernetesObject, type OwnerReference, type ResourceType, resources } from "@portolan/core";
import type { CustomResourceDefinition } from "../custom-resources/custom-resource-definition.ts";
import { customResourceDefinitions, customTypeOf } from "./custom-types.ts";

/** Options of the controllers that belong to an API. */
export interface ApiControllerOptions {
  readonly api: KubernetesApi;
  /** Started by the caller. */
  readonly informers: InformerFactory;
  /** Kinds to look after. Default: all of `resources` but Events, and custom resources. */
  readonly types?: readonly ResourceType[];
  /** Told about failures; they are tried again. */
  readonly onError?: (error: unknown, failure: ReconcileFailure<string>) => void;
}

/** A controller; `run` resolves when the signal has fired and the last work is done. */
export interface ApiController {
  run(signal: AbortSignal): Promise<void>;
}

const ownerIndex = "garbage-collector/owner";

/** Every kind that the controllers look after unless told otherwise; Events neither own nor are owned. */
export const collectedTypes: readonly ResourceType[] = Object.values(resources).filter(
  (type) => type !== resources.events,
);

type Stored = KubernetesObject & { metadata: NonNullable<KubernetesObject["metadata"]> };

const path = (object: Stored): { name: string; namespace?: string } => ({
  name: object.metadata.name ?? "",
  ...(object.metadata.namespace ? { namespace: object.metadata.namespace } : {}),
});

/**
 * Deletes objects whose owners are all gone, and finishes deletions in the foreground (dependents that block their owner go first)
 * and deletions that leave dependents behind (`Orphan`). Owners of kinds that are not looked after count as present.
 *
 * Source of the rules: pkg/controller/garbagecollector.
 */
export function createGarbageCollector(options: ApiControllerOptions): ApiController {
  const { api, informers } = options;
  const types = options.types ?? collectedTypes;
  const byType = new Map<ResourceType, Informer<Stored>>();
  const byKind = new Map<string, ResourceType>();
  const byResource = new Map<string, ResourceType>();
  const queue = createWorkQueue<string>();
  const resourceOf = (type: ResourceType): string => `${type.apiVersion}/${type.resource}`;
  const keyOf = (type: ResourceType, object: Stored): string =>
    `${resourceOf(type)} ${object.metadata.namespace ?? ""}/${object.metadata.name ?? ""}`;
  const indexes = {
    [ownerIndex]: (object: Stored): string[] => (object.metadata.ownerReferences ?? []).map((owner) => owner.uid),
  };

  function lookAfter(type: ResourceType, informer: Informer<Stored>): void {
    byKind.set(`${type.apiVersion}/${type.kind}`, type);
    byResource.set(resourceOf(type), type);
    byType.set(type, informer);
    handle(type, informer);
  }

  function dependentsOf(uid: string): { type: ResourceType; object: Stored }[] {
    return [...byType].flatMap(([type, informer]) =>
      informer.lister.byIndex(ownerIndex, uid).map((object) => ({ type, object })),
    );
  }

  /** Whether an owner is there: looked up in the cache, and where that has none, at the server, which cannot be behind. */
  async function isPresent(
    owner: OwnerReference,
    namespace: string | undefined,
  ): Promise<"present" | "absent" | "foreground"> {
    const type = byKind.get(`${owner.apiVersion}/${owner.kind}`);
    if (type === undefined) return "present";
    const at = type.namespaced ? namespace : undefined;
    let found = byType.get(type)?.lister.get(at, owner.name);
    if (found?.metadata.uid !== owner.uid) {
      try {
        found = await api.get<Stored>(type, { name: owner.name, ...(at === undefined ? {} : { namespace: at }) });
      } catch (error) {
        if (!isNotFound(error)) throw error;
        return "absent";
      }
    }
    if (found.metadata.uid !== owner.uid) return "absent";
    const foreground =
      found.metadata.deletionTimestamp !== undefined && found.metadata.finalizers?.includes("foregroundDeletion");
    return foreground ? "foreground" : "present";
  }

  async function removeFinalizer(type: ResourceType, object: Stored, finalizer: string): Promise<void> {
    const finalizers = (object.metadata.finalizers ?? []).filter((name) => name !== finalizer);
    await api.patch(
      type,
      path(object),
      {
        metadata: {
          finalizers: finalizers.length > 0 ? finalizers : null,
          resourceVersion: object.metadata.resourceVersion,
        },
      },
      { patchType: "application/merge-patch+json" },
    );
  }

  async function setOwners(type: ResourceType, object: Stored, owners: readonly OwnerReference[]): Promise<void> {
    await api.patch(
      type,
      path(object),
      {
        metadata: {
          ownerReferences: owners.length > 0 ? owners : null,
          resourceVersion: object.metadata.resourceVersion,
        },
      },
      { patchType: "application/merge-patch+json" },
    );
  }

  async function finishDeletion(type: ResourceType, object: Stored): Promise<void> {
    const uid = object.metadata.uid ?? "";
    const dependents = dependentsOf(uid);
    if (object.metadata.finalizers?.includes("orphan")) {
      for (const { type: kind, object: dependent } of dependents) {
        const owners = (dependent.metadata.ownerReferences ?? []).filter((owner) => owner.uid !== uid);
        await setOwners(kind, dependent, owners);
      }
      await removeFinalizer(type, object, "orphan");
      return;
    }
    const blocking = dependents.filter(({ object: dependent }) =>
      dependent.metadata.ownerReferences?.some((owner) => owner.uid === uid && owner.blockOwnerDeletion),
    );
    if (blocking.length === 0) await removeFinalizer(type, object, "foregroundDeletion");
    for (const { type: kind, object: dependent } of dependents) queue.add(keyOf(kind, dependent));
  }

  async function collect(type: ResourceType, object: Stored): Promise<void> {
    const owners = object.metadata.ownerReferences ?? [];
    if (owners.length === 0 || object.metadata.deletionTimestamp !== undefined) return;
    const states = await Promise.all(owners.map((owner) => isPresent(owner, object.metadata.namespace)));
    if (states.includes("present")) {
      const kept = owners.filter((_owner, i) => states[i] === "present");
      if (kept.length < owners.length) await setOwners(type, object, kept);
      return;
    }
    const { uid } = object.metadata;
    // An owner that waits for this object waits for what hangs on it too.
    const hasDependents = states.includes("foreground") && uid !== undefined && dependentsOf(uid).length > 0;
    await api.delete(type, path(object), {
      propagationPolicy: hasDependents ? "Foreground" : "Background",
      ...(uid === undefined ? {} : { preconditions: { uid } }),
    });
  }

  async function reconcile(key: string): Promise<void> {
    const [resource = "", rest = ""] = key.split(" ");
    const type = byResource.get(resource);
    if (type === undefined) return;
    const slash = rest.indexOf("/");
    const object = byType.get(type)!.lister.get(rest.slice(0, slash) || undefined, rest.slice(slash + 1));
    if (object === undefined) return;
    const { deletionTimestamp, finalizers = [] } = object.metadata;
    try {
      if (
        deletionTimestamp !== undefined &&
        (finalizers.includes("orphan") || finalizers.includes("foregroundDeletion"))
      ) {
        await finishDeletion(type, object);
      } else {
        await collect(type, object);
      }
    } catch (error) {
      // Somebody was faster; the change comes as an event, and a lost one by the retry.
      if (isNotFound(error)) return;
      if (isConflict(error)) queue.addAfter(key, 20);
      else throw error;
    }
  }

  function handle(type: ResourceType, informer: Informer<Stored>): void {
    const look = (object: Stored): void => {
      const waits = object.metadata.deletionTimestamp !== undefined && (object.metadata.finalizers?.length ?? 0) > 0;
      if (waits || (object.metadata.ownerReferences?.length ?? 0) > 0) queue.add(keyOf(type, object));
    };
    informer.addHandler({
      add: look,
      update(old, object) {
        const changed =
          old.metadata.deletionTimestamp !== object.metadata.deletionTimestamp ||
          JSON.stringify(old.metadata.ownerReferences) !== JSON.stringify(object.metadata.ownerReferences) ||
          (object.metadata.deletionTimestamp !== undefined &&
            JSON.stringify(old.metadata.finalizers) !== JSON.stringify(object.metadata.finalizers));
        if (changed) look(object);
        if (changed && object.metadata.deletionTimestamp !== undefined) {
          for (const dependent of dependentsOf(object.metadata.uid ?? ""))
            queue.add(keyOf(dependent.type, dependent.object));
        }
      },
      delete(object) {
        for (const dependent of dependentsOf(object.metadata.uid ?? ""))
          queue.add(keyOf(dependent.type, dependent.object));
        // An owner that waits in the foreground may have waited for this one.
        for (const owner of object.metadata.ownerReferences ?? []) {
          const kind = byKind.get(`${owner.apiVersion}/${owner.kind}`);
          const found =
            kind && byType.get(kind)?.lister.get(kind.namespaced ? object.metadata.namespace : undefined, owner.name);
          if (kind !== undefined && found?.metadata.deletionTimestamp !== undefined) queue.add(keyOf(kind, found));
        }
      },
    });
  }

  for (const type of types) lookAfter(type, informers.informer<Stored>(type, { indexes }));

  /** Custom resources come and go with their definitions. */
  function followDefinitions(signal: AbortSignal): Informer<CustomResourceDefinition> {
    const followed = new Map<string, { readonly type: ResourceType; readonly stop: AbortController }>();
    const forget = (name: string): void => {
      const known = followed.get(name);
      if (known === undefined) return;
      known.stop.abort();
      followed.delete(name);
      for (const [kind, type] of byKind) if (type === known.type) byKind.delete(kind);
      byResource.delete(resourceOf(known.type));
      byType.delete(known.type);
    };
    const follow = (definition: CustomResourceDefinition): void => {
      const name = definition.metadata.name ?? "";
      const type = customTypeOf(definition);
      const known = followed.get(name);
      if (type === undefined || (known !== undefined && resourceOf(known.type) === resourceOf(type))) return;
      forget(name);
      const stop = new AbortController();
      followed.set(name, { type, stop });
      const informer = createInformer<Stored>(api, type, { indexes });
      lookAfter(type, informer);
      for (const version of definition.spec.versions)
        byKind.set(`${definition.spec.group}/${version.name}/${type.kind}`, type);
      informer.start(AbortSignal.any([signal, stop.signal]));
    };
    const definitions = informers.informer<CustomResourceDefinition>(customResourceDefinitions);
    definitions.addHandler({
      add: follow,
      update: (_old, definition) => follow(definition),
      delete: (definition) => forget(definition.metadata.name ?? ""),
    });
    return definitions;
  }

  return {
    async run(signal) {
      if (options.types === undefined) await followDefinitions(signal).synced(signal);
      await Promise.all([...byType.values()].map((informer) => informer.synced(signal)));
      if (signal.aborted) return;
      await runController({
        name: "garbage-collector",
        queue,
        reconcile,
        workers: 4,
        signal,
        ...(options.onError === undefined ? {} : { onError: options.onError }),
      });
    },
  };
}
