import { listOf } from "../json.ts";
import { labelSelectorRequirements, matchLabelRequirements, SelectorError } from "../selectors.ts";
import type { LabelSelector, StringMap } from "../types/meta.ts";
import type { FieldCursor } from "./field-error.ts";
import { labelValueProblems, qualifiedNameProblems } from "./names.ts";
import { validateLabelMap } from "./object-meta.ts";

/** Checks a `LabelSelector` (apimachinery `meta/v1/validation`). */
export function checkLabelSelector(selector: FieldCursor): void {
  if (!selector.object()) return;
  validateLabelMap(selector.at("matchLabels"));
  for (const expression of selector.at("matchExpressions").items()) {
    const values = expression.at("values");
    const operator = expression.at("operator");
    switch (operator.text()) {
      case "In":
      case "NotIn":
        if (values.items().length === 0) values.required("must be specified when `operator` is 'In' or 'NotIn'");
        break;
      case "Exists":
      case "DoesNotExist":
        if (values.items().length > 0) {
          values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        break;
      default:
        operator.invalid("not a valid selector operator", operator.text());
    }
    const key = expression.at("key");
    key.invalidEach(qualifiedNameProblems(key.text()), key.text());
    for (const value of values.items()) value.invalidEach(labelValueProblems(value.text()), value.text());
  }
}

/** What a selector means for the labels of a template: `malformed` when it cannot be evaluated. */
export function selectorVerdict(
  selector: FieldCursor,
  labels: unknown,
): "matches" | "empty" | "does not match" | "malformed" {
  try {
    const requirements = labelSelectorRequirements(selector.value as LabelSelector | undefined);
    if (requirements === undefined) return "does not match";
    if (requirements.length === 0) return "empty";
    return matchLabelRequirements(requirements, labels as StringMap | undefined) ? "matches" : "does not match";
  } catch (error) {
    if (error instanceof SelectorError) return "malformed";
    throw error;
  }
}

/** True when a selector has no requirement. */
export function isEmptySelector(selector: FieldCursor): boolean {
  return (
    selector.at("matchLabels").entries().length === 0 && listOf(selector.at("matchExpressions").value).length === 0
  );
}
