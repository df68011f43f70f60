import { createHash } from "node:crypto";
import { defaultLoadBalancerName, type ServiceKey } from "@portolan/lb";

const plain = (text: string): string => text.replace(/[^0-9A-Za-z]/g, "").slice(0, 8);

/** `k8s-namespace-name-hash`, 8, 8 and 10 characters of each. */
function nameOf(key: Pick<ServiceKey, "namespace" | "name">, algorithm: "sha1" | "sha256", hashed: string): string {
  const hash = createHash(algorithm).update(hashed).digest("hex").slice(0, 10);
  return `k8s-${plain(key.namespace)}-${plain(key.name)}-${hash}`;
}

/** Name of a Network Load Balancer. The scheme is in the hash, so that the successor of a load balancer has another name. */
export function loadBalancerName(cluster: string, key: ServiceKey, scheme: string): string {
  return nameOf(key, "sha256", cluster + key.uid + scheme);
}

/** What distinguishes two target groups of a Service. */
export interface TargetGroupIdentity {
  /** Number of the target port; 1 where pods have a named one. */
  readonly port: number;
  readonly servicePort: number;
  readonly targetType: string;
  readonly protocol: string;
  readonly healthCheckProtocol: string;
  readonly healthCheckInterval: number;
}

/** Name of a target group. What cannot be changed in place is in the hash. */
export function targetGroupName(cluster: string, key: ServiceKey, identity: TargetGroupIdentity): string {
  const { port, servicePort, targetType, protocol, healthCheckProtocol, healthCheckInterval } = identity;
  const hashed = [cluster, key.uid, port, servicePort, targetType, protocol, healthCheckProtocol, healthCheckInterval];
  return nameOf(key, "sha256", hashed.join(""));
}

/** Name of the security group that a load balancer of a Service gets; the in-tree provider's Network Load Balancers too. */
export function managedSecurityGroupName(cluster: string, key: ServiceKey): string {
  return nameOf(key, "sha256", cluster + key.name + key.namespace + key.uid);
}

/** Name of a target group of the in-tree provider, which knows neither the UID nor the target port. */
export function inTreeTargetGroupName(
  cluster: string,
  key: Pick<ServiceKey, "namespace" | "name">,
  identity: TargetGroupIdentity,
): string {
  const { port, servicePort, targetType, protocol, healthCheckProtocol, healthCheckInterval } = identity;
  const hashed = [
    cluster,
    key.namespace,
    key.name,
    servicePort,
    port,
    protocol,
    targetType,
    healthCheckProtocol,
    healthCheckInterval,
  ];
  return nameOf(key, "sha1", hashed.join(""));
}

/** Name of the security group of a classic load balancer. */
export function classicSecurityGroupName(uid: string): string {
  return `k8s-elb-${defaultLoadBalancerName(uid)}`;
}
