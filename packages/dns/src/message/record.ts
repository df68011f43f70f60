import { formatAddress, parseAddress } from "@portolan/net";
import { DnsMessageError } from "./message-error.ts";
import { type DomainName, equalNames, nameFromText, nameToText, readName } from "./name.ts";
import { recordClasses, recordTypeFromName, recordTypeName, recordTypes } from "./record-type.ts";

/**
 * One resource record. `data` is RDATA in wire form with every name in it uncompressed, so records compare octet by octet and move
 * between messages unchanged. `ttl` is in seconds. Read it with {@link readServiceData}, {@link readNameData}, … and show it with
 * {@link recordToText}.
 *
 * ```text
 *  0                   1
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5      all numbers big-endian (RFC 1035 4.1.3)
 * +-------------------------------+
 * / NAME                          /
 * +-------------------------------+
 * | TYPE          |   CLASS       |      16 bits each
 * +-------------------------------+
 * | TTL                           |      32 bits
 * +---------------+---------------+
 * | RDLENGTH      |   RDATA       /
 * +---------------+---------------+
 * ```
 */
export interface ResourceRecord {
  readonly name: DomainName;
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
  readonly data: Uint8Array;
}

/**
 * A field of RDATA: `name` may be compressed by a sender (RFC 1035 types), `plainName` may not but is expanded when somebody did
 * (RFC 3597 section 4), `text` is one length-prefixed string, `texts` one or more up to the end, `rest` anything.
 */
type Field = "u8" | "u16" | "u32" | "ipv4" | "ipv6" | "name" | "plainName" | "text" | "texts" | "rest";

const layouts = new Map<number, readonly Field[]>([
  [recordTypes.A, ["ipv4"]],
  [recordTypes.AAAA, ["ipv6"]],
  [recordTypes.NS, ["name"]],
  [recordTypes.MD, ["name"]],
  [recordTypes.MF, ["name"]],
  [recordTypes.CNAME, ["name"]],
  [recordTypes.MB, ["name"]],
  [recordTypes.MG, ["name"]],
  [recordTypes.MR, ["name"]],
  [recordTypes.PTR, ["name"]],
  [recordTypes.DNAME, ["plainName"]],
  [recordTypes.SOA, ["name", "name", "u32", "u32", "u32", "u32", "u32"]],
  [recordTypes.MINFO, ["name", "name"]],
  [recordTypes.MX, ["u16", "name"]],
  [recordTypes.HINFO, ["text", "text"]],
  [recordTypes.TXT, ["texts"]],
  [recordTypes.SPF, ["texts"]],
  [recordTypes.RP, ["plainName", "plainName"]],
  [recordTypes.AFSDB, ["u16", "plainName"]],
  [recordTypes.RT, ["u16", "plainName"]],
  [recordTypes.KX, ["u16", "plainName"]],
  [recordTypes.PX, ["u16", "plainName", "plainName"]],
  [recordTypes.SRV, ["u16", "u16", "u16", "plainName"]],
  [recordTypes.NAPTR, ["u16", "u16", "text", "text", "text", "plainName"]],
  [recordTypes.SIG, ["u16", "u8", "u8", "u32", "u32", "u32", "u16", "plainName", "rest"]],
  [recordTypes.NXT, ["plainName", "rest"]],
]);

const width: Partial<Record<Field, number>> = { u8: 1, u16: 2, u32: 4, ipv4: 4, ipv6: 16 };

function broken(type: number, offset: number, detail: string): DnsMessageError {
  return new DnsMessageError("record-data", `RDATA of a ${recordTypeName(type)} record: ${detail}`, offset);
}

/**
 * Where names start in `data` of a type, with whether a sender may compress them. Data must have passed {@link readRecordData}.
 */
