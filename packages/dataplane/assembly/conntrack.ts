import {
  Backend,
  Connection,
  ConnectionFlag,
  EventKind,
  NONE,
  SctpState,
  SteadyLine,
  TcpState,
  Timeout,
  TIMEOUTS,
} from "./generated/layout";
import { Hash } from "./hash";
import { ConnectionIndex } from "./maps/connection-index";
import { Events } from "./maps/events";
import { ServicePorts } from "./maps/service-ports";
import { SteadyLines } from "./maps/steady-lines";
import { Tables } from "./maps/tables";

/** Outcome of a state machine. */
export namespace Tracking {
  /** The packet belongs to the connection. */
  export const ACCEPT: u32 = 0;
  /** It contradicts the state: it is not forwarded and changes nothing. */
  export const INVALID: u32 = 1;
  /** The connection is over and this packet opens another with the same tuple. */
  export const RESTART: u32 = 2;
}

/*
 * TCP transitions (Linux nf_conntrack_proto_tcp): rows are the packet's kind (SYN, SYN+ACK, FIN, ACK, RST, none), columns the state
 * NO SS SR ES FW CW LA TW CL S2. 64 passes without a change, 128 is invalid, 129 starts over.
 */
const tcpOriginal: usize = memory.data<u8>([
  1, 1, 64, 64, 64, 64, 64, 129, 129, 9, 128, 128, 2, 128, 128, 128, 128, 128, 128, 2, 128, 128, 4, 4, 6, 6, 6, 7, 8,
  128, 3, 128, 3, 3, 5, 5, 7, 7, 8, 128, 128, 8, 8, 8, 8, 8, 8, 8, 8, 8, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  128,
]);
const tcpReply: usize = memory.data<u8>([
  128, 9, 128, 128, 128, 128, 128, 129, 128, 9, 128, 2, 64, 64, 64, 64, 64, 64, 64, 2, 128, 128, 4, 4, 6, 6, 6, 7, 8,
  128, 128, 64, 2, 3, 5, 5, 7, 7, 8, 64, 128, 8, 8, 8, 8, 8, 8, 8, 8, 8, 128, 128, 128, 128, 128, 128, 128, 128, 128,
  128,
]);

/*
 * SCTP transitions (RFC 9260 associations as Linux tracks them): rows INIT, INIT ACK, ABORT, SHUTDOWN, SHUTDOWN ACK, ERROR, COOKIE
 * ECHO, COOKIE ACK, SHUTDOWN COMPLETE, HEARTBEAT, HEARTBEAT ACK, DATA and others; columns NO CL CW CE ES SS SR SA HS.
 */
const sctpOriginal: usize = memory.data<u8>([
  2, 2, 2, 3, 4, 1, 1, 7, 2, 128, 1, 2, 3, 4, 5, 6, 7, 1, 128, 1, 1, 1, 1, 1, 1, 1, 1, 128, 1, 2, 3, 5, 5, 6, 7, 1, 7,
  1, 2, 3, 4, 7, 7, 7, 7, 128, 1, 2, 3, 4, 5, 6, 7, 1, 128, 1, 3, 3, 4, 5, 6, 7, 1, 128, 1, 2, 4, 4, 5, 6, 7, 1, 128, 1,
  2, 3, 4, 5, 6, 1, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 128, 1, 2, 3, 4, 5, 6, 7, 8, 128, 1, 2, 3, 4, 5, 6, 7, 8,
]);
const sctpReply: usize = memory.data<u8>([
  128, 1, 2, 3, 4, 5, 6, 7, 128, 128, 2, 2, 3, 4, 5, 6, 7, 128, 128, 1, 1, 1, 1, 1, 1, 1, 128, 128, 1, 2, 3, 6, 5, 6, 7,
  128, 128, 1, 2, 3, 4, 7, 7, 7, 128, 128, 1, 2, 1, 4, 5, 6, 7, 128, 128, 1, 3, 3, 4, 5, 6, 7, 128, 128, 1, 2, 4, 4, 5,
  6, 7, 128, 128, 1, 2, 3, 4, 5, 6, 1, 128, 128, 1, 2, 3, 4, 5, 6, 7, 8, 128, 1, 2, 3, 4, 5, 6, 7, 4, 128, 1, 2, 3, 4,
  5, 6, 7, 8,
]);

