/**
 * Rules of load balancers on Google Cloud, each usable alone: who owns a Service, what its objects are called, which ports,
 * ranges, checks and addresses they have, and the whole model of a Service. Pure, no I/O.
 *
 * @packageDocumentation
 */
export {
  type AddressChoice,
  addressToUse,
  type ExistingAddress,
  isUserOwned,
  type NamedAddresses,
  namedAddresses,
  type ReservedAddress,
} from "./address.ts";
export { annotationKeys, gcpAnnotations, loadBalancerClasses } from "./annotations.ts";
export {
  type BackendService,
  localityPolicy,
  type Scheme,
  type SessionAffinity,
  strongAffinityOf,
} from "./backend-service.ts";
export type { GcpConfiguration, GcpFeatures } from "./configuration.ts";
export { type Firewall, type FirewallPorts, type TrafficFirewallInput, trafficFirewall } from "./firewall.ts";
export { type ComparableRule, rulesEqual, targetPoolRule } from "./forwarding-rule.ts";
export {
  type ComparableHealthCheck,
  type HealthCheckTarget,
  type HealthCheckTimes,
  healthCheckNeedsUpdate,
  mergeTimes,
  passthroughTimes,
} from "./health-check.ts";
export { describe as describeOwner, type Mark } from "./mark.ts";
export {
  type ForwardingRule,
  type GcpModel,
  type HealthCheck,
  type ModelFirewall,
  type ModelInput,
  modelOf,
  type TargetPool,
  type Variant,
  variantOf,
} from "./model.ts";
export { clusterHash, inTreeNames, type NameParts, type PassthroughNames, passthroughNames } from "./names.ts";
export { checkTierOfFamilies, type NetworkTier, networkTier, strictNetworkTier } from "./network-tier.ts";
export type { NodeGroup } from "./node-groups.ts";
export {
  asksForBackendService,
  type ExistingRule,
  gkeFinalizers,
  ownsInstanceGroups,
  ownsTargetPool,
  removesInstanceGroups,
  wantsExternalPassthrough,
  wantsInternal,
} from "./ownership.ts";
export {
  type GcpDesired,
  type GcpObserved,
  type GcpPlanInput,
  type ObservedResource,
  planOf,
  withAddresses,
} from "./plan.ts";
export {
  backendProtocol,
  checkProtocols,
  externalRulePorts,
  internalRulePorts,
  type PortLike,
  portRange,
  portRanges,
  type RulePorts,
  ruleProtocol,
} from "./ports.ts";
export { type Removal, removalOf } from "./removal-order.ts";
export { type Body, collectionPath, type Place, type Resource, type ResourceKind } from "./resources.ts";
export { sourceRangesOfFamily } from "./source-ranges.ts";
