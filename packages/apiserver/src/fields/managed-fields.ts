import {
  type ApplyConflict,
  applyConflictStatus,
  type KubernetesObject,
  type ManagedFieldsEntry,
  type Schema,
} from "@portolan/core";
import { deepEqual } from "../encoding/equality.ts";
import type { JsonValue } from "../encoding/json.ts";
import { zeroObject } from "../encoding/presence.ts";
import {
  difference,
  emptyFieldSet,
  type FieldSet,
  fieldPaths,
  fieldSetOf,
  fromFieldsV1,
  intersection,
  isEmptyFieldSet,
  sameFieldSet,
  toFieldsV1,
  union,
} from "./field-set.ts";
import { compareValues, fieldSetOfValue, mergeValues, pruneValue } from "./typed-value.ts";

/**
 * Who owns which field: `metadata.managedFields`, kept for every write, and server-side apply, which is built on it.
 * Source: `apimachinery/pkg/util/managedfields`, structured-merge-diff `merge/update.go`; KEP-555.
 */

/** The writer of one request. */
export interface FieldWriter {
  /** Query parameter `fieldManager`, else the user agent up to its first slash. */
  readonly manager: string;
  /** Version in which the fields are named. */
  readonly apiVersion: string;
  /** Empty for the object itself. */
  readonly subresource: string;
  /** RFC 3339 with seconds. */
  readonly time: string;
  /** Fields that the endpoint does not let the writer change, and that it thus cannot own. */
  readonly reset: FieldSet;
}

interface Manager {
  readonly entry: ManagedFieldsEntry;
  readonly set: FieldSet;
}

/** Fields that are nobody's. */
const unowned = fieldSetOf([
  ["apiVersion"],
  ["kind"],
  ["metadata"],
  ["metadata", "name"],
  ["metadata", "namespace"],
  ["metadata", "creationTimestamp"],
  ["metadata", "selfLink"],
  ["metadata", "uid"],
  ["metadata", "generation"],
  ["metadata", "resourceVersion"],
]);

type JsonObject = { [key: string]: JsonValue };

/** The object without managedFields, as JSON. */
function comparable(object: KubernetesObject): JsonObject {
  const { managedFields, ...metadata } = object.metadata ?? {};
  return { ...(object as JsonObject), metadata: metadata as unknown as JsonValue };
}

function managersOf(entries: readonly ManagedFieldsEntry[] | undefined): Manager[] {
  return (entries ?? []).map((entry) => ({ entry, set: fromFieldsV1(entry.fieldsV1) }));
}

function isWriter(entry: ManagedFieldsEntry, writer: FieldWriter, operation: "Apply" | "Update"): boolean {
  return (
    entry.operation === operation &&
    (entry.manager ?? "") === writer.manager &&
    (entry.subresource ?? "") === writer.subresource &&
    (operation === "Apply" || entry.apiVersion === writer.apiVersion)
  );
}

function makeEntry(writer: FieldWriter, operation: "Apply" | "Update", set: FieldSet): ManagedFieldsEntry {
  return {
    manager: writer.manager,
    operation,
    apiVersion: writer.apiVersion,
    time: writer.time,
    fieldsType: "FieldsV1",
    fieldsV1: toFieldsV1(set),
    ...(writer.subresource === "" ? {} : { subresource: writer.subresource }),
  };
}

