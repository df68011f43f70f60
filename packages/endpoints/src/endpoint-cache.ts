import type { AddressType, Endpoint, EndpointPort, EndpointSlice, Node, Pod, Service } from "@portolan/core";
import { endpointIdentity, endpointOf, endpointPortsOf, portSetKey } from "./slice-endpoints.ts";

/** A pod as one Service has it in one family. */
export interface DerivedEndpoint {
  readonly ports: EndpointPort[];
  readonly portsKey: string;
  /** Undefined when the pod has no address of the family. */
  readonly endpoint: Endpoint | undefined;
}

/**
 * Remembers what was derived from objects, so that a change of one pod among thousands costs one derivation. Right only for objects
 * that are never modified, such as those of an informer's cache; forgets with the objects.
 */
export interface EndpointCache {
  derive(pod: Pod, node: Node | undefined, service: Service, family: AddressType): DerivedEndpoint;
  identity(endpoint: Endpoint): string;
  portsKey(slice: EndpointSlice): string;
}

/** Derives anew each time. */
export const noEndpointCache: EndpointCache = {
  derive(pod, node, service, family) {
    const ports = endpointPortsOf(service, pod);
    return { ports, portsKey: portSetKey(ports), endpoint: endpointOf(pod, node, service, family) };
  },
  identity: endpointIdentity,
  portsKey: (slice) => portSetKey(slice.ports),
};

/** Makes an {@link EndpointCache} that remembers. */
export function createEndpointCache(): EndpointCache {
  const pods = new WeakMap<
    Pod,
    { service: Service; node: Node | undefined; family: string; derived: DerivedEndpoint }[]
  >();
  const identities = new WeakMap<Endpoint, string>();
  const keys = new WeakMap<EndpointSlice, string>();
  return {
    derive(pod, node, service, family) {
      let known = pods.get(pod);
      if (known === undefined) {
        known = [];
        pods.set(pod, known);
      }
      const entry = known.find((each) => each.family === family && each.service.metadata.uid === service.metadata.uid);
      if (entry !== undefined && entry.service === service && entry.node === node) return entry.derived;
      const derived = noEndpointCache.derive(pod, node, service, family);
      if (entry === undefined) known.push({ service, node, family, derived });
      else Object.assign(entry, { service, node, derived });
      return derived;
    },
    identity(endpoint) {
      let identity = identities.get(endpoint);
      if (identity === undefined) {
        identity = endpointIdentity(endpoint);
        identities.set(endpoint, identity);
      }
      return identity;
    },
    portsKey(slice) {
      let key = keys.get(slice);
      if (key === undefined) {
        key = portSetKey(slice.ports);
        keys.set(slice, key);
      }
      return key;
    },
  };
}
