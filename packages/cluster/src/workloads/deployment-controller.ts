import { ApiError, objectKey, splitObjectKey, systemClock } from "@portolan/client";
import { type Deployment, type KubernetesObject, type Pod, type ReplicaSet, resources } from "@portolan/core";
import { findNewReplicaSet, planDeployment, type ReplicaSetChange } from "./deployment.ts";
import { isTerminating } from "./pod-state.ts";
import { controllerOf, semanticallyEqual } from "./pod-template.ts";
import {
  CONTROLLER_INDEX,
  controllerIndex,
  podInformer,
  runReconciler,
  type WorkloadController,
  type WorkloadControllerOptions,
  workloadQueue,
  writeStatus,
} from "./workload-controller.ts";

/** Rolls out Deployments by way of ReplicaSets. Events: ScalingReplicaSet. */
export function createDeploymentController(options: WorkloadControllerOptions): WorkloadController {
  const { api, informers, clock = systemClock, events } = options;
  const deployments = informers.informer<Deployment>(resources.deployments);
  const replicaSets = informers.informer<ReplicaSet>(resources.replicaSets, {
    indexes: { [CONTROLLER_INDEX]: controllerIndex },
  });
  const pods = podInformer(informers);
  const queue = workloadQueue(clock);

  const enqueueOwner = (object: KubernetesObject | undefined): void => {
    const owner = object === undefined ? undefined : controllerOf(object);
    if (owner?.kind === "Deployment") queue.add(`${object?.metadata?.namespace}/${owner.name}`);
  };
  const removers = [
    deployments.addHandler({
      add: (object) => queue.add(objectKey(object)),
      update: (_, object) => queue.add(objectKey(object)),
    }),
    replicaSets.addHandler({
      add: enqueueOwner,
      update: (_, object) => enqueueOwner(object),
      delete: enqueueOwner,
    }),
    // Recreate waits for the last old pod, which no ReplicaSet shows: terminating pods are not in its status.
    pods.addHandler({
      delete(pod) {
        const owner = controllerOf(pod);
        if (owner?.kind !== "ReplicaSet") return;
        const set = replicaSets.lister.get(pod.metadata.namespace, owner.name);
        if (set !== undefined) enqueueOwner(set);
        else for (const object of deployments.lister.list(pod.metadata.namespace)) queue.add(objectKey(object));
      },
    }),
  ];

  function podsRun(sets: readonly ReplicaSet[]): boolean {
    const ended = (pod: Pod): boolean => pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
    return sets.some((set) => pods.lister.byIndex(CONTROLLER_INDEX, set.metadata.uid ?? "").some((pod) => !ended(pod)));
  }

  async function create(deployment: Deployment, replicaSet: ReplicaSet): Promise<void> {
    try {
      await api.create(resources.replicaSets, replicaSet);
    } catch (error) {
      if (!(error instanceof ApiError) || error.reason !== "AlreadyExists") throw error;
      const { name = "", namespace = "default" } = replicaSet.metadata;
      const existing = await api.get<ReplicaSet>(resources.replicaSets, { name, namespace });
      const ours = controllerOf(existing)?.uid === deployment.metadata.uid;
      if (ours && findNewReplicaSet(deployment, [existing]) !== undefined) return;
      // The name belongs to something else: another count gives another hash at the next pass.
      const status = { ...deployment.status, collisionCount: (deployment.status?.collisionCount ?? 0) + 1 };
      await writeStatus(api, resources.deployments, deployment, status);
      throw error;
    }
    scaled(deployment, replicaSet, 0, replicaSet.spec?.replicas ?? 0);
  }

  function scaled(deployment: Deployment, replicaSet: ReplicaSet, from: number, to: number): void {
    if (from === to) return;
    const text = `Scaled ${to > from ? "up" : "down"} replica set ${replicaSet.metadata.name} from ${from} to ${to}`;
    events?.event(deployment, "Normal", "ScalingReplicaSet", text, resources.deployments);
  }

  async function change(deployment: Deployment, one: ReplicaSetChange): Promise<void> {
    const { replicaSet, replicas, annotations, minReadySeconds } = one;
    const next: ReplicaSet = {
      ...replicaSet,
      apiVersion: resources.replicaSets.apiVersion,
      kind: resources.replicaSets.kind,
      metadata: { ...replicaSet.metadata, annotations: { ...replicaSet.metadata.annotations, ...annotations } },
      spec: {
        ...replicaSet.spec!,
        ...(replicas === undefined ? {} : { replicas }),
        ...(minReadySeconds === undefined ? {} : { minReadySeconds }),
      },
    };
    await api.update(resources.replicaSets, next);
    const from = replicaSet.spec?.replicas ?? 1;
    scaled(deployment, replicaSet, from, replicas ?? from);
  }

  async function reconcile(key: string): Promise<{ requeueAfter?: number }> {
    const { namespace = "default", name } = splitObjectKey(key);
    const deployment = deployments.lister.get(namespace, name);
    if (deployment === undefined) return {};
    const owned = replicaSets.lister
      .byIndex(CONTROLLER_INDEX, deployment.metadata.uid ?? "")
      .filter((set) => set.metadata.namespace === namespace);
    const fresh = findNewReplicaSet(deployment, owned);
    const plan = planDeployment({
      deployment,
      replicaSets: owned,
      oldPodsRunning: podsRun(owned.filter((set) => set !== fresh)),
      now: clock.now(),
    });
    if (plan.create !== undefined) await create(deployment, plan.create);
    for (const one of plan.changes) await change(deployment, one);
    for (const set of plan.delete) {
      const { name: old = "" } = set.metadata;
      await api.delete(resources.replicaSets, { name: old, namespace }, { propagationPolicy: "Background" });
    }
    const annotate = Object.keys(plan.annotations).length > 0 && !isTerminating(deployment);
    if (annotate || !semanticallyEqual(deployment.status ?? {}, plan.status)) {
      // The status subresource takes annotations as well: one write says both.
      const annotations = { ...deployment.metadata.annotations, ...(annotate ? plan.annotations : {}) };
      const metadata = annotate ? { ...deployment.metadata, annotations } : deployment.metadata;
      const next = { ...deployment, apiVersion: "apps/v1", kind: "Deployment", metadata, status: plan.status };
      await api.update(resources.deployments, next, { subresource: "status" });
    }
    return plan.recheckAfter === undefined ? {} : { requeueAfter: plan.recheckAfter };
  }

  return {
    name: "deployment",
    async run(signal) {
      informers.start(signal);
      await Promise.all([deployments, replicaSets, pods].map((informer) => informer.synced(signal))).catch(
        () => undefined,
      );
      await runReconciler("deployment", queue, reconcile, options, signal);
      for (const remove of removers) remove();
    },
  };
}
