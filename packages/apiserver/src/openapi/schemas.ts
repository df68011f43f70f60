import { type Schema, schemaOf } from "@portolan/core";
import type { ResourceDefinition } from "../resource-definition.ts";

/** A JSON schema in one of the two dialects. */
export type JsonSchema = { readonly [key: string]: unknown };

/** OpenAPI 2 and 3 differ in where definitions lie, and in how a reference stands beside other facts. */
export type Dialect = "v2" | "v3";

/** Group, version and kind of a definition or operation, as extensions name it. */
export interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

function referenceTo(name: string, dialect: Dialect): string {
  return dialect === "v2" ? `#/definitions/${name}` : `#/components/schemas/${name}`;
}

/** Types with a name but without fields, which are defined here rather than by a kind. */
function scalarDefinition(reference: string, dialect: Dialect): JsonSchema | undefined {
  switch (reference.slice(reference.lastIndexOf(".") + 1)) {
    case "IntOrString":
      return dialect === "v2"
        ? { description: "A number or a string.", type: "string", format: "int-or-string" }
        : {
            description: "A number or a string.",
            format: "int-or-string",
            oneOf: [{ type: "integer" }, { type: "string" }],
          };
    case "Quantity":
      return dialect === "v2"
        ? { description: "An amount of a resource, such as 500m or 1Gi.", type: "string" }
        : {
            description: "An amount of a resource, such as 500m or 1Gi.",
            oneOf: [{ type: "string" }, { type: "number" }],
          };
    case "FieldsV1":
      return { description: "A set of fields, as a tree of keys.", type: "object" };
    default:
      return undefined;
  }
}

/** Definitions of one document, collected while the kinds are walked through. */
export class Definitions {
  readonly #dialect: Dialect;
  readonly #definitions = new Map<string, JsonSchema>();

  constructor(dialect: Dialect) {
    this.#dialect = dialect;
  }

