import type { KubernetesObject } from "@portolan/core";
import { createQueryHandler, type QueryHandler, ResolveError, type Resolver } from "@portolan/dns";
import {
  decodeMessage,
  encodeMessage,
  isWithin,
  type Message,
  nameFromText,
  nameToText,
  queryMessage,
  type ResponseCodeName,
  recordFromText,
  recordTypeFromName,
  recordTypeName,
  recordTypes,
  responseCodeName,
  responseCodes,
} from "@portolan/dns/message";
import { type ClusterZone, type ClusterZoneOptions, createClusterZone, type PodMode } from "@portolan/dns/zone";
import type { CaseResult } from "../area.ts";
import { requireAgreement } from "./dataplane-agreement.ts";
import {
  aliasOrderDifference,
  type RecordedRecord,
  type RecordRules,
  recordDifferences,
  shownMessage,
  toRecorded,
} from "./record-comparison.ts";

interface UpstreamAnswer {
  readonly rcode?: ResponseCodeName;
  readonly answer?: readonly RecordedRecord[];
  readonly authority?: readonly RecordedRecord[];
  readonly additional?: readonly RecordedRecord[];
  readonly aa?: number;
  readonly tc?: number | boolean;
  readonly error?: boolean;
}

/** Configuration of a vector, as its file describes it. */
export interface VectorConfiguration {
  readonly zones: readonly string[];
  readonly ttl: number;
  readonly pods: PodMode;
  readonly namespaces: readonly string[];
  readonly synced: boolean;
  readonly localIPs: readonly string[];
  readonly fallthrough?: readonly string[];
  readonly next?: Readonly<Record<string, UpstreamAnswer>>;
  readonly upstream?: Readonly<Record<string, UpstreamAnswer>>;
  readonly ignoreEmptyService?: boolean;
  readonly noendpoints?: boolean;
  readonly endpointPodNames?: boolean;
  readonly multiclusterZones?: readonly string[];
  readonly zonal?: boolean;
  readonly autopath?: boolean;
  readonly external?: { readonly zones: readonly string[]; readonly headless?: boolean };
  readonly transfer?: unknown;
}

export interface VectorQuery {
  readonly name: string;
  readonly type: string;
  readonly transport?: "udp" | "tcp";
  readonly edns?: { readonly udp?: number; readonly do?: boolean };
  readonly client?: string;
  readonly ixfr_serial?: number | string;
}

export interface VectorExpectation {
  readonly rcode: string;
  readonly aa?: number;
  readonly tc?: number;
  readonly answer?: readonly RecordedRecord[];
  readonly authority?: readonly RecordedRecord[];
  readonly additional?: readonly RecordedRecord[];
  /** Of transfers: all records in order of arrival. */
  readonly records?: readonly RecordedRecord[];
  readonly same_as?: string;
}

export interface AnswerVector {
  readonly id: string;
  readonly group: string;
  readonly state: string;
  readonly config: VectorConfiguration;
  readonly query: VectorQuery;
  readonly expect: VectorExpectation;
  readonly coredns?: VectorExpectation;
  readonly also_accept?: readonly string[];
  readonly case_exact?: boolean;
  readonly optional?: boolean;
  readonly constraints?: {
    readonly answer?: string;
    readonly authority?: string;
    readonly additional?: string;
    readonly max_bytes?: number;
  };
}

/** One watch event or question of a sequence. */
export type SequenceStep =
  | { readonly op: "apply"; readonly object: KubernetesObject }
  | { readonly op: "delete"; readonly kind: string; readonly namespace: string; readonly name: string }
  | { readonly op: "relist"; readonly objects?: readonly KubernetesObject[]; readonly kind?: string }
  | { readonly op: "synced" }
  | {
      readonly op: "check";
      readonly query: VectorQuery;
      readonly expect: VectorExpectation;
      readonly within_ms?: number;
    };

export interface Sequence {
  readonly id: string;
  readonly state: string | null;
  readonly initial_objects?: readonly KubernetesObject[];
  readonly config: VectorConfiguration;
  readonly steps: readonly SequenceStep[];
}

