/** Behaviours that a project or cluster has to be ready for; each is off in Google's controllers until someone turns it on. */
export interface GcpFeatures {
  /** A second firewall rule denies what the first does not allow; then allow rules have priority 999. */
  readonly denyFirewall?: boolean;
  /** Rules of an external load balancer list up to five ports instead of the range from the least to the greatest. */
  readonly discretePorts?: boolean;
  /** `networking.gke.io/weighted-load-balancing` has an effect. */
  readonly weightedLoadBalancing?: boolean;
  /** `networking.gke.io/l4-strong-session-affinity` is allowed in this project. */
  readonly strongSessionAffinity?: boolean;
  /** TCP and UDP ports may be mixed; then the rule forwards every protocol and the firewall sorts them. */
  readonly mixedProtocol?: boolean;
  /** External load balancers are made with backend services unless a Service asks for a target pool. */
  readonly backendServiceDefault?: boolean;
  /** Internal load balancers are made with endpoint groups of a subset of the nodes. */
  readonly subsetting?: boolean;
}

/** What the rules have to know about a cluster and the project that it lives in. */
export interface GcpConfiguration {
  readonly project: string;
  readonly region: string;
  /** UID of the namespace `kube-system`: names and ownership marks tell clusters apart by it. */
  readonly kubeSystemUID: string;
  /** Name of the cluster in objects of the in-tree controller: `k8s-ig--CLUSTERID`. */
  readonly clusterId: string;
  readonly network: string;
  readonly subnetwork: string;
  /** Project of the network where it is shared. Default: `project`. */
  readonly networkProject?: string;
  /** Network tags of the nodes, which firewall rules are aimed at. */
  readonly nodeTags: readonly string[];
  readonly features?: GcpFeatures;
}
