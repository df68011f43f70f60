import type { Service, ServicePort } from "@portolan/core";
import { ProviderError, type ServiceKey } from "@portolan/lb";
import { annotationOf, annotationPrefix, flagOf } from "./annotations.ts";
import type { AwsConfiguration, IPAddressType, ListenerProtocol, Scheme, TargetType } from "./configuration.ts";
import { type TargetHealthCheck, targetHealthCheck } from "./health-check.ts";
import { alpnPolicy, certificates, listenerAttributes, listenerPorts } from "./listeners.ts";
import {
  inboundRulesOnPrivateLink,
  ipAddressTypeOf,
  ipv6SourceNat,
  loadBalancerAttributes,
  minimumCapacity,
  nameOfLoadBalancer,
  resourceTags,
  schemeOf,
} from "./load-balancer.ts";
import { managedSecurityGroupName, targetGroupName } from "./names.ts";
import {
  addressIngress,
  groupIngress,
  type IngressRule,
  managedGroupRules,
  type SecurityGroupChoice,
  securityGroupsOf,
  type TargetIngress,
} from "./security-groups.ts";
import { type Subnet, type SubnetMapping, subnetMappings } from "./subnets.ts";
import {
  alwaysPreservesClientIP,
  preservesClientIP,
  targetGroupAttributes,
  targetGroupIPAddressType,
  targetGroupPort,
  targetNodeLabels,
  targetTypeOf,
} from "./target-group.ts";

/** The load balancer itself. */
export interface LoadBalancerModel {
  readonly name: string;
  readonly scheme: Scheme;
  readonly ipAddressType: IPAddressType;
  readonly subnetMappings: readonly SubnetMapping[];
  /** Ids, and the placeholder of the group that is made for the Service. */
  readonly securityGroups: readonly string[];
  readonly inboundRulesOnPrivateLink?: "on" | "off";
  readonly enablePrefixForIpv6SourceNat: "on" | "off";
  readonly attributes: Readonly<Record<string, string>>;
  readonly minimumCapacity?: { readonly capacityUnits: number };
}

/** A listener, which forwards to one target group. */
export interface ListenerModel {
  readonly port: number;
  readonly protocol: ListenerProtocol;
  /** Id of the target group in the model. */
  readonly targetGroup: string;
  readonly certificates: readonly string[];
  readonly sslPolicy?: string;
  readonly alpnPolicy?: readonly string[];
  readonly attributes: Readonly<Record<string, string>>;
}

/** A target group and what its targets are. */
export interface TargetGroupModel {
  /** `namespace/name:port` of the Service. */
  readonly id: string;
  readonly name: string;
  readonly servicePort: ServicePort;
  readonly targetType: TargetType;
  readonly ipAddressType: "ipv4" | "ipv6";
  readonly port: number;
  readonly protocol: ListenerProtocol;
  readonly attributes: Readonly<Record<string, string>>;
  readonly healthCheck: TargetHealthCheck;
  readonly preservesClientIP: boolean;
  /** Traffic that targets have to let in; empty where others see to that. */
  readonly ingress: readonly TargetIngress[];
  /** Labels that nodes must have to be targets. */
  readonly nodeLabels?: Readonly<Record<string, string>>;
  /** Whether other clusters register targets in it too. */
  readonly isMultiCluster: boolean;
}

/** The security group that is made for a Service. */
export interface ManagedSecurityGroupModel {
  readonly name: string;
  readonly description: string;
  readonly ingress: readonly IngressRule[];
}

/** All objects that a Service should have. */
export interface NetworkModel {
  readonly key: ServiceKey;
  readonly loadBalancer: LoadBalancerModel;
  readonly listeners: readonly ListenerModel[];
  readonly targetGroups: readonly TargetGroupModel[];
  readonly managedSecurityGroup?: ManagedSecurityGroupModel;
  /** Tags of all objects, beside those that mark the owner. */
  readonly tags: Readonly<Record<string, string>>;
}

/** The load balancer that a Service has already. */
export interface ExistingLoadBalancer {
  readonly scheme: Scheme;
  readonly subnetIds: readonly string[];
  readonly securityGroups: readonly string[];
}

/** Input of {@link networkModel}. */
export interface NetworkModelInput {
  readonly service: Service;
  readonly key: ServiceKey;
  readonly configuration: AwsConfiguration;
  readonly existing?: ExistingLoadBalancer;
  /** Subnets of the load balancer. May throw. */
  subnetsFor(loadBalancer: { readonly scheme: Scheme; readonly ipAddressType: IPAddressType }): readonly Subnet[];
  /** Ids of security groups that are named by id or by tag Name; those that are not found are left out. */
  resolveSecurityGroups(names: readonly string[]): readonly string[];
  readonly vpcCidrs: { readonly ipv4: readonly string[]; readonly ipv6: readonly string[] };
}

const managedGroupDescription = "[k8s] Managed SecurityGroup for LoadBalancer";

