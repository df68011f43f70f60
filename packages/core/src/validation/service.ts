import { fieldOf, listOf, objectOf, pathOf, textOf } from "../json.ts";
import type { Service } from "../types/service.ts";
import {
  addressProblems,
  endpointAddressProblems,
  familyOfSloppy,
  parseAddressSloppy,
  prefixProblems,
} from "./addresses.ts";
import { FieldCursor, type FieldError } from "./field-error.ts";
import {
  dns1035LabelProblems,
  dnsLabelProblems,
  dnsSubdomainProblems,
  portNameProblems,
  portNumberProblems,
  qualifiedNameProblems,
} from "./names.ts";
import { checkObjectMeta, checkObjectMetaUpdate, validateLabelMap } from "./object-meta.ts";

/** Feature gates that change what is valid. Defaults are those of Kubernetes 1.36: both on. */
export interface ValidationGates {
  /** Refuse leading zeros, IPv4-mapped addresses and host bits (KEP-4858). */
  readonly StrictIPCIDRValidation?: boolean;
  /** Service names may start with a digit (KEP-5311). */
  readonly RelaxedServiceNameValidation?: boolean;
}

/** Annotation that once held `spec.loadBalancerSourceRanges`. */
export const sourceRangesAnnotation = "service.beta.kubernetes.io/load-balancer-source-ranges";
/** Annotation that asks for topology-aware hints. */
export const topologyModeAnnotation = "service.kubernetes.io/topology-mode";
/** Deprecated name of {@link topologyModeAnnotation}. */
export const topologyAwareHintsAnnotation = "service.kubernetes.io/topology-aware-hints";
/** Port of the kubelet, which a load balancer may not expose. */
const kubeletPort = 10250;

const protocols = ["SCTP", "TCP", "UDP"];
const serviceTypes = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const onlyLoadBalancer = "may only be used when `type` is 'LoadBalancer'";

function isHeadless(spec: unknown): boolean {
  const addresses = listOf(fieldOf(spec, "clusterIPs"));
  return addresses.length === 1 && addresses[0] === "None";
}

/** Reachable from outside: LoadBalancer, NodePort, or ClusterIP with external IPs. */
function isExternallyAccessible(spec: unknown): boolean {
  const type = fieldOf(spec, "type");
  return (
    type === "LoadBalancer" ||
    type === "NodePort" ||
    (type === "ClusterIP" && listOf(fieldOf(spec, "externalIPs")).length > 0)
  );
}

function needsHealthCheck(spec: unknown): boolean {
  return fieldOf(spec, "type") === "LoadBalancer" && fieldOf(spec, "externalTrafficPolicy") === "Local";
}

/** Checks a legacy address field; values that the old object holds are accepted as they were. */
function checkAddress(cursor: FieldCursor, strict: boolean, known: readonly unknown[]): boolean {
  const text = cursor.text();
  const problems = addressProblems(text, strict && !known.includes(text));
  cursor.invalidEach(problems, text);
  return problems.length === 0;
}

function checkTargetPort(target: FieldCursor): void {
  const value = target.integerOrText();
  if (typeof value === "string") target.invalidEach(portNameProblems(value));
  else target.invalidEach(portNumberProblems(value ?? 0), value ?? 0);
}

function checkPort(port: FieldCursor, needsName: boolean, names: Set<string>): void {
  port.object();
  const name = port.at("name");
  if (name.text() === "") {
    if (needsName) name.required();
  } else {
    name.invalidEach(dnsLabelProblems(name.text()));
    if (names.has(name.text())) name.duplicate();
    names.add(name.text());
  }
  const number = port.at("port");
  number.invalidEach(portNumberProblems(number.integer() ?? 0), number.value ?? 0);
  const protocol = port.at("protocol");
  if (protocol.text() === "") protocol.required();
  else if (!protocols.includes(protocol.text())) protocol.notSupported(protocols);
  checkTargetPort(port.at("targetPort"));
  const appProtocol = port.at("appProtocol");
  if (appProtocol.present) appProtocol.invalidEach(qualifiedNameProblems(appProtocol.text()));
}

