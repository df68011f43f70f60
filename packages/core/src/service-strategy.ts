/**
 * What a server does to a Service around allocation (`pkg/registry/core/service`). All functions change the Service in place unless
 * they say otherwise; allocation itself is the caller's. Order of a create:
 *
 * ```text
 * applyDefaults → normalizeClusterIPs → initializeIPFamilies → (allocate IPs, node ports, health-check node port)
 *   → validateService → serviceWarnings → (store) → defaultServiceOnRead
 * ```
 *
 * Order of an update, `old` being what is stored:
 *
 * ```text
 * applyDefaults → defaultServiceOnRead(old) → patchAllocatedValues → normalizeClusterIPs → initializeIPFamilies
 *   → (allocate and release) → status := old.status → dropTypeDependentFields → validateServiceUpdate → serviceWarnings
 * ```
 *
 * @packageDocumentation
 */
import type { IPFamily } from "@portolan/net";
import {
  equalJson,
  equalSemantically,
  fieldOf,
  isJsonObject,
  type JsonObject,
  listOf,
  objectOf,
  pathOf,
  textOf,
} from "./json.ts";
import type { Service } from "./types/service.ts";
import { addressWarnings, familyOfSloppy, prefixWarnings } from "./validation/addresses.ts";
import { type FieldError, invalid } from "./validation/field-error.ts";
import {
  topologyAwareHintsAnnotation,
  topologyModeAnnotation,
  type ValidationGates,
  validateServiceClusterIPFields,
} from "./validation/service.ts";

function specOf(service: unknown): JsonObject {
  return objectOf(fieldOf(service, "spec"));
}

function lengthOf(spec: JsonObject, field: string): number {
  return listOf(spec[field]).length;
}

function sameList(a: JsonObject, b: JsonObject, field: string): boolean {
  const left = listOf(a[field]);
  const right = listOf(b[field]);
  return left.length === right.length && left.every((value, index) => value === right[index]);
}

/** True for exactly `clusterIPs: ["None"]`. */
export function isHeadlessService(service: Service): boolean {
  const addresses = listOf(specOf(service).clusterIPs);
  return addresses.length === 1 && addresses[0] === "None";
}

/** True when the Service has a real cluster IP: neither absent nor `None`. */
export function hasClusterIP(service: Service): boolean {
  const address = textOf(specOf(service).clusterIP);
  return address !== "" && address !== "None";
}

/** True for every type but ExternalName: `clusterIPs` holds addresses or `None`. */
export function needsClusterIP(service: Service): boolean {
  const type = specOf(service).type;
  return type === "ClusterIP" || type === "NodePort" || type === "LoadBalancer" || type === undefined || type === "";
}

/** True for types that may hold node ports. */
export function usesNodePorts(service: Service): boolean {
  const type = specOf(service).type;
  return type === "NodePort" || type === "LoadBalancer";
}

/** True when a server allocates the node ports that a Service leaves out. */
export function allocatesNodePorts(service: Service): boolean {
  const spec = specOf(service);
  return spec.type === "NodePort" || (spec.type === "LoadBalancer" && spec.allocateLoadBalancerNodePorts !== false);
}

/** True for LoadBalancer with `externalTrafficPolicy: Local`: a health-check node port is allocated. */
export function needsHealthCheckNodePort(service: Service): boolean {
  const spec = specOf(service);
  return spec.type === "LoadBalancer" && spec.externalTrafficPolicy === "Local";
}

/** True for LoadBalancer, NodePort, and ClusterIP with external IPs: `externalTrafficPolicy` applies. */
export function isExternallyAccessible(service: Service): boolean {
  const spec = specOf(service);
  return (
    spec.type === "LoadBalancer" ||
    spec.type === "NodePort" ||
    (spec.type === "ClusterIP" && lengthOf(spec, "externalIPs") > 0)
  );
}

function copyList(spec: JsonObject, field: string, from: JsonObject): void {
  if (lengthOf(from, field) > 0) spec[field] = [...listOf(from[field])];
}

