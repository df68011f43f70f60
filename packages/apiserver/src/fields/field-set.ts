import { setMember } from "../encoding/json.ts";

/**
 * A set of field paths as a tree. Edges are the elements of `FieldsV1`: `f:name` for a member, `k:{"port":80}` for an item of a keyed list,
 * `v:"x"` for an item of a set. A node is a *member* when the path that ends there is in the set. Nodes are never changed once shared.
 *
 * ```
 *   {"f:spec": {"f:ports": {".": {}, "k:{...}": {"f:port": {}}}}}     "." marks an inner node as member; a leaf always is one
 * ```
 */
export interface FieldSet {
  readonly member: boolean;
  readonly children: ReadonlyMap<string, FieldSet>;
}

const none: ReadonlyMap<string, FieldSet> = new Map();

/** The set without paths. */
export const emptyFieldSet: FieldSet = { member: false, children: none };

/** A node under construction. */
export class FieldSetBuilder implements FieldSet {
  member = false;
  readonly children: Map<string, FieldSetBuilder> = new Map();

  /** The node one edge below, made when absent. */
  child(edge: string): FieldSetBuilder {
    let child = this.children.get(edge);
    if (child === undefined) {
      child = new FieldSetBuilder();
      this.children.set(edge, child);
    }
    return child;
  }
}

/** Whether no path is in the set. */
export function isEmptyFieldSet(set: FieldSet): boolean {
  if (set.member) return false;
  for (const child of set.children.values()) if (!isEmptyFieldSet(child)) return false;
  return true;
}

/** Paths in either set. */
export function union(a: FieldSet, b: FieldSet): FieldSet {
  if (a.children.size === 0 && !a.member) return b;
  if (b.children.size === 0 && !b.member) return a;
  const children = new Map(a.children);
  for (const [edge, child] of b.children) {
    const other = children.get(edge);
    children.set(edge, other === undefined ? child : union(other, child));
  }
  return { member: a.member || b.member, children };
}

/** Paths of `a` that are not in `b`; with `recursive` neither those below a path of `b`. */
export function difference(a: FieldSet, b: FieldSet, recursive = false): FieldSet {
  if (recursive && b.member) return emptyFieldSet;
  if (b.children.size === 0) return a.member && b.member ? { member: false, children: a.children } : a;
  const children = new Map<string, FieldSet>();
  for (const [edge, child] of a.children) {
    const other = b.children.get(edge);
    const rest = other === undefined ? child : difference(child, other, recursive);
    if (rest.member || rest.children.size > 0) children.set(edge, rest);
  }
  return { member: a.member && !b.member, children };
}

/** Paths in both sets. */
export function intersection(a: FieldSet, b: FieldSet): FieldSet {
  const children = new Map<string, FieldSet>();
  for (const [edge, child] of a.children) {
    const other = b.children.get(edge);
    if (other === undefined) continue;
    const common = intersection(child, other);
    if (common.member || common.children.size > 0) children.set(edge, common);
  }
  return { member: a.member && b.member, children };
}

/** Whether both sets hold the same paths. */
export function sameFieldSet(a: FieldSet, b: FieldSet): boolean {
  if (a === b) return true;
  if (a.member !== b.member || a.children.size !== b.children.size) return false;
  for (const [edge, child] of a.children) {
    const other = b.children.get(edge);
    if (other === undefined || !sameFieldSet(child, other)) return false;
  }
  return true;
}

/** A set from paths of field names, as `[["status"], ["metadata", "labels"]]`. */
export function fieldSetOf(paths: readonly (readonly string[])[]): FieldSet {
  const root = new FieldSetBuilder();
  for (const path of paths) {
    let node = root;
    for (const name of path) node = node.child(`f:${name}`);
    node.member = true;
  }
  return root;
}

/** Serialises to `FieldsV1`. */
export function toFieldsV1(set: FieldSet): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  if (set.member && set.children.size > 0) result["."] = {};
  for (const edge of [...set.children.keys()].sort()) {
    const child = set.children.get(edge) as FieldSet;
    if (child.member || child.children.size > 0) setMember(result, edge, toFieldsV1(child));
  }
  return result;
}

const parsed = new WeakMap<object, FieldSet>();

/** Reads `FieldsV1`. Anything that is not an object counts as a leaf. Results are remembered for frozen input. */
export function fromFieldsV1(fields: unknown): FieldSet {
  if (typeof fields !== "object" || fields === null) return emptyFieldSet;
  const known = parsed.get(fields);
  if (known !== undefined) return known;
  const result = read(fields as Record<string, unknown>, true);
  if (Object.isFrozen(fields)) parsed.set(fields, result);
  return result;
}

function read(fields: Record<string, unknown>, root: boolean): FieldSet {
  const children = new Map<string, FieldSet>();
  let member = false;
  for (const edge of Object.keys(fields)) {
    if (edge === ".") {
      member = true;
      continue;
    }
    const child = fields[edge];
    children.set(
      edge,
      typeof child === "object" && child !== null && !Array.isArray(child)
        ? read(child as Record<string, unknown>, false)
        : { member: true, children: none },
    );
  }
  if (!root && children.size === 0) member = true;
  return { member, children };
}

/** Every path of the set, in order, written as server-side apply's conflicts do: `.spec.ports[port=80,protocol="TCP"].name`. */
export function fieldPaths(set: FieldSet): string[] {
  const paths: string[] = [];
  function walk(node: FieldSet, path: string): void {
    if (node.member) paths.push(path);
    for (const edge of [...node.children.keys()].sort())
      walk(node.children.get(edge) as FieldSet, path + edgeText(edge));
  }
  walk(set, "");
  return paths;
}

/** One edge as text. */
export function edgeText(edge: string): string {
  const value = edge.slice(2);
  switch (edge.slice(0, 2)) {
    case "k:":
      try {
        const keys = JSON.parse(value) as Record<string, unknown>;
        return `[${Object.entries(keys)
          .map(([name, key]) => `${name}=${JSON.stringify(key)}`)
          .join(",")}]`;
      } catch {
        return `[${value}]`;
      }
    case "v:":
      return `[=${value}]`;
    case "i:":
      return `[${value}]`;
    default:
      return `.${value}`;
  }
}
