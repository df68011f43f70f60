import { type BackendSlots, noSlots } from "./backend-slots.ts";
import { ItemList } from "./item-list.ts";
import { type Machine, mapFull } from "./memory.ts";
import { NameIndex } from "./name-index.ts";
import type { ServicePortSpec } from "./service-port.ts";
import { IdPool } from "./slot-pool.ts";

/** No change is that far. */
const NEVER = 2 ** 30;

/** What the host remembers of a Service port; all else lies in the maps. Changes are numbered: see {@link ServicePortEntries}. */
export class ServicePortEntry {
  readonly index: number;
  /** As packets see it, up to change {@link changesAt}; from then on it is {@link nextSpec}. */
  spec: ServicePortSpec;
  slots: BackendSlots = noSlots;
  changesAt: number = NEVER;
  nextSpec: ServicePortSpec;
  nextSlots: BackendSlots = noSlots;
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

/**
 * The entries by id and by slot, those of the change that is prepared included. Published changes are numbered, and entries say from
 * which on they are there, are changed, are gone: so publication costs the host one addition. An entry keeps its slot for life; the
 * slot is free again once the change that removed it is cleared away.
 */
export class ServicePortEntries {
  readonly #machine: Machine;
  readonly #byId = new NameIndex<ServicePortEntry>();
  readonly #byIndex: (ServicePortEntry | undefined)[] = [];
  readonly #ids: IdPool;
  readonly #added = new ItemList<ServicePortEntry>();
  /** Entries that stay; they know what they become. */
  readonly #kept = new ItemList<ServicePortEntry>();
  readonly #removed = new ItemList<ServicePortEntry>();
  /** Number of the preparation that goes on. */
  #mark = 0;
  /** Number of the last change that was published. */
  #published = 0;
  #live = 0;

  constructor(machine: Machine) {
    this.#machine = machine;
    this.#ids = new IdPool(machine.layout.capacity.servicePorts);
  }

  /** How many packets see. */
  get size(): number {
    return this.#live;
  }

  /** Those that packets see, in the order of their slots. */
  *live(): IterableIterator<ServicePortEntry> {
    for (const entry of this.#byIndex) if (entry !== undefined && this.isLive(entry)) yield entry;
  }

  /** Slots from here on have no entry. */
  get end(): number {
    return this.#byIndex.length;
  }

  /** Whether packets see it or not. */
  get(id: string): ServicePortEntry | undefined {
    return this.#byId.get(id);
  }

  /** Entry of a slot, whether packets see it or not. */
  at(index: number): ServicePortEntry | undefined {
    return this.#byIndex[index];
  }

  isLive(entry: ServicePortEntry): boolean {
    return entry.since <= this.#published && entry.until > this.#published;
  }

  /** Specification as packets see it. */
  specOf(entry: ServicePortEntry): ServicePortSpec {
    return entry.changesAt <= this.#published ? entry.nextSpec : entry.spec;
  }

  /** Begins a preparation: no entry is mentioned yet. */
  begin(): void {
    this.#mark++;
  }

  isMentioned(entry: ServicePortEntry): boolean {
    return entry.mark === this.#mark;
  }

  /** @throws DataplaneError `MAP_FULL` */
  add(spec: ServicePortSpec): ServicePortEntry {
    if (this.#ids.available === 0) throw mapFull(this.#machine.layout, spec.id, "servicePorts");
    const entry = new ServicePortEntry(this.#ids.take(), spec, this.#published + 1);
    entry.mark = this.#mark;
    this.#added.push(entry);
    this.#byId.set(spec.id, entry);
    this.#byIndex[entry.index] = entry;
    return entry;
  }

  /** The entry stays, and becomes what is given. */
  keep(entry: ServicePortEntry, spec: ServicePortSpec, slots: BackendSlots): void {
    entry.mark = this.#mark;
    entry.nextSpec = spec;
    entry.nextSlots = slots;
    entry.changesAt = this.#published + 1;
    this.#kept.push(entry);
  }

  remove(entry: ServicePortEntry): void {
    entry.until = this.#published + 1;
    this.#removed.push(entry);
  }

  /** Gives up the change: entries are as they were before it. */
  abandon(): void {
    this.#added.empty((entry) => this.#forget(entry));
    this.#kept.empty((entry) => {
      entry.changesAt = NEVER;
    });
    this.#removed.empty((entry) => {
      entry.until = NEVER;
    });
  }

  publish(): void {
    this.#published++;
    this.#live += this.#added.length - this.#removed.length;
  }

  /** Entries of the change: {@link settle} takes each once after the publication. */
  get changed(): number {
    return this.#kept.length + this.#removed.length + this.#added.length;
  }

  settle(i: number): void {
    const kept = this.#kept.length;
    const removed = this.#removed.length;
    if (i < kept) {
      const entry = this.#kept.take(i)!;
      entry.spec = entry.nextSpec;
      entry.slots = entry.nextSlots;
      entry.changesAt = NEVER;
    } else if (i < kept + removed) this.#forget(this.#removed.take(i - kept)!);
    else this.#added.take(i - kept - removed);
  }

  /** After the last of them. */
  endSettling(): void {
    for (const list of [this.#added, this.#kept, this.#removed]) list.empty(() => {});
  }

  #forget(entry: ServicePortEntry): void {
    this.#byId.delete(entry.spec.id);
    this.#byIndex[entry.index] = undefined;
    this.#ids.give(entry.index);
  }
}
