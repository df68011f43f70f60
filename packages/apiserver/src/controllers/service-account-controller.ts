import { createWorkQueue, isAlreadyExists, isNotFound, runController } from "@portolan/client";
import { type ConfigMap, type Namespace, resources, type ServiceAccount } from "@portolan/core";
import type { ApiController, ApiControllerOptions } from "./garbage-collector.ts";

/** Options of {@link createServiceAccountController}. */
export interface ServiceAccountControllerOptions extends ApiControllerOptions {
  /** PEM of the authority that signs the API server's certificate. */
  readonly certificateAuthority: string;
}

const accountName = "default";
const authorityName = "kube-root-ca.crt";
const authorityKey = "ca.crt";

/** What the ConfigMap says of itself, as in every cluster. */
const description =
  "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/**
 * Gives every namespace what pods count on: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`, again when they are deleted
 * or changed. Source: pkg/controller/serviceaccount, pkg/controller/certificates/rootcacertpublisher.
 */
export function createServiceAccountController(options: ServiceAccountControllerOptions): ApiController {
  const { api, informers, certificateAuthority } = options;
  const namespaces = informers.informer<Namespace>(resources.namespaces);
  const accounts = informers.informer<ServiceAccount>(resources.serviceAccounts);
  const configMaps = informers.informer<ConfigMap>(resources.configMaps);
  const queue = createWorkQueue<string>();

  async function unlessThere(create: () => Promise<unknown>): Promise<void> {
    try {
      await create();
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
  }

  async function reconcile(namespace: string): Promise<void> {
    const found = namespaces.lister.get(undefined, namespace);
    if (found === undefined || found.metadata.deletionTimestamp !== undefined) return;
    try {
      if (accounts.lister.get(namespace, accountName) === undefined)
        await unlessThere(() =>
          api.create<ServiceAccount>(resources.serviceAccounts, { metadata: { name: accountName, namespace } }),
        );
      const data = { [authorityKey]: certificateAuthority };
      const published = configMaps.lister.get(namespace, authorityName);
      if (published === undefined)
        await unlessThere(() =>
          api.create<ConfigMap>(resources.configMaps, {
            metadata: { name: authorityName, namespace, annotations: { "kubernetes.io/description": description } },
            data,
          }),
        );
      else if (published.data?.[authorityKey] !== certificateAuthority)
        await api.patch(resources.configMaps, { name: authorityName, namespace }, { data });
    } catch (error) {
      // The namespace may be gone by now.
      if (!isNotFound(error)) throw error;
    }
  }

  namespaces.addHandler({ add: (namespace) => queue.add(namespace.metadata.name ?? "") });
  const look = (object: ServiceAccount | ConfigMap): void => {
    const { name, namespace = "" } = object.metadata;
    if (name === accountName || name === authorityName) queue.add(namespace);
  };
  accounts.addHandler({ delete: look });
  configMaps.addHandler({ update: (_old, object) => look(object), delete: look });

  return {
    async run(signal) {
      await Promise.all([namespaces.synced(signal), accounts.synced(signal), configMaps.synced(signal)]);
      if (signal.aborted) return;
      await runController({
        name: "service-account",
        queue,
        reconcile,
        signal,
        ...(options.onError === undefined ? {} : { onError: options.onError }),
      });
    },
  };
}
