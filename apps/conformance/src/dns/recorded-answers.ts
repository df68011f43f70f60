import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { KubernetesObject } from "@portolan/core";
import { type Assembly, assembleBlocks, readServerConfiguration, type Upstream } from "@portolan/dns";
import {
  decodeMessage,
  encodeMessage,
  isWithin,
  type Message,
  nameFromText,
  nameToText,
  type ResourceRecord,
  recordClassName,
  recordFromText,
  recordTypeFromName,
  recordTypeName,
  responseCodeName,
} from "@portolan/dns/message";
import type { CaseFile, CaseResult } from "../area.ts";
import { jsonLines } from "../area.ts";
import { requireAgreement } from "./dataplane-agreement.ts";
import {
  aliasOrderDifference,
  type RecordedRecord,
  type RecordRules,
  recordDifferences,
  shownMessage,
  toRecorded,
} from "./record-comparison.ts";
import { resolverOf, upstreamFromMasterFiles } from "./upstream-fixture.ts";

interface RecordedEdns {
  readonly bufsize: number;
  readonly version: number;
  readonly do: boolean;
  readonly z: number;
  readonly options: readonly { readonly code: number; readonly hex: string }[];
}

interface RecordedResponse {
  readonly rcode: string;
  readonly opcode: number;
  readonly flags: Readonly<Record<"aa" | "tc" | "rd" | "ra" | "z" | "ad" | "cd", boolean>>;
  readonly question: readonly { readonly name: string; readonly type: string; readonly class: string }[];
  readonly answer: readonly RecordedRecord[];
  readonly authority: readonly RecordedRecord[];
  readonly additional: readonly RecordedRecord[];
  readonly edns: RecordedEdns | null;
  readonly size: number;
}

interface RecordedQuery {
  readonly id: string;
  readonly config: string;
  readonly state: string;
  readonly query: {
    readonly name: string;
    readonly type: string;
    readonly proto: "udp" | "tcp";
    readonly class: string;
    readonly opcode: number;
    readonly edns: { readonly bufsize?: number; readonly z?: number } | null;
  };
  readonly wire: string;
  readonly response: RecordedResponse | null;
  readonly quirks?: readonly string[];
  readonly truncation?: unknown;
  readonly full_answer_count?: number;
  readonly second_response_1s_later?: RecordedResponse | null;
  readonly ttl?: string;
  readonly answer_cut?: number | boolean;
  readonly answer_count?: number;
}

interface Delta {
  readonly state: string;
  readonly put: readonly KubernetesObject[];
  readonly deleted: readonly { readonly kind: string; readonly namespace: string; readonly name: string }[];
}

