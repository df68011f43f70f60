import { type IPFamily, parsePrefix } from "@portolan/net";
import type { AddressBook } from "./address-book.ts";
import {
  type AddressKey,
  addressBytes,
  addressKey,
  decodeAddress,
  type EncodedAddress,
  encodeAddress,
  endpointKey,
  familyNumber,
  foldAddress,
  maskEncoded,
  maskWords,
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
  Mode,
  NONE,
  PrefixFlag,
  PrefixScope,
  Range,
  ServicePort,
  ServicePortCounters,
  ServicePortFlag,
  TICKS_PER_SECOND,
} from "./generated/layout.ts";
import type { Machine } from "./memory.ts";
import { frontendKindNumbers, protocolNumbers, schedulerNumbers } from "./names.ts";
import type { PrefixTable } from "./prefix-table.ts";
import type {
  BackendSpec,
  FrontendKind,
  FrontendSpec,
  NodeSpec,
  SchedulerName,
  ServicePortSpec,
  ServiceTables,
} from "./service-port.ts";
import { IdPool, SlotPool } from "./slot-pool.ts";

interface ParsedBackend {
  readonly key: AddressKey;
  readonly address: EncodedAddress;
  readonly port: number;
  readonly weight: number;
  readonly local: boolean;
  readonly spec: BackendSpec;
}

interface ParsedFrontend {
  /** Identity over all Service ports. */
  readonly key: AddressKey;
  readonly kind: FrontendKind;
  /** Absent for node ports. */
  readonly address?: EncodedAddress;
  readonly port: number;
  readonly meta: number;
}

interface ParsedRange {
  readonly address: EncodedAddress;
  readonly mask: EncodedAddress;
}

interface Parsed {
  readonly spec: ServicePortSpec;
  readonly family: 4 | 6;
  readonly protocol: number;
  readonly scheduler: SchedulerName;
  readonly affinityTicks: number;
  readonly frontends: readonly ParsedFrontend[];
  readonly sets: readonly [cluster: readonly ParsedBackend[], local: readonly ParsedBackend[]];
  readonly backends: ReadonlyMap<AddressKey, ParsedBackend>;
  readonly ranges: readonly ParsedRange[];
  readonly vips: readonly ParsedRange[];
}

interface SetState {
  base: number;
  count: number;
  /** Members in list order, by key. */
  members: readonly AddressKey[];
  lookup: number;
  lookupSize: number;
}

interface Entry {
  readonly index: number;
  parsed: Parsed;
  readonly backends: Map<AddressKey, number>;
  readonly sets: readonly [SetState, SetState];
  ranges: number;
  rangeCount: number;
}

/** What a Service port's slot means, for decoding. */
export interface ServicePortView {
  readonly id: string;
  readonly index: number;
  readonly spec: ServicePortSpec;
}

/** IPVS's table sizes with their number of bits: primes just below powers of two. */
const maglevSizes: readonly (readonly [size: number, bits: number])[] = [
  [4093, 12],
  [8191, 13],
  [16381, 14],
  [32749, 15],
  [65521, 16],
  [131071, 17],
];

const loopbackPrefix = "127.";

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/**
 * The control plane's side of the Service maps: takes specifications, checks them whole, and then changes only what differs. Nothing
 * is written before everything is known to fit, so that a refused change leaves the tables as they were.
 */
