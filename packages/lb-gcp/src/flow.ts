import type { Service } from "@portolan/core";
import type { FlowPolicy, HashField } from "@portolan/lb";
import { strongAffinityOf } from "./backend-service.ts";
import type { GcpConfiguration } from "./configuration.ts";
import { healthCheckTarget } from "./health-check.ts";
import type { GcpModel } from "./model.ts";
import { sourceRangesOfFamily } from "./source-ranges.ts";

const connection: readonly HashField[] = [
  "source-address",
  "source-port",
  "destination-address",
  "destination-port",
  "protocol",
];

/** Seconds without packets after which the cloud forgets a flow. */
const idleSeconds = { EXTERNAL: 60, INTERNAL: 600 } as const;

/**
 * What a passthrough load balancer does to packets: it picks a node and passes the packet on as it is, so that nodes see the
 * client's address and the load balancer's, and answer directly.
 */
export function flowOf(service: Service, model: GcpModel, configuration: GcpConfiguration): FlowPolicy {
  const scheme = model.forwardingRules[0]?.loadBalancingScheme ?? "EXTERNAL";
  const check = healthCheckTarget(service);
  const { healthCheck } = model;
  const affine = service.spec?.sessionAffinity === "ClientIP";
  const strong = scheme === "EXTERNAL" ? strongAffinityOf(service, configuration.features ?? {}) : undefined;
  return {
    scheme: scheme === "EXTERNAL" ? "external" : "internal",
    destination: "keep",
    clientAddress: "kept",
    hash: affine ? ["source-address", "destination-address"] : connection,
    ...(strong === undefined ? {} : { affinitySeconds: strong }),
    proxyProtocol: "none",
    idleTimeoutSeconds: { tcp: strong ?? idleSeconds[scheme], udp: strong ?? idleSeconds[scheme] },
    crossZone: true,
    sourceRanges: model.forwardingRules.flatMap(({ family }) => sourceRangesOfFamily(service, family)),
    ports: (service.spec?.ports ?? []).map((port) => ({
      ...(port.name === undefined ? {} : { name: port.name }),
      protocol: (port.protocol ?? "TCP") as "TCP" | "UDP" | "SCTP",
      port: port.port,
      targetPort: port.port,
      healthCheck: {
        protocol: "HTTP",
        port: check.port,
        path: check.requestPath,
        intervalSeconds: healthCheck.checkIntervalSec,
        timeoutSeconds: healthCheck.timeoutSec,
        healthyThreshold: healthCheck.healthyThreshold,
        unhealthyThreshold: healthCheck.unhealthyThreshold,
      },
    })),
  };
}
