import type { Schema } from "@portolan/core";
import { deepEqual } from "../encoding/equality.ts";
import { isJsonObject, type JsonValue, ownMember, setMember } from "../encoding/json.ts";
import { edgeText, type FieldSet, FieldSetBuilder } from "./field-set.ts";

/**
 * Values seen through their schema as server-side apply sees them: which parts are owned one by one and which as a whole.
 * Source: structured-merge-diff v6, `typed/compare.go`, `typed/merge.go`, `typed/tofieldset.go`.
 */

/** How the parts of a value are told apart. */
type Granularity = "leaf" | "struct" | "map" | "keyed" | "set";

function granularity(schema: Schema): Granularity {
  if (schema.type === "object" && schema.mapType !== "atomic") {
    if (schema.properties !== undefined) return "struct";
    return schema.additionalProperties === undefined ? "leaf" : "map";
  }
  if (schema.type === "array") {
    if (schema.listType === "map" && schema.listMapKeys !== undefined) return "keyed";
    if (schema.listType === "set") return "set";
  }
  return "leaf";
}

const anySchema: Schema = { type: "any" };

function childSchema(schema: Schema, kind: Granularity, name: string): Schema | undefined {
  if (kind === "struct")
    return (ownMember(schema.properties ?? {}, name) as Schema | undefined) ?? schema.additionalProperties;
  return schema.additionalProperties ?? anySchema;
}

/** The edge of a list item: its keys, with defaults for the missing, or its value. */
function itemEdge(item: JsonValue, schema: Schema, kind: Granularity): string | undefined {
  if (kind === "set") return `v:${JSON.stringify(item)}`;
  if (!isJsonObject(item)) return undefined;
  const keys: { [key: string]: JsonValue } = {};
  let found = false;
  for (const key of [...(schema.listMapKeys ?? [])].sort()) {
    const value = ownMember(item, key) ?? schema.items?.properties?.[key]?.default;
    if (value === undefined || value === null) continue;
    keys[key] = value as JsonValue;
    found = true;
  }
  return found ? `k:${JSON.stringify(keys)}` : undefined;
}

function itemsByEdge(value: JsonValue | undefined, schema: Schema, kind: Granularity): Map<string, JsonValue> {
  const result = new Map<string, JsonValue>();
  if (Array.isArray(value)) {
    for (const item of value) {
      const edge = itemEdge(item, schema, kind);
      if (edge !== undefined && !result.has(edge)) result.set(edge, item);
    }
  }
  return result;
}

