import type { Service } from "@portolan/core";
import { ProviderError } from "@portolan/lb";
import { annotationOf, badAnnotation, integerOf } from "./annotations.ts";
import type { AwsConfiguration, TargetType } from "./configuration.ts";

/** The health check of a target group. */
export interface TargetHealthCheck {
  readonly protocol: "TCP" | "HTTP" | "HTTPS";
  readonly port: number | "traffic-port";
  /** Of HTTP and HTTPS. */
  readonly path?: string;
  readonly intervalSeconds: number;
  readonly timeoutSeconds: number;
  readonly healthyThresholdCount: number;
  readonly unhealthyThresholdCount: number;
  /** Status codes that count as success, of HTTP and HTTPS. */
  readonly matcher?: { readonly httpCode: string };
}

const trafficPort = "traffic-port";
const kubeProxyPort = 10256;

const isLocal = (service: Service): boolean => service.spec?.externalTrafficPolicy === "Local";

/** Whether a Service has a port of its own that tells which nodes have endpoints. */
function hasNodeHealthPort(service: Service): boolean {
  return service.spec?.type === "LoadBalancer" && isLocal(service);
}

function protocolOf(service: Service, fallback: TargetHealthCheck["protocol"]): TargetHealthCheck["protocol"] {
  const suffix = "healthcheck-protocol";
  const wanted = (annotationOf(service, suffix) ?? fallback).toUpperCase();
  const found = (["TCP", "HTTP", "HTTPS"] as const).find((each) => each === wanted);
  if (found === undefined) throw badAnnotation(service, suffix, "must be tcp, http or https");
  return found;
}

/**
 * Port of a health check: `traffic-port`, a number, or the name of a port of the Service, which stands for its node port or, if
 * targets are pods, for its numeric target port.
 */
export function healthCheckPort(service: Service, targetType: TargetType, fallback: string): TargetHealthCheck["port"] {
  const suffix = "healthcheck-port";
  const wanted = annotationOf(service, suffix) ?? fallback;
  if (wanted === trafficPort) return trafficPort;
  if (/^\d{1,5}$/.test(wanted)) {
    const number = Number(wanted);
    if (wanted === fallback || (number >= 1 && number <= 65_535)) return number;
    throw badAnnotation(service, suffix, `port ${wanted} must be between 1 and 65535`);
  }
  const named = service.spec?.ports?.find((port) => port.name === wanted);
  if (named === undefined) {
    throw badAnnotation(service, suffix, "must be traffic-port, a number, or the name of a port of the Service");
  }
  if (targetType === "instance") return named.nodePort ?? 0;
  if (typeof named.targetPort === "string") {
    throw badAnnotation(service, suffix, `port ${wanted} has the named target port ${named.targetPort}; give a number`);
  }
  return named.targetPort ?? named.port;
}

/** Health check of a target group, in the semantics of the AWS Load Balancer Controller. */
export function targetHealthCheck(service: Service, targetType: TargetType): TargetHealthCheck {
  const local = targetType === "instance" && hasNodeHealthPort(service);
  const protocol = protocolOf(service, local ? "HTTP" : "TCP");
  const threshold = local ? 2 : 3;
  return {
    port: healthCheckPort(service, targetType, local ? String(service.spec?.healthCheckNodePort ?? 0) : trafficPort),
    protocol,
    ...(protocol === "TCP" ? {} : { path: annotationOf(service, "healthcheck-path") ?? (local ? "/healthz" : "/") }),
    intervalSeconds: integerOf(service, "healthcheck-interval") ?? 10,
    timeoutSeconds: integerOf(service, "healthcheck-timeout") ?? (local ? 6 : 10),
    healthyThresholdCount: integerOf(service, "healthcheck-healthy-threshold") ?? threshold,
    unhealthyThresholdCount: integerOf(service, "healthcheck-unhealthy-threshold") ?? threshold,
    ...(protocol === "TCP"
      ? {}
      : { matcher: { httpCode: annotationOf(service, "healthcheck-success-codes") ?? "200-399" } }),
  };
}

type ProbeConfiguration = Pick<
  AwsConfiguration,
  "sharedHealthProbe" | "sharedHealthProbePort" | "sharedHealthProbePath"
>;