/**
 * Brings `clusterIP` and `clusterIPs` together. On create a singular value becomes the list. On update the field that the client
 * changed decides; contradictions are left for validation.
 */
export function normalizeClusterIPs(service: Service, old?: Service): void {
  const spec = fieldOf(service, "spec");
  if (!isJsonObject(spec)) return;
  const clusterIP = textOf(spec.clusterIP);
  if (old === undefined) {
    if (clusterIP !== "" && lengthOf(spec, "clusterIPs") === 0) spec.clusterIPs = [clusterIP];
    return;
  }
  const oldSpec = specOf(old);
  const oldClusterIP = textOf(oldSpec.clusterIP);
  if (lengthOf(oldSpec, "clusterIPs") > 0 && lengthOf(spec, "clusterIPs") === 0 && oldClusterIP === clusterIP) {
    copyList(spec, "clusterIPs", oldSpec);
  }
  if (oldClusterIP === clusterIP || !sameList(oldSpec, spec, "clusterIPs")) return;
  if (clusterIP === "") delete spec.clusterIPs;
  else spec.clusterIPs = [clusterIP];
}

/** What {@link initializeIPFamilies} needs to know. */
export interface IPFamilyRequest {
  /** Changed in place: `ipFamilyPolicy` and `ipFamilies` are filled in, lists may be cut to one entry. */
  readonly service: Service;
  /** The stored Service, for an update. */
  readonly old?: Service | undefined;
  /** Families that the cluster can allocate, the primary one first. */
  readonly clusterFamilies: readonly IPFamily[];
  readonly gates?: ValidationGates;
}

function otherFamily(family: unknown): IPFamily {
  return family === "IPv4" ? "IPv6" : "IPv4";
}

/**
 * Chooses IP families and policy, and checks them against the cluster (`alloc.go` `initIPFamilyFields`). Runs before addresses are
 * allocated; with errors nothing may be allocated and a server answers only these.
 *
 * @returns errors; empty when `service` is ready for allocation of one address for each entry of `ipFamilies`
 */
export function initializeIPFamilies(request: IPFamilyRequest): FieldError[] {
  const { service, old, clusterFamilies } = request;
  const spec = fieldOf(service, "spec");
  if (!isJsonObject(spec) || spec.type === "ExternalName") return [];
  const oldSpec = old === undefined ? undefined : specOf(old);

  // A PreferDualStack service keeps what it has when only the cluster changed.
  if (
    oldSpec !== undefined &&
    spec.ipFamilyPolicy === "PreferDualStack" &&
    oldSpec.ipFamilyPolicy === "PreferDualStack" &&
    spec.type === oldSpec.type &&
    sameList(spec, oldSpec, "clusterIPs") &&
    sameList(spec, oldSpec, "ipFamilies")
  ) {
    return [];
  }

  const withoutSelector = Object.keys(objectOf(spec.selector)).length === 0;
  const headless = listOf(spec.clusterIPs)[0] === "None";
  if (spec.ipFamilyPolicy === undefined || spec.ipFamilyPolicy === null) {
    const oldPolicy = oldSpec?.ipFamilyPolicy ?? undefined;
    spec.ipFamilyPolicy = oldPolicy ?? (headless && withoutSelector ? "RequireDualStack" : "SingleStack");
  }
  const malformed = validateServiceClusterIPFields(service, old, request.gates);
  if (malformed.length > 0) return malformed;

  const errors: FieldError[] = [];
  const policy = spec.ipFamilyPolicy;
  const policyPath = "spec.ipFamilyPolicy";
  if (oldSpec !== undefined) {
    if (policy === "SingleStack") {
      for (const field of ["clusterIPs", "ipFamilies"]) {
        if (lengthOf(spec, field) > 1 && sameList(spec, oldSpec, field)) spec[field] = [listOf(spec[field])[0]];
      }
    } else {
      const reduced = (field: string) => lengthOf(spec, field) > 0 && lengthOf(spec, field) < lengthOf(oldSpec, field);
      const release = (noun: string) =>
        errors.push(invalid(policyPath, policy, `must be 'SingleStack' to release the secondary ${noun}`));
      if (reduced("clusterIPs")) release("cluster IP");
      if (reduced("ipFamilies")) release("IP family");
    }
  }
  if (policy === "SingleStack") {
    const several = (noun: string) =>
      errors.push(
        invalid(
          policyPath,
          policy,
          `must be 'RequireDualStack' or 'PreferDualStack' when multiple ${noun} are specified`,
        ),
      );
    if (lengthOf(spec, "clusterIPs") === 2) several("cluster IPs");
    if (lengthOf(spec, "ipFamilies") === 2) several("IP families");
  }

  const families = [...listOf(spec.ipFamilies)] as IPFamily[];
  for (const [index, address] of listOf(spec.clusterIPs).entries()) {
    if (address === "None") break;
    if (index < families.length) continue;
    const family = familyOfSloppy(textOf(address))!;
    if (clusterFamilies.includes(family)) families.push(family);
    else {
      errors.push(invalid(`spec.clusterIPs[${index}]`, spec.clusterIPs, `${family} is not configured on this cluster`));
    }
  }
  if (errors.length > 0) return errors;

  const primary = clusterFamilies[0] ?? "IPv4";
  if (headless && withoutSelector) {
    if (families.length === 0) families.push(primary);
    // Even on a cluster of one family: the endpoints are the user's own.
    if (families.length < 2 && policy !== "SingleStack") families.push(otherFamily(families[0]));
    spec.ipFamilies = families;
    return [];
  }

  if (policy === "RequireDualStack" && clusterFamilies.length < 2) {
    errors.push(invalid(policyPath, policy, "this cluster is not configured for dual-stack services"));
  }
  for (const [index, family] of families.entries()) {
    if (!clusterFamilies.includes(family)) {
      errors.push(invalid(`spec.ipFamilies[${index}]`, family, "not configured on this cluster"));
    }
  }
  if (errors.length > 0) return errors;
  if (families.length === 0) families.push(primary);
  if (policy !== "SingleStack" && families.length === 1 && clusterFamilies.length === 2) {
    families.push(otherFamily(families[0]));
  }
  spec.ipFamilies = families;
  return [];
}

