import type { ResourceDefinition } from "../resource-definition.ts";

/** Verbs of the authorizer (`system:masters` may do all, others some). */
export type Verb =
  | "get"
  | "list"
  | "watch"
  | "create"
  | "update"
  | "patch"
  | "delete"
  | "deletecollection"
  | "head"
  | "options"
  | "post"
  | "put";

/** What a request is about, read from its method and path (apiserver `request/requestinfo.go`). */
export interface RequestInfo {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly verb: Verb;
  /** False for `/healthz`, `/version`, discovery and everything else that is no resource. */
  readonly isResource: boolean;
  readonly group: string;
  readonly version: string;
  readonly namespace: string;
  readonly resource: string;
  readonly name: string;
  readonly subresource: string;
  /** Segments after the subresource, as of `proxy`. */
  readonly rest: readonly string[];
}

const namespaceSubresources = new Set(["status", "finalize"]);

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Reads method and path. Never throws: what cannot be read is no resource. */
export function readRequestInfo(method: string, url: string): RequestInfo {
  const question = url.indexOf("?");
  const path = question < 0 ? url : url.slice(0, question);
  const query = new URLSearchParams(question < 0 ? "" : url.slice(question + 1));
  const segments = path.split("/").filter((segment) => segment !== "");
  const plain: RequestInfo = {
    path,
    query,
    verb: method.toLowerCase() as Verb,
    isResource: false,
    group: "",
    version: "",
    namespace: "",
    resource: "",
    name: "",
    subresource: "",
    rest: [],
  };

  let at: number;
  let group = "";
  if (segments[0] === "api" && segments.length >= 3) at = 1;
  else if (segments[0] === "apis" && segments.length >= 4) {
    group = segments[1] as string;
    at = 2;
  } else return plain;
  const version = segments[at] as string;
  let parts = segments.slice(at + 1).map(decode);

  let isWatchPath = false;
  if (parts[0] === "watch") {
    isWatchPath = true;
    parts = parts.slice(1);
  }
  let namespace = "";
  if (parts[0] === "namespaces") {
    const first = parts[1];
    if (first !== undefined) {
      namespace = first;
      // /namespaces/{name} and /namespaces/{name}/status are about the namespace itself.
      if (parts.length > 2 && !namespaceSubresources.has(parts[2] as string)) parts = parts.slice(2);
    }
  }
  const resource = parts[0] ?? "";
  const name = parts[1] ?? "";
  const subresource = parts[2] ?? "";
  if (resource === "namespaces") namespace = name;

  let verb: Verb;
  switch (method) {
    case "POST":
      verb = "create";
      break;
    case "GET":
      verb = "get";
      break;
    case "HEAD":
      verb = "head";
      break;
    case "PUT":
      verb = "update";
      break;
    case "PATCH":
      verb = "patch";
      break;
    case "DELETE":
      verb = "delete";
      break;
    default:
      verb = method.toLowerCase() as Verb;
  }
  if (name === "" && verb === "get") verb = isTrue(query.get("watch")) ? "watch" : "list";
  if (name === "" && verb === "delete") verb = "deletecollection";
  if (isWatchPath) verb = "watch";
  else if (verb === "get" && subresource === "" && isTrue(query.get("watch"))) verb = "watch";
  return {
    path,
    query,
    verb,
    isResource: resource !== "",
    group,
    version,
    namespace,
    resource,
    name,
    subresource,
    rest: parts.slice(3),
  };
}

/** Reads a boolean of a query as Kubernetes does: everything but `false` and `0` is true, also the empty text. */
export function isTrue(value: string | null): boolean {
  return value !== null && value.toLowerCase() !== "false" && value !== "0";
}

/** `deployments.apps`, or `services` in the core group: the unit of lists in the store and in messages. */
export function collectionName(type: Pick<ResourceDefinition, "group" | "resource">): string {
  return type.group === "" ? type.resource : `${type.resource}.${type.group}`;
}
