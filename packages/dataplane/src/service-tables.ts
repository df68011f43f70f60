import { type IPFamily, parsePrefix } from "@portolan/net";
import type { AddressBook } from "./address-book.ts";
import {
  type AddressKey,
  addressKey,
  decodeAddress,
  type EncodedAddress,
  encodeAddress,
  endpointKey,
  endpointKeyAt,
  familyNumber,
  foldAddress,
  mappedWord,
  maskEncoded,
  rawPort,
  writeAddress,
} from "./address-codec.ts";
import { DataplaneError } from "./errors.ts";
import {
  ARGUMENTS,
  Backend,
  BackendFlag,
  CONTROL,
  Control,
  EndpointSet,
  FrontendKind,
  IN_A_ROW,
  LongAddress,
  Mode,
  NONE,
  PrefixFlag,
  PrefixScope,
  Range,
  Scheduler,
  ServicePort,
  ServicePortExtension,
  ServicePortFlag,
} from "./generated/layout.ts";
import { ItemList } from "./item-list.ts";
import { buildMaglev, gcd, maglevSize } from "./maglev.ts";
import type { Machine } from "./memory.ts";
import { NameIndex } from "./name-index.ts";
import type { PrefixTable } from "./prefix-table.ts";
import type { BackendSpec, FrontendSpec, NodeSpec, ServicePortSpec, ServiceTables } from "./service-port.ts";
import { isSameServicePort } from "./service-port-equality.ts";
import { FRONTEND_WORDS, ServicePortReader } from "./service-port-reader.ts";
import { IdPool, SlotPool } from "./slot-pool.ts";
import { CHANGE_WORDS, claimFrontend, TableChanges } from "./table-changes.ts";
import { WordList } from "./word-list.ts";

/** No change is that far. */
const NEVER = 2 ** 30;

/** What the host remembers of a Service port; all else lies in the maps. Changes are numbered: see {@link DataplaneServiceTables}. */
class Entry {
  readonly index: number;
  /** As packets see it, up to change {@link changesAt}; from then on it is {@link nextSpec}. */
  spec: ServicePortSpec;
  slots: Slots = noSlots;
  changesAt: number = NEVER;
  nextSpec: ServicePortSpec;
  nextSlots: Slots = noSlots;
  /** First change that it is there after, and first one that it is not. */
  readonly since: number;
  until: number = NEVER;
  /** Number of the preparation that mentioned it last. */
  mark = 0;
  /** Connections of backends that are gone. */
  retired = 0;

  constructor(index: number, spec: ServicePortSpec, since: number) {
    this.index = index;
    this.spec = spec;
    this.nextSpec = spec;
    this.since = since;
  }
}

/** Slots of an entry's backends: a list, or for a short row of them one number that needs no object. */
type Slots = number | readonly number[];
const noSlots: Slots = [];
const ROW_BITS = 7;
const ROW = 1 << ROW_BITS;

function slotCount(slots: Slots): number {
  return typeof slots === "number" ? slots & (ROW - 1) : slots.length;
}

function slotAt(slots: Slots, i: number): number {
  return typeof slots === "number" ? (slots >> ROW_BITS) + i : slots[i]!;
}

/** What a Service port's slot means, for decoding. */
export interface ServicePortView {
  readonly id: string;
  readonly index: number;
  readonly spec: ServicePortSpec;
}

/**
 * A replacement of all Service ports that is prepared while packets go on by the tables in use. Any other change of the Service tables
 * in between is taken into account: preparation then starts again.
 */
export interface ServicePortReplacement {
  /** Entries that are still to be prepared. */
  readonly remaining: number;
  /**
   * Prepares up to `count` more; costs about 2 µs each. When all entries are prepared, frontends that come and go are marked, several
   * to a count.
   *
   * @returns how many remain
   * @throws DataplaneError `INVALID_SERVICE_PORT`, `MAP_FULL`; the replacement is then over and nothing has changed
   */
  prepare(count: number): number;
  /**
   * Prepares what remains and publishes everything at once. Throws as {@link prepare} does, and `REPLACEMENT_OVER` afterwards. When
   * everything was prepared before, it takes tens of nanoseconds for each entry that stays and changes, and a moment for all others.
   */
  commit(): void;
  /**
   * After {@link commit}: clears away up to `count` entries of what was replaced. The next change does what remains.
   *
   * @returns how many remain
   */
  settle(count: number): number;
  /** Gives up. */
  discard(): void;
}

const loopbackPrefix = "127.";

/** One change of the tables while it is prepared, and until what it replaced is cleared away. */
class Change {
  readonly list: TableChanges;
  readonly added = new ItemList<Entry>();
  /** Entries that stay; they know what they become. */
  readonly kept = new ItemList<Entry>();
  readonly removed = new ItemList<Entry>();
  readonly takenBackends = new WordList();
  /** Slices of the pools: three numbers each, pool, base and count. */
  readonly taken = new WordList();
  readonly freed = new WordList();
  readonly takenExtensions = new WordList();
  readonly freedExtensions = new WordList();

  constructor(machine: Machine) {
    this.list = new TableChanges(machine);
  }

  clear(): void {
    for (const list of [this.list, this.takenBackends, this.taken, this.freed]) list.clear();
    for (const list of [this.takenExtensions, this.freedExtensions]) list.clear();
    for (const list of [this.added, this.kept, this.removed]) list.empty(() => {});
  }
}

/** Entries of lists that cost about as much as an entry that is prepared. */
const LISTED = 8;

/**
 * The control plane's side of the Service maps: takes specifications, checks them whole, and changes only what differs. New entries,
 * backends and sets are prepared in slots that nothing refers to; what packets can see changes in one go between two batches, after
 * everything is known to be right and to fit. So a refused change leaves the tables as they were.
 *
 * Published changes are numbered, and entries say from which on they are there, are changed, are gone: so publication costs the host
 * one addition. What was replaced is cleared away afterwards, at once or in steps, before the next change begins.
 */
