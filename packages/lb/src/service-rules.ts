import type { LoadBalancerIngress, Node, Service } from "@portolan/core";
import { familyOf, formatPrefix, maskAddress, parsePrefix } from "@portolan/net";
import { isExcludedFromLoadBalancers, ProviderError } from "./provider.ts";

/** The finalizer that keeps a Service until its load balancer is gone. */
export const cleanupFinalizer = "service.kubernetes.io/load-balancer-cleanup";

/** Annotation for source ranges that is older than the field; the field wins. */
export const sourceRangesAnnotation = "service.beta.kubernetes.io/load-balancer-source-ranges";

/** Whether a Service carries the clean-up finalizer. */
export function hasCleanupFinalizer(service: Service): boolean {
  return service.metadata.finalizers?.includes(cleanupFinalizer) ?? false;
}

/** Whether a Service should have a load balancer. Its class says by whom, not whether. */
export function wantsLoadBalancer(service: Service): boolean {
  return service.spec?.type === "LoadBalancer" && service.metadata.deletionTimestamp === undefined;
}

/** Whether a load balancer of a Service has to be removed before its finalizer may go. */
export function needsCleanup(service: Service): boolean {
  return hasCleanupFinalizer(service) && !wantsLoadBalancer(service);
}

/** Which part of the controller's work a Service is due, with its steps in order. */
export interface ReconcileDecision {
  readonly operation: "ensure" | "delete" | "none";
  readonly order: readonly ("addFinalizer" | "ensure" | "patchStatus" | "delete" | "removeFinalizer")[];
}

/**
 * What the controller does with a Service. A clean-up asks the provider even if no load balancer is seen: what a creation that
 * was cut short left behind is found by its marks only.
 */
export function reconcileDecision(service: Service): ReconcileDecision {
  if (needsCleanup(service)) return { operation: "delete", order: ["delete", "removeFinalizer", "patchStatus"] };
  if (!wantsLoadBalancer(service)) return { operation: "none", order: [] };
  const first = hasCleanupFinalizer(service) ? [] : (["addFinalizer"] as const);
  return { operation: "ensure", order: [...first, "ensure", "patchStatus"] };
}

/**
 * Whether a change of a Service makes its load balancer's state questionable. Ports and external addresses are compared in
 * order; of the families only their number counts; labels and selectors do not.
 *
 * Source: `needsUpdate` of cloud-provider's service controller.
 */
export function needsUpdate(before: Service, after: Service): boolean {
  const view = (service: Service): string => {
    const spec = service.spec ?? {};
    const ports = (spec.ports ?? []).map((port) => [
      port.name ?? "",
      port.protocol ?? "TCP",
      port.port,
      port.nodePort ?? 0,
      port.targetPort ?? 0,
      port.appProtocol ?? null,
    ]);
    const annotations = Object.entries(service.metadata.annotations ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
    return JSON.stringify([
      wantsLoadBalancer(service),
      needsCleanup(service),
      service.metadata.uid ?? "",
      annotations,
      spec.loadBalancerSourceRanges ?? [],
      ports,
      spec.sessionAffinity ?? "None",
      spec.sessionAffinityConfig ?? null,
      spec.loadBalancerIP ?? "",
      spec.externalIPs ?? [],
      spec.externalTrafficPolicy ?? "",
      spec.healthCheckNodePort ?? 0,
      (spec.ipFamilies ?? []).length,
    ]);
  };
  return view(before) !== view(after);
}

/**
 * Whether a change of a node makes load balancers' targets questionable: the exclusion label or the provider's id. Readiness,
 * taints and all other labels do not (KEP-3458); that a node comes or goes is for the caller to see.
 *
 * Source: `shouldSyncUpdatedNode` of cloud-provider's service controller.
 */
export function nodeChangeTriggersSync(before: Node, after: Node): boolean {
  if (isExcludedFromLoadBalancers(before) !== isExcludedFromLoadBalancers(after)) return true;
  return (before.spec?.providerID ?? "") !== (after.spec?.providerID ?? "");
}

/**
 * CIDRs of clients that may use a Service: the field, else the annotation, else everything of the Service's families (IPv4
 * without families). Host bits are cleared, repetitions dropped.
 *
 * @throws ProviderError `UserConfig` if an entry is not a CIDR; one bad entry spoils the whole list
 */
export function sourceRangesOf(service: Service): string[] {
  const field = service.spec?.loadBalancerSourceRanges ?? [];
  const annotation = service.metadata.annotations?.[sourceRangesAnnotation]?.trim() ?? "";
  const entries = field.length > 0 ? field : annotation === "" ? [] : annotation.split(",");
  if (entries.length === 0) {
    const families = service.spec?.ipFamilies ?? ["IPv4"];
    return families.map((family) => (family === "IPv6" ? "::/0" : "0.0.0.0/0"));
  }
  const where = field.length > 0 ? "spec.loadBalancerSourceRanges" : `annotation ${sourceRangesAnnotation}`;
  const ranges = entries.map((entry) => {
    const prefix = parsePrefix(entry.trim());
    if (prefix === undefined) {
      const hint = familyOf(entry.trim()) === undefined ? "" : "; add the prefix length, as in /32";
      throw new ProviderError("UserConfig", `${where}: "${entry.trim()}" is not a CIDR${hint}`);
    }
    return formatPrefix({ address: maskAddress(prefix.address, prefix.length), length: prefix.length });
  });
  return [...new Set(ranges)];
}

/** Whether two states of a load balancer are the same to clients: address, host name, mode and ports of each entry, in order. */
export function loadBalancerStatusEqual(
  left: { readonly ingress?: readonly LoadBalancerIngress[] } = {},
  right: { readonly ingress?: readonly LoadBalancerIngress[] } = {},
): boolean {
  const view = (entries: readonly LoadBalancerIngress[] = []): string =>
    JSON.stringify(
      entries.map((entry) => [
        entry.ip ?? "",
        entry.hostname ?? "",
        entry.ipMode ?? null,
        (entry.ports ?? []).map((port) => [port.port, port.protocol, port.error ?? null]),
      ]),
    );
  return view(left.ingress) === view(right.ingress);
}
