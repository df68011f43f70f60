import type { ResourceType } from "@portolan/core";
import type { ScalePaths } from "./custom-resources/custom-resource-definition.ts";
import type { CustomResourceTable } from "./custom-resources/custom-resource-table.ts";

/** A subresource as discovery lists it. */
export interface SubresourceDefinition {
  /** `status`, `scale`, `log`, … */
  readonly name: string;
  readonly kind: string;
  /** Group and version of `kind` when they differ from the parent's (`autoscaling/v1` for `scale`). */
  readonly group?: string;
  readonly version?: string;
  readonly verbs: readonly string[];
}

/** What makes a kind served: one of these in the registry's table. */
export interface ResourceDefinition extends ResourceType {
  readonly singular: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly verbs: readonly string[];
  readonly subresources?: readonly SubresourceDefinition[];
  /** Set for kinds that a CustomResourceDefinition has added. */
  readonly custom?: CustomKind;
}

/** What is known of a kind from its CustomResourceDefinition alone. */
export interface CustomKind {
  /** Kind of lists, when it is not the kind with `List` after it. */
  readonly listKind: string;
  readonly storageVersion: string;
  /** The schema as the definition has it. */
  readonly openAPIV3Schema: object;
  readonly table: CustomResourceTable;
  readonly scale?: ScalePaths;
  /** Fields beside name and namespace by which objects can be selected: `spec.color`. */
  readonly selectableFields: readonly string[];
  /** Sent as a Warning with every answer. */
  readonly deprecationWarning?: string;
}
