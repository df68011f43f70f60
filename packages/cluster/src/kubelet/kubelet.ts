import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import type { PodStreams } from "@portolan/apiserver";
import {
  ApiError,
  type Clock,
  createWorkQueue,
  type Informer,
  type InformerFactory,
  type KubernetesApi,
  objectKey,
  runController,
  sleep,
  splitObjectKey,
  systemClock,
} from "@portolan/client";
import {
  type ConfigMap,
  type Container,
  type KubernetesObject,
  type Lease,
  type Node,
  type Pod,
  type PodStatus,
  type ResourceType,
  resources,
  type Secret,
  type Service,
  serviceEnvironment,
} from "@portolan/core";
import type { ImageTable, ResolvedImage } from "../images/image-table.ts";
import type { EventSink } from "../workloads/event-sink.ts";
import { containerEnvironment, type EnvironmentSources } from "./container-environment.ts";
import { shellQuote } from "./container-process.ts";
import type { RestartTimes } from "./container-runner.ts";
import type { PodRuntime, PodSandbox } from "./pod-runtime.ts";
import { createPodStreams } from "./pod-streams.ts";
import { type NodeSurroundings, type PodWorker, startPodWorker } from "./pod-worker.ts";
import { parseResolverConfiguration, podResolver, type ResolverConfiguration } from "./resolver-configuration.ts";
import { createTokens, volumeFiles } from "./volume-files.ts";

/** How the node presents itself. */
export interface NodeRegistration {
  /** InternalIP addresses, one per family. */
  readonly addresses: readonly string[];
  readonly podCidrs?: readonly string[];
  /** Added to the labels every node has (`kubernetes.io/hostname`, `…/os`, `…/arch`). */
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: NonNullable<Node["spec"]>["taints"];
  readonly providerId?: string;
  /** Default: those of this machine, and 110 pods. */
  readonly capacity?: Readonly<Record<string, string>>;
}

/** Options of {@link createKubelet}. */
export interface KubeletOptions {
  readonly api: KubernetesApi;
  readonly nodeName: string;
  readonly runtime: PodRuntime;
  readonly images: ImageTable;
  /** Shared by several kubelets of one process, so that pods are watched once. */
  readonly informers: InformerFactory;
  readonly node: NodeRegistration;
  /** Addresses of the cluster's DNS service. */
  readonly clusterDns?: readonly string[];
  /** Default `cluster.local`. */
  readonly clusterDomain?: string;
  /** Folder for logs and files of pods; a subfolder per node is made. */
  readonly runDirectory: string;
  readonly clock?: Clock;
  readonly events?: EventSink;
  /** Kubernetes version that the node reports. Default `v1.36.2`. */
  readonly version?: string;
  /** Restart waits in milliseconds. Default 10 s doubling to 300 s, reset after 10 minutes. */
  readonly restartTimes?: Partial<RestartTimes>;
  /** The node's resolver, for `dnsPolicy: Default`. Default: this machine's `/etc/resolv.conf`, without loopback servers. */
  readonly resolver?: ResolverConfiguration;
  /** Told about what fails and is tried again. */
  readonly onError?: (error: unknown, what: string) => void;
}

/** Runs the pods of one node. */
export interface Kubelet {
  readonly nodeName: string;
  /** Registers the node and runs its pods until `signal` fires; then ends their programs (their objects stay) and resolves. */
  run(signal: AbortSignal): Promise<void>;
  readonly streams: PodStreams;
  /** The sandbox of a pod that runs here. */
  sandbox(namespace: string, name: string): PodSandbox | undefined;
  /** Number of pods that have programs or wait for them. */
  readonly podCount: number;
}

/** Index of pods by node name. */
const NODE_INDEX = "portolan/node";

/** Index function of {@link NODE_INDEX}. */
export function nodeIndex(pod: Pod): string[] {
  return [pod.spec?.nodeName ?? ""];
}

const LEASE_SECONDS = 40;
const HEARTBEAT = 10_000;

function machineResolver(): ResolverConfiguration {
  try {
    const found = parseResolverConfiguration(readFileSync("/etc/resolv.conf", "utf8"));
    // A resolver on this machine's loopback is not there for pods.
    return { ...found, nameservers: found.nameservers.filter((server) => !/^(127\.|::1$)/.test(server)) };
  } catch {
    return { nameservers: [], searches: [], options: [] };
  }
}