/** Health check of a target group of the in-tree provider. Where all Services share a probe, it wins over port, path and protocol. */
export function inTreeHealthCheck(service: Service, configuration: ProbeConfiguration): TargetHealthCheck {
  const local = isLocal(service);
  const shared = configuration.sharedHealthProbe === true && !local;
  let protocol = protocolOf(service, local ? "HTTP" : "TCP");
  let path = protocol === "TCP" ? undefined : (annotationOf(service, "healthcheck-path") ?? (local ? "/healthz" : "/"));
  let port = annotationOf(service, "healthcheck-port") ?? (local ? String(healthNodePort(service)) : trafficPort);
  if (shared) {
    protocol = "HTTP";
    path = configuration.sharedHealthProbePath || "/healthz";
    port = String(configuration.sharedHealthProbePort || kubeProxyPort);
  }
  if (port !== trafficPort && !/^\d{1,5}$/.test(port)) {
    throw badAnnotation(service, "healthcheck-port", `port ${port} must be traffic-port or a number`);
  }
  const threshold = local ? 2 : 3;
  return {
    port: port === trafficPort ? trafficPort : Number(port),
    protocol,
    ...(path === undefined ? {} : { path }),
    intervalSeconds: integerOf(service, "healthcheck-interval") ?? (local ? 10 : 30),
    timeoutSeconds: integerOf(service, "healthcheck-timeout") ?? 10,
    healthyThresholdCount: integerOf(service, "healthcheck-healthy-threshold") ?? threshold,
    unhealthyThresholdCount: integerOf(service, "healthcheck-unhealthy-threshold") ?? threshold,
  };
}

function healthNodePort(service: Service): number {
  return hasNodeHealthPort(service) ? (service.spec?.healthCheckNodePort ?? 0) : 0;
}

/** The one health check of a classic load balancer. */
export interface ClassicHealthCheck {
  /** `PROTOCOL:port`, and the path of HTTP and HTTPS. */
  readonly target: string;
  readonly interval: number;
  readonly timeout: number;
  readonly healthyThreshold: number;
  readonly unhealthyThreshold: number;
}

const classicLimits = {
  interval: [5, 300],
  timeout: [2, 60],
  "healthy-threshold": [2, 10],
  "unhealthy-threshold": [2, 10],
} as const;

function classicNumber(service: Service, name: keyof typeof classicLimits, fallback: number): number {
  const suffix = `healthcheck-${name}`;
  const value = integerOf(service, suffix) ?? fallback;
  const [minimum, maximum] = classicLimits[name];
  if (value < minimum || value > maximum) {
    throw badAnnotation(service, suffix, `must be between ${minimum} and ${maximum}`);
  }
  return value;
}

/**
 * Health check of a classic load balancer.
 *
 * @param base protocol, port and path that hold without annotations; an annotation `traffic-port` means its port
 */
export function classicHealthCheck(
  service: Service,
  base: { readonly protocol: string; readonly port: number; readonly path: string },
): ClassicHealthCheck {
  const suffix = "healthcheck-port";
  const protocol = (annotationOf(service, "healthcheck-protocol") ?? base.protocol).toUpperCase();
  if (!["TCP", "SSL", "HTTP", "HTTPS"].includes(protocol)) {
    throw badAnnotation(service, "healthcheck-protocol", "must be tcp, ssl, http or https");
  }
  const wanted = annotationOf(service, suffix) ?? trafficPort;
  if (wanted !== trafficPort && !/^\d{1,5}$/.test(wanted)) {
    throw badAnnotation(service, suffix, "must be traffic-port or a number");
  }
  const port = wanted === trafficPort ? base.port : Number(wanted);
  const path = protocol.startsWith("HTTP") ? annotationOf(service, "healthcheck-path") || base.path || "/" : "";
  return {
    target: `${protocol}:${port}${path}`,
    interval: classicNumber(service, "interval", 10),
    timeout: classicNumber(service, "timeout", 5),
    healthyThreshold: classicNumber(service, "healthy-threshold", 2),
    unhealthyThreshold: classicNumber(service, "unhealthy-threshold", 6),
  };
}

/** What a classic load balancer asks without annotations: the first listener's port, or the port that tells about endpoints. */
export function classicHealthCheckBase(
  service: Service,
  firstInstancePort: number,
  configuration: ProbeConfiguration,
): { protocol: string; port: number; path: string } {
  if (hasNodeHealthPort(service)) {
    const onTraffic = annotationOf(service, "healthcheck-port") === trafficPort;
    const port = onTraffic ? firstInstancePort : healthNodePort(service);
    return { protocol: "HTTP", port, path: "/healthz" };
  }
  if (configuration.sharedHealthProbe) {
    const { sharedHealthProbePort, sharedHealthProbePath } = configuration;
    return {
      protocol: "HTTP",
      port: sharedHealthProbePort || kubeProxyPort,
      path: sharedHealthProbePath || "/healthz",
    };
  }
  const backend = (annotationOf(service, "backend-protocol") ?? "").toLowerCase();
  return { protocol: backend === "https" || backend === "ssl" ? "SSL" : "TCP", port: firstInstancePort, path: "" };
}

/** @throws ProviderError UserConfig if policy Local has no port to ask, which only an incomplete Service lacks */
export function requireHealthNodePort(service: Service): void {
  if (!hasNodeHealthPort(service) || service.spec?.healthCheckNodePort) return;
  throw new ProviderError("UserConfig", "externalTrafficPolicy is Local and spec.healthCheckNodePort is not set");
}
