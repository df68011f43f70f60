import {
  type CustomResourceDefinition,
  cleanupFinalizer,
  storageVersionOf,
} from "../custom-resources/custom-resource-definition.ts";
import { deepEqual } from "../encoding/equality.ts";
import { type Strategy, specFields, statusFields } from "./strategy.ts";

/** Remembers the versions in which objects were ever stored. */
function recordStorageVersion(definition: CustomResourceDefinition): void {
  const version = storageVersionOf(definition);
  const stored = definition.status?.storedVersions ?? [];
  if (version === "" || stored.includes(version)) return;
  definition.status = { ...definition.status, storedVersions: [...stored, version] };
}

/** The rules of CustomResourceDefinitions (apiextensions `pkg/registry/customresourcedefinition`). */
export const customResourceDefinitionStrategy: Strategy = {
  reset: statusFields,
  resetStatus: specFields,
  returnsDeletedObject: true,
  deletionFinalizer: cleanupFinalizer,
  changesGeneration: (object, old) =>
    !deepEqual((object as CustomResourceDefinition).spec, (old as CustomResourceDefinition).spec),
  prepareForCreate(object) {
    const definition = object as CustomResourceDefinition;
    definition.status = { acceptedNames: { plural: "", kind: "" } };
    recordStorageVersion(definition);
  },
  prepareForUpdate: (object) => recordStorageVersion(object as CustomResourceDefinition),
};
