import {
  type IPAddressObject,
  internalErrorStatus,
  invalid,
  invalidStatus,
  type KubernetesObject,
  resources,
  type Service,
  type ServiceCIDR,
  type ServiceSpec,
  type StatusError,
  unknownErrorStatus,
} from "@portolan/core";
import { canonicalAddress, familyOf, type IPFamily } from "@portolan/net";
import { collectionName } from "../requests/request-info.ts";
import type { Store, StoreEvent, StoreWrite } from "../store/store.ts";
import { createIpRange, type IpRange } from "./ip-range.ts";
import type { NodePortRange } from "./node-port-range.ts";

/** Settings of {@link createServiceAllocator}. */
export interface ServiceAllocatorOptions {
  readonly store: Store;
  readonly nodePorts: NodePortRange;
  /** In [0, 1). */
  readonly random: () => number;
  /** Fills uid, creationTimestamp and managedFields of an IPAddress. */
  readonly stamp: (object: KubernetesObject) => KubernetesObject;
}

/**
 * Cluster addresses and node ports of Services. What is taken is read from the store itself (IPAddress objects, node ports of Services), never
 * kept beside it: an allocation exists exactly when the write that holds it has happened, so nothing can leak.
 */
export interface ServiceAllocator {
  /**
   * Fills `spec` of a Service that is to be created, in place.
   *
   * @returns writes that belong to the Service's own
   * @throws StatusError 422 or 500 as the real server, with nothing changed in the store
   */
  allocateForCreate(service: Service, dryRun: boolean): StoreWrite[];
  /** The same for an update; the addresses and ports of `old` are the Service's already. */
  allocateForUpdate(service: Service, old: Service, dryRun: boolean): StoreWrite[];
  /** Writes that free what a Service has. */
  release(service: Service): StoreWrite[];
  /**
   * Makes records of addresses equal to what Services say, as the repair loop of the real server does: those of Services that are gone or have
   * other addresses are removed, missing ones are written. Writes of this server leave nothing to repair; a store may have been filled by others.
   *
   * @returns number of records that were changed
   */
  repair(): number;
  /** Ready ranges, of the ServiceCIDR objects. */
  ranges(): readonly IpRange[];
  close(): void;
}

const ipAddresses = collectionName(resources.ipAddresses);
const serviceCIDRs = collectionName(resources.serviceCIDRs);
const services = collectionName(resources.services);
const managedBy = "ipallocator.k8s.io";

/** Dry runs show node ports that no range can hold. */
const firstDryRunPort = 32769;

function usesNodePorts(spec: ServiceSpec): boolean {
  return spec.type === "NodePort" || (spec.type === "LoadBalancer" && spec.allocateLoadBalancerNodePorts !== false);
}

function mayHaveNodePorts(spec: ServiceSpec): boolean {
  return spec.type === "NodePort" || spec.type === "LoadBalancer";
}

function needsHealthCheck(spec: ServiceSpec): boolean {
  return spec.type === "LoadBalancer" && spec.externalTrafficPolicy === "Local";
}

function usesClusterIPs(spec: ServiceSpec): boolean {
  return spec.type !== "ExternalName" && spec.clusterIPs?.[0] !== "None" && spec.clusterIP !== "None";
}

/** Node ports of a stored Service's ports. */
function nodePortsOf(spec: ServiceSpec | undefined): number[] {
  if (spec === undefined || !mayHaveNodePorts(spec)) return [];
  return (spec.ports ?? []).map((port) => port.nodePort ?? 0).filter((port) => port > 0);
}

/** Ports of the node that a stored Service holds. */
function portsOf(service: Service | undefined): number[] {
  const spec = service?.spec;
  if (spec === undefined) return [];
  const ports = nodePortsOf(spec);
  if (needsHealthCheck(spec) && (spec.healthCheckNodePort ?? 0) > 0) ports.push(spec.healthCheckNodePort as number);
  return [...new Set(ports)];
}

function addressesOf(service: Service): string[] {
  const spec = service.spec;
  if (spec === undefined || !usesClusterIPs(spec)) return [];
  return (spec.clusterIPs ?? [])
    .map((address) => canonicalAddress(address) ?? address)
    .filter((address) => address !== "");
}

function describeParent(object: IPAddressObject): string {
  const parent = object.spec?.parentRef;
  return `${parent?.namespace ?? ""}/${parent?.name ?? ""}`;
}

