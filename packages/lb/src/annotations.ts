import { familyOf, parsePrefix } from "@portolan/net";
import type { Diagnostic } from "./provider.ts";

/**
 * What an annotation's value may be. Clouds read booleans differently, so each row says how:
 * `strict` – `true` or `false`, all else is an error; `true-only` – exactly `true`, all else means false;
 * `true-ignoring-case` – as before in any case; `non-empty` – everything but the empty text and `false` means true.
 */
export type AnnotationType =
  | { readonly kind: "boolean"; readonly reading: "strict" | "true-only" | "true-ignoring-case" | "non-empty" }
  | { readonly kind: "integer"; readonly minimum?: number; readonly maximum?: number }
  | { readonly kind: "enumeration"; readonly values: readonly string[]; readonly ignoreCase?: boolean }
  | { readonly kind: "string"; readonly pattern?: RegExp; readonly maximumLength?: number }
  /** Comma-separated texts. */
  | { readonly kind: "list"; readonly item?: RegExp; readonly minimumItems?: number }
  /** Comma-separated `key=value`; a backslash escapes a comma where `escapes` is set. */
  | { readonly kind: "map"; readonly escapes?: boolean; readonly keys?: readonly string[] }
  | { readonly kind: "cidrs" }
  | { readonly kind: "addresses" }
  | { readonly kind: "json" };

/** On a Service of any provider: `true` lets a change give its load balancer another address. */
export const allowAddressChangeAnnotation = "portolan.dev/allow-address-change";

/** One annotation that a provider reads. */
export interface AnnotationRow {
  /** Full key. Parts in braces stand for any text without a dot or slash: `…/listener-attributes.{Protocol}-{Port}`. */
  readonly key: string;
  readonly type: AnnotationType;
  /** What holds when it is absent, in words or as a value. */
  readonly default?: string;
  /** What it sets, in the cloud's terms. */
  readonly sets: string;
  /** When it has an effect at all; absent: always. */
  readonly appliesWhen?: string;
  /** Keys that must not be set together with it. */
  readonly conflictsWith?: readonly string[];
  /** What a later change does. */
  readonly change: "in-place" | "replace" | "ip-change" | "forbidden" | "ignored";
  /** Whether the cloud's own controller refuses a bad value (`error`, the default) or does without it (`warning`). */
  readonly badValue?: "error" | "warning";
  /** It decides whether clients outside reach the load balancer: a misspelt form of it is refused instead of ignored. */
  readonly exposure?: true;
  /** What to use instead. */
  readonly deprecatedFor?: string;
}

/** All annotations of a provider: what validation, documentation, completion and plans are derived from. */
export interface AnnotationRegistry {
  /** Prefixes whose keys belong to this provider; an unknown key under one of them is reported. */
  readonly prefixes: readonly string[];
  readonly rows: readonly AnnotationRow[];
  /** Annotations of well-known clouds are no mistake here: a laptop runs manifests written for any of them. */
  readonly toleratesOthers?: true;
}

/** Annotations by which well-known clouds are told, and those of them that ask for an internal load balancer. */
const clouds: readonly { readonly name: string; readonly prefixes: readonly string[]; readonly internal: RegExp }[] = [
  {
    name: "AWS",
    prefixes: ["service.beta.kubernetes.io/aws-load-balancer-"],
    internal: /aws-load-balancer-(internal=(?!false$)|scheme=internal$)/,
  },
  {
    name: "Azure",
    prefixes: ["service.beta.kubernetes.io/azure-"],
    internal: /azure-load-balancer-internal=true$/i,
  },
  {
    name: "Google Cloud",
    prefixes: ["networking.gke.io/", "cloud.google.com/"],
    internal: /load-balancer-type=internal$/i,
  },
];

