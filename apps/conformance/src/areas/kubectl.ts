import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { KubernetesList, KubernetesObject } from "@portolan/core";
import { type Area, type CaseResult, jsonLines } from "../area.ts";
import { type Fixture, startFixture } from "../kubectl/fixture.ts";
import { kubectlOnPath, type Output, run } from "../kubectl/kubectl-program.ts";
import { Comparison, normaliseOutput, normaliseValues, type Surroundings } from "../kubectl/normalisation.ts";
import { createRecordingProxy, type RecordedRequest, type RecordingProxy } from "../kubectl/recording-proxy.ts";

interface ApiCall {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

interface Step {
  readonly argv?: readonly string[];
  readonly stdin?: string;
  /** Seconds. */
  readonly timeout?: number;
  readonly sleep?: number;
  readonly req?: ApiCall;
}

interface ExpectedRequest {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly accept?: string;
  readonly "content-type"?: string;
  readonly body?: unknown;
  readonly upgrade?: string;
}

interface ExpectedResult {
  readonly exit: number;
  readonly stdout?: string;
  readonly stdout_json?: unknown;
  readonly stderr: string;
  readonly requests: readonly ExpectedRequest[];
}

interface Case {
  readonly id: string;
  readonly setup?: readonly Step[];
  readonly setup_status?: readonly number[];
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly cmds: readonly Step[];
  readonly results: Readonly<Record<string, readonly (ExpectedResult | null)[]>>;
  readonly tags?: readonly string[];
  readonly unstable?: readonly string[];
  readonly quirk?: string;
}

/** JSON with keys in order, so that two texts are the same when the values are. */
function stable(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === "object" && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}

/** What of a URL differs from run to run: versions, hashes, tokens, and timeouts that clients choose at random. */
function normaliseUrl(url: string): string {
  const [path = "", query] = url.split("?");
  if (query === undefined) return decodeURIComponent(path);
  const parameters = query
    .split("&")
    .map((each) => decodeURIComponent(each.replace(/\+/g, " ")))
    .map((each) => each.replace(/^(hash|continue)=.*/, "$1=<$1>").replace(/^(resourceVersion)=\d+$/, "$1=<rv>"))
    // kubectl joins them in the order of a map.
    .map((each) =>
      each.replace(/^fieldSelector=(.*)/, (_, list: string) => `fieldSelector=${list.split(",").sort().join(",")}`),
    )
    .map((each, _, all) => {
      const isWatch = all.includes("watch=true");
      return isWatch ? each.replace(/^(timeout|timeoutSeconds)=.*/, "$1=<n>") : each;
    });
  return `${decodeURIComponent(path)}?${parameters.sort().join("&")}`;
}

/** kubectl builds that come from a dispatcher ask for the version before every command; others do not. */
function isVersionProbe(path: string): boolean {
  return path === "/version?timeout=5s";
}

interface RequestParts {
  readonly method: string;
  readonly url: string;
  readonly status: number;
  readonly accept: string | undefined;
  readonly contentType: string | undefined;
  readonly upgrade: string | undefined;
  readonly body: unknown;
}

function requestLine(parts: RequestParts): string {
  const url = normaliseUrl(parts.url);
  // Whether a cached document is asked for again depends on the clock.
  const status = url.startsWith("/openapi/") && parts.status === 304 ? 200 : parts.status;
  const accept = parts.accept === undefined || parts.accept === "application/json" ? "" : ` accept ${parts.accept}`;
  const type = parts.contentType === undefined ? "" : ` type ${parts.contentType}`;
  const upgrade = parts.upgrade === undefined ? "" : ` upgrade ${parts.upgrade.toLowerCase()}`;
  const body = parts.body === undefined ? "" : ` ${stable(parts.body)}`;
  return `${parts.method} ${url} -> ${status}${accept}${type}${upgrade}${body}`;
}

/** A protobuf body byte for byte, but for the namespace, whose name has the same length in each run. */
function protobufText(body: Uint8Array): string {
  return Buffer.from(body)
    .toString("latin1")
    .replace(/gold-[0-9a-f]{8}/g, "$NS");
}

function bodyOf(contentType: string | undefined, body: Uint8Array): unknown {
  if (body.length === 0) return undefined;
  if (contentType?.startsWith("application/vnd.kubernetes.protobuf")) return protobufText(body);
  const text = Buffer.from(body).toString("utf8");
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return { $text: text };
  }
}

