import type { IPFamily } from "@portolan/net";

/** A reference to another resource. */
export interface ResourceReference {
  readonly id: string;
}

/** A named part of a resource. Members that are not known here are kept as they are. */
export interface SubResource<Properties> {
  readonly name: string;
  readonly id?: string;
  readonly properties: Properties;
}

/** A resource of Azure Resource Manager. Members that are not known here are kept as they are. */
export interface Resource<Properties> {
  readonly name: string;
  readonly id?: string;
  /** Version that a write replaces: it fails with `Concurrency` if there is another, or, without one, if there is any. */
  readonly etag?: string;
  readonly location?: string;
  readonly sku?: { readonly name: string };
  readonly tags?: Readonly<Record<string, string>>;
  readonly properties: Properties;
}

/** Properties of a frontend. */
export interface FrontendProperties {
  readonly publicIPAddress?: ResourceReference;
  readonly subnet?: ResourceReference;
  readonly privateIPAddress?: string;
  readonly privateIPAllocationMethod?: "Static" | "Dynamic";
  readonly privateIPAddressVersion?: IPFamily;
}

/** Properties of a backend pool: nodes by address. */
export interface BackendPoolProperties {
  readonly loadBalancerBackendAddresses?: readonly {
    readonly name: string;
    readonly properties: { readonly ipAddress: string; readonly virtualNetwork?: ResourceReference };
  }[];
}

/** Properties of a rule. */
export interface RuleProperties {
  readonly protocol: string;
  readonly frontendPort: number;
  readonly backendPort: number;
  readonly enableFloatingIP: boolean;
  readonly disableOutboundSnat: boolean;
  readonly idleTimeoutInMinutes: number;
  readonly loadDistribution: string;
  readonly enableTcpReset?: boolean;
  readonly frontendIPConfiguration: ResourceReference;
  readonly backendAddressPool: ResourceReference;
  readonly probe?: ResourceReference;
}

/** Properties of a probe. */
export interface ProbeProperties {
  readonly protocol: string;
  readonly port: number;
  readonly intervalInSeconds: number;
  readonly probeThreshold: number;
  readonly requestPath?: string;
}

/** A load balancer: all its parts in one document, written as a whole. */
export type LoadBalancerResource = Resource<{
  readonly frontendIPConfigurations?: readonly SubResource<FrontendProperties>[];
  readonly backendAddressPools?: readonly SubResource<BackendPoolProperties>[];
  readonly loadBalancingRules?: readonly SubResource<RuleProperties>[];
  readonly probes?: readonly SubResource<ProbeProperties>[];
  readonly outboundRules?: readonly SubResource<{ readonly frontendIPConfigurations?: readonly ResourceReference[] }>[];
  readonly inboundNatRules?: readonly SubResource<{ readonly frontendIPConfiguration?: ResourceReference }>[];
  readonly provisioningState?: string;
}>;

/** A public IP address. */
export type PublicIPResource = Resource<{
  readonly ipAddress?: string;
  readonly publicIPAllocationMethod: string;
  readonly publicIPAddressVersion: IPFamily;
  readonly dnsSettings?: { readonly domainNameLabel?: string };
  readonly ipTags?: readonly { readonly ipTagType: string; readonly tag: string }[];
  readonly publicIPPrefix?: ResourceReference;
  readonly ipConfiguration?: ResourceReference;
  readonly provisioningState?: string;
}>;

/** A network security group. */
export type SecurityGroupResource = Resource<{
  readonly securityRules?: readonly SubResource<{
    readonly access: string;
    readonly direction: string;
    readonly protocol: string;
    readonly priority: number;
    readonly sourceAddressPrefix?: string;
    readonly sourceAddressPrefixes?: readonly string[];
    readonly destinationAddressPrefix?: string;
    readonly destinationAddressPrefixes?: readonly string[];
    readonly destinationPortRange?: string;
    readonly destinationPortRanges?: readonly string[];
    readonly sourcePortRange?: string;
  }>[];
  readonly provisioningState?: string;
}>;

/**
 * The calls that the provider makes: everything it needs of Azure, in Azure's own shapes. Reads of what is not there give
 * `undefined`. Writes resolve when the resource is provisioned, and name the version that they replace in `etag`.
 *
 * All throw `ProviderError`: `Concurrency` (412, superseded), `NotReady` (still referenced or provisioning), `Throttled`, `Quota`,
 * `Auth`, `UserConfig` (refused as invalid), `Transient`.
 */
export interface AzurePort {
  listLoadBalancers(): Promise<readonly LoadBalancerResource[]>;
  getLoadBalancer(name: string): Promise<LoadBalancerResource | undefined>;
  putLoadBalancer(resource: LoadBalancerResource): Promise<LoadBalancerResource>;
  /** Succeeds if there is none. */
  deleteLoadBalancer(name: string): Promise<void>;
  listPublicIPAddresses(resourceGroup: string): Promise<readonly PublicIPResource[]>;
  putPublicIPAddress(resourceGroup: string, resource: PublicIPResource): Promise<PublicIPResource>;
  /** Succeeds if there is none. */
  deletePublicIPAddress(resourceGroup: string, name: string): Promise<void>;
  getSecurityGroup(name: string): Promise<SecurityGroupResource | undefined>;
  putSecurityGroup(resource: SecurityGroupResource): Promise<SecurityGroupResource>;
}

/** Resource ids of a subscription. Azure compares them without regard to case. */
export class ResourceIds {
  readonly subscription: string;
  readonly resourceGroup: string;

  constructor(subscription: string, resourceGroup: string) {
    this.subscription = subscription;
    this.resourceGroup = resourceGroup;
  }

  network(kind: string, name: string, resourceGroup: string = this.resourceGroup): string {
    return `/subscriptions/${this.subscription}/resourceGroups/${resourceGroup}/providers/Microsoft.Network/${kind}/${name}`;
  }
}

/** Last segment of a resource id: the resource's name. */
export function nameOfId(id: string | undefined): string {
  return id === undefined ? "" : id.slice(id.lastIndexOf("/") + 1);
}
