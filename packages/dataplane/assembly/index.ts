/**
 * The dataplane's module: programs, and the calls that fill its maps. The host lays the maps out and fills in the control block; then
 * `initialize` is called once. Arguments beyond numbers lie in the argument block. All calls run to completion between batches.
 */
import { Checksum } from "./checksum";
import { Conntrack } from "./conntrack";
import {
  ARGUMENTS,
  BATCH,
  Connection,
  ConnectionFlag,
  NONE,
  PARSED,
  Parsed,
  PrefixScope,
  Prefix,
  Step,
  Verdict,
} from "./generated/layout";
import { Addresses } from "./maps/addresses";
import { LongAddresses } from "./maps/long-addresses";
import { Prefixes } from "./maps/prefixes";
import { SteadyLines } from "./maps/steady-lines";
import { Tables } from "./maps/tables";
import { Neighbors } from "./emit";
import { Connect } from "./programs/connect";
import { Ingress } from "./programs/ingress";
import { Decision } from "./lookup";
import { Maglev } from "./schedule";
import { TableChanges } from "./table-changes";
import { Trace } from "./trace";

export { batchCapacity, frameSize, frameRoom } from "./descriptors";
export * from "./packets";
export * from "./restore";
export * from "./xsk";

/** Records that each batch looks at for expiry. */
const COLLECT_PER_BATCH: u32 = 16;

/** Tables that need computing. */
export function initialize(): void {
  Checksum.initialize();
}

/** Runs the ingress program over `count` descriptors (see descriptors.ts). `now` is in ticks. */
export function ingress(count: u32, now: u32): void {
  Tables.control.now = now;
  Ingress.batch(min<u32>(count, BATCH), 0);
  Conntrack.collect(COLLECT_PER_BATCH);
}

/** Goes on after a user's program trapped before the dataplane looked at the batch: with its frame `from`. */
export function resumeIngress(count: u32, from: u32): void {
  Ingress.batch(min<u32>(count, BATCH), from);
  Conntrack.collect(COLLECT_PER_BATCH);
}

function own(): Parsed {
  return changetype<Parsed>(<usize>PARSED);
}

/** Runs one IP packet without link header at `packet`; the result is in the first parse record. Returns the verdict. */
export function processPacket(packet: u32, length: u32, port: u32, now: u32): u32 {
  Tables.control.now = now;
  return Ingress.single(own(), packet, length, port, 0);
}

/** Runs one Ethernet frame. Returns the verdict. */
export function processFrame(frame: u32, length: u32, port: u32, now: u32): u32 {
  Tables.control.now = now;
  return Ingress.single(own(), frame, length, port, 1);
}

/** Address of the bytes that the last single packet or frame became. */
export function resultAddress(): u32 {
  return own().frame;
}
export function resultLength(): u32 {
  return own().length;
}
export function resultReason(): u32 {
  return own().reason;
}
export function resultEgress(): u32 {
  return own().egress;
}

/** Switches trace mode: decisions are recorded and nothing is changed. */
export function setTracing(on: u32): void {
  Tables.control.tracing = on;
  if (on) Tables.control.traceCount = 0;
}

/** Socket load balancing. Arguments: source (16), destination (16), ports raw (4), meta (4). Returns the verdict. */
export function connect(now: u32): u32 {
  Tables.control.now = now;
  const a = <usize>ARGUMENTS;
  const verdict = Connect.decide(
    load<u64>(a),
    load<u64>(a, 8),
    load<u64>(a, 16),
    load<u64>(a, 24),
    load<u32>(a, 32),
    load<u32>(a, 36),
  );
  Trace.step(Step.VERDICT, verdict, Decision.reason, NONE);
  return verdict;
}
export function connectHandle(): u32 {
  return Connect.handle;
}
export function decisionBackend(): u32 {
  return Decision.backend;
}
export function decisionReason(): u32 {
  return Decision.reason;
}
export function decisionServicePort(): u32 {
  return Decision.servicePort;
}
/** Ends a connection that `connect` counted; 0 when there is none of that handle. */
export function release(handle: u32): u32 {
  return Connect.release(handle) ? 1 : 0;
}

/** Lists of changes of the Service tables: see `TableChanges`. */
export function dropFrontends(at: u32, count: u32): u32 {
  return TableChanges.dropFrontends(<usize>at, count);
}
export function claimFrontends(at: u32, count: u32, mark: u32): u32 {
  return TableChanges.claimFrontends(<usize>at, count, mark);
}
export function doomFrontends(at: u32, count: u32): u32 {
  return TableChanges.doomFrontends(<usize>at, count);
}
export function settleFrontends(at: u32, count: u32, mark: u32): void {
  TableChanges.settleFrontends(<usize>at, count, mark);
}
export function removeFrontends(at: u32, count: u32, mark: u32): void {
  TableChanges.removeFrontends(<usize>at, count, mark);
}
export function forgetFrontends(at: u32, count: u32): void {
  TableChanges.forgetFrontends(<usize>at, count);
}
export function removeServicePorts(at: u32, count: u32): void {
  TableChanges.removeServicePorts(<usize>at, count);
}
export function replaceServicePorts(at: u32, count: u32): void {
  TableChanges.replaceServicePorts(<usize>at, count);
}
export function changeBackends(at: u32, count: u32): void {
  TableChanges.changeBackends(<usize>at, count);
}
export function releaseBackends(at: u32, count: u32): void {
  TableChanges.releaseBackends(<usize>at, count);
}
/** Puts the IPv6 address in the arguments into the pool that compact records refer to; none when it is full. */
export function takeLongAddress(): u32 {
  return LongAddresses.take(load<u64>(<usize>ARGUMENTS), load<u64>(<usize>ARGUMENTS, 8));
}
/** Gives back one that no record refers to. */
export function giveLongAddress(id: u32): void {
  LongAddresses.give(id);
}

