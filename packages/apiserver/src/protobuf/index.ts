import { type KubernetesObject, type Schema, schemaOf } from "@portolan/core";
import { ProtobufError, readVarint, type WireField, WireWriter, wireFields } from "./wire.ts";

export { ProtobufError } from "./wire.ts";

/*
 * An object on the wire:
 *
 *   6b 38 73 00            "k8s\0"
 *   runtime.Unknown        1: TypeMeta { 1: apiVersion, 2: kind }
 *                          2: the object, a message of its kind
 *                          3: contentEncoding, 4: contentType (both empty)
 *
 * Go writes a field that is no pointer even when nobody has set it, so that zeros are dropped again on reading unless the schema
 * calls the field explicit or required.
 */
const magic = Uint8Array.of(0x6b, 0x38, 0x73, 0x00);

const utf8 = new TextDecoder("utf-8", { fatal: true });

type Json = Record<string, unknown>;

function text(bytes: Uint8Array, where: string): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new ProtobufError("PROTOBUF_MALFORMED", where, "the text is not UTF-8");
  }
}

function expectType(field: WireField, wireType: WireField["wireType"], where: string): void {
  if (field.wireType === wireType) return;
  throw new ProtobufError(
    "PROTOBUF_MALFORMED",
    where,
    `the field has wire type ${field.wireType} instead of ${wireType}`,
  );
}

function integer(value: bigint, format: string | undefined, where: string): number {
  const signed = format === "int32" ? BigInt.asIntN(32, value) : BigInt.asIntN(64, value);
  const number = Number(signed);
  if (!Number.isSafeInteger(number)) throw new ProtobufError("PROTOBUF_MALFORMED", where, `${signed} is too large`);
  return number;
}

/** `Time` and `MicroTime`: 1 seconds since 1970, 2 nanoseconds. Go's zero time is an empty message. */
function decodeTime(bytes: Uint8Array, micro: boolean, where: string): string | undefined {
  let seconds = 0;
  let nanoseconds = 0;
  let present = false;
  for (const field of wireFields(bytes, where)) {
    expectType(field, 0, where);
    present = true;
    if (field.number === 1) seconds = integer(field.varint, "int64", where);
    if (field.number === 2) nanoseconds = integer(field.varint, "int32", where);
  }
  if (!present) return undefined;
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) throw new ProtobufError("PROTOBUF_MALFORMED", where, `${seconds} s is no time`);
  const whole = date.toISOString().slice(0, -".000Z".length);
  return micro ? `${whole}.${String(Math.floor(nanoseconds / 1000)).padStart(6, "0")}Z` : `${whole}Z`;
}

/** `IntOrString`: 1 kind (0 number, 1 text), 2 number, 3 text. */
function decodeIntOrString(bytes: Uint8Array, where: string): number | string {
  let isText = false;
  let number = 0;
  let string = "";
  for (const field of wireFields(bytes, where)) {
    if (field.number === 1) isText = field.varint !== 0n;
    if (field.number === 2) number = integer(field.varint, "int32", where);
    if (field.number === 3) string = text(field.bytes, where);
  }
  return isText ? string : number;
}

/** A message whose only content is field 1: `Quantity`, `FieldsV1`, `RawExtension`. */
function only(bytes: Uint8Array, where: string): Uint8Array {
  let content = new Uint8Array(0);
  for (const field of wireFields(bytes, where)) {
    if (field.number !== 1) continue;
    expectType(field, 2, where);
    content = new Uint8Array(field.bytes);
  }
  return content;
}

/** Types that lie on the wire as a message with one list in field 1 (`ExtraValue`). */
function isWrappedList(schema: Schema): boolean {
  return schema.type === "array" && schema.reference !== undefined;
}

function decodeValue(schema: Schema, field: WireField, where: string): unknown {
  switch (schema.type) {
    case "boolean":
      expectType(field, 0, where);
      return field.varint !== 0n;
    case "integer":
      expectType(field, 0, where);
      return integer(field.varint, schema.format, where);
    case "string":
      expectType(field, 2, where);
      if (schema.format === "date-time")
        return decodeTime(field.bytes, schema.reference?.endsWith("MicroTime") ?? false, where);
      if (schema.format === "byte") return Buffer.from(field.bytes).toString("base64");
      return text(schema.reference?.endsWith(".Quantity") ? only(field.bytes, where) : field.bytes, where);
    case "int-or-string":
      expectType(field, 2, where);
      return decodeIntOrString(field.bytes, where);
    case "any":
      expectType(field, 2, where);
      return decodeRaw(schema, field.bytes, where);
    case "array":
      expectType(field, 2, where);
      return [...wireFields(field.bytes, where)].flatMap((each) =>
        schema.items ? [decodeValue(schema.items, each, where)] : [],
      );
    case "object":
      expectType(field, 2, where);
      return decodeMessage(schema, field.bytes, where);
    case "number":
      throw new ProtobufError("PROTOBUF_UNSUPPORTED", where, "no kind has fractions");
  }
}

