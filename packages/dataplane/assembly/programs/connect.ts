import { Conntrack } from "../conntrack";
import { Connection, ConnectionFlag, NONE, TcpState, Verdict } from "../generated/layout";
import { Decision, Lookup } from "../lookup";
import { AffinityMap } from "../maps/affinity";
import { Backends } from "../maps/backends";
import { ServicePorts } from "../maps/service-ports";
import { Tables } from "../maps/tables";

/**
 * Socket load balancing: the decision of a first packet, taken when a socket connects. Nothing is rewritten per packet, so nothing
 * is masqueraded; the caller dials the backend itself and says when the connection is over.
 */
export class Connect {
  /** Decides. On TX a record without a tuple entry holds the counts; its id is `Connect.handle`. */
  static handle: u32 = 0;

  static decide(
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    ports: u32,
    meta: u32,
  ): u32 {
    Connect.handle = NONE;
    Lookup.decide(sourceHigh, sourceLow, destinationHigh, destinationLow, ports, meta, 0);
    const control = Tables.control;
    if (control.tracing) return Decision.verdict;
    const servicePortId = Decision.servicePort;
    if (Decision.verdict == Verdict.REJECT && servicePortId != NONE) ServicePorts.reject(servicePortId);
    if (Decision.verdict == Verdict.DROP && servicePortId != NONE) ServicePorts.drop(servicePortId);
    if (Decision.verdict != Verdict.TX) return Decision.verdict;
    const id = Conntrack.allocate();
    const servicePort = Tables.servicePort(servicePortId);
    const backend = Tables.backend(Decision.backend);
    const generation = Lookup.generation(backend, servicePort);
    Backends.countConnection(backend);
    if (servicePort.affinityTicks != 0)
      AffinityMap.update(
        sourceHigh,
        AffinityMap.clientLow(sourceLow, destinationHigh, destinationLow, ports),
        servicePortId,
        Decision.backend,
        generation,
      );
    // A full table costs the count, not the connection: the caller's socket needs no record to work.
    if (id == NONE) return Verdict.TX;
    const c = Tables.connection(id);
    memory.fill(changetype<usize>(c), 0, 128);
    c.sourceHigh = sourceHigh;
    c.sourceLow = sourceLow;
    c.destinationHigh = destinationHigh;
    c.destinationLow = destinationLow;
    c.ports = ports;
    c.meta = <u16>meta;
    c.replySourceHigh = Backends.high(backend);
    c.replySourceLow = Backends.low(backend);
    c.replyDestinationHigh = sourceHigh;
    c.replyDestinationLow = sourceLow;
    c.replyPorts = <u32>backend.port | (ports << 16);
    c.servicePort = servicePortId;
    c.backend = Decision.backend;
    c.generation = generation;
    c.created = <u16>control.now;
    c.expires = control.now + 0x7fffffff;
    let flags: u32 =
      ConnectionFlag.IN_USE | ConnectionFlag.SOCKET | ConnectionFlag.COUNTED | ConnectionFlag.DESTINATION_NAT;
    const protocol = meta & 0xff;
    if (protocol == 6 || protocol == 132) {
      c.state = <u8>(protocol == 6 ? TcpState.ESTABLISHED : 4);
      flags |= ConnectionFlag.ACTIVE;
      backend.active++;
    } else backend.inactive++;
    c.flags = <u8>flags;
    control.connectionCount++;
    Connect.handle = id;
    return Verdict.TX;
  }

  /** Ends a connection that `decide` counted. False when the handle names none. */
  static release(id: u32): bool {
    const control = Tables.control;
    if (id >= control.connectionHighWater) return false;
    const c = Tables.connection(id);
    if ((c.flags & <u8>ConnectionFlag.SOCKET) == 0) return false;
    Conntrack.remove(id);
    return true;
  }
}
