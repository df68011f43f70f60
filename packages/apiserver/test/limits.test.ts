import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:https";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createHttpListener } from "../src/http/http-listener.ts";
import { type ApiServer, adminUser, createApiServer } from "../src/index.ts";
import { EventStream } from "../src/watch/event-stream.ts";
import { send, service, services } from "./client.ts";

let server: ApiServer;
let directory: string;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "portolan-limits-"));
  server = await createApiServer();
});
afterEach(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

const types = {
  json: "application/json",
  yaml: "application/yaml",
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
  jsonPatch: "application/json-patch+json",
  apply: "application/apply-patch+yaml",
  protobuf: "application/vnd.kubernetes.protobuf",
} as const;

const nested = (open: string, close: string, depth: number): string => open.repeat(depth) + close.repeat(depth);
const inMetadata = (members: string): string =>
  `{"apiVersion":"v1","kind":"Service","metadata":{"name":"bad",${members}},"spec":{"ports":[{"port":80}]}}`;
const labels = (count: number, prefix = "l"): string =>
  inMetadata(`"labels":{${Array.from({ length: count }, (_, i) => `"${prefix}${i.toString(36)}":""`).join(",")}}`);

/** Bodies that no client should send: name, method, path, content type, body. */
const bodies: readonly (readonly [string, string, string, string, string | Uint8Array])[] = [
  ["an empty body", "POST", services, types.json, ""],
  ["a body of blanks", "POST", services, types.json, " \n\t "],
  ["half a body", "POST", services, types.json, '{"apiVersion":"v1","kind":"Serv'],
  ["two bodies", "POST", services, types.json, '{"apiVersion":"v1","kind":"Service"}{}'],
  [
    "bytes that are no UTF-8",
    "POST",
    services,
    types.json,
    Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d),
  ],
  ["a lone surrogate", "POST", services, types.json, inMetadata('"labels":{"a":"\\ud800"}')],
  ["null", "POST", services, types.json, "null"],
  ["a number", "POST", services, types.json, "1e999"],
  ["an array", "POST", services, types.json, "[]"],
  ["ten thousand arrays", "POST", services, types.json, nested("[", "]", 10_000)],
  ["a hundred thousand arrays", "POST", services, types.json, nested("[", "]", 100_000)],
  ["a hundred thousand arrays that never end", "POST", services, types.json, "[".repeat(100_000)],
  [
    "deep objects in a label",
    "POST",
    services,
    types.json,
    inMetadata(`"labels":${'{"a":'.repeat(50_000)}1${"}".repeat(50_000)}`),
  ],
  [
    "deep objects in an unknown field",
    "POST",
    services,
    types.json,
    inMetadata(`"x":${'{"a":'.repeat(9_000)}1${"}".repeat(9_000)}`),
  ],
  ["deep arrays in YAML", "POST", services, types.yaml, nested("[", "]", 20_000)],
  [
    "deep objects in YAML",
    "POST",
    services,
    types.yaml,
    Array.from({ length: 2_000 }, (_, i) => `${" ".repeat(i)}a:`).join("\n"),
  ],
  [
    "aliases that grow",
    "POST",
    services,
    types.yaml,
    [
      "a: &a [x,x,x,x,x,x,x,x,x]",
      ..."bcdefghij"
        .split("")
        .map((name, i) => `${name}: &${name} [${Array(9).fill(`*${"abcdefghij"[i]}`).join(",")}]`),
    ].join("\n"),
  ],
  ["an alias of itself", "POST", services, types.yaml, "a: &a [*a]"],
  ["tags of YAML", "POST", services, types.yaml, "!!js/function 'x'"],
  ["many documents", "POST", services, types.yaml, "---\n".repeat(50_000)],
  ["a million labels", "POST", services, types.json, labels(1_000_000)],
  ["a hundred thousand wrong labels", "POST", services, types.json, labels(100_000, "-")],
  [
    "a name of a megabyte",
    "POST",
    services,
    types.json,
    inMetadata('"x":1').replace('"bad"', `"${"a".repeat(1_000_000)}"`),
  ],
  [
    "ten thousand ports",
    "POST",
    services,
    types.json,
    `{"apiVersion":"v1","kind":"Service","metadata":{"name":"bad"},"spec":{"ports":[${Array(10_000).fill('{"port":0}').join(",")}]}}`,
  ],
  [
    "keys of prototypes in metadata",
    "POST",
    services,
    types.json,
    inMetadata('"__proto__":{"polluted":1},"labels":{"__proto__":"x!"},"constructor":{"prototype":{"polluted":1}}'),
  ],
  ["protobuf that is none", "POST", services, types.protobuf, "k8s\u0000\u0001\u0002\u0003"],
  ["protobuf without its magic", "POST", services, types.protobuf, Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff)],
  [
    "protobuf of endless lengths",
    "POST",
    services,
    types.protobuf,
    Uint8Array.of(0x6b, 0x38, 0x73, 0, 0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f),
  ],
  ["a media type that is none", "POST", services, "///;;=", "{}"],
  ["a media type of a megabyte", "POST", services, `application/json;${"a".repeat(1_000_000)}`, "{}"],
  [
    "a merge patch of prototypes",
    "PATCH",
    `${services}/web`,
    types.merge,
    '{"__proto__":{"polluted":1},"metadata":{"__proto__":{"polluted":1},"labels":{"constructor":{"prototype":{"polluted":1}}}}}',
  ],
  ["a merge patch without an end", "PATCH", `${services}/web`, types.merge, '{"a":'.repeat(100_000)],
  [
    "a strategic patch of prototypes",
    "PATCH",
    `${services}/web`,
    types.strategic,
    '{"spec":{"__proto__":{"polluted":1},"ports":[{"__proto__":{"port":1},"port":"x"}]}}',
  ],
  [
    "a strategic patch that deletes nonsense",
    "PATCH",
    `${services}/web`,
    types.strategic,
    '{"$patch":"delete","spec":{"$retainKeys":1,"$setElementOrder/ports":{}}}',
  ],
  [
    "a strategic patch without an end",
    "PATCH",
    `${services}/web`,
    types.strategic,
    `{"spec":${nested("[", "]", 50_000)}}`,
  ],
  [
    "a JSON patch of prototypes",
    "PATCH",
    `${services}/web`,
    types.jsonPatch,
    '[{"op":"add","path":"/__proto__/polluted","value":1},{"op":"add","path":"/constructor/prototype/polluted","value":1}]',
  ],
  [
    "a JSON patch into the prototype of arrays",
    "PATCH",
    `${services}/web`,
    types.jsonPatch,
    '[{"op":"add","path":"/spec/ports/__proto__","value":[]},{"op":"replace","path":"/spec/ports/length","value":1e9}]',
  ],
  [
    "a JSON patch far beyond the end",
    "PATCH",
    `${services}/web`,
    types.jsonPatch,
    '[{"op":"add","path":"/spec/ports/4294967294","value":{"port":1}}]',
  ],
  [
    "a JSON patch that copies itself",
    "PATCH",
    `${services}/web`,
    types.jsonPatch,
    JSON.stringify(
      Array.from({ length: 60 }, (_, i) => ({ op: "copy", from: "/metadata/labels", path: `/metadata/labels/x${i}` })),
    ),
  ],
  [
    "a JSON patch of fifty thousand steps",
    "PATCH",
    `${services}/web`,
    types.jsonPatch,
    JSON.stringify(Array(50_000).fill({ op: "test", path: "/kind", value: "x" })),
  ],
  [
    "a JSON patch of a deep path",
    "PATCH",
    `${services}/web`,
    types.jsonPatch,
    JSON.stringify([{ op: "add", path: "/a".repeat(100_000), value: 1 }]),
  ],
  ["an apply patch that is no object", "PATCH", `${services}/web?fieldManager=m`, types.apply, "[]"],
  [
    "an apply patch of prototypes",
    "PATCH",
    `${services}/web?fieldManager=m`,
    types.apply,
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: {__proto__: x!}}",
  ],
  ["deletion with a deep body", "DELETE", `${services}/web`, types.json, nested("[", "]", 50_000)],
];

