import type { Condition, KubernetesObject, ObjectMeta, StringMap } from "./meta.ts";

/** Transport protocols of Service ports. */
export type Protocol = "TCP" | "UDP" | "SCTP";

/** A port number or the name of a container port. */
export type IntOrString = number | string;

/** `spec.ports[]` of a Service. */
export interface ServicePort {
  name?: string;
  protocol?: Protocol;
  appProtocol?: string;
  port: number;
  targetPort?: IntOrString;
  nodePort?: number;
}

/** Service types. */
export type ServiceType = "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName";

/** `spec` of a Service. */
export interface ServiceSpec {
  ports?: ServicePort[];
  selector?: StringMap;
  clusterIP?: string;
  clusterIPs?: string[];
  type?: ServiceType;
  externalIPs?: string[];
  sessionAffinity?: "None" | "ClientIP";
  sessionAffinityConfig?: { clientIP?: { timeoutSeconds?: number } };
  loadBalancerIP?: string;
  loadBalancerSourceRanges?: string[];
  loadBalancerClass?: string;
  allocateLoadBalancerNodePorts?: boolean;
  externalName?: string;
  externalTrafficPolicy?: "Cluster" | "Local";
  internalTrafficPolicy?: "Cluster" | "Local";
  healthCheckNodePort?: number;
  publishNotReadyAddresses?: boolean;
  ipFamilies?: ("IPv4" | "IPv6")[];
  ipFamilyPolicy?: "SingleStack" | "PreferDualStack" | "RequireDualStack";
  trafficDistribution?: string;
}

/** One entry of `status.loadBalancer.ingress`. */
export interface LoadBalancerIngress {
  ip?: string;
  hostname?: string;
  ipMode?: "VIP" | "Proxy";
  ports?: { port: number; protocol: Protocol; error?: string }[];
}

/** `status` of a Service. */
export interface ServiceStatus {
  loadBalancer?: { ingress?: LoadBalancerIngress[] };
  conditions?: Condition[];
}

/** A Service (`v1`). */
export interface Service extends KubernetesObject {
  metadata: ObjectMeta;
  spec?: ServiceSpec;
  status?: ServiceStatus;
}

/** Reference to another object. */
export interface ObjectReference {
  kind?: string;
  namespace?: string;
  name?: string;
  uid?: string;
  apiVersion?: string;
  resourceVersion?: string;
  fieldPath?: string;
}

/** One address of an Endpoints subset. */
export interface EndpointAddress {
  ip: string;
  hostname?: string;
  nodeName?: string;
  targetRef?: ObjectReference;
}

/** One port of an Endpoints subset. */
export interface EndpointsPort {
  name?: string;
  port: number;
  protocol?: Protocol;
  appProtocol?: string;
}

/** Addresses that share ports. */
export interface EndpointSubset {
  addresses?: EndpointAddress[];
  notReadyAddresses?: EndpointAddress[];
  ports?: EndpointsPort[];
}

/** Endpoints (`v1`, deprecated since 1.33). */
export interface Endpoints extends KubernetesObject {
  metadata: ObjectMeta;
  subsets?: EndpointSubset[];
}

/** Address families of a slice. */
export type AddressType = "IPv4" | "IPv6" | "FQDN";

/** Conditions of one endpoint. Absent `ready` and `serving` mean true, absent `terminating` means false. */
export interface EndpointConditions {
  ready?: boolean;
  serving?: boolean;
  terminating?: boolean;
}

/** Topology hints of one endpoint. */
export interface EndpointHints {
  forZones?: { name: string }[];
  forNodes?: { name: string }[];
}

/** One endpoint of a slice. */
export interface Endpoint {
  addresses: string[];
  conditions?: EndpointConditions;
  hostname?: string;
  nodeName?: string;
  zone?: string;
  targetRef?: ObjectReference;
  hints?: EndpointHints;
  deprecatedTopology?: StringMap;
}

/** One port of a slice; a null or absent number means every port. */
export interface EndpointPort {
  name?: string | null;
  protocol?: Protocol | null;
  port?: number | null;
  appProtocol?: string | null;
}

/** EndpointSlice (`discovery.k8s.io/v1`). Servers answer `null` for empty lists. */
export interface EndpointSlice extends KubernetesObject {
  metadata: ObjectMeta;
  addressType: AddressType;
  endpoints: Endpoint[] | null;
  ports?: EndpointPort[] | null;
}

/** ServiceCIDR (`networking.k8s.io/v1`). */
export interface ServiceCIDR extends KubernetesObject {
  metadata: ObjectMeta;
  spec?: { cidrs?: string[] };
  status?: { conditions?: Condition[] };
}

/** IPAddress (`networking.k8s.io/v1`); its name is the canonical address. */
export interface IPAddressObject extends KubernetesObject {
  metadata: ObjectMeta;
  spec?: { parentRef?: { group?: string; resource?: string; namespace?: string; name?: string } };
}
