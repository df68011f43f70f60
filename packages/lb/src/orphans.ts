import type { Service } from "@portolan/core";
import type { CallContext, LoadBalancerProvider, OwnedResource, ServiceKey } from "./provider.ts";

/** What one provider still holds for a Service that no longer exists or no longer wants it. */
export interface Orphan {
  readonly provider: string;
  readonly key: ServiceKey;
  readonly resources: readonly OwnedResource[];
}

/**
 * What a provider owns without a Service to own it for. A Service counts if its uid is the same and it has the type LoadBalancer
 * or the clean-up finalizer (then the controller is still at it).
 */
export async function findOrphans(
  context: CallContext,
  provider: LoadBalancerProvider,
  services: readonly Service[],
): Promise<Orphan[]> {
  const living = services.filter(
    (service) => service.spec?.type === "LoadBalancer" || (service.metadata.finalizers ?? []).length > 0,
  );
  const alive = new Set(living.map((service) => service.metadata.uid));
  const found = new Map<string, { key: ServiceKey; resources: OwnedResource[] }>();
  for await (const resource of provider.listOwned(context)) {
    const { key } = resource;
    if (living.some((service) => resource.owns?.(service))) continue;
    if (key.uid !== "" && alive.has(key.uid)) continue;
    // Marks of some clouds carry no uid; then the name decides.
    if (key.uid === "" && resource.owns === undefined) {
      const named = services.some(
        (service) => service.metadata.namespace === key.namespace && service.metadata.name === key.name,
      );
      if (named) continue;
    }
    const id = `${key.namespace}/${key.name}/${key.uid}`;
    const entry = found.get(id) ?? { key, resources: [] };
    entry.resources.push(resource);
    found.set(id, entry);
  }
  return [...found.values()].map((entry) => ({ provider: provider.id, ...entry }));
}

/** What became of an orphan. */
export interface CollectedOrphan extends Orphan {
  /** Why it could not be removed. */
  readonly error?: Error;
}

/** Removes what {@link findOrphans} finds. One that cannot be removed does not stop the others. */
export async function collectOrphans(
  context: CallContext,
  provider: LoadBalancerProvider,
  services: readonly Service[],
): Promise<CollectedOrphan[]> {
  const out: CollectedOrphan[] = [];
  for (const orphan of await findOrphans(context, provider, services)) {
    try {
      await provider.destroy(context, orphan.key);
      out.push(orphan);
    } catch (error) {
      out.push({ ...orphan, error: error as Error });
    }
  }
  return out;
}