export class DataplaneServiceTables implements ServiceTables {
  readonly #machine: Machine;
  readonly #addresses: AddressBook;
  readonly #prefixes: PrefixTable;
  readonly #entries = new Map<string, Entry>();
  readonly #byIndex: (Entry | undefined)[] = [];
  readonly #servicePortIds: IdPool;
  readonly #backendIds: IdPool;
  readonly #backendOwners: (BackendSpec | undefined)[] = [];
  readonly #sets: SlotPool;
  readonly #lookup: SlotPool;
  readonly #ranges: SlotPool;
  /** Who claims a frontend; the first one has it. */
  readonly #claims = new Map<AddressKey, { readonly entry: Entry; readonly frontend: ParsedFrontend }[]>();
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
    this.#sets = new SlotPool(capacity.backends * 4);
    this.#lookup = new SlotPool(capacity.maglevSlots);
    this.#ranges = new SlotPool(capacity.sourceRanges);
  }

  get node(): NodeSpec {
    return this.#node;
  }

  get size(): { readonly servicePorts: number; readonly backends: number; readonly frontends: number } {
    return {
      servicePorts: this.#entries.size,
      backends: this.#machine.layout.capacity.backends - this.#backendIds.available,
      frontends: this.#claims.size,
    };
  }

  /** Entry of a slot, as it is now. */
  servicePortAt(index: number): ServicePortView | undefined {
    const entry = this.#byIndex[index];
    return entry && { id: entry.parsed.spec.id, index, spec: entry.parsed.spec };
  }

  *servicePorts(): IterableIterator<ServicePortView> {
    for (const entry of this.#entries.values()) {
      yield { id: entry.parsed.spec.id, index: entry.index, spec: entry.parsed.spec };
    }
  }

  /** Specification of a backend slot, as it was given. */
  backendAt(slot: number): BackendSpec | undefined {
    return this.#backendOwners[slot];
  }

  /** Slots of a Service port's backends. */
  backendSlots(id: string): readonly { readonly slot: number; readonly spec: BackendSpec }[] {
    const entry = this.#entries.get(id);
    if (entry === undefined) return [];
    return [...entry.backends.values()].map((slot) => ({ slot, spec: this.#backendOwners[slot]! }));
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
    this.#apply(this.#parse(spec));
  }

  removeServicePort(id: string): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) this.#remove(entry);
  }

  replaceServicePorts(specs: readonly ServicePortSpec[]): void {
    const parsed = new Map<string, Parsed>();
    for (const spec of specs) {
      if (parsed.has(spec.id)) throw new DataplaneError("INVALID_SERVICE_PORT", `${spec.id}: the id is given twice`);
      parsed.set(spec.id, this.#parse(spec));
    }
    const { capacity } = this.#machine.layout;
    const total = (count: (one: Parsed) => number) => [...parsed.values()].reduce((sum, one) => sum + count(one), 0);
    const require = (name: string, needed: number, room: number) => {
      if (needed > room)
        throw new DataplaneError("MAP_FULL", `${needed} ${name} do not fit: capacity.${name} is ${room}`);
    };
    require("servicePorts", parsed.size, capacity.servicePorts);
    require("backends", total((one) => one.backends.size), capacity.backends);
    require("frontends", total((one) => one.frontends.length), capacity.frontends);
    const before = [...this.#entries.values()].map((entry) => entry.parsed);
    try {
      for (const entry of [...this.#entries.values()]) if (!parsed.has(entry.parsed.spec.id)) this.#remove(entry);
      for (const one of parsed.values()) this.#apply(one);
    } catch (error) {
      for (const entry of [...this.#entries.values()]) this.#remove(entry);
      for (const one of before) this.#apply(one);
      throw error;
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

  #parse(spec: ServicePortSpec): Parsed {
    const invalid = (message: string): never => {
      throw new DataplaneError("INVALID_SERVICE_PORT", `${spec.id}: ${message}`);
    };
    const family = familyNumber(spec.family);
    const protocol = protocolNumbers[spec.protocol] ?? invalid(`unknown protocol "${spec.protocol}"`);
    const scheduler = spec.scheduler ?? "random";
    if (schedulerNumbers[scheduler] === undefined) invalid(`unknown scheduler "${scheduler}"`);
    const port = (number: number, what: string): number =>
      Number.isInteger(number) && number >= 1 && number <= 65535 ? number : invalid(`${what}: ${number} is not a port`);
    const address = (text: string, what: string): EncodedAddress => {
      const encoded = encodeAddress(text) ?? invalid(`${what}: "${text}" is not an IP address`);
      return encoded.family === family ? encoded : invalid(`${what}: ${text} is not of family ${spec.family}`);
    };
    const meta = protocol | (family << 8);
    const protocolIndex = protocol === 6 ? 1 : protocol === 17 ? 2 : 3;
    const seen = new Set<AddressKey>();
    const frontends: ParsedFrontend[] = [];
    for (const frontend of spec.frontends) {
      const what = `frontend ${frontend.kind}`;
      if (frontendKindNumbers[frontend.kind] === undefined) invalid(`unknown kind of frontend "${frontend.kind}"`);
      port(frontend.port, what);
      let one: ParsedFrontend;
      if (frontend.kind === "NodePort") {
        one = { key: 2 ** 52 + meta * 65_536 + frontend.port, kind: frontend.kind, port: frontend.port, meta };
      } else {
        const encoded = address(frontend.address ?? invalid(`${what} has no address`), what);
        const key = endpointKey(encoded, frontend.port, protocolIndex);
        one = { key, kind: frontend.kind, address: encoded, port: frontend.port, meta };
      }
      if (seen.has(one.key)) continue;
      seen.add(one.key);
      frontends.push(one);
    }
    const backends = new Map<AddressKey, ParsedBackend>();
    const set = (specs: readonly BackendSpec[]): ParsedBackend[] => {
      const members = new Map<AddressKey, ParsedBackend>();
      for (const backend of specs) {
        const encoded = address(backend.address, "backend");
        port(backend.port, `backend ${backend.address}`);
        const weight = backend.weight ?? 1;
        if (!Number.isInteger(weight) || weight < 0 || weight > 65535)
          invalid(`backend ${backend.address}: weight ${weight} is not in 0–65535`);
        const key = endpointKey(encoded, backend.port);
        if (members.has(key)) continue;
        const known = backends.get(key);
        const one = known ?? {
          key,
          address: encoded,
          port: backend.port,
          weight,
          local: backend.local ?? false,
          spec: backend,
        };
        if (known === undefined) backends.set(key, one);
        members.set(key, one);
      }
      return [...members.values()];
    };
    const sets = [set(spec.cluster), set(spec.local)] as const;
    const affinity = spec.affinitySeconds ?? 0;
    if (!Number.isInteger(affinity) || affinity < 0 || affinity > 86400)
      invalid(`affinitySeconds ${affinity} is not in 0–86400`);
    const ranges: ParsedRange[] = [];
    for (const text of spec.sourceRanges ?? []) {
      const prefix = parsePrefix(text.trim()) ?? invalid(`source range "${text}" is not a CIDR`);
      if (prefix.address.family !== spec.family) continue;
      const length = family === 4 ? prefix.length + 96 : prefix.length;
      const encoded = encodeAddress(text.trim().slice(0, text.trim().lastIndexOf("/")))!;
      ranges.push({ address: maskEncoded(encoded, length), mask: { family, ...maskWords(length) } });
    }
    const all = { family, ...maskWords(128) };
    const vips =
      ranges.length === 0
        ? []
        : frontends
            .filter((frontend) => frontend.kind === "LoadBalancer")
            .map((frontend) => ({ address: frontend.address!, mask: all }));
    return {
      spec,
      family,
      protocol,
      scheduler,
      affinityTicks: affinity * TICKS_PER_SECOND,
      frontends,
      sets,
      backends,
      ranges,
      vips,
    };
  }

  #apply(parsed: Parsed): void {
    const old = this.#entries.get(parsed.spec.id);
    const plan = this.#reserve(parsed, old);
    const entry: Entry = old ?? {
      index: this.#servicePortIds.take(),
      parsed,
      backends: new Map(),
      sets: [
        { base: 0, count: 0, members: [], lookup: 0, lookupSize: 0 },
        { base: 0, count: 0, members: [], lookup: 0, lookupSize: 0 },
      ],
      ranges: 0,
      rangeCount: 0,
    };
    const { view, u8, u32 } = this.#machine;
    const at = this.#servicePortAddress(entry.index);
    if (old === undefined) {
      this.#entries.set(parsed.spec.id, entry);
      this.#byIndex[entry.index] = entry;
      const generation = view.getUint16(at + ServicePort.generation, true);
      u8.fill(0, at, at + ServicePort.SIZE);
      view.setUint16(at + ServicePort.generation, (generation + 1) & 0xffff, true);
      view.setUint32(at + ServicePort.clusterCursor, NONE, true);
      view.setUint32(at + ServicePort.localCursor, NONE, true);
      const counters =
        this.#machine.layout.regions.servicePortCounters.address + entry.index * ServicePortCounters.SIZE;
      u8.fill(0, counters, counters + ServicePortCounters.SIZE);
    }

    // Backends before the sets that list them, sets before the frontends that lead to them; removal the other way round.
    for (const backend of parsed.backends.values()) {
      let slot = entry.backends.get(backend.key);
      if (slot === undefined) {
        slot = this.#backendIds.take();
        entry.backends.set(backend.key, slot);
        this.#initializeBackend(slot, backend, entry.index);
      }
      this.#backendOwners[slot] = backend.spec;
      const backendAt = this.#backendAddress(slot);
      view.setUint32(backendAt + Backend.weight, backend.weight, true);
      const overloaded = view.getUint16(backendAt + Backend.flags, true) & BackendFlag.OVERLOADED;
      view.setUint16(
        backendAt + Backend.flags,
        BackendFlag.IN_USE | overloaded | (backend.local ? BackendFlag.LOCAL : 0),
        true,
      );
    }
    parsed.sets.forEach((members, which) => {
      this.#writeSet(entry, parsed, which as 0 | 1, members, plan);
    });
    const rangesAt = this.#machine.layout.regions.ranges.address;
    [...parsed.ranges, ...parsed.vips].forEach((range, i) => {
      const to = rangesAt + (plan.ranges + i) * Range.SIZE;
      writeAddress(u32, to >> 2, range.address);
      writeAddress(u32, (to + Range.maskHigh) >> 2, range.mask);
    });
    this.#ranges.free(entry.ranges, entry.rangeCount);
    entry.ranges = plan.ranges;
    entry.rangeCount = parsed.ranges.length + parsed.vips.length;

    const put = (field: keyof typeof ServicePort, value: number) =>
      view.setUint32(at + ServicePort[field], value, true);
    view.setUint8(at + ServicePort.protocol, parsed.protocol);
    view.setUint8(at + ServicePort.scheduler, schedulerNumbers[parsed.scheduler]);
    put("affinityTicks", parsed.affinityTicks);
    put("family", parsed.family);
    put("rangesBase", plan.ranges);
    put("rangesCount", parsed.ranges.length);
    put("vipsBase", plan.ranges + parsed.ranges.length);
    put("vipsCount", parsed.vips.length);
    u32[(at + ServicePort.flags) >> 2] =
      ServicePortFlag.IN_USE |
      (parsed.spec.internalTrafficPolicy === "Local" ? ServicePortFlag.INTERNAL_LOCAL : 0) |
      (parsed.spec.externalTrafficPolicy === "Local" ? ServicePortFlag.EXTERNAL_LOCAL : 0) |
      (parsed.spec.hasAny ? ServicePortFlag.HAS_ANY : 0) |
      (parsed.ranges.length > 0 ? ServicePortFlag.SOURCE_RANGES : 0);

    const wanted = new Map(parsed.frontends.map((frontend) => [frontend.key, frontend]));
    if (old !== undefined) {
      for (const frontend of old.parsed.frontends) {
        if (wanted.get(frontend.key)?.kind !== frontend.kind) this.#dropClaim(entry, frontend);
        else wanted.delete(frontend.key);
      }
    }
    for (const frontend of wanted.values()) this.#claim(entry, frontend);
    entry.parsed = parsed;
    for (const [key, slot] of [...entry.backends]) {
      if (parsed.backends.has(key)) continue;
      entry.backends.delete(key);
      this.#releaseBackend(slot);
    }
  }

  /** Takes what a change needs from the pools, or throws `MAP_FULL` having changed nothing. */
  #reserve(
    parsed: Parsed,
    old: Entry | undefined,
  ): { sets: [number, number]; lookups: [number, number]; ranges: number } {
    const { capacity } = this.#machine.layout;
    const full = (name: keyof typeof capacity): never => {
      throw new DataplaneError("MAP_FULL", `${parsed.spec.id}: no room: capacity.${name} is ${capacity[name]}`);
    };
    if (old === undefined && this.#servicePortIds.available === 0) full("servicePorts");
    const newBackends = [...parsed.backends.keys()].filter((key) => !old?.backends.has(key)).length;
    if (newBackends > this.#backendIds.available) full("backends");
    const newFrontends = parsed.frontends.filter((frontend) => !this.#claims.has(frontend.key));
    if (this.#claims.size + newFrontends.length > capacity.frontends) full("frontends");
    this.#addresses.requireRoom(newFrontends.length);
    const taken: (() => void)[] = [];
    const take = (pool: SlotPool, count: number, name: keyof typeof capacity): number => {
      const base = pool.allocate(count);
      if (base === undefined) {
        for (const undo of taken) undo();
        return full(name);
      }
      taken.push(() => pool.free(base, count));
      return base;
    };
    const sizes = parsed.sets.map((members) => this.#listed(parsed, members).length);
    const sets: [number, number] = [take(this.#sets, sizes[0]!, "backends"), take(this.#sets, sizes[1]!, "backends")];
    const lookups: [number, number] = [0, 0];
    if (parsed.scheduler === "mh") {
      for (const which of [0, 1] as const) {
        if (sizes[which]! > 0) lookups[which] = take(this.#lookup, this.#maglevSize(sizes[which]!)[0], "maglevSlots");
      }
    }
    const ranges = take(this.#ranges, parsed.ranges.length + parsed.vips.length, "sourceRanges");
    return { sets, lookups, ranges };
  }

  #maglevSize(count: number): readonly [size: number, bits: number] {
    return maglevSizes.find(([size]) => size >= count * 100) ?? maglevSizes.at(-1)!;
  }

  /** Members of a set as the scheduler sees them: `random` must not draw quiesced ones, the others step over them themselves. */
  #listed(parsed: Parsed, members: readonly ParsedBackend[]): readonly ParsedBackend[] {
    return parsed.scheduler === "random" ? members.filter((member) => member.weight > 0) : members;
  }

  #writeSet(
    entry: Entry,
    parsed: Parsed,
    which: 0 | 1,
    members: readonly ParsedBackend[],
    plan: { sets: [number, number]; lookups: [number, number] },
  ): void {
    const { view, u32, layout } = this.#machine;
    const state = entry.sets[which];
    const listed = this.#listed(parsed, members);
    const at = this.#servicePortAddress(entry.index) + (which === 0 ? ServicePort.clusterBase : ServicePort.localBase);
    const field = (name: "Base" | "Count" | "Lookup" | "LookupSize" | "Cursor" | "Weight" | "Divisor" | "Maximum") =>
      at + ServicePort[`cluster${name}`] - ServicePort.clusterBase;

    const slots = (layout.regions.sets.address >> 2) + plan.sets[which];
    listed.forEach((member, i) => {
      u32[slots + i] = entry.backends.get(member.key)!;
    });

    // The cursor stays on its server; if that one is gone, on its nearest predecessor that is not.
    const cursor = view.getUint32(field("Cursor"), true);
    let moved: number = NONE;
    if (cursor !== NONE && entry.parsed.scheduler === parsed.scheduler) {
      const positions = new Map(listed.map((member, i) => [member.key, i]));
      for (let i = Math.min(cursor, state.members.length - 1); i >= 0; i--) {
        const position = positions.get(state.members[i]!);
        if (position !== undefined) {
          moved = position;
          break;
        }
      }
    }
    const weights = listed.map((member) => member.weight).filter((weight) => weight > 0);
    const divisor = weights.reduce(gcd, 0);
    const maximum = weights.length === 0 ? 0 : Math.max(...weights) - (divisor - 1);
    let weight = view.getInt32(field("Weight"), true);
    if (weight > maximum || weight <= 0) weight = maximum;
    else if (divisor > 1) weight = Math.floor(weight / divisor) * divisor + 1;

    let lookupSize = 0;
    if (parsed.scheduler === "mh" && listed.length > 0) {
      lookupSize = this.#buildMaglev(entry, listed, plan.lookups[which]);
    }
    const put = (name: Parameters<typeof field>[0], value: number) => view.setUint32(field(name), value, true);
    put("Base", plan.sets[which]);
    put("Count", listed.length);
    put("Cursor", moved);
    put("Weight", weight);
    put("Divisor", divisor);
    put("Maximum", maximum);
    put("Lookup", plan.lookups[which]);
    put("LookupSize", lookupSize);
    this.#sets.free(state.base, state.count);
    if (state.lookupSize > 0) this.#lookup.free(state.lookup, state.lookupSize);
    state.base = plan.sets[which];
    state.count = listed.length;
    state.members = listed.map((member) => member.key);
    state.lookup = plan.lookups[which];
    state.lookupSize = lookupSize;
  }

  #buildMaglev(entry: Entry, members: readonly ParsedBackend[], base: number): number {
    const { u32, exports, layout } = this.#machine;
    const [size, bits] = this.#maglevSize(members.length);
    // Every node must compute the same table, whatever the order in which it heard of the endpoints.
    const bytes = new Map(members.map((member) => [member, addressBytes(member.address)]));
    const sorted = [...members].sort((a, b) => {
      const [x, y] = [bytes.get(a)!, bytes.get(b)!];
      for (let i = 0; i < 16; i++) if (x[i] !== y[i]) return x[i]! - y[i]!;
      return a.port - b.port;
    });
    const weights = sorted.map((member) => member.weight);
    const divisor = Math.max(1, weights.filter((weight) => weight > 0).reduce(gcd, 0));
    const shift = Math.max(0, 32 - Math.clz32(Math.max(...weights) / divisor) - (bits >> 1));
    const turnsAt = layout.regions.scratch.address + layout.regions.scratch.length - sorted.length * 4;
    sorted.forEach((member, i) => {
      exports.maglevPermutation(i, foldAddress(member.address), member.port, size);
      const turns = Math.floor(member.weight / divisor) >> shift;
      u32[(turnsAt >> 2) + i] = member.weight === 0 ? 0 : Math.max(1, turns);
    });
    const table = layout.regions.lookup.address + base * 4;
    exports.maglevFill(table, size, sorted.length, turnsAt);
    for (let i = 0; i < size; i++) {
      const index = u32[(table >> 2) + i]!;
      if (index !== NONE) u32[(table >> 2) + i] = entry.backends.get(sorted[index]!.key)!;
    }
    return size;
  }

  #remove(entry: Entry): void {
    const { view, u8 } = this.#machine;
    for (const frontend of entry.parsed.frontends) this.#dropClaim(entry, frontend);
    for (const state of entry.sets) {
      this.#sets.free(state.base, state.count);
      if (state.lookupSize > 0) this.#lookup.free(state.lookup, state.lookupSize);
    }
    for (const slot of entry.backends.values()) this.#releaseBackend(slot);
    this.#ranges.free(entry.ranges, entry.rangeCount);
    const at = this.#servicePortAddress(entry.index);
    const generation = view.getUint16(at + ServicePort.generation, true);
    u8.fill(0, at, at + ServicePort.SIZE);
    view.setUint16(at + ServicePort.generation, (generation + 1) & 0xffff, true);
    this.#entries.delete(entry.parsed.spec.id);
    this.#byIndex[entry.index] = undefined;
    this.#servicePortIds.give(entry.index);
  }

  #claim(entry: Entry, frontend: ParsedFrontend): void {
    const claims = this.#claims.get(frontend.key);
    if (claims === undefined) {
      this.#claims.set(frontend.key, [{ entry, frontend }]);
      this.#writeFrontend(entry, frontend);
    } else claims.push({ entry, frontend });
    if (frontend.address !== undefined) {
      this.#addresses.add(frontend.address, frontend.kind === "ClusterIP" ? "clusterIP" : "service");
    }
  }

  #dropClaim(entry: Entry, frontend: ParsedFrontend): void {
    const claims = this.#claims.get(frontend.key);
    const position = claims?.findIndex((claim) => claim.entry === entry) ?? -1;
    if (claims === undefined || position < 0) return;
    claims.splice(position, 1);
    const heir = claims[0];
    if (heir === undefined) {
      this.#claims.delete(frontend.key);
      this.#eraseFrontend(frontend);
    } else if (position === 0) this.#writeFrontend(heir.entry, heir.frontend);
    if (frontend.address !== undefined) {
      this.#addresses.remove(frontend.address, frontend.kind === "ClusterIP" ? "clusterIP" : "service");
    }
  }

  #writeFrontend(entry: Entry, frontend: ParsedFrontend): void {
    const { u32, exports } = this.#machine;
    if (frontend.address === undefined) {
      exports.setNodePort(rawPort(frontend.port), frontend.meta, entry.index);
      return;
    }
    writeAddress(u32, ARGUMENTS >> 2, frontend.address);
    exports.setFrontend(frontendKey(frontend), entry.index, frontendKindNumbers[frontend.kind]);
  }

  #eraseFrontend(frontend: ParsedFrontend): void {
    const { u32, exports } = this.#machine;
    if (frontend.address === undefined) {
      exports.setNodePort(rawPort(frontend.port), frontend.meta, NONE);
      return;
    }
    writeAddress(u32, ARGUMENTS >> 2, frontend.address);
    exports.removeFrontend(frontendKey(frontend));
  }

  #initializeBackend(slot: number, backend: ParsedBackend, servicePort: number): void {
    const { view, u8, u32 } = this.#machine;
    const at = this.#backendAddress(slot);
    const generation = view.getUint32(at + Backend.generation, true);
    u8.fill(0, at, at + Backend.SIZE);
    writeAddress(u32, at >> 2, backend.address);
    view.setUint16(at + Backend.port, rawPort(backend.port), true);
    view.setUint32(at + Backend.generation, generation + 1, true);
    view.setUint32(at + Backend.servicePort, servicePort, true);
  }

  #releaseBackend(slot: number): void {
    const { view } = this.#machine;
    const at = this.#backendAddress(slot);
    view.setUint16(at + Backend.flags, 0, true);
    view.setUint32(at + Backend.weight, 0, true);
    view.setUint32(at + Backend.generation, view.getUint32(at + Backend.generation, true) + 1, true);
    this.#backendOwners[slot] = undefined;
    this.#backendIds.give(slot);
  }

  #servicePortAddress(index: number): number {
    return this.#machine.layout.regions.servicePorts.address + index * ServicePort.SIZE;
  }

  #backendAddress(slot: number): number {
    return this.#machine.layout.regions.backends.address + slot * Backend.SIZE;
  }

  /** Address and port of a backend slot as text, also after its release. */
  backendText(slot: number): { readonly address: string; readonly port: number } {
    const { u8, view } = this.#machine;
    const at = this.#backendAddress(slot);
    const family =
      view.getUint32(at, true) === 0 &&
      view.getUint32(at + 4, true) === 0 &&
      view.getUint32(at + 8, true) === 0xffff0000
        ? 4
        : 6;
    return { address: decodeAddress(u8, at, family), port: view.getUint16(at + Backend.port, false) };
  }
}

function frontendKey(frontend: ParsedFrontend): number {
  return (rawPort(frontend.port) | ((frontend.meta & 0xff) << 16) | ((frontend.meta >> 8) << 24)) >>> 0;
}
