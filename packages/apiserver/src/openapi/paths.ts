import type { ResourceDefinition, SubresourceDefinition } from "../resource-definition.ts";
import { type Definitions, type Dialect, type GroupVersionKind, type JsonSchema, kindOf } from "./schemas.ts";

/** Paths of a document with their operations. */
export type Paths = Record<string, JsonSchema>;

const patchTypes = [
  "application/json-patch+json",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  "application/apply-patch+yaml",
];
const customPatchTypes = patchTypes.filter((type) => type !== "application/strategic-merge-patch+json");
const bodyTypes = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

interface QueryParameter {
  readonly name: string;
  readonly type: "string" | "boolean" | "integer";
  readonly description: string;
}

const dryRun: QueryParameter = {
  name: "dryRun",
  type: "string",
  description: "All goes through every stage but stores nothing.",
};
const fieldManager: QueryParameter = {
  name: "fieldManager",
  type: "string",
  description: "Name under which the fields are recorded that the request sets.",
};
/** By this parameter of PATCH, kubectl sees that the server checks fields itself. */
const fieldValidation: QueryParameter = {
  name: "fieldValidation",
  type: "string",
  description: "What becomes of unknown and duplicate fields: Ignore, Warn (the default) or Strict.",
};
const force: QueryParameter = {
  name: "force",
  type: "boolean",
  description: "Take fields over from others; for apply alone.",
};
const selectors: readonly QueryParameter[] = [
  { name: "labelSelector", type: "string", description: "Labels of the objects." },
  { name: "fieldSelector", type: "string", description: "Fields of the objects." },
  { name: "limit", type: "integer", description: "Most objects to return at once." },
  { name: "continue", type: "string", description: "Token of the page before." },
  { name: "resourceVersion", type: "string", description: "Version to start from." },
  { name: "resourceVersionMatch", type: "string", description: "How resourceVersion is meant: Exact or NotOlderThan." },
];
const watching: readonly QueryParameter[] = [
  ...selectors,
  { name: "watch", type: "boolean", description: "Send changes instead of a list." },
  {
    name: "allowWatchBookmarks",
    type: "boolean",
    description: "Send versions now and then that are safe to start from.",
  },
  { name: "sendInitialEvents", type: "boolean", description: "Begin a watch with the objects that are there." },
  { name: "timeoutSeconds", type: "integer", description: "End the request after this time." },
];
const writing: readonly QueryParameter[] = [dryRun, fieldManager, fieldValidation];

/** Verbs of discovery, with the methods and actions that they are here. */
interface Verb {
  readonly method: "get" | "put" | "post" | "delete" | "patch";
  readonly action: string;
  readonly query: readonly QueryParameter[];
  readonly body: "object" | "patch" | "options" | "none";
  readonly answer: "object" | "list" | "status";
}

const collectionVerbs: Readonly<Record<string, Verb>> = {
  list: { method: "get", action: "list", query: watching, body: "none", answer: "list" },
  create: { method: "post", action: "post", query: writing, body: "object", answer: "object" },
  deletecollection: {
    method: "delete",
    action: "deletecollection",
    query: [...selectors, dryRun],
    body: "options",
    answer: "status",
  },
};

const itemVerbs: Readonly<Record<string, Verb>> = {
  get: { method: "get", action: "get", query: [], body: "none", answer: "object" },
  update: { method: "put", action: "put", query: writing, body: "object", answer: "object" },
  patch: { method: "patch", action: "patch", query: [...writing, force], body: "patch", answer: "object" },
  delete: { method: "delete", action: "delete", query: [dryRun], body: "options", answer: "status" },
};

const subresourceVerbs: Readonly<Record<string, Verb>> = {
  ...itemVerbs,
  create: { method: "post", action: "post", query: writing, body: "object", answer: "object" },
};

interface Target {
  readonly kind: GroupVersionKind;
  readonly schema: string;
  readonly list?: string;
  readonly operationId: string;
  /** Custom resources know no strategic merge; kubectl looks for it here. */
  readonly isCustom: boolean;
}

function parameter({ name, type, description }: QueryParameter, dialect: Dialect): JsonSchema {
  const base = { name, in: "query", description };
  return dialect === "v2" ? { ...base, type, uniqueItems: true } : { ...base, schema: { type, uniqueItems: true } };
}

function pathParameter(name: string, dialect: Dialect): JsonSchema {
  const description = name === "namespace" ? "Namespace of the object." : "Name of the object.";
  const base = { name, in: "path", required: true, description };
  return dialect === "v2"
    ? { ...base, type: "string", uniqueItems: true }
    : { ...base, schema: { type: "string", uniqueItems: true } };
}

