import type { IPFamily } from "@portolan/net";

/** Transport protocols that have Service ports. */
export type TransportProtocol = "TCP" | "UDP" | "SCTP";

/** Which kind of address a frontend is: it decides which traffic policy and which filters apply. */
export type FrontendKind = "ClusterIP" | "ExternalIP" | "LoadBalancer" | "NodePort";

/** An address and port that clients dial. For `NodePort` the address is absent: it matches the node's NodePort addresses. */
export interface FrontendSpec {
  readonly kind: FrontendKind;
  /** Canonical text; absent for `NodePort`. */
  readonly address?: string;
  /** 1–65535, host order. */
  readonly port: number;
}

/** Where a Service port sends connections. Identity is `address` and `port`; a slot's id is stable while any set lists it. */
export interface BackendSpec {
  /** Canonical text. */
  readonly address: string;
  /** 1–65535, host order. */
  readonly port: number;
  /** Relative weight for wrr, wlc, sed, nq and mh; 0 takes no new connections. Default 1. */
  readonly weight?: number;
  /** True when the endpoint is on this node. */
  readonly local?: boolean;
  /** For traces: who this is, for example `default/web-7d4b9-x2x7k`. */
  readonly name?: string;
}

/** IPVS's schedulers by their kernel names, and `random`, which is what kube-proxy's iptables and nftables modes do. */
export type SchedulerName = "random" | "rr" | "wrr" | "lc" | "wlc" | "sh" | "dh" | "sed" | "nq" | "mh" | "fo" | "ovf";

/**
 * One Service port in one address family, as one node sees it: the unit that the dataplane decides on. The two endpoint sets
 * are computed when tables are built (readiness, topology hints, terminating fallback); which of them a packet uses, and
 * whether it is masqueraded, rejected or dropped, is decided per flow in the dataplane from the facts given here.
 */
export interface ServicePortSpec {
  /** Key of the entry, unique per dataplane: `namespace/service:portName/PROTOCOL/IPv4`. */
  readonly id: string;
  readonly family: IPFamily;
  readonly protocol: TransportProtocol;
  readonly frontends: readonly FrontendSpec[];
  /** Endpoints that policy `Cluster` and the short-circuits use. */
  readonly cluster: readonly BackendSpec[];
  /** Endpoints on this node that policy `Local` uses. Members that are also in `cluster` share a slot. */
  readonly local: readonly BackendSpec[];
  /** Any usable endpoint anywhere: decides REJECT (false) against DROP (true, but the set in question is empty). */
  readonly hasAny: boolean;
  readonly internalTrafficPolicy: "Cluster" | "Local";
  readonly externalTrafficPolicy: "Cluster" | "Local";
  /** ClientIP affinity in seconds, 1–86400; absent or 0 for none. */
  readonly affinitySeconds?: number;
  /** Default `random`. */
  readonly scheduler?: SchedulerName;
  /** CIDRs that may use LoadBalancer frontends; absent or empty for everyone. Only those of this family. */
  readonly sourceRanges?: readonly string[];
}

/** What a node is, for decisions that depend on where a packet comes from. */
export interface NodeSpec {
  /** Every address of the node (canonical text, both families). */
  readonly addresses: readonly string[];
  /** First address of a family in `addresses` unless given; source of masquerades towards other nodes. */
  readonly primaryIPv4?: string;
  readonly primaryIPv6?: string;
  /** Sources in these prefixes are pods (the local-traffic detector). Empty: no detector configured. */
  readonly clusterCIDRs: readonly string[];
  /** Addresses that accept NodePorts; absent means the primary address of each family (kube-proxy's nftables default). */
  readonly nodePortAddresses?: readonly string[];
  /** Unallocated addresses in here are dropped (nftables behaviour). */
  readonly serviceCIDRs?: readonly string[];
  readonly masqueradeAll?: boolean;
  /** Which kube-proxy mode to follow where they differ. Default `nftables`. */
  readonly mode?: "nftables" | "iptables" | "ipvs";
}

/**
 * Where compiled tables go: a dataplane in this thread, or a handle of one in a worker. Each call takes effect atomically:
 * a batch of frames sees the state before it or after it. Calls take effect in the order they are made.
 */
export interface ServiceTables {
  configureNode(node: NodeSpec): void;
  /** Adds the entry or replaces the one of the same id. */
  setServicePort(spec: ServicePortSpec): void;
  /** Removes the entry; unknown ids are ignored. */
  removeServicePort(id: string): void;
  /** Replaces everything at once. */
  replaceServicePorts(specs: readonly ServicePortSpec[]): void;
  /**
   * Removes UDP connections of these frontends whose backend address is not in `keep` (kube-proxy's conntrack clean-up after
   * a sync; an empty `keep` flushes nothing).
   *
   * @returns how many were removed, where that is known when the call returns
   */
  flushUdp(frontends: readonly FrontendSpec[], family: IPFamily, keep: readonly string[]): number | undefined;
}
