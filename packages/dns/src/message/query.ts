import { headerFlags, headerLength } from "./message.ts";
import { DnsMessageError } from "./message-error.ts";
import { readName } from "./name.ts";
import { readRecordData } from "./record.ts";
import { operationCodes, recordTypes, responseCodes } from "./record-type.ts";

/**
 * A query as a server needs it, read without building objects for what is in it: offsets into the message stay offsets. `nameEnd` is the
 * octet after the name of the question, which starts at octet 12; the question ends at `nameEnd + 4`.
 */
export interface Query {
  readonly outcome: "query";
  readonly id: number;
  readonly flags: number;
  readonly opcode: number;
  readonly nameEnd: number;
  readonly type: number;
  readonly class: number;
  /** Offset of the OPT record's options and their length; -1 without OPT. */
  readonly optionsOffset: number;
  readonly optionsLength: number;
  /** Advertised UDP payload size, at least 512; 512 without OPT. */
  readonly udpPayloadSize: number;
  readonly dnssecOk: boolean;
  readonly ednsVersion: number;
}

/**
 * What to do with octets that are no good query: nothing (`drop`), or a reply with only a header (`refuse`), which repeats the question when
 * that could be read (`nameEnd` > 0). `reason` is a fixed word, fit to be a metric's label.
 */
export type QueryFault =
  | { readonly outcome: "drop"; readonly reason: "short" | "response" }
  | {
      readonly outcome: "refuse";
      readonly reason: "opcode" | "question-count" | "question" | "record" | "section" | "edns" | "version";
      readonly rcode: number;
      readonly id: number;
      readonly flags: number;
      readonly nameEnd: number;
    };

const short: QueryFault = { outcome: "drop", reason: "short" };
const response: QueryFault = { outcome: "drop", reason: "response" };

/**
 * Reads a query in the order that keeps a server safe: length, QR (a response is never answered, whatever is in it), opcode, number
 * of questions (RFC 9619), question, every counted record, EDNS (RFC 6891). Never throws; reads each octet at most a few times.
 */
export function readQuery(bytes: Uint8Array): Query | QueryFault {
  const length = bytes.length;
  if (length < headerLength) return short;
  const flags = (bytes[2]! << 8) | bytes[3]!;
  if ((flags & headerFlags.QR) !== 0) return response;
  const id = (bytes[0]! << 8) | bytes[1]!;
  const opcode = (flags >>> 11) & 0xf;
  let nameEnd = 0;
  const refuse = (
    reason: Extract<QueryFault, { outcome: "refuse" }>["reason"],
    rcode: number = responseCodes.FORMERR,
  ): QueryFault => ({ outcome: "refuse", reason, rcode, id, flags, nameEnd });
  if (opcode !== operationCodes.QUERY && opcode !== operationCodes.NOTIFY)
    return refuse("opcode", responseCodes.NOTIMP);
  if (bytes[4] !== 0 || bytes[5] !== 1) return refuse("question-count");

  let at = headerLength;
  for (;;) {
    if (at >= length) return refuse("question");
    const octet = bytes[at]!;
    // A pointer in the first name of a message has nothing before it that it could point to.
    if (octet > 63) return refuse("question");
    at += octet + 1;
    if (octet === 0) break;
    if (at - headerLength >= 255) return refuse("question");
  }
  if (at + 4 > length) return refuse("question");
  nameEnd = at;
  const type = (bytes[at]! << 8) | bytes[at + 1]!;
  const recordClass = (bytes[at + 2]! << 8) | bytes[at + 3]!;
  at += 4;

  const answers = (bytes[6]! << 8) | bytes[7]!;
  const authorities = (bytes[8]! << 8) | bytes[9]!;
  const additionals = (bytes[10]! << 8) | bytes[11]!;
  let optionsOffset = -1;
  let optionsLength = 0;
  let udpPayloadSize = 512;
  let dnssecOk = false;
  let ednsVersion = 0;
  if ((answers | authorities | additionals) !== 0) {
    if (opcode === operationCodes.QUERY && (answers > 0 || (authorities > 0 && type !== recordTypes.IXFR)))
      return refuse("section");
    const total = answers + authorities + additionals;
    const firstAdditional = answers + authorities;
    for (let index = 0; index < total; index++) {
      const owner = at;
      // Root owner and then the fixed part is what an OPT record looks like; anything else takes the slower path.
      if (at < length && bytes[at] === 0) at += 1;
      else {
        try {
          at = readName(bytes, at).next;
        } catch (error) {
          if (error instanceof DnsMessageError) return refuse("record");
          throw error;
        }
      }
      if (at + 10 > length) return refuse("record");
      const recordType = (bytes[at]! << 8) | bytes[at + 1]!;
      const dataLength = (bytes[at + 8]! << 8) | bytes[at + 9]!;
      const data = at + 10;
      if (data + dataLength > length) return refuse("record");
      if (recordType === recordTypes.OPT) {
        // A pointer to a root label is the root as well.
        const isRoot = bytes[owner] === 0 || (bytes[owner]! >= 0xc0 && readName(bytes, owner).name.length === 1);
        if (optionsOffset >= 0 || index < firstAdditional || !isRoot) return refuse("edns");
        for (let option = data; option < data + dataLength; ) {
          if (option + 4 > data + dataLength) return refuse("edns");
          option += 4 + ((bytes[option + 2]! << 8) | bytes[option + 3]!);
          if (option > data + dataLength) return refuse("edns");
        }
        optionsOffset = data;
        optionsLength = dataLength;
        udpPayloadSize = Math.max(512, (bytes[at + 2]! << 8) | bytes[at + 3]!);
        ednsVersion = bytes[at + 5]!;
        dnssecOk = (bytes[at + 6]! & 0x80) !== 0;
      } else {
        // Types 251 to 255 exist in questions only; TSIG is legal as the last record and with class ANY (RFC 8945 5.1).
        if (recordType >= recordTypes.IXFR && recordType <= recordTypes.ANY) return refuse("record");
        const signatureClass = (bytes[at + 2]! << 8) | bytes[at + 3]!;
        if (
          recordType === recordTypes.TSIG &&
          (index !== total - 1 || index < firstAdditional || signatureClass !== 255)
        )
          return refuse("record");
        try {
          readRecordData(bytes, recordType, data, dataLength);
        } catch (error) {
          if (error instanceof DnsMessageError) return refuse("record");
          throw error;
        }
      }
      at = data + dataLength;
    }
  }
  return {
    outcome: "query",
    id,
    flags,
    opcode,
    nameEnd,
    type,
    class: recordClass,
    optionsOffset,
    optionsLength,
    udpPayloadSize,
    dnssecOk,
    ednsVersion,
  };
}

/**
 * The 12 octets (and the question when it could be read) that answer a broken query: ID, opcode, RD and CD repeated, everything
 * else zero.
 */
export function faultReply(bytes: Uint8Array, fault: Extract<QueryFault, { outcome: "refuse" }>): Uint8Array {
  const withQuestion = fault.nameEnd > 0;
  const reply = new Uint8Array(withQuestion ? fault.nameEnd + 4 : headerLength);
  if (withQuestion) reply.set(bytes.subarray(headerLength, fault.nameEnd + 4), headerLength);
  const flags = headerFlags.QR | (fault.flags & (0x7800 | headerFlags.RD | headerFlags.CD)) | (fault.rcode & 0xf);
  reply[0] = fault.id >>> 8;
  reply[1] = fault.id & 0xff;
  reply[2] = flags >>> 8;
  reply[3] = flags & 0xff;
  if (withQuestion) reply[5] = 1;
  return reply;
}
