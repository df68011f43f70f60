import { isJsonObject, type JsonObject } from "../json.ts";

/** Sets a field that is absent or `null`. */
export function fill(object: JsonObject, name: string, value: unknown): void {
  if (object[name] === undefined || object[name] === null) object[name] = value;
}

/** Sets a text field that is absent, `null` or `""`; Go cannot tell these apart. */
export function fillText(object: JsonObject, name: string, value: string): void {
  if (object[name] === undefined || object[name] === null || object[name] === "") object[name] = value;
}

/** The object in a field, created when absent or `null`; `undefined` when something else is there. */
export function ensureObject(object: JsonObject, name: string): JsonObject | undefined {
  if (object[name] === undefined || object[name] === null) object[name] = {};
  const value = object[name];
  return isJsonObject(value) ? value : undefined;
}

/** The objects among the items of a list. */
export function objectsIn(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}
