/**
 * The rules of Azure's load balancers behind Services, each usable alone: names, probes, rules, who gets in, whose a public IP is,
 * and what a Service needs in all. Pure; nothing here calls Azure.
 *
 * @packageDocumentation
 */
export {
  type AllowedRanges,
  aggregatePrefixes,
  allowedRanges,
  allowedServiceTags,
  allowedSources,
  allowsInternet,
  deniesAllElse,
} from "./access-control.ts";
export { flag, keys } from "./annotations.ts";
export type { AzureConfiguration } from "./configuration.ts";
export {
  type DesiredFrontend,
  type DesiredPool,
  type DesiredState,
  type DesiredStateInput,
  desiredState,
} from "./desired.ts";
export { type FrontendUsers, isFrontendInForeignUse, shouldUpdate } from "./frontend.ts";
export type { Probe } from "./health-probe.ts";
export { type LoadBalancingRule, rulesAndProbes } from "./load-balancing-rules.ts";
export {
  backendPoolName,
  familiesOf,
  frontendName,
  internalSubnet,
  isInternal,
  loadBalancerName,
  managedPublicIPName,
  ruleName,
  servicePrefix,
} from "./names.ts";
export { chooseLoadBalancer, type ExistingLoadBalancer } from "./placement.ts";
export {
  type PublicIP,
  type PublicIPFacts,
  publicIPName,
  publicIPOwnership,
  publicIPResourceGroup,
  publicIPTags,
  serviceTag,
  tagMap,
} from "./public-ip.ts";
export {
  type AddressesByFamily,
  allowRuleName,
  reconcileSecurityRules,
  type SecurityRule,
  wantedRules,
} from "./security-group.ts";
