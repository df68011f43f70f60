import { fieldOf, isJsonObject } from "../json.ts";
import type { KubernetesObject } from "../types/meta.ts";
import {
  defaultCustomResourceDefinition,
  defaultEvent,
  defaultNamespace,
  defaultNetworkPolicy,
  defaultNode,
  defaultRoleBinding,
  defaultSecret,
} from "./cluster.ts";
import { defaultPod } from "./pod.ts";
import { defaultEndpointSlice, defaultEndpoints, defaultService } from "./service.ts";
import {
  defaultCronJob,
  defaultDaemonSet,
  defaultDeployment,
  defaultJob,
  defaultReplicaSet,
  defaultStatefulSet,
} from "./workloads.ts";

type Defaulter = (object: never) => unknown;

const defaulters: Readonly<Record<string, Defaulter>> = {
  Service: defaultService,
  Endpoints: defaultEndpoints,
  EndpointSlice: defaultEndpointSlice,
  Pod: defaultPod,
  Node: defaultNode,
  Namespace: defaultNamespace,
  Secret: defaultSecret,
  Event: defaultEvent,
  NetworkPolicy: defaultNetworkPolicy,
  Deployment: defaultDeployment,
  ReplicaSet: defaultReplicaSet,
  StatefulSet: defaultStatefulSet,
  DaemonSet: defaultDaemonSet,
  Job: defaultJob,
  CronJob: defaultCronJob,
  CustomResourceDefinition: defaultCustomResourceDefinition,
  RoleBinding: defaultRoleBinding,
  ClusterRoleBinding: defaultRoleBinding,
};

/**
 * Applies the decode-time defaults of the object's `kind` to it, in place, and returns it. Kinds without defaults and values that are
 * no object come back untouched. Idempotent; never throws; fields of a wrong JSON type are left alone. To keep the original, pass a
 * `structuredClone`.
 */
export function applyDefaults<T extends KubernetesObject>(object: T): T {
  const kind = isJsonObject(object) ? fieldOf(object, "kind") : undefined;
  if (typeof kind === "string" && Object.hasOwn(defaulters, kind)) defaulters[kind]!(object as never);
  return object;
}
