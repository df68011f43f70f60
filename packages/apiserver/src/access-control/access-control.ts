import type { ClusterRole, PolicyRule, Role, RoleBinding, RoleSubject } from "@portolan/core";
import type { User } from "../authorization.ts";
import { deepEqual } from "../encoding/equality.ts";
import type { Store, StoreEvent } from "../store/store.ts";
import { type AccessAttributes, ruleAllows } from "./policy-rules.ts";

/** An answer to whether somebody may do something. */
export interface AccessDecision {
  readonly allowed: boolean;
  /** Why it is allowed, or what kept from finding out. */
  readonly reason: string;
}

/** Decides who may do what: by roles and bindings of a store, and by the level of access that a user was given here. */
export interface AccessControl {
  decide(user: User, attributes: AccessAttributes): AccessDecision;
  /** All that a user may do in a namespace, or at the cluster scope (`""`), and what could not be found out. */
  rulesOf(user: User, namespace: string): { readonly rules: readonly PolicyRule[]; readonly errors: readonly string[] };
  /** Rules of the role that a binding names; `undefined` when there is none. */
  rulesOfRole(roleRef: RoleBinding["roleRef"], namespace: string): readonly PolicyRule[] | undefined;
  close(): void;
}

const apiGroup = "rbac.authorization.k8s.io";
const collections = {
  roles: `roles.${apiGroup}`,
  clusterRoles: `clusterroles.${apiGroup}`,
  roleBindings: `rolebindings.${apiGroup}`,
  clusterRoleBindings: `clusterrolebindings.${apiGroup}`,
} as const;

const everything: readonly PolicyRule[] = [
  { verbs: ["*"], apiGroups: ["*"], resources: ["*"] },
  { verbs: ["*"], nonResourceURLs: ["*"] },
];
const readEverything: PolicyRule = { verbs: ["get", "list", "watch"], apiGroups: ["*"], resources: ["*"] };

/** Whether nothing is kept from a user. */
export function isSuperuser(user: User): boolean {
  return user.access === "admin" || user.groups.includes("system:masters");
}

function isSubject(subject: RoleSubject, user: User, namespace: string): boolean {
  switch (subject.kind) {
    case "User":
      return user.name === subject.name;
    case "Group":
      return user.groups.includes(subject.name);
    case "ServiceAccount":
      return user.name === `system:serviceaccount:${subject.namespace ?? namespace}:${subject.name}`;
    default:
      return false;
  }
}

function describeSubject(subject: RoleSubject): string {
  return subject.kind === "ServiceAccount"
    ? `ServiceAccount ${JSON.stringify(`${subject.name}/${subject.namespace ?? ""}`)}`
    : `${subject.kind} ${JSON.stringify(subject.name)}`;
}

interface Grant {
  readonly rules: readonly PolicyRule[];
  readonly reason: string;
}

/** Makes the access control of a store. Source of the rules: `plugin/pkg/auth/authorizer/rbac`. */
export function createAccessControl(store: Store): AccessControl {
  // Bindings are looked through at every request of somebody who is no superuser, so lists of them are kept until one changes.
  const bindings = new Map<string, readonly RoleBinding[]>();
  const watched = new Set<string>([collections.roleBindings, collections.clusterRoleBindings]);
  const unsubscribe = store.subscribe((event: StoreEvent) => {
    if (watched.has(event.current.collection)) bindings.clear();
  });

  function bindingsOf(collection: string, namespace: string | undefined): readonly RoleBinding[] {
    const key = `${collection}/${namespace ?? ""}`;
    let known = bindings.get(key);
    if (known === undefined) {
      known = [...store.list(collection, namespace)].map((stored) => stored.object as RoleBinding);
      bindings.set(key, known);
    }
    return known;
  }

  function rulesOfRole(roleRef: RoleBinding["roleRef"], namespace: string): readonly PolicyRule[] | undefined {
    const stored =
      roleRef.kind === "ClusterRole"
        ? store.get(collections.clusterRoles, "", roleRef.name)
        : store.get(collections.roles, namespace, roleRef.name);
    return stored === undefined ? undefined : ((stored.object as Role | ClusterRole).rules ?? []);
  }

  /** What bindings grant a user, one binding after the other. */
  function* grants(user: User, namespace: string, errors: string[]): Generator<Grant> {
    const scopes: readonly (readonly [string, readonly RoleBinding[]])[] = [
      ["ClusterRoleBinding", bindingsOf(collections.clusterRoleBindings, undefined)],
      ["RoleBinding", namespace === "" ? [] : bindingsOf(collections.roleBindings, namespace)],
    ];
    for (const [kind, list] of scopes) {
      for (const { metadata, roleRef, subjects } of list) {
        const subject = subjects?.find((each) => isSubject(each, user, namespace));
        if (subject === undefined) continue;
        const rules = rulesOfRole(roleRef, namespace);
        if (rules === undefined) {
          errors.push(`${roleRef.kind.toLowerCase()}.${apiGroup} ${JSON.stringify(roleRef.name)} not found`);
          continue;
        }
        const name = kind === "RoleBinding" ? `${metadata?.name}/${metadata?.namespace}` : metadata?.name;
        yield {
          rules,
          reason: `RBAC: allowed by ${kind} ${JSON.stringify(name)} of ${roleRef.kind} ${JSON.stringify(roleRef.name)} to ${describeSubject(subject)}`,
        };
      }
    }
  }

  return {
    decide(user, attributes) {
      if (isSuperuser(user)) return { allowed: true, reason: "" };
      if (user.access === "read-only" && attributes.resource !== "secrets" && ruleAllows(readEverything, attributes))
        return { allowed: true, reason: "" };
      const errors: string[] = [];
      for (const { rules, reason } of grants(user, attributes.namespace, errors))
        if (rules.some((rule) => ruleAllows(rule, attributes))) return { allowed: true, reason };
      return { allowed: false, reason: errors.length === 0 ? "" : `RBAC: ${errors.join(", ")}` };
    },
    rulesOf(user, namespace) {
      const errors: string[] = [];
      const rules = [...grants(user, namespace, errors)].flatMap((grant) => grant.rules);
      if (isSuperuser(user)) {
        const missing = everything.filter((rule) => !rules.some((each) => deepEqual(each, rule)));
        return { rules: [...missing, ...rules], errors };
      }
      return { rules: user.access === "read-only" ? [readEverything, ...rules] : rules, errors };
    },
    rulesOfRole,
    close: unsubscribe,
  };
}
