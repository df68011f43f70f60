import {
  anything,
  boolean,
  type Fields,
  int32,
  int64,
  keyedList,
  list,
  nested,
  object,
  oneOf,
  pointer,
  string,
  stringMap,
  strings,
  time,
} from "./notation.ts";
import type { Schema } from "./schema.ts";

/** Types that every group shares (`k8s.io/apimachinery`, `meta/v1`). */
const prefix = "io.k8s.apimachinery.pkg.apis.meta.v1.";

const ownerReference = object(
  `${prefix}OwnerReference`,
  "OwnerReference names an object in the same namespace, or a cluster-scoped one, on which this object depends.",
  () => ({
    apiVersion: string(5, "API version of the owner."),
    blockOwnerDeletion: pointer(boolean(7, "With foreground deletion the owner stays until this object is gone.")),
    controller: pointer(boolean(6, "The owner is the managing controller.")),
    kind: string(1, "Kind of the owner."),
    name: string(3, "Name of the owner."),
    uid: string(4, "UID of the owner."),
  }),
  { required: ["apiVersion", "kind", "name", "uid"], atomic: true },
);

const managedFieldsEntry = object(
  `${prefix}ManagedFieldsEntry`,
  "ManagedFieldsEntry records which fields of the object one writer has set.",
  () => ({
    apiVersion: string(3, "Version of the object to which the field set applies."),
    fieldsType: string(6, 'Format of the field set; only "FieldsV1" exists.'),
    fieldsV1: anything(7, "The field set, as a tree of keys.", `${prefix}FieldsV1`),
    manager: string(1, "Name of the writer."),
    operation: string(2, "How the fields were set: Apply or Update."),
    subresource: string(8, "Subresource through which the fields were set, empty for the object itself."),
    time: time(4, "When the entry last changed."),
  }),
);

/** `metadata` of objects. */
export const objectMeta: Schema = object(
  `${prefix}ObjectMeta`,
  "ObjectMeta is the metadata that every stored object carries: its names, its versions and who depends on it.",
  () => ({
    annotations: stringMap(12, "Free-form keys and values for tools; not used to select objects."),
    creationTimestamp: time(8, "When the server created the object. Set by the server."),
    deletionGracePeriodSeconds: pointer(int64(10, "Seconds the object may take to end gracefully. Set by the server.")),
    deletionTimestamp: time(
      9,
      "When the object will be removed, once somebody has asked for its deletion. Set by the server.",
    ),
    finalizers: strings(14, "Names of those who must act before the object is removed.", {
      listType: "set",
      patchStrategy: "merge",
    }),
    generateName: string(2, "Prefix from which the server makes a unique name when `name` is empty."),
    generation: int64(7, "Counts changes of the desired state. Set by the server."),
    labels: stringMap(11, "Keys and values by which selectors of Services and controllers choose objects."),
    managedFields: list(
      17,
      managedFieldsEntry,
      "Which writer owns which fields; kept by the server for server-side apply.",
    ),
    name: string(1, "Name of the object, unique for its kind within its namespace; it cannot be changed."),
    namespace: string(3, "Namespace of the object; empty for cluster-scoped kinds."),
    ownerReferences: keyedList(
      13,
      ownerReference,
      ["uid"],
      "Objects on which this one depends; it is deleted after all of them.",
    ),
    resourceVersion: string(
      6,
      "Opaque version of the object for optimistic concurrency and watches. Set by the server.",
    ),
    selfLink: string(4, "Deprecated: no longer filled in by the server."),
    uid: string(5, "Identity of the object, unique over time. Set by the server."),
  }),
);

/** `metadata` of lists. */
export const listMeta: Schema = object(`${prefix}ListMeta`, "ListMeta is the metadata of a list.", () => ({
  continue: string(3, "Token with which to ask for the rest of the list; empty at its end."),
  remainingItemCount: int64(4, "Estimate of the items that follow."),
  resourceVersion: string(2, "Version of the list, from which a watch can go on."),
  selfLink: string(1, "Deprecated: no longer filled in by the server."),
}));

const labelSelectorRequirement = object(
  `${prefix}LabelSelectorRequirement`,
  "LabelSelectorRequirement relates the value of one label to a set of values.",
  () => ({
    key: string(1, "Label to look at."),
    operator: string(2, "In, NotIn, Exists or DoesNotExist."),
    values: strings(3, "Values for In and NotIn; empty for the others."),
  }),
  { required: ["key", "operator"] },
);

