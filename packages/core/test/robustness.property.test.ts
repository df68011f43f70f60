import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  applyDefaults,
  defaultServiceOnRead,
  dropTypeDependentFields,
  expandVariables,
  formatFieldErrors,
  initializeIPFamilies,
  invalidStatus,
  type KubernetesObject,
  matchLabelSelector,
  needsLoadBalancerUpdate,
  normalizeClusterIPs,
  objectWarnings,
  parseFieldSelector,
  parseLabelSelector,
  patchAllocatedValues,
  resources,
  SelectorError,
  type Service,
  selectableFieldValue,
  serviceEnvironment,
  validateObject,
} from "../src/index.ts";

const kinds = [...Object.values(resources).map((type) => type.kind), "Scale", "Unknown"];

/** Field names that exist, so that wrong types meet code that reads them. */
const fieldNames = [
  "metadata",
  "name",
  "namespace",
  "labels",
  "annotations",
  "finalizers",
  "ownerReferences",
  "managedFields",
  "generateName",
  "spec",
  "status",
  "type",
  "ports",
  "port",
  "targetPort",
  "nodePort",
  "protocol",
  "selector",
  "clusterIP",
  "clusterIPs",
  "ipFamilies",
  "ipFamilyPolicy",
  "externalIPs",
  "loadBalancerSourceRanges",
  "sessionAffinity",
  "sessionAffinityConfig",
  "clientIP",
  "timeoutSeconds",
  "subsets",
  "addresses",
  "endpoints",
  "ip",
  "hints",
  "forZones",
  "containers",
  "env",
  "valueFrom",
  "fieldRef",
  "template",
  "matchLabels",
  "matchExpressions",
  "key",
  "operator",
  "values",
  "replicas",
  "strategy",
  "rollingUpdate",
  "maxSurge",
  "maxUnavailable",
  "data",
  "stringData",
  "cidrs",
  "parentRef",
  "rules",
  "http",
  "paths",
  "backend",
  "service",
  "ingress",
  "loadBalancer",
  "taints",
  "volumes",
  "resources",
  "limits",
  "requests",
  "livenessProbe",
  "httpGet",
  "tolerations",
  "egress",
  "__proto__",
  "constructor",
  "deletionTimestamp",
  "immutable",
];

const leaf = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    0,
    -1,
    80,
    70000,
    1.5,
    2 ** 53,
    "",
    "x",
    "None",
    "ClusterIP",
    "LoadBalancer",
    "ExternalName",
    "IPv4",
    "10.0.0.1",
    "fd00::1",
    "010.0.0.1",
    "10.0.0.0/8",
    "Local",
    "RequireDualStack",
    "In",
    "a/b",
    "A_",
    "25%",
    "1Gi",
    "\ud800",
  ),
  fc.string({ unit: "grapheme" }),
  fc.double(),
);

