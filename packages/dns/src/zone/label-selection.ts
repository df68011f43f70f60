import type { LabelSelector, StringMap } from "@portolan/core";

/** Whether labels fulfil all requirements of a selector; an empty selector takes everything (apimachinery `labels.Selector`). */
export function labelsMatch(selector: LabelSelector, labels: StringMap | undefined): boolean {
  const has = labels ?? {};
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) if (has[key] !== value) return false;
  for (const { key, operator, values } of selector.matchExpressions ?? []) {
    const value = has[key];
    const present = Object.hasOwn(has, key);
    if (operator === "Exists" && !present) return false;
    if (operator === "DoesNotExist" && present) return false;
    if (operator === "In" && !(present && values?.includes(value!))) return false;
    if (operator === "NotIn" && present && values?.includes(value!)) return false;
  }
  return true;
}

/**
 * Reads a selector in text form: `team=blue,tier in (a, b),!legacy`. Undefined when the text is none.
 */
export function labelSelectorFromText(text: string): LabelSelector | undefined {
  const expressions: NonNullable<LabelSelector["matchExpressions"]> = [];
  // Commas inside parentheses separate values, the others requirements.
  for (const part of text.split(/,(?![^(]*\))/)) {
    const requirement = part.trim();
    const set = /^(\S+)\s+(in|notin)\s+\(([^)]*)\)$/.exec(requirement);
    const equality = /^([^\s=!]+)\s*(==|=|!=)\s*([^\s=!]*)$/.exec(requirement);
    const existence = /^(!?)\s*([^\s=!()]+)$/.exec(requirement);
    if (set !== null)
      expressions.push({
        key: set[1]!,
        operator: set[2] === "in" ? "In" : "NotIn",
        values: set[3]!.split(",").map((value) => value.trim()),
      });
    else if (equality !== null)
      expressions.push({ key: equality[1]!, operator: equality[2] === "!=" ? "NotIn" : "In", values: [equality[3]!] });
    else if (existence !== null)
      expressions.push({ key: existence[2]!, operator: existence[1] === "!" ? "DoesNotExist" : "Exists" });
    else return undefined;
  }
  return { matchExpressions: expressions };
}