const paths = [
  "",
  "//",
  "/api/v1/namespaces/default/services/..%2f..%2fsecrets",
  "/api/v1/namespaces/../../nodes",
  "/api/v1/namespaces/default/services/%2e%2e",
  "/api/v1/namespaces/default/services/%00",
  "/api/v1/namespaces/default/services/%",
  "/api/v1/namespaces/default/services/%zz?%zz=%",
  "/api/v1/namespaces/%F0%28%8C%28/services",
  "/api/v1/namespaces/default/services/__proto__",
  "/api/v1/namespaces/__proto__/constructor/prototype",
  "/apis/__proto__/v1/toString",
  "/openapi/v3/__proto__",
  `/api/v1/namespaces/default/services/${"a".repeat(100_000)}`,
  `/api${"/x".repeat(20_000)}`,
  `/api/v1/services?labelSelector=${"(".repeat(30_000)}`,
  `/api/v1/services?labelSelector=${encodeURIComponent(`a in (${"x,".repeat(10_000)}x)`)}`,
  `/api/v1/services?fieldSelector=${"metadata.name!=a,".repeat(2_000)}`,
  "/api/v1/services?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiLi4vLi4vIn0&limit=-1",
  "/api/v1/services?limit=99999999999999999999&resourceVersion=-1",
  "/api/v1/services?watch=1&resourceVersion=1&timeoutSeconds=99999999999999999999",
  "http://example.com/api/v1/services",
] as const;

