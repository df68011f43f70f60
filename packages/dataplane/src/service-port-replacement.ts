import { DataplaneError } from "./errors.ts";
import type { ServiceChange, ServiceMaps } from "./service-change.ts";
import type { ServicePortSpec } from "./service-port.ts";
import type { ServicePortEntry } from "./service-port-entries.ts";

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

/** Entries of lists that cost about as much as an entry that is prepared. */
const LISTED = 8;

/**
 * A replacement over the Service maps. Once it has begun, the change in preparation is its own, until it is over: another change must
 * {@link restart} it first. Entries are staged in the order of the specifications; then those that were not mentioned are removed; then
 * frontends are marked.
 */
export class StagedReplacement implements ServicePortReplacement {
  readonly #change: ServiceChange;
  readonly #maps: ServiceMaps;
  /** Empty when it is over, so that a handle does not hold them. */
  #specs: readonly ServicePortSpec[];
  #prepared = 0;
  /** Slots before this one were looked at for entries that go. */
  #visited = 0;
  /** Slot of who may be next: replacements mostly come in the order of what they replace. */
  #expected = 0;
  /** What remains beside the entries. */
  #further = 1;
  /** The tables cannot hold old and new side by side. */
  #isTooTight = false;
  #isOver = false;
  #hasBegun = false;

  constructor(change: ServiceChange, maps: ServiceMaps, specs: readonly ServicePortSpec[]) {
    this.#change = change;
    this.#maps = maps;
    this.#specs = specs;
  }

  get remaining(): number {
    return this.#isOver ? 0 : this.#specs.length - this.#prepared + this.#further;
  }

  prepare(count: number): number {
    this.#requireOpen();
    if (this.#isTooTight) return 0;
    this.#attempt(() => {
      const staged = this.#stage(count);
      if (staged < count) this.#further = this.#complete(count - staged);
    });
    return this.remaining;
  }

  /** Prepares up to `count` entries. Returns how many those were. */
  #stage(count: number): number {
    if (!this.#hasBegun) this.#change.begin();
    this.#hasBegun = true;
    const first = this.#prepared;
    const end = Math.min(this.#specs.length, first + count);
    for (; this.#prepared < end; this.#prepared++) this.#stageOne(this.#specs[this.#prepared]!);
    return end - first;
  }

  #stageOne(spec: ServicePortSpec): void {
    const known = this.#find(spec.id);
    if (known !== undefined && this.#maps.entries.isMentioned(known))
      throw new DataplaneError("INVALID_SERVICE_PORT", `${spec.id}: the id is given twice`);
    this.#change.stage(spec, known);
  }

  #find(id: string): ServicePortEntry | undefined {
    const { entries } = this.#maps;
    const guess = entries.at(this.#expected);
    const found = guess?.spec.id === id ? guess : entries.get(id);
    if (found !== undefined) this.#expected = found.index + 1;
    return found;
  }

  /** After all entries: goes on preparing, by about `count` of them. Returns how many remain. */
  #complete(count: number): number {
    const left = this.#removeOthers(count * LISTED);
    return left <= 0 ? 1 : Math.ceil(this.#change.mark(left) / LISTED);
  }

  /** Removes who was not mentioned, among up to `count` slots. Returns how many of `count` are left over. */
  #removeOthers(count: number): number {
    const { entries } = this.#maps;
    const end = Math.min(entries.end, this.#visited + count);
    const left = count - (end - this.#visited);
    for (; this.#visited < end; this.#visited++) {
      const entry = entries.at(this.#visited);
      if (entry !== undefined && !entries.isMentioned(entry)) this.#change.stageRemoval(entry);
    }
    return left;
  }

  /** Gives up when something is wrong, and the hope for atomic steps when there is no room. */
  #attempt(prepare: () => void): void {
    try {
      prepare();
    } catch (error) {
      this.#change.abandon();
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
        if (this.#change.publishMarked()) return;
        this.#removeOthers(Number.POSITIVE_INFINITY);
        this.#change.publish();
      });
    }
    try {
      if (this.#isTooTight) this.#replaceOneByOne();
    } finally {
      this.#end();
    }
  }

  /** For tables that cannot hold the old and the new side by side: what goes is removed first, and put back should the rest not fit. */
  #replaceOneByOne(): void {
    const { entries, records } = this.#maps;
    const before: ServicePortSpec[] = [];
    for (const entry of entries.live()) before.push(entries.specOf(entry));
    const ids = new Set(this.#specs.map((spec) => spec.id));
    try {
      this.#removeAllBut(ids);
      this.#setAll(this.#specs);
    } catch (error) {
      this.#removeAllBut(new Set());
      records.resetPools();
      this.#setAll(before);
      throw error;
    }
  }

  #removeAllBut(ids: ReadonlySet<string>): void {
    const { entries } = this.#maps;
    this.#change.transact(() => {
      for (let index = 0; index < entries.end; index++) {
        const entry = entries.at(index);
        if (entry !== undefined && !ids.has(entry.spec.id)) this.#change.stageRemoval(entry);
      }
    });
  }

  #setAll(specs: readonly ServicePortSpec[]): void {
    for (const spec of specs) this.#change.transact(() => this.#change.stage(spec, this.#maps.entries.get(spec.id)));
  }

  settle(count: number): number {
    return this.#isOver ? this.#change.settle(count * LISTED) : 0;
  }

  discard(): void {
    if (this.#isOver) return;
    if (this.#hasBegun) this.#change.abandon();
    this.#end();
  }

  /** Another change comes in between: all is to be prepared again. */
  restart(): void {
    if (this.#isOver) return;
    if (this.#hasBegun) this.#change.abandon();
    this.#hasBegun = false;
    this.#prepared = 0;
    this.#visited = 0;
    this.#expected = 0;
    this.#further = 1;
    this.#isTooTight = false;
  }

  #end(): void {
    this.#isOver = true;
    this.#specs = [];
  }

  #requireOpen(): void {
    if (this.#isOver)
      throw new DataplaneError("REPLACEMENT_OVER", "this replacement was committed, refused or given up");
  }
}

function isFull(error: unknown): boolean {
  return error instanceof DataplaneError && error.code === "MAP_FULL";
}
