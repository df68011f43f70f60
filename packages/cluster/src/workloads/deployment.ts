import { type Condition, type Deployment, type PodTemplateSpec, type ReplicaSet, resources } from "@portolan/core";
import { findCondition, isTerminating, resolveIntOrPercent, withCondition } from "./pod-state.ts";
import { controllerReference, POD_TEMPLATE_HASH_LABEL, podTemplateHash, semanticallyEqual } from "./pod-template.ts";

/** Annotation with the number of a rollout, on Deployments and their ReplicaSets. */
export const REVISION_ANNOTATION = "deployment.kubernetes.io/revision";
const REVISION_HISTORY_ANNOTATION = "deployment.kubernetes.io/revision-history";
const DESIRED_REPLICAS_ANNOTATION = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS_ANNOTATION = "deployment.kubernetes.io/max-replicas";
const NOT_COPIED = new Set([
  "kubectl.kubernetes.io/last-applied-configuration",
  REVISION_ANNOTATION,
  REVISION_HISTORY_ANNOTATION,
  DESIRED_REPLICAS_ANNOTATION,
  MAX_REPLICAS_ANNOTATION,
  "deprecated.deployment.rollback.to",
]);

/** A change of one ReplicaSet. */
export interface ReplicaSetChange {
  /** As it was. */
  readonly replicaSet: ReplicaSet;
  /** Replicas it shall have, when they change. */
  readonly replicas?: number;
  /** Annotations to set. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** `minReadySeconds`, when it changes. */
  readonly minReadySeconds?: number;
}

/** What one pass over a Deployment does, in this order: create, change, delete, annotate, status. */
export interface DeploymentPlan {
  readonly create?: ReplicaSet;
  readonly changes: readonly ReplicaSetChange[];
  readonly delete: readonly ReplicaSet[];
  /** Annotations of the Deployment to set. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly status: NonNullable<Deployment["status"]>;
  /** Milliseconds after which the Deployment must be looked at again: its progress deadline. */
  readonly recheckAfter?: number;
}

