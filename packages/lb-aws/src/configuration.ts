/** What holds for all Services of a cluster. Names are those of the controller's flags where it has one. */
export interface AwsConfiguration {
  readonly clusterName: string;
  /** VPC of the cluster. Default: that of the first subnet. */
  readonly vpcId?: string;
  readonly region?: string;
  /** Semantics for Services without annotation `type`. Default `modern`. */
  readonly mode?: "modern" | "ccm";
  /** `spec.loadBalancerClass` that it answers to. Default `service.k8s.aws/nlb`. */
  readonly loadBalancerClass?: string;
  /** Default `internal`. */
  readonly defaultScheme?: Scheme;
  /** Default `instance`. */
  readonly defaultTargetType?: TargetType;
  /** Default `ELBSecurityPolicy-2016-08`. */
  readonly defaultSSLPolicy?: string;
  /** Whether pods may be targets. Default true. */
  readonly enableIPTargetType?: boolean;
  /** Whether load balancers get security groups. Default true. */
  readonly securityGroups?: boolean;
  /** Whether rules of nodes refer to one security group that all load balancers of the cluster share. Default true. */
  readonly enableBackendSecurityGroup?: boolean;
  /** Id of that group. Default: one of its own is made. */
  readonly backendSecurityGroup?: string;
  /** Default false. */
  readonly enableManageBackendSecurityGroupRules?: boolean;
  /** Opens all ports of a protocol to the shared group instead of one after the other. Default false. */
  readonly disableRestrictedSecurityGroupRules?: boolean;
  /** Default false. */
  readonly enableTcpUdpListener?: boolean;
  /** Tags of all objects. */
  readonly defaultTags?: Readonly<Record<string, string>>;
  /** Lets annotations override `defaultTags`. Default false. */
  readonly defaultTagsLowPriority?: boolean;
  /** Keys of tags that others manage, which annotations must not set. */
  readonly externalManagedTags?: readonly string[];
  /** Whether subnets that carry only other clusters' tags are passed over. Default true. */
  readonly clusterTagCheck?: boolean;
  /** Whether routes tell the subnets where no role tag does. Default true. */
  readonly discoveryByReachability?: boolean;
  /** In-tree modes: health checks of Services with policy Cluster ask kube-proxy's port. Default false. */
  readonly sharedHealthProbe?: boolean;
  readonly sharedHealthProbePort?: number;
  readonly sharedHealthProbePath?: string;
  /** In-tree mode classic: a group for all load balancers, never changed. */
  readonly classicSecurityGroup?: string;
}

/** Who reaches a load balancer. */
export type Scheme = "internal" | "internet-facing";

/** What a target group forwards to. */
export type TargetType = "instance" | "ip";

/** Address families of a load balancer. */
export type IPAddressType = "ipv4" | "dualstack";

/** Protocols of listeners and target groups. */
export type ListenerProtocol = "TCP" | "UDP" | "TLS" | "TCP_UDP" | "QUIC" | "TCP_QUIC";
