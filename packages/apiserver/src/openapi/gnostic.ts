import { WireWriter } from "../protobuf/wire.ts";
import type { JsonSchema } from "./schemas.ts";

/*
 * OpenAPI 2 as protobuf (`openapi.v2.Document` of gnostic). Maps are lists of named values there, and what is not of OpenAPI
 * itself is kept as YAML text, of which JSON is a part.
 *
 *   Document     1 swagger, 2 Info, 8 Paths, 9 Definitions
 *   Info         1 title, 2 version
 *   Paths        2 NamedPathItem            Definitions, Properties   1 NamedSchema
 *   PathItem     2 get, 3 put, 4 post, 5 delete, 8 patch, 9 ParametersItem
 *   Operation    3 description, 5 operationId, 6 produces, 7 consumes, 8 ParametersItem, 9 Responses, 13 extensions
 *   Schema       1 $ref, 2 format, 4 description, 5 default, 19 required, 20 enum, 21 additionalProperties, 22 type,
 *                23 items, 25 properties, 31 extensions
 */

type Json = Readonly<Record<string, unknown>>;

function record(value: unknown): Json {
  return typeof value === "object" && value !== null ? (value as Json) : {};
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A message whose fields the callback writes. */
function message(write: (writer: WireWriter) => void): Uint8Array {
  const writer = new WireWriter();
  write(writer);
  return writer.finish();
}

function text(writer: WireWriter, number: number, value: unknown): void {
  if (typeof value === "string" && value !== "") writer.string(number, value);
}

function texts(writer: WireWriter, number: number, values: unknown): void {
  for (const value of list(values)) if (typeof value === "string") writer.string(number, value);
}

/** `Any`: 2 the value as YAML. */
function any(value: unknown): Uint8Array {
  return message((writer) => writer.string(2, `${JSON.stringify(value)}\n`));
}

/** `NamedX`: 1 the name, 2 the value. */
function named(name: string, value: Uint8Array): Uint8Array {
  return message((writer) => {
    writer.string(1, name);
    writer.bytes(2, value);
  });
}

function extensions(writer: WireWriter, number: number, value: Json): void {
  for (const [name, each] of Object.entries(value))
    if (name.startsWith("x-")) writer.bytes(number, named(name, any(each)));
}

function schema(value: Json): Uint8Array {
  return message((writer) => {
    text(writer, 1, value["$ref"]);
    text(writer, 2, value["format"]);
    text(writer, 4, value["description"]);
    if (value["default"] !== undefined) writer.bytes(5, any(value["default"]));
    texts(writer, 19, value["required"]);
    for (const each of list(value["enum"])) writer.bytes(20, any(each));
    const additional = value["additionalProperties"];
    if (additional !== undefined)
      writer.bytes(
        21,
        message((item) => item.bytes(1, schema(record(additional)))),
      );
    if (typeof value["type"] === "string")
      writer.bytes(
        22,
        message((item) => text(item, 1, value["type"])),
      );
    if (value["items"] !== undefined)
      writer.bytes(
        23,
        message((item) => item.bytes(1, schema(record(value["items"])))),
      );
    if (value["properties"] !== undefined) writer.bytes(25, namedSchemas(record(value["properties"])));
    extensions(writer, 31, value);
  });
}

function namedSchemas(schemas: Json): Uint8Array {
  return message((writer) => {
    for (const [name, each] of Object.entries(schemas)) writer.bytes(1, named(name, schema(record(each))));
  });
}

/** Query parameters: 1 required, 2 in, 3 description, 4 name, 6 type; those of paths have their type in 5. */
function parameter(value: Json): Uint8Array {
  const place = value["in"];
  const wrap = (number: number, content: Uint8Array): Uint8Array => message((writer) => writer.bytes(number, content));
  if (place === "body") {
    const body = message((writer) => {
      text(writer, 1, value["description"]);
      text(writer, 2, value["name"]);
      text(writer, 3, place);
      if (value["required"] === true) writer.varint(4, 1n);
      writer.bytes(5, schema(record(value["schema"])));
    });
    return wrap(1, wrap(1, body));
  }
  const isPath = place === "path";
  const nonBody = message((writer) => {
    if (value["required"] === true) writer.varint(1, 1n);
    text(writer, 2, place);
    text(writer, 3, value["description"]);
    text(writer, 4, value["name"]);
    text(writer, isPath ? 5 : 6, value["type"]);
  });
  return wrap(1, wrap(2, wrap(isPath ? 4 : 3, nonBody)));
}

function response(value: Json): Uint8Array {
  const content = message((writer) => {
    text(writer, 1, value["description"]);
    if (value["schema"] !== undefined) {
      writer.bytes(
        2,
        message((item) => item.bytes(1, schema(record(value["schema"])))),
      );
    }
  });
  return message((writer) => writer.bytes(1, content));
}

function operation(value: Json): Uint8Array {
  return message((writer) => {
    text(writer, 3, value["description"]);
    text(writer, 5, value["operationId"]);
    texts(writer, 6, value["produces"]);
    texts(writer, 7, value["consumes"]);
    for (const each of list(value["parameters"])) writer.bytes(8, parameter(record(each)));
    const responses = message((item) => {
      for (const [code, each] of Object.entries(record(value["responses"])))
        item.bytes(1, named(code, response(record(each))));
    });
    writer.bytes(9, responses);
    extensions(writer, 13, value);
  });
}

const methods: readonly (readonly [name: string, number: number])[] = [
  ["get", 2],
  ["put", 3],
  ["post", 4],
  ["delete", 5],
  ["patch", 8],
];

function pathItem(value: Json): Uint8Array {
  return message((writer) => {
    for (const [name, number] of methods)
      if (value[name] !== undefined) writer.bytes(number, operation(record(value[name])));
    for (const each of list(value["parameters"])) writer.bytes(9, parameter(record(each)));
  });
}

/**
 * Writes a document of OpenAPI 2 as `application/com.github.proto-openapi.spec.v2.v1.0+protobuf`, which is the only form that
 * kubectl up to 1.28 asks for.
 *
 * @see github.com/google/gnostic, openapiv2/OpenAPIv2.proto
 */
export function encodeGnostic(document: JsonSchema): Uint8Array {
  const info = record(document["info"]);
  return message((writer) => {
    text(writer, 1, document["swagger"]);
    writer.bytes(
      2,
      message((item) => {
        text(item, 1, info["title"]);
        text(item, 2, info["version"]);
      }),
    );
    writer.bytes(
      8,
      message((item) => {
        for (const [path, each] of Object.entries(record(document["paths"])))
          item.bytes(2, named(path, pathItem(record(each))));
      }),
    );
    writer.bytes(9, namedSchemas(record(document["definitions"])));
  });
}