function checkSessionAffinity(spec: FieldCursor): void {
  const affinity = spec.at("sessionAffinity");
  const config = spec.at("sessionAffinityConfig");
  const value = affinity.text();
  if (value === "") affinity.required();
  else if (value !== "ClientIP" && value !== "None") affinity.notSupported(["ClientIP", "None"]);
  if (value === "ClientIP") {
    const seconds = config.at("clientIP").at("timeoutSeconds");
    const missing = "when session affinity type is ClientIP";
    if (!config.present) config.required(missing);
    else if (!config.at("clientIP").present) config.at("clientIP").required(missing);
    else if (!seconds.present) seconds.required(missing);
    else {
      const timeout = seconds.integer() ?? 0;
      if (timeout < 1 || timeout > 86400) seconds.invalid("must be greater than 0 and less than 86400");
    }
  } else if (value === "None" && config.present) {
    config.forbidden("must not be set when session affinity is None");
  }
}

/** Checks that hold between `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`. */
export function checkClusterIPFields(spec: FieldCursor, oldSpec: unknown, strict: boolean): void {
  if (spec.at("type").text() === "ExternalName") return;
  const { errors } = spec;
  const before = errors.length;
  const clusterIP = spec.at("clusterIP").text();
  const clusterIPs = spec.at("clusterIPs");
  const addresses = clusterIPs.items();
  if (clusterIP !== "") {
    if (addresses.length === 0) clusterIPs.required();
    else if (addresses[0]!.value !== clusterIP) clusterIPs.invalid("first value must match `clusterIP`");
  } else if (addresses.length > 0) {
    clusterIPs.invalid("must be empty when `clusterIP` is not specified");
  }
  const families = spec.at("ipFamilies").items();
  const seen = new Set<string>();
  for (const family of families) {
    const value = family.text();
    if (value !== "IPv4" && value !== "IPv6") family.notSupported(["IPv4", "IPv6"], value);
    if (seen.has(value)) family.duplicate();
    seen.add(value);
  }
  const policy = spec.at("ipFamilyPolicy");
  const policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
  if (policy.present && !policies.includes(policy.text())) policy.notSupported(policies);
  const known = listOf(fieldOf(oldSpec, "clusterIPs"));
  let malformed = false;
  for (const [index, address] of addresses.entries()) {
    if (index === 0 && address.value === "None") {
      if (addresses.length > 1) {
        malformed = true;
        clusterIPs.invalid("'None' must be the first and only value");
      }
      continue;
    }
    if (!checkAddress(address, strict, known)) malformed = true;
  }
  if (addresses.length > 2) clusterIPs.invalid("may only hold up to 2 values");
  if (malformed) return;
  if (addresses.length > 1) {
    const present = new Set(addresses.map((address) => familyOfSloppy(address.text())));
    if (present.size < 2) clusterIPs.invalid("may specify no more than one IP for each IP family");
  }
  if (isHeadless(spec.value) || errors.length > before) return;
  for (const [index, address] of addresses.entries()) {
    const family = families[index]?.text();
    if (family === undefined) break;
    if (familyOfSloppy(address.text()) !== family) {
      address.invalid(`expected an ${family} value as indicated by \`ipFamilies[${index}]\``);
    }
  }
}

function checkSourceRanges(root: FieldCursor, spec: FieldCursor, old: unknown, strict: boolean): void {
  const isLoadBalancer = spec.at("type").text() === "LoadBalancer";
  const ranges = spec.at("loadBalancerSourceRanges");
  if (ranges.items().length > 0) {
    // The capital letter is part of the interface.
    const path = "spec.LoadBalancerSourceRanges";
    if (!isLoadBalancer) ranges.as(path).forbidden(onlyLoadBalancer);
    const known = listOf(pathOf(old, "spec", "loadBalancerSourceRanges")).map((range) => textOf(range).trim());
    for (const [index, range] of ranges.items().entries()) {
      const text = range.text().trim();
      range.as(`${path}[${index}]`).invalidEach(prefixProblems(text, strict && !known.includes(text)), text);
    }
    return;
  }
  const annotation = root.at("metadata").at("annotations").at(sourceRangesAnnotation);
  if (!annotation.present) return;
  const cursor = annotation.as(`metadata.annotations[${sourceRangesAnnotation}]`);
  if (!isLoadBalancer) cursor.forbidden(onlyLoadBalancer);
  const text = annotation.text();
  if (old !== undefined && pathOf(old, "metadata", "annotations", sourceRangesAnnotation) === text) return;
  if (text.trim() === "") return;
  for (const range of text.trim().split(",")) cursor.invalidEach(prefixProblems(range.trim(), strict), range.trim());
}

