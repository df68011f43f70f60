import type { Condition, Container, ContainerState, ContainerStatus, Pod, PodStatus } from "@portolan/core";
import { findCondition, withCondition } from "../workloads/pod-state.ts";

/** What the kubelet knows of one container. */
export interface ContainerRecord {
  readonly container: Container;
  /** `sidecar`: an init container with `restartPolicy: Always`. */
  readonly kind: "init" | "sidecar" | "main" | "ephemeral";
  state: ContainerState;
  lastState: ContainerState | undefined;
  restartCount: number;
  /** The startup probe has succeeded, or there is none and the program runs. */
  started: boolean;
  /** The readiness probe says so, or there is none. */
  ready: boolean;
  imageId: string;
  containerId: string | undefined;
}

/** Facts of a pod that its status is made from. */
export interface PodFacts {
  readonly records: readonly ContainerRecord[];
  readonly podAddresses: readonly string[];
  readonly nodeAddresses: readonly string[];
  readonly startTime: string;
  /** The sandbox exists. */
  readonly hasNetwork: boolean;
  /** Set when the pod as a whole was ended: `Evicted`, `DeadlineExceeded`. */
  readonly failure?: { readonly reason: string; readonly message: string };
  /** RFC 3339. */
  readonly now: string;
}

/** A container of which nothing has happened yet. */
export function waitingRecord(
  container: Container,
  kind: ContainerRecord["kind"],
  initialized: boolean,
): ContainerRecord {
  return {
    container,
    kind,
    state: { waiting: { reason: initialized ? "ContainerCreating" : "PodInitializing" } },
    lastState: undefined,
    restartCount: 0,
    started: false,
    ready: false,
    imageId: "",
    containerId: undefined,
  };
}

/** The records of a pod of which nothing runs yet. */
export function waitingRecords(pod: Pod): ContainerRecord[] {
  const initial = pod.spec?.initContainers ?? [];
  return [
    ...initial.map((one) => waitingRecord(one, one.restartPolicy === "Always" ? "sidecar" : "init", false)),
    ...(pod.spec?.containers ?? []).map((one) => waitingRecord(one, "main", initial.length === 0)),
  ];
}

/** The class by which the pod would be evicted. */
export function qosClass(pod: Pod): "Guaranteed" | "Burstable" | "BestEffort" {
  const containers = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  const some = containers.some(
    ({ resources }) => Object.keys({ ...resources?.requests, ...resources?.limits }).length > 0,
  );
  if (!some) return "BestEffort";
  const all = containers.every(({ resources }) =>
    ["cpu", "memory"].every((name) => {
      const limit = resources?.limits?.[name];
      return limit !== undefined && (resources?.requests?.[name] ?? limit) === limit;
    }),
  );
  return all ? "Guaranteed" : "Burstable";
}

/** The pod's phase by the states of its containers (`getPhase` of pkg/kubelet). */
export function podPhase(pod: Pod, records: readonly ContainerRecord[]): NonNullable<PodStatus["phase"]> {
  const policy = pod.spec?.restartPolicy ?? "Always";
  for (const record of records) {
    if (record.kind === "init") {
      const { terminated } = record.state;
      if (terminated !== undefined && terminated.exitCode !== 0 && policy === "Never") return "Failed";
      if (terminated?.exitCode !== 0) return "Pending";
    }
    if (record.kind === "sidecar" && !record.started && record.state.terminated === undefined) return "Pending";
  }
  const main = records.filter((record) => record.kind === "main");
  const running = main.filter(({ state }) => state.running !== undefined).length;
  const stopped = main.filter(
    ({ state, lastState }) =>
      state.terminated !== undefined || (state.waiting !== undefined && lastState !== undefined),
  );
  if (main.length === 0 || running + stopped.length < main.length) return "Pending";
  if (running > 0) return "Running";
  if (policy === "Always") return "Running";
  const exits = stopped.map(({ state, lastState }) => (state.terminated ?? lastState?.terminated)?.exitCode ?? 0);
  if (exits.every((code) => code === 0)) return "Succeeded";
  return policy === "Never" ? "Failed" : "Running";
}

function containerStatus(record: ContainerRecord): ContainerStatus {
  const { container, state, lastState, kind } = record;
  const terminated = state.terminated?.exitCode === 0;
  return {
    name: container.name,
    state,
    lastState: lastState ?? {},
    ready: kind === "init" ? terminated : state.running !== undefined && record.ready,
    restartCount: record.restartCount,
    image: container.image ?? "",
    imageID: record.imageId,
    ...(record.containerId === undefined ? {} : { containerID: record.containerId }),
    started: kind === "init" ? state.running !== undefined : state.running !== undefined && record.started,
  };
}