/** The server is as it was: it answers, nothing was written, and no prototype has anything new. */
async function expectUnharmed(revision: number): Promise<void> {
  expect(server.store.revision).toBe(revision);
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  expect(([] as unknown as Record<string, unknown>)["polluted"]).toBeUndefined();
  expect((await send(server, "GET", `${services}/kubernetes`)).status).toBe(200);
}

describe("bad input", () => {
  beforeEach(async () => {
    await send(server, "POST", services, service("web"));
  });

  for (const [name, method, path, type, body] of bodies) {
    it(`${name} is refused`, { timeout: 30_000 }, async () => {
      const { revision } = server.store;
      const response = await server.transport({
        method: method as "POST",
        path,
        headers: { "content-type": type, accept: "application/json" },
        body,
      });
      const status = JSON.parse(String(response.body));
      expect({ name, status: response.status, kind: status.kind }).toMatchObject({ kind: "Status" });
      expect(response.status).toBeGreaterThanOrEqual(400);
      expect(status.message).not.toMatch(/call stack|is not a function|Cannot read|is not iterable/);
      await expectUnharmed(revision);
    });
  }

  for (const path of paths) {
    it(`path ${path.slice(0, 80)} is answered`, async () => {
      const { revision } = server.store;
      const stop = new AbortController();
      const response = await server.transport({ method: "GET", path, headers: {}, signal: stop.signal });
      stop.abort();
      expect(String(response.body)).not.toMatch(/call stack|is not a function|Cannot read|is not iterable/);
      expect(response.status).toBeLessThanOrEqual(500);
      await expectUnharmed(revision);
    });
  }

  it("bodies with broken bytes are answered, and leave nothing when they are refused", {
    timeout: 60_000,
  }, async () => {
    const good = [
      [types.json, "POST", services, JSON.stringify(service("new", { type: "NodePort" }))],
      [
        types.yaml,
        "POST",
        services,
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: new\nspec:\n  ports: [{port: 80}]\n",
      ],
      [types.merge, "PATCH", `${services}/web`, '{"metadata":{"labels":{"a":"b"}},"spec":{"ports":[{"port":81}]}}'],
      [
        types.strategic,
        "PATCH",
        `${services}/web`,
        '{"spec":{"ports":[{"port":80,"name":"x"},{"$patch":"delete","port":81}]}}',
      ],
      [types.jsonPatch, "PATCH", `${services}/web`, '[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]'],
      [
        types.apply,
        "PATCH",
        `${services}/web?fieldManager=m&force=true`,
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n",
      ],
    ] as const;
    const byte = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(...Buffer.from('{}[]",:\\&*!|>-~ \n')));
    const change = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      remove: fc.nat({ max: 6 }),
      insert: fc.array(byte, { maxLength: 6 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...good),
        fc.array(change, { minLength: 1, maxLength: 4 }),
        async ([type, method, path, text], changes) => {
          let body = Buffer.from(text);
          for (const { at, remove, insert } of changes) {
            const index = Math.floor(at * body.length);
            body = Buffer.concat([body.subarray(0, index), Buffer.from(insert), body.subarray(index + remove)]);
          }
          const { revision } = server.store;
          const response = await server.transport({ method, path, headers: { "content-type": type }, body });
          expect(String(response.body)).not.toMatch(/call stack|is not a function|Cannot read|is not iterable/);
          if (response.status >= 400) await expectUnharmed(revision);
          else await send(server, "DELETE", `${services}/new`);
        },
      ),
      { numRuns: 1500 },
    );
  });
});