function operation(verb: Verb, target: Target, definitions: Definitions, dialect: Dialect): JsonSchema {
  const answerSchema = (): JsonSchema => {
    if (verb.answer === "list" && target.list !== undefined) return definitions.reference(target.list);
    if (verb.answer === "status")
      return definitions.reference(definitions.kind({ group: "", version: "v1", kind: "Status" }));
    return definitions.reference(target.schema);
  };
  const bodySchema = (): JsonSchema | undefined => {
    switch (verb.body) {
      case "object":
        return definitions.reference(target.schema);
      case "patch":
        return { type: "object", description: "A patch of one of the types that the operation takes." };
      case "options":
        return definitions.reference(definitions.kind({ group: "", version: "v1", kind: "DeleteOptions" }));
      case "none":
        return undefined;
    }
  };
  const body = bodySchema();
  const consumes = verb.body === "patch" ? (target.isCustom ? customPatchTypes : patchTypes) : bodyTypes;
  const query = verb.query.map((each) => parameter(each, dialect));
  const common = {
    operationId: target.operationId,
    "x-kubernetes-action": verb.action,
    "x-kubernetes-group-version-kind": target.kind,
  };
  if (dialect === "v2") {
    const bodyParameter =
      body === undefined ? [] : [{ name: "body", in: "body", required: verb.body !== "options", schema: body }];
    return {
      ...common,
      consumes: verb.body === "none" ? ["*/*"] : consumes,
      produces: ["application/json"],
      parameters: [...bodyParameter, ...query],
      responses: { "200": { description: "OK", schema: answerSchema() } },
    };
  }
  return {
    ...common,
    parameters: query,
    ...(body === undefined
      ? {}
      : { requestBody: { content: Object.fromEntries(consumes.map((type) => [type, { schema: body }])) } }),
    responses: { "200": { description: "OK", content: { "application/json": { schema: answerSchema() } } } },
  };
}

function pathItem(
  verbs: readonly string[],
  table: Readonly<Record<string, Verb>>,
  target: (verb: Verb) => Target,
  parameters: readonly string[],
  definitions: Definitions,
  dialect: Dialect,
): JsonSchema | undefined {
  const operations = Object.entries(table).filter(([verb]) => verbs.includes(verb));
  if (operations.length === 0) return undefined;
  return {
    ...Object.fromEntries(
      operations.map(([, verb]) => [verb.method, operation(verb, target(verb), definitions, dialect)]),
    ),
    parameters: parameters.map((name) => pathParameter(name, dialect)),
  };
}

function upper(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function identifier(verb: Verb, definition: ResourceDefinition, rest: string): string {
  const group = definition.group === "" ? "Core" : upper(definition.group.split(".")[0] ?? "");
  const namespaced = definition.namespaced ? "Namespaced" : "";
  return `${verb.action}${group}${upper(definition.version)}${namespaced}${definition.kind}${rest}`;
}

function subresourceKind(definition: ResourceDefinition, subresource: SubresourceDefinition): GroupVersionKind {
  const group = subresource.group ?? definition.group;
  return { group, version: subresource.version ?? definition.version, kind: subresource.kind };
}

/** Adds the paths of a resource and its subresources to a document, and what they refer to to its definitions. */
export function addPaths(
  paths: Paths,
  definition: ResourceDefinition,
  definitions: Definitions,
  dialect: Dialect,
): void {
  const kind = kindOf(definition);
  const isCustom = definition.custom !== undefined;
  const schema = definitions.kind(definition);
  const list = definition.verbs.includes("list") ? { list: definitions.list(definition) } : {};
  const root =
    definition.group === "" ? `/api/${definition.version}` : `/apis/${definition.group}/${definition.version}`;
  const prefix = definition.namespaced ? `${root}/namespaces/{namespace}` : root;
  const scope = definition.namespaced ? ["namespace"] : [];
  const add = (path: string, item: JsonSchema | undefined): void => {
    if (item !== undefined) paths[path] = item;
  };
  const target =
    (rest: string): ((verb: Verb) => Target) =>
    (verb) => ({ kind, schema, ...list, isCustom, operationId: identifier(verb, definition, rest) });

  add(
    `${prefix}/${definition.resource}`,
    pathItem(definition.verbs, collectionVerbs, target(""), scope, definitions, dialect),
  );
  if (definition.namespaced) {
    const everywhere = definition.verbs.filter((verb) => verb === "list");
    add(
      `${root}/${definition.resource}`,
      pathItem(everywhere, collectionVerbs, target("ForAllNamespaces"), [], definitions, dialect),
    );
  }
  const item = `${prefix}/${definition.resource}/{name}`;
  add(item, pathItem(definition.verbs, itemVerbs, target(""), [...scope, "name"], definitions, dialect));
  for (const subresource of definition.subresources ?? []) {
    // Streams (log, exec, proxy, …) have no object as their body, and nobody looks them up here.
    const known =
      subresource.name === "status" || subresource.kind === definition.kind || subresource.group !== undefined;
    if (!known || subresource.name === "log") continue;
    const subKind = subresourceKind(definition, subresource);
    const subSchema = subKind.kind === definition.kind ? schema : definitions.kind(subKind);
    const subTarget = (verb: Verb): Target => ({
      kind: subKind,
      schema: subSchema,
      isCustom,
      operationId: identifier(verb, definition, upper(subresource.name)),
    });
    add(
      `${item}/${subresource.name}`,
      pathItem(subresource.verbs, subresourceVerbs, subTarget, [...scope, "name"], definitions, dialect),
    );
  }
}
