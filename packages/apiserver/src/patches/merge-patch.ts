import { isJsonObject, type JsonValue, ownMember, setMember } from "../encoding/json.ts";

/** Applies a JSON merge patch (RFC 7396): objects merge, `null` removes, everything else replaces. The value is not changed. */
export function applyMergePatch(value: JsonValue | undefined, patch: JsonValue): JsonValue {
  if (!isJsonObject(patch)) return patch;
  const result: { [key: string]: JsonValue } = isJsonObject(value) ? { ...value } : {};
  for (const key of Object.keys(patch)) {
    const member = patch[key] as JsonValue;
    if (member === null) delete result[key];
    else setMember(result, key, applyMergePatch(ownMember(result, key) as JsonValue | undefined, member));
  }
  return result;
}