/** Reads a boolean the way a row says; `undefined` where the text is no boolean (only `strict` refuses texts). */
export function readBoolean(
  text: string,
  reading: Extract<AnnotationType, { kind: "boolean" }>["reading"],
): boolean | undefined {
  switch (reading) {
    case "strict":
      return text === "true" ? true : text === "false" ? false : undefined;
    case "true-only":
      return text === "true";
    case "true-ignoring-case":
      return text.toLowerCase() === "true";
    case "non-empty":
      return text !== "" && text !== "false";
  }
}

/** Entries of a comma-separated text, trimmed, without empty ones. */
export function readList(text: string): string[] {
  return text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");
}

/**
 * Pairs of a `key=value,key=value` text, trimmed; with `escapes` a backslash before a comma keeps it. `undefined` if an entry has
 * no `=` or no key. Of repeated keys the last one counts.
 */
export function readMap(text: string, escapes = false): Map<string, string> | undefined {
  const out = new Map<string, string>();
  const entries = escapes ? text.split(/(?<!\\),/).map((entry) => entry.replaceAll("\\,", ",")) : text.split(",");
  for (const entry of entries) {
    if (entry.trim() === "") continue;
    const equals = entry.indexOf("=");
    const key = equals < 0 ? "" : entry.slice(0, equals).trim();
    if (key === "") return undefined;
    out.set(key, entry.slice(equals + 1).trim());
  }
  return out;
}

function problemOf(type: AnnotationType, text: string): string | undefined {
  switch (type.kind) {
    case "boolean":
      return readBoolean(text, type.reading) === undefined ? 'must be "true" or "false"' : undefined;
    case "integer": {
      const { minimum = Number.MIN_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER } = type;
      const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
      if (value >= minimum && value <= maximum) return undefined;
      const range = [
        type.minimum === undefined ? "" : `${type.minimum} or more`,
        type.maximum === undefined ? "" : `${type.maximum} or less`,
      ].filter((part) => part !== "");
      return `must be an integer${range.length > 0 ? `, ${range.join(" and ")}` : ""}`;
    }
    case "enumeration": {
      const wanted = type.ignoreCase ? text.toLowerCase() : text;
      const found = type.values.some((value) => (type.ignoreCase ? value.toLowerCase() : value) === wanted);
      return found ? undefined : `must be one of ${type.values.map((value) => `"${value}"`).join(", ")}`;
    }
    case "string":
      if (type.maximumLength !== undefined && text.length > type.maximumLength) {
        return `must have no more than ${type.maximumLength} characters`;
      }
      return type.pattern === undefined || type.pattern.test(text) ? undefined : `must match ${type.pattern.source}`;
    case "list": {
      const entries = readList(text);
      if (entries.length < (type.minimumItems ?? 0)) return `must have at least ${type.minimumItems} entries`;
      const bad = type.item === undefined ? undefined : entries.find((entry) => !type.item!.test(entry));
      return bad === undefined ? undefined : `entry "${bad}" must match ${type.item!.source}`;
    }
    case "map": {
      const pairs = readMap(text, type.escapes);
      if (pairs === undefined) return "must be a list of key=value";
      const unknown = type.keys === undefined ? undefined : [...pairs.keys()].find((key) => !type.keys!.includes(key));
      return unknown === undefined ? undefined : `has an unknown key "${unknown}"; known are ${type.keys!.join(", ")}`;
    }
    case "cidrs": {
      const bad = readList(text).find((entry) => parsePrefix(entry) === undefined);
      return bad === undefined ? undefined : `entry "${bad}" is not a CIDR`;
    }
    case "addresses": {
      const bad = readList(text).find((entry) => familyOf(entry) === undefined);
      return bad === undefined ? undefined : `entry "${bad}" is not an IP address`;
    }
    case "json":
      try {
        JSON.parse(text);
        return undefined;
      } catch (error) {
        return `is not JSON: ${(error as Error).message}`;
      }
  }
}

