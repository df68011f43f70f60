import type { EndpointSlice, Service } from "@portolan/core";
import type { FrontendSpec, SchedulerName, ServicePortSpec } from "@portolan/dataplane";
import { canonicalAddress, familyOf, type IPFamily, parsePrefix } from "@portolan/net";
import {
  backendOf,
  endpointSets,
  endpointsOf,
  isProxied,
  isProxiedSlice,
  type NodeTopology,
  type ProxyEndpoint,
} from "./endpoint-sets.ts";

/** The annotation that chooses a scheduler for one Service; without it the proxy's own default applies. */
export const schedulerAnnotation = "portolan.dev/scheduler";

const schedulers: ReadonlySet<string> = new Set([
  "random",
  "rr",
  "wrr",
  "lc",
  "wlc",
  "sh",
  "dh",
  "sed",
  "nq",
  "mh",
  "fo",
  "ovf",
] satisfies SchedulerName[]);

/** Options of {@link compileServicePorts}. */
export interface CompileOptions extends NodeTopology {
  /** Scheduler of Services that do not choose one. Default `random`. */
  readonly scheduler?: SchedulerName;
}

/** One compiled Service port, with what the UDP clean-up after a sync needs. */
export interface CompiledServicePort {
  readonly spec: ServicePortSpec;
  /** Addresses of all endpoints that are serving, whatever the policies say: connections to these are never flushed. */
  readonly serving: readonly string[];
}

function clusterAddress(service: Service, family: IPFamily): string | undefined {
  const spec = service.spec!;
  const all = spec.clusterIPs && spec.clusterIPs.length > 0 ? spec.clusterIPs : [spec.clusterIP ?? ""];
  const text = all.find((address) => familyOf(address) === family);
  return text === undefined ? undefined : canonicalAddress(text);
}

/** Load-balancer addresses that the node translates: those with an IP whose mode is absent or `VIP`. */
function virtualAddresses(service: Service): string[] {
  return (service.status?.loadBalancer?.ingress ?? [])
    .filter((ingress) => ingress.ip && (ingress.ipMode === undefined || ingress.ipMode === "VIP"))
    .map((ingress) => ingress.ip!);
}

function schedulerOf(service: Service, options: CompileOptions): SchedulerName | undefined {
  const wanted = service.metadata.annotations?.[schedulerAnnotation];
  if (wanted !== undefined && schedulers.has(wanted)) return wanted as SchedulerName;
  return options.scheduler;
}

/**
 * Compiles one Service and its slices to dataplane entries, one for each Service port and address family. Pure; the order of
 * the result and of everything in it depends on the objects alone.
 *
 * @param slices slices labelled with the Service's name, in its namespace
 */
export function compileServicePorts(
  service: Service,
  slices: readonly EndpointSlice[],
  options: CompileOptions,
): CompiledServicePort[] {
  if (!isProxied(service)) return [];
  const spec = service.spec!;
  const usable = slices.filter(isProxiedSlice);
  const name = `${service.metadata.namespace ?? ""}/${service.metadata.name ?? ""}`;
  const out: CompiledServicePort[] = [];
  for (const family of ["IPv4", "IPv6"] as const) {
    const clusterIP = clusterAddress(service, family);
    if (clusterIP === undefined) continue;
    const ofFamily = (addresses: readonly string[]): string[] => {
      const canonical = addresses.filter((address) => familyOf(address) === family).map((a) => canonicalAddress(a)!);
      return [...new Set(canonical)];
    };
    const externalIPs = ofFamily(spec.externalIPs ?? []);
    const vips = ofFamily(virtualAddresses(service));
    const sourceRanges = (spec.loadBalancerSourceRanges ?? [])
      .map((range) => range.trim())
      .filter((range) => parsePrefix(range)?.address.family === family);
    const scheduler = schedulerOf(service, options);
    const affinitySeconds =
      spec.sessionAffinity === "ClientIP" ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 10800) : 0;

    for (const port of spec.ports ?? []) {
      const protocol = port.protocol ?? "TCP";
      const portName = port.name ?? "";
      const frontends: FrontendSpec[] = [{ kind: "ClusterIP", address: clusterIP, port: port.port }];
      for (const address of externalIPs) frontends.push({ kind: "ExternalIP", address, port: port.port });
      for (const address of vips) frontends.push({ kind: "LoadBalancer", address, port: port.port });
      if (port.nodePort) frontends.push({ kind: "NodePort", port: port.nodePort });
      const externallyAccessible = frontends.length > 1;
      const mayBeLocal =
        spec.type === "LoadBalancer" || spec.type === "NodePort" || (spec.externalIPs?.length ?? 0) > 0;
      const externalLocal = spec.externalTrafficPolicy === "Local" && mayBeLocal;
      const internalLocal = spec.internalTrafficPolicy === "Local";

      const endpoints = endpointsOf(usable, portName, protocol, family, options);
      const sets = endpointSets(endpoints, { internalLocal, externalLocal, externallyAccessible }, options);
      out.push({
        spec: {
          id: `${name}:${portName}/${protocol}/${family}`,
          family,
          protocol,
          frontends,
          cluster: (sets.cluster ?? []).map(backendOf),
          local: (sets.local ?? []).map(backendOf),
          hasAny: sets.hasAny,
          internalTrafficPolicy: internalLocal ? "Local" : "Cluster",
          externalTrafficPolicy: externalLocal ? "Local" : "Cluster",
          ...(affinitySeconds > 0 ? { affinitySeconds } : {}),
          ...(scheduler === undefined ? {} : { scheduler }),
          ...(sourceRanges.length > 0 ? { sourceRanges } : {}),
        },
        serving: endpoints.filter((endpoint: ProxyEndpoint) => endpoint.serving).map((endpoint) => endpoint.address),
      });
    }
  }
  return out;
}

/**
 * Number that a health-check node port reports: distinct addresses of ready endpoints on this node over all ports of the
 * Service, in its primary family. Endpoints that are terminating do not count although they may still take traffic.
 * (upstream: pkg/proxy/healthcheck)
 */
export function localReadyEndpoints(
  service: Service,
  slices: readonly EndpointSlice[],
  topology: NodeTopology,
): number {
  const family = familyOf(service.spec?.clusterIP ?? "") ?? "IPv4";
  const usable = slices.filter(isProxiedSlice);
  const addresses = new Set<string>();
  for (const port of service.spec?.ports ?? []) {
    for (const endpoint of endpointsOf(usable, port.name ?? "", port.protocol ?? "TCP", family, topology)) {
      if (endpoint.ready && endpoint.local) addresses.add(endpoint.address);
    }
  }
  return addresses.size;
}
