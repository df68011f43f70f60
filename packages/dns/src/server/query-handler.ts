import {
  createMessageEncoder,
  type Edns,
  type EdnsOption,
  ednsOptionCodes,
  headerFlags,
  headerLength,
  type Message,
  type MessageEncoder,
  type Question,
} from "../message/message.ts";
import {
  type DomainName,
  equalNames,
  isWithin,
  joinNames,
  labelsOf,
  nameFromLabels,
  nameFromText,
  offsetOfZone,
} from "../message/name.ts";
import { faultReply, type Query, readQuery } from "../message/query.ts";
import { nameRecord, type ResourceRecord, textRecord } from "../message/record.ts";
import { operationCodes, recordClasses, recordTypes, responseCodes } from "../message/record-type.ts";
import type { ClusterZone, ZoneAnswer } from "../zone/cluster-zone.ts";
import { createAnswerTemplates, replyFromTemplate } from "./answer-template.ts";
import type { ResolveOptions, Resolver } from "./resolver.ts";
import { ResolveError } from "./resolver.ts";

/** Who asks. */
export interface QueryClient {
  /** Canonical text of the address. */
  readonly address: string;
  readonly port: number;
  readonly transport: "udp" | "tcp";
}

/** What a block of the configuration answers with. */
export interface HandlerBlock {
  /** Names at or below these come here; the root takes everything. */
  readonly origins: readonly DomainName[];
  readonly zone?: ClusterZone;
  /** Zones whose misses go on to {@link next}; an empty list means all of the zone. */
  readonly fallthrough?: readonly DomainName[];
  /** Answers what is in no zone, and targets of aliases that leave them. */
  readonly next?: Resolver;
  /** Resolves the targets of aliases that leave the zones. Default {@link next}. */
  readonly chase?: Resolver;
  /** Own limit for UDP payloads in octets. Default 1232 (RFC 9715). */
  readonly udpPayloadSize?: number;
  /** Answers ANY with one HINFO record (RFC 8482). */
  readonly minimalAny?: boolean;
  /** Answers of class CH: `version.bind` and `version.server`, `authors.bind`, `hostname.bind` and `id.server`. */
  readonly chaos?: { readonly version: string; readonly authors: readonly string[]; readonly hostname: string };
  /** Random order of address records per reply. */
  readonly loadbalance?: boolean;
  /** Whole zones for these clients. */
  readonly transfer?: { allows(address: string): boolean };
  /** Whether a client may ask for a type: `block` refuses, `filter` gives an empty answer, `drop` none. Asked before everything else. */
  readonly access?: ((address: string, type: number) => "allow" | "block" | "filter" | "drop") | undefined;
  /** No record leaves with a higher TTL, in seconds. */
  readonly maximumTtl?: number;
  /** The same for failures and for transfers. */
  readonly maximumFailureTtl?: number;
  /**
   * Walks the search list of the Pod that asks on its behalf: a name below the first domain of the list that does not exist there is tried in
   * the others and as it is, and the answer is an alias to where it was found. Needs a zone that verifies Pods.
   */
  readonly autopath?: boolean;
}

/** What happened to one query, for metrics and logs. */
export interface QueryReport {
  readonly client: QueryClient;
  readonly request: Uint8Array;
  readonly query: Query | undefined;
  readonly reply: Uint8Array | undefined;
  readonly rcode: number;
  /** The served zone, `.` for what was forwarded, `dropped` for what came to nobody. */
  readonly zone: string;
  /** Who answered: `kubernetes`, `forward`, `cache`, `chaos`, `any`, `transfer`, empty. */
  readonly plugin: string;
  /** What the access rules of the block said, where it has any. */
  readonly access?: "allow" | "block" | "filter" | "drop";
  /** Fixed word for what was wrong with a query that was not one. */
  readonly fault: string | undefined;
  /** Milliseconds from the query to its reply. */
  readonly duration: number;
}

