import type { Service } from "@portolan/core";
import { annotationKeys, loadBalancerClasses } from "./annotations.ts";
import type { GcpFeatures } from "./configuration.ts";

/** Finalizers by which Google's controllers hold a Service: which of them made its load balancer. */
export const gkeFinalizers = {
  targetPool: "gke.networking.io/l4-netlb-v1",
  backendService: ["gke.networking.io/l4-netlb-v2", "gke.networking.io/l4-netlb-v3"],
  instanceGroup: "gke.networking.io/l4-ilb-v1",
  subsetting: "gke.networking.io/l4-ilb-v2",
} as const;

/** The rule that a Service has already, as far as it tells who made it. */
export interface ExistingRule {
  /** Empty for rules that point to a target pool. */
  readonly backendService?: string;
  readonly target?: string;
}

const has = (service: Service, finalizer: string): boolean => service.metadata.finalizers?.includes(finalizer) ?? false;

/** Whether a Service asks for a backend service: exactly the value `enabled`. */
export function asksForBackendService(service: Service): boolean {
  return service.metadata.annotations?.[annotationKeys.backendService] === "enabled";
}

/**
 * Whether a Service wants an internal load balancer. A class decides it; without one the annotation does, in its newer form
 * first. Every text but `Internal` and `internal` means external.
 */
export function wantsInternal(service: Service): boolean {
  switch (service.spec?.loadBalancerClass) {
    case loadBalancerClasses.internal:
    case loadBalancerClasses.instanceGroup:
      return true;
    case loadBalancerClasses.external:
    case loadBalancerClasses.targetPool:
      return false;
  }
  const annotations = service.metadata.annotations ?? {};
  const text = annotations[annotationKeys.type] ?? annotations[annotationKeys.formerType];
  return text === "Internal" || text === "internal";
}

/**
 * Whether a Service wants an external passthrough load balancer with a backend service, as far as class and annotations say it.
 *
 * Source: ingress-gce, `WantsL4NetLB`.
 */
export function wantsExternalPassthrough(service: Service | undefined): boolean {
  if (service?.spec?.type !== "LoadBalancer") return false;
  const wanted = service.spec.loadBalancerClass;
  return wanted ? wanted === loadBalancerClasses.external : !wantsInternal(service);
}

/**
 * Whether an external Service belongs to the in-tree controller with its target pools. A class decides it alone; then whoever
 * holds the Service by a finalizer or a rule keeps it, the first version before the later ones; then what it asks for.
 */
export function ownsTargetPool(service: Service, features: GcpFeatures = {}, existing?: ExistingRule): boolean {
  const wanted = service.spec?.loadBalancerClass;
  if (wanted) return wanted === loadBalancerClasses.targetPool;
  if (has(service, gkeFinalizers.targetPool)) return true;
  if (gkeFinalizers.backendService.some((finalizer) => has(service, finalizer))) return false;
  if (existing?.backendService) return false;
  if (existing?.target) return true;
  return !asksForBackendService(service) && !features.backendServiceDefault;
}

/**
 * Whether an internal Service belongs to the in-tree controller with its instance groups: by its class, if that controller holds it
 * already, or if nobody else is meant to.
 */
export function ownsInstanceGroups(service: Service, features: GcpFeatures = {}, existing?: ExistingRule): boolean {
  const wanted = service.spec?.loadBalancerClass;
  if (wanted) return wanted === loadBalancerClasses.instanceGroup;
  if (existing !== undefined || has(service, gkeFinalizers.instanceGroup)) return true;
  return !features.subsetting && !has(service, gkeFinalizers.subsetting);
}

/** Whether the in-tree controller with its instance groups removes the load balancer of an internal Service. */
export function removesInstanceGroups(service: Service, features: GcpFeatures = {}): boolean {
  const wanted = service.spec?.loadBalancerClass;
  if (wanted) return wanted === loadBalancerClasses.instanceGroup;
  return !features.subsetting || has(service, gkeFinalizers.instanceGroup);
}

/** Whether one of Google's own controllers holds a Service. */
export function heldByGke(service: Service): boolean {
  return (service.metadata.finalizers ?? []).some((name) => name.startsWith("gke.networking.io/"));
}