function checkLoadBalancerClass(spec: FieldCursor, oldSpec?: unknown): void {
  const loadBalancerClass = spec.at("loadBalancerClass");
  const isLoadBalancer = spec.at("type").text() === "LoadBalancer";
  if (isLoadBalancer && fieldOf(oldSpec, "type") === "LoadBalancer") {
    if (loadBalancerClass.value !== fieldOf(oldSpec, "loadBalancerClass")) {
      loadBalancerClass.invalid("may not change once set");
    }
  }
  if (!loadBalancerClass.present) return;
  if (isLoadBalancer) loadBalancerClass.invalidEach(qualifiedNameProblems(loadBalancerClass.text()));
  else loadBalancerClass.forbidden(onlyLoadBalancer);
}

function checkDuplicatePorts(ports: readonly FieldCursor[]): void {
  const nodePorts = new Set<string>();
  for (const port of ports) {
    const number = port.at("nodePort").integer() ?? 0;
    if (number === 0) continue;
    const key = `${port.at("protocol").text()}/${number}`;
    if (nodePorts.has(key)) port.at("nodePort").duplicate();
    nodePorts.add(key);
  }
  const numbers = new Set<string>();
  for (const port of ports) {
    const protocol = port.at("protocol").text();
    const number = port.at("port").integer() ?? 0;
    const key = `${protocol}/${number}`;
    if (numbers.has(key)) {
      port.duplicate({ Name: "", Protocol: protocol, AppProtocol: null, Port: number, TargetPort: 0, NodePort: 0 });
    }
    numbers.add(key);
  }
}

function checkTrafficPolicies(spec: FieldCursor): void {
  const external = spec.at("externalTrafficPolicy");
  const accessible = isExternallyAccessible(spec.value);
  const policies = ["Cluster", "Local"];
  if (!accessible) {
    if (external.text() !== "") external.invalid("may only be set for externally-accessible services");
  } else if (external.text() === "") external.required();
  else if (!policies.includes(external.text())) external.notSupported(policies);

  const healthCheckNodePort = spec.at("healthCheckNodePort");
  const port = healthCheckNodePort.integer() ?? 0;
  if (port !== 0) {
    if (!needsHealthCheck(spec.value)) {
      healthCheckNodePort.invalid(
        "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
      );
    } else healthCheckNodePort.invalidEach(portNumberProblems(port));
  }

  const internal = spec.at("internalTrafficPolicy");
  const type = spec.at("type").text();
  if (!internal.present) {
    if (type === "ClusterIP" || type === "NodePort" || type === "LoadBalancer") internal.required();
  } else if (!policies.includes(internal.text())) internal.notSupported(policies, internal.text());

  const distribution = spec.at("trafficDistribution");
  const distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
  if (distribution.present && !distributions.includes(distribution.text())) {
    distribution.notSupported(distributions, distribution.text());
  }
}