/** Number of single-character edits between two texts; `limit + 1` as soon as it is more than `limit`. */
function editDistance(left: string, right: string, limit: number): number {
  if (Math.abs(left.length - right.length) > limit) return limit + 1;
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i++) {
    const row = [i];
    for (let j = 1; j <= right.length; j++) {
      const same = left[i - 1] === right[j - 1] ? 0 : 1;
      row.push(Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + same));
    }
    previous = row;
  }
  return Math.min(previous[right.length]!, limit + 1);
}

const patterns = new WeakMap<AnnotationRow, RegExp>();

function matches(row: AnnotationRow, key: string): boolean {
  if (!row.key.includes("{")) return row.key === key;
  let pattern = patterns.get(row);
  if (pattern === undefined) {
    const text = row.key.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replace(/\{[^}]*\}/g, "[^./]+");
    pattern = new RegExp(`^${text}$`);
    patterns.set(row, pattern);
  }
  return pattern.test(key);
}

/** The row that describes a key, or undefined. */
export function annotationRow(registry: AnnotationRegistry, key: string): AnnotationRow | undefined {
  return registry.rows.find((row) => matches(row, key));
}

/**
 * Findings about a Service's annotations that the registry alone can tell: bad values, keys that exclude each other, deprecated
 * keys, keys of other clouds, and keys under the provider's prefixes that nobody knows, with the nearest known one. An unknown key is a warning, for
 * other components may read it, unless it looks like one that decides about exposure.
 */
export function checkAnnotations(
  registry: AnnotationRegistry,
  annotations: Readonly<Record<string, string>> = {},
): Diagnostic[] {
  const out: Diagnostic[] = [];
  for (const [key, text] of Object.entries(annotations)) {
    const field = `metadata.annotations[${key}]`;
    const row = annotationRow(registry, key);
    if (key === allowAddressChangeAnnotation) continue;
    if (row === undefined) {
      if (!registry.prefixes.some((prefix) => key.startsWith(prefix))) {
        const cloud = registry.toleratesOthers
          ? undefined
          : clouds.find(({ prefixes }) => prefixes.some((prefix) => key.startsWith(prefix)));
        if (cloud === undefined) continue;
        // Who asks for an internal load balancer in another cloud's words must not get a public one.
        const asksInternal = cloud.internal.test(`${key}=${text}`);
        out.push({
          severity: asksInternal ? "error" : "warning",
          code: "ForeignAnnotation",
          field,
          message:
            `annotation ${key} is for load balancers of ${cloud.name} and has no effect here` +
            (asksInternal ? "; ask for an internal load balancer in this provider's own words, or remove it" : ""),
        });
        continue;
      }
      let nearest: AnnotationRow | undefined;
      let distance = 4;
      for (const known of registry.rows) {
        const now = editDistance(key, known.key, distance - 1);
        if (now < distance) [nearest, distance] = [known, now];
      }
      const hint = nearest === undefined ? "" : `; did you mean ${nearest.key}?`;
      const severity = nearest?.exposure ? "error" : "warning";
      out.push({
        severity,
        code: "UnknownAnnotation",
        field,
        message: `annotation ${key} is unknown${hint}`,
      });
      continue;
    }
    const problem = problemOf(row.type, text);
    if (problem !== undefined) {
      out.push({
        severity: row.badValue ?? "error",
        code: "BadAnnotationValue",
        field,
        message: `annotation ${key} is "${text}": ${problem}`,
      });
    }
    for (const other of row.conflictsWith ?? []) {
      if (annotations[other] === undefined) continue;
      out.push({
        severity: "error",
        code: "ConflictingAnnotations",
        field,
        message: `annotations ${key} and ${other} exclude each other; remove one of them`,
      });
    }
    if (row.deprecatedFor !== undefined) {
      out.push({
        severity: "warning",
        code: "DeprecatedAnnotation",
        field,
        message: `annotation ${key} is deprecated; use ${row.deprecatedFor}`,
      });
    }
  }
  return out;
}
