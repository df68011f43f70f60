import {
  badRequestStatus,
  type KubernetesObject,
  matchFieldRequirements,
  matchLabelRequirements,
  parseFieldSelector,
  parseLabelSelector,
  SelectorError,
  selectableFieldValue,
  unsupportedFieldLabel,
} from "@portolan/core";
import { storedEventField } from "./event-codec.ts";
import type { ResourceDefinition } from "./resource-definition.ts";

/** Label and field selector of one request, compiled. */
export interface Selection {
  readonly matches: (object: KubernetesObject) => boolean;
  /** True when everything matches. */
  readonly isEverything: boolean;
  /** The one name that can match, when the field selector says so: a list is a read then. */
  readonly name: string | undefined;
}

function unsupportedCustomField(
  selectable: readonly string[],
  terms: ReturnType<typeof parseFieldSelector>,
): string | undefined {
  const known = ["metadata.name", "metadata.namespace", ...selectable];
  const bad = terms.find(({ field }) => !known.includes(field));
  return bad === undefined ? undefined : `field label not supported: ${bad.field}`;
}

/**
 * Compiles the selectors of a list, watch or deletecollection.
 *
 * @throws StatusError 400 when one cannot be read, or names a field by which the kind cannot be selected
 */
export function compileSelection(
  labelSelector: string,
  fieldSelector: string,
  definition: ResourceDefinition,
): Selection {
  if (labelSelector === "" && fieldSelector === "") return { matches: () => true, isEverything: true, name: undefined };
  try {
    const labels = labelSelector === "" ? [] : parseLabelSelector(labelSelector);
    const isNewEvent = definition.kind === "Event" && definition.group === "events.k8s.io";
    const terms = parseFieldSelector(fieldSelector).map((term) =>
      isNewEvent ? { ...term, field: storedEventField(term.field) } : term,
    );
    const problem =
      definition.custom === undefined
        ? unsupportedFieldLabel(definition.kind, terms)
        : unsupportedCustomField(definition.custom.selectableFields, terms);
    if (problem !== undefined) throw badRequestStatus(problem);
    return {
      matches: (object) =>
        (labels.length === 0 || matchLabelRequirements(labels, object.metadata?.labels)) &&
        (terms.length === 0 || matchFieldRequirements(terms, (field) => selectableFieldValue(object, field))),
      isEverything: labels.length === 0 && terms.length === 0,
      name: terms.find((term) => term.field === "metadata.name" && term.operator === "=")?.value,
    };
  } catch (error) {
    if (error instanceof SelectorError) throw badRequestStatus(error.message);
    throw error;
  }
}
