import { setTimeout as sleep } from "node:timers/promises";
import { adminUser, anonymousUser } from "@portolan/apiserver";
import type { ApiRequest, ApiResponse } from "@portolan/client";
import { type ApiCluster, startApiCluster } from "../api/cluster.ts";
import { type Difference, Matcher } from "../api/matching.ts";
import {
  encodeJson,
  type RecordedCase,
  type RecordedRequest,
  type RecordedResponse,
  type RecordedStep,
  readCase,
  type Until,
} from "../api/recorded-case.ts";
import type { Area, CaseResult } from "../area.ts";

/** Response headers that recordings keep. */
const keptHeaders = ["content-type", "warning", "allow", "location", "www-authenticate", "retry-after"];

/** Longest wait for a condition of a poll, in milliseconds. */
const pollLimit = 10_000;

/** Differences that a failed case shows. */
const shownDifferences = 6;

/** An answer of the run in the form of recordings. */
interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: unknown;
}

function pointerParts(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function at(value: unknown, pointer: string): unknown {
  let current = value;
  for (const part of pointerParts(pointer)) current = (current as Record<string, unknown> | null | undefined)?.[part];
  return current;
}

/** Sets or removes a value inside a copy. */
function edit(value: unknown, pointer: string, replacement: unknown, isRemoval: boolean): void {
  const parts = pointerParts(pointer);
  const last = parts.pop() as string;
  let current = value as Record<string, unknown>;
  for (const part of parts) {
    current[part] ??= {};
    current = current[part] as Record<string, unknown>;
  }
  if (!isRemoval) current[last] = replacement;
  else if (Array.isArray(current)) current.splice(Number(last), 1);
  else delete current[last];
}

/** Runs one case against the cluster. */
class CaseRun {
  readonly #cluster: ApiCluster;
  readonly #namespace: string;
  readonly #answers: Answer[] = [];
  readonly #matcher: Matcher;
  readonly #case: RecordedCase;

  constructor(cluster: ApiCluster, namespace: string, recorded: RecordedCase) {
    this.#cluster = cluster;
    this.#namespace = namespace;
    this.#case = recorded;
    this.#matcher = new Matcher(namespace);
  }

  /** The first step whose answer differs, in words; `undefined` when all are as recorded. */
  async run(): Promise<string | undefined> {
    for (const [index, step] of this.#case.steps.entries()) {
      const differences = await this.#step(step);
      if (differences.length === 0) continue;
      const what = step.req === undefined ? `watch ${step.watch?.path}` : `${step.req.method} ${step.req.path}`;
      const shown = differences
        .slice(0, shownDifferences)
        .map(
          ({ path, expected, actual }) =>
            `\n    ${path === "" ? "/" : path}: expected ${show(expected)}, got ${show(actual)}`,
        );
      const more =
        differences.length > shownDifferences ? `\n    and ${differences.length - shownDifferences} more` : "";
      return `step ${index} (${what}):${shown.join("")}${more}`;
    }
    return undefined;
  }

  async #step(step: RecordedStep): Promise<Difference[]> {
    if (step.watch !== undefined) return this.#watch(step);
    if (step.req === undefined) {
      await sleep((step.sleep ?? 0) * 1000);
      this.#answers.push({ status: 0, headers: {}, body: undefined });
      return [];
    }
    let answer = await this.#send(step.req);
    if (step.until !== undefined) {
      const end = Date.now() + pollLimit;
      while (!holds(step.until, answer) && Date.now() < end) {
        await sleep(20);
        answer = await this.#send(step.req);
      }
    }
    this.#answers.push(answer);
    return step.res === undefined ? [] : this.#compare(step, step.res, answer);
  }

  #compare(step: RecordedStep, expected: RecordedResponse, answer: Answer): Difference[] {
    const differences = this.#matcher.compare(expected.status, answer.status, "status");
    if (expected.headers !== undefined)
      differences.push(...this.#matcher.compare(expected.headers, answer.headers, "headers"));
    if (step.pick === "status" || expected.body === undefined || this.#case.unstable !== undefined) return differences;
    const body = pick(step.pick, answer.body, expected.body);
    const bodies =
      this.#case.quirk?.startsWith("go-internals") === true && isFailure(expected.body)
        ? [expected.body, body].map(reduceStatus)
        : [expected.body, body];
    differences.push(...this.#matcher.compare(bodies[0], bodies[1], ""));
    return differences;
  }

  async #watch(step: RecordedStep): Promise<Difference[]> {
    const watch = step.watch as NonNullable<RecordedStep["watch"]>;
    const query =
      /(^|&)watch=/.test(watch.query ?? "") || watch.path.includes("/watch/")
        ? watch.query
        : [watch.query, "watch=1"].filter(Boolean).join("&");
    const controller = new AbortController();
    const request = {
      method: "GET",
      path: watch.path,
      ...(query === undefined ? {} : { query }),
      ...(watch.headers === undefined ? {} : { headers: watch.headers }),
    };
    const response = await this.#exchange(request, controller.signal);
    const expected = step.res;
    if (response.stream === undefined) {
      const answer = answerOf(response);
      this.#answers.push(answer);
      if (expected === undefined) return [];
      const { "content-type": contentType, ...rest } = expected;
      return this.#compare(
        step,
        {
          ...rest,
          ...(contentType === undefined ? {} : { headers: { "content-type": contentType } }),
          body: rest.body ?? rest.events,
        },
        answer,
      );
    }
    const events: unknown[] = [];
    const reading = (async () => {
      let text = "";
      for await (const chunk of response.stream as AsyncIterable<string | Uint8Array>) {
        text += typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8");
        const lines = text.split("\n");
        text = lines.pop() as string;
        for (const line of lines) if (line.trim() !== "") events.push(JSON.parse(line));
        if (watch.max !== undefined && events.length >= watch.max) break;
      }
    })();
    for (const during of watch.during ?? []) {
      await sleep(20);
      await this.#send(during);
    }
    await reading;
    controller.abort();
    this.#answers.push({ status: response.status, headers: {}, body: events });
    if (expected === undefined) return [];
    return [
      ...this.#matcher.compare(expected.status, response.status, "status"),
      ...(expected["content-type"] === undefined
        ? []
        : this.#matcher.compare(expected["content-type"], response.headers["content-type"], "content-type")),
      ...(expected.events === undefined ? [] : this.#matcher.compare(expected.events, events, "events")),
    ];
  }

  async #send(request: RecordedRequest): Promise<Answer> {
    return answerOf(await this.#exchange(request, undefined));
  }

  async #exchange(request: RecordedRequest, signal: AbortSignal | undefined): Promise<ApiResponse> {
    const query = request.query === undefined ? "" : `?${this.#text(request.query)}`;
    const body = request.body === undefined ? undefined : this.#body(request.body);
    const headers: Record<string, string> = { "user-agent": "golden/1.0", accept: "application/json" };
    if (body !== undefined) headers["content-type"] = "application/json";
    for (const [name, value] of Object.entries(request.headers ?? {})) {
      if (value === null) delete headers[name.toLowerCase()];
      else headers[name.toLowerCase()] = this.#text(value);
    }
    const transport = this.#cluster.server.transportFor(request.auth === "none" ? anonymousUser : adminUser);
    return await transport({
      method: request.method as ApiRequest["method"],
      path: `${this.#text(request.path)}${query}`,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  #body(body: unknown): string {
    if (typeof body === "string") return this.#text(body);
    return encodeJson(this.#substitute(body));
  }

  #substitute(value: unknown): unknown {
    if (typeof value === "string") return this.#text(value);
    if (Array.isArray(value)) return value.map((item) => this.#substitute(item));
    if (typeof value !== "object" || value === null) return value;
    const template = value as { $obj?: number; $set?: Record<string, unknown>; $unset?: string[] };
    if (typeof template.$obj === "number") {
      const copy = structuredClone(this.#answers[template.$obj]?.body);
      for (const [pointer, replacement] of Object.entries(template.$set ?? {}))
        edit(copy, pointer, this.#substitute(replacement), false);
      for (const pointer of template.$unset ?? []) edit(copy, pointer, undefined, true);
      return copy;
    }
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [this.#text(key), this.#substitute(item)]));
  }

  #text(text: string): string {
    return text
      .replaceAll("$NS", this.#namespace)
      .replaceAll("$BIG", () => "x".repeat(3_500_000))
      .replace(/\$\{(\d+)(\/[^}]*)\}/g, (_, step: string, pointer: string) =>
        String(at(this.#answers[Number(step)]?.body, pointer)),
      );
  }
}

function answerOf(response: ApiResponse): Answer {
  const headers: Record<string, unknown> = {};
  for (const name of keptHeaders) if (response.headers[name] !== undefined) headers[name] = response.headers[name];
  const text =
    typeof response.body === "string"
      ? response.body
      : response.body === undefined
        ? ""
        : Buffer.from(response.body).toString("utf8");
  let body: unknown = { $text: text };
  if (String(response.headers["content-type"] ?? "").startsWith("application/json")) {
    try {
      body = JSON.parse(text);
    } catch {
      // Compared as text.
    }
  }
  return { status: response.status, headers, body };
}

function holds(until: Until, answer: Answer): boolean {
  if (until.status !== undefined) return answer.status === until.status;
  if (until.ptr !== undefined) return at(answer.body, until.ptr) === until.eq;
  if (until.list !== undefined) {
    const list = at(answer.body, until.list);
    return (Array.isArray(list) ? list.length : 0) === until.len;
  }
  return true;
}

function pick(how: RecordedStep["pick"], body: unknown, expected: unknown): unknown {
  if (how === "names" && isList(body)) {
    return { $names: body.items.map((item) => item.metadata?.name), metadata: body.metadata };
  }
  if (how === "keys" && typeof body === "object" && body !== null) {
    const paths = (body as { paths?: object }).paths ?? body;
    const keys = Array.isArray(paths) ? paths : Object.keys(paths).sort();
    return Array.isArray(expected) ? keys : { [Object.keys(expected as object)[0] ?? "$keys"]: keys };
  }
  return body;
}

function isList(body: unknown): body is { items: { metadata?: { name?: string } }[]; metadata: unknown } {
  return typeof body === "object" && body !== null && Array.isArray((body as { items?: unknown }).items);
}

function isFailure(body: unknown): boolean {
  return (body as { kind?: string } | null)?.kind === "Status";
}

/** What of a Status is the same whatever language the server is written in. */
function reduceStatus(body: unknown): unknown {
  const { status, reason, code, details } = body as {
    status?: string;
    reason?: string;
    code?: number;
    details?: { causes?: { field?: string }[] };
  };
  return { status, reason, code, fields: details?.causes?.map((cause) => cause.field) };
}

function show(value: unknown): string {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > 400 ? `${text.slice(0, 400)}…` : text;
}

/**
 * Requests recorded at a real API server, sent to ours in process. The cluster is that of the recordings: Service ranges of two families, the
 * controllers of a controller manager, neither scheduler nor kubelets.
 */
export const area: Area = {
  name: "api",
  async *run(files, only): AsyncIterable<CaseResult> {
    const cluster = await startApiCluster();
    let number = 0;
    try {
      for (const file of files) {
        for (const line of file.text.split("\n")) {
          if (line.trim() === "") continue;
          const recorded = readCase(line);
          if (!only(recorded.id)) continue;
          if (recorded.quirk !== undefined && !recorded.quirk.startsWith("go-internals")) {
            yield { id: recorded.id, outcome: "skipped", difference: recorded.quirk };
            continue;
          }
          yield await runCase(cluster, `gold-${++number}`, recorded);
        }
      }
    } finally {
      await cluster.close();
    }
  },
};

async function runCase(cluster: ApiCluster, namespace: string, recorded: RecordedCase): Promise<CaseResult> {
  let difference: string | undefined;
  try {
    await cluster.createNamespace(namespace);
    difference = await new CaseRun(cluster, namespace, recorded).run();
  } catch (error) {
    difference = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  try {
    await cluster.clear(namespace);
  } catch (error) {
    difference ??= `cannot be cleared away: ${String(error)}`;
  }
  return difference === undefined
    ? { id: recorded.id, outcome: "passed" }
    : { id: recorded.id, outcome: "failed", difference };
}
