import { kind, labelSelector, objectMeta } from "./meta.ts";
import {
  anything,
  boolean,
  type Fields,
  int32,
  int64,
  integers,
  intOrString,
  keyedList,
  list,
  nested,
  object,
  oneOf,
  pointer,
  string,
  strings,
  time,
} from "./notation.ts";
import { podTemplateSpec } from "./pod.ts";
import { objectReference } from "./reference.ts";
import type { Schema } from "./schema.ts";
import { persistentVolumeClaim } from "./volume.ts";

/** Workloads (`k8s.io/api/apps/v1`, `batch/v1`) and their scale (`autoscaling/v1`). */
const apps = "io.k8s.api.apps.v1.";
const batch = "io.k8s.api.batch.v1.";

function conditionOf(reference: string, fields: Fields): Schema {
  return object(
    reference,
    "One aspect of the workload's state.",
    () => ({
      lastTransitionTime: time(3, "When the status last changed."),
      message: string(5, "Explanation for people."),
      reason: string(4, "Reason for the last change."),
      status: string(2, "True, False or Unknown."),
      type: string(1, "Name of the condition."),
      ...fields,
    }),
    { required: ["type", "status"] },
  );
}

const rollingUpdate = (name: string): Schema =>
  object(`${apps}${name}`, "How Pods are replaced bit by bit.", () => ({
    maxSurge: pointer(intOrString(2, "How many Pods more than wanted there may be: a number or a percentage.")),
    maxUnavailable: pointer(intOrString(1, "How many Pods may be missing: a number or a percentage.")),
  }));

const deploymentStrategy = object(
  `${apps}DeploymentStrategy`,
  "DeploymentStrategy says how Pods are replaced.",
  () => ({
    rollingUpdate: nested(2, rollingUpdate("RollingUpdateDeployment"), "Settings of RollingUpdate."),
    type: oneOf(1, ["Recreate", "RollingUpdate"], "Recreate or RollingUpdate."),
  }),
);

const deploymentSpec = object(
  `${apps}DeploymentSpec`,
  "DeploymentSpec says what a Deployment is to be.",
  () => ({
    minReadySeconds: int32(5, "Seconds a Pod must be ready to count as available."),
    paused: boolean(7, "The Deployment is paused."),
    progressDeadlineSeconds: pointer(int32(9, "Seconds without progress after which the Deployment has failed.")),
    replicas: pointer(int32(1, "How many Pods there are to be.")),
    revisionHistoryLimit: pointer(int32(6, "How many old ReplicaSets are kept.")),
    selector: nested(2, labelSelector, "Labels of the Pods; they must be those of the template."),
    strategy: nested(4, deploymentStrategy, "How Pods are replaced.", { patchStrategy: "retainKeys" }),
    template: nested(3, podTemplateSpec, "Template of the Pods."),
  }),
  { required: ["selector", "template"] },
);

const deploymentCondition = conditionOf(`${apps}DeploymentCondition`, {
  lastTransitionTime: time(7, "When the status last changed."),
  lastUpdateTime: time(6, "When the condition was last updated."),
  message: string(5, "Explanation for people."),
  reason: string(4, "Reason for the last change."),
});

const deploymentStatus = object(`${apps}DeploymentStatus`, "DeploymentStatus is the state of a Deployment.", () => ({
  availableReplicas: int32(4, "Pods that are available."),
  collisionCount: pointer(int32(8, "How often a name was taken.")),
  conditions: keyedList(6, deploymentCondition, ["type"], "Conditions of the Deployment."),
  observedGeneration: int64(1, "Generation that the controller has seen."),
  readyReplicas: int32(7, "Pods that are ready."),
  replicas: int32(2, "Pods that do not terminate."),
  terminatingReplicas: pointer(int32(9, "Pods that terminate.")),
  unavailableReplicas: int32(5, "Pods that are missing."),
  updatedReplicas: int32(3, "Pods of the current template."),
}));

