import { parsePrefix } from "@portolan/net";
import { equalJson, fieldOf } from "../json.ts";
import { canonicalAddressProblems, canonicalPrefixProblems, parseAddressSloppy, prefixProblems } from "./addresses.ts";
import type { FieldCursor } from "./field-error.ts";
import { checkLabelSelector } from "./label-selector.ts";
import {
  dns1035LabelProblems,
  dnsSubdomainProblems,
  domainPrefixedPathProblems,
  pathSegmentNameProblems,
  portNameProblems,
  portNumberProblems,
} from "./names.ts";

/** Rule for names of IPAddress objects: the canonical address. */
export function ipAddressNameProblems(name: string): string[] {
  return canonicalAddressProblems(name);
}

/** Checks `spec` of a ServiceCIDR: one or two canonical prefixes of different families. */
export function checkServiceCIDR(root: FieldCursor, old: unknown): void {
  const cidrs = root.at("spec").at("cidrs");
  const items = cidrs.items();
  if (items.length === 0) cidrs.required("at least one CIDR required");
  if (items.length > 2) cidrs.invalid("may only hold up to 2 values");
  const families = new Set<string>();
  for (const item of items) {
    const problems = canonicalPrefixProblems(item.text());
    item.invalidEach(problems, item.text());
    const prefix = problems.length === 0 ? parsePrefix(item.text()) : undefined;
    if (prefix === undefined) continue;
    families.add(prefix.address.family);
    if (prefix.address.family === "IPv6" && prefix.length < 64) {
      item.invalid(`shortest allowed prefix length for service CIDR is 64, got ${prefix.length}`);
    }
  }
  if (items.length === 2 && families.size === 1)
    cidrs.invalid("may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96");
  if (old === undefined) return;
  const before = fieldOf(fieldOf(old, "spec"), "cidrs");
  const first = Array.isArray(before) ? (before as unknown[]) : [];
  // The other family may be added; what is there stays.
  const grown = first.length === 1 && items.length === 2 && items[0]!.value === first[0];
  if (!grown && !equalJson(cidrs.value, before)) cidrs.invalid("field is immutable", cidrs.value ?? null);
}

/** Checks `spec` of an IPAddress: it must say whose address it is. */
export function checkIPAddress(root: FieldCursor, old: unknown): void {
  const parent = root.at("spec").at("parentRef");
  if (!parent.present) {
    parent.required();
    return;
  }
  const group = parent.at("group");
  if (group.text() !== "") group.invalidEach(dnsSubdomainProblems(group.text()));
  for (const field of ["resource", "name"]) {
    const cursor = parent.at(field);
    if (cursor.text() === "") cursor.required();
    else cursor.invalidEach(pathSegmentNameProblems(cursor.text()));
  }
  const namespace = parent.at("namespace");
  if (namespace.text() !== "") namespace.invalidEach(pathSegmentNameProblems(namespace.text()));
  if (old !== undefined && !equalJson(parent.value, fieldOf(fieldOf(old, "spec"), "parentRef"))) {
    parent.invalid("field is immutable");
  }
}

const protocols = ["SCTP", "TCP", "UDP"];

function checkPolicyRule(rule: FieldCursor, peers: string): void {
  for (const port of rule.at("ports").items()) {
    const protocol = port.at("protocol");
    if (protocol.present && !protocols.includes(protocol.text())) protocol.notSupported(protocols, protocol.text());
    const number = port.at("port");
    const value = number.present ? number.integerOrText() : undefined;
    const endPort = port.at("endPort");
    if (typeof value === "number") {
      number.invalidEach(portNumberProblems(value));
      const end = endPort.integer();
      if (end !== undefined) {
        if (end < value) endPort.invalid("must be greater than or equal to `port`");
        endPort.invalidEach(portNumberProblems(end));
      }
    } else {
      if (typeof value === "string") {
        number.invalidEach(portNameProblems(value));
        if (endPort.present) endPort.forbidden("may not be specified when `port` is non-numeric");
      } else if (endPort.present) endPort.forbidden("may not be specified when `port` is not specified");
    }
  }
  for (const peer of rule.at(peers).items()) {
    const block = peer.at("ipBlock");
    const selectors = ["podSelector", "namespaceSelector"].filter((name) => peer.at(name).present);
    for (const name of selectors) checkLabelSelector(peer.at(name));
    if (block.present) {
      const cidr = block.at("cidr");
      if (cidr.text() === "") cidr.required();
      else {
        cidr.invalidEach(prefixProblems(cidr.text()));
        for (const except of block.at("except").items()) {
          except.invalidEach(prefixProblems(except.text()), except.text());
        }
      }
      if (selectors.length > 0) peer.forbidden("may not specify both ipBlock and another peer");
    } else if (selectors.length === 0) peer.required("must specify a peer");
  }
}

