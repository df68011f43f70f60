import { isJsonObject } from "../json.ts";
import type { StatusCause } from "../types/meta.ts";

/** Kinds of field errors, spelled as `status.details.causes[].reason` spells them (apimachinery `field.ErrorType`). */
export type FieldErrorType =
  | "FieldValueNotFound"
  | "FieldValueRequired"
  | "FieldValueDuplicate"
  | "FieldValueInvalid"
  | "FieldValueNotSupported"
  | "FieldValueForbidden"
  | "FieldValueTooLong"
  | "FieldValueTooMany"
  | "FieldValueTypeInvalid"
  | "InternalError";

/** One thing wrong with one field of an object. */
export interface FieldError {
  readonly type: FieldErrorType;
  /** Path from the root of the object: `spec.ports[0].port`, `metadata.annotations[key]`. */
  readonly field: string;
  /** The offending value; not shown for required, forbidden and too long values. */
  readonly value: unknown;
  readonly detail: string;
}

const headings: Readonly<Record<FieldErrorType, string>> = {
  FieldValueNotFound: "Not found",
  FieldValueRequired: "Required value",
  FieldValueDuplicate: "Duplicate value",
  FieldValueInvalid: "Invalid value",
  FieldValueNotSupported: "Unsupported value",
  FieldValueForbidden: "Forbidden",
  FieldValueTooLong: "Too long",
  FieldValueTooMany: "Too many",
  FieldValueTypeInvalid: "Invalid value",
  InternalError: "Internal error",
};

const withoutValue: ReadonlySet<FieldErrorType> = new Set([
  "FieldValueRequired",
  "FieldValueForbidden",
  "FieldValueTooLong",
  "InternalError",
]);

const shortEscapes: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  '"': '\\"',
  "\u0007": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
};

/** Text in double quotes as Go's `%q` writes it: printable characters stay, the rest is escaped. */
export function goQuote(text: string): string {
  let out = '"';
  for (const character of text) {
    const short = shortEscapes[character];
    const point = character.codePointAt(0)!;
    if (short !== undefined) out += short;
    else if (point < 0x20 || point === 0x7f) out += `\\x${point.toString(16).padStart(2, "0")}`;
    else if (point >= 0xd800 && point <= 0xdfff) out += "\ufffd";
    else if (point < 0x7f || /[\p{L}\p{M}\p{N}\p{P}\p{S}]/u.test(character)) out += character;
    else if (point > 0xffff) out += `\\U${point.toString(16).padStart(8, "0")}`;
    else out += `\\u${point.toString(16).padStart(4, "0")}`;
  }
  return `${out}"`;
}