/** The connection table: records, states, timeouts and their collection. */
export class Conntrack {
  @inline static timeout(index: u32): u32 {
    return load<u32>(<usize>(TIMEOUTS + (index << 2)));
  }

  @inline static isExpired(c: Connection): bool {
    const now = Tables.control.now;
    if (!SteadyLines.isSteady(c)) return <i32>(now - c.expires) >= 0;
    return <i32>(now - SteadyLines.first(c).expires) >= 0 && <i32>(now - SteadyLines.second(c).expires) >= 0;
  }

  /** Row of the TCP table. Only the listed flag sets are sane (tcp_valid_flags); PSH, ECE and CWR do not matter. */
  @inline static tcpRow(flags: u32): u32 {
    const f = flags & 0x37;
    if (f == 0x10 || f == 0x30) return 3;
    if (f == 0x02 || f == 0x22) return 0;
    if (f == 0x12) return 1;
    if (f == 0x11 || f == 0x31) return 2;
    if (f == 0x04 || f == 0x14) return 4;
    return 5;
  }

  static sctpRow(chunk: u32): u32 {
    if (chunk == 1) return 0;
    if (chunk == 2) return 1;
    if (chunk == 6) return 2;
    if (chunk == 7) return 3;
    if (chunk == 8) return 4;
    if (chunk == 9) return 5;
    if (chunk == 10) return 6;
    if (chunk == 11) return 7;
    if (chunk == 14) return 8;
    if (chunk == 4) return 9;
    if (chunk == 5) return 10;
    return 11;
  }

  /** May a packet open a connection? 0 if not, else the first state plus one. */
  static opening(meta: u32, flags: u32): u32 {
    const protocol = meta & 0xff;
    if (protocol == 6) {
      const row = Conntrack.tcpRow(flags);
      const state = <u32>load<u8>(tcpOriginal + <usize>(row * 10));
      if (state >= 128 || (row != 0 && !Tables.control.tcpLoose)) return 0;
      return state + 1;
    }
    if (protocol == 132) {
      const state = <u32>load<u8>(sctpOriginal + <usize>(Conntrack.sctpRow(flags) * 9));
      return state >= 128 ? 0 : state + 1;
    }
    return 1;
  }

  /** Timeout of a connection in a state. */
  static stateTimeout(meta: u32, state: u32): u32 {
    const protocol = meta & 0xff;
    if (protocol == 6) return Conntrack.timeout(Timeout.TCP + state);
    if (protocol == 17) return Conntrack.timeout(Timeout.UDP);
    if (protocol == 132) return Conntrack.timeout(Timeout.SCTP + state);
    if (protocol == 1) return Conntrack.timeout(Timeout.ICMP);
    if (protocol == 58) return Conntrack.timeout(Timeout.ICMPV6);
    return Conntrack.timeout(Timeout.GENERIC);
  }

