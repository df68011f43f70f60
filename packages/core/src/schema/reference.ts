import { object, pointer, string } from "./notation.ts";
import type { Schema } from "./schema.ts";

/** References of the core group to other objects (`k8s.io/api/core/v1`). */
const prefix = "io.k8s.api.core.v1.";

export const objectReference: Schema = object(
  `${prefix}ObjectReference`,
  "ObjectReference names an object.",
  () => ({
    apiVersion: string(5, "API version of the object."),
    fieldPath: string(7, "Part of the object, such as spec.containers{name}."),
    kind: string(1, "Kind of the object."),
    name: string(3, "Name of the object."),
    namespace: string(2, "Namespace of the object."),
    resourceVersion: string(6, "Version of the object."),
    uid: string(4, "UID of the object."),
  }),
  { atomic: true },
);

export const localObjectReference: Schema = object(
  `${prefix}LocalObjectReference`,
  "LocalObjectReference names an object in the same namespace.",
  () => ({ name: string(1, "Name of the object.", { default: "" }) }),
  { atomic: true },
);

export const typedLocalObjectReference: Schema = object(
  `${prefix}TypedLocalObjectReference`,
  "TypedLocalObjectReference names an object of any kind in the same namespace.",
  () => ({
    apiGroup: pointer(string(1, "Group of the object; the core group unless given.")),
    kind: string(2, "Kind of the object."),
    name: string(3, "Name of the object."),
  }),
  { required: ["kind", "name"], atomic: true },
);

export const typedObjectReference: Schema = object(
  `${prefix}TypedObjectReference`,
  "TypedObjectReference names an object of any kind.",
  () => ({
    apiGroup: pointer(string(1, "Group of the object; the core group unless given.")),
    kind: string(2, "Kind of the object."),
    name: string(3, "Name of the object."),
    namespace: string(4, "Namespace of the object."),
  }),
  { required: ["kind", "name"] },
);
