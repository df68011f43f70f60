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
  CONTROL,
  Control,
  FrontendChange,
  FrontendKind,
  Mode,
  NONE,
  PrefixFlag,
  PrefixScope,
  Range,
  Scheduler,
  ServicePort,
  ServicePortCounters,
} from "./generated/layout.ts";
import { buildMaglev, gcd, maglevSize } from "./maglev.ts";
import type { Machine } from "./memory.ts";
import type { PrefixTable } from "./prefix-table.ts";
import type { BackendSpec, FrontendSpec, NodeSpec, ServicePortSpec, ServiceTables } from "./service-port.ts";
import { isSameServicePort } from "./service-port-equality.ts";
import { FRONTEND_WORDS, ServicePortReader } from "./service-port-reader.ts";
import { IdPool, SlotPool } from "./slot-pool.ts";
import { claimFrontend, TableChanges } from "./table-changes.ts";
import { WordList } from "./word-list.ts";

/** What the host remembers of a Service port; all else lies in the maps. */
interface Entry {
  readonly index: number;
  /** As packets see it. */
  spec: ServicePortSpec;
  /** Backend slots. */
  slots: readonly number[];
  /** False while it is prepared and not yet published. */
  live: boolean;
  /** Number of the change that mentioned it last. */
  mark: number;
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
   * Prepares up to `count` more; costs about 2 µs each.
   *
   * @returns how many remain
   * @throws DataplaneError `INVALID_SERVICE_PORT`, `MAP_FULL`; the replacement is then over and nothing has changed
   */
  prepare(count: number): number;
  /** Prepares what remains and publishes everything at once. Throws as {@link prepare} does, and `REPLACEMENT_OVER` afterwards. */
  commit(): void;
  /** Gives up. */
  discard(): void;
}

const loopbackPrefix = "127.";

/** One change of the tables while it is prepared. */
class Change {
  readonly list = new TableChanges();
  readonly added: Entry[] = [];
  /** Entries that stay, with what they become. */
  readonly kept: Entry[] = [];
  readonly keptSpecs: ServicePortSpec[] = [];
  readonly keptSlots: (readonly number[])[] = [];
  readonly removed: Entry[] = [];
  readonly takenBackends = new WordList();
  readonly releasedBackends = new WordList();
  /** Slices of the pools: three numbers each, pool, base and count. */
  readonly taken = new WordList();
  readonly freed = new WordList();

  clear(): void {
    for (const list of [this.list, this.takenBackends, this.releasedBackends, this.taken, this.freed]) list.clear();
    for (const list of [this.added, this.kept, this.keptSpecs, this.keptSlots, this.removed]) list.length = 0;
  }
}

/**
 * The control plane's side of the Service maps: takes specifications, checks them whole, and changes only what differs. New entries,
 * backends and sets are prepared in slots that nothing refers to; what packets can see changes in one go between two batches, after
 * everything is known to be right and to fit. So a refused change leaves the tables as they were.
 */
