/** Vectors of what kubectl asks: the real one is run against a server in this process, through a proxy that remembers. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { KubernetesObject } from "@portolan/core";
import { type KubectlProgram, kubectlPrograms, run } from "../kubectl/kubectl-program.ts";
import { createRecordingProxy, type RecordedRequest, type RecordingProxy } from "../kubectl/recording-proxy.ts";
import { Comparison, type MatchContext, valueAt } from "./expectation.ts";
import { type ServerFixture, withServer } from "./server-fixture.ts";
import { notDecidable, notImplemented, type VectorRunner } from "./vector.ts";

let programs: Promise<readonly KubectlProgram[]> | undefined;

function minorOf(version: string): number {
  return Number(version.split(".")[1]);
}

/** Whether a version is within a bound such as `<=1.30` or `>=1.34`. */
function isWithin(version: string, bound: string): boolean {
  const [, operator, minor] = /^(<=|>=|<|>)?1\.(\d+)$/.exec(bound.replaceAll(" ", "")) ?? [];
  if (minor === undefined) throw new Error(`"${bound}" is no bound of versions`);
  const difference = minorOf(version) - Number(minor);
  switch (operator) {
    case "<=":
      return difference <= 0;
    case ">=":
      return difference >= 0;
    case "<":
      return difference < 0;
    case ">":
      return difference > 0;
    default:
      return difference === 0;
  }
}

/** The words of a command line; single quotes keep blanks and double quotes. */
function words(line: string): string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}

const kinds: Readonly<Record<string, { apiVersion: string; kind: string }>> = {
  service: { apiVersion: "v1", kind: "Service" },
  svc: { apiVersion: "v1", kind: "Service" },
  pod: { apiVersion: "v1", kind: "Pod" },
  deployment: { apiVersion: "apps/v1", kind: "Deployment" },
};

function setAt(object: object, path: string, value: unknown): void {
  const steps = path.split(".");
  let parent = object as Record<string, unknown>;
  for (const step of steps.slice(0, -1)) {
    parent[step] ??= {};
    parent = parent[step] as Record<string, unknown>;
  }
  parent[steps[steps.length - 1] as string] = value;
}

/** An object of a kind that a server accepts, with what a vector says of it. */
function objectOf(resource: string, name: string, fields: Readonly<Record<string, unknown>>): KubernetesObject {
  const type = kinds[resource];
  if (type === undefined) throw new Error(`a vector needs a ${resource}, which is not understood here`);
  const containers = [{ name: "main", image: "nginx" }];
  const specs: Readonly<Record<string, object>> = {
    Service: { ports: [{ port: 80 }] },
    Pod: { containers },
    Deployment: { selector: { matchLabels: { app: name } }, template: { metadata: {}, spec: { containers } } },
  };
  const object = { ...type, metadata: { name }, spec: structuredClone(specs[type.kind]) } as KubernetesObject;
  for (const [path, value] of Object.entries(fields)) setAt(object, path, value);
  if (type.kind === "Deployment")
    setAt(object, "spec.template.metadata.labels", valueAt(object, "spec.selector.matchLabels"));
  return object;
}

/** What has to be there before the command. */
function preconditions(input: {
  readonly precondition?: string | Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly existing?: KubernetesObject;
  readonly command: string;
}): KubernetesObject[] {
  const { precondition, existing, command } = input;
  if (existing !== undefined) return [existing];
  if (typeof precondition === "string") {
    const [, resource = "", name = ""] = /^(\S+) (\S+) exists$/.exec(precondition) ?? [];
    return [objectOf(resource, name, {})];
  }
  if (precondition !== undefined)
    return Object.entries(precondition).map(([subject, fields]) => {
      const [resource = "", name = ""] = subject.split(" ");
      return objectOf(resource, name, fields);
    });
  // Commands about an object need it.
  const [, resource, name] =
    /^kubectl (?:get|describe|delete|edit|patch|label|annotate) (\S+) (\S+)/.exec(command) ?? [];
  return resource === undefined || name === undefined ? [] : [objectOf(resource, name, {})];
}

interface ExpectedRequest {
  readonly method?: string;
  readonly path?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly queryContains?: readonly string[];
  readonly bodySubset?: unknown;
  readonly bodyAbsent?: readonly string[];
  /** What the client does besides, in words. */
  readonly step?: string;
}

function pathOf(request: RecordedRequest): string {
  return decodeURIComponent(request.url.split("?")[0] ?? "");
}

/** The body of a request; of one in protobuf what the server has made of it. */
async function bodyOf(request: RecordedRequest, server: ServerFixture, name: string): Promise<unknown> {
  if (request.headers["content-type"]?.startsWith("application/vnd.kubernetes.protobuf") === true)
    return (await server.request("GET", `${pathOf(request)}/${name}`)).object;
  return JSON.parse(Buffer.from(request.body).toString("utf8") || "{}");
}