function checkService(root: FieldCursor, old: unknown, gates: ValidationGates): void {
  const strict = gates.StrictIPCIDRValidation ?? true;
  const relaxed = gates.RelaxedServiceNameValidation ?? true;
  root.object();
  checkObjectMeta(root.at("metadata"), {
    namespaced: true,
    name: old !== undefined ? () => [] : relaxed ? dnsLabelProblems : dns1035LabelProblems,
  });
  const annotations = root.at("metadata").at("annotations");
  const mode = annotations.at(topologyModeAnnotation);
  const hints = annotations.at(topologyAwareHintsAnnotation);
  if (mode.present && hints.present && mode.value !== hints.value) {
    mode
      .as(`metadata.annotations[${topologyModeAnnotation}]`)
      .invalid(`must match annotations[${topologyAwareHintsAnnotation}] when both are specified`);
  }

  const spec = root.at("spec");
  spec.object();
  const type = spec.at("type");
  const headless = isHeadless(spec.value);
  const ports = spec.at("ports").items();
  if (ports.length === 0 && !headless && type.text() !== "ExternalName") spec.at("ports").required();
  const clusterIPs = spec.at("clusterIPs");
  switch (type.text()) {
    case "LoadBalancer":
      for (const port of ports) {
        if (port.at("port").value === kubeletPort) {
          port.invalid(`may not expose port ${kubeletPort} externally since it is used by kubelet`, kubeletPort);
        }
      }
      if (headless) clusterIPs.items()[0]!.invalid("may not be set to 'None' for LoadBalancer services");
      break;
    case "NodePort":
      if (headless) clusterIPs.items()[0]!.invalid("may not be set to 'None' for NodePort services");
      break;
    case "ExternalName": {
      const reason = "may not be set for ExternalName services";
      if (clusterIPs.items().length > 0) clusterIPs.forbidden(reason);
      if (spec.at("ipFamilies").items().length > 0) spec.at("ipFamilies").forbidden(reason);
      if (spec.at("ipFamilyPolicy").present) spec.at("ipFamilyPolicy").forbidden(reason);
      const externalName = spec.at("externalName");
      const name = externalName.text().replace(/\.$/, "");
      if (name === "") externalName.required();
      else externalName.invalidEach(dnsSubdomainProblems(name), name);
      break;
    }
    default:
  }

  const names = new Set<string>();
  for (const port of ports) checkPort(port, ports.length > 1, names);
  validateLabelMap(spec.at("selector"));
  checkSessionAffinity(spec);
  checkClusterIPFields(spec, fieldOf(old, "spec"), strict);

  const knownExternal = listOf(pathOf(old, "spec", "externalIPs"));
  for (const address of spec.at("externalIPs").items()) {
    if (checkAddress(address, strict, knownExternal)) {
      address.invalidEach(endpointAddressProblems(address.text()), address.text());
    }
  }
  if (type.text() === "") type.required();
  else if (!serviceTypes.includes(type.text())) type.notSupported(serviceTypes);
  if (type.text() === "ClusterIP") {
    for (const port of ports) {
      if ((port.at("nodePort").integer() ?? 0) !== 0) {
        port.at("nodePort").forbidden("may not be used when `type` is 'ClusterIP'");
      }
    }
  }
  checkDuplicatePorts(ports);
  checkSourceRanges(root, spec, old, strict);
  const allocate = spec.at("allocateLoadBalancerNodePorts");
  if (allocate.boolean() !== undefined && type.text() !== "LoadBalancer") allocate.forbidden(onlyLoadBalancer);
  if (!allocate.present && type.text() === "LoadBalancer") allocate.required();
  checkLoadBalancerClass(spec);
  checkTrafficPolicies(spec);
}

function checkRelease(spec: FieldCursor, noun: string): void {
  if (spec.at("ipFamilyPolicy").value !== "SingleStack") {
    spec.at("ipFamilyPolicy").invalid(`must be set to 'SingleStack' when releasing the secondary ${noun}`);
  }
}

/** The first cluster IP is immutable; the second may be added, and released by saying `SingleStack`. */
function checkClusterIPTransition(spec: FieldCursor, oldSpec: unknown): void {
  if (isHeadless(spec.value) && isHeadless(oldSpec)) return;
  const list = spec.at("clusterIPs");
  const items = list.items();
  const old = listOf(fieldOf(oldSpec, "clusterIPs"));
  const primary = list.as(`${list.path}[0]`);
  if (items.length === old.length) {
    for (const [index, item] of items.entries()) {
      if (item.value !== old[index]) item.invalid("may not change once set", list.value);
    }
  } else if (items.length === 0) {
    primary.invalid("primary clusterIP can not be unset", list.value ?? null);
  } else {
    if (old.length > 0 && items[0]!.value !== old[0]) primary.invalid("may not change once set");
    if (items.length < old.length && items.length === 1) checkRelease(spec, "clusterIP");
  }
}

/** The same for families, unless the Service is headless. Values and places of the errors are Kubernetes' own. */
function checkIPFamilyTransition(spec: FieldCursor, oldSpec: unknown): void {
  if (isHeadless(spec.value) || isHeadless(oldSpec)) return;
  const list = spec.at("ipFamilies");
  const items = list.items();
  const old = listOf(fieldOf(oldSpec, "ipFamilies"));
  const primary = list.as(`${list.path}[0]`);
  const clusterIPs = spec.at("clusterIPs");
  const addresses = clusterIPs.value ?? null;
  if (items.length === old.length) {
    for (const [index, item] of items.entries()) {
      if (item.value !== old[index]) primary.invalid("may not change once set");
    }
    return;
  }
  if (items.length < old.length && clusterIPs.length === 0) {
    primary.invalid("primary ipFamily can not be unset", list.value ?? null);
  }
  if (items.length > 0 && old.length > 0 && items[0]!.value !== old[0]) {
    primary.invalid("may not change once set", addresses);
  }
  if (items.length < old.length && items.length === 1) checkRelease(spec, "ipFamily");
}

