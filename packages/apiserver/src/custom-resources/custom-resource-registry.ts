import {
  approvalAnnotation,
  type Condition,
  isProtectedGroup,
  type StructuralSchema,
  schemaOfStructural,
} from "@portolan/core";
import { deepEqual } from "../encoding/equality.ts";
import { collectionName } from "../requests/request-info.ts";
import type { ResourceDefinition, SubresourceDefinition } from "../resource-definition.ts";
import { ResourceStorage } from "../resource-storage.ts";
import type { Store, StoredObject, StoreEvent } from "../store/store.ts";
import { createCustomResourceStrategy } from "../strategies/custom-resource.ts";
import type { StrategyContext } from "../strategies/strategy.ts";
import { createCustomResourceCodec } from "./custom-resource-codec.ts";
import {
  type CustomResourceDefinition,
  type CustomResourceVersion,
  cleanupFinalizer,
  definitionsCollection,
  hasCondition,
  storageVersionOf,
} from "./custom-resource-definition.ts";
import { createCustomResourceTable } from "./custom-resource-table.ts";

/** What {@link createCustomResourceRegistry} needs. */
export interface CustomResourceRegistryOptions {
  readonly store: Store;
  readonly builtin: readonly ResourceDefinition[];
  /** Storage of the definitions themselves; absent where they are not served. */
  readonly definitions: () => ResourceStorage | undefined;
  readonly context: () => StrategyContext;
  /** Ends watches of a collection. */
  readonly cutWatches: (collection: string) => void;
}

/** The kinds that CustomResourceDefinitions add, as they are at the moment. */
export interface CustomResourceRegistry {
  /** All served kinds, in the order of their definitions. */
  list(): readonly ResourceDefinition[];
  find(group: string, version: string, resource: string): ResourceDefinition | undefined;
  hasGroupVersion(group: string, version: string): boolean;
  storageOf(definition: ResourceDefinition): ResourceStorage | undefined;
  /** Storage of a collection in any of its versions. */
  storageOfCollection(collection: string): ResourceStorage | undefined;
  close(): void;
}

const manager = "kube-apiserver";

/** Verbs in the order in which a real server lists them. */
const verbs: readonly string[] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/** What is left while a definition goes: its objects may still lose their finalizers. */
const verbsWhileTerminating: readonly string[] = verbs.filter((verb) => verb !== "create");
const subresourceVerbs: readonly string[] = ["get", "patch", "update"];

function rank(version: string): readonly [number, number, number] {
  const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version);
  if (match === null) return [-1, 0, 0];
  return [match[2] === undefined ? 2 : match[2] === "beta" ? 1 : 0, Number(match[1]), Number(match[3] ?? 0)];
}

function isNewer(a: string, b: string): boolean {
  const left = rank(a);
  const right = rank(b);
  for (const [index, part] of left.entries()) if (part !== right[index]) return part > (right[index] as number);
  return false;
}

function deprecationWarning(definition: CustomResourceDefinition, version: CustomResourceVersion): string | undefined {
  if (version.deprecated !== true) return undefined;
  if (version.deprecationWarning !== undefined) return version.deprecationWarning;
  const { group, names, versions } = definition.spec;
  const better = versions
    .filter((each) => each.served && each.deprecated !== true && isNewer(each.name, version.name))
    .sort((a, b) => (isNewer(a.name, b.name) ? -1 : 1))[0];
  const text = `${group}/${version.name} ${names.kind} is deprecated`;
  return better === undefined ? text : `${text}; use ${group}/${better.name} ${names.kind}`;
}

function schemaOfVersion(version: CustomResourceVersion): StructuralSchema {
  return version.schema?.openAPIV3Schema ?? { type: "object", "x-kubernetes-preserve-unknown-fields": true };
}

function resourceOf(definition: CustomResourceDefinition, version: CustomResourceVersion): ResourceDefinition {
  const { group, scope, names } = definition.spec;
  const isTerminating = hasCondition(definition, "Terminating");
  const { status, scale } = version.subresources ?? {};
  const subresources: SubresourceDefinition[] = [
    ...(status === undefined ? [] : [{ name: "status", kind: names.kind, verbs: subresourceVerbs }]),
    ...(scale === undefined
      ? []
      : [{ name: "scale", kind: "Scale", group: "autoscaling", version: "v1", verbs: subresourceVerbs }]),
  ];
  const warning = deprecationWarning(definition, version);
  const list = (values: readonly string[] | undefined): readonly string[] | undefined =>
    values === undefined || values.length === 0 ? undefined : values;
  const shortNames = list(names.shortNames);
  const categories = list(names.categories);
  return {
    group,
    version: version.name,
    apiVersion: `${group}/${version.name}`,
    kind: names.kind,
    resource: names.plural,
    singular: names.singular ?? names.kind.toLowerCase(),
    namespaced: scope === "Namespaced",
    verbs: isTerminating ? verbsWhileTerminating : verbs,
    ...(shortNames === undefined ? {} : { shortNames }),
    ...(categories === undefined ? {} : { categories }),
    ...(subresources.length === 0 ? {} : { subresources }),
    custom: {
      listKind: names.listKind ?? `${names.kind}List`,
      storageVersion: storageVersionOf(definition),
      openAPIV3Schema: schemaOfVersion(version),
      table: createCustomResourceTable(version.additionalPrinterColumns ?? []),
      ...(scale === undefined ? {} : { scale }),
      selectableFields: (version.selectableFields ?? []).map(({ jsonPath }) => jsonPath.replace(/^\./, "")),
      ...(warning === undefined ? {} : { deprecationWarning: warning }),
    },
  };
}

