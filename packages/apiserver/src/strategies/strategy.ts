import type { FieldError, KubernetesObject } from "@portolan/core";
import type { IPFamily } from "@portolan/net";
import type { ServiceAllocator } from "../allocators/service-allocator.ts";
import type { FeatureGates } from "../feature-gates.ts";
import { type FieldSet, fieldSetOf } from "../fields/field-set.ts";
import type { Store, StoreWrite } from "../store/store.ts";

/** What the rules of a kind may use while they handle one request. */
export interface StrategyContext {
  readonly store: Store;
  readonly allocator: ServiceAllocator;
  /** Families of the cluster's Service CIDRs, the primary one first. */
  readonly ipFamilies: readonly IPFamily[];
  readonly gates: FeatureGates;
  /** ConfigMaps that the ServiceAccount admission projects into pods beside `kube-root-ca.crt`. */
  readonly projectedConfigMaps: readonly string[];
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly dryRun: boolean;
  /** Refuses a role or binding that gives more than its writer has; absent for the server itself. */
  readonly checkGrant?: (object: KubernetesObject, old: KubernetesObject | undefined) => void;
  /** Sends a warning to the client. */
  readonly warn: (text: string) => void;
}

/**
 * The rules of one kind, as `pkg/registry` of Kubernetes has them: what the generic storage calls while it creates, updates and deletes. All hooks change
 * the object in place; it is the request's own copy.
 */
export interface Strategy {
  /** PUT to a name that does not exist creates. */
  readonly allowCreateOnUpdate?: boolean;
  /** PUT without resourceVersion overwrites. True unless given. */
  readonly allowUnconditionalUpdate?: boolean;
  /** DELETE answers the object rather than a Status. */
  readonly returnsDeletedObject?: boolean;
  /** Deletion is a request to whoever runs the object (pods). */
  readonly gracePeriod?: (object: KubernetesObject, asked: number | undefined) => number;
  /** Counts changes of the desired state in `metadata.generation`; says whether there is one. */
  readonly changesGeneration?: (object: KubernetesObject, old: KubernetesObject) => boolean;
  /** Fields that writers of the main resource cannot own. */
  readonly reset?: FieldSet;
  /** Fields that writers of `status` cannot own. */
  readonly resetStatus?: FieldSet;
  /** Mutating admission. */
  readonly admit?: (object: KubernetesObject, old: KubernetesObject | undefined, context: StrategyContext) => void;
  readonly prepareForCreate?: (object: KubernetesObject, context: StrategyContext) => void;
  readonly prepareForUpdate?: (object: KubernetesObject, old: KubernetesObject, context: StrategyContext) => void;
  readonly prepareForStatusUpdate?: (object: KubernetesObject, old: KubernetesObject, context: StrategyContext) => void;
  /** Runs before preparation and validation: allocation. The writes join that of the object. */
  readonly begin?: (
    object: KubernetesObject,
    old: KubernetesObject | undefined,
    context: StrategyContext,
  ) => StoreWrite[];
  /** Further checks after those of `validateObject`. */
  readonly validate?: (
    object: KubernetesObject,
    old: KubernetesObject | undefined,
    context: StrategyContext,
  ) => FieldError[];
  /** Put on objects when they are deleted; who cleans up after them takes it off. */
  readonly deletionFinalizer?: string;
  /** Refuses deletion by throwing. */
  readonly checkDelete?: (object: KubernetesObject) => void;
  /** Writes that go with the removal of the object. */
  readonly release?: (object: KubernetesObject, context: StrategyContext) => StoreWrite[];
}

/** The object as something whose members can be read and set by name. */
export function fields(object: KubernetesObject): Record<string, unknown> {
  return object as unknown as Record<string, unknown>;
}

export const statusFields: FieldSet = fieldSetOf([["status"]]);
export const specFields: FieldSet = fieldSetOf([["spec"]]);
export const specAndLabels: FieldSet = fieldSetOf([["spec"], ["metadata", "labels"]]);
