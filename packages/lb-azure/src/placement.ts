/** A load balancer that exists, as far as the choice among several needs it. */
export interface ExistingLoadBalancer {
  readonly name: string;
  readonly ruleCount: number;
}

/** Whether a load balancer of this name is an internal one. */
export function isInternalName(name: string): boolean {
  return name.toLowerCase().endsWith("-internal");
}

/**
 * Which of several load balancers serves a Service: the one that does already, else the first without rules (one that does not exist
 * has none), else the one with the fewest.
 *
 * @param eligible names without the suffix `-internal`, in order of preference; not empty
 */
export function chooseLoadBalancer(
  current: string,
  eligible: readonly string[],
  existing: readonly ExistingLoadBalancer[],
  internal: boolean,
): string {
  const bare = (name: string): string => name.replace(/-internal$/i, "").toLowerCase();
  const kept = eligible.find((name) => current !== "" && name.toLowerCase() === bare(current));
  if (kept !== undefined) return kept;
  let best = eligible[0] ?? "";
  let fewest = Number.POSITIVE_INFINITY;
  for (const name of eligible) {
    const found = existing.find(
      (each) => bare(each.name) === name.toLowerCase() && isInternalName(each.name) === internal,
    );
    const count = found?.ruleCount ?? 0;
    if (count < fewest) [best, fewest] = [name, count];
  }
  return best;
}