function expectedBody(body: unknown): unknown {
  const base64 = (body as { $base64?: string } | undefined)?.$base64;
  return base64 === undefined ? body : protobufText(Buffer.from(base64, "base64"));
}

function actualLine(request: RecordedRequest, surroundings: Surroundings): string {
  const contentType = request.headers["content-type"];
  const line = requestLine({
    method: request.method,
    url: request.url,
    status: request.status,
    accept: request.headers.upgrade === undefined ? request.headers.accept : undefined,
    contentType,
    upgrade: request.headers.upgrade,
    body: bodyOf(contentType, request.body),
  });
  return normaliseValues(line, surroundings);
}

function expectedLine(request: ExpectedRequest): string {
  return requestLine({
    method: request.method,
    url: request.path,
    status: request.status,
    accept: request.accept,
    contentType: request["content-type"],
    upgrade: request.upgrade,
    body: expectedBody(request.body),
  }).replace(/<rv:\d+>/g, "<rv>");
}

/**
 * Without the wait for objects whose deletion others have to finish (`Orphan`, `Foreground`): whether the object was gone at the first look is a
 * matter of time. Lines of deletes stay.
 */
function withoutDeletionWaits(lines: readonly string[]): string[] {
  const waits: string[] = [];
  for (const line of lines) {
    const [, path] = /^DELETE (\S+) -> 200 .*"propagationPolicy":"(?:Orphan|Foreground)"/.exec(line) ?? [];
    if (path !== undefined) waits.push(path);
  }
  const isWait = (line: string): boolean =>
    waits.some((path) => {
      const slash = path.lastIndexOf("/");
      const selector = `fieldSelector=metadata.name=${path.slice(slash + 1)}`;
      return (
        line.startsWith(`GET ${path} -> `) ||
        (line.startsWith(`GET ${path.slice(0, slash)}?`) && line.includes(selector))
      );
    });
  return lines.filter((line) => !isWait(line));
}

/**
 * Requests in an order that both sides share: reads each once and sorted, since polls repeat them and discovery sends them at the
 * same time; writes as they came.
 */
function arranged(lines: readonly string[]): string[] {
  const isRead = (line: string): boolean => line.startsWith("GET ");
  const blank = (line: string): string => line.replace(/<\w+:\d+>|\u0001[^\u0002]*\u0002/g, "<>");
  const kept = withoutDeletionWaits(lines);
  const reads = [...new Set(kept.filter(isRead))].sort((a, b) => (blank(a) < blank(b) ? -1 : 1));
  return [...reads, ...kept.filter((line) => !isRead(line))];
}

function differenceOf(what: string, expected: string, actual: string): string {
  const left = expected.split("\n");
  const right = Comparison.readable(actual).split("\n");
  const blank = (line: string | undefined): string | undefined =>
    line?.replace(/<(uid|cip4|cip6|nodePort|podIP6?):[^>]*>/g, "<$1>");
  const found = left.findIndex((line, index) => blank(line) !== blank(right[index]));
  const at = found < 0 ? left.length : found;
  const shown = (lines: readonly string[]): string =>
    lines
      .slice(Math.max(0, at), at + 4)
      .join("\n")
      .slice(0, 1200);
  return `${what}: expected\n${shown(left)}\n--- got\n${shown(right)}`;
}

function requestDifference(expected: readonly string[], actual: readonly string[]): string {
  const blank = (line: string): string => Comparison.readable(line).replace(/<(\w+):[^>]*>/g, "<$1>");
  const mine = expected.map(blank);
  const theirs = actual.map(blank);
  const missing = mine.filter((line) => !theirs.includes(line));
  const extra = theirs.filter((line) => !mine.includes(line));
  const list = (lines: readonly string[]): string => lines.map((line) => `\n  ${line.slice(0, 600)}`).join("");
  if (missing.length === 0 && extra.length === 0)
    return `requests in another order: expected${list(mine)}\n--- got${list(theirs)}`;
  return `requests: expected${list(missing)}\n--- got${list(extra)}`;
}