/** What a plan is made from. */
export interface DeploymentState {
  readonly deployment: Deployment;
  /** The ReplicaSets that the Deployment controls. */
  readonly replicaSets: readonly ReplicaSet[];
  /** Pods of old ReplicaSets that still run (or end); `Recreate` waits for them. */
  readonly oldPodsRunning: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

function timestamp(now: number): string {
  return new Date(now).toISOString().replace(/\.\d+Z$/, "Z");
}

function revisionOf(replicaSet: ReplicaSet): number {
  return Number(replicaSet.metadata.annotations?.[REVISION_ANNOTATION] ?? 0) || 0;
}

/** The template without the label that the Deployment added. */
function plainTemplate(template: PodTemplateSpec | undefined): PodTemplateSpec {
  const { [POD_TEMPLATE_HASH_LABEL]: _, ...labels } = template?.metadata?.labels ?? {};
  return { ...template, metadata: { ...template?.metadata, labels, creationTimestamp: null } };
}

function oldestFirst(a: ReplicaSet, b: ReplicaSet): number {
  const left = Date.parse(a.metadata.creationTimestamp ?? "") || 0;
  const right = Date.parse(b.metadata.creationTimestamp ?? "") || 0;
  return left - right || ((a.metadata.name ?? "") < (b.metadata.name ?? "") ? -1 : 1);
}

/** The ReplicaSet of the Deployment's present template. Of several the oldest, so that every controller picks the same. */
export function findNewReplicaSet(deployment: Deployment, replicaSets: readonly ReplicaSet[]): ReplicaSet | undefined {
  const template = plainTemplate(deployment.spec?.template);
  return [...replicaSets]
    .sort(oldestFirst)
    .find((replicaSet) => semanticallyEqual(plainTemplate(replicaSet.spec?.template), template));
}

/** Most pods that may be missing, and most that may be too many, while a rollout goes on. */
export function rolloutBounds(deployment: Deployment): { readonly maxSurge: number; readonly maxUnavailable: number } {
  const spec = deployment.spec;
  const replicas = spec?.replicas ?? 1;
  if (spec?.strategy?.type === "Recreate") return { maxSurge: 0, maxUnavailable: 0 };
  const rolling = spec?.strategy?.rollingUpdate;
  const maxSurge = resolveIntOrPercent(rolling?.maxSurge ?? "25%", replicas, true);
  let maxUnavailable = resolveIntOrPercent(rolling?.maxUnavailable ?? "25%", replicas, false);
  // Both zero (by rounding) would never move.
  if (maxSurge === 0 && maxUnavailable === 0) maxUnavailable = 1;
  return { maxSurge, maxUnavailable: Math.min(maxUnavailable, replicas) };
}

const replicasOf = (replicaSet: ReplicaSet): number => replicaSet.spec?.replicas ?? 1;
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function newReplicaSetReplicas(deployment: Deployment, all: readonly ReplicaSet[], current: number): number {
  const replicas = deployment.spec?.replicas ?? 1;
  if (deployment.spec?.strategy?.type === "Recreate") return replicas;
  const total = sum(all.map(replicasOf));
  const allowed = replicas + rolloutBounds(deployment).maxSurge;
  if (total >= allowed) return current;
  return current + Math.min(allowed - total, replicas - current);
}

/**
 * One pass over a Deployment (pkg/controller/deployment): the ReplicaSet of the present template is found or made, replicas
 * move from old ones to it within `maxSurge` and `maxUnavailable` (`Recreate`: all old ones end first), a change of
 * `spec.replicas` is spread in proportion, finished rollouts keep `revisionHistoryLimit` empty ReplicaSets.
 */
export function planDeployment(state: DeploymentState): DeploymentPlan {
  const { deployment, now } = state;
  const replicaSets = [...state.replicaSets].sort(oldestFirst);
  const plan = new PlanBuilder(deployment, replicaSets, now);
  if (isTerminating(deployment)) return plan.finish();
  if (deployment.spec?.paused === true || plan.isScalingEvent()) {
    plan.findRevision(false);
    plan.scaleProportionally();
    if (deployment.spec?.paused === true) plan.cleanUp();
    return plan.finish();
  }
  if (deployment.spec?.strategy?.type === "Recreate") {
    plan.findRevision(false);
    if (plan.scaleDownAllOld() || state.oldPodsRunning) return plan.finish();
    plan.findRevision(true);
    plan.scaleNew();
    plan.cleanUp();
    return plan.finish();
  }
  plan.findRevision(true);
  if (!plan.scaleNew() && !plan.scaleDownOld()) plan.cleanUp();
  return plan.finish();
}

/** Collects the parts of a plan; each method is one step of a pass. */
class PlanBuilder {
  readonly #deployment: Deployment;
  readonly #replicaSets: readonly ReplicaSet[];
  readonly #now: number;
  readonly #changes = new Map<ReplicaSet, ReplicaSetChange>();
  readonly #delete: ReplicaSet[] = [];
  readonly #annotations: Record<string, string> = {};
  #new: ReplicaSet | undefined;
  #created: ReplicaSet | undefined;
  #conditions: Condition[];

  constructor(deployment: Deployment, replicaSets: readonly ReplicaSet[], now: number) {
    this.#deployment = deployment;
    this.#replicaSets = replicaSets;
    this.#now = now;
    this.#new = findNewReplicaSet(deployment, replicaSets);
    this.#conditions = [...(deployment.status?.conditions ?? [])];
  }

  get #replicas(): number {
    return this.#deployment.spec?.replicas ?? 1;
  }

