import type { Service } from "@portolan/core";
import { defaultLoadBalancerName } from "@portolan/lb";
import type { IPFamily } from "@portolan/net";
import { annotation, flag, keys } from "./annotations.ts";

/** Names may have 80 characters; five are kept free for the suffix of the family. */
const longest = 75;

/** Families of a Service, in its order. */
export function familiesOf(service: Service): readonly IPFamily[] {
  const families = service.spec?.ipFamilies ?? [];
  return families.length > 0 ? families : ["IPv4"];
}

/** The IPv6 objects of a dual-stack Service carry a suffix; those of a single-stack one do not, whatever its family. */
function withFamily(name: string, service: Service, family: IPFamily): string {
  return familiesOf(service).length > 1 && family === "IPv6" ? `${name}-IPv6` : name;
}

/** Cuts a name to what Azure takes; it must end with a letter, a digit or an underscore. */
function cut(name: string): string {
  const short = name.slice(0, longest);
  return /\w$/.test(short) ? short : `${short.slice(0, -1)}_`;
}

/** Prefix of the names of all parts of a Service's load balancer. */
export function servicePrefix(service: Service): string {
  return defaultLoadBalancerName(service.metadata.uid ?? "");
}

/** Whether a Service's load balancer is the internal one. */
export function isInternal(service: Service): boolean {
  return flag(service, keys.internal);
}

/** The subnet that an internal frontend stands in, if the Service names one. */
export function internalSubnet(service: Service): string | undefined {
  return isInternal(service) ? annotation(service, keys.internalSubnet) : undefined;
}

/**
 * Name of the load balancer that a Service is served by.
 *
 * @param options.vmSet the set of virtual machines behind it; only Basic load balancers are named after one
 */
export function loadBalancerName(options: {
  readonly clusterName: string;
  readonly internal: boolean;
  readonly standard: boolean;
  readonly configuredName?: string;
  readonly vmSet?: string;
  readonly primaryVmSet?: string;
}): string {
  const { vmSet = "", primaryVmSet = "" } = options;
  const own = options.standard || vmSet.toLowerCase() === primaryVmSet.toLowerCase();
  const prefix = own ? options.configuredName || options.clusterName : vmSet;
  return options.internal ? `${prefix}-internal` : prefix;
}

/** Name of the frontend IP configuration of one family. */
export function frontendName(service: Service, family: IPFamily): string {
  const subnet = internalSubnet(service);
  const base = servicePrefix(service);
  return withFamily(cut(subnet === undefined ? base : `${base}-${subnet}`), service, family);
}

/** Name of the rule of a port, and of its probe. */
export function ruleName(service: Service, protocol: string, port: number, family: IPFamily): string {
  const prefix = servicePrefix(service);
  const plain = `${prefix}-${protocol}-${port}`;
  const subnet = internalSubnet(service);
  if (subnet === undefined) return withFamily(plain, service, family);
  const segment = subnet.slice(0, Math.max(0, longest - plain.length - 1));
  return withFamily(`${prefix}-${segment}-${protocol}-${port}`, service, family);
}

/** Name of the backend pool of a family: IPv6 has one of its own, also for single-stack Services. */
export function backendPoolName(clusterName: string, family: IPFamily): string {
  return family === "IPv6" ? `${clusterName}-IPv6` : clusterName;
}

/** Name of the public IP that is made for a family, if the Service brings none. */
export function managedPublicIPName(service: Service, clusterName: string, family: IPFamily): string {
  const prefix = publicIPPrefix(service, family);
  const base = `${clusterName}-${servicePrefix(service)}`;
  const segment = prefix?.slice(prefix.lastIndexOf("/") + 1);
  return withFamily(cut(segment ? `${base}-${segment}` : base), service, family);
}

/** A value that may be given per family; a single-stack Service may use the plain key for either family. */
function perFamily(service: Service, family: IPFamily, plain: string, ipv6: string): string | undefined {
  if (family === "IPv4") return annotation(service, plain);
  const own = annotation(service, ipv6);
  return own ?? (familiesOf(service).length > 1 ? undefined : annotation(service, plain));
}

/** Resource id of the prefix that a public IP is to be taken from. */
export function publicIPPrefix(service: Service, family: IPFamily): string | undefined {
  return perFamily(service, family, keys.publicIPPrefix, keys.publicIPPrefixIPv6);
}

/** Name of the public IP that a Service brings. */
export function requestedPublicIPName(service: Service, family: IPFamily): string | undefined {
  return perFamily(service, family, keys.publicIPName, keys.publicIPNameIPv6);
}

/** Address that a Service asks for. */
export function requestedAddress(service: Service, family: IPFamily): string | undefined {
  const own = annotation(service, family === "IPv6" ? keys.addressIPv6 : keys.addressIPv4);
  if (own !== undefined) return own;
  const field = service.spec?.loadBalancerIP?.trim();
  return field && field.includes(":") === (family === "IPv6") ? field : undefined;
}
