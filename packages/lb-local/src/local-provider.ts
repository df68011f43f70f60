import type { LoadBalancerIngress, Service } from "@portolan/core";
import {
  type AnnotationRegistry,
  type ApplyOutcome,
  type Capabilities,
  type Change,
  type Diagnostic,
  type LoadBalancerProvider,
  ProviderError,
  type ServiceKey,
} from "@portolan/lb";
import { canonicalAddress, familyOf } from "@portolan/net";
import {
  type AddressAllocator,
  type AddressPool,
  type AddressUse,
  type Allocation,
  type AllocationFailure,
  type AllocationRequest,
  createAddressAllocator,
  parsePools,
} from "./pool.ts";

/** Options of {@link localProvider}. */
export interface LocalProviderOptions {
  /** Pools of its own. Default: none. */
  readonly pools?: readonly AddressPool[];
  /** An allocator that it shares with other providers, instead of pools of its own. */
  readonly allocator?: AddressAllocator;
  /** `spec.loadBalancerClass` that it answers to, beside Services without a class. Default `portolan.dev/local`. */
  readonly loadBalancerClass?: string;
}

/** What the provider wants for a Service. */
export interface LocalModel {
  readonly request: AllocationRequest;
  /** What it has, if that is what it should have. */
  readonly held?: { readonly addresses: readonly string[] };
}

/** What a Service has, and what the pools would give for a request. */
export interface LocalObservation {
  readonly addresses: readonly string[];
  readonly use: AddressUse | undefined;
  find(request: AllocationRequest): Allocation | AllocationFailure;
}

/** Annotations that it reads. The `metallb.io` names are accepted because manifests carry them. */
export const localAnnotations = {
  addresses: ["portolan.dev/load-balancer-ips", "metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"],
  pool: ["portolan.dev/address-pool", "metallb.io/address-pool", "metallb.universe.tf/address-pool"],
  sharing: ["portolan.dev/allow-shared-ip", "metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip"],
} as const;

const capabilities: Capabilities = {
  protocols: ["TCP", "UDP", "SCTP"],
  mixedProtocol: "full",
  status: "ip",
  ipMode: "VIP",
  dualStack: true,
  requestedIP: "any",
  sourceRanges: "enforced",
  sharedFrontend: true,
  needsNodePorts: false,
  targets: "node",
  internal: false,
  sessionAffinity: true,
  callBudget: { steadyReads: 3 },
};

const text = { kind: "string" } as const;

/** What the provider reads, each name with its change: the address stays as long as it fits. */
const annotations: AnnotationRegistry = {
  prefixes: ["portolan.dev/", "metallb.io/", "metallb.universe.tf/"],
  toleratesOthers: true,
  rows: [
    ...localAnnotations.addresses.map((key) => ({
      key,
      type: { kind: "addresses" } as const,
      sets: "the addresses that the Service gets, one per family",
      default: "the first free ones of a pool",
      change: "ip-change" as const,
    })),
    ...localAnnotations.pool.map((key) => ({
      key,
      type: text,
      sets: "the pool that addresses come from",
      default: "all pools, in their order",
      change: "ip-change" as const,
    })),
    ...localAnnotations.sharing.map((key) => ({
      key,
      type: text,
      sets: "Services with the same text may share an address when their ports differ",
      change: "in-place" as const,
    })),
    {
      key: "portolan.dev/scheduler",
      type: text,
      sets: "nothing here: how nodes choose among endpoints",
      change: "ignored",
    },
  ],
};

function annotation(service: Service, keys: readonly string[]): string | undefined {
  for (const key of keys) {
    const value = service.metadata.annotations?.[key]?.trim();
    if (value) return value;
  }
  return undefined;
}

function requestedAddresses(service: Service): string[] {
  const listed = annotation(service, localAnnotations.addresses);
  if (listed !== undefined) {
    return listed
      .split(",")
      .map((text) => text.trim())
      .filter((text) => text !== "");
  }
  return service.spec?.loadBalancerIP ? [service.spec.loadBalancerIP] : [];
}

