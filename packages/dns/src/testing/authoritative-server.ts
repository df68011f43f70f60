import { decodeMessage, encodeMessage, type Message } from "../message/message.ts";
import {
  type DomainName,
  equalNames,
  isWithin,
  joinNames,
  nameFromLabels,
  nameKey,
  parentOf,
} from "../message/name.ts";
import { nameRecord, type ResourceRecord, readAuthorityData, readServiceData } from "../message/record.ts";
import { recordTypes, responseCodes } from "../message/record-type.ts";

/** Options of {@link createAuthoritativeServer}. */
export interface AuthoritativeServerOptions {
  /** Largest UDP reply in octets. Default 1232. What does not fit leaves an empty reply with TC. */
  readonly udpPayloadSize?: number;
}

/** A server for zones out of master files, to be asked in place of a real upstream. */
export interface AuthoritativeServer {
  /** Answers one message. Throws on messages that cannot be read. */
  answer(query: Uint8Array, transport: "udp" | "tcp"): Uint8Array;
}

interface Zone {
  readonly origin: DomainName;
  readonly authority: ResourceRecord;
  readonly byName: Map<string, ResourceRecord[]>;
  /** Names with something below them. */
  readonly nodes: Set<string>;
}

function zonesOf(records: readonly ResourceRecord[]): Zone[] {
  const zones = records
    .filter(({ type }) => type === recordTypes.SOA)
    .map((authority): Zone => ({ origin: authority.name, authority, byName: new Map(), nodes: new Set() }))
    .sort((a, b) => b.origin.length - a.origin.length);
  for (const record of records) {
    const zone = zones.find(({ origin }) => isWithin(record.name, origin));
    if (zone === undefined) continue;
    const key = nameKey(record.name);
    const list = zone.byName.get(key);
    if (list === undefined) zone.byName.set(key, [record]);
    else list.push(record);
    for (let name = record.name; name.length >= zone.origin.length; name = parentOf(name)) {
      zone.nodes.add(nameKey(name));
      if (name.length <= 1) break;
    }
  }
  return zones;
}

/** Names in data that additional records are looked up for (RFC 1035 3.3.9, 3.3.11, RFC 2782, RFC 9460). */
function additionalTarget(record: ResourceRecord): DomainName | undefined {
  switch (record.type) {
    case recordTypes.NS:
      return record.data;
    case recordTypes.MX:
      return record.data.subarray(2);
    case recordTypes.SRV:
      return readServiceData(record.data).target;
    case recordTypes.SVCB:
    case recordTypes.HTTPS: {
      let end = 2;
      while (record.data[end]! > 0) end += 1 + record.data[end]!;
      const target = record.data.subarray(2, end + 1);
      return target.length === 1 ? undefined : target;
    }
    default:
      return undefined;
  }
}

