import type { Service, ServicePort } from "@portolan/core";
import { defaultLoadBalancerName, ProviderError, readList, type ServiceKey, sourceRangesOf } from "@portolan/lb";
import { annotationOf, badAnnotation, flagOf, integerOf, listOf } from "./annotations.ts";
import type { AwsConfiguration, Scheme } from "./configuration.ts";
import { type ClassicHealthCheck, classicHealthCheck, classicHealthCheckBase } from "./health-check.ts";
import { inTreeScheme, inTreeTags, tlsApplies, validateInTree } from "./in-tree.ts";
import { classicSecurityGroupName } from "./names.ts";
import { type IngressRule, managedGroup } from "./security-groups.ts";
import { inTreeSubnets, namedSubnets, type Subnet } from "./subnets.ts";

/** A listener of a classic load balancer. */
export interface ClassicListener {
  readonly loadBalancerPort: number;
  readonly protocol: string;
  readonly instancePort: number;
  readonly instanceProtocol: string;
  readonly sslCertificateId?: string;
}

/** Protocol towards clients that goes with one towards instances, where there is a certificate. */
const frontendProtocols: Readonly<Record<string, string>> = { https: "https", http: "https", ssl: "ssl", tcp: "ssl" };

/**
 * The classic listener of a port: with a certificate it ends TLS and the backend protocol chooses between HTTP and streams; without
 * one only backend protocol `http` has an effect.
 */
export function classicListener(service: Service, port: ServicePort): ClassicListener {
  const suffix = "backend-protocol";
  const plain = (port.protocol ?? "TCP").toLowerCase();
  const base = { loadBalancerPort: port.port, instancePort: port.nodePort ?? 0 };
  const backend = annotationOf(service, suffix) ?? "";
  const certificate = annotationOf(service, "ssl-cert") ?? "";
  if (certificate !== "" && tlsApplies(service, port)) {
    if (backend === "") return { ...base, protocol: "ssl", instanceProtocol: "tcp", sslCertificateId: certificate };
    const protocol = frontendProtocols[backend];
    if (protocol === undefined) throw badAnnotation(service, suffix, "must be https, http, ssl or tcp");
    return { ...base, protocol, instanceProtocol: backend, sslCertificateId: certificate };
  }
  const protocol = backend === "http" ? "http" : plain;
  return { ...base, protocol, instanceProtocol: protocol };
}

const sameListener = (left: ClassicListener, right: ClassicListener): boolean =>
  left.loadBalancerPort === right.loadBalancerPort &&
  left.instancePort === right.instancePort &&
  left.protocol.toLowerCase() === right.protocol.toLowerCase() &&
  left.instanceProtocol.toLowerCase() === right.instanceProtocol.toLowerCase() &&
  (left.sslCertificateId ?? "") === (right.sslCertificateId ?? "");

/**
 * Classic listeners to delete, by port, and to create; protocols compare without regard to case. A listener that differs is made
 * anew.
 */
export function diffClassicListeners(
  desired: readonly ClassicListener[],
  observed: readonly ClassicListener[],
): { delete: number[]; create: ClassicListener[] } {
  const missing = (list: readonly ClassicListener[], other: readonly ClassicListener[]): ClassicListener[] =>
    list.filter((listener) => !other.some((each) => sameListener(each, listener)));
  return {
    delete: missing(observed, desired).map((listener) => listener.loadBalancerPort),
    create: missing(desired, observed),
  };
}

/** Attributes of a classic load balancer, named as in its API. Absent members are not set. */
export interface ClassicAttributes {
  readonly accessLog: {
    readonly enabled: boolean;
    readonly emitInterval?: number;
    readonly s3BucketName?: string;
    readonly s3BucketPrefix?: string;
  };
  /** Time in seconds. */
  readonly connectionDraining: { readonly enabled: boolean; readonly timeout?: number };
  /** Time in seconds. */
  readonly connectionSettings: { readonly idleTimeout: number };
  readonly crossZoneLoadBalancing: { readonly enabled: boolean };
}

const present = <T>(name: string, value: T | undefined): Record<string, T> =>
  value === undefined || value === "" ? {} : { [name]: value };

