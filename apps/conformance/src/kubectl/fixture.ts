import { setMaxListeners } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  createApiServer,
  createGarbageCollector,
  createNamespaceController,
  createServiceAccountController,
} from "@portolan/apiserver";
import { createApiClient, createInformerFactory, isNotFound } from "@portolan/client";
import {
  createDaemonSetController,
  createDeploymentController,
  createJobController,
  createReplicaSetController,
  createStatefulSetController,
} from "@portolan/cluster";
import { type KubernetesObject, type ResourceType, resources } from "@portolan/core";
import {
  createEndpointSliceController,
  createEndpointSliceMirroringController,
  createEndpointsController,
} from "@portolan/endpoints";
import type { Upstream } from "./recording-proxy.ts";
import { createNodes, runKubelet, runScheduler } from "./stand-ins.ts";

/** The system under test: an API server with controllers, nodes and stand-ins for scheduler and kubelets. */
export interface Fixture {
  readonly upstream: Upstream;
  /** A request of the harness itself, as an administrator. */
  request(
    method: string,
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<{ readonly status: number; readonly body: unknown }>;
  createNamespace(name: string): Promise<void>;
  /** Removes a namespace and what is in it, so that addresses and ports are free for the next case. */
  deleteNamespace(name: string): Promise<void>;
  close(): Promise<void>;
}

/** What cases leave behind, owners first. */
const left: readonly ResourceType[] = [
  resources.deployments,
  resources.statefulSets,
  resources.replicaSets,
  resources.services,
  resources.pods,
  resources.endpoints,
  resources.endpointSlices,
];

function send(
  socketPath: string,
  method: string,
  path: string,
  body: unknown,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly body: unknown }> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const types =
      text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const request = httpRequest({ socketPath, method, path, headers: { ...types, ...headers } }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const content = Buffer.concat(chunks).toString("utf8");
        let parsed: unknown = content;
        try {
          parsed = JSON.parse(content);
        } catch {
          // Not every answer is JSON.
        }
        resolve({ status: response.statusCode ?? 0, body: parsed });
      });
    });
    request.on("error", reject);
    request.end(text);
  });
}

/**
 * Composes the system under test as the recordings had it: ranges of addresses and ports, four nodes, the controllers of a real
 * cluster, a scheduler and kubelets that run nothing.
 */
export async function startFixture(): Promise<Fixture> {
  const folder = await mkdtemp(join(tmpdir(), "portolan-api-"));
  const socketPath = join(folder, "socket", "api.sock");
  const stopping = new AbortController();
  // Every controller and informer listens for the end.
  setMaxListeners(0, stopping.signal);
  const server = await createApiServer({
    serviceCIDRs: ["10.96.0.0/16", "fd00:10:96::/112"],
    nodePortRange: "30000-32767",
    advertise: { address: "192.0.2.1", port: 26443 },
    projectedConfigMaps: ["openshift-service-ca.crt"],
  });
  await server.listenUnix(socketPath);
  const api = createApiClient(server.transport);
  await createNodes(api);

  const informers = createInformerFactory(api);
  // An object may be gone or changed by the time a stand-in writes to it; the next event brings it back.
  const ignore = (): void => {};
  runKubelet(informers, api, ignore);
  const bind = async (namespace: string, name: string, node: string): Promise<void> => {
    const target = { apiVersion: "v1", kind: "Node", name: node };
    const binding = { apiVersion: "v1", kind: "Binding", metadata: { name, namespace }, target };
    await send(socketPath, "POST", `/api/v1/namespaces/${namespace}/pods/${name}/binding`, binding, {});
  };
  runScheduler(informers, bind, ignore);
  const controllers = [
    createEndpointSliceController(api, { informers }),
    createEndpointsController(api, { informers }),
    createEndpointSliceMirroringController(api, { informers }),
    createGarbageCollector({ api, informers }),
    createNamespaceController({ api, informers }),
    createServiceAccountController({ api, informers, certificateAuthority: "none: this server listens without TLS" }),
    createDeploymentController({ api, informers }),
    createReplicaSetController({ api, informers }),
    createStatefulSetController({ api, informers }),
    createDaemonSetController({ api, informers }),
    createJobController({ api, informers }),
  ];
  const running = controllers.map((controller) => controller.run(stopping.signal));
  informers.start(stopping.signal);
  await informers.synced(stopping.signal);

  async function remove(type: ResourceType, namespace: string, object: KubernetesObject): Promise<void> {
    const path = { namespace, name: object.metadata?.name ?? "" };
    try {
      if ((object.metadata?.finalizers ?? []).length > 0)
        await api.patch(type, path, { metadata: { finalizers: null } });
      await api.delete(type, path, { gracePeriodSeconds: 0 });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  return {
    upstream: { socketPath },
    request: (method, path, body, headers = {}) => send(socketPath, method, path, body, headers),
    async createNamespace(name) {
      await api.create(resources.namespaces, { apiVersion: "v1", kind: "Namespace", metadata: { name } });
    },
    async deleteNamespace(name) {
      for (let round = 0; round < 5; round++) {
        let found = 0;
        for (const type of left) {
          const { items } = await api.list(type, { namespace: name });
          found += items.length;
          for (const item of items) await remove(type, name, item);
        }
        if (found === 0) break;
        await sleep(20);
      }
      await api.delete(resources.namespaces, { name });
    },
    async close() {
      stopping.abort();
      await Promise.allSettled(running);
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
