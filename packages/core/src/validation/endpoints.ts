import { canonicalText, fieldOf, listOf } from "../json.ts";
import type { EndpointSlice, Endpoints } from "../types/service.ts";
import { addressProblems, canonicalAddressProblems, endpointAddressProblems, familyOfSloppy } from "./addresses.ts";
import { FieldCursor, type FieldError } from "./field-error.ts";
import {
  dnsLabelProblems,
  dnsSubdomainProblems,
  labelValueProblems,
  portNumberProblems,
  qualifiedNameProblems,
} from "./names.ts";
import { checkObjectMeta, checkObjectMetaUpdate, validateLabelMap } from "./object-meta.ts";

const protocols = ["SCTP", "TCP", "UDP"];

/** Limits of an EndpointSlice. */
export const endpointSliceLimits: {
  readonly endpoints: number;
  readonly addresses: number;
  readonly ports: number;
  readonly zoneHints: number;
  readonly nodeHints: number;
  readonly topologyLabels: number;
} = { endpoints: 1000, addresses: 100, ports: 20000, zoneHints: 8, nodeHints: 8, topologyLabels: 16 };

function checkEndpointsAddress(address: FieldCursor): void {
  const ip = address.at("ip");
  const problems = addressProblems(ip.text());
  ip.invalidEach(problems, ip.text());
  const hostname = address.at("hostname");
  if (hostname.text() !== "") hostname.invalidEach(dnsLabelProblems(hostname.text()));
  const nodeName = address.at("nodeName");
  if (nodeName.present) nodeName.invalidEach(dnsSubdomainProblems(nodeName.text()));
  if (problems.length === 0) ip.invalidEach(endpointAddressProblems(ip.text()));
}

function checkEndpointsPort(port: FieldCursor, needsName: boolean): void {
  const name = port.at("name");
  if (name.text() !== "") name.invalidEach(dnsLabelProblems(name.text()));
  else if (needsName) name.required();
  const number = port.at("port");
  number.invalidEach(portNumberProblems(number.integer() ?? 0), number.value ?? 0);
  const protocol = port.at("protocol");
  if (protocol.text() === "") protocol.required();
  else if (!protocols.includes(protocol.text())) protocol.notSupported(protocols);
  const appProtocol = port.at("appProtocol");
  if (appProtocol.present) appProtocol.invalidEach(qualifiedNameProblems(appProtocol.text()));
}

function checkEndpoints(root: FieldCursor, old: unknown): void {
  root.object();
  checkObjectMeta(root.at("metadata"), { namespaced: true });
  const known = new Set(listOf(fieldOf(old, "subsets")).map(canonicalText));
  for (const subset of root.at("subsets").items()) {
    if (known.has(canonicalText(subset.value))) continue;
    const addresses = subset.at("addresses").items();
    const notReady = subset.at("notReadyAddresses").items();
    if (addresses.length === 0 && notReady.length === 0) {
      subset.required("must specify `addresses` or `notReadyAddresses`");
    }
    for (const address of [...addresses, ...notReady]) checkEndpointsAddress(address);
    const ports = subset.at("ports").items();
    for (const port of ports) checkEndpointsPort(port, ports.length > 1);
  }
}

/** Checks Endpoints after defaulting. Never throws. */
export function validateEndpoints(endpoints: Endpoints): FieldError[] {
  const errors: FieldError[] = [];
  checkEndpoints(new FieldCursor(endpoints, "", errors), undefined);
  return errors;
}

/** Checks a change of Endpoints; subsets that were there before are not checked again. Never throws. */
export function validateEndpointsUpdate(endpoints: Endpoints, old: Endpoints): FieldError[] {
  const errors: FieldError[] = [];
  const root = new FieldCursor(endpoints, "", errors);
  checkObjectMetaUpdate(root.at("metadata"), fieldOf(old, "metadata"));
  checkEndpoints(root, old);
  return errors;
}

function checkSliceAddresses(addresses: FieldCursor, addressType: string): void {
  for (const address of addresses.items()) {
    const text = address.text();
    if (addressType === "FQDN") {
      address.invalidEach(dnsSubdomainProblems(text), text);
      continue;
    }
    if (addressType !== "IPv4" && addressType !== "IPv6") continue;
    const problems = canonicalAddressProblems(text);
    if (problems.length > 0) {
      address.invalidEach(problems, text);
      continue;
    }
    if (familyOfSloppy(text) !== addressType) addresses.invalid(`must be an ${addressType} address`, text);
    address.invalidEach(endpointAddressProblems(text), text);
  }
}