export const deployment: Schema = kind(
  `${apps}Deployment`,
  "Deployment keeps a number of equal Pods running and replaces them when their template changes.",
  () => ({
    spec: nested(2, deploymentSpec, "What the Deployment is to be."),
    status: nested(3, deploymentStatus, "State of the Deployment."),
  }),
);

const replicaSetSpec = object(
  `${apps}ReplicaSetSpec`,
  "ReplicaSetSpec says what a ReplicaSet is to be.",
  () => ({
    minReadySeconds: int32(4, "Seconds a Pod must be ready to count as available."),
    replicas: pointer(int32(1, "How many Pods there are to be.")),
    selector: nested(2, labelSelector, "Labels of the Pods; they must be those of the template."),
    template: nested(3, podTemplateSpec, "Template of the Pods."),
  }),
  { required: ["selector"] },
);

const replicaSetStatus = object(
  `${apps}ReplicaSetStatus`,
  "ReplicaSetStatus is the state of a ReplicaSet.",
  () => ({
    availableReplicas: int32(5, "Pods that are available."),
    conditions: keyedList(6, conditionOf(`${apps}ReplicaSetCondition`, {}), ["type"], "Conditions of the ReplicaSet."),
    fullyLabeledReplicas: int32(2, "Pods with all labels of the template."),
    observedGeneration: int64(3, "Generation that the controller has seen."),
    readyReplicas: int32(4, "Pods that are ready."),
    replicas: int32(1, "Pods that do not terminate."),
    terminatingReplicas: pointer(int32(7, "Pods that terminate.")),
  }),
  { required: ["replicas"] },
);

export const controllerRevision: Schema = kind(
  `${apps}ControllerRevision`,
  "ControllerRevision keeps a past or present state of a workload, for rollouts and their undoing.",
  () => ({
    data: anything(2, "The state, as a patch that brings it back.", "io.k8s.apimachinery.pkg.runtime.RawExtension"),
    revision: int64(3, "Number of the revision; the present state has the highest."),
  }),
);

export const replicaSet: Schema = kind(`${apps}ReplicaSet`, "ReplicaSet keeps a number of equal Pods running.", () => ({
  spec: nested(2, replicaSetSpec, "What the ReplicaSet is to be."),
  status: nested(3, replicaSetStatus, "State of the ReplicaSet."),
}));

const statefulSetUpdateStrategy = object(
  `${apps}StatefulSetUpdateStrategy`,
  "StatefulSetUpdateStrategy says how Pods are replaced.",
  () => ({
    rollingUpdate: nested(
      2,
      object(`${apps}RollingUpdateStatefulSetStrategy`, "How Pods are replaced one by one.", () => ({
        maxUnavailable: pointer(intOrString(2, "How many Pods may be missing: a number or a percentage.")),
        partition: pointer(int32(1, "Ordinal from which Pods are replaced.")),
      })),
      "Settings of RollingUpdate.",
    ),
    type: oneOf(1, ["OnDelete", "RollingUpdate"], "OnDelete or RollingUpdate."),
  }),
);

const statefulSetSpec = object(
  `${apps}StatefulSetSpec`,
  "StatefulSetSpec says what a StatefulSet is to be.",
  () => ({
    minReadySeconds: int32(9, "Seconds a Pod must be ready to count as available."),
    ordinals: nested(
      11,
      object(`${apps}StatefulSetOrdinals`, "StatefulSetOrdinals says how Pods are numbered.", () => ({
        start: int32(1, "Number of the first Pod."),
      })),
      "How Pods are numbered.",
    ),
    persistentVolumeClaimRetentionPolicy: nested(
      10,
      object(
        `${apps}StatefulSetPersistentVolumeClaimRetentionPolicy`,
        "StatefulSetPersistentVolumeClaimRetentionPolicy says what becomes of claims.",
        () => ({
          whenDeleted: string(1, "When the StatefulSet is deleted: Retain or Delete."),
          whenScaled: string(2, "When it is scaled down: Retain or Delete."),
        }),
      ),
      "What becomes of claims.",
    ),
    podManagementPolicy: oneOf(
      6,
      ["OrderedReady", "Parallel"],
      "OrderedReady starts Pods one after another, Parallel at once.",
    ),
    replicas: pointer(int32(1, "How many Pods there are to be.")),
    revisionHistoryLimit: pointer(int32(8, "How many old revisions are kept.")),
    selector: nested(2, labelSelector, "Labels of the Pods; they must be those of the template."),
    serviceName: string(5, "Headless Service under which the Pods have their names.", { default: "" }),
    template: nested(3, podTemplateSpec, "Template of the Pods."),
    updateStrategy: nested(7, statefulSetUpdateStrategy, "How Pods are replaced."),
    volumeClaimTemplates: list(4, persistentVolumeClaim, "Claims that each Pod gets."),
  }),
  { required: ["selector", "template"] },
);

