/** Parameters of a request in AWS' query protocol: texts, lists and structures. */
export type QueryValue = string | readonly QueryValue[] | { readonly [name: string]: QueryValue };

type Draft = { [name: string]: Draft | string };

const empty = (): Draft => Object.create(null) as Draft;

function finished(draft: Draft | string): QueryValue {
  if (typeof draft === "string") return draft;
  const names = Object.keys(draft);
  if (names.length > 0 && names.every((name) => /^\d+$/.test(name))) {
    return names.sort((left, right) => Number(left) - Number(right)).map((name) => finished(draft[name]!));
  }
  return Object.fromEntries(names.map((name) => [name, finished(draft[name]!)]));
}

/** Reads a form-encoded body: `Tags.member.1.Key` of Elastic Load Balancing as well as `Filter.1.Value.1` of EC2. */
export function parseQuery(body: string): Readonly<Record<string, QueryValue>> {
  const out = empty();
  for (const [key, value] of new URLSearchParams(body)) {
    const path = key.split(".").filter((part) => part !== "member");
    let at = out;
    for (const part of path.slice(0, -1)) {
      const next = at[part];
      const inner = typeof next === "object" ? next : empty();
      at[part] = inner;
      at = inner;
    }
    at[path.at(-1)!] = value;
  }
  return finished(out) as Record<string, QueryValue>;
}

/** What is written into an answer; undefined members are left out. */
export type XmlValue =
  | string
  | number
  | boolean
  | undefined
  | readonly XmlValue[]
  | { readonly [name: string]: XmlValue };

function escaped(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

/** Writes a value as an element; entries of lists become elements of the given name: `member`, or `item` in EC2. */
export function xmlElement(name: string, value: XmlValue, entryName: string): string {
  if (value === undefined) return "";
  return `<${name}>${xmlContent(value, entryName)}</${name}>`;
}

/** Writes what is inside of an element. */
export function xmlContent(value: XmlValue, entryName: string): string {
  if (value === undefined) return "";
  if (Array.isArray(value)) return value.map((entry: XmlValue) => xmlElement(entryName, entry, entryName)).join("");
  if (typeof value === "object") {
    return Object.entries(value)
      .map(([member, inner]) => xmlElement(member, inner as XmlValue, entryName))
      .join("");
  }
  return escaped(String(value));
}