export class DataplaneServiceTables implements ServiceTables {
  readonly #machine: Machine;
  readonly #addresses: AddressBook;
  readonly #prefixes: PrefixTable;
  readonly #entries = new Map<string, Entry>();
  readonly #byIndex: (Entry | undefined)[] = [];
  readonly #servicePortIds: IdPool;
  readonly #backendIds: IdPool;
  readonly #pools: readonly [sets: SlotPool, lookup: SlotPool, ranges: SlotPool];
  readonly #reader = new ServicePortReader();
  /** Reads the frontends that an entry has so far. */
  readonly #before = new ServicePortReader();
  readonly #change = new Change();
  /** Who else claims a frontend that another entry has; the first one inherits it. */
  readonly #waiting = new Map<string, Uint32Array[]>();
  #replacement: Replacement | undefined;
  #marks = 0;
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
    this.#addresses = addresses;
    this.#prefixes = prefixes;
    this.#servicePortIds = new IdPool(capacity.servicePorts);
    this.#backendIds = new IdPool(capacity.backends);
    this.#pools = [
      new SlotPool(capacity.backends * 4),
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
    return {
      servicePorts: this.#live,
      backends: this.#machine.layout.capacity.backends - this.#backendIds.available - this.#change.takenBackends.length,
      frontends: this.#frontends - waiting,
    };
  }

  /** Entry of a slot, as it is now. */
  servicePortAt(index: number): ServicePortView | undefined {
    const entry = this.#byIndex[index];
    return entry?.live === true ? { id: entry.spec.id, index, spec: entry.spec } : undefined;
  }

  *servicePorts(): IterableIterator<ServicePortView> {
    for (const { live, index, spec } of this.#entries.values()) if (live) yield { id: spec.id, index, spec };
  }

  /** Specification of a backend slot, as it was given; `undefined` after its release. */
  backendAt(slot: number): BackendSpec | undefined {
    if (slot >= this.#machine.layout.capacity.backends) return undefined;
    const { view } = this.#machine;
    const at = this.#backendAddress(slot);
    if (view.getUint16(at + Backend.flags, true) === 0) return undefined;
    const entry = this.#byIndex[view.getUint32(at + Backend.servicePort, true)];
    if (entry?.live !== true) return undefined;
    const key = this.#backendKey(slot);
    for (const list of [entry.spec.cluster, entry.spec.local]) {
      for (const spec of list) if (endpointKey(encodeAddress(spec.address)!, spec.port) === key) return spec;
    }
    return undefined;
  }

  /** Slots of a Service port's backends. */
  backendSlots(id: string): readonly { readonly slot: number; readonly spec: BackendSpec }[] {
    const entry = this.#entries.get(id);
    if (entry?.live !== true) return [];
    const specs = new Map<AddressKey, BackendSpec>();
    for (const list of [entry.spec.local, entry.spec.cluster]) {
      for (const spec of list) specs.set(endpointKey(encodeAddress(spec.address)!, spec.port), spec);
    }
    return entry.slots.map((slot) => ({ slot, spec: specs.get(this.#backendKey(slot))! }));
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
    this.#transact(() => this.#stage(spec));
  }

  removeServicePort(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined || !entry.live) return;
    this.#interrupt();
    this.#transact(() => this.#stageRemoval(entry));
  }

  replaceServicePorts(specs: readonly ServicePortSpec[]): void {
    this.stageServicePorts(specs).commit();
  }

  /** Begins a replacement; one that is under way is given up. */
  stageServicePorts(specs: readonly ServicePortSpec[]): ServicePortReplacement {
    this.#replacement?.discard();
    const replacement = new Replacement(specs, {
      begin: () => {
        this.#marks++;
      },
      stage: (spec) => {
        if (this.#entries.get(spec.id)?.mark === this.#marks) {
          throw new DataplaneError("INVALID_SERVICE_PORT", `${spec.id}: the id is given twice`);
        }
        this.#stage(spec);
      },
      finish: () => {
        for (const entry of this.#entries.values()) if (entry.mark !== this.#marks) this.#stageRemoval(entry);
        this.#requireRoom();
        this.#publish();
      },
      oneByOne: () => this.#replaceOneByOne(specs),
      abandon: () => this.#abandon(),
      over: () => {
        this.#replacement = undefined;
      },
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
        for (const entry of this.#entries.values()) if (!ids.has(entry.spec.id)) this.#stageRemoval(entry);
      });
      for (const spec of specs) this.#transact(() => this.#stage(spec));
    } catch (error) {
      this.#transact(() => {
        for (const entry of this.#entries.values()) this.#stageRemoval(entry);
      });
      for (const pool of this.#pools) pool.reset();
      for (const spec of before) this.#transact(() => this.#stage(spec));
      throw error;
    }
  }

  /** Another change comes in between: a replacement that is under way starts again. */
  #interrupt(): void {
    this.#replacement?.restart();
  }

  #transact(stage: () => void): void {
    this.#marks++;
    try {
      stage();
      this.#requireRoom();
    } catch (error) {
      this.#abandon();
      throw error;
    }
    this.#publish();
  }

  /** Prepares an entry: nothing that a packet can see is changed. */
  #stage(spec: ServicePortSpec): void {
    const known = this.#entries.get(spec.id);
    const change = this.#change;
    if (known !== undefined && isSameServicePort(known.spec, spec)) {
      known.mark = this.#marks;
      change.kept.push(known);
      change.keptSpecs.push(spec);
      change.keptSlots.push(known.slots);
      return;
    }
    const reader = this.#reader;
    reader.read(spec);
    const { u32 } = this.#machine;
    const entry = known ?? this.#addEntry(spec);
    entry.mark = this.#marks;
    const slots = this.#stageBackends(entry, reader);
    const record = entry === known ? change.list.replaceServicePort(entry.index) : undefined;
    const words = record === undefined ? u32 : change.list.words;
    const at = record ?? this.#servicePortAddress(entry.index) >> 2;
    if (record === undefined) {
      // Generation, protocol and scheduler share a word; the generation stays that of the slot.
      const generation = words[at + ServicePort.generation / 4]! & 0xffff;
      words.fill(0, at, at + ServicePort.SIZE / 4);
      words[at + ServicePort.generation / 4] = generation;
      const counters =
        (this.#machine.layout.regions.servicePortCounters.address + entry.index * ServicePortCounters.SIZE) >> 2;
      u32.fill(0, counters, counters + ServicePortCounters.SIZE / 4);
    } else words.fill(0, at, at + ServicePort.SIZE / 4);
    words[at + ServicePort.flags / 4] = reader.flags;
    words[at + ServicePort.generation / 4]! += ((reader.protocol << 16) | (reader.scheduler << 24)) >>> 0;
    words[at + ServicePort.affinityTicks / 4] = reader.affinityTicks;
    words[at + ServicePort.family / 4] = reader.family;
    this.#stageRanges(reader, words, at);
    this.#stageSet(reader, slots, 0, words, at + ServicePort.clusterBase / 4);
    this.#stageSet(reader, slots, 1, words, at + ServicePort.localBase / 4);
    if (entry === known) {
      change.kept.push(entry);
      change.keptSpecs.push(spec);
      change.keptSlots.push(slots);
      this.#freeSlices(entry);
    } else entry.slots = slots;
    this.#stageFrontends(entry, entry === known, reader);
  }

  #addEntry(spec: ServicePortSpec): Entry {
    if (this.#servicePortIds.available === 0) this.#full(spec.id, "servicePorts");
    const entry: Entry = { index: this.#servicePortIds.take(), spec, slots: [], live: false, mark: 0 };
    this.#change.added.push(entry);
    this.#entries.set(spec.id, entry);
    this.#byIndex[entry.index] = entry;
    return entry;
  }

  #full(id: string, name: "servicePorts" | "backends" | "frontends" | "maglevSlots" | "sourceRanges"): never {
    throw new DataplaneError("MAP_FULL", `${id}: no room: capacity.${name} is ${this.#machine.layout.capacity[name]}`);
  }

  /** Slots of the backends that were read, in their order: those that the entry has, and new ones. */
  #stageBackends(entry: Entry, reader: ServicePortReader): number[] {
    const { list, releasedBackends, takenBackends } = this.#change;
    const { u32 } = this.#machine;
    const { addresses, ports, weights, backendFlags, backendCount } = reader;
    const slots = new Array<number>(backendCount).fill(-1);
    for (const slot of entry.slots) {
      const at = this.#backendAddress(slot) >> 2;
      const position = reader.positionOf(u32, at, portOf(u32[at + Backend.port / 4]!));
      if (position >= 0) {
        slots[position] = slot;
        list.changeBackend(slot, weights[position]!, backendFlags[position]!);
      } else {
        list.releaseBackend(slot);
        releasedBackends.push(slot);
      }
    }
    for (let i = 0; i < backendCount; i++) {
      if (slots[i]! >= 0) continue;
      if (this.#backendIds.available === 0) this.#full(entry.spec.id, "backends");
      const slot = this.#backendIds.take();
      takenBackends.push(slot);
      slots[i] = slot;
      const at = this.#backendAddress(slot) >> 2;
      const generation = u32[at + Backend.generation / 4]! + 1;
      u32.fill(0, at, at + Backend.SIZE / 4);
      u32[at] = addresses[i * 4]!;
      u32[at + 1] = addresses[i * 4 + 1]!;
      u32[at + 2] = addresses[i * 4 + 2]!;
      u32[at + 3] = addresses[i * 4 + 3]!;
      u32[at + Backend.port / 4] = rawPort(ports[i]!) | (backendFlags[i]! << 16);
      u32[at + Backend.generation / 4] = generation;
      u32[at + Backend.weight / 4] = weights[i]!;
      u32[at + Backend.servicePort / 4] = entry.index;
    }
    return slots;
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

  #stageRanges(reader: ServicePortReader, words: Uint32Array, at: number): void {
    const { ranges, vips } = reader;
    if (ranges.length === 0) return;
    const { u32, layout } = this.#machine;
    const base = this.#take(2, ranges.length + vips.length);
    [...ranges, ...vips].forEach(({ address, mask }, i) => {
      const to = (layout.regions.ranges.address + (base + i) * Range.SIZE) >> 2;
      writeAddress(u32, to, address);
      writeAddress(u32, to + Range.maskHigh / 4, mask);
    });
    words[at + ServicePort.rangesBase / 4] = base;
    words[at + ServicePort.rangesCount / 4] = ranges.length;
    words[at + ServicePort.vipsBase / 4] = base + ranges.length;
    words[at + ServicePort.vipsCount / 4] = vips.length;
  }

  #stageSet(reader: ServicePortReader, slots: readonly number[], which: 0 | 1, words: Uint32Array, at: number): void {
    const members = reader.sets[which];
    const count = reader.setCounts[which];
    const field = (name: "Count" | "Lookup" | "LookupSize" | "Cursor" | "Weight" | "Divisor" | "Maximum") =>
      at + (ServicePort[`cluster${name}`] - ServicePort.clusterBase) / 4;
    words[field("Cursor")] = NONE;
    if (count === 0) return;
    const { u32, layout } = this.#machine;
    const base = this.#take(0, count);
    const to = (layout.regions.sets.address >> 2) + base;
    let divisor = 0;
    let maximum = 0;
    for (let i = 0; i < count; i++) {
      const member = members[i]!;
      u32[to + i] = slots[member]!;
      const weight = reader.weights[member]!;
      if (weight === 0) continue;
      divisor = gcd(divisor, weight);
      if (weight > maximum) maximum = weight;
    }
    if (maximum > 0) maximum -= divisor - 1;
    words[at] = base;
    words[field("Count")] = count;
    words[field("Weight")] = maximum;
    words[field("Divisor")] = divisor;
    words[field("Maximum")] = maximum;
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
    words[field("Lookup")] = lookup;
    words[field("LookupSize")] = size;
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
    const { list, releasedBackends, removed } = this.#change;
    const before = this.#before;
    before.readFrontends(entry.spec);
    for (let i = 0; i < before.frontendCount; i++) list.dropFrontend(before.frontends, i * FRONTEND_WORDS, entry.index);
    for (const slot of entry.slots) {
      list.releaseBackend(slot);
      releasedBackends.push(slot);
    }
    this.#freeSlices(entry);
    list.removeServicePort(entry.index);
    removed.push(entry);
  }

  /** Slices of the pools that a published entry has: free once the change is published. */
  #freeSlices(entry: Entry): void {
    const { u32 } = this.#machine;
    const { freed } = this.#change;
    const at = this.#servicePortAddress(entry.index) >> 2;
    const free = (pool: 0 | 1 | 2, base: number, count: number): void => {
      if (count > 0) pushSlice(freed, pool, base, count);
    };
    const field = (offset: number): number => u32[at + offset / 4]!;
    free(0, field(ServicePort.clusterBase), field(ServicePort.clusterCount));
    free(0, field(ServicePort.localBase), field(ServicePort.localCount));
    free(1, field(ServicePort.clusterLookup), field(ServicePort.clusterLookupSize));
    free(1, field(ServicePort.localLookup), field(ServicePort.localLookupSize));
    free(2, field(ServicePort.rangesBase), field(ServicePort.rangesCount) + field(ServicePort.vipsCount));
  }

  /** Throws `MAP_FULL` unless what the change claims fits into the tables of frontends and addresses. */
  #requireRoom(): void {
    const { list } = this.#change;
    const { capacity } = this.#machine.layout;
    if (this.#frontends + list.frontends > capacity.frontends) this.#full("Service ports", "frontends");
    const claimed = list.claims.length / (FrontendChange.SIZE / 4);
    if (this.#addresses.count + claimed <= capacity.addresses) return;
    // That may be more than there are addresses: several frontends share one, and some are given up.
    const { exports, u32 } = this.#machine;
    const changes = new Map<string, { words: Uint32Array; by: number }>();
    const count = (words: Uint32Array, by: number): void => {
      for (let at = 0; at < words.length; at += FrontendChange.SIZE / 4) {
        if (words[at + 6] === FrontendKind.NODE_PORT) continue;
        const address = words.subarray(at, at + 5);
        const key = `${address[0]}:${address[1]}:${address[2]}:${address[3]}`;
        const known = changes.get(key);
        if (known === undefined) changes.set(key, { words: address, by });
        else known.by += by;
      }
    };
    count(list.claims, 1);
    count(list.drops, -1);
    let more = 0;
    for (const { words, by } of changes.values()) {
      u32.set(words.subarray(0, 4), ARGUMENTS >> 2);
      const family = words[4]! >>> 24;
      const present = exports.hasAddress(family) !== 0;
      if (!present && by > 0) more++;
      else if (present && exports.addressFrontends(family) + by <= 0) more--;
    }
    if (more > 0) this.#addresses.requireRoom(more);
  }

  /** Gives back what a change took. */
  #abandon(): void {
    const change = this.#change;
    const { words, length } = change.takenBackends;
    for (let i = 0; i < length; i++) {
      const slot = words[i]!;
      this.#machine.view.setUint16(this.#backendAddress(slot) + Backend.flags, 0, true);
      this.#backendIds.give(slot);
    }
    this.#free(change.taken);
    for (const entry of change.added) {
      this.#entries.delete(entry.spec.id);
      this.#byIndex[entry.index] = undefined;
      this.#servicePortIds.give(entry.index);
    }
    change.clear();
  }

  #publish(): void {
    const change = this.#change;
    this.#frontends += change.list.frontends;
    change.list.publish(
      this.#machine,
      (refused) => this.#inherit(refused),
      (frontend) => {
        const key = frontendKey(frontend);
        const waiting = this.#waiting.get(key);
        if (waiting === undefined) this.#waiting.set(key, [frontend]);
        else waiting.push(frontend);
      },
    );
    for (const entry of change.removed) {
      this.#entries.delete(entry.spec.id);
      this.#byIndex[entry.index] = undefined;
      this.#servicePortIds.give(entry.index);
    }
    for (const entry of change.added) entry.live = true;
    for (let i = 0; i < change.kept.length; i++) {
      const entry = change.kept[i]!;
      entry.spec = change.keptSpecs[i]!;
      entry.slots = change.keptSlots[i]!;
    }
    this.#live += change.added.length - change.removed.length;
    const { words, length } = change.releasedBackends;
    for (let i = 0; i < length; i++) this.#backendIds.give(words[i]!);
    this.#free(change.freed);
    change.clear();
  }

  /** After frontends were given up: who waited for one gets it, and who waited and gave up waits no longer. */
  #inherit(refused: ReadonlySet<number>): void {
    if (this.#waiting.size === 0) return;
    const { drops } = this.#change.list;
    const words = FrontendChange.SIZE / 4;
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

  flushUdp(frontends: readonly FrontendSpec[], family: IPFamily, keep: readonly string[]): void {
    if (keep.length === 0 || frontends.length === 0) return;
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
      exports.flushUdp(familyNumber(family), listAt, count, keepAt, kept.length);
    }
  }

  #servicePortAddress(index: number): number {
    return this.#machine.layout.regions.servicePorts.address + index * ServicePort.SIZE;
  }

  #backendAddress(slot: number): number {
    return this.#machine.layout.regions.backends.address + slot * Backend.SIZE;
  }

  /** Address and port of a backend slot as a key of maps. */
  #backendKey(slot: number): AddressKey {
    const { u32 } = this.#machine;
    const at = this.#backendAddress(slot) >> 2;
    return endpointKeyAt(u32, at, portOf(u32[at + Backend.port / 4]!));
  }

  /** Address and port of a backend slot as text, also after its release. */
  backendText(slot: number): { readonly address: string; readonly port: number } {
    const { u8, u32, view } = this.#machine;
    const at = this.#backendAddress(slot);
    return {
      address: decodeAddress(
        u8,
        at,
        u32[at >> 2] === 0 && u32[(at >> 2) + 1] === 0 && u32[(at >> 2) + 2] === mappedWord ? 4 : 6,
      ),
      port: view.getUint16(at + Backend.port, false),
    };
  }
}