/** Names that were made for objects of a namespace, as the recordings write them. */
async function collectGeneratedNames(fixture: Fixture, namespace: string, names: Map<string, string>): Promise<void> {
  const paths = [
    `/api/v1/namespaces/${namespace}/pods`,
    `/apis/apps/v1/namespaces/${namespace}/replicasets`,
    `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`,
  ];
  for (const path of paths) {
    const { status, body } = await fixture.request("GET", path);
    if (status !== 200) continue;
    for (const { metadata } of (body as KubernetesList<KubernetesObject>).items) {
      const { name = "", generateName, labels } = metadata ?? {};
      const hash = labels?.["pod-template-hash"];
      let written = generateName === undefined ? name : `${generateName}<rand>`;
      if (hash !== undefined) written = written.replace(`-${hash}`, "-<hash>");
      if (written !== name) names.set(name, written);
    }
  }
}

function kubeconfig(server: string, namespace: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "c",
    clusters: [{ name: "c", cluster: { server } }],
    contexts: [{ name: "c", context: { cluster: "c", user: "u", namespace } }],
    users: [{ name: "u", user: {} }],
  });
}

/** One case: prepares a folder and a namespace, runs the commands, and says what was different. */
async function runCase(
  record: Case,
  version: string,
  fixture: Fixture,
  proxy: RecordingProxy,
): Promise<string | undefined> {
  const namespace = `gold-${randomBytes(4).toString("hex")}`;
  const folder = await mkdtemp(join(tmpdir(), "portolan-kubectl-"));
  const home = join(folder, "home");
  const names = new Map<string, string>();
  const surroundings: Surroundings = {
    namespace,
    server: proxy.url,
    folder,
    ownText: JSON.stringify([record.files ?? {}, record.setup ?? [], record.cmds]).replaceAll("\\n", " "),
    generatedNames: names,
  };
  const fill = (text: string): string => text.replaceAll("$NS", namespace);
  const environment = {
    PATH: process.env["PATH"] ?? "",
    HOME: home,
    TMPDIR: folder,
    KUBECONFIG: join(home, "config"),
    ...record.env,
  };

  async function perform(
    step: Step,
  ): Promise<{ readonly code: number; readonly output?: Output; readonly answer?: unknown }> {
    if (step.sleep !== undefined) {
      await sleep(step.sleep * 1000);
      return { code: 0 };
    }
    if (step.req !== undefined) {
      const { method, path, headers, body } = step.req;
      const answer = await fixture.request(
        method,
        fill(path),
        body === undefined ? undefined : JSON.parse(fill(JSON.stringify(body))),
        headers,
      );
      return { code: answer.status, answer: answer.body };
    }
    const [program = "", ...parameters] = (step.argv ?? []).map(fill);
    if (program !== "kubectl") throw new Error(`there is no rule for the program "${program}"`);
    const output = await run(program, parameters, {
      cwd: folder,
      env: environment,
      stdin: step.stdin === undefined ? undefined : fill(step.stdin),
      seconds: step.timeout ?? 60,
    });
    return { code: output.exit, output };
  }

  try {
    await mkdir(home);
    await writeFile(environment.KUBECONFIG, kubeconfig(proxy.url, namespace));
    for (const [name, text] of Object.entries(record.files ?? {})) await writeFile(join(folder, name), fill(text));
    await fixture.createNamespace(namespace);
    for (const [index, step] of (record.setup ?? []).entries()) {
      const { code, output, answer } = await perform(step);
      const expected = record.setup_status?.[index];
      if (expected !== undefined && code !== expected) {
        const what = step.argv?.join(" ") ?? `${step.req?.method} ${step.req?.path}`;
        return `setup "${what}": expected ${expected}, got ${code}\n${output?.stderr ?? JSON.stringify(answer)}`;
      }
    }

    const comparison = new Comparison();
    const results = record.results[version] ?? [];
    for (const [index, step] of record.cmds.entries()) {
      await collectGeneratedNames(fixture, namespace, names);
      proxy.take();
      const { output } = await perform(step);
      const expected = results[index];
      if (output === undefined || expected === null || expected === undefined) continue;
      const requests = proxy.take();
      await collectGeneratedNames(fixture, namespace, names);
      const difference = compare(expected, output, requests, surroundings, comparison);
      if (difference !== undefined) return `${(step.argv ?? []).join(" ")}: ${difference}`;
    }
    return undefined;
  } finally {
    await fixture.deleteNamespace(namespace);
    await rm(folder, { recursive: true, force: true });
  }
}

