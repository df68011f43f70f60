/**
 * The load-balancer provider contract and the service controller that drives it.
 *
 * A provider plans purely and acts idempotently; the controller gives it Services of `type: LoadBalancer`, keeps their finalizer,
 * status, conditions and events, and never leaves one pending without a reason.
 *
 * @packageDocumentation
 */
export {
  type AnnotationRegistry,
  type AnnotationRow,
  type AnnotationType,
  allowAddressChangeAnnotation,
  annotationRow,
  checkAnnotations,
  readBoolean,
  readList,
  readMap,
} from "./annotations.ts";
export { type CallContextOptions, createCallContext, createLockTable, type LockTable } from "./call-context.ts";
export {
  type ClassicLoadBalancer,
  type ClassicModel,
  type ClassicOptions,
  fromClassic,
} from "./classic-provider.ts";
export { findingsOf } from "./findings.ts";
export type { FlowPolicy, FlowPort, HashField, HealthCheck } from "./flow-policy.ts";
export { type CollectedOrphan, collectOrphans, findOrphans, type Orphan } from "./orphans.ts";
export { type Pace, type PacedPortOptions, pacedPort } from "./paced-port.ts";
export {
  type ApplyOutcome,
  type CallContext,
  type Capabilities,
  type Change,
  type Claim,
  type Diagnostic,
  type Disruption,
  defaultLoadBalancerName,
  isExcludedFromLoadBalancers,
  isLoadBalancerTarget,
  type LoadBalancerProvider,
  type NodeReference,
  nodeReference,
  type OwnedResource,
  type Plan,
  type PlanInput,
  ProviderError,
  type ProviderErrorCode,
  type ServiceKey,
} from "./provider.ts";
export { type Requeue, requeueAfterFailure } from "./requeue.ts";
export {
  createServiceController,
  type ServiceController,
  type ServiceControllerOptions,
} from "./service-controller.ts";
export {
  cleanupFinalizer,
  loadBalancerStatusEqual,
  needsCleanup,
  needsUpdate,
  nodeChangeTriggersSync,
  type ReconcileDecision,
  reconcileDecision,
  sourceRangesAnnotation,
  sourceRangesOf,
} from "./service-rules.ts";