export class DataplaneServiceTables implements ServiceTables {
  readonly #machine: Machine;
  readonly #addresses: AddressBook;
  readonly #prefixes: PrefixTable;
  readonly #entries = new NameIndex<Entry>();
  readonly #byIndex: (Entry | undefined)[] = [];
  readonly #servicePortIds: IdPool;
  readonly #backendIds: IdPool;
  readonly #pools: readonly [sets: SlotPool, lookup: SlotPool, ranges: SlotPool];
  readonly #reader = new ServicePortReader();
  /** Reads the frontends that an entry has so far. */
  readonly #before = new ServicePortReader();
  readonly #change: Change;
  readonly #extensionIds: IdPool;
  /** Who else claims a frontend that another entry has; the first one inherits it. */
  readonly #waiting = new Map<string, Uint32Array[]>();
  #replacement: Replacement | undefined;
  #marks = 0;
  /** Number of the last change that was published. */
  #published = 0;
  /** What it replaced is not cleared away yet. */
  #isUnsettled = false;
  /** So many of the change's backends, entries that stay and entries that go are. */
  #settled = 0;
  /** Slots of the entry that is being prepared. */
  #slots: Int32Array<ArrayBuffer> = new Int32Array(64);
  readonly #words = new Uint32Array(4);
  /** Frontends of all entries, those that wait included. */
  #frontends = 0;
  #live = 0;
  #node: NodeSpec = { addresses: [], clusterCIDRs: [] };
  #nodeAddresses: EncodedAddress[] = [];
  #nodePortAddresses: EncodedAddress[] = [];
  #nodePrefixes: { address: EncodedAddress; length: number }[] = [];

