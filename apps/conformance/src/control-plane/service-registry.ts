/**
 * The order in which a server handles writes of Services, over the pure functions of `@portolan/core` and an allocator that is as
 * plain as it can be: sets of what is taken, lowest free value first. It decides nothing about Services by itself.
 */
import {
  allocatesNodePorts,
  applyDefaults,
  defaultServiceOnRead,
  dropTypeDependentFields,
  initializeIPFamilies,
  internalErrorStatus,
  invalid,
  invalidStatus,
  ipAllocationRange,
  isHeadlessService,
  needsHealthCheckNodePort,
  nodePortBands,
  normalizeClusterIPs,
  patchAllocatedValues,
  resources,
  type Service,
  type ServiceSpec,
  serviceWarnings,
  unknownErrorStatus,
  usesNodePorts,
  type ValidationGates,
  validateObject,
} from "@portolan/core";
import {
  addressFromBigInt,
  addressToBigInt,
  canonicalAddress,
  formatAddress,
  type IPFamily,
  parseAddress,
} from "@portolan/net";

/** The cluster of a vector. */
export interface ClusterSettings {
  readonly serviceCIDRs?: readonly string[];
  readonly nodePortRange?: string;
  readonly families?: readonly IPFamily[];
  readonly existing?: {
    readonly allocatedClusterIPs?: readonly string[];
    readonly allocatedNodePorts?: readonly number[];
  };
  readonly featureGates?: ValidationGates;
}

function fail(service: Service, field: string, value: unknown, detail: string): never {
  throw invalidStatus(resources.services, service.metadata.name ?? "", [invalid(field, value, detail)]);
}

/** Services of one namespace. All methods throw `StatusError`; after a throw nothing has changed. */
export class ServiceRegistry {
  readonly #ranges;
  readonly #ports;
  readonly #range: string;
  readonly #gates: ValidationGates;
  readonly #addresses = new Set<string>();
  readonly #nodePorts = new Set<number>();
  readonly families: readonly IPFamily[];

  constructor(cluster: ClusterSettings = {}) {
    const cidrs = cluster.serviceCIDRs ?? ["10.96.0.0/16"];
    this.#ranges = cidrs.map((cidr) => ipAllocationRange(cidr)!);
    this.families = cluster.families ?? this.#ranges.map((range) => range.family);
    this.#range = cluster.nodePortRange ?? "30000-32767";
    this.#ports = nodePortBands(this.#range)!;
    this.#gates = cluster.featureGates ?? {};
    this.occupy(cluster.existing?.allocatedClusterIPs ?? [], cluster.existing?.allocatedNodePorts ?? []);
  }

  /** Marks addresses and node ports as taken by somebody else. */
  occupy(addresses: readonly string[], nodePorts: readonly number[] = []): void {
    for (const address of addresses) this.#addresses.add(address);
    for (const port of nodePorts) this.#nodePorts.add(port);
  }

