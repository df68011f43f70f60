import { deleteOptions, kind } from "./meta.ts";
import {
  anything,
  boolean,
  type Fields,
  int32,
  int64,
  keyedList,
  list,
  mapOf,
  microTime,
  nested,
  object,
  pointer,
  string,
  strings,
  time,
} from "./notation.ts";
import type { Schema } from "./schema.ts";

/** Kinds that control access, election, eviction and extension of the API. */

export const lease: Schema = kind(
  "io.k8s.api.coordination.v1.Lease",
  "Lease says who holds a role, and until when.",
  () => ({
    spec: nested(
      2,
      object("io.k8s.api.coordination.v1.LeaseSpec", "LeaseSpec says who holds a role.", () => ({
        acquireTime: pointer(microTime(3, "When the holder took the role.")),
        holderIdentity: pointer(string(1, "Who holds the role.")),
        leaseDurationSeconds: pointer(int32(2, "Seconds for which the role is held without renewal.")),
        leaseTransitions: pointer(int32(5, "How often the holder changed.")),
        preferredHolder: pointer(string(7, "Who should hold the role.")),
        renewTime: pointer(microTime(4, "When the holder last renewed.")),
        strategy: pointer(string(6, "How the holder is chosen.")),
      })),
      "Who holds the role.",
    ),
  }),
);

export const eviction: Schema = kind(
  "io.k8s.api.policy.v1.Eviction",
  "Eviction asks for the deletion of a Pod, where budgets allow it.",
  () => ({
    deleteOptions: nested(2, deleteOptions, "How the Pod is to be deleted."),
  }),
);

// --- Authorization --------------------------------------------------------------------------------------------------------

const authorization = "io.k8s.api.authorization.v1.";

const selectorAttributes = (name: string, requirement: string): Schema =>
  object(`${authorization}${name}`, `${name} is the selector of a request.`, () => ({
    rawSelector: string(1, "Selector as it is in the query."),
    requirements: list(
      2,
      object(
        requirement,
        "Requirement of a selector.",
        () => ({ key: string(1, "Key."), operator: string(2, "Operator."), values: strings(3, "Values.") }),
        { required: ["key", "operator"] },
      ),
      "Requirements of the selector.",
    ),
  }));

const resourceAttributes = object(
  `${authorization}ResourceAttributes`,
  "ResourceAttributes describes a request for a resource.",
  () => ({
    fieldSelector: nested(
      8,
      selectorAttributes("FieldSelectorAttributes", "io.k8s.apimachinery.pkg.apis.meta.v1.FieldSelectorRequirement"),
      "Field selector.",
    ),
    group: string(3, "Group; * for all."),
    labelSelector: nested(
      9,
      selectorAttributes("LabelSelectorAttributes", "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement"),
      "Label selector.",
    ),
    name: string(7, "Name of the object; empty for all."),
    namespace: string(1, "Namespace; empty for all."),
    resource: string(5, "Resource; * for all."),
    subresource: string(6, "Subresource; empty for none."),
    verb: string(2, "Verb; * for all."),
    version: string(4, "Version; * for all."),
  }),
);

const nonResourceAttributes = object(
  `${authorization}NonResourceAttributes`,
  "NonResourceAttributes describes a request for a path.",
  () => ({ path: string(1, "Path."), verb: string(2, "Verb.") }),
);

/** In JSON an array; in protobuf a message with the array in field 1. */
const extra = (protobuf: number): Schema =>
  mapOf(
    protobuf,
    { type: "array", items: { type: "string" }, reference: "io.k8s.api.authorization.v1.ExtraValue" },
    "Further information about the user.",
  );

const subjectAccessReviewSpec = object(
  `${authorization}SubjectAccessReviewSpec`,
  "SubjectAccessReviewSpec is who asks for what.",
  () => ({
    extra: extra(5),
    groups: strings(4, "Groups of the user."),
    nonResourceAttributes: nested(2, nonResourceAttributes, "Request for a path."),
    resourceAttributes: nested(1, resourceAttributes, "Request for a resource."),
    uid: string(6, "UID of the user."),
    user: string(3, "User."),
  }),
);

const subjectAccessReviewStatus = object(
  `${authorization}SubjectAccessReviewStatus`,
  "SubjectAccessReviewStatus is the answer.",
  () => ({
    allowed: boolean(1, "The request is allowed."),
    denied: boolean(4, "The request is denied, whatever others say."),
    evaluationError: string(3, "What went wrong."),
    reason: string(2, "Why."),
  }),
  { required: ["allowed"] },
);

function review(name: string, description: string, spec: Schema, status: Schema): Schema {
  return kind(
    `${authorization}${name}`,
    description,
    () => ({ spec: nested(2, spec, "What is asked."), status: nested(3, status, "The answer.") }),
    { required: ["spec"] },
  );
}

