/**
 * JSON as the API server needs it: unlike `JSON.parse` it reports duplicate keys and integers written as floating-point numbers (both of which
 * Kubernetes refuses or warns of), bounds the depth, and words its errors as Go's decoder does, because clients show them.
 */

/** Any JSON value. */
export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

/** A parsed document with what plain values cannot say. */
export interface ParsedJson {
  readonly value: JsonValue;
  /** Keys that an object had more than once; the last value counts. */
  readonly duplicates: ReadonlyMap<object, readonly string[]>;
  /** Members of an object whose number was written with a point or an exponent. */
  readonly floats: ReadonlyMap<object, ReadonlySet<string>>;
}

/** Text that is not JSON. The message is that of Go's `encoding/json`. */
export class JsonSyntaxError extends Error {
  readonly code = "json-syntax";
  /** Offset in UTF-16 units. */
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.name = "JsonSyntaxError";
    this.offset = offset;
  }
}

/**
 * Nesting of values. Go's decoder allows ten times that; here all that walks objects may recurse, on a stack that does not grow.
 */
const maxDepth = 1_000;

/** @throws JsonSyntaxError when a value nests deeper than text may */
export function checkDepth(value: unknown): void {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth + 1) throw new JsonSyntaxError("exceeded max depth", 0);
    const next: unknown[] = [];
    for (const item of level) {
      if (typeof item !== "object" || item === null) continue;
      for (const member of Object.values(item)) if (typeof member === "object" && member !== null) next.push(member);
    }
    level = next;
  }
}

/**
 * Sets a member whatever its name: an assignment to `__proto__` would change the prototype instead.
 */
export function setMember(object: { [key: string]: unknown }, key: string, value: unknown): void {
  if (key === "__proto__") {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  } else {
    object[key] = value;
  }
}

/** The value of an own member; names like `constructor` never reach the prototype. */
export function ownMember(object: object, key: string): unknown {
  return Object.hasOwn(object, key) ? (object as Record<string, unknown>)[key] : undefined;
}

