import { type LabelSelector, matchLabelSelector, type Node, type Pod } from "@portolan/core";
import { controllerOf } from "../workloads/pod-template.ts";
import { matchesNodeAffinity, matchesNodeSelectorTerm, nodeAffinityOf } from "./node-affinity.ts";
import { allocatable, podRequests } from "./resource-requests.ts";
import { tolerates, UNSCHEDULABLE_TAINT, untoleratedTaint } from "./taints.ts";

/** One term of a pod (anti-)affinity. */
export interface PodAffinityTerm {
  readonly topologyKey: string;
  readonly labelSelector?: LabelSelector;
  readonly namespaces?: readonly string[];
  readonly namespaceSelector?: LabelSelector;
}

interface PodAffinity {
  readonly requiredDuringSchedulingIgnoredDuringExecution?: readonly PodAffinityTerm[];
  readonly preferredDuringSchedulingIgnoredDuringExecution?: readonly {
    readonly weight: number;
    readonly podAffinityTerm: PodAffinityTerm;
  }[];
}

/** What a decision is made from. */
export interface ClusterState {
  readonly nodes: readonly Node[];
  /** Pods of all nodes; finished ones do not count. */
  readonly pods: readonly Pod[];
}

/** Where a pod goes, or why it goes nowhere. `message` is worded as kube-scheduler's. */
export type SchedulingResult =
  | { readonly node: string }
  | { readonly node?: undefined; readonly message: string; readonly reasons: ReadonlyMap<string, readonly string[]> };

/** A node with what runs on it. */
interface NodeState {
  readonly node: Node;
  readonly pods: readonly Pod[];
}

const HOSTNAME_LABEL = "kubernetes.io/hostname";
const ZONE_LABEL = "topology.kubernetes.io/zone";

function affinityOf(pod: Pod, kind: "podAffinity" | "podAntiAffinity"): PodAffinity {
  return (pod.spec?.affinity?.[kind] as PodAffinity | undefined) ?? {};
}

/** Value of a topology label; a node without a hostname label is its own host. */
function topologyValue(node: Node, key: string): string | undefined {
  return node.metadata.labels?.[key] ?? (key === HOSTNAME_LABEL ? node.metadata.name : undefined);
}

function termSelects(term: PodAffinityTerm, owner: Pod, candidate: Pod): boolean {
  const namespace = candidate.metadata.namespace ?? "default";
  const own = owner.metadata.namespace ?? "default";
  // A namespace selector cannot be answered from pods alone: an empty one means all, others are taken as no match.
  const everywhere = term.namespaceSelector !== undefined && Object.keys(term.namespaceSelector).length === 0;
  const namespaces = term.namespaces ?? [];
  if (!everywhere && !(namespaces.length === 0 ? namespace === own : namespaces.includes(namespace))) return false;
  return term.labelSelector !== undefined && matchLabelSelector(term.labelSelector, candidate.metadata.labels);
}

/** True when the domain of `node` under the term's key holds a pod that the term selects. */
function domainHas(term: PodAffinityTerm, owner: Pod, node: Node, states: readonly NodeState[]): boolean {
  const domain = topologyValue(node, term.topologyKey);
  if (domain === undefined) return false;
  return states.some(
    (state) =>
      topologyValue(state.node, term.topologyKey) === domain &&
      state.pods.some((candidate) => termSelects(term, owner, candidate)),
  );
}

function hostPorts(pod: Pod): { readonly port: number; readonly protocol: string; readonly ip: string }[] {
  return (pod.spec?.containers ?? []).flatMap((container) =>
    (container.ports ?? []).flatMap((port) => {
      const hostPort = port.hostPort ?? (pod.spec?.hostNetwork === true ? port.containerPort : 0);
      if (hostPort === 0) return [];
      return [{ port: hostPort, protocol: port.protocol ?? "TCP", ip: port.hostIP ?? "0.0.0.0" }];
    }),
  );
}

function portsConflict(pod: Pod, others: readonly Pod[]): boolean {
  const wanted = hostPorts(pod);
  if (wanted.length === 0) return false;
  const any = (ip: string): boolean => ip === "0.0.0.0" || ip === "::" || ip === "";
  return others
    .flatMap(hostPorts)
    .some((used) =>
      wanted.some(
        (want) =>
          want.port === used.port &&
          want.protocol === used.protocol &&
          (any(want.ip) || any(used.ip) || want.ip === used.ip),
      ),
    );
}

