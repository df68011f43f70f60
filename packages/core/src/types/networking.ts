import type { KubernetesObject, LabelSelector, ObjectMeta } from "./meta.ts";
import type { IntOrString, LoadBalancerIngress, ObjectReference, Protocol } from "./service.ts";

/** ServiceAccount (`v1`). */
export interface ServiceAccount extends KubernetesObject {
  metadata: ObjectMeta;
  secrets?: ObjectReference[];
  imagePullSecrets?: { name?: string }[];
  automountServiceAccountToken?: boolean;
}

/** One port, or a range of ports, of a NetworkPolicy. */
export interface NetworkPolicyPort {
  protocol?: Protocol;
  port?: IntOrString;
  endPort?: number;
}

/** Whom a NetworkPolicy rule admits: either selectors or an address block. */
export interface NetworkPolicyPeer {
  podSelector?: LabelSelector;
  namespaceSelector?: LabelSelector;
  ipBlock?: { cidr: string; except?: string[] };
}

/** NetworkPolicy (`networking.k8s.io/v1`). */
export interface NetworkPolicy extends KubernetesObject {
  metadata: ObjectMeta;
  spec?: {
    podSelector?: LabelSelector;
    ingress?: { ports?: NetworkPolicyPort[]; from?: NetworkPolicyPeer[] }[];
    egress?: { ports?: NetworkPolicyPort[]; to?: NetworkPolicyPeer[] }[];
    policyTypes?: ("Ingress" | "Egress")[];
  };
}

/** Where an Ingress sends requests. */
export interface IngressBackend {
  service?: { name: string; port?: { name?: string; number?: number } };
  resource?: { apiGroup?: string; kind: string; name: string };
}

/** Ingress (`networking.k8s.io/v1`). */
export interface Ingress extends KubernetesObject {
  metadata: ObjectMeta;
  spec?: {
    ingressClassName?: string;
    defaultBackend?: IngressBackend;
    tls?: { hosts?: string[]; secretName?: string }[];
    rules?: {
      host?: string;
      http?: {
        paths: { path?: string; pathType: "Exact" | "Prefix" | "ImplementationSpecific"; backend: IngressBackend }[];
      };
    }[];
  };
  status?: { loadBalancer?: { ingress?: LoadBalancerIngress[] } };
}

/** IngressClass (`networking.k8s.io/v1`). */
export interface IngressClass extends KubernetesObject {
  metadata: ObjectMeta;
  spec?: {
    controller?: string;
    parameters?: { apiGroup?: string; kind: string; name: string; scope?: string; namespace?: string };
  };
}

/** `spec` of the `scale` subresource and its status (`autoscaling/v1`). */
export interface Scale extends KubernetesObject {
  metadata: ObjectMeta;
  spec?: { replicas?: number };
  status?: { replicas: number; selector?: string };
}