/** Attributes of a classic load balancer, from its annotations. */
export function classicAttributes(service: Service): ClassicAttributes {
  return {
    accessLog: {
      enabled: flagOf(service, "access-log-enabled") ?? false,
      ...present("emitInterval", integerOf(service, "access-log-emit-interval")),
      ...present("s3BucketName", annotationOf(service, "access-log-s3-bucket-name")),
      ...present("s3BucketPrefix", annotationOf(service, "access-log-s3-bucket-prefix")),
    },
    connectionDraining: {
      enabled: flagOf(service, "connection-draining-enabled") ?? false,
      ...present("timeout", integerOf(service, "connection-draining-timeout")),
    },
    connectionSettings: { idleTimeout: integerOf(service, "connection-idle-timeout") ?? 60 },
    crossZoneLoadBalancing: { enabled: flagOf(service, "cross-zone-load-balancing-enabled") ?? false },
  };
}

/** What a Service alone tells about its classic load balancer. */
export interface ClassicSettings {
  readonly scheme: Scheme;
  readonly listeners: readonly ClassicListener[];
  readonly healthCheck: ClassicHealthCheck;
  readonly attributes: ClassicAttributes;
  /** Whether instances get the client's address in a PROXY header. */
  readonly proxyProtocol: boolean;
  readonly sslNegotiationPolicy?: string;
  /** CIDRs of clients. */
  readonly sourceRanges: readonly string[];
}

/** What a classic load balancer should be. */
export interface ClassicModel extends Omit<ClassicSettings, "sourceRanges"> {
  readonly name: string;
  readonly subnetIds: readonly string[];
  /** Ids, and the placeholder of the group that is made for it. */
  readonly securityGroups: readonly string[];
  readonly managedSecurityGroup?: { readonly name: string; readonly ingress: readonly IngressRule[] };
  readonly instances: readonly string[];
  readonly tags: Readonly<Record<string, string>>;
  /** Nodes let in all traffic of this group. */
  readonly nodeSource: string;
}

/** Reads a Service. @throws ProviderError UserConfig if it cannot be served by a classic load balancer */
export function classicSettings(service: Service, configuration: AwsConfiguration): ClassicSettings {
  validateInTree(service);
  const ports = (service.spec?.ports ?? []).filter((port) => port.nodePort);
  const listeners = ports.map((port) => classicListener(service, port));
  const proxy = annotationOf(service, "proxy-protocol") ?? "";
  if (proxy !== "" && proxy !== "*") throw badAnnotation(service, "proxy-protocol", 'the only value is "*"');
  const policy = annotationOf(service, "ssl-negotiation-policy");
  return {
    scheme: inTreeScheme(service),
    listeners,
    healthCheck: classicHealthCheck(
      service,
      classicHealthCheckBase(service, listeners[0]?.instancePort ?? 0, configuration),
    ),
    attributes: classicAttributes(service),
    proxyProtocol: proxy === "*",
    ...(policy === undefined ? {} : { sslNegotiationPolicy: policy }),
    sourceRanges: sourceRangesOf(service),
  };
}

/** Makes the model of a classic load balancer. @throws ProviderError UserConfig if the Service cannot be served by one */
export function classicModel(input: {
  readonly service: Service;
  readonly key: ServiceKey;
  readonly configuration: AwsConfiguration;
  readonly subnets: readonly Subnet[];
  readonly instances: readonly string[];
}): ClassicModel {
  const { service, key, configuration, instances } = input;
  const { sourceRanges, ...settings } = classicSettings(service, configuration);
  const subnets =
    annotationOf(service, "subnets") === undefined
      ? inTreeSubnets(input.subnets, configuration.clusterName, settings.scheme === "internal")
      : namedSubnets(service, input.subnets);
  if (subnets.length === 0) {
    throw new ProviderError("UserConfig", "no suitable subnet was found for the load balancer");
  }
  const own = readList(annotationOf(service, "security-groups") ?? "");
  const configured = configuration.classicSecurityGroup;
  const isManaged = own.length === 0 && !configured;
  const first = own.length > 0 ? own : [configured || managedGroup];
  const ingress = [
    ...(service.spec?.ports ?? []).flatMap(({ port }) =>
      sourceRanges.map((source): IngressRule => ({ protocol: "tcp", fromPort: port, toPort: port, source })),
    ),
    ...sourceRanges.map((source): IngressRule => ({ protocol: "icmp", fromPort: 3, toPort: 4, source })),
  ];
  return {
    ...settings,
    name: defaultLoadBalancerName(key.uid),
    subnetIds: subnets.map((subnet) => subnet.id),
    securityGroups: [...first, ...(listOf(service, "extra-security-groups") ?? [])],
    ...(isManaged ? { managedSecurityGroup: { name: classicSecurityGroupName(key.uid), ingress } } : {}),
    instances,
    tags: inTreeTags(service, key, configuration.clusterName),
    nodeSource: first[0]!,
  };
}
