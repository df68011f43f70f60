import { DnsMessageError } from "./message-error.ts";
import { type DomainName, readName } from "./name.ts";
import { hasCompressibleNames, namesInData, type ResourceRecord, readRecordData } from "./record.ts";
import { recordTypes } from "./record-type.ts";

/** What is asked. */
export interface Question {
  readonly name: DomainName;
  readonly type: number;
  readonly class: number;
}

/** One EDNS option (RFC 6891 6.1.2). */
export interface EdnsOption {
  readonly code: number;
  readonly data: Uint8Array;
}

/** Codes of EDNS options (IANA registry). */
export const ednsOptionCodes = {
  NSID: 3,
  CLIENT_SUBNET: 8,
  EXPIRE: 9,
  COOKIE: 10,
  TCP_KEEPALIVE: 11,
  PADDING: 12,
  EXTENDED_ERROR: 15,
} as const;

/** Content of the OPT pseudo record (RFC 6891). The extended part of the response code lies in {@link Message.rcode}. */
export interface Edns {
  /** Largest UDP payload that the sender takes, in octets. */
  readonly udpPayloadSize: number;
  readonly version: number;
  /** The DO bit. */
  readonly dnssecOk: boolean;
  /** The 15 reserved flag bits. */
  readonly reservedFlags: number;
  readonly options: readonly EdnsOption[];
}

/**
 * A whole message.
 *
 * ```text
 *  0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
 * +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
 * |                      ID                       |   octets 0–1
 * |QR|  opcode   |AA|TC|RD|RA| Z|AD|CD|   RCODE   |   octets 2–3
 * |                QDCOUNT … ARCOUNT              |   octets 4–11
 * +--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+--+
 * ```
 */
export interface Message {
  readonly id: number;
  /** QR. */
  readonly response: boolean;
  readonly opcode: number;
  /** AA. */
  readonly authoritative: boolean;
  /** TC. */
  readonly truncated: boolean;
  /** RD. */
  readonly recursionDesired: boolean;
  /** RA. */
  readonly recursionAvailable: boolean;
  /** AD. */
  readonly authenticData: boolean;
  /** CD. */
  readonly checkingDisabled: boolean;
  /** All 12 bits. Above 15 it needs {@link edns}. */
  readonly rcode: number;
  readonly questions: readonly Question[];
  readonly answers: readonly ResourceRecord[];
  readonly authorities: readonly ResourceRecord[];
  /** Without the OPT record, which is {@link edns}. */
  readonly additionals: readonly ResourceRecord[];
  readonly edns?: Edns;
}

/** Header bits as masks of the 16-bit flags word. */
export const headerFlags = {
  QR: 0x8000,
  AA: 0x0400,
  TC: 0x0200,
  RD: 0x0100,
  RA: 0x0080,
  Z: 0x0040,
  AD: 0x0020,
  CD: 0x0010,
} as const;

/** Octets of the header. */
export const headerLength = 12;

/** Reads the options of an OPT record. Throws `edns-options` when one runs past the end. */
export function readEdnsOptions(data: Uint8Array, offset = 0, end: number = data.length): EdnsOption[] {
  const options: EdnsOption[] = [];
  let at = offset;
  while (at < end) {
    if (at + 4 > end) throw new DnsMessageError("edns-options", "an EDNS option is cut off", at);
    const code = (data[at]! << 8) | data[at + 1]!;
    const length = (data[at + 2]! << 8) | data[at + 3]!;
    at += 4;
    if (at + length > end) throw new DnsMessageError("edns-options", `EDNS option ${code} runs past the end`, at);
    options.push({ code, data: data.slice(at, at + length) });
    at += length;
  }
  return options;
}

/**
 * Reads a message. Octets after the last counted record are ignored; memory follows the length of the message, never its counts.
 * Throws {@link DnsMessageError} on anything that cannot be read completely.
 */