export function namesInData(
  type: number,
  data: Uint8Array,
): { offset: number; length: number; compressible: boolean }[] {
  const layout = layouts.get(type);
  if (layout === undefined) return [];
  const names: { offset: number; length: number; compressible: boolean }[] = [];
  let at = 0;
  for (const field of layout) {
    const fixed = width[field];
    if (fixed !== undefined) at += fixed;
    else if (field === "name" || field === "plainName") {
      const start = at;
      while (data[at]! > 0) at += 1 + data[at]!;
      at += 1;
      names.push({ offset: start, length: at - start, compressible: field === "name" });
    } else if (field === "text") at += 1 + data[at]!;
    else break;
  }
  return names;
}

/** Whether a type has names in its data that a sender may compress. */
export function hasCompressibleNames(type: number): boolean {
  return layouts.get(type)?.includes("name") === true;
}

/**
 * Reads RDATA of `length` octets at `offset` of a message, checks its form and expands names in it. Types without a known form are
 * copied (RFC 3597). Throws {@link DnsMessageError} `record-data` or one of the errors of names.
 */
export function readRecordData(message: Uint8Array, type: number, offset: number, length: number): Uint8Array {
  const layout = layouts.get(type);
  const end = offset + length;
  if (layout === undefined) return message.slice(offset, end);
  const parts: Uint8Array[] = [];
  let at = offset;
  let copied = offset;
  for (const field of layout) {
    const fixed = width[field];
    if (fixed !== undefined) at += fixed;
    else if (field === "name" || field === "plainName") {
      const { name, next } = readName(message, at, end);
      if (next - at !== name.length) {
        parts.push(message.slice(copied, at), name);
        copied = next;
      }
      at = next;
    } else if (field === "text") {
      if (at >= end) throw broken(type, at, "a string is missing");
      at += 1 + message[at]!;
    } else if (field === "texts") {
      do {
        if (at >= end) throw broken(type, at, "a string is missing");
        at += 1 + message[at]!;
      } while (at < end);
    } else at = end;
    if (at > end) throw broken(type, offset, `${length} octets are too few`);
  }
  if (at !== end) throw broken(type, at, `${end - at} octets are left over`);
  if (parts.length === 0) return message.slice(offset, end);
  parts.push(message.slice(copied, end));
  const data = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let to = 0;
  for (const part of parts) {
    data.set(part, to);
    to += part.length;
  }
  return data;
}

function record(name: DomainName, type: number, ttl: number, data: Uint8Array): ResourceRecord {
  return { name, type, class: recordClasses.IN, ttl, data };
}

/** A or AAAA record by the length of the address, 4 or 16 octets in network order. */
export function addressRecord(name: DomainName, ttl: number, address: Uint8Array): ResourceRecord {
  return record(name, address.length === 4 ? recordTypes.A : recordTypes.AAAA, ttl, address);
}

/** Record whose data is one name: CNAME, PTR, NS, DNAME. */
export function nameRecord(name: DomainName, type: number, ttl: number, target: DomainName): ResourceRecord {
  return record(name, type, ttl, target);
}

/** Fields of SRV data (RFC 2782). */
export interface ServiceData {
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  readonly target: DomainName;
}

/** SRV record (RFC 2782). */
export function serviceRecord(name: DomainName, ttl: number, service: ServiceData): ResourceRecord {
  const data = new Uint8Array(6 + service.target.length);
  const view = new DataView(data.buffer);
  view.setUint16(0, service.priority);
  view.setUint16(2, service.weight);
  view.setUint16(4, service.port);
  data.set(service.target, 6);
  return record(name, recordTypes.SRV, ttl, data);
}

/** Reads SRV data. */
export function readServiceData(data: Uint8Array): ServiceData {
  return {
    priority: (data[0]! << 8) | data[1]!,
    weight: (data[2]! << 8) | data[3]!,
    port: (data[4]! << 8) | data[5]!,
    target: data.subarray(6),
  };
}