/** Makes a kubelet; nothing happens before `run`. Source of its behaviour: pkg/kubelet, in the large. */
export function createKubelet(options: KubeletOptions): Kubelet {
  const { api, nodeName, runtime, images, informers, node, clock = systemClock, events } = options;
  const clusterDomain = options.clusterDomain ?? "cluster.local";
  const nodeAddresses = node.addresses;
  const directory = join(options.runDirectory, nodeName, "pods");
  const report = options.onError ?? (() => undefined);
  const pods: Informer<Pod> = informers.informer<Pod>(resources.pods, { indexes: { [NODE_INDEX]: nodeIndex } });
  const services: Informer<Service> = informers.informer<Service>(resources.services);
  const workers = new Map<string, PodWorker>();
  const queue = createWorkQueue({ clock });
  const resolver = options.resolver ?? machineResolver();
  const tokens = createTokens(api, clock);
  const capacity = {
    cpu: String(availableParallelism()),
    memory: `${Math.floor(totalmem() / 1024)}Ki`,
    pods: "110",
    "ephemeral-storage": "50Gi",
    ...node.capacity,
  };

  const read = async <T extends KubernetesObject>(
    type: ResourceType,
    namespace: string,
    name: string,
  ): Promise<T | undefined> => {
    try {
      return await api.get<T>(type, { namespace, name });
    } catch (error) {
      if (error instanceof ApiError && error.statusCode === 404) return undefined;
      throw error;
    }
  };

  function sources(pod: Pod, addresses: readonly string[]): EnvironmentSources {
    const { namespace = "default" } = pod.metadata;
    return {
      pod,
      podAddresses: addresses,
      nodeName,
      nodeAddresses,
      capacity,
      configMap: (name) => read<ConfigMap>(resources.configMaps, namespace, name),
      secret: (name) => read<Secret>(resources.secrets, namespace, name),
    };
  }

  const surroundings: NodeSurroundings = {
    nodeName,
    nodeAddresses,
    runtime,
    images,
    clusterDomain,
    clock,
    times: { initialBackoff: 10_000, maximumBackoff: 300_000, resetAfter: 600_000, ...options.restartTimes },
    directory,
    async environment(pod: Pod, addresses: readonly string[], container: Container) {
      await services.synced();
      const { namespace = "default" } = pod.metadata;
      const visible = serviceEnvironment(services.lister.list(), namespace, pod.spec?.enableServiceLinks ?? true);
      const variables = Object.fromEntries(visible.map(({ name, value }) => [name, value]));
      return containerEnvironment(container, variables, sources(pod, addresses));
    },
    resolver: (pod) =>
      podResolver(pod.metadata.namespace ?? "default", pod.spec ?? { containers: [] }, {
        clusterDns: options.clusterDns ?? [],
        clusterDomain,
        node: resolver,
      }),
    volumeFiles: (pod, volume) =>
      volumeFiles(volume, { ...sources(pod, pod.status?.podIPs?.map(({ ip }) => ip) ?? []), token: tokens.of(pod) }),
    commandDirectory: (image) => commandDirectory(image, options.runDirectory, runtime.isolated),
    event: (pod, type, reason, message) => events?.event(pod, type, reason, message, resources.pods),
    async writeStatus(pod, status) {
      const { name = "", namespace = "default", uid } = pod.metadata;
      await ifItExists(
        api.patch(
          resources.pods,
          { name, namespace, subresource: "status" },
          { metadata: { uid }, status: statusPatch(pod.status, status) },
          { patchType: "application/strategic-merge-patch+json" },
        ),
      );
    },
    async confirmDeletion(pod) {
      const { name = "", namespace = "default", uid } = pod.metadata;
      if (pod.metadata.deletionTimestamp === undefined) return;
      await ifItExists(
        api.delete(
          resources.pods,
          { name, namespace },
          { gracePeriodSeconds: 0, ...(uid === undefined ? {} : { preconditions: { uid } }) },
        ),
      );
    },
  };

  function isOurs(pod: Pod | undefined): pod is Pod {
    return pod?.spec?.nodeName === nodeName;
  }

  function graceOf(pod: Pod): number {
    return pod.metadata.deletionGracePeriodSeconds ?? pod.spec?.terminationGracePeriodSeconds ?? 30;
  }

  async function reconcile(key: string): Promise<void> {
    const { namespace, name } = splitObjectKey(key);
    const pod = pods.lister.get(namespace, name);
    for (const [uid, worker] of workers) {
      if (objectKey(worker.pod) !== key || uid === pod?.metadata.uid) continue;
      // The object is gone (forced) or another one has its name: the programs must go.
      void worker.stop(Math.min(graceOf(worker.pod), 2)).catch((error: unknown) => report(error, `stop pod ${key}`));
    }
    if (!isOurs(pod)) return;
    const uid = pod.metadata.uid ?? "";
    let worker = workers.get(uid);
    if (worker === undefined) {
      const { phase } = pod.status ?? {};
      if (pod.metadata.deletionTimestamp !== undefined) {
        await surroundings.confirmDeletion(pod);
        return;
      }
      if (phase === "Succeeded" || phase === "Failed") return;
      worker = startPodWorker(pod, surroundings);
      workers.set(uid, worker);
      void worker.done.then(() => {
        workers.delete(uid);
        tokens.forget(uid);
      });
      return;
    }
    worker.update(pod);
    if (pod.metadata.deletionTimestamp !== undefined) {
      worker.stop(graceOf(pod)).catch((error: unknown) => {
        report(error, `stop pod ${key}`);
        queue.addRateLimited(key);
      });
    }
  }

  // --- the node's object
  function nodeStatus(): NonNullable<Node["status"]> {
    const time = timestamp();
    const pressure = (type: string, reason: string, message: string) => ({
      type,
      status: "False" as const,
      reason,
      message,
      lastHeartbeatTime: time,
      lastTransitionTime: time,
    });
    return {
      capacity,
      allocatable: capacity,
      conditions: [
        pressure("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        pressure("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        pressure("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        {
          ...pressure("Ready", "KubeletReady", "kubelet is posting ready status"),
          status: "True",
        },
      ],
      addresses: [
        ...nodeAddresses.map((address) => ({ type: "InternalIP", address })),
        { type: "Hostname", address: nodeName },
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
      nodeInfo: {
        machineID: "",
        systemUUID: "",
        bootID: "",
        kernelVersion: kernelVersion(),
        osImage: "Portolan",
        containerRuntimeVersion: `${runtime.name}://1`,
        kubeletVersion: options.version ?? "v1.36.2",
        kubeProxyVersion: "",
        operatingSystem: process.platform === "win32" ? "windows" : process.platform,
        architecture: process.arch === "x64" ? "amd64" : process.arch,
      },
      images: [],
    };
  }

  const timestamp = (): string => new Date(clock.now()).toISOString().replace(/\.\d+Z$/, "Z");

  async function register(): Promise<void> {
    const status = nodeStatus();
    const labels = {
      "kubernetes.io/hostname": nodeName,
      "kubernetes.io/os": String(status.nodeInfo?.["operatingSystem"]),
      "kubernetes.io/arch": String(status.nodeInfo?.["architecture"]),
      "beta.kubernetes.io/os": String(status.nodeInfo?.["operatingSystem"]),
      "beta.kubernetes.io/arch": String(status.nodeInfo?.["architecture"]),
      ...node.labels,
    };
    const [podCIDR] = node.podCidrs ?? [];
    const object: Node = {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: nodeName, labels },
      spec: {
        ...(podCIDR === undefined ? {} : { podCIDR, podCIDRs: [...(node.podCidrs ?? [])] }),
        ...(node.providerId === undefined ? {} : { providerID: node.providerId }),
        ...(node.taints === undefined ? {} : { taints: node.taints }),
      },
      status,
    };
    let current: Node;
    try {
      current = await api.create<Node>(resources.nodes, object);
      events?.event(current, "Normal", "Starting", "Starting kubelet.", resources.nodes);
    } catch (error) {
      if (!(error instanceof ApiError) || error.statusCode !== 409) throw error;
      current = await api.get<Node>(resources.nodes, { name: nodeName });
      const metadata = { ...current.metadata, labels: { ...current.metadata.labels, ...labels } };
      current = await api.update<Node>(resources.nodes, {
        ...object,
        metadata,
        spec: { ...current.spec, ...object.spec },
      });
    }
    await api.update<Node>(
      resources.nodes,
      { apiVersion: "v1", kind: "Node", ...current, status },
      { subresource: "status" },
    );
  }

  async function keepLease(signal: AbortSignal): Promise<void> {
    const path = { namespace: "kube-node-lease", name: nodeName };
    const spec = (): NonNullable<Lease["spec"]> => ({
      holderIdentity: nodeName,
      leaseDurationSeconds: LEASE_SECONDS,
      renewTime: new Date(clock.now()).toISOString().replace("Z", "000Z"),
    });
    while (!signal.aborted) {
      try {
        await api.patch(
          resources.leases,
          path,
          { spec: spec() },
          { patchType: "application/merge-patch+json", signal },
        );
      } catch (error) {
        if (error instanceof ApiError && error.statusCode === 404) {
          const lease: Lease = {
            apiVersion: "coordination.k8s.io/v1",
            kind: "Lease",
            metadata: { ...path },
            spec: spec(),
          };
          await api.create(resources.leases, lease, { signal }).catch((failure: unknown) => report(failure, "lease"));
        } else if (!signal.aborted) report(error, "lease");
      }
      await sleep(clock, HEARTBEAT, signal);
    }
  }

  return {
    nodeName,
    streams: createPodStreams((pod) => workers.get(pod.metadata.uid ?? "")),
    sandbox(namespace, name) {
      for (const { pod, sandbox } of workers.values()) {
        if (pod.metadata.namespace === namespace && pod.metadata.name === name) return sandbox;
      }
      return undefined;
    },
    get podCount() {
      return workers.size;
    },
    async run(signal) {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const enqueue = (pod: Pod): void => queue.add(objectKey(pod));
      const remove = pods.addHandler({
        add(pod) {
          if (isOurs(pod)) enqueue(pod);
        },
        update(old, pod) {
          if (isOurs(pod) || isOurs(old)) enqueue(pod);
        },
        delete(pod) {
          if (isOurs(pod)) enqueue(pod);
        },
      });
      informers.start(signal);
      while (!signal.aborted) {
        try {
          await register();
          break;
        } catch (error) {
          report(error, `register node ${nodeName}`);
          await sleep(clock, 1_000, signal);
        }
      }
      const lease = keepLease(signal);
      await pods.synced(signal).catch(() => undefined);
      await runController({
        name: `kubelet ${nodeName}`,
        queue,
        reconcile: (key) => reconcile(key),
        workers: 8,
        signal,
        onError: (error, failure) => report(error, `pod ${failure.key}`),
      });
      remove();
      await lease;
      await Promise.all([...workers.values()].map((worker) => worker.stop(0).catch(() => undefined)));
      await runtime.close();
    },
  };
}

async function ifItExists(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (!(error instanceof ApiError) || (error.statusCode !== 404 && error.statusCode !== 409)) throw error;
  }
}