describe("limits of connections", () => {
  it("headers that are too long are refused, and the server goes on", async () => {
    const { url, certificateAuthority: ca } = await server.listen({ directory });
    const { hostname, port } = new URL(url);
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), ca }, () => {
        socket.write(`GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ${"a".repeat(200_000)}\r\n\r\n`);
      });
      let text = "";
      socket.on("data", (chunk) => (text += chunk));
      socket.on("close", () => resolve(text));
      socket.on("error", (error: NodeJS.ErrnoException) =>
        error.code === "ECONNRESET" ? resolve(text) : reject(error),
      );
    });
    expect(answer === "" || answer.startsWith("HTTP/1.1 431")).toBe(true);
    // Not TLS at all.
    await new Promise<void>((resolve) => {
      const socket = connectTcp({ host: hostname, port: Number(port) }, () => socket.end("GET / HTTP/1.1\r\n\r\n"));
      socket.on("error", () => {});
      socket.on("close", () => resolve());
      socket.resume();
    });
    const status = await new Promise((resolve, reject) => {
      request(`${url}/healthz`, { ca, agent: false }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on("error", reject)
        .end();
    });
    expect(status).toBe(200);
  });

  it("a stream holds a bounded amount for its reader, then ends and lets go of it", async () => {
    const stream = new EventStream();
    let ended = 0;
    stream.onEnd(() => ended++);
    const chunk = "x".repeat(1024 * 1024);
    let pushed = 0;
    while (!stream.isEnded && pushed < 1000) {
      stream.push(chunk);
      pushed++;
    }
    expect(pushed).toBeLessThanOrEqual(33);
    expect(ended).toBe(1);
    const read: string[] = [];
    for await (const text of stream) read.push(text);
    expect(read).toEqual([]);
  });

  it("a client that stops reading a watch is cut off", { timeout: 60_000 }, async () => {
    const socketPath = join(directory, "api.sock");
    // As `listenUnix`, but less patient.
    const listener = createHttpListener({
      handle: (request) => server.transport(request),
      userOfToken: () => undefined,
      upgrade: undefined,
      plainUser: adminUser,
      stallTimeout: 200,
    });
    await listener.listen({ path: socketPath });
    try {
      const path = "/api/v1/namespaces/default/configmaps";
      const socket = connectTcp({ path: socketPath });
      const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
      socket.on("error", () => {});
      socket.write(`GET ${path}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n`);
      await new Promise((resolve) => socket.once("data", resolve));
      socket.pause();
      const data = { x: "x".repeat(500_000) };
      for (let i = 0; i < 100; i++) {
        const metadata = { name: `c${i}` };
        expect((await send(server, "POST", path, { apiVersion: "v1", kind: "ConfigMap", metadata, data })).status).toBe(
          201,
        );
        await new Promise((resolve) => setImmediate(resolve));
      }
      // The server hangs up while the client still does not read; reading then shows the end.
      await new Promise((resolve) => setTimeout(resolve, 1000));
      let received = 0;
      socket.on("data", (chunk) => (received += chunk.length));
      socket.resume();
      await closed;
      expect(received).toBeLessThan(45_000_000);
      expect(
        /apiserver_longrunning_requests (\d+)/.exec(String((await send(server, "GET", "/metrics")).body))?.[1],
      ).toBe("0");
    } finally {
      await listener.close();
    }
  });
});
