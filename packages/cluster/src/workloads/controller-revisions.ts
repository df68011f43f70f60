import type { Informer, InformerFactory, KubernetesApi } from "@portolan/client";
import type { KubernetesObject, LabelSelector, ObjectMeta, PodTemplateSpec, ResourceType } from "@portolan/core";
import {
  CONTROLLER_REVISION_HASH_LABEL,
  controllerReference,
  podTemplateHash,
  semanticallyEqual,
} from "./pod-template.ts";

/** A past or present template of a StatefulSet or DaemonSet (`apps/v1`), as a patch that brings it back. */
export interface ControllerRevision extends KubernetesObject {
  metadata: ObjectMeta;
  revision: number;
  data?: { readonly spec?: { readonly template?: PodTemplateSpec & { readonly $patch?: "replace" } } };
}

/** ControllerRevision as a resource. */
export const controllerRevisionType: ResourceType = {
  group: "apps",
  version: "v1",
  apiVersion: "apps/v1",
  kind: "ControllerRevision",
  resource: "controllerrevisions",
  namespaced: true,
};

/** A workload that keeps its templates. */
export interface RevisionedWorkload extends KubernetesObject {
  spec?: {
    readonly template: PodTemplateSpec;
    readonly selector: LabelSelector;
    readonly revisionHistoryLimit?: number;
  };
}

/** Index of ControllerRevisions by the UID of their owner. */
const OWNER_INDEX = "portolan/owner";
const ownerIndex = (object: KubernetesObject): string[] =>
  (object.metadata?.ownerReferences ?? []).map(({ uid }) => uid);

/** The shared informer of revisions. */
export function revisionInformer(informers: InformerFactory): Informer<ControllerRevision> {
  return informers.informer<ControllerRevision>(controllerRevisionType, { indexes: { [OWNER_INDEX]: ownerIndex } });
}

/** The template that a revision brings back. */
export function templateOf(revision: ControllerRevision): PodTemplateSpec | undefined {
  const template = revision.data?.spec?.template;
  if (template === undefined) return undefined;
  const { $patch: _, ...rest } = template;
  return rest;
}

/**
 * Makes sure that the present template is kept as the newest revision, and that no more than `revisionHistoryLimit` unused ones
 * remain. `kubectl rollout history` and `undo` read these.
 */
export async function keepRevisions(
  api: KubernetesApi,
  revisions: Informer<ControllerRevision>,
  owner: RevisionedWorkload,
  type: ResourceType,
  inUse: (hash: string) => boolean,
): Promise<void> {
  const { name = "", namespace = "default", uid = "" } = owner.metadata ?? {};
  const template = owner.spec?.template ?? {};
  const known = revisions.lister.byIndex(OWNER_INDEX, uid).sort((a, b) => a.revision - b.revision);
  const newest = known[known.length - 1];
  const equal = known.find((revision) => semanticallyEqual(templateOf(revision), template));
  const next = (newest?.revision ?? 0) + 1;
  if (equal === undefined) {
    const hash = podTemplateHash(template);
    const created: ControllerRevision = {
      apiVersion: controllerRevisionType.apiVersion,
      kind: controllerRevisionType.kind,
      metadata: {
        name: `${name}-${hash}`,
        namespace,
        labels: { ...owner.spec?.selector.matchLabels, [CONTROLLER_REVISION_HASH_LABEL]: hash },
        ownerReferences: [controllerReference(owner, type)],
      },
      data: { spec: { template: { ...template, $patch: "replace" } } },
      revision: next,
    };
    await api.create(controllerRevisionType, created);
  } else if (equal !== newest) {
    await api.update(controllerRevisionType, {
      ...equal,
      apiVersion: controllerRevisionType.apiVersion,
      kind: controllerRevisionType.kind,
      revision: next,
    });
  }
  const unused = known.filter(
    (revision) => revision !== equal && !inUse(revision.metadata.labels?.[CONTROLLER_REVISION_HASH_LABEL] ?? ""),
  );
  const excess = unused.length - (owner.spec?.revisionHistoryLimit ?? 10);
  for (const revision of unused.slice(0, Math.max(0, excess))) {
    await api.delete(controllerRevisionType, { namespace, name: revision.metadata.name ?? "" });
  }
}

/** The templates of an owner's revisions, by hash. */
export function revisionTemplates(
  revisions: Informer<ControllerRevision>,
  owner: KubernetesObject,
): ReadonlyMap<string, PodTemplateSpec> {
  const result = new Map<string, PodTemplateSpec>();
  for (const revision of revisions.lister.byIndex(OWNER_INDEX, owner.metadata?.uid ?? "")) {
    const template = templateOf(revision);
    const hash = revision.metadata.labels?.[CONTROLLER_REVISION_HASH_LABEL];
    if (template !== undefined && hash !== undefined) result.set(hash, template);
  }
  return result;
}
