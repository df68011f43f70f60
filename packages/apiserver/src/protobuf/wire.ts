/** Wire types of protobuf that Kubernetes uses. */
export type WireType = 0 | 1 | 2 | 5;

/** Why bytes are not what they should be. */
export type ProtobufErrorCode =
  /** The bytes end too early, or a length leads beyond their end. */
  | "PROTOBUF_TRUNCATED"
  /** A number, a tag or a text is malformed, or a field has another wire type than its schema says. */
  | "PROTOBUF_MALFORMED"
  /** The envelope `k8s\0` is missing or is about something else than an object. */
  | "PROTOBUF_ENVELOPE"
  /** The kind has no schema, or has a field that protobuf cannot carry here. */
  | "PROTOBUF_UNSUPPORTED";

/** Thrown for bytes that cannot be read, and for objects that cannot be written. */
export class ProtobufError extends Error {
  readonly code: ProtobufErrorCode;
  /** Path of the field, or of the byte, at fault. */
  readonly where: string;

  constructor(code: ProtobufErrorCode, where: string, message: string) {
    super(`${where}: ${message}`);
    this.name = "ProtobufError";
    this.code = code;
    this.where = where;
  }
}

/** One field of a message as it lies on the wire. */
export interface WireField {
  readonly number: number;
  readonly wireType: WireType;
  /** Of wire type 0. */
  readonly varint: bigint;
  /** Of wire types 1, 2 and 5; a view, not a copy. */
  readonly bytes: Uint8Array;
}

const empty = new Uint8Array(0);

/**
 * Reads base-128 varints: seven bits a byte, the lowest first, the top bit set on all but the last.
 *
 * @throws ProtobufError when the bytes end too early or the number has more than 64 bits
 */
export function readVarint(bytes: Uint8Array, at: number, where: string): [value: bigint, next: number] {
  let value = 0n;
  for (let index = 0; index < 10; index++) {
    const byte = bytes[at + index];
    if (byte === undefined)
      throw new ProtobufError("PROTOBUF_TRUNCATED", where, `the bytes end within a number at ${at}`);
    value |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte < 0x80) return [BigInt.asUintN(64, value), at + index + 1];
  }
  throw new ProtobufError("PROTOBUF_MALFORMED", where, `the number at ${at} has more than 64 bits`);
}

/**
 * Fields of a message, in order. A tag is a varint: field number times eight, plus the wire type.
 *
 * @param where path for messages of errors
 */
export function* wireFields(bytes: Uint8Array, where: string): Generator<WireField> {
  let at = 0;
  while (at < bytes.length) {
    const [tag, afterTag] = readVarint(bytes, at, where);
    const number = Number(tag >> 3n);
    const wireType = Number(tag & 7n);
    if (number === 0 || number > 0x1fffffff)
      throw new ProtobufError("PROTOBUF_MALFORMED", where, `there is no field ${number}`);
    let length: number;
    let start = afterTag;
    switch (wireType) {
      case 0: {
        const [varint, next] = readVarint(bytes, afterTag, where);
        yield { number, wireType, varint, bytes: empty };
        at = next;
        continue;
      }
      case 1:
        length = 8;
        break;
      case 2: {
        const [size, next] = readVarint(bytes, afterTag, where);
        start = next;
        length = size > BigInt(bytes.length) ? bytes.length + 1 : Number(size);
        break;
      }
      case 5:
        length = 4;
        break;
      default:
        throw new ProtobufError("PROTOBUF_MALFORMED", where, `field ${number} has the unknown wire type ${wireType}`);
    }
    if (start + length > bytes.length) {
      throw new ProtobufError("PROTOBUF_TRUNCATED", where, `field ${number} is longer than the bytes that are left`);
    }
    yield { number, wireType, varint: 0n, bytes: bytes.subarray(start, start + length) };
    at = start + length;
  }
}

const encoder = new TextEncoder();

/** Collects a message. The memory grows by doubling. */
export class WireWriter {
  #bytes: Uint8Array = new Uint8Array(64);
  #length = 0;

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  /** A number below 2³¹, as tags and lengths are. */
  #small(value: number): void {
    this.#reserve(5);
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }

  varint(number: number, value: bigint): void {
    this.#small(number << 3);
    this.#reserve(10);
    let rest = BigInt.asUintN(64, value);
    while (rest > 0x7fn) {
      this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#length++] = Number(rest);
  }

  bytes(number: number, value: Uint8Array): void {
    this.#small((number << 3) | 2);
    this.#small(value.length);
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  string(number: number, value: string): void {
    this.bytes(number, encoder.encode(value));
  }

  /** The message so far. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }
}
