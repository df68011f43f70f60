/**
 * The rules of the AWS provider as functions of their own: names, target groups, listeners, subnets, security groups, health
 * checks and whole models, without any call. For tools that plan, explain or check, and for tests.
 *
 * Three semantics are here. `networkModel` and what it uses follow the AWS Load Balancer Controller; `inTreeModel` follows the
 * Network Load Balancers of the in-tree cloud provider, `classicModel` its classic ones.
 *
 * @packageDocumentation
 */
export { annotationRegistry, type Mode } from "./annotations.ts";
export {
  type ClassicAttributes,
  type ClassicListener,
  type ClassicModel,
  classicAttributes,
  classicListener,
  classicModel,
  diffClassicListeners,
} from "./classic.ts";
export type { AwsConfiguration, IPAddressType, ListenerProtocol, Scheme, TargetType } from "./configuration.ts";
export {
  type ClassicHealthCheck,
  classicHealthCheck,
  healthCheckPort,
  inTreeHealthCheck,
  type TargetHealthCheck,
  targetHealthCheck,
} from "./health-check.ts";
export {
  type InTreeListener,
  type InTreeModel,
  type InTreeTargetGroup,
  inTreeModel,
  requireOneProtocol,
  validateInTreeAnnotations,
} from "./in-tree.ts";
export {
  alpnPolicy,
  listenerAttributes,
  mergesTcpAndUdp,
  requireMergeable,
  tlsPorts,
} from "./listeners.ts";
export {
  ipAddressTypeOf,
  ipv6SourceNat,
  loadBalancerAttributes,
  minimumCapacity,
  nameOfLoadBalancer,
  requireDeletable,
  resourceTags,
  schemeOf,
} from "./load-balancer.ts";
export {
  type ExistingLoadBalancer,
  type ListenerModel,
  type LoadBalancerModel,
  type ManagedSecurityGroupModel,
  type NetworkModel,
  type NetworkModelInput,
  networkModel,
  type TargetGroupModel,
} from "./model.ts";
export {
  inTreeTargetGroupName,
  managedSecurityGroupName,
  type TargetGroupIdentity,
} from "./names.ts";
export {
  isControllerService,
  isImplementedElsewhere,
  isInTreeNetworkLoadBalancer,
  isPendingFinalization,
} from "./ownership.ts";
export {
  clientRanges,
  type IngressRule,
  managedGroup,
  managedGroupRules,
  managesBackendRules,
  type TargetIngress,
} from "./security-groups.ts";
export {
  discoverSubnets,
  hasRoleTag,
  inTreeSubnetMappings,
  inTreeSubnets,
  namedSubnets,
  type Subnet,
  type SubnetDiscovery,
  type SubnetMapping,
  subnetMappings,
} from "./subnets.ts";
export {
  preservesClientIP,
  targetGroupAttributes,
  targetNodeLabels,
  targetTypeOf,
} from "./target-group.ts";
export { chunkTargets, diffTargets, inTreeTargetNodes, type Target, type TargetCall, targetCalls } from "./targets.ts";