/** The recorded bytes, to be handed to the handler unchanged. */
function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** Server blocks of the Corefile by the letter in the comment above each. */
function blocksByLetter(corefile: string): Map<string, string> {
  const blocks = new Map<string, string>();
  for (const part of corefile.split(/^(?=# [A-Z]:)/m)) {
    const letter = /^# ([A-Z]):/.exec(part);
    if (letter !== null) blocks.set(letter[1]!, part);
  }
  return blocks;
}

/** Addresses of the server that was recorded: it was an endpoint of kube-dns. */
function localAddressesOf(objects: readonly KubernetesObject[]): string[] {
  const slices = objects as readonly (KubernetesObject & {
    readonly endpoints?: readonly { readonly addresses: readonly string[] }[];
  })[];
  return slices
    .filter(
      ({ kind, metadata }) =>
        kind === "EndpointSlice" &&
        metadata?.namespace === "kube-system" &&
        metadata.labels?.["kubernetes.io/service-name"] === "kube-dns",
    )
    .flatMap(({ endpoints }) => endpoints ?? [])
    .flatMap(({ addresses }) => addresses);
}

/** A server of one block of the Corefile, with a clock that tests move. */
interface Subject {
  readonly assembly: Assembly;
  advance(milliseconds: number): void;
  readonly upstream: Upstream;
}

function subjectOf(
  corefile: string,
  upstream: Upstream,
  objects: readonly KubernetesObject[],
  synced: boolean,
  local: readonly string[],
): Subject {
  let time = 0;
  const assembly = assembleBlocks(readServerConfiguration(corefile), {
    upstream: () => upstream,
    localAddresses: local,
    hostname: "recorded",
    randomId: () => 4711,
    now: () => time,
    later: () => () => undefined,
  });
  const zone = assembly.zone!;
  for (const object of objects) zone.apply(object);
  zone.synced = synced;
  return {
    assembly,
    upstream,
    advance(milliseconds) {
      time += milliseconds;
    },
  };
}

/** All records of a reply, transfers in several messages put together. */
async function ask(
  subject: Subject,
  wire: Uint8Array,
  transport: "udp" | "tcp",
): Promise<{ message: Message; size: number } | undefined> {
  const client = { address: "127.0.0.1", port: 40000, transport } as const;
  const { handler, zone } = subject.assembly;
  const result = await handler.handle(wire, client);
  if (zone !== undefined && (result === undefined || result instanceof Uint8Array))
    requireAgreement({ handler, zone }, wire, transport, result);
  if (result === undefined) return undefined;
  if (result instanceof Uint8Array) return { message: decodeMessage(result), size: result.length };
  const messages = result.map((bytes) => decodeMessage(bytes));
  return {
    message: { ...messages[0]!, answers: messages.flatMap(({ answers }) => answers) },
    size: result.reduce((sum, bytes) => sum + bytes.length, 0),
  };
}

/** One acceptable response: the recorded one, or the better one that the recording's remarks speak of. */
interface Acceptable {
  readonly remark: string;
  readonly response: RecordedResponse;
  /** Authority may be any SOA record of a zone that the name is in. */
  readonly anyAuthority?: boolean;
  /** Response codes besides that of the response. */
  readonly rcodes?: readonly string[];
  /** The answer is a chain of aliases from the question on. */
  readonly aliases?: boolean;
  readonly ednsSizeFree?: boolean;
  readonly subset?: boolean;
  /** The whole answer of which a part may come. */
  readonly full?: readonly RecordedRecord[];
  /** A reverse zone as it really is: pointers, not the names of the cluster below it. */
  readonly reverseTransfer?: boolean;
}

function negative(base: RecordedResponse, rcode: string): RecordedResponse {
  return { ...base, rcode, answer: [], authority: [], additional: [], flags: { ...base.flags, aa: true, tc: false } };
}

/** Asks our own server about something else, to see whether a quirk explains a recording. */
type Probe = (name: string, type: string) => Promise<Message | undefined>;

const sameSet = (expected: readonly RecordedRecord[], got: readonly RecordedRecord[]): boolean =>
  recordDifferences("", expected, got, { exactCase: false, ttlAtMost: false, ignoreWeights: true }).length === 0;

const withName = (records: readonly ResourceRecord[], name: string): RecordedRecord[] =>
  records.map((record) => ({ ...toRecorded(record), name }));

/** What a remark is judged by. */
interface Remark {
  readonly record: RecordedQuery;
  /** The response as recorded. */
  readonly recorded: RecordedResponse;
  readonly probe: Probe;
  /** What the upstream itself says to the question. */
  readonly upstream: Message | undefined;
  /** The first forward zone. */
  readonly primary: string;
}

/** A response of the zone itself: authoritative, whole. */
function isOwn({ flags }: RecordedResponse): boolean {
  return flags.aa && !flags.tc;
}

/** A negative response of the zone itself. */
function isNegative(response: RecordedResponse, rcode: string): boolean {
  const [authority] = response.authority;
  return (
    isOwn(response) &&
    response.rcode === rcode &&
    response.answer.length === 0 &&
    response.additional.length === 0 &&
    response.authority.length === 1 &&
    authority!.type === "SOA"
  );
}

function isUpstreams(response: RecordedResponse, upstream: Message | undefined): boolean {
  return (
    upstream !== undefined &&
    responseCodeName(upstream.rcode) === response.rcode &&
    upstream.authoritative === response.flags.aa &&
    upstream.truncated === response.flags.tc &&
    sameSet(response.answer, upstream.answers.map(toRecorded)) &&
    sameSet(response.authority, upstream.authorities.map(toRecorded))
  );
}

const above = (name: string, count: number): string => {
  let text = name;
  for (let index = 0; index < count; index++) text = text.slice(text.indexOf(".") + 1);
  return text;
};

/** Changes an acceptable response into better ones; undefined when the recording does not show what the remark says. */
type BetterAnswers = (from: Acceptable) => Acceptable[];

/**
 * What is better than what a remark points at. The recording has to show the fault that the remark names, exactly: a recording that
 * says something else contradicts itself.
 */
async function judge(
  quirk: string,
  { record, recorded, probe, upstream, primary }: Remark,
): Promise<BetterAnswers | undefined> {
  const { name, type } = record.query;
  const change =
    (response: RecordedResponse, more: Partial<Acceptable> = {}): BetterAnswers =>
    (from) => [{ ...from, remark: quirk, response: { ...response, edns: from.response.edns }, ...more }];
  switch (quirk) {
    case "txt-denied-where-other-types-are-nodata":
    case "dns-version-exists-for-txt-only":
    case "empty-non-terminal-nxdomain":
      if (quirk.startsWith("txt") && type !== "TXT") return undefined;
      if (quirk.startsWith("dns-version") && (type === "TXT" || !/^dns-version\./i.test(name))) return undefined;
      if (isNegative(recorded, "NXDOMAIN")) return change({ ...recorded, rcode: "NOERROR" });
      // Where misses fall through the recording shows what the upstream said.
      return isUpstreams(recorded, upstream)
        ? change(negative(recorded, "NOERROR"), { anyAuthority: true })
        : undefined;
    case "soa-nodata-at-missing-name":
      return type === "SOA" && isNegative(recorded, "NOERROR") ? change({ ...recorded, rcode: "NXDOMAIN" }) : undefined;
    case "address-at-srv-name": {
      const base = await probe(above(name, 2), type);
      const shown = recorded.rcode === "NOERROR" && isOwn(recorded) && recorded.authority.length === 0;
      return shown && base !== undefined && sameSet(recorded.answer, withName(base.answers, name))
        ? change(negative(recorded, "NOERROR"), { anyAuthority: true })
        : undefined;
    }
    case "srv-port-0-at-pod-name": {
      const addresses = [await probe(name, "A"), await probe(name, "AAAA")].flatMap(
        (message) => message?.answers ?? [],
      );
      const [service] = recorded.answer;
      const shown =
        recorded.rcode === "NOERROR" &&
        isOwn(recorded) &&
        recorded.authority.length === 0 &&
        recorded.answer.length === 1 &&
        service!.data.startsWith("0 100 0 ") &&
        `.${name}`.toLowerCase().endsWith(`.${service!.data.slice(8).toLowerCase()}`) &&
        sameSet(recorded.additional, withName(addresses, service!.data.slice(8)));
      return shown ? change(negative(recorded, "NOERROR"), { anyAuthority: true }) : undefined;
    }
    case "externalname-cname-dropped": {
      const alias = await probe(name, "CNAME");
      return isNegative(recorded, "NOERROR") && alias?.answers.length === 1
        ? change(recorded, { aliases: true, rcodes: ["NXDOMAIN"] })
        : undefined;
    }
    case "externalname-bare-cname-noerror":
    case "fqdn-slice-as-cname": {
      const shown =
        recorded.rcode === "NOERROR" &&
        isOwn(recorded) &&
        recorded.authority.length === 0 &&
        recorded.answer.every((one) => one.type === "CNAME");
      if (shown) return change(recorded, { rcodes: ["NXDOMAIN", "SERVFAIL"], anyAuthority: true });
      return quirk.startsWith("fqdn") ? (from) => [from] : undefined;
    }
    case "class-ignored": {
      const base = await probe(name, type);
      const shown =
        base !== undefined &&
        responseCodeName(base.rcode) === recorded.rcode &&
        isOwn(recorded) &&
        sameSet(recorded.answer, base.answers.map(toRecorded)) &&
        sameSet(recorded.authority, base.authorities.map(toRecorded));
      return shown ? change({ ...negative(recorded, "REFUSED"), flags: { ...recorded.flags, aa: false } }) : undefined;
    }
    case "notify-answered-as-query":
      return isOwn(recorded) && (recorded.rcode === "NOERROR" || recorded.rcode === "NXDOMAIN")
        ? change({ ...negative(recorded, "NOTAUTH"), flags: { ...recorded.flags, aa: false } })
        : undefined;
    case "edns-options-reflected":
      return recorded.edns === null || recorded.edns.options.length === 0
        ? undefined
        : (from) => [
            { ...from, remark: quirk, response: { ...from.response, edns: { ...recorded.edns!, options: [] } } },
          ];
    case "edns-size-reflected": {
      if (recorded.edns?.bufsize !== (record.query.edns?.bufsize ?? -1)) return undefined;
      const last = recorded.answer.at(-1);
      const tiny = (record.query.edns?.bufsize ?? 512) < 512 && last?.type === "CNAME";
      // The recorded server handed tiny sizes on to the upstream, which then had no room for its answer.
      const answer = tiny ? ((await probe(name, type))?.answers ?? []).map(toRecorded) : [];
      const whole = tiny && sameSet(recorded.answer, answer.slice(0, recorded.answer.length));
      return (from) => {
        const own: Acceptable = { ...from, remark: quirk, ednsSizeFree: true };
        return whole ? [own, { ...own, response: { ...from.response, answer } }] : [own];
      };
    }
    case "duplicate-additional": {
      const keyOf = ({ name: owner, type: kind, data }: RecordedRecord): string => `${owner} ${kind} ${data}`;
      const distinct = new Map(recorded.additional.map((one) => [keyOf(one), one]));
      if (distinct.size === recorded.additional.length) return undefined;
      return (from) => [{ ...from, remark: quirk, response: { ...from.response, additional: [...distinct.values()] } }];
    }
    case "ns-name-below-reverse-zone": {
      const zone = recorded.answer[0]?.name ?? "";
      if (!recorded.answer.every((one) => one.type === "NS" && one.data.endsWith(`.${zone}`))) return undefined;
      // The server's name lies in the cluster's zone, not below the reverse zone that was asked for.
      const home = (records: readonly RecordedRecord[]): RecordedRecord[] =>
        records.map((one) => ({
          ...one,
          name: one.name === zone ? zone : one.name.replace(zone, primary),
          data: one.type === "NS" ? one.data.replace(zone, primary) : one.data,
        }));
      return (from) => [
        {
          ...from,
          remark: quirk,
          response: {
            ...from.response,
            answer: home(from.response.answer),
            additional: home(from.response.additional),
          },
        },
      ];
    }
    case "ip6-arpa-33-nibbles":
    case "v4-mapped-ptr": {
      const [pointer] = recorded.answer;
      const target = pointer?.type === "PTR" ? await probe(pointer.data, "A") : undefined;
      const shown =
        recorded.rcode === "NOERROR" && isOwn(recorded) && recorded.answer.length === 1 && target?.rcode === 0;
      if (!shown) return undefined;
      // There is no such name: nothing is known of it, or what the upstream says.
      const rcode = upstream === undefined ? "NXDOMAIN" : responseCodeName(upstream.rcode);
      const denied = {
        ...negative(recorded, rcode),
        flags: { ...recorded.flags, aa: upstream?.authoritative ?? true },
      };
      return (from) => [
        { ...from, remark: quirk, response: denied },
        { ...from, remark: quirk, response: negative(recorded, "NXDOMAIN"), anyAuthority: true },
      ];
    }
    case "axfr-of-non-apex":
      if (type !== "AXFR" || recorded.rcode !== "NOERROR" || !isOwn(recorded)) return undefined;
      return (from) => [
        {
          ...from,
          remark: quirk,
          response: { ...negative(recorded, "NOTAUTH"), flags: { ...recorded.flags, aa: false } },
        },
        { ...from, remark: quirk, response: { ...recorded, answer: [] }, reverseTransfer: true },
      ];
    default:
      return (from) => [from];
  }
}

/** Remarks about names, whatever their zone. */
const generalRemarks = [
  "txt-denied-where-other-types-are-nodata",
  "dns-version-exists-for-txt-only",
  "soa-nodata-at-missing-name",
  "srv-port-0-at-pod-name",
  "externalname-cname-dropped",
  "duplicate-additional",
];

/** Fits a reply against one acceptable response. */
function differencesFrom(
  acceptable: Acceptable,
  record: RecordedQuery,
  message: Message,
  size: number,
  limit: number,
  cachedElsewhere: boolean,
): string[] {
  const { response } = acceptable;
  const differences: string[] = [];
  const expect = (what: string, expected: unknown, got: unknown): void => {
    if (expected !== got) differences.push(`${what}: expected ${String(expected)}, got ${String(got)}`);
  };
  const question = nameFromText(record.query.name);
  const { type } = record.query;
  const rcode = responseCodeName(message.rcode);
  if (rcode !== response.rcode && !(acceptable.rcodes?.includes(rcode) ?? false))
    expect("rcode", response.rcode, rcode);
  expect("opcode", response.opcode, message.opcode);
  const cut = acceptable.subset === true || record.truncation !== undefined;
  if (acceptable.subset === true) expect("tc", true, message.truncated);
  else expect("tc", response.flags.tc, message.truncated);
  expect("aa", response.flags.aa, message.authoritative);
  expect("rd", response.flags.rd, message.recursionDesired);
  expect("ra", response.flags.ra, message.recursionAvailable);
  expect("ad", response.flags.ad, message.authenticData);
  // An upstream may clear CD, a cache returns the client's; which of the two answered depends on what was asked before the recording.
  if (record.ttl === undefined || !cachedElsewhere) expect("cd", response.flags.cd, message.checkingDisabled);
  const asked = message.questions.map(
    ({ name, type, class: c }) => `${nameToText(name)} ${recordTypeName(type)} ${recordClassName(c)}`,
  );
  const wanted = response.question.map(({ name, type, class: c }) => `${nameToText(nameFromText(name))} ${type} ${c}`);
  expect("question", wanted.join(), asked.join());
  const transfer = type === "AXFR" || type === "IXFR";
  if (size > limit && !transfer) differences.push(`size: ${size} octets, ${limit} are allowed`);

  const cached = record.ttl !== undefined;
  const rules: RecordRules = { exactCase: !cached, ttlAtMost: cached, ignoreWeights: false };
  const answers = message.answers.map(toRecorded);
  if (acceptable.aliases === true) {
    const order = aliasOrderDifference(message.answers, question);
    if (order !== undefined || message.answers.some(({ type }) => type !== 5))
      differences.push(`answer: ${order ?? "something else than aliases"}`);
  } else {
    if (transfer) {
      // The recorded server sends some records more than once, and long recordings are cut.
      const once = (records: readonly RecordedRecord[]): RecordedRecord[] => [
        ...new Map(
          records.map((one) => [`${one.name} ${one.type} ${one.data.replace(/\d{9,}|SERIAL/, "*")}`, one]),
        ).values(),
      ];
      // It also makes SRV records of ports without a number and of endpoints without an address, and leaves out the aliases of the latter.
      const real = response.answer.filter((one) => one.type !== "SRV" || !/ (?:65535 \S+|\d+ \.)$/.test(one.data));
      const owners = new Set(real.map((one) => one.name));
      const ours = answers.filter(
        (one) => one.type !== "CNAME" || owners.has(one.name) || record.answer_cut !== undefined,
      );
      const lines = recordDifferences("answer", once(real), once(ours), rules);
      if (acceptable.reverseTransfer === true) {
        const others = answers.filter((one) => !["SOA", "NS", "PTR"].includes(one.type));
        if (others.length > 0) differences.push(`answer: ${others[0]!.type} records in a reverse zone`);
        if (answers[0]?.type !== "SOA" || answers.at(-1)?.type !== "SOA")
          differences.push("answer: no SOA at both ends");
      }
      if (acceptable.reverseTransfer !== true)
        differences.push(
          ...(record.answer_cut === undefined ? lines : lines.filter((line) => !line.includes("not expected"))),
        );
    } else differences.push(...recordDifferences("answer", acceptable.full ?? response.answer, answers, rules, cut));
    if (type !== "AXFR" && !answers.some((one) => one.type === "DNAME")) {
      const order = aliasOrderDifference(message.answers, question);
      if (order !== undefined) differences.push(`answer: ${order}`);
    }
  }
  if (acceptable.anyAuthority === true) {
    const fine = message.authorities.every((authority) => authority.type === 6 && authority.ttl <= 300);
    if (!fine) differences.push("authority: something else than a SOA record");
    const own =
      message.authorities.length === 0 ||
      message.authorities.some(
        ({ name }) => isWithin(question, name) || message.answers.some((a) => a.type === 5 && isWithin(a.data, name)),
      );
    if (!own) differences.push("authority: the SOA record of another zone");
    if (
      message.rcode === 3 &&
      message.authorities.length === 0 &&
      acceptable.aliases !== true &&
      response.answer.length === 0
    )
      differences.push("authority: no SOA record");
  } else
    differences.push(
      ...recordDifferences("authority", response.authority, message.authorities.map(toRecorded), rules, cut),
    );
  differences.push(
    ...recordDifferences(
      "additional",
      response.additional,
      message.additionals.map(toRecorded),
      rules,
      cut || response.flags.tc,
    ),
  );

  const { edns } = message;
  if (response.edns === null || edns === undefined) expect("EDNS", response.edns !== null, edns !== undefined);
  else {
    const zeroed = response.rcode === "BADVERS" && response.edns.bufsize === 0 && !response.edns.do;
    if (acceptable.ednsSizeFree === true || zeroed) {
      if (edns.udpPayloadSize < 512 || edns.udpPayloadSize > 4096)
        expect("EDNS size", "512 to 4096", edns.udpPayloadSize);
    } else expect("EDNS size", response.edns.bufsize, edns.udpPayloadSize);
    expect("EDNS version", response.edns.version, edns.version);
    // BADVERS of the recorded server has size 0 and no DO; ours has its size and copies DO as every reply does (RFC 6891 6.1.3).
    if (!zeroed) expect("DO", response.edns.do, edns.dnssecOk);
    // Reserved flags must be zero in replies (RFC 6891 6.1.4); the recorded server returns some of those that it was sent.
    const sent = record.query.edns?.z ?? 0;
    if (edns.reservedFlags !== 0 || (response.edns.z & ~sent) !== 0)
      expect("EDNS flags", response.edns.z, edns.reservedFlags);
    const shown = (options: readonly { code: number; hex: string }[]): string =>
      options.map(({ code, hex }) => `${code}:${hex}`).join();
    // Extended errors only explain a failure (RFC 8914); over TCP who asks is told how long a connection stays open (RFC 7828).
    const told = (code: number, length: number): boolean => code === 11 && length === 2 && record.query.proto === "tcp";
    const got = edns.options
      .filter(({ code, data }) => code !== 15 && !told(code, data.length))
      .map(({ code, data }) => ({ code, hex: [...data].map((octet) => octet.toString(16).padStart(2, "0")).join("") }));
    expect("EDNS options", shown(response.edns.options), shown(got));
  }
  return differences;
}

/** Octets that the recorded sections need in our encoding. */
function encodedSize(response: RecordedResponse): number {
  const records = (list: readonly RecordedRecord[]): ResourceRecord[] =>
    list.map(({ name, ttl, type, data }) => recordFromText(name, Number(ttl), type, data.replace(" SERIAL ", " 1 ")));
  const question = response.question[0];
  return encodeMessage({
    id: 0,
    response: true,
    opcode: 0,
    authoritative: true,
    truncated: false,
    recursionDesired: false,
    recursionAvailable: false,
    authenticData: false,
    checkingDisabled: false,
    rcode: 0,
    questions:
      question === undefined
        ? []
        : [{ name: nameFromText(question.name), type: recordTypeFromName(question.type) ?? 0, class: 1 }],
    answers: records(response.answer),
    authorities: records(response.authority),
    additionals: records(response.additional),
    ...(response.edns === null
      ? {}
      : { edns: { udpPayloadSize: 1232, version: 0, dnssecOk: false, reservedFlags: 0, options: [] } }),
  }).length;
}

const ownLimit = 1232;

async function compare(
  subject: Subject,
  record: RecordedQuery,
  recorded: RecordedResponse | null,
  reply: { message: Message; size: number } | undefined,
): Promise<string | undefined> {
  const quirks = record.quirks ?? [];
  const fail = (lines: readonly string[]): string =>
    `${record.query.name} ${record.query.type}: ${lines.join("; ")} | got ${shownMessage(reply?.message)}`;
  if (recorded === null) {
    // Silence was a fault of the recorded server when the remark says so; then any proper refusal will do.
    if (reply === undefined) return undefined;
    return quirks.includes("no-reply-at-all") && reply.message.answers.length === 0
      ? undefined
      : fail(["expected no reply"]);
  }
  if (reply === undefined) return fail([`expected ${recorded.rcode}, got no reply`]);
  const edns = record.query.edns;
  const client = edns === null ? 512 : Math.max(512, edns.bufsize ?? 512);
  const limit = record.query.proto === "tcp" ? 0xffff : Math.min(client, ownLimit);
  const type = recordTypeFromName(record.query.type) ?? 0;
  const probe: Probe = async (name, probed) => {
    const wire = encodeMessage({
      ...decodeMessage(bytesOf(record.wire)),
      id: 1,
      opcode: 0,
      questions: [{ name: nameFromText(name), type: recordTypeFromName(probed) ?? 0, class: 1 }],
    });
    return (await ask(subject, wire, "tcp"))?.message;
  };
  let upstream: Message | undefined;
  try {
    upstream = await resolverOf(subject.upstream).resolve(
      { name: nameFromText(record.query.name), type, class: 1 },
      { transport: record.query.proto, recursionDesired: true, checkingDisabled: false, dnssecOk: false },
    );
  } catch {
    upstream = undefined;
  }
  let acceptable: Acceptable[] = [{ remark: "as recorded", response: recorded }];
  // The remarks were made for names below the first zone; what they say holds for the names of the other forward zones as well.
  const { domain, zones } = subject.assembly.zone!;
  const question = nameFromText(record.query.name);
  const elsewhere =
    quirks.length === 0 &&
    !isWithin(question, domain) &&
    zones.some((zone) => isWithin(question, zone) && !/arpa\.$/i.test(nameToText(zone)));
  const facts: Remark = { record, recorded, probe, upstream, primary: nameToText(domain) };
  for (const quirk of elsewhere ? generalRemarks : quirks) {
    const better = await judge(quirk, facts);
    if (better !== undefined) acceptable = [...acceptable, ...acceptable.flatMap(better)];
    else if (!elsewhere) return fail([`the recording does not show what its remark "${quirk}" says`]);
  }
  if (record.truncation !== undefined) {
    // Any part of the whole answer will do, and what was recorded must be part of it as well.
    const whole = ((await probe(record.query.name, record.query.type))?.answers ?? []).map(toRecorded);
    const rules: RecordRules = { exactCase: false, ttlAtMost: record.ttl !== undefined, ignoreWeights: false };
    const explained =
      (record.full_answer_count === undefined || record.full_answer_count === whole.length) &&
      recordDifferences("", whole, recorded.answer, { ...rules, ttlAtMost: true }, true).length === 0;
    if (explained) acceptable = acceptable.map((one) => ({ ...one, full: whole }));
  }
  // Our own limit may cut what the recorded server sent whole, because it believed any size that a client names.
  if (record.query.proto === "udp" && client > ownLimit && !recorded.flags.tc && encodedSize(recorded) > ownLimit) {
    const whole = await probe(record.query.name, record.query.type);
    const same =
      whole !== undefined &&
      sameSet(recorded.answer, whole.answers.map(toRecorded)) &&
      sameSet(recorded.additional, whole.additionals.map(toRecorded));
    if (same) acceptable = acceptable.map((one) => ({ ...one, subset: true }));
  }
  const forwarded = subject.assembly.zone!.answer(nameFromText(record.query.name), 1) === undefined;
  let best: string[] | undefined;
  for (const one of acceptable) {
    const differences = differencesFrom(one, record, reply.message, reply.size, limit, forwarded);
    if (differences.length === 0) return undefined;
    if (best === undefined || differences.length < best.length) best = differences;
  }
  return fail(best!);
}

/** Runs recorded queries against handlers of the recorded configurations, states in the order in which they were recorded. */
export async function* runRecordedAnswers(file: CaseFile, only: (id: string) => boolean): AsyncIterable<CaseResult> {
  const beside = (name: string): string => readFileSync(join(dirname(file.path), name), "utf8");
  const records = jsonLines(file).filter((record) => only((record as RecordedQuery).id)) as RecordedQuery[];
  const corefiles = blocksByLetter(beside("dns-Corefile"));
  const base = (JSON.parse(beside("dns-state.json")) as { items: KubernetesObject[] }).items;
  const deltas = JSON.parse(beside("dns-state-deltas.json")) as readonly Delta[];
  const upstream = upstreamFromMasterFiles("127.0.0.1:25353", [
    beside("dns-upstream.zone"),
    beside("dns-upstream-rev.zone"),
  ]);
  const local = localAddressesOf(base);

  const byState = new Map<string, RecordedQuery[]>();
  for (const record of records) byState.set(record.state, [...(byState.get(record.state) ?? []), record]);
  const subjects = new Map<string, Subject>();
  const subject = (letter: string, synced: boolean): Subject => {
    const key = `${letter} ${synced}`;
    let one = subjects.get(key);
    if (one === undefined) {
      const corefile = corefiles.get(letter);
      if (corefile === undefined) throw new Error(`the Corefile has no block "${letter}"`);
      one = subjectOf(corefile, upstream, synced ? base : [], synced, local);
      for (const delta of synced ? deltas.slice(0, applied) : []) applyDelta(one, delta);
      subjects.set(key, one);
    }
    return one;
  };
  let applied = 0;
  function applyDelta({ assembly }: Subject, delta: Delta): void {
    for (const object of delta.put) assembly.zone!.apply(object);
    for (const { kind, namespace, name } of delta.deleted)
      assembly.zone!.remove({ kind, metadata: { name, namespace } });
  }

  async function* runState(state: string, synced: boolean): AsyncIterable<CaseResult> {
    for (const record of byState.get(state) ?? []) {
      try {
        const one = subject(record.config, synced);
        const wire = bytesOf(record.wire);
        const reply = await ask(one, wire, record.query.proto);
        let difference = await compare(one, record, record.response, reply);
        if (difference === undefined && record.second_response_1s_later !== undefined) {
          one.advance(1200);
          const second = await ask(one, wire, record.query.proto);
          const own = one.assembly.zone!.answer(nameFromText(record.query.name), 1) !== undefined;
          // The cluster's own zone is never out of a cache, so its TTLs do not count down.
          difference = await compare(one, record, own ? record.response : record.second_response_1s_later, second);
          if (difference !== undefined) difference = `asked again: ${difference}`;
        }
        yield difference === undefined
          ? { id: record.id, outcome: "passed" }
          : { id: record.id, outcome: "failed", difference };
      } catch (error) {
        yield { id: record.id, outcome: "failed", difference: (error as Error).stack ?? String(error) };
      }
    }
  }

  yield* runState("unsynced", false);
  yield* runState("base", true);
  for (const delta of deltas) {
    applied++;
    for (const [key, one] of subjects) if (key.endsWith("true")) applyDelta(one, delta);
    yield* runState(delta.state, true);
  }
  // The server keeps its last state when the API goes away.
  yield* runState("api-lost", true);
}