/** Options of {@link createQueryHandler}. */
export interface QueryHandlerOptions {
  readonly blocks: readonly HandlerBlock[];
  /** Fair random numbers in [0, 1). Default `Math.random`; order of records is no secret. */
  readonly random?: () => number;
  /** Milliseconds for which idle TCP connections stay open, told to clients that ask (RFC 7828). Default 10 000. */
  readonly tcpIdleTimeout?: number;
  /** Monotonic milliseconds, for {@link QueryReport.duration}. Default: all durations are 0. */
  readonly now?: () => number;
  /** Called once per query after its answer is known; must not throw. */
  readonly observe?: (report: QueryReport) => void;
  /** Looks at cookies and rates before anything is answered (RFC 7873): gives options for the reply, or a refusal. */
  readonly admission?: Admission;
}

/** Decides about a client before its question is looked at. */
export interface Admission {
  /**
   * `options` go into the reply's OPT record. `rcode` other than 0 is the whole answer; `drop` means none; `truncate` sends an empty
   * answer with TC, so that only a client that can be reached at its address comes back, by TCP.
   */
  admit(
    query: Query,
    options: readonly EdnsOption[],
    client: QueryClient,
  ): { readonly options?: readonly EdnsOption[]; readonly rcode?: number; readonly action?: "drop" | "truncate" };
}

/** A server without sockets: octets in, octets out. */
export interface QueryHandler {
  /**
   * Handles one message. The result is an array that holds until 64 more messages were handled, undefined when there must be no reply, a promise only when an upstream has to be asked.
   * Never throws and never rejects: what goes wrong inside becomes SERVFAIL. A transfer gives one message per array.
   */
  handle(
    request: Uint8Array,
    client: QueryClient,
  ): Uint8Array | undefined | readonly Uint8Array[] | Promise<Uint8Array | undefined>;
  /**
   * How the zone of a domain answers plain questions, when nothing but its content decides about them: no client, no rate, nobody
   * else. Undefined when it is not so.
   */
  plainZone(domain: DomainName): PlainZone | undefined;
  /** The reply to a plain question about a plain zone; undefined when it is not the zone's alone. */
  plainAnswer(name: DomainName, type: number): PlainAnswer | undefined;
}

/** See {@link QueryHandler.plainZone}. */
export interface PlainZone {
  /** Octets, for the OPT record. */
  readonly payloadSize: number;
  /** Address records may come in any order. */
  readonly anyOrder: boolean;
  /** What is not there does not exist: nobody else is asked then. */
  readonly denies: boolean;
  /** Names below the domain that other blocks or zones answer. */
  readonly elsewhere: readonly DomainName[];
  /** As metrics call it. */
  readonly label: string;
}

/** A reply without EDNS, as it follows the question. */
export interface PlainAnswer {
  readonly rcode: number;
  readonly answers: readonly ResourceRecord[];
  readonly authorities: readonly ResourceRecord[];
  readonly additionals: readonly ResourceRecord[];
  /** Encodes all of these. */
  records(): Uint8Array;
}

const root = new Uint8Array(1);
const chaosNames = {
  version: ["version.bind.", "version.server."].map((name) => nameFromText(name)),
  authors: ["authors.bind."].map((name) => nameFromText(name)),
  hostname: ["hostname.bind.", "id.server."].map((name) => nameFromText(name)),
};

const nobody: QueryClient = { address: "", port: 0, transport: "tcp" };
const plainQuery: Query = {
  outcome: "query",
  id: 0,
  flags: 0,
  opcode: operationCodes.QUERY,
  nameEnd: 0,
  type: 0,
  class: recordClasses.IN,
  optionsOffset: -1,
  optionsLength: 0,
  udpPayloadSize: 512,
  dnssecOk: false,
  ednsVersion: 0,
};

/** Extended errors (RFC 8914). */
const extendedErrors = { NOT_READY: 14, NO_REACHABLE_AUTHORITY: 22, NETWORK_ERROR: 23 } as const;

interface Outcome {
  rcode: number;
  authoritative: boolean;
  recursionAvailable: boolean;
  /** Of the upstream, when one answered; else the client's own bit comes back. */
  checkingDisabled?: boolean;
  truncated: boolean;
  answers: readonly ResourceRecord[];
  authorities: readonly ResourceRecord[];
  additionals: readonly ResourceRecord[];
  zone: string;
  plugin: string;
  extendedError?: number;
}

function outcome(rcode: number, zone: string, plugin: string): Outcome {
  return {
    rcode,
    authoritative: false,
    recursionAvailable: false,
    truncated: false,
    answers: [],
    authorities: [],
    additionals: [],
    zone,
    plugin,
  };
}