/** Why the pod cannot go to the node; empty when it can. The order of checks is that of kube-scheduler's default plugins. */
function refusals(pod: Pod, state: NodeState, states: readonly NodeState[]): string[] {
  const { node, pods } = state;
  const tolerations = pod.spec?.tolerations ?? [];
  if (
    node.spec?.unschedulable === true &&
    !tolerations.some((toleration) => tolerates(toleration, { key: UNSCHEDULABLE_TAINT, effect: "NoSchedule" }))
  ) {
    return ["node(s) were unschedulable"];
  }
  const taint = untoleratedTaint(node, tolerations, ["NoSchedule", "NoExecute"]);
  if (taint !== undefined) return [`node(s) had untolerated taint {${taint.key}: ${taint.value ?? ""}}`];
  if (!matchesNodeAffinity(pod, node)) return ["node(s) didn't match Pod's node affinity/selector"];
  if (portsConflict(pod, pods)) return ["node(s) didn't have free ports for the requested pod ports"];
  const insufficient = insufficientResources(pod, state);
  if (insufficient.length > 0) return insufficient;
  const spread = spreadRefusal(pod, node, states);
  if (spread !== undefined) return [spread];
  const affinity = affinityRefusal(pod, node, states);
  return affinity === undefined ? [] : [affinity];
}

function insufficientResources(pod: Pod, { node, pods }: NodeState): string[] {
  const result: string[] = [];
  const used = new Map<string, number>();
  for (const other of pods) for (const [name, n] of podRequests(other)) used.set(name, (used.get(name) ?? 0) + n);
  for (const [name, amount] of podRequests(pod)) {
    if ((used.get(name) ?? 0) + amount <= allocatable(node, name)) continue;
    result.push(name === "pods" ? "Too many pods" : `Insufficient ${name}`);
  }
  return result;
}

function spreadRefusal(pod: Pod, node: Node, states: readonly NodeState[]): string | undefined {
  for (const constraint of pod.spec?.topologySpreadConstraints ?? []) {
    if (constraint.whenUnsatisfiable !== "DoNotSchedule") continue;
    const domain = topologyValue(node, constraint.topologyKey);
    if (domain === undefined) {
      return "node(s) didn't match pod topology spread constraints (missing required label)";
    }
    const counts = countByDomain(pod, constraint.topologyKey, constraint.labelSelector, states, true);
    const self = matchLabelSelector(constraint.labelSelector, pod.metadata.labels) ? 1 : 0;
    const skew = (counts.get(domain) ?? 0) + self - Math.min(...counts.values());
    if (skew > constraint.maxSkew) return "node(s) didn't match pod topology spread constraints";
  }
  return undefined;
}

/** Matching pods of the pod's namespace by domain. With `eligible`, only domains of nodes that the pod's affinity allows. */
function countByDomain(
  pod: Pod,
  topologyKey: string,
  selector: LabelSelector | undefined,
  states: readonly NodeState[],
  eligible: boolean,
): Map<string, number> {
  const counts = new Map<string, number>();
  for (const state of states) {
    const domain = topologyValue(state.node, topologyKey);
    if (domain === undefined || (eligible && !matchesNodeAffinity(pod, state.node))) continue;
    const matching = state.pods.filter(
      (other) =>
        other.metadata.namespace === pod.metadata.namespace &&
        other.metadata.deletionTimestamp === undefined &&
        matchLabelSelector(selector, other.metadata.labels),
    );
    counts.set(domain, (counts.get(domain) ?? 0) + matching.length);
  }
  return counts;
}

function affinityRefusal(pod: Pod, node: Node, states: readonly NodeState[]): string | undefined {
  const terms = affinityOf(pod, "podAffinity").requiredDuringSchedulingIgnoredDuringExecution ?? [];
  const unmet = terms.filter((term) => !domainHas(term, pod, node, states));
  if (unmet.length > 0) {
    // The first pod of a group that wants its own company is let in, or none could ever start.
    const first =
      terms.every((term) => termSelects(term, pod, pod) && topologyValue(node, term.topologyKey) !== undefined) &&
      !terms.some((term) => states.some((state) => state.pods.some((other) => termSelects(term, pod, other))));
    if (!first) return "node(s) didn't match pod affinity rules";
  }
  const apart = affinityOf(pod, "podAntiAffinity").requiredDuringSchedulingIgnoredDuringExecution ?? [];
  if (apart.some((term) => domainHas(term, pod, node, states))) return "node(s) didn't match pod anti-affinity rules";
  for (const state of states) {
    for (const other of state.pods) {
      const theirs = affinityOf(other, "podAntiAffinity").requiredDuringSchedulingIgnoredDuringExecution ?? [];
      const refused = theirs.some((term) => {
        const domain = topologyValue(node, term.topologyKey);
        return (
          domain !== undefined &&
          topologyValue(state.node, term.topologyKey) === domain &&
          termSelects(term, other, pod)
        );
      });
      if (refused) return "node(s) didn't satisfy existing pods anti-affinity rules";
    }
  }
  return undefined;
}