function describeService(service: Service): string {
  return `${service.metadata.namespace ?? ""}/${service.metadata.name ?? ""}`;
}

/** Makes the allocator of a store. */
export function createServiceAllocator(options: ServiceAllocatorOptions): ServiceAllocator {
  const { store, nodePorts, random } = options;

  // Number of Services that hold a port; kept by the events of the store, so it is right after whatever is written.
  const portHolders = new Map<number, number>();
  function hold(service: Service | undefined, change: 1 | -1): void {
    for (const port of portsOf(service)) {
      const count = (portHolders.get(port) ?? 0) + change;
      if (count === 0) portHolders.delete(port);
      else portHolders.set(port, count);
    }
  }
  for (const stored of store.list(services)) hold(stored.object as Service, 1);

  let ranges: IpRange[] | undefined;
  function currentRanges(): IpRange[] {
    if (ranges === undefined) {
      ranges = [];
      for (const stored of store.list(serviceCIDRs)) {
        const cidr = stored.object as ServiceCIDR;
        const isReady =
          cidr.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") ===
          true;
        if (!isReady || cidr.metadata.deletionTimestamp !== undefined) continue;
        for (const text of cidr.spec?.cidrs ?? []) ranges.push(createIpRange(text));
      }
    }
    return ranges;
  }

  const unsubscribe = store.subscribe((event: StoreEvent) => {
    if (event.current.collection === services) {
      hold(event.previous?.object as Service | undefined, -1);
      if (event.type !== "DELETED") hold(event.current.object as Service, 1);
    } else if (event.current.collection === serviceCIDRs) ranges = undefined;
  });

  function invalidService(service: Service, field: string, value: unknown, detail: string): StatusError {
    return invalidStatus(resources.services, service.metadata.name ?? "", [invalid(field, value, detail)]);
  }

  function isAddressTaken(address: string): boolean {
    return store.get(ipAddresses, "", address) !== undefined;
  }

  function recordAddress(service: Service, address: string): StoreWrite {
    const object: IPAddressObject = {
      apiVersion: resources.ipAddresses.apiVersion,
      kind: resources.ipAddresses.kind,
      metadata: {
        name: address,
        labels: {
          "ipaddress.kubernetes.io/ip-family": familyOf(address) ?? "",
          "ipaddress.kubernetes.io/managed-by": managedBy,
        },
      },
      spec: {
        parentRef: {
          group: "",
          resource: "services",
          ...(service.metadata.namespace === undefined ? {} : { namespace: service.metadata.namespace }),
          ...(service.metadata.name === undefined ? {} : { name: service.metadata.name }),
        },
      },
    };
    return {
      collection: ipAddresses,
      namespace: "",
      name: address,
      object: options.stamp(object),
      expectedRevision: undefined,
    };
  }

  function freeAddress(service: Service, address: string): StoreWrite | undefined {
    const stored = store.get(ipAddresses, "", address);
    // Only the own record: somebody may have put another in its place by hand.
    if (stored === undefined || describeParent(stored.object as IPAddressObject) !== describeService(service))
      return undefined;
    return { collection: ipAddresses, namespace: "", name: address, expectedRevision: stored.revision };
  }

  /** Allocates the addresses of `spec.clusterIPs` from the given index on; fills gaps. */
  function allocateAddresses(service: Service, from: number, dryRun: boolean): StoreWrite[] {
    const spec = service.spec as ServiceSpec;
    const families = (spec.ipFamilies ?? []) as readonly IPFamily[];
    const asked = [...(spec.clusterIPs ?? [])];
    const result: string[] = [...asked];
    const writes: StoreWrite[] = [];
    const taken = new Set<string>();
    const shown = asked.length === 0 ? [""] : asked;

    for (const [index, family] of families.entries()) {
      if (index < from) continue;
      const wanted = asked[index];
      if (wanted !== undefined && wanted !== "") {
        const address = canonicalAddress(wanted) ?? wanted;
        if (!currentRanges().some((range) => range.family === familyOf(address) && range.contains(address))) {
          throw invalidService(
            service,
            "spec.clusterIPs",
            shown,
            `failed to allocate IP ${wanted}: the provided network does not match the current range`,
          );
        }
        if (dryRun) continue;
        if (isAddressTaken(address) || taken.has(address)) {
          throw invalidService(
            service,
            "spec.clusterIPs",
            shown,
            `failed to allocate IP ${wanted}: provided IP is already allocated`,
          );
        }
        taken.add(address);
        writes.push(recordAddress(service, address));
        continue;
      }
      const candidates = currentRanges().filter((range) => range.family === family);
      if (candidates.length === 0) {
        throw invalidService(service, "spec.clusterIPs", shown, "failed to allocate IP: allocator not ready");
      }
      if (dryRun) {
        result[index] = (candidates[0] as IpRange).network;
        continue;
      }
      let address: string | undefined;
      for (const range of candidates) {
        address = range.next((candidate) => isAddressTaken(candidate) || taken.has(candidate), random);
        if (address !== undefined) break;
      }
      if (address === undefined) {
        throw internalErrorStatus(
          `failed to allocate a serviceIP for Service ${JSON.stringify(service.metadata.name ?? "")}: range is full`,
        );
      }
      if ((service.metadata.name ?? "") === "") {
        // The record of the address needs the Service's name; that is how a Service without one is refused.
        throw invalidService(
          service,
          "spec.clusterIPs",
          shown,
          `failed to allocate IP: IPAddress.networking.k8s.io ${JSON.stringify(address)} is invalid: spec.parentRef.name: Required value`,
        );
      }
      taken.add(address);
      result[index] = address;
      writes.push(recordAddress(service, address));
    }
    if (result.length > 0) {
      spec.clusterIPs = result;
      spec.clusterIP = result[0] as string;
    }
    return writes;
  }

  /** Node ports that one request asks for or is given. */
  class PortTransaction {
    readonly #held: ReadonlySet<number>;
    readonly #taken = new Set<number>();
    readonly #dryRun: boolean;
    #dryRunPort = firstDryRunPort;

    constructor(held: readonly number[], dryRun: boolean) {
      this.#held = new Set(held);
      this.#dryRun = dryRun;
    }

    holds(port: number): boolean {
      return this.#held.has(port) || this.#taken.has(port);
    }

    /** The reason why a port cannot be had, or `undefined` after taking it. */
    take(port: number): string | undefined {
      if (!nodePorts.contains(port)) {
        if (this.#dryRun) return undefined;
        return `provided port is not in the valid range. The range of valid ports is ${nodePorts.text}`;
      }
      if (portHolders.has(port) || this.#taken.has(port)) return "provided port is already allocated";
      this.#taken.add(port);
      return undefined;
    }

    next(): number | undefined {
      if (this.#dryRun) return this.#dryRunPort++;
      const port = nodePorts.next((candidate) => portHolders.has(candidate) || this.holds(candidate), random);
      if (port !== undefined) this.#taken.add(port);
      return port;
    }
  }

  function allocateHealthCheckPort(service: Service, ports: PortTransaction): void {
    const spec = service.spec as ServiceSpec;
    const asked = spec.healthCheckNodePort ?? 0;
    if (asked !== 0) {
      const problem = ports.take(asked);
      if (problem !== undefined)
        throw internalErrorStatus(`failed to allocate requested HealthCheck NodePort ${asked}: ${problem}`);
      return;
    }
    const port = ports.next();
    if (port === undefined) throw internalErrorStatus("failed to allocate a HealthCheck NodePort : range is full");
    spec.healthCheckNodePort = port;
  }

  return {
    ranges: currentRanges,

    allocateForCreate(service, dryRun) {
      const spec = service.spec as ServiceSpec;
      const writes = usesClusterIPs(spec) ? allocateAddresses(service, 0, dryRun) : [];
      const transaction = new PortTransaction([], dryRun);
      if (mayHaveNodePorts(spec)) {
        // Ports of one number share a node port across protocols.
        const byPort = new Map<number, number>();
        for (const [index, port] of (spec.ports ?? []).entries()) {
          const shared = byPort.get(port.port);
          const asked = port.nodePort ?? 0;
          if (asked !== 0 && shared !== asked) {
            const problem = transaction.take(asked);
            if (problem !== undefined) throw invalidService(service, `spec.ports[${index}].nodePort`, asked, problem);
            byPort.set(port.port, asked);
          } else if (asked === 0 && usesNodePorts(spec)) {
            const later = (spec.ports ?? [])
              .slice(index + 1)
              .find((other) => other.port === port.port && (other.nodePort ?? 0) !== 0);
            if (shared !== undefined) port.nodePort = shared;
            else if (later !== undefined) {
              const problem = transaction.take(later.nodePort as number);
              if (problem !== undefined)
                throw invalidService(service, `spec.ports[${index}].nodePort`, later.nodePort, problem);
              port.nodePort = later.nodePort as number;
              byPort.set(port.port, later.nodePort as number);
            } else {
              const chosen = transaction.next();
              if (chosen === undefined) throw internalErrorStatus("failed to allocate a nodePort: range is full");
              port.nodePort = chosen;
              byPort.set(port.port, chosen);
            }
          }
        }
      }
      if (needsHealthCheck(spec)) allocateHealthCheckPort(service, transaction);
      return writes;
    },

    allocateForUpdate(service, old, dryRun) {
      const spec = service.spec as ServiceSpec;
      const before = old.spec as ServiceSpec;
      const held = addressesOf(old);
      const writes: StoreWrite[] = [];

      const hadAddresses = before.type !== "ExternalName";
      if (spec.type === "ExternalName" && hadAddresses) {
        for (const address of held) {
          const write = freeAddress(old, address);
          if (write !== undefined) writes.push(write);
        }
      } else if (usesClusterIPs(spec)) {
        if (held.length === 0) {
          if (before.type === "ExternalName") writes.push(...allocateAddresses(service, 0, dryRun));
        } else {
          // The primary address stays; only the second may come or go here. Whatever else was changed is refused by validation.
          const wantedFamilies = spec.ipFamilies?.length ?? 0;
          const first = canonicalAddress(spec.clusterIPs?.[0] ?? "") ?? "";
          if (wantedFamilies === 2 && held.length === 1) {
            writes.push(...allocateAddresses(service, 1, dryRun));
          } else if ((spec.clusterIPs?.length ?? 0) === 1 && held.length === 2 && first === held[0]) {
            const write = freeAddress(old, held[1] as string);
            if (write !== undefined) writes.push(write);
          }
        }
      }

      // The health-check port is not one of them: a port of the Service that wants it is refused as if it were somebody else's.
      const transaction = new PortTransaction(nodePortsOf(old.spec), dryRun);
      if (mayHaveNodePorts(spec)) {
        const seen = new Set<string>();
        for (const [index, port] of (spec.ports ?? []).entries()) {
          const asked = port.nodePort ?? 0;
          const key = `${port.protocol} ${asked}`;
          if (asked !== 0) {
            if (seen.has(key)) throw unknownErrorStatus(`duplicate nodePort: {${port.protocol} ${asked}}`);
            seen.add(key);
            if (!transaction.holds(asked)) {
              const problem = transaction.take(asked);
              if (problem !== undefined) throw invalidService(service, `spec.ports[${index}].nodePort`, asked, problem);
            }
          } else if (usesNodePorts(spec)) {
            const chosen = transaction.next();
            if (chosen === undefined) throw internalErrorStatus("failed to allocate a nodePort: range is full");
            port.nodePort = chosen;
            seen.add(`${port.protocol} ${chosen}`);
          }
        }
      }

      if (needsHealthCheck(spec) && !needsHealthCheck(before)) allocateHealthCheckPort(service, transaction);
      return writes;
    },

    release(service) {
      const writes: StoreWrite[] = [];
      for (const address of addressesOf(service)) {
        const write = freeAddress(service, address);
        if (write !== undefined) writes.push(write);
      }
      return writes;
    },

    repair() {
      const owners = new Map<string, Service>();
      for (const stored of store.list(services)) {
        const service = stored.object as Service;
        // Of two Services with one address the first has it.
        for (const address of addressesOf(service)) if (!owners.has(address)) owners.set(address, service);
      }
      const writes: StoreWrite[] = [];
      for (const stored of store.list(ipAddresses)) {
        const owner = owners.get(stored.name);
        const isManaged = stored.object.metadata?.labels?.["ipaddress.kubernetes.io/managed-by"] === managedBy;
        const isRight =
          owner !== undefined && describeParent(stored.object as IPAddressObject) === describeService(owner);
        if (isRight || (owner === undefined && !isManaged)) owners.delete(stored.name);
        else {
          const { name, revision } = stored;
          writes.push({ collection: ipAddresses, namespace: "", name, expectedRevision: revision });
        }
      }
      if (writes.length > 0) store.write(writes);
      const missing = [...owners].map(([address, service]) => recordAddress(service, address));
      if (missing.length > 0) store.write(missing);
      return writes.length + missing.length;
    },

    close: unsubscribe,
  };
}
