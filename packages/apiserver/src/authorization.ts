import { forbiddenStatus } from "@portolan/core";
import type { RequestInfo, Verb } from "./requests/request-info.ts";

/** What a user may do. Roles and bindings are not evaluated: the embedded server knows these three levels. */
export type Access =
  /** Everything. */
  | "admin"
  /** Reading everything but Secrets, and asking about oneself. */
  | "read-only"
  /** Asking about oneself, discovery and health. */
  | "none";

/** Who sends a request. */
export interface User {
  readonly name: string;
  readonly groups: readonly string[];
  readonly uid?: string;
  readonly extra?: Readonly<Record<string, readonly string[]>>;
  readonly access: Access;
}

/** The administrator, whom the kubeconfig's client certificate names. */
export const adminUser: User = { name: "admin", groups: ["system:masters", "system:authenticated"], access: "admin" };

/** Somebody without credentials. */
export const anonymousUser: User = { name: "system:anonymous", groups: ["system:unauthenticated"], access: "none" };

/** Paths that anybody may read (`system:public-info-viewer`). */
const publicPaths = new Set(["/healthz", "/livez", "/readyz", "/version", "/version/"]);

/** Paths that whoever is authenticated may read (`system:discovery`). */
const discoveryPath = /^\/(api|apis|openapi|version|healthz|livez|readyz)(\/.*)?$/;

/** Reviews that whoever is authenticated may make (`system:basic-user`). */
const selfReviews = new Set(["selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"]);

const readVerbs = new Set<Verb>(["get", "list", "watch"]);

/** Attributes of an access that is asked about. */
export interface AccessAttributes {
  readonly verb: string;
  readonly isResource: boolean;
  readonly group: string;
  readonly resource: string;
  readonly path: string;
}

/** Whether the user may do it. */
export function isAllowed(user: User, attributes: AccessAttributes): boolean {
  if (user.access === "admin") return true;
  const isAuthenticated = user.groups.includes("system:authenticated");
  if (!attributes.isResource) {
    if (attributes.verb !== "get") return false;
    if (publicPaths.has(attributes.path)) return true;
    return isAuthenticated && discoveryPath.test(attributes.path);
  }
  if (attributes.verb === "create" && selfReviews.has(attributes.resource)) return isAuthenticated;
  return user.access === "read-only" && readVerbs.has(attributes.verb as Verb) && attributes.resource !== "secrets";
}

/**
 * Refuses what the user may not do.
 *
 * @throws StatusError 403
 */
export function authorize(user: User, info: RequestInfo): void {
  const attributes = {
    verb: info.verb,
    isResource: info.isResource,
    group: info.group,
    resource: info.resource,
    path: info.path,
  };
  if (isAllowed(user, attributes)) return;
  const who = `User ${JSON.stringify(user.name)} cannot ${info.verb}`;
  if (!info.isResource) throw forbiddenStatus(undefined, "", `${who} path ${JSON.stringify(info.path)}`);
  const resource = info.subresource === "" ? info.resource : `${info.resource}/${info.subresource}`;
  const scope = info.namespace === "" ? "at the cluster scope" : `in the namespace ${JSON.stringify(info.namespace)}`;
  throw forbiddenStatus(
    { group: info.group, resource: info.resource },
    info.name,
    `${who} resource ${JSON.stringify(resource)} in API group ${JSON.stringify(info.group)} ${scope}`,
  );
}
