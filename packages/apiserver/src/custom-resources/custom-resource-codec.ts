import {
  applyStructuralDefaults,
  type FieldError,
  invalid,
  type KubernetesObject,
  pruneUnknownFields,
  type Schema,
  type StructuralSchema,
  validateObjectMeta,
  validateObjectMetaUpdate,
  validateStructural,
} from "@portolan/core";
import { DecodeError, decodeObject } from "../encoding/decoding.ts";
import { deepCopy, deepEqual } from "../encoding/equality.ts";
import { isJsonObject, type JsonValue, type ParsedJson } from "../encoding/json.ts";
import type { ObjectCodec } from "../object-codec.ts";

/** What a codec of a custom resource's version needs to know. */
export interface CustomResourceCodecOptions {
  readonly structural: StructuralSchema;
  /** The same with metadata, as server-side apply sees it. */
  readonly schema: Schema;
  readonly kind: string;
  readonly apiVersion: string;
  /** Version in which objects are stored; they differ in nothing but its name. */
  readonly storageApiVersion: string;
  readonly namespaced: boolean;
}

/** Keys that an object has twice, in document order. */
function duplicateFields(document: ParsedJson): string[] {
  if (document.duplicates.size === 0) return [];
  const found: string[] = [];
  const visit = (value: JsonValue, path: string): void => {
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) visit(item, `${path}[${index}]`);
    } else if (isJsonObject(value)) {
      for (const name of Object.keys(value)) {
        const child = path === "" ? name : `${path}.${name}`;
        visit(value[name] as JsonValue, child);
        if (document.duplicates.get(value)?.includes(name) === true) found.push(`duplicate field "${child}"`);
      }
    }
  };
  visit(document.value, "");
  return found;
}

/** Reads, completes and checks objects of one version of a custom resource (apiextensions `pkg/registry/customresource`). */
export function createCustomResourceCodec(options: CustomResourceCodecOptions): ObjectCodec {
  const { structural, kind, apiVersion, storageApiVersion, namespaced } = options;
  const metadataSchema = options.schema.properties?.["metadata"] as Schema;
  const views = new WeakMap<object, KubernetesObject>();

  function decode(document: ParsedJson): ReturnType<ObjectCodec["decode"]> {
    if (!isJsonObject(document.value))
      throw new DecodeError("json: cannot unmarshal into Go value of type map[string]interface {}");
    const object = deepCopy(document.value);
    const problems = duplicateFields(document);
    const metadata = object["metadata"];
    if (metadata !== undefined && metadata !== null) {
      const decoded = decodeObject({ ...document, value: metadata }, metadataSchema);
      object["metadata"] = decoded.object;
      problems.push(...decoded.problems.map((problem) => problem.replace('field "', 'field "metadata.')));
    }
    problems.push(...pruneUnknownFields(object, structural).map((path) => `unknown field ${JSON.stringify(path)}`));
    return { object, problems };
  }

  function headProblems(object: KubernetesObject): FieldError[] {
    return object.kind === kind ? [] : [invalid("kind", object.kind, `must be ${kind}`)];
  }

  return {
    decode,
    applyDefaults(object) {
      applyStructuralDefaults(object, structural);
      object.apiVersion = storageApiVersion;
      return object;
    },
    validate(object, old) {
      const rules = { namespaced, qualifiedFinalizers: false };
      const metadata = object.metadata ?? {};
      const content = { ...object, apiVersion };
      return [
        ...(old === undefined
          ? validateObjectMeta(metadata, rules)
          : validateObjectMetaUpdate(metadata, old.metadata ?? {})),
        ...headProblems(object),
        ...validateStructural(content, structural, old),
      ];
    },
    warnings: () => [],
    view(object) {
      // Of an object that is being made there is nothing to add: it has been completed just now.
      if (!Object.isFrozen(object)) return object;
      const known = views.get(object);
      if (known !== undefined) return known;
      const copy = deepCopy(object);
      pruneUnknownFields(copy, structural);
      applyStructuralDefaults(copy, structural);
      // The text of frozen objects is kept, so one that needs no change stays itself.
      const view = deepEqual(copy, object) ? object : Object.freeze(copy);
      views.set(object, view);
      return view;
    },
  };
}