/** Whether a value is a JSON object. */
export function isJsonObject(value: unknown): value is { [key: string]: JsonValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Parses one JSON document.
 *
 * @throws JsonSyntaxError
 */
export function parseJson(text: string): ParsedJson {
  const duplicates = new Map<object, string[]>();
  const floats = new Map<object, Set<string>>();
  const length = text.length;
  let at = 0;
  let lastNumberWasFloat = false;

  function fail(context: string): never {
    if (at >= length) throw new JsonSyntaxError("unexpected end of JSON input", at);
    const code = text.codePointAt(at) as number;
    const character = String.fromCodePoint(code);
    const shown =
      character === "'"
        ? "\\'"
        : character === "\n"
          ? "\\n"
          : character === "\r"
            ? "\\r"
            : character === "\t"
              ? "\\t"
              : code < 0x20
                ? `\\x${code.toString(16).padStart(2, "0")}`
                : character === '"'
                  ? '"'
                  : character;
    throw new JsonSyntaxError(`invalid character '${shown}' ${context}`, at);
  }

  function skipBlanks(): void {
    for (; at < length; at++) {
      const code = text.charCodeAt(at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
    }
  }

  function literal(word: string, value: null | boolean): null | boolean {
    for (let i = 0; i < word.length; i++, at++) {
      if (text[at] !== word[i]) fail(`in literal ${word} (expecting '${word[i]}')`);
    }
    return value;
  }

  function number(): number {
    const start = at;
    lastNumberWasFloat = false;
    if (text[at] === "-") at++;
    if (text[at] === "0") at++;
    else if (digits() === 0) fail("in numeric literal");
    if (text[at] === ".") {
      lastNumberWasFloat = true;
      at++;
      if (digits() === 0) fail("after decimal point in numeric literal");
    }
    if (text[at] === "e" || text[at] === "E") {
      lastNumberWasFloat = true;
      at++;
      if (text[at] === "+" || text[at] === "-") at++;
      if (digits() === 0) fail("in exponent of numeric literal");
    }
    return Number(text.slice(start, at));
  }

  function digits(): number {
    const start = at;
    for (; at < length; at++) {
      const code = text.charCodeAt(at);
      if (code < 0x30 || code > 0x39) break;
    }
    return at - start;
  }

  function string(): string {
    at++;
    const start = at;
    for (; at < length; at++) {
      const code = text.charCodeAt(at);
      if (code === 0x22) return text.slice(start, at++);
      if (code === 0x5c) return escapedString(start);
      if (code < 0x20) fail("in string literal");
    }
    return fail("in string literal");
  }

  function escapedString(start: number): string {
    let result = text.slice(start, at);
    while (at < length) {
      const code = text.charCodeAt(at);
      if (code === 0x22) {
        at++;
        return result;
      }
      if (code < 0x20) fail("in string literal");
      if (code !== 0x5c) {
        const from = at;
        for (; at < length; at++) {
          const next = text.charCodeAt(at);
          if (next === 0x22 || next === 0x5c || next < 0x20) break;
        }
        result += text.slice(from, at);
        continue;
      }
      at++;
      const letter = text[at];
      if (letter === "u") {
        const digits = text.slice(at + 1, at + 5);
        if (!/^[0-9a-fA-F]{4}$/.test(digits)) {
          at += 1 + (/^[0-9a-fA-F]*/.exec(digits)?.[0].length ?? 0);
          fail("in \\u hexadecimal character escape");
        }
        result += String.fromCharCode(Number.parseInt(digits, 16));
        at += 5;
        continue;
      }
      const plain = letter === undefined ? undefined : escapes[letter];
      if (plain === undefined) fail("in string escape code");
      result += plain;
      at++;
    }
    return fail("in string literal");
  }

  function value(depth: number): JsonValue {
    if (depth > maxDepth) throw new JsonSyntaxError("exceeded max depth", at);
    skipBlanks();
    const code = text.charCodeAt(at);
    if (code === 0x7b) return object(depth);
    if (code === 0x5b) return array(depth);
    if (code === 0x22) return string();
    if (code === 0x74) return literal("true", true);
    if (code === 0x66) return literal("false", false);
    if (code === 0x6e) return literal("null", null);
    if (code === 0x2d || (code >= 0x30 && code <= 0x39)) return number();
    return fail("looking for beginning of value");
  }

  function object(depth: number): JsonValue {
    const result: { [key: string]: JsonValue } = {};
    at++;
    skipBlanks();
    if (text.charCodeAt(at) === 0x7d) {
      at++;
      return result;
    }
    for (;;) {
      skipBlanks();
      if (text.charCodeAt(at) !== 0x22) fail("looking for beginning of object key string");
      const key = string();
      skipBlanks();
      if (text.charCodeAt(at) !== 0x3a) fail("after object key");
      at++;
      lastNumberWasFloat = false;
      const member = value(depth + 1);
      if (Object.hasOwn(result, key)) {
        const known = duplicates.get(result);
        if (known === undefined) duplicates.set(result, [key]);
        else known.push(key);
      }
      if (lastNumberWasFloat && typeof member === "number") {
        const known = floats.get(result);
        if (known === undefined) floats.set(result, new Set([key]));
        else known.add(key);
      }
      setMember(result, key, member);
      skipBlanks();
      const code = text.charCodeAt(at);
      if (code === 0x2c) {
        at++;
        continue;
      }
      if (code === 0x7d) {
        at++;
        return result;
      }
      fail("after object key:value pair");
    }
  }

  function array(depth: number): JsonValue {
    const result: JsonValue[] = [];
    at++;
    skipBlanks();
    if (text.charCodeAt(at) === 0x5d) {
      at++;
      return result;
    }
    for (;;) {
      result.push(value(depth + 1));
      skipBlanks();
      const code = text.charCodeAt(at);
      if (code === 0x2c) {
        at++;
        continue;
      }
      if (code === 0x5d) {
        at++;
        return result;
      }
      fail("after array element");
    }
  }

  const root = value(0);
  skipBlanks();
  if (at < length) fail("after top-level value");
  return { value: root, duplicates, floats };
}

const escapes: Readonly<Record<string, string | undefined>> = Object.assign(Object.create(null), {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
});