function seconds(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d+Z$/, "Z");
}

/** The conditions with one set; its time changes with its status alone. */
function withCondition(
  conditions: readonly Condition[],
  now: number,
  type: string,
  status: Condition["status"],
  reason: string,
  message: string,
): readonly Condition[] {
  const known = conditions.find((each) => each.type === type);
  const lastTransitionTime = known?.status === status ? known.lastTransitionTime : seconds(now);
  const condition = { lastTransitionTime, message, reason, status, type } as Condition;
  return known === undefined
    ? [...conditions, condition]
    : conditions.map((each) => (each === known ? condition : each));
}

/**
 * Follows the CustomResourceDefinitions of a store: serves what they define, accepts or refuses their names, and empties those that
 * are being deleted. All of it happens right after the write that makes it necessary, so that a definition is served by the time its
 * creation is answered.
 *
 * Source: apiextensions `pkg/controller/status`, `establish`, `finalizer`.
 */
export function createCustomResourceRegistry(options: CustomResourceRegistryOptions): CustomResourceRegistry {
  const { store } = options;
  let resources: readonly ResourceDefinition[] | undefined;
  const storages = new Map<string, { readonly resource: ResourceDefinition; readonly storage: ResourceStorage }>();
  const terminating = new Set<string>();
  let isScheduled = false;

  function definitionsOf(): CustomResourceDefinition[] {
    return [...store.list(definitionsCollection)].map((stored) => stored.object as CustomResourceDefinition);
  }

  function list(): readonly ResourceDefinition[] {
    resources ??= definitionsOf()
      .filter((definition) => hasCondition(definition, "Established"))
      .flatMap((definition) =>
        definition.spec.versions.filter((version) => version.served).map((version) => resourceOf(definition, version)),
      );
    return resources;
  }

  function storageOf(resource: ResourceDefinition): ResourceStorage | undefined {
    if (resource.custom === undefined) return undefined;
    const key = `${resource.group}/${resource.version}/${resource.resource}`;
    const known = storages.get(key);
    if (known !== undefined && known.resource === resource) return known.storage;
    const structural = resource.custom.openAPIV3Schema as StructuralSchema;
    const schema = schemaOfStructural(structural);
    const hasStatus = resource.subresources?.some((each) => each.name === "status") === true;
    const codec = createCustomResourceCodec({
      structural,
      schema,
      kind: resource.kind,
      apiVersion: resource.apiVersion,
      storageApiVersion: `${resource.group}/${resource.custom.storageVersion}`,
      namespaced: resource.namespaced,
    });
    const storage = new ResourceStorage(resource, schema, createCustomResourceStrategy(hasStatus), store, codec);
    storages.set(key, { resource, storage });
    return storage;
  }

  function update(name: string, subresource: "" | "status", change: (object: CustomResourceDefinition) => void): void {
    const writeOptions = { dryRun: false, fieldManager: manager, fieldValidation: "Ignore", force: undefined } as const;
    options.definitions()?.update(
      "",
      name,
      (old) => {
        const object = structuredClone(old) as CustomResourceDefinition;
        change(object);
        return { object };
      },
      "patch",
      { options: writeOptions, manager, subresource, strategy: options.context() },
    );
  }

  /** Why a name cannot be had, or `undefined`. */
  function nameConflict(definition: CustomResourceDefinition): { reason: string; message: string } | undefined {
    const { group, names } = definition.spec;
    const others = [
      ...options.builtin.filter((each) => each.group === group),
      ...list().filter((each) => each.group === group && collectionName(each) !== `${names.plural}.${group}`),
    ];
    const taken = new Set(others.flatMap((each) => [each.resource, each.singular, ...(each.shortNames ?? [])]));
    const kinds = new Set(others.flatMap((each) => [each.kind, each.custom?.listKind ?? `${each.kind}List`]));
    const check = (reason: string, name: string | undefined, used: ReadonlySet<string>) =>
      name !== undefined && used.has(name)
        ? { reason, message: `${JSON.stringify(name)} is already in use` }
        : undefined;
    return (
      check("PluralConflict", names.plural, taken) ??
      check("SingularConflict", names.singular, taken) ??
      names.shortNames?.map((name) => check("ShortNamesConflict", name, taken)).find((found) => found !== undefined) ??
      check("KindConflict", names.kind, kinds) ??
      check("ListKindConflict", names.listKind, kinds)
    );
  }

  /** Conditions and accepted names as they ought to be. */
  function statusOf(definition: CustomResourceDefinition): NonNullable<CustomResourceDefinition["status"]> {
    const { now } = options.context();
    const conflict = nameConflict(definition);
    let conditions = definition.status?.conditions ?? [];
    conditions =
      conflict === undefined
        ? withCondition(conditions, now, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
        : withCondition(conditions, now, "NamesAccepted", "False", conflict.reason, conflict.message);
    // Once established, a definition stays so.
    if (!hasCondition(definition, "Established"))
      conditions =
        conflict === undefined
          ? withCondition(
              conditions,
              now,
              "Established",
              "True",
              "InitialNamesAccepted",
              "the initial names have been accepted",
            )
          : withCondition(conditions, now, "Established", "False", "NotAccepted", "not all names are accepted");
    if (isProtectedGroup(definition.spec.group)) {
      const approval = definition.metadata.annotations?.[approvalAnnotation] ?? "";
      const isUnapproved = approval.startsWith("unapproved");
      conditions = isUnapproved
        ? withCondition(
            conditions,
            now,
            "KubernetesAPIApprovalPolicyConformant",
            "False",
            "UnapprovedAnnotation",
            `not approved: "${approval}"`,
          )
        : withCondition(
            conditions,
            now,
            "KubernetesAPIApprovalPolicyConformant",
            "True",
            "ApprovedAnnotation",
            `approved in ${approval}`,
          );
    }
    if (definition.metadata.deletionTimestamp !== undefined)
      conditions = withCondition(
        conditions,
        now,
        "Terminating",
        "True",
        "InstanceDeletionInProgress",
        "CustomResource deletion is in progress",
      );
    return {
      ...definition.status,
      ...(conflict === undefined ? { acceptedNames: definition.spec.names } : {}),
      conditions,
    };
  }

  /** Deletes the objects of a definition, and lets go of it when none is left. */
  function empty(definition: CustomResourceDefinition): void {
    const name = definition.metadata.name ?? "";
    const resource = list().find((each) => collectionName(each) === name);
    const storage = resource === undefined ? undefined : storageOf(resource);
    if (storage !== undefined) {
      const deletion = {
        dryRun: false,
        gracePeriodSeconds: undefined,
        propagationPolicy: "Background",
        orphanDependents: undefined,
        uid: undefined,
        resourceVersion: undefined,
      } as const;
      for (const stored of [...store.list(name)])
        if (stored.object.metadata?.deletionTimestamp === undefined)
          storage.delete(stored.namespace, stored.name, deletion, options.context());
    }
    if (storage !== undefined && store.count(name) > 0) return;
    terminating.delete(name);
    update(name, "", (object) => {
      const left = (object.metadata.finalizers ?? []).filter((finalizer) => finalizer !== cleanupFinalizer);
      if (left.length > 0) object.metadata.finalizers = left;
      else delete object.metadata.finalizers;
    });
    options.cutWatches(name);
  }

  function reconcile(): void {
    isScheduled = false;
    for (const definition of definitionsOf()) {
      const name = definition.metadata.name ?? "";
      const status = statusOf(definition);
      if (!deepEqual(status, definition.status)) {
        update(name, "status", (object) => {
          object.status = status;
        });
      }
      const isGoing =
        definition.metadata.deletionTimestamp !== undefined &&
        definition.metadata.finalizers?.includes(cleanupFinalizer) === true;
      if (!isGoing) continue;
      terminating.add(name);
      empty(store.get(definitionsCollection, "", name)?.object as CustomResourceDefinition);
    }
  }

  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    queueMicrotask(reconcile);
  }

  const unsubscribe = store.subscribe((event: StoreEvent) => {
    const stored: StoredObject = event.current;
    if (stored.collection === definitionsCollection) {
      resources = undefined;
      schedule();
    } else if (event.type === "DELETED" && terminating.has(stored.collection)) schedule();
  });
  if (store.count(definitionsCollection) > 0) schedule();

  return {
    list,
    find: (group, version, resource) =>
      list().find((each) => each.group === group && each.version === version && each.resource === resource),
    hasGroupVersion: (group, version) => list().some((each) => each.group === group && each.version === version),
    storageOf,
    storageOfCollection(collection) {
      const resource = list().find((each) => collectionName(each) === collection);
      return resource === undefined ? undefined : storageOf(resource);
    },
    close: unsubscribe,
  };
}
