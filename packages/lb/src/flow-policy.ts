/** How a load balancer asks a node whether it wants traffic. */
export interface HealthCheck {
  readonly protocol: "TCP" | "HTTP" | "HTTPS";
  /** `traffic-port` is the port that the traffic itself goes to. */
  readonly port: number | "traffic-port";
  /** Request path of HTTP and HTTPS. */
  readonly path?: string;
  readonly intervalSeconds: number;
  readonly timeoutSeconds: number;
  /** Successes in a row until a node counts as healthy. */
  readonly healthyThreshold: number;
  /** Failures in a row until a node counts as unhealthy. */
  readonly unhealthyThreshold: number;
}

/** One port of a load balancer. */
export interface FlowPort {
  readonly name?: string;
  readonly protocol: "TCP" | "UDP" | "SCTP";
  readonly port: number;
  /** Port of the node that packets go to: the node port, or the Service port where the destination is kept. */
  readonly targetPort: number;
  readonly healthCheck: HealthCheck;
}

/** A part of a packet's five-tuple that takes part in the choice of a target. */
export type HashField = "source-address" | "source-port" | "destination-address" | "destination-port" | "protocol";

/**
 * What a cloud's load balancer does to packets, free of that cloud's words: enough for a dataplane to behave like it. A
 * provider derives it from a Service (and its annotations), so that they can be felt without an account.
 */
export interface FlowPolicy {
  /** Whether clients outside the cloud's network reach it. */
  readonly scheme: "internal" | "external";
  /** `keep`: nodes see the load balancer's address as destination (direct server return). `node`: node address and node port. */
  readonly destination: "keep" | "node";
  /** Whether nodes see the client's address as source, or one of the load balancer. */
  readonly clientAddress: "kept" | "replaced";
  readonly hash: readonly HashField[];
  /** How long a client stays with its target without traffic; undefined: as long as the flow lives. */
  readonly affinitySeconds?: number;
  /** Header before the first byte of a TCP connection. */
  readonly proxyProtocol: "none" | "v1" | "v2";
  readonly idleTimeoutSeconds: { readonly tcp: number; readonly udp: number };
  /** Whether one zone's share of the traffic goes to targets of other zones. */
  readonly crossZone: boolean;
  /** CIDRs of clients that are let in; all others are dropped. */
  readonly sourceRanges: readonly string[];
  readonly ports: readonly FlowPort[];
}
