import { schemaOf } from "@portolan/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeObject } from "../src/encoding/decoding.ts";
import { JsonSyntaxError, type JsonValue, parseJson } from "../src/encoding/json.ts";
import { zeroObject } from "../src/encoding/presence.ts";
import {
  difference,
  fromFieldsV1,
  intersection,
  isEmptyFieldSet,
  sameFieldSet,
  toFieldsV1,
  union,
} from "../src/fields/field-set.ts";
import { createMemoryStore, StoreConflictError } from "../src/index.ts";
import { applyJsonPatch } from "../src/patches/json-patch.ts";
import { applyMergePatch } from "../src/patches/merge-patch.ts";
import { applyStrategicMergePatch } from "../src/patches/strategic-merge-patch.ts";
import { takeSnapshot } from "../src/store/history.ts";

describe("JSON", () => {
  it("is read as JSON.parse reads it", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(parseJson(text).value).toEqual(JSON.parse(text));
      }),
    );
  });

  it("is refused exactly where JSON.parse refuses it", () => {
    const text = fc.oneof(fc.string({ maxLength: 12 }), fc.stringMatching(/^[[\]{}",:0-9eE.+\-truefalsn\\ ]{0,14}$/));
    fc.assert(
      fc.property(text, (candidate) => {
        let isValid = true;
        try {
          JSON.parse(candidate);
        } catch {
          isValid = false;
        }
        if (isValid) parseJson(candidate);
        else expect(() => parseJson(candidate)).toThrow(JsonSyntaxError);
      }),
      { numRuns: 2000 },
    );
  });

  it("has its duplicates and floats found", () => {
    const { value, duplicates, floats } = parseJson('{"a":1,"a":2,"b":80.0}');
    expect(value).toEqual({ a: 2, b: 80 });
    expect(duplicates.get(value as object)).toEqual(["a"]);
    expect([...(floats.get(value as object) ?? [])]).toEqual(["b"]);
  });
});

describe("decoding", () => {
  const schema = schemaOf("v1", "Service");
  if (schema === undefined) throw new Error("no schema of Service");
  const decode = (text: string): unknown => decodeObject(parseJson(text), schema).object;

  it("drops zeros, keeps those behind pointers, and writes struct values", () => {
    expect(
      decode(
        '{"metadata":{"name":"a","labels":{}},"spec":{"type":"","internalTrafficPolicy":"","ports":[{"nodePort":0}]}}',
      ),
    ).toEqual({
      metadata: { name: "a" },
      spec: { internalTrafficPolicy: "", ports: [{ port: 0 }] },
      status: { loadBalancer: {} },
    });
  });

  it("names the field whose type is wrong, as Go does", () => {
    expect(() => decode('{"spec":{"ports":[{"port":"80"}]}}')).toThrow(
      "json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32",
    );
    expect(() => decode('{"spec":{"ports":[{"port":80.0}]}}')).toThrow("json: cannot unmarshal number 80.0 into");
    expect(() => decode('{"spec":{"ports":[{"port":3000000000}]}}')).toThrow(/3000000000/);
  });

  it("knows the zero of a kind", () => {
    expect(zeroObject(schema)).toEqual({ spec: {}, status: { loadBalancer: {} } });
  });
});

const edge = fc.constantFrom("f:a", "f:b", "f:c", 'k:{"port":80}', 'v:"x"');
const fieldsV1: fc.Arbitrary<Record<string, unknown>> = fc.letrec<{ tree: Record<string, unknown> }>((tie) => ({
  tree: fc
    .tuple(
      fc.boolean(),
      fc.oneof(
        { maxDepth: 4 },
        fc.constant({}),
        fc.dictionary(edge, tie("tree"), { maxKeys: 3 }),
      ) as fc.Arbitrary<object>,
    )
    .map(([isMember, children]) =>
      isMember && Object.keys(children).length > 0 ? { ".": {}, ...children } : { ...children },
    ),
})).tree;

describe("field sets", () => {
  const set = fieldsV1.map((fields) => fromFieldsV1({ "f:root": fields }));

  it("survive the way through FieldsV1", () => {
    fc.assert(
      fc.property(set, (a) => {
        expect(sameFieldSet(fromFieldsV1(toFieldsV1(a)), a)).toBe(true);
      }),
    );
  });

  it("obey the laws of sets", () => {
    fc.assert(
      fc.property(set, set, (a, b) => {
        expect(isEmptyFieldSet(intersection(difference(a, b), b))).toBe(true);
        expect(isEmptyFieldSet(difference(union(a, b), union(b, a)))).toBe(true);
        expect(isEmptyFieldSet(difference(difference(union(a, b), a), b))).toBe(true);
      }),
    );
  });
});

describe("patches", () => {
  it("follow RFC 7396", () => {
    expect(applyMergePatch({ a: "b", c: { d: "e", f: "g" } }, { a: "z", c: { f: null } })).toEqual({
      a: "z",
      c: { d: "e" },
    });
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (value, patch) => {
        const once = applyMergePatch(value as JsonValue, patch as JsonValue);
        expect(applyMergePatch(once, patch as JsonValue)).toEqual(once);
      }),
    );
  });

  it("follow RFC 6902", () => {
    const value = { a: [1, 2], b: { c: "d" } };
    expect(
      applyJsonPatch(value, [
        { op: "add", path: "/a/-", value: 3 },
        { op: "move", from: "/b/c", path: "/e" },
        { op: "test", path: "/a/0", value: 1 },
      ]),
    ).toEqual({ a: [1, 2, 3], b: {}, e: "d" });
    expect(value).toEqual({ a: [1, 2], b: { c: "d" } });
    expect(() => applyJsonPatch(value, [{ op: "test", path: "/a/0", value: 2 }])).toThrow(
      expect.objectContaining({ code: 422 }),
    );
    expect(() => applyJsonPatch(value, [{ op: "move", from: "/b", path: "/b/c" }])).toThrow(
      expect.objectContaining({ code: 422 }),
    );
  });

  it("merge lists by the keys that schemas name", () => {
    const schema = schemaOf("v1", "Service");
    if (schema === undefined) throw new Error("no schema of Service");
    const ports = (patch: JsonValue): unknown =>
      (
        applyStrategicMergePatch(
          {
            spec: {
              ports: [
                { name: "a", port: 80 },
                { name: "b", port: 443 },
              ],
            },
          },
          { spec: { ports: patch } },
          schema,
        ) as { spec: { ports: unknown } }
      ).spec.ports;
    expect(ports([{ port: 443, nodePort: 30443 }])).toEqual([
      { name: "a", port: 80 },
      { name: "b", port: 443, nodePort: 30443 },
    ]);
    expect(ports([{ port: 80, $patch: "delete" }])).toEqual([{ name: "b", port: 443 }]);
    expect(ports([{ $patch: "replace" }, { port: 1 }])).toEqual([{ port: 1 }]);
  });
});

