import { type AddressKey, addressKey, type EncodedAddress, writeAddress } from "./address-codec.ts";
import { DataplaneError } from "./errors.ts";
import { AddressFlag, ARGUMENTS, CONTROL, Control, NONE } from "./generated/layout.ts";
import type { Machine } from "./memory.ts";

interface Uses {
  /** Interfaces and lists that make the address the node's own. */
  local: number;
  nodePort: number;
  announced: number;
  /** The one port that answers for it. */
  port: number;
}

/** Why the host may enter an address. */
export type AddressUse = "local" | "nodePort";

/**
 * Counts why the node itself has to do with an address, and keeps the dataplane's address table in step. Addresses of Services are
 * counted by the module, as frontends come and go.
 */
export class AddressBook {
  readonly #machine: Machine;
  readonly #uses = new Map<AddressKey, Uses>();

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Addresses in the table. */
  get count(): number {
    return this.#machine.u32[(CONTROL + Control.addressCount) >> 2]!;
  }

  /** Throws `MAP_FULL` unless `more` new addresses fit. */
  requireRoom(more: number): void {
    const capacity = this.#machine.layout.capacity.addresses;
    if (this.count + more > capacity) {
      throw new DataplaneError("MAP_FULL", `no room for ${more} more addresses: capacity.addresses is ${capacity}`);
    }
  }

  add(address: EncodedAddress, use: AddressUse): void {
    this.#change(address, use, 1);
  }

  remove(address: EncodedAddress, use: AddressUse): void {
    this.#change(address, use, -1);
  }

  /** Answers for an address on one port, or with `undefined` on every port that is no pod's. */
  announce(address: EncodedAddress, port: number | undefined): void {
    const uses = this.#usesOf(address);
    uses.announced = 1;
    uses.port = port ?? NONE;
    this.#write(address, uses);
  }

  withdraw(address: EncodedAddress): void {
    const uses = this.#uses.get(addressKey(address));
    if (uses === undefined || uses.announced === 0) return;
    uses.announced = 0;
    uses.port = NONE;
    this.#write(address, uses);
  }

  isLocal(address: EncodedAddress): boolean {
    return (this.#uses.get(addressKey(address))?.local ?? 0) > 0;
  }

  #usesOf(address: EncodedAddress): Uses {
    const key = addressKey(address);
    let uses = this.#uses.get(key);
    if (uses === undefined) {
      uses = { local: 0, nodePort: 0, announced: 0, port: NONE };
      this.#uses.set(key, uses);
    }
    return uses;
  }

  #change(address: EncodedAddress, use: AddressUse, by: number): void {
    const uses = this.#usesOf(address);
    const before = AddressBook.#flags(uses);
    uses[use] += by;
    if (AddressBook.#flags(uses) !== before) this.#write(address, uses);
  }

  #write(address: EncodedAddress, uses: Uses): void {
    const flags = AddressBook.#flags(uses);
    if (flags === 0) this.#uses.delete(addressKey(address));
    writeAddress(this.#machine.u32, ARGUMENTS >> 2, address);
    this.#machine.exports.setAddress(address.family, flags, uses.port);
  }

  static #flags(uses: Uses): number {
    return (
      (uses.local > 0 ? AddressFlag.LOCAL : 0) |
      (uses.nodePort > 0 ? AddressFlag.NODE_PORT : 0) |
      (uses.announced > 0 ? AddressFlag.ANNOUNCED : 0)
    );
  }
}