  #takeAddress(service: Service, wanted: string, taken: Set<string>): void {
    const spec = service.spec as ServiceSpec;
    const address = canonicalAddress(wanted) ?? wanted;
    const parsed = parseAddress(address);
    const value = parsed === undefined ? 0n : addressToBigInt(parsed);
    const inRange = this.#ranges.some(
      (range) =>
        range.family === parsed?.family &&
        value >= addressToBigInt(range.first) &&
        value <= addressToBigInt(range.last),
    );
    if (!inRange) {
      fail(
        service,
        "spec.clusterIPs",
        spec.clusterIPs,
        `failed to allocate IP ${wanted}: the provided network does not match the current range`,
      );
    }
    if (this.#addresses.has(address) || taken.has(address)) {
      fail(
        service,
        "spec.clusterIPs",
        spec.clusterIPs,
        `failed to allocate IP ${wanted}: provided IP is already allocated`,
      );
    }
    taken.add(address);
  }

  #nextAddress(service: Service, family: IPFamily, taken: Set<string>): string {
    const range = this.#ranges.find((candidate) => candidate.family === family)!;
    for (let value = addressToBigInt(range.first); value <= addressToBigInt(range.last); value++) {
      const address = formatAddress(addressFromBigInt(value, family));
      if (this.#addresses.has(address) || taken.has(address)) continue;
      taken.add(address);
      return address;
    }
    throw internalErrorStatus(
      `failed to allocate a serviceIP for Service ${JSON.stringify(service.metadata.name)}: range is full`,
    );
  }

  #allocateAddresses(service: Service, old: Service | undefined, taken: Set<string>): void {
    const spec = service.spec as ServiceSpec;
    if (spec.type === "ExternalName" || isHeadlessService(service)) return;
    const kept = old === undefined || old.spec?.type === "ExternalName" ? 0 : (old.spec?.clusterIPs?.length ?? 0);
    const addresses = [...(spec.clusterIPs ?? [])];
    for (const [index, family] of (spec.ipFamilies ?? []).entries()) {
      if (index < kept) continue;
      const wanted = addresses[index];
      if (wanted !== undefined && wanted !== "") this.#takeAddress(service, wanted, taken);
      else addresses[index] = this.#nextAddress(service, family, taken);
    }
    if (addresses.length > 0) {
      spec.clusterIPs = addresses;
      spec.clusterIP = addresses[0]!;
    }
  }

  #takePort(port: number, taken: Set<number>): string | undefined {
    if (port < this.#ports.first || port > this.#ports.last) {
      return `provided port is not in the valid range. The range of valid ports is ${this.#range}`;
    }
    if (this.#nodePorts.has(port) || taken.has(port)) return "provided port is already allocated";
    taken.add(port);
    return undefined;
  }

  #nextPort(taken: Set<number>): number {
    for (const [first, last] of [this.#ports.dynamicBand, this.#ports.staticBand ?? [1, 0]]) {
      for (let port = first; port <= last; port++) {
        if (this.#nodePorts.has(port) || taken.has(port)) continue;
        taken.add(port);
        return port;
      }
    }
    throw internalErrorStatus("failed to allocate a nodePort: range is full");
  }

  #createPorts(service: Service, taken: Set<number>): void {
    const ports = service.spec?.ports ?? [];
    const shared = new Map<number, number>();
    for (const [index, port] of ports.entries()) {
      if (!port.nodePort && !allocatesNodePorts(service)) continue;
      const known = shared.get(port.port);
      const asked =
        port.nodePort || (known === undefined ? ports.find((p) => p.port === port.port && p.nodePort)?.nodePort : 0);
      if (known !== undefined && (!asked || asked === known)) {
        port.nodePort = known;
        continue;
      }
      if (asked) {
        const problem = this.#takePort(asked, taken);
        if (problem !== undefined) fail(service, `spec.ports[${index}].nodePort`, asked, problem);
        port.nodePort = asked;
      } else port.nodePort = this.#nextPort(taken);
      if (known === undefined) shared.set(port.port, port.nodePort);
    }
  }

  #updatePorts(service: Service, old: Service, taken: Set<number>): void {
    const before = new Set((old.spec?.ports ?? []).map((port) => port.nodePort));
    const seen = new Set<string>();
    for (const [index, port] of (service.spec?.ports ?? []).entries()) {
      if (!port.nodePort && !allocatesNodePorts(service)) continue;
      if (port.nodePort) {
        if (!before.has(port.nodePort) && !taken.has(port.nodePort)) {
          const problem = this.#takePort(port.nodePort, taken);
          if (problem !== undefined) fail(service, `spec.ports[${index}].nodePort`, port.nodePort, problem);
        }
      } else port.nodePort = this.#nextPort(taken);
      const key = `{${port.protocol} ${port.nodePort}}`;
      if (seen.has(key)) throw unknownErrorStatus(`duplicate nodePort: ${key}`);
      seen.add(key);
    }
  }

  #allocatePorts(service: Service, old: Service | undefined, taken: Set<number>): void {
    if (usesNodePorts(service)) {
      if (old === undefined) this.#createPorts(service, taken);
      else this.#updatePorts(service, old, taken);
    }
    const spec = service.spec as ServiceSpec;
    if (!needsHealthCheckNodePort(service) || (old !== undefined && needsHealthCheckNodePort(old))) return;
    const asked = spec.healthCheckNodePort ?? 0;
    if (asked === 0) spec.healthCheckNodePort = this.#nextPort(taken);
    else {
      const problem = this.#takePort(asked, taken);
      if (problem !== undefined) {
        throw internalErrorStatus(`failed to allocate requested HealthCheck NodePort ${asked}: ${problem}`);
      }
    }
  }

  #release(service: Service): void {
    for (const address of service.spec?.clusterIPs ?? []) this.#addresses.delete(address);
    for (const port of service.spec?.ports ?? []) this.#nodePorts.delete(port.nodePort ?? 0);
    this.#nodePorts.delete(service.spec?.healthCheckNodePort ?? 0);
  }

  #hold(service: Service): void {
    for (const address of service.spec?.clusterIPs ?? []) if (address !== "None") this.#addresses.add(address);
    for (const port of service.spec?.ports ?? []) if (port.nodePort) this.#nodePorts.add(port.nodePort);
    if (service.spec?.healthCheckNodePort) this.#nodePorts.add(service.spec.healthCheckNodePort);
  }

  #check(service: Service, old?: Service): void {
    const errors = validateObject(service, old, { gates: this.#gates });
    if (errors.length > 0) throw invalidStatus(resources.services, service.metadata.name ?? "", errors);
  }

  #initialize(service: Service, old?: Service): void {
    const errors = initializeIPFamilies({
      service,
      old,
      clusterFamilies: this.families,
      gates: this.#gates,
    });
    if (errors.length > 0) throw invalidStatus(resources.services, service.metadata.name ?? "", errors);
  }

  /** Creates a Service from a request body; answers it and the warnings. */
  create(body: Service): { readonly service: Service; readonly warnings: readonly string[] } {
    const service = structuredClone(body);
    service.metadata ??= {};
    service.metadata.namespace ??= "default";
    applyDefaults(service);
    const addresses = new Set<string>();
    const ports = new Set<number>();
    normalizeClusterIPs(service);
    this.#initialize(service);
    this.#allocateAddresses(service, undefined, addresses);
    this.#allocatePorts(service, undefined, ports);
    service.status = { loadBalancer: {} };
    this.#check(service);
    this.#hold(service);
    const warnings = serviceWarnings(service);
    defaultServiceOnRead(service, this.families);
    return { service, warnings };
  }

  /** Replaces a stored Service by a request body; answers it and the warnings. */
  update(stored: Service, body: Service): { readonly service: Service; readonly warnings: readonly string[] } {
    const old = structuredClone(stored);
    const service = structuredClone(body);
    service.metadata.namespace ??= "default";
    applyDefaults(service);
    const addresses = new Set<string>();
    const ports = new Set<number>();
    defaultServiceOnRead(old, this.families);
    patchAllocatedValues(service, old);
    normalizeClusterIPs(service, old);
    this.#initialize(service, old);
    this.#allocateAddresses(service, old, addresses);
    this.#allocatePorts(service, old, ports);
    service.status = structuredClone(old.status ?? { loadBalancer: {} });
    dropTypeDependentFields(service, old);
    this.#check(service, old);
    this.#release(old);
    this.#hold(service);
    const warnings = serviceWarnings(service, old);
    defaultServiceOnRead(service, this.families);
    return { service, warnings };
  }

  /** Replaces the status of a stored Service. */
  updateStatus(stored: Service, body: Service): Service {
    const service = structuredClone(body);
    applyDefaults(service);
    service.spec = structuredClone(stored.spec ?? {});
    const errors = validateObject(service, stored, { subresource: "status", gates: this.#gates });
    if (errors.length > 0) throw invalidStatus(resources.services, service.metadata.name ?? "", errors);
    return service;
  }
}
