import {
  defaultServiceOnRead,
  dropTypeDependentFields,
  initializeIPFamilies,
  invalidStatus,
  type KubernetesObject,
  normalizeClusterIPs,
  patchAllocatedValues,
  resources,
  type Service,
} from "@portolan/core";
import { collectionName } from "../requests/request-info.ts";
import type { StoreWrite } from "../store/store.ts";
import { type Strategy, type StrategyContext, specFields, statusFields } from "./strategy.ts";

const endpoints = collectionName(resources.endpoints);

/** Chooses families, then allocates; errors of either are the only ones that the client sees. */
function begin(object: KubernetesObject, old: KubernetesObject | undefined, context: StrategyContext): StoreWrite[] {
  const service = object as Service;
  const before = old as Service | undefined;
  // A change of the status carries the stored, frozen spec.
  service.spec = structuredClone(service.spec ?? {});
  if (before !== undefined) patchAllocatedValues(service, before);
  normalizeClusterIPs(service, before);
  const errors = initializeIPFamilies({
    service,
    old: before,
    clusterFamilies: context.ipFamilies,
    gates: context.gates,
  });
  if (errors.length > 0) throw invalidStatus(resources.services, service.metadata.name ?? "", errors);
  return before === undefined
    ? context.allocator.allocateForCreate(service, context.dryRun)
    : context.allocator.allocateForUpdate(service, before, context.dryRun);
}

/** The rules of Services (`pkg/registry/core/service`): the order of steps is that of the header of `service-strategy.ts` of core. */
export const serviceStrategy: Strategy = {
  allowCreateOnUpdate: true,
  returnsDeletedObject: true,
  reset: statusFields,
  resetStatus: specFields,
  begin,
  prepareForCreate(object, context) {
    // What a stored Service lacks for readers never gets into the store.
    defaultServiceOnRead(object as Service, context.ipFamilies);
  },
  prepareForUpdate(object, old, context) {
    // The status is that of the stored object and about to be changed.
    const service = object as Service;
    if (service.status !== undefined) service.status = { ...service.status };
    dropTypeDependentFields(service, old as Service);
    defaultServiceOnRead(service, context.ipFamilies);
  },
  release(object, context) {
    const writes = context.allocator.release(object as Service);
    // The Endpoints of the same name go with the Service at once; slices follow by garbage collection.
    const stored = context.store.get(endpoints, object.metadata?.namespace ?? "", object.metadata?.name ?? "");
    if (stored !== undefined) {
      writes.push({
        collection: endpoints,
        namespace: stored.namespace,
        name: stored.name,
        expectedRevision: stored.revision,
      });
    }
    return writes;
  },
};
