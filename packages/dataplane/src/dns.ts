/**
 * The DNS program: answers questions for A, AAAA and SRV in one zone from the frame, or the message, itself. Its map is filled with
 * answers that a DNS server computed and encoded, so it can say nothing that the server would not; whatever it has no proof of goes on to
 * the server untouched.
 *
 * ```ts
 * import { createDnsProgram } from "@portolan/dataplane/dns";
 *
 * // In front of the Service programs of a dataplane, in memory that was reserved for it:
 * const program = createDnsProgram({ dataplane, region, addresses: ["10.96.0.10"] });
 * const left = program.ingress(count); // answered frames lie behind the others now, with verdict TX
 * dataplane.ingress(left, now);
 *
 * // Without frames, for a socket server:
 * const reply = createDnsProgram().answer(query);
 * ```
 *
 * It is a module of its own, so that a dataplane that answers no names does not grow, and shares the sources and, over frames, the memory
 * of the dataplane. `assembly/dns/LAYOUT.md` draws its region.
 *
 * @packageDocumentation
 */
import { encodeAddress, writeAddress } from "./address-codec.ts";
import type { Dataplane } from "./dataplane.ts";
import { DataplaneError } from "./errors.ts";
import { bytes } from "./generated/dns-bytes.ts";
import type { DnsProgramExports } from "./generated/dns-exports.ts";
import {
  DNS_ADDRESS_LIMIT,
  DNS_ADDRESSES,
  DNS_AUTHORITY,
  DNS_LARGEST_QUERY,
  DNS_LARGEST_REPLY,
  DNS_MAP,
  DNS_ZONE_NAME,
  DnsBlock,
  DnsFlag,
  DnsNode,
  DnsNodeFlag,
  DnsState,
  DnsZone,
} from "./generated/dns-layout.ts";
import { PROGRAM_BASE } from "./generated/layout.ts";
import type { Region } from "./memory.ts";
import { decodeBase64, globals, type WebAssemblyMemory, type WebAssemblyModule } from "./web-assembly.ts";

/** Records of one answer as a server encodes them after a question in lower case: names in them may point into that question. */
export interface DnsAnswerSpec {
  readonly records: Uint8Array;
  /** Records of the answer section; those of the additional section follow them. */
  readonly answers: number;
  readonly additionals: number;
  /** Records are of one size and may go out in any order. */
  readonly anyOrder: boolean;
  /** Letters of the question come back in the records: a question in other letters is the server's. */
  readonly exact: boolean;
}

/** One name. */
export interface DnsNameSpec {
  /** Labels in front of the zone, each behind its length, in lower case; empty for the zone itself. */
  readonly name: Uint8Array;
  /** Every name directly below is entered too, or does not exist. */
  readonly closed: boolean;
  /** By type A, AAAA, SRV. Absent: the server's affair. */
  readonly answers: readonly (DnsAnswerSpec | "no-data" | undefined)[];
}

/** The zone. */
export interface DnsZoneSpec {
  /** Wire form. */
  readonly name: Uint8Array;
  /** The SOA record of negative answers as encoded after a question for the zone itself. Absent: nothing is denied. */
  readonly authority?: {
    readonly record: Uint8Array;
    /** Offsets of the pointers to the zone that end the names of the primary server and the mailbox. */
    readonly server: number;
    readonly mailbox: number;
  };
  /** The server's own UDP payload size in octets, for its OPT record; longer replies, and those over 1232 octets, are the server's. */
  readonly payloadSize: number;
  /** Addresses go out in turns, not always in the same order. */
  readonly rotate: boolean;
}

/** Takes answers; what fills it may be in another thread, so all of this is data. */
export interface DnsAnswers {
  /** Empties the map; everything goes to the server. */
  clear(): void;
  /** Sets the zone; absent: everything goes to the server. */
  setZone(zone: DnsZoneSpec | undefined): void;
  /** Replaces the names of a group, all at once; none removes it. A name that another group has already stays that group's. */
  setNames(group: string, names: readonly DnsNameSpec[]): void;
}

/** What was counted, by record type and reason. */
export interface DnsProgramCounters {
  readonly answered: Readonly<Record<"A" | "AAAA" | "SRV", DnsOutcomeCounts>>;
  /** Left to the server. */
  readonly passed: Readonly<
    Record<"disabled" | "message" | "type" | "zone" | "name" | "state" | "size" | "case", number>
  >;
}

/** Questions of one type. */
export interface DnsOutcomeCounts {
  readonly answer: number;
  readonly noData: number;
  readonly nameError: number;
}