/** `matchLabels` and `matchExpressions`. */
export const labelSelector: Schema = object(
  `${prefix}LabelSelector`,
  "LabelSelector chooses objects by label; all requirements must hold, and an empty selector chooses everything.",
  () => ({
    matchExpressions: list(2, labelSelectorRequirement, "Requirements that must hold."),
    matchLabels: stringMap(1, "Labels that must have exactly these values."),
  }),
  { atomic: true },
);

/** `metav1.Condition`. */
export const condition: Schema = object(
  `${prefix}Condition`,
  "Condition is one aspect of the current state of an object.",
  () => ({
    lastTransitionTime: time(4, "When the status last changed."),
    message: string(6, "Explanation for people; may be empty."),
    observedGeneration: int64(3, "Generation of the object on which the condition is based."),
    reason: string(5, "Reason for the last change, in CamelCase."),
    status: string(2, "True, False or Unknown."),
    type: string(1, "Name of the condition."),
  }),
  { required: ["type", "status", "lastTransitionTime", "reason", "message"] },
);

/** `status.conditions` as most newer kinds have it. */
export function conditions(protobuf: number, description: string): Schema {
  return keyedList(protobuf, condition, ["type"], description);
}

const preconditions = object(`${prefix}Preconditions`, "Preconditions must hold for a deletion to happen.", () => ({
  resourceVersion: pointer(string(2, "The object must be at this version.")),
  uid: pointer(string(1, "The object must have this UID.")),
}));

/** Body of a DELETE. */
export const deleteOptions: Schema = object(
  `${prefix}DeleteOptions`,
  "DeleteOptions says how an object is to be deleted.",
  () => ({
    ...kindFields,
    dryRun: strings(5, "All: go through every stage, but change nothing."),
    gracePeriodSeconds: pointer(int64(1, "Seconds to wait before the object is removed; zero removes it at once.")),
    ignoreStoreReadErrorWithClusterBreakingPotential: pointer(
      boolean(6, "Delete even what cannot be decoded from storage."),
    ),
    orphanDependents: pointer(boolean(3, "Deprecated in favour of propagationPolicy.")),
    preconditions: nested(2, preconditions, "What must hold for the deletion to happen."),
    propagationPolicy: pointer(string(4, "What becomes of dependents: Orphan, Background or Foreground.")),
  }),
);

const statusCause = object(`${prefix}StatusCause`, "StatusCause is one cause of a failure.", () => ({
  field: string(3, "Field at fault, as a path."),
  message: string(2, "Description for people."),
  reason: string(1, "Description for machines."),
}));

const statusDetails = object(`${prefix}StatusDetails`, "StatusDetails says more about a failure.", () => ({
  causes: list(4, statusCause, "Causes of the failure."),
  group: string(2, "Group of the resource at fault."),
  kind: string(3, "Resource at fault."),
  name: string(1, "Name of the object at fault."),
  retryAfterSeconds: int32(5, "Seconds after which to try again."),
  uid: string(6, "UID of the object at fault."),
}));

/** What a server answers on failure. */
export const status: Schema = object(
  `${prefix}Status`,
  "Status is the answer of a server that returns no object.",
  () => ({
    ...kindFields,
    code: int32(6, "HTTP status code."),
    details: nested(5, statusDetails, "More about a failure."),
    message: string(3, "Description for people."),
    metadata: nested(1, listMeta, "Metadata of a list."),
    reason: string(4, "Description for machines."),
    status: string(2, "Success or Failure."),
  }),
);

/** `apiVersion` and `kind`, which protobuf carries in its envelope. */
export const kindFields: Fields = {
  apiVersion: { type: "string", description: "Version of this representation of the object: `v1` or `group/version`." },
  kind: { type: "string", description: "Kind of the object, in CamelCase." },
};

/**
 * A top-level kind with metadata.
 *
 * @param fields the others, beside `apiVersion`, `kind` and `metadata`
 */
export function kind(
  reference: string,
  description: string,
  fields: () => Fields,
  options: { readonly required?: readonly string[] } = {},
): Schema {
  return object(
    reference,
    description,
    () => ({ ...kindFields, metadata: nested(1, objectMeta, "Standard metadata of the object."), ...fields() }),
    options,
  );
}

/** Protocols of ports. */
export function protocol(protobuf: number, description: string, options: Partial<Schema> = {}): Schema {
  return oneOf(protobuf, ["SCTP", "TCP", "UDP"], description, options);
}