  constructor(machine: Machine, addresses: AddressBook, prefixes: PrefixTable) {
    const { capacity } = machine.layout;
    this.#machine = machine;
    this.#change = new Change(machine);
    this.#addresses = addresses;
    this.#prefixes = prefixes;
    this.#servicePortIds = new IdPool(capacity.servicePorts);
    this.#backendIds = new IdPool(capacity.backends);
    this.#extensionIds = new IdPool(capacity.extensions);
    this.#pools = [
      new SlotPool(machine.layout.regions.sets.length / 4),
      new SlotPool(capacity.maglevSlots),
      new SlotPool(capacity.sourceRanges),
    ];
  }

  get node(): NodeSpec {
    return this.#node;
  }

  get size(): { readonly servicePorts: number; readonly backends: number; readonly frontends: number } {
    let waiting = 0;
    for (const list of this.#waiting.values()) waiting += list.length;
    const { list, takenBackends } = this.#change;
    const unpublished = this.#isUnsettled ? Math.max(0, list.released.length - this.#settled) : takenBackends.length;
    return {
      servicePorts: this.#live,
      backends: this.#machine.layout.capacity.backends - this.#backendIds.available - unpublished,
      frontends: this.#frontends - waiting,
    };
  }

  #isLive(entry: Entry): boolean {
    return entry.since <= this.#published && entry.until > this.#published;
  }

  #specOf(entry: Entry): ServicePortSpec {
    return entry.changesAt <= this.#published ? entry.nextSpec : entry.spec;
  }

  /** Entry of a slot, as it is now. */
  servicePortAt(index: number): ServicePortView | undefined {
    const entry = this.#byIndex[index];
    return entry !== undefined && this.#isLive(entry) ? this.#view(entry) : undefined;
  }

  #view(entry: Entry): ServicePortView {
    const spec = this.#specOf(entry);
    return { id: spec.id, index: entry.index, spec };
  }

  *servicePorts(): IterableIterator<ServicePortView> {
    for (const entry of this.#byIndex) if (entry !== undefined && this.#isLive(entry)) yield this.#view(entry);
  }

  /** Connections of a Service port that were opened to backends which are gone. */
  retiredConnections(index: number): number {
    this.#settleAll();
    return this.#byIndex[index]?.retired ?? 0;
  }

  /** Specification of a backend slot, as it was given; `undefined` after its release. */
  backendAt(slot: number): BackendSpec | undefined {
    if (slot >= this.#machine.layout.capacity.backends) return undefined;
    const { view } = this.#machine;
    const at = this.#backendAddress(slot);
    if ((view.getUint8(at + Backend.flags) & BackendFlag.IN_USE) === 0) return undefined;
    const entry = this.#byIndex[view.getUint32(at + Backend.servicePort, true)];
    if (entry === undefined || !this.#isLive(entry)) return undefined;
    const key = this.#backendKey(slot);
    const { cluster, local } = this.#specOf(entry);
    for (const list of [cluster, local]) {
      for (const spec of list) if (endpointKey(encodeAddress(spec.address)!, spec.port) === key) return spec;
    }
    return undefined;
  }

  /** Slots of a Service port's backends. */
  backendSlots(id: string): readonly { readonly slot: number; readonly spec: BackendSpec }[] {
    this.#settleAll();
    const entry = this.#entries.get(id);
    if (entry === undefined || !this.#isLive(entry)) return [];
    const specs = new Map<AddressKey, BackendSpec>();
    for (const list of [entry.spec.local, entry.spec.cluster]) {
      for (const spec of list) specs.set(endpointKey(encodeAddress(spec.address)!, spec.port), spec);
    }
    return Array.from({ length: slotCount(entry.slots) }, (_, i) => {
      const slot = slotAt(entry.slots, i);
      return { slot, spec: specs.get(this.#backendKey(slot))! };
    });
  }

  configureNode(node: NodeSpec): void {
    const invalid = (message: string): never => {
      throw new DataplaneError("INVALID_NODE", message);
    };
    const address = (text: string, field: string): EncodedAddress =>
      encodeAddress(text) ?? invalid(`${field}: "${text}" is not an IP address`);
    const addresses = node.addresses.map((text) => address(text, "addresses"));
    const first = (family: 4 | 6) => addresses.find((candidate) => candidate.family === family);
    const primaryOf = (text: string | undefined, family: 4 | 6, field: string): EncodedAddress | undefined => {
      if (text === undefined) return first(family);
      const primary = address(text, field);
      return primary.family === family ? primary : invalid(`${field}: "${text}" is of the other family`);
    };
    const primaryV4 = primaryOf(node.primaryIPv4, 4, "primaryIPv4");
    const primaryV6 = primaryOf(node.primaryIPv6, 6, "primaryIPv6");
    const nodePort =
      node.nodePortAddresses?.map((text) => address(text, "nodePortAddresses")) ??
      [primaryV4, primaryV6].filter((candidate) => candidate !== undefined);
    const prefix = (text: string, field: string, flag: number) => {
      const parsed = parsePrefix(text) ?? invalid(`${field}: "${text}" is not a CIDR`);
      const family = familyNumber(parsed.address.family);
      const length = family === 4 ? parsed.length + 96 : parsed.length;
      const encoded = encodeAddress(text.slice(0, text.lastIndexOf("/")))!;
      return { address: maskEncoded(encoded, length), length, flag };
    };
    const prefixes = [
      ...node.clusterCIDRs.map((text) => prefix(text, "clusterCIDRs", PrefixFlag.CLUSTER_CIDR)),
      ...(node.serviceCIDRs ?? []).map((text) => prefix(text, "serviceCIDRs", PrefixFlag.SERVICE_CIDR)),
    ];
    this.#addresses.requireRoom(addresses.length + nodePort.length);
    this.#prefixes.requireRoom(prefixes.length);

    const before = this.#nodeAddresses;
    for (const own of addresses) this.#addresses.add(own, "local");
    for (const own of before) this.#addresses.remove(own, "local");
    const isLoopback = (candidate: EncodedAddress) => candidate.family === 4 && (candidate.word3 & 0xff) === 127;
    const accepting = nodePort.filter((candidate) => !isLoopback(candidate));
    for (const own of accepting) this.#addresses.add(own, "nodePort");
    for (const own of this.#nodePortAddresses) this.#addresses.remove(own, "nodePort");
    this.#nodeAddresses = addresses;
    this.#nodePortAddresses = accepting;

    for (const old of this.#nodePrefixes) this.#prefixes.remove(PrefixScope.NODE, old.address, old.length);
    this.#nodePrefixes = [];
    for (const one of prefixes) {
      // The longest match answers alone, so that it carries what the blocks around it are.
      let flags = 0;
      for (const other of prefixes) {
        const inside =
          other.address.family === one.address.family &&
          other.length <= one.length &&
          addressKey(maskEncoded(one.address, other.length)) === addressKey(other.address);
        if (inside) flags |= other.flag;
      }
      if (this.#prefixes.set(PrefixScope.NODE, one.address, one.length, { flags })) this.#nodePrefixes.push(one);
    }

    const { view, u8, u32, exports } = this.#machine;
    const put = (field: keyof typeof Control, value: number) => view.setUint32(CONTROL + Control[field], value, true);
    put("mode", { nftables: Mode.NFTABLES, iptables: Mode.IPTABLES, ipvs: Mode.IPVS }[node.mode ?? "nftables"]);
    put("masqueradeAll", node.masqueradeAll ? 1 : 0);
    put("detector", node.clusterCIDRs.length > 0 ? 1 : 0);
    put("loopbackNodePorts", (node.nodePortAddresses ?? []).some((text) => text.startsWith(loopbackPrefix)) ? 1 : 0);
    u8.fill(0, CONTROL + Control.primaryV4, CONTROL + Control.primaryV4 + 24);
    if (primaryV4 !== undefined) {
      view.setUint32(CONTROL + Control.primaryV4, primaryV4.word2, true);
      view.setUint32(CONTROL + Control.primaryV4 + 4, primaryV4.word3, true);
    }
    if (primaryV6 !== undefined) writeAddress(u32, (CONTROL + Control.primaryV6High) >> 2, primaryV6);
    // Connections that are masqueraded to an address the node lost can only black-hole.
    for (const old of before) {
      if (this.#addresses.isLocal(old)) continue;
      writeAddress(u32, ARGUMENTS >> 2, old);
      exports.flushMasqueraded();
    }
    this.#node = node;
  }

  setServicePort(spec: ServicePortSpec): void {
    this.#interrupt();
    this.#transact(() => this.#stage(spec, this.#entries.get(spec.id)));
  }

  removeServicePort(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined || !this.#isLive(entry)) return;
    this.#interrupt();
    this.#transact(() => this.#stageRemoval(entry));
  }

  replaceServicePorts(specs: readonly ServicePortSpec[]): void {
    this.stageServicePorts(specs).commit();
    this.#settleAll();
  }

  /** Begins a replacement; one that is under way is given up. */
  stageServicePorts(specs: readonly ServicePortSpec[]): ServicePortReplacement {
    this.#replacement?.discard();
    /** Slots before this one were looked at for entries that go. */
    let visited = 0;
    let isMarking = false;
    /** Slot of who may be next: replacements mostly come in the order of what they replace. */
    let expected = 0;
    const find = (id: string): Entry | undefined => {
      const guess = this.#byIndex[expected];
      const found = guess?.spec.id === id ? guess : this.#entries.get(id);
      if (found !== undefined) expected = found.index + 1;
      return found;
    };
    /** Removes who was not mentioned, among up to `count` slots. Returns how many of `count` are left over. */
    const removeOthers = (count: number): number => {
      const end = Math.min(this.#byIndex.length, visited + count);
      const left = count - (end - visited);
      for (; visited < end; visited++) {
        const entry = this.#byIndex[visited];
        if (entry !== undefined && entry.mark !== this.#marks) this.#stageRemoval(entry);
      }
      return left;
    };
    const change = this.#change;
    const replacement = new Replacement(specs, {
      begin: () => {
        this.#settleAll();
        this.#marks++;
        visited = 0;
        isMarking = false;
        expected = 0;
      },
      stage: (spec) => {
        const known = find(spec.id);
        if (known?.mark === this.#marks) {
          throw new DataplaneError("INVALID_SERVICE_PORT", `${spec.id}: the id is given twice`);
        }
        this.#stage(spec, known);
      },
      complete: (count) => {
        const left = removeOthers(count * LISTED);
        if (left <= 0) return 1;
        if (!isMarking) {
          // What does not fit side by side, and whom frontends go to that several claim, is for a publication in one go.
          if (this.#waiting.size > 0 || this.#lack(true) !== undefined) return 0;
          isMarking = true;
          change.list.beginMarking();
        }
        return change.list.isContested ? 0 : Math.ceil(change.list.advance(left) / LISTED);
      },
      finish: () => {
        if (isMarking && !change.list.isContested) {
          while (change.list.advance(Number.POSITIVE_INFINITY) > 0);
          if (!change.list.isContested) {
            this.#publish(true);
            return;
          }
        }
        if (isMarking) change.list.unmark();
        isMarking = false;
        removeOthers(Number.POSITIVE_INFINITY);
        this.#requireRoom();
        this.#publish(false);
      },
      oneByOne: () => this.#replaceOneByOne(specs),
      abandon: () => {
        if (isMarking) change.list.unmark();
        isMarking = false;
        this.#abandon();
      },
      over: () => {
        this.#replacement = undefined;
      },
      settle: (count) => this.#settle(count * LISTED),
    });
    this.#replacement = replacement;
    return replacement;
  }

  /** For tables that cannot hold the old and the new side by side: what goes is removed first, and put back should the rest not fit. */
  #replaceOneByOne(specs: readonly ServicePortSpec[]): void {
    const before = [...this.servicePorts()].map((entry) => entry.spec);
    try {
      const ids = new Set(specs.map((spec) => spec.id));
      this.#transact(() => {
        for (const entry of this.#byIndex)
          if (entry !== undefined && !ids.has(entry.spec.id)) this.#stageRemoval(entry);
      });
      for (const spec of specs) this.#transact(() => this.#stage(spec, this.#entries.get(spec.id)));
    } catch (error) {
      this.#transact(() => {
        for (const entry of this.#byIndex) if (entry !== undefined) this.#stageRemoval(entry);
      });
      for (const pool of this.#pools) pool.reset();
      for (const spec of before) this.#transact(() => this.#stage(spec, this.#entries.get(spec.id)));
      throw error;
    }
  }

  /** Another change comes in between: a replacement that is under way starts again. */
  #interrupt(): void {
    this.#replacement?.restart();
  }

  #transact(stage: () => void): void {
    this.#settleAll();
    this.#marks++;
    try {
      stage();
      this.#requireRoom();
    } catch (error) {
      this.#abandon();
      throw error;
    }
    this.#publish(false);
    this.#settleAll();
  }

  /** Prepares an entry: nothing that a packet can see is changed. */
  #stage(spec: ServicePortSpec, known: Entry | undefined): void {
    if (known !== undefined && isSameServicePort(known.spec, spec)) {
      this.#keep(known, spec, known.slots);
      return;
    }
    const reader = this.#reader;
    reader.read(spec);
    const entry = known ?? this.#addEntry(spec);
    const slots = this.#stageBackends(entry, reader);
    if (known === undefined) {
      entry.mark = this.#marks;
      entry.slots = slots;
    } else this.#keep(entry, spec, slots);
    this.#stageRecord(entry, known !== undefined, reader);
    this.#stageFrontends(entry, known !== undefined, reader);
  }

  #keep(entry: Entry, spec: ServicePortSpec, slots: Slots): void {
    entry.mark = this.#marks;
    entry.nextSpec = spec;
    entry.nextSlots = slots;
    entry.changesAt = this.#published + 1;
    this.#change.kept.push(entry);
  }

  #addEntry(spec: ServicePortSpec): Entry {
    if (this.#servicePortIds.available === 0) this.#full(spec.id, "servicePorts");
    const entry = new Entry(this.#servicePortIds.take(), spec, this.#published + 1);
    this.#change.added.push(entry);
    this.#entries.set(spec.id, entry);
    this.#byIndex[entry.index] = entry;
    return entry;
  }

  #full(
    id: string,
    name: "servicePorts" | "extensions" | "backends" | "frontends" | "ipv6Addresses" | "maglevSlots" | "sourceRanges",
  ): never {
    throw new DataplaneError("MAP_FULL", `${id}: no room: capacity.${name} is ${this.#machine.layout.capacity[name]}`);
  }

  /** Slots of the backends that were read, in their order: those that the entry has, and new ones. Also left in `#slots`. */
  #stageBackends(entry: Entry, reader: ServicePortReader): Slots {
    const { list } = this.#change;
    const { u32 } = this.#machine;
    const { weights, backendFlags, backendCount } = reader;
    if (backendCount > this.#slots.length) this.#slots = new Int32Array(backendCount * 2);
    const slots = this.#slots;
    slots.fill(-1, 0, backendCount);
    const before = slotCount(entry.slots);
    for (let i = 0; i < before; i++) {
      const slot = slotAt(entry.slots, i);
      const at = this.#backendAddress(slot) >> 2;
      this.#readBackend(at);
      const portAndWeight = u32[at + Backend.port / 4]!;
      const position = reader.positionOf(this.#words, 0, portOf(portAndWeight));
      if (position < 0) list.releaseBackend(slot);
      else {
        slots[position] = slot;
        const weight = weights[position]!;
        const flags = backendFlags[position]! | (reader.family === 6 ? BackendFlag.IPV6 : 0);
        if (
          portAndWeight >>> 16 !== weight ||
          (u32[at + Backend.flags / 4]! & 0xff & ~BackendFlag.OVERLOADED) !== flags
        )
          list.changeBackend(slot, weight, flags);
      }
    }
    let isRow = true;
    for (let i = 0; i < backendCount; i++) {
      if (slots[i]! < 0) slots[i] = this.#takeBackend(entry, reader, i);
      if (slots[i] !== slots[0]! + i) isRow = false;
    }
    if (backendCount === 0) return noSlots;
    if (isRow && backendCount < ROW && slots[0]! < 1 << (31 - ROW_BITS)) return (slots[0]! << ROW_BITS) | backendCount;
    return Array.from(slots.subarray(0, backendCount));
  }

  #takeBackend(
    entry: Entry,
    { addresses, family, ports, weights, backendFlags }: ServicePortReader,
    i: number,
  ): number {
    if (this.#backendIds.available === 0) this.#full(entry.spec.id, "backends");
    const { u32, exports } = this.#machine;
    let address = addresses[i * 4 + 3]!;
    let flags = backendFlags[i]!;
    if (family === 6) {
      const words = ARGUMENTS >> 2;
      for (let word = 0; word < 4; word++) u32[words + word] = addresses[i * 4 + word]!;
      address = exports.takeLongAddress() >>> 0;
      if (address === NONE) this.#full(entry.spec.id, "ipv6Addresses");
      flags |= BackendFlag.IPV6;
    }
    const slot = this.#backendIds.take();
    this.#change.takenBackends.push(slot);
    const at = this.#backendAddress(slot) >> 2;
    const generation = ((u32[at + Backend.flags / 4]! >>> 16) + 1) & 0xffff;
    u32[at] = address;
    u32[at + Backend.port / 4] = (rawPort(ports[i]!) | (weights[i]! << 16)) >>> 0;
    u32[at + Backend.flags / 4] = (flags | (generation << 16)) >>> 0;
    u32[at + Backend.servicePort / 4] = entry.index;
    u32[at + Backend.active / 4] = 0;
    u32[at + Backend.inactive / 4] = 0;
    u32[at + Backend.connections / 4] = 0;
    u32[at + Backend.hop / 4] = 0;
    return slot;
  }

  /** Puts the address of a backend's record into `#words`. */
  #readBackend(at: number): void {
    const { u32, layout } = this.#machine;
    const words = this.#words;
    const address = u32[at]!;
    if ((u32[at + Backend.flags / 4]! & BackendFlag.IPV6) === 0) {
      words[0] = 0;
      words[1] = 0;
      words[2] = mappedWord;
      words[3] = address;
      return;
    }
    const from = (layout.regions.longAddresses.address + address * LongAddress.SIZE) >> 2;
    for (let word = 0; word < 4; word++) words[word] = u32[from + word]!;
  }

  #take(pool: 0 | 1 | 2, count: number): number {
    const base = this.#pools[pool].allocate(count);
    if (base === undefined) this.#full("Service ports", poolCapacities[pool]);
    pushSlice(this.#change.taken, pool, base, count);
    return base;
  }

  #free({ words, length }: WordList): void {
    for (let i = 0; i < length; i += 3) this.#pools[words[i] as 0 | 1 | 2].free(words[i + 1]!, words[i + 2]!);
  }

  /** Settings, sets and ranges; the backends' slots are in `#slots`. */
  #stageRecord(entry: Entry, isKept: boolean, reader: ServicePortReader): void {
    const { u32 } = this.#machine;
    const settings = reader.flags | (reader.scheduler << 8);
    const clusterCount = reader.setCounts[0];
    const clusterBase = this.#stageList(reader, 0);
    const isLocal = (reader.flags & (ServicePortFlag.INTERNAL_LOCAL | ServicePortFlag.EXTERNAL_LOCAL)) !== 0;
    let extension: number = NONE;
    if (isLocal || reader.scheduler !== Scheduler.RANDOM || reader.affinityTicks > 0 || reader.ranges.length > 0) {
      if (this.#extensionIds.available === 0) this.#full(entry.spec.id, "extensions");
      extension = this.#extensionIds.take();
      this.#change.takenExtensions.push(extension);
      const at = this.#extensionAddress(extension) >> 2;
      u32.fill(0, at, at + ServicePortExtension.SIZE / 4);
      this.#stageSet(reader, 0, at, clusterBase);
      if (isLocal) {
        const shared = this.#findInList(reader, clusterBase);
        this.#stageSet(reader, 1, at + ServicePortExtension.localBase / 4, shared ?? this.#stageList(reader, 1));
      }
      this.#stageRanges(reader, at);
    }
    if (isKept) {
      this.#freeSlices(entry);
      this.#change.list.replaceServicePort(
        entry.index,
        settings,
        reader.affinityTicks,
        extension,
        clusterBase,
        clusterCount,
      );
      return;
    }
    const at = this.#servicePortAddress(entry.index) >> 2;
    const generation = u32[at]! & 0xffff0000;
    u32.fill(0, at, at + ServicePort.SIZE / 4);
    u32[at] = (settings | generation) >>> 0;
    u32[at + ServicePort.affinityTicks / 4] = reader.affinityTicks;
    u32[at + ServicePort.extension / 4] = extension;
    u32[at + ServicePort.clusterBase / 4] = clusterBase;
    u32[at + ServicePort.clusterCount / 4] = clusterCount;
  }

  #stageRanges(reader: ServicePortReader, at: number): void {
    const { ranges, vips } = reader;
    if (ranges.length === 0) return;
    const { u32, layout } = this.#machine;
    const base = this.#take(2, ranges.length + vips.length);
    [...ranges, ...vips].forEach(({ address, mask }, i) => {
      const to = (layout.regions.ranges.address + (base + i) * Range.SIZE) >> 2;
      writeAddress(u32, to, address);
      writeAddress(u32, to + Range.maskHigh / 4, mask);
    });
    u32[at + ServicePortExtension.rangesBase / 4] = base;
    u32[at + ServicePortExtension.rangesCount / 4] = ranges.length;
    u32[at + ServicePortExtension.vipsBase / 4] = base + ranges.length;
    u32[at + ServicePortExtension.vipsCount / 4] = vips.length;
  }

  /** Makes a list of a set's members, unless their slots lie in a row and the scheduler picks by number. Returns the set's base. */
  #stageList(reader: ServicePortReader, which: 0 | 1): number {
    const members = reader.sets[which];
    const count = reader.setCounts[which];
    if (count === 0) return 0;
    const slots = this.#slots;
    const first = slots[members[0]!]!;
    let i = 1;
    while (i < count && slots[members[i]!] === first + i) i++;
    if (i === count && reader.scheduler === Scheduler.RANDOM) return IN_A_ROW | first;
    const base = this.#take(0, count);
    const { u32, layout } = this.#machine;
    const to = (layout.regions.sets.address >> 2) + base;
    for (i = 0; i < count; i++) u32[to + i] = slots[members[i]!]!;
    return base;
  }

  /** Where in the list of set 0 the members of set 1 are, one after the other; `undefined` when they are not. */
  #findInList(reader: ServicePortReader, clusterBase: number): number | undefined {
    if (clusterBase < 0) return undefined;
    const [cluster, local] = reader.sets;
    const [clusterCount, localCount] = reader.setCounts;
    let offset = 0;
    while (offset < clusterCount && cluster[offset] !== local[0]) offset++;
    if (localCount === 0 || offset + localCount > clusterCount) return undefined;
    for (let i = 1; i < localCount; i++) if (cluster[offset + i] !== local[i]) return undefined;
    return clusterBase + offset;
  }

  /** Fills in one set of an extension. */
  #stageSet(reader: ServicePortReader, which: 0 | 1, at: number, base: number): void {
    const members = reader.sets[which];
    const count = reader.setCounts[which];
    const { u32 } = this.#machine;
    u32[at + EndpointSet.cursor / 4] = NONE;
    if (count === 0) return;
    const slots = this.#slots;
    let divisor = 0;
    let maximum = 0;
    for (let i = 0; i < count; i++) {
      const weight = reader.weights[members[i]!]!;
      if (weight === 0) continue;
      divisor = gcd(divisor, weight);
      if (weight > maximum) maximum = weight;
    }
    if (maximum > 0) maximum -= divisor - 1;
    u32[at + EndpointSet.base / 4] = base;
    u32[at + EndpointSet.count / 4] = count;
    u32[at + EndpointSet.weight / 4] = maximum;
    u32[at + EndpointSet.divisor / 4] = divisor;
    u32[at + EndpointSet.maximum / 4] = maximum;
    if (reader.scheduler !== Scheduler.MH) return;
    const [size] = maglevSize(count);
    const lookup = this.#take(1, size);
    const { addresses, family, ports, weights } = reader;
    buildMaglev(
      this.#machine,
      members.slice(0, count).map((i) => {
        const [word0, word1, word2, word3] = addresses.subarray(i * 4, i * 4 + 4) as unknown as MaglevWords;
        return {
          slot: slots[i]!,
          words: [word0, word1, word2, word3],
          folded: foldAddress({ family, word0, word1, word2, word3 }),
          port: ports[i]!,
          weight: weights[i]!,
        };
      }),
      lookup,
    );
    u32[at + EndpointSet.lookup / 4] = lookup;
    u32[at + EndpointSet.lookupSize / 4] = size;
  }

  #stageFrontends(entry: Entry, hasBefore: boolean, reader: ServicePortReader): void {
    const { list } = this.#change;
    const before = this.#before;
    before.frontendCount = 0;
    if (hasBefore) {
      before.readFrontends(entry.spec);
      for (let i = 0; i < before.frontendCount; i++) {
        const from = i * FRONTEND_WORDS;
        const at = reader.frontendAt(before.frontends, from, reader.frontendCount) * FRONTEND_WORDS;
        if (at < 0 || reader.frontends[at + 5] !== before.frontends[from + 5])
          list.dropFrontend(before.frontends, from, entry.index);
      }
    }
    for (let i = 0; i < reader.frontendCount; i++) {
      const from = i * FRONTEND_WORDS;
      const at = before.frontendAt(reader.frontends, from, before.frontendCount) * FRONTEND_WORDS;
      if (at < 0 || before.frontends[at + 5] !== reader.frontends[from + 5])
        list.claimFrontend(reader.frontends, from, entry.index);
    }
  }

  #stageRemoval(entry: Entry): void {
    const { list, removed } = this.#change;
    const before = this.#before;
    before.readFrontends(entry.spec);
    for (let i = 0; i < before.frontendCount; i++) list.dropFrontend(before.frontends, i * FRONTEND_WORDS, entry.index);
    const count = slotCount(entry.slots);
    for (let i = 0; i < count; i++) list.releaseBackend(slotAt(entry.slots, i));
    this.#freeSlices(entry);
    list.removeServicePort(entry.index);
    entry.until = this.#published + 1;
    removed.push(entry);
  }

  /** Slices of the pools that a published entry has: free once the change is published. */
  #freeSlices(entry: Entry): void {
    const { u32 } = this.#machine;
    const { freed, freedExtensions } = this.#change;
    const record = this.#servicePortAddress(entry.index) >> 2;
    const base = u32[record + ServicePort.clusterBase / 4]! | 0;
    const count = u32[record + ServicePort.clusterCount / 4]!;
    pushSlice(freed, 0, base, count);
    const extension = u32[record + ServicePort.extension / 4]!;
    if (extension === NONE) return;
    freedExtensions.push(extension);
    const at = this.#extensionAddress(extension) >> 2;
    const field = (offset: number): number => u32[at + offset / 4]! | 0;
    const localBase = field(ServicePortExtension.localBase);
    const isShared = localBase >= base && localBase < base + count;
    if (!isShared) pushSlice(freed, 0, localBase, field(ServicePortExtension.localCount));
    pushSlice(freed, 1, field(ServicePortExtension.clusterLookup), field(ServicePortExtension.clusterLookupSize));
    pushSlice(freed, 1, field(ServicePortExtension.localLookup), field(ServicePortExtension.localLookupSize));
    const ranges = field(ServicePortExtension.rangesCount) + field(ServicePortExtension.vipsCount);
    pushSlice(freed, 2, field(ServicePortExtension.rangesBase), ranges);
  }

  #requireRoom(): void {
    const lack = this.#lack(false);
    if (lack !== undefined) this.#full("Service ports", lack);
  }

  /**
   * What is too small for what the change claims, the table of frontends or the pool of addresses: with `sideBySide` beside what it gives
   * up.
   */
  #lack(sideBySide: boolean): "frontends" | "ipv6Addresses" | undefined {
    const { list } = this.#change;
    const { capacity, control } = this.#machine.layout;
    if (this.#frontends + list.frontends > capacity.frontends) return "frontends";
    const used = this.#control("frontendCount");
    const { claimed, dropped } = list.tableFrontends;
    // A head whose frontend is given up may stay, for the others of its address; who waits for a frontend has no slot to give up.
    const left = sideBySide || this.#waiting.size > 0 ? used : used - dropped + Math.min(dropped, used - dropped);
    if (left + claimed >= control.frontendLines! * 4) return "frontends";
    const spent = this.#control("longAddressHighWater") - this.#control("longAddressFreeCount");
    return spent + list.longAddresses > capacity.ipv6Addresses ? "ipv6Addresses" : undefined;
  }

  #control(field: keyof typeof Control): number {
    return this.#machine.u32[(CONTROL + Control[field]) >> 2]!;
  }

  /** Gives back what a change took. */
  #abandon(): void {
    const change = this.#change;
    const { u32, exports } = this.#machine;
    const { words, length } = change.takenBackends;
    for (let i = 0; i < length; i++) {
      const slot = words[i]!;
      const at = this.#backendAddress(slot) >> 2;
      const flags = u32[at + Backend.flags / 4]!;
      if ((flags & BackendFlag.IPV6) !== 0) exports.giveLongAddress(u32[at]!);
      u32[at + Backend.flags / 4] = (flags & 0xffff0000) >>> 0;
      this.#backendIds.give(slot);
    }
    this.#free(change.taken);
    giveAll(this.#extensionIds, change.takenExtensions);
    change.added.empty((entry) => this.#forget(entry));
    change.kept.empty((entry) => {
      entry.changesAt = NEVER;
    });
    change.removed.empty((entry) => {
      entry.until = NEVER;
    });
    change.clear();
  }

  /** Publishes a change: in one go, or what was marked in steps. */
  #publish(isMarked: boolean): void {
    const change = this.#change;
    this.#frontends += change.list.frontends;
    this.#machine.u32[(CONTROL + Control.backendHighWater) >> 2] = this.#backendIds.highWater;
    const onDropped = (drops: Uint32Array, refused: ReadonlySet<number>) => this.#inherit(drops, refused);
    const onRefused = (frontend: Uint32Array) => {
      const key = frontendKey(frontend);
      const waiting = this.#waiting.get(key);
      if (waiting === undefined) this.#waiting.set(key, [frontend]);
      else waiting.push(frontend);
    };
    if (isMarked) change.list.publishMarked(onDropped, onRefused);
    else change.list.publish(onDropped, onRefused);
    this.#published++;
    this.#live += change.added.length - change.removed.length;
    this.#isUnsettled = true;
    this.#settled = 0;
  }

  #settleAll(): void {
    if (this.#isUnsettled) while (this.#settle(Number.POSITIVE_INFINITY) > 0);
  }

  /** Clears away up to `count` entries of what the last change replaced. Returns how many remain. */
  #settle(count: number): number {
    if (!this.#isUnsettled) return 0;
    const change = this.#change;
    const { added, list, kept, removed } = change;
    const { released } = list;
    const total = released.length + kept.length + removed.length + added.length;
    const listed = list.advance(count);
    if (listed > 0) return listed + total;
    list.endPublication();
    const end = Math.min(total, this.#settled + count);
    for (let i = this.#settled; i < end; i++) {
      if (i < released.length) this.#retire(released.words[i]!);
      else if (i < released.length + kept.length) {
        const entry = kept.take(i - released.length)!;
        entry.spec = entry.nextSpec;
        entry.slots = entry.nextSlots;
        entry.changesAt = NEVER;
      } else if (i < released.length + kept.length + removed.length)
        this.#forget(removed.take(i - released.length - kept.length)!);
      else added.take(i - released.length - kept.length - removed.length);
    }
    this.#settled = end;
    if (end < total) return total - end;
    this.#free(change.freed);
    giveAll(this.#extensionIds, change.freedExtensions);
    change.clear();
    this.#isUnsettled = false;
    return 0;
  }

  #retire(slot: number): void {
    const { u32 } = this.#machine;
    const at = this.#backendAddress(slot) >> 2;
    const owner = this.#byIndex[u32[at + Backend.servicePort / 4]!];
    if (owner !== undefined)
      owner.retired += u32[at + Backend.connections / 4]! + ((u32[at + Backend.flags / 4]! >>> 8) & 0xff) * 2 ** 32;
    this.#backendIds.give(slot);
  }

  #forget(entry: Entry): void {
    this.#entries.delete(entry.spec.id);
    this.#byIndex[entry.index] = undefined;
    this.#servicePortIds.give(entry.index);
  }

  /** After frontends were given up: who waited for one gets it, and who waited and gave up waits no longer. */
  #inherit(drops: Uint32Array, refused: ReadonlySet<number>): void {
    if (this.#waiting.size === 0) return;
    const words = CHANGE_WORDS;
    const left: string[] = [];
    for (let i = 0; i * words < drops.length; i++) {
      const frontend = drops.subarray(i * words, (i + 1) * words);
      const key = frontendKey(frontend);
      const waiting = this.#waiting.get(key);
      if (waiting === undefined) continue;
      if (refused.has(i)) {
        const position = waiting.findIndex((other) => other[5] === frontend[5]);
        if (position >= 0) waiting.splice(position, 1);
        if (waiting.length === 0) this.#waiting.delete(key);
      } else left.push(key);
    }
    for (const key of left) {
      const waiting = this.#waiting.get(key);
      const heir = waiting?.shift();
      if (heir !== undefined) claimFrontend(this.#machine, heir);
      if (waiting?.length === 0) this.#waiting.delete(key);
    }
  }

  flushUdp(frontends: readonly FrontendSpec[], family: IPFamily, keep: readonly string[]): number {
    if (keep.length === 0 || frontends.length === 0) return 0;
    const { layout, u8, u32, view, exports } = this.#machine;
    // The scratch area holds both lists; more than it has room for goes in several calls, which is the same.
    const area = layout.regions.scratch;
    const kept = keep.map((text) => encodeAddress(text)).filter((address) => address !== undefined);
    if (kept.length * 16 > area.length / 2) {
      throw new DataplaneError("MAP_FULL", `flushUdp: ${kept.length} addresses to keep are more than fit`);
    }
    const keepAt = area.address;
    kept.forEach((address, i) => {
      writeAddress(u32, (keepAt + i * 16) >> 2, address);
    });
    const listAt = area.address + area.length / 2;
    const most = Math.floor(area.length / 2 / 24);
    let removed = 0;
    for (let from = 0; from < frontends.length; from += most) {
      const part = frontends.slice(from, from + most);
      let count = 0;
      for (const frontend of part) {
        const at = listAt + count * 24;
        const address = frontend.address === undefined ? undefined : encodeAddress(frontend.address);
        if (frontend.address !== undefined && address === undefined) continue;
        u8.fill(0, at, at + 16);
        if (address !== undefined) writeAddress(u32, at >> 2, address);
        view.setUint32(at + 16, rawPort(frontend.port), true);
        view.setUint32(at + 20, address === undefined ? 1 : 0, true);
        count++;
      }
      removed += exports.flushUdp(familyNumber(family), listAt, count, keepAt, kept.length);
    }
    return removed;
  }

  #servicePortAddress(index: number): number {
    return this.#machine.layout.regions.servicePorts.address + index * ServicePort.SIZE;
  }

  #backendAddress(slot: number): number {
    return this.#machine.layout.regions.backends.address + slot * Backend.SIZE;
  }

  #extensionAddress(id: number): number {
    return this.#machine.layout.regions.extensions.address + id * ServicePortExtension.SIZE;
  }

  /** Address and port of a backend slot as a key of maps. */
  #backendKey(slot: number): AddressKey {
    const at = this.#backendAddress(slot) >> 2;
    this.#readBackend(at);
    return endpointKeyAt(this.#words, 0, portOf(this.#machine.u32[at + Backend.port / 4]!));
  }

  /** Address and port of a backend slot as text, also after its release. */
  backendText(slot: number): { readonly address: string; readonly port: number } {
    const { u8, u32, view, layout } = this.#machine;
    const at = this.#backendAddress(slot);
    const isLong = (view.getUint8(at + Backend.flags) & BackendFlag.IPV6) !== 0;
    const long = layout.regions.longAddresses.address + u32[at >> 2]! * LongAddress.SIZE;
    return {
      address: isLong ? decodeAddress(u8, long, 6) : decodeAddress(u8, at - 12, 4),
      port: view.getUint16(at + Backend.port, false),
    };
  }
}

