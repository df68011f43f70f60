import type { KubernetesObject } from "@portolan/core";

/** Text of objects, kept as long as the object itself. Stored objects never change, so neither does their text. */
const itemTexts = new WeakMap<object, string>();
/** The same in UTF-8, of objects that were in a list over HTTP. */
const itemOctets = new WeakMap<object, Uint8Array>();

/** JSON of a stored object as a list has it: without kind and apiVersion. */
export function itemText(object: KubernetesObject): string {
  let text = itemTexts.get(object);
  if (text === undefined) {
    const { kind: _, apiVersion: __, ...rest } = object;
    text = JSON.stringify(rest);
    itemTexts.set(object, text);
  }
  return text;
}

/** UTF-8 of {@link itemText}. */
export function itemBytes(object: KubernetesObject): Uint8Array {
  let bytes = itemOctets.get(object);
  if (bytes === undefined) {
    bytes = Buffer.from(itemText(object));
    itemOctets.set(object, bytes);
  }
  return bytes;
}

/** JSON of a stored object, with kind and apiVersion first. */
export function objectText(object: KubernetesObject, kind: string, apiVersion: string): string {
  const rest = itemText(object);
  const head = `{"kind":${JSON.stringify(kind)},"apiVersion":${JSON.stringify(apiVersion)}`;
  return rest === "{}" ? `${head}}` : `${head},${rest.slice(1)}`;
}
