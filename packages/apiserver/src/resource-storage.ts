import {
  alreadyExistsStatus,
  conflictStatus,
  deletedStatus,
  type FieldError,
  generateNameConflictStatus,
  invalid,
  invalidStatus,
  type KubernetesObject,
  type ManagedFieldsEntry,
  type Namespace,
  namespaceTerminatingStatus,
  notFoundStatus,
  type ObjectMeta,
  type Schema,
  type Status,
  unknownErrorStatus,
} from "@portolan/core";
import { deepEqual } from "./encoding/equality.ts";
import { zeroObject } from "./encoding/presence.ts";
import { emptyFieldSet, type FieldSet } from "./fields/field-set.ts";
import { applyConfiguration, type FieldWriter, sameButForTimes, trackUpdate } from "./fields/managed-fields.ts";
import { createBuiltinCodec, type ObjectCodec } from "./object-codec.ts";
import type { DeleteOptions, WriteOptions } from "./requests/options.ts";
import { collectionName } from "./requests/request-info.ts";
import type { ResourceDefinition } from "./resource-definition.ts";
import type { Store, StoredObject, StoreWrite } from "./store/store.ts";
import { randomSuffix } from "./strategies/pod.ts";
import { fields, type Strategy, type StrategyContext } from "./strategies/strategy.ts";

/** What a write works with. */
export interface WriteContext {
  readonly options: WriteOptions;
  /** Name under which the writer owns fields. */
  readonly manager: string;
  /** Empty for the object itself. Only `status` has rules of its own; fields are booked under any. */
  readonly subresource: string;
  readonly strategy: StrategyContext;
}

/** The result of a write. */
export interface WriteResult {
  readonly object: KubernetesObject;
  /** The stored form; absent in dry runs. */
  readonly stored?: StoredObject;
  readonly created: boolean;
}

/** The result of a delete: the object, or a Status when the kind answers one. */
export type DeleteResult =
  | { readonly object: KubernetesObject; readonly stored?: StoredObject }
  | { readonly status: Status };

/** What makes a new state of a stored object, or of none. */
export type Change = (old: KubernetesObject | undefined) => {
  readonly object: KubernetesObject;
  /** Set by server-side apply, which keeps the book itself. */
  readonly managedFields?: readonly ManagedFieldsEntry[];
};

/** What clients cannot set on creation. */
const systemFields = [
  "uid",
  "selfLink",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
] as const;

/** A new name is tried this often. */
const generateNameAttempts = 8;
const maxGeneratedNameBase = 58;

function seconds(milliseconds: number): string {
  return new Date(milliseconds).toISOString().replace(/\.\d+Z$/, "Z");
}

/** UIDs are random (RFC 9562, version 4). */
function newUid(): string {
  return globalThis.crypto.randomUUID();
}

/**
 * The life of objects of one kind: create, update, delete, with names, versions, finalizers, ownership of fields and the rules of the kind.
 * Every method is one synchronous transaction over the store. Source: `apiserver/pkg/registry/generic/registry/store.go`, `rest/create.go`,
 * `rest/update.go`, `rest/delete.go`.
 */
export class ResourceStorage {
  readonly definition: ResourceDefinition;
  readonly collection: string;
  readonly schema: Schema;
  readonly strategy: Strategy;
  readonly codec: ObjectCodec;
  readonly #store: Store;

  constructor(
    definition: ResourceDefinition,
    schema: Schema,
    strategy: Strategy,
    store: Store,
    codec: ObjectCodec = createBuiltinCodec(schema),
    collection: string = collectionName(definition),
  ) {
    this.definition = definition;
    this.collection = collection;
    this.schema = schema;
    this.strategy = strategy;
    this.codec = codec;
    this.#store = store;
  }

  /** @throws StatusError 404 */
  get(namespace: string, name: string): StoredObject {
    const stored = this.#store.get(this.collection, namespace, name);
    if (stored === undefined) throw notFoundStatus(this.definition, name);
    return stored;
  }

