import { isJsonObject, type JsonObject, listOf, textOf } from "../json.ts";
import type { NetworkPolicy } from "../types/networking.ts";
import type { Event, Namespace, Node, Secret } from "../types/workload.ts";
import { ensureObject, fill, fillText, objectsIn } from "./fill.ts";

/** Label that every Namespace carries: its own name. */
export const namespaceNameLabel = "kubernetes.io/metadata.name";

/** Decode-time defaults of a Namespace, in place: name label and phase. Returns the same object. */
export function defaultNamespace<T extends Namespace>(namespace: T): T {
  if (!isJsonObject(namespace)) return namespace;
  const metadata = ensureObject(namespace as JsonObject, "metadata");
  if (metadata !== undefined && textOf(metadata.name) !== "") {
    const labels = ensureObject(metadata, "labels");
    if (labels !== undefined) labels[namespaceNameLabel] = metadata.name;
  }
  const status = ensureObject(namespace as JsonObject, "status");
  if (status !== undefined) fillText(status, "phase", "Active");
  return namespace;
}

/** Decode-time defaults of a CustomResourceDefinition, in place: names that follow from the kind, no conversion. Returns the same object. */
export function defaultCustomResourceDefinition<T extends object>(definition: T): T {
  const spec = ensureObject(definition as JsonObject, "spec");
  const names = spec === undefined ? undefined : ensureObject(spec, "names");
  const kind = textOf(names?.kind);
  if (names !== undefined && kind !== "") {
    fillText(names, "singular", kind.toLowerCase());
    fillText(names, "listKind", `${kind}List`);
  }
  if (spec !== undefined && spec.conversion === undefined) spec.conversion = { strategy: "None" };
  return definition;
}

const accessControlGroup = "rbac.authorization.k8s.io";

/** Decode-time defaults of a RoleBinding or ClusterRoleBinding, in place: API groups. Returns the same object. */
export function defaultRoleBinding<T extends object>(binding: T): T {
  const roleRef = ensureObject(binding as JsonObject, "roleRef");
  if (roleRef !== undefined) fillText(roleRef, "apiGroup", accessControlGroup);
  for (const subject of objectsIn((binding as JsonObject).subjects))
    if (subject.kind === "User" || subject.kind === "Group") fillText(subject, "apiGroup", accessControlGroup);
  return binding;
}

/** Decode-time defaults of a Secret, in place: type `Opaque`. `stringData` is merged into `data`. Returns the same object. */
export function defaultSecret<T extends Secret>(secret: T): T {
  if (!isJsonObject(secret)) return secret;
  fillText(secret as JsonObject, "type", "Opaque");
  const plain = secret.stringData;
  if (isJsonObject(plain)) {
    const data = ensureObject(secret as JsonObject, "data");
    if (data !== undefined) {
      for (const [key, value] of Object.entries(plain)) if (typeof value === "string") data[key] = base64Of(value);
      delete (secret as JsonObject).stringData;
    }
  }
  return secret;
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

function base64Of(text: string): string {
  const bytes: number[] = [];
  for (const character of text) {
    const point = character.codePointAt(0)!;
    if (point < 0x80) bytes.push(point);
    else if (point < 0x800) bytes.push(0xc0 | (point >> 6), 0x80 | (point & 63));
    else if (point < 0x10000) bytes.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
    else {
      bytes.push(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 63), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
    }
  }
  let out = "";
  for (let at = 0; at < bytes.length; at += 3) {
    const word = (bytes[at]! << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    const digits = [18, 12, 6, 0].map((shift) => base64Alphabet[(word >> shift) & 63]!);
    if (at + 1 >= bytes.length) digits[2] = "=";
    if (at + 2 >= bytes.length) digits[3] = "=";
    out += digits.join("");
  }
  return out;
}

/** Decode-time defaults of a Node, in place: what is not said to be allocatable is the whole capacity. Returns the same object. */
export function defaultNode<T extends Node>(node: T): T {
  if (!isJsonObject(node) || !isJsonObject(node.status) || !isJsonObject(node.status.capacity)) return node;
  const allocatable = ensureObject(node.status, "allocatable");
  if (allocatable !== undefined && Object.keys(allocatable).length === 0)
    Object.assign(allocatable, node.status.capacity);
  return node;
}

/** The fields of an Event that servers always write, in place. Returns the same object. */
export function defaultEvent<T extends Event>(event: T): T {
  if (!isJsonObject(event)) return event;
  const object = event as JsonObject;
  fill(object, "involvedObject", {});
  fill(object, "source", {});
  if (object.firstTimestamp === undefined) object.firstTimestamp = null;
  if (object.lastTimestamp === undefined) object.lastTimestamp = null;
  if (object.eventTime === undefined) object.eventTime = null;
  fill(object, "reportingComponent", "");
  fill(object, "reportingInstance", "");
  return event;
}

/** Decode-time defaults of a NetworkPolicy, in place: protocol of ports and policy types. Returns the same object. */
export function defaultNetworkPolicy<T extends NetworkPolicy>(policy: T): T {
  if (!isJsonObject(policy)) return policy;
  const spec = ensureObject(policy as JsonObject, "spec");
  if (spec === undefined) return policy;
  for (const rule of [...objectsIn(spec.ingress), ...objectsIn(spec.egress)]) {
    for (const port of objectsIn(rule.ports)) fill(port, "protocol", "TCP");
  }
  if (
    listOf(spec.policyTypes).length === 0 &&
    (spec.policyTypes === undefined || Array.isArray(spec.policyTypes) || spec.policyTypes === null)
  ) {
    spec.policyTypes = listOf(spec.egress).length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
  }
  return policy;
}