async function compareRequests(
  expected: readonly ExpectedRequest[],
  requests: readonly RecordedRequest[],
  server: ServerFixture,
  comparison: Comparison,
): Promise<void> {
  let at = 0;
  for (const wanted of expected) {
    if (wanted.method === undefined) continue;
    const found = requests.findIndex(
      (request, index) => index >= at && request.method === wanted.method && pathOf(request) === wanted.path,
    );
    const request = requests[found];
    if (request === undefined) {
      const seen = requests.slice(at).map((each) => `${each.method} ${each.url}`);
      comparison.equal(`${wanted.method} ${wanted.path}`, seen, "request");
      return;
    }
    at = found + 1;
    const query = new URLSearchParams(request.url.split("?")[1] ?? "");
    for (const [key, value] of Object.entries(wanted.query ?? {}))
      comparison.equal(value, query.get(key), `query ${key}`);
    for (const key of wanted.queryContains ?? []) comparison.equal(true, query.has(key), `query has ${key}`);
    if (wanted.bodySubset === undefined && wanted.bodyAbsent === undefined) continue;
    const name = String(valueAt(wanted.bodySubset, "metadata.name") ?? "");
    const body = await bodyOf(request, server, name);
    comparison.subset(wanted.bodySubset ?? {}, body, "body").absent(wanted.bodyAbsent ?? [], body);
  }
}

/** A text, or one by version. */
function textFor(expected: string | Readonly<Record<string, string>>, version: string): string | undefined {
  if (typeof expected === "string") return expected;
  return Object.entries(expected).find(([bound]) => isWithin(version, bound))?.[1];
}

interface Surroundings {
  readonly program: KubectlProgram;
  readonly folder: string;
}

async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "portolan-kubectl-vector-"));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function execute(line: string, url: string, { program, folder }: Surroundings) {
  const config = join(folder, "config");
  const cluster = { clusters: [{ name: "c", cluster: { server: url } }], users: [{ name: "u", user: {} }] };
  const context = { contexts: [{ name: "c", context: { cluster: "c", user: "u" } }], "current-context": "c" };
  await writeFile(config, JSON.stringify({ apiVersion: "v1", kind: "Config", ...cluster, ...context }));
  const [, ...parameters] = words(line);
  const env = { PATH: process.env["PATH"] ?? "", HOME: folder, KUBECONFIG: config };
  return run(program.path, parameters, { cwd: folder, env, seconds: 60 });
}

/** A server that answers writes with a failure, and everything else as ours does. */
async function failingServer(proxy: RecordingProxy, status: object, code: number): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.method !== "GET") {
      request.resume();
      response.writeHead(code, { "content-type": "application/json" });
      response.end(JSON.stringify({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", ...status }));
      return;
    }
    fetch(`${proxy.url}${request.url}`, { headers: { accept: request.headers.accept ?? "*/*" } })
      .then(async (answer) => {
        response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "text/plain" });
        response.end(Buffer.from(await answer.arrayBuffer()));
      })
      .catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return server;
}

const knownExpectations = ["requests", "stdout", "stderr", "exitCode", "after"];

/** Runs the command of a vector with the newest kubectl that it is about. */
export const runKubectlRequest: VectorRunner = async (vector) => {
  const { input, expected } = vector;
  if (Object.keys(expected).some((key) => !knownExpectations.includes(key))) return notImplemented(vector);
  if (input.command === undefined && input.server === undefined) return notImplemented(vector);
  programs ??= kubectlPrograms();
  const bound = input.kubectl as string | undefined;
  const program = (await programs).filter(({ version }) => bound === undefined || isWithin(version, bound)).at(-1);
  if (program === undefined)
    return notDecidable(bound === undefined ? "there is no kubectl" : `there is no kubectl ${bound}`);
  return inFolder((folder) =>
    withServer(undefined, async (server) => {
      const socketPath = join(folder, "socket", "api.sock");
      await server.server.listenUnix(socketPath);
      const proxy = await createRecordingProxy({ socketPath });
      const failing =
        input.server === undefined ? undefined : await failingServer(proxy, input.server, input.server.code);
      try {
        let created: unknown;
        // A write of whatever kind shows how kubectl prints a failure.
        const command = input.command ?? "kubectl patch service x --patch {}";
        for (const object of preconditions({ ...input, command })) {
          const answer = await server.create(object);
          if (answer.object === undefined) return `the precondition: ${answer.status?.message}`;
          created = answer.object;
        }
        proxy.take();
        const url = failing === undefined ? proxy.url : `http://127.0.0.1:${(failing.address() as AddressInfo).port}`;
        const output = await execute(command, url, { program, folder });
        const context: MatchContext = {
          serviceCIDRs: ["10.96.0.0/16"],
          nodePorts: [30000, 32767],
          ...(created === undefined ? {} : { created }),
        };
        const comparison = new Comparison(context);
        comparison.equal(expected.exitCode ?? 0, output.exit, `exit code (${output.stderr.trim()})`);
        for (const stream of ["stdout", "stderr"] as const) {
          const wanted = expected[stream] === undefined ? undefined : textFor(expected[stream], program.version);
          if (wanted !== undefined) comparison.equal(wanted, output[stream].trimEnd(), stream);
        }
        if (expected.requests !== undefined) await compareRequests(expected.requests, proxy.take(), server, comparison);
        if (expected.after !== undefined) {
          const stored = await server.request("GET", server.pathOf(created as KubernetesObject));
          comparison.subset(expected.after, stored.object);
        }
        return comparison.result;
      } finally {
        await proxy.close();
        failing?.close();
      }
    }),
  );
};
