import { type Node, type Pod, quantityValue } from "@portolan/core";

/** A Kubernetes quantity (`500m`, `64Mi`, `1e3`) as a number; `NaN` when it is none. */
export function parseQuantity(text: string | number | undefined): number {
  return quantityValue(text) ?? Number.NaN;
}

/** What a pod asks for, by resource name: CPU in cores, memory in bytes, `pods` always 1. */
export function podRequests(pod: Pod): Map<string, number> {
  const total = new Map<string, number>();
  for (const container of pod.spec?.containers ?? []) addRequests(total, container.resources?.requests);
  const initial = new Map<string, number>();
  for (const container of pod.spec?.initContainers ?? []) {
    if (container.restartPolicy === "Always") {
      addRequests(total, container.resources?.requests);
      continue;
    }
    const one = new Map<string, number>();
    addRequests(one, container.resources?.requests);
    for (const [name, amount] of one) initial.set(name, Math.max(amount, initial.get(name) ?? 0));
  }
  for (const [name, amount] of initial) total.set(name, Math.max(amount, total.get(name) ?? 0));
  total.set("pods", 1);
  return total;
}

function addRequests(total: Map<string, number>, requests: Readonly<Record<string, string>> | undefined): void {
  for (const [name, quantity] of Object.entries(requests ?? {})) {
    const amount = parseQuantity(quantity);
    if (amount > 0) total.set(name, (total.get(name) ?? 0) + amount);
  }
}

/** What a node offers of a resource; unlimited when it does not say. */
export function allocatable(node: Node, resource: string): number {
  const quantity = node.status?.allocatable?.[resource] ?? node.status?.capacity?.[resource];
  if (quantity !== undefined) return parseQuantity(quantity);
  // A node that reports nothing at all limits nothing; one that reports others has none of an extended resource.
  return resource.includes("/") ? 0 : Number.POSITIVE_INFINITY;
}