/** A handler for a vector's configuration. */
export interface VectorSubject {
  readonly zone: ClusterZone;
  readonly handler: QueryHandler;
}

/** Answers written down in a vector, as a resolver. What is not there has no data. */
function resolverFrom(...maps: (Readonly<Record<string, UpstreamAnswer>> | undefined)[]): Resolver {
  return {
    async resolve(question) {
      const key = `${nameToText(question.name)}/${recordTypeName(question.type)}`.toLowerCase();
      let found: UpstreamAnswer | undefined;
      for (const map of maps)
        for (const [name, answer] of Object.entries(map ?? {})) if (name.toLowerCase() === key) found ??= answer;
      if (found?.error === true) throw new ResolveError("network", "the vector's upstream is out of order");
      const records = (list: readonly RecordedRecord[] | undefined) =>
        (list ?? []).map(({ name, ttl, type, data }) =>
          recordFromText(name, ttl === "*" ? 30 : Number(ttl), type, data),
        );
      return {
        ...queryMessage(0, question),
        response: true,
        rcode: responseCodes[found?.rcode ?? "NOERROR"],
        authoritative: found?.aa === 1,
        truncated: found?.tc === 1 || found?.tc === true,
        answers: records(found?.answer),
        authorities: records(found?.authority),
        additionals: records(found?.additional),
      };
    },
  };
}

/** Creates the subject of a vector. */
export function vectorSubject(config: VectorConfiguration, objects: readonly KubernetesObject[]): VectorSubject {
  const options: ClusterZoneOptions = {
    zones: config.zones,
    ttl: config.ttl,
    podMode: config.pods,
    ...(config.namespaces.length === 0 ? {} : { namespaces: config.namespaces }),
    localAddresses: config.localIPs,
    ignoreEmptyService: config.ignoreEmptyService ?? false,
    noEndpoints: config.noendpoints ?? false,
    endpointPodNames: config.endpointPodNames ?? false,
    multiclusterZones: config.multiclusterZones ?? [],
    zonal: config.zonal ?? false,
    ...(config.external === undefined ? {} : { external: config.external }),
  };
  const zone = createClusterZone(options);
  for (const object of objects) zone.apply(object);
  zone.synced = config.synced;
  const forwards = config.next !== undefined;
  const handler = createQueryHandler({
    blocks: [
      {
        // Without anything behind it, a server knows its zones and nothing else.
        origins: forwards ? [nameFromText(".")] : zone.zones,
        zone,
        ...(config.fallthrough === undefined
          ? {}
          : { fallthrough: config.fallthrough.map((name) => nameFromText(name)) }),
        ...(forwards ? { next: resolverFrom(config.next) } : {}),
        chase: resolverFrom(config.upstream, config.next),
        ...(config.autopath === true ? { autopath: true } : {}),
        ...(config.transfer === undefined ? {} : { transfer: { allows: () => true } }),
      },
    ],
  });
  return { zone, handler };
}

/** Asks a subject as a vector says. */
export async function askVector(
  subject: VectorSubject,
  query: VectorQuery,
): Promise<{ message: Message; size: number } | undefined> {
  const type = recordTypeFromName(query.type);
  if (type === undefined) throw new Error(`"${query.type}" is no record type`);
  const question = { name: nameFromText(query.name), type, class: 1 };
  let message = queryMessage(4711, question, {
    ...(query.edns === undefined
      ? {}
      : {
          edns: {
            udpPayloadSize: query.edns.udp ?? 1232,
            version: 0,
            dnssecOk: query.edns.do ?? false,
            reservedFlags: 0,
            options: [],
          },
        }),
  });
  if (query.ixfr_serial !== undefined) {
    const serial = query.ixfr_serial === "current" ? subject.zone.serial : Number(query.ixfr_serial);
    const data = `ns.dns.${query.name} hostmaster.${query.name} ${Number.isNaN(serial) ? subject.zone.serial : serial} 0 0 0 0`;
    message = { ...message, authorities: [recordFromText(query.name, 0, "SOA", data)] };
  }
  const client = { address: query.client ?? "127.0.0.1", port: 40000, transport: query.transport ?? "udp" } as const;
  const request = encodeMessage(message);
  const result = await subject.handler.handle(request, client);
  if (result === undefined || result instanceof Uint8Array)
    requireAgreement(subject, request, client.transport, result);
  if (result === undefined) return undefined;
  if (result instanceof Uint8Array) return { message: decodeMessage(result), size: result.length };
  const messages = result.map((bytes) => decodeMessage(bytes));
  return {
    message: { ...messages[0]!, answers: messages.flatMap(({ answers }) => answers) },
    size: result.reduce((sum, bytes) => sum + bytes.length, 0),
  };
}

