import type { LabelSelector, StringMap } from "@portolan/core";

/** True when the labels meet all requirements of the selector. An absent selector selects nothing, an empty one everything. */
export function selectsLabels(selector: LabelSelector | undefined, labels: StringMap | undefined): boolean {
  if (selector === undefined) return false;
  for (const [key, value] of Object.entries(selector.matchLabels ?? {})) if (labels?.[key] !== value) return false;
  return (selector.matchExpressions ?? []).every(({ key, operator, values }) => {
    const value = labels?.[key];
    if (operator === "Exists") return value !== undefined;
    if (operator === "DoesNotExist") return value === undefined;
    const listed = value !== undefined && values?.includes(value) === true;
    return operator === "In" ? listed : !listed;
  });
}