const selfSubjectAccessReviewSpec = object(
  `${authorization}SelfSubjectAccessReviewSpec`,
  "SelfSubjectAccessReviewSpec is what the caller asks for.",
  () => ({
    nonResourceAttributes: nested(2, nonResourceAttributes, "Request for a path."),
    resourceAttributes: nested(1, resourceAttributes, "Request for a resource."),
  }),
);

export const selfSubjectAccessReview: Schema = review(
  "SelfSubjectAccessReview",
  "SelfSubjectAccessReview asks whether the caller may do something.",
  selfSubjectAccessReviewSpec,
  subjectAccessReviewStatus,
);

export const subjectAccessReview: Schema = review(
  "SubjectAccessReview",
  "SubjectAccessReview asks whether a user may do something.",
  subjectAccessReviewSpec,
  subjectAccessReviewStatus,
);

export const localSubjectAccessReview: Schema = review(
  "LocalSubjectAccessReview",
  "LocalSubjectAccessReview asks whether a user may do something in a namespace.",
  subjectAccessReviewSpec,
  subjectAccessReviewStatus,
);

const subjectRulesReviewStatus = object(
  `${authorization}SubjectRulesReviewStatus`,
  "SubjectRulesReviewStatus lists what is allowed.",
  () => ({
    evaluationError: string(4, "What went wrong."),
    incomplete: boolean(3, "The lists are not complete."),
    nonResourceRules: list(
      2,
      object(
        `${authorization}NonResourceRule`,
        "NonResourceRule allows requests for paths.",
        () => ({ nonResourceURLs: strings(2, "Paths."), verbs: strings(1, "Verbs.") }),
        { required: ["verbs"] },
      ),
      "Rules for paths.",
    ),
    resourceRules: list(
      1,
      object(
        `${authorization}ResourceRule`,
        "ResourceRule allows requests for resources.",
        () => ({
          apiGroups: strings(2, "Groups."),
          resourceNames: strings(4, "Names of objects."),
          resources: strings(3, "Resources."),
          verbs: strings(1, "Verbs."),
        }),
        { required: ["verbs"] },
      ),
      "Rules for resources.",
    ),
  }),
  { required: ["resourceRules", "nonResourceRules", "incomplete"] },
);

export const selfSubjectRulesReview: Schema = review(
  "SelfSubjectRulesReview",
  "SelfSubjectRulesReview lists what the caller may do in a namespace.",
  object(`${authorization}SelfSubjectRulesReviewSpec`, "SelfSubjectRulesReviewSpec names a namespace.", () => ({
    namespace: string(1, "Namespace."),
  })),
  subjectRulesReviewStatus,
);

// --- Authentication -------------------------------------------------------------------------------------------------------

const authentication = "io.k8s.api.authentication.v1.";

const userInfo = object(`${authentication}UserInfo`, "UserInfo is a user.", () => ({
  extra: extra(4),
  groups: strings(3, "Groups of the user."),
  uid: string(2, "UID of the user."),
  username: string(1, "Name of the user."),
}));

export const selfSubjectReview: Schema = kind(
  `${authentication}SelfSubjectReview`,
  "SelfSubjectReview says who the caller is.",
  () => ({
    status: nested(
      2,
      object(`${authentication}SelfSubjectReviewStatus`, "SelfSubjectReviewStatus is the answer.", () => ({
        userInfo: nested(1, userInfo, "The caller."),
      })),
      "The answer.",
    ),
  }),
);

export const tokenReview: Schema = kind(
  `${authentication}TokenReview`,
  "TokenReview asks whose a token is.",
  () => ({
    spec: nested(
      2,
      object(`${authentication}TokenReviewSpec`, "TokenReviewSpec is the token.", () => ({
        audiences: strings(2, "Who asks."),
        token: string(1, "The token."),
      })),
      "The token.",
    ),
    status: nested(
      3,
      object(`${authentication}TokenReviewStatus`, "TokenReviewStatus is the answer.", () => ({
        audiences: strings(4, "For whom the token is."),
        authenticated: boolean(1, "The token is good."),
        error: string(3, "What went wrong."),
        user: nested(2, userInfo, "Whose the token is."),
      })),
      "The answer.",
    ),
  }),
  { required: ["spec"] },
);

