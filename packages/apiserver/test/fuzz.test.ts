import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createApiServer } from "../src/index.ts";
import { send, service, services } from "./client.ts";

const methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] as const;
const contentTypes = [
  "application/json",
  "application/yaml",
  "application/merge-patch+json",
  "application/strategic-merge-patch+json",
  "application/json-patch+json",
  "application/apply-patch+yaml",
  "application/vnd.kubernetes.protobuf",
  "text/plain",
  "",
];
const accepts = [
  "application/json",
  "application/json;as=Table;v=v1;g=meta.k8s.io",
  "application/yaml",
  "*/*",
  "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
  "image/png",
];

const segment = fc.oneof(
  fc.constantFrom(
    "api",
    "apis",
    "v1",
    "apps",
    "namespaces",
    "default",
    "services",
    "web",
    "kubernetes",
    "status",
    "scale",
    "pods",
    "deployments",
    "watch",
    "endpointslices",
    "discovery.k8s.io",
    "..",
    "%2e%2e",
    "__proto__",
    "constructor",
    "",
  ),
  fc.string({ maxLength: 8 }).map(encodeURIComponent),
);
const resourcePath = fc
  .tuple(
    fc.constantFrom(
      "/api/v1/namespaces/default/services",
      "/api/v1/namespaces/default/pods",
      "/api/v1/namespaces/default/endpoints",
      "/api/v1/namespaces/default/configmaps",
      "/api/v1/namespaces",
      "/api/v1/nodes",
      "/apis/apps/v1/namespaces/default/deployments",
      "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
      "/apis/networking.k8s.io/v1/servicecidrs",
      "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    ),
    fc.constantFrom(
      "",
      "/web",
      "/web/status",
      "/web/scale",
      "/kubernetes",
      "/web/binding",
      "/web/log",
      "/web/eviction",
      "/default",
      "/default/finalize",
    ),
  )
  .map(([collection, rest]) => collection + rest);
const query = fc.oneof(
  fc.constantFrom(
    "",
    "?dryRun=All",
    "?fieldValidation=Strict",
    "?fieldManager=m&force=true",
    "?limit=1",
    "?continue=x",
    "?labelSelector=a%20in%20(b)",
    "?fieldSelector=metadata.name%3Dweb",
    "?resourceVersion=1",
    "?propagationPolicy=Foreground",
    "?gracePeriodSeconds=-1",
  ),
  fc.string({ maxLength: 20 }).map((text) => `?${encodeURIComponent(text)}`),
);

/** Pieces of which real objects are made, so that many bodies get past decoding. */
const leaf: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(
    "web",
    "None",
    "NodePort",
    "LoadBalancer",
    "ExternalName",
    "ClusterIP",
    "10.96.0.7",
    "fd00::1",
    "TCP",
    "UDP",
    "IPv4",
    "IPv6",
    "SingleStack",
    "RequireDualStack",
    "Local",
    "",
    "a.b",
    "__proto__",
  ),
  fc.constantFrom(0, 1, -1, 80, 443, 30080, 65536, 2 ** 31, 1.5),
  fc.boolean(),
  fc.constant(null),
  fc.string({ maxLength: 10 }),
);
const { object } = fc.letrec<{ object: unknown; value: unknown }>((tie) => ({
  object: fc.dictionary(
    fc.constantFrom(
      "apiVersion",
      "kind",
      "metadata",
      "spec",
      "status",
      "name",
      "namespace",
      "labels",
      "annotations",
      "finalizers",
      "ownerReferences",
      "uid",
      "resourceVersion",
      "generateName",
      "managedFields",
      "ports",
      "port",
      "targetPort",
      "nodePort",
      "protocol",
      "clusterIP",
      "clusterIPs",
      "ipFamilies",
      "ipFamilyPolicy",
      "type",
      "externalName",
      "selector",
      "externalIPs",
      "sessionAffinity",
      "sessionAffinityConfig",
      "loadBalancer",
      "ingress",
      "ip",
      "containers",
      "image",
      "template",
      "matchLabels",
      "replicas",
      "addresses",
      "endpoints",
      "addressType",
      "subsets",
      "data",
      "cidrs",
      "$patch",
      "$retainKeys",
      "$setElementOrder/ports",
      "op",
      "path",
      "value",
      "__proto__",
      "constructor",
      "target",
    ),
    tie("value"),
    { maxKeys: 7 },
  ),
  value: fc.oneof({ maxDepth: 5 }, leaf, leaf, tie("object"), fc.array(tie("value"), { maxLength: 3 })),
}));
const serviceLike = fc
  .record({
    type: leaf,
    ports: fc.array(object, { maxLength: 3 }),
    clusterIP: leaf,
    ipFamilyPolicy: leaf,
    nodePort: leaf,
    rest: object,
  })
  .map(({ rest, ...spec }) => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web" },
    spec: { ...spec, ...(rest as object) },
  }));