/** Strings of up to 255 octets each; text is written as UTF-8. Throws `record-data` when one is longer. */
export function textRecord(
  name: DomainName,
  type: number,
  ttl: number,
  strings: readonly (string | Uint8Array)[],
): ResourceRecord {
  const encoder = new TextEncoder();
  const encoded = strings.map((text) => (typeof text === "string" ? encoder.encode(text) : text));
  const data = new Uint8Array(encoded.reduce((sum, text) => sum + 1 + text.length, 0));
  let at = 0;
  for (const text of encoded) {
    if (text.length > 255) throw broken(type, -1, `a string has ${text.length} octets; 255 are allowed`);
    data[at] = text.length;
    data.set(text, at + 1);
    at += 1 + text.length;
  }
  return record(name, type, ttl, data);
}

/** Fields of SOA data (RFC 1035 3.3.13); times in seconds. `minimum` is the negative TTL (RFC 2308). */
export interface AuthorityData {
  readonly primary: DomainName;
  readonly mailbox: DomainName;
  readonly serial: number;
  readonly refresh: number;
  readonly retry: number;
  readonly expire: number;
  readonly minimum: number;
}

/** SOA record. */
export function authorityRecord(name: DomainName, ttl: number, authority: AuthorityData): ResourceRecord {
  const { primary, mailbox } = authority;
  const data = new Uint8Array(primary.length + mailbox.length + 20);
  data.set(primary);
  data.set(mailbox, primary.length);
  const view = new DataView(data.buffer, primary.length + mailbox.length);
  view.setUint32(0, authority.serial);
  view.setUint32(4, authority.refresh);
  view.setUint32(8, authority.retry);
  view.setUint32(12, authority.expire);
  view.setUint32(16, authority.minimum);
  return record(name, recordTypes.SOA, ttl, data);
}

/** Reads SOA data. */
export function readAuthorityData(data: Uint8Array): AuthorityData {
  const [primary, mailbox] = namesInData(recordTypes.SOA, data);
  const start = mailbox!.offset + mailbox!.length;
  const view = new DataView(data.buffer, data.byteOffset + start, 20);
  return {
    primary: data.subarray(0, primary!.length),
    mailbox: data.subarray(mailbox!.offset, start),
    serial: view.getUint32(0),
    refresh: view.getUint32(4),
    retry: view.getUint32(8),
    expire: view.getUint32(12),
    minimum: view.getUint32(16),
  };
}

/** Whether two records have the same owner, type, class and data; owners compare without case, data octet by octet. */
export function sameRecord(a: ResourceRecord, b: ResourceRecord): boolean {
  if (a.type !== b.type || a.class !== b.class || a.data.length !== b.data.length || !equalNames(a.name, b.name))
    return false;
  for (let index = 0; index < a.data.length; index++) if (a.data[index] !== b.data[index]) return false;
  return true;
}

function quoted(octets: Uint8Array): string {
  let text = '"';
  for (const octet of octets) {
    if (octet === 0x22 || octet === 0x5c) text += `\\${String.fromCharCode(octet)}`;
    else if (octet >= 0x20 && octet < 0x7f) text += String.fromCharCode(octet);
    else text += `\\${String(octet).padStart(3, "0")}`;
  }
  return `${text}"`;
}

const shownByField = new Set<number>([
  recordTypes.A,
  recordTypes.AAAA,
  recordTypes.NS,
  recordTypes.CNAME,
  recordTypes.PTR,
  recordTypes.DNAME,
  recordTypes.SOA,
  recordTypes.MX,
  recordTypes.TXT,
  recordTypes.HINFO,
  recordTypes.SRV,
]);