/** Differences of a reply from one expectation. */
export function expectationDifferences(
  vector: Pick<AnswerVector, "query" | "group" | "case_exact" | "constraints" | "config">,
  expect: VectorExpectation,
  message: Message,
  size: number,
): string[] {
  const { constraints = {}, query, config } = vector;
  const differences: string[] = [];
  const check = (what: string, expected: unknown, got: unknown): void => {
    if (expected !== got) differences.push(`${what}: expected ${String(expected)}, got ${String(got)}`);
  };
  const question = nameFromText(query.name);
  const rcode = responseCodeName(message.rcode);
  check("rcode", expect.rcode, rcode);
  const fromNext = Object.keys(config.next ?? {}).some(
    (key) => key.toLowerCase() === `${query.name}/${query.type}`.toLowerCase(),
  );
  if ((rcode === "NOERROR" || rcode === "NXDOMAIN") && !fromNext && expect.aa !== undefined)
    check("aa", expect.aa === 1, message.authoritative);
  check("tc", expect.tc === 1, message.truncated);
  if (constraints.max_bytes !== undefined && size > constraints.max_bytes)
    differences.push(`size: ${size} octets, ${constraints.max_bytes} are allowed`);
  const rules: RecordRules = {
    exactCase: vector.case_exact === true,
    ttlAtMost: false,
    ignoreWeights: vector.group !== "core",
  };
  const answers = message.answers.map(toRecorded);
  if (expect.records !== undefined) {
    // A stream without duplicates is as good as one with (RFC 5936 section 2.2).
    const once = (records: readonly RecordedRecord[]): RecordedRecord[] => [
      ...new Map(
        records.map((one) => [`${one.name} ${one.type} ${one.type === "SOA" ? "" : one.data}`.toLowerCase(), one]),
      ).values(),
    ];
    differences.push(...recordDifferences("records", once(expect.records), once(answers), rules));
    if (answers[0]?.type !== "SOA") differences.push("records: the first is no SOA");
    return differences;
  }
  const rule = constraints.answer ?? "exact";
  const unexpected = recordDifferences("answer", expect.answer ?? [], answers, rules, rule === "subset").filter(
    (line) => !(rule.startsWith("superset-ok") && line.includes("not expected")),
  );
  differences.push(...unexpected);
  const order = aliasOrderDifference(message.answers, question);
  if (order !== undefined) differences.push(`answer: ${order}`);
  if (constraints.authority !== "any")
    differences.push(
      ...recordDifferences("authority", expect.authority ?? [], message.authorities.map(toRecorded), rules),
    );
  if (constraints.additional !== "any") {
    const additional = message.additionals.map(toRecorded);
    const optional = vector.group !== "core" && vector.group !== "edge" && additional.length === 0;
    if (!optional)
      differences.push(
        ...recordDifferences("additional", expect.additional ?? [], additional, rules, message.truncated),
      );
  }
  return differences;
}

/** Whether one of the alternatives of `also_accept` fits: a response code without answers, or `NODATA`. */
function acceptedOtherwise(vector: AnswerVector, message: Message): boolean {
  const rcode = responseCodeName(message.rcode);
  const question = nameFromText(vector.query.name);
  const empty =
    message.answers.length === 0 &&
    message.authorities.every(({ type, name }) => type === recordTypes.SOA && isWithin(question, name));
  return (vector.also_accept ?? []).some((text) => {
    if (text === "NODATA") return rcode === "NOERROR" && empty;
    const first = text.split(/\s/)[0]!;
    return Object.hasOwn(responseCodes, first) && first !== "NOERROR" && rcode === first && empty;
  });
}

