import type { KubernetesObject, ObjectMeta, OwnerReference, Pod, PodTemplateSpec, ResourceType } from "@portolan/core";

/** Label that ties a ReplicaSet and its pods to one version of a Deployment's template. */
export const POD_TEMPLATE_HASH_LABEL = "pod-template-hash";
/** Label of pods of StatefulSets and DaemonSets: the version of the template they were made from. */
export const CONTROLLER_REVISION_HASH_LABEL = "controller-revision-hash";

// The alphabet of generated names: no vowels (no words), no characters that look alike.
const SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789";

/** JSON with object keys in order, absent for `undefined`: equal values give equal texts. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const entries = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${entries.map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`).join(",")}}`;
}

/** True when two values are equal as API objects: absent, `null` and empty lists or maps count as the same. */
export function semanticallyEqual(a: unknown, b: unknown): boolean {
  return canonicalJson(withoutEmpty(a)) === canonicalJson(withoutEmpty(b));
}

function withoutEmpty(value: unknown): unknown {
  if (value === null || value === undefined) return undefined;
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.map((item) => withoutEmpty(item) ?? null);
  if (typeof value !== "object") return value;
  const entries = Object.entries(value)
    .map(([key, field]) => [key, withoutEmpty(field)] as const)
    .filter(([, field]) => field !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/**
 * Hash of a pod template as 32-bit FNV-1a over its canonical form, written in the alphabet of generated names.
 * `collisionCount` gives another hash when the first one's name is taken by something else.
 */
export function podTemplateHash(template: PodTemplateSpec, collisionCount = 0): string {
  const { creationTimestamp: _, ...metadata } = template.metadata ?? {};
  const text = canonicalJson(withoutEmpty({ metadata, spec: template.spec }));
  let hash = 0x811c9dc5;
  const add = (byte: number): void => {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  };
  for (const byte of new TextEncoder().encode(text)) add(byte);
  if (collisionCount > 0) for (let shift = 0; shift < 32; shift += 8) add((collisionCount >>> shift) & 0xff);
  return safeEncode(String(hash));
}

/** Digits of `text` in the alphabet of generated names. */
function safeEncode(text: string): string {
  let result = "";
  for (const character of text) result += SAFE_ALPHABET[character.charCodeAt(0) % SAFE_ALPHABET.length];
  return result;
}

/** The reference by which `owner` controls what it makes. */
export function controllerReference(owner: KubernetesObject, type: ResourceType): OwnerReference {
  return {
    apiVersion: type.apiVersion,
    kind: type.kind,
    name: owner.metadata?.name ?? "",
    uid: owner.metadata?.uid ?? "",
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** The reference of the object's managing controller, if it has one. */
export function controllerOf(object: KubernetesObject): OwnerReference | undefined {
  return object.metadata?.ownerReferences?.find((reference) => reference.controller === true);
}

/** A pod made from a template for its owner; `metadata` is laid over the template's. */
export function podFromTemplate(
  template: PodTemplateSpec,
  owner: KubernetesObject,
  type: ResourceType,
  metadata: Pick<ObjectMeta, "name" | "generateName" | "labels" | "annotations">,
): Pod {
  const { labels, annotations, ...names } = metadata;
  const own = template.metadata ?? {};
  const pod: Pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { ...names, ownerReferences: [controllerReference(owner, type)] },
    spec: structuredClone(template.spec ?? { containers: [] }),
  };
  if (owner.metadata?.namespace !== undefined) pod.metadata.namespace = owner.metadata.namespace;
  if (own.labels !== undefined || labels !== undefined) pod.metadata.labels = { ...own.labels, ...labels };
  if (own.annotations !== undefined || annotations !== undefined) {
    pod.metadata.annotations = { ...own.annotations, ...annotations };
  }
  if (own.finalizers !== undefined) pod.metadata.finalizers = [...own.finalizers];
  return pod;
}

/** Prefix for generated pod names: the owner's name and a dash, unless that is already too long for a name. */
export function podNamePrefix(ownerName: string): string {
  return ownerName.length + 1 <= 253 ? `${ownerName}-` : ownerName;
}
