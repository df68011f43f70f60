/**
 * The load-balancer provider contract and the service controller that drives it.
 *
 * A provider plans purely and acts idempotently; the controller gives it Services of `type: LoadBalancer`, keeps their finalizer,
 * status, conditions and events, and never leaves one pending without a reason.
 *
 * @packageDocumentation
 */
export {
  type ApplyOutcome,
  type CallContext,
  type Capabilities,
  type Change,
  type Claim,
  type Diagnostic,
  type Disruption,
  defaultLoadBalancerName,
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
export {
  cleanupFinalizer,
  createServiceController,
  type ServiceController,
  type ServiceControllerOptions,
} from "./service-controller.ts";
