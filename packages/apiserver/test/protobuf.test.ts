import type { KubernetesObject } from "@portolan/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeProtobuf, encodeProtobuf, ProtobufError } from "../src/protobuf/index.ts";

function message(...fields: (readonly [number, string | number | Uint8Array])[]): Uint8Array {
  const bytes: number[] = [];
  const varint = (value: number): void => {
    let rest = value;
    while (rest > 127) {
      bytes.push((rest & 127) | 128);
      rest >>>= 7;
    }
    bytes.push(rest);
  };
  for (const [number, value] of fields) {
    if (typeof value === "number") {
      varint(number << 3);
      varint(value);
      continue;
    }
    const content = typeof value === "string" ? new TextEncoder().encode(value) : value;
    varint((number << 3) | 2);
    varint(content.length);
    bytes.push(...content);
  }
  return Uint8Array.from(bytes);
}

function envelope(apiVersion: string, kind: string, raw: Uint8Array): Uint8Array {
  return Uint8Array.from([
    0x6b,
    0x38,
    0x73,
    0,
    ...message([1, message([1, apiVersion], [2, kind])], [2, raw], [3, ""], [4, ""]),
  ]);
}

function codeOf(bytes: Uint8Array): string {
  try {
    decodeProtobuf(bytes);
  } catch (error) {
    if (error instanceof ProtobufError) return error.code;
    throw error;
  }
  return "read";
}

describe("decoding", () => {
  test("a Service as Go writes it: zeros of fields that nobody has set are dropped", () => {
    const port = message([1, "80-8080"], [2, "TCP"], [3, 80], [4, message([1, 0], [2, 8080], [3, ""])], [5, 0]);
    const named = message([1, "web"], [2, "TCP"], [3, 81], [4, message([1, 1], [2, 0], [3, "http"])], [5, 0]);
    const label = message([1, "app"], [2, "web"]);
    const metadata = message([1, "web"], [2, ""], [3, ""], [5, ""], [7, 0], [8, new Uint8Array(0)], [11, label]);
    const spec = message([1, port], [1, named], [2, label], [3, ""], [4, "ClusterIP"], [13, 0], [20, 0]);
    expect(
      decodeProtobuf(
        envelope("v1", "Service", message([1, metadata], [2, spec], [3, message([1, new Uint8Array(0)])])),
      ),
    ).toEqual({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web", labels: { app: "web" } },
      spec: {
        ports: [
          { name: "80-8080", protocol: "TCP", port: 80, targetPort: 8080 },
          { name: "web", protocol: "TCP", port: 81, targetPort: "http" },
        ],
        selector: { app: "web" },
        type: "ClusterIP",
        // A pointer in Go: false is not the same as nothing.
        allocateLoadBalancerNodePorts: false,
      },
      status: { loadBalancer: {} },
    });
  });

  test("embedded structs lie beside the other fields", () => {
    const volume = message([1, "v"], [2, message([2, message([1, "Memory"], [2, message([1, "1Gi"])])])]);
    const pod = envelope("v1", "Pod", message([2, message([1, volume], [4, 0])]));
    expect(decodeProtobuf(pod)).toMatchObject({
      spec: {
        volumes: [{ name: "v", emptyDir: { medium: "Memory", sizeLimit: "1Gi" } }],
        terminationGracePeriodSeconds: 0,
      },
    });
  });

  test("fields of newer clients are left out", () => {
    expect(decodeProtobuf(envelope("v1", "ConfigMap", message([99, "x"], [2, message([1, "k"], [2, "v"])])))).toEqual({
      apiVersion: "v1",
      kind: "ConfigMap",
      data: { k: "v" },
    });
  });

  test("options of a deletion are understood in the version of any group", () => {
    expect(decodeProtobuf(envelope("apps/v1", "DeleteOptions", message([1, 0], [4, "Background"])))).toMatchObject({
      gracePeriodSeconds: 0,
      propagationPolicy: "Background",
    });
  });

  test("a key named __proto__ is a key", () => {
    const read = decodeProtobuf(envelope("v1", "ConfigMap", message([2, message([1, "__proto__"], [2, "v"])]))) as {
      data?: object;
    };
    expect(Object.keys(read.data ?? {})).toEqual(["__proto__"]);
    expect(Object.getPrototypeOf(read.data)).toBe(Object.prototype);
  });

  test("what is no object is refused with a code", () => {
    expect(codeOf(new TextEncoder().encode("{}"))).toBe("PROTOBUF_ENVELOPE");
    expect(codeOf(new Uint8Array(0))).toBe("PROTOBUF_ENVELOPE");
    expect(codeOf(envelope("v1", "Nothing", new Uint8Array(0)))).toBe("PROTOBUF_UNSUPPORTED");
    expect(codeOf(envelope("storage.k8s.io/v1", "StorageClass", new Uint8Array(0)))).toBe("PROTOBUF_UNSUPPORTED");
    expect(codeOf(envelope("v1", "Service", Uint8Array.of(0x0a, 0xff, 0xff, 0x03)))).toBe("PROTOBUF_TRUNCATED");
    expect(codeOf(envelope("v1", "Service", message([1, 7])))).toBe("PROTOBUF_MALFORMED");
    expect(codeOf(envelope("v1", "Service", message([1, message([1, Uint8Array.of(0xff)])])))).toBe(
      "PROTOBUF_MALFORMED",
    );
    expect(codeOf(envelope("v1", "Service", new Uint8Array(12).fill(0xff)))).toBe("PROTOBUF_MALFORMED");
  });

  test("whatever the bytes are, the answer is an object or a ProtobufError", () => {
    const kinds = fc.constantFrom(["v1", "Service"], ["v1", "Pod"], ["apps/v1", "Deployment"], ["v1", "Event"]);
    fc.assert(
      fc.property(kinds, fc.uint8Array({ maxLength: 200 }), ([apiVersion = "", kind = ""], raw) => {
        expect(["read", "PROTOBUF_TRUNCATED", "PROTOBUF_MALFORMED", "PROTOBUF_UNSUPPORTED"]).toContain(
          codeOf(envelope(apiVersion, kind, raw)),
        );
      }),
    );
  });
});