function decodeRaw(schema: Schema, bytes: Uint8Array, where: string): unknown {
  if (schema.reference === undefined) {
    throw new ProtobufError(
      "PROTOBUF_UNSUPPORTED",
      where,
      "the field is known in outline alone; send the object as JSON",
    );
  }
  const raw = text(only(bytes, where), where);
  if (raw === "") return undefined;
  try {
    return JSON.parse(raw) as unknown;
  } catch {
    throw new ProtobufError("PROTOBUF_MALFORMED", where, "the field does not hold JSON");
  }
}

/** Entry of a map: 1 key, 2 value. */
function decodeEntry(values: Schema, bytes: Uint8Array, where: string): [key: string, value: unknown] {
  let key = "";
  let value: unknown;
  for (const field of wireFields(bytes, where)) {
    if (field.number === 1) {
      expectType(field, 2, where);
      key = text(field.bytes, where);
    }
    if (field.number === 2) value = decodeValue(values, field, `${where}[${key}]`);
  }
  return [key, value ?? (values.type === "string" ? "" : undefined)];
}

function isZero(value: unknown): boolean {
  return value === undefined || value === "" || value === 0 || value === false;
}

interface NumberedField {
  readonly name: string;
  readonly schema: Schema;
}

/** Fields of a message by number, and by number of the embedded message in which they lie. */
interface MessageFields {
  readonly own: ReadonlyMap<number, NumberedField>;
  readonly embedded: ReadonlyMap<number, ReadonlyMap<number, NumberedField>>;
}

const fieldsOfMessage = new WeakMap<object, MessageFields>();

function messageFields(schema: Schema): MessageFields {
  const properties = schema.properties ?? {};
  const known = fieldsOfMessage.get(properties);
  if (known !== undefined) return known;
  const own = new Map<number, NumberedField>();
  const embedded = new Map<number, Map<number, NumberedField>>();
  for (const [name, field] of Object.entries(properties)) {
    if (field.protobuf === undefined) continue;
    if (field.protobufEmbedding === undefined) own.set(field.protobuf, { name, schema: field });
    else {
      const inner = embedded.get(field.protobufEmbedding) ?? new Map<number, NumberedField>();
      inner.set(field.protobuf, { name, schema: field });
      embedded.set(field.protobufEmbedding, inner);
    }
  }
  const fields = { own, embedded };
  fieldsOfMessage.set(properties, fields);
  return fields;
}

function decodeMessage(schema: Schema, bytes: Uint8Array, where: string): Json {
  const { own, embedded } = messageFields(schema);
  const result: Json = {};
  for (const field of wireFields(bytes, where)) {
    const inner = embedded.get(field.number);
    if (inner === undefined) decodeField(own, schema, field, result, where);
    else {
      expectType(field, 2, where);
      for (const each of wireFields(field.bytes, where)) decodeField(inner, schema, each, result, where);
    }
  }
  return result;
}

function decodeField(
  fields: ReadonlyMap<number, NumberedField>,
  message: Schema,
  field: WireField,
  result: Json,
  parent: string,
): void {
  const known = fields.get(field.number);
  // Fields that a newer client knows and this server does not are left out, as protobuf has it.
  if (known === undefined) return;
  const { name, schema } = known;
  const where = parent === "" ? name : `${parent}.${name}`;
  if (schema.type === "array" && schema.items !== undefined) {
    const list = (result[name] as unknown[] | undefined) ?? [];
    result[name] = list;
    if (schema.items.type === "integer" && field.wireType === 2) {
      let at = 0;
      while (at < field.bytes.length) {
        const [value, next] = readVarint(field.bytes, at, where);
        list.push(integer(value, schema.items.format, where));
        at = next;
      }
    } else list.push(decodeValue(schema.items, field, `${where}[${list.length}]`));
    return;
  }
  if (schema.type === "object" && schema.additionalProperties !== undefined) {
    expectType(field, 2, where);
    const [key, value] = decodeEntry(schema.additionalProperties, field.bytes, where);
    const map = (result[name] as Json | undefined) ?? {};
    result[name] = map;
    Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
    return;
  }
  const value = decodeValue(schema, field, where);
  if (isZero(value) && schema.explicit !== true && message.required?.includes(name) !== true) return;
  if (value !== undefined) result[name] = value;
}