  /** Runs the state machine for a packet of a known connection. */
  @inline static track(connection: Connection, id: u32, direction: u32, flags: u32): u32 {
    const control = Tables.control;
    const protocol = connection.meta & 0xff;
    if (protocol == 6) {
      const row = Conntrack.tcpRow(flags);
      const state = <u32>connection.state;
      const next = <u32>load<u8>((direction ? tcpReply : tcpOriginal) + <usize>(row * 10 + state));
      if (next >= 64) {
        if (next == 64) {
          if (direction) connection.flags |= <u8>ConnectionFlag.REPLIED;
          return Tracking.ACCEPT;
        }
        return next == 129 ? Tracking.RESTART : Tracking.INVALID;
      }
      if (direction) connection.flags |= <u8>ConnectionFlag.REPLIED;
      connection.expires = control.now + Conntrack.timeout(Timeout.TCP + next);
      if (next != state) {
        connection.state = <u8>next;
        Conntrack.recount(connection);
        if (next == TcpState.ESTABLISHED && (connection.flags & <u8>ConnectionFlag.REPLIED) != 0) {
          connection.flags |= <u8>ConnectionFlag.ASSURED;
        }
      } else if (next == TcpState.ESTABLISHED && direction) {
        connection.flags |= <u8>ConnectionFlag.ASSURED;
      }
      return Tracking.ACCEPT;
    }
    if (protocol == 17) {
      if (direction) connection.flags |= <u8>ConnectionFlag.REPLIED;
      let timeout = Conntrack.timeout(Timeout.UDP);
      if (((control.now - connection.created) & 0xffff) > 128) connection.state = 1;
      // A conversation, as opposed to a question and its answer: replied and older than two seconds.
      if ((connection.flags & <u8>ConnectionFlag.REPLIED) != 0 && connection.state != 0) {
        timeout = Conntrack.timeout(Timeout.UDP_STREAM);
        connection.flags |= <u8>ConnectionFlag.ASSURED;
      }
      connection.expires = control.now + timeout;
      return Tracking.ACCEPT;
    }
    if (protocol == 132) return Conntrack.trackSctp(connection, direction, flags);
    if (direction) connection.flags |= <u8>ConnectionFlag.REPLIED;
    connection.expires = control.now + Conntrack.stateTimeout(connection.meta, 0);
    return Tracking.ACCEPT;
  }

  static trackSctp(connection: Connection, direction: u32, flags: u32): u32 {
    const state = <u32>connection.state;
    const row = Conntrack.sctpRow(flags);
    if (row == 0 && state == SctpState.CLOSED && direction == 0) return Tracking.RESTART;
    const next = <u32>load<u8>((direction ? sctpReply : sctpOriginal) + <usize>(row * 9 + state));
    if (next >= 128) return Tracking.INVALID;
    if (direction) connection.flags |= <u8>ConnectionFlag.REPLIED;
    connection.expires = Tables.control.now + Conntrack.timeout(Timeout.SCTP + next);
    if (next != state) {
      connection.state = <u8>next;
      Conntrack.recount(connection);
      if (next == SctpState.ESTABLISHED && (connection.flags & <u8>ConnectionFlag.REPLIED) != 0) {
        connection.flags |= <u8>ConnectionFlag.ASSURED;
      }
    }
    return Tracking.ACCEPT;
  }

  /** IPVS's notion of an active connection: TCP from the first SYN until a side closes; never UDP. */
  static isActive(meta: u32, state: u32): bool {
    const protocol = meta & 0xff;
    if (protocol == 6) return (state >= 1 && state <= 3) || state == TcpState.SYN_SENT2;
    if (protocol == 132) return state >= SctpState.COOKIE_WAIT && state <= SctpState.ESTABLISHED;
    return false;
  }

  @inline static backendOf(connection: Connection): usize {
    if (connection.backend == NONE) return 0;
    const backend = Tables.backend(connection.backend);
    return <u32>backend.generation == (connection.generation & 0xffff) ? changetype<usize>(backend) : 0;
  }

  /** Moves a connection between its backend's active and inactive counts after a change of state. */
  static recount(connection: Connection): void {
    if ((connection.flags & <u8>ConnectionFlag.COUNTED) == 0) return;
    const active = Conntrack.isActive(connection.meta, connection.state);
    const was = (connection.flags & <u8>ConnectionFlag.ACTIVE) != 0;
    if (active == was) return;
    connection.flags ^= <u8>ConnectionFlag.ACTIVE;
    const at = Conntrack.backendOf(connection);
    if (at == 0) return;
    const backend = changetype<Backend>(at);
    if (active) {
      backend.active++;
      if (backend.inactive > 0) backend.inactive--;
    } else {
      backend.inactive++;
      if (backend.active > 0) backend.active--;
    }
  }

  @inline static hashOriginal(c: Connection): u64 {
    return Hash.tuple(c.sourceHigh, c.sourceLow, c.destinationHigh, c.destinationLow, c.ports, c.meta);
  }

