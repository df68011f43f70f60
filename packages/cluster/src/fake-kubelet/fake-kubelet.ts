import {
  ApiError,
  type Clock,
  type InformerFactory,
  type KubernetesApi,
  objectKey,
  sleep,
  systemClock,
} from "@portolan/client";
import { type ContainerState, type Node, type Pod, type PodStatus, resources } from "@portolan/core";
import { createAddressPool } from "../kubelet/address-pool.ts";
import { type ContainerRecord, podStatus, waitingRecords } from "../kubelet/pod-status.ts";

/** What becomes of a pod; times in milliseconds. */
export interface PodScript {
  /** From the assignment to running. Default 0. */
  readonly startAfter?: number;
  /** From running to ready; `never` leaves it unready. Default 0. */
  readonly readyAfter?: number | "never";
  /** The containers end after having run this long, with `exitCode`. */
  readonly endAfter?: number;
  readonly exitCode?: number;
  /** Ended containers that the restart policy restarts wait this long in `CrashLoopBackOff`. Default 10,000. */
  readonly restartAfter?: number;
  /** From deletion to the end. Default 0; never longer than the grace period. */
  readonly terminateAfter?: number;
  /** Stays waiting with this reason, for example `ImagePullBackOff`. */
  readonly waiting?: { readonly reason: string; readonly message?: string };
}

/** Options of {@link createFakeKubelet}. */
export interface FakeKubeletOptions {
  readonly api: KubernetesApi;
  readonly informers: InformerFactory;
  readonly clock?: Clock;
  /** Pods of these nodes; of all when absent. */
  readonly nodeNames?: readonly string[];
  /** What becomes of a pod. Default: running and ready at once. */
  readonly script?: (pod: Pod) => PodScript;
  /** Block for pods of nodes without `spec.podCIDR`. Default `10.244.0.0/16`. */
  readonly podCidr?: string;
  readonly onError?: (error: unknown, pod: Pod) => void;
}

/** Plays the kubelets of all nodes without running anything: pods are API objects that get addresses and become ready. */
export interface FakeKubelet {
  run(signal: AbortSignal): Promise<void>;
  /** Sets the readiness of a running pod, as its probe would. */
  setReady(namespace: string, name: string, ready: boolean): void;
  /** Ends the containers of a pod. */
  end(namespace: string, name: string, exitCode: number): void;
}

interface FakePod {
  pod: Pod;
  readonly records: ContainerRecord[];
  addresses: string[];
  readonly release: () => void;
  readonly startTime: string;
  readonly stopping: AbortController;
  terminating: boolean;
  written: PodStatus | undefined;
  queue: Promise<void>;
}

const DEFAULT_CIDR = "10.244.0.0/16";

