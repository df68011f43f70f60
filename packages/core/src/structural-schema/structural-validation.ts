import { familyOf, parsePrefix } from "@portolan/net";
import { canonicalText, equalJson, isJsonObject } from "../json.ts";
import {
  duplicate,
  type FieldError,
  invalid,
  notSupported,
  required,
  tooMany,
  typeInvalid,
} from "../validation/field-error.ts";
import { dnsSubdomainProblems } from "../validation/names.ts";
import type { StructuralSchema } from "./structural-schema.ts";

/** Texts of a certain form, by `format`. Formats that are not here are not checked. */
const formats: Readonly<Record<string, (text: string) => boolean>> = {
  "date-time": (text) =>
    /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):?[0-5]\d)?$/.test(
      text,
    ),
  date: (text) => /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/.test(text) && !Number.isNaN(Date.parse(text)),
  duration: (text) => /^\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|h|d|w)(\s*\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|h|d|w))*$/.test(text),
  ipv4: (text) => familyOf(text) === "IPv4",
  ipv6: (text) => familyOf(text) === "IPv6",
  ip: (text) => familyOf(text) !== undefined,
  cidr: (text) => parsePrefix(text) !== undefined,
  mac: (text) => /^([0-9a-fA-F]{2}([:-]))([0-9a-fA-F]{2}\2){4}[0-9a-fA-F]{2}$/.test(text),
  uuid: (text) => /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i.test(text),
  uuid4: (text) => /^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$/i.test(text),
  byte: (text) => /^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text),
  email: (text) => /^[^\s@<>]+@[^\s@<>]+$/.test(text),
  hostname: (text) => text.length <= 253 && dnsSubdomainProblems(text.toLowerCase()).length === 0,
  uri: (text) => /^([a-zA-Z][a-zA-Z0-9+.-]*:\S*|\/\S*)$/.test(text),
  hexcolor: (text) => /^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$/.test(text),
};

const patterns = new Map<string, RegExp | undefined>();

/** A pattern in RE2's syntax as far as this engine has it; what it cannot read is not checked. */
function patternOf(text: string): RegExp | undefined {
  if (!patterns.has(text)) {
    let pattern: RegExp | undefined;
    const flags = /^\(\?([ims]+)\)/.exec(text);
    try {
      pattern = new RegExp(
        (flags === null ? text : text.slice(flags[0].length)).replaceAll("(?P<", "(?<"),
        `u${flags?.[1] ?? ""}`,
      );
    } catch {
      try {
        pattern = new RegExp(text.replaceAll("(?P<", "(?<"));
      } catch {
        pattern = undefined;
      }
    }
    if (patterns.size > 1_000) patterns.clear();
    patterns.set(text, pattern);
  }
  return patterns.get(text);
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}

function hasType(value: unknown, wanted: string): boolean {
  const found = typeOf(value);
  return found === wanted || (wanted === "number" && found === "integer");
}

function child(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

/** Keys of a list item, as its identity. */
function keysOf(item: unknown, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    names
      .filter((name) => isJsonObject(item) && Object.hasOwn(item, name))
      .map((name) => [name, (item as Record<string, unknown>)[name]]),
  );
}

/** The item of the old list that an item of the new one continues, when the list says how items are told apart. */
function correlated(schema: StructuralSchema, old: unknown, item: unknown): unknown {
  if (!Array.isArray(old)) return undefined;
  const listType = schema["x-kubernetes-list-type"];
  if (listType === "map") {
    const names = schema["x-kubernetes-list-map-keys"] ?? [];
    const key = canonicalText(keysOf(item, names));
    return old.find((other) => canonicalText(keysOf(other, names)) === key);
  }
  return listType === "set" ? old.find((other) => equalJson(other, item)) : undefined;
}

/**
 * Checks a value against a schema, in the words of the real server (kube-openapi `validate`, apiextensions `ValidateCustomResource`).
 * On update, parts that have not changed are not looked at again (KEP-4008).
 *
 * @param old the stored value, of an update
 * @param path where the value is in its object
 */
