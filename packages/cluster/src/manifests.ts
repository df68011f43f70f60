import { isNotFound, type KubernetesApi } from "@portolan/client";
import { type KubernetesObject, type ResourceType, resources } from "@portolan/core";
import { parseAllDocuments } from "yaml";

/** A manifest that cannot be applied. The message names the document, and the line where that is known. */
export class ManifestError extends Error {
  override readonly name = "ManifestError";
  readonly code = "manifest";
}

/** The resource type of an object by its `apiVersion` and `kind`, among those that Portolan knows. */
export function resourceTypeOf(object: KubernetesObject): ResourceType | undefined {
  return Object.values(resources).find((type) => type.apiVersion === object.apiVersion && type.kind === object.kind);
}

/**
 * Reads the objects of a YAML (or JSON) text with documents separated by `---`. Lists are flattened; namespaced objects without a
 * namespace get `namespace`.
 *
 * @param name of the text, for messages
 * @throws ManifestError on malformed YAML, on documents that are no objects, and on unknown kinds; nothing is returned then
 */
export function readManifests(text: string, name: string, namespace = "default"): KubernetesObject[] {
  const out: KubernetesObject[] = [];
  const documents = parseAllDocuments(text);
  for (const [i, document] of (Array.isArray(documents) ? documents : [documents]).entries()) {
    const where = `${name}, document ${i + 1}`;
    const [error] = document.errors;
    if (error !== undefined) throw new ManifestError(`${where}: ${error.message.split("\n")[0]}`);
    const value = document.toJS({ maxAliasCount: 100 }) as KubernetesObject & { items?: KubernetesObject[] };
    if (value === null || value === undefined) continue;
    if (typeof value !== "object" || !value.apiVersion || !value.kind) {
      throw new ManifestError(`${where}: not a Kubernetes object (apiVersion and kind are needed)`);
    }
    for (const object of value.kind === "List" && Array.isArray(value.items) ? value.items : [value]) {
      const type = resourceTypeOf(object);
      if (type === undefined) {
        throw new ManifestError(`${where}: kind ${object.kind} of ${object.apiVersion} is not served here`);
      }
      if (!object.metadata?.name && !object.metadata?.generateName) {
        throw new ManifestError(`${where}: ${object.kind} without metadata.name`);
      }
      if (type.namespaced && object.metadata.namespace === undefined) object.metadata.namespace = namespace;
      out.push(object);
    }
  }
  return out;
}

/**
 * Applies the objects of a manifest (server-side, as field manager `portolan`) where they exist, and creates the others. The text is
 * read whole before the first write.
 *
 * @throws ManifestError as {@link readManifests}; ApiError when the server refuses one, the earlier ones being applied then
 */
export async function applyManifests(
  api: KubernetesApi,
  text: string,
  name: string,
): Promise<readonly KubernetesObject[]> {
  const out: KubernetesObject[] = [];
  for (const object of readManifests(text, name)) out.push(await applyObject(api, object));
  return out;
}

/** Applies one object of a known type, as {@link applyManifests} does. */
export async function applyObject(api: KubernetesApi, object: KubernetesObject): Promise<KubernetesObject> {
  const type = resourceTypeOf(object)!;
  const { name = "", namespace = "" } = object.metadata ?? {};
  const path = { name, ...(namespace === "" ? {} : { namespace }) };
  // An answer to a creation does not tell: a Service that exists is refused for its own address first.
  if (name === "" || !(await exists(api, type, path)))
    return await api.create(type, object, { fieldManager: "portolan" });
  return await api.patch(type, path, object, {
    patchType: "application/apply-patch+yaml",
    fieldManager: "portolan",
    force: true,
  });
}

async function exists(
  api: KubernetesApi,
  type: ResourceType,
  path: { readonly name: string; readonly namespace?: string },
): Promise<boolean> {
  try {
    await api.get(type, path);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}
