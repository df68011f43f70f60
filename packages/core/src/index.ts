/**
 * Kubernetes API types for Service networking with defaulting, validation, selectors and Status.
 *
 * @packageDocumentation
 */
export * from "./age.ts";
export * from "./allocation-bands.ts";
export * from "./defaults/defaults.ts";
export * from "./schema/kinds.ts";
export * from "./schema/schema.ts";
export * from "./selectors.ts";
export * from "./service-environment.ts";
export * from "./service-strategy.ts";
export * from "./status.ts";
export {
  applyStructuralDefaults,
  pruneUnknownFields,
  type StructuralRule,
  type StructuralSchema,
  schemaOfStructural,
} from "./structural-schema/structural-schema.ts";
export { validateStructural } from "./structural-schema/structural-validation.ts";
export * from "./types/access-control.ts";
export * from "./types/meta.ts";
export * from "./types/networking.ts";
export * from "./types/resources.ts";
export * from "./types/service.ts";
export * from "./types/workload.ts";
export {
  addressProblems,
  addressWarnings,
  endpointAddressProblems,
  familyOfSloppy,
  parseAddressSloppy,
  prefixProblems,
  prefixWarnings,
} from "./validation/addresses.ts";
export { approvalAnnotation, isProtectedGroup } from "./validation/custom-resource-definition.ts";
export {
  endpointSliceLimits,
  validateEndpointSlice,
  validateEndpointSliceUpdate,
  validateEndpoints,
  validateEndpointsUpdate,
} from "./validation/endpoints.ts";
export {
  duplicate,
  type FieldError,
  type FieldErrorType,
  fieldErrorBody,
  fieldErrorCause,
  fieldNotFound,
  forbidden,
  formatFieldError,
  formatFieldErrors,
  invalid,
  notSupported,
  required,
  tooLong,
  tooMany,
} from "./validation/field-error.ts";
export {
  dns1035LabelProblems,
  dnsLabelProblems,
  dnsSubdomainProblems,
  labelValueProblems,
  portNameProblems,
  portNumberProblems,
  qualifiedNameProblems,
} from "./validation/names.ts";
export {
  type NameRule,
  type ObjectMetaRules,
  validateObjectMeta,
  validateObjectMetaUpdate,
} from "./validation/object-meta.ts";
export { quantityValue, validatePod, validatePodStatusUpdate, validatePodUpdate } from "./validation/pod.ts";
export {
  type ValidationGates,
  validateService,
  validateServiceClusterIPFields,
  validateServiceStatusUpdate,
  validateServiceUpdate,
} from "./validation/service.ts";
export { objectWarnings, type ValidationContext, validateObject } from "./validation/validation.ts";
