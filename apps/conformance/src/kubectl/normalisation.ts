/**
 * Makes what differs between two runs the same: identities, times, allocated addresses and ports, widths of columns. Numbered
 * placeholders (`<uid:1>`) are compared by binding, so that "the same one as before" stays visible whatever its number is.
 */

/** What a run of a case knows about its surroundings. */
export interface Surroundings {
  readonly namespace: string;
  /** Base URL that kubectl talks to. */
  readonly server: string;
  readonly folder: string;
  /** All text of the case's own: what it names itself is not replaced. */
  readonly ownText: string;
  /** Names that a server or controller made, and how they are written: `web-<hash>-<rand>`. */
  readonly generatedNames: ReadonlyMap<string, string>;
}

/** Raw values of numbered placeholders stand between these in normalised text. */
const open = "\u0001";
const close = "\u0002";

function token(kind: string, raw: string): string {
  return `${open}${kind}:${raw}${close}`;
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** The address of the Service `kubernetes`, and what a dry run shows in place of an allocated one. */
function isFixed(address: string): boolean {
  return address === "10.96.0.1" || address === "10.96.0.0";
}

/** Numbers of Service node ports, which stand alone in texts. */
const nodePort = /(?<![\w.:/-]|\d)(3[0-2]\d{3})(?![\w.-])|(?<=\d:)(3[0-2]\d{3})(?=\/)/g;

/** Replaces what the README of the recordings calls identities, times and allocations. */
export function normaliseValues(text: string, surroundings: Surroundings): string {
  let result = text;
  const literal = (from: string, to: string): void => {
    if (from !== "") result = result.replaceAll(from, to);
  };
  const isOwn = (value: string): boolean =>
    new RegExp(`(?<![\\w.:-])${escaped(value)}(?![\\w.:-]|\\.\\d)`).test(surroundings.ownText);
  literal(surroundings.server, "$SERVER");
  literal(surroundings.folder, "$TMP");
  // Longest first: the name of a pod begins with the name of its set.
  for (const [name, written] of [...surroundings.generatedNames].sort(([a], [b]) => b.length - a.length))
    literal(name, written);
  literal(surroundings.namespace, "$NS");
  result = result
    .replace(/^[EWIF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ /gm, "<klog> ")
    .replace(/kubectl-edit-\d+/g, "kubectl-edit-<n>")
    .replace(/kube-api-access-[a-z0-9]{5}/g, "kube-api-access-<rand>")
    .replace(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, (uid) => token("uid", uid))
    .replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, "<ts>")
    .replace(/\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}/g, "<date>")
    .replace(/(resourceVersion"?: ?"?)\d+/g, "$1<rv>")
    .replace(/fd00:10:244:[0-9a-f:]+(?=:\/)|fd00:10:244:[0-9a-f:]+/g, (address) =>
      isOwn(address) ? address : token("podIP6", address),
    )
    .replace(/\b10\.244\.\d+\.\d+\b(?!\/)/g, (address) => (isOwn(address) ? address : token("podIP", address)))
    .replace(/fd00:10:96:[0-9a-f:]+(?!\/)/g, (address) => (isOwn(address) ? address : token("cip6", address)))
    .replace(/\b10\.96\.\d+\.\d+\b(?!\/)/g, (address) =>
      isOwn(address) || isFixed(address) ? address : token("cip4", address),
    )
    .replace(/(?<=[nN]odePort"?: ?)\d+/g, (port) => (isOwn(port) ? port : token("nodePort", port)))
    .replace(nodePort, (port) => (isOwn(port) || Number(port) > 32767 ? port : token("nodePort", port)))
    .replace(/\bnode\d\b/g, (node) => (isOwn(node) ? node : "<node>"));
  return result;
}

/** Normalises output of kubectl: values, ages, column widths, and lines about other namespaces. */
export function normaliseOutput(text: string, surroundings: Surroundings): string {
  return normaliseValues(text, surroundings)
    .split("\n")
    .filter((line) => !/\bgold-[0-9a-z]+\b/.test(line))
    .map((line) =>
      line
        .replace(/(?<=^|\s)(?:\d+[smhdy]){1,2}(?=\s|$)/g, "<age>")
        .replace(/(?<=\S) {2,}/g, "  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Placeholders of a recording become what {@link normaliseValues} writes; their number stands for the raw value. */
function expectedTokens(text: string): string {
  return text
    .replace(/<rv:\d+>/g, "<rv>")
    .replace(/<(uid|cip4|cip6|nodePort|podIP|podIP6):(\d+)>/g, (_, kind: string, number: string) =>
      token(kind, number),
    );
}

/** Lists of pod addresses have no order of their own; placeholders in a recording are sorted. */
function sortAddressLists(text: string, order: (raw: string) => number): string {
  const address = `${open}podIP:([^${close}]*)${close}(?::\\d+)?`;
  return text.replace(new RegExp(`${address}(?:,${address})+`, "g"), (list) => {
    const items = list.split(",");
    const ports = new Set(items.map((item) => item.slice(item.indexOf(close) + 1)));
    // Of several ports, the order is that of ports, which counts.
    if (ports.size > 1) return list;
    const ranked = items.map((item) => ({ item, rank: order(rawOf(item)) }));
    return ranked
      .sort((a, b) => a.rank - b.rank)
      .map(({ item }) => item)
      .join(",");
  });
}

function rawOf(item: string): string {
  return item.slice(item.indexOf(":") + 1, item.indexOf(close));
}

/** Compares normalised texts; placeholders are bound one to one over all comparisons of a case. */
export class Comparison {
  readonly #bound = new Map<string, string>();
  readonly #taken = new Map<string, string>();
  readonly #seen = new Map<string, number>();

  /** True when both are the same but for the values of placeholders. Binds placeholders only when they are. */
  same(expected: string, actual: string): boolean {
    const left = expectedTokens(expected).split(new RegExp(`${open}([^${close}]*)${close}`));
    const right = sortAddressLists(actual, (raw) => this.#order(raw)).split(
      new RegExp(`${open}([^${close}]*)${close}`),
    );
    if (left.length !== right.length) return false;
    const bound = new Map<string, string>();
    const taken = new Map<string, string>();
    for (const [index, mine] of left.entries()) {
      const theirs = right[index] ?? "";
      if (index % 2 === 0) {
        if (mine !== theirs) return false;
        continue;
      }
      if (mine.slice(0, mine.indexOf(":")) !== theirs.slice(0, theirs.indexOf(":"))) return false;
      const before = bound.get(mine) ?? this.#bound.get(mine);
      const after = taken.get(theirs) ?? this.#taken.get(theirs);
      if ((before !== undefined && before !== theirs) || (after !== undefined && after !== mine)) return false;
      bound.set(mine, theirs);
      taken.set(theirs, mine);
    }
    for (const [mine, theirs] of bound) this.#bound.set(mine, theirs);
    for (const [theirs, mine] of taken) this.#taken.set(theirs, mine);
    return true;
  }

  #order(raw: string): number {
    const known = this.#taken.get(`podIP:${raw}`);
    if (known !== undefined) return Number(known.slice("podIP:".length));
    const number = this.#seen.get(raw) ?? 1000 + this.#seen.size;
    this.#seen.set(raw, number);
    return number;
  }

  /** A text to show to people: raw values between the placeholders. */
  static readable(text: string): string {
    return text.replaceAll(open, "<").replaceAll(close, ">");
  }
}
