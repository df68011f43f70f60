import { parsePrefix } from "@portolan/net";
import {
  type AddressKey,
  type AddressWords,
  type EncodedAddress,
  encodeAddress,
  endpointKeyAt,
  familyNumber,
  mappedWord,
  maskEncoded,
  maskWords,
  rawPort,
  writeAddress,
  writeDottedQuad,
} from "./address-codec.ts";
import { DataplaneError } from "./errors.ts";
import { BackendFlag, FrontendKind, ServicePortFlag, TICKS_PER_SECOND } from "./generated/layout.ts";
import { frontendKindNumbers, protocolNumbers, schedulerNumbers } from "./names.ts";
import type { BackendSpec, FrontendSpec, ServicePortSpec } from "./service-port.ts";
import { grown } from "./word-list.ts";

/** A source range, or an address as one of full length. */
export interface EncodedRange {
  readonly address: EncodedAddress;
  readonly mask: AddressWords;
}

/** Words of one frontend in {@link ServicePortReader.frontends}: address, key, kind. */
export const FRONTEND_WORDS = 6;

const none: readonly never[] = [];

/** Up to here a walk over the list is cheaper than a map of it. */
const FEW = 12;

/**
 * Checks a specification and reads it into numbers as the maps hold them. One reader serves all specifications one after the other:
 * what it read last lies in its fields until the next call.
 */
export class ServicePortReader {
  family: 4 | 6 = 4;
  protocol = 0;
  scheduler = 0;
  /** `ServicePortFlag`s. */
  flags = 0;
  affinityTicks = 0;
  frontendCount = 0;
  frontends: Uint32Array<ArrayBuffer> = new Uint32Array(16 * FRONTEND_WORDS);
  /** Backends of both sets, each once, in the order of their first mention. */
  backendCount = 0;
  /** Four words each. */
  addresses: Uint32Array<ArrayBuffer> = new Uint32Array(64);
  /** Host order. */
  readonly ports: number[] = [];
  readonly weights: number[] = [];
  /** `BackendFlag`s. */
  readonly backendFlags: number[] = [];
  /** Positions in the list of backends, per set: those that the scheduler may be shown. {@link setCounts} says how many count. */
  readonly sets: readonly [cluster: number[], local: number[]] = [[], []];
  readonly setCounts: [cluster: number, local: number] = [0, 0];
  ranges: readonly EncodedRange[] = [];
  vips: readonly EncodedRange[] = [];
  readonly #seenIn: number[] = [];
  #positions: Map<AddressKey, number> | undefined;
  readonly #address = new Uint32Array(4);
  #id = "";

  /** @throws DataplaneError `INVALID_SERVICE_PORT` */
  read(spec: ServicePortSpec): void {
    this.#readHead(spec);
    this.scheduler =
      schedulerNumbers[spec.scheduler ?? "random"] ?? this.#refuse(`unknown scheduler "${spec.scheduler}"`);
    this.#readFrontends(spec.frontends);
    this.backendCount = 0;
    this.#positions = undefined;
    this.#readSet(spec.cluster, 0);
    this.#readSet(spec.local, 1);
    const affinity = spec.affinitySeconds ?? 0;
    if (!Number.isInteger(affinity) || affinity < 0 || affinity > 86400)
      this.#refuse(`affinitySeconds ${affinity} is not in 0–86400`);
    this.affinityTicks = affinity * TICKS_PER_SECOND;
    this.#readRanges(spec.sourceRanges ?? none);
    this.flags =
      ServicePortFlag.IN_USE |
      (spec.internalTrafficPolicy === "Local" ? ServicePortFlag.INTERNAL_LOCAL : 0) |
      (spec.externalTrafficPolicy === "Local" ? ServicePortFlag.EXTERNAL_LOCAL : 0) |
      (spec.hasAny ? ServicePortFlag.HAS_ANY : 0) |
      (this.ranges.length > 0 ? ServicePortFlag.SOURCE_RANGES : 0);
  }

  /** Only the frontends of a specification that was accepted before. */
  readFrontends(spec: ServicePortSpec): void {
    this.#readHead(spec);
    this.#readFrontends(spec.frontends);
  }

  /** Position of the backend with the address at `at` in `words`, or -1. */
  positionOf(words: Uint32Array, at: number, port: number): number {
    const count = this.backendCount;
    if (count > FEW) return this.#positionOfMany(words, at, port);
    const { addresses, ports } = this;
    for (let i = 0; i < count; i++) {
      const own = i * 4;
      if (
        addresses[own + 3] === words[at + 3] &&
        ports[i] === port &&
        addresses[own + 2] === words[at + 2] &&
        addresses[own + 1] === words[at + 1] &&
        addresses[own] === words[at]
      )
        return i;
    }
    return -1;
  }

