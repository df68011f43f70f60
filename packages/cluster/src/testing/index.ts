/**
 * A whole control plane for tests, in process and in milliseconds: API server, controllers, scheduler, and kubelets that only play.
 *
 * ```ts
 * import { startCluster } from "@portolan/cluster/testing";
 *
 * const cluster = await startCluster({ nodes: 3 });
 * await cluster.api.create(resources.deployments, web);
 * await vi.waitFor(async () => expect(await readyEndpoints("web")).toBe(2));
 * await cluster.close();
 * ```
 *
 * @packageDocumentation
 */
import { setMaxListeners } from "node:events";
import { startApiServer, type TestApiServer, type TestApiServerOptions } from "@portolan/apiserver/testing";
import {
  type Clock,
  createEventRecorder,
  createInformerFactory,
  type InformerFactory,
  type KubernetesApi,
  systemClock,
} from "@portolan/client";
import { type ClusterPart, createControllers } from "../controllers.ts";
import { createFakeKubelet, type FakeKubelet, type FakeKubeletOptions } from "../fake-kubelet/index.ts";
import { applyObject } from "../manifests.ts";
import { bareNode } from "../nodes.ts";

/** Options of {@link startCluster}. */
export interface TestClusterOptions extends Pick<FakeKubeletOptions, "script"> {
  /** Number of nodes, which are called `node1` and so on. Default 2. */
  readonly nodes?: number;
  /** Time of all parts. Default: the engine's; with `createFakeClock` of `@portolan/client/testing` a test turns it by hand. */
  readonly clock?: Clock;
  /** Settings of the API server. */
  readonly apiServer?: Omit<TestApiServerOptions<Clock>, "clock">;
  /** Further controllers, started with the others. */
  readonly controllers?: (parts: {
    readonly api: KubernetesApi;
    readonly informers: InformerFactory;
  }) => readonly ClusterPart[];
  /** Told about failures, which are tried again. */
  readonly onError?: (error: unknown, what: string) => void;
}

/** A control plane in a test's hands. */
export interface TestCluster {
  /** Faults, snapshots and {@link TestApiServer.reset}; the nodes belong to what a reset goes back to. */
  readonly server: TestApiServer<Clock>;
  /** The administrator's client. */
  readonly api: KubernetesApi;
  /** Started already; kinds that are asked for later start then. */
  readonly informers: InformerFactory;
  /** Makes pods unready, or ends them. */
  readonly kubelet: FakeKubelet;
  /** Removes what the test made. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

/** Starts a control plane. Nothing is listened on and no process is started. */
export async function startCluster(options: TestClusterOptions = {}): Promise<TestCluster> {
  const clock = options.clock ?? systemClock;
  const onError = options.onError ?? (() => {});
  const server = await startApiServer<Clock>({ ...options.apiServer, clock });
  const { api } = server;
  for (let i = 1; i <= (options.nodes ?? 2); i++) {
    const zone = `zone-${"abc"[(i - 1) % 3]}`;
    await applyObject(api, bareNode(`node${i}`, `172.18.0.${i + 1}`, `10.244.${i}.0/24`, zone, clock.now()));
  }
  const beginning = server.snapshot();

  const controller = new AbortController();
  const { signal } = controller;
  // Every part listens to it.
  setMaxListeners(0, signal);
  const informers = createInformerFactory(api, { clock });
  const kubelet = createFakeKubelet({
    api,
    informers,
    clock,
    ...(options.script === undefined ? {} : { script: options.script }),
    onError: (error) => onError(error, "fake kubelet"),
  });
  const parts = createControllers((component) => ({
    api,
    informers,
    clock,
    events: createEventRecorder({ api, component, signal, clock }),
    onError: (error: unknown) => onError(error, component),
  }));
  const added = options.controllers?.({ api, informers }) ?? [];
  const running = [
    ...parts,
    ["fake kubelet", kubelet] as const,
    ...added.map((part) => ["controller", part] as const),
  ].map(([name, part]) =>
    part.run(signal).catch((error: unknown) => {
      if (!signal.aborted) onError(error, name);
    }),
  );
  informers.start(signal);
  return {
    server,
    api,
    informers,
    kubelet,
    async reset() {
      server.faults.clear();
      await server.restore(beginning);
    },
    async close() {
      controller.abort();
      await Promise.all(running);
      await server.close();
    },
  };
}
