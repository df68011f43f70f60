import { type ClusterRole, matchLabelSelector, type PolicyRule } from "@portolan/core";
import { deepEqual } from "../encoding/equality.ts";
import type { ResourceStorage } from "../resource-storage.ts";
import type { Store } from "../store/store.ts";
import type { StrategyContext } from "../strategies/strategy.ts";

const collection = "clusterroles.rbac.authorization.k8s.io";
const manager = "clusterrole-aggregation-controller";

/** What {@link followAggregatedRoles} needs. */
export interface RoleAggregationOptions {
  readonly store: Store;
  readonly storage: () => ResourceStorage | undefined;
  readonly context: () => StrategyContext;
}

/** Gathers the rules of ClusterRoles with an aggregation rule, whenever a ClusterRole changes. Returns what ends it. */
export function followAggregatedRoles(options: RoleAggregationOptions): () => void {
  const { store } = options;
  let isScheduled = false;

  function gathered(role: ClusterRole, all: readonly ClusterRole[]): PolicyRule[] {
    const rules: PolicyRule[] = [];
    for (const selector of role.aggregationRule?.clusterRoleSelectors ?? []) {
      for (const other of all) {
        if (other.metadata?.name === role.metadata?.name) continue;
        if (!matchLabelSelector(selector, other.metadata?.labels ?? {})) continue;
        for (const rule of other.rules ?? []) if (!rules.some((each) => deepEqual(each, rule))) rules.push(rule);
      }
    }
    return rules;
  }

  /** Brings roles up to date; says whether one was not. */
  function gatherOnce(): boolean {
    let isChanged = false;
    for (const { name } of [...store.list(collection)]) {
      const roles = [...store.list(collection)].map((stored) => stored.object as ClusterRole);
      const role = roles.find((each) => each.metadata?.name === name);
      if (role?.aggregationRule === undefined) continue;
      const rules = gathered(role, roles);
      if (deepEqual(rules, role.rules ?? [])) continue;
      isChanged = true;
      options.storage()?.update(
        "",
        role.metadata?.name ?? "",
        (old) => ({
          object: { ...(structuredClone(old) as ClusterRole), rules: structuredClone(rules) } as ClusterRole,
        }),
        "patch",
        {
          options: { dryRun: false, fieldManager: manager, fieldValidation: "Ignore", force: undefined },
          manager,
          subresource: "",
          strategy: options.context(),
        },
      );
    }
    return isChanged;
  }

  function reconcile(): void {
    // Roles gather from roles that gather, at most as deep as there are roles.
    for (let round = store.count(collection); round > 0 && gatherOnce(); round--);
    isScheduled = false;
  }

  return store.subscribe((event) => {
    if (event.current.collection !== collection || isScheduled) return;
    isScheduled = true;
    queueMicrotask(reconcile);
  });
}
