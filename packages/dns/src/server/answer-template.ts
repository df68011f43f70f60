import { foldCase } from "../message/name.ts";
import { recordTypes } from "../message/record-type.ts";
import type { ZoneAnswer } from "../zone/cluster-zone.ts";

/** What validity of an answer depends on. */
export interface TemplateZone {
  readonly generation: number;
  readonly revision: number;
}

/**
 * A reply that was given before, without OPT record. Owners in it are pointers to the question, so with another client's letters put
 * into the question it is that client's reply.
 */
export interface AnswerTemplate<Context> {
  /** What the caller gave. */
  readonly context: Context;
  readonly bytes: Uint8Array;
  readonly rcode: number;
  readonly zoneLabel: string;
  /** First octet of the address records, their number and size, for putting them in another order. */
  readonly addressesAt: number;
  readonly addressCount: number;
  readonly addressSize: number;
}

interface Slot<Context> extends AnswerTemplate<Context> {
  readonly zone: TemplateZone;
  readonly hash: number;
  readonly type: number;
  readonly name: Uint8Array;
  /** Letters of the name come back in data, so they must be the same. */
  readonly exact: boolean;
  readonly generation: number;
  readonly revision: number;
  readonly source: ZoneAnswer["source"];
  readonly sourceGeneration: number;
}

/** Replies by question; bounded, without any list: a new reply takes the place of another one with the same hash. */
export interface AnswerTemplates<Context> {
  /** `nameEnd` is the octet after the name, which starts at octet 12. */
  find(request: Uint8Array, nameEnd: number, type: number): AnswerTemplate<Context> | undefined;
  /** Keeps a reply that fits any client: without OPT and small enough for 512 octets with one. */
  keep(
    request: Uint8Array,
    nameEnd: number,
    type: number,
    kept: {
      readonly context: Context;
      readonly zone: TemplateZone;
      readonly answer: ZoneAnswer;
      readonly zoneLabel: string;
      readonly reply: Uint8Array;
    },
  ): void;
}

const headerLength = 12;
/** 512 octets less an OPT record. */
const largestTemplate = 501;

/** Creates the table; `size` must be a power of two. */
export function createAnswerTemplates<Context>(size = 8192): AnswerTemplates<Context> {
  const slots: (Slot<Context> | undefined)[] = new Array<Slot<Context> | undefined>(size);
  const mask = size - 1;

  // FNV-1a over the folded name and the type.
  function hashOf(request: Uint8Array, nameEnd: number, type: number): number {
    let hash = 0x811c9dc5 ^ type;
    for (let at = headerLength; at < nameEnd; at++) hash = Math.imul(hash ^ foldCase(request[at]!), 0x01000193);
    return hash ^ (hash >>> 15);
  }

  return {
    find(request, nameEnd, type) {
      const hash = hashOf(request, nameEnd, type);
      const slot = slots[hash & mask];
      if (slot === undefined || slot.hash !== hash || slot.type !== type) return undefined;
      const { name, source, zone } = slot;
      if (name.length !== nameEnd - headerLength) return undefined;
      if (source === undefined) {
        if (slot.revision !== zone.revision) return undefined;
      } else if (slot.generation !== zone.generation || slot.sourceGeneration !== source.generation) return undefined;
      if (slot.exact) {
        for (let at = 0; at < name.length; at++) if (name[at] !== request[headerLength + at]) return undefined;
      } else
        for (let at = 0; at < name.length; at++)
          if (foldCase(name[at]!) !== foldCase(request[headerLength + at]!)) return undefined;
      return slot;
    },
    keep(request, nameEnd, type, { context, zone, answer, zoneLabel, reply }) {
      if (reply.length > largestTemplate || (reply[2]! & 0x02) !== 0) return;
      const { answers, authorities, additionals, source } = answer;
      const plain = (record: { readonly type: number }): boolean =>
        record.type === recordTypes.A || record.type === recordTypes.AAAA || record.type === recordTypes.SOA;
      const addresses =
        answers.length > 0 && answers.every(({ type: one }) => one === recordTypes.A || one === recordTypes.AAAA);
      const hash = hashOf(request, nameEnd, type);
      slots[hash & mask] = {
        context,
        zone,
        bytes: reply,
        rcode: answer.rcode,
        zoneLabel,
        addressesAt: nameEnd + 4,
        addressCount: addresses ? answers.length : 0,
        addressSize: addresses ? 12 + answers[0]!.data.length : 0,
        hash,
        type,
        name: request.slice(headerLength, nameEnd),
        exact: !(answers.every(plain) && authorities.every(plain) && additionals.length === 0),
        generation: zone.generation,
        revision: zone.revision,
        // A negative answer carries the serial of the zone, which changes with everything.
        source: authorities.length === 0 ? source : undefined,
        sourceGeneration: source?.generation ?? 0,
      };
    },
  };
}

/**
 * Makes a client's reply out of a template: its ID, RD, CD, its letters in the question, an OPT record if it sent one, and with `start` > 0
 * the address records from that one on first.
 */
export function replyFromTemplate(
  template: AnswerTemplate<unknown>,
  request: Uint8Array,
  nameEnd: number,
  opt: { readonly udpPayloadSize: number; readonly dnssecOk: boolean } | undefined,
  start: number,
): Uint8Array {
  const { bytes } = template;
  const reply = new Uint8Array(bytes.length + (opt === undefined ? 0 : 11));
  reply.set(bytes);
  reply[0] = request[0]!;
  reply[1] = request[1]!;
  reply[2] = (bytes[2]! & 0xfe) | (request[2]! & 0x01);
  reply[3] = (bytes[3]! & 0xef) | (request[3]! & 0x10);
  for (let at = headerLength; at < nameEnd; at++) reply[at] = request[at]!;
  if (start > 0) {
    const { addressesAt, addressCount, addressSize } = template;
    const split = addressesAt + start * addressSize;
    const end = addressesAt + addressCount * addressSize;
    reply.set(bytes.subarray(split, end), addressesAt);
    reply.set(bytes.subarray(addressesAt, split), addressesAt + end - split);
  }
  if (opt !== undefined) {
    const at = bytes.length;
    reply[at + 2] = recordTypes.OPT;
    reply[at + 3] = opt.udpPayloadSize >>> 8;
    reply[at + 4] = opt.udpPayloadSize & 0xff;
    reply[at + 7] = opt.dnssecOk ? 0x80 : 0;
    const additionals = ((reply[10]! << 8) | reply[11]!) + 1;
    reply[10] = additionals >>> 8;
    reply[11] = additionals & 0xff;
  }
  return reply;
}
