import type { Schema } from "@portolan/core";
import { isJsonObject, type JsonValue, type ParsedJson, setMember } from "./json.ts";
import { presenceOf, typeName } from "./presence.ts";

/** A value whose type is not that of its field. The message is that of Go's decoder. */
export class DecodeError extends Error {
  readonly code = "decode";

  constructor(message: string) {
    super(message);
    this.name = "DecodeError";
  }
}

/** What decoding found besides the object. */
export interface Decoded {
  readonly object: { [key: string]: JsonValue };
  /** Unknown and duplicate fields, in document order: `unknown field "spec.foo"`. */
  readonly problems: readonly string[];
}

const maxProblems = 100;

function goType(schema: Schema): string {
  switch (schema.type) {
    case "string":
      return "string";
    case "integer":
      return schema.format ?? "int64";
    case "number":
      return "float64";
    case "boolean":
      return "bool";
    case "array":
      return `[]${schema.items === undefined ? "interface {}" : goType(schema.items)}`;
    case "object":
      if (schema.additionalProperties !== undefined) return `map[string]${goType(schema.additionalProperties)}`;
      return `v1.${typeName(schema)}`;
    default:
      return "interface {}";
  }
}

function jsonType(value: JsonValue, shown: string | undefined): string {
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return shown ?? (Number.isInteger(value) ? "number" : `number ${value}`);
  if (typeof value === "boolean") return "bool";
  return typeof value === "object" ? "object" : typeof value;
}

const dateTime =
  /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

/**
 * Reads a document as an object of a schema, as Go would: unknown fields are left out and reported, zero values are dropped where Go drops them,
 * required ones are filled in, and a wrong type is an error. The input is not changed.
 *
 * @throws DecodeError
 */