function schemaFor(apiVersion: string, kind: string): Schema | undefined {
  // Options of a deletion come in the version of the object that is deleted.
  const schema = schemaOf(apiVersion, kind) ?? (kind === "DeleteOptions" ? schemaOf("v1", kind) : undefined);
  const isOutlined = Object.values(schema?.properties ?? {}).some(
    (field) => field.type === "any" && field.protobuf === undefined,
  );
  if (isOutlined) {
    throw new ProtobufError("PROTOBUF_UNSUPPORTED", "envelope", `${kind} is known in outline alone; use JSON for it`);
  }
  return schema;
}

/** A list of a kind: 1 metadata, 2 items. */
function listSchema(apiVersion: string, kind: string): Schema | undefined {
  if (!kind.endsWith("List")) return undefined;
  const items = schemaFor(apiVersion, kind.slice(0, -"List".length));
  if (items === undefined) return undefined;
  const listMeta = schemaOf("v1", "Status")?.properties?.["metadata"];
  return {
    type: "object",
    properties: {
      ...(listMeta === undefined ? {} : { metadata: listMeta }),
      items: { type: "array", items, protobuf: 2 },
    },
  };
}

/**
 * Reads an object in the protobuf encoding, as kubectl sends it for `create service`, `create deployment`, `auth can-i` and others.
 *
 * Fields that the schema does not know are left out; zeros that Go writes without being asked are dropped.
 *
 * @throws ProtobufError `PROTOBUF_ENVELOPE`, `PROTOBUF_TRUNCATED` or `PROTOBUF_MALFORMED` for bytes that are no object,
 * `PROTOBUF_UNSUPPORTED` for kinds without a schema. Takes time in proportion to the bytes, whatever they say about lengths.
 * @see k8s.io/apimachinery/pkg/runtime/serializer/protobuf
 */
export function decodeProtobuf(bytes: Uint8Array): KubernetesObject {
  if (!magic.every((byte, index) => bytes[index] === byte)) {
    throw new ProtobufError("PROTOBUF_ENVELOPE", "byte 0", 'an object starts with the bytes "k8s\\0"');
  }
  let apiVersion = "";
  let kind = "";
  let raw: Uint8Array = new Uint8Array(0);
  for (const field of wireFields(bytes.subarray(magic.length), "envelope")) {
    if (field.number > 4) continue;
    expectType(field, 2, "envelope");
    if (field.number === 2) raw = field.bytes;
    else if (field.number === 3 && field.bytes.length > 0) {
      throw new ProtobufError(
        "PROTOBUF_ENVELOPE",
        "envelope",
        "contents with an encoding of their own are not supported",
      );
    } else if (field.number === 1) {
      for (const each of wireFields(field.bytes, "envelope")) {
        if (each.number === 1) apiVersion = text(each.bytes, "envelope");
        if (each.number === 2) kind = text(each.bytes, "envelope");
      }
    }
  }
  const schema = schemaFor(apiVersion, kind) ?? listSchema(apiVersion, kind);
  if (schema === undefined) {
    throw new ProtobufError(
      "PROTOBUF_UNSUPPORTED",
      "envelope",
      `no kind "${kind}" is known in version "${apiVersion}"`,
    );
  }
  return { kind, apiVersion, ...decodeMessage(schema, raw, "") } as KubernetesObject;
}

function encodeTime(value: unknown, where: string): Uint8Array {
  const writer = new WireWriter();
  if (value === null || value === undefined || value === "") return writer.finish();
  const milliseconds = typeof value === "string" ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(milliseconds))
    throw new ProtobufError("PROTOBUF_MALFORMED", where, `${JSON.stringify(value)} is no time`);
  const fraction = /\.(\d{1,9})/.exec(value as string)?.[1] ?? "";
  writer.varint(1, BigInt(Math.floor(milliseconds / 1000)));
  writer.varint(2, BigInt(fraction.padEnd(9, "0")));
  return writer.finish();
}

function mismatch(where: string, value: unknown, expected: string): ProtobufError {
  return new ProtobufError("PROTOBUF_MALFORMED", where, `${JSON.stringify(value)} is not ${expected}`);
}

