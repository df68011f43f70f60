import { foldAddress, writeAddress } from "./address-codec.ts";
import {
  EndpointSet,
  IN_A_ROW,
  NONE,
  Range,
  Scheduler,
  ServicePort,
  ServicePortExtension,
  ServicePortFlag,
} from "./generated/layout.ts";
import { buildMaglev, gcd, maglevSize } from "./maglev.ts";
import { type Machine, mapFull } from "./memory.ts";
import type { ServicePortReader } from "./service-port-reader.ts";
import { IdPool, SlotPool } from "./slot-pool.ts";
import type { TableChanges } from "./table-changes.ts";
import { WordList } from "./word-list.ts";

type MaglevWords = [number, number, number, number];

/** Capacities that the pools follow from, for messages. */
const poolCapacities = ["backends", "maglevSlots", "sourceRanges"] as const;

/**
 * The maps of Service ports and of their extensions, and the slices of the pools that these refer to: lists of endpoint sets, Maglev
 * tables, source ranges. A slice or an extension belongs to one record, but the local set may lie within the list of the cluster set.
 * The host never changes them in place: a changed record gets new ones, and the old ones are free when the change is cleared away.
 */
export class ServicePortRecords {
  readonly #machine: Machine;
  readonly #changes: TableChanges;
  readonly #pools: readonly [sets: SlotPool, lookup: SlotPool, ranges: SlotPool];
  readonly #extensionIds: IdPool;
  /** Slices of the pools: three numbers each, pool, base and count. */
  readonly #taken = new WordList();
  readonly #freed = new WordList();
  readonly #takenExtensions = new WordList();
  readonly #freedExtensions = new WordList();

  constructor(machine: Machine, changes: TableChanges) {
    const { capacity, regions } = machine.layout;
    this.#machine = machine;
    this.#changes = changes;
    this.#extensionIds = new IdPool(capacity.extensions);
    this.#pools = [
      new SlotPool(regions.sets.length / 4),
      new SlotPool(capacity.maglevSlots),
      new SlotPool(capacity.sourceRanges),
    ];
  }

  /**
   * Prepares settings, sets and ranges; `slots` are those of the backends that were read. The record of a new Service port is written, that
   * of one that packets see is listed to be replaced.
   *
   * @throws DataplaneError `MAP_FULL`
   */
  stage(id: string, index: number, isKept: boolean, reader: ServicePortReader, slots: Int32Array): void {
    const { u32 } = this.#machine;
    const settings = reader.flags | (reader.scheduler << 8);
    const clusterCount = reader.setCounts[0];
    const clusterBase = this.#stageList(reader, slots, 0);
    const isLocal = (reader.flags & (ServicePortFlag.INTERNAL_LOCAL | ServicePortFlag.EXTERNAL_LOCAL)) !== 0;
    let extension: number = NONE;
    if (isLocal || reader.scheduler !== Scheduler.RANDOM || reader.affinityTicks > 0 || reader.ranges.length > 0) {
      if (this.#extensionIds.available === 0) throw mapFull(this.#machine.layout, id, "extensions");
      extension = this.#extensionIds.take();
      this.#takenExtensions.push(extension);
      const at = this.#extensionAddress(extension) >> 2;
      u32.fill(0, at, at + ServicePortExtension.SIZE / 4);
      this.#stageSet(reader, slots, 0, at, clusterBase);
      if (isLocal) {
        const shared = this.#findInList(reader, clusterBase);
        this.#stageSet(
          reader,
          slots,
          1,
          at + ServicePortExtension.localBase / 4,
          shared ?? this.#stageList(reader, slots, 1),
        );
      }
      this.#stageRanges(reader, at);
    }
    if (isKept) {
      this.#freeSlices(index);
      this.#changes.replaceServicePort(index, settings, reader.affinityTicks, extension, clusterBase, clusterCount);
      return;
    }
    const at = this.#addressOf(index) >> 2;
    const generation = u32[at]! & 0xffff0000;
    u32.fill(0, at, at + ServicePort.SIZE / 4);
    u32[at] = (settings | generation) >>> 0;
    u32[at + ServicePort.affinityTicks / 4] = reader.affinityTicks;
    u32[at + ServicePort.extension / 4] = extension;
    u32[at + ServicePort.clusterBase / 4] = clusterBase;
    u32[at + ServicePort.clusterCount / 4] = clusterCount;
  }

  remove(index: number): void {
    this.#freeSlices(index);
    this.#changes.removeServicePort(index);
  }

  /** Gives back what the change took. */
  abandon(): void {
    this.#free(this.#taken);
    giveAll(this.#extensionIds, this.#takenExtensions);
    this.#clear();
  }

  /** After a publication: what the change replaced is free. */
  settle(): void {
    this.#free(this.#freed);
    giveAll(this.#extensionIds, this.#freedExtensions);
    this.#clear();
  }

  /** When no record is left: the pools are whole again. */
  resetPools(): void {
    for (const pool of this.#pools) pool.reset();
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
  #stageList(reader: ServicePortReader, slots: Int32Array, which: 0 | 1): number {
    const members = reader.sets[which];
    const count = reader.setCounts[which];
    if (count === 0) return 0;
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
  #stageSet(reader: ServicePortReader, slots: Int32Array, which: 0 | 1, at: number, base: number): void {
    const members = reader.sets[which];
    const count = reader.setCounts[which];
    const { u32 } = this.#machine;
    u32[at + EndpointSet.cursor / 4] = NONE;
    if (count === 0) return;
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

  /** Slices of the pools that a published entry has: free once the change is published. */
  #freeSlices(index: number): void {
    const { u32 } = this.#machine;
    const freed = this.#freed;
    const record = this.#addressOf(index) >> 2;
    const base = u32[record + ServicePort.clusterBase / 4]! | 0;
    const count = u32[record + ServicePort.clusterCount / 4]!;
    pushSlice(freed, 0, base, count);
    const extension = u32[record + ServicePort.extension / 4]!;
    if (extension === NONE) return;
    this.#freedExtensions.push(extension);
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

  #take(pool: 0 | 1 | 2, count: number): number {
    const base = this.#pools[pool].allocate(count);
    if (base === undefined) throw mapFull(this.#machine.layout, "Service ports", poolCapacities[pool]);
    pushSlice(this.#taken, pool, base, count);
    return base;
  }

  #free({ words, length }: WordList): void {
    for (let i = 0; i < length; i += 3) this.#pools[words[i] as 0 | 1 | 2].free(words[i + 1]!, words[i + 2]!);
  }

  #clear(): void {
    for (const list of [this.#taken, this.#freed, this.#takenExtensions, this.#freedExtensions]) list.clear();
  }

  #addressOf(index: number): number {
    return this.#machine.layout.regions.servicePorts.address + index * ServicePort.SIZE;
  }

  #extensionAddress(id: number): number {
    return this.#machine.layout.regions.extensions.address + id * ServicePortExtension.SIZE;
  }
}

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
