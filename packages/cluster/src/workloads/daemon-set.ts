import { type DaemonSet, type Node, type Pod, resources, type Toleration } from "@portolan/core";
import { matchesNodeAffinity } from "../scheduler/node-affinity.ts";
import { untoleratedTaint } from "../scheduler/taints.ts";
import { availableIn, isPodAvailable, isPodReady, isTerminating, resolveIntOrPercent } from "./pod-state.ts";
import { CONTROLLER_REVISION_HASH_LABEL, podFromTemplate, podNamePrefix, podTemplateHash } from "./pod-template.ts";

/** What one pass over a DaemonSet does. */
export interface DaemonSetPlan {
  readonly create: readonly Pod[];
  readonly delete: readonly Pod[];
  readonly status: NonNullable<DaemonSet["status"]>;
  /** Milliseconds until a pod becomes available by `minReadySeconds`. */
  readonly recheckAfter?: number;
}

/** Tolerations that every DaemonSet pod has: it runs on nodes that are in trouble or cordoned. */
const DAEMON_TOLERATIONS: readonly Toleration[] = [
  { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute" },
  { key: "node.kubernetes.io/unreachable", operator: "Exists", effect: "NoExecute" },
  { key: "node.kubernetes.io/disk-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/memory-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/pid-pressure", operator: "Exists", effect: "NoSchedule" },
  { key: "node.kubernetes.io/unschedulable", operator: "Exists", effect: "NoSchedule" },
];
const NETWORK_TOLERATION: Toleration = {
  key: "node.kubernetes.io/network-unavailable",
  operator: "Exists",
  effect: "NoSchedule",
};

/** The node that a DaemonSet's pod is for: where it runs, or where its affinity sends it. */
function targetNode(pod: Pod): string | undefined {
  if (pod.spec?.nodeName !== undefined && pod.spec.nodeName !== "") return pod.spec.nodeName;
  const affinity = pod.spec?.affinity as
    | {
        nodeAffinity?: {
          requiredDuringSchedulingIgnoredDuringExecution?: {
            nodeSelectorTerms?: { matchFields?: { key: string; values?: string[] }[] }[];
          };
        };
      }
    | undefined;
  const terms = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  for (const term of terms) {
    const field = term.matchFields?.find(({ key }) => key === "metadata.name");
    if (field?.values?.length === 1) return field.values[0];
  }
  return undefined;
}

function daemonPod(set: DaemonSet, nodeName: string, hash: string): Pod {
  const pod = podFromTemplate(set.spec?.template ?? {}, set, resources.daemonSets, {
    generateName: podNamePrefix(set.metadata.name ?? ""),
    labels: { [CONTROLLER_REVISION_HASH_LABEL]: hash },
  });
  const spec = pod.spec!;
  const affinity = (spec.affinity ?? {}) as { nodeAffinity?: Record<string, unknown> };
  const matchFields = [{ key: "metadata.name", operator: "In", values: [nodeName] }];
  const required = affinity.nodeAffinity?.["requiredDuringSchedulingIgnoredDuringExecution"] as
    | { nodeSelectorTerms?: Record<string, unknown>[] }
    | undefined;
  const terms = required?.nodeSelectorTerms ?? [];
  spec.affinity = {
    ...affinity,
    nodeAffinity: {
      ...affinity.nodeAffinity,
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: terms.length === 0 ? [{ matchFields }] : terms.map((term) => ({ ...term, matchFields })),
      },
    },
  };
  spec.tolerations = [
    ...(spec.tolerations ?? []),
    ...DAEMON_TOLERATIONS,
    ...(spec.hostNetwork === true ? [NETWORK_TOLERATION] : []),
  ];
  return pod;
}

/**
 * One pass over a DaemonSet: one pod on each node that the template's selectors and tolerations allow, none elsewhere, failed
 * ones anew; an update goes node by node within `maxUnavailable`. `pods` are those the DaemonSet controls.
 */