export function decodeObject(document: ParsedJson, schema: Schema): Decoded {
  const problems: string[] = [];
  const { duplicates, floats } = document;

  function report(problem: string): void {
    if (problems.length < maxProblems) problems.push(problem);
  }

  function mismatch(value: JsonValue, schema: Schema, struct: string, path: string, shown?: string): never {
    const field = path.replaceAll(/\[\d+\]/g, "");
    const where = struct === "" ? "value" : `struct field ${struct}.${field}`;
    throw new DecodeError(
      `json: cannot unmarshal ${jsonType(value, shown)} into Go ${where} of type ${goType(schema)}`,
    );
  }

  function decode(value: JsonValue, schema: Schema, struct: string, path: string, float: boolean): JsonValue {
    switch (schema.type) {
      case "string":
        if (typeof value !== "string") mismatch(value, schema, struct, path);
        if (schema.format === "date-time" && value !== "") return decodeTime(value as string, schema);
        return value;
      case "integer": {
        if (typeof value !== "number") return mismatch(value, schema, struct, path);
        if (float || !Number.isInteger(value))
          return mismatch(
            value,
            schema,
            struct,
            path,
            `number ${float && Number.isInteger(value) ? `${value}.0` : value}`,
          );
        if (schema.format === "int32" && (value > 2147483647 || value < -2147483648))
          return mismatch(value, schema, struct, path, `number ${value}`);
        return Object.is(value, -0) ? 0 : value;
      }
      case "number":
        if (typeof value !== "number") mismatch(value, schema, struct, path);
        return value;
      case "boolean":
        if (typeof value !== "boolean") mismatch(value, schema, struct, path);
        return value;
      case "int-or-string":
        if (typeof value === "string") return value;
        if (typeof value !== "number" || !Number.isInteger(value) || float)
          return mismatch(value, { type: "integer", format: "int32" }, struct, path);
        return value;
      case "any":
        return value;
      case "array":
        if (!Array.isArray(value)) return mismatch(value, schema, struct, path);
        return decodeList(value, schema, struct, path);
      case "object":
        if (!isJsonObject(value)) return mismatch(value, schema, struct, path);
        return schema.properties === undefined
          ? decodeMap(value, schema, struct, path)
          : decodeStruct(value, schema, path);
    }
  }

  function decodeTime(value: string, schema: Schema): string {
    if (!dateTime.test(value))
      throw new DecodeError(
        `parsing time ${JSON.stringify(value)} as "2006-01-02T15:04:05Z07:00": cannot parse ${JSON.stringify(value)} as "2006"`,
      );
    const time = new Date(value);
    if (schema.reference?.endsWith(".MicroTime") === true) {
      const fraction = /\.(\d+)/.exec(value)?.[1] ?? "";
      return time.toISOString().replace(/\.\d+Z$/, `.${fraction.padEnd(6, "0").slice(0, 6)}Z`);
    }
    return time.toISOString().replace(/\.\d+Z$/, "Z");
  }

  function decodeList(value: readonly JsonValue[], schema: Schema, struct: string, path: string): JsonValue {
    const items = schema.items;
    if (items === undefined) return value as JsonValue[];
    return value.map((item, index) => {
      if (item === null)
        return items.type === "object" && items.properties !== undefined
          ? decodeStruct({}, items, `${path}[${index}]`)
          : zeroItem(items);
      return decode(item, items, struct, `${path}[${index}]`, false);
    });
  }

  function decodeMap(value: { [key: string]: JsonValue }, schema: Schema, struct: string, path: string): JsonValue {
    const values = schema.additionalProperties;
    const result: { [key: string]: JsonValue } = {};
    const twice = duplicates.get(value);
    for (const key of Object.keys(value)) {
      const member = value[key] as JsonValue;
      if (values === undefined) setMember(result, key, member);
      else if (member === null) setMember(result, key, zeroItem(values));
      else setMember(result, key, decode(member, values, struct, path, floats.get(value)?.has(key) === true));
      if (twice?.includes(key) === true) report(`duplicate field "${path}.${key}"`);
    }
    return result;
  }

  function decodeStruct(
    value: { [key: string]: JsonValue },
    schema: Schema,
    path: string,
  ): { [key: string]: JsonValue } {
    const properties = schema.properties ?? {};
    const presence = presenceOf(schema);
    const struct = typeName(schema);
    const result: { [key: string]: JsonValue } = {};
    const twice = duplicates.get(value);
    for (const key of Object.keys(value)) {
      const child = Object.hasOwn(properties, key) ? properties[key] : undefined;
      const childPath = path === "" ? key : `${path}.${key}`;
      if (child === undefined) {
        report(`unknown field "${childPath}"`);
        continue;
      }
      const member = value[key] as JsonValue;
      if (member !== null) {
        const decoded = decode(member, child, struct, childPath, floats.get(value)?.has(key) === true);
        if (!isDropped(decoded, child, presence.of(key).kind)) result[key] = decoded;
      }
      if (twice?.includes(key) === true) report(`duplicate field "${childPath}"`);
    }
    for (const [field, how] of presence.written) {
      if (Object.hasOwn(result, field)) continue;
      if (how.kind === "value") result[field] = decodeStruct({}, properties[field] as Schema, field);
      else if (how.kind === "always") result[field] = how.zero;
    }
    return result;
  }

  if (!isJsonObject(document.value)) {
    throw new DecodeError(
      `json: cannot unmarshal ${jsonType(document.value, undefined)} into Go value of type v1.${typeName(schema)}`,
    );
  }
  return { object: decodeStruct(document.value, schema, ""), problems };
}

function zeroItem(schema: Schema): JsonValue {
  switch (schema.type) {
    case "string":
      return "";
    case "integer":
    case "number":
    case "int-or-string":
      return 0;
    case "boolean":
      return false;
    default:
      return null;
  }
}

/** Whether Go would leave the value out. */
function isDropped(value: JsonValue, schema: Schema, presence: "omitted" | "pointer" | "value" | "always"): boolean {
  if (presence === "value") return false;
  // An empty list that must be written reads back as null, because protobuf, in which objects are stored, cannot tell it from none.
  if (Array.isArray(value)) return value.length === 0;
  if (typeof value === "object" && value !== null) {
    return (
      schema.properties === undefined &&
      schema.type === "object" &&
      presence !== "always" &&
      Object.keys(value).length === 0
    );
  }
  if (presence === "pointer" || presence === "always" || schema.type === "int-or-string") return false;
  return value === "" || value === 0 || value === false;
}