export function validateStructural(value: unknown, schema: StructuralSchema, old?: unknown, path = ""): FieldError[] {
  const errors: FieldError[] = [];
  check(value, schema, old, path, errors);
  return errors;
}

function check(value: unknown, schema: StructuralSchema, old: unknown, path: string, errors: FieldError[]): void {
  if (value === undefined || (old !== undefined && equalJson(old, value))) return;
  if (value === null && schema.nullable === true) return;
  const isIntOrString = schema["x-kubernetes-int-or-string"] === true;
  const types = isIntOrString ? ["integer", "string"] : schema.type === undefined ? [] : [schema.type];
  const at = path === "" ? "<nil>" : path;
  const fail = (text: string, shown: unknown = value): void => {
    errors.push(invalid(at, shown, `${path} in body ${text}`));
  };
  const wrongType = (wanted: string, shown: unknown): void => {
    errors.push({
      ...typeInvalid(at, shown, ""),
      detail: `${path} in body must be of type ${wanted}: ${JSON.stringify(shown)}`,
    });
  };

  if (types.length > 0 && !types.some((type) => hasType(value, type))) {
    wrongType(types.join(","), typeOf(value));
    return;
  }
  if (schema.enum !== undefined && !schema.enum.some((each) => equalJson(each, value))) {
    const values = schema.enum.map((each) => (typeof each === "string" ? each : JSON.stringify(each)));
    errors.push(notSupported(at, value, values));
  }
  if (typeof value === "string") checkText(value, schema, at, fail, wrongType, errors);
  else if (typeof value === "number") checkNumber(value, schema, fail, wrongType);
  else if (Array.isArray(value)) checkList(value, schema, old, path, fail, errors);
  else if (isJsonObject(value)) checkObject(value, schema, old, path, fail, errors);
  checkJunctors(value, schema, path, errors);
}

type Fail = (text: string, shown?: unknown) => void;
type WrongType = (wanted: string, shown: unknown) => void;

function checkText(
  value: string,
  schema: StructuralSchema,
  at: string,
  fail: Fail,
  wrongType: WrongType,
  errors: FieldError[],
): void {
  const length = [...value].length;
  if (schema.maxLength !== undefined && length > schema.maxLength)
    errors.push({
      type: "FieldValueTooLong",
      field: at,
      value,
      detail: `may not be more than ${schema.maxLength} bytes`,
    });
  if (schema.minLength !== undefined && length < schema.minLength)
    fail(`should be at least ${schema.minLength} chars long`);
  if (schema.pattern !== undefined && patternOf(schema.pattern)?.test(value) === false)
    fail(`should match '${schema.pattern}'`);
  const { format } = schema;
  if (format !== undefined && Object.hasOwn(formats, format) && formats[format]?.(value) === false)
    wrongType(format, value);
}

function checkNumber(value: number, schema: StructuralSchema, fail: Fail, wrongType: WrongType): void {
  const { minimum, maximum, multipleOf, format } = schema;
  if (format === "int32" && (value > 2147483647 || value < -2147483648)) wrongType("int32", value);
  if (multipleOf !== undefined && multipleOf > 0 && !Number.isInteger(value / multipleOf))
    fail(`should be a multiple of ${multipleOf}`);
  if (maximum !== undefined && (schema.exclusiveMaximum === true ? value >= maximum : value > maximum))
    fail(`should be less than ${schema.exclusiveMaximum === true ? "" : "or equal to "}${maximum}`);
  if (minimum !== undefined && (schema.exclusiveMinimum === true ? value <= minimum : value < minimum))
    fail(`should be greater than ${schema.exclusiveMinimum === true ? "" : "or equal to "}${minimum}`);
}

