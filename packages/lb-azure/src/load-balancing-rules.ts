import type { Service, ServicePort } from "@portolan/core";
import { ProviderError } from "@portolan/lb";
import type { IPFamily } from "@portolan/net";
import { annotation, flag, fullKey, keys } from "./annotations.ts";
import { type AzureConfiguration, isStandard } from "./configuration.ts";
import { commonProbe, type Probe, probeOfPort, usesSharedProbe } from "./health-probe.ts";
import { isInternal, ruleName } from "./names.ts";

/** A rule of a load balancer: which port of a frontend leads to which port of a pool. */
export interface LoadBalancingRule {
  readonly name: string;
  readonly protocol: "Tcp" | "Udp" | "All";
  /** 0: all ports. */
  readonly frontendPort: number;
  readonly backendPort: number;
  /** Nodes see the load balancer's address and port as destination. */
  readonly enableFloatingIP: boolean;
  readonly disableOutboundSnat: boolean;
  readonly idleTimeoutInMinutes: number;
  readonly loadDistribution: "Default" | "SourceIP";
  /** Only where it can be set: TCP on Standard. */
  readonly enableTcpReset?: boolean;
  /** Name of the probe. */
  readonly probe?: string;
}

function idleTimeout(service: Service): number {
  const text = annotation(service, keys.idleTimeout);
  if (text === undefined) return 4;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= 4 && value <= 100) return value;
  throw new ProviderError(
    "UserConfig",
    `annotation ${fullKey(keys.idleTimeout)} is "${text}": must be an integer from 4 to 100 (minutes)`,
  );
}

/** Whether nodes see the load balancer's own address: not for IPv6 of internal load balancers, which cannot. */
function floats(service: Service, family: IPFamily): boolean {
  return !flag(service, keys.disableFloatingIP) && !(isInternal(service) && family === "IPv6");
}

function checkNodePorts(service: Service, configuration: Partial<AzureConfiguration>): void {
  if (service.spec?.allocateLoadBalancerNodePorts !== false) return;
  const floating = !flag(service, keys.disableFloatingIP);
  const probed = service.spec.externalTrafficPolicy === "Local" || usesSharedProbe(service, configuration);
  if (floating && probed) return;
  if ((service.spec.ports ?? []).every((port) => (port.nodePort ?? 0) > 0)) return;
  throw new ProviderError(
    "UserConfig",
    "spec.allocateLoadBalancerNodePorts is false, but node ports are needed: set it to true, or use floating IP with " +
      "externalTrafficPolicy Local or with the shared health probe",
  );
}

/**
 * Rules and probes of a Service in one family.
 *
 * @throws ProviderError `UserConfig` for values that cannot be
 */
export function rulesAndProbes(
  service: Service,
  family: IPFamily,
  configuration: Partial<AzureConfiguration>,
): { readonly rules: readonly LoadBalancingRule[]; readonly probes: readonly Probe[] } {
  checkNodePorts(service, configuration);
  const standard = isStandard(configuration);
  const common = commonProbe(service, family, configuration);
  const probes: Probe[] = common === undefined ? [] : [common];
  const rules: LoadBalancingRule[] = [];
  const ports = service.spec?.ports ?? [];

  const ruleOf = (port: ServicePort, name: string, probe: Probe | undefined): LoadBalancingRule => {
    const floating = floats(service, family);
    const protocol = port.protocol === "UDP" ? "Udp" : "Tcp";
    return {
      name,
      protocol,
      frontendPort: port.port,
      backendPort: floating ? port.port : (port.nodePort ?? 0),
      enableFloatingIP: floating,
      disableOutboundSnat: standard && (configuration.disableOutboundSNAT ?? false),
      idleTimeoutInMinutes: idleTimeout(service),
      loadDistribution: service.spec?.sessionAffinity === "ClientIP" ? "SourceIP" : "Default",
      ...(standard && protocol === "Tcp" ? { enableTcpReset: !flag(service, keys.disableTcpReset) } : {}),
      ...(probe === undefined ? {} : { probe: probe.name }),
    };
  };

  const first = ports[0];
  const everyPort = flag(service, keys.highAvailabilityPorts) && isInternal(service) && standard;
  if (everyPort && first !== undefined) {
    const name = ruleName(service, first.protocol ?? "TCP", first.port, family);
    let probe = common;
    for (const port of ports) {
      if (probe !== undefined) break;
      probe = probeOfPort(service, port, name, configuration);
      if (probe !== undefined) probes.push(probe);
    }
    const rule = ruleOf({ ...first, protocol: "TCP" }, name, probe);
    return { rules: [{ ...rule, protocol: "All", frontendPort: 0, backendPort: 0 }], probes };
  }
  for (const port of ports) {
    if (flag(service, `port_${port.port}_no_lb_rule`)) continue;
    const protocol = port.protocol ?? "TCP";
    if (protocol === "SCTP") {
      throw new ProviderError(
        "UserConfig",
        `port ${port.port}: SCTP needs an internal Standard load balancer with annotation ${fullKey(keys.highAvailabilityPorts)}`,
      );
    }
    const name = ruleName(service, protocol, port.port, family);
    const probe = common ?? probeOfPort(service, port, name, configuration);
    if (probe !== undefined && probe !== common) probes.push(probe);
    rules.push(ruleOf(port, name, probe));
  }
  return { rules, probes };
}
