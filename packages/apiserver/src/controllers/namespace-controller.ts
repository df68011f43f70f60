import { createWorkQueue, isConflict, isNotFound, runController } from "@portolan/client";
import { type Namespace, type ResourceType, resources } from "@portolan/core";
import type { CustomResourceDefinition } from "../custom-resources/custom-resource-definition.ts";
import { customResourceDefinitions, customTypeOf } from "./custom-types.ts";
import { type ApiController, type ApiControllerOptions, collectedTypes } from "./garbage-collector.ts";

/** How often a namespace that still has contents is looked at again, in ms. */
const recheck = 100;

/**
 * Empties namespaces that are being deleted: deletes all they hold, waits until it is gone (pods end gracefully), and lets go of the
 * namespace by removing the finalizer `kubernetes`. Source: pkg/controller/namespace.
 */
export function createNamespaceController(options: ApiControllerOptions): ApiController {
  const { api, informers } = options;
  const types = [...(options.types ?? collectedTypes).filter((type) => type.namespaced), resources.events];
  const namespaces = informers.informer<Namespace>(resources.namespaces);
  const queue = createWorkQueue<string>();

  /** Kinds that have come with definitions, as of now. */
  async function customTypes(): Promise<ResourceType[]> {
    if (options.types !== undefined) return [];
    const { items } = await api.list<CustomResourceDefinition>(customResourceDefinitions);
    return items.map(customTypeOf).filter((type): type is ResourceType => type?.namespaced === true);
  }

  async function empty(namespace: string): Promise<boolean> {
    let left = 0;
    for (const type of [...types, ...(await customTypes())]) {
      const list = await api.list(type, { namespace, limit: 1 });
      if (list.items.length === 0) continue;
      left++;
      await api.deleteCollection(type, { namespace, propagationPolicy: "Background" });
    }
    return left === 0;
  }

  async function reconcile(name: string): Promise<void> {
    const namespace = namespaces.lister.get(undefined, name);
    if (namespace?.metadata.deletionTimestamp === undefined) return;
    if (!namespace.spec?.finalizers?.includes("kubernetes")) return;
    if (!(await empty(name))) {
      queue.addAfter(name, recheck);
      return;
    }
    try {
      const current = await api.get<Namespace>(resources.namespaces, { name });
      const finalizers = (current.spec?.finalizers ?? []).filter((finalizer) => finalizer !== "kubernetes");
      await api.update<Namespace>(
        resources.namespaces,
        { ...current, spec: { finalizers } },
        { subresource: "finalize" },
      );
    } catch (error) {
      if (isNotFound(error)) return;
      if (!isConflict(error)) throw error;
      queue.addAfter(name, recheck);
    }
  }

  const look = (namespace: Namespace): void => {
    if (namespace.metadata.deletionTimestamp !== undefined) queue.add(namespace.metadata.name ?? "");
  };
  namespaces.addHandler({ add: look, update: (_old, namespace) => look(namespace) });

  return {
    async run(signal) {
      await namespaces.synced(signal);
      if (signal.aborted) return;
      await runController({
        name: "namespace",
        queue,
        reconcile,
        workers: 2,
        signal,
        ...(options.onError === undefined ? {} : { onError: options.onError }),
      });
    },
  };
}
