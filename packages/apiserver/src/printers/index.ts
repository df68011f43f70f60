import type { KubernetesObject, ListMeta, ObjectMeta, ResourceType } from "@portolan/core";
import type { ResourceDefinition } from "../resource-definition.ts";
import { type Cell, type CellPrinter, printCustom, printDefault, printersByKind } from "./cells.ts";
import { columnsByKind, customColumns, defaultColumns, type TableColumnDefinition } from "./columns.ts";

export type { Cell } from "./cells.ts";
export type { TableColumnDefinition } from "./columns.ts";
export { humanDuration } from "./human-duration.ts";

/** What a row carries of its object beside the cells. */
export type IncludeObject = "None" | "Metadata" | "Object";

/** `meta.k8s.io` `PartialObjectMetadata`. */
export interface PartialObjectMetadata {
  readonly kind: "PartialObjectMetadata";
  readonly apiVersion: string;
  readonly metadata: ObjectMeta;
}

/** A row says that an object has reached its end. */
export interface TableRowCondition {
  readonly type: "Completed";
  readonly status: "True";
  readonly reason: string;
  readonly message: string;
}

export interface TableRow {
  readonly cells: readonly Cell[];
  readonly conditions?: readonly TableRowCondition[];
  readonly object: PartialObjectMetadata | KubernetesObject | null;
}

/** `meta.k8s.io` `Table`, in the order of fields that the real server writes. */
export interface Table {
  readonly kind: "Table";
  readonly apiVersion: "meta.k8s.io/v1" | "meta.k8s.io/v1beta1";
  readonly metadata: ListMeta;
  /** `null` in all events of a watch but the first. */
  readonly columnDefinitions: readonly TableColumnDefinition[] | null;
  readonly rows: readonly TableRow[];
}

/** What {@link printTable} needs to know beside the objects. */
export interface TableOptions {
  /** Ages are counted back from here. */
  readonly now: Date;
  /** Query parameter of the same name; `Metadata` unless given. */
  readonly includeObject?: IncludeObject | undefined;
  /** Of the list, or of the one object. */
  readonly resourceVersion?: string | undefined;
  /** False for all events of a watch but the first. True unless given. */
  readonly withColumns?: boolean | undefined;
  /** Metadata of the list, such as its continue token; `resourceVersion` goes before. */
  readonly list?: ListMeta | undefined;
  /** Version of `meta.k8s.io` that the client asked for; `v1` unless given. */
  readonly version?: "v1" | "v1beta1" | undefined;
}

/** A kind that is to be shown. */
type PrintedKind = ResourceType & Pick<ResourceDefinition, "custom">;

function keyOf(definition: ResourceType): string {
  return `${definition.kind}.${definition.group}`;
}

/** Groups of Kubernetes itself have no dot, or end in `k8s.io`. */
function isBuiltIn({ group }: ResourceType): boolean {
  return !group.includes(".") || group.endsWith(".k8s.io");
}

/**
 * Columns of a kind: those of its own, or name and time of creation (of custom resources: age). Columns for `-o wide` are always
 * among them, with priority 1.
 */
export function columnsOf(definition: PrintedKind): readonly TableColumnDefinition[] {
  if (definition.custom !== undefined) return definition.custom.table.columns;
  // The same kind in two groups.
  const key = keyOf(definition) === "Event.events.k8s.io" ? "Event." : keyOf(definition);
  return columnsByKind[key] ?? (isBuiltIn(definition) ? defaultColumns : customColumns);
}

function printerOf(definition: PrintedKind): CellPrinter {
  if (definition.custom !== undefined) return definition.custom.table.cells;
  return printersByKind[keyOf(definition)] ?? (isBuiltIn(definition) ? printDefault : printCustom);
}

function rowConditions(definition: ResourceType, object: KubernetesObject): readonly TableRowCondition[] | undefined {
  if (keyOf(definition) !== "Pod.") return undefined;
  const phase = (object as KubernetesObject & { status?: { phase?: string } }).status?.phase;
  if (phase === "Succeeded") {
    return [{ type: "Completed", status: "True", reason: phase, message: "The pod has completed successfully." }];
  }
  if (phase === "Failed") return [{ type: "Completed", status: "True", reason: phase, message: "The pod failed." }];
  return undefined;
}

function rowObject(
  definition: ResourceType,
  object: KubernetesObject,
  apiVersion: Table["apiVersion"],
  include: IncludeObject,
): TableRow["object"] {
  switch (include) {
    case "None":
      return null;
    case "Object":
      // Items of a list have no kind of their own.
      return { ...object, kind: definition.kind, apiVersion: definition.apiVersion };
    case "Metadata":
      return { kind: "PartialObjectMetadata", apiVersion, metadata: object.metadata ?? {} };
  }
}

/**
 * Objects of one kind as a Table, which is what `kubectl get` shows.
 *
 * @see pkg/printers/internalversion of Kubernetes for the rules of cells
 */
export function printTable(
  definition: PrintedKind,
  objects: readonly KubernetesObject[],
  options: TableOptions,
): Table {
  const apiVersion: Table["apiVersion"] = `meta.k8s.io/${options.version ?? "v1"}`;
  const print = printerOf(definition);
  const rows = objects.map((object): TableRow => {
    const conditions = rowConditions(definition, object);
    return {
      cells: print(object, options.now),
      ...(conditions === undefined ? {} : { conditions }),
      object: rowObject(definition, object, apiVersion, options.includeObject ?? "Metadata"),
    };
  });
  const resourceVersion = options.resourceVersion ?? options.list?.resourceVersion;
  return {
    kind: "Table",
    apiVersion,
    metadata: { ...(resourceVersion === undefined ? {} : { resourceVersion }), ...withoutVersion(options.list) },
    columnDefinitions: options.withColumns === false ? null : columnsOf(definition),
    rows,
  };
}

function withoutVersion(list: ListMeta | undefined): ListMeta {
  const { resourceVersion: _, ...rest } = list ?? {};
  return rest;
}
