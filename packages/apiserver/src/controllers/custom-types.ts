import type { ResourceType } from "@portolan/core";
import {
  type CustomResourceDefinition,
  hasCondition,
  storageVersionOf,
} from "../custom-resources/custom-resource-definition.ts";

/** CustomResourceDefinitions themselves. */
export const customResourceDefinitions: ResourceType = {
  group: "apiextensions.k8s.io",
  version: "v1",
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  resource: "customresourcedefinitions",
  namespaced: false,
};

/** The kind that a definition adds, in the version in which it is stored; `undefined` while it is not served. */
export function customTypeOf(definition: CustomResourceDefinition): ResourceType | undefined {
  const { group, names, scope, versions } = definition.spec;
  const stored = storageVersionOf(definition);
  const version = versions.find((each) => each.served && each.name === stored) ?? versions.find((each) => each.served);
  if (version === undefined || !hasCondition(definition, "Established")) return undefined;
  return {
    group,
    version: version.name,
    apiVersion: `${group}/${version.name}`,
    kind: names.kind,
    resource: names.plural,
    namespaced: scope === "Namespaced",
  };
}
