import {
  Backend,
  BackendFlag,
  EndpointSet,
  FrontendChange,
  FrontendKind,
  NONE,
  ServicePort,
  ServicePortChange,
} from "./generated/layout";
import { Frontends } from "./maps/frontends";
import { LongAddresses } from "./maps/long-addresses";
import { Tables } from "./maps/tables";
import { Schedule } from "./schedule";

/**
 * Publication of a change of the Service tables. The host prepares new entries, backends, sets and ranges in slots that nothing
 * refers to, then lists what packets can see, in this order: frontends given up, entries removed, records replaced, backends changed
 * and released, frontends claimed. Each call takes a list at `at`; all run between two batches.
 *
 * In a change that goes in steps, frontends that come and go are marked while packets go on; they come and go all at once when the host
 * changes what `frontendHidden` says. What is left is cleared away in steps afterwards: marks are taken off those that came, those that
 * went are removed, and then heads forget. A change that is given up does the opposite.
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
      } else if (Frontends.remove(change.addressHigh, change.addressLow, key, change.servicePort, 0)) {
        change.refused = 0;
      }
      refused += change.refused;
    }
    return refused;
  }

  /** Frontends claimed, with a mark or 0: `FrontendChange`s. Returns how many another Service port has already. */
  static claimFrontends(at: usize, count: u32, mark: u32): u32 {
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
      } else if (Frontends.claim(change.addressHigh, change.addressLow, key, change.servicePort, change.kind, mark)) {
        change.refused = 0;
      }
      refused += change.refused;
    }
    return refused;
  }

  /** Frontends that a change in steps gives up. Returns how many were another Service port's. */
  static doomFrontends(at: usize, count: u32): u32 {
    let refused: u32 = 0;
    for (let i: u32 = 0; i < count; i++) {
      const change = changetype<FrontendChange>(at + ((<usize>i) << 5));
      change.refused = Frontends.doom(change.addressHigh, change.addressLow, change.portAndMeta, change.servicePort)
        ? 0
        : 1;
      refused += change.refused;
    }
    return refused;
  }

  /** Takes marks off. */
  static settleFrontends(at: usize, count: u32, mark: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      const change = changetype<FrontendChange>(at + ((<usize>i) << 5));
      Frontends.settle(change.addressHigh, change.addressLow, change.portAndMeta, change.servicePort, mark);
    }
  }

  /** Removes what has a mark. */
  static removeFrontends(at: usize, count: u32, mark: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      const change = changetype<FrontendChange>(at + ((<usize>i) << 5));
      Frontends.remove(change.addressHigh, change.addressLow, change.portAndMeta, change.servicePort, mark);
    }
  }

  /** Heads forget that others of their address had marks. */
  static forgetFrontends(at: usize, count: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      const change = changetype<FrontendChange>(at + ((<usize>i) << 5));
      Frontends.forget(change.addressHigh, change.addressLow, change.portAndMeta >> 24);
    }
  }

  @inline static meta(key: u32): u32 {
    return ((key >> 16) & 0xff) | ((key >> 24) << 8);
  }

  /** Entries removed: ids. Their generation changes, so that late references know. */
  static removeServicePorts(at: usize, count: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      const servicePort = Tables.servicePort(load<u32>(at + ((<usize>i) << 2)));
      const generation = servicePort.generation + 1;
      memory.fill(changetype<usize>(servicePort), 0, 64);
      servicePort.generation = generation;
      servicePort.extension = NONE;
    }
  }

  /** Settings replaced: `ServicePortChange`s. Schedulers go on where they were, and counters. */
  static replaceServicePorts(at: usize, count: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      const change = changetype<ServicePortChange>(at + <usize>i * 24);
      const servicePort = Tables.servicePort(change.servicePort);
      if (change.extension != NONE && servicePort.extension != NONE) TableChanges.goOn(servicePort, change);
      servicePort.flags = change.flags;
      servicePort.scheduler = change.scheduler;
      servicePort.affinityTicks = change.affinityTicks;
      servicePort.extension = change.extension;
      servicePort.clusterBase = change.clusterBase;
      servicePort.clusterCount = change.clusterCount;
    }
  }

  static goOn(servicePort: ServicePort, change: ServicePortChange): void {
    const from = Tables.extension(servicePort.extension);
    const to = Tables.extension(change.extension);
    to.affinityHits = from.affinityHits;
    to.affinityMisses = from.affinityMisses;
    for (let which: usize = 0; which < 64; which += 32) {
      const before = changetype<EndpointSet>(changetype<usize>(from) + which);
      const after = changetype<EndpointSet>(changetype<usize>(to) + which);
      after.cursor = servicePort.scheduler == change.scheduler ? TableChanges.moveCursor(before, after) : NONE;
      after.weight = TableChanges.moveWeight(<i32>before.weight, <i32>after.maximum, <i32>after.divisor);
    }
  }

  /** The cursor stays on its server; if that one is gone, on its nearest predecessor that is not. */
  static moveCursor(before: EndpointSet, after: EndpointSet): u32 {
    const cursor = before.cursor;
    if (cursor == NONE || before.count == 0) return NONE;
    // Places are noted where routes are remembered, which are then forgotten.
    for (let i: u32 = 0; i < before.count; i++) TableChanges.note(Tables.backend(Schedule.listed(before, i)), 0);
    for (let i: u32 = 0; i < after.count; i++) TableChanges.note(Tables.backend(Schedule.listed(after, i)), i + 1);
    let moved: u32 = NONE;
    for (let i = <i32>min<u32>(cursor, before.count - 1); i >= 0; i--) {
      const position = load<u32>(
        changetype<usize>(Tables.backend(Schedule.listed(before, <u32>i))),
        offsetof<Backend>("hop"),
      );
      if (position != 0) {
        moved = position - 1;
        break;
      }
    }
    for (let i: u32 = 0; i < after.count; i++) TableChanges.note(Tables.backend(Schedule.listed(after, i)), 0);
    return moved;
  }

  /** Writes over `hop` and `hopGeneration`; generation 0 is never valid. */
  @inline static note(backend: Backend, position: u32): void {
    store<u32>(changetype<usize>(backend), position, offsetof<Backend>("hop"));
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
      backend.weight = <u16>load<u32>(entry, 4);
      backend.flags = <u8>((<u32>backend.flags & BackendFlag.OVERLOADED) | load<u32>(entry, 8));
    }
  }

  /** Backends released: ids. Their addresses stay readable for a while. */
  static releaseBackends(at: usize, count: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      const backend = Tables.backend(load<u32>(at + ((<usize>i) << 2)));
      if ((<u32>backend.flags & BackendFlag.IPV6) != 0) LongAddresses.give(backend.address);
      backend.flags = <u8>(<u32>backend.flags & BackendFlag.IPV6);
      backend.weight = 0;
      backend.generation++;
    }
  }
}
