import { addressKey, type EncodedAddress, writeAddress } from "./address-codec.ts";
import { DataplaneError } from "./errors.ts";
import { ARGUMENTS, CONTROL, Control, Prefix, PrefixScope } from "./generated/layout.ts";
import type { Machine } from "./memory.ts";

/** What an entry says; which fields count depends on the scope. */
export interface PrefixValue {
  readonly flags: number;
  readonly port?: number;
  /** Six bytes. */
  readonly mac?: Uint8Array;
  readonly neighbor?: EncodedAddress;
}

/** Keeps the prefix map and, per scope, which lengths are in use. */
export class PrefixTable {
  readonly #machine: Machine;
  readonly #counts: readonly [Uint32Array, Uint32Array] = [new Uint32Array(129), new Uint32Array(129)];
  readonly #known = new Set<string>();

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Throws `MAP_FULL` unless `more` new prefixes fit. */
  requireRoom(more: number): void {
    const capacity = this.#machine.layout.capacity.prefixes;
    if (this.#known.size + more > capacity) {
      throw new DataplaneError("MAP_FULL", `no room for ${more} more prefixes: capacity.prefixes is ${capacity}`);
    }
  }

  /** Adds or replaces. `address` is masked, `length` that of the 128-bit form. True when the prefix is new. */
  set(scope: number, address: EncodedAddress, length: number, value: PrefixValue): boolean {
    const { u8, u32, view, exports } = this.#machine;
    writeAddress(u32, ARGUMENTS >> 2, address);
    const at = exports.setPrefix(scope, address.family, length);
    view.setUint32(at + Prefix.flags, value.flags, true);
    view.setUint32(at + Prefix.port, value.port ?? 0, true);
    if (value.mac !== undefined) u8.set(value.mac, at + Prefix.macLow);
    if (value.neighbor !== undefined) writeAddress(u32, (at + Prefix.neighborHigh) >> 2, value.neighbor);
    const key = `${scope}/${length}/${address.family}/${addressKey(address)}`;
    if (this.#known.has(key)) return false;
    this.#known.add(key);
    this.#count(scope, length, 1);
    return true;
  }

  remove(scope: number, address: EncodedAddress, length: number): void {
    if (!this.#known.delete(`${scope}/${length}/${address.family}/${addressKey(address)}`)) return;
    writeAddress(this.#machine.u32, ARGUMENTS >> 2, address);
    this.#machine.exports.removePrefix(scope, address.family, length);
    this.#count(scope, length, -1);
  }

  #count(scope: number, length: number, by: number): void {
    const counts = this.#counts[scope === PrefixScope.ROUTE ? 0 : 1]!;
    counts[length] = counts[length]! + by;
    const route = scope === PrefixScope.ROUTE;
    const { view } = this.#machine;
    if (length === 128) {
      view.setUint32(CONTROL + (route ? Control.routeLength128 : Control.nodeLength128), counts[128]!, true);
      return;
    }
    const low = route ? Control.routeLengthsLow : Control.nodeLengthsLow;
    const high = route ? Control.routeLengthsHigh : Control.nodeLengthsHigh;
    const word = CONTROL + (length < 64 ? low : high) + ((length & 63) >= 32 ? 4 : 0);
    const bit = 1 << (length & 31);
    const bits = view.getUint32(word, true);
    view.setUint32(word, counts[length]! > 0 ? bits | bit : bits & ~bit, true);
  }
}
