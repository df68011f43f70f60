import type { BackendTable } from "./backend-table.ts";
import type { FrontendClaims } from "./frontend-claims.ts";
import { type Machine, mapFull } from "./memory.ts";
import type { ServicePortSpec } from "./service-port.ts";
import type { ServicePortEntries, ServicePortEntry } from "./service-port-entries.ts";
import { isSameServicePort } from "./service-port-equality.ts";
import { ServicePortReader } from "./service-port-reader.ts";
import type { ServicePortRecords } from "./service-port-records.ts";
import type { TableChanges } from "./table-changes.ts";

/** The maps of Services, as the host keeps them. All list what packets will see in `changes`. */
export interface ServiceMaps {
  readonly changes: TableChanges;
  readonly entries: ServicePortEntries;
  readonly backends: BackendTable;
  readonly records: ServicePortRecords;
  readonly frontends: FrontendClaims;
}

/**
 * The one change of the Service maps that there is at a time, from its preparation until what it replaced is cleared away. New entries,
 * backends and sets are prepared in slots that nothing refers to; what packets can see changes in one go between two batches, after
 * everything is known to be right and to fit. So a refused change leaves the maps as they were. What was replaced is cleared away
 * afterwards, at once or in steps, before the next change begins.
 */
export class ServiceChange {
  readonly #machine: Machine;
  readonly #changes: TableChanges;
  readonly #entries: ServicePortEntries;
  readonly #backends: BackendTable;
  readonly #records: ServicePortRecords;
  readonly #frontends: FrontendClaims;
  readonly #reader = new ServicePortReader();
  /** Frontends that come and go are marked, or are being marked. */
  #isMarking = false;
  /** It is published, and what it replaced is not cleared away yet. */
  #isUnsettled = false;
  /** So many of the backends, entries that stay and entries that go are. */
  #settled = 0;

  constructor(machine: Machine, { changes, entries, backends, records, frontends }: ServiceMaps) {
    this.#machine = machine;
    this.#changes = changes;
    this.#entries = entries;
    this.#backends = backends;
    this.#records = records;
    this.#frontends = frontends;
  }

  /** Backends that packets do not see any longer, whose slots are not given back yet. */
  get unsettledBackends(): number {
    return this.#isUnsettled ? Math.max(0, this.#changes.released.length - this.#settled) : 0;
  }

  /** Prepares what `stage` does and publishes it, or when that throws leaves everything as it was. */
  transact(stage: () => void): void {
    this.begin();
    try {
      stage();
      this.#requireRoom();
    } catch (error) {
      this.abandon();
      throw error;
    }
    this.#publish(false);
    this.settleAll();
  }

  /** Begins a preparation, after what the change before replaced is cleared away. */
  begin(): void {
    this.settleAll();
    this.#entries.begin();
  }

  /**
   * Prepares an entry: nothing that a packet can see is changed. `known` is the one that the id has so far.
   *
   * @throws DataplaneError `INVALID_SERVICE_PORT`, `MAP_FULL`
   */
  stage(spec: ServicePortSpec, known: ServicePortEntry | undefined): void {
    const entries = this.#entries;
    if (known !== undefined && isSameServicePort(known.spec, spec)) {
      entries.keep(known, spec, known.slots);
      return;
    }
    const reader = this.#reader;
    reader.read(spec);
    const entry = known ?? entries.add(spec);
    const { id } = spec;
    const { index } = entry;
    const backends = this.#backends;
    const slots = backends.stage(id, index, entry.slots, reader);
    if (known === undefined) entry.slots = slots;
    else entries.keep(entry, spec, slots);
    this.#records.stage(id, index, known !== undefined, reader, backends.slots);
    this.#frontends.stage(index, known?.spec, reader);
  }

  stageRemoval(entry: ServicePortEntry): void {
    this.#frontends.remove(entry.index, entry.spec);
    this.#backends.releaseAll(entry.slots);
    this.#records.remove(entry.index);
    this.#entries.remove(entry);
  }

  #requireRoom(): void {
    const lack = this.#frontends.lack(false);
    if (lack !== undefined) throw mapFull(this.#machine.layout, "Service ports", lack);
  }

  /**
   * When all is staged: marks up to `count` of the frontends that come and go, while packets go on. What does not fit side by side, and
   * whom frontends go to that several claim, is for a publication in one go.
   *
   * @returns how many remain
   */
  mark(count: number): number {
    if (!this.#isMarking) {
      if (this.#frontends.hasWaiting || this.#frontends.lack(true) !== undefined) return 0;
      this.#isMarking = true;
      this.#changes.beginMarking();
    }
    return this.#changes.isContested ? 0 : this.#changes.advance(count);
  }

  /** Publishes if frontends are marked or can be to the end. False when the change must be published in one go, by {@link publish}. */
  publishMarked(): boolean {
    if (!this.#isMarking) return false;
    while (!this.#changes.isContested && this.#changes.advance(Number.POSITIVE_INFINITY) > 0);
    if (this.#changes.isContested) {
      this.#unmark();
      return false;
    }
    this.#publish(true);
    return true;
  }

  /** @throws DataplaneError `MAP_FULL` */
  publish(): void {
    this.#requireRoom();
    this.#publish(false);
  }

  #publish(isMarked: boolean): void {
    this.#backends.publish();
    this.#frontends.publish(isMarked);
    this.#entries.publish();
    this.#isMarking = false;
    this.#isUnsettled = true;
    this.#settled = 0;
  }

  #unmark(): void {
    if (this.#isMarking) this.#changes.unmark();
    this.#isMarking = false;
  }

  /** Gives up a change that is not published, and gives back what it took. */
  abandon(): void {
    this.#unmark();
    this.#backends.abandon();
    this.#records.abandon();
    this.#entries.abandon();
    this.#changes.clear();
  }

  settleAll(): void {
    while (this.settle(Number.POSITIVE_INFINITY) > 0);
  }

  /**
   * Clears away up to `count` entries of what the published change replaced.
   *
   * @returns how many remain
   */
  settle(count: number): number {
    if (!this.#isUnsettled) return 0;
    const changes = this.#changes;
    const { released } = changes;
    const total = released.length + this.#entries.changed;
    const listed = changes.advance(count);
    if (listed > 0) return listed + total;
    changes.endPublication();
    const end = Math.min(total, this.#settled + count);
    for (let i = this.#settled; i < end; i++) {
      if (i < released.length) this.#retire(released.words[i]!);
      else this.#entries.settle(i - released.length);
    }
    this.#settled = end;
    if (end < total) return total - end;
    this.#records.settle();
    this.#entries.endSettling();
    changes.clear();
    this.#isUnsettled = false;
    return 0;
  }

  #retire(slot: number): void {
    const owner = this.#entries.at(this.#backends.servicePortOf(slot));
    const connections = this.#backends.give(slot);
    if (owner !== undefined) owner.retired += connections;
  }
}