const statefulSetStatus = object(
  `${apps}StatefulSetStatus`,
  "StatefulSetStatus is the state of a StatefulSet.",
  () => ({
    availableReplicas: int32(11, "Pods that are available."),
    collisionCount: pointer(int32(9, "How often a name was taken.")),
    conditions: keyedList(
      10,
      conditionOf(`${apps}StatefulSetCondition`, {}),
      ["type"],
      "Conditions of the StatefulSet.",
    ),
    currentReplicas: int32(4, "Pods of the current revision."),
    currentRevision: string(6, "Revision of Pods that are not yet replaced."),
    observedGeneration: int64(1, "Generation that the controller has seen."),
    readyReplicas: int32(3, "Pods that are ready."),
    replicas: int32(2, "Pods that exist."),
    updateRevision: string(7, "Revision of Pods that are replaced."),
    updatedReplicas: int32(5, "Pods of the new revision."),
  }),
  { required: ["replicas"] },
);

export const statefulSet: Schema = kind(
  `${apps}StatefulSet`,
  "StatefulSet runs numbered Pods, each with a name and storage of its own.",
  () => ({
    spec: nested(2, statefulSetSpec, "What the StatefulSet is to be."),
    status: nested(3, statefulSetStatus, "State of the StatefulSet."),
  }),
);

const daemonSetUpdateStrategy = object(
  `${apps}DaemonSetUpdateStrategy`,
  "DaemonSetUpdateStrategy says how Pods are replaced.",
  () => ({
    rollingUpdate: nested(2, rollingUpdate("RollingUpdateDaemonSet"), "Settings of RollingUpdate."),
    type: oneOf(1, ["OnDelete", "RollingUpdate"], "OnDelete or RollingUpdate."),
  }),
);

const daemonSetSpec = object(
  `${apps}DaemonSetSpec`,
  "DaemonSetSpec says what a DaemonSet is to be.",
  () => ({
    minReadySeconds: int32(4, "Seconds a Pod must be ready to count as available."),
    revisionHistoryLimit: pointer(int32(6, "How many old revisions are kept.")),
    selector: nested(1, labelSelector, "Labels of the Pods; they must be those of the template."),
    template: nested(2, podTemplateSpec, "Template of the Pods."),
    updateStrategy: nested(3, daemonSetUpdateStrategy, "How Pods are replaced."),
  }),
  { required: ["selector", "template"] },
);

