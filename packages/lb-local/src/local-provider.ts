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
import { familyOf } from "@portolan/net";
import { type AddressPool, type AllocationRequest, createAddressAllocator, parsePools } from "./pool.ts";

/** Options of {@link localProvider}. */
export interface LocalProviderOptions {
  readonly pools: readonly AddressPool[];
  /** `spec.loadBalancerClass` that it answers to, beside Services without a class. Default `portolan.dev/local`. */
  readonly loadBalancerClass?: string;
}

/** What the provider wants for a Service. */
export interface LocalModel {
  readonly request: AllocationRequest;
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
  callBudget: { steadyReads: 1 },
};

const text = { kind: "string" } as const;

/** What the provider reads, each name with its change: the address stays as long as it fits. */
const annotations: AnnotationRegistry = {
  prefixes: ["portolan.dev/", "metallb.io/", "metallb.universe.tf/"],
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

function requestOf(service: Service): AllocationRequest {
  const spec = service.spec ?? {};
  const clusterIPs = spec.clusterIPs ?? (spec.clusterIP ? [spec.clusterIP] : []);
  const families = [
    ...new Set(clusterIPs.map((address) => familyOf(address)).filter((family) => family !== undefined)),
  ];
  const pool = annotation(service, localAnnotations.pool);
  const sharingKey = annotation(service, localAnnotations.sharing);
  return {
    owner: `${service.metadata.namespace ?? ""}/${service.metadata.name ?? ""}`,
    families: families.length > 0 ? families : (spec.ipFamilies ?? ["IPv4"]),
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
 * A provider for laptops and bare metal: gives addresses of pools, in the semantics that MetalLB's users know. It keeps a
 * Service's address while that fits, shares one on request, and says who holds an address that is taken.
 */
export function localProvider(options: LocalProviderOptions): LoadBalancerProvider<LocalModel, readonly string[]> {
  const allocator = createAddressAllocator(parsePools(options.pools));
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
      return allocator.addressesOf(ownerOf(key));
    },
    plan({ service, observed }) {
      const request = requestOf(service);
      const key = {
        namespace: service.metadata.namespace ?? "",
        name: service.metadata.name ?? "",
        uid: service.metadata.uid ?? "",
      };
      const changes: Change[] = [];
      if (observed.length === 0) {
        changes.push({
          id: "address",
          action: "create",
          resource: { kind: "Address", name: request.owner },
          fields: request.addresses.length > 0 ? [["addresses", [], request.addresses]] : [],
          disruptive: "none",
          because: "the Service has no address yet",
          dependsOn: [],
        });
      } else if (request.addresses.length > 0 && request.addresses.join() !== observed.join()) {
        changes.push({
          id: "address",
          action: "replace",
          resource: { kind: "Address", name: request.owner },
          fields: [["addresses", observed, request.addresses]],
          disruptive: "ip-change",
          because: "another address is requested",
          dependsOn: [],
        });
      }
      return { key, desired: { request }, changes, diagnostics: [] };
    },
    async apply(_context, plan): Promise<ApplyOutcome> {
      const result = allocator.allocate(plan.desired.request);
      if (!("addresses" in result)) {
        throw new ProviderError(result.code === "PoolExhausted" ? "Quota" : "UserConfig", result.message);
      }
      uids.set(ownerOf(plan.key), plan.key.uid);
      const ingress: LoadBalancerIngress[] = result.addresses.map((ip) => ({ ip, ipMode: "VIP" }));
      return { ingress };
    },
    async destroy(_context, key) {
      // A late call for a Service that is gone must not free the addresses of its successor.
      const holder = uids.get(ownerOf(key));
      if (holder !== undefined && holder !== key.uid) return;
      allocator.release(ownerOf(key));
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
        const addresses = (service.status?.loadBalancer?.ingress ?? [])
          .map((entry) => entry.ip ?? "")
          .filter((ip) => ip !== "");
        if (addresses.length === 0) continue;
        const request = requestOf(service);
        const result = allocator.allocate({ ...request, addresses, requireAll: false });
        if ("addresses" in result) uids.set(request.owner, service.metadata.uid ?? "");
      }
    },
  };
}
