import { Checksum } from "./checksum";
import { Connection, NONE, Parsed } from "./generated/layout";
import { Hash } from "./hash";
import { Conntrack } from "./conntrack";
import { ConnectionIndex } from "./maps/connection-index";
import { Tables } from "./maps/tables";
import { Random } from "./random";

/** Rewriting of addresses, ports and checksums, and the choice of source ports. */
export class Nat {
  /** Sum of ~m + m' over the change of two addresses, unfolded. */
  @inline static addressDelta(
    oldSourceHigh: u64,
    oldSourceLow: u64,
    oldDestinationHigh: u64,
    oldDestinationLow: u64,
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
  ): u64 {
    return (
      Checksum.halves(~oldSourceHigh) +
      Checksum.halves(~oldSourceLow) +
      Checksum.halves(~oldDestinationHigh) +
      Checksum.halves(~oldDestinationLow) +
      Checksum.halves(sourceHigh) +
      Checksum.halves(sourceLow) +
      Checksum.halves(destinationHigh) +
      Checksum.halves(destinationLow)
    );
  }

  /** Fills in the deltas of a connection whose tuples are complete. */
  static deltas(c: Connection): void {
    const addresses =
      c.meta >> 8 == 4
        ? // The rest of the words is the same in all: it adds a multiple of 0xffff to a sum that is not 0 anyway.
          <u64>~(<u32>(c.sourceLow >> 32)) +
          <u64>~(<u32>(c.destinationLow >> 32)) +
          (c.replyDestinationLow >> 32) +
          (c.replySourceLow >> 32)
        : Nat.addressDelta(
            c.sourceHigh,
            c.sourceLow,
            c.destinationHigh,
            c.destinationLow,
            c.replyDestinationHigh,
            c.replyDestinationLow,
            c.replySourceHigh,
            c.replySourceLow,
          );
    c.networkDelta = <u16>Checksum.fold(addresses);
    const protocol = c.meta & 0xff;
    let ports: u64 = 0;
    if (protocol == 1 || protocol == 58) {
      // The identifier stands in both halves but is in the packet once.
      ports = (<u64>~c.ports & 0xffff) + (<u64>c.replyPorts & 0xffff);
    } else {
      ports = <u64>~c.ports + <u64>c.replyPorts;
    }
    // ICMPv4 has no pseudo header.
    c.transportDelta = <u16>Checksum.fold(protocol == 1 ? ports : addresses + ports);
  }

  /** Source and destination port exchanged. */
  @inline static swap(ports: u32): u32 {
    return rotl<u32>(ports, 16);
  }

  /** Rewrites a packet to new addresses and ports (raw). In a later fragment there are only addresses. */
  @inline static rewrite(
    p: Parsed,
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    ports: u32,
    networkDelta: u32,
    transportDelta: u32,
  ): void {
    const n = <usize>p.network;
    if (p.meta >> 8 == 4) {
      store<u32>(n, <u32>(sourceLow >> 32), 12);
      store<u32>(n, <u32>(destinationLow >> 32), 16);
      store<u16>(n, <u16>Checksum.apply(load<u16>(n, 10), networkDelta), 10);
    } else {
      store<u64>(n, sourceHigh, 8);
      store<u64>(n, sourceLow, 16);
      store<u64>(n, destinationHigh, 24);
      store<u64>(n, destinationLow, 32);
    }
    const t = <usize>p.transport;
    if (t == 0) return;
    const protocol = p.meta & 0xff;
    if (protocol == 6) {
      store<u32>(t, ports);
      store<u16>(t, <u16>Checksum.apply(load<u16>(t, 16), transportDelta), 16);
    } else if (protocol == 17) {
      store<u32>(t, ports);
      const before = <u32>load<u16>(t, 6);
      if (before != 0) {
        // RFC 768: a computed zero is sent as all ones, because zero means that there is none.
        const after = Checksum.apply(before, transportDelta);
        store<u16>(t, <u16>(after == 0 ? 0xffff : after), 6);
      }
    } else Nat.rewriteOther(p, t, protocol, ports, transportDelta);
  }

  static rewriteOther(p: Parsed, t: usize, protocol: u32, ports: u32, transportDelta: u32): void {
    if (protocol == 132) {
      if (load<u32>(t) != ports) {
        const valid = load<u32>(t, 8) == Checksum.sctp(t, p.end - p.transport);
        store<u32>(t, ports);
        // A wrong checksum stays wrong: corruption is not hidden by recomputing.
        const checksum = Checksum.sctp(t, p.end - p.transport);
        store<u32>(t, valid ? checksum : ~checksum, 8);
      }
    } else if (protocol == 1 || protocol == 58) {
      if (p.ports != 0 || ports != 0) store<u16>(t, <u16>ports, 4);
      store<u16>(t, <u16>Checksum.apply(load<u16>(t, 2), transportDelta), 2);
    }
  }

  /** Hash of the reply tuple that `isFree` was asked about last. */
  static replyHash: u64 = 0;

  /** Is the reply tuple of a record in preparation free? An expired holder is removed. */
  static isFree(c: Connection, replyPorts: u32): bool {
    const hash = Hash.tuple(
      c.replySourceHigh,
      c.replySourceLow,
      c.replyDestinationHigh,
      c.replyDestinationLow,
      replyPorts,
      c.meta,
    );
    Nat.replyHash = hash;
    const holder = ConnectionIndex.find(
      hash,
      c.replySourceHigh,
      c.replySourceLow,
      c.replyDestinationHigh,
      c.replyDestinationLow,
      replyPorts,
      c.meta,
    );
    if (holder == NONE) return true;
    if (Conntrack.isExpired(Tables.connection(holder >> 1))) {
      if (!Tables.control.tracing) Conntrack.remove(holder >> 1);
      return true;
    }
    return false;
  }

  /**
   * Chooses the source port under which the reply tuple is unique: random start, then linear runs of 128, 64, 32, 16 and 8 from new
   * starts as Linux does; small ranges are searched whole. False when none was found: the packet must be dropped.
   *
   * @param first first port, host order
   */
  static choosePort(c: Connection, first: u32, count: u32): bool {
    const protocol = c.meta & 0xff;
    const query = protocol == 1 || protocol == 58;
    if (query) {
      first = Tables.control.queryFirst;
      count = Tables.control.queryCount;
    }
    if (count == 0) return false;
    const low = c.replyPorts & 0xffff;
    let run: u32 = count <= 248 ? count : 128;
    while (true) {
      let offset = Random.below(count);
      for (let i: u32 = 0; i < run; i++) {
        const port = <u32>bswap<u16>(<u16>(first + offset));
        const candidate = query ? port | (port << 16) : low | (port << 16);
        if (Nat.isFree(c, candidate)) {
          c.replyPorts = candidate;
          return true;
        }
        if (++offset >= count) offset = 0;
      }
      if (count <= 248 || run == 8) return false;
      run >>= 1;
    }
  }
}
