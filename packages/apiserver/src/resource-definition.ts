import type { ResourceType } from "@portolan/core";

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
}
