import type { Service } from "@portolan/core";
import { ProviderError } from "@portolan/lb";
import { annotationKeys } from "./annotations.ts";
import type { GcpFeatures } from "./configuration.ts";

/** Where clients are. */
export type Scheme = "EXTERNAL" | "INTERNAL";

/** How flows of one client stay together. */
export type SessionAffinity = "NONE" | "CLIENT_IP";

/** The affinity of a Service in the words of the cloud. */
export function sessionAffinityOf(service: Service): SessionAffinity {
  return service.spec?.sessionAffinity === "ClientIP" ? "CLIENT_IP" : "NONE";
}

/** Whether nodes are weighed by their pods: only the policy Local makes nodes differ. */
export function wantsWeights(service: Service): boolean {
  return (
    service.metadata.annotations?.[annotationKeys.weighted] === "pods-per-node" &&
    service.spec?.externalTrafficPolicy === "Local"
  );
}

/** `localityLbPolicy`: how nodes are picked. Empty: the cloud's default. */
export function localityPolicy(service: Service, scheme: Scheme, features: GcpFeatures): string {
  if (!features.weightedLoadBalancing) return "";
  if (wantsWeights(service)) return scheme === "EXTERNAL" ? "WEIGHTED_MAGLEV" : "WEIGHTED_GCP_RENDEZVOUS";
  return scheme === "EXTERNAL" ? "MAGLEV" : "";
}

const affinitySeconds = { minimum: 60, maximum: 57_600 } as const;

/**
 * Seconds without traffic after which a client may be sent elsewhere, if the Service asks for strong affinity.
 *
 * @throws ProviderError `UserConfig` if it asks and cannot have it: the project is not let, or the affinity is not ClientIP with a
 * timeout in range
 */
export function strongAffinityOf(service: Service, features: GcpFeatures): number | undefined {
  if (service.metadata.annotations?.[annotationKeys.strongAffinity] !== "enabled") return undefined;
  const refuse = (why: string): never => {
    throw new ProviderError("UserConfig", `annotation ${annotationKeys.strongAffinity} is "enabled", but ${why}`);
  };
  if (!features.strongSessionAffinity) refuse("the feature is not turned on for this cluster");
  if (service.spec?.sessionAffinity !== "ClientIP") refuse("spec.sessionAffinity is not ClientIP");
  const seconds = service.spec?.sessionAffinityConfig?.clientIP?.timeoutSeconds;
  const { minimum, maximum } = affinitySeconds;
  if (seconds === undefined || seconds < minimum || seconds > maximum) {
    refuse(
      `spec.sessionAffinityConfig.clientIP.timeoutSeconds is ${seconds ?? "not set"}: must be ${minimum} to ${maximum}`,
    );
  }
  return seconds;
}

/** A backend service of a passthrough load balancer. Groups and checks are named; where they live is the model's. */
export interface BackendService {
  readonly name: string;
  /** Set when Services of the same protocol and affinity use it together. */
  readonly shared?: true;
  readonly protocol: string;
  readonly loadBalancingScheme: Scheme;
  readonly sessionAffinity: SessionAffinity;
  readonly healthChecks: readonly string[];
  readonly connectionDraining?: { readonly drainingTimeoutSec: number };
  readonly localityLbPolicy?: string;
  readonly connectionTrackingPolicy?: {
    readonly enableStrongAffinity: boolean;
    readonly trackingMode: "PER_SESSION";
    readonly idleTimeoutSec: number;
  };
}