export function planDaemonSet(
  set: DaemonSet,
  nodes: readonly Node[],
  pods: readonly Pod[],
  now: number,
): DaemonSetPlan {
  const hash = podTemplateHash(set.spec?.template ?? {});
  const minReadySeconds = set.spec?.minReadySeconds ?? 0;
  const spec = set.spec?.template.spec;
  const tolerations = [
    ...(spec?.tolerations ?? []),
    ...DAEMON_TOLERATIONS,
    ...(spec?.hostNetwork === true ? [NETWORK_TOLERATION] : []),
  ];
  const template = spec === undefined ? {} : { spec };
  const byNode = new Map<string, Pod[]>();
  for (const pod of pods) {
    const node = targetNode(pod) ?? "";
    byNode.set(node, [...(byNode.get(node) ?? []), pod]);
  }
  const create: Pod[] = [];
  const remove: Pod[] = [];
  const numbers = { current: 0, misscheduled: 0, desired: 0, ready: 0, updated: 0, available: 0 };
  const outdated: { pod: Pod; available: boolean }[] = [];
  let unavailable = 0;
  const waits: number[] = [];
  for (const node of nodes) {
    const name = node.metadata.name ?? "";
    const here = byNode.get(name) ?? [];
    byNode.delete(name);
    const fits =
      matchesNodeAffinity(template, node) && untoleratedTaint(node, tolerations, ["NoSchedule"]) === undefined;
    const stays = fits && untoleratedTaint(node, tolerations, ["NoExecute"]) === undefined;
    const alive = here.filter((pod) => !isTerminating(pod));
    if (!fits || !stays) {
      if (here.length > 0 && !fits) numbers.misscheduled++;
      if (!stays) remove.push(...alive);
      continue;
    }
    numbers.desired++;
    const failed = alive.filter((pod) => pod.status?.phase === "Failed");
    remove.push(...failed);
    const running = alive
      .filter((pod) => !failed.includes(pod))
      .sort((a, b) => (a.metadata.creationTimestamp ?? "").localeCompare(b.metadata.creationTimestamp ?? ""));
    remove.push(...running.slice(1));
    const pod = running[0];
    if (here.length > 0) numbers.current++;
    if (pod === undefined) {
      unavailable++;
      // A pod that still ends keeps its place: the next one comes when it is gone.
      if (here.length === 0 && !isTerminating(set)) create.push(daemonPod(set, name, hash));
      continue;
    }
    const wait = availableIn(pod, minReadySeconds, now);
    const available = isPodAvailable(pod, minReadySeconds, now);
    if (isPodReady(pod)) {
      numbers.ready++;
      if (wait > 0) waits.push(wait);
    }
    if (available) numbers.available++;
    else unavailable++;
    if (pod.metadata.labels?.[CONTROLLER_REVISION_HASH_LABEL] === hash) numbers.updated++;
    else outdated.push({ pod, available });
  }
  // Pods for nodes that are gone.
  for (const [name, rest] of byNode) if (name !== "") remove.push(...rest.filter((pod) => !isTerminating(pod)));
  if (set.spec?.updateStrategy?.type !== "OnDelete") {
    const rolling = set.spec?.updateStrategy?.rollingUpdate;
    let budget = resolveIntOrPercent(rolling?.maxUnavailable ?? 1, numbers.desired, true) - unavailable;
    for (const { pod, available } of outdated) {
      if (available && budget-- <= 0) continue;
      remove.push(pod);
    }
  }
  return {
    create: isTerminating(set) ? [] : create,
    delete: isTerminating(set) ? [] : remove,
    status: {
      currentNumberScheduled: numbers.current,
      numberMisscheduled: numbers.misscheduled,
      desiredNumberScheduled: numbers.desired,
      numberReady: numbers.ready,
      observedGeneration: set.metadata.generation ?? 0,
      updatedNumberScheduled: numbers.updated,
      numberAvailable: numbers.available,
      numberUnavailable: numbers.desired - numbers.available,
    },
    ...(waits.length === 0 ? {} : { recheckAfter: Math.min(...waits) }),
  };
}