function compare(
  expected: ExpectedResult,
  output: Output,
  requests: readonly RecordedRequest[],
  surroundings: Surroundings,
  comparison: Comparison,
): string | undefined {
  const stderr = normaliseOutput(output.stderr, surroundings);
  if (output.exit !== expected.exit)
    return `exit: expected ${expected.exit}, got ${output.exit}\n${Comparison.readable(stderr)}`;
  if (expected.stdout_json === undefined) {
    const stdout = normaliseOutput(output.stdout, surroundings);
    const wanted = expected.stdout ?? "";
    if (!sameOutput(comparison, wanted, stdout)) return differenceOf("stdout", wanted, stdout);
  } else {
    let stdout: string;
    try {
      stdout = normaliseValues(stable(JSON.parse(output.stdout)), surroundings);
    } catch {
      return `stdout: expected JSON, got\n${output.stdout.slice(0, 500)}`;
    }
    const wanted = stable(expected.stdout_json);
    if (!comparison.same(wanted, stdout)) return differenceOf("stdout", wanted, stdout);
  }
  if (!comparison.same(expected.stderr, stderr)) return differenceOf("stderr", expected.stderr, stderr);

  const mine = arranged(
    expected.requests.filter(({ path }) => !isVersionProbe(path)).map((request) => expectedLine(request)),
  );
  const theirs = arranged(
    requests.filter(({ url }) => !isVersionProbe(url)).map((request) => actualLine(request, surroundings)),
  );
  return comparison.same(mine.join("\n"), theirs.join("\n")) ? undefined : requestDifference(mine, theirs);
}

/** JSON in plain output (`get --raw`) is compared as a value: the order of its keys says nothing. */
function sameOutput(comparison: Comparison, expected: string, actual: string): boolean {
  if (comparison.same(expected, actual)) return true;
  try {
    return comparison.same(
      stable(JSON.parse(expected)),
      stable(JSON.parse(actual.replace(/[\u0001\u0002]/g, "@"))).replace(/@(\w+:[^@]*)@/g, "\u0001$1\u0002"),
    );
  } catch {
    return false;
  }
}

/** Drives the real kubectl on PATH against the embedded API server, and compares what it says and asks with recordings. */
export const area: Area = {
  name: "kubectl",
  async *run(files, only) {
    const records = files.flatMap((file) => jsonLines(file) as Case[]).filter((record) => only(record.id));
    const kubectl = await kubectlOnPath();
    const skipAll = (reason: string): CaseResult[] =>
      records.map(({ id }) => ({ id, outcome: "skipped", difference: reason }));
    if (kubectl === undefined) {
      yield* skipAll("there is no kubectl on PATH");
      return;
    }
    console.log(`kubectl ${kubectl.fullVersion}: results of ${kubectl.version}`);
    const fixture = await startFixture();
    const proxy = await createRecordingProxy(fixture.upstream);
    try {
      for (const record of records) {
        if (record.results[kubectl.version] === undefined) {
          yield { id: record.id, outcome: "skipped", difference: `nothing is recorded for kubectl ${kubectl.version}` };
          continue;
        }
        if (record.tags?.includes("notreal")) {
          yield { id: record.id, outcome: "skipped", difference: "records a kubelet that refuses connections" };
          continue;
        }
        if (record.quirk !== undefined) {
          yield { id: record.id, outcome: "skipped", difference: `not to be graded: ${record.quirk}` };
          continue;
        }
        let difference: string | undefined;
        try {
          difference = await runCase(record, kubectl.version, fixture, proxy);
        } catch (error) {
          difference = error instanceof Error ? (error.stack ?? error.message) : String(error);
        }
        if (difference === undefined) yield { id: record.id, outcome: "passed" };
        else if (record.unstable === undefined) yield { id: record.id, outcome: "failed", difference };
        else {
          const reason = `differs between runs of the real system (${record.unstable.join("; ")})`;
          yield { id: record.id, outcome: "skipped", difference: `${reason}: ${difference}` };
        }
      }
    } finally {
      await proxy.close();
      await fixture.close();
    }
  },
};