const json = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, depthSize: "small" },
    leaf,
    fc.array(tie("value"), { maxLength: 3 }),
    fc
      .array(fc.tuple(fc.constantFrom(...fieldNames), tie("value")), { maxLength: 6 })
      .map((entries) =>
        JSON.parse(
          `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value) ?? "null"}`).join(",")}}`,
        ),
      ),
  ),
})).value;

/** Objects of known kinds with arbitrary content. */
const object = fc
  .tuple(fc.constantFrom(...kinds), json, json, json)
  .map(
    ([kind, metadata, spec, rest]) =>
      ({ ...(typeof rest === "object" ? rest : {}), kind, metadata, spec }) as KubernetesObject,
  );

const anything = fc.oneof(json, object) as fc.Arbitrary<KubernetesObject>;

describe("whatever the JSON", () => {
  it("validation answers a list of errors that can be rendered", () => {
    fc.assert(
      fc.property(
        anything,
        fc.option(anything, { nil: undefined }),
        fc.constantFrom(undefined, "status"),
        (value, old, subresource) => {
          const errors = validateObject(value, old, subresource === undefined ? {} : { subresource });
          expect(typeof formatFieldErrors(errors)).toBe("string");
          expect(invalidStatus(resources.services, "x", errors).status.details?.causes?.length ?? 0).toBe(
            errors.length,
          );
          expect(Array.isArray(objectWarnings(value, old))).toBe(true);
        },
      ),
      { numRuns: 1500 },
    );
  });

  it("a kind with content of the wrong types is not valid", () => {
    for (const kind of kinds) {
      expect(validateObject({ kind, metadata: 5, spec: [] } as unknown as KubernetesObject), kind).not.toEqual([]);
    }
  });

  it("defaulting is idempotent and returns the same object", () => {
    fc.assert(
      fc.property(anything, (value) => {
        const once = applyDefaults(value);
        expect(once).toBe(value);
        const text = JSON.stringify(once);
        expect(JSON.stringify(applyDefaults(once))).toBe(text);
      }),
      { numRuns: 1500 },
    );
  });

  it("the steps around allocation do not throw", () => {
    fc.assert(
      fc.property(anything, anything, (value, stored) => {
        const service = value as Service;
        const old = stored as Service;
        const families = ["IPv4", "IPv6"] as const;
        defaultServiceOnRead(old, families);
        patchAllocatedValues(service, old);
        normalizeClusterIPs(service, old);
        initializeIPFamilies({ service, old, clusterFamilies: families });
        initializeIPFamilies({ service, clusterFamilies: families });
        dropTypeDependentFields(service, old);
        expect(typeof needsLoadBalancerUpdate(old, service)).toBe("boolean");
        expect(Array.isArray(serviceEnvironment([service, old], "default", true))).toBe(true);
        expect(typeof selectableFieldValue(value, "status.phase")).toBe("string");
      }),
      { numRuns: 1000 },
    );
  });

  it("selectors either parse or refuse with their own error", () => {
    fc.assert(
      fc.property(fc.string(), fc.stringMatching(/^[a-z(),!=<> .\\/in]*$/), json, (text, symbols, selector) => {
        for (const candidate of [text, symbols]) {
          for (const parse of [parseLabelSelector, parseFieldSelector]) {
            try {
              expect(Array.isArray(parse(candidate))).toBe(true);
            } catch (error) {
              expect(error).toBeInstanceOf(SelectorError);
            }
          }
        }
        expect(typeof matchLabelSelector(selector as never, { a: "b" })).toBe("boolean");
        expect(typeof expandVariables(text, new Map())).toBe("string");
      }),
      { numRuns: 1000 },
    );
  });
});

describe("a valid Service", () => {
  const port = fc.record({
    port: fc.integer({ min: 1, max: 65535 }),
    protocol: fc.constantFrom("TCP", "UDP", "SCTP"),
  });
  const valid = fc
    .record({
      type: fc.constantFrom("ClusterIP", "NodePort", "LoadBalancer"),
      ports: fc.uniqueArray(port, { minLength: 1, maxLength: 4, selector: (p) => `${p.protocol}/${p.port}` }),
      affinity: fc.constantFrom("None", "ClientIP", undefined),
      policy: fc.constantFrom("SingleStack", "PreferDualStack", "RequireDualStack", undefined),
    })
    .map(
      ({ type, ports, affinity, policy }) =>
        ({
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: "web", namespace: "default" },
          spec: {
            type,
            ports: ports.map((p, index) => ({ ...p, name: `p${index}` })),
            ...(affinity === undefined ? {} : { sessionAffinity: affinity }),
            ...(policy === undefined ? {} : { ipFamilyPolicy: policy }),
          },
        }) as Service,
    );

  it("stays valid when it is defaulted and written again", () => {
    fc.assert(
      fc.property(valid, (service) => {
        applyDefaults(service);
        expect(initializeIPFamilies({ service, clusterFamilies: ["IPv4", "IPv6"] })).toEqual([]);
        expect(validateObject(service)).toEqual([]);
        const again = structuredClone(service);
        applyDefaults(again);
        patchAllocatedValues(again, service);
        normalizeClusterIPs(again, service);
        expect(initializeIPFamilies({ service: again, old: service, clusterFamilies: ["IPv4", "IPv6"] })).toEqual([]);
        dropTypeDependentFields(again, service);
        expect(again).toEqual(service);
        expect(validateObject(again, service)).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});
