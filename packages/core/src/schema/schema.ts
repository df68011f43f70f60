/**
 * Structural description of API objects: one source for unknown-field detection, strategic merge patch, server-side apply,
 * OpenAPI, `kubectl explain` and the protobuf encoding.
 */
export interface Schema {
  readonly type: "object" | "array" | "string" | "integer" | "number" | "boolean" | "int-or-string" | "any";
  readonly description?: string;
  /** What the named type is in general, where `description` says what the field is that holds it. */
  readonly typeDescription?: string;
  /** Go type name as OpenAPI names it, for example `io.k8s.api.core.v1.ServiceSpec`; set on named object types. */
  readonly reference?: string;
  /** Named fields; with `properties` present any other field is unknown. */
  readonly properties?: Readonly<Record<string, Schema>>;
  /** Value schema of a free-form map. */
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly required?: readonly string[];
  /** `int32`, `int64`, `date-time`, `byte`, … as in OpenAPI. */
  readonly format?: string;
  readonly enum?: readonly string[];
  readonly default?: unknown;
  /** Server-side apply: how a list merges. */
  readonly listType?: "atomic" | "set" | "map";
  readonly listMapKeys?: readonly string[];
  /** Server-side apply: `atomic` maps are replaced whole. */
  readonly mapType?: "atomic" | "granular";
  /** Strategic merge patch. */
  readonly patchStrategy?: "merge" | "replace" | "retainKeys" | "merge,retainKeys";
  readonly patchMergeKey?: string;
  /** Protobuf field number in the containing message. */
  readonly protobuf?: number;
  /**
   * Set where Go has a pointer: a zero, an empty string or `false` means something else than nothing there. Elsewhere the server
   * drops them, and protobuf carries them without anybody having set them.
   */
  readonly explicit?: boolean;
  /**
   * Set where a Go struct embeds another: JSON shows the inner fields beside the outer ones, protobuf nests them in a message of
   * this number, within which `protobuf` counts.
   */
  readonly protobufEmbedding?: number;
}