export const tokenRequest: Schema = kind(
  `${authentication}TokenRequest`,
  "TokenRequest asks for a token of a service account.",
  () => ({
    spec: nested(
      2,
      object(
        `${authentication}TokenRequestSpec`,
        "TokenRequestSpec says which token is wanted.",
        () => ({
          audiences: strings(1, "For whom the token is to be."),
          boundObjectRef: nested(
            3,
            object(
              `${authentication}BoundObjectReference`,
              "BoundObjectReference names the object with which a token ends.",
              () => ({
                apiVersion: string(2, "API version of the object."),
                kind: string(1, "Kind of the object."),
                name: string(3, "Name of the object."),
                uid: string(4, "UID of the object."),
              }),
            ),
            "Object with which the token ends.",
          ),
          expirationSeconds: pointer(int64(4, "Life of the token.")),
        }),
        { required: ["audiences"] },
      ),
      "Which token is wanted.",
    ),
    status: nested(
      3,
      object(
        `${authentication}TokenRequestStatus`,
        "TokenRequestStatus holds the token.",
        () => ({ expirationTimestamp: time(2, "When the token ends."), token: string(1, "The token.") }),
        { required: ["token", "expirationTimestamp"] },
      ),
      "The token.",
    ),
  }),
  { required: ["spec"] },
);

// --- Extension ------------------------------------------------------------------------------------------------------------

const extensions = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";

function extension(name: string, description: string, fields: () => Fields, required?: readonly string[]): Schema {
  return object(`${extensions}${name}`, description, fields, required === undefined ? {} : { required });
}

const names = extension(
  "CustomResourceDefinitionNames",
  "CustomResourceDefinitionNames holds the names of a resource.",
  () => ({
    categories: strings(6, "Groups of resources to which it belongs, such as all."),
    kind: string(4, "Kind."),
    listKind: string(5, "Kind of lists."),
    plural: string(1, "Name in URLs."),
    shortNames: strings(3, "Short names."),
    singular: string(2, "Singular name."),
  }),
  ["plural", "kind"],
);

const version = extension(
  "CustomResourceDefinitionVersion",
  "CustomResourceDefinitionVersion is a version of a custom resource.",
  () => ({
    additionalPrinterColumns: list(
      6,
      extension(
        "CustomResourceColumnDefinition",
        "CustomResourceColumnDefinition is a column of tables.",
        () => ({
          description: string(4, "Description."),
          format: string(3, "Format."),
          jsonPath: string(6, "Path of the value."),
          name: string(1, "Heading."),
          priority: int32(5, "0 for columns that are always shown."),
          type: string(2, "Type."),
        }),
        ["name", "type", "jsonPath"],
      ),
      "Columns of tables.",
    ),
    deprecated: boolean(7, "The version is deprecated."),
    deprecationWarning: pointer(string(8, "Warning for users of the version.")),
    name: string(1, "Name of the version."),
    schema: anything(4, "Schema of the version."),
    selectableFields: list(
      9,
      extension(
        "SelectableField",
        "SelectableField can be used in field selectors.",
        () => ({ jsonPath: string(1, "Path of the field.") }),
        ["jsonPath"],
      ),
      "Fields that field selectors may use.",
    ),
    served: boolean(2, "The version is served."),
    storage: boolean(3, "Objects are stored in the version."),
    subresources: anything(5, "Subresources of the version."),
  }),
  ["name", "served", "storage"],
);

const customResourceDefinitionSpec = extension(
  "CustomResourceDefinitionSpec",
  "CustomResourceDefinitionSpec says what a custom resource is to be.",
  () => ({
    conversion: anything(9, "How versions are converted."),
    group: string(1, "Group of the resource."),
    names: nested(3, names, "Names of the resource."),
    preserveUnknownFields: boolean(10, "Deprecated: keep fields that the schema does not know."),
    scope: string(4, "Cluster or Namespaced."),
    versions: list(7, version, "Versions of the resource."),
  }),
  ["group", "names", "scope", "versions"],
);

const customResourceDefinitionStatus = extension(
  "CustomResourceDefinitionStatus",
  "CustomResourceDefinitionStatus is the state of a custom resource.",
  () => ({
    acceptedNames: nested(2, names, "Names in use."),
    conditions: keyedList(
      1,
      extension(
        "CustomResourceDefinitionCondition",
        "CustomResourceDefinitionCondition is one aspect of the state.",
        () => ({
          lastTransitionTime: time(3, "When the status last changed."),
          message: string(5, "Explanation for people."),
          observedGeneration: int64(6, "Generation on which the condition is based."),
          reason: string(4, "Reason for the last change."),
          status: string(2, "True, False or Unknown."),
          type: string(1, "Name of the condition."),
        }),
        ["type", "status"],
      ),
      ["type"],
      "Conditions of the custom resource.",
    ),
    observedGeneration: int64(4, "Generation that the server has seen."),
    storedVersions: strings(3, "Versions that were ever stored."),
  }),
);

/** In outline: schemas, conversion and subresources of versions are taken as they come. */
export const customResourceDefinition: Schema = kind(
  `${extensions}CustomResourceDefinition`,
  "CustomResourceDefinition adds a resource to the API.",
  () => ({
    spec: nested(2, customResourceDefinitionSpec, "What the resource is to be."),
    status: nested(3, customResourceDefinitionStatus, "State of the resource."),
  }),
  { required: ["spec"] },
);
