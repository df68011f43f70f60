import { fieldOf, isJsonObject, pathOf, textOf } from "../json.ts";
import { serviceWarnings } from "../service-strategy.ts";
import type { KubernetesObject } from "../types/meta.ts";
import type { EndpointSlice, Endpoints, Service } from "../types/service.ts";
import type { Pod } from "../types/workload.ts";
import { checkClusterRole, checkClusterRoleBinding, checkRole, checkRoleBinding } from "./access-control.ts";
import {
  checkConfigMap,
  checkEvent,
  checkLease,
  checkNamespace,
  checkNode,
  checkSecret,
  checkServiceAccount,
} from "./cluster.ts";
import { checkCustomResourceDefinition, customResourceDefinitionWarnings } from "./custom-resource-definition.ts";
import {
  validateEndpointSlice,
  validateEndpointSliceUpdate,
  validateEndpoints,
  validateEndpointsUpdate,
} from "./endpoints.ts";
import { FieldCursor, type FieldError } from "./field-error.ts";
import { dnsLabelProblems, pathSegmentNameProblems } from "./names.ts";
import {
  checkIngress,
  checkIngressClass,
  checkIPAddress,
  checkNetworkPolicy,
  checkServiceCIDR,
  ipAddressNameProblems,
} from "./networking.ts";
import { checkObjectMeta, checkObjectMetaUpdate, type NameRule } from "./object-meta.ts";
import { validatePod, validatePodStatusUpdate, validatePodUpdate } from "./pod.ts";
import {
  checkLoadBalancerStatus,
  type ValidationGates,
  validateService,
  validateServiceStatusUpdate,
  validateServiceUpdate,
} from "./service.ts";
import {
  checkDaemonSet,
  checkDeployment,
  checkJob,
  checkReplicaSet,
  checkScale,
  checkStatefulSet,
} from "./workloads.ts";

/** Circumstances of a validation. */
export interface ValidationContext {
  /** `status`, `scale`, …; absent for the object itself. */
  readonly subresource?: string;
  readonly gates?: ValidationGates;
}

interface KindRules {
  readonly namespaced: boolean;
  readonly name?: NameRule;
  /** Checks everything but metadata. */
  readonly check?: (root: FieldCursor, old: unknown) => void;
  /** The kind's update rules check the whole of metadata once more; visible as repeated causes. */
  readonly repeatsMetadata?: boolean;
}

const kinds: Readonly<Record<string, KindRules>> = {
  Namespace: { namespaced: false, name: dnsLabelProblems, check: checkNamespace },
  Node: { namespaced: false, check: checkNode },
  ConfigMap: { namespaced: true, check: checkConfigMap, repeatsMetadata: true },
  Secret: { namespaced: true, check: checkSecret, repeatsMetadata: true },
  ServiceAccount: { namespaced: true, check: checkServiceAccount, repeatsMetadata: true },
  Event: { namespaced: true, check: checkEvent },
  ServiceCIDR: { namespaced: false, check: checkServiceCIDR },
  IPAddress: { namespaced: false, name: ipAddressNameProblems, check: checkIPAddress },
  NetworkPolicy: { namespaced: true, check: checkNetworkPolicy },
  Ingress: { namespaced: true, check: checkIngress, repeatsMetadata: true },
  IngressClass: { namespaced: false, check: checkIngressClass },
  Lease: { namespaced: true, check: checkLease },
  Deployment: { namespaced: true, check: checkDeployment },
  ReplicaSet: { namespaced: true, check: checkReplicaSet },
  StatefulSet: { namespaced: true, check: checkStatefulSet },
  DaemonSet: { namespaced: true, check: checkDaemonSet },
  Job: { namespaced: true, check: checkJob },
  Scale: { namespaced: true, check: checkScale },
  Role: { namespaced: true, name: pathSegmentNameProblems, check: checkRole, repeatsMetadata: true },
  RoleBinding: { namespaced: true, name: pathSegmentNameProblems, check: checkRoleBinding, repeatsMetadata: true },
  ClusterRole: { namespaced: false, name: pathSegmentNameProblems, check: checkClusterRole, repeatsMetadata: true },
  ClusterRoleBinding: {
    namespaced: false,
    name: pathSegmentNameProblems,
    check: checkClusterRoleBinding,
    repeatsMetadata: true,
  },
  CustomResourceDefinition: { namespaced: false, check: checkCustomResourceDefinition },
};

