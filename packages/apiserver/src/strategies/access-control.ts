import type { Strategy } from "./strategy.ts";

/** The rules of roles and bindings (`pkg/registry/rbac`): nobody can grant more than they have. */
export const accessControlStrategy: Strategy = {
  allowCreateOnUpdate: true,
  admit: (object, old, context) => context.checkGrant?.(object, old),
};
