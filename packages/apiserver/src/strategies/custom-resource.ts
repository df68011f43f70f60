import type { KubernetesObject } from "@portolan/core";
import { deepEqual } from "../encoding/equality.ts";
import { fields, type Strategy, specFields, statusFields } from "./strategy.ts";

/**
 * The rules of custom resources (apiextensions `pkg/registry/customresource`).
 *
 * @param hasStatus the version has the subresource `status`: writers of the object cannot set it, writers of it nothing else
 */
export function createCustomResourceStrategy(hasStatus: boolean): Strategy {
  const desired = (object: KubernetesObject): object => {
    const { metadata: _, apiVersion: __, status, ...rest } = object as KubernetesObject & { status?: unknown };
    return hasStatus ? rest : { ...rest, status };
  };
  const base: Strategy = {
    allowUnconditionalUpdate: false,
    changesGeneration: (object, old) => !deepEqual(desired(object), desired(old)),
  };
  if (!hasStatus) return base;
  return {
    ...base,
    reset: statusFields,
    resetStatus: specFields,
    prepareForCreate(object) {
      delete fields(object)["status"];
    },
    prepareForUpdate(object, old) {
      if (fields(old)["status"] === undefined) delete fields(object)["status"];
      else fields(object)["status"] = fields(old)["status"];
    },
    prepareForStatusUpdate(object, old) {
      const { managedFields, resourceVersion } = object.metadata ?? {};
      object.metadata = {
        ...old.metadata,
        ...(managedFields === undefined ? {} : { managedFields }),
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
      };
    },
  };
}
