/**
 * Compares answers with recorded ones. A placeholder in a recorded value stands for a value of the run; numbered ones stand for the same
 * value wherever they occur, and for different values when their numbers differ.
 */

const timestamp = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`;
const ipv4 = String.raw`\d{1,3}(?:\.\d{1,3}){3}`;

/** What each placeholder may stand for. */
const patterns: Readonly<Record<string, string>> = {
  uid: "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
  rv: String.raw`\d+`,
  ts: timestamp,
  continue: "[A-Za-z0-9_=-]+",
  cip4: ipv4,
  cip6: "[0-9a-f:]*:[0-9a-f:]+",
  nodePort: String.raw`\d{5}`,
  rand: "[a-z0-9]{5}",
  age: String.raw`<unknown>|<invalid>|(?:\d+[smhdy])+`,
  hash: "[a-z0-9]{1,10}",
};

const placeholder = /<(uid|rv|ts|continue|cip4|cip6|nodePort|rand|age|hash)(?::(\d+))?>/g;

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** One difference, with the path where it was found. */
export interface Difference {
  readonly path: string;
  readonly expected: unknown;
  readonly actual: unknown;
}

/** Compares the answers of one case; what numbered placeholders stand for is remembered from answer to answer. */
export class Matcher {
  readonly #values = new Map<string, string>();
  readonly #names = new Map<string, string>();
  readonly #namespace: string;

  constructor(namespace: string) {
    this.#namespace = namespace;
  }

  /** Differences between a recorded value and one of the run; none when they match. */
  compare(expected: unknown, actual: unknown, path = ""): Difference[] {
    if (typeof expected === "string") {
      const isMatch =
        typeof actual === "string"
          ? this.#matchText(expected, actual)
          : typeof actual === "number" && /^<nodePort/.test(expected) && this.#matchText(expected, String(actual));
      return isMatch ? [] : [{ path, expected, actual }];
    }
    if (typeof expected !== "object" || expected === null)
      return expected === actual ? [] : [{ path, expected, actual }];
    if (typeof actual !== "object" || actual === null || Array.isArray(expected) !== Array.isArray(actual))
      return [{ path, expected, actual }];
    if (Array.isArray(expected)) {
      const other = actual as unknown[];
      const differences = expected.flatMap((item, index) =>
        index < other.length
          ? this.compare(item, other[index], `${path}/${index}`)
          : [{ path: `${path}/${index}`, expected: item, actual: undefined }],
      );
      for (let index = expected.length; index < other.length; index++)
        differences.push({ path: `${path}/${index}`, expected: undefined, actual: other[index] });
      return differences;
    }
    const wanted = expected as Record<string, unknown>;
    const found = actual as Record<string, unknown>;
    const differences: Difference[] = [];
    const seen = new Set<string>();
    for (const key of Object.keys(wanted)) {
      const name =
        Object.keys(found).find(
          (candidate) => candidate === key || (/[<$]/.test(key) && this.#matchText(key, candidate)),
        ) ?? key;
      seen.add(name);
      if (Object.hasOwn(found, name)) differences.push(...this.compare(wanted[key], found[name], `${path}/${key}`));
      else differences.push({ path: `${path}/${key}`, expected: wanted[key], actual: undefined });
    }
    for (const key of Object.keys(found))
      if (!seen.has(key)) differences.push({ path: `${path}/${key}`, expected: undefined, actual: found[key] });
    return differences;
  }

  #matchText(recorded: string, actual: string): boolean {
    const expected = recorded.replaceAll("$NS", this.#namespace);
    const matches = [...expected.matchAll(placeholder)];
    if (matches.length === 0) return expected === actual;
    const groups: { readonly kind: string; readonly number: string | undefined }[] = [];
    let pattern = "";
    let at = 0;
    for (const match of matches) {
      pattern += escapeRegExp(expected.slice(at, match.index));
      pattern += `(${patterns[match[1] as string]})`;
      groups.push({ kind: match[1] as string, number: match[2] });
      at = match.index + match[0].length;
    }
    const found = new RegExp(`^${pattern}${escapeRegExp(expected.slice(at))}$`).exec(actual);
    if (found === null) return false;
    // All or nothing: a text that does not match binds nothing.
    const bound: [string, string][] = [];
    for (const [index, { kind, number }] of groups.entries()) {
      if (number === undefined) continue;
      const name = `${kind}:${number}`;
      const value = `${kind}=${found[index + 1]}`;
      const known = this.#values.get(name) ?? bound.find(([other]) => other === name)?.[1];
      if (known !== undefined) {
        if (known !== value) return false;
        continue;
      }
      const owner = this.#names.get(value) ?? bound.find(([, other]) => other === value)?.[0];
      if (owner !== undefined) return false;
      bound.push([name, value]);
    }
    for (const [name, value] of bound) {
      this.#values.set(name, value);
      this.#names.set(value, name);
    }
    return true;
  }
}
