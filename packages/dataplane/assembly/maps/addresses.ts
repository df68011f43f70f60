import { Address, AddressFlag, NONE, PrefixFlag } from "../generated/layout";
import { Hash } from "../hash";
import { Prefixes } from "./prefixes";
import { Tables } from "./tables";

/** Addresses with a meaning beside those of Services: the node's own, those that take node ports, and those that are announced. */
export class Addresses {
  /** Address of the slot, or 0. */
  static find(high: u64, low: u64, family: u32): usize {
    const mask = Tables.control.addressMask;
    let i = <u32>(Hash.address(high, low, 0x5bd1e995) >> 32) & mask;
    while (true) {
      const slot = Tables.addressSlot(i);
      if (slot.family == 0) return 0;
      if (slot.low == low && slot.high == high && <u32>slot.family == family) return changetype<usize>(slot);
      i = (i + 1) & mask;
    }
  }

  /** `AddressFlag`s of an address; 127.0.0.0/8 and ::1 are always local. */
  static flags(high: u64, low: u64, family: u32): u32 {
    const slot = Addresses.find(high, low, family);
    let flags: u32 = slot == 0 ? 0 : changetype<Address>(slot).flags;
    if (Addresses.isLoopback(high, low, family)) {
      flags |= AddressFlag.LOCAL;
      if (family == 4 && Tables.control.loopbackNodePorts) flags |= AddressFlag.NODE_PORT;
      else flags &= ~AddressFlag.NODE_PORT;
    }
    return flags;
  }

  @inline static isLocal(high: u64, low: u64, family: u32): bool {
    return (Addresses.flags(high, low, family) & AddressFlag.LOCAL) != 0;
  }

  @inline static isLoopback(high: u64, low: u64, family: u32): bool {
    return family == 4 ? ((low >> 32) & 0xff) == 127 : high == 0 && low == 0x0100000000000000;
  }

  /** IPv4 multicast and broadcast, IPv6 multicast. */
  @inline static isMulticast(high: u64, low: u64, family: u32): bool {
    if (family == 4) {
      const first = (low >> 32) & 0xff;
      return (first & 0xf0) == 0xe0 || low >> 32 == 0xffffffff;
    }
    return (high & 0xff) == 0xff;
  }

  @inline static isUnspecified(high: u64, low: u64, family: u32): bool {
    return family == 4 ? low >> 32 == 0 : high == 0 && low == 0;
  }

  /** True when the source is a pod by the local-traffic detector. */
  @inline static isPod(high: u64, low: u64, family: u32): bool {
    return (Prefixes.nodeFlags(high, low, family) & PrefixFlag.CLUSTER_CIDR) != 0;
  }

  /** The same of an IPv4 address, raw. */
  @inline static isPodV4(address: u32): bool {
    return (Prefixes.nodeFlagsV4(address) & PrefixFlag.CLUSTER_CIDR) != 0;
  }

  @inline static isService(high: u64, low: u64, family: u32): bool {
    return (Prefixes.nodeFlags(high, low, family) & PrefixFlag.SERVICE_CIDR) != 0;
  }

  /** Slot of an address, entered without flags when it is new. The host keeps the table at most half full. */
  static ensure(high: u64, low: u64, family: u32): Address {
    const mask = Tables.control.addressMask;
    let i = <u32>(Hash.address(high, low, 0x5bd1e995) >> 32) & mask;
    while (true) {
      const slot = Tables.addressSlot(i);
      if (slot.family == 0) break;
      if (slot.low == low && slot.high == high && <u32>slot.family == family) return slot;
      i = (i + 1) & mask;
    }
    const slot = Tables.addressSlot(i);
    slot.high = high;
    slot.low = low;
    slot.family = <u16>family;
    slot.flags = 0;
    slot.port = NONE;
    Tables.control.addressCount++;
    return slot;
  }

  /** Sets the flags, and the port that answers for the address; without either it is removed. */
  static set(high: u64, low: u64, family: u32, flags: u32, port: u32): void {
    const slot = Addresses.ensure(high, low, family);
    if (<u32>slot.flags != flags) Tables.control.routeEpoch++;
    slot.flags = <u16>flags;
    slot.port = port;
    if (flags == 0 && port == NONE) Addresses.remove(slot);
  }

  static remove(slot: Address): void {
    const mask = Tables.control.addressMask;
    let hole = <u32>((changetype<usize>(slot) - <usize>Tables.control.addresses) >> 5);
    let i = hole;
    while (true) {
      i = (i + 1) & mask;
      const next = Tables.addressSlot(i);
      if (next.family == 0) break;
      const home = <u32>(Hash.address(next.high, next.low, 0x5bd1e995) >> 32) & mask;
      if (((i - home) & mask) >= ((i - hole) & mask)) {
        memory.copy(changetype<usize>(Tables.addressSlot(hole)), changetype<usize>(next), 32);
        hole = i;
      }
    }
    Tables.addressSlot(hole).family = 0;
    Tables.control.addressCount--;
  }
}
