import { type AddressKey, encodeAddress, endpointKey } from "./address-codec.ts";
import { slotAt, slotCount } from "./backend-slots.ts";
import { BackendTable } from "./backend-table.ts";
import { FrontendClaims } from "./frontend-claims.ts";
import type { Machine } from "./memory.ts";
import { ServiceChange, type ServiceMaps } from "./service-change.ts";
import type { BackendSpec, ServicePortSpec } from "./service-port.ts";
import { ServicePortEntries, type ServicePortEntry } from "./service-port-entries.ts";
import { ServicePortRecords } from "./service-port-records.ts";
import { type ServicePortReplacement, StagedReplacement } from "./service-port-replacement.ts";
import { TableChanges } from "./table-changes.ts";

/** What a Service port's slot means, for decoding. */
export interface ServicePortView {
  readonly id: string;
  readonly index: number;
  readonly spec: ServicePortSpec;
}

/**
 * The control plane's side of the Service maps: takes specifications, checks them whole, and changes only what differs, each time by one
 * {@link ServiceChange}; and says what the slots of the maps mean. At most one replacement is under way.
 */
export class DataplaneServiceTables {
  readonly #maps: ServiceMaps;
  readonly #change: ServiceChange;
  #replacement: StagedReplacement | undefined;

  constructor(machine: Machine) {
    const changes = new TableChanges(machine);
    this.#maps = {
      changes,
      entries: new ServicePortEntries(machine),
      backends: new BackendTable(machine, changes),
      records: new ServicePortRecords(machine, changes),
      frontends: new FrontendClaims(machine, changes),
    };
    this.#change = new ServiceChange(machine, this.#maps);
  }

  get size(): { readonly servicePorts: number; readonly backends: number; readonly frontends: number } {
    const { entries, backends, frontends } = this.#maps;
    return {
      servicePorts: entries.size,
      backends: backends.published - this.#change.unsettledBackends,
      frontends: frontends.entered,
    };
  }

  /** Entry of a slot, as it is now. */
  servicePortAt(index: number): ServicePortView | undefined {
    const { entries } = this.#maps;
    const entry = entries.at(index);
    return entry !== undefined && entries.isLive(entry) ? this.#view(entry) : undefined;
  }

  #view(entry: ServicePortEntry): ServicePortView {
    const spec = this.#maps.entries.specOf(entry);
    return { id: spec.id, index: entry.index, spec };
  }

  *servicePorts(): IterableIterator<ServicePortView> {
    for (const entry of this.#maps.entries.live()) yield this.#view(entry);
  }

  /** Connections of a Service port that were opened to backends which are gone. */
  retiredConnections(index: number): number {
    this.#change.settleAll();
    return this.#maps.entries.at(index)?.retired ?? 0;
  }

  /** Specification of a backend slot, as it was given; `undefined` after its release. */
  backendAt(slot: number): BackendSpec | undefined {
    const { backends } = this.#maps;
    if (!backends.isInUse(slot)) return undefined;
    const servicePort = this.servicePortAt(backends.servicePortOf(slot));
    if (servicePort === undefined) return undefined;
    const key = backends.keyOf(slot);
    const { cluster, local } = servicePort.spec;
    for (const list of [cluster, local]) {
      for (const spec of list) if (endpointKey(encodeAddress(spec.address)!, spec.port) === key) return spec;
    }
    return undefined;
  }

  /** Slots of a Service port's backends. */
  backendSlots(id: string): readonly { readonly slot: number; readonly spec: BackendSpec }[] {
    this.#change.settleAll();
    const { entries, backends } = this.#maps;
    const entry = entries.get(id);
    if (entry === undefined || !entries.isLive(entry)) return [];
    const specs = new Map<AddressKey, BackendSpec>();
    for (const list of [entry.spec.local, entry.spec.cluster]) {
      for (const spec of list) specs.set(endpointKey(encodeAddress(spec.address)!, spec.port), spec);
    }
    return Array.from({ length: slotCount(entry.slots) }, (_, i) => {
      const slot = slotAt(entry.slots, i);
      return { slot, spec: specs.get(backends.keyOf(slot))! };
    });
  }

  setServicePort(spec: ServicePortSpec): void {
    this.#replacement?.restart();
    this.#change.transact(() => this.#change.stage(spec, this.#maps.entries.get(spec.id)));
  }

  removeServicePort(id: string): void {
    const { entries } = this.#maps;
    const entry = entries.get(id);
    if (entry === undefined || !entries.isLive(entry)) return;
    this.#replacement?.restart();
    this.#change.transact(() => this.#change.stageRemoval(entry));
  }

  replaceServicePorts(specs: readonly ServicePortSpec[]): void {
    this.stageServicePorts(specs).commit();
    this.#change.settleAll();
  }

  /** Begins a replacement; one that is under way is given up. */
  stageServicePorts(specs: readonly ServicePortSpec[]): ServicePortReplacement {
    this.#replacement?.discard();
    this.#replacement = new StagedReplacement(this.#change, this.#maps, specs);
    return this.#replacement;
  }
}
