/** A JSONPath of a column: fields, indices, `[*]` and filters by equality, as `kubectl` and custom resources use them. */
export type JsonPath = readonly Step[];

type Step =
  | { readonly kind: "field"; readonly name: string }
  | { readonly kind: "index"; readonly index: number }
  | { readonly kind: "all" }
  | { readonly kind: "filter"; readonly path: JsonPath; readonly operator: string; readonly value: unknown };

const stepPattern =
  /^(?:\.((?:\\.|[^.[\\])+)|\.?\[['"]((?:\\.|[^'"\\])*)['"]\]|\.?\[(-?\d+)\]|\.?\[(\*)\]|(\.\*)|\.?\[\?\(@((?:[^()"']|"[^"]*"|'[^']*')*)\)\])/;
const comparison = /^(.+?)\s*(==|!=|<=|>=|<|>)\s*(.+)$/;

function unescaped(text: string): string {
  return text.replace(/\\(.)/g, "$1");
}

/** Reads a path such as `.status.conditions[?(@.type=="Ready")].status`; `undefined` when it is none that is understood. */
export function parseJsonPath(text: string): JsonPath | undefined {
  const steps: Step[] = [];
  let rest = text;
  while (rest !== "") {
    const match = stepPattern.exec(rest);
    if (match === null) return undefined;
    const [whole, plain, quoted, index, all, star, filter] = match;
    if (plain !== undefined) steps.push({ kind: "field", name: unescaped(plain) });
    else if (quoted !== undefined) steps.push({ kind: "field", name: unescaped(quoted) });
    else if (index !== undefined) steps.push({ kind: "index", index: Number(index) });
    else if (all !== undefined || star !== undefined) steps.push({ kind: "all" });
    else {
      const parts = comparison.exec((filter ?? "").trim());
      const path = parseJsonPath(parts === null ? (filter ?? "").trim() : (parts[1] as string).trim());
      if (path === undefined) return undefined;
      steps.push({
        kind: "filter",
        path,
        operator: parts?.[2] ?? "exists",
        value: parts === null ? undefined : literal(parts[3] as string),
      });
    }
    rest = rest.slice(whole.length);
  }
  return steps;
}

function literal(text: string): unknown {
  const quoted = /^(['"])(.*)\1$/.exec(text.trim());
  if (quoted !== null) return unescaped(quoted[2] as string);
  if (text === "true" || text === "false") return text === "true";
  const number = Number(text);
  return Number.isNaN(number) ? text : number;
}

function own(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && !Array.isArray(value) && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

function compares(left: unknown, operator: string, right: unknown): boolean {
  switch (operator) {
    case "exists":
      return left !== undefined;
    case "==":
      return left === right;
    case "!=":
      return left !== right;
  }
  if (typeof left !== typeof right) return false;
  const a = left as number;
  const b = right as number;
  return operator === "<" ? a < b : operator === ">" ? a > b : operator === "<=" ? a <= b : a >= b;
}

/** Values at a path, in order. */
export function findJsonPath(value: unknown, path: JsonPath): unknown[] {
  let found: unknown[] = [value];
  for (const step of path) {
    found = found.flatMap((each): unknown[] => {
      switch (step.kind) {
        case "field": {
          const member = own(each, step.name);
          return member === undefined ? [] : [member];
        }
        case "index": {
          if (!Array.isArray(each)) return [];
          const item: unknown = each.at(step.index);
          return item === undefined ? [] : [item];
        }
        case "all":
          return Array.isArray(each) ? each : typeof each === "object" && each !== null ? Object.values(each) : [];
        case "filter":
          return (Array.isArray(each) ? each : []).filter((item) =>
            compares(findJsonPath(item, step.path)[0], step.operator, step.value),
          );
      }
    });
  }
  return found;
}
