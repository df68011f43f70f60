import { describe, expect, test } from "vitest";
import { builtinResources } from "../src/discovery/index.ts";
import { openapiResponse } from "../src/openapi/index.ts";
import { wireFields } from "../src/protobuf/wire.ts";

type Json = { [key: string]: Json } & Json[] & string;

function get(path: string, accept = "application/json", request = {}) {
  const response = openapiResponse(path, accept, builtinResources, request);
  if (response === undefined) throw new Error(`${path} is not answered`);
  return response;
}

function json(path: string): Json {
  return JSON.parse(get(path).body as string) as Json;
}

/** Every `$ref` of a document. */
function references(value: unknown, found: Set<string> = new Set()): Set<string> {
  if (typeof value !== "object" || value === null) return found;
  for (const [key, each] of Object.entries(value)) {
    if (key === "$ref" && typeof each === "string") found.add(each);
    else references(each, found);
  }
  return found;
}

describe("OpenAPI 3", () => {
  test("one document for each group and version, under a name that changes with it", () => {
    const { paths } = json("/openapi/v3");
    expect(Object.keys(paths ?? {})).toContain("apis/discovery.k8s.io/v1");
    const url = new URL(paths?.["api/v1"]?.["serverRelativeURL"] ?? "", "http://localhost");
    const hash = url.searchParams.get("hash") ?? "";
    expect(hash).toMatch(/^[0-9A-F]{128}$/);
    expect(get("/openapi/v3/api/v1", "", { hash }).headers["cache-control"]).toContain("immutable");
    expect(get("/openapi/v3/api/v1", "", { hash: "old" })).toMatchObject({
      status: 301,
      headers: { location: url.pathname + url.search },
    });
    const fewer = openapiResponse("/openapi/v3", "", builtinResources.slice(1));
    expect(JSON.parse(fewer?.body as string).paths["api/v1"].serverRelativeURL).not.toContain(hash);
  });

  test("PATCH says that the server validates fields, and takes strategic merge patches", () => {
    const operation =
      json("/openapi/v3/api/v1")["paths"]?.["/api/v1/namespaces/{namespace}/services/{name}"]?.["patch"];
    expect(operation?.["x-kubernetes-group-version-kind"]).toEqual({ group: "", version: "v1", kind: "Service" });
    expect(operation?.["parameters"]?.map(({ name }) => name)).toContain("fieldValidation");
    expect(Object.keys(operation?.["requestBody"]?.["content"] ?? {})).toContain(
      "application/strategic-merge-patch+json",
    );
  });

  test("schemas carry merge keys, kinds and descriptions of fields and of types", () => {
    const schemas = json("/openapi/v3/api/v1")["components"]?.["schemas"];
    expect(schemas?.["io.k8s.api.core.v1.Service"]?.["x-kubernetes-group-version-kind"]).toEqual([
      { group: "", version: "v1", kind: "Service" },
    ]);
    const spec = schemas?.["io.k8s.api.core.v1.ServiceSpec"];
    expect(spec?.["properties"]?.["ports"]).toMatchObject({
      type: "array",
      items: { allOf: [{ $ref: "#/components/schemas/io.k8s.api.core.v1.ServicePort" }] },
      "x-kubernetes-list-map-keys": ["port", "protocol"],
      "x-kubernetes-list-type": "map",
      "x-kubernetes-patch-merge-key": "port",
      "x-kubernetes-patch-strategy": "merge",
    });
    expect(schemas?.["io.k8s.api.core.v1.Service"]?.["properties"]?.["spec"]?.["description"]).toBe(
      "What the Service is to be.",
    );
    expect(spec?.["description"]).toMatch(/^ServiceSpec says/);
    expect(schemas?.["io.k8s.api.core.v1.ServiceList"]?.["properties"]?.["items"]?.["type"]).toBe("array");
  });

  test("every reference leads to a definition", () => {
    for (const path of Object.keys(json("/openapi/v3")["paths"] ?? {})) {
      const document = json(`/openapi/v3/${path}`);
      const names = Object.keys(document["components"]?.["schemas"] ?? {}).map(
        (name) => `#/components/schemas/${name}`,
      );
      expect(
        [...references(document)].filter((reference) => !names.includes(reference)),
        path,
      ).toEqual([]);
    }
    const swagger = json("/openapi/v2");
    const names = Object.keys(swagger["definitions"] ?? {}).map((name) => `#/definitions/${name}`);
    expect([...references(swagger)].filter((reference) => !names.includes(reference))).toEqual([]);
  });

  test("kinds without a schema take whatever comes", () => {
    const widget = {
      ...builtinResources[0],
      group: "example.com",
      apiVersion: "example.com/v1",
      kind: "Widget",
      resource: "widgets",
    };
    const registry = [
      { ...widget, version: "v1", singular: "widget", namespaced: true, verbs: ["get", "list", "patch"] },
    ];
    const response = openapiResponse("/openapi/v3/apis/example.com/v1", "", registry);
    expect(JSON.parse(response?.body as string).components.schemas["com.example.v1.Widget"]).toMatchObject({
      "x-kubernetes-preserve-unknown-fields": true,
      "x-kubernetes-group-version-kind": [{ group: "example.com", version: "v1", kind: "Widget" }],
    });
  });
});

describe("OpenAPI 2", () => {
  const accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

  test("is JSON, or the protobuf of gnostic for those who ask", () => {
    expect(json("/openapi/v2")["swagger"]).toBe("2.0");
    const response = get("/openapi/v2", accept);
    expect(response.contentType).toBe("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    const fields = [...wireFields(response.body as Uint8Array, "document")];
    expect(new TextDecoder().decode(fields[0]?.bytes)).toBe("2.0");
    const definitions = fields.find(({ number }) => number === 9);
    const names = [...wireFields(definitions?.bytes ?? new Uint8Array(0), "definitions")].map(({ bytes }) => {
      const [name] = [...wireFields(bytes, "definition")];
      return new TextDecoder().decode(name?.bytes);
    });
    expect(names).toEqual(Object.keys(json("/openapi/v2")["definitions"] ?? {}));
  });
});

describe("caches", () => {
  test("a document that has not changed is not sent again", () => {
    const { etag = "" } = get("/openapi/v3").headers;
    expect(get("/openapi/v3", "", { ifNoneMatch: etag })).toMatchObject({ status: 304, body: "" });
    expect(get("/openapi/v3", "", { ifNoneMatch: '"other"' }).status).toBe(200);
  });

  test("what is not here is not answered, and what the client does not take is 406", () => {
    for (const path of ["/openapi", "/openapi/v1", "/openapi/v3/apis/nothing/v1", "/openapi/v2/x"]) {
      expect(openapiResponse(path, "", builtinResources), path).toBeUndefined();
    }
    expect(get("/openapi/v3", "text/html").status).toBe(406);
    expect(get("/openapi/v2", "text/html").status).toBe(406);
  });
});