  /** A stored object as readers of this version see it. */
  view(stored: StoredObject): StoredObject {
    const object = this.codec.view(stored.object);
    return object === stored.object ? stored : { ...stored, object };
  }

  /** Creates an object that has been decoded and defaulted. */
  create(namespace: string, object: KubernetesObject, context: WriteContext): WriteResult {
    return this.#create(namespace, object, undefined, context);
  }

  #create(
    namespace: string,
    object: KubernetesObject,
    managedFields: readonly ManagedFieldsEntry[] | undefined,
    context: WriteContext,
  ): WriteResult {
    const { definition, strategy } = this;
    const { strategy: kind } = context;
    const metadata = this.#metadata(object);
    if (definition.namespaced) metadata.namespace = namespace;
    this.#checkOwnerReferences(metadata);
    for (const field of systemFields) delete metadata[field];

    // The book of fields is kept of what the client asked for, before the server adds anything.
    const entries =
      managedFields ??
      trackUpdate(undefined, this.codec.view(object), this.schema, this.#writer(context), metadata.managedFields);
    if (entries.length > 0) metadata.managedFields = [...entries];
    else delete metadata.managedFields;

    const name = this.#nameFor(metadata, namespace, kind.random);
    this.#checkNamespace(namespace, name);
    strategy.admit?.(object, undefined, kind);

    const system: ObjectMeta = { ...metadata, uid: newUid(), creationTimestamp: seconds(kind.now) };
    if (name !== "") system.name = name;
    if (strategy.changesGeneration !== undefined) system.generation = 1;
    else delete system.generation;
    object.metadata = orderedMetadata(system);

    const writes = strategy.begin?.(object, undefined, kind) ?? [];
    if (this.#hasStatus && strategy.reset !== undefined && this.collection !== "nodes") this.#wipeStatus(object);
    strategy.prepareForCreate?.(object, kind);
    this.#validate(object, undefined, context);
    for (const warning of this.codec.warnings(object, undefined)) kind.warn(warning);

    if ((system.resourceVersion ?? "") !== "")
      throw unknownErrorStatus("resourceVersion should not be set on objects to be created");
    delete (object.metadata as ObjectMeta).resourceVersion;
    const existing = this.#store.get(this.collection, definition.namespaced ? namespace : "", name);
    if (existing !== undefined) {
      throw metadata.generateName !== undefined && metadata.name === undefined
        ? generateNameConflictStatus(definition, name)
        : alreadyExistsStatus(definition, name);
    }
    if (kind.dryRun) return { object, created: true };
    const stored = this.#write([...writes, this.#writeOf(object, undefined)]);
    return { object: stored.object, stored, created: true };
  }

  /**
   * Updates an object, or creates it where the kind allows that.
   *
   * @param change makes the wanted state; called once
   * @param mode `replace` for PUT, `patch` for patches, `apply` for server-side apply, which may create
   */
  update(
    namespace: string,
    name: string,
    change: Change,
    mode: "replace" | "patch" | "apply",
    context: WriteContext,
  ): WriteResult {
    const { definition, strategy } = this;
    const { strategy: kind } = context;
    const scope = definition.namespaced ? namespace : "";
    const stored = this.#store.get(this.collection, scope, name);
    if (stored === undefined) {
      const mayCreate =
        context.subresource === "" &&
        (mode === "apply" || (mode === "replace" && strategy.allowCreateOnUpdate === true));
      if (!mayCreate) throw notFoundStatus(definition, name);
      const { object, managedFields } = change(undefined);
      // A version of an object that is not there is ignored, but a uid asks for one particular object.
      const metadata = this.#metadata(object);
      if ((metadata.uid ?? "") !== "") this.#uidConflict(name, namespace, metadata.uid as string, "");
      delete metadata.resourceVersion;
      return this.#create(namespace, object, managedFields, context);
    }

    const old = stored.object;
    const oldMetadata = old.metadata ?? {};
    const { object, managedFields } = change(old);
    const metadata = this.#metadata(object);
    if (definition.namespaced) metadata.namespace ??= namespace;
    metadata.name ??= name;
    if (mode === "replace" && (metadata.uid ?? "") !== "" && metadata.uid !== oldMetadata.uid) {
      this.#uidConflict(name, namespace, metadata.uid as string, oldMetadata.uid ?? "");
    }
    this.#checkVersion(metadata, stored, name, mode);
    this.#checkOwnerReferences(metadata);

    const { view } = this.codec;
    let entries =
      managedFields ?? trackUpdate(view(old), view(object), this.schema, this.#writer(context), metadata.managedFields);
    if (sameButForTimes(entries, oldMetadata.managedFields)) {
      const { managedFields: _, ...rest } = metadata;
      const { managedFields: __, resourceVersion: ___, ...oldRest } = oldMetadata;
      const isUnchanged = deepEqual(
        { ...fields(object), metadata: { ...rest, resourceVersion: "" } },
        { ...fields(old), metadata: { ...oldRest, resourceVersion: "" } },
      );
      if (isUnchanged) entries = oldMetadata.managedFields ?? [];
    }
    if (entries.length > 0) metadata.managedFields = [...entries];
    else delete metadata.managedFields;

    strategy.admit?.(object, old, kind);

    if (context.subresource === "status") {
      for (const key of Object.keys(fields(object)))
        if (key !== "status" && key !== "metadata") delete fields(object)[key];
      for (const key of Object.keys(old))
        if (key !== "status" && key !== "metadata") fields(object)[key] = fields(old)[key];
      if (strategy.resetStatus !== undefined) this.#restoreMetadata(metadata, oldMetadata, strategy.resetStatus);
    }
    const writes = strategy.begin?.(object, old, kind) ?? [];

    // What no update can change.
    metadata.uid = (metadata.uid ?? "") === "" ? (oldMetadata.uid as string) : (metadata.uid as string);
    if (oldMetadata.creationTimestamp !== undefined) metadata.creationTimestamp = oldMetadata.creationTimestamp;
    if (oldMetadata.deletionTimestamp === undefined) delete metadata.deletionTimestamp;
    else metadata.deletionTimestamp = oldMetadata.deletionTimestamp;
    if (oldMetadata.deletionGracePeriodSeconds === undefined) delete metadata.deletionGracePeriodSeconds;
    else metadata.deletionGracePeriodSeconds = oldMetadata.deletionGracePeriodSeconds;
    if (oldMetadata.generateName === undefined) delete metadata.generateName;
    delete metadata.selfLink;
    if (oldMetadata.generation === undefined) delete metadata.generation;
    else metadata.generation = oldMetadata.generation;
    object.metadata = orderedMetadata(metadata);

    if (context.subresource === "status") strategy.prepareForStatusUpdate?.(object, old, kind);
    else {
      if (this.#hasStatus && strategy.reset !== undefined) {
        if (fields(old)["status"] === undefined) delete fields(object)["status"];
        else fields(object)["status"] = fields(old)["status"];
      }
      strategy.prepareForUpdate?.(object, old, kind);
      if (strategy.changesGeneration?.(object, old) === true)
        object.metadata.generation = (oldMetadata.generation ?? 0) + 1;
    }
    this.#validate(object, old, context);
    for (const warning of this.codec.warnings(object, old)) kind.warn(warning);

    object.metadata.resourceVersion = oldMetadata.resourceVersion as string;
    if (deepEqual(object, old)) return { object: old, stored, created: false };
    if (kind.dryRun) return { object, created: false };

    if (
      oldMetadata.deletionTimestamp !== undefined &&
      (object.metadata.finalizers ?? []).length === 0 &&
      (object.metadata.deletionGracePeriodSeconds ?? 0) === 0 &&
      !this.#hasSpecFinalizers(object)
    ) {
      this.#write([...(strategy.release?.(old, kind) ?? []), this.#removalOf(stored)]);
      // The answer is the last state that was wanted, under the revision that it was based on.
      return { object, created: false };
    }
    const result = this.#write([...writes, this.#writeOf(object, stored.revision)]);
    return { object: result.object, stored: result, created: false };
  }

  /** Deletes an object, or asks those whose finalizers it carries to let go of it. */
  delete(namespace: string, name: string, options: DeleteOptions, context: StrategyContext): DeleteResult {
    const { definition, strategy } = this;
    const stored = this.get(definition.namespaced ? namespace : "", name);
    const old = stored.object;
    const metadata = old.metadata ?? {};
    strategy.checkDelete?.(old);
    this.#checkPreconditions(options, metadata, name);

    const isMarked = metadata.deletionTimestamp !== undefined;
    const finalizers = this.#finalizersFor(metadata.finalizers ?? [], options);
    const { deletionFinalizer } = strategy;
    if (deletionFinalizer !== undefined && !isMarked && !finalizers.includes(deletionFinalizer))
      finalizers.push(deletionFinalizer);
    const isGraceful = strategy.gracePeriod !== undefined;
    let grace = isGraceful
      ? (strategy.gracePeriod as NonNullable<Strategy["gracePeriod"]>)(old, options.gracePeriodSeconds)
      : 0;
    if (isMarked && isGraceful) {
      const left = metadata.deletionGracePeriodSeconds ?? 0;
      // A second delete can only shorten the time.
      if (options.gracePeriodSeconds === undefined || options.gracePeriodSeconds >= left) grace = left;
    }
    const isNamespace = this.collection === "namespaces";
    const waits = finalizers.length > 0 || grace > 0 || (isNamespace && this.#hasSpecFinalizers(old));

    const marked: ObjectMeta = { ...metadata };
    if (finalizers.length > 0) marked.finalizers = finalizers;
    else delete marked.finalizers;
    if (waits || isGraceful) {
      if (!isMarked) {
        marked.deletionTimestamp = seconds(context.now + grace * 1000);
        if (metadata.generation !== undefined) marked.generation = metadata.generation + 1;
      } else if (isGraceful && grace < (metadata.deletionGracePeriodSeconds ?? 0)) {
        marked.deletionTimestamp = seconds(
          Date.parse(metadata.deletionTimestamp as string) -
            ((metadata.deletionGracePeriodSeconds ?? 0) - grace) * 1000,
        );
      }
      if (!isNamespace) marked.deletionGracePeriodSeconds = grace;
    }
    const pending: KubernetesObject = { ...old, metadata: orderedMetadata(marked) };
    if (isNamespace && waits) (pending as Namespace).status = { ...(old as Namespace).status, phase: "Terminating" };

    if (waits) {
      if (context.dryRun) return { object: pending };
      if (deepEqual(pending, old)) return { object: old, stored };
      const result = this.#write([this.#writeOf(pending, stored.revision)]);
      return { object: result.object, stored: result };
    }
    if (context.dryRun)
      return strategy.returnsDeletedObject === true
        ? { object: old, stored }
        : { status: deletedStatus(definition, name, metadata.uid ?? "") };
    let last = stored;
    if (!deepEqual(pending, old)) last = this.#write([this.#writeOf(pending, stored.revision)]);
    const removed = this.#write([...(strategy.release?.(old, context) ?? []), this.#removalOf(last)]);
    return strategy.returnsDeletedObject === true
      ? { object: removed.object, stored: removed }
      : { status: deletedStatus(definition, name, metadata.uid ?? "") };
  }

  /** Writes an object as it is, past all rules: for the server's own bookkeeping. */
  put(object: KubernetesObject, expectedRevision: number | undefined): StoredObject {
    return this.#write([this.#writeOf(object, expectedRevision)]);
  }

  /** Removes an object past all rules but its own releases. */
  remove(stored: StoredObject, context: StrategyContext): StoredObject {
    return this.#write([...(this.strategy.release?.(stored.object, context) ?? []), this.#removalOf(stored)]);
  }

  get #hasStatus(): boolean {
    return (
      this.definition.subresources?.some((subresource) => subresource.name === "status") === true &&
      this.schema.properties?.["status"] !== undefined
    );
  }

  #metadata(object: KubernetesObject): ObjectMeta {
    object.metadata ??= {};
    return object.metadata;
  }

  #writer(context: WriteContext): FieldWriter {
    const { strategy } = this;
    return {
      manager: context.manager,
      apiVersion: this.definition.apiVersion,
      subresource: context.subresource,
      time: seconds(context.strategy.now),
      reset: (context.subresource === "status" ? strategy.resetStatus : strategy.reset) ?? emptyFieldSet,
    };
  }

  /** Lays a configuration over the live object. Used as the {@link Change} of server-side apply. */
  applyChange(
    configuration: KubernetesObject,
    context: WriteContext,
    decode: (object: KubernetesObject) => KubernetesObject,
  ): Change {
    return (old) => {
      const applied = applyConfiguration(
        old === undefined ? undefined : this.codec.view(old),
        configuration,
        this.schema,
        this.#writer(context),
        context.options.force === true,
      );
      return { object: this.codec.applyDefaults(decode(applied.object)), managedFields: applied.managedFields };
    };
  }

  #nameFor(metadata: ObjectMeta, namespace: string, random: () => number): string {
    const name = metadata.name ?? "";
    const prefix = metadata.generateName ?? "";
    if (name !== "" || prefix === "") return name;
    const base = prefix.slice(0, maxGeneratedNameBase);
    let generated = "";
    for (let attempt = 0; attempt < generateNameAttempts; attempt++) {
      generated = base + randomSuffix(random);
      if (this.#store.get(this.collection, this.definition.namespaced ? namespace : "", generated) === undefined) break;
    }
    return generated;
  }

  /** NamespaceLifecycle admission. */
  #checkNamespace(namespace: string, name: string): void {
    if (!this.definition.namespaced) return;
    const stored = this.#store.get("namespaces", "", namespace);
    if (stored === undefined) throw notFoundStatus({ group: "", resource: "namespaces" }, namespace);
    const phase = (stored.object as Namespace).status?.phase;
    if (phase === "Terminating" || stored.object.metadata?.deletionTimestamp !== undefined)
      throw namespaceTerminatingStatus(this.definition, name, namespace);
  }

  #checkOwnerReferences(metadata: ObjectMeta): void {
    const references = metadata.ownerReferences;
    if (references === undefined || references.length < 2) return;
    const seen = new Map(references.map((reference) => [reference.uid, reference]));
    if (seen.size < references.length && references.every((reference) => reference.uid !== ""))
      metadata.ownerReferences = [...seen.values()];
  }

  #checkVersion(metadata: ObjectMeta, stored: StoredObject, name: string, mode: "replace" | "patch" | "apply"): void {
    const version = metadata.resourceVersion ?? "";
    if (version === "" || version === "0") {
      if (this.strategy.allowUnconditionalUpdate === false && mode === "replace") {
        throw invalidStatus(this.definition, name, [
          invalid("metadata.resourceVersion", 0, "must be specified for an update"),
        ]);
      }
      return;
    }
    if (!/^\d+$/.test(version))
      throw unknownErrorStatus(`strconv.ParseUint: parsing ${JSON.stringify(version)}: invalid syntax`);
    if (Number(version) !== stored.revision) throw conflictStatus(this.definition, name);
  }

  #uidConflict(name: string, namespace: string, wanted: string, found: string): never {
    const folder =
      this.collection === "services"
        ? "services/specs"
        : this.collection === "endpoints"
          ? "services/endpoints"
          : this.definition.resource;
    const key = `/registry/${folder}/${this.definition.namespaced ? `${namespace}/` : ""}${name}`;
    throw conflictStatus(
      this.definition,
      name,
      `StorageError: invalid object, Code: 4, Key: ${key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: ${wanted}, UID in object meta: ${found}`,
    );
  }

  #checkPreconditions(options: DeleteOptions, metadata: ObjectMeta, name: string): void {
    const subject = { group: this.definition.group, resource: this.definition.kind };
    if (options.uid !== undefined && options.uid !== metadata.uid) {
      throw conflictStatus(
        subject,
        name,
        `the UID in the precondition (${options.uid}) does not match the UID in record (${metadata.uid}). The object might have been deleted and then recreated`,
      );
    }
    if (options.resourceVersion !== undefined && options.resourceVersion !== metadata.resourceVersion) {
      throw conflictStatus(
        subject,
        name,
        `the ResourceVersion in the precondition (${options.resourceVersion}) does not match the ResourceVersion in record (${metadata.resourceVersion}). The object might have been modified`,
      );
    }
  }

  /** Finalizers that a delete leaves on the object: those of the garbage collector come and go with the policy. */
  #finalizersFor(present: readonly string[], options: DeleteOptions): string[] {
    const orphan = options.propagationPolicy === "Orphan" || options.orphanDependents === true;
    const foreground = options.propagationPolicy === "Foreground";
    const background = options.propagationPolicy === "Background" || options.orphanDependents === false;
    const finalizers = present.filter((finalizer) => {
      if (finalizer === "orphan") return !(foreground || background);
      if (finalizer === "foregroundDeletion") return !(orphan || background);
      return true;
    });
    if (orphan && !finalizers.includes("orphan")) finalizers.push("orphan");
    if (foreground && !finalizers.includes("foregroundDeletion")) finalizers.push("foregroundDeletion");
    return finalizers;
  }

  #hasSpecFinalizers(object: KubernetesObject): boolean {
    return this.collection === "namespaces" && ((object as Namespace).spec?.finalizers?.length ?? 0) > 0;
  }

  #wipeStatus(object: KubernetesObject): void {
    const schema = this.schema.properties?.["status"];
    if (schema === undefined) return;
    if (Object.hasOwn(zeroObject(this.schema), "status")) fields(object)["status"] = zeroObject(schema);
    else delete fields(object)["status"];
  }

  #restoreMetadata(metadata: ObjectMeta, old: ObjectMeta, reset: FieldSet): void {
    const names = reset.children.get("f:metadata")?.children;
    for (const edge of names?.keys() ?? []) {
      const name = edge.slice(2) as keyof ObjectMeta;
      if (old[name] === undefined) delete metadata[name];
      else (metadata as Record<string, unknown>)[name] = old[name];
    }
  }

  #validate(object: KubernetesObject, old: KubernetesObject | undefined, context: WriteContext): void {
    const errors: FieldError[] = [
      ...this.codec.validate(object, old, {
        gates: context.strategy.gates,
        ...(context.subresource === "" ? {} : { subresource: context.subresource }),
      }),
      ...(this.strategy.validate?.(object, old, context.strategy) ?? []),
    ];
    if (errors.length > 0) throw invalidStatus(this.definition, object.metadata?.name ?? "", errors);
  }

  #writeOf(object: KubernetesObject, expectedRevision: number | undefined): StoreWrite {
    const metadata = object.metadata ?? {};
    return {
      collection: this.collection,
      namespace: this.definition.namespaced ? (metadata.namespace ?? "") : "",
      name: metadata.name ?? "",
      object,
      expectedRevision,
    };
  }

  #removalOf(stored: StoredObject): StoreWrite {
    return {
      collection: this.collection,
      namespace: stored.namespace,
      name: stored.name,
      expectedRevision: stored.revision,
    };
  }

  /** Writes and returns what became of the last one, which is that of the object itself. */
  #write(writes: readonly StoreWrite[]): StoredObject {
    const results = this.#store.write(writes);
    return results[results.length - 1] as StoredObject;
  }
}

/** Members in the order in which Go writes them. */
const metadataOrder: readonly (keyof ObjectMeta)[] = [
  "name",
  "generateName",
  "namespace",
  "selfLink",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "labels",
  "annotations",
  "ownerReferences",
  "finalizers",
  "managedFields",
];

function orderedMetadata(metadata: ObjectMeta): ObjectMeta {
  const result: Record<string, unknown> = {};
  for (const name of metadataOrder) if (metadata[name] !== undefined) result[name] = metadata[name];
  return result as ObjectMeta;
}
