import type { KubernetesObject } from "@portolan/core";
import { deepEqual } from "../encoding/equality.ts";
import type { Store, StoredObject, StoreState, StoreWrite } from "./store.ts";

/** Everything that is stored now. Objects are not copied: they never change. */
export function takeState(store: Store): StoreState {
  return {
    revision: store.revision,
    objects: store.collections().flatMap((collection) => [...store.list(collection)]),
  };
}

/** Equal but for the revision. */
function isSame(a: KubernetesObject, b: KubernetesObject): boolean {
  return deepEqual(withoutRevision(a), withoutRevision(b));
}

function withoutRevision(object: KubernetesObject): KubernetesObject {
  const { resourceVersion: _, ...metadata } = object.metadata ?? {};
  return { ...object, metadata };
}

/**
 * Makes a store hold what it held, in one write: what came since is removed, what was changed or removed comes back with its uid. Revisions go
 * on, so watchers and informers see the way back as they see any other change.
 */
export function restoreState(store: Store, state: StoreState): void {
  const keyOf = ({ collection, namespace, name }: StoredObject): string => `${collection} ${namespace}/${name}`;
  const wanted = new Map([...state.objects].map((stored) => [keyOf(stored), stored]));
  const writes: StoreWrite[] = [];
  for (const stored of takeState(store).objects) {
    const target = wanted.get(keyOf(stored));
    wanted.delete(keyOf(stored));
    if (target !== undefined && (target === stored || isSame(target.object, stored.object))) continue;
    const { collection, namespace, name, revision } = stored;
    writes.push({
      collection,
      namespace,
      name,
      expectedRevision: revision,
      ...(target === undefined ? {} : { object: target.object }),
    });
  }
  for (const { collection, namespace, name, object } of wanted.values())
    writes.push({ collection, namespace, name, object, expectedRevision: undefined });
  if (writes.length > 0) store.write(writes);
}