/**
 * Checks a Service as a server does after defaulting and allocation; run {@link applyDefaults} first. A health-check node port and
 * cluster IPs that allocation has yet to set are not demanded, so that manifests can be checked too. Errors come in Kubernetes' order
 * and words (`pkg/apis/core/validation`). Never throws, whatever the value.
 */
export function validateService(service: Service, gates: ValidationGates = {}): FieldError[] {
  const errors: FieldError[] = [];
  checkService(new FieldCursor(service, "", errors), undefined, gates);
  return errors;
}

/** Checks a change of a Service: what may not change, then everything {@link validateService} checks. Never throws. */
export function validateServiceUpdate(service: Service, old: Service, gates: ValidationGates = {}): FieldError[] {
  const errors: FieldError[] = [];
  const root = new FieldCursor(service, "", errors);
  checkObjectMetaUpdate(root.at("metadata"), fieldOf(old, "metadata"));
  const spec = root.at("spec");
  const oldSpec = objectOf(fieldOf(old, "spec"));
  if (spec.at("type").text() !== "ExternalName" && oldSpec.type !== "ExternalName") {
    checkClusterIPTransition(spec, oldSpec);
    checkIPFamilyTransition(spec, oldSpec);
  }
  checkLoadBalancerClass(spec, oldSpec);
  const healthCheckNodePort = spec.at("healthCheckNodePort");
  if (needsHealthCheck(spec.value) && needsHealthCheck(oldSpec)) {
    if ((healthCheckNodePort.integer() ?? 0) !== (oldSpec.healthCheckNodePort ?? 0)) {
      healthCheckNodePort.forbidden("field is immutable");
    }
  }
  checkService(root, objectOf(old), gates);
  return errors;
}

/** Checks `status.loadBalancer` of a Service or an Ingress. `type` is `undefined` for an Ingress. */
export function checkLoadBalancerStatus(
  loadBalancer: FieldCursor,
  type: string | undefined,
  old: unknown,
  strict: boolean,
): void {
  const ingress = loadBalancer.at("ingress");
  if (type !== undefined && type !== "LoadBalancer" && ingress.items().length > 0) {
    ingress.forbidden("may only be used when `spec.type` is 'LoadBalancer'");
    return;
  }
  const known = listOf(fieldOf(old, "ingress")).map((entry) => fieldOf(entry, "ip"));
  for (const entry of ingress.items()) {
    const ip = entry.at("ip");
    if (ip.text() !== "") checkAddress(ip, strict, known);
    const mode = entry.at("ipMode");
    if (type !== undefined) {
      if (!mode.present) {
        if (ip.text() !== "") mode.required("must be specified when `ip` is set");
      } else if (ip.text() === "") mode.forbidden("may not be specified when `ip` is not set");
      else if (mode.text() !== "Proxy" && mode.text() !== "VIP") mode.notSupported(["Proxy", "VIP"], mode.text());
    }
    const hostname = entry.at("hostname");
    if (hostname.text() !== "") {
      hostname.invalidEach(dnsSubdomainProblems(hostname.text()));
      if (parseAddressSloppy(hostname.text()) !== undefined) {
        hostname.invalid("must be a DNS name, not an IP address");
      }
    }
  }
}

/** Checks a write to the `status` subresource of a Service. Never throws. */
export function validateServiceStatusUpdate(service: Service, old: Service, gates: ValidationGates = {}): FieldError[] {
  const errors: FieldError[] = [];
  const root = new FieldCursor(service, "", errors);
  checkObjectMetaUpdate(root.at("metadata"), fieldOf(old, "metadata"));
  checkLoadBalancerStatus(
    root.at("status").at("loadBalancer"),
    root.at("spec").at("type").text(),
    pathOf(old, "status", "loadBalancer"),
    gates.StrictIPCIDRValidation ?? true,
  );
  return errors;
}

/**
 * The checks between cluster IPs, families and policy alone. Allocation runs them before it fills in anything, so their errors hide
 * all others.
 */
export function validateServiceClusterIPFields(
  service: Service,
  old?: Service,
  gates: ValidationGates = {},
): FieldError[] {
  const errors: FieldError[] = [];
  checkClusterIPFields(
    new FieldCursor(service, "", errors).at("spec"),
    fieldOf(old, "spec"),
    gates.StrictIPCIDRValidation ?? true,
  );
  return errors;
}