/** RDATA in presentation form: by field for the common types, `\# LENGTH HEX` for the others (RFC 3597 section 5). */
export function recordDataToText(type: number, data: Uint8Array): string {
  const layout = layouts.get(type);
  if (layout === undefined || !shownByField.has(type)) {
    let hex = "";
    for (const octet of data) hex += octet.toString(16).padStart(2, "0");
    return data.length === 0 ? "\\# 0" : `\\# ${data.length} ${hex}`;
  }
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const parts: string[] = [];
  let at = 0;
  for (const field of layout) {
    if (field === "u8") parts.push(String(view.getUint8(at)));
    else if (field === "u16") parts.push(String(view.getUint16(at)));
    else if (field === "u32") parts.push(String(view.getUint32(at)));
    else if (field === "ipv4" || field === "ipv6") {
      const bytes = data.slice(at, at + width[field]!);
      parts.push(formatAddress({ family: field === "ipv4" ? "IPv4" : "IPv6", bytes }));
    } else if (field === "name" || field === "plainName") {
      const start = at;
      while (data[at]! > 0) at += 1 + data[at]!;
      at += 1;
      parts.push(nameToText(data.subarray(start, at)));
    } else if (field === "text" || field === "texts") {
      do {
        parts.push(quoted(data.subarray(at + 1, at + 1 + data[at]!)));
        at += 1 + data[at]!;
      } while (field === "texts" && at < data.length);
    }
    at += width[field] ?? 0;
  }
  return parts.join(" ");
}

/** `name ttl class type data` in presentation form. */
export function recordToText(record: ResourceRecord): string {
  return `${nameToText(record.name)} ${record.ttl} IN ${recordTypeName(record.type)} ${recordDataToText(record.type, record.data)}`;
}

/** A word of presentation text: `quoted` says whether it stood in quotes, in which case escapes are already resolved into octets. */
export interface PresentationWord {
  readonly text: string;
  readonly quoted: boolean;
}

function octetsOf(word: PresentationWord): Uint8Array {
  const octets: number[] = [];
  for (let index = 0; index < word.text.length; index++) {
    const code = word.text.charCodeAt(index);
    if (code !== 0x5c) {
      octets.push(code);
      continue;
    }
    const digits = word.text.slice(index + 1, index + 4);
    if (/^[0-9]{3}$/.test(digits)) {
      octets.push(Number(digits) & 0xff);
      index += 3;
    } else octets.push(word.text.charCodeAt(++index));
  }
  return Uint8Array.from(octets);
}

/** Splits presentation text into words; strings in quotes are one word, their escapes kept. Comments must be gone. */
export function presentationWords(text: string): PresentationWord[] {
  const words: PresentationWord[] = [];
  for (const match of text.matchAll(/"((?:[^"\\]|\\.)*)"|((?:[^\s"\\]|\\.)+)/gs))
    words.push(match[1] === undefined ? { text: match[2]!, quoted: false } : { text: match[1], quoted: true });
  return words;
}

function syntax(type: number, detail: string): DnsMessageError {
  return new DnsMessageError("record-syntax", `${recordTypeName(type)} data: ${detail}`);
}

const serviceParameterKeys = ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint"];

function serviceParameter(type: number, word: PresentationWord): { key: number; value: number[] } {
  const equals = word.text.indexOf("=");
  const keyText = equals < 0 ? word.text : word.text.slice(0, equals);
  const valueText = equals < 0 ? "" : word.text.slice(equals + 1).replace(/^"|"$/g, "");
  const key = keyText.startsWith("key") ? Number(keyText.slice(3)) : serviceParameterKeys.indexOf(keyText);
  if (!(key >= 0 && key <= 0xffff)) throw syntax(type, `unknown parameter "${keyText}"`);
  const items = valueText === "" ? [] : valueText.split(",");
  const u16 = (number: number): number[] => [number >> 8, number & 0xff];
  if (key === 0) return { key, value: items.flatMap((item) => u16(serviceParameterKeys.indexOf(item))) };
  if (key === 1) return { key, value: items.flatMap((item) => [item.length, ...new TextEncoder().encode(item)]) };
  if (key === 3) return { key, value: u16(Number(valueText)) };
  if (key === 4 || key === 6) return { key, value: items.flatMap((item) => [...(parseAddress(item)?.bytes ?? [])]) };
  return { key, value: [...octetsOf({ text: valueText, quoted: true })] };
}

/**
 * RDATA from presentation form, relative names completed by `origin`: the types that have a form by fields here, CAA, SSHFP, SVCB and HTTPS,
 * and every type as `\# LENGTH HEX`. Throws {@link DnsMessageError} `record-syntax` or an error of names.
 */