  get #old(): ReplicaSet[] {
    return this.#replicaSets.filter((replicaSet) => replicaSet !== this.#new);
  }

  /** Old and new ReplicaSets with the replicas that this pass has already given them. */
  get #all(): ReplicaSet[] {
    return this.#new === undefined || this.#replicaSets.includes(this.#new)
      ? [...this.#replicaSets]
      : [...this.#replicaSets, this.#new];
  }

  #size(replicaSet: ReplicaSet): number {
    return this.#changes.get(replicaSet)?.replicas ?? replicasOf(replicaSet);
  }

  #change(replicaSet: ReplicaSet, change: Omit<ReplicaSetChange, "replicaSet">): void {
    if (replicaSet === this.#created) return;
    const old = this.#changes.get(replicaSet);
    this.#changes.set(replicaSet, {
      replicaSet,
      ...old,
      ...change,
      ...(old?.annotations === undefined && change.annotations === undefined
        ? {}
        : { annotations: { ...old?.annotations, ...change.annotations } }),
    });
  }

  #scaleAnnotations(): Record<string, string> {
    return {
      [DESIRED_REPLICAS_ANNOTATION]: String(this.#replicas),
      [MAX_REPLICAS_ANNOTATION]: String(this.#replicas + rolloutBounds(this.#deployment).maxSurge),
    };
  }

  #scale(replicaSet: ReplicaSet, replicas: number): boolean {
    const annotations = this.#scaleAnnotations();
    const current = replicaSet.metadata.annotations ?? {};
    const annotate = Object.entries(annotations).some(([key, value]) => current[key] !== value);
    const resize = replicas !== this.#size(replicaSet);
    if (resize || annotate) this.#change(replicaSet, { ...(resize ? { replicas } : {}), annotations });
    return resize;
  }

  isScalingEvent(): boolean {
    return this.#replicaSets.some((replicaSet) => {
      const desired = replicaSet.metadata.annotations?.[DESIRED_REPLICAS_ANNOTATION];
      return replicasOf(replicaSet) > 0 && desired !== undefined && Number(desired) !== this.#replicas;
    });
  }

  /** Finds the ReplicaSet of the present template, or makes it when `create` allows. */
  findRevision(create: boolean): void {
    const deployment = this.#deployment;
    const highest = Math.max(0, ...this.#old.map(revisionOf));
    const revision = String(highest + 1);
    if (this.#new !== undefined) {
      const annotations = this.#copiedAnnotations(this.#new);
      const own = this.#new.metadata.annotations?.[REVISION_ANNOTATION];
      if (revisionOf(this.#new) < highest + 1) {
        annotations[REVISION_ANNOTATION] = revision;
        if (own !== undefined) {
          const history = this.#new.metadata.annotations?.[REVISION_HISTORY_ANNOTATION];
          annotations[REVISION_HISTORY_ANNOTATION] =
            history === undefined || history === "" ? own : `${history},${own}`;
        }
      }
      const minReadySeconds = deployment.spec?.minReadySeconds ?? 0;
      if (Object.keys(annotations).length > 0) this.#change(this.#new, { annotations });
      if ((this.#new.spec?.minReadySeconds ?? 0) !== minReadySeconds) this.#change(this.#new, { minReadySeconds });
      this.#annotateDeployment(annotations[REVISION_ANNOTATION] ?? own ?? revision);
      if (deployment.spec?.progressDeadlineSeconds !== undefined && this.#progressing() === undefined) {
        this.#progress("True", "FoundNewReplicaSet", `Found new replica set "${this.#new.metadata.name}"`);
      }
      return;
    }
    if (!create) return;
    const created = this.#newReplicaSet(revision);
    this.#new = created;
    this.#created = created;
    this.#annotateDeployment(revision);
    if (deployment.spec?.progressDeadlineSeconds !== undefined) {
      this.#progress("True", "NewReplicaSetCreated", `Created new replica set "${created.metadata.name}"`);
    }
  }

  #copiedAnnotations(replicaSet: ReplicaSet): Record<string, string> {
    const result: Record<string, string> = {};
    for (const [key, value] of Object.entries(this.#deployment.metadata.annotations ?? {})) {
      if (!NOT_COPIED.has(key) && replicaSet.metadata.annotations?.[key] !== value) result[key] = value;
    }
    return result;
  }

  #annotateDeployment(revision: string): void {
    if (this.#deployment.metadata.annotations?.[REVISION_ANNOTATION] !== revision) {
      this.#annotations[REVISION_ANNOTATION] = revision;
    }
  }

  #newReplicaSet(revision: string): ReplicaSet {
    const deployment = this.#deployment;
    const hash = podTemplateHash(deployment.spec?.template ?? {}, deployment.status?.collisionCount);
    const template = structuredClone(deployment.spec?.template ?? {});
    const labels = { ...template.metadata?.labels, [POD_TEMPLATE_HASH_LABEL]: hash };
    const selector = deployment.spec?.selector ?? {};
    const replicaSet: ReplicaSet = {
      apiVersion: resources.replicaSets.apiVersion,
      kind: resources.replicaSets.kind,
      metadata: {
        name: `${deployment.metadata.name}-${hash}`,
        namespace: deployment.metadata.namespace ?? "default",
        labels,
        ownerReferences: [controllerReference(deployment, resources.deployments)],
      },
      spec: {
        replicas: 0,
        minReadySeconds: deployment.spec?.minReadySeconds ?? 0,
        selector: { ...selector, matchLabels: { ...selector.matchLabels, [POD_TEMPLATE_HASH_LABEL]: hash } },
        template: { ...template, metadata: { ...template.metadata, labels } },
      },
    };
    replicaSet.metadata.annotations = {
      ...this.#copiedAnnotations(replicaSet),
      ...this.#scaleAnnotations(),
      [REVISION_ANNOTATION]: revision,
    };
    replicaSet.spec!.replicas = newReplicaSetReplicas(deployment, [...this.#replicaSets, replicaSet], 0);
    return replicaSet;
  }

  /** Gives the new ReplicaSet as many replicas as it may have now; true when that changed something. */
  scaleNew(): boolean {
    const replicaSet = this.#new;
    if (replicaSet === undefined || replicaSet === this.#created) return this.#created !== undefined;
    const current = replicasOf(replicaSet);
    if (current === this.#replicas) return this.#scale(replicaSet, current);
    if (current > this.#replicas) return this.#scale(replicaSet, this.#replicas);
    return this.#scale(replicaSet, newReplicaSetReplicas(this.#deployment, this.#all, current));
  }

  scaleDownAllOld(): boolean {
    let scaled = false;
    for (const replicaSet of this.#old) if (replicasOf(replicaSet) > 0) scaled = this.#scale(replicaSet, 0) || scaled;
    return scaled;
  }

  /** Takes replicas from old ReplicaSets: first those that are not available anyway, then as many as may be missing. */
  scaleDownOld(): boolean {
    const fresh = this.#new;
    if (fresh === undefined) return false;
    const old = this.#old.filter((replicaSet) => replicasOf(replicaSet) > 0);
    const oldReplicas = sum(old.map(replicasOf));
    if (oldReplicas === 0) return false;
    const { maxUnavailable } = rolloutBounds(this.#deployment);
    const minAvailable = this.#replicas - maxUnavailable;
    const newUnavailable = replicasOf(fresh) - (fresh.status?.availableReplicas ?? 0);
    let budget = oldReplicas + replicasOf(fresh) - minAvailable - newUnavailable;
    if (budget <= 0) return false;
    let scaled = false;
    for (const replicaSet of old) {
      const unhealthy = replicasOf(replicaSet) - (replicaSet.status?.availableReplicas ?? 0);
      const less = Math.min(budget, unhealthy);
      if (less <= 0) continue;
      scaled = this.#scale(replicaSet, replicasOf(replicaSet) - less) || scaled;
      budget -= less;
    }
    const available = sum(this.#replicaSets.map((replicaSet) => replicaSet.status?.availableReplicas ?? 0));
    budget = Math.min(budget, available - minAvailable);
    for (const replicaSet of old) {
      const size = this.#size(replicaSet);
      const less = Math.min(budget, size);
      if (less <= 0) continue;
      scaled = this.#scale(replicaSet, size - less) || scaled;
      budget -= less;
    }
    return scaled;
  }

  /** Spreads a change of `spec.replicas` over all ReplicaSets with pods, in proportion to their sizes. */
  scaleProportionally(): void {
    const active = this.#all.filter((replicaSet) => replicasOf(replicaSet) > 0);
    if (active.length <= 1) {
      const only = active[0] ?? this.#new ?? this.#replicaSets[this.#replicaSets.length - 1];
      if (only !== undefined && only !== this.#created) this.#scale(only, this.#replicas);
      return;
    }
    const fresh = this.#new;
    if (fresh !== undefined && this.#isSaturated(fresh)) {
      for (const replicaSet of this.#old) if (replicasOf(replicaSet) > 0) this.#scale(replicaSet, 0);
      return;
    }
    if (this.#deployment.spec?.strategy?.type === "Recreate") return;
    const total = sum(active.map(replicasOf));
    const allowed = this.#replicas > 0 ? this.#replicas + rolloutBounds(this.#deployment).maxSurge : 0;
    let remaining = allowed - total;
    // Growth favours the newest, shrinking the largest and then the oldest.
    const bySize = [...active].sort(
      (a, b) => replicasOf(b) - replicasOf(a) || (remaining > 0 ? oldestFirst(b, a) : oldestFirst(a, b)),
    );
    const sizes = new Map<ReplicaSet, number>();
    for (const replicaSet of bySize) {
      const size = replicasOf(replicaSet);
      const before = Number(replicaSet.metadata.annotations?.[MAX_REPLICAS_ANNOTATION] ?? 0) || total;
      const share = Math.round((size * allowed) / before) - size;
      const part = remaining > 0 ? Math.max(0, Math.min(share, remaining)) : Math.min(0, Math.max(share, remaining));
      sizes.set(replicaSet, Math.max(0, size + part));
      remaining -= part;
    }
    const first = bySize[0];
    if (first !== undefined && remaining !== 0) sizes.set(first, Math.max(0, (sizes.get(first) ?? 0) + remaining));
    for (const [replicaSet, size] of sizes) this.#scale(replicaSet, size);
  }

  #isSaturated(replicaSet: ReplicaSet): boolean {
    const desired = Number(replicaSet.metadata.annotations?.[DESIRED_REPLICAS_ANNOTATION]);
    return (
      replicasOf(replicaSet) === this.#replicas &&
      desired === this.#replicas &&
      replicaSet.status?.availableReplicas === this.#replicas
    );
  }

  /** Deletes the oldest empty ReplicaSets beyond the history limit, once the rollout is complete. */
  cleanUp(): void {
    const limit = this.#deployment.spec?.revisionHistoryLimit ?? 10;
    if (!this.#complete(this.#statusNumbers())) return;
    const empty = this.#old
      .filter((rs) => !isTerminating(rs) && (rs.status?.replicas ?? 0) === 0 && replicasOf(rs) === 0)
      .sort((a, b) => revisionOf(a) - revisionOf(b));
    const excess = this.#old.length - limit;
    if (excess > 0) this.#delete.push(...empty.slice(0, excess));
  }

  #progressing(): Condition | undefined {
    return findCondition(this.#conditions, "Progressing");
  }

  #progress(status: Condition["status"], reason: string, message: string): void {
    const time = timestamp(this.#now);
    this.#conditions = withCondition(this.#conditions, {
      type: "Progressing",
      status,
      reason,
      message,
      lastUpdateTime: time,
      lastTransitionTime: time,
    });
  }

  #statusNumbers(): NonNullable<Deployment["status"]> {
    const all = this.#replicaSets.map((replicaSet) => replicaSet.status);
    const available = sum(all.map((status) => status?.availableReplicas ?? 0));
    const total = sum(this.#all.map((replicaSet) => this.#size(replicaSet)));
    const { collisionCount } = this.#deployment.status ?? {};
    const terminating = all.map((status) => status?.terminatingReplicas);
    // Unknown as long as one ReplicaSet has not said.
    const known = terminating.every((count) => count !== undefined);
    return {
      observedGeneration: this.#deployment.metadata.generation ?? 0,
      replicas: sum(all.map((status) => status?.replicas ?? 0)),
      updatedReplicas: this.#new?.status?.replicas ?? 0,
      readyReplicas: sum(all.map((status) => status?.readyReplicas ?? 0)),
      availableReplicas: available,
      unavailableReplicas: Math.max(0, total - available),
      ...(known ? { terminatingReplicas: sum(terminating) } : {}),
      ...(collisionCount === undefined ? {} : { collisionCount }),
    };
  }

  #complete(status: NonNullable<Deployment["status"]>): boolean {
    return (
      status.updatedReplicas === this.#replicas &&
      status.replicas === this.#replicas &&
      status.availableReplicas === this.#replicas &&
      status.observedGeneration === (this.#deployment.metadata.generation ?? 0)
    );
  }

  finish(): DeploymentPlan {
    const status = this.#statusNumbers();
    this.#finishConditions(status);
    if (this.#conditions.length > 0) status.conditions = this.#conditions;
    const deadline = this.#recheckAfter(status);
    return {
      ...(this.#created === undefined ? {} : { create: this.#created }),
      changes: [...this.#changes.values()],
      delete: this.#delete,
      annotations: this.#annotations,
      status,
      ...(deadline === undefined ? {} : { recheckAfter: deadline }),
    };
  }

  #finishConditions(status: NonNullable<Deployment["status"]>): void {
    const deployment = this.#deployment;
    const time = timestamp(this.#now);
    const { maxUnavailable } = rolloutBounds(deployment);
    const enough = (status.availableReplicas ?? 0) >= this.#replicas - maxUnavailable;
    this.#conditions = withCondition(this.#conditions, {
      type: "Available",
      status: enough ? "True" : "False",
      reason: enough ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
      message: `Deployment ${enough ? "has" : "does not have"} minimum availability.`,
      lastUpdateTime: time,
      lastTransitionTime: time,
    });
    const failure = this.#replicaSets.flatMap((rs) => findCondition(rs.status?.conditions, "ReplicaFailure") ?? [])[0];
    this.#conditions = this.#conditions.filter((condition) => condition.type !== "ReplicaFailure");
    if (failure !== undefined)
      this.#conditions.push({ ...failure, lastUpdateTime: failure.lastTransitionTime ?? time });
    if (deployment.spec?.progressDeadlineSeconds === undefined) {
      this.#conditions = this.#conditions.filter((condition) => condition.type !== "Progressing");
      return;
    }
    if (deployment.spec.paused === true) {
      if (this.#progressing()?.reason !== "DeploymentPaused") {
        this.#progress("Unknown", "DeploymentPaused", "Deployment is paused");
      }
      return;
    }
    if (this.#progressing()?.reason === "DeploymentPaused") {
      this.#progress("Unknown", "DeploymentResumed", "Deployment is resumed");
      return;
    }
    const name = this.#new?.metadata.name;
    const subject = name === undefined ? `Deployment "${deployment.metadata.name}"` : `ReplicaSet "${name}"`;
    const current = this.#progressing();
    const settled = status.replicas === status.updatedReplicas && current?.reason === "NewReplicaSetAvailable";
    if (settled) return;
    if (this.#complete(status)) {
      this.#progress("True", "NewReplicaSetAvailable", `${subject} has successfully progressed.`);
      return;
    }
    const old = deployment.status ?? {};
    const oldOld = (old.replicas ?? 0) - (old.updatedReplicas ?? 0);
    const progressed =
      (status.updatedReplicas ?? 0) > (old.updatedReplicas ?? 0) ||
      (status.replicas ?? 0) - (status.updatedReplicas ?? 0) < oldOld ||
      (status.readyReplicas ?? 0) > (old.readyReplicas ?? 0) ||
      (status.availableReplicas ?? 0) > (old.availableReplicas ?? 0);
    if (progressed) {
      // Each step of progress starts the deadline anew, so the update time must move even if the texts stay.
      this.#conditions = this.#conditions.filter((condition) => condition.type !== "Progressing");
      this.#progress("True", "ReplicaSetUpdated", `${subject} is progressing.`);
      if (current?.status === "True" && current.lastTransitionTime !== undefined) {
        this.#progressing()!.lastTransitionTime = current.lastTransitionTime;
      }
    } else if (this.#timedOut(current)) {
      this.#progress("False", "ProgressDeadlineExceeded", `${subject} has timed out progressing.`);
    }
  }

  #timedOut(condition: Condition | undefined): boolean {
    const remaining = this.#untilDeadline(condition);
    return remaining !== undefined && remaining <= 0;
  }

  #untilDeadline(condition: Condition | undefined): number | undefined {
    const seconds = this.#deployment.spec?.progressDeadlineSeconds;
    if (seconds === undefined || condition === undefined) return undefined;
    if (condition.reason === "NewReplicaSetAvailable" || condition.reason === "ProgressDeadlineExceeded")
      return undefined;
    return Date.parse(condition.lastUpdateTime ?? "") + seconds * 1000 - this.#now;
  }

  #recheckAfter(status: NonNullable<Deployment["status"]>): number | undefined {
    if (this.#complete(status) || this.#deployment.spec?.paused === true) return undefined;
    const remaining = this.#untilDeadline(this.#progressing());
    return remaining === undefined || Number.isNaN(remaining) ? undefined : Math.max(1000, remaining + 1000);
  }
}
