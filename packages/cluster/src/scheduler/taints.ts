import type { Node, Taint, Toleration } from "@portolan/core";

/** Key of the taint that `kubectl cordon` stands for. */
export const UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable";

/** True when the toleration covers the taint. An empty key with `Exists` covers all, an empty effect every effect. */
export function tolerates(toleration: Toleration, taint: Pick<Taint, "key" | "value" | "effect">): boolean {
  if (toleration.effect !== undefined && toleration.effect !== "" && toleration.effect !== taint.effect) return false;
  const exists = toleration.operator === "Exists";
  if (toleration.key === undefined || toleration.key === "") return exists;
  if (toleration.key !== taint.key) return false;
  return exists || (toleration.value ?? "") === (taint.value ?? "");
}

/** The first taint of the given effects that none of the tolerations covers. */
export function untoleratedTaint(
  node: Node,
  tolerations: readonly Toleration[],
  effects: readonly Taint["effect"][],
): Taint | undefined {
  return node.spec?.taints?.find(
    (taint) => effects.includes(taint.effect) && !tolerations.some((toleration) => tolerates(toleration, taint)),
  );
}