describe("both ways", () => {
  const objects: KubernetesObject[] = [
    {
      kind: "Deployment",
      apiVersion: "apps/v1",
      metadata: {
        name: "d",
        creationTimestamp: "2026-01-01T00:00:00Z",
        managedFields: [{ manager: "m", operation: "Apply", fieldsType: "FieldsV1", fieldsV1: { "f:spec": {} } }],
      },
      spec: {
        replicas: 0,
        selector: { matchLabels: { app: "d" } },
        template: {
          spec: { containers: [{ name: "c", resources: { limits: { cpu: "1" } }, securityContext: { runAsUser: 0 } }] },
        },
        strategy: { rollingUpdate: { maxSurge: "25%", maxUnavailable: 0 }, type: "RollingUpdate" },
      },
    } as KubernetesObject,
    {
      kind: "EndpointSlice",
      apiVersion: "discovery.k8s.io/v1",
      metadata: { name: "s" },
      addressType: "IPv4",
      endpoints: [{ addresses: ["10.0.0.1"], conditions: { ready: false } }],
      ports: [{ name: "", port: 80, protocol: "TCP" }],
    } as KubernetesObject,
    {
      kind: "SelfSubjectReview",
      apiVersion: "authentication.k8s.io/v1",
      status: { userInfo: { username: "u", extra: { scopes: ["a", "b"] } } },
    } as KubernetesObject,
    { kind: "Secret", apiVersion: "v1", data: { k: "AP8=" } } as KubernetesObject,
    {
      kind: "Lease",
      apiVersion: "coordination.k8s.io/v1",
      spec: { renewTime: "2026-01-01T00:00:00.123456Z" },
    } as KubernetesObject,
    {
      kind: "ServiceList",
      apiVersion: "v1",
      metadata: { resourceVersion: "7" },
      items: [{ metadata: { name: "a" } }],
    } as KubernetesObject,
  ];

  test.each(objects)("$kind", (object) => {
    expect(decodeProtobuf(encodeProtobuf(object))).toEqual(object);
  });

  test("numbers of all sizes", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), fc.integer(), (grace, port) => {
        const pod = {
          kind: "Pod",
          apiVersion: "v1",
          spec: { terminationGracePeriodSeconds: grace, priority: port, containers: [] },
        };
        const { containers: _, ...spec } = pod.spec;
        expect(decodeProtobuf(encodeProtobuf(pod as KubernetesObject))).toEqual({ ...pod, spec });
      }),
    );
  });

  test("values of the wrong type are refused", () => {
    const pod = { kind: "Pod", apiVersion: "v1", spec: { priority: "high" } };
    expect(() => encodeProtobuf(pod as KubernetesObject)).toThrow(/spec\.priority: "high" is not a whole number/);
  });
});