type MaglevWords = [number, number, number, number];

/** Lists a slice; sets that lie in a row, whose base is negative here, have none. */
function pushSlice(list: WordList, pool: 0 | 1 | 2, base: number, count: number): void {
  if (count === 0 || base < 0) return;
  const at = list.extend(3);
  list.words[at] = pool;
  list.words[at + 1] = base;
  list.words[at + 2] = count;
}

function giveAll(pool: IdPool, { words, length }: WordList): void {
  for (let i = 0; i < length; i++) pool.give(words[i]!);
}

/** Capacities that the pools follow from, for messages. */
const poolCapacities = ["backends", "maglevSlots", "sourceRanges"] as const;

/** Port in host order, of the word that holds it raw in its lower half. */
function portOf(word: number): number {
  return ((word & 0xff) << 8) | ((word >>> 8) & 0xff);
}

/** Identity of a frontend over all Service ports. */
function frontendKey(change: Uint32Array): string {
  const node = change[6] === FrontendKind.NODE_PORT;
  return `${node ? "node" : ""}${change[4]}/${change[0]}:${change[1]}:${change[2]}:${change[3]}`;
}

/** What a replacement does to the tables. */
interface ReplacementSteps {
  begin(): void;
  stage(spec: ServicePortSpec): void;
  /** After all entries: goes on preparing, by about `count` of them. Returns how many remain. */
  complete(count: number): number;
  finish(): void;
  oneByOne(): void;
  abandon(): void;
  over(): void;
  settle(count: number): number;
}

