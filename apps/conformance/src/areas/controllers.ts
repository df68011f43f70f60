import { createHash } from "node:crypto";
import { createApiServer, createGarbageCollector } from "@portolan/apiserver";
import { createApiClient, createInformerFactory, sleep, systemClock, type Transport } from "@portolan/client";
import { type Endpoint, type EndpointSlice, type EndpointSubset, type Endpoints, resources } from "@portolan/core";
import {
  createEndpointSliceController,
  createEndpointSliceMirroringController,
  createEndpointsController,
  type EndpointController,
} from "@portolan/endpoints";
import { type Area, type CaseResult, jsonLines } from "../area.ts";

/** A recorded request; `$NS` and `${LAST/json/pointer}` in it stand for values of the run. */
interface RecordedRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
}

type Counts = Record<string, number | { min: number; max: number }>;

/** What the real controllers had made when everything had come to rest. */
interface SettledState {
  readonly endpoints?: readonly Record<string, unknown>[];
  readonly slices?: readonly Record<string, unknown>[];
  readonly all_slice_addresses?: unknown;
  readonly writes?: { endpoints?: Counts; slices?: Counts; advisory?: boolean };
}

interface Step {
  readonly req?: RecordedRequest;
  readonly repeat?: number;
  readonly from?: number;
  readonly keep?: boolean;
  readonly sleep?: number;
  readonly settle?: boolean;
  readonly res?: { status?: number; statuses?: Record<string, number> } & SettledState;
}

interface Scenario {
  readonly id: string;
  readonly big?: boolean;
  /** Paths that differed between runs of the real system, each followed by `: ` and how. */
  readonly unstable?: readonly string[];
  readonly steps: readonly Step[];
}

const triggerTime = "endpoints.kubernetes.io/last-change-trigger-time";

/** Quiet time after which nothing more is expected, in milliseconds; the longer one when a retry is due. */
const quiet = 120;
const quietBeforeRetry = 1_300;