/** Creates the pipeline that turns a message into its reply. */
export function createQueryHandler(options: QueryHandlerOptions): QueryHandler {
  const random = options.random ?? Math.random;
  const now = options.now ?? (() => 0);
  const { admission, observe } = options;
  const templates = createAnswerTemplates<HandlerBlock>();
  const encoder: MessageEncoder = createMessageEncoder();
  // The block of the longest origin that a name is within takes the question.
  const routes = options.blocks
    .flatMap((block) => block.origins.map((origin) => ({ origin, block })))
    .sort((a, b) => b.origin.length - a.origin.length);

  function route(name: DomainName, type: number): HandlerBlock | undefined {
    for (const { origin, block } of routes) {
      if (!isWithin(name, origin)) continue;
      // DS records live in the parent zone (RFC 4035 3.1.4.1).
      if (type === recordTypes.DS && origin.length > 1 && name.length === origin.length) continue;
      return block;
    }
    return undefined;
  }

  function capped(records: readonly ResourceRecord[], ttl: number | undefined): readonly ResourceRecord[] {
    if (ttl === undefined || records.every((record) => record.ttl <= ttl)) return records;
    return records.map((record) => (record.ttl <= ttl ? record : { ...record, ttl }));
  }

  /** Addresses in random order behind the aliases, which must stay in the order of their chain. */
  function shuffled(records: readonly ResourceRecord[]): readonly ResourceRecord[] {
    const isAddress = (record: ResourceRecord): boolean =>
      record.type === recordTypes.A || record.type === recordTypes.AAAA || record.type === recordTypes.MX;
    const moving = records.filter(isAddress);
    if (moving.length < 2) return records;
    for (let index = moving.length - 1; index > 0; index--) {
      const other = Math.floor(random() * (index + 1));
      [moving[index], moving[other]] = [moving[other]!, moving[index]!];
    }
    return [...records.filter((record) => !isAddress(record)), ...moving];
  }

  /** What of a query its reply needs. */
  interface Asked {
    readonly request: Uint8Array;
    readonly query: Query;
    readonly name: DomainName;
    readonly client: QueryClient;
    readonly block: HandlerBlock | undefined;
    readonly started: number;
    ednsOptions: readonly EdnsOption[];
    access?: NonNullable<QueryReport["access"]>;
  }

  function report(
    asked: Asked,
    reply: Uint8Array | undefined,
    rcode: number,
    zone: string,
    plugin: string,
    fault?: string,
  ): void {
    if (observe === undefined) return;
    const { request, query, client, started } = asked;
    const access = asked.access === undefined ? {} : { access: asked.access };
    observe({ client, request, query, reply, rcode, zone, plugin, fault, duration: now() - started, ...access });
  }

  function messageOf({ query, name, block }: Asked, result: Outcome, edns: Edns | undefined): Message {
    const ttl =
      result.rcode === responseCodes.SERVFAIL ? (block?.maximumFailureTtl ?? block?.maximumTtl) : block?.maximumTtl;
    return {
      id: query.id,
      response: true,
      opcode: query.opcode,
      authoritative: result.authoritative,
      truncated: result.truncated,
      recursionDesired: (query.flags & headerFlags.RD) !== 0,
      recursionAvailable: result.recursionAvailable,
      authenticData: false,
      checkingDisabled: result.checkingDisabled ?? (query.flags & headerFlags.CD) !== 0,
      rcode: result.rcode,
      questions: [{ name, type: query.type, class: query.class }],
      answers: capped(result.answers, ttl),
      authorities: capped(result.authorities, ttl),
      additionals: capped(result.additionals, ttl),
      ...(edns === undefined ? {} : { edns }),
    };
  }

  function send(asked: Asked, result: Outcome): Uint8Array {
    const { query, client, block } = asked;
    const size = block?.udpPayloadSize ?? 1232;
    const limit = client.transport === "tcp" ? 0xffff : Math.min(query.udpPayloadSize, Math.max(512, size));
    let edns: Edns | undefined;
    if (query.optionsOffset >= 0) {
      const all = [...asked.ednsOptions];
      if (client.transport === "tcp" && query.optionsLength > 0) {
        // How long an idle connection stays open, in tenths of a second (RFC 7828); over UDP the question has no meaning.
        const wanted = readOptions(asked.request, query).some(({ code }) => code === ednsOptionCodes.TCP_KEEPALIVE);
        const tenths = Math.min(0xffff, Math.floor((options.tcpIdleTimeout ?? 10_000) / 100));
        if (wanted) all.push({ code: ednsOptionCodes.TCP_KEEPALIVE, data: Uint8Array.of(tenths >>> 8, tenths & 0xff) });
      }
      if (result.extendedError !== undefined)
        all.push({
          code: ednsOptionCodes.EXTENDED_ERROR,
          data: Uint8Array.of(result.extendedError >>> 8, result.extendedError & 0xff),
        });
      edns = { udpPayloadSize: size, version: 0, dnssecOk: query.dnssecOk, reservedFlags: 0, options: all };
    }
    const octets = encoder.encode(messageOf(asked, result, edns), limit).slice();
    report(asked, octets, result.rcode, result.zone, result.plugin);
    return octets;
  }

  function fromMessage(message: Message, name: DomainName, plugin: string): Outcome {
    // The owner comes back in the letters of this question, whoever asked first.
    const inQuestionCase = (record: ResourceRecord): ResourceRecord =>
      equalNames(record.name, name) ? { ...record, name } : record;
    return {
      rcode: message.rcode,
      authoritative: message.authoritative,
      recursionAvailable: message.recursionAvailable,
      ...(message.checkingDisabled === undefined ? {} : { checkingDisabled: message.checkingDisabled }),
      truncated: message.truncated,
      answers: message.answers.map(inQuestionCase),
      authorities: message.authorities.map(inQuestionCase),
      additionals: message.additionals,
      zone: ".",
      plugin,
    };
  }

  function failed(error: unknown): Outcome {
    const result = outcome(responseCodes.SERVFAIL, ".", "forward");
    if (!(error instanceof ResolveError)) return result;
    if (error.code === "overloaded") return { ...result, rcode: responseCodes.REFUSED };
    return {
      ...result,
      extendedError: error.code === "network" ? extendedErrors.NETWORK_ERROR : extendedErrors.NO_REACHABLE_AUTHORITY,
    };
  }

  async function ask(resolver: Resolver, question: Question, how: ResolveOptions): Promise<Outcome> {
    try {
      return fromMessage(await resolver.resolve(question, how), question.name, "forward");
    } catch (error) {
      return failed(error);
    }
  }

  async function chase(
    block: HandlerBlock,
    result: Outcome,
    target: DomainName,
    question: Question,
    how: ResolveOptions,
  ): Promise<Outcome> {
    const other = route(target, question.type) ?? block;
    const resolver = other.chase ?? other.next;
    if (resolver === undefined) return result;
    const found = await ask(resolver, { ...question, name: target }, how);
    const answers = [...result.answers, ...found.answers];
    if (found.rcode === responseCodes.NOERROR) return { ...result, answers, truncated: found.truncated };
    if (found.rcode === responseCodes.NXDOMAIN)
      // The response code speaks of the last name of the chain (RFC 6604).
      return { ...result, answers, rcode: responseCodes.NXDOMAIN, authorities: found.authorities };
    return {
      ...result,
      rcode: responseCodes.SERVFAIL,
      ...(found.extendedError === undefined ? {} : { extendedError: found.extendedError }),
    };
  }

  function chaos(block: HandlerBlock, name: DomainName, type: number): Outcome | undefined {
    if (block.chaos === undefined || type !== recordTypes.TXT) return undefined;
    const { version, authors, hostname } = block.chaos;
    const has = (names: readonly DomainName[]): boolean => names.some((one) => equalNames(one, name));
    const strings = has(chaosNames.version)
      ? [version]
      : has(chaosNames.authors)
        ? authors
        : has(chaosNames.hostname)
          ? [hostname]
          : undefined;
    if (strings === undefined) return undefined;
    const answers = strings.map((text) => ({
      ...textRecord(name, recordTypes.TXT, 0, [text.slice(0, 255)]),
      class: recordClasses.CH,
    }));
    return { ...outcome(responseCodes.NOERROR, "bind.", "chaos"), authoritative: true, answers };
  }

  function transferMessages(query: Query, name: DomainName, records: readonly ResourceRecord[]): readonly Uint8Array[] {
    const messages: Uint8Array[] = [];
    let from = 0;
    while (from < records.length) {
      // Halving the step until a message fits keeps the messages large and the encoder simple.
      let count = Math.min(500, records.length - from);
      for (;;) {
        const octets = encoder.encode({
          id: query.id,
          response: true,
          opcode: 0,
          authoritative: true,
          truncated: false,
          recursionDesired: (query.flags & headerFlags.RD) !== 0,
          recursionAvailable: false,
          authenticData: false,
          checkingDisabled: false,
          rcode: 0,
          questions: from === 0 ? [{ name, type: query.type, class: query.class }] : [],
          answers: records.slice(from, from + count),
          authorities: [],
          additionals: [],
          ...(query.optionsOffset >= 0
            ? { edns: { udpPayloadSize: 1232, version: 0, dnssecOk: query.dnssecOk, reservedFlags: 0, options: [] } }
            : {}),
        });
        if ((octets[2]! & 0x02) === 0) {
          messages.push(octets.slice());
          break;
        }
        count >>= 1;
      }
      from += count;
    }
    return messages;
  }

  function answer(asked: Asked): Uint8Array | undefined | readonly Uint8Array[] | Promise<Uint8Array | undefined> {
    const { request, query, name, client, block } = asked;
    const refuse = (rcode: number, plugin = ""): Uint8Array => send(asked, outcome(rcode, "dropped", plugin));

    if (query.ednsVersion > 0) return refuse(responseCodes.BADVERS);
    if (admission !== undefined) {
      const admitted = admission.admit(query, readOptions(request, query), client);
      asked.ednsOptions = admitted.options ?? [];
      if (admitted.action === "drop") return drop(asked, "rate");
      if (admitted.action === "truncate")
        return send(asked, { ...outcome(responseCodes.NOERROR, "dropped", ""), truncated: true });
      if (admitted.rcode !== undefined && admitted.rcode !== 0) return refuse(admitted.rcode);
    }
    // A NOTIFY for a zone that we are no secondary of (RFC 1996 3.11).
    if (query.opcode === operationCodes.NOTIFY) return refuse(responseCodes.NOTAUTH);
    if (block === undefined) return refuse(responseCodes.REFUSED);
    if (block.access !== undefined) {
      const access = block.access(client.address, query.type);
      asked.access = access;
      if (access === "drop") return drop(asked, "access");
      if (access === "block") return refuse(responseCodes.REFUSED, "acl");
      if (access === "filter") return refuse(responseCodes.NOERROR, "acl");
    }
    if (query.class !== recordClasses.IN) {
      const found = query.class === recordClasses.CH ? chaos(block, name, query.type) : undefined;
      return found === undefined ? refuse(responseCodes.REFUSED) : send(asked, found);
    }
    if (query.type === recordTypes.ANY && block.minimalAny === true) {
      const record = textRecord(name, recordTypes.HINFO, 8482, ["ANY obsoleted", "See RFC 8482"]);
      return send(asked, { ...outcome(responseCodes.NOERROR, "dropped", "any"), answers: [record] });
    }
    const question: Question = { name, type: query.type, class: query.class };
    const how: ResolveOptions = {
      transport: client.transport,
      recursionDesired: (query.flags & headerFlags.RD) !== 0,
      checkingDisabled: (query.flags & headerFlags.CD) !== 0,
      dnssecOk: query.dnssecOk,
    };
    if ((query.type === recordTypes.AXFR || query.type === recordTypes.IXFR) && block.transfer !== undefined)
      return transfer(asked, block) ?? onward(asked, block, question, how);
    const found = block.zone?.answer(name, query.type);
    if (found === undefined) return onward(asked, block, question, how);
    if (found.rcode === responseCodes.NXDOMAIN && block.autopath === true) {
      const walked = autopath(block, question, how, client);
      if (walked !== undefined)
        return walked.then((result) =>
          result === undefined ? settle(asked, found, block, question, how) : send(asked, result),
        );
    }
    return settle(asked, found, block, question, how);
  }

  /** Turns what the zone says into a reply, asking others where it does not know. */
  function settle(
    asked: Asked,
    found: ZoneAnswer,
    block: HandlerBlock,
    question: Question,
    how: ResolveOptions,
  ): Uint8Array | Promise<Uint8Array | undefined> {
    const zone = zoneLabel(found.zone);
    let result: Outcome = {
      rcode: found.rcode,
      authoritative: found.authoritative,
      recursionAvailable: false,
      truncated: false,
      answers: found.answers,
      authorities: found.authorities,
      additionals: found.additionals,
      zone,
      plugin: "kubernetes",
    };
    if (found.miss) {
      const { fallthrough } = block;
      const falls =
        fallthrough !== undefined &&
        (fallthrough.length === 0 || fallthrough.some((one) => isWithin(question.name, one)));
      if (falls) {
        if (question.type !== recordTypes.SOA) return onward(asked, block, question, how);
        // Whoever looks for the zone of a name reads it from here; whether the name exists is not ours to say.
        result = { ...result, rcode: responseCodes.NOERROR };
      }
    }
    if (found.rcode === responseCodes.SERVFAIL) result.extendedError = extendedErrors.NOT_READY;
    if (found.chase !== undefined) {
      return chase(block, result, found.chase, question, how).then((chased) =>
        send(asked, block.loadbalance === true ? { ...chased, answers: shuffled(chased.answers) } : chased),
      );
    }
    if (block.loadbalance === true) result.answers = shuffled(result.answers);
    // Options of a reply are its client's, not the next one's.
    const plain = asked.query.optionsLength === 0 || asked.client.transport === "udp";
    const lasting = plain && (!found.miss || block.fallthrough === undefined);
    const octets = send(asked, result);
    if (
      lasting &&
      admission === undefined &&
      block.access === undefined &&
      result.extendedError === undefined &&
      (block.autopath !== true || found.rcode === responseCodes.NOERROR)
    )
      keepTemplate(asked, block, found, zone, octets);
    return octets;
  }

  /** Keeps a reply for whoever asks the same, without the OPT record, which is the client's affair. */
  function keepTemplate(
    asked: Asked,
    block: HandlerBlock,
    found: ZoneAnswer,
    zoneLabel: string,
    octets: Uint8Array,
  ): void {
    const { request, query } = asked;
    let reply = octets;
    if (query.optionsOffset >= 0) {
      // The OPT record is the last one and, without options, has eleven octets.
      reply = octets.slice(0, octets.length - 11);
      const additionals = ((reply[10]! << 8) | reply[11]!) - 1;
      reply[10] = additionals >>> 8;
      reply[11] = additionals & 0xff;
    }
    const kept = { context: block, zone: block.zone!, answer: found, zoneLabel, reply };
    templates.keep(request, query.nameEnd, query.type, kept);
  }

  /** Tries a name in the rest of its Pod's search list; undefined when there is none, or nothing was found. */
  function autopath(
    block: HandlerBlock,
    question: Question,
    how: ResolveOptions,
    client: QueryClient,
  ): Promise<Outcome | undefined> | undefined {
    const zone = block.zone!;
    const namespace = zone.namespaceOfPod(client.address);
    if (namespace === undefined) return undefined;
    const domain = labelsOf(zone.domain);
    const search = [[namespace, "svc"], ["svc"], []].map((labels) => nameFromLabels([...labels, ...domain]));
    const offset = offsetOfZone(question.name, search[0]!);
    if (offset <= 0) return undefined;
    const prefix = new Uint8Array(offset + 1);
    prefix.set(question.name.subarray(0, offset));
    const alias = (target: DomainName): ResourceRecord =>
      nameRecord(question.name, recordTypes.CNAME, zone.ttl, target);
    return (async () => {
      for (const suffix of search.slice(1)) {
        const target = joinNames(prefix, suffix);
        const found = zone.answer(target, question.type);
        if (found === undefined || found.rcode !== responseCodes.NOERROR || found.chase !== undefined) continue;
        return {
          ...outcome(responseCodes.NOERROR, zoneLabel(found.zone), "autopath"),
          authoritative: true,
          answers: [alias(target), ...found.answers],
          authorities: found.authorities,
          additionals: found.additionals,
        };
      }
      if (block.next === undefined) return undefined;
      const result = await ask(block.next, { ...question, name: prefix }, how);
      if (result.rcode !== responseCodes.NOERROR || result.answers.length === 0) return undefined;
      return { ...result, authoritative: true, answers: [alias(prefix), ...result.answers], plugin: "autopath" };
    })();
  }

  function onward(
    asked: Asked,
    block: HandlerBlock,
    question: Question,
    how: ResolveOptions,
  ): Uint8Array | Promise<Uint8Array | undefined> {
    if (block.next === undefined) {
      // A block for everything that has nobody to ask has failed; one for certain zones has never been asked about others.
      const isRoot = block.origins.some((origin) => origin.length === root.length);
      return send(
        asked,
        outcome(isRoot ? responseCodes.SERVFAIL : responseCodes.REFUSED, isRoot ? "." : "dropped", ""),
      );
    }
    return ask(block.next, question, how).then((result) =>
      send(asked, block.loadbalance === true ? { ...result, answers: shuffled(result.answers) } : result),
    );
  }

  /** The answer to a question for a whole zone; undefined when the name is in none of ours. */
  function transfer(asked: Asked, block: HandlerBlock): Uint8Array | readonly Uint8Array[] | undefined {
    const { request, query, name, client } = asked;
    const within = block.zone?.zones.find((zone) => isWithin(name, zone));
    const label = within === undefined ? "." : zoneLabel(within);
    if (!block.transfer!.allows(client.address) || client.transport === "udp")
      return send(asked, outcome(responseCodes.REFUSED, label, "transfer"));
    const known = query.type === recordTypes.IXFR ? clientSerial(request, query) : undefined;
    // An incremental transfer starts from the SOA record that the client has (RFC 1995 section 3).
    if (query.type === recordTypes.IXFR && known === undefined)
      return send(asked, outcome(responseCodes.SERVFAIL, label, "transfer"));
    if (within === undefined) return undefined;
    const records = block.zone!.transfer(name);
    if (records === undefined) return send(asked, outcome(responseCodes.NOTAUTH, label, "transfer"));
    const capping = block.maximumFailureTtl;
    const authority = records[0]!;
    if (known === block.zone!.serial)
      return send(asked, {
        ...outcome(responseCodes.NOERROR, label, "transfer"),
        authoritative: true,
        answers: capped([authority], capping),
      });
    const messages = transferMessages(query, name, capped(records, capping));
    report(asked, messages[0], responseCodes.NOERROR, label, "transfer");
    return messages;
  }

  function drop(asked: Asked, fault: string): undefined {
    report(asked, undefined, 0, "dropped", "", fault);
    return undefined;
  }

  /** An answer that was given before and still holds. */
  function known(request: Uint8Array, query: Query, client: QueryClient, started: number): Uint8Array | undefined {
    if (query.class !== recordClasses.IN || query.opcode !== operationCodes.QUERY || query.ednsVersion > 0)
      return undefined;
    const template = templates.find(request, query.nameEnd, query.type);
    if (template === undefined) return undefined;
    const { context, addressCount, rcode, zoneLabel: zone } = template;
    const start = context.loadbalance === true && addressCount > 1 ? Math.floor(random() * addressCount) : 0;
    const opt =
      query.optionsOffset < 0
        ? undefined
        : { udpPayloadSize: context.udpPayloadSize ?? 1232, dnssecOk: query.dnssecOk };
    const reply = replyFromTemplate(template, request, query.nameEnd, opt, start);
    observe?.({
      client,
      request,
      query,
      reply,
      rcode,
      zone,
      plugin: "kubernetes",
      fault: undefined,
      duration: now() - started,
    });
    return reply;
  }

  /** SERVFAIL for what went wrong inside. */
  function panic(asked: Asked): Uint8Array {
    const { request, query } = asked;
    const { id, flags, nameEnd } = query;
    const fault = { outcome: "refuse", reason: "record", rcode: responseCodes.SERVFAIL, id, flags, nameEnd } as const;
    const octets = faultReply(request, fault);
    report(asked, octets, responseCodes.SERVFAIL, "dropped", "", "panic");
    return octets;
  }

  return {
    plainZone(domain) {
      const block = route(domain, recordTypes.A);
      const zone = block?.zone;
      if (zone === undefined || admission !== undefined || block?.access !== undefined) return undefined;
      if (zone.imports || !zone.zones.some((one) => equalNames(one, domain))) return undefined;
      const related = (one: DomainName): boolean => isWithin(domain, one) || isWithin(one, domain);
      const { fallthrough } = block!;
      const elsewhere = [...routes.map(({ origin }) => origin), ...zone.zones];
      return {
        payloadSize: block!.udpPayloadSize ?? 1232,
        anyOrder: block!.loadbalance === true,
        denies:
          block!.autopath !== true &&
          (fallthrough === undefined || (fallthrough.length > 0 && !fallthrough.some(related))),
        elsewhere: elsewhere.filter((one) => one.length > domain.length && isWithin(one, domain)),
        label: zoneLabel(domain),
      };
    },
    plainAnswer(name, type) {
      const block = route(name, type);
      const found = block?.zone?.answer(name, type);
      if (found === undefined || found.chase !== undefined || !found.authoritative) return undefined;
      const query: Query = { ...plainQuery, nameEnd: headerLength + name.length, type };
      const request = new Uint8Array(0);
      const asked: Asked = { request, query, name, client: nobody, block, started: 0, ednsOptions: [] };
      const { rcode, answers, authorities, additionals } = found;
      const result = { ...outcome(rcode, "", ""), authoritative: true, answers, authorities, additionals };
      const message = messageOf(asked, result, undefined);
      return {
        rcode,
        answers: message.answers,
        authorities: message.authorities,
        additionals: message.additionals,
        records: () => encoder.encode(message).slice(query.nameEnd + 4),
      };
    },
    handle(request, client) {
      const started = now();
      const query = readQuery(request);
      if (query.outcome !== "query") {
        const reply = query.outcome === "refuse" ? faultReply(request, query) : undefined;
        const rcode = query.outcome === "refuse" ? query.rcode : 0;
        const duration = now() - started;
        observe?.({
          client,
          request,
          query: undefined,
          reply,
          rcode,
          zone: "dropped",
          plugin: "",
          fault: query.reason,
          duration,
        });
        return reply;
      }
      if (admission === undefined && (client.transport === "udp" || query.optionsLength === 0)) {
        const reply = known(request, query, client, started);
        if (reply !== undefined) return reply;
      }
      const name = request.slice(headerLength, query.nameEnd);
      const asked: Asked = { request, query, name, client, block: route(name, query.type), started, ednsOptions: [] };
      try {
        const result = answer(asked);
        return result instanceof Promise ? result.catch(() => panic(asked)) : result;
      } catch {
        return panic(asked);
      }
    },
  };
}