const daemonSetStatus = object(
  `${apps}DaemonSetStatus`,
  "DaemonSetStatus is the state of a DaemonSet.",
  () => ({
    collisionCount: pointer(int32(9, "How often a name was taken.")),
    conditions: keyedList(10, conditionOf(`${apps}DaemonSetCondition`, {}), ["type"], "Conditions of the DaemonSet."),
    currentNumberScheduled: int32(1, "Nodes that run a Pod and should."),
    desiredNumberScheduled: int32(3, "Nodes that should run a Pod."),
    numberAvailable: int32(7, "Nodes with an available Pod."),
    numberMisscheduled: int32(2, "Nodes that run a Pod and should not."),
    numberReady: int32(4, "Nodes with a ready Pod."),
    numberUnavailable: int32(8, "Nodes without an available Pod."),
    observedGeneration: int64(5, "Generation that the controller has seen."),
    updatedNumberScheduled: int32(6, "Nodes with a Pod of the current template."),
  }),
  { required: ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"] },
);

export const daemonSet: Schema = kind(`${apps}DaemonSet`, "DaemonSet runs one Pod on each node.", () => ({
  spec: nested(2, daemonSetSpec, "What the DaemonSet is to be."),
  status: nested(3, daemonSetStatus, "State of the DaemonSet."),
}));

const podFailurePolicyRule = object(
  `${batch}PodFailurePolicyRule`,
  "PodFailurePolicyRule says what follows the failure of a Pod.",
  () => ({
    action: string(1, "FailJob, FailIndex, Ignore or Count."),
    onExitCodes: nested(
      2,
      object(
        `${batch}PodFailurePolicyOnExitCodesRequirement`,
        "Exit codes to which a rule applies.",
        () => ({
          containerName: pointer(string(1, "Container to look at; any unless given.")),
          operator: string(2, "In or NotIn."),
          values: integers(3, "int32", "Exit codes.", { listType: "set" }),
        }),
        { required: ["operator", "values"] },
      ),
      "Exit codes to which it applies.",
    ),
    onPodConditions: list(
      3,
      object(
        `${batch}PodFailurePolicyOnPodConditionsPattern`,
        "Condition to which a rule applies.",
        () => ({ status: string(2, "Status of the condition."), type: string(1, "Name of the condition.") }),
        { required: ["type"] },
      ),
      "Conditions to which it applies.",
    ),
  }),
  { required: ["action"] },
);

const jobSpec = object(
  `${batch}JobSpec`,
  "JobSpec says what a Job is to be.",
  () => ({
    activeDeadlineSeconds: pointer(int64(3, "Seconds after which the Job is ended.")),
    backoffLimit: pointer(int32(7, "Failures after which the Job has failed.")),
    backoffLimitPerIndex: pointer(int32(12, "Failures after which an index has failed.")),
    completionMode: pointer(string(9, "NonIndexed or Indexed.")),
    completions: pointer(int32(2, "How many Pods must succeed.")),
    managedBy: pointer(string(15, "Controller that runs the Job.")),
    manualSelector: pointer(boolean(5, "The selector is the user's.")),
    maxFailedIndexes: pointer(int32(13, "Failed indexes after which the Job has failed.")),
    parallelism: pointer(int32(1, "How many Pods run at once.")),
    podFailurePolicy: nested(
      11,
      object(
        `${batch}PodFailurePolicy`,
        "PodFailurePolicy says what follows failures.",
        () => ({ rules: list(1, podFailurePolicyRule, "Rules, of which the first that applies counts.") }),
        { required: ["rules"] },
      ),
      "What follows failures.",
    ),
    podReplacementPolicy: pointer(string(14, "When a Pod is replaced: TerminatingOrFailed or Failed.")),
    selector: nested(4, labelSelector, "Labels of the Pods; the server sets it."),
    successPolicy: nested(
      16,
      object(
        `${batch}SuccessPolicy`,
        "SuccessPolicy says when a Job has succeeded.",
        () => ({
          rules: list(
            1,
            object(`${batch}SuccessPolicyRule`, "SuccessPolicyRule is one way to succeed.", () => ({
              succeededCount: pointer(int32(2, "How many indexes must succeed.")),
              succeededIndexes: pointer(string(1, "Which indexes must succeed.")),
            })),
            "Rules, of which one must hold.",
          ),
        }),
        { required: ["rules"] },
      ),
      "When the Job has succeeded.",
    ),
    suspend: pointer(boolean(10, "Run no Pods.")),
    template: nested(6, podTemplateSpec, "Template of the Pods."),
    ttlSecondsAfterFinished: pointer(int32(8, "Seconds after its end at which the Job is deleted.")),
  }),
  { required: ["template"] },
);

const jobCondition = conditionOf(`${batch}JobCondition`, {
  lastProbeTime: time(3, "When the condition was last looked at."),
  lastTransitionTime: time(4, "When the status last changed."),
  message: string(6, "Explanation for people."),
  reason: string(5, "Reason for the last change."),
});

const jobStatus = object(`${batch}JobStatus`, "JobStatus is the state of a Job.", () => ({
  active: int32(4, "Pods that run."),
  completedIndexes: string(7, "Indexes that have succeeded."),
  completionTime: time(3, "When the Job succeeded."),
  conditions: list(1, jobCondition, "Conditions of the Job.", { patchMergeKey: "type", patchStrategy: "merge" }),
  failed: int32(6, "Pods that have failed."),
  failedIndexes: pointer(string(10, "Indexes that have failed.")),
  ready: pointer(int32(9, "Pods that are ready.")),
  startTime: time(2, "When the Job started."),
  succeeded: int32(5, "Pods that have succeeded."),
  terminating: pointer(int32(11, "Pods that terminate.")),
  uncountedTerminatedPods: nested(
    8,
    object(
      `${batch}UncountedTerminatedPods`,
      "UncountedTerminatedPods lists ended Pods that are not counted yet.",
      () => ({
        failed: strings(2, "UIDs of failed Pods.", { listType: "set" }),
        succeeded: strings(1, "UIDs of succeeded Pods.", { listType: "set" }),
      }),
    ),
    "Ended Pods that are not counted yet.",
  ),
}));

export const job: Schema = kind(`${batch}Job`, "Job runs Pods until enough of them have succeeded.", () => ({
  spec: nested(2, jobSpec, "What the Job is to be."),
  status: nested(3, jobStatus, "State of the Job."),
}));

export const cronJob: Schema = kind(`${batch}CronJob`, "CronJob runs Jobs by a calendar.", () => ({
  spec: nested(
    2,
    object(
      `${batch}CronJobSpec`,
      "CronJobSpec says when Jobs are run.",
      () => ({
        concurrencyPolicy: string(3, "What becomes of Jobs that still run: Allow, Forbid or Replace."),
        failedJobsHistoryLimit: pointer(int32(7, "Failed Jobs that are kept.")),
        jobTemplate: nested(
          5,
          object(`${batch}JobTemplateSpec`, "JobTemplateSpec is a template of Jobs.", () => ({
            metadata: nested(1, objectMeta, "Metadata of the Jobs."),
            spec: nested(2, jobSpec, "What the Jobs are to be."),
          })),
          "Template of the Jobs.",
        ),
        schedule: string(1, "The calendar, as cron has it."),
        startingDeadlineSeconds: pointer(int64(2, "Seconds after which a start that was missed is given up.")),
        successfulJobsHistoryLimit: pointer(int32(6, "Successful Jobs that are kept.")),
        suspend: pointer(boolean(4, "Start no more Jobs.")),
        timeZone: pointer(string(8, "Time zone of the calendar.")),
      }),
      { required: ["schedule", "jobTemplate"] },
    ),
    "When Jobs are run.",
  ),
  status: nested(
    3,
    object(`${batch}CronJobStatus`, "CronJobStatus is the state of a CronJob.", () => ({
      active: list(1, objectReference, "Jobs that run now."),
      lastScheduleTime: time(4, "When a Job was last started."),
      lastSuccessfulTime: time(5, "When a Job last succeeded."),
    })),
    "State of the CronJob.",
  ),
}));

const autoscaling = "io.k8s.api.autoscaling.v1.";

export const scale: Schema = kind(
  `${autoscaling}Scale`,
  "Scale is how many Pods a workload has and is to have.",
  () => ({
    spec: nested(
      2,
      object(`${autoscaling}ScaleSpec`, "ScaleSpec is how many Pods there are to be.", () => ({
        replicas: int32(1, "How many Pods there are to be."),
      })),
      "How many Pods there are to be.",
    ),
    status: nested(
      3,
      object(
        `${autoscaling}ScaleStatus`,
        "ScaleStatus is how many Pods there are.",
        () => ({
          replicas: int32(1, "How many Pods there are."),
          selector: string(2, "Labels of the Pods, as in a query."),
        }),
        { required: ["replicas"] },
      ),
      "How many Pods there are.",
    ),
  }),
);
