import { conditions, kind, labelSelector } from "./meta.ts";
import {
  boolean,
  type Fields,
  int32,
  int64,
  intOrString,
  list,
  mapOf,
  nested,
  object,
  pointer,
  quantities,
  string,
  strings,
  time,
} from "./notation.ts";
import type { Schema } from "./schema.ts";

/** Kinds that bound or rank what others may use: quotas, disruption budgets, priorities. */

const core = "io.k8s.api.core.v1.";
const policy = "io.k8s.api.policy.v1.";

const scopeRequirement = object(
  `${core}ScopedResourceSelectorRequirement`,
  "ScopedResourceSelectorRequirement is a requirement on a scope.",
  () => ({
    operator: string(2, "In, NotIn, Exists or DoesNotExist."),
    scopeName: string(1, "Name of the scope."),
    values: strings(3, "Values."),
  }),
  { required: ["scopeName", "operator"] },
);

export const resourceQuota: Schema = kind(
  `${core}ResourceQuota`,
  "ResourceQuota bounds the resources of a namespace.",
  () => ({
    spec: nested(
      2,
      object(`${core}ResourceQuotaSpec`, "ResourceQuotaSpec says what is bounded.", () => ({
        hard: quantities(1, "Bounds by resource."),
        scopeSelector: nested(
          3,
          object(`${core}ScopeSelector`, "ScopeSelector chooses objects by scope.", () => ({
            matchExpressions: list(1, scopeRequirement, "Requirements that must hold."),
          })),
          "Scopes to which the quota applies.",
        ),
        scopes: strings(2, "Scopes to which the quota applies."),
      })),
      "What is bounded.",
    ),
    status: nested(
      3,
      object(`${core}ResourceQuotaStatus`, "ResourceQuotaStatus says what is used.", () => ({
        hard: quantities(1, "Bounds by resource."),
        used: quantities(2, "What is used."),
      })),
      "What is used.",
    ),
  }),
);

export const podDisruptionBudget: Schema = kind(
  `${policy}PodDisruptionBudget`,
  "PodDisruptionBudget bounds how many Pods may be evicted.",
  () => ({
    spec: nested(
      2,
      object(`${policy}PodDisruptionBudgetSpec`, "PodDisruptionBudgetSpec says how many Pods may be evicted.", () => ({
        maxUnavailable: pointer(intOrString(3, "Pods that may be missing.")),
        minAvailable: pointer(intOrString(1, "Pods that must be there.")),
        selector: nested(2, labelSelector, "Labels of the Pods."),
        unhealthyPodEvictionPolicy: pointer(string(4, "IfHealthyBudget or AlwaysAllow.")),
      })),
      "How many Pods may be evicted.",
    ),
    status: nested(
      3,
      object(
        `${policy}PodDisruptionBudgetStatus`,
        "PodDisruptionBudgetStatus is the state of a budget.",
        (): Fields => ({
          conditions: conditions(7, "Conditions of the budget."),
          currentHealthy: int32(4, "Healthy Pods."),
          desiredHealthy: int32(5, "Pods that have to be healthy."),
          disruptedPods: mapOf(2, time(2), "Pods whose eviction was allowed."),
          disruptionsAllowed: int32(3, "Evictions that are allowed now."),
          expectedPods: int32(6, "Pods that the budget counts."),
          observedGeneration: int64(1, "Generation that the controller has seen."),
        }),
        { required: ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] },
      ),
      "State of the budget.",
    ),
  }),
);

export const priorityClass: Schema = kind(
  "io.k8s.api.scheduling.v1.PriorityClass",
  "PriorityClass names a priority of Pods.",
  () => ({
    description: string(4, "What the class is for."),
    globalDefault: boolean(3, "Pods without a class have this one."),
    preemptionPolicy: pointer(string(5, "Never or PreemptLowerPriority.")),
    value: int32(2, "The priority."),
  }),
  { required: ["value"] },
);
