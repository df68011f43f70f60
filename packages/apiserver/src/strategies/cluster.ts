import { forbiddenStatus, type KubernetesObject, type Namespace, resources, type Secret } from "@portolan/core";
import { deepEqual } from "../encoding/equality.ts";
import { fields, type Strategy, specAndLabels, specFields, statusFields } from "./strategy.ts";

/** Namespaces that cannot be deleted. */
const immortalNamespaces = new Set(["default", "kube-system", "kube-public"]);

const nameLabel = "kubernetes.io/metadata.name";

export const namespaceStrategy: Strategy = {
  reset: statusFields,
  resetStatus: specFields,
  prepareForCreate(object) {
    const namespace = object as Namespace;
    const finalizers = namespace.spec?.finalizers ?? [];
    namespace.spec = {
      ...namespace.spec,
      finalizers: finalizers.includes("kubernetes") ? finalizers : [...finalizers, "kubernetes"],
    };
    namespace.status = { phase: "Active" };
    namespace.metadata.labels = { ...namespace.metadata.labels, [nameLabel]: namespace.metadata.name ?? "" };
  },
  prepareForUpdate(object, old) {
    const namespace = object as Namespace;
    namespace.spec = { ...namespace.spec, ...(old as Namespace).spec };
    namespace.metadata.labels = { ...namespace.metadata.labels, [nameLabel]: namespace.metadata.name ?? "" };
  },
  checkDelete(object) {
    const name = object.metadata?.name ?? "";
    if (immortalNamespaces.has(name))
      throw forbiddenStatus(resources.namespaces, name, "this namespace may not be deleted");
  },
};

/** Nodes come with their status: whoever registers one knows it already. */
export const nodeStrategy: Strategy = { reset: statusFields, resetStatus: specFields };

export const secretStrategy: Strategy = {
  admit(object) {
    const secret = object as Secret;
    if (secret.stringData === undefined) return;
    const data: Record<string, string> = { ...secret.data };
    for (const [key, value] of Object.entries(secret.stringData))
      data[key] = Buffer.from(value, "utf8").toString("base64");
    secret.data = data;
    delete secret.stringData;
  },
};

function specChanged(object: KubernetesObject, old: KubernetesObject): boolean {
  return !deepEqual(fields(object)["spec"], fields(old)["spec"]);
}

/** Workloads and everything else with a spec, a status and a generation. */
export const specStrategy: Strategy = {
  reset: statusFields,
  resetStatus: specAndLabels,
  changesGeneration: specChanged,
};

/** Like {@link specStrategy}, for kinds whose status endpoint lets labels through. */
export const plainSpecStrategy: Strategy = {
  reset: statusFields,
  resetStatus: specFields,
  changesGeneration: specChanged,
};

export const serviceCIDRStrategy: Strategy = { reset: statusFields, resetStatus: specFields };

export const endpointSliceStrategy: Strategy = {
  changesGeneration(object, old) {
    const { metadata: after, ...content } = object;
    const { metadata: before, ...previous } = old;
    return !deepEqual(content, previous) || !deepEqual(after?.labels ?? {}, before?.labels ?? {});
  },
};
