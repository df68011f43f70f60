import { Frontend, FrontendKind, NONE } from "../generated/layout";
import { Hash } from "../hash";
import { Tables } from "./tables";

/**
 * Frontends: exact (address, port, protocol, family) to Service port, and node ports by direct index. Open addressing with linear
 * probing; removal shifts the run back, so lookups never meet tombstones.
 */
export class Frontends {
  @inline static slot(index: u32): Frontend {
    return changetype<Frontend>(<usize>(Tables.control.frontends + (index << 5)));
  }

  @inline static home(high: u64, low: u64, key: u32): u32 {
    return <u32>(Hash.address(high, low, key) >> 32) & Tables.control.frontendMask;
  }

  /** Key word of a frontend: raw port, protocol and family. */
  @inline static key(port: u32, meta: u32): u32 {
    return port | ((meta & 0xff) << 16) | ((meta >> 8) << 24);
  }

  /** Address of the slot, or 0. */
  static find(high: u64, low: u64, key: u32): usize {
    return Frontends.findFrom(Frontends.at(high, low, key), high, low, key);
  }

  /** Address of the slot that a frontend's hash says. */
  @inline static at(high: u64, low: u64, key: u32): usize {
    return changetype<usize>(Frontends.slot(Frontends.home(high, low, key)));
  }

  /** Goes on from that slot: where the frontend is, or 0. */
  static findFrom(home: usize, high: u64, low: u64, key: u32): usize {
    const first = <usize>Tables.control.frontends;
    const last = first + ((<usize>Tables.control.frontendMask) << 5);
    let at = home;
    while (true) {
      const slot = changetype<Frontend>(at);
      const k = slot.portAndMeta;
      if (k == key && slot.addressLow == low && slot.addressHigh == high) return at;
      if (k == 0) return 0;
      at = at == last ? first : at + 32;
    }
  }

  /** Enters a frontend, unless one has it already: then false. The host keeps the table at most half full. */
  static claim(high: u64, low: u64, key: u32, servicePort: u32, kind: u32): bool {
    const mask = Tables.control.frontendMask;
    let i = Frontends.home(high, low, key);
    while (true) {
      const slot = Frontends.slot(i);
      const k = slot.portAndMeta;
      if (k == 0) {
        slot.addressHigh = high;
        slot.addressLow = low;
        slot.portAndMeta = key;
        slot.servicePort = servicePort;
        slot.kind = kind;
        return true;
      }
      if (k == key && slot.addressLow == low && slot.addressHigh == high) return false;
      i = (i + 1) & mask;
    }
  }

  /** Removes a frontend of that Service port; false when it is another's. */
  static remove(high: u64, low: u64, key: u32, servicePort: u32): bool {
    const found = Frontends.find(high, low, key);
    if (found == 0 || changetype<Frontend>(found).servicePort != servicePort) return false;
    const mask = Tables.control.frontendMask;
    let hole = <u32>((found - <usize>Tables.control.frontends) >> 5);
    let i = hole;
    while (true) {
      i = (i + 1) & mask;
      const slot = Frontends.slot(i);
      if (slot.portAndMeta == 0) break;
      const home = Frontends.home(slot.addressHigh, slot.addressLow, slot.portAndMeta);
      if (((i - home) & mask) >= ((i - hole) & mask)) {
        memory.copy(changetype<usize>(Frontends.slot(hole)), changetype<usize>(slot), 32);
        hole = i;
      }
    }
    Frontends.slot(hole).portAndMeta = 0;
    return true;
  }

  /** Where the Service port of a node port is held. `port` is raw. */
  @inline static nodePortAt(port: u32, meta: u32): usize {
    const protocol = meta & 0xff;
    let row: u32 = protocol == 6 ? 0 : protocol == 17 ? 1 : 2;
    if (meta >> 8 == 6) row += 3;
    return <usize>(Tables.control.nodePorts + (((row << 16) | port) << 2));
  }

  /** Service port of a node port, or none; 0 in memory means none, so ids are held plus one. */
  @inline static nodePort(port: u32, meta: u32): u32 {
    return load<u32>(Frontends.nodePortAt(port, meta)) - 1;
  }

  @inline static isExternal(kind: u32): bool {
    return kind != FrontendKind.CLUSTER_IP;
  }

  @inline static get none(): u32 {
    return NONE;
  }
}
