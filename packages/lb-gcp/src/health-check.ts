import type { Service } from "@portolan/core";

/** How often a health check asks, and how many answers it believes. */
export interface HealthCheckTimes {
  readonly checkIntervalSec: number;
  readonly timeoutSec: number;
  readonly healthyThreshold: number;
  readonly unhealthyThreshold: number;
}

/** Which port and path of a node a health check asks. */
export interface HealthCheckTarget {
  readonly port: number;
  readonly requestPath: string;
}

const patient: HealthCheckTimes = { checkIntervalSec: 8, timeoutSec: 1, healthyThreshold: 1, unhealthyThreshold: 3 };
const quick: HealthCheckTimes = { checkIntervalSec: 3, timeoutSec: 1, healthyThreshold: 1, unhealthyThreshold: 2 };

/** Times of the in-tree controller's checks. */
export const inTreeTimes: HealthCheckTimes = patient;

/** Times of checks behind backend services: nodes are asked less often than a Service's own port, which says where its pods are. */
export function passthroughTimes(shared: boolean): HealthCheckTimes {
  return shared ? patient : quick;
}

/** Whether a Service has a health check of its own: with the policy Local only nodes with its pods may get traffic. */
export function hasOwnHealthCheck(service: Service): boolean {
  return service.spec?.externalTrafficPolicy === "Local" && (service.spec.healthCheckNodePort ?? 0) !== 0;
}

/** Where a Service's check asks: its own node port, or the proxy of the node. */
export function healthCheckTarget(service: Service): HealthCheckTarget {
  return {
    port: hasOwnHealthCheck(service) ? service.spec!.healthCheckNodePort! : 10256,
    requestPath: "/healthz",
  };
}

/** Values that a user has raised stay; those below the defaults are raised to them. */
export function mergeTimes(observed: Partial<HealthCheckTimes>, defaults: HealthCheckTimes): HealthCheckTimes {
  const larger = (field: keyof HealthCheckTimes): number => Math.max(observed[field] ?? 0, defaults[field]);
  return {
    checkIntervalSec: larger("checkIntervalSec"),
    timeoutSec: larger("timeoutSec"),
    healthyThreshold: larger("healthyThreshold"),
    unhealthyThreshold: larger("unhealthyThreshold"),
  };
}

/** A health check as it is compared. */
export interface ComparableHealthCheck extends HealthCheckTimes, HealthCheckTarget {
  readonly description?: string;
}

/** Whether an observed health check has to be written: it asks elsewhere, or more hastily than wanted. */
export function healthCheckNeedsUpdate(observed: ComparableHealthCheck, wanted: ComparableHealthCheck): boolean {
  const merged = mergeTimes(observed, wanted);
  return (
    observed.port !== wanted.port ||
    observed.requestPath !== wanted.requestPath ||
    (observed.description ?? "") !== (wanted.description ?? "") ||
    Object.entries(merged).some(([field, value]) => observed[field as keyof HealthCheckTimes] !== value)
  );
}
