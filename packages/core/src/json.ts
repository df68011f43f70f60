/**
 * Reading JSON whose shape is not known. Every function takes any value and returns something usable: a value of the wrong type reads
 * as absent, and `null` is absent too, as in Kubernetes' JSON.
 *
 * @packageDocumentation
 */

/** A JSON object. */
export type JsonObject = Record<string, unknown>;

/** True for a JSON object: not `null`, not an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value as an object; anything else reads as an empty one. The result is the value itself, not a copy. */
export function objectOf(value: unknown): JsonObject {
  return isJsonObject(value) ? value : {};
}

/** The own field of an object, or `undefined`; inherited names such as `constructor` are never found. */
export function fieldOf(value: unknown, name: string): unknown {
  return isJsonObject(value) && Object.hasOwn(value, name) ? (value[name] ?? undefined) : undefined;
}

/** The value found by walking own fields. */
export function pathOf(value: unknown, ...names: readonly string[]): unknown {
  return names.reduce<unknown>(fieldOf, value);
}

/** The value as a list; anything else reads as an empty one. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The value as text; anything else reads as `""`. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The value as a finite number, or `undefined`. */
export function numberOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** The entries of an object that are text. */
export function stringMapOf(value: unknown): Record<string, string> {
  const out: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [key, text] of Object.entries(objectOf(value))) if (typeof text === "string") out[key] = text;
  return out;
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === null;
}

/**
 * Deep equality of JSON values. Order of fields does not matter; absent and `null` fields are equal. Depth is bounded by the value.
 */
export function equalJson(a: unknown, b: unknown): boolean {
  if (a === b || (isEmpty(a) && isEmpty(b))) return true;
  if (Array.isArray(a) || Array.isArray(b)) {
    return (
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((item, index) => equalJson(item, b[index]))
    );
  }
  if (!isJsonObject(a) || !isJsonObject(b)) return false;
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (!equalJson(fieldOf(a, key), fieldOf(b, key))) return false;
  }
  return true;
}

/**
 * Deep equality where absent, `null`, `""`, `0`, `false`, `[]` and `{}` are the same, as Go's zero values are after decoding
 * (apimachinery `equality.Semantic`).
 */
export function equalSemantically(a: unknown, b: unknown): boolean {
  if (isZero(a) || isZero(b)) return isZero(a) && isZero(b);
  if (Array.isArray(a) || Array.isArray(b)) {
    return (
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((item, index) => equalSemantically(item, b[index]))
    );
  }
  if (!isJsonObject(a) || !isJsonObject(b)) return a === b;
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (!equalSemantically(fieldOf(a, key), fieldOf(b, key))) return false;
  }
  return true;
}

/** True for absent, `null`, `""`, `0`, `false`, an empty list, and an object without non-zero fields. */
export function isZero(value: unknown): boolean {
  if (isEmpty(value) || value === "" || value === 0 || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isJsonObject(value) && Object.keys(value).length === 0;
}

/** A text that is equal for values that are equal up to the order of fields; for use as a key. */
export function canonicalText(value: unknown): string {
  return (
    JSON.stringify(value, (_, item: unknown) =>
      isJsonObject(item) ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1))) : item,
    ) ?? ""
  );
}
