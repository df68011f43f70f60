/** Controllers of Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs. */

export { type DaemonSetPlan, planDaemonSet } from "./daemon-set.ts";
export { type DeploymentPlan, type DeploymentState, planDeployment, type ReplicaSetChange } from "./deployment.ts";
export { createDeploymentController } from "./deployment-controller.ts";
export type { EventSink } from "./event-sink.ts";
export { type JobPlan, planJob } from "./job.ts";
export {
  createDaemonSetController,
  createJobController,
  createReplicaSetController,
  createStatefulSetController,
} from "./pod-controllers.ts";
export { planReplicaSet, type ReplicaSetPlan, replicaSetStatus } from "./replica-set.ts";
export { planStatefulSet, type StatefulSetPlan } from "./stateful-set.ts";
export type { WorkloadController, WorkloadControllerOptions } from "./workload-controller.ts";