export function recordDataFromText(type: number, words: readonly PresentationWord[], origin?: DomainName): Uint8Array {
  const first = words[0];
  if (first !== undefined && !first.quoted && first.text === "\\#") {
    const hex = words
      .slice(2)
      .map((word) => word.text)
      .join("");
    const length = Number(words[1]?.text);
    if (!/^(?:[0-9a-fA-F]{2})*$/.test(hex) || hex.length !== 2 * length)
      throw syntax(type, `"\\# ${words[1]?.text ?? ""}" and the hexadecimal digits after it do not agree`);
    return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  }
  const octets: number[] = [];
  let index = 0;
  const next = (what: string): PresentationWord => {
    const word = words[index++];
    if (word === undefined) throw syntax(type, `${what} is missing`);
    return word;
  };
  const number = (what: string, bits: number): number => {
    const { text } = next(what);
    const value = Number(text);
    if (!/^[0-9]+$/.test(text) || value >= 2 ** bits) throw syntax(type, `"${text}" is no ${bits}-bit number`);
    return value;
  };
  const push = (value: number, bytes: number): void => {
    for (let shift = (bytes - 1) * 8; shift >= 0; shift -= 8) octets.push(Math.floor(value / 2 ** shift) & 0xff);
  };
  const layout = layouts.get(type);
  if (layout !== undefined) {
    for (const field of layout) {
      if (field === "u8" || field === "u16" || field === "u32")
        push(number("a number", width[field]! * 8), width[field]!);
      else if (field === "ipv4" || field === "ipv6") {
        const { text } = next("an address");
        const address = parseAddress(text);
        if (address === undefined || address.bytes.length !== width[field])
          throw syntax(type, `"${text}" is no ${field === "ipv4" ? "IPv4" : "IPv6"} address`);
        octets.push(...address.bytes);
      } else if (field === "name" || field === "plainName") octets.push(...nameFromText(next("a name").text, origin));
      else if (field === "text" || field === "texts") {
        do {
          const text = octetsOf(next("a string"));
          if (text.length > 255) throw syntax(type, "a string is over 255 octets");
          octets.push(text.length, ...text);
        } while (field === "texts" && index < words.length);
      } else throw syntax(type, "write it as \\# LENGTH HEX");
    }
  } else if (type === recordTypes.CAA) {
    push(number("the flags", 8), 1);
    const tag = octetsOf(next("the tag"));
    octets.push(tag.length, ...tag, ...octetsOf(next("the value")));
  } else if (type === recordTypes.SSHFP) {
    push(number("the algorithm", 8), 1);
    push(number("the fingerprint type", 8), 1);
    for (const pair of next("the fingerprint").text.match(/../g) ?? []) octets.push(Number.parseInt(pair, 16));
  } else if (type === recordTypes.SVCB || type === recordTypes.HTTPS) {
    push(number("the priority", 16), 2);
    octets.push(...nameFromText(next("the target").text, origin));
    const parameters = words.slice(index).map((word) => serviceParameter(type, word));
    index = words.length;
    parameters.sort((a, b) => a.key - b.key);
    for (const { key, value } of parameters) {
      push(key, 2);
      push(value.length, 2);
      octets.push(...value);
    }
  } else throw syntax(type, "write it as \\# LENGTH HEX");
  if (index < words.length) throw syntax(type, `"${words[index]!.text}" is left over`);
  return Uint8Array.from(octets);
}

/** A record from `name ttl type data` as separate texts. Throws {@link DnsMessageError} `record-syntax` or an error of names. */
export function recordFromText(name: string, ttl: number, type: string, data: string): ResourceRecord {
  const number = recordTypeFromName(type);
  if (number === undefined) throw new DnsMessageError("record-syntax", `"${type}" is no record type`);
  return record(nameFromText(name), number, ttl, recordDataFromText(number, presentationWords(data)));
}
