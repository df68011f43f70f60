import {
  applyDefaults,
  type FieldError,
  type KubernetesObject,
  objectWarnings,
  type Schema,
  type ValidationContext,
  validateObject,
} from "@portolan/core";
import { type Decoded, decodeObject } from "./encoding/decoding.ts";
import type { ParsedJson } from "./encoding/json.ts";

/** How objects of a kind are read, completed and checked. */
export interface ObjectCodec {
  /** @throws DecodeError for values of a wrong type */
  decode(document: ParsedJson): Decoded;
  /** Completes an object in place, and returns it. */
  applyDefaults(object: KubernetesObject): KubernetesObject;
  validate(object: KubernetesObject, old: KubernetesObject | undefined, context: ValidationContext): FieldError[];
  /** Texts of Warning headers. */
  warnings(object: KubernetesObject, old: KubernetesObject | undefined): string[];
  /** A stored object as readers see it. */
  view(object: KubernetesObject): KubernetesObject;
}

/** The codec of a kind that is built in. */
export function createBuiltinCodec(schema: Schema): ObjectCodec {
  return {
    decode: (document) => decodeObject(document, schema),
    applyDefaults,
    validate: validateObject,
    warnings: objectWarnings,
    view: (object) => object,
  };
}