function compareEntries(a: ManagedFieldsEntry, b: ManagedFieldsEntry): number {
  return (
    compareText(a.operation ?? "", b.operation ?? "") ||
    compareText(a.time ?? "", b.time ?? "") ||
    compareText(a.manager ?? "", b.manager ?? "") ||
    compareText(a.apiVersion ?? "", b.apiVersion ?? "") ||
    compareText(a.subresource ?? "", b.subresource ?? "")
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Takes fields from the other managers; entries that own nothing any more go. */
function takeFrom(
  managers: readonly Manager[],
  taken: FieldSet,
  removed: FieldSet,
  isOwn: (entry: ManagedFieldsEntry) => boolean,
): ManagedFieldsEntry[] {
  const result: ManagedFieldsEntry[] = [];
  for (const { entry, set } of managers) {
    if (isOwn(entry)) continue;
    const left = difference(difference(set, taken), removed);
    if (left === set || sameFieldSet(left, set)) result.push(entry);
    else if (!isEmptyFieldSet(left)) result.push({ ...entry, fieldsV1: toFieldsV1(left) });
  }
  return result;
}

/** Entries that older writers may keep before they are merged into one. */
const maxUpdateManagers = 10;

function capEntries(entries: ManagedFieldsEntry[]): ManagedFieldsEntry[] {
  const updates = entries.filter((entry) => entry.operation === "Update" && (entry.subresource ?? "") === "");
  if (updates.length <= maxUpdateManagers) return entries;
  const oldest = [...updates].sort(compareEntries).slice(0, updates.length - maxUpdateManagers + 1);
  let set: FieldSet = emptyFieldSet;
  for (const entry of oldest) set = union(set, fromFieldsV1(entry.fieldsV1));
  const last = oldest[oldest.length - 1] as ManagedFieldsEntry;
  return [
    ...entries.filter((entry) => !oldest.includes(entry)),
    { ...last, manager: "ancient-changes", fieldsV1: toFieldsV1(set) },
  ];
}

/**
 * Entries after a create, update or patch: the writer owns what it changed, and nobody else does.
 *
 * @param live what is stored; absent on creation
 * @param next what the request asks for, defaulted but before the server changes anything itself
 * @param given `metadata.managedFields` of the request
 */
export function trackUpdate(
  live: KubernetesObject | undefined,
  next: KubernetesObject,
  schema: Schema,
  writer: FieldWriter,
  given: readonly ManagedFieldsEntry[] | undefined,
): ManagedFieldsEntry[] {
  const liveEntries = live?.metadata?.managedFields;
  // One empty entry is how clients drop all bookkeeping.
  const isReset = given !== undefined && given.length === 1 && Object.keys(given[0] ?? {}).length === 0;
  const entries = isReset
    ? []
    : given !== undefined && given.length > 0 && live !== undefined
      ? given
      : (liveEntries ?? []);
  const before = live === undefined ? (zeroObject(schema) as KubernetesObject) : live;
  const comparison = compareValues(comparable(before), comparable(next), schema);
  const added = difference(comparison.added, writer.reset, true);
  const modified = difference(comparison.modified, writer.reset, true);
  const removed = difference(comparison.removed, writer.reset, true);
  const changed = union(added, modified);
  if (live !== undefined && isEmptyFieldSet(changed) && isEmptyFieldSet(removed)) return [...entries];
  const managers = managersOf(entries);
  const isOwn = (entry: ManagedFieldsEntry): boolean => isWriter(entry, writer, "Update");
  const own = managers.find(({ entry }) => isOwn(entry));
  const set = difference(union(difference(own?.set ?? emptyFieldSet, removed), changed), unowned);
  const result = takeFrom(managers, changed, removed, isOwn);
  if (!isEmptyFieldSet(set)) {
    if (own !== undefined && sameFieldSet(own.set, set)) result.push({ ...own.entry, time: writer.time });
    else result.push(makeEntry(writer, "Update", set));
  }
  return capEntries(result).sort(compareEntries);
}

/** What {@link applyConfiguration} makes. */
export interface Applied {
  /** Undefaulted and not decoded. */
  readonly object: KubernetesObject;
  readonly managedFields: ManagedFieldsEntry[];
}

/**
 * Server-side apply: lays the configuration over the live object, removes what the manager applied before and does not any more, and makes the
 * manager the owner of what the configuration names.
 *
 * @throws StatusError 409 when others own fields that the configuration changes, unless `force`
 */
export function applyConfiguration(
  live: KubernetesObject | undefined,
  configuration: KubernetesObject,
  schema: Schema,
  writer: FieldWriter,
  force: boolean,
): Applied {
  const before = comparable(live ?? (zeroObject(schema) as KubernetesObject));
  const wanted = configuration as unknown as JsonValue;
  const managers = managersOf(live?.metadata?.managedFields);
  const isOwn = (entry: ManagedFieldsEntry): boolean => isWriter(entry, writer, "Apply");
  const last = managers.find(({ entry }) => isOwn(entry));
  const set = difference(difference(fieldSetOfValue(wanted, schema), unowned), writer.reset, true);

  let merged = mergeValues(before, wanted, schema) as JsonValue;
  if (last !== undefined) {
    let owned = set;
    for (const { entry, set: other } of managers) if (!isOwn(entry)) owned = union(owned, other);
    merged = pruneValue(merged, schema, last.set, owned);
  }
  const comparison = compareValues(before, merged, schema);
  const changed = difference(union(comparison.added, comparison.modified), writer.reset, true);
  const removed = difference(comparison.removed, writer.reset, true);

  if (!force) {
    const conflicts: ApplyConflict[] = [];
    for (const { entry, set: other } of managers) {
      if (isOwn(entry)) continue;
      for (const field of fieldPaths(intersection(other, changed))) {
        const subresource =
          (entry.subresource ?? "") === "" ? "" : ` with subresource ${JSON.stringify(entry.subresource)}`;
        // Who applies a Scale is told in its version, whatever it is the scale of.
        const version = writer.subresource === "scale" ? "autoscaling/v1" : entry.apiVersion;
        const using = entry.operation === "Update" ? ` using ${version}` : "";
        conflicts.push({ owner: `${JSON.stringify(entry.manager ?? "")}${subresource}${using}`, field });
      }
    }
    if (conflicts.length > 0) throw applyConflictStatus(conflicts);
  }

  const result = takeFrom(managers, changed, removed, isOwn);
  if (!isEmptyFieldSet(set)) {
    const isSame = last !== undefined && sameFieldSet(last.set, set);
    result.push(
      isSame && isEmptyFieldSet(changed) && isEmptyFieldSet(removed) ? last.entry : makeEntry(writer, "Apply", set),
    );
  }
  return { object: merged as unknown as KubernetesObject, managedFields: result.sort(compareEntries) };
}

/** Whether two lists of entries differ in nothing but times; the older times are then kept, so that nothing is written. */
export function sameButForTimes(
  a: readonly ManagedFieldsEntry[] | undefined,
  b: readonly ManagedFieldsEntry[] | undefined,
): boolean {
  if ((a?.length ?? 0) !== (b?.length ?? 0)) return false;
  return (a ?? []).every((entry, index) => {
    const other = (b as readonly ManagedFieldsEntry[])[index] as ManagedFieldsEntry;
    return deepEqual({ ...entry, time: "" }, { ...other, time: "" });
  });
}