function validateCreate(object: KubernetesObject, kind: string, context: ValidationContext): FieldError[] {
  switch (kind) {
    case "Service":
      return validateService(object as Service, context.gates);
    case "Endpoints":
      return validateEndpoints(object as Endpoints);
    case "EndpointSlice":
      return validateEndpointSlice(object as EndpointSlice);
    case "Pod":
      return validatePod(object as Pod);
    default: {
      const rules = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
      const root = new FieldCursor(object);
      if (root.object() || !root.present) {
        const namespaced = rules?.namespaced ?? fieldOf(fieldOf(object, "metadata"), "namespace") !== undefined;
        checkObjectMeta(root.at("metadata"), {
          namespaced,
          ...(rules?.name === undefined ? {} : { name: rules.name }),
        });
        rules?.check?.(root, undefined);
      }
      return root.errors;
    }
  }
}

function validateUpdate(
  object: KubernetesObject,
  old: KubernetesObject,
  kind: string,
  context: ValidationContext,
): FieldError[] {
  const isStatus = context.subresource === "status";
  switch (kind) {
    case "Service":
      return isStatus
        ? validateServiceStatusUpdate(object as Service, old as Service, context.gates)
        : validateServiceUpdate(object as Service, old as Service, context.gates);
    case "Endpoints":
      return validateEndpointsUpdate(object as Endpoints, old as Endpoints);
    case "EndpointSlice":
      return validateEndpointSliceUpdate(object as EndpointSlice, old as EndpointSlice);
    case "Pod":
      return isStatus
        ? validatePodStatusUpdate(object as Pod, old as Pod)
        : validatePodUpdate(object as Pod, old as Pod);
    default: {
      const rules = Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
      const root = new FieldCursor(object);
      checkObjectMetaUpdate(root.at("metadata"), fieldOf(old, "metadata"));
      if (isStatus) {
        if (kind === "Ingress") {
          checkLoadBalancerStatus(
            root.at("status").at("loadBalancer"),
            undefined,
            pathOf(old, "status", "loadBalancer"),
            context.gates?.StrictIPCIDRValidation ?? true,
          );
        }
        return root.errors;
      }
      if (rules?.repeatsMetadata === true) {
        checkObjectMeta(root.at("metadata"), { namespaced: rules.namespaced, name: rules.name ?? (() => []) });
      }
      rules?.check?.(root, old);
      return root.errors;
    }
  }
}

/**
 * Checks an object by its `kind`, as a server does after defaulting, allocation and preparation: a create without `old`, otherwise an
 * update. Updates check metadata generally and once more by the kind's own rules, so some causes are repeated; messages show them
 * once. Unknown kinds are checked by their metadata only. Never throws, whatever the values.
 *
 * @returns errors in the order in which a server reports them; empty when valid. `invalidStatus` makes a Status of them.
 */
export function validateObject(
  object: KubernetesObject,
  old?: KubernetesObject,
  context: ValidationContext = {},
): FieldError[] {
  const kind = textOf(fieldOf(object, "kind"));
  if (!isJsonObject(old)) return validateCreate(object, kind, context);
  const root = new FieldCursor(object);
  const namespaced = pathOf(old, "metadata", "namespace") !== undefined;
  checkObjectMeta(root.at("metadata"), { namespaced, name: () => [], qualifiedFinalizers: false });
  checkObjectMetaUpdate(root.at("metadata"), fieldOf(old, "metadata"));
  return [...root.errors, ...validateUpdate(object, old, kind, context)];
}

/** Texts of the `Warning` headers for a create or update of an object, in order. Never throws. */
export function objectWarnings(object: KubernetesObject, old?: KubernetesObject): string[] {
  switch (fieldOf(object, "kind")) {
    case "Service":
      return serviceWarnings(object as Service, old as Service | undefined);
    case "EndpointSlice":
      return fieldOf(object, "addressType") === "FQDN" ? ["spec.addressType: FQDN endpoints are deprecated"] : [];
    case "CustomResourceDefinition":
      return customResourceDefinitionWarnings(object);
    default:
      return [];
  }
}