function checkHintNames(hints: FieldCursor, limit: number, rule: (name: string) => string[]): void {
  const items = hints.items();
  if (items.length > limit) {
    hints.tooMany(items.length, limit);
    return;
  }
  const seen = new Set<string>();
  for (const item of items) {
    const name = item.at("name");
    if (seen.has(name.text())) name.duplicate(name.text());
    seen.add(name.text());
    name.invalidEach(rule(name.text()), name.text());
  }
}

function checkSliceEndpoint(endpoint: FieldCursor, addressType: string): void {
  endpoint.object();
  const addresses = endpoint.at("addresses");
  const count = addresses.length;
  if (count === 0) addresses.required("must contain at least 1 address");
  else if (count > endpointSliceLimits.addresses) addresses.tooMany(count, endpointSliceLimits.addresses);
  checkSliceAddresses(addresses, addressType);
  const nodeName = endpoint.at("nodeName");
  if (nodeName.present) nodeName.invalidEach(dnsSubdomainProblems(nodeName.text()));
  const topology = endpoint.at("deprecatedTopology");
  const labels = topology.entries().length;
  if (labels > endpointSliceLimits.topologyLabels) topology.tooMany(labels, endpointSliceLimits.topologyLabels);
  validateLabelMap(topology);
  const hostname = endpoint.at("hostname");
  if (hostname.present) hostname.invalidEach(dnsLabelProblems(hostname.text()));
  const hints = endpoint.at("hints");
  checkHintNames(hints.at("forZones"), endpointSliceLimits.zoneHints, labelValueProblems);
  checkHintNames(hints.at("forNodes"), endpointSliceLimits.nodeHints, dnsSubdomainProblems);
}

function checkSlicePorts(ports: FieldCursor): void {
  const items = ports.items();
  if (items.length > endpointSliceLimits.ports) {
    ports.tooMany(items.length, endpointSliceLimits.ports);
    return;
  }
  const names = new Set<string>();
  for (const port of items) {
    port.object();
    const name = port.at("name");
    if (name.text() !== "") name.invalidEach(dnsLabelProblems(name.text()));
    if (names.has(name.text())) name.duplicate(name.text());
    names.add(name.text());
    port.at("port").integer();
    const protocol = port.at("protocol");
    if (!protocol.present) protocol.required();
    else if (!protocols.includes(protocol.text())) protocol.notSupported(protocols, protocol.text());
    const appProtocol = port.at("appProtocol");
    if (appProtocol.present) appProtocol.invalidEach(qualifiedNameProblems(appProtocol.text()));
  }
}

function checkEndpointSlice(root: FieldCursor, old: unknown): void {
  root.object();
  checkObjectMeta(root.at("metadata"), { namespaced: true });
  const addressType = root.at("addressType");
  const types = ["FQDN", "IPv4", "IPv6"];
  if (addressType.text() === "") addressType.required();
  else if (!types.includes(addressType.text())) addressType.notSupported(types);
  const endpoints = root.at("endpoints");
  const items = endpoints.items();
  if (items.length > endpointSliceLimits.endpoints) endpoints.tooMany(items.length, endpointSliceLimits.endpoints);
  else {
    const known = new Set(listOf(fieldOf(old, "endpoints")).map(canonicalText));
    for (const endpoint of items) {
      if (!known.has(canonicalText(endpoint.value))) checkSliceEndpoint(endpoint, addressType.text());
    }
  }
  checkSlicePorts(root.at("ports"));
}

/** Checks an EndpointSlice after defaulting. Numbers of ports are not range-checked, as in Kubernetes. Never throws. */
export function validateEndpointSlice(slice: EndpointSlice): FieldError[] {
  const errors: FieldError[] = [];
  checkEndpointSlice(new FieldCursor(slice, "", errors), undefined);
  return errors;
}

/** Checks a change of an EndpointSlice: the address type is immutable; endpoints that were there before are not checked again. */
export function validateEndpointSliceUpdate(slice: EndpointSlice, old: EndpointSlice): FieldError[] {
  const errors: FieldError[] = [];
  const root = new FieldCursor(slice, "", errors);
  checkEndpointSlice(root, old);
  if (root.at("addressType").value !== fieldOf(old, "addressType")) {
    root.at("addressType").invalid("field is immutable");
  }
  return errors;
}
