import type { KubernetesObject } from "@portolan/core";
import type { Cell } from "../printers/cells.ts";
import { customColumns, type TableColumnDefinition } from "../printers/columns.ts";
import { age } from "../printers/human-duration.ts";
import { findJsonPath, type JsonPath, parseJsonPath } from "./json-path.ts";

/** A column that a CustomResourceDefinition asks for. */
export interface AdditionalColumn {
  readonly name: string;
  readonly type: string;
  readonly format?: string;
  readonly description?: string;
  readonly priority?: number;
  readonly jsonPath: string;
}

/** How objects of a custom resource are shown as rows. */
export interface CustomResourceTable {
  readonly columns: readonly TableColumnDefinition[];
  readonly cells: (object: KubernetesObject, now: Date) => Cell[];
}

function text(value: unknown): string {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

function cell(value: unknown, type: string, now: Date): Cell {
  switch (type) {
    case "integer":
      return typeof value === "number" ? Math.trunc(value) : null;
    case "number":
      return typeof value === "number" ? value : null;
    case "boolean":
      return typeof value === "boolean" ? value : null;
    case "date":
      return typeof value === "string" && !Number.isNaN(Date.parse(value)) ? age(value, now) : "<invalid>";
    default:
      return text(value);
  }
}

/** Name and the given columns, or name and age when there are none (apiextensions `customresource/tableconvertor`). */
export function createCustomResourceTable(columns: readonly AdditionalColumn[]): CustomResourceTable {
  const [nameColumn, ageColumn] = customColumns as readonly [TableColumnDefinition, TableColumnDefinition];
  const nameOf = (object: KubernetesObject): string => object.metadata?.name ?? "";
  if (columns.length === 0) {
    return {
      columns: [nameColumn, ageColumn],
      cells: (object, now) => [nameOf(object), age(object.metadata?.creationTimestamp, now)],
    };
  }
  const paths = columns.map((column): JsonPath | undefined => parseJsonPath(column.jsonPath));
  return {
    columns: [
      nameColumn,
      ...columns.map(
        (column): TableColumnDefinition => ({
          name: column.name,
          type: column.type as TableColumnDefinition["type"],
          format: column.format ?? "",
          description:
            column.description ?? `Custom resource definition column (in JSONPath format): ${column.jsonPath}`,
          priority: (column.priority ?? 0) as TableColumnDefinition["priority"],
        }),
      ),
    ],
    cells: (object, now) => [
      nameOf(object),
      ...columns.map((column, index): Cell => {
        const path = paths[index];
        const found = path === undefined ? [] : findJsonPath(object, path);
        return found.length === 0 || found[0] === null ? null : cell(found[0], column.type, now);
      }),
    ],
  };
}