  @inline static hashReply(c: Connection): u64 {
    return Hash.tuple(
      c.replySourceHigh,
      c.replySourceLow,
      c.replyDestinationHigh,
      c.replyDestinationLow,
      c.replyPorts,
      c.meta,
    );
  }

  /** A record to fill, or none when the table is full of assured connections. */
  static allocate(): u32 {
    const id = Conntrack.allocateFree();
    if (id != NONE) return id;
    return Conntrack.evict() ? Conntrack.allocateFree() : NONE;
  }

  /** The same, or none when another would have to give way for it. */
  @inline static allocateFree(): u32 {
    const control = Tables.control;
    const count = control.connectionFreeCount;
    if (count > 0) {
      control.connectionFreeCount = count - 1;
      return load<u32>(<usize>(control.connectionFree + ((count - 1) << 2)));
    }
    return control.connectionHighWater < control.connectionCapacity ? control.connectionHighWater++ : NONE;
  }

  /** True when a record could be had; changes nothing. */
  static hasRoom(): bool {
    const control = Tables.control;
    return (
      control.connectionFreeCount > 0 ||
      control.connectionHighWater < control.connectionCapacity ||
      Conntrack.victim() != NONE
    );
  }

  /** Among the next 64 records: an expired one, else a half-open one, else one that is not assured. */
  static victim(): u32 {
    const control = Tables.control;
    const n = min<u32>(control.connectionHighWater, 64);
    let i = control.collectorHand;
    let best: u32 = NONE;
    for (let k: u32 = 0; k < n; k++) {
      if (i >= control.connectionHighWater) i = 0;
      const c = Tables.connection(i);
      if ((c.flags & <u8>ConnectionFlag.IN_USE) != 0) {
        if (Conntrack.isExpired(c)) return i;
        if ((c.flags & <u8>(ConnectionFlag.ASSURED | ConnectionFlag.SOCKET)) == 0) {
          if ((c.meta & 0xff) == 6 && <u32>c.state == TcpState.SYN_SENT) return i;
          if (best == NONE) best = i;
        }
      }
      i++;
    }
    return best;
  }

  static evict(): bool {
    const control = Tables.control;
    const id = Conntrack.victim();
    if (id == NONE) {
      // The next attempt looks further on.
      control.collectorHand += 64;
      if (control.collectorHand >= control.connectionHighWater) control.collectorHand = 0;
      return false;
    }
    control.collectorHand = id + 1;
    if (Conntrack.isExpired(Tables.connection(id))) control.connectionsExpired++;
    else control.connectionsEvicted++;
    Conntrack.remove(id);
    return true;
  }

  /** Is a connection of that client to that frontend and backend alive? Walks the table: for rare questions only. */
  static hasConnection(
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    port: u32,
    meta: u32,
    backend: u32,
  ): bool {
    const owner = Tables.backend(backend);
    if (owner.active + owner.inactive == 0) return false;
    for (let id: u32 = 0; id < Tables.control.connectionHighWater; id++) {
      const c = Tables.connection(id);
      if (c.backend != backend) continue;
      SteadyLines.leave(c);
      if (
        c.sourceLow == sourceLow &&
        c.destinationLow == destinationLow &&
        c.ports >> 16 == port &&
        c.meta == meta &&
        c.sourceHigh == sourceHigh &&
        c.destinationHigh == destinationHigh &&
        (c.flags & <u8>ConnectionFlag.IN_USE) != 0 &&
        !Conntrack.isExpired(c)
      ) {
        return true;
      }
    }
    return false;
  }

