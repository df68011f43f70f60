import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApiServer, createGarbageCollector, createNamespaceController } from "@portolan/apiserver";
import { createApiClient, createInformerFactory } from "@portolan/client";
import { afterEach, describe, expect, test } from "vitest";
import type { ApiServer } from "../src/index.ts";
import { type Answer, send, watch } from "./client.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function start(): Promise<ApiServer> {
  const server = await createApiServer();
  ends.push(() => server.close());
  return server;
}

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const crontabs = "/apis/stable.example.com/v1/namespaces/default/crontabs";

const specSchema = {
  type: "object",
  description: "What is to be run.",
  required: ["cronSpec"],
  properties: {
    cronSpec: { type: "string", pattern: "^\\S+ \\S+$", description: "When it runs." },
    image: { type: "string", default: "busybox" },
    replicas: { type: "integer", minimum: 1, maximum: 10 },
    port: { "x-kubernetes-int-or-string": true },
    note: { type: "string", nullable: true },
    policy: { type: "string", enum: ["Allow", "Forbid"] },
    free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
    ports: {
      type: "array",
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["name"],
      items: {
        type: "object",
        required: ["name"],
        properties: { name: { type: "string" }, port: { type: "integer" } },
      },
    },
    choice: {
      type: "object",
      properties: { a: { type: "string" }, b: { type: "string" } },
      oneOf: [{ required: ["a"] }, { required: ["b"] }],
    },
  },
};

// biome-ignore lint/suspicious/noExplicitAny: tests break it in all ways
function definition(change: (crd: any) => void = () => {}): any {
  const crd = {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: "crontabs.stable.example.com" },
    spec: {
      group: "stable.example.com",
      scope: "Namespaced",
      names: { plural: "crontabs", kind: "CronTab", shortNames: ["ct"], categories: ["all"] },
      versions: [
        {
          name: "v1",
          served: true,
          storage: true,
          subresources: {
            status: {},
            scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas" },
          },
          additionalPrinterColumns: [
            { name: "Spec", type: "string", jsonPath: ".spec.cronSpec" },
            { name: "Replicas", type: "integer", jsonPath: ".spec.replicas", priority: 1 },
            { name: "Ready", type: "string", jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
          ],
          selectableFields: [{ jsonPath: ".spec.image" }],
          schema: {
            openAPIV3Schema: {
              type: "object",
              description: "CronTab runs things by a calendar.",
              properties: {
                spec: structuredClone(specSchema),
                status: {
                  type: "object",
                  properties: {
                    replicas: { type: "integer" },
                    conditions: {
                      type: "array",
                      items: { type: "object", properties: { type: { type: "string" }, status: { type: "string" } } },
                    },
                  },
                },
              },
            },
          },
        },
        {
          name: "v1beta1",
          served: true,
          storage: false,
          deprecated: true,
          schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
        },
      ],
    },
  };
  change(crd);
  return crd;
}

function crontab(name: string, spec: object = { cronSpec: "* *" }): object {
  return { apiVersion: "stable.example.com/v1", kind: "CronTab", metadata: { name }, spec };
}

async function startWithDefinition(): Promise<ApiServer> {
  const server = await start();
  expect((await send(server, "POST", definitions, definition())).status).toBe(201);
  return server;
}

function causes(answer: Answer): string[] {
  return (answer.body.details?.causes ?? []).map(
    (cause: { field: string; message: string }) => `${cause.field}: ${cause.message}`,
  );
}