/** Score of a node that can take the pod, higher is better: preferences of the pod first, then even spread, then free room. */
function score(pod: Pod, state: NodeState, states: readonly NodeState[]): number {
  const { node, pods } = state;
  let result = 0;
  for (const preferred of nodeAffinityOf(pod)?.preferredDuringSchedulingIgnoredDuringExecution ?? []) {
    if (matchesNodeSelectorTerm(preferred.preference, node)) result += preferred.weight * 10;
  }
  for (const preferred of affinityOf(pod, "podAffinity").preferredDuringSchedulingIgnoredDuringExecution ?? []) {
    if (domainHas(preferred.podAffinityTerm, pod, node, states)) result += preferred.weight * 10;
  }
  for (const preferred of affinityOf(pod, "podAntiAffinity").preferredDuringSchedulingIgnoredDuringExecution ?? []) {
    if (domainHas(preferred.podAffinityTerm, pod, node, states)) result -= preferred.weight * 10;
  }
  if (untoleratedTaint(node, pod.spec?.tolerations ?? [], ["PreferNoSchedule"]) !== undefined) result -= 300;
  for (const constraint of pod.spec?.topologySpreadConstraints ?? []) {
    if (constraint.whenUnsatisfiable === "DoNotSchedule") continue;
    const domain = topologyValue(node, constraint.topologyKey);
    const counts = countByDomain(pod, constraint.topologyKey, constraint.labelSelector, states, true);
    result -= domain === undefined ? 500 : (counts.get(domain) ?? 0) * 100;
  }
  const owner = controllerOf(pod)?.uid;
  if (owner !== undefined && (pod.spec?.topologySpreadConstraints ?? []).length === 0) {
    const siblings = (list: readonly Pod[]): number =>
      list.filter((other) => other.metadata.deletionTimestamp === undefined && controllerOf(other)?.uid === owner)
        .length;
    result -= siblings(pods) * 100;
    const zone = topologyValue(node, ZONE_LABEL);
    const inZone = states.filter((other) => topologyValue(other.node, ZONE_LABEL) === zone);
    if (zone !== undefined) result -= (inZone.reduce((n, other) => n + siblings(other.pods), 0) / inZone.length) * 50;
  }
  const room = allocatable(node, "cpu");
  const used = pods.reduce((total, other) => total + (podRequests(other).get("cpu") ?? 0), 0);
  if (Number.isFinite(room) && room > 0) result -= (used / room) * 20;
  return result - pods.length;
}

function countText(count: number, total: number): string {
  return `${count}/${total} nodes are available`;
}

/**
 * Chooses a node for the pod. Ties go to the node first in the list, so equal states give equal answers. Cost: nodes × pods
 * for pods with affinity or spread terms, else nodes + pods.
 */
export function schedulePod(pod: Pod, cluster: ClusterState): SchedulingResult {
  const byNode = new Map<string, Pod[]>(cluster.nodes.map((node) => [node.metadata.name ?? "", []]));
  for (const other of cluster.pods) {
    if (other.status?.phase === "Succeeded" || other.status?.phase === "Failed") continue;
    if (other.metadata.uid !== pod.metadata.uid) byNode.get(other.spec?.nodeName ?? "")?.push(other);
  }
  const states = cluster.nodes.map((node) => ({ node, pods: byNode.get(node.metadata.name ?? "") ?? [] }));
  const reasons = new Map<string, string[]>();
  let best: { readonly name: string; readonly score: number } | undefined;
  for (const state of states) {
    const name = state.node.metadata.name ?? "";
    const refused = refusals(pod, state, states);
    if (refused.length > 0) {
      reasons.set(name, refused);
      continue;
    }
    const value = score(pod, state, states);
    if (best === undefined || value > best.score) best = { name, score: value };
  }
  if (best !== undefined) return { node: best.name };
  return { message: refusalMessage(states.length, reasons), reasons };
}

function refusalMessage(total: number, reasons: ReadonlyMap<string, readonly string[]>): string {
  if (total === 0) return "no nodes available to schedule pods";
  const counts = new Map<string, number>();
  let roomProblems = 0;
  for (const list of reasons.values()) {
    for (const reason of list) counts.set(reason, (counts.get(reason) ?? 0) + 1);
    if (list.some((reason) => /^(Insufficient|Too many pods)/.test(reason))) roomProblems++;
  }
  const texts = [...counts].map(([reason, count]) => `${count} ${reason}`).sort();
  const preemption: string[] = [];
  if (roomProblems > 0) preemption.push(`${roomProblems} No preemption victims found for incoming pod`);
  if (total > roomProblems) preemption.push(`${total - roomProblems} Preemption is not helpful for scheduling`);
  return (
    `${countText(0, total)}: ${texts.join(", ")}. ` + `preemption: ${countText(0, total)}: ${preemption.join(", ")}.`
  );
}
