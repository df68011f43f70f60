import type { Service } from "@portolan/core";
import { type FlowPolicy, type HashField, type ServiceKey, sourceRangesOf } from "@portolan/lb";
import { flagOf } from "./annotations.ts";
import type { AwsConfiguration } from "./configuration.ts";
import { inTreeHealthCheck, type TargetHealthCheck } from "./health-check.ts";
import { inTreeScheme, inTreeTargetGroupAttributes } from "./in-tree.ts";
import { ipAddressTypeOf, loadBalancerAttributes, schemeOf } from "./load-balancer.ts";
import { portModels } from "./model.ts";
import { isControllerService, isInTreeNetworkLoadBalancer } from "./ownership.ts";
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

/**
 * What a Network Load Balancer does to the packets of a Service. It chooses by the five-tuple, or by the client's address with
 * stickiness; it changes the destination, and keeps the client's address unless an attribute says otherwise.
 */
export function flowPolicyOf(service: Service, key: ServiceKey, configuration: AwsConfiguration): FlowPolicy {
  const isInTree = !isControllerService(service, configuration) && isInTreeNetworkLoadBalancer(service);
  const ports = service.spec?.ports ?? [];
  if (isInTree) {
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