const body = fc.oneof(
  object.map((value) => JSON.stringify(value)),
  fc.array(object, { maxLength: 3 }).map((value) => JSON.stringify(value)),
  serviceLike.map((value) => JSON.stringify(value)),
  fc.string({ maxLength: 60 }),
  fc.constant(undefined),
);

describe("arbitrary requests", () => {
  it("are answered, leave nothing half-written when refused, and keep allocations equal to what Services hold", {
    timeout: 120_000,
  }, async () => {
    const server = await createApiServer({ serviceCIDRs: ["10.96.0.0/24", "fd00:10:96::/112"] });
    try {
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...methods),
          fc.oneof(
            { weight: 4, arbitrary: resourcePath },
            { weight: 4, arbitrary: fc.constantFrom(services, `${services}/web`, `${services}/web/status`) },
            { weight: 1, arbitrary: fc.array(segment, { maxLength: 8 }).map((parts) => `/${parts.join("/")}`) },
          ),
          query,
          fc.oneof(
            { weight: 5, arbitrary: fc.constant(undefined) },
            { weight: 1, arbitrary: fc.constantFrom(...contentTypes) },
          ),
          fc.oneof(
            { weight: 5, arbitrary: fc.constant("application/json") },
            { weight: 1, arbitrary: fc.constantFrom(...accepts) },
          ),
          body,
          fc.constantFrom(...contentTypes.slice(2, 6)),
          async (method, path, search, givenType, accept, content, patchType) => {
            const contentType = givenType ?? (method === "PATCH" ? patchType : "application/json");
            // Without the object that paths name most, most requests would be about nothing.
            if (server.store.get("services", "default", "web") === undefined)
              await send(server, "POST", services, service("web", { type: "NodePort" }));
            const before = server.store.revision;
            const controller = new AbortController();
            const response = await server.transport({
              method,
              path: `${path}${search}`,
              headers: { "content-type": contentType, accept },
              signal: controller.signal,
              ...(content === undefined ? {} : { body: content }),
            });
            controller.abort();
            expect(response.status).toBeGreaterThanOrEqual(200);
            expect(response.status).toBeLessThan(600);
            const text = String(response.body ?? "");
            // A mistake in the server itself shows as the raw message of a JavaScript exception.
            expect(text).not.toMatch(
              /is not a function|is not iterable|Cannot read prop|Cannot (set|assign|define|convert)|undefined \(|Maximum call stack|is not extensible|read only/,
            );
            if (response.status >= 400) expect(server.store.revision).toBe(before);
          },
        ),
        { numRuns: 3000 },
      );
      expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();

      const held = new Set<string>();
      for (const stored of server.store.list("services")) {
        const spec = (stored.object as { spec?: { clusterIPs?: string[] } }).spec;
        for (const address of spec?.clusterIPs ?? []) if (address !== "None") held.add(address);
      }
      const recorded = new Set([...server.store.list("ipaddresses.networking.k8s.io")].map((stored) => stored.name));
      expect(recorded).toEqual(held);
    } finally {
      await server.close();
    }
  });
});
