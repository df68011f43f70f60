import { type AddressKey, decodeAddress, endpointKeyAt, mappedWord, rawPort } from "./address-codec.ts";
import { type BackendSlots, keepSlots, slotAt, slotCount } from "./backend-slots.ts";
import { ARGUMENTS, Backend, BackendFlag, CONTROL, Control, LongAddress, NONE } from "./generated/layout.ts";
import { type Machine, type MemoryLayout, mapFull } from "./memory.ts";
import type { ServicePortReader } from "./service-port-reader.ts";
import { IdPool } from "./slot-pool.ts";
import type { TableChanges } from "./table-changes.ts";
import { WordList } from "./word-list.ts";

/**
 * The map of backends. A backend belongs to one Service port and keeps its slot for as long as a set of it lists the address and port;
 * changes of weight and flags are listed, to be seen with the rest of the change. New backends are written at once into slots that
 * nothing refers to, under a new generation. A released slot is handed out again only after it was given back, when the change that
 * released it is cleared away.
 */
export class BackendTable {
  readonly #machine: Machine;
  readonly #changes: TableChanges;
  readonly #ids: IdPool;
  /** Slots that the change in preparation took. */
  readonly #taken = new WordList();
  readonly #words = new Uint32Array(4);
  /** Slots of the backends that were staged last, in the reader's order. */
  slots: Int32Array<ArrayBuffer> = new Int32Array(64);

  constructor(machine: Machine, changes: TableChanges) {
    this.#machine = machine;
    this.#changes = changes;
    this.#ids = new IdPool(machine.layout.capacity.backends);
  }

  /** Slots in use: released ones count until they are given back, those that the change in preparation took do not. */
  get published(): number {
    return this.#machine.layout.capacity.backends - this.#ids.available - this.#taken.length;
  }