/** Checks `spec` of a NetworkPolicy. */
export function checkNetworkPolicy(root: FieldCursor): void {
  const spec = root.at("spec");
  checkLabelSelector(spec.at("podSelector"));
  for (const rule of spec.at("ingress").items()) checkPolicyRule(rule, "from");
  for (const rule of spec.at("egress").items()) checkPolicyRule(rule, "to");
  const types = spec.at("policyTypes").items();
  if (types.length > 2) {
    spec.at("policyTypes").invalid("may not specify more than two policyTypes");
    return;
  }
  for (const type of types) {
    if (type.text() !== "Ingress" && type.text() !== "Egress") type.notSupported(["Egress", "Ingress"], type.text());
  }
}

function checkIngressBackend(backend: FieldCursor): void {
  const service = backend.at("service");
  const resource = backend.at("resource");
  if (service.present && resource.present) {
    backend.invalid("cannot set both resource and service backends", "");
    return;
  }
  if (resource.present) {
    for (const field of ["kind", "name"]) if (resource.at(field).text() === "") resource.at(field).required();
    return;
  }
  if (!service.present) {
    backend.required("either `resource` or `service` must be specified");
    return;
  }
  const name = service.at("name");
  if (name.text() === "") name.required();
  else name.invalidEach(dns1035LabelProblems(name.text()));
  const portName = service.at("port").at("name");
  const number = service.at("port").at("number");
  const hasName = portName.text() !== "";
  const hasNumber = (number.integer() ?? 0) !== 0;
  if (hasName && hasNumber) service.invalid("cannot set both port name & port number", "");
  else if (hasName) portName.invalidEach(portNameProblems(portName.text()));
  else if (hasNumber) number.invalidEach(portNumberProblems(number.integer() ?? 0));
  else service.required("port name or number is required");
}

/** Checks `spec` of an Ingress. */
export function checkIngress(root: FieldCursor): void {
  const spec = root.at("spec");
  if (spec.at("rules").items().length === 0 && !spec.at("defaultBackend").present) {
    spec.invalid("either `defaultBackend` or `rules` must be specified", spec.value ?? {});
  }
  if (spec.at("defaultBackend").present) checkIngressBackend(spec.at("defaultBackend"));
  for (const rule of spec.at("rules").items()) {
    const host = rule.at("host");
    if (host.text() !== "") {
      if (parseAddressSloppy(host.text()) !== undefined) host.invalid("must be a DNS name, not an IP address");
      host.invalidEach(dnsSubdomainProblems(host.text().replace(/^\*\./, "")));
    }
    if (!rule.at("http").present) continue;
    const paths = rule.at("http").at("paths");
    if (paths.items().length === 0) paths.required();
    for (const entry of paths.items()) {
      const path = entry.at("path");
      const pathType = entry.at("pathType");
      const types = ["Exact", "ImplementationSpecific", "Prefix"];
      if (!pathType.present) pathType.required("pathType must be specified");
      else if (!types.includes(pathType.text())) pathType.notSupported(types, pathType.text());
      else if (pathType.text() !== "ImplementationSpecific" || path.text() !== "") {
        if (!path.text().startsWith("/")) path.invalid("must be an absolute path", path.text());
        for (const segment of ["//", "/./", "/../", "%2f", "%2F"]) {
          if (path.text().includes(segment)) path.invalid(`must not contain '${segment}'`);
        }
      }
      checkIngressBackend(entry.at("backend"));
    }
  }
  for (const tls of spec.at("tls").items()) {
    for (const host of tls.at("hosts").items()) {
      host.invalidEach(dnsSubdomainProblems(host.text().replace(/^\*\./, "")), host.text());
    }
    const secret = tls.at("secretName");
    if (secret.text() !== "") secret.invalidEach(dnsSubdomainProblems(secret.text()));
  }
  const className = spec.at("ingressClassName");
  if (className.present) className.invalidEach(dnsSubdomainProblems(className.text()), className.text());
}

/** Checks `spec` of an IngressClass: the controller is immutable. */
export function checkIngressClass(root: FieldCursor, old: unknown): void {
  const controller = root.at("spec").at("controller");
  if (controller.text() === "") controller.required();
  else {
    if (controller.text().length > 250) controller.invalid("must be no more than 250 characters");
    controller.invalidEach(domainPrefixedPathProblems(controller.text()));
  }
  if (old !== undefined && controller.value !== fieldOf(fieldOf(old, "spec"), "controller")) {
    controller.invalid("field is immutable", controller.text());
  }
}
