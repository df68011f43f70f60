/** Comparison of what a vector expects with what came, and the matchers that vectors use. */
import { parseAddress, parsePrefix, prefixContains } from "@portolan/net";

/** What matchers need to know. */
export interface MatchContext {
  readonly serviceCIDRs: readonly string[];
  readonly nodePorts: readonly [first: number, last: number];
  /** The object of the create step. */
  readonly created?: unknown;
}

/** The value at a path such as `spec.ports[0].nodePort`. */
export function valueAt(object: unknown, path: string): unknown {
  let value = object;
  for (const step of path.match(/[^.[\]]+/g) ?? []) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  return value;
}

/** True for absent, `null`, `""`, `0`, and empty lists and objects. */
export function isAbsent(value: unknown): boolean {
  if (value === undefined || value === null || value === "" || value === 0) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** Compares a deep subset: fields of `actual` that `expected` does not name are ignored, lists must agree item by item. */
export class Comparison {
  readonly differences: string[] = [];
  readonly #context: MatchContext;
  readonly #labels = new Map<string, unknown>();

  constructor(context: MatchContext) {
    this.#context = context;
  }

  #differs(path: string, expected: unknown, actual: unknown): void {
    this.differences.push(`${path}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
  }

  #match(expected: Record<string, unknown>, actual: unknown, path: string): boolean {
    const matcher = Object.keys(expected).find((key) => key.startsWith("$"));
    if (matcher === undefined) return false;
    const wanted = expected[matcher];
    let good = false;
    switch (matcher) {
      case "$allocatedIP": {
        const address = parseAddress(String(actual));
        good =
          address?.family === wanted &&
          this.#context.serviceCIDRs.some((cidr) => prefixContains(parsePrefix(cidr)!, address!));
        break;
      }
      case "$allocatedNodePort": {
        const [first, last] = this.#context.nodePorts;
        good = typeof actual === "number" && actual >= first && actual <= last;
        const label = String(wanted);
        if (good && this.#labels.has(label)) good = this.#labels.get(label) === actual;
        else if (good) good = ![...this.#labels.values()].includes(actual);
        this.#labels.set(label, actual);
        break;
      }
      case "$sameAsCreated":
      case "$unchanged": {
        const source = typeof wanted === "string" ? wanted : path;
        good =
          JSON.stringify(valueAt(this.#context.created, source)) === JSON.stringify(actual) && actual !== undefined;
        break;
      }
      case "$absent":
        good = (wanted as string[]).every((name) => isAbsent(valueAt(actual, name)));
        break;
      default:
        good = false;
    }
    if (!good) this.#differs(path, expected, actual);
    return true;
  }

  subset(expected: unknown, actual: unknown, path = ""): this {
    if (Array.isArray(expected)) {
      const list = Array.isArray(actual) ? actual : [];
      if (list.length !== expected.length) this.#differs(path, expected, actual);
      else for (const [index, item] of expected.entries()) this.subset(item, list[index], `${path}[${index}]`);
    } else if (typeof expected === "object" && expected !== null) {
      if (this.#match(expected as Record<string, unknown>, actual, path)) return this;
      for (const [key, value] of Object.entries(expected)) {
        const own =
          typeof actual === "object" && actual !== null ? (actual as Record<string, unknown>)[key] : undefined;
        this.subset(value, own, path === "" ? key : `${path}.${key}`);
      }
    } else if (expected === null || expected === "" ? !isAbsent(actual) : expected !== actual)
      this.#differs(path, expected, actual);
    return this;
  }

  equal(expected: unknown, actual: unknown, what: string): this {
    if (JSON.stringify(expected) !== JSON.stringify(actual)) this.#differs(what, expected, actual);
    return this;
  }

  absent(paths: readonly string[], actual: unknown): this {
    for (const path of paths)
      if (!isAbsent(valueAt(actual, path))) this.#differs(path, "absent", valueAt(actual, path));
    return this;
  }

  /** `undefined` when nothing differs. */
  get result(): string | undefined {
    return this.differences.length === 0 ? undefined : this.differences.slice(0, 4).join("; ");
  }
}
