import { fieldOf } from "../json.ts";
import { serviceWarnings } from "../service-strategy.ts";
import type { KubernetesObject } from "../types/meta.ts";
import type { Service } from "../types/service.ts";
import type { FieldError } from "./field-error.ts";
import {
  type ValidationGates,
  validateService,
  validateServiceStatusUpdate,
  validateServiceUpdate,
} from "./service.ts";

/** Circumstances of a validation. */
export interface ValidationContext {
  /** `status`, `scale`, …; absent for the object itself. */
  readonly subresource?: string;
  readonly gates?: ValidationGates;
}

/**
 * Checks an object by its `kind`: a create without `old`, otherwise an update. Unknown kinds are checked by their metadata only.
 * Never throws.
 */
export function validateObject(
  object: KubernetesObject,
  old?: KubernetesObject,
  context: ValidationContext = {},
): FieldError[] {
  if (fieldOf(object, "kind") === "Service") {
    const service = object as Service;
    if (old === undefined) return validateService(service, context.gates);
    return context.subresource === "status"
      ? validateServiceStatusUpdate(service, old as Service, context.gates)
      : validateServiceUpdate(service, old as Service, context.gates);
  }
  return [];
}

/** Texts of the `Warning` headers for a create or update of an object, in order. */
export function objectWarnings(object: KubernetesObject, old?: KubernetesObject): string[] {
  return fieldOf(object, "kind") === "Service" ? serviceWarnings(object as Service, old as Service | undefined) : [];
}
