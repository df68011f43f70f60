/** What the provider has to know about the cluster and its subscription. */
export interface AzureConfiguration {
  readonly clusterName: string;
  readonly resourceGroup: string;
  readonly location: string;
  readonly vnetName: string;
  readonly subnetName: string;
  /** Default: that of {@link resourceGroup}. */
  readonly vnetResourceGroup?: string;
  /** Default `standard`. Azure has retired Basic; it is known for what exists. */
  readonly loadBalancerSKU?: "standard" | "basic" | string;
  /** Name of the load balancers instead of the cluster's. */
  readonly loadBalancerName?: string;
  readonly securityGroupName?: string;
  /** Keeps nodes from using the frontends for connections of their own. */
  readonly disableOutboundSNAT?: boolean;
  /** `Shared`: one probe of kube-proxy for all Services with policy Cluster. Default: a probe per port. */
  readonly clusterServiceLoadBalancerHealthProbeMode?: "ServiceNodePort" | "Shared" | string;
  readonly clusterServiceSharedLoadBalancerHealthProbePort?: number;
  readonly clusterServiceSharedLoadBalancerHealthProbePath?: string;
}

/** Whether the load balancers are of the Standard SKU. */
export function isStandard(configuration: Pick<AzureConfiguration, "loadBalancerSKU">): boolean {
  return (configuration.loadBalancerSKU ?? "standard").toLowerCase() !== "basic";
}