/** Runs answer vectors. */
export async function* runAnswerVectors(
  vectors: readonly AnswerVector[],
  states: Readonly<Record<string, { readonly objects: readonly KubernetesObject[] }>>,
  only: (id: string) => boolean,
): AsyncIterable<CaseResult> {
  const byId = new Map(vectors.map((vector) => [vector.id, vector]));
  for (const vector of vectors) {
    if (!only(vector.id)) continue;
    try {
      const subject = vectorSubject(vector.config, states[vector.state]?.objects ?? []);
      const reply = await askVector(subject, vector.query);
      const sameAs = vector.expect.same_as;
      if (sameAs !== undefined && !byId.has(sameAs)) {
        yield { id: vector.id, outcome: "skipped", difference: `it refers to ${sameAs}, which is not in this file` };
        continue;
      }
      const expect = sameAs === undefined ? vector.expect : byId.get(sameAs)!.expect;
      const candidates = [
        expect,
        ...(vector.also_accept?.includes("coredns") === true && vector.coredns !== undefined ? [vector.coredns] : []),
      ];
      let differences: string[] | undefined;
      if (reply === undefined) differences = [`expected ${expect.rcode}, got no reply`];
      else
        for (const candidate of candidates) {
          const found = expectationDifferences(vector, candidate, reply.message, reply.size);
          if (differences === undefined || found.length < differences.length) differences = found;
        }
      const passed = differences?.length === 0 || (reply !== undefined && acceptedOtherwise(vector, reply.message));
      yield passed
        ? { id: vector.id, outcome: "passed" }
        : {
            id: vector.id,
            outcome: "failed",
            difference: `${vector.query.name} ${vector.query.type}: ${differences!.join("; ")} | got ${shownMessage(reply?.message)}`,
          };
    } catch (error) {
      yield { id: vector.id, outcome: "failed", difference: (error as Error).stack ?? String(error) };
    }
  }
}

/** Runs sequences of events and questions. What a question expects must be there at once: events are applied before it is asked. */
export async function* runSequences(
  sequences: readonly Sequence[],
  states: Readonly<Record<string, { readonly objects: readonly KubernetesObject[] }>>,
  only: (id: string) => boolean,
): AsyncIterable<CaseResult> {
  for (const sequence of sequences) {
    if (!only(sequence.id)) continue;
    const differences: string[] = [];
    try {
      const objects = sequence.initial_objects ?? states[sequence.state ?? ""]?.objects ?? [];
      const { zone, handler } = vectorSubject(sequence.config, objects);
      for (const [index, step] of sequence.steps.entries()) {
        if (step.op === "apply") zone.apply(step.object);
        else if (step.op === "delete")
          zone.remove({ kind: step.kind, metadata: { name: step.name, namespace: step.namespace } });
        else if (step.op === "synced") zone.synced = true;
        else if (step.op === "relist") {
          const kinds = step.kind === undefined ? ["Namespace", "Service", "EndpointSlice", "Pod"] : [step.kind];
          for (const kind of kinds)
            zone.replace(
              kind,
              (step.objects ?? []).filter((object) => object.kind === kind),
            );
        } else {
          const reply = await askVector({ zone, handler }, step.query);
          const vector = { query: step.query, group: "edge", config: sequence.config };
          const found =
            reply === undefined ? ["no reply"] : expectationDifferences(vector, step.expect, reply.message, reply.size);
          for (const line of found)
            differences.push(
              `step ${index}, ${step.query.name} ${step.query.type}: ${line} | got ${shownMessage(reply?.message)}`,
            );
        }
      }
    } catch (error) {
      differences.push((error as Error).stack ?? String(error));
    }
    yield differences.length === 0
      ? { id: sequence.id, outcome: "passed" }
      : { id: sequence.id, outcome: "failed", difference: differences.join("; ") };
  }
}