/**
 * Refills allocated values that an update leaves out, so that applying a manifest again changes nothing: cluster IPs, node ports (by
 * port name, unless another port of the new object claims the number) and the health-check node port.
 */
export function patchAllocatedValues(service: Service, old: Service): void {
  const spec = fieldOf(service, "spec");
  if (!isJsonObject(spec)) return;
  const oldSpec = specOf(old);
  if (needsClusterIP(old) && needsClusterIP(service)) {
    if (textOf(spec.clusterIP) === "" && textOf(oldSpec.clusterIP) !== "") spec.clusterIP = oldSpec.clusterIP;
    if (lengthOf(spec, "clusterIPs") === 0) copyList(spec, "clusterIPs", oldSpec);
  }
  if (allocatesNodePorts(old) && allocatesNodePorts(service)) {
    const ports = listOf(spec.ports).filter(isJsonObject);
    const oldPorts = listOf(oldSpec.ports).filter(isJsonObject);
    const oldNumbers = new Set(oldPorts.map((port) => port.nodePort));
    const used = new Set(ports.map((port) => port.nodePort).filter((number) => oldNumbers.has(number)));
    const byName = new Map(oldPorts.map((port) => [textOf(port.name), port.nodePort]));
    for (const port of ports) {
      if (port.nodePort !== undefined && port.nodePort !== null && port.nodePort !== 0) continue;
      const known = byName.get(textOf(port.name));
      if (typeof known !== "number" || known === 0 || used.has(known)) continue;
      port.nodePort = known;
      used.add(known);
    }
  }
  if (needsHealthCheckNodePort(old) && needsHealthCheckNodePort(service)) {
    const known = oldSpec.healthCheckNodePort;
    if ((spec.healthCheckNodePort ?? 0) === 0 && typeof known === "number" && known !== 0) {
      spec.healthCheckNodePort = known;
    }
  }
}

/**
 * Drops fields that belonged to the old type only, when the same request did not change them: `service` has a new type and the rest
 * was merely carried along. Runs after node ports are updated and before validation.
 */