export function decodeMessage(bytes: Uint8Array): Message {
  if (bytes.length < headerLength)
    throw new DnsMessageError("message-too-short", `${bytes.length} octets are less than a header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const flags = view.getUint16(2);
  const counts = [view.getUint16(4), view.getUint16(6), view.getUint16(8), view.getUint16(10)] as const;
  let at = headerLength;
  const questions: Question[] = [];
  for (let index = 0; index < counts[0]; index++) {
    const { name, next } = readName(bytes, at);
    if (next + 4 > bytes.length) throw new DnsMessageError("question-truncated", "type and class are cut off", next);
    questions.push({ name, type: view.getUint16(next), class: view.getUint16(next + 2) });
    at = next + 4;
  }
  let edns: Edns | undefined;
  let rcode = flags & 0xf;
  const sections: ResourceRecord[][] = [[], [], []];
  for (let section = 0; section < 3; section++) {
    for (let index = 0; index < counts[section + 1]!; index++) {
      const { name, next } = readName(bytes, at);
      if (next + 10 > bytes.length) throw new DnsMessageError("record-truncated", "a record is cut off", next);
      const type = view.getUint16(next);
      const length = view.getUint16(next + 8);
      const data = next + 10;
      if (data + length > bytes.length)
        throw new DnsMessageError("record-truncated", `${length} octets of data run past the end`, data);
      if (type === recordTypes.OPT) {
        if (edns !== undefined) throw new DnsMessageError("edns-duplicate", "there are two OPT records", at);
        if (section !== 2) throw new DnsMessageError("edns-section", "OPT lies outside the additional section", at);
        if (name.length !== 1) throw new DnsMessageError("edns-owner", "the owner of OPT is not the root", at);
        const word = view.getUint32(next + 4);
        rcode |= (word >>> 24) << 4;
        edns = {
          udpPayloadSize: view.getUint16(next + 2),
          version: (word >>> 16) & 0xff,
          dnssecOk: (word & 0x8000) !== 0,
          reservedFlags: word & 0x7fff,
          options: readEdnsOptions(bytes, data, data + length),
        };
      } else
        sections[section]!.push({
          name,
          type,
          class: view.getUint16(next + 2),
          ttl: view.getUint32(next + 4),
          data: readRecordData(bytes, type, data, length),
        });
      at = data + length;
    }
  }
  return {
    id: view.getUint16(0),
    response: (flags & headerFlags.QR) !== 0,
    opcode: (flags >>> 11) & 0xf,
    authoritative: (flags & headerFlags.AA) !== 0,
    truncated: (flags & headerFlags.TC) !== 0,
    recursionDesired: (flags & headerFlags.RD) !== 0,
    recursionAvailable: (flags & headerFlags.RA) !== 0,
    authenticData: (flags & headerFlags.AD) !== 0,
    checkingDisabled: (flags & headerFlags.CD) !== 0,
    rcode,
    questions,
    answers: sections[0]!,
    authorities: sections[1]!,
    additionals: sections[2]!,
    ...(edns === undefined ? {} : { edns }),
  };
}

/** Writes messages into one buffer that it owns and reuses. */
export interface MessageEncoder {
  /**
   * Writes a message of at most `limit` octets (default 65535) and returns a view of the encoder's buffer, valid until the next call.
   *
   * What does not fit is left out from the end, whole records only, and TC is set: additional records first, then authority, then
   * answers; as many answers as fit stay, because stub resolvers without TCP live from them. The OPT record always stays. Names are compressed
   * wherever the type allows it (RFC 3597), with exact case, so a name never comes back in other letters.
   *
   * Throws {@link DnsMessageError} `message-too-long` when header, question and OPT alone are over the limit.
   */
  encode(message: Message, limit?: number): Uint8Array;
}

const maximumPointer = 0x3fff;

/** Creates an encoder; its buffer grows to the largest message written, at most 64 KiB. */
export function createMessageEncoder(): MessageEncoder {
  let buffer = new Uint8Array(4096);
  let view = new DataView(buffer.buffer);
  // Offsets of names (and of their suffixes) already written, to be pointed at. The search is linear and therefore bounded.
  const targets = new Uint16Array(128);
  let targetCount = 0;
  let at = 0;

  function ensure(length: number): void {
    if (at + length <= buffer.length) return;
    const grown = new Uint8Array(Math.max(buffer.length * 2, at + length));
    grown.set(buffer);
    buffer = grown;
    view = new DataView(buffer.buffer);
  }

  /** Whether the name at `offset` of the buffer reads as `name` from `from` on. */
  function matches(offset: number, name: Uint8Array, from: number, end: number): boolean {
    let position = offset;
    let index = from;
    while (index < end) {
      let octet = buffer[position]!;
      while (octet >= 0xc0) {
        position = ((octet & 0x3f) << 8) | buffer[position + 1]!;
        octet = buffer[position]!;
      }
      if (octet !== name[index]) return false;
      for (let step = 1; step <= octet; step++) if (buffer[position + step] !== name[index + step]) return false;
      if (octet === 0) return true;
      position += octet + 1;
      index += octet + 1;
    }
    return false;
  }

  function writeName(name: Uint8Array, start: number, end: number, compress: boolean): void {
    ensure(end - start);
    let index = start;
    // A name cannot be pointed at before it is written completely.
    const known = targetCount;
    while (name[index]! > 0) {
      if (compress) {
        for (let entry = 0; entry < known; entry++) {
          if (!matches(targets[entry]!, name, index, end)) continue;
          buffer[at++] = 0xc0 | (targets[entry]! >>> 8);
          buffer[at++] = targets[entry]! & 0xff;
          return;
        }
      }
      if (at <= maximumPointer && targetCount < targets.length) targets[targetCount++] = at;
      const length = name[index]! + 1;
      for (let step = 0; step < length; step++) buffer[at++] = name[index + step]!;
      index += length;
    }
    buffer[at++] = 0;
  }

  function writeRecord(record: ResourceRecord, questionName: Uint8Array | undefined): void {
    if (record.name === questionName && record.name.length > 2) {
      ensure(2);
      buffer[at++] = 0xc0;
      buffer[at++] = headerLength;
    } else writeName(record.name, 0, record.name.length, true);
    ensure(10 + record.data.length);
    view.setUint16(at, record.type);
    view.setUint16(at + 2, record.class);
    view.setUint32(at + 4, record.ttl);
    const lengthAt = at + 8;
    at += 10;
    if (hasCompressibleNames(record.type) || record.type === recordTypes.SRV) {
      let copied = 0;
      for (const { offset, length, compressible } of namesInData(record.type, record.data)) {
        buffer.set(record.data.subarray(copied, offset), at);
        at += offset - copied;
        writeName(record.data, offset, offset + length, compressible);
        copied = offset + length;
      }
      ensure(record.data.length - copied);
      buffer.set(record.data.subarray(copied), at);
      at += record.data.length - copied;
    } else {
      buffer.set(record.data, at);
      at += record.data.length;
    }
    view.setUint16(lengthAt, at - lengthAt - 2);
  }

  return {
    encode(message, limit = 0xffff) {
      at = headerLength;
      targetCount = 0;
      for (const question of message.questions) {
        writeName(question.name, 0, question.name.length, true);
        ensure(4);
        view.setUint16(at, question.type);
        view.setUint16(at + 2, question.class);
        at += 4;
      }
      const { edns } = message;
      const ednsLength =
        edns === undefined ? 0 : 11 + edns.options.reduce((sum, option) => sum + 4 + option.data.length, 0);
      const room = limit - ednsLength;
      if (at > room)
        throw new DnsMessageError("message-too-long", `the question needs ${at} octets, ${room} are allowed`);
      const questionName = message.questions.length === 1 ? message.questions[0]!.name : undefined;
      const counts = [0, 0, 0];
      let truncated = message.truncated;
      const sections = [message.answers, message.authorities, message.additionals];
      fill: for (let section = 0; section < 3; section++) {
        for (const record of sections[section]!) {
          const start = at;
          const known = targetCount;
          writeRecord(record, questionName);
          if (at > room) {
            at = start;
            targetCount = known;
            truncated = true;
            break fill;
          }
          counts[section]!++;
        }
      }
      if (edns !== undefined) {
        ensure(ednsLength);
        buffer[at] = 0;
        view.setUint16(at + 1, recordTypes.OPT);
        view.setUint16(at + 3, edns.udpPayloadSize);
        buffer[at + 5] = message.rcode >>> 4;
        buffer[at + 6] = edns.version;
        view.setUint16(at + 7, (edns.dnssecOk ? 0x8000 : 0) | (edns.reservedFlags & 0x7fff));
        view.setUint16(at + 9, ednsLength - 11);
        at += 11;
        for (const option of edns.options) {
          view.setUint16(at, option.code);
          view.setUint16(at + 2, option.data.length);
          buffer.set(option.data, at + 4);
          at += 4 + option.data.length;
        }
        counts[2]!++;
      }
      view.setUint16(0, message.id);
      view.setUint16(
        2,
        (message.response ? headerFlags.QR : 0) |
          ((message.opcode & 0xf) << 11) |
          (message.authoritative ? headerFlags.AA : 0) |
          (truncated ? headerFlags.TC : 0) |
          (message.recursionDesired ? headerFlags.RD : 0) |
          (message.recursionAvailable ? headerFlags.RA : 0) |
          (message.authenticData ? headerFlags.AD : 0) |
          (message.checkingDisabled ? headerFlags.CD : 0) |
          (message.rcode & 0xf),
      );
      view.setUint16(4, message.questions.length);
      view.setUint16(6, counts[0]!);
      view.setUint16(8, counts[1]!);
      view.setUint16(10, counts[2]!);
      return buffer.subarray(0, at);
    },
  };
}

/** Writes one message into octets of its own; see {@link MessageEncoder.encode}. For many messages keep an encoder. */
export function encodeMessage(message: Message, limit?: number): Uint8Array {
  return createMessageEncoder().encode(message, limit).slice();
}

/** A query message for one question. */
export function queryMessage(
  id: number,
  question: Question,
  options: { readonly recursionDesired?: boolean; readonly checkingDisabled?: boolean; readonly edns?: Edns } = {},
): Message {
  return {
    id,
    response: false,
    opcode: 0,
    authoritative: false,
    truncated: false,
    recursionDesired: options.recursionDesired ?? true,
    recursionAvailable: false,
    authenticData: false,
    checkingDisabled: options.checkingDisabled ?? false,
    rcode: 0,
    questions: [question],
    answers: [],
    authorities: [],
    additionals: [],
    ...(options.edns === undefined ? {} : { edns: options.edns }),
  };
}