/** Makes a {@link FakeKubelet}; nothing happens before `run`. Works in browsers. */
export function createFakeKubelet(options: FakeKubeletOptions): FakeKubelet {
  const { api, informers, clock = systemClock, script = (): PodScript => ({}) } = options;
  const pods = informers.informer<Pod>(resources.pods);
  const nodes = informers.informer<Node>(resources.nodes);
  const pools = new Map<string, ReturnType<typeof createAddressPool>>();
  const running = new Map<string, FakePod>();
  const timestamp = (): string => new Date(clock.now()).toISOString().replace(/\.\d+Z$/, "Z");

  function pool(cidr: string): ReturnType<typeof createAddressPool> {
    let found = pools.get(cidr);
    if (found === undefined) {
      found = createAddressPool(cidr);
      pools.set(cidr, found);
    }
    return found;
  }

  function nodeAddresses(pod: Pod): string[] {
    const node = nodes.lister.get(undefined, pod.spec?.nodeName ?? "");
    return (node?.status?.addresses ?? []).filter(({ type }) => type === "InternalIP").map(({ address }) => address);
  }

  /** Writes follow each other, each of the state at its time. */
  function write(fake: FakePod): Promise<void> {
    fake.queue = fake.queue.then(async () => {
      const { name = "", namespace = "default", uid } = fake.pod.metadata;
      const status = podStatus(
        fake.written === undefined ? fake.pod : { ...fake.pod, status: { ...fake.pod.status, ...fake.written } },
        {
          records: fake.records,
          podAddresses: fake.addresses,
          nodeAddresses: nodeAddresses(fake.pod),
          startTime: fake.startTime,
          hasNetwork: fake.addresses.length > 0,
          now: timestamp(),
        },
      );
      fake.written = status;
      try {
        await api.patch(
          resources.pods,
          { name, namespace, subresource: "status" },
          { metadata: { uid }, status },
          { patchType: "application/strategic-merge-patch+json" },
        );
      } catch (error) {
        if (!(error instanceof ApiError) || (error.statusCode !== 404 && error.statusCode !== 409)) {
          options.onError?.(error, fake.pod);
        }
      }
    });
    return fake.queue;
  }

  function setStates(fake: FakePod, state: () => ContainerState, ready: boolean): void {
    for (const record of fake.records) {
      if (record.kind === "init") continue;
      if (record.state.terminated !== undefined) record.lastState = { terminated: record.state.terminated };
      record.state = state();
      record.started = record.state.running !== undefined;
      record.ready = ready;
    }
  }

  async function endContainers(fake: FakePod, exitCode: number): Promise<void> {
    const now = timestamp();
    const startedAt = fake.records.find(({ state }) => state.running !== undefined)?.state.running?.startedAt ?? now;
    const reason = exitCode === 0 ? "Completed" : "Error";
    setStates(fake, () => ({ terminated: { exitCode, reason, startedAt, finishedAt: now } }), false);
    await write(fake);
  }

  async function play(fake: FakePod): Promise<void> {
    const { signal } = fake.stopping;
    const steps = script(fake.pod);
    if (steps.waiting !== undefined) {
      const { waiting } = steps;
      setStates(fake, () => ({ waiting: { ...waiting } }), false);
      return write(fake);
    }
    await write(fake);
    if ((steps.startAfter ?? 0) > 0) await sleep(clock, steps.startAfter ?? 0, signal);
    const now = timestamp();
    for (const record of fake.records) {
      if (record.kind !== "init") continue;
      record.state = { terminated: { exitCode: 0, reason: "Completed", startedAt: now, finishedAt: now } };
    }
    while (!signal.aborted) {
      const { readyAfter = 0, endAfter, exitCode = 0 } = steps;
      const startedAt = timestamp();
      setStates(fake, () => ({ running: { startedAt } }), readyAfter === 0);
      await write(fake);
      if (typeof readyAfter === "number" && readyAfter > 0) {
        await sleep(clock, readyAfter, signal);
        if (signal.aborted) return;
        for (const record of fake.records) if (record.state.running !== undefined) record.ready = true;
        await write(fake);
      }
      if (endAfter === undefined) return;
      await sleep(clock, Math.max(0, endAfter - (readyAfter === "never" ? 0 : readyAfter)), signal);
      if (signal.aborted) return;
      await endContainers(fake, exitCode);
      const policy = fake.pod.spec?.restartPolicy ?? "Always";
      if (policy === "Never" || (policy === "OnFailure" && exitCode === 0)) return;
      setStates(fake, () => ({ waiting: { reason: "CrashLoopBackOff" } }), false);
      await write(fake);
      await sleep(clock, steps.restartAfter ?? 10_000, signal);
      for (const record of fake.records) if (record.kind !== "init") record.restartCount++;
    }
  }

  function start(pod: Pod): void {
    const uid = pod.metadata.uid ?? "";
    const node = nodes.lister.get(undefined, pod.spec?.nodeName ?? "");
    const hostNetwork = pod.spec?.hostNetwork === true;
    const cidrs = node?.spec?.podCIDRs ?? [node?.spec?.podCIDR ?? options.podCidr ?? DEFAULT_CIDR];
    const addresses = hostNetwork ? nodeAddresses(pod) : cidrs.map((cidr) => pool(cidr).take());
    const fake: FakePod = {
      pod,
      records: waitingRecords(pod).map((record) => ({
        ...record,
        imageId: record.container.image ?? "",
        containerId: `fake://${uid}-${record.container.name}`,
      })),
      addresses,
      release: () => {
        if (!hostNetwork) for (const [index, cidr] of cidrs.entries()) pool(cidr).release(addresses[index] ?? "");
      },
      startTime: timestamp(),
      stopping: new AbortController(),
      terminating: false,
      written: undefined,
      queue: Promise.resolve(),
    };
    running.set(uid, fake);
    play(fake).catch((error: unknown) => options.onError?.(error, pod));
  }

  async function stop(fake: FakePod): Promise<void> {
    if (fake.terminating) return;
    fake.terminating = true;
    const { name = "", namespace = "default", uid } = fake.pod.metadata;
    const grace = (fake.pod.metadata.deletionGracePeriodSeconds ?? 30) * 1000;
    const wait = Math.min(script(fake.pod).terminateAfter ?? 0, grace);
    if (wait > 0) await sleep(clock, wait);
    fake.stopping.abort();
    await fake.queue;
    try {
      await api.delete(
        resources.pods,
        { name, namespace },
        { gracePeriodSeconds: 0, ...(uid === undefined ? {} : { preconditions: { uid } }) },
      );
    } catch (error) {
      if (!(error instanceof ApiError) || error.statusCode !== 404) options.onError?.(error, fake.pod);
    }
  }

  function observe(pod: Pod): void {
    const { nodeName = "" } = pod.spec ?? {};
    if (nodeName === "" || (options.nodeNames !== undefined && !options.nodeNames.includes(nodeName))) return;
    const fake = running.get(pod.metadata.uid ?? "");
    if (fake !== undefined) fake.pod = pod;
    else if (pod.status?.phase !== "Succeeded" && pod.status?.phase !== "Failed") start(pod);
    const known = running.get(pod.metadata.uid ?? "");
    if (pod.metadata.deletionTimestamp !== undefined && known !== undefined) void stop(known);
  }

  function find(namespace: string, name: string): FakePod | undefined {
    for (const fake of running.values()) if (objectKey(fake.pod) === `${namespace}/${name}`) return fake;
    return undefined;
  }

  return {
    async run(signal) {
      informers.start(signal);
      await nodes.synced(signal).catch(() => undefined);
      const remove = pods.addHandler({
        add: observe,
        update: (_, pod) => observe(pod),
        delete(pod) {
          const fake = running.get(pod.metadata.uid ?? "");
          running.delete(pod.metadata.uid ?? "");
          fake?.stopping.abort();
          fake?.release();
        },
      });
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
      remove();
      for (const fake of running.values()) fake.stopping.abort();
    },
    setReady(namespace, name, ready) {
      const fake = find(namespace, name);
      if (fake === undefined) return;
      for (const record of fake.records) if (record.state.running !== undefined) record.ready = ready;
      void write(fake);
    },
    end(namespace, name, exitCode) {
      const fake = find(namespace, name);
      if (fake !== undefined) void endContainers(fake, exitCode);
    },
  };
}