export function dropTypeDependentFields(service: Service, old: Service): void {
  const spec = fieldOf(service, "spec");
  if (!isJsonObject(spec)) return;
  const oldSpec = specOf(old);
  const same = (field: string) => (spec[field] ?? undefined) === (oldSpec[field] ?? undefined);

  if (needsClusterIP(old) && !needsClusterIP(service)) {
    if (sameList(spec, oldSpec, "clusterIPs")) {
      delete spec.clusterIP;
      delete spec.clusterIPs;
    }
    if (sameList(spec, oldSpec, "ipFamilies")) delete spec.ipFamilies;
    if (same("ipFamilyPolicy")) delete spec.ipFamilyPolicy;
  }
  if (usesNodePorts(old) && !usesNodePorts(service)) {
    const numbers = (of: JsonObject) =>
      listOf(of.ports)
        .map((port) => fieldOf(port, "nodePort"))
        .filter((number) => number !== undefined && number !== 0);
    const oldNumbers = new Set(numbers(oldSpec));
    if (numbers(spec).every((number) => oldNumbers.has(number))) {
      for (const port of listOf(spec.ports)) if (isJsonObject(port)) delete port.nodePort;
    }
  }
  if (needsHealthCheckNodePort(old) && !needsHealthCheckNodePort(service) && same("healthCheckNodePort")) {
    delete spec.healthCheckNodePort;
  }
  if (oldSpec.type === "LoadBalancer" && spec.type !== "LoadBalancer") {
    if (same("allocateLoadBalancerNodePorts")) delete spec.allocateLoadBalancerNodePorts;
    if (same("loadBalancerClass")) delete spec.loadBalancerClass;
  }
  if (isExternallyAccessible(old) && !isExternallyAccessible(service) && same("externalTrafficPolicy")) {
    delete spec.externalTrafficPolicy;
  }
  if (spec.type !== "LoadBalancer" && isJsonObject(service.status)) service.status.loadBalancer = {};
}

/**
 * Completes a stored Service for readers: applied to every read, list and watch event, and to the old object of an update. Objects
 * written by old servers lack the list of cluster IPs and the families.
 */
export function defaultServiceOnRead(service: Service, clusterFamilies: readonly IPFamily[]): void {
  const spec = fieldOf(service, "spec");
  if (!isJsonObject(spec)) return;
  normalizeClusterIPs(service);
  if (spec.type === "ExternalName") {
    delete spec.internalTrafficPolicy;
    return;
  }
  if (lengthOf(spec, "ipFamilies") > 0 || (spec.ipFamilyPolicy ?? undefined) !== undefined) return;
  const primary = clusterFamilies[0] ?? "IPv4";
  if (spec.clusterIP === "None") {
    const withoutSelector = Object.keys(objectOf(spec.selector)).length === 0;
    spec.ipFamilyPolicy = withoutSelector ? "RequireDualStack" : "SingleStack";
    spec.ipFamilies = withoutSelector ? [primary, otherFamily(primary)] : [primary];
    return;
  }
  const families = listOf(spec.clusterIPs).map((address) => familyOfSloppy(textOf(address)));
  if (families.length === 0 || families.includes(undefined)) return;
  spec.ipFamilies = families as IPFamily[];
  spec.ipFamilyPolicy = families.length > 1 ? "RequireDualStack" : "SingleStack";
}

