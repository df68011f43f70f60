import type { Condition, KubernetesObject, ObjectMeta, StructuralSchema } from "@portolan/core";
import type { AdditionalColumn } from "./custom-resource-table.ts";

/** Names of a custom resource. */
export interface CustomResourceNames {
  readonly plural: string;
  readonly singular?: string;
  readonly kind: string;
  readonly listKind?: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
}

/** Where the parts of a Scale are found in an object. */
export interface ScalePaths {
  readonly specReplicasPath: string;
  readonly statusReplicasPath: string;
  readonly labelSelectorPath?: string;
}

/** A version of a custom resource. */
export interface CustomResourceVersion {
  readonly name: string;
  readonly served: boolean;
  readonly storage: boolean;
  readonly deprecated?: boolean;
  readonly deprecationWarning?: string;
  readonly schema?: { readonly openAPIV3Schema?: StructuralSchema };
  readonly subresources?: { readonly status?: object; readonly scale?: ScalePaths };
  readonly additionalPrinterColumns?: readonly AdditionalColumn[];
  readonly selectableFields?: readonly { readonly jsonPath: string }[];
}

/** `apiextensions.k8s.io/v1` CustomResourceDefinition, as far as it is acted upon. */
export interface CustomResourceDefinition extends KubernetesObject {
  metadata: ObjectMeta;
  spec: {
    readonly group: string;
    readonly scope: "Cluster" | "Namespaced";
    readonly names: CustomResourceNames;
    readonly versions: readonly CustomResourceVersion[];
  };
  status?: {
    readonly acceptedNames?: CustomResourceNames;
    readonly conditions?: readonly Condition[];
    readonly storedVersions?: readonly string[];
  };
}

/** Collection of CustomResourceDefinitions. */
export const definitionsCollection = "customresourcedefinitions.apiextensions.k8s.io";

/** Keeps a definition that is being deleted until its objects are gone. */
export const cleanupFinalizer = "customresourcecleanup.apiextensions.k8s.io";

/** Whether a condition of a definition is true. */
export function hasCondition(definition: CustomResourceDefinition, type: string): boolean {
  return definition.status?.conditions?.some((each) => each.type === type && each.status === "True") === true;
}

/** Version in which objects are stored. */
export function storageVersionOf(definition: CustomResourceDefinition): string {
  return definition.spec.versions.find((version) => version.storage)?.name ?? "";
}