function checkList(
  value: readonly unknown[],
  schema: StructuralSchema,
  old: unknown,
  path: string,
  fail: Fail,
  errors: FieldError[],
): void {
  const at = path === "" ? "<nil>" : path;
  if (schema.minItems !== undefined && value.length < schema.minItems)
    fail(`should have at least ${schema.minItems} items`);
  if (schema.maxItems !== undefined && value.length > schema.maxItems)
    errors.push(tooMany(at, value.length, schema.maxItems));
  if (schema.items !== undefined) {
    for (const [index, item] of value.entries())
      check(item, schema.items, correlated(schema, old, item), `${path}[${index}]`, errors);
  }
  const listType = schema["x-kubernetes-list-type"];
  if (listType !== "set" && listType !== "map") return;
  const names = schema["x-kubernetes-list-map-keys"] ?? [];
  const seen = new Set<string>();
  for (const [index, item] of value.entries()) {
    const identity = listType === "map" ? keysOf(item, names) : item;
    const key = canonicalText(identity);
    if (seen.has(key)) errors.push(duplicate(`${path}[${index}]`, identity));
    seen.add(key);
  }
}

function checkObject(
  value: Readonly<Record<string, unknown>>,
  schema: StructuralSchema,
  old: unknown,
  path: string,
  fail: Fail,
  errors: FieldError[],
): void {
  const count = Object.keys(value).length;
  const at = path === "" ? "<nil>" : path;
  if (schema.minProperties !== undefined && count < schema.minProperties)
    fail(`should have at least ${schema.minProperties} properties`);
  if (schema.maxProperties !== undefined && count > schema.maxProperties)
    errors.push(tooMany(at, count, schema.maxProperties));
  for (const name of schema.required ?? []) if (!Object.hasOwn(value, name)) errors.push(required(child(path, name)));
  const before = isJsonObject(old) ? old : undefined;
  const { properties = {}, additionalProperties } = schema;
  for (const name of Object.keys(value).sort()) {
    const isNamed = Object.hasOwn(properties, name);
    const member = isNamed ? properties[name] : additionalProperties;
    if (typeof member !== "object") continue;
    const previous = before !== undefined && Object.hasOwn(before, name) ? before[name] : undefined;
    check(value[name], member, previous, child(path, name), errors);
  }
  if (schema["x-kubernetes-embedded-resource"] === true) {
    for (const name of ["apiVersion", "kind"]) {
      const given = Object.hasOwn(value, name) ? value[name] : undefined;
      if (given === undefined) errors.push(required(child(path, name), "must not be empty"));
    }
  }
}

/** `allOf`, `anyOf`, `oneOf` and `not`: a failure names the whole value, and has no field of its own. */
function checkJunctors(value: unknown, schema: StructuralSchema, path: string, errors: FieldError[]): void {
  const whole = (text: string): void => {
    errors.push(invalid("<nil>", "", `${JSON.stringify(path)} must ${text}`));
  };
  const problemsOf = (each: StructuralSchema): FieldError[] => {
    const found: FieldError[] = [];
    check(value, each, undefined, path, found);
    return found;
  };
  if (schema.allOf !== undefined) {
    const failed = schema.allOf.map(problemsOf).filter((found) => found.length > 0);
    if (failed.length > 0) {
      whole(`validate all the schemas (allOf)`);
      errors.push(...failed.flat());
    }
  }
  if (schema.anyOf !== undefined && schema.anyOf.length > 0) {
    const all = schema.anyOf.map(problemsOf);
    if (all.every((found) => found.length > 0)) {
      whole("validate at least one schema (anyOf)");
      errors.push(...fewest(all));
    }
  }
  if (schema.oneOf !== undefined && schema.oneOf.length > 0) {
    const all = schema.oneOf.map(problemsOf);
    const good = all.filter((found) => found.length === 0).length;
    if (good !== 1) {
      whole(
        `validate one and only one schema (oneOf). ${good === 0 ? "Found none valid" : `Found ${good} valid alternatives`}`,
      );
      if (good === 0) errors.push(...fewest(all));
    }
  }
  if (schema.not !== undefined && problemsOf(schema.not).length === 0) whole("not validate the schema (not)");
}

/** The alternative that fits best is the one whose problems are told. */
function fewest(all: readonly FieldError[][]): readonly FieldError[] {
  return all.reduce((best, found) => (found.length < best.length ? found : best), all[0] ?? []);
}