/** JSON as Go's encoder writes it: `<`, `>`, `&` and the two line separators are escaped. */
export function goJson(value: unknown): string {
  return (JSON.stringify(value) ?? "null").replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** How a value appears in an error text: quoted text, a plain number or boolean, or JSON. */
export function renderValue(value: unknown): string {
  if (value === undefined || value === null) return "null";
  if (typeof value === "string") return goQuote(value);
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") return String(value);
  return goJson(value);
}

/** The part of an error text after the field: `Invalid value: "x": must be …`. It is the `message` of a Status cause. */
export function fieldErrorBody(error: FieldError): string {
  const heading = withoutValue.has(error.type)
    ? headings[error.type]
    : `${headings[error.type]}: ${renderValue(error.value)}`;
  return error.detail === "" ? heading : `${heading}: ${error.detail}`;
}

/** A whole error text: `spec.type: Required value`. */
export function formatFieldError(error: FieldError): string {
  return `${error.field}: ${fieldErrorBody(error)}`;
}

/** Several error texts as one: alone, or in brackets with textual duplicates removed. No errors give `""`. */
export function formatFieldErrors(errors: readonly FieldError[]): string {
  const texts = [...new Set(errors.map(formatFieldError))];
  return texts.length === 1 ? texts[0]! : texts.length === 0 ? "" : `[${texts.join(", ")}]`;
}

/** The cause of a Status that states this error. */
export function fieldErrorCause(error: FieldError): StatusCause {
  return { reason: error.type, message: fieldErrorBody(error), field: error.field };
}

/** `field` must be given. */
export function required(field: string, detail = ""): FieldError {
  return { type: "FieldValueRequired", field, value: "", detail };
}

/** The value of `field` is wrong. */
export function invalid(field: string, value: unknown, detail: string): FieldError {
  return { type: "FieldValueInvalid", field, value, detail };
}

/** `field` may not be given here. */
export function forbidden(field: string, detail: string): FieldError {
  return { type: "FieldValueForbidden", field, value: "", detail };
}

/** The value of `field` occurs twice. */
export function duplicate(field: string, value: unknown): FieldError {
  return { type: "FieldValueDuplicate", field, value, detail: "" };
}

/** The value of `field` is none of `supported`, which are listed in the given order. */
export function notSupported(field: string, value: unknown, supported: readonly string[]): FieldError {
  const detail = supported.length === 0 ? "" : `supported values: ${supported.map(goQuote).join(", ")}`;
  return { type: "FieldValueNotSupported", field, value, detail };
}

/** What `field` refers to does not exist. */
export function fieldNotFound(field: string, value: unknown): FieldError {
  return { type: "FieldValueNotFound", field, value, detail: "" };
}

/** `field` holds more than `maximum` bytes. */
export function tooLong(field: string, maximum: number): FieldError {
  return { type: "FieldValueTooLong", field, value: "", detail: `may not be more than ${maximum} bytes` };
}

/** `field` holds more than `maximum` items. */
export function tooMany(field: string, actual: number, maximum: number): FieldError {
  return {
    type: "FieldValueTooMany",
    field,
    value: actual,
    detail: `must have at most ${maximum} ${maximum === 1 ? "item" : "items"}`,
  };
}

/** `field` holds JSON of another type. Servers refuse such bodies when decoding, so this is seen by direct callers only. */
export function typeInvalid(field: string, value: unknown, expected: string): FieldError {
  return { type: "FieldValueTypeInvalid", field, value, detail: `must be ${expected}` };
}

/**
 * A place in an object of unknown shape: value, path and the list that collects errors. Reading a value of the wrong JSON type
 * reports it once and yields an empty one, so that validation of the rest goes on and never throws.
 */
export class FieldCursor {
  readonly value: unknown;
  readonly path: string;
  readonly errors: FieldError[];

  constructor(value: unknown, path = "", errors: FieldError[] = []) {
    this.value = value ?? undefined;
    this.path = path;
    this.errors = errors;
  }

  /** The named field; absent when this is not an object. */
  at(name: string): FieldCursor {
    const value = isJsonObject(this.value) && Object.hasOwn(this.value, name) ? this.value[name] : undefined;
    return new FieldCursor(value, this.path === "" ? name : `${this.path}.${name}`, this.errors);
  }

  /** The same place under another path. */
  as(path: string): FieldCursor {
    return new FieldCursor(this.value, path, this.errors);
  }

  /** Given and not `null`. */
  get present(): boolean {
    return this.value !== undefined;
  }

  private wrong(expected: string): void {
    if (!this.errors.some((error) => error.type === "FieldValueTypeInvalid" && error.field === this.path)) {
      this.errors.push(typeInvalid(this.path, this.value, expected));
    }
  }

  /** Items of a list; empty when absent. */
  items(): FieldCursor[] {
    if (this.value === undefined) return [];
    if (!Array.isArray(this.value)) {
      this.wrong("a list");
      return [];
    }
    return this.value.map((item: unknown, index) => new FieldCursor(item, `${this.path}[${index}]`, this.errors));
  }

  /** Number of items of a list. */
  get length(): number {
    return Array.isArray(this.value) ? this.value.length : this.items().length;
  }

  /** Entries of a map, sorted by key so that results are deterministic. Paths are `path[key]`. */
  entries(): [string, FieldCursor][] {
    if (!this.object()) return [];
    return Object.entries(this.value as Record<string, unknown>)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, value]) => [key, new FieldCursor(value, `${this.path}[${key}]`, this.errors)]);
  }

  /** True when this is an object; reports any other type. */
  object(): boolean {
    if (this.value === undefined) return false;
    if (isJsonObject(this.value)) return true;
    this.wrong("an object");
    return false;
  }

  /** Text; `""` when absent. */
  text(): string {
    if (typeof this.value === "string") return this.value;
    if (this.value !== undefined) this.wrong("a string");
    return "";
  }

  /** An integer; `undefined` when absent. */
  integer(): number | undefined {
    if (typeof this.value === "number" && Number.isSafeInteger(this.value)) return this.value;
    if (this.value !== undefined) this.wrong("an integer");
    return undefined;
  }

  /** A boolean; `undefined` when absent. */
  boolean(): boolean | undefined {
    if (typeof this.value === "boolean") return this.value;
    if (this.value !== undefined) this.wrong("a boolean");
    return undefined;
  }

  /** A number or text; `undefined` when absent. */
  integerOrText(): number | string | undefined {
    return typeof this.value === "string" ? this.value : this.integer();
  }

  required(detail = ""): void {
    this.errors.push(required(this.path, detail));
  }

  invalid(detail: string, value: unknown = this.value): void {
    this.errors.push(invalid(this.path, value, detail));
  }

  forbidden(detail: string): void {
    this.errors.push(forbidden(this.path, detail));
  }

  duplicate(value: unknown = this.value): void {
    this.errors.push(duplicate(this.path, value));
  }

  notSupported(supported: readonly string[], value: unknown = this.value): void {
    this.errors.push(notSupported(this.path, value, supported));
  }

  tooMany(actual: number, maximum: number): void {
    this.errors.push(tooMany(this.path, actual, maximum));
  }

  /** Adds an Invalid error for each text. */
  invalidEach(details: readonly string[], value: unknown = this.value): void {
    for (const detail of details) this.invalid(detail, value);
  }
}
