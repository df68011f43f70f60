/**
 * Selectors: label selector strings of queries and flags, `LabelSelector` objects of workloads, the plain maps of Services, and field
 * selectors (apimachinery `labels`, `fields` and `meta/v1`).
 *
 * @packageDocumentation
 */
import { fieldOf, listOf, objectOf, pathOf, stringMapOf, textOf } from "./json.ts";
import type { LabelSelector, StringMap } from "./types/meta.ts";
import { type FieldError, formatFieldErrors, invalid, renderValue } from "./validation/field-error.ts";
import { labelValueProblems, qualifiedNameProblems } from "./validation/names.ts";

/** Operators of label requirements, as a selector string spells them; `exists` and `!` stand for a bare key and `!key`. */
export type LabelOperator = "in" | "notin" | "=" | "==" | "!=" | "exists" | "!" | "gt" | "lt";

/** One requirement on labels. `values` are sorted and unique. */
export interface LabelRequirement {
  readonly key: string;
  readonly operator: LabelOperator;
  readonly values: readonly string[];
}

/** One requirement on a field. */
export interface FieldRequirement {
  readonly field: string;
  readonly operator: "=" | "!=";
  readonly value: string;
}

/** A selector that cannot be read. The message is Kubernetes' own; a server answers it with 400. */
export class SelectorError extends Error {
  override readonly name = "SelectorError";
  readonly code = "invalid-selector";
}

const binaryOperators = "in, notin, =, ==, !=, gt, lt";

type Token = "end" | "error" | ")" | "," | "(" | "!" | "=" | "==" | "!=" | ">" | "<" | "in" | "notin" | "identifier";

interface Lexeme {
  readonly token: Token;
  readonly literal: string;
}

const symbols: ReadonlySet<string> = new Set([")", ",", "!", "==", "=", ">", "<", "!=", "("]);
const symbolCharacters = "=!(),><";
const blanks = " \t\r\n";

function scan(text: string): Lexeme[] {
  const out: Lexeme[] = [];
  let at = 0;
  while (at < text.length) {
    const character = text[at]!;
    if (blanks.includes(character)) {
      at++;
    } else if (symbolCharacters.includes(character)) {
      const pair = text.slice(at, at + 2);
      const literal = pair.length === 2 && symbols.has(pair) ? pair : character;
      out.push({ token: literal as Token, literal });
      at += literal.length;
    } else {
      const start = at;
      while (at < text.length && !blanks.includes(text[at]!) && !symbolCharacters.includes(text[at]!)) at++;
      const literal = text.slice(start, at);
      out.push({ token: literal === "in" || literal === "notin" ? literal : "identifier", literal });
    }
  }
  return out;
}

function problemsOfRequirement(requirement: LabelRequirement, keyPath: string, valuesPath: string): FieldError[] {
  const { key, operator, values } = requirement;
  const errors: FieldError[] = [];
  const keyProblems = qualifiedNameProblems(key);
  if (keyProblems.length > 0) errors.push(invalid(keyPath, key, keyProblems.join("; ")));
  if ((operator === "in" || operator === "notin") && values.length === 0) {
    errors.push(invalid(valuesPath, values, "for 'in', 'notin' operators, values set can't be empty"));
  }
  if ((operator === "exists" || operator === "!") && values.length > 0) {
    errors.push(invalid(valuesPath, values, "values set must be empty for exists and does not exist"));
  }
  if (operator === "gt" || operator === "lt") {
    if (values.length !== 1) {
      errors.push(invalid(valuesPath, values, "for 'Gt', 'Lt' operators, exactly one value is required"));
    }
    values.forEach((value, index) => {
      if (integerOf(value) === undefined) {
        errors.push(
          invalid(`${valuesPath}[${index}]`, value, "for 'Gt', 'Lt' operators, the value must be an integer"),
        );
      }
    });
  }
  values.forEach((value, index) => {
    const problems = labelValueProblems(value);
    if (problems.length > 0) errors.push(invalid(`${valuesPath}[${index}][${key}]`, value, problems.join("; ")));
  });
  return errors;
}

function integerOf(text: string): bigint | undefined {
  if (!/^[+-]?[0-9]+$/.test(text) || text.length > 20) return undefined;
  const value = BigInt(text.startsWith("+") ? text.slice(1) : text);
  return value >= -(2n ** 63n) && value < 2n ** 63n ? value : undefined;
}

function sortedUnique(values: Iterable<string>): string[] {
  return [...new Set(values)].sort();
}

class LabelSelectorParser {
  readonly #lexemes: readonly Lexeme[];
  #at = 0;