describe("a CustomResourceDefinition", () => {
  test("is served by the time its creation is answered, and says so", async () => {
    const server = await startWithDefinition();
    const { body } = await send(server, "GET", `${definitions}/crontabs.stable.example.com`);
    expect(body.spec.names).toMatchObject({ singular: "crontab", listKind: "CronTabList" });
    expect(body.spec.conversion).toEqual({ strategy: "None" });
    expect(body.status.storedVersions).toEqual(["v1"]);
    expect(body.status.acceptedNames.plural).toBe("crontabs");
    expect(
      body.status.conditions.map((each: { type: string; status: string; reason: string }) => [
        each.type,
        each.status,
        each.reason,
      ]),
    ).toEqual([
      ["NamesAccepted", "True", "NoConflicts"],
      ["Established", "True", "InitialNamesAccepted"],
    ]);
    expect((await send(server, "GET", crontabs)).body).toMatchObject({ kind: "CronTabList", items: [] });
  });

  test("that is wrong is refused with all its causes", async () => {
    const server = await start();
    const wrong = definition((crd) => {
      crd.metadata.name = "x.stable.example.com";
      crd.spec.scope = "Everywhere";
      crd.spec.names.kind = "Cron_Tab";
      crd.spec.versions[1].storage = true;
      crd.spec.versions[0].additionalPrinterColumns = [{ name: "A", type: "text", jsonPath: "" }];
      crd.spec.versions[0].subresources.scale.specReplicasPath = ".status.replicas";
      const { properties } = crd.spec.versions[0].schema.openAPIV3Schema;
      properties.metadata = { type: "object", properties: { labels: { type: "object" } } };
      properties.spec.properties.free = {};
      properties.spec.properties.ports.items.required = [];
      properties.spec.properties.image.default = 1;
      crd.spec.conversion = { strategy: "Webhook" };
    });
    const answer = await send(server, "POST", definitions, wrong);
    expect(answer.status).toBe(422);
    const schema = "spec.versions[0].schema.openAPIV3Schema.properties";
    const label = expect.stringContaining("a DNS-1035 label must consist of");
    const found = causes(answer);
    expect(new Set(found)).toEqual(
      new Set([
        'metadata.name: Invalid value: "x.stable.example.com": must be spec.names.plural+"."+spec.group',
        'spec.scope: Unsupported value: "Everywhere": supported values: "Cluster", "Namespaced"',
        `${schema}[spec].properties[image].default: Invalid value: "integer": ${schema}[spec].properties[image].default in body must be of type string: "integer"`,
        `${schema}[spec].properties[free].type: Required value: must not be empty for specified object fields`,
        `${schema}[spec].properties[ports].items.properties[name].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property`,
        `${schema}[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified`,
        'spec.versions[0].additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string',
        "spec.versions[0].additionalPrinterColumns[0].jsonPath: Required value",
        'spec.versions[0].subresources.scale.specReplicasPath: Invalid value: ".status.replicas": should be a json path under .spec',
        found.find((cause) => cause.endsWith("must have exactly one version marked as storage version")) ?? "storage",
        found.find((cause) => cause.startsWith("spec.names.kind: ")) ?? "kind",
        found.find((cause) => cause.startsWith("spec.names.listKind: ")) ?? "listKind",
        found.find((cause) => cause.startsWith("spec.names.singular: ")) ?? "singular",
        'spec.conversion.strategy: Unsupported value: "Webhook": supported values: "None"',
      ]),
    );
    expect(found).toContainEqual(label);
  });

  test("whose names are taken is not established", async () => {
    const server = await startWithDefinition();
    const other = definition((crd) => {
      crd.metadata.name = "crons.stable.example.com";
      crd.spec.names.plural = "crons";
      crd.spec.names.kind = "Cron";
    });
    await send(server, "POST", definitions, other);
    const { body } = await send(server, "GET", `${definitions}/crons.stable.example.com`);
    expect(body.status.conditions).toMatchObject([
      { type: "NamesAccepted", status: "False", reason: "ShortNamesConflict", message: '"ct" is already in use' },
      { type: "Established", status: "False", reason: "NotAccepted" },
    ]);
    expect((await send(server, "GET", "/apis/stable.example.com/v1/crons")).status).toBe(404);
  });

  test("in a group of Kubernetes needs an approval", async () => {
    const server = await start();
    const own = definition((crd) => {
      crd.metadata.name = "crontabs.stable.k8s.io";
      crd.spec.group = "stable.k8s.io";
    });
    expect(causes(await send(server, "POST", definitions, own))[0]).toContain(
      "protected groups must have approval annotation",
    );
  });

  test("that is deleted takes its objects with it, finalizers first", async () => {
    const server = await startWithDefinition();
    await send(server, "POST", crontabs, crontab("free"));
    await send(server, "POST", crontabs, { ...crontab("held"), metadata: { name: "held", finalizers: ["a.b/c"] } });
    const path = `${definitions}/crontabs.stable.example.com`;
    const deleted = await send(server, "DELETE", path);
    expect(deleted.body.metadata.finalizers).toEqual(["customresourcecleanup.apiextensions.k8s.io"]);
    const left = await send(server, "GET", crontabs);
    expect(left.body.items.map((item: { metadata: { name: string } }) => item.metadata.name)).toEqual(["held"]);
    expect((await send(server, "POST", crontabs, crontab("late"))).status).toBe(405);
    expect((await send(server, "GET", path)).body.status.conditions).toContainEqual(
      expect.objectContaining({ type: "Terminating", status: "True" }),
    );
    await send(server, "PATCH", `${crontabs}/held`, { metadata: { finalizers: null } }, merge);
    await Promise.resolve();
    expect((await send(server, "GET", path)).status).toBe(404);
    expect((await send(server, "GET", crontabs)).status).toBe(404);
  });
});