/** What a Service asks of the pools. Families are those of its cluster addresses, for packets have to get there. */
export function allocationRequest(service: Service): AllocationRequest {
  const spec = service.spec ?? {};
  const clusterIPs = spec.clusterIPs ?? (spec.clusterIP ? [spec.clusterIP] : []);
  const families = [
    ...new Set(clusterIPs.map((address) => familyOf(address)).filter((family) => family !== undefined)),
  ];
  const pool = annotation(service, localAnnotations.pool);
  const sharingKey = annotation(service, localAnnotations.sharing);
  return {
    owner: `${service.metadata.namespace ?? ""}/${service.metadata.name ?? ""}`,
    ...(service.metadata.labels === undefined ? {} : { labels: service.metadata.labels }),
    families,
    requireAll: spec.ipFamilyPolicy === "RequireDualStack",
    addresses: requestedAddresses(service),
    ...(pool === undefined ? {} : { pool }),
    ports: (spec.ports ?? []).map((port) => `${port.protocol ?? "TCP"}/${port.port}`),
    ...(sharingKey === undefined ? {} : { sharingKey }),
    backendKey:
      spec.externalTrafficPolicy === "Local" ? JSON.stringify(Object.entries(spec.selector ?? {}).sort()) : "",
  };
}

/**
 * Addresses that a status may keep after a restart: none if an entry is no address, for then somebody else wrote it, or if there
 * are more than one of a family.
 */
export function recordedAddresses(service: Service): string[] {
  const entries = service.status?.loadBalancer?.ingress ?? [];
  const addresses = entries.map((entry) => canonicalAddress(entry.ip ?? "") ?? "");
  const families = addresses.map((address) => familyOf(address));
  const valid = families.every((family) => family !== undefined) && new Set(families).size === families.length;
  return valid && entries.every((entry) => !entry.hostname) ? addresses : [];
}

/**
 * A provider for laptops and bare metal: gives addresses of pools, in the semantics that MetalLB's users know. It keeps a
 * Service's address while that fits, shares one on request, and says who holds an address that is taken.
 */
