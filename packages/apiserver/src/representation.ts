import type { KubernetesObject, ListMeta, ObjectMeta, Schema } from "@portolan/core";
import { stringify as stringifyYaml } from "yaml";
import { itemBytes, itemText, objectText } from "./encoding/object-text.ts";
import { zeroObject } from "./encoding/presence.ts";
import { type IncludeObject, printTable } from "./printers/index.ts";
import type { Representation } from "./requests/media-type.ts";
import type { ResourceDefinition } from "./resource-definition.ts";
import type { StoredObject } from "./store/store.ts";

/** What is needed to answer objects of one kind in the form a client asked for. */
export interface Printer {
  readonly definition: ResourceDefinition;
  readonly schema: Schema;
  readonly representation: Representation;
  readonly includeObject: IncludeObject;
  readonly now: number;
  readonly pretty: boolean;
}

/** Finishes JSON text: indented or as YAML when asked for. */
export function finish(text: string, format: "json" | "yaml", pretty: boolean): string {
  if (format === "yaml") return stringifyYaml(JSON.parse(text), { aliasDuplicateObjects: false });
  return pretty ? JSON.stringify(JSON.parse(text), undefined, 2) : text;
}

function partial(object: KubernetesObject, version: string): object {
  return { kind: "PartialObjectMetadata", apiVersion: `meta.k8s.io/${version}`, metadata: object.metadata ?? {} };
}

/** One object. */
export function printObject(object: KubernetesObject, printer: Printer): string {
  const { as, version } = printer.representation;
  switch (as) {
    case "Table":
      return JSON.stringify(
        printTable(printer.definition, [object], {
          now: new Date(printer.now),
          includeObject: printer.includeObject,
          resourceVersion: object.metadata?.resourceVersion ?? "",
          version,
        }),
      );
    case "PartialObjectMetadata":
    case "PartialObjectMetadataList":
      return JSON.stringify(partial(object, version));
    case "object":
      return Object.isFrozen(object)
        ? objectText(object, printer.definition.kind, printer.definition.apiVersion)
        : JSON.stringify(headed(object, printer.definition));
  }
}

function headed(object: KubernetesObject, definition: ResourceDefinition): object {
  const { kind: _, apiVersion: __, ...rest } = object;
  return { kind: definition.kind, apiVersion: definition.apiVersion, ...rest };
}

/** A list. The text of items is reused, so that a long list costs little more than its concatenation. */
export function printList(items: readonly StoredObject[], metadata: ListMeta, printer: Printer): string {
  const { definition } = printer;
  const { as, version } = printer.representation;
  switch (as) {
    case "Table":
      return JSON.stringify(
        printTable(
          definition,
          items.map((item) => item.object),
          { now: new Date(printer.now), includeObject: printer.includeObject, list: metadata, version },
        ),
      );
    case "PartialObjectMetadata":
    case "PartialObjectMetadataList":
      return JSON.stringify({
        kind: "PartialObjectMetadataList",
        apiVersion: `meta.k8s.io/${version}`,
        metadata,
        items: items.map((item) => partial(item.object, version)),
      });
    case "object":
      return `${listHead(metadata, definition)}${items.map((item) => itemText(item.object)).join(",")}]}`;
  }
}

function listHead(metadata: ListMeta, definition: ResourceDefinition): string {
  const kind = JSON.stringify(definition.custom?.listKind ?? `${definition.kind}List`);
  return `{"kind":${kind},"apiVersion":${JSON.stringify(definition.apiVersion)},"metadata":${JSON.stringify(metadata)},"items":[`;
}

/**
 * The UTF-8 of {@link printList} for lists of whole objects as compact JSON; `undefined` for other forms. It is copied together of the bytes of
 * items: the text of a long list would be encoded anew for every answer.
 */
export function printListBytes(
  items: readonly StoredObject[],
  metadata: ListMeta,
  printer: Printer,
): Uint8Array | undefined {
  const { as, format } = printer.representation;
  if (as !== "object" || format !== "json" || printer.pretty) return undefined;
  const head = Buffer.from(listHead(metadata, printer.definition));
  const parts = items.map((item) => itemBytes(item.object));
  let size = head.length + Math.max(0, parts.length - 1) + 2;
  for (const part of parts) size += part.length;
  const bytes = Buffer.allocUnsafe(size);
  bytes.set(head);
  let at = head.length;
  for (const part of parts) {
    if (at > head.length) bytes[at++] = 0x2c;
    bytes.set(part, at);
    at += part.length;
  }
  bytes[at++] = 0x5d;
  bytes[at] = 0x7d;
  return bytes;
}

/** One line of a watch. Only the first Table names its columns; ages are as of each event. */
export function createEventPrinter(
  printer: Printer,
  now: () => number,
): (type: string, object: KubernetesObject) => string {
  let isFirst = true;
  return (type, object) => {
    let text: string;
    if (printer.representation.as === "Table") {
      text = JSON.stringify(
        printTable(printer.definition, [object], {
          now: new Date(now()),
          includeObject: printer.includeObject,
          resourceVersion: object.metadata?.resourceVersion ?? "",
          withColumns: isFirst,
          version: printer.representation.version,
        }),
      );
      isFirst = false;
    } else if (printer.representation.as === "object" && Object.isFrozen(object)) {
      return eventLine(type, object, printer.definition);
    } else text = printObject(object, printer);
    return `{"type":"${type}","object":${text}}\n`;
  };
}

/** An event goes to all watchers one after the other, so one line is enough to make it once for all. */
let lastLine = { type: "", object: {}, definition: {}, text: "" };

function eventLine(type: string, object: KubernetesObject, definition: ResourceDefinition): string {
  if (lastLine.object !== object || lastLine.type !== type || lastLine.definition !== definition) {
    const text = `{"type":"${type}","object":${objectText(object, definition.kind, definition.apiVersion)}}\n`;
    lastLine = { type, object, definition, text };
  }
  return lastLine.text;
}

/** The object of a bookmark: an empty one with a revision. */
export function bookmarkObject(printer: Printer, revision: number, endsInitialEvents: boolean): KubernetesObject {
  const metadata: ObjectMeta = {
    resourceVersion: String(revision),
    ...(endsInitialEvents ? { annotations: { "k8s.io/initial-events-end": "true" } } : {}),
  };
  return {
    kind: printer.definition.kind,
    apiVersion: printer.definition.apiVersion,
    metadata,
    ...withoutMetadata(zeroObject(printer.schema)),
  } as KubernetesObject;
}

function withoutMetadata(object: { [key: string]: unknown }): object {
  const { metadata: _, ...rest } = object;
  return rest;
}
