import type { Service } from "@portolan/core";
import { annotationOf } from "./annotations.ts";
import type { AwsConfiguration } from "./configuration.ts";

const type = (service: Service): string => annotationOf(service, "type") ?? "";

/** Class that the AWS Load Balancer Controller answers to. */
export const networkLoadBalancerClass = "service.k8s.aws/nlb";

/** Whether the in-tree provider makes a Network Load Balancer of it, and not a classic one. */
export function isInTreeNetworkLoadBalancer(service: Service): boolean {
  return type(service) === "nlb";
}

/** Whether the in-tree provider leaves the Service to the AWS Load Balancer Controller. */
export function isImplementedElsewhere(service: Service): boolean {
  return type(service) === "nlb-ip" || type(service) === "external";
}

/**
 * Whether the AWS Load Balancer Controller serves a Service: its class decides if it has one; else annotation `type` has to be
 * `nlb-ip`, or `external` together with `nlb-target-type`.
 */
export function isControllerService(
  service: Service,
  configuration: Pick<AwsConfiguration, "loadBalancerClass"> & { readonly restrictToTypeLoadBalancer?: boolean } = {},
): boolean {
  const { loadBalancerClass = networkLoadBalancerClass, restrictToTypeLoadBalancer = false } = configuration;
  if (service.metadata.deletionTimestamp !== undefined) return false;
  if (restrictToTypeLoadBalancer && service.spec?.type !== "LoadBalancer") return false;
  const wanted = service.spec?.loadBalancerClass;
  if (wanted !== undefined) return wanted === loadBalancerClass;
  if (type(service) === "nlb-ip") return true;
  const target = annotationOf(service, "nlb-target-type");
  return type(service) === "external" && (target === "ip" || target === "instance");
}

/** Ways to serve a Service, by its class and its annotation `type`. */
export type Serving = "nlb-modern" | "ccm-nlb" | "ccm-clb" | "half-specified" | "unknown-type";

/** How a Service is to be served. */
export function servingOf(service: Service, configuration: AwsConfiguration): Serving {
  if (isControllerService(service, configuration)) return "nlb-modern";
  const type = annotationOf(service, "type") ?? "";
  if (type === "nlb") return "ccm-nlb";
  if (type === "") return configuration.mode === "ccm" ? "ccm-clb" : "nlb-modern";
  return type === "external" ? "half-specified" : "unknown-type";
}

/** Whether a Service carries a finalizer, so that there may be objects of it. */
export function isPendingFinalization(service: Service, finalizer = "service.k8s.aws/resources"): boolean {
  return service.metadata.finalizers?.includes(finalizer) ?? false;
}