function readyConditions(pod: Pod, records: readonly ContainerRecord[], phase: string): [Condition, Condition] {
  const done = phase === "Succeeded" || phase === "Failed";
  const unready = records
    .filter(({ kind }) => kind === "main" || kind === "sidecar")
    .filter(({ state, ready }) => state.running === undefined || !ready)
    .map(({ container }) => container.name);
  let containersReady: Condition = { type: "ContainersReady", status: "True" };
  if (done) {
    const reason = phase === "Succeeded" ? "PodCompleted" : "PodFailed";
    containersReady = { type: "ContainersReady", status: "False", reason };
  } else if (unready.length > 0) {
    const message = `containers with unready status: [${unready.join(" ")}]`;
    containersReady = { type: "ContainersReady", status: "False", reason: "ContainersNotReady", message };
  }
  if (containersReady.status === "False") return [{ ...containersReady, type: "Ready" }, containersReady];
  const gates = (pod.spec?.readinessGates ?? []).flatMap(({ conditionType }) => {
    const condition = findCondition(pod.status?.conditions, conditionType);
    if (condition === undefined) {
      return [`corresponding condition of pod readiness gate "${conditionType}" does not exist.`];
    }
    if (condition.status === "True") return [];
    return [`the status of pod readiness gate "${conditionType}" is not "True", but ${condition.status}`];
  });
  if (gates.length === 0) return [{ type: "Ready", status: "True" }, containersReady];
  const message = gates.join(", ");
  return [{ type: "Ready", status: "False", reason: "ReadinessGatesNotReady", message }, containersReady];
}

function initializedCondition(records: readonly ContainerRecord[], phase: string): Condition {
  const incomplete = records
    .filter(({ kind, state, started }) =>
      kind === "init"
        ? state.terminated?.exitCode !== 0
        : kind === "sidecar" && !started && state.terminated === undefined,
    )
    .map(({ container }) => container.name);
  if (incomplete.length === 0) {
    return { type: "Initialized", status: "True", ...(phase === "Succeeded" ? { reason: "PodCompleted" } : {}) };
  }
  const message = `containers with incomplete status: [${incomplete.join(" ")}]`;
  return { type: "Initialized", status: "False", reason: "ContainersNotInitialized", message };
}

/** The status of a pod. Conditions of others are kept; transition times move only when a condition's status does. */
export function podStatus(pod: Pod, facts: PodFacts): PodStatus {
  const { records, now } = facts;
  const phase = facts.failure === undefined ? podPhase(pod, records) : "Failed";
  let conditions = pod.status?.conditions ?? [];
  const own: Condition[] = [
    { type: "PodReadyToStartContainers", status: facts.hasNetwork ? "True" : "False" },
    initializedCondition(records, phase),
    ...readyConditions(pod, records, phase),
    { type: "PodScheduled", status: "True" },
  ];
  for (const condition of own) {
    if (condition.type === "PodScheduled" && findCondition(conditions, "PodScheduled")?.status === "True") continue;
    conditions = withCondition(conditions, { ...condition, lastProbeTime: null, lastTransitionTime: now });
  }
  const statuses = (kinds: readonly string[]): ContainerStatus[] =>
    records.filter(({ kind }) => kinds.includes(kind)).map(containerStatus);
  const init = statuses(["init", "sidecar"]);
  const ephemeral = statuses(["ephemeral"]);
  const [podIP] = facts.podAddresses;
  const [hostIP] = facts.nodeAddresses;
  return {
    phase,
    conditions,
    ...(facts.failure ?? {}),
    ...(hostIP === undefined ? {} : { hostIP, hostIPs: facts.nodeAddresses.map((ip) => ({ ip })) }),
    ...(podIP === undefined ? {} : { podIP, podIPs: facts.podAddresses.map((ip) => ({ ip })) }),
    startTime: facts.startTime,
    ...(init.length === 0 ? {} : { initContainerStatuses: init }),
    containerStatuses: statuses(["main"]),
    ...(ephemeral.length === 0 ? {} : { ephemeralContainerStatuses: ephemeral }),
    qosClass: pod.status?.qosClass ?? qosClass(pod),
    ...(pod.metadata.generation === undefined ? {} : { observedGeneration: pod.metadata.generation }),
  };
}
