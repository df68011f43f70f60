import type { Condition, Service } from "@portolan/core";

/** State of a load balancer as conditions tell it. `Ready` is always told, the other two only while they hold. */
export interface LoadBalancerState {
  readonly ready: boolean;
  /** Something is under way that takes time; no action of the user is needed. */
  readonly progressing?: boolean;
  /** Clients are served, but not as the Service asks. */
  readonly degraded?: boolean;
  /** Upper camel case. */
  readonly reason: string;
  readonly message: string;
}

const managed: ReadonlySet<string> = new Set([
  "LoadBalancerReady",
  "LoadBalancerProgressing",
  "LoadBalancerDegraded",
  "LoadBalancerPortsError",
]);

/** Conditions of a Service without those that the service controller writes. */
export function foreignConditions(service: Service): Condition[] {
  return (service.status?.conditions ?? []).filter((entry) => !managed.has(entry.type));
}

/**
 * Conditions of a Service in a state; those of others stay. A transition time changes with the status only.
 *
 * @param now milliseconds since the epoch
 */
export function conditionsFor(service: Service, state: LoadBalancerState, now: number): Condition[] {
  const at = new Date(now).toISOString().replace(/\.\d+Z$/, "Z");
  const condition = (type: string, status: "True" | "False"): Condition => {
    const before = (service.status?.conditions ?? []).find((entry) => entry.type === type);
    const lastTransitionTime = before?.status === status ? (before.lastTransitionTime ?? at) : at;
    return { type, status, reason: state.reason, message: state.message, lastTransitionTime };
  };
  return [
    ...foreignConditions(service),
    condition("LoadBalancerReady", state.ready ? "True" : "False"),
    ...(state.progressing ? [condition("LoadBalancerProgressing", "True")] : []),
    ...(state.degraded ? [condition("LoadBalancerDegraded", "True")] : []),
  ];
}