/** Creates a server for all zones whose SOA record is among the records: CNAME, DNAME, wildcards, referrals, negative answers (RFC 1034 4.3.2). */
export function createAuthoritativeServer(
  records: readonly ResourceRecord[],
  options: AuthoritativeServerOptions = {},
): AuthoritativeServer {
  const zones = zonesOf(records);
  const maximum = options.udpPayloadSize ?? 1232;

  function fill(message: { -readonly [Key in keyof Message]: Message[Key] }, qname: DomainName, type: number): void {
    const answers: ResourceRecord[] = [];
    const authorities: ResourceRecord[] = [];
    const additionals: ResourceRecord[] = [];
    message.answers = answers;
    message.authorities = authorities;
    message.additionals = additionals;
    const seen = new Set<string>();
    let name = qname;
    for (;;) {
      const zone = zones.find(({ origin }) => isWithin(name, origin));
      if (zone === undefined) {
        if (answers.length === 0) {
          message.rcode = responseCodes.REFUSED;
          message.authoritative = false;
        }
        break;
      }
      const negative = (): void => {
        const { minimum } = readAuthorityData(zone.authority.data);
        authorities.push({ ...zone.authority, ttl: Math.min(zone.authority.ttl, minimum) });
      };
      // From the origin down: a cut or a DNAME above the name decides before the name itself does.
      const path: DomainName[] = [];
      for (let node = name; node.length > zone.origin.length; node = parentOf(node)) path.unshift(node);
      let cut: ResourceRecord[] | undefined;
      let redirect: ResourceRecord | undefined;
      for (const node of path) {
        const here = zone.byName.get(nameKey(node)) ?? [];
        const servers = here.filter((record) => record.type === recordTypes.NS);
        if (servers.length > 0 && !(type === recordTypes.DS && node === path.at(-1))) {
          cut = servers;
          break;
        }
        if (node !== path.at(-1)) {
          redirect = here.find((record) => record.type === recordTypes.DNAME);
          if (redirect !== undefined) break;
        }
      }
      if (cut !== undefined) {
        message.authoritative = answers.length > 0;
        authorities.push(...cut);
        break;
      }
      if (redirect !== undefined) {
        answers.push(redirect);
        const prefix = name.subarray(0, name.length - redirect.name.length);
        const target = joinNames(Uint8Array.from([...prefix, 0]), redirect.data);
        answers.push(nameRecord(name, recordTypes.CNAME, redirect.ttl, target));
        name = target;
        continue;
      }
      let here = zone.byName.get(nameKey(name));
      if (here === undefined) {
        if (zone.nodes.has(nameKey(name))) here = [];
        else {
          let closest = parentOf(name);
          while (!zone.nodes.has(nameKey(closest))) closest = parentOf(closest);
          const wildcard = zone.byName.get(nameKey(joinNames(nameFromLabels(["*"]), closest)));
          if (wildcard === undefined) {
            message.rcode = responseCodes.NXDOMAIN;
            negative();
            break;
          }
          here = wildcard.map((record) => ({ ...record, name }));
        }
      }
      const alias = here.find((record) => record.type === recordTypes.CNAME);
      if (alias !== undefined && type !== recordTypes.CNAME && type !== recordTypes.ANY) {
        if (seen.has(nameKey(name))) break;
        seen.add(nameKey(name));
        answers.push(alias);
        name = alias.data;
        if (seen.has(nameKey(name))) break;
        continue;
      }
      // Of ANY, one set of records is an answer (RFC 8482).
      const wanted = type === recordTypes.ANY ? Math.min(...here.map((record) => record.type)) : type;
      const found = here.filter((record) => record.type === wanted);
      if (found.length === 0) negative();
      else answers.push(...found);
      break;
    }
    // Compression makes owners come out in the letters of the question where they are part of its name.
    const asAsked = (record: ResourceRecord): ResourceRecord =>
      isWithin(qname, record.name) ? { ...record, name: qname.subarray(qname.length - record.name.length) } : record;
    for (const [at, record] of answers.entries()) answers[at] = asAsked(record);
    for (const [at, record] of authorities.entries()) authorities[at] = asAsked(record);
    for (const record of [...answers, ...authorities]) {
      const target = additionalTarget(record);
      if (target === undefined) continue;
      for (const zone of zones) {
        for (const address of zone.byName.get(nameKey(target)) ?? []) {
          const isAddress = address.type === recordTypes.A || address.type === recordTypes.AAAA;
          const known = [...answers, ...additionals].some(
            (other) =>
              other.type === address.type && equalNames(other.name, address.name) && other.data === address.data,
          );
          if (isAddress && !known) additionals.push(address);
        }
      }
    }
  }

  return {
    answer(bytes, transport) {
      const query = decodeMessage(bytes);
      const [question] = query.questions;
      const message: { -readonly [Key in keyof Message]: Message[Key] } = {
        id: query.id,
        response: true,
        opcode: query.opcode,
        authoritative: true,
        truncated: false,
        recursionDesired: query.recursionDesired,
        recursionAvailable: false,
        authenticData: false,
        checkingDisabled: false,
        rcode: 0,
        questions: query.questions,
        answers: [],
        authorities: [],
        additionals: [],
        ...(query.edns === undefined
          ? {}
          : {
              edns: {
                udpPayloadSize: maximum,
                version: 0,
                dnssecOk: query.edns.dnssecOk,
                reservedFlags: 0,
                options: [],
              },
            }),
      };
      const fail = (rcode: number): void => {
        message.rcode = rcode;
        message.authoritative = false;
      };
      if (question === undefined) fail(responseCodes.FORMERR);
      else if (query.opcode !== 0) fail(responseCodes.NOTAUTH);
      else if (question.type === recordTypes.AXFR)
        fail(transport === "udp" ? responseCodes.NOTIMP : responseCodes.NOTAUTH);
      else if (question.type === recordTypes.IXFR) fail(responseCodes.NOTAUTH);
      else if (question.class !== 1) fail(responseCodes.REFUSED);
      else fill(message, question.name, question.type);
      if (transport === "tcp") return encodeMessage(message);
      const limit = query.edns === undefined ? 512 : Math.min(Math.max(512, query.edns.udpPayloadSize), maximum);
      const whole = encodeMessage(message);
      if (whole.length <= limit) return whole;
      return encodeMessage({ ...message, truncated: true, answers: [], authorities: [], additionals: [] });
    },
  };
}