/** The program with its map. Calls run to completion between batches. */
export interface DnsProgram extends DnsAnswers {
  /**
   * Looks at the first `count` descriptors of the dataplane, before its own `ingress`. Answered frames are moved behind the others, whose
   * order stays, and have verdict TX.
   *
   * @returns how many are left for `ingress`: the first ones
   */
  ingress(count: number): number;
  /**
   * Answers one message. `stream`: it came by TCP.
   *
   * @returns a view that holds until 64 more messages were answered; undefined when the message is the server's
   */
  answer(message: Uint8Array, stream?: boolean): Uint8Array | undefined;
  /** The last answered question: its type as an index into A, AAAA, SRV, and whether it had the DO bit. */
  readonly lastType: number;
  readonly lastDnssecOk: boolean;
  counters(): DnsProgramCounters;
  /** Names in the map, octets that it takes, and groups that found no room: while there are any, nothing is denied. */
  size(): { readonly names: number; readonly octets: number; readonly refused: number };
}

/** Options of {@link createDnsProgram}. */
export interface DnsProgramOptions {
  /** The dataplane whose frames are looked at. Without one, only {@link DnsProgram.answer} is of use. */
  readonly dataplane?: Pick<Dataplane, "memory">;
  /** Room in its memory, 64-byte aligned and zero: a part of what `capacity.reserved` set apart. */
  readonly region?: Region;
  /** Octets of memory without a dataplane. Default 32 MiB, touched as it fills. */
  readonly octets?: number;
  /** Addresses of the DNS Service that frames are answered for, at most 8. */
  readonly addresses?: readonly string[];
  /** Seed of hashes and of the order of addresses, an unsigned 32-bit number. Default: random. */
  readonly seed?: number;
  /** The compiled module. Default: the one in this package. */
  readonly module?: WebAssemblyModule;
}

const page = 65_536;
const granule = 16;
const defaultOctets = 32 << 20;
const messageRoom = 2048;
const messageSlots = 64;
const firstSlots = 1024;
const exact = 0xffff;

let compiled: WebAssemblyModule | undefined;

/** Creates the program with an empty map. Throws {@link DataplaneError} `INVALID_OPTION` or `MEMORY_TOO_SMALL`. */
export function createDnsProgram(options: DnsProgramOptions = {}): DnsProgram {
  if (options.module !== undefined) return new WebAssemblyDnsProgram(options.module, options);
  compiled ??= new globals.WebAssembly.Module(decodeBase64(bytes));
  return new WebAssemblyDnsProgram(compiled, options);
}

class WebAssemblyDnsProgram implements DnsProgram {
  readonly #exports: DnsProgramExports;
  readonly #view: DataView;
  readonly #u8: Uint8Array;
  readonly #base: number;
  readonly #end: number;
  readonly #messages: number;
  /** First node of each group. */
  readonly #groups = new Map<string, number>();
  readonly #refused = new Set<string>();
  /** Freed pieces by size in granules: address of the first, whose first word leads to the next. */
  readonly #free: number[] = [];
  #next: number;
  #used = 0;
  #zone: DnsZoneSpec | undefined;
  #message = 0;

  constructor(module: WebAssemblyModule, options: DnsProgramOptions) {
    let memory: WebAssemblyMemory;
    let region = options.region;
    if (options.dataplane === undefined) {
      const pages = Math.ceil((PROGRAM_BASE + (options.octets ?? defaultOctets)) / page);
      memory = new globals.WebAssembly.Memory({ initial: pages, maximum: pages });
      region = { address: PROGRAM_BASE, length: pages * page - PROGRAM_BASE };
    } else memory = options.dataplane.memory;
    if (region === undefined)
      throw new DataplaneError("INVALID_OPTION", "over a dataplane, the DNS program needs a region of its memory");
    this.#messages = region.address + region.length - messageSlots * messageRoom;
    this.#base = region.address;
    this.#end = this.#messages;
    this.#next = region.address + DNS_MAP;
    if (this.#next + firstSlots * 8 > this.#end || region.address + region.length > memory.buffer.byteLength)
      throw new DataplaneError(
        "MEMORY_TOO_SMALL",
        `${region.length} octets at ${region.address} are no room for a map`,
      );
    this.#view = new DataView(memory.buffer as ArrayBuffer);
    this.#u8 = new Uint8Array(memory.buffer);
    this.#exports = new globals.WebAssembly.Instance(module, { env: { memory } })
      .exports as unknown as DnsProgramExports;
    this.#exports.initialize(this.#base);
    const seed =
      options.seed ?? globals.crypto?.getRandomValues(new Uint32Array(1))[0] ?? Math.floor(Math.random() * 2 ** 32);
    this.#put("seed", seed);
    this.#view.setUint32(this.#base + DnsZone.seed + 4, Math.imul(seed, 0x9e3779b1), true);
    this.#put("random", (seed ^ 0x5bd1e995) >>> 0);
    this.#view.setUint32(this.#base + DnsZone.random + 4, 0x27d4eb2f, true);
    this.#setAddresses(options.addresses ?? []);
    this.#moveSlots(firstSlots);
  }

  #put(field: keyof typeof DnsZone, value: number): void {
    this.#view.setUint32(this.#base + DnsZone[field], value, true);
  }

