import type { Service } from "@portolan/core";
import { type FlowPolicy, type HashField, type ServiceKey, sourceRangesOf } from "@portolan/lb";
import { flagOf } from "./annotations.ts";
import { classicSettings } from "./classic.ts";
import type { AwsConfiguration } from "./configuration.ts";
import { type ClassicHealthCheck, inTreeHealthCheck, type TargetHealthCheck } from "./health-check.ts";
import { inTreeScheme, inTreeTargetGroupAttributes } from "./in-tree.ts";
import { ipAddressTypeOf, loadBalancerAttributes, schemeOf } from "./load-balancer.ts";
import { portModels } from "./model.ts";
import { servingOf } from "./ownership.ts";
import { clientRanges } from "./security-groups.ts";

const fiveTuple: readonly HashField[] = [
  "source-address",
  "source-port",
  "destination-address",
  "destination-port",
  "protocol",
];

const idleTcpSeconds = 350;
const idleUdpSeconds = 120;

function healthCheckOf(check: TargetHealthCheck): FlowPolicy["ports"][number]["healthCheck"] {
  return {
    protocol: check.protocol,
    port: check.port,
    ...(check.path === undefined ? {} : { path: check.path }),
    intervalSeconds: check.intervalSeconds,
    timeoutSeconds: check.timeoutSeconds,
    healthyThreshold: check.healthyThresholdCount,
    unhealthyThreshold: check.unhealthyThresholdCount,
  };
}

/** A health check `PROTOCOL:port/path`; a handshake of TLS counts as one of TCP. */
function classicHealthCheckOf(check: ClassicHealthCheck): FlowPolicy["ports"][number]["healthCheck"] {
  const [, protocol = "TCP", port = "0", path = ""] = /^([A-Z]+):(\d+)(.*)$/.exec(check.target) ?? [];
  return {
    protocol: protocol === "HTTP" || protocol === "HTTPS" ? protocol : "TCP",
    port: Number(port),
    ...(path === "" ? {} : { path }),
    intervalSeconds: check.interval,
    timeoutSeconds: check.timeout,
    healthyThreshold: check.healthyThreshold,
    unhealthyThreshold: check.unhealthyThreshold,
  };
}

/** A classic load balancer ends connections and makes its own to the nodes. */
function classicFlowPolicy(service: Service, configuration: AwsConfiguration): FlowPolicy {
  const settings = classicSettings(service, configuration);
  const { attributes } = settings;
  const healthCheck = classicHealthCheckOf(settings.healthCheck);
  return {
    scheme: settings.scheme === "internal" ? "internal" : "external",
    destination: "node",
    clientAddress: "replaced",
    hash: fiveTuple,
    proxyProtocol: settings.proxyProtocol ? "v1" : "none",
    idleTimeoutSeconds: { tcp: attributes.connectionSettings.idleTimeout, udp: idleUdpSeconds },
    crossZone: attributes.crossZoneLoadBalancing.enabled,
    sourceRanges: settings.sourceRanges,
    ports: (service.spec?.ports ?? [])
      .filter((port) => port.nodePort)
      .map(({ name, port, nodePort = 0 }) => ({
        ...(name === undefined ? {} : { name }),
        protocol: "TCP",
        port,
        targetPort: nodePort,
        healthCheck,
      })),
  };
}

/**
 * What a load balancer does to the packets of a Service. A Network Load Balancer chooses by the five-tuple, or by the client's
 * address with stickiness; it changes the destination, and keeps the client's address unless an attribute says otherwise.
 */
export function flowPolicyOf(service: Service, key: ServiceKey, configuration: AwsConfiguration): FlowPolicy {
  const serving = servingOf(service, configuration);
  if (serving === "ccm-clb") return classicFlowPolicy(service, configuration);
  const ports = service.spec?.ports ?? [];
  if (serving === "ccm-nlb") {
    const attributes = inTreeTargetGroupAttributes(service);
    const healthCheck = healthCheckOf(inTreeHealthCheck(service, configuration));
    return {
      scheme: inTreeScheme(service) === "internal" ? "internal" : "external",
      destination: "node",
      clientAddress: attributes["preserve_client_ip.enabled"] === "false" ? "replaced" : "kept",
      hash: fiveTuple,
      proxyProtocol: attributes["proxy_protocol_v2.enabled"] === "true" ? "v2" : "none",
      idleTimeoutSeconds: { tcp: idleTcpSeconds, udp: idleUdpSeconds },
      crossZone: flagOf(service, "cross-zone-load-balancing-enabled") ?? false,
      sourceRanges: sourceRangesOf(service),
      ports: ports.map(({ name, protocol = "TCP", port, nodePort = 0 }) => ({
        ...(name === undefined ? {} : { name }),
        protocol,
        port,
        targetPort: nodePort,
        healthCheck,
      })),
    };
  }
  const models = portModels({ service, key, configuration });
  const groups = models.map(({ group }) => group);
  const attributes = groups[0]?.attributes ?? {};
  const idle = models[0]?.listener.attributes["tcp.idle_timeout.seconds"];
  return {
    scheme: schemeOf(service, configuration) === "internal" ? "internal" : "external",
    destination: "node",
    clientAddress: groups.every((group) => group.preservesClientIP) ? "kept" : "replaced",
    hash: attributes["stickiness.enabled"] === "true" ? ["source-address"] : fiveTuple,
    proxyProtocol: attributes["proxy_protocol_v2.enabled"] === "true" ? "v2" : "none",
    idleTimeoutSeconds: { tcp: Number(idle ?? idleTcpSeconds), udp: idleUdpSeconds },
    crossZone: loadBalancerAttributes(service)["load_balancing.cross_zone.enabled"] === "true",
    sourceRanges: clientRanges(service, ipAddressTypeOf(service), false),
    ports: ports.flatMap(({ name, protocol = "TCP", port }) => {
      const group = groups.find((each) => each.servicePort.port === port);
      if (group === undefined) return [];
      const healthCheck = healthCheckOf(group.healthCheck);
      return [{ ...(name === undefined ? {} : { name }), protocol, port, targetPort: group.port, healthCheck }];
    }),
  };
}