function targetIngress(
  input: NetworkModelInput,
  groups: SecurityGroupChoice,
  group: Omit<TargetGroupModel, "ingress">,
  loadBalancer: { readonly scheme: Scheme; readonly subnets: readonly Subnet[] },
): TargetIngress[] {
  const { servicePort, healthCheck, protocol, targetType } = group;
  const port = targetType === "instance" ? (servicePort.nodePort ?? 0) : (servicePort.targetPort ?? servicePort.port);
  if (groups.groups.length > 0) {
    if (groups.backend === undefined) return [];
    const wholeProtocols = input.configuration.disableRestrictedSecurityGroupRules ?? false;
    return groupIngress(groups.backend, { port, protocol, healthCheck }, wholeProtocols);
  }
  return addressIngress({
    service: input.service,
    port,
    protocol,
    healthCheck,
    scheme: loadBalancer.scheme,
    ipAddressType: group.ipAddressType,
    preservesClientIP: group.preservesClientIP,
    subnets: loadBalancer.subnets,
    vpcCidrs: input.vpcCidrs[group.ipAddressType],
  });
}

/** What a model of ports is made from. */
export type PortModelInput = Pick<NetworkModelInput, "service" | "key" | "configuration">;

/** Listeners and target groups of a Service, which do not depend on where its load balancer stands. Pure. */
export function portModels({ service, key, configuration }: PortModelInput): {
  listener: ListenerModel;
  group: Omit<TargetGroupModel, "ingress">;
}[] {
  if (annotationOf(service, "extra-security-groups") !== undefined) {
    const message = `annotation ${annotationPrefix}extra-security-groups is for classic load balancers; use security-groups`;
    throw new ProviderError("UserConfig", message);
  }
  if ((service.spec?.ports ?? []).length === 0) throw new ProviderError("UserConfig", "the Service has no ports");
  const ipAddressType = ipAddressTypeOf(service);
  const isMultiCluster = flagOf(service, "multi-cluster-target-group") ?? false;
  return listenerPorts(service, configuration).map(({ port, protocol, targetProtocol }) => {
    const targetType = targetTypeOf(service, port, configuration);
    const healthCheck = targetHealthCheck(service, targetType);
    const attributes = targetGroupAttributes(service, port.port, targetProtocol);
    const labels = targetNodeLabels(service, targetType);
    const group: Omit<TargetGroupModel, "ingress"> = {
      id: `${key.namespace}/${key.name}:${port.port}`,
      name: targetGroupName(configuration.clusterName, key, {
        port: targetGroupPort(targetType, port),
        servicePort: port.port,
        targetType,
        protocol: targetProtocol,
        healthCheckProtocol: healthCheck.protocol,
        healthCheckInterval: healthCheck.intervalSeconds,
      }),
      servicePort: port,
      targetType,
      ipAddressType: targetGroupIPAddressType(service, ipAddressType),
      port: targetGroupPort(targetType, port),
      protocol: targetProtocol,
      attributes,
      healthCheck,
      preservesClientIP: alwaysPreservesClientIP(targetProtocol) || preservesClientIP(targetType, attributes),
      ...(labels === undefined ? {} : { nodeLabels: labels }),
      isMultiCluster,
    };
    const alpn = alpnPolicy(service, protocol);
    const listener: ListenerModel = {
      port: port.port,
      protocol,
      targetGroup: group.id,
      certificates: protocol === "TLS" ? certificates(service) : [],
      ...(protocol === "TLS"
        ? {
            sslPolicy:
              annotationOf(service, "ssl-negotiation-policy") ??
              configuration.defaultSSLPolicy ??
              "ELBSecurityPolicy-2016-08",
          }
        : {}),
      ...(alpn === undefined ? {} : { alpnPolicy: alpn }),
      attributes: listenerAttributes(service, protocol, port.port),
    };
    return { group, listener };
  });
}

/**
 * What a Service should have at AWS, in the semantics of the AWS Load Balancer Controller. Pure.
 *
 * @throws ProviderError UserConfig if the Service, its annotations or the subnets do not allow it
 */
export function networkModel(input: NetworkModelInput): NetworkModel {
  const { service, key, configuration, existing } = input;
  const scheme = schemeOf(service, configuration, existing?.scheme);
  const ipAddressType = ipAddressTypeOf(service);
  const tags = resourceTags(service, configuration);
  const resolved = portModels(input);
  const attributes = loadBalancerAttributes(service);
  const capacity = minimumCapacity(service);
  const privateLink = inboundRulesOnPrivateLink(service);
  const groups = securityGroupsOf(service, configuration, existing?.securityGroups, input.resolveSecurityGroups);
  const managed = groups.managed
    ? {
        name: managedSecurityGroupName(configuration.clusterName, key),
        description: managedGroupDescription,
        ingress: managedGroupRules(service, ipAddressType),
      }
    : undefined;
  const name = nameOfLoadBalancer(service, configuration.clusterName, key, scheme);
  const subnets = input.subnetsFor({ scheme, ipAddressType });
  const enablePrefixForIpv6SourceNat = ipv6SourceNat(service, ipAddressType, subnets);
  const loadBalancer: LoadBalancerModel = {
    name,
    scheme,
    ipAddressType,
    subnetMappings: subnetMappings(service, subnets, { scheme, ipAddressType, enablePrefixForIpv6SourceNat }),
    securityGroups: groups.groups,
    ...(privateLink === undefined ? {} : { inboundRulesOnPrivateLink: privateLink }),
    enablePrefixForIpv6SourceNat,
    attributes,
    ...(capacity === undefined ? {} : { minimumCapacity: capacity }),
  };
  return {
    key,
    loadBalancer,
    listeners: resolved.map(({ listener }) => listener),
    targetGroups: resolved.map(({ group }) => ({
      ...group,
      ingress: targetIngress(input, groups, group, { scheme, subnets }),
    })),
    ...(managed === undefined ? {} : { managedSecurityGroup: managed }),
    tags,
  };
}
