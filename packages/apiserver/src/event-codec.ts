import {
  applyDefaults,
  type FieldError,
  invalid,
  type KubernetesObject,
  qualifiedNameProblems,
  required,
  type Schema,
  validateObject,
} from "@portolan/core";
import { decodeObject } from "./encoding/decoding.ts";
import type { ObjectCodec } from "./object-codec.ts";

/** Where events of both groups are stored, in the form of the core group. */
export const eventsCollection = "events";

type Fields = Record<string, unknown>;

/** Fields of `events.k8s.io` in the order in which they are written, with their names in the core group. */
const names: readonly (readonly [string, string])[] = [
  ["eventTime", "eventTime"],
  ["series", "series"],
  ["reportingController", "reportingComponent"],
  ["reportingInstance", "reportingInstance"],
  ["action", "action"],
  ["reason", "reason"],
  ["regarding", "involvedObject"],
  ["related", "related"],
  ["note", "message"],
  ["type", "type"],
  ["deprecatedSource", "source"],
  ["deprecatedFirstTimestamp", "firstTimestamp"],
  ["deprecatedLastTimestamp", "lastTimestamp"],
  ["deprecatedCount", "count"],
];

/** Name of a field that a selector of `events.k8s.io` means in stored events. */
export function storedEventField(field: string): string {
  if (field === "reportingController") return "reportingComponent";
  return field.startsWith("regarding.") ? `involvedObject.${field.slice("regarding.".length)}` : field;
}

function isEmpty(value: unknown): boolean {
  return value === undefined || value === "";
}

function viewOf(event: KubernetesObject): KubernetesObject {
  const stored = event as unknown as Fields;
  const view: Fields = { kind: "Event", apiVersion: "events.k8s.io/v1", metadata: event.metadata ?? {} };
  for (const [name, core] of names) if (!isEmpty(stored[core])) view[name] = stored[core];
  return view as unknown as KubernetesObject;
}

/** Turns an event of `events.k8s.io` into one of the core group, in place. */
function store(event: KubernetesObject): void {
  const object = event as unknown as Fields;
  const { metadata } = event;
  const values = names.map(([name, core]) => [core, object[name]] as const);
  for (const key of Object.keys(object)) delete object[key];
  Object.assign(object, { kind: "Event", apiVersion: "v1", metadata });
  for (const [core, value] of values) if (value !== undefined) object[core] = value;
}

/** What the newer group asks for (`pkg/apis/core/validation/events.go`). Updates may keep what was there. */
function newEventProblems(event: KubernetesObject): FieldError[] {
  const stored = event as unknown as Fields;
  const errors: FieldError[] = [];
  const text = (field: string): string => (typeof stored[field] === "string" ? (stored[field] as string) : "");
  if (isEmpty(stored["eventTime"]) || stored["eventTime"] === null) errors.push(required("eventTime"));
  const needed = (field: string, name: string, maximum: number): void => {
    if (text(field) === "") errors.push(required(name));
    else if (text(field).length > maximum) errors.push(invalid(name, "", `can have at most ${maximum} characters`));
  };
  if (text("reportingComponent") === "") errors.push(required("reportingController"));
  for (const problem of text("reportingComponent") === "" ? [] : qualifiedNameProblems(text("reportingComponent")))
    errors.push(invalid("reportingController", text("reportingComponent"), problem));
  needed("reportingInstance", "reportingInstance", 128);
  needed("action", "action", 128);
  needed("reason", "reason", 128);
  if (text("message").length > 1024) errors.push(invalid("message", "", "can have at most 1024 characters"));
  if (text("type") !== "Normal" && text("type") !== "Warning")
    errors.push(invalid("type", "", `has invalid value: ${text("type")}`));
  for (const field of ["firstTimestamp", "lastTimestamp", "count"])
    if (stored[field] !== undefined && stored[field] !== null && stored[field] !== 0)
      errors.push(invalid(field, "", "needs to be unset"));
  const source = stored["source"] as { component?: string; host?: string } | undefined;
  if (!isEmpty(source?.component) || !isEmpty(source?.host)) errors.push(invalid("source", "", "needs to be unset"));
  return errors;
}

/** Reads and shows stored events as `events.k8s.io/v1`: both groups see the same events. */
export function createEventCodec(schema: Schema): ObjectCodec {
  const views = new WeakMap<object, KubernetesObject>();
  return {
    decode: (document) => decodeObject(document, schema),
    applyDefaults(event) {
      if (event.apiVersion !== "v1") store(event);
      return applyDefaults(event);
    },
    validate: (event, old, context) => [
      ...validateObject(event, old, context),
      ...(old === undefined ? newEventProblems(event) : []),
    ],
    warnings: () => [],
    view(event) {
      if (!Object.isFrozen(event)) return viewOf(event);
      let view = views.get(event);
      if (view === undefined) {
        view = Object.freeze(viewOf(event));
        views.set(event, view);
      }
      return view;
    },
  };
}