const merge = { "content-type": "application/merge-patch+json" };

describe("custom resources", () => {
  test("are completed, and keep what the schema keeps", async () => {
    const server = await startWithDefinition();
    const { status, body } = await send(
      server,
      "POST",
      crontabs,
      crontab("a", {
        cronSpec: "* *",
        port: "http",
        note: null,
        replicas: null,
        unknown: 1,
        free: { deep: { x: [] } },
      }),
    );
    expect(status).toBe(201);
    expect(body.spec).toEqual({
      cronSpec: "* *",
      port: "http",
      note: null,
      free: { deep: { x: [] } },
      image: "busybox",
    });
    expect(body.metadata.generation).toBe(1);
  });

  test("with unknown and repeated fields are warned of, or refused when that is asked for", async () => {
    const server = await startWithDefinition();
    const text = JSON.stringify(crontab("a")).replace('"cronSpec"', '"x":1,"cronSpec":"1 1","cronSpec"');
    const warned = await send(server, "POST", crontabs, text);
    expect(warned.headers["warning"]).toEqual([
      '299 - "duplicate field \\"spec.cronSpec\\""',
      '299 - "unknown field \\"spec.x\\""',
    ]);
    const strict = await send(server, "POST", `${crontabs}?fieldValidation=Strict`, text);
    expect(strict.status).toBe(400);
    expect(strict.body.message).toContain(
      'strict decoding error: duplicate field "spec.cronSpec", unknown field "spec.x"',
    );
  });

  test("that are wrong are refused in Kubernetes' words", async () => {
    const server = await startWithDefinition();
    const spec = {
      cronSpec: "x",
      replicas: 20,
      port: true,
      policy: "Maybe",
      ports: [{ name: "a" }, { name: "a" }, {}],
      choice: { a: "1", b: "2" },
      image: 5,
    };
    expect(causes(await send(server, "POST", crontabs, crontab("a", spec)))).toEqual([
      '<nil>: Invalid value: "": "spec.choice" must validate one and only one schema (oneOf). Found 2 valid alternatives',
      "spec.cronSpec: Invalid value: \"x\": spec.cronSpec in body should match '^\\S+ \\S+$'",
      'spec.image: Invalid value: "integer": spec.image in body must be of type string: "integer"',
      'spec.policy: Unsupported value: "Maybe": supported values: "Allow", "Forbid"',
      'spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
      "spec.ports[2].name: Required value",
      'spec.ports[1]: Duplicate value: {"name":"a"}',
      "spec.replicas: Invalid value: 20: spec.replicas in body should be less than or equal to 10",
    ]);
    expect(causes(await send(server, "POST", crontabs, crontab("A_b", {})))).toEqual([
      expect.stringContaining('metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain'),
      "spec.cronSpec: Required value",
    ]);
    const kind = await send(server, "POST", crontabs, { ...crontab("a"), kind: "Other" });
    expect(causes(kind)).toEqual(['kind: Invalid value: "Other": must be CronTab']);
    const version = await send(server, "POST", crontabs, { ...crontab("a"), apiVersion: "stable.example.com/v1beta1" });
    expect([version.status, version.body.message]).toEqual([
      400,
      "the API version in the data (stable.example.com/v1beta1) does not match the expected API version (stable.example.com/v1)",
    ]);
  });

  test("are not checked again where nothing has changed", async () => {
    const server = await startWithDefinition();
    await send(server, "POST", crontabs, crontab("a", { cronSpec: "* *", replicas: 5 }));
    const path = `${definitions}/crontabs.stable.example.com`;
    const patch = [
      {
        op: "replace",
        path: "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/replicas/maximum",
        value: 3,
      },
    ];
    await send(server, "PATCH", path, patch, { "content-type": "application/json-patch+json" });
    expect((await send(server, "PATCH", `${crontabs}/a`, { spec: { policy: "Allow" } }, merge)).status).toBe(200);
    expect((await send(server, "PATCH", `${crontabs}/a`, { spec: { replicas: 4 } }, merge)).status).toBe(422);
  });

  test("status and the rest are written apart; the generation counts the rest", async () => {
    const server = await startWithDefinition();
    const created = await send(server, "POST", crontabs, { ...crontab("a"), status: { replicas: 9 } });
    expect(created.body.status).toBeUndefined();
    const status = await send(
      server,
      "PATCH",
      `${crontabs}/a/status`,
      { metadata: { labels: { a: "b" } }, spec: { cronSpec: "1 1" }, status: { replicas: 2 } },
      merge,
    );
    expect(status.body).toMatchObject({
      spec: { cronSpec: "* *" },
      status: { replicas: 2 },
      metadata: { generation: 1 },
    });
    expect(status.body.metadata.labels).toBeUndefined();
    const main = await send(
      server,
      "PATCH",
      `${crontabs}/a`,
      { spec: { replicas: 3 }, status: { replicas: 7 } },
      merge,
    );
    expect(main.body).toMatchObject({ spec: { replicas: 3 }, status: { replicas: 2 }, metadata: { generation: 2 } });
  });

  test("scale by the paths of the definition", async () => {
    const server = await startWithDefinition();
    await send(server, "POST", crontabs, crontab("a", { cronSpec: "* *", replicas: 2 }));
    const scale = await send(server, "GET", `${crontabs}/a/scale`);
    expect(scale.body).toMatchObject({ kind: "Scale", spec: { replicas: 2 }, status: { replicas: 0 } });
    await send(server, "PATCH", `${crontabs}/a/scale`, { spec: { replicas: 4 } }, merge);
    expect((await send(server, "GET", `${crontabs}/a`)).body.spec.replicas).toBe(4);
    const tooMany = await send(server, "PATCH", `${crontabs}/a/scale`, { spec: { replicas: 40 } }, merge);
    expect(tooMany.status).toBe(422);
  });

  test("are read in every version, and stored in one", async () => {
    const server = await startWithDefinition();
    await send(server, "POST", crontabs, crontab("a"));
    const old = crontabs.replace("/v1/", "/v1beta1/");
    const { body, headers } = await send(server, "GET", `${old}/a`);
    expect(body.apiVersion).toBe("stable.example.com/v1beta1");
    expect(headers["warning"]).toEqual([
      '299 - "stable.example.com/v1beta1 CronTab is deprecated; use stable.example.com/v1 CronTab"',
    ]);
    const again = await send(server, "PUT", `${old}/a`, body);
    expect(again.body.metadata.resourceVersion).toBe(body.metadata.resourceVersion);
    expect((await send(server, "GET", `${crontabs}/a`)).body.apiVersion).toBe("stable.example.com/v1");
  });

  test("are applied item by item where lists have keys, and conflict", async () => {
    const server = await startWithDefinition();
    const apply = { "content-type": "application/apply-patch+yaml" };
    const first = crontab("a", { cronSpec: "* *", ports: [{ name: "x", port: 1 }] });
    const second = crontab("a", { cronSpec: "* *", ports: [{ name: "y", port: 2 }] });
    expect((await send(server, "PATCH", `${crontabs}/a?fieldManager=one`, first, apply)).status).toBe(201);
    const both = await send(server, "PATCH", `${crontabs}/a?fieldManager=two`, second, apply);
    expect(both.body.spec.ports).toEqual([
      { name: "x", port: 1 },
      { name: "y", port: 2 },
    ]);
    const clash = crontab("a", { cronSpec: "1 1" });
    const conflict = await send(server, "PATCH", `${crontabs}/a?fieldManager=three`, clash, apply);
    expect(conflict.status).toBe(409);
    const strategic = await send(
      server,
      "PATCH",
      `${crontabs}/a`,
      {},
      { "content-type": "application/strategic-merge-patch+json" },
    );
    expect(strategic.status).toBe(415);
  });

  test("are watched, selected by fields and shown in columns", async () => {
    const server = await startWithDefinition();
    await send(server, "POST", crontabs, crontab("a", { cronSpec: "* *", image: "nginx" }));
    await send(server, "POST", crontabs, crontab("b"));
    const chosen = await send(server, "GET", `${crontabs}?fieldSelector=spec.image%3Dnginx`);
    expect(chosen.body.items).toHaveLength(1);
    expect((await send(server, "GET", `${crontabs}?fieldSelector=spec.cronSpec%3Dx`)).status).toBe(400);
    const table = await send(server, "GET", crontabs, undefined, {
      accept: "application/json;as=Table;v=v1;g=meta.k8s.io",
    });
    expect(table.body.columnDefinitions.map((column: { name: string }) => column.name)).toEqual([
      "Name",
      "Spec",
      "Replicas",
      "Ready",
    ]);
    expect(table.body.rows[0].cells).toEqual(["a", "* *", null, null]);
    const stop = new AbortController();
    const events = watch(server, `${crontabs}?watch=true`, stop.signal);
    await send(server, "DELETE", `${crontabs}/b`);
    stop.abort();
    expect((await events).map(({ type }) => type)).toEqual(["ADDED", "ADDED", "DELETED"]);
  });

  test("are in discovery and OpenAPI", async () => {
    const server = await startWithDefinition();
    const groups = (await send(server, "GET", "/apis")).body.groups;
    expect(groups.at(-1)).toMatchObject({ name: "stable.example.com", preferredVersion: { version: "v1" } });
    const { resources } = (await send(server, "GET", "/apis/stable.example.com/v1")).body;
    expect(resources.map((each: { name: string }) => each.name)).toEqual([
      "crontabs",
      "crontabs/status",
      "crontabs/scale",
    ]);
    const v3 = (await send(server, "GET", "/openapi/v3/apis/stable.example.com/v1")).body;
    expect(v3.components.schemas["com.example.stable.v1.CronTab"].properties.spec.description).toBe(
      "What is to be run.",
    );
    const patch = v3.paths["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"].patch;
    expect(Object.keys(patch.requestBody.content)).not.toContain("application/strategic-merge-patch+json");
    const v2 = (await send(server, "GET", "/openapi/v2")).body;
    expect(v2.definitions["com.example.stable.v1.CronTab"].properties.spec.properties.choice.oneOf).toBeUndefined();
  });

  test("go with their namespace and their owner", async () => {
    const server = await startWithDefinition();
    const api = createApiClient(server.transport);
    const informers = createInformerFactory(api);
    const stop = new AbortController();
    const running = [createGarbageCollector({ api, informers }), createNamespaceController({ api, informers })].map(
      (controller) => controller.run(stop.signal),
    );
    informers.start(stop.signal);
    ends.push(async () => {
      stop.abort();
      await Promise.allSettled(running);
    });
    await send(server, "POST", "/api/v1/namespaces", { metadata: { name: "other" } });
    const elsewhere = crontabs.replace("/default/", "/other/");
    await send(server, "POST", elsewhere, crontab("a"));
    const owner = await send(server, "POST", crontabs, crontab("owner"));
    const { name, uid } = owner.body.metadata;
    const ownerReferences = [{ apiVersion: "stable.example.com/v1", kind: "CronTab", name, uid }];
    await send(server, "POST", "/api/v1/namespaces/default/configmaps", {
      metadata: { name: "owned", ownerReferences },
    });
    await send(server, "POST", crontabs, { ...crontab("child"), metadata: { name: "child", ownerReferences } });
    await send(server, "DELETE", "/api/v1/namespaces/other");
    await send(server, "DELETE", `${crontabs}/owner`);
    for (const path of ["/api/v1/namespaces/other", `${crontabs}/child`, "/api/v1/namespaces/default/configmaps/owned"])
      await expect.poll(async () => (await send(server, "GET", path)).status, { timeout: 10_000 }).toBe(404);
  });
});

