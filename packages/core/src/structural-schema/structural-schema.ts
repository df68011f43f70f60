import { isJsonObject } from "../json.ts";
import { objectMeta } from "../schema/meta.ts";
import type { Schema } from "../schema/schema.ts";

/**
 * The schema of a custom resource's version: OpenAPI 3 with Kubernetes' extensions, restricted so that the type of every field is
 * said once and outside of `allOf`, `anyOf`, `oneOf` and `not` (KEP-1002). Unknown members are ignored.
 *
 * Source: apiextensions `v1` `JSONSchemaProps`, `pkg/apiserver/schema`.
 */
export interface StructuralSchema {
  readonly type?: string;
  readonly description?: string;
  readonly title?: string;
  readonly format?: string;
  readonly nullable?: boolean;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, StructuralSchema>>;
  readonly additionalProperties?: StructuralSchema | boolean;
  readonly items?: StructuralSchema;
  readonly required?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: boolean;
  readonly exclusiveMaximum?: boolean;
  readonly multipleOf?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly allOf?: readonly StructuralSchema[];
  readonly anyOf?: readonly StructuralSchema[];
  readonly oneOf?: readonly StructuralSchema[];
  readonly not?: StructuralSchema;
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
  readonly "x-kubernetes-embedded-resource"?: boolean;
  readonly "x-kubernetes-int-or-string"?: boolean;
  readonly "x-kubernetes-list-type"?: "atomic" | "set" | "map";
  readonly "x-kubernetes-list-map-keys"?: readonly string[];
  readonly "x-kubernetes-map-type"?: "atomic" | "granular";
  readonly "x-kubernetes-validations"?: readonly StructuralRule[];
}

/** A rule in CEL. */
export interface StructuralRule {
  readonly rule: string;
  readonly message?: string;
  readonly messageExpression?: string;
  readonly reason?: string;
  readonly fieldPath?: string;
  readonly optionalOldSelf?: boolean;
}

/** Fields that every object has whatever its schema says. */
const headFields = ["apiVersion", "kind", "metadata"];

function hasHead(schema: StructuralSchema, isRoot: boolean): boolean {
  return isRoot || schema["x-kubernetes-embedded-resource"] === true;
}

/** The schema of a member, or `undefined` when nothing is said of it. */
function memberSchema(schema: StructuralSchema, name: string): StructuralSchema | undefined {
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, name)) return schema.properties[name];
  const { additionalProperties } = schema;
  if (additionalProperties === true) return { "x-kubernetes-preserve-unknown-fields": true };
  return typeof additionalProperties === "object" ? additionalProperties : undefined;
}

/**
 * Removes fields that the schema does not have, in place: what `x-kubernetes-preserve-unknown-fields` covers stays.
 *
 * @returns paths of what was removed, such as `spec.foo`
 */
export function pruneUnknownFields(object: unknown, schema: StructuralSchema): string[] {
  const removed: string[] = [];

  function visit(value: unknown, schema: StructuralSchema, path: string, isRoot: boolean): void {
    if (Array.isArray(value)) {
      if (schema.items === undefined) return;
      for (const [index, item] of value.entries()) visit(item, schema.items, `${path}[${index}]`, false);
      return;
    }
    if (!isJsonObject(value)) return;
    for (const name of Object.keys(value)) {
      if (hasHead(schema, isRoot) && headFields.includes(name)) continue;
      const child = memberSchema(schema, name);
      const childPath = path === "" ? name : `${path}.${name}`;
      if (child !== undefined) visit(value[name], child, childPath, false);
      else if (schema["x-kubernetes-preserve-unknown-fields"] !== true) {
        removed.push(childPath);
        delete (value as Record<string, unknown>)[name];
      }
    }
  }

  visit(object, schema, "", true);
  return removed;
}

/** Sets a member whatever its name: assigning to `__proto__` would change the prototype. */
function setMember(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Fills in defaults of absent fields, and drops `null` where it is no value, in place. */
export function applyStructuralDefaults(object: unknown, schema: StructuralSchema): void {
  if (Array.isArray(object)) {
    if (schema.items !== undefined) for (const item of object) applyStructuralDefaults(item, schema.items);
    return;
  }
  if (!isJsonObject(object)) return;
  const target = object as Record<string, unknown>;
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    const isAbsent = !Object.hasOwn(target, name) || (target[name] === null && child.nullable !== true);
    if (!isAbsent) continue;
    if (child.default !== undefined) setMember(target, name, JSON.parse(JSON.stringify(child.default)));
    else delete target[name];
  }
  for (const name of Object.keys(target)) {
    const child = memberSchema(schema, name);
    if (child !== undefined) applyStructuralDefaults(target[name], child);
  }
}

/** The whole schema of a custom resource as other parts know it: for server-side apply, above all. */
export function schemaOfStructural(structural: StructuralSchema): Schema {
  const root = convert(structural);
  const text: Schema = { type: "string" };
  return {
    ...root,
    type: "object",
    properties: { ...root.properties, apiVersion: text, kind: text, metadata: objectMeta },
  };
}

function convert(structural: StructuralSchema): Schema {
  const facts = {
    ...(structural.description === undefined ? {} : { description: structural.description }),
    ...(structural.default === undefined ? {} : { default: structural.default }),
  };
  if (structural["x-kubernetes-int-or-string"] === true) return { type: "int-or-string", ...facts };
  switch (structural.type) {
    case "object": {
      const { properties, additionalProperties } = structural;
      const mapType = structural["x-kubernetes-map-type"];
      const common = { ...facts, type: "object" as const, ...(mapType === undefined ? {} : { mapType }) };
      const isOpen = structural["x-kubernetes-preserve-unknown-fields"] === true;
      if (properties !== undefined) {
        return {
          ...common,
          properties: Object.fromEntries(Object.entries(properties).map(([name, child]) => [name, convert(child)])),
          // Fields that are kept though nothing is known of them are owned one by one.
          ...(isOpen ? { additionalProperties: { type: "any" as const } } : {}),
        };
      }
      if (typeof additionalProperties === "object")
        return { ...common, additionalProperties: convert(additionalProperties) };
      return { ...common, additionalProperties: { type: "any" } };
    }
    case "array": {
      const listType = structural["x-kubernetes-list-type"];
      const listMapKeys = structural["x-kubernetes-list-map-keys"];
      return {
        ...facts,
        type: "array",
        ...(structural.items === undefined ? {} : { items: convert(structural.items) }),
        ...(listType === undefined ? {} : { listType }),
        ...(listMapKeys === undefined ? {} : { listMapKeys }),
      };
    }
    case "string":
    case "integer":
    case "number":
    case "boolean":
      return { ...facts, type: structural.type };
    default:
      return { ...facts, type: "any" };
  }
}