function readOptions(request: Uint8Array, query: Query): EdnsOption[] {
  const list: EdnsOption[] = [];
  if (query.optionsOffset < 0) return list;
  const end = query.optionsOffset + query.optionsLength;
  for (let at = query.optionsOffset; at < end; ) {
    const length = (request[at + 2]! << 8) | request[at + 3]!;
    list.push({ code: (request[at]! << 8) | request[at + 1]!, data: request.slice(at + 4, at + 4 + length) });
    at += 4 + length;
  }
  return list;
}

/** Serial number in the SOA record of an IXFR query (RFC 1995 section 3). */
function clientSerial(request: Uint8Array, query: Query): number | undefined {
  if (((request[8]! << 8) | request[9]!) === 0) return undefined;
  let at = query.nameEnd + 4;
  while (at < request.length && request[at]! > 0 && request[at]! < 0xc0) at += 1 + request[at]!;
  at += request[at] === 0 ? 1 : 2;
  const length = (request[at + 8]! << 8) | request[at + 9]!;
  const data = at + 10;
  if (length < 22 || data + length > request.length) return undefined;
  return new DataView(request.buffer, request.byteOffset).getUint32(data + length - 20);
}

function zoneLabel(zone: DomainName): string {
  let text = "";
  for (let at = 0; zone[at]! > 0; at += 1 + zone[at]!) {
    for (let index = at + 1; index <= at + zone[at]!; index++) {
      const octet = zone[index]!;
      text += String.fromCharCode(octet >= 0x41 && octet <= 0x5a ? octet + 0x20 : octet);
    }
    text += ".";
  }
  return text === "" ? "." : text;
}