describe("the memory store", () => {
  const write = (name: string, expectedRevision?: number, value?: string) => ({
    collection: "configmaps",
    namespace: "default",
    name,
    expectedRevision,
    object: { metadata: { name }, data: { value: value ?? "" } },
  });

  it("writes all or nothing", () => {
    const store = createMemoryStore();
    store.write([write("a")]);
    const before = store.revision;
    expect(() => store.write([write("b"), write("a")])).toThrow(StoreConflictError);
    expect(store.revision).toBe(before);
    expect(store.get("configmaps", "default", "b")).toBeUndefined();
  });

  it("shows every state of the past that it still knows", () => {
    const change = fc.record({ name: fc.constantFrom("a", "b", "c", "d"), remove: fc.boolean() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
        const store = createMemoryStore();
        const states = new Map<number, string[]>([[store.revision, []]]);
        for (const { name, remove } of changes) {
          const stored = store.get("configmaps", "default", name);
          if (remove && stored === undefined) continue;
          const one = write(name, stored?.revision, String(store.revision));
          if (remove)
            store.write([
              { collection: one.collection, namespace: one.namespace, name, expectedRevision: stored?.revision },
            ]);
          else store.write([one]);
          states.set(
            store.revision,
            [...store.list("configmaps")].map((item) => `${item.name}@${item.revision}`),
          );
        }
        for (const [revision, expected] of states) {
          const snapshot = takeSnapshot(store, {
            collection: "configmaps",
            namespace: undefined,
            revision,
            after: undefined,
            limit: 0,
            matches: () => true,
          });
          expect(snapshot?.items.map((item) => `${item.name}@${item.revision}`)).toEqual(expected);
        }
      }),
    );
  });

  it("forgets, and says so", () => {
    const store = createMemoryStore({ maxEvents: 10 });
    for (let i = 0; i < 30; i++) store.write([write(`c${i}`)]);
    expect(store.eventsAfter("configmaps", 2)).toBeUndefined();
    expect(store.eventsAfter("configmaps", store.revision - 1)).toHaveLength(1);
  });

  it("hands out objects that nobody can change", () => {
    const store = createMemoryStore();
    store.write([write("a")]);
    const object = store.get("configmaps", "default", "a")?.object as { data: Record<string, string> };
    expect(() => {
      object.data["value"] = "changed";
    }).toThrow(TypeError);
  });
});
