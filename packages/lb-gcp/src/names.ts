import { createHash } from "node:crypto";

const digits = "0123456789abcdefghijklmnopqrstuvwxyz";
const maximumLength = 63;
/** What is left of 63 characters beside `k8s2-`, the cluster's eight, the hash's eight and the dashes. */
const maximumReadable = 39;

/** First characters of a text's SHA-256, each byte modulo 36 as a digit or letter. */
export function contentHash(text: string, length: number): string {
  return [...createHash("sha256").update(text).digest().subarray(0, length)].map((byte) => digits[byte % 36]).join("");
}

/** The eight characters by which names and marks tell clusters apart. */
export function clusterHash(kubeSystemUID: string): string {
  return contentHash(kubeSystemUID, 8);
}

/**
 * Shortens texts to a total length, the longer ones by more: each in proportion to its own length, and what rounding leaves over
 * goes to the first ones.
 */
export function trimEvenly(maximum: number, texts: readonly string[]): string[] {
  const total = texts.reduce((sum, text) => sum + text.length, 0);
  if (total <= maximum) return [...texts];
  const lengths = texts.map(({ length }) => length - Math.floor((length * (total - maximum)) / total) - 1);
  let left = maximum - lengths.reduce((sum, length) => sum + length, 0);
  for (let index = 0; left > 0; index++, left--) lengths[index]! += 1;
  return texts.map((text, index) => text.slice(0, lengths[index]));
}

/** What names of one Service's objects are made from. */
export interface NameParts {
  readonly kubeSystemUID: string;
  readonly namespace: string;
  readonly name: string;
}

/** Names of the objects of one Service with a backend service. */
export interface PassthroughNames {
  readonly backend: string;
  readonly firewall: string;
  readonly firewallIPv6: string;
  readonly firewallDeny: string;
  readonly firewallDenyIPv6: string;
  healthCheck(shared: boolean): string;
  healthCheckFirewall(shared: boolean): string;
  healthCheckFirewallIPv6(shared: boolean): string;
  /** Rule of an internal load balancer. */
  internalRule(protocol: string): string;
  internalRuleIPv6(protocol: string): string;
  /** Numbered rule of an external load balancer. */
  externalRule(protocol: string, number: number): string;
  externalRuleIPv6(protocol: string, number: number): string;
  /** Endpoint group of nodes in another subnet than the cluster's. */
  subnetGroup(subnetwork: string): string;
}

/**
 * Names that Google's controllers give: `k8s2-CLUSTER-NAMESPACE-NAME-HASH`, at most 63 characters. With `cut: "hash"` a suffix
 * takes its room from the end of the whole name as theirs does, and long names of two Services can become one; with
 * `cut: "readable"` (the default) it takes it from the readable part, so that they cannot.
 *
 * Source: ingress-gce, `l4_namer.go`.
 */
export function passthroughNames(parts: NameParts, cut: "readable" | "hash" = "readable"): PassthroughNames {
  const { namespace, name } = parts;
  const cluster = clusterHash(parts.kubeSystemUID);
  const hash = contentHash(`${cluster};${namespace};${name}`, 8);
  const readable = (room: number): string => trimEvenly(room, [namespace, name]).join("-");
  const joined = (prefix: string, suffix: string, roomTaken: number): string => {
    const room = maximumReadable - roomTaken - (cut === "readable" ? suffix.length : 0);
    const whole = `${prefix}-${readable(room)}-${hash}`;
    return whole.slice(0, maximumLength - suffix.length) + suffix;
  };
  const prefix = `k8s2-${cluster}`;
  const withSuffix = (suffix: string): string => joined(prefix, suffix, 0);
  const deny = (suffix: string): string => `${prefix}-${readable(maximumReadable - suffix.length)}-${hash}${suffix}`;
  const rule = (protocol: string, suffix: string): string => {
    const short = protocol.toLowerCase() === "l3_default" ? "l3" : protocol.toLowerCase();
    return joined(`k8s2-${short}-${cluster}`, suffix, short.length + 1);
  };
  const sharedCheck = `${prefix}-l4-shared-hc`;
  return {
    backend: withSuffix(""),
    firewall: withSuffix(""),
    firewallIPv6: withSuffix("-ipv6"),
    firewallDeny: deny("-deny"),
    firewallDenyIPv6: deny("-deny-ipv6"),
    healthCheck: (shared) => (shared ? sharedCheck : withSuffix("")),
    healthCheckFirewall: (shared) => (shared ? `${sharedCheck}-fw` : withSuffix("-fw")),
    healthCheckFirewallIPv6: (shared) => (shared ? `${sharedCheck}-fw-ipv6` : withSuffix("-fw-ipv6")),
    internalRule: (protocol) => rule(protocol, ""),
    internalRuleIPv6: (protocol) => rule(protocol, "-ipv6"),
    externalRule: (protocol, number) => rule(protocol, `-${number.toString(36)}`),
    externalRuleIPv6: (protocol, number) => rule(protocol, `-${number.toString(36)}-ipv6`),
    subnetGroup(subnetwork) {
      const subnet = createHash("sha256").update(subnetwork).digest("hex").slice(0, 6);
      return `${prefix}-${readable(maximumReadable - subnet.length - 1)}-${subnet}-${hash}`;
    },
  };
}

/** Names of the in-tree controller's objects; `loadBalancer` is `a` and the Service's UID. */
export const inTreeNames = {
  firewall: (loadBalancer: string): string => `k8s-fw-${loadBalancer}`,
  firewallDeny: (loadBalancer: string): string => `k8s-fw-${loadBalancer}-deny`,
  healthCheck: (loadBalancer: string, clusterId: string, shared: boolean): string =>
    shared ? `k8s-${clusterId}-node` : loadBalancer,
  externalHealthCheckFirewall: (loadBalancer: string, clusterId: string, shared: boolean): string =>
    `${shared ? `k8s-${clusterId}-node` : `k8s-${loadBalancer}`}-http-hc`,
  internalHealthCheckFirewall: (loadBalancer: string, clusterId: string, shared: boolean): string =>
    `${shared ? `k8s-${clusterId}-node` : loadBalancer}-hc`,
  instanceGroup: (clusterId: string): string => (clusterId === "" ? "k8s-ig" : `k8s-ig--${clusterId}`),
  /** Backend service that all internal Services of one protocol and affinity share. */
  sharedBackend(clusterId: string, protocol: string, sessionAffinity: string): string {
    const settings = createHash("sha1").update(sessionAffinity).digest("hex").slice(0, 16);
    return `k8s-${clusterId}-internal-${protocol.toLowerCase()}-nmv1-${settings}`;
  },
} as const;
