import { badRequestStatus, type Schema, unknownErrorStatus } from "@portolan/core";
import { deepEqual } from "../encoding/equality.ts";
import { isJsonObject, type JsonValue, ownMember, setMember } from "../encoding/json.ts";

/**
 * Strategic merge patch: a merge patch whose lists merge by the key that the schema names (`patchMergeKey`), with directives `$patch`,
 * `$deleteFromPrimitiveList/x`, `$setElementOrder/x` and `$retainKeys`. Source: `apimachinery/pkg/util/strategicpatch/patch.go`.
 */

type JsonObject = { [key: string]: JsonValue };

const deleteFromList = "$deleteFromPrimitiveList/";
const setOrder = "$setElementOrder/";
const anySchema: Schema = { type: "any" };

/** A Go map as `%v` prints it: keys sorted, no quotes. */
function goMap(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(goMap).join(" ")}]`;
  if (isJsonObject(value)) {
    return `map[${Object.keys(value)
      .sort()
      .map((key) => `${key}:${goMap(value[key] as JsonValue)}`)
      .join(" ")}]`;
  }
  return value === null ? "<nil>" : String(value);
}

function childSchema(schema: Schema, name: string): Schema {
  if (schema.properties !== undefined) return (ownMember(schema.properties, name) as Schema | undefined) ?? anySchema;
  return schema.additionalProperties ?? anySchema;
}

function merges(schema: Schema): boolean {
  return schema.patchStrategy?.split(",").includes("merge") === true;
}

function directiveOf(patch: JsonObject): string | undefined {
  const directive = ownMember(patch, "$patch");
  if (directive === undefined) return undefined;
  if (directive !== "delete" && directive !== "replace" && directive !== "merge") {
    throw unknownErrorStatus(`unknown patch type: ${goMap(directive as JsonValue)} in map: ${goMap(patch)}`);
  }
  return directive;
}

/** Removes directives from values that are taken over as they are. */
function withoutDirectives(value: JsonValue): JsonValue {
  if (Array.isArray(value)) {
    return value
      .filter((item) => !(isJsonObject(item) && ownMember(item, "$patch") === "delete"))
      .map(withoutDirectives);
  }
  if (!isJsonObject(value)) return value;
  const result: JsonObject = {};
  for (const key of Object.keys(value)) {
    if (key === "$patch" || key === "$retainKeys" || key.startsWith(deleteFromList) || key.startsWith(setOrder))
      continue;
    if (value[key] !== null) setMember(result, key, withoutDirectives(value[key] as JsonValue));
  }
  return result;
}

function mergeObject(value: JsonObject, patch: JsonObject, schema: Schema): JsonObject {
  const directive = directiveOf(patch);
  if (directive === "replace") {
    const { $patch: _, ...rest } = patch;
    return withoutDirectives(rest) as JsonObject;
  }
  if (directive === "delete") return {};
  let result: JsonObject = { ...value };

  const retained = ownMember(patch, "$retainKeys");
  if (retained !== undefined) {
    if (!Array.isArray(retained) || retained.some((key) => typeof key !== "string"))
      throw badRequestStatus("invalid patch format of $retainKeys: keys must be a list of strings");
    const missing = Object.keys(patch).filter(
      (key) => !key.startsWith("$") && patch[key] !== null && !retained.includes(key),
    );
    if (missing.length > 0) throw badRequestStatus(`$retainKeys list must contains all fields present in the patch`);
    result = Object.fromEntries(Object.entries(result).filter(([key]) => retained.includes(key)));
  }

  const orders = new Map<string, readonly JsonValue[]>();
  for (const key of Object.keys(patch)) {
    if (key.startsWith(setOrder)) {
      const order = patch[key];
      if (!Array.isArray(order)) throw badRequestStatus(`invalid patch format of ${key}: must be a list`);
      orders.set(key.slice(setOrder.length), order);
    } else if (key.startsWith(deleteFromList)) {
      const name = key.slice(deleteFromList.length);
      const gone = patch[key];
      if (!Array.isArray(gone)) throw badRequestStatus(`invalid patch format of ${key}: must be a list`);
      const list = ownMember(result, name);
      if (Array.isArray(list))
        setMember(
          result,
          name,
          (list as JsonValue[]).filter((item) => !gone.some((other) => deepEqual(other, item))),
        );
    }
  }

  for (const key of Object.keys(patch)) {
    if (key.startsWith(setOrder) || key.startsWith(deleteFromList) || key === "$retainKeys" || key === "$patch")
      continue;
    const wanted = patch[key] as JsonValue;
    if (wanted === null) {
      delete result[key];
      continue;
    }
    const child = childSchema(schema, key);
    const present = ownMember(result, key) as JsonValue | undefined;
    if (isJsonObject(wanted)) {
      if (isJsonObject(present)) {
        if (child.patchStrategy === "replace") setMember(result, key, withoutDirectives(wanted));
        else setMember(result, key, mergeObject(present, wanted, child));
      } else if (ownMember(wanted, "$patch") === "delete") delete result[key];
      else {
        directiveOf(wanted);
        setMember(result, key, mergeObject({}, wanted, child));
      }
    } else if (Array.isArray(wanted)) {
      setMember(result, key, mergeList(Array.isArray(present) ? present : [], wanted, child));
    } else {
      setMember(result, key, wanted);
    }
  }

  for (const [name, order] of orders) {
    const list = ownMember(result, name);
    if (Array.isArray(list))
      setMember(result, name, reorder(list as JsonValue[], order, childSchema(schema, name), ownMember(patch, name)));
  }
  return result;
}

function mergeList(list: readonly JsonValue[], patch: readonly JsonValue[], schema: Schema): JsonValue[] {
  if (!merges(schema)) return patch.map(withoutDirectives);
  const key = schema.patchMergeKey;
  const items = schema.items ?? anySchema;
  if (key === undefined || items.type !== "object") {
    // A list of plain values is a set.
    const result = [...list];
    for (const item of patch) if (!result.some((other) => deepEqual(other, item))) result.push(item);
    return result;
  }

  let result = [...list];
  const rest: JsonObject[] = [];
  let isReplaced = false;
  for (const item of patch) {
    if (!isJsonObject(item)) throw badRequestStatus(`expected an object in the list of ${key}, got ${goMap(item)}`);
    const directive = directiveOf(item);
    if (directive === "replace" && Object.keys(item).length === 1) {
      isReplaced = true;
      continue;
    }
    if (directive === "delete") {
      const value = ownMember(item, key);
      if (value === undefined)
        throw unknownErrorStatus(`map: ${goMap(item)} does not contain declared merge key: ${key}`);
      result = result.filter((other) => !(isJsonObject(other) && deepEqual(ownMember(other, key), value)));
      continue;
    }
    rest.push(item);
  }
  if (isReplaced) return rest.map(withoutDirectives);
  for (const item of rest) {
    const value = ownMember(item, key);
    if (value === undefined)
      throw unknownErrorStatus(`map: ${goMap(item)} does not contain declared merge key: ${key}`);
    const index = result.findIndex((other) => isJsonObject(other) && deepEqual(ownMember(other, key), value));
    if (index < 0) result.push(mergeObject({}, item, items));
    else result[index] = mergeObject(result[index] as JsonObject, item, items);
  }
  return result;
}

/** Puts the items that the order names into that order, and lets the others keep their place relative to their neighbours. */
function reorder(
  list: readonly JsonValue[],
  order: readonly JsonValue[],
  schema: Schema,
  patched: unknown,
): JsonValue[] {
  const key = schema.patchMergeKey;
  const identity = (item: JsonValue): string =>
    JSON.stringify(key !== undefined && isJsonObject(item) ? (ownMember(item, key) ?? null) : item);
  const position = new Map(order.map((item, index) => [identity(item), index]));
  const named = list
    .filter((item) => position.has(identity(item)))
    .sort((a, b) => (position.get(identity(a)) as number) - (position.get(identity(b)) as number));
  const isPatched = new Set(Array.isArray(patched) ? (patched as JsonValue[]).map(identity) : []);
  const result: JsonValue[] = [];
  let next = 0;
  for (const item of list) {
    if (!position.has(identity(item)) && !isPatched.has(identity(item))) {
      result.push(item);
      continue;
    }
    if (next < named.length) result.push(named[next++] as JsonValue);
  }
  while (next < named.length) result.push(named[next++] as JsonValue);
  return result;
}

/**
 * Applies a strategic merge patch. The value is not changed.
 *
 * @throws StatusError 400 or 500 for patches that cannot be read, with the server's words
 */
export function applyStrategicMergePatch(value: JsonValue, patch: JsonValue, schema: Schema): JsonValue {
  if (!isJsonObject(patch)) {
    throw badRequestStatus(
      `error decoding patch: json: cannot unmarshal ${Array.isArray(patch) ? "array" : typeof patch} into Go value of type map[string]interface {}`,
    );
  }
  return mergeObject(isJsonObject(value) ? value : {}, patch, schema);
}
