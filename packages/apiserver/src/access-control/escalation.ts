import { forbiddenStatus, type KubernetesObject, type PolicyRule, type Role, type RoleBinding } from "@portolan/core";
import type { User } from "../authorization.ts";
import { type AccessControl, isSuperuser } from "./access-control.ts";
import { printRule, uncoveredRules } from "./policy-rules.ts";

const apiGroup = "rbac.authorization.k8s.io";

/** Rules that a role or binding would give, and the verb that stands for having them all. */
function givenBy(
  object: KubernetesObject,
  old: KubernetesObject | undefined,
  resource: string,
  control: AccessControl,
): { readonly verb: "escalate" | "bind"; readonly rules: readonly PolicyRule[]; readonly name: string } {
  if (resource === "roles" || resource === "clusterroles") {
    const { rules = [] } = object as Role;
    const known = (old as Role | undefined)?.rules ?? [];
    return { verb: "escalate", rules: uncoveredRules(known, rules), name: object.metadata?.name ?? "" };
  }
  const { roleRef } = object as RoleBinding;
  const rules = control.rulesOfRole(roleRef, object.metadata?.namespace ?? "");
  return { verb: "bind", rules: rules ?? [], name: roleRef.name };
}

/**
 * Refuses roles and bindings that would give somebody more than the writer may do (`pkg/registry/rbac` policybased storage).
 *
 * @throws StatusError 403
 */
export function checkEscalation(
  control: AccessControl,
  user: User,
  resource: string,
  object: KubernetesObject,
  old: KubernetesObject | undefined,
): void {
  if (isSuperuser(user)) return;
  const namespace = object.metadata?.namespace ?? "";
  const { verb, rules, name } = givenBy(object, old, resource, control);
  const target =
    verb === "escalate" ? resource : (object as RoleBinding).roleRef.kind === "ClusterRole" ? "clusterroles" : "roles";
  const may = control.decide(user, {
    verb,
    isResource: true,
    group: apiGroup,
    resource: target,
    subresource: "",
    namespace,
    name,
    path: "",
  });
  if (may.allowed) return;
  const missing = uncoveredRules(control.rulesOf(user, namespace).rules, rules);
  if (missing.length === 0) return;
  const groups = user.groups.map((group) => JSON.stringify(group)).join(" ");
  throw forbiddenStatus(
    { group: apiGroup, resource },
    object.metadata?.name ?? "",
    `user ${JSON.stringify(user.name)} (groups=[${groups}]) is attempting to grant RBAC permissions not currently held:\n${missing.map(printRule).join("\n")}`,
  );
}
