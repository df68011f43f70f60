import { type AddressKey, addressKey, type EncodedAddress, writeAddress } from "./address-codec.ts";
import { DataplaneError } from "./errors.ts";
import { AddressFlag, ARGUMENTS, NONE } from "./generated/layout.ts";
import type { Machine } from "./memory.ts";

interface Uses {
  readonly address: EncodedAddress;
  /** Interfaces and lists that make the address the node's own. */
  local: number;
  nodePort: number;
  clusterIP: number;
  service: number;
}

/** Why an address may be in the book. */
export type AddressUse = "local" | "nodePort" | "clusterIP" | "service";

/** Counts why an address matters to the dataplane, and keeps its address table in step. */
export class AddressBook {
  readonly #machine: Machine;
  readonly #uses = new Map<AddressKey, Uses>();

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Throws `MAP_FULL` unless `more` new addresses fit. */
  requireRoom(more: number): void {
    const capacity = this.#machine.layout.capacity.addresses;
    if (this.#uses.size + more > capacity) {
      throw new DataplaneError("MAP_FULL", `no room for ${more} more addresses: capacity.addresses is ${capacity}`);
    }
  }

  add(address: EncodedAddress, use: AddressUse): void {
    this.#change(address, use, 1);
  }

  remove(address: EncodedAddress, use: AddressUse): void {
    this.#change(address, use, -1);
  }

  isLocal(address: EncodedAddress): boolean {
    return (this.#uses.get(addressKey(address))?.local ?? 0) > 0;
  }

  #change(address: EncodedAddress, use: AddressUse, by: number): void {
    const key = addressKey(address);
    let uses = this.#uses.get(key);
    if (uses === undefined) {
      uses = { address, local: 0, nodePort: 0, clusterIP: 0, service: 0 };
      this.#uses.set(key, uses);
    }
    const before = AddressBook.#flags(uses);
    uses[use] += by;
    const after = AddressBook.#flags(uses);
    if (after === 0) this.#uses.delete(key);
    if (before === after) return;
    writeAddress(this.#machine.u32, ARGUMENTS >> 2, address);
    this.#machine.exports.setAddress(address.family, after, NONE);
  }

  static #flags(uses: Uses): number {
    return (
      (uses.local > 0 ? AddressFlag.LOCAL : 0) |
      (uses.nodePort > 0 ? AddressFlag.NODE_PORT : 0) |
      (uses.clusterIP > 0 ? AddressFlag.CLUSTER_IP : 0) |
      (uses.service > 0 ? AddressFlag.SERVICE_IP : 0)
    );
  }
}
