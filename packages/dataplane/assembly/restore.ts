/** Connections of a dataplane that has ended, taken over by its successor. */
import { Conntrack } from "./conntrack";
import { Connection, Connection_SIZE, ConnectionFlag, NO_HOP, NONE, SctpState, TcpState } from "./generated/layout";
import { SteadyLines } from "./maps/steady-lines";
import { Tables } from "./maps/tables";

/**
 * Enters `count` records that lie from `at` on. They carry their whole rewrite and so need no tables; what they say of tables, ports and
 * counts was the other dataplane's and is forgotten. Left out are free ones, sockets, expired ones and such as cannot be.
 *
 * @returns how many were entered
 */
export function restoreConnections(at: u32, count: u32, now: u32): u32 {
  Tables.control.now = now;
  let restored: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const old = changetype<Connection>(<usize>(at + i * Connection_SIZE));
    SteadyLines.leave(old);
    if (!isAlive(old)) continue;
    const id = Conntrack.allocate();
    if (id == NONE) break;
    const c = Tables.connection(id);
    memory.copy(changetype<usize>(c), changetype<usize>(old), Connection_SIZE);
    c.flags &= ~(<u8>(ConnectionFlag.COUNTED | ConnectionFlag.ACTIVE));
    c.hopGeneration = 0;
    c.hop = <u16>NO_HOP;
    c.replyHop = <u16>NO_HOP;
    c.servicePort = NONE;
    c.backend = NONE;
    c.generation = 0;
    if (Conntrack.commit(id, Conntrack.hashOriginal(c), Conntrack.hashReply(c))) restored++;
  }
  return restored;
}

function isAlive(c: Connection): bool {
  if ((c.flags & <u8>ConnectionFlag.IN_USE) == 0 || (c.flags & <u8>ConnectionFlag.SOCKET) != 0) return false;
  const family = c.meta >> 8;
  if ((family != 4 && family != 6) || Conntrack.isExpired(c)) return false;
  const protocol = c.meta & 0xff;
  // Rows of the state machines end there.
  if (protocol == 6) return <u32>c.state <= TcpState.SYN_SENT2;
  if (protocol == 132) return <u32>c.state <= SctpState.HEARTBEAT_SENT;
  return true;
}