  /** All definitions, by name. */
  toJSON(): Record<string, JsonSchema> {
    return Object.fromEntries([...this.#definitions].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Name of the definition of a kind; kinds without a schema accept whatever comes. */
  kind(definition: GroupVersionKind & Pick<ResourceDefinition, "custom">): string {
    const apiVersion = definition.group === "" ? definition.version : `${definition.group}/${definition.version}`;
    const { group, version, kind, custom } = definition;
    const schema = custom === undefined ? schemaOf(apiVersion, kind) : undefined;
    const name = schema?.reference ?? customName(definition);
    const shown = { group, version, kind };
    this.#define(name, () => {
      if (schema !== undefined) return this.#object(schema, [shown]);
      return this.#custom(shown, custom === undefined ? undefined : (custom.openAPIV3Schema as JsonSchema));
    });
    return name;
  }

  /** Name of the definition of lists of a kind. */
  list(definition: GroupVersionKind & Pick<ResourceDefinition, "custom">): string {
    const { group, version, kind, custom } = definition;
    const item = this.kind(definition);
    const name = `${item}List`;
    const listMeta = schemaOf("v1", "Status")?.properties?.["metadata"];
    this.#define(name, () => ({
      description: `${definition.kind}List is a list of ${definition.kind} objects.`,
      type: "object",
      required: ["items"],
      properties: {
        apiVersion: { type: "string", description: "Version of this representation of the list." },
        items: { type: "array", description: "The objects.", items: this.#reference(item, {}) },
        kind: { type: "string", description: "Kind of the list." },
        ...(listMeta === undefined ? {} : { metadata: this.#property(listMeta) }),
      },
      "x-kubernetes-group-version-kind": [{ group, version, kind: custom?.listKind ?? `${kind}List` }],
    }));
    return name;
  }

  /** A schema that refers to a definition. */
  reference(name: string): JsonSchema {
    return { $ref: referenceTo(name, this.#dialect) };
  }

  #define(name: string, make: () => JsonSchema): void {
    if (this.#definitions.has(name)) return;
    // Set before it is made, so that a type which contains itself ends.
    this.#definitions.set(name, {});
    this.#definitions.set(name, make());
  }

  /** A kind that a CustomResourceDefinition has added, or one without a schema. */
  #custom(definition: GroupVersionKind, given: JsonSchema | undefined): JsonSchema {
    const metadata = schemaOf("v1", "Pod")?.properties?.["metadata"];
    const known = given === undefined ? {} : this.#dialect === "v2" ? withoutLogic(given) : given;
    return {
      ...(given === undefined ? { "x-kubernetes-preserve-unknown-fields": true } : known),
      type: "object",
      properties: {
        ...(known["properties"] as object | undefined),
        apiVersion: { type: "string", description: "Version of this representation of the object." },
        kind: { type: "string", description: "Kind of the object." },
        ...(metadata === undefined ? {} : { metadata: this.#property(metadata) }),
      },
      "x-kubernetes-group-version-kind": [{ ...definition }],
    };
  }

  #object(schema: Schema, kinds: readonly GroupVersionKind[]): JsonSchema {
    const properties = Object.entries(schema.properties ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
    return {
      ...(schema.description === undefined ? {} : { description: schema.description }),
      type: "object",
      ...(schema.required === undefined ? {} : { required: schema.required }),
      properties: Object.fromEntries(properties.map(([name, field]) => [name, this.#property(field)])),
      ...(schema.mapType === undefined ? {} : { "x-kubernetes-map-type": schema.mapType }),
      ...(kinds.length === 0 ? {} : { "x-kubernetes-group-version-kind": kinds }),
    };
  }

  /** A reference beside other facts: `allOf` in OpenAPI 3, where `$ref` would hide them. */
  #reference(name: string, facts: JsonSchema): JsonSchema {
    const reference = this.reference(name);
    return this.#dialect === "v2" ? { ...reference, ...facts } : { allOf: [reference], ...facts };
  }

  #property(schema: Schema): JsonSchema {
    const facts: JsonSchema = {
      ...(schema.description === undefined ? {} : { description: schema.description }),
      ...(schema.default === undefined ? {} : { default: schema.default }),
      ...(schema.patchMergeKey === undefined ? {} : { "x-kubernetes-patch-merge-key": schema.patchMergeKey }),
      ...(schema.patchStrategy === undefined ? {} : { "x-kubernetes-patch-strategy": schema.patchStrategy }),
      ...(schema.listType === undefined ? {} : { "x-kubernetes-list-type": schema.listType }),
      ...(schema.listMapKeys === undefined ? {} : { "x-kubernetes-list-map-keys": schema.listMapKeys }),
    };
    const { reference } = schema;
    if (reference !== undefined) {
      const scalar = scalarDefinition(reference, this.#dialect);
      if (scalar !== undefined) {
        this.#define(reference, () => scalar);
        return this.#reference(reference, facts);
      }
      if (schema.type === "object" && schema.properties !== undefined) {
        // The type says what it is in general; the field what it is here.
        this.#define(reference, () => this.#object(typeOf(schema), []));
        return this.#reference(reference, facts);
      }
    }
    switch (schema.type) {
      case "object":
        if (schema.properties !== undefined) return { ...this.#object(schema, []), ...facts };
        return {
          ...facts,
          type: "object",
          ...(schema.additionalProperties === undefined
            ? {}
            : { additionalProperties: this.#property(schema.additionalProperties) }),
          ...(schema.mapType === undefined ? {} : { "x-kubernetes-map-type": schema.mapType }),
        };
      case "array":
        return {
          ...facts,
          type: "array",
          ...(schema.items === undefined ? {} : { items: this.#property(withoutDescription(schema.items)) }),
        };
      case "any":
        return { ...facts, "x-kubernetes-preserve-unknown-fields": true };
      default:
        return {
          ...facts,
          type: schema.type,
          ...(schema.format === undefined ? {} : { format: schema.format }),
          ...(schema.enum === undefined ? {} : { enum: schema.enum }),
        };
    }
  }
}

/** What OpenAPI 2 cannot say: logic, `null`, and fields of an object that is open (apiextensions `controller/openapi/builder`). */
function withoutLogic(schema: JsonSchema): JsonSchema {
  const { oneOf: _, anyOf: __, allOf: ___, not: ____, nullable, default: _____, ...rest } = schema;
  if (schema["x-kubernetes-int-or-string"] === true) return { ...rest, "x-kubernetes-int-or-string": true };
  const result: Record<string, unknown> = { ...rest };
  if (nullable === true) delete result["type"];
  const inner = (value: unknown): JsonSchema => withoutLogic(value as JsonSchema);
  if (schema["x-kubernetes-preserve-unknown-fields"] === true) {
    delete result["properties"];
    delete result["items"];
  } else {
    const { properties, items, additionalProperties } = schema;
    if (typeof properties === "object" && properties !== null)
      result["properties"] = Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, inner(each)]));
    if (typeof items === "object") result["items"] = inner(items);
    if (typeof additionalProperties === "object") result["additionalProperties"] = inner(additionalProperties);
  }
  return result;
}

/** A named type without what is said of the field that holds it. */
function typeOf(field: Schema): Schema {
  return field.typeDescription === undefined ? field : { ...field, description: field.typeDescription };
}

/** Items of a named type are described by the type. */
function withoutDescription(items: Schema): Schema {
  if (items.reference === undefined || items.properties === undefined) return items;
  const { description, ...rest } = items;
  return description === undefined ? items : { ...rest, typeDescription: description };
}

/** Name of the definition of a kind without a schema: the group backwards, as custom resources have it. */
function customName({ group, version, kind }: GroupVersionKind): string {
  return [...group.split(".").reverse(), version, kind].filter((part) => part !== "").join(".");
}

/** Kinds of the parts of a definition. */
export function kindOf(definition: ResourceDefinition): GroupVersionKind {
  return { group: definition.group, version: definition.version, kind: definition.kind };
}
