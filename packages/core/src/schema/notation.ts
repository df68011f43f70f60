import type { Schema } from "./schema.ts";

/**
 * A small notation in which a kind reads like its Go type. The first argument of a field is its protobuf number, the second what
 * `kubectl explain` says about it. Objects are built when somebody first looks inside them, so that a program which knows only
 * Services never pays for Pods.
 */

/** Fields of an object, by their JSON names. */
export type Fields = Readonly<Record<string, Schema>>;

type FieldOptions = Partial<Omit<Schema, "protobuf" | "description" | "type">>;

function field(type: Schema["type"], protobuf: number, description: string | undefined, options: FieldOptions): Schema {
  return description === undefined ? { type, protobuf, ...options } : { type, description, protobuf, ...options };
}

export function string(protobuf: number, description?: string, options: FieldOptions = {}): Schema {
  return field("string", protobuf, description, options);
}

/** A string with a closed set of values. The set informs `kubectl explain`; what is refused decides validation. */
export function oneOf(
  protobuf: number,
  values: readonly string[],
  description?: string,
  options: FieldOptions = {},
): Schema {
  return field("string", protobuf, description, { enum: values, ...options });
}

export function boolean(protobuf: number, description?: string, options: FieldOptions = {}): Schema {
  return field("boolean", protobuf, description, options);
}

export function int32(protobuf: number, description?: string, options: FieldOptions = {}): Schema {
  return field("integer", protobuf, description, { format: "int32", ...options });
}

export function int64(protobuf: number, description?: string, options: FieldOptions = {}): Schema {
  return field("integer", protobuf, description, { format: "int64", ...options });
}

export function intOrString(protobuf: number, description?: string): Schema {
  return field("int-or-string", protobuf, description, {
    format: "int-or-string",
    reference: "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
  });
}

/** RFC 3339 with seconds; on the wire of protobuf a message of seconds and nanoseconds. */
export function time(protobuf: number, description?: string): Schema {
  return field("string", protobuf, description, {
    format: "date-time",
    reference: "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
  });
}

/** RFC 3339 with microseconds. */
export function microTime(protobuf: number, description?: string): Schema {
  return field("string", protobuf, description, {
    format: "date-time",
    reference: "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
  });
}

const quantityReference = "io.k8s.apimachinery.pkg.api.resource.Quantity";

export function quantity(protobuf: number, description?: string): Schema {
  return field("string", protobuf, description, { reference: quantityReference });
}

/** Anything: `FieldsV1`, `RawExtension`, JSON schemas of custom resources. Protobuf carries it as JSON text in field 1. */
export function anything(protobuf: number, description?: string, reference?: string): Schema {
  return field("any", protobuf, description, reference === undefined ? {} : { reference });
}

export function strings(protobuf: number, description?: string, options: FieldOptions = {}): Schema {
  return field("array", protobuf, description, { items: { type: "string" }, listType: "atomic", ...options });
}

export function integers(
  protobuf: number,
  format: "int32" | "int64",
  description?: string,
  options: FieldOptions = {},
): Schema {
  return field("array", protobuf, description, { items: { type: "integer", format }, listType: "atomic", ...options });
}

export function stringMap(protobuf: number, description?: string, options: FieldOptions = {}): Schema {
  return field("object", protobuf, description, { additionalProperties: { type: "string" }, ...options });
}

/** Values are base64 in JSON and raw in protobuf. */
export function bytesMap(protobuf: number, description?: string): Schema {
  return field("object", protobuf, description, { additionalProperties: { type: "string", format: "byte" } });
}

/** Amounts of resources by name, as `limits` and `requests`. */
export function quantities(protobuf: number, description?: string): Schema {
  return field("object", protobuf, description, {
    additionalProperties: { type: "string", reference: quantityReference },
  });
}

export function mapOf(protobuf: number, values: Schema, description?: string): Schema {
  return field("object", protobuf, description, { additionalProperties: values });
}

/** A list which server-side apply replaces whole, unless the options say otherwise. */
export function list(protobuf: number, items: Schema, description?: string, options: FieldOptions = {}): Schema {
  return field("array", protobuf, description, { items, listType: "atomic", ...options });
}

/**
 * A list whose items are told apart by keys. Server-side apply uses all `keys`, a strategic merge patch the first alone: that is
 * how upstream declares nearly all such lists, and why two Service ports of one number collide in a patch.
 */
export function keyedList(
  protobuf: number,
  items: Schema,
  keys: readonly string[],
  description?: string,
  options: FieldOptions = {},
): Schema {
  return field("array", protobuf, description, {
    items,
    listType: "map",
    listMapKeys: keys,
    patchMergeKey: keys[0] as string,
    patchStrategy: "merge",
    ...options,
  });
}

/** A field that holds an object. */
export function nested(protobuf: number, base: Schema, description?: string, options: FieldOptions = {}): Schema {
  if (description === undefined) return derive(base, { protobuf, ...options });
  const typeDescription = base.description === undefined ? {} : { typeDescription: base.description };
  return derive(base, { protobuf, description, ...typeDescription, ...options });
}

/** A field that is a pointer in Go: its zero value is kept apart from nothing. */
export function pointer(schema: Schema): Schema {
  return derive(schema, { explicit: true });
}

/** The same schema with other facts beside it; what is built lazily stays so and is built once for both. */
export function derive(base: Schema, changes: Partial<Schema>): Schema {
  return Object.defineProperties(
    {},
    {
      ...Object.getOwnPropertyDescriptors(base),
      ...Object.getOwnPropertyDescriptors(changes),
    },
  ) as Schema;
}

/**
 * Fields that Go embeds from another struct: beside the others in JSON, in a message of their own in protobuf.
 *
 * @param protobuf number of that message
 */
export function embedded(protobuf: number, base: Schema): Fields {
  const fields: Record<string, Schema> = {};
  for (const [name, schema] of Object.entries(base.properties ?? {})) {
    fields[name] = derive(schema, { protobufEmbedding: protobuf });
  }
  return fields;
}

interface ObjectOptions {
  readonly required?: readonly string[];
  /** Server-side apply owns the object as one value. */
  readonly atomic?: boolean;
}

/**
 * A named type.
 *
 * @param reference name in OpenAPI documents
 * @param fields called once, when the type is first looked into
 */
export function object(
  reference: string,
  description: string,
  fields: () => Fields,
  options: ObjectOptions = {},
): Schema {
  let built: Fields | undefined;
  const schema = {
    type: "object",
    description,
    reference,
    ...(options.required === undefined ? {} : { required: options.required }),
    ...(options.atomic === true ? { mapType: "atomic" as const } : {}),
  };
  Object.defineProperty(schema, "properties", {
    enumerable: true,
    configurable: true,
    get: () => {
      built ??= fields();
      return built;
    },
  });
  return schema as Schema;
}
