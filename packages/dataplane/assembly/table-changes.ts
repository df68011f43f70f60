import { BackendFlag, EndpointSet, FrontendChange, FrontendKind, NONE, ServicePort } from "./generated/layout";
import { Addresses } from "./maps/addresses";
import { Frontends } from "./maps/frontends";
import { Tables } from "./maps/tables";
import { Schedule } from "./schedule";

/**
 * Publication of a change of the Service tables. The host prepares new entries, backends, sets and ranges in slots that nothing
 * refers to, then lists what packets can see, in this order: frontends given up, entries removed, records replaced, backends changed
 * and released, frontends claimed. Each call takes a list at `at`; all run between two batches.
 */
export class TableChanges {
  /** Frontends given up: `FrontendChange`s. Returns how many were another Service port's. */
  static dropFrontends(at: usize, count: u32): u32 {
    let refused: u32 = 0;
    for (let i: u32 = 0; i < count; i++) {
      const change = changetype<FrontendChange>(at + ((<usize>i) << 5));
      const key = change.portAndMeta;
      change.refused = 1;
      if (change.kind == FrontendKind.NODE_PORT) {
        const held = Frontends.nodePortAt(key & 0xffff, TableChanges.meta(key));
        if (load<u32>(held) == change.servicePort + 1) {
          store<u32>(held, 0);
          change.refused = 0;
        }
      } else if (Frontends.remove(change.addressHigh, change.addressLow, key, change.servicePort)) {
        TableChanges.countAddress(change, -1);
        change.refused = 0;
      }
      refused += change.refused;
    }
    return refused;
  }

  /** Frontends claimed: `FrontendChange`s. Returns how many another Service port has already. */
  static claimFrontends(at: usize, count: u32): u32 {
    let refused: u32 = 0;
    for (let i: u32 = 0; i < count; i++) {
      const change = changetype<FrontendChange>(at + ((<usize>i) << 5));
      const key = change.portAndMeta;
      change.refused = 1;
      if (change.kind == FrontendKind.NODE_PORT) {
        const held = Frontends.nodePortAt(key & 0xffff, TableChanges.meta(key));
        if (load<u32>(held) == 0) {
          store<u32>(held, change.servicePort + 1);
          change.refused = 0;
        }
      } else if (Frontends.claim(change.addressHigh, change.addressLow, key, change.servicePort, change.kind)) {
        TableChanges.countAddress(change, 1);
        change.refused = 0;
      }
      refused += change.refused;
    }
    return refused;
  }

  @inline static meta(key: u32): u32 {
    return ((key >> 16) & 0xff) | ((key >> 24) << 8);
  }

  @inline static countAddress(change: FrontendChange, by: i32): void {
    Addresses.count(
      change.addressHigh,
      change.addressLow,
      change.portAndMeta >> 24,
      change.kind == FrontendKind.CLUSTER_IP,
      by,
    );
  }

  /** Entries removed: ids. Their generation changes, so that late references know. */
  static removeServicePorts(at: usize, count: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      const servicePort = Tables.servicePort(load<u32>(at + ((<usize>i) << 2)));
      const generation = servicePort.generation + 1;
      memory.fill(changetype<usize>(servicePort), 0, 128);
      servicePort.generation = generation;
    }
  }

  /** Entries replaced: per entry 132 bytes, its id and the new record. Schedulers go on where they were. */
  static replaceServicePorts(at: usize, count: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      const entry = at + <usize>i * 132;
      const servicePort = Tables.servicePort(load<u32>(entry));
      const record = changetype<ServicePort>(entry + 4);
      record.generation = servicePort.generation;
      record.masqueraded = servicePort.masqueraded;
      for (let which: u32 = 0; which < 2; which++) {
        const before = Schedule.set(servicePort, which);
        const after = Schedule.set(record, which);
        after.cursor = servicePort.scheduler == record.scheduler ? TableChanges.moveCursor(before, after) : NONE;
        after.weight = TableChanges.moveWeight(<i32>before.weight, <i32>after.maximum, <i32>after.divisor);
      }
      memory.copy(changetype<usize>(servicePort), entry + 4, 128);
    }
  }

  /** The cursor stays on its server; if that one is gone, on its nearest predecessor that is not. */
  static moveCursor(before: EndpointSet, after: EndpointSet): u32 {
    const cursor = before.cursor;
    if (cursor == NONE || before.count == 0) return NONE;
    for (let i: u32 = 0; i < after.count; i++) Tables.backend(Schedule.member(after, i)).position = i + 1;
    let moved: u32 = NONE;
    for (let i = <i32>min<u32>(cursor, before.count - 1); i >= 0; i--) {
      const position = Tables.backend(Schedule.member(before, <u32>i)).position;
      if (position != 0) {
        moved = position - 1;
        break;
      }
    }
    for (let i: u32 = 0; i < after.count; i++) Tables.backend(Schedule.member(after, i)).position = 0;
    return moved;
  }

  /** wrr's current weight stays within the new bounds and on a step of the new divisor. */
  @inline static moveWeight(weight: i32, maximum: i32, divisor: i32): u32 {
    if (weight > maximum || weight <= 0) return <u32>maximum;
    return <u32>(divisor > 1 ? (weight / divisor) * divisor + 1 : weight);
  }

  /** Backends that stay: per backend 12 bytes, id, weight and flags; whether it is overloaded is not the host's to say. */
  static changeBackends(at: usize, count: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      const entry = at + <usize>i * 12;
      const backend = Tables.backend(load<u32>(entry));
      backend.weight = load<u32>(entry, 4);
      backend.flags = <u16>((<u32>backend.flags & BackendFlag.OVERLOADED) | load<u32>(entry, 8));
    }
  }

  /** Backends released: ids. */
  static releaseBackends(at: usize, count: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      const backend = Tables.backend(load<u32>(at + ((<usize>i) << 2)));
      backend.flags = 0;
      backend.weight = 0;
      backend.generation++;
    }
  }
}
