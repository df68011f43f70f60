import { setMaxListeners } from "node:events";
import {
  type ApiServer,
  createApiServer,
  createGarbageCollector,
  createNamespaceController,
  createServiceAccountController,
  createServiceCIDRController,
} from "@portolan/apiserver";
import { createApiClient, createInformerFactory, isNotFound, systemClock } from "@portolan/client";
import {
  createDaemonSetController,
  createDeploymentController,
  createJobController,
  createReplicaSetController,
  createStatefulSetController,
} from "@portolan/cluster";
import { type ResourceType, resources } from "@portolan/core";
import {
  createEndpointSliceController,
  createEndpointSliceMirroringController,
  createEndpointsController,
} from "@portolan/endpoints";

/** The system under test: an API server and the controllers of a real cluster, without scheduler and kubelets, as in the recordings. */
export interface ApiCluster {
  readonly server: ApiServer;
  createNamespace(name: string): Promise<void>;
  /** Removes what a case has left, so that its addresses and ports are free for the next. */
  clear(name: string): Promise<void>;
  close(): Promise<void>;
}

/** Day of the recordings. */
const recordedAt = Date.UTC(2026, 10, 22, 12);

/** Kinds that cases make, owners first. */
const left: readonly ResourceType[] = [
  resources.deployments,
  resources.statefulSets,
  resources.daemonSets,
  resources.jobs,
  resources.replicaSets,
  resources.services,
  resources.pods,
  resources.endpoints,
  resources.endpointSlices,
  resources.configMaps,
];

/** Composes it. What the recorded server's build said of itself is no behaviour and given here. */
export async function startApiCluster(): Promise<ApiCluster> {
  const stopping = new AbortController();
  const started = Date.now();
  // Every controller and informer listens for the end.
  setMaxListeners(0, stopping.signal);
  const server = await createApiServer({
    serviceCIDRs: ["10.96.0.0/16", "fd00:10:96::/112"],
    nodePortRange: "30000-32767",
    advertise: { address: "192.0.2.1", port: 26443 },
    projectedConfigMaps: ["openshift-service-ca.crt"],
    // Ages of objects with given dates are as of the recording.
    clock: { ...systemClock, now: () => recordedAt + (Date.now() - started) },
    version: {
      major: "1",
      minor: "36",
      emulationMajor: "1",
      emulationMinor: "36",
      minCompatibilityMajor: "1",
      minCompatibilityMinor: "35",
      gitVersion: "v1.36.2",
      gitCommit: "fork-tree",
      gitTreeState: "archive",
      buildDate: "2026-06-16T00:00:00Z",
      goVersion: "go1.26.11",
      compiler: "gc",
      platform: "linux/amd64",
    },
  });
  const api = createApiClient(server.transport, { userAgent: "kube-controller-manager/v1.36.2" });
  const informers = createInformerFactory(api);
  const controllers = [
    createEndpointSliceController(api, { informers }),
    createEndpointsController(api, { informers }),
    createEndpointSliceMirroringController(api, { informers }),
    createGarbageCollector({ api, informers }),
    createNamespaceController({ api, informers }),
    createServiceAccountController({ api, informers, certificateAuthority: "none: this server listens without TLS" }),
    createServiceCIDRController({ api, informers }),
    createDeploymentController({ api, informers }),
    createReplicaSetController({ api, informers }),
    createStatefulSetController({ api, informers }),
    createDaemonSetController({ api, informers }),
    createJobController({ api, informers }),
  ];
  const running = controllers.map((controller) => controller.run(stopping.signal));
  informers.start(stopping.signal);
  await informers.synced(stopping.signal);
  return {
    server,
    async createNamespace(name) {
      await api.create(resources.namespaces, { apiVersion: "v1", kind: "Namespace", metadata: { name } });
    },
    async clear(name) {
      for (const type of left) {
        const { items } = await api.list(type, { namespace: name });
        for (const item of items) {
          const path = { namespace: name, name: item.metadata?.name ?? "" };
          try {
            if ((item.metadata?.finalizers ?? []).length > 0)
              await api.patch(type, path, { metadata: { finalizers: null } });
            await api.delete(type, path, { gracePeriodSeconds: 0, propagationPolicy: "Background" });
          } catch (error) {
            if (!isNotFound(error)) throw error;
          }
        }
      }
      await api.delete(resources.namespaces, { name });
    },
    async close() {
      stopping.abort();
      await Promise.allSettled(running);
      await server.close();
    },
  };
}
