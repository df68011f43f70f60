/** What a user may do whatever roles and bindings say. */
export type Access =
  /** Everything. */
  | "admin"
  /** Reading everything but Secrets. */
  | "read-only"
  /** What roles and bindings allow, and no more. */
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

/** A service account as a user. */
export function serviceAccountUser(namespace: string, name: string, uid?: string): User {
  return {
    name: `system:serviceaccount:${namespace}:${name}`,
    groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"],
    ...(uid === undefined ? {} : { uid }),
    access: "none",
  };
}
