import type { Service, ServicePort } from "@portolan/core";
import { ProviderError } from "@portolan/lb";
import type { IPFamily } from "@portolan/net";
import { annotation, flag, fullKey, keys } from "./annotations.ts";
import { type AzureConfiguration, isStandard } from "./configuration.ts";
import { ruleName } from "./names.ts";

/** A probe of a load balancer. */
export interface Probe {
  readonly name: string;
  readonly protocol: "Tcp" | "Http" | "Https";
  readonly port: number;
  readonly intervalInSeconds: number;
  /** Failures in a row; `numberOfProbes` alone has no effect on Standard. */
  readonly probeThreshold: number;
  readonly requestPath?: string;
}

const sharedProbeName = "cluster-service-shared-health-probe";

/** Whether the Service's own health-check node port says which nodes want traffic. */
function usesNodeHealth(service: Service): boolean {
  if (service.spec?.externalTrafficPolicy !== "Local" || !service.spec.healthCheckNodePort) return false;
  // A Private Link Service that sends the PROXY protocol breaks that probe.
  return !(flag(service, keys.privateLinkCreate) && flag(service, keys.privateLinkProxyProtocol));
}

/** Whether one probe of kube-proxy stands for all Services with policy Cluster. */
export function usesSharedProbe(service: Service, configuration: Partial<AzureConfiguration>): boolean {
  const shared = configuration.clusterServiceLoadBalancerHealthProbeMode?.toLowerCase() === "shared";
  return shared && service.spec?.externalTrafficPolicy !== "Local";
}

function positive(service: Service, key: string, minimum: number): number | undefined {
  const text = annotation(service, key);
  if (text === undefined) return undefined;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= minimum) return value;
  throw new ProviderError(
    "UserConfig",
    `annotation ${fullKey(key)} is "${text}": must be an integer of ${minimum} or more`,
  );
}

function probePort(service: Service, port: ServicePort): number {
  const key = `port_${port.port}_health-probe_port`;
  const text = annotation(service, key);
  if (text === undefined) return port.nodePort ?? 0;
  // A port of the Service by name or number stands for its node port.
  const named = (service.spec?.ports ?? []).find((each) => each.name === text || String(each.port) === text);
  if (named !== undefined) return named.nodePort ?? 0;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 1 && value <= 65_535) return value;
  throw new ProviderError(
    "UserConfig",
    `annotation ${fullKey(key)} is "${text}": neither a port number nor a port of the Service`,
  );
}

/** The probe of one port, or undefined if it has none: only TCP can be asked. */
export function probeOfPort(
  service: Service,
  port: ServicePort,
  name: string,
  configuration: Partial<AzureConfiguration>,
): Probe | undefined {
  if ((port.protocol ?? "TCP") !== "TCP" || flag(service, `port_${port.port}_no_probe_rule`)) return undefined;
  const own = `port_${port.port}_health-probe_`;
  const wanted = annotation(service, `${own}protocol`) ?? port.appProtocol ?? annotation(service, keys.probeProtocol);
  const known: Readonly<Record<string, Probe["protocol"]>> = { http: "Http", https: "Https" };
  let protocol = known[wanted?.toLowerCase() ?? ""] ?? "Tcp";
  if (protocol === "Https" && !isStandard(configuration)) protocol = "Tcp";
  const intervalInSeconds = positive(service, `${own}interval`, 5) ?? positive(service, keys.probeInterval, 5) ?? 5;
  const probeThreshold = positive(service, `${own}num-of-probe`, 2) ?? positive(service, keys.probeCount, 2) ?? 2;
  if (intervalInSeconds * probeThreshold >= 120) {
    throw new ProviderError(
      "UserConfig",
      `health probe of port ${port.port}: ${probeThreshold} probes every ${intervalInSeconds} s take ` +
        `${intervalInSeconds * probeThreshold} s; it must be less than 120 s`,
    );
  }
  const requestPath = annotation(service, `${own}request-path`) ?? annotation(service, keys.probePath) ?? "/";
  return {
    name,
    protocol,
    port: probePort(service, port),
    intervalInSeconds,
    probeThreshold,
    ...(protocol === "Tcp" ? {} : { requestPath }),
  };
}

/** The one probe of all ports, where there is one: the health-check node port, or kube-proxy's. */
export function commonProbe(
  service: Service,
  family: IPFamily,
  configuration: Partial<AzureConfiguration>,
): Probe | undefined {
  const base = { protocol: "Http", intervalInSeconds: 5, probeThreshold: 2 } as const;
  if (usesNodeHealth(service)) {
    const port = service.spec!.healthCheckNodePort!;
    return { ...base, name: ruleName(service, "TCP", port, family), port, requestPath: "/healthz" };
  }
  if (!usesSharedProbe(service, configuration)) return undefined;
  return {
    ...base,
    name: sharedProbeName,
    port: configuration.clusterServiceSharedLoadBalancerHealthProbePort ?? 10_256,
    requestPath: configuration.clusterServiceSharedLoadBalancerHealthProbePath ?? "/healthz",
  };
}