function encodeValue(schema: Schema, number: number, value: unknown, writer: WireWriter, where: string): void {
  switch (schema.type) {
    case "boolean":
      if (typeof value !== "boolean") throw mismatch(where, value, "true or false");
      writer.varint(number, value ? 1n : 0n);
      return;
    case "integer":
      if (!Number.isSafeInteger(value)) throw mismatch(where, value, "a whole number");
      writer.varint(number, BigInt(value as number));
      return;
    case "string": {
      if (schema.format === "date-time") {
        writer.bytes(number, encodeTime(value, where));
        return;
      }
      if (typeof value !== "string") throw mismatch(where, value, "a text");
      if (schema.format === "byte") writer.bytes(number, Buffer.from(value, "base64"));
      else if (schema.reference?.endsWith(".Quantity")) {
        const inner = new WireWriter();
        inner.string(1, value);
        writer.bytes(number, inner.finish());
      } else writer.string(number, value);
      return;
    }
    case "int-or-string": {
      const inner = new WireWriter();
      inner.varint(1, typeof value === "string" ? 1n : 0n);
      inner.varint(2, typeof value === "number" ? BigInt(Math.trunc(value)) : 0n);
      inner.string(3, typeof value === "string" ? value : "");
      writer.bytes(number, inner.finish());
      return;
    }
    case "any": {
      if (schema.reference === undefined) {
        throw new ProtobufError("PROTOBUF_UNSUPPORTED", where, "the field is known in outline alone; ask for JSON");
      }
      const inner = new WireWriter();
      inner.string(1, JSON.stringify(value));
      writer.bytes(number, inner.finish());
      return;
    }
    case "array": {
      if (!Array.isArray(value)) throw mismatch(where, value, "a list");
      const target = isWrappedList(schema) ? new WireWriter() : writer;
      const itemNumber = isWrappedList(schema) ? 1 : number;
      for (const [index, item] of value.entries()) {
        if (schema.items !== undefined) encodeValue(schema.items, itemNumber, item, target, `${where}[${index}]`);
      }
      if (target !== writer) writer.bytes(number, target.finish());
      return;
    }
    case "object":
      if (typeof value !== "object" || value === null) throw mismatch(where, value, "an object");
      if (schema.additionalProperties === undefined) {
        writer.bytes(number, encodeMessage(schema, value as Json, where));
        return;
      }
      for (const [key, each] of Object.entries(value)) {
        const entry = new WireWriter();
        entry.string(1, key);
        encodeValue(schema.additionalProperties, 2, each, entry, `${where}[${key}]`);
        writer.bytes(number, entry.finish());
      }
      return;
    case "number":
      throw new ProtobufError("PROTOBUF_UNSUPPORTED", where, "no kind has fractions");
  }
}

function encodeFields(
  fields: ReadonlyMap<number, NumberedField>,
  value: Json,
  writer: WireWriter,
  parent: string,
): void {
  for (const [number, { name, schema }] of [...fields].sort(([a], [b]) => a - b)) {
    const each = value[name];
    if (each === undefined || each === null) continue;
    encodeValue(schema, number, each, writer, parent === "" ? name : `${parent}.${name}`);
  }
}

function encodeMessage(schema: Schema, value: Json, where: string): Uint8Array {
  const { own, embedded } = messageFields(schema);
  const writer = new WireWriter();
  encodeFields(own, value, writer, where);
  for (const [number, fields] of embedded) {
    const inner = new WireWriter();
    encodeFields(fields, value, inner, where);
    writer.bytes(number, inner.finish());
  }
  return writer.finish();
}

/**
 * Writes an object, or a list of objects of one kind, in the protobuf encoding. Fields without a schema are left out.
 *
 * @throws ProtobufError `PROTOBUF_UNSUPPORTED` for kinds without a schema, `PROTOBUF_MALFORMED` for values of another type than
 * their schema says
 */
export function encodeProtobuf(object: KubernetesObject): Uint8Array {
  const { apiVersion = "", kind = "" } = object;
  const schema = schemaFor(apiVersion, kind) ?? listSchema(apiVersion, kind);
  if (schema === undefined) {
    throw new ProtobufError(
      "PROTOBUF_UNSUPPORTED",
      "envelope",
      `no kind "${kind}" is known in version "${apiVersion}"`,
    );
  }
  const type = new WireWriter();
  type.string(1, apiVersion);
  type.string(2, kind);
  const envelope = new WireWriter();
  envelope.bytes(1, type.finish());
  envelope.bytes(2, encodeMessage(schema, object as Json, ""));
  envelope.string(3, "");
  envelope.string(4, "");
  const body = envelope.finish();
  const bytes = new Uint8Array(magic.length + body.length);
  bytes.set(magic);
  bytes.set(body, magic.length);
  return bytes;
}