  /**
   * Slots for the backends that were read, in their order: those of `before`, which the Service port has so far, and new ones. Members of
   * `before` that were not read are released. Also left in {@link slots}.
   *
   * @throws DataplaneError `MAP_FULL`
   */
  stage(id: string, servicePort: number, before: BackendSlots, reader: ServicePortReader): BackendSlots {
    const changes = this.#changes;
    const { u32 } = this.#machine;
    const { weights, backendFlags, backendCount } = reader;
    if (backendCount > this.slots.length) this.slots = new Int32Array(backendCount * 2);
    const { slots } = this;
    slots.fill(-1, 0, backendCount);
    const beforeCount = slotCount(before);
    for (let i = 0; i < beforeCount; i++) {
      const slot = slotAt(before, i);
      const at = addressOf(this.#machine.layout, slot) >> 2;
      this.#read(at);
      const portAndWeight = u32[at + Backend.port / 4]!;
      const position = reader.positionOf(this.#words, 0, portOf(portAndWeight));
      if (position < 0) changes.releaseBackend(slot);
      else {
        slots[position] = slot;
        const weight = weights[position]!;
        const flags = backendFlags[position]! | (reader.family === 6 ? BackendFlag.IPV6 : 0);
        if (
          portAndWeight >>> 16 !== weight ||
          (u32[at + Backend.flags / 4]! & 0xff & ~BackendFlag.OVERLOADED) !== flags
        )
          changes.changeBackend(slot, weight, flags);
      }
    }
    let isRow = true;
    for (let i = 0; i < backendCount; i++) {
      if (slots[i]! < 0) slots[i] = this.#take(id, servicePort, reader, i);
      if (slots[i] !== slots[0]! + i) isRow = false;
    }
    return keepSlots(slots, backendCount, isRow);
  }

  #take(
    id: string,
    servicePort: number,
    { addresses, family, ports, weights, backendFlags }: ServicePortReader,
    i: number,
  ): number {
    if (this.#ids.available === 0) throw mapFull(this.#machine.layout, id, "backends");
    const { u32, exports } = this.#machine;
    let address = addresses[i * 4 + 3]!;
    let flags = backendFlags[i]!;
    if (family === 6) {
      const words = ARGUMENTS >> 2;
      for (let word = 0; word < 4; word++) u32[words + word] = addresses[i * 4 + word]!;
      address = exports.takeLongAddress() >>> 0;
      if (address === NONE) throw mapFull(this.#machine.layout, id, "ipv6Addresses");
      flags |= BackendFlag.IPV6;
    }
    const slot = this.#ids.take();
    this.#taken.push(slot);
    const at = addressOf(this.#machine.layout, slot) >> 2;
    const generation = ((u32[at + Backend.flags / 4]! >>> 16) + 1) & 0xffff;
    u32[at] = address;
    u32[at + Backend.port / 4] = (rawPort(ports[i]!) | (weights[i]! << 16)) >>> 0;
    u32[at + Backend.flags / 4] = (flags | (generation << 16)) >>> 0;
    u32[at + Backend.servicePort / 4] = servicePort;
    u32[at + Backend.active / 4] = 0;
    u32[at + Backend.inactive / 4] = 0;
    u32[at + Backend.connections / 4] = 0;
    u32[at + Backend.hop / 4] = 0;
    return slot;
  }

  releaseAll(slots: BackendSlots): void {
    const count = slotCount(slots);
    for (let i = 0; i < count; i++) this.#changes.releaseBackend(slotAt(slots, i));
  }

  /** Gives back what the change took. */
  abandon(): void {
    const { u32, exports } = this.#machine;
    const { words, length } = this.#taken;
    for (let i = 0; i < length; i++) {
      const slot = words[i]!;
      const at = addressOf(this.#machine.layout, slot) >> 2;
      const flags = u32[at + Backend.flags / 4]!;
      if ((flags & BackendFlag.IPV6) !== 0) exports.giveLongAddress(u32[at]!);
      u32[at + Backend.flags / 4] = (flags & 0xffff0000) >>> 0;
      this.#ids.give(slot);
    }
    this.#taken.clear();
  }

  /** What the change took is in use from now on. */
  publish(): void {
    this.#machine.u32[(CONTROL + Control.backendHighWater) >> 2] = this.#ids.highWater;
    this.#taken.clear();
  }

  /** Gives back a released slot. Returns how many connections were opened to it. */
  give(slot: number): number {
    const { u32 } = this.#machine;
    const at = addressOf(this.#machine.layout, slot) >> 2;
    this.#ids.give(slot);
    return u32[at + Backend.connections / 4]! + ((u32[at + Backend.flags / 4]! >>> 8) & 0xff) * 2 ** 32;
  }

  isInUse(slot: number): boolean {
    if (slot >= this.#machine.layout.capacity.backends) return false;
    return (
      (this.#machine.u32[(addressOf(this.#machine.layout, slot) + Backend.flags) >> 2]! & BackendFlag.IN_USE) !== 0
    );
  }

  /** Slot of the Service port that a backend belongs to, also after its release. */
  servicePortOf(slot: number): number {
    return this.#machine.u32[(addressOf(this.#machine.layout, slot) + Backend.servicePort) >> 2]!;
  }

  /** Address and port of a backend slot as a key of maps. */
  keyOf(slot: number): AddressKey {
    const at = addressOf(this.#machine.layout, slot) >> 2;
    this.#read(at);
    return endpointKeyAt(this.#words, 0, portOf(this.#machine.u32[at + Backend.port / 4]!));
  }

  /** Puts the address of a backend's record into `#words`. */
  #read(at: number): void {
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
}

/** Address and port of a backend slot as text, also after its release. */
export function backendText(
  { u8, u32, view, layout }: Machine,
  slot: number,
): { readonly address: string; readonly port: number } {
  const at = addressOf(layout, slot);
  const isLong = (view.getUint8(at + Backend.flags) & BackendFlag.IPV6) !== 0;
  const long = layout.regions.longAddresses.address + u32[at >> 2]! * LongAddress.SIZE;
  return {
    address: isLong ? decodeAddress(u8, long, 6) : decodeAddress(u8, at - 12, 4),
    port: view.getUint16(at + Backend.port, false),
  };
}

function addressOf({ regions }: MemoryLayout, slot: number): number {
  return regions.backends.address + slot * Backend.SIZE;
}

/** Port in host order, of the word that holds it raw in its lower half. */
function portOf(word: number): number {
  return ((word & 0xff) << 8) | ((word >>> 8) & 0xff);
}
