import { allSchemas, resources, type Schema, schemaOf } from "@portolan/core";
import { describe, expect, test } from "vitest";

/** Every object type that a kind reaches, once, with the path by which it was found. */
function types(): Map<Schema, string> {
  const found = new Map<Schema, string>();
  const seen = new Set<unknown>();
  function visit(schema: Schema, path: string): void {
    const { properties } = schema;
    if (schema.items !== undefined) visit(schema.items, `${path}[]`);
    if (schema.additionalProperties !== undefined) visit(schema.additionalProperties, `${path}{}`);
    if (properties === undefined || seen.has(properties)) return;
    seen.add(properties);
    found.set(schema, path);
    for (const [name, field] of Object.entries(properties)) visit(field, `${path}.${name}`);
  }
  for (const { kind, schema } of allSchemas()) visit(schema, kind);
  return found;
}

function field(schema: Schema | undefined, path: string): Schema {
  let current = schema;
  for (const name of path.split(".")) {
    current = (current?.items ?? current)?.properties?.[name];
    if (current === undefined) throw new Error(`there is no field ${path}`);
  }
  return current as Schema;
}

describe("schemas", () => {
  test("all kinds of the resource table have one", () => {
    for (const { apiVersion, kind } of Object.values(resources)) {
      expect(schemaOf(apiVersion, kind), `${apiVersion} ${kind}`).toBeDefined();
    }
    expect(schemaOf("v1", "Nothing")).toBeUndefined();
  });

  test("a message uses each protobuf number once, and every field has one", () => {
    for (const [type, path] of types()) {
      const numbers = new Map<string, string>();
      const embedded = new Set(Object.values(type.properties ?? {}).map((property) => property.protobufEmbedding));
      for (const [name, property] of Object.entries(type.properties ?? {})) {
        // The envelope carries the kind; outlined fields are not carried at all.
        if (name === "apiVersion" || name === "kind" || (property.type === "any" && property.protobuf === undefined))
          continue;
        expect(property.protobuf, `${path}.${name}`).toBeGreaterThan(0);
        if (property.protobufEmbedding === undefined) {
          expect(embedded.has(property.protobuf), `${path}.${name} has the number of an embedded message`).toBe(false);
        }
        const key = `${property.protobufEmbedding ?? ""}/${property.protobuf}`;
        expect(numbers.get(key), `${path}.${name} has the number of another field`).toBeUndefined();
        numbers.set(key, name);
      }
    }
  });

  test("keys of lists and required fields exist", () => {
    for (const [type, path] of types()) {
      for (const name of type.required ?? []) expect(Object.keys(type.properties ?? {}), path).toContain(name);
      for (const [name, property] of Object.entries(type.properties ?? {})) {
        const keys = [
          ...(property.listMapKeys ?? []),
          ...(property.patchMergeKey === undefined ? [] : [property.patchMergeKey]),
        ];
        for (const key of keys) expect(Object.keys(property.items?.properties ?? {}), `${path}.${name}`).toContain(key);
      }
    }
  });

  test("named types are described the same wherever they are used", () => {
    const names = new Map<string, string>();
    for (const [type] of types()) {
      if (type.reference === undefined) continue;
      const fields = Object.keys(type.properties ?? {}).join(" ");
      expect(names.get(type.reference) ?? fields, type.reference).toBe(fields);
      names.set(type.reference, fields);
    }
  });

  test("Service ports merge by port in a patch and by port and protocol in an apply", () => {
    const ports = field(schemaOf("v1", "Service"), "spec.ports");
    expect(ports).toMatchObject({
      type: "array",
      listType: "map",
      listMapKeys: ["port", "protocol"],
      patchMergeKey: "port",
      patchStrategy: "merge",
      protobuf: 1,
    });
    expect(field(schemaOf("v1", "Service"), "spec.selector").mapType).toBe("atomic");
    expect(field(schemaOf("apps/v1", "Deployment"), "spec.strategy").patchStrategy).toBe("retainKeys");
    expect(field(schemaOf("v1", "Pod"), "spec.volumes").patchStrategy).toBe("merge,retainKeys");
  });

  test("embedded structs lie beside the other fields", () => {
    const volume = field(schemaOf("v1", "Pod"), "spec.volumes").items as Schema;
    expect(volume.properties?.["emptyDir"]).toMatchObject({ protobuf: 2, protobufEmbedding: 2 });
    expect(volume.properties?.["name"]).toMatchObject({ protobuf: 1 });
  });

  test("everything in a Service has a description", () => {
    for (const kind of ["Service", "Endpoints"]) {
      for (const [type, path] of types()) {
        if (!path.startsWith(kind)) continue;
        for (const [name, property] of Object.entries(type.properties ?? {})) {
          expect(property.description?.length ?? 0, `${path}.${name}`).toBeGreaterThan(3);
        }
      }
    }
  });
});