/** Fields of the old status that the new one lacks must be taken away explicitly. */
function statusPatch(old: PodStatus | undefined, status: PodStatus): Record<string, unknown> {
  const patch: Record<string, unknown> = { ...status };
  for (const key of ["message", "reason", "nominatedNodeName"]) {
    if (old?.[key as keyof PodStatus] !== undefined && !(key in status)) patch[key] = null;
  }
  // Conditions are merged by type: a reason of yesterday would stay.
  patch["conditions"] = status.conditions?.map((condition) => ({ reason: null, message: null, ...condition }));
  return patch;
}

function kernelVersion(): string {
  try {
    return readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
  } catch {
    return "";
  }
}

const commandDirectories = new Map<string, string | undefined>();

/** Folder with a file per command of the image: a link to a program, or a script that calls it. */
function commandDirectory(image: ResolvedImage, runDirectory: string, isolated: boolean): string | undefined {
  if (image.program.commands === undefined) return undefined;
  const path = join(
    runDirectory,
    "images",
    image.image.replaceAll(/[^A-Za-z0-9.]+/g, "-"),
    isolated ? "isolated" : "shared",
  );
  if (commandDirectories.has(path)) return commandDirectories.get(path);
  const commands = Object.entries(image.program.commands({ isolated }));
  if (commands.length > 0) mkdirSync(path, { recursive: true });
  for (const [name, argv] of commands) {
    const file = join(path, name);
    const [program, ...args] = argv;
    try {
      if (args.length === 0 && program !== undefined) symlinkSync(program, file);
      else writeFileSync(file, `#!/bin/sh\nexec ${argv.map(shellQuote).join(" ")} "$@"\n`, { mode: 0o755, flag: "wx" });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
  const result = commands.length === 0 ? undefined : path;
  commandDirectories.set(path, result);
  return result;
}
