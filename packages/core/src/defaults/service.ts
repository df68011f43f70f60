import { isJsonObject, type JsonObject, listOf, numberOf, textOf } from "../json.ts";
import type { EndpointSlice, Endpoints, Service } from "../types/service.ts";
import { ensureObject, fill, fillText, objectsIn } from "./fill.ts";

/** `spec.sessionAffinityConfig.clientIP.timeoutSeconds` when none is given: three hours. */
export const defaultClientIPTimeoutSeconds = 10800;

/**
 * Decode-time defaults of a Service, in place. Cluster IPs, IP families, node ports and the health-check node port are not defaulted
 * here: allocation sets them (`pkg/apis/core/v1/defaults.go`).
 *
 * @returns the same object
 */
export function defaultService<T extends Service>(service: T): T {
  if (!isJsonObject(service)) return service;
  const spec = ensureObject(service as JsonObject, "spec");
  if (spec === undefined) return service;
  fillText(spec, "sessionAffinity", "None");
  if (spec.sessionAffinity === "None") delete spec.sessionAffinityConfig;
  if (spec.sessionAffinity === "ClientIP") {
    const config = ensureObject(spec, "sessionAffinityConfig");
    const clientIP = config && ensureObject(config, "clientIP");
    if (clientIP !== undefined) fill(clientIP, "timeoutSeconds", defaultClientIPTimeoutSeconds);
  }
  fillText(spec, "type", "ClusterIP");
  const type = spec.type;
  for (const port of objectsIn(spec.ports)) {
    fillText(port, "protocol", "TCP");
    const target = port.targetPort;
    if (target === undefined || target === null || target === 0 || target === "") {
      port.targetPort = numberOf(port.port) ?? 0;
    }
  }
  if (type === "NodePort" || type === "LoadBalancer" || (type === "ClusterIP" && listOf(spec.externalIPs).length > 0)) {
    fillText(spec, "externalTrafficPolicy", "Cluster");
  }
  if (type === "ClusterIP" || type === "NodePort" || type === "LoadBalancer") {
    fill(spec, "internalTrafficPolicy", "Cluster");
  }
  if (type === "LoadBalancer") {
    fill(spec, "allocateLoadBalancerNodePorts", true);
    const loadBalancer = isJsonObject(service.status) ? service.status.loadBalancer : undefined;
    for (const ingress of objectsIn(isJsonObject(loadBalancer) ? loadBalancer.ingress : undefined)) {
      if (textOf(ingress.ip) !== "") fill(ingress, "ipMode", "VIP");
    }
  }
  return service;
}

/** Decode-time defaults of Endpoints, in place: the protocol of ports. Returns the same object. */
export function defaultEndpoints<T extends Endpoints>(endpoints: T): T {
  if (!isJsonObject(endpoints)) return endpoints;
  for (const subset of objectsIn(endpoints.subsets)) {
    for (const port of objectsIn(subset.ports)) fillText(port, "protocol", "TCP");
  }
  return endpoints;
}

/**
 * Decode-time defaults of an EndpointSlice, in place: name and protocol of ports, and the empty `conditions` that servers always
 * write. Returns the same object.
 */
export function defaultEndpointSlice<T extends EndpointSlice>(slice: T): T {
  if (!isJsonObject(slice)) return slice;
  for (const port of objectsIn(slice.ports)) {
    fill(port, "name", "");
    fill(port, "protocol", "TCP");
  }
  for (const endpoint of objectsIn(slice.endpoints)) fill(endpoint, "conditions", {});
  return slice;
}
