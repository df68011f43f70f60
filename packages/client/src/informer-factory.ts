import type { KubernetesObject, ResourceType } from "@portolan/core";
import { untilAborted } from "./abort.ts";
import type { KubernetesApi } from "./api.ts";
import { createInformer, type Informer, type InformerOptions } from "./informer.ts";

/** Informers shared by all controllers of a process: one list and one watch per kind and scope. */
export interface InformerFactory {
  /**
   * The informer of `type` in the scope of `options` (namespace, selectors); made at the first call. `indexes` are added to it, the
   * other options only count at the first call. Started at once when the factory is started already.
   */
  informer<T extends KubernetesObject>(type: ResourceType, options?: InformerOptions<T>): Informer<T>;
  /** Starts all informers, also those to be made later, until `signal` fires. Does nothing when started already. */
  start(signal: AbortSignal): void;
  /** Resolves when all informers made so far have synced; rejects with the reason of `signal`. */
  synced(signal?: AbortSignal): Promise<void>;
}

/** Resolves when all of `informers` have synced; rejects with the reason of `signal`. */
export async function informersSynced(
  informers: readonly Pick<Informer<never>, "synced">[],
  signal?: AbortSignal,
): Promise<void> {
  await untilAborted(Promise.all(informers.map((informer) => informer.synced())), signal);
}

/** Makes an {@link InformerFactory}. `defaults` are options of every informer. */
export function createInformerFactory(
  api: KubernetesApi,
  defaults: Omit<InformerOptions<never>, "indexes" | "namespace" | "labelSelector" | "fieldSelector"> = {},
): InformerFactory {
  const informers = new Map<string, Informer<KubernetesObject>>();
  let running: AbortSignal | undefined;
  // One listener on the signal of the process, however many informers there are.
  const aborts = new Set<AbortController>();

  function begin(informer: Informer<KubernetesObject>, signal: AbortSignal): void {
    const abort = new AbortController();
    if (signal.aborted) return;
    aborts.add(abort);
    informer.start(abort.signal);
  }

  return {
    informer<T extends KubernetesObject>(type: ResourceType, options: InformerOptions<T> = {}): Informer<T> {
      const { namespace = "", labelSelector = "", fieldSelector = "" } = options;
      const key = [type.apiVersion, type.resource, namespace, labelSelector, fieldSelector].join("\n");
      const known = informers.get(key) as Informer<T> | undefined;
      if (known !== undefined) {
        if (options.indexes !== undefined) known.addIndexes(options.indexes);
        return known;
      }
      const informer = createInformer<T>(api, type, { ...(defaults as InformerOptions<T>), ...options });
      informers.set(key, informer as unknown as Informer<KubernetesObject>);
      if (running !== undefined) begin(informer as unknown as Informer<KubernetesObject>, running);
      return informer;
    },
    start(signal) {
      if ((running !== undefined && !running.aborted) || signal.aborted) return;
      running = signal;
      signal.addEventListener(
        "abort",
        () => {
          for (const abort of aborts) abort.abort(signal.reason);
          aborts.clear();
        },
        { once: true },
      );
      for (const informer of informers.values()) begin(informer, signal);
    },
    synced: (signal) => informersSynced([...informers.values()], signal),
  };
}
