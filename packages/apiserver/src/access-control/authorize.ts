import { forbiddenStatus, type StatusError } from "@portolan/core";
import type { User } from "../authorization.ts";
import type { RequestInfo } from "../requests/request-info.ts";
import type { AccessControl } from "./access-control.ts";
import type { AccessAttributes } from "./policy-rules.ts";

/** The attributes of a request. */
function attributesOf(info: RequestInfo): AccessAttributes {
  const { verb, isResource, group, resource, subresource, namespace, name, path } = info;
  return { verb, isResource, group, resource, subresource, namespace, name, path };
}

/** The refusal of an access, as the real server words it. */
export function accessForbidden(user: User, attributes: AccessAttributes, reason: string): StatusError {
  const { verb, isResource, group, resource, subresource, namespace, name, path } = attributes;
  const who = `User ${JSON.stringify(user.name)} cannot ${verb}`;
  const why = reason === "" ? "" : `: ${reason}`;
  if (!isResource) return forbiddenStatus(undefined, "", `${who} path ${JSON.stringify(path)}${why}`);
  const shown = subresource === "" ? resource : `${resource}/${subresource}`;
  const scope = namespace === "" ? "at the cluster scope" : `in the namespace ${JSON.stringify(namespace)}`;
  return forbiddenStatus(
    { group, resource },
    name,
    `${who} resource ${JSON.stringify(shown)} in API group ${JSON.stringify(group)} ${scope}${why}`,
  );
}

/**
 * Refuses what the user may not do.
 *
 * @throws StatusError 403
 */
export function authorize(control: AccessControl, user: User, info: RequestInfo): void {
  const attributes = attributesOf(info);
  const { allowed, reason } = control.decide(user, attributes);
  if (!allowed) throw accessForbidden(user, attributes, reason);
}