  #get(field: keyof typeof DnsZone): number {
    return this.#view.getUint32(this.#base + DnsZone[field], true);
  }

  #setAddresses(addresses: readonly string[]): void {
    if (addresses.length > DNS_ADDRESS_LIMIT)
      throw new DataplaneError("INVALID_OPTION", `${addresses.length} addresses; ${DNS_ADDRESS_LIMIT} are possible`);
    const words = new Uint32Array(this.#u8.buffer);
    addresses.forEach((text, index) => {
      const address = encodeAddress(text);
      if (address === undefined) throw new DataplaneError("INVALID_OPTION", `"${text}" is not an IP address`);
      writeAddress(words, (this.#base + DNS_ADDRESSES + index * 16) >> 2, address);
    });
    this.#put("addressCount", addresses.length);
  }

  /** Address of so many octets, zero where it matters to the caller only; 0 when there is no room. */
  #allocate(octets: number): number {
    const granules = Math.ceil(octets / granule);
    const freed = this.#free[granules] ?? 0;
    let at = freed;
    if (freed !== 0) this.#free[granules] = this.#view.getUint32(freed, true);
    else {
      at = this.#next;
      if (at + granules * granule > this.#end) return 0;
      this.#next = at + granules * granule;
    }
    this.#used += granules * granule;
    return at;
  }

  #release(at: number, octets: number): void {
    const granules = Math.ceil(octets / granule);
    this.#view.setUint32(at, this.#free[granules] ?? 0, true);
    this.#free[granules] = at;
    this.#used -= granules * granule;
  }

  /** Gives the map other slots. False when there is no room. */
  #moveSlots(count: number): boolean {
    const before = this.#get("slots");
    const octets = (this.#get("slotMask") + 1) * 8;
    const at = this.#allocate(count * 8);
    if (at === 0) return false;
    this.#u8.fill(0, at, at + count * 8);
    this.#exports.moveSlots(at, count);
    if (before !== 0) this.#release(before, octets);
    return true;
  }

  clear(): void {
    this.setZone(undefined);
    for (const group of [...this.#groups.keys(), ...this.#refused]) this.setNames(group, []);
  }

  setZone(zone: DnsZoneSpec | undefined): void {
    const { name, authority } = zone ?? {};
    if (name !== undefined && (name.length > 255 || name.length < 2 || name[name.length - 1] !== 0))
      throw new DataplaneError("INVALID_OPTION", "the zone's name must be in wire form and not the root");
    if (zone !== undefined && (zone.payloadSize < 512 || zone.payloadSize > 0xffff))
      throw new DataplaneError("INVALID_OPTION", "a payload size must be 512 to 65535");
    this.#zone = zone ?? this.#zone;
    if (zone !== undefined && name !== undefined) {
      const at = this.#base + DNS_ZONE_NAME;
      this.#u8.fill(0, at, at + 264);
      this.#u8.set(name.map(fold), at);
      this.#put("nameLength", name.length);
      let labels = 0;
      for (let i = 0; name[i]! > 0; i += 1 + name[i]!) labels++;
      this.#put("labels", labels);
      this.#put("payloadSize", zone.payloadSize);
      this.#put("authorityLength", authority?.record.length ?? 0);
      if (authority !== undefined) {
        this.#u8.set(authority.record, this.#base + DNS_AUTHORITY);
        this.#put("authorityServer", authority.server);
        this.#put("authorityMailbox", authority.mailbox);
      }
    }
    this.#enabled = zone !== undefined;
    this.#publish();
  }

  #enabled = false;

  #publish(): void {
    const zone = this.#zone;
    this.#put(
      "flags",
      (this.#enabled ? DnsFlag.ENABLED : 0) |
        // A name that found no room must not be denied.
        (zone?.authority !== undefined && this.#refused.size === 0 ? DnsFlag.NEGATIVE : 0) |
        (zone?.rotate === true ? DnsFlag.ROTATE : 0),
    );
  }

  setNames(group: string, names: readonly DnsNameSpec[]): void {
    this.#removeNames(group);
    const complete = this.#enterNames(group, names);
    if (!complete) this.#removeNames(group);
    const refused = this.#refused.size;
    if (complete) this.#refused.delete(group);
    else this.#refused.add(group);
    if (refused !== this.#refused.size) this.#publish();
  }

  #enterNames(group: string, names: readonly DnsNameSpec[]): boolean {
    const { setUint16, setUint32 } = {
      setUint16: (at: number, value: number) => this.#view.setUint16(at, value, true),
      setUint32: (at: number, value: number) => this.#view.setUint32(at, value, true),
    };
    for (const spec of names) {
      const slots = this.#get("slotMask") + 1;
      if (this.#get("nodes") + 1 > slots * 0.6 && !this.#moveSlots(slots * 2)) return false;
      const { length } = spec.name;
      const octets = nodeOctets(length);
      const node = this.#allocate(octets);
      if (node === 0) return false;
      this.#u8.fill(0, node, node + octets);
      setUint16(node + DnsNode.length, length);
      setUint16(node + DnsNode.flags, spec.closed ? DnsNodeFlag.CLOSED : 0);
      this.#u8.set(spec.name, node + DnsNode.SIZE);
      if (this.#exports.enterNode(node) !== 0) {
        this.#release(node, octets);
        continue;
      }
      setUint32(node + DnsNode.next, this.#groups.get(group) ?? 0);
      this.#groups.set(group, node);
      for (let type = 0; type < 3; type++) {
        const answer = spec.answers[type];
        let state: number = answer === "no-data" ? DnsState.NO_DATA : DnsState.PASS;
        if (answer !== undefined && answer !== "no-data" && answer.records.length <= DNS_LARGEST_REPLY) {
          const { records } = answer;
          state = this.#allocate(blockOctets(records.length));
          if (state === 0) {
            for (let left = type; left < 3; left++) setUint32(node + DnsNode.a + left * 4, DnsState.PASS);
            return false;
          }
          setUint16(state + DnsBlock.length, records.length);
          setUint16(state + DnsBlock.answers, answer.answers);
          setUint16(state + DnsBlock.additionals, answer.additionals);
          const turn = answer.anyOrder ? records.length / Math.max(1, answer.answers) : 0;
          setUint16(state + DnsBlock.turn, answer.exact ? exact : turn);
          this.#u8.set(records, state + DnsBlock.SIZE);
        }
        setUint32(node + DnsNode.a + type * 4, state);
      }
    }
    return true;
  }

  #removeNames(group: string): void {
    let node = this.#groups.get(group) ?? 0;
    this.#groups.delete(group);
    while (node !== 0) {
      this.#exports.removeNode(node);
      for (let type = 0; type < 3; type++) {
        const state = this.#view.getUint32(node + DnsNode.a + type * 4, true);
        if (state > DnsState.PASS)
          this.#release(state, blockOctets(this.#view.getUint16(state + DnsBlock.length, true)));
      }
      const next = this.#view.getUint32(node + DnsNode.next, true);
      this.#release(node, nodeOctets(this.#view.getUint16(node + DnsNode.length, true)));
      node = next;
    }
  }

  ingress(count: number): number {
    return this.#exports.answerFrames(count);
  }

  answer(message: Uint8Array, stream = false): Uint8Array | undefined {
    if (message.length > DNS_LARGEST_QUERY) return undefined;
    const at = this.#messages + this.#message * messageRoom;
    this.#u8.set(message, at);
    const length = this.#exports.answerMessage(at, message.length, stream ? 1 : 0);
    if (length === 0) return undefined;
    this.#message = (this.#message + 1) % messageSlots;
    return this.#u8.subarray(at, at + length);
  }

  get lastType(): number {
    return this.#get("lastType");
  }

  get lastDnssecOk(): boolean {
    return this.#get("lastDnssecOk") !== 0;
  }

  counters(): DnsProgramCounters {
    const count = (field: "answers" | "passed", index: number): number =>
      Number(this.#view.getBigUint64(this.#base + DnsZone[field] + index * 8, true));
    const outcomes = (type: number): DnsOutcomeCounts => ({
      answer: count("answers", type * 3),
      noData: count("answers", type * 3 + 1),
      nameError: count("answers", type * 3 + 2),
    });
    const [disabled, message, type, zone, name, state, size, letters] = Array.from({ length: 8 }, (_, index) =>
      count("passed", index),
    ) as [number, number, number, number, number, number, number, number];
    return {
      answered: { A: outcomes(0), AAAA: outcomes(1), SRV: outcomes(2) },
      passed: { disabled, message, type, zone, name, state, size, case: letters },
    };
  }

  size(): { names: number; octets: number; refused: number } {
    return { names: this.#get("nodes"), octets: this.#used, refused: this.#refused.size };
  }
}

function nodeOctets(length: number): number {
  return DnsNode.SIZE + ((length + 7) & ~7);
}

/** Copies are made in words of eight octets. */
function blockOctets(length: number): number {
  return DnsBlock.SIZE + ((length + 7) & ~7);
}

function fold(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet + 0x20 : octet;
}