  #positionOfMany(words: Uint32Array, at: number, port: number): number {
    if (this.#positions === undefined) {
      this.#positions = new Map();
      for (let i = 0; i < this.backendCount; i++)
        this.#positions.set(endpointKeyAt(this.addresses, i * 4, this.ports[i]!), i);
    }
    return this.#positions.get(endpointKeyAt(words, at, port)) ?? -1;
  }

  #refuse(message: string): never {
    throw new DataplaneError("INVALID_SERVICE_PORT", `${this.#id}: ${message}`);
  }

  #readHead(spec: ServicePortSpec): void {
    this.#id = spec.id;
    this.family = familyNumber(spec.family);
    this.protocol = protocolNumbers[spec.protocol] ?? this.#refuse(`unknown protocol "${spec.protocol}"`);
  }

  /** Reads an address into the four words. */
  #readAddress(text: string, what: string): void {
    const words = this.#address;
    if (this.family === 4 && writeDottedQuad(text, words, 3)) {
      words[0] = 0;
      words[1] = 0;
      words[2] = mappedWord;
      return;
    }
    const encoded = encodeAddress(text) ?? this.#refuse(`${what}: "${text}" is not an IP address`);
    if (encoded.family !== this.family) this.#refuse(`${what}: ${text} is not of family IPv${this.family}`);
    writeAddress(words, 0, encoded);
  }

  #readFrontends(specs: readonly FrontendSpec[]): void {
    let count = 0;
    const meta = ((this.protocol << 16) | (this.family << 24)) >>> 0;
    for (const frontend of specs) {
      const kind = frontendKindNumbers[frontend.kind] ?? this.#refuse(`unknown kind of frontend "${frontend.kind}"`);
      const { port } = frontend;
      if (!isPort(port)) this.#refuse(`frontend ${frontend.kind}: ${port} is not a port`);
      if (kind === FrontendKind.NODE_PORT) {
        this.#address.fill(0);
      } else {
        const what = `frontend ${frontend.kind}`;
        this.#readAddress(frontend.address ?? this.#refuse(`${what} has no address`), what);
      }
      const to = count * FRONTEND_WORDS;
      if (to + FRONTEND_WORDS > this.frontends.length) this.frontends = grown(this.frontends, to + FRONTEND_WORDS);
      const words = this.frontends;
      for (let word = 0; word < 4; word++) words[to + word] = this.#address[word]!;
      words[to + 4] = (rawPort(port) | meta) >>> 0;
      words[to + 5] = kind;
      if (this.frontendAt(words, to, count) < 0) count++;
    }
    this.frontendCount = count;
  }

  /** Which of the first `count` frontends is the one at `from` in `words`, whatever its kind; -1 for none. */
  frontendAt(words: Uint32Array, from: number, count: number): number {
    const own = this.frontends;
    for (let i = 0; i < count; i++) {
      const at = i * FRONTEND_WORDS;
      if (
        own[at + 3] === words[from + 3] &&
        own[at + 4] === words[from + 4] &&
        own[at + 2] === words[from + 2] &&
        own[at + 1] === words[from + 1] &&
        own[at] === words[from]
      )
        return i;
    }
    return -1;
  }

  #readSet(specs: readonly BackendSpec[], which: 0 | 1): void {
    const listed = this.sets[which];
    let length = 0;
    for (const backend of specs) {
      const { port } = backend;
      this.#readAddress(backend.address, "backend");
      if (!isPort(port)) this.#refuse(`backend ${backend.address}: ${port} is not a port`);
      const weight = backend.weight ?? 1;
      if (!Number.isInteger(weight) || weight < 0 || weight > 65535)
        this.#refuse(`backend ${backend.address}: weight ${weight} is not in 0–65535`);
      let position = this.positionOf(this.#address, 0, port);
      if (position < 0) {
        position = this.backendCount;
        this.#add(port, weight, backend.local === true);
      } else if (this.#seenIn[position]! > which) continue;
      this.#seenIn[position] = which + 1;
      // `random` must not draw quiesced ones; the other schedulers step over them themselves.
      if (this.scheduler !== 0 || this.weights[position]! > 0) listed[length++] = position;
    }
    this.setCounts[which] = length;
  }

  #add(port: number, weight: number, local: boolean): void {
    const position = this.backendCount++;
    const at = position * 4;
    if (at + 4 > this.addresses.length) this.addresses = grown(this.addresses, at + 4);
    const words = this.addresses;
    for (let word = 0; word < 4; word++) words[at + word] = this.#address[word]!;
    this.ports[position] = port;
    this.weights[position] = weight;
    this.backendFlags[position] = BackendFlag.IN_USE | (local ? BackendFlag.LOCAL : 0);
    this.#seenIn[position] = 0;
    this.#positions?.set(endpointKeyAt(words, at, port), position);
  }

  #readRanges(texts: readonly string[]): void {
    this.ranges = none;
    this.vips = none;
    if (texts.length === 0) return;
    const ranges: EncodedRange[] = [];
    for (const text of texts) {
      const trimmed = text.trim();
      const prefix = parsePrefix(trimmed) ?? this.#refuse(`source range "${text}" is not a CIDR`);
      if (familyNumber(prefix.address.family) !== this.family) continue;
      const length = this.family === 4 ? prefix.length + 96 : prefix.length;
      const encoded = encodeAddress(trimmed.slice(0, trimmed.lastIndexOf("/")))!;
      ranges.push({ address: maskEncoded(encoded, length), mask: maskWords(length) });
    }
    this.ranges = ranges;
    if (ranges.length === 0) return;
    const all = maskWords(128);
    const vips: EncodedRange[] = [];
    for (let i = 0; i < this.frontendCount; i++) {
      const [word0, word1, word2, word3, , kind] = this.frontends.subarray(i * FRONTEND_WORDS);
      if (kind !== FrontendKind.LOAD_BALANCER) continue;
      vips.push({
        address: { family: this.family, word0: word0!, word1: word1!, word2: word2!, word3: word3! },
        mask: all,
      });
    }
    this.vips = vips;
  }
}

function isPort(number: number): boolean {
  return Number.isInteger(number) && number >= 1 && number <= 65535;
}