  constructor(text: string) {
    this.#lexemes = scan(text);
  }

  #peek(values: boolean): Lexeme {
    const lexeme = this.#lexemes[this.#at] ?? { token: "end", literal: "" };
    return values && (lexeme.token === "in" || lexeme.token === "notin") ? { ...lexeme, token: "identifier" } : lexeme;
  }

  #take(values: boolean): Lexeme {
    const lexeme = this.#peek(values);
    this.#at++;
    return lexeme;
  }

  parse(): LabelRequirement[] {
    const out: LabelRequirement[] = [];
    for (;;) {
      const { token, literal } = this.#peek(true);
      if (token === "end") break;
      if (token !== "identifier" && token !== "!") {
        throw new SelectorError(`found '${literal}', expected: !, identifier, or 'end of string'`);
      }
      out.push(this.#requirement());
      const separator = this.#take(true);
      if (separator.token === "end") break;
      if (separator.token !== ",") {
        throw new SelectorError(`found '${separator.literal}', expected: ',' or 'end of string'`);
      }
      const next = this.#peek(true);
      if (next.token !== "identifier" && next.token !== "!") {
        throw new SelectorError(`found '${next.literal}', expected: identifier after ','`);
      }
    }
    return out.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  }

  #requirement(): LabelRequirement {
    const fail = (detail: string) => new SelectorError(`unable to parse requirement: ${detail}`);
    const first = this.#take(true);
    const negated = first.token === "!";
    const key = negated ? this.#take(true) : first;
    if (key.token !== "identifier") throw fail(`found '${key.literal}', expected: identifier`);
    const keyProblems = qualifiedNameProblems(key.literal);
    if (keyProblems.length > 0) {
      throw fail(`<nil>: Invalid value: ${renderValue(key.literal)}: ${keyProblems.join("; ")}`);
    }
    const next = this.#peek(true);
    if (negated) return { key: key.literal, operator: "!", values: [] };
    if (next.token === "end" || next.token === ",") return { key: key.literal, operator: "exists", values: [] };
    const symbol = this.#take(false);
    let operator: LabelOperator;
    switch (symbol.token) {
      case "in":
      case "notin":
      case "=":
      case "==":
      case "!=":
        operator = symbol.token;
        break;
      case ">":
        operator = "gt";
        break;
      case "<":
        operator = "lt";
        break;
      default:
        throw fail(`found '${symbol.literal}', expected: ${binaryOperators}`);
    }
    const values = operator === "in" || operator === "notin" ? this.#valueList(fail) : this.#exactValue(fail);
    const requirement: LabelRequirement = { key: key.literal, operator, values: sortedUnique(values) };
    const errors = problemsOfRequirement(requirement, "key", "values");
    if (errors.length > 0) throw fail(formatFieldErrors(errors));
    return requirement;
  }

  #exactValue(fail: (detail: string) => SelectorError): string[] {
    const next = this.#peek(true);
    if (next.token === "end" || next.token === ",") return [""];
    const { token, literal } = this.#take(true);
    if (token !== "identifier") throw fail(`found '${literal}', expected: identifier`);
    return [literal];
  }

  #valueList(fail: (detail: string) => SelectorError): string[] {
    const open = this.#take(true);
    if (open.token !== "(") throw fail(`found '${open.literal}' expected: '('`);
    const values: string[] = [];
    const first = this.#peek(true);
    if (first.token === ")") {
      this.#take(true);
      return [""];
    }
    if (first.token !== "identifier" && first.token !== ",") {
      throw fail(`found '${first.literal}', expected: ',', ')' or identifier`);
    }
    for (;;) {
      const { token, literal } = this.#take(true);
      if (token === "identifier") {
        values.push(literal);
        const next = this.#peek(true);
        if (next.token === ")") break;
        if (next.token !== ",") throw fail(`found '${next.literal}', expected: ',' or ')'`);
      } else if (token === ",") {
        if (values.length === 0) values.push("");
        const next = this.#peek(true);
        if (next.token === ")") {
          values.push("");
          break;
        }
        if (next.token === ",") {
          this.#take(true);
          values.push("");
        }
      } else {
        throw fail(`found '${literal}', expected: ',', or identifier`);
      }
    }
    this.#take(true);
    return values;
  }
}

/**
 * Parses a label selector string such as `app=web,tier in (a,b),!legacy`. An empty one has no requirements and matches everything.
 * Requirements come back sorted by key.
 *
 * @throws SelectorError with Kubernetes' text
 */