  /** Takes a connection out of the index and gives its record back. */
  static remove(id: u32): void {
    const control = Tables.control;
    const c = Tables.connection(id);
    if ((c.flags & <u8>ConnectionFlag.IN_USE) == 0) return;
    SteadyLines.leave(c);
    if ((c.flags & <u8>ConnectionFlag.SOCKET) == 0) {
      ConnectionIndex.remove(Conntrack.hashOriginal(c), id << 1);
      ConnectionIndex.remove(Conntrack.hashReply(c), (id << 1) | 1);
    }
    if ((c.flags & <u8>ConnectionFlag.COUNTED) != 0) {
      const at = Conntrack.backendOf(c);
      if (at != 0) {
        const backend = changetype<Backend>(at);
        if ((c.flags & <u8>ConnectionFlag.ACTIVE) != 0) {
          if (backend.active > 0) backend.active--;
        } else if (backend.inactive > 0) backend.inactive--;
      }
    }
    if (Events.wanted(EventKind.CLOSED)) Conntrack.emitClosed(c);
    Conntrack.count(c, 1);
    c.flags = 0;
    c.meta = 0;
    store<u32>(<usize>(control.connectionFree + (control.connectionFreeCount << 2)), id);
    control.connectionFreeCount++;
    control.connectionCount--;
  }

  /** Counts a packet in the line of its direction. */
  @inline static tally(at: usize, bytes: u32): void {
    const line = changetype<SteadyLine>(at);
    const packets = line.packets + 1;
    line.packets = packets;
    line.bytes += bytes;
    if (packets == 0) Conntrack.carry(at);
  }

  /** A count of packets went over 2^32: the Service port's, which is larger, keeps what it lost. */
  static carry(line: usize): void {
    const c = changetype<Connection>(line & ~127);
    const id = c.servicePort;
    if (id == NONE || <u32>Tables.servicePort(id).generation != c.generation >> 16) return;
    if ((line & 64) != 0) Tables.servicePort(id).replyPacketsHigh++;
    else Tables.servicePort(id).packetsHigh++;
  }

  /** Adds a connection's packets to its Service port's, `times` (1 or -1) times: they are counted in one place while it lives. */
  static count(c: Connection, times: u64): void {
    const id = c.servicePort;
    if (id == NONE || <u32>Tables.servicePort(id).generation != c.generation >> 16) return;
    ServicePorts.add(Tables.servicePort(id), c.packets, c.bytes, c.replyPackets, c.replyBytes, times);
  }

  static emitClosed(c: Connection): void {
    Events.write(
      EventKind.CLOSED,
      0,
      c.sourceHigh,
      c.sourceLow,
      c.destinationHigh,
      c.destinationLow,
      c.ports,
      c.meta,
      c.servicePort,
      c.backend,
      NONE,
    );
  }

  /** Enters a filled record under the hashes of both tuples. False (and the record is given back) when the index has no room. */
  static commit(id: u32, hash: u64, reply: u64): bool {
    const control = Tables.control;
    if (!ConnectionIndex.insert(hash, id << 1)) {
      Conntrack.release(id);
      return false;
    }
    if (!ConnectionIndex.insert(reply, (id << 1) | 1)) {
      ConnectionIndex.remove(hash, id << 1);
      Conntrack.release(id);
      return false;
    }
    control.connectionCount++;
    control.connectionsInserted++;
    return true;
  }

  static release(id: u32): void {
    const control = Tables.control;
    Tables.connection(id).flags = 0;
    Tables.connection(id).meta = 0;
    store<u32>(<usize>(control.connectionFree + (control.connectionFreeCount << 2)), id);
    control.connectionFreeCount++;
  }

  /** Looks at `count` records and removes the expired. Lookups check expiry themselves: correctness does not depend on this. */
  static collect(count: u32): u32 {
    const control = Tables.control;
    const n = min<u32>(count, control.connectionHighWater);
    let i = control.collectorHand;
    let removed: u32 = 0;
    for (let k: u32 = 0; k < n; k++) {
      if (i >= control.connectionHighWater) {
        i = 0;
        control.collectorRound++;
      }
      const c = Tables.connection(i);
      if ((c.flags & <u8>ConnectionFlag.IN_USE) != 0) {
        if (Conntrack.isExpired(c)) {
          Conntrack.remove(i);
          control.connectionsExpired++;
          removed++;
        } else if (((i + control.collectorRound) & 63) == 0) SteadyLines.level(c);
      }
      i++;
    }
    control.collectorHand = i;
    return removed;
  }
}