class Replacement implements ServicePortReplacement {
  readonly #specs: readonly ServicePortSpec[];
  readonly #steps: ReplacementSteps;
  #prepared = 0;
  /** What remains beside the entries. */
  #further = 1;
  /** The tables cannot hold old and new side by side. */
  #isTooTight = false;
  #isOver = false;
  #hasBegun = false;

  constructor(specs: readonly ServicePortSpec[], steps: ReplacementSteps) {
    this.#specs = specs;
    this.#steps = steps;
  }

  get remaining(): number {
    return this.#isOver ? 0 : this.#specs.length - this.#prepared + this.#further;
  }

  prepare(count: number): number {
    this.#requireOpen();
    if (this.#isTooTight) return 0;
    this.#attempt(() => {
      const staged = this.#stage(count);
      if (staged < count) this.#further = this.#steps.complete(count - staged);
    });
    return this.remaining;
  }

  /** Prepares up to `count` entries. Returns how many those were. */
  #stage(count: number): number {
    if (!this.#hasBegun) this.#steps.begin();
    this.#hasBegun = true;
    const first = this.#prepared;
    const end = Math.min(this.#specs.length, first + count);
    for (; this.#prepared < end; this.#prepared++) this.#steps.stage(this.#specs[this.#prepared]!);
    return end - first;
  }

  /** Gives up when something is wrong, and the hope for atomic steps when there is no room. */
  #attempt(prepare: () => void): void {
    try {
      prepare();
    } catch (error) {
      this.#steps.abandon();
      if (!isFull(error)) {
        this.#end();
        throw error;
      }
      this.#isTooTight = true;
      this.#prepared = this.#specs.length;
      this.#further = 0;
    }
  }

  commit(): void {
    this.#requireOpen();
    if (!this.#isTooTight) {
      this.#attempt(() => {
        this.#stage(this.#specs.length);
        this.#steps.finish();
      });
    }
    try {
      if (this.#isTooTight) this.#steps.oneByOne();
    } finally {
      if (!this.#isOver) this.#end();
    }
  }

  settle(count: number): number {
    return this.#isOver ? this.#steps.settle(count) : 0;
  }

  discard(): void {
    if (this.#isOver) return;
    if (this.#hasBegun) this.#steps.abandon();
    this.#end();
  }

  restart(): void {
    if (this.#hasBegun) this.#steps.abandon();
    this.#hasBegun = false;
    this.#prepared = 0;
    this.#further = 1;
    this.#isTooTight = false;
  }

  #end(): void {
    this.#isOver = true;
    this.#steps.over();
  }

  #requireOpen(): void {
    if (this.#isOver)
      throw new DataplaneError("REPLACEMENT_OVER", "this replacement was committed, refused or given up");
  }
}

function isFull(error: unknown): boolean {
  return error instanceof DataplaneError && error.code === "MAP_FULL";
}