export function parseLabelSelector(text: string): LabelRequirement[] {
  return new LabelSelectorParser(text).parse();
}

/** The string form that {@link parseLabelSelector} reads back. */
export function formatLabelRequirements(requirements: readonly LabelRequirement[]): string {
  return requirements
    .map(({ key, operator, values }) => {
      switch (operator) {
        case "exists":
          return key;
        case "!":
          return `!${key}`;
        case "in":
        case "notin":
          return `${key} ${operator} (${values.join(",")})`;
        case "gt":
          return `${key}>${values.join(",")}`;
        case "lt":
          return `${key}<${values.join(",")}`;
        default:
          return `${key}${operator}${values.join(",")}`;
      }
    })
    .join(",");
}

function matchesRequirement(requirement: LabelRequirement, labels: unknown): boolean {
  const raw = fieldOf(labels, requirement.key);
  const value = typeof raw === "string" ? raw : undefined;
  switch (requirement.operator) {
    case "in":
    case "=":
    case "==":
      return value !== undefined && requirement.values.includes(value);
    case "notin":
    case "!=":
      return value === undefined || !requirement.values.includes(value);
    case "exists":
      return value !== undefined;
    case "!":
      return value === undefined;
    default: {
      const left = value === undefined ? undefined : integerOf(value);
      const right = integerOf(requirement.values[0] ?? "");
      if (left === undefined || right === undefined) return false;
      return requirement.operator === "gt" ? left > right : left < right;
    }
  }
}

/** True when all requirements hold; without requirements everything matches. */
export function matchLabelRequirements(
  requirements: readonly LabelRequirement[],
  labels: StringMap | undefined,
): boolean {
  return requirements.every((requirement) => matchesRequirement(requirement, labels));
}

const objectOperators: Readonly<Record<string, LabelOperator>> = {
  In: "in",
  NotIn: "notin",
  Exists: "exists",
  DoesNotExist: "!",
};

/**
 * The requirements of a `LabelSelector` object, sorted by key; `undefined` for an absent selector, which matches nothing.
 *
 * @throws SelectorError for an unknown operator, a malformed key or value, or values that do not suit the operator
 */
export function labelSelectorRequirements(selector: LabelSelector | undefined): LabelRequirement[] | undefined {
  if (selector === undefined || selector === null) return undefined;
  const out: LabelRequirement[] = [];
  for (const [key, value] of Object.entries(stringMapOf(fieldOf(selector, "matchLabels")))) {
    out.push({ key, operator: "=", values: [value] });
  }
  for (const expression of listOf(fieldOf(selector, "matchExpressions"))) {
    const name = textOf(fieldOf(expression, "operator"));
    const operator = Object.hasOwn(objectOperators, name) ? objectOperators[name] : undefined;
    if (operator === undefined) throw new SelectorError(`"${name}" is not a valid label selector operator`);
    out.push({
      key: textOf(fieldOf(expression, "key")),
      operator,
      values: sortedUnique(listOf(fieldOf(expression, "values")).map(textOf)),
    });
  }
  const errors = out.flatMap((requirement) => problemsOfRequirement(requirement, "key", "values"));
  if (errors.length > 0) throw new SelectorError(formatFieldErrors(errors));
  return out.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
}

/** True when the selector selects the labels. Absent selects nothing, empty everything; a malformed one selects nothing. */
export function matchLabelSelector(selector: LabelSelector | undefined, labels: StringMap | undefined): boolean {
  try {
    const requirements = labelSelectorRequirements(selector);
    return requirements !== undefined && matchLabelRequirements(requirements, labels);
  } catch (error) {
    if (error instanceof SelectorError) return false;
    throw error;
  }
}

/** A `LabelSelector` object as a string, as columns and `scale.status.selector` show it; empty for an empty or absent one. */
export function formatLabelSelector(selector: LabelSelector | undefined): string {
  return formatLabelRequirements(labelSelectorRequirements(selector) ?? []);
}

/**
 * Equality-based selector of Services and `nodeSelector`: every entry must be among the labels. An empty or absent one matches
 * everything here; callers decide what it means (a Service without a selector selects no pods).
 */
export function matchEqualitySelector(selector: StringMap | undefined, labels: StringMap | undefined): boolean {
  return Object.entries(objectOf(selector)).every(([key, value]) => fieldOf(labels, key) === value);
}

/** `k=v,k2=v2`, sorted by key. */
export function formatEqualitySelector(selector: StringMap | undefined): string {
  return Object.entries(stringMapOf(selector))
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(",");
}