/** The nodes that the recording had. */
function fixtureNodes(): Record<string, unknown>[] {
  return [1, 2, 3, 4].map((number) => {
    const zone = ["zone-a", "zone-b", "zone-c"][number - 1];
    return {
      metadata: {
        name: `node${number}`,
        ...(zone === undefined
          ? {}
          : { labels: { "topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "r1" } }),
      },
      status: {
        capacity: { cpu: "640", memory: "64Gi", pods: "1100" },
        allocatable: { cpu: "640", memory: "64Gi", pods: "1100" },
        conditions: [{ type: "Ready", status: zone === undefined ? "False" : "True" }],
      },
    };
  });
}

interface Cluster {
  readonly transport: Transport;
  /** Watch events of Endpoints and slices since the last call, by type. */
  takeCounts(): { endpoints: Record<string, number>; slices: Record<string, number> };
  /** Waits until nothing happens any more. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

async function startCluster(namespace: string): Promise<Cluster> {
  const server = await createApiServer({
    serviceCIDRs: ["10.96.0.0/16", "fd00:10:96::/112"],
    nodePortRange: "30000-32767",
    // As recorded; nothing connects to it.
    advertise: { address: "192.0.2.1", port: 26443 },
  });
  const { transport } = server;
  const api = createApiClient(transport, { userAgent: "golden/1.0" });
  for (const node of fixtureNodes()) await api.create(resources.nodes, node);
  await api.create(resources.namespaces, { metadata: { name: namespace } });

  const abort = new AbortController();
  const informers = createInformerFactory(api);
  let lastEvent = Date.now();
  const counts: Record<"endpoints" | "slices", Record<string, number>> = { endpoints: {}, slices: {} };
  const running: Promise<void>[] = [];
  for (const kind of ["endpoints", "slices"] as const) {
    const type = kind === "endpoints" ? resources.endpoints : resources.endpointSlices;
    const { metadata } = await api.list(type, { namespace });
    const count = async (): Promise<void> => {
      const from = { namespace, resourceVersion: metadata.resourceVersion ?? "", signal: abort.signal };
      for await (const event of api.watch(type, from)) {
        counts[kind][event.type] = (counts[kind][event.type] ?? 0) + 1;
        lastEvent = Date.now();
      }
    };
    running.push(count());
  }
  const controllers: EndpointController[] = [
    createEndpointSliceController(api, { informers }),
    createEndpointsController(api, { informers }),
    createEndpointSliceMirroringController(api, { informers }),
  ];
  for (const controller of controllers) running.push(controller.run(abort.signal));
  const types = [resources.services, resources.endpoints, resources.endpointSlices];
  running.push(createGarbageCollector({ api, informers, types }).run(abort.signal));
  informers.start(abort.signal);
  await informers.synced();

  return {
    transport,
    takeCounts() {
      const taken = { endpoints: { ...counts.endpoints }, slices: { ...counts.slices } };
      counts.endpoints = {};
      counts.slices = {};
      return taken;
    },
    async settled() {
      lastEvent = Date.now();
      for (;;) {
        const metrics = controllers.map((controller) => controller.metrics());
        const busy = metrics.some(({ depth, processing }) => depth + processing > 0);
        const needed = metrics.some(({ delayed }) => delayed > 0) ? quietBeforeRetry : quiet;
        if (!busy && Date.now() - lastEvent >= needed) return;
        await sleep(systemClock, 10);
      }
    },
    async stop() {
      abort.abort();
      await Promise.allSettled(running);
      await server.close();
    },
  };
}

function substitute(value: unknown, variables: ReadonlyMap<string, string>, last: unknown): unknown {
  if (typeof value === "string") {
    let text = value;
    for (const [name, replacement] of variables) text = text.replaceAll(name, replacement);
    return text.replace(/\$\{LAST(\/[^}]*)\}/g, (_, pointer: string) => String(resolvePointer(last, pointer)));
  }
  if (Array.isArray(value)) return value.map((item) => substitute(item, variables, last));
  if (value !== null && typeof value === "object")
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        substitute(key, variables, last) as string,
        substitute(item, variables, last),
      ]),
    );
  return value;
}

function resolvePointer(value: unknown, pointer: string): unknown {
  let at = value;
  for (const part of pointer.split("/").slice(1))
    at = (at as Record<string, unknown> | undefined)?.[part.replaceAll("~1", "/").replaceAll("~0", "~")];
  return at;
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sortKeys(item)]),
  );
}

const text = (value: unknown): string => JSON.stringify(sortKeys(value));
const byText = (a: unknown, b: unknown): number => (text(a) < text(b) ? -1 : 1);

/** The parts of metadata that are compared; whether a trigger time is there depends on timing. */
function comparedMetadata(metadata: Record<string, unknown>): Record<string, unknown> {
  const { [triggerTime]: _, ...annotations } = (metadata["annotations"] ?? {}) as Record<string, string>;
  const owners = (metadata["ownerReferences"] ?? []) as Record<string, unknown>[];
  return {
    name: metadata["name"],
    ...(metadata["labels"] === undefined ? {} : { labels: metadata["labels"] }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    ...(owners.length === 0 ? {} : { ownerReferences: owners.map(({ uid: __, ...owner }) => owner) }),
  };
}

function withoutUids(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, item) =>
      key === "targetRef" && item?.uid !== undefined ? { ...item, uid: "<uid>" } : item,
    ),
  );
}

/** Lists of big scenarios are recorded as their length and first two entries. */
function abridge(list: readonly unknown[], firstTwo: boolean): unknown {
  return firstTwo ? { $count: list.length, $first2: list.slice(0, 2) } : { $count: list.length };
}

/** The real controller orders ports by a hash, and addresses of one IP by a random UID: orders without meaning. */
function ordered(subset: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(subset).map(([key, list]) => [key, Array.isArray(list) ? [...list].sort(byText) : list]),
  );
}

function shownSubset(subset: EndpointSubset, big: boolean): Record<string, unknown> {
  const shown = withoutUids(subset) as Record<string, unknown>;
  for (const side of ["addresses", "notReadyAddresses"]) {
    const list = shown[side] as unknown[] | undefined;
    if (list !== undefined && big && list.length > 2) shown[side] = abridge(list, true);
  }
  return ordered(shown);
}

function shownEndpoints(object: Endpoints, big: boolean): Record<string, unknown> {
  return {
    metadata: comparedMetadata(object.metadata as Record<string, unknown>),
    ...(object.subsets === undefined || object.subsets.length === 0
      ? {}
      : { subsets: object.subsets.map((subset) => shownSubset(subset, big)).sort(byText) }),
  };
}

function shownSlice(slice: EndpointSlice, big: boolean): Record<string, unknown> {
  const service = slice.metadata.labels?.["kubernetes.io/service-name"];
  const { name = "" } = slice.metadata;
  const random = service !== undefined && name.startsWith(`${service}-`) ? name.slice(service.length + 1) : "";
  const generated = /^[bcdfghjklmnpqrstvwxz2456789]{5}$/.test(random) ? `${service}-*` : name;
  const sorted = [...(slice.endpoints ?? [])].sort((a, b) => byText(a.addresses, b.addresses) || byText(a, b));
  return {
    metadata: comparedMetadata({ ...slice.metadata, name: generated }),
    addressType: slice.addressType,
    ports: slice.ports?.length ? [...slice.ports].sort(byText) : null,
    endpoints: sorted.length === 0 ? null : big ? abridge(sorted, false) : withoutUids(sorted),
  };
}

function shownTotals(slices: readonly EndpointSlice[]): unknown {
  const all: Endpoint[] = slices.flatMap((slice) => slice.endpoints ?? []);
  const conditions: Record<string, number> = {};
  for (const { conditions: state = {} } of all) {
    const key = `{${Object.entries(state)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => `"${name}": ${value}`)
      .join(", ")}}`;
    conditions[key] = (conditions[key] ?? 0) + 1;
  }
  const lines = all.flatMap((endpoint) => endpoint.addresses).sort();
  return {
    conditions,
    count: all.length,
    sha256_of_sorted_lines: createHash("sha256").update(lines.join("\n")).digest("hex"),
  };
}

/** Expected objects in the form in which actual ones are shown. */
function expectedObjects(list: readonly Record<string, unknown>[] = []): Record<string, unknown>[] {
  return list.map((object) => {
    const subsets = object["subsets"] as Record<string, unknown>[] | undefined;
    return {
      ...object,
      metadata: comparedMetadata(object["metadata"] as Record<string, unknown>),
      ...(subsets === undefined ? {} : { subsets: subsets.map(ordered).sort(byText) }),
    };
  });
}

/** First difference of two values, or undefined. Paths that differed in the recording are passed over. */
function difference(
  expected: unknown,
  actual: unknown,
  path: string,
  ignored: ReadonlySet<string>,
): string | undefined {
  if (ignored.has(path)) return undefined;
  if (Array.isArray(expected) && Array.isArray(actual)) {
    if (expected.length !== actual.length)
      return `${path}: expected ${expected.length} entries ${text(expected)}, got ${actual.length}: ${text(actual)}`;
    for (const [index, item] of expected.entries()) {
      const found = difference(item, actual[index], `${path}/${index}`, ignored);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  if (expected !== null && actual !== null && typeof expected === "object" && typeof actual === "object") {
    for (const key of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
      const found = difference(
        (expected as Record<string, unknown>)[key],
        (actual as Record<string, unknown>)[key],
        `${path}/${key}`,
        ignored,
      );
      if (found !== undefined) return found;
    }
    return undefined;
  }
  return expected === actual ? undefined : `${path}: expected ${text(expected)}, got ${text(actual)}`;
}

function countDifference(expected: Counts = {}, actual: Record<string, number>, path: string): string | undefined {
  for (const type of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
    const wanted = expected[type] ?? 0;
    const got = actual[type] ?? 0;
    const right = typeof wanted === "number" ? got === wanted : got >= wanted.min && got <= wanted.max;
    if (!right) return `${path}/${type}: expected ${text(wanted)} events, got ${got}`;
  }
  return undefined;
}

async function runScenario(scenario: Scenario, namespace: string): Promise<string | undefined> {
  const cluster = await startCluster(namespace);
  const api = createApiClient(cluster.transport, { userAgent: "golden/1.0" });
  const ignored = new Set((scenario.unstable ?? []).map((entry) => entry.split(":")[0]!));
  const big = scenario.big === true;
  let last: unknown;

  async function send(
    request: RecordedRequest,
    variables: ReadonlyMap<string, string>,
  ): Promise<{ status: number; body: unknown }> {
    const { method, path, headers = {}, body } = substitute(request, variables, last) as RecordedRequest;
    const response = await cluster.transport({
      method,
      path,
      headers: {
        "user-agent": "golden/1.0",
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const raw = typeof response.body === "string" ? response.body : new TextDecoder().decode(response.body);
    return { status: response.status, body: raw === "" ? undefined : JSON.parse(raw) };
  }

  try {
    for (const [index, step] of scenario.steps.entries()) {
      const at = `step${index}`;
      const variables = new Map([["$NS", namespace]]);
      if (step.sleep !== undefined) await sleep(systemClock, step.sleep * 1000);
      if (step.req !== undefined && step.repeat !== undefined) {
        const statuses: Record<string, number> = {};
        const from = step.from ?? 0;
        for (let i = from; i < from + step.repeat; i++) {
          const numbered = new Map([
            ...variables,
            ["$i", String(i)],
            ["$a", String(Math.floor(i / 250))],
            ["$b", String((i % 250) + 1)],
          ]);
          const { status } = await send(step.req, numbered);
          statuses[status] = (statuses[status] ?? 0) + 1;
        }
        const found = difference(step.res?.statuses, statuses, `${at}/statuses`, ignored);
        if (found !== undefined) return found;
      } else if (step.req !== undefined) {
        const answer = await send(step.req, variables);
        if (step.keep) last = answer.body;
        if (step.res?.status !== answer.status)
          return `${at}: ${step.req.method} ${step.req.path} should be answered ${step.res?.status}, was ${answer.status}: ${text(answer.body)}`;
      }
      if (step.settle && step.res !== undefined) {
        await cluster.settled();
        const expected = substitute(step.res, variables, last) as SettledState;
        const endpoints = (await api.list<Endpoints>(resources.endpoints, { namespace })).items;
        const slices = (await api.list<EndpointSlice>(resources.endpointSlices, { namespace })).items;
        const pairs: [string, unknown, unknown][] = [
          [
            "endpoints",
            expectedObjects(expected.endpoints).sort(byText),
            endpoints.map((object) => shownEndpoints(object, big)).sort(byText),
          ],
          [
            "slices",
            expectedObjects(expected.slices).sort(byText),
            slices.map((slice) => shownSlice(slice, big)).sort(byText),
          ],
          ...(expected.all_slice_addresses === undefined
            ? []
            : ([["all_slice_addresses", expected.all_slice_addresses, shownTotals(slices)]] as [
                string,
                unknown,
                unknown,
              ][])),
        ];
        for (const [name, wanted, got] of pairs) {
          const found = difference(wanted, got, `${at}/${name}`, ignored);
          if (found !== undefined) return found;
        }
        const counts = cluster.takeCounts();
        // Several requests came before this one: how many writes they take depends on timing.
        if (expected.writes !== undefined && !expected.writes.advisory) {
          const found =
            countDifference(expected.writes.endpoints, counts.endpoints, `${at}/writes/endpoints`) ??
            countDifference(expected.writes.slices, counts.slices, `${at}/writes/slices`);
          if (found !== undefined) return found;
        }
      }
    }
    return undefined;
  } finally {
    await cluster.stop();
  }
}

/** Scenarios that run at the same time: most of their time is waiting for quiet. */
const parallel = 6;

/**
 * Replays requests against an embedded API server with the endpoint controllers, and compares what they made, and with how many
 * writes, with what the real ones did. Every scenario has a server of its own.
 */
export const area: Area = {
  name: "controllers",
  async *run(files, only) {
    const scenarios = files.flatMap((file) => jsonLines(file) as Scenario[]).filter(({ id }) => only(id));
    const pending: Promise<CaseResult>[] = [];
    let next = 0;
    const start = (): void => {
      const scenario = scenarios[next];
      if (scenario === undefined) return;
      const run = runScenario(scenario, `controllers-${next++}`).then(
        (found): CaseResult =>
          found === undefined
            ? { id: scenario.id, outcome: "passed" }
            : { id: scenario.id, outcome: "failed", difference: found },
        (error: unknown): CaseResult => ({
          id: scenario.id,
          outcome: "failed",
          difference: error instanceof Error ? (error.stack ?? error.message) : String(error),
        }),
      );
      pending.push(run);
    };
    for (let count = 0; count < parallel; count++) start();
    while (pending.length > 0) {
      const result = await pending.shift()!;
      start();
      yield result;
    }
  },
};