/** Arguments of the following: address (16) at 0. Flags are those that the host decides. */
export function setAddress(family: u32, flags: u32, port: u32): void {
  const a = <usize>ARGUMENTS;
  Addresses.set(load<u64>(a), load<u64>(a, 8), family, flags, port);
}
/** Enters a prefix and returns the address of its entry, for the host to fill in. Address must be masked. */
export function setPrefix(scope: u32, family: u32, length: u32): u32 {
  const a = <usize>ARGUMENTS;
  Tables.control.routeEpoch++;
  return <u32>Prefixes.ensure(load<u64>(a), load<u64>(a, 8), Prefixes.key(scope, family, length));
}
export function removePrefix(scope: u32, family: u32, length: u32): void {
  const a = <usize>ARGUMENTS;
  Tables.control.routeEpoch++;
  Prefixes.remove(load<u64>(a), load<u64>(a, 8), Prefixes.key(scope, family, length));
}
/** Enters a neighbour as if it had been learned. */
export function learnNeighbor(port: u32, macLow: u32, macHigh: u32): void {
  const a = <usize>ARGUMENTS;
  Neighbors.learn(load<u64>(a), load<u64>(a, 8), port, macLow, macHigh);
}

/** Pair `i` of Maglev permutations, for a folded address and a port in host order. */
export function maglevPermutation(i: u32, address: u32, port: u32, size: u32): void {
  Maglev.permutation(i, address, port, size);
}
/** Fills a table from the permutations: see `Maglev.fill`. */
export function maglevFill(table: u32, size: u32, count: u32, turns: u32): void {
  Maglev.fill(<usize>table, size, count, <usize>turns);
}
/** Slot of a key (folded address plus port) in a table of that size. */
export function maglevSlot(key: u32, size: u32): u32 {
  return Maglev.hash(key, Maglev.FIRST_KEY) % size;
}

/** A checksum after `length` bytes at `before` became those at `after`; raw. */
export function checksumUpdate(checksum: u32, before: u32, after: u32, length: u32): u32 {
  let sum: u64 = 0;
  for (let i: u32 = 0; i + 2 <= length; i += 2) {
    sum += (<u64>~load<u16>(<usize>(before + i)) & 0xffff) + <u64>load<u16>(<usize>(after + i));
  }
  return Checksum.apply(checksum, Checksum.fold(sum));
}

/**
 * Removes UDP connections to stale backends. Arguments at `list`: `count` times 24 bytes (address 16, raw port u32, any-address u32);
 * at `keep`: `kept` addresses of 16 bytes. Returns how many were removed.
 */
export function flushUdp(family: u32, list: u32, count: u32, keep: u32, kept: u32): u32 {
  const control = Tables.control;
  const meta = 17 | (family << 8);
  let removed: u32 = 0;
  for (let id: u32 = 0; id < control.connectionHighWater; id++) {
    const c = Tables.connection(id);
    if ((c.flags & <u8>ConnectionFlag.IN_USE) == 0 || <u32>c.meta != meta || (c.flags & <u8>ConnectionFlag.SOCKET) != 0)
      continue;
    SteadyLines.leave(c);
    let concerned = false;
    for (let i: u32 = 0; i < count; i++) {
      const f = <usize>(list + i * 24);
      if (load<u32>(f, 16) != c.ports >> 16) continue;
      if (load<u32>(f, 20) != 0 || (load<u64>(f) == c.destinationHigh && load<u64>(f, 8) == c.destinationLow)) {
        concerned = true;
        break;
      }
    }
    if (!concerned) continue;
    let live = false;
    for (let i: u32 = 0; i < kept; i++) {
      const k = <usize>(keep + (i << 4));
      if (load<u64>(k) == c.replySourceHigh && load<u64>(k, 8) == c.replySourceLow) {
        live = true;
        break;
      }
    }
    if (live) continue;
    Conntrack.remove(id);
    removed++;
  }
  return removed;
}

/** Removes connections that are masqueraded to an address that the node no longer has. */
export function flushMasqueraded(): u32 {
  const a = <usize>ARGUMENTS;
  const control = Tables.control;
  let removed: u32 = 0;
  for (let id: u32 = 0; id < control.connectionHighWater; id++) {
    const c = Tables.connection(id);
    if ((c.flags & <u8>ConnectionFlag.IN_USE) == 0 || (c.flags & <u8>ConnectionFlag.SOURCE_NAT) == 0) continue;
    SteadyLines.leave(c);
    if (c.replyDestinationHigh != load<u64>(a) || c.replyDestinationLow != load<u64>(a, 8)) continue;
    Conntrack.remove(id);
    removed++;
  }
  return removed;
}

/**
 * Adds the packets of living connections to their Service ports' counters, or takes them out again: a caller does the one, reads, and
 * does the other.
 */
export function countConnections(takeOut: u32): void {
  for (let id: u32 = 0; id < Tables.control.connectionHighWater; id++) {
    const c = Tables.connection(id);
    if ((c.flags & <u8>ConnectionFlag.IN_USE) != 0) Conntrack.count(c, takeOut ? -1 : 1);
  }
}

/** Gives all records their usual form, before the host reads them. */
export function unfoldConnections(): void {
  for (let id: u32 = 0; id < Tables.control.connectionHighWater; id++) SteadyLines.leave(Tables.connection(id));
}

/** Removes one connection. */
export function removeConnection(id: u32): void {
  if (id < Tables.control.connectionHighWater) Conntrack.remove(id);
}

/** Looks at `count` records for expiry. Returns how many were removed. */
export function collect(count: u32, now: u32): u32 {
  Tables.control.now = now;
  return Conntrack.collect(count);
}