function isEmptyContainer(value: JsonValue | undefined): boolean {
  if (value === undefined || value === null) return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** What two values differ in. */
export interface Comparison {
  readonly added: FieldSet;
  readonly removed: FieldSet;
  readonly modified: FieldSet;
}

/** Compares two values of a schema part by part. */
export function compareValues(before: JsonValue, after: JsonValue, schema: Schema): Comparison {
  const added = new FieldSetBuilder();
  const removed = new FieldSetBuilder();
  const modified = new FieldSetBuilder();

  function visit(
    l: JsonValue | undefined,
    r: JsonValue | undefined,
    schema: Schema,
    a: () => FieldSetBuilder,
    d: () => FieldSetBuilder,
    m: () => FieldSetBuilder,
  ): void {
    if (l === r) return;
    const kind = granularity(schema);
    if (kind === "leaf" || (isEmptyContainer(l) && isEmptyContainer(r))) {
      if (l === undefined) a().member = true;
      else if (r === undefined) d().member = true;
      else if (!deepEqual(l, r)) m().member = true;
      return;
    }
    if (l === undefined) a().member = true;
    if (r === undefined) d().member = true;
    if (kind === "keyed" || kind === "set") {
      const left = itemsByEdge(l, schema, kind);
      const right = itemsByEdge(r, schema, kind);
      const items = schema.items ?? anySchema;
      for (const [edge, item] of left) {
        visit(
          item,
          right.get(edge),
          items,
          () => a().child(edge),
          () => d().child(edge),
          () => m().child(edge),
        );
      }
      for (const [edge, item] of right) {
        if (!left.has(edge))
          visit(
            undefined,
            item,
            items,
            () => a().child(edge),
            () => d().child(edge),
            () => m().child(edge),
          );
      }
      return;
    }
    const left = isJsonObject(l) ? l : {};
    const right = isJsonObject(r) ? r : {};
    for (const name of Object.keys(left)) {
      const child = childSchema(schema, kind, name) ?? anySchema;
      const edge = `f:${name}`;
      visit(
        left[name],
        ownMember(right, name) as JsonValue | undefined,
        child,
        () => a().child(edge),
        () => d().child(edge),
        () => m().child(edge),
      );
    }
    for (const name of Object.keys(right)) {
      if (Object.hasOwn(left, name)) continue;
      const child = childSchema(schema, kind, name) ?? anySchema;
      const edge = `f:${name}`;
      visit(
        undefined,
        right[name],
        child,
        () => a().child(edge),
        () => d().child(edge),
        () => m().child(edge),
      );
    }
  }

  visit(
    before,
    after,
    schema,
    () => added,
    () => removed,
    () => modified,
  );
  return { added, removed, modified };
}

/** The paths that a configuration sets. */
export function fieldSetOfValue(value: JsonValue, schema: Schema): FieldSet {
  const root = new FieldSetBuilder();

  function visit(value: JsonValue, schema: Schema, node: () => FieldSetBuilder): void {
    const kind = granularity(schema);
    if (kind === "leaf" || value === null) {
      node().member = true;
      return;
    }
    if (kind === "keyed" || kind === "set") {
      for (const [edge, item] of itemsByEdge(value, schema, kind)) {
        node().child(edge).member = true;
        if (kind === "keyed") visit(item, schema.items ?? anySchema, () => node().child(edge));
      }
      return;
    }
    if (!isJsonObject(value)) return;
    const names = Object.keys(value);
    if (names.length === 0) node().member = true;
    for (const name of names) {
      if (kind === "map") node().child(`f:${name}`).member = true;
      visit(value[name] as JsonValue, childSchema(schema, kind, name) ?? anySchema, () => node().child(`f:${name}`));
    }
  }

  visit(value, schema, () => root);
  // The empty path is no field.
  root.member = false;
  return root;
}

/** Lays a configuration over a value. Items of keyed lists merge; shared ones take the configuration's order. */
export function mergeValues(
  live: JsonValue | undefined,
  configuration: JsonValue | undefined,
  schema: Schema,
): JsonValue | undefined {
  if (configuration === undefined) return live;
  const kind = granularity(schema);
  if (live === undefined || live === null || configuration === null || kind === "leaf") return configuration;
  if (kind === "keyed" || kind === "set") {
    if (!Array.isArray(live) || !Array.isArray(configuration)) return configuration;
    const left = itemsByEdge(live, schema, kind);
    const right = itemsByEdge(configuration, schema, kind);
    const leftEdges = [...left.keys()];
    const rightEdges = [...right.keys()];
    const result: JsonValue[] = [];
    let l = 0;
    let r = 0;
    while (l < leftEdges.length || r < rightEdges.length) {
      const leftEdge = leftEdges[l];
      const rightEdge = rightEdges[r];
      if (leftEdge !== undefined && leftEdge !== rightEdge) {
        // Items that only the live list has stay where they are; shared ones come when the configuration has them.
        if (!right.has(leftEdge)) result.push(left.get(leftEdge) as JsonValue);
        l++;
        continue;
      }
      if (leftEdge === rightEdge) l++;
      r++;
      const edge = rightEdge as string;
      result.push(mergeValues(left.get(edge), right.get(edge), schema.items ?? anySchema) as JsonValue);
    }
    return result;
  }
  if (!isJsonObject(live) || !isJsonObject(configuration)) return configuration;
  const result: { [key: string]: JsonValue } = { ...live };
  for (const name of Object.keys(configuration)) {
    const merged = mergeValues(
      ownMember(live, name) as JsonValue | undefined,
      configuration[name],
      childSchema(schema, kind, name) ?? anySchema,
    );
    if (merged !== undefined) setMember(result, name, merged);
  }
  return result;
}

/**
 * Takes out what was owned before and is owned by nobody now.
 *
 * @param last what the applying manager owned
 * @param owned what anybody owns now
 */
export function pruneValue(value: JsonValue, schema: Schema, last: FieldSet, owned: FieldSet | undefined): JsonValue {
  const kind = granularity(schema);
  if (kind === "leaf" || last.children.size === 0) return value;
  const gone = (edge: string): boolean =>
    last.children.get(edge)?.member === true && owned?.children.get(edge) === undefined;
  if (Array.isArray(value)) {
    const result: JsonValue[] = [];
    for (const item of value) {
      const edge = itemEdge(item, schema, kind);
      if (edge === undefined) result.push(item);
      else if (!gone(edge)) {
        const child = last.children.get(edge);
        result.push(
          child === undefined ? item : pruneValue(item, schema.items ?? anySchema, child, owned?.children.get(edge)),
        );
      }
    }
    return result;
  }
  if (!isJsonObject(value)) return value;
  const result: { [key: string]: JsonValue } = {};
  for (const name of Object.keys(value)) {
    const edge = `f:${name}`;
    if (gone(edge)) continue;
    const child = last.children.get(edge);
    const member = value[name] as JsonValue;
    setMember(
      result,
      name,
      child === undefined
        ? member
        : pruneValue(member, childSchema(schema, kind, name) ?? anySchema, child, owned?.children.get(edge)),
    );
  }
  return result;
}

/**
 * Problems of a configuration that is to be applied: fields that the schema does not have, wrong kinds of values, items without or with equal keys.
 * Each reads like `.spec.foo: field not declared in schema`.
 */
export function configurationProblems(value: JsonValue, schema: Schema): string[] {
  const problems: string[] = [];

  function visit(value: JsonValue, schema: Schema, path: string): void {
    if (value === null) return;
    switch (schema.type) {
      case "array": {
        if (!Array.isArray(value)) {
          problems.push(`${path}: expected list, got ${shown(value)}`);
          return;
        }
        const kind = granularity(schema);
        const seen = new Set<string>();
        value.forEach((item, index) => {
          if (kind === "leaf") {
            visit(item, schema.items ?? anySchema, `${path}[${index}]`);
            return;
          }
          const edge = itemEdge(item, schema, kind);
          if (edge === undefined) {
            const key =
              schema.listMapKeys?.find((name) => schema.items?.properties?.[name]?.default === undefined) ?? "";
            problems.push(
              `${path}: element ${index}: associative list with keys has an element that omits key field ${JSON.stringify(key)} (and doesn't have default value)`,
            );
            return;
          }
          if (kind === "keyed" && isJsonObject(item)) {
            const missing = schema.listMapKeys?.find(
              (name) => ownMember(item, name) === undefined && schema.items?.properties?.[name]?.default === undefined,
            );
            if (missing !== undefined) {
              problems.push(
                `${path}: element ${index}: associative list with keys has an element that omits key field ${JSON.stringify(missing)} (and doesn't have default value)`,
              );
              return;
            }
          }
          if (seen.has(edge)) problems.push(`${path}: duplicate entries for key ${edgeText(edge)}`);
          seen.add(edge);
          visit(item, schema.items ?? anySchema, `${path}${edgeText(edge)}`);
        });
        return;
      }
      case "object":
        if (!isJsonObject(value)) {
          problems.push(`${path}: expected map, got ${shown(value)}`);
          return;
        }
        for (const name of Object.keys(value)) {
          const child =
            schema.properties === undefined
              ? (schema.additionalProperties ?? anySchema)
              : ((ownMember(schema.properties, name) as Schema | undefined) ?? schema.additionalProperties);
          if (child === undefined) problems.push(`${path}.${name}: field not declared in schema`);
          else visit(value[name] as JsonValue, child, `${path}.${name}`);
        }
        return;
      case "string":
        if (typeof value !== "string") problems.push(`${path}: expected string, got ${shown(value)}`);
        return;
      case "integer":
      case "number":
        if (typeof value !== "number") problems.push(`${path}: expected numeric (int or float), got ${shown(value)}`);
        return;
      case "boolean":
        if (typeof value !== "boolean") problems.push(`${path}: expected boolean, got ${shown(value)}`);
        return;
      default:
        return;
    }
  }

  visit(value, schema, "");
  return problems;
}

function shown(value: JsonValue): string {
  return typeof value === "object"
    ? `&{${JSON.stringify(value)}}`
    : `&value.valueUnstructured{Value:${JSON.stringify(value)}}`;
}
