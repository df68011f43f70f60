import { badRequestStatus, StatusError } from "@portolan/core";
import { deepCopy, deepEqual } from "../encoding/equality.ts";
import { isJsonObject, type JsonValue, ownMember, setMember } from "../encoding/json.ts";

/** Operations that one patch may hold (`--max-json-patch-operations` is a constant upstream). */
const maxOperations = 10_000;

/** 422 without a word more, as the server answers patches that do not fit the object. */
function doesNotFit(): StatusError {
  return new StatusError({
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: "the server rejected our request due to an error in our request",
    reason: "Invalid",
    details: {},
    code: 422,
  });
}

function segmentsOf(pointer: unknown): string[] {
  if (typeof pointer !== "string") throw doesNotFit();
  if (pointer === "") return [];
  if (!pointer.startsWith("/")) throw doesNotFit();
  return pointer
    .slice(1)
    .split("/")
    .map((segment) => segment.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function indexOf(list: readonly JsonValue[], segment: string, forInsertion: boolean): number {
  if (forInsertion && segment === "-") return list.length;
  if (!/^-?(0|[1-9]\d*)$/.test(segment)) throw doesNotFit();
  let index = Number(segment);
  const limit = forInsertion ? list.length : list.length - 1;
  if (index < 0) index += list.length;
  if (index < 0 || index > limit) throw doesNotFit();
  return index;
}

function valueAt(root: JsonValue, segments: readonly string[]): JsonValue {
  let value = root;
  for (const segment of segments) {
    if (Array.isArray(value)) value = value[indexOf(value, segment, false)] as JsonValue;
    else if (isJsonObject(value) && Object.hasOwn(value, segment)) value = value[segment] as JsonValue;
    else throw doesNotFit();
  }
  return value;
}

function add(root: JsonValue, segments: readonly string[], value: JsonValue): JsonValue {
  const last = segments[segments.length - 1];
  if (last === undefined) return value;
  const parent = valueAt(root, segments.slice(0, -1));
  if (Array.isArray(parent)) parent.splice(indexOf(parent, last, true), 0, value);
  else if (isJsonObject(parent)) setMember(parent, last, value);
  else throw doesNotFit();
  return root;
}

function remove(root: JsonValue, segments: readonly string[]): JsonValue {
  const last = segments[segments.length - 1];
  if (last === undefined) throw doesNotFit();
  const parent = valueAt(root, segments.slice(0, -1));
  if (Array.isArray(parent)) parent.splice(indexOf(parent, last, false), 1);
  else if (isJsonObject(parent) && Object.hasOwn(parent, last)) delete parent[last];
  else throw doesNotFit();
  return root;
}

function replace(root: JsonValue, segments: readonly string[], value: JsonValue): JsonValue {
  const last = segments[segments.length - 1];
  if (last === undefined) return value;
  const parent = valueAt(root, segments.slice(0, -1));
  if (Array.isArray(parent)) parent[indexOf(parent, last, false)] = value;
  else if (isJsonObject(parent) && Object.hasOwn(parent, last)) setMember(parent, last, value);
  else throw doesNotFit();
  return root;
}

/**
 * Applies a JSON patch (RFC 6902). The value is not changed.
 *
 * @throws StatusError 422 when an operation does not fit or a test fails, 400 when the patch is no list of operations
 */
export function applyJsonPatch(value: JsonValue, patch: JsonValue): JsonValue {
  if (!Array.isArray(patch))
    throw badRequestStatus("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch");
  if (patch.length > maxOperations) {
    throw new StatusError({
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: `Request entity is too large: The allowed maximum operations in a JSON patch is ${maxOperations}, got ${patch.length}`,
      reason: "RequestEntityTooLarge",
      code: 413,
    });
  }
  let root = deepCopy(value);
  for (const operation of patch) {
    if (!isJsonObject(operation)) throw doesNotFit();
    const path = segmentsOf(operation["path"]);
    const argument = ownMember(operation, "value") as JsonValue | undefined;
    switch (operation["op"]) {
      case "add":
        if (argument === undefined) throw doesNotFit();
        root = add(root, path, deepCopy(argument));
        break;
      case "remove":
        root = remove(root, path);
        break;
      case "replace":
        if (argument === undefined) throw doesNotFit();
        root = replace(root, path, deepCopy(argument));
        break;
      case "move": {
        const from = segmentsOf(operation["from"]);
        const moved = valueAt(root, from);
        if (path.length > from.length && from.every((segment, index) => segment === path[index])) throw doesNotFit();
        root = add(remove(root, from), path, moved);
        break;
      }
      case "copy":
        root = add(root, path, deepCopy(valueAt(root, segmentsOf(operation["from"]))));
        break;
      case "test": {
        let found: JsonValue | undefined;
        try {
          found = valueAt(root, path);
        } catch {
          // A test for null holds when there is nothing.
          if (argument === null || argument === undefined) break;
          throw doesNotFit();
        }
        if (!deepEqual(found, argument ?? null)) throw doesNotFit();
        break;
      }
      default:
        throw doesNotFit();
    }
  }
  return root;
}