function splitTerms(text: string): string[] {
  const terms: string[] = [];
  let term = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (character === "\\") {
      term += text.slice(at, at + 2);
      at++;
    } else if (character === ",") {
      terms.push(term);
      term = "";
    } else {
      term += character;
    }
  }
  terms.push(term);
  return terms;
}

function splitTerm(term: string): [string, string, string] | undefined {
  for (let at = 0; at < term.length; at++) {
    for (const operator of ["!=", "==", "="]) {
      if (term.startsWith(operator, at)) return [term.slice(0, at), operator, term.slice(at + operator.length)];
    }
  }
  return undefined;
}

function unescapeFieldValue(text: string): string {
  let out = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (character === "\\") {
      const next = text[++at];
      if (next === undefined || !"\\,=".includes(next)) {
        throw new SelectorError(`invalid field selector: invalid escape sequence: \\${next ?? ""}`);
      }
      out += next;
    } else if (character === "=" || character === ",") {
      throw new SelectorError(`invalid field selector: unescaped character in value: ${character}`);
    } else {
      out += character;
    }
  }
  return out;
}

/**
 * Parses a field selector such as `metadata.name=web,status.phase!=Running`. `\` escapes `,`, `=` and itself in values.
 *
 * @throws SelectorError with Kubernetes' text
 */
export function parseFieldSelector(text: string): FieldRequirement[] {
  const out: FieldRequirement[] = [];
  for (const term of splitTerms(text)) {
    if (term === "") continue;
    const parts = splitTerm(term);
    if (parts === undefined) throw new SelectorError(`invalid selector: '${text}'; can't understand '${term}'`);
    out.push({ field: parts[0], operator: parts[1] === "!=" ? "!=" : "=", value: unescapeFieldValue(parts[2]) });
  }
  return out;
}

/** The string form that {@link parseFieldSelector} reads back. */
export function formatFieldRequirements(requirements: readonly FieldRequirement[]): string {
  return requirements
    .map(
      ({ field, operator, value }) => `${field}${operator}${value.replace(/[\\,=]/g, (character) => `\\${character}`)}`,
    )
    .join(",");
}

/** True when all requirements hold; `fieldValue` reads a field of the object, `""` when it is absent. */
export function matchFieldRequirements(
  requirements: readonly FieldRequirement[],
  fieldValue: (field: string) => string,
): boolean {
  return requirements.every(({ field, operator, value }) => (fieldValue(field) === value) === (operator === "="));
}

const specificFields: Readonly<Record<string, readonly string[]>> = {
  Service: ["spec.clusterIP", "spec.type"],
  Pod: [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
  ],
  Node: ["spec.unschedulable"],
  Namespace: ["status.phase"],
  Secret: ["type"],
  Job: ["status.successful"],
  ReplicationController: ["status.replicas"],
  CertificateSigningRequest: ["spec.signerName"],
  Event: [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
  ],
};

const booleanFields: ReadonlySet<string> = new Set(["spec.hostNetwork", "spec.unschedulable"]);

/** The field labels by which objects of a kind can be selected. */
export function selectableFields(kind: string): readonly string[] {
  return ["metadata.name", "metadata.namespace", ...(Object.hasOwn(specificFields, kind) ? specificFields[kind]! : [])];
}

/**
 * The error of a field selector that names a label the kind does not support, or `undefined` when it may be used. A server answers it
 * with 400.
 */
export function unsupportedFieldLabel(kind: string, requirements: readonly FieldRequirement[]): string | undefined {
  const supported = selectableFields(kind);
  const bad = requirements.find(({ field }) => !supported.includes(field))?.field;
  if (bad === undefined) return undefined;
  if (kind === "Job") return `field label "${bad}" not supported for Job`;
  return Object.hasOwn(specificFields, kind)
    ? `field label not supported: ${bad}`
    : `"${bad}" is not a known field selector: only "metadata.name", "metadata.namespace"`;
}

/** The value of a selectable field of an object, `""` when absent; what {@link matchFieldRequirements} wants as `fieldValue`. */
export function selectableFieldValue(object: unknown, field: string): string {
  const value = pathOf(object, ...field.split("."));
  const kind = fieldOf(object, "kind");
  if (kind === "Event" && field === "source") {
    return textOf(fieldOf(value, "component")) || textOf(fieldOf(object, "reportingComponent"));
  }
  if (kind === "Job" && field === "status.successful") return String(pathOf(object, "status", "succeeded") ?? 0);
  if (field === "status.replicas") return String(value ?? 0);
  if (booleanFields.has(field)) return value === true ? "true" : "false";
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}