type MaglevWords = [number, number, number, number];

function pushSlice(list: WordList, pool: 0 | 1 | 2, base: number, count: number): void {
  const at = list.extend(3);
  list.words[at] = pool;
  list.words[at + 1] = base;
  list.words[at + 2] = count;
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
  finish(): void;
  oneByOne(): void;
  abandon(): void;
  over(): void;
}

class Replacement implements ServicePortReplacement {
  readonly #specs: readonly ServicePortSpec[];
  readonly #steps: ReplacementSteps;
  #prepared = 0;
  /** The tables cannot hold old and new side by side. */
  #isTooTight = false;
  #isOver = false;

  constructor(specs: readonly ServicePortSpec[], steps: ReplacementSteps) {
    this.#specs = specs;
    this.#steps = steps;
  }

  get remaining(): number {
    return this.#isOver ? 0 : this.#specs.length - this.#prepared;
  }

  prepare(count: number): number {
    this.#requireOpen();
    if (this.#isTooTight) return 0;
    if (this.#prepared === 0) this.#steps.begin();
    const end = Math.min(this.#specs.length, this.#prepared + count);
    try {
      for (; this.#prepared < end; this.#prepared++) this.#steps.stage(this.#specs[this.#prepared]!);
    } catch (error) {
      this.#steps.abandon();
      if (!isFull(error)) {
        this.#end();
        throw error;
      }
      this.#isTooTight = true;
      this.#prepared = this.#specs.length;
    }
    return this.remaining;
  }

  commit(): void {
    this.#requireOpen();
    this.prepare(this.#specs.length);
    try {
      if (!this.#isTooTight) {
        if (this.#specs.length === 0) this.#steps.begin();
        try {
          this.#steps.finish();
          return;
        } catch (error) {
          this.#steps.abandon();
          if (!isFull(error)) throw error;
        }
      }
      this.#steps.oneByOne();
    } finally {
      this.#end();
    }
  }

  discard(): void {
    if (this.#isOver) return;
    this.#steps.abandon();
    this.#end();
  }

  restart(): void {
    this.#steps.abandon();
    this.#prepared = 0;
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