/** Texts of the `Warning` headers for a create or update of a Service, in order. Changes nothing. */
export function serviceWarnings(service: Service, _old?: Service): string[] {
  const spec = specOf(service);
  const out: string[] = [];
  if (pathOf(service, "metadata", "annotations", topologyAwareHintsAnnotation) !== undefined) {
    out.push(`annotation ${topologyAwareHintsAnnotation} is deprecated, please use ${topologyModeAnnotation} instead`);
  }
  const externalIPs = listOf(spec.externalIPs).map(textOf);
  const loadBalancerIP = textOf(spec.loadBalancerIP);
  const headless = isHeadlessService(service);
  if (hasClusterIP(service)) {
    for (const [index, address] of listOf(spec.clusterIPs).entries()) {
      out.push(...addressWarnings(`spec.clusterIPs[${index}]`, textOf(address)));
    }
  }
  if (headless) {
    if (loadBalancerIP !== "") out.push("spec.loadBalancerIP is ignored for headless services");
    if (externalIPs.length > 0) out.push("spec.externalIPs is ignored for headless services");
    const affinity = textOf(spec.sessionAffinity);
    if (affinity !== "" && affinity !== "None") out.push("spec.SessionAffinity is ignored for headless services");
  } else {
    if (loadBalancerIP !== "") out.push(...addressWarnings("spec.loadBalancerIP", loadBalancerIP));
    for (const [index, address] of externalIPs.entries()) {
      out.push(...addressWarnings(`spec.externalIPs[${index}]`, address));
    }
  }
  for (const [index, range] of listOf(spec.loadBalancerSourceRanges).entries()) {
    out.push(...prefixWarnings(`spec.loadBalancerSourceRanges[${index}]`, textOf(range).trim()));
  }
  if (spec.type === "ExternalName") {
    if (externalIPs.length > 0) out.push('spec.externalIPs is ignored when spec.type is "ExternalName"');
  } else if (textOf(spec.externalName) !== "") {
    out.push('spec.externalName is ignored when spec.type is not "ExternalName"');
  }
  if (spec.trafficDistribution === "PreferClose") {
    out.push('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"');
  }
  if (externalIPs.length > 0 && !headless && spec.type !== "ExternalName") {
    out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
  }
  return out;
}

/** True for a LoadBalancer that the cloud's own controller serves: no `loadBalancerClass`. */
export function wantsLoadBalancer(service: Service): boolean {
  const spec = specOf(service);
  return spec.type === "LoadBalancer" && (spec.loadBalancerClass ?? undefined) === undefined;
}

/** Finalizer that keeps a Service until its load balancer is gone. */
export const loadBalancerCleanupFinalizer = "service.kubernetes.io/load-balancer-cleanup";

/** True when a Service that has the finalizer is being deleted or stopped being a LoadBalancer. */
export function needsLoadBalancerCleanup(service: Service): boolean {
  if (!listOf(pathOf(service, "metadata", "finalizers")).includes(loadBalancerCleanupFinalizer)) return false;
  return pathOf(service, "metadata", "deletionTimestamp") !== undefined || specOf(service).type !== "LoadBalancer";
}

function portsForLoadBalancer(spec: JsonObject): unknown {
  return listOf(spec.ports).map((port) =>
    ["name", "protocol", "port", "nodePort", "targetPort", "appProtocol"].map((field) => fieldOf(port, field) ?? null),
  );
}

/**
 * True when a change of a Service must reach its load balancer (`cloud-provider` service controller, `needsUpdate`): the wish flipped,
 * or anything a load balancer depends on changed. Labels, the selector and `allocateLoadBalancerNodePorts` do not count.
 */
export function needsLoadBalancerUpdate(old: Service, service: Service): boolean {
  if (!wantsLoadBalancer(old) && !wantsLoadBalancer(service)) return false;
  if (wantsLoadBalancer(old) !== wantsLoadBalancer(service)) return true;
  const a = specOf(old);
  const b = specOf(service);
  const spec = (field: string) => !equalSemantically(a[field], b[field]);
  return (
    spec("loadBalancerSourceRanges") ||
    !equalSemantically(portsForLoadBalancer(a), portsForLoadBalancer(b)) ||
    spec("sessionAffinity") ||
    spec("sessionAffinityConfig") ||
    spec("loadBalancerIP") ||
    spec("externalIPs") ||
    !equalSemantically(pathOf(old, "metadata", "annotations"), pathOf(service, "metadata", "annotations")) ||
    !equalJson(pathOf(old, "metadata", "uid"), pathOf(service, "metadata", "uid")) ||
    spec("externalTrafficPolicy") ||
    spec("healthCheckNodePort") ||
    lengthOf(a, "ipFamilies") !== lengthOf(b, "ipFamilies")
  );
}