const hasKubectl = spawnSync("kubectl", ["version", "--client"]).status === 0;

describe.skipIf(!hasKubectl)(`kubectl${hasKubectl ? "" : " (skipped: there is no kubectl on this machine)"}`, () => {
  test("explains, applies, patches, scales and deletes custom resources", async () => {
    const server = await start();
    const directory = mkdtempSync(join(tmpdir(), "portolan-custom-"));
    ends.push(async () => rmSync(directory, { recursive: true, force: true }));
    const { kubeconfigPath } = await server.listen({ directory });
    const kubectl = (line: string, input?: object): Promise<string> => {
      const env = { PATH: process.env["PATH"], HOME: directory, KUBECONFIG: kubeconfigPath };
      const child = spawn("kubectl", line.split(" "), { env });
      child.stdin.end(input === undefined ? "" : JSON.stringify(input));
      let output = "";
      child.stdout.on("data", (chunk) => {
        output += chunk;
      });
      child.stderr.on("data", (chunk) => {
        output += chunk;
      });
      return new Promise((resolve) => {
        child.on("close", () => resolve(output));
      });
    };
    expect(await kubectl("apply -f -", definition())).toContain("crontabs.stable.example.com created");
    expect(await kubectl("wait --for=condition=Established crd/crontabs.stable.example.com --timeout=10s")).toContain(
      "condition met",
    );
    expect(await kubectl("apply -f -", crontab("a"))).toBe("crontab.stable.example.com/a created\n");
    expect(await kubectl("explain ct.spec.cronSpec")).toContain("When it runs.");
    expect(await kubectl("apply -f -", crontab("a", { cronSpec: "1 1" }))).toBe(
      "crontab.stable.example.com/a configured\n",
    );
    expect(await kubectl("apply -f -", crontab("a", { cronSpec: "1 1", bad: 1 }))).toContain(
      'unknown field "spec.bad"',
    );
    expect(await kubectl("apply --server-side --force-conflicts -f -", crontab("a"))).toContain("serverside-applied");
    expect(await kubectl('patch ct a --type=merge -p {"spec":{"replicas":30}}')).toContain(
      'The CronTab "a" is invalid: spec.replicas: Invalid value: 30: spec.replicas in body should be less than or equal to 10',
    );
    expect(await kubectl("scale ct a --replicas=3")).toContain("scaled");
    expect(await kubectl("get ct -o wide")).toMatch(/^NAME +SPEC +REPLICAS +READY\na +\* \* +3/);
    expect(await kubectl("get all -o name")).toContain("crontab.stable.example.com/a");
    expect(await kubectl("delete ct a")).toContain("deleted");
    expect(await kubectl("delete crd crontabs.stable.example.com")).toContain("deleted");
  }, 60_000);
});