export function localProvider(options: LocalProviderOptions): LoadBalancerProvider<LocalModel, LocalObservation> {
  const allocator = options.allocator ?? createAddressAllocator(parsePools(options.pools ?? []));
  const loadBalancerClass = options.loadBalancerClass ?? "portolan.dev/local";
  const ownerOf = (key: ServiceKey): string => `${key.namespace}/${key.name}`;
  const uids = new Map<string, string>();

  return {
    apiVersion: 1,
    id: "local",
    annotations,
    nameFor: (key) => ({ Address: ownerOf(key) }),
    classes: [loadBalancerClass],
    default: true,
    capabilities,
    claim(service) {
      if (service.spec?.type !== "LoadBalancer" && service.metadata.finalizers === undefined) return "not-mine";
      const wanted = service.spec?.loadBalancerClass;
      return wanted === undefined || wanted === loadBalancerClass ? "mine" : "not-mine";
    },
    validate(service): Diagnostic[] {
      const out: Diagnostic[] = [];
      if (service.spec?.loadBalancerIP && annotation(service, localAnnotations.addresses) !== undefined) {
        out.push({
          severity: "error",
          code: "ConflictingRequest",
          message: `both spec.loadBalancerIP and annotation ${localAnnotations.addresses[0]} are set; remove one of them`,
          field: "spec.loadBalancerIP",
        });
      }
      for (const text of requestedAddresses(service)) {
        if (familyOf(text) !== undefined) continue;
        out.push({
          severity: "error",
          code: "BadAddress",
          message: `requested address "${text}" is not an IP address`,
        });
      }
      return out;
    },
    async observe(_context, key) {
      const owner = ownerOf(key);
      return { addresses: allocator.addressesOf(owner), use: allocator.useOf(owner), find: allocator.find };
    },
    plan({ service, observed }) {
      const request = allocationRequest(service);
      const key = {
        namespace: service.metadata.namespace ?? "",
        name: service.metadata.name ?? "",
        uid: service.metadata.uid ?? "",
      };
      const before = observed.addresses;
      const found = observed.find(request);
      const plan = { key, desired: { request }, diagnostics: [] };
      const after = "addresses" in found ? found.addresses : request.addresses;
      const same = after.length === before.length && after.every((address) => before.includes(address));
      const held = { addresses: before };
      if (request.families.length === 0) return { ...plan, changes: [] };
      if (same && "addresses" in found) {
        const terms = (["ports", "sharingKey", "backendKey"] as const)
          .filter((field) => JSON.stringify(observed.use?.[field]) !== JSON.stringify(request[field]))
          .map((field) => [field, observed.use?.[field], request[field]] as const);
        if (terms.length === 0) return { ...plan, desired: { request, held }, changes: [] };
        const change: Change = {
          id: "address",
          action: "update",
          resource: { kind: "Address", name: request.owner },
          fields: terms,
          disruptive: "none",
          because: `${terms.map(([field]) => field).join(", ")} of the Service changed`,
          dependsOn: [],
        };
        return { ...plan, changes: [change] };
      }
      const lost = before.filter((address) => !after.includes(address));
      const asked = request.addresses.length > 0 || request.pool !== undefined;
      const change: Change = {
        id: "address",
        action: before.length === 0 ? "create" : lost.length > 0 ? "replace" : "update",
        resource: { kind: "Address", name: request.owner },
        fields: [["addresses", before, after]],
        disruptive: lost.length > 0 ? "ip-change" : "none",
        because:
          before.length === 0
            ? "the Service has no address yet"
            : asked
              ? "another address or pool is requested"
              : lost.length > 0
                ? `${lost.join(", ")} no longer fits the Service's families, pools or sharing`
                : "the Service has another family",
        dependsOn: [],
        ...(asked || lost.some((address) => !request.families.includes(familyOf(address)!)) ? { requested: true } : {}),
      };
      return { ...plan, changes: [change] };
    },
    async apply(context, plan): Promise<ApplyOutcome> {
      const { request, held } = plan.desired;
      if (request.families.length === 0) return { ingress: [] };
      let given = held?.addresses;
      if (given === undefined) {
        const result = allocator.allocate(request);
        if (!("addresses" in result)) {
          throw new ProviderError(result.code === "PoolExhausted" ? "Quota" : "UserConfig", result.message);
        }
        given = result.addresses;
        if (plan.changes.some((change) => change.fields.some(([field]) => field === "addresses"))) {
          context.report("Normal", "IPAllocated", `Assigned ${given.join(", ")} from pool ${result.pool}`);
        }
      }
      uids.set(ownerOf(plan.key), plan.key.uid);
      return { ingress: given.map((ip): LoadBalancerIngress => ({ ip, ipMode: "VIP" })) };
    },
    async destroy(_context, key) {
      // A late call for a Service that is gone must not free the addresses of its successor.
      const holder = uids.get(ownerOf(key));
      if (holder !== undefined && holder !== key.uid) return;
      if (allocator.addressesOf(ownerOf(key)).length > 0) allocator.release(ownerOf(key));
      uids.delete(ownerOf(key));
    },
    async *listOwned() {
      for (const owner of allocator.owners()) {
        const slash = owner.indexOf("/");
        const key = { namespace: owner.slice(0, slash), name: owner.slice(slash + 1), uid: uids.get(owner) ?? "" };
        for (const address of allocator.addressesOf(owner)) yield { kind: "Address", id: address, key };
      }
    },
    restore(services) {
      for (const service of services) {
        const addresses = recordedAddresses(service);
        if (addresses.length === 0) continue;
        const request = allocationRequest(service);
        // Its own families may be fewer than the Service's by now: what it has must not go to others all the same.
        const families = addresses.map((address) => familyOf(address)!);
        const result = allocator.allocate({ ...request, families, addresses });
        if ("addresses" in result) uids.set(request.owner, service.metadata.uid ?? "");
      }
    },
  };
}
