import {
  AddressFlag,
  Affinity,
  AffinityResult,
  Backend,
  BackendFlag,
  EndpointSet,
  FrontendKind,
  HOST_HOP,
  MasqueradeReason,
  Mode,
  NONE,
  Range,
  Reason,
  ServicePort,
  ServicePortExtension,
  ServicePortFlag,
  SetReason,
  Step,
  Verdict,
} from "./generated/layout";
import { Conntrack } from "./conntrack";
import { Addresses } from "./maps/addresses";
import { AffinityMap } from "./maps/affinity";
import { Backends } from "./maps/backends";
import { Frontends } from "./maps/frontends";
import { ServicePorts } from "./maps/service-ports";
import { Tables } from "./maps/tables";
import { Schedule } from "./schedule";
import { Trace } from "./trace";

/** What was decided about the first packet of a flow. `verdict` is PASS when it is not Service traffic, TX when it is translated. */
export class Decision {
  static verdict: u32 = 0;
  static reason: u32 = 0;
  static servicePort: u32 = 0;
  static backend: u32 = 0;
  static masquerade: u32 = 0;

  @inline static set(verdict: u32, reason: u32): void {
    Decision.verdict = verdict;
    Decision.reason = reason;
  }
}

/**
 * Second step, for packets that no connection claims: which Service port, which set of endpoints, which backend, and is the source
 * rewritten? The rules are kube-proxy's; the class of traffic follows from the destination, never from the source.
 */
export class Lookup {
  /** Fills in `Decision`. `known` is the address of the frontend, if the caller has looked it up, else 0. */
  static decide(
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    ports: u32,
    meta: u32,
    known: usize,
  ): void {
    const control = Tables.control;
    const family = meta >> 8;
    Decision.servicePort = NONE;
    Decision.backend = NONE;
    Decision.masquerade = MasqueradeReason.NO;
    const protocol = meta & 0xff;
    let kind: u32 = 0;
    let id: u32 = NONE;
    let destinationFlags: u32 = NONE;
    if (protocol == 6 || protocol == 17 || protocol == 132) {
      const port = ports >> 16;
      const found = known != 0 ? known : Frontends.find(destinationHigh, destinationLow, Frontends.key(port, meta));
      if (found != 0) {
        id = Frontends.servicePort(found);
        kind = Frontends.kind(found);
      } else {
        const nodePort = Frontends.nodePort(port, meta);
        if (nodePort != NONE) {
          destinationFlags = Addresses.flags(destinationHigh, destinationLow, family);
          if ((destinationFlags & AddressFlag.NODE_PORT) != 0) {
            id = nodePort;
            kind = FrontendKind.NODE_PORT;
          } else if (
            control.mode == Mode.IPTABLES &&
            (destinationFlags & AddressFlag.LOCAL) != 0 &&
            (<u32>Tables.servicePort(nodePort).flags & ServicePortFlag.HAS_ANY) == 0
          ) {
            // iptables rejects the node ports of Services without endpoints on every local address.
            Decision.servicePort = nodePort;
            Trace.step(Step.FRONTEND, nodePort, FrontendKind.NODE_PORT, 0);
            Decision.set(Verdict.REJECT, Reason.NO_ENDPOINTS);
            return;
          }
        }
      }
    }
    if (id == NONE) {
      Lookup.unclaimed(destinationHigh, destinationLow, family, destinationFlags);
      return;
    }
    Trace.step(Step.FRONTEND, id, kind, 0);
    Decision.servicePort = id;
    const servicePort = Tables.servicePort(id);
    const flags = <u32>servicePort.flags;
    const hasAny = (flags & ServicePortFlag.HAS_ANY) != 0;

    // The load-balancer firewall sees the original destination and comes before everything else.
    if (kind == FrontendKind.LOAD_BALANCER && (flags & ServicePortFlag.SOURCE_RANGES) != 0) {
      if (hasAny || control.mode != Mode.IPTABLES) {
        const extension = Tables.extension(servicePort.extension);
        const allowed = Lookup.isSourceAllowed(extension, sourceHigh, sourceLow, family);
        Trace.step(Step.SOURCE_RANGE, allowed ? 1 : 0, extension.rangesCount, 0);
        if (!allowed) {
          Decision.set(Verdict.DROP, Reason.SOURCE_RANGE);
          return;
        }
      }
    }

    const ipvs = control.mode == Mode.IPVS;
    if (!hasAny) {
      // In iptables mode the reject of external addresses is not hooked into the node's own output.
      if (
        control.mode == Mode.IPTABLES &&
        Addresses.isLocal(sourceHigh, sourceLow, family) &&
        (kind == FrontendKind.LOAD_BALANCER || kind == FrontendKind.EXTERNAL_IP) &&
        !Addresses.isLocal(destinationHigh, destinationLow, family)
      ) {
        Decision.set(Verdict.PASS, Reason.NONE);
        return;
      }
      Decision.set(Verdict.REJECT, Reason.NO_ENDPOINTS);
      return;
    }

    const detector = control.detector != 0;
    const sourceIsPod = detector && Addresses.isPod(sourceHigh, sourceLow, family);
    let which: u32 = 0;
    let why: u32 = 0;
    let masquerade: u32 = MasqueradeReason.NO;
    if (kind == FrontendKind.CLUSTER_IP) {
      if (control.masqueradeAll) masquerade = MasqueradeReason.MASQUERADE_ALL;
      else if (detector && !sourceIsPod) masquerade = MasqueradeReason.SOURCE_NOT_POD;
      if ((flags & ServicePortFlag.INTERNAL_LOCAL) != 0) {
        which = 1;
        why = SetReason.INTERNAL_LOCAL;
      } else why = SetReason.INTERNAL_CLUSTER;
    } else if ((flags & ServicePortFlag.EXTERNAL_LOCAL) == 0) {
      masquerade = MasqueradeReason.EXTERNAL_POLICY_CLUSTER;
      why = SetReason.EXTERNAL_CLUSTER;
    } else if (!ipvs && sourceIsPod) {
      // As if the pod's packet had gone out to the load balancer and come back: all endpoints, source kept.
      why = SetReason.POD_SHORT_CIRCUIT;
    } else if (!ipvs && Addresses.isLocal(sourceHigh, sourceLow, family)) {
      masquerade = MasqueradeReason.NODE_SHORT_CIRCUIT;
      why = SetReason.NODE_SHORT_CIRCUIT;
    } else {
      which = 1;
      why = SetReason.EXTERNAL_LOCAL;
    }

    let set = Schedule.set(servicePort, which);
    if (which == 1 && set.count == 0) {
      const cluster = Schedule.set(servicePort, 0);
      if (ipvs && cluster.count != 0) {
        set = cluster;
        why = SetReason.LOCAL_FALLBACK;
      } else {
        Trace.step(Step.ENDPOINT_SET, which, why, 0);
        if (ipvs) Decision.set(Verdict.REJECT, Reason.NO_ENDPOINTS);
        else Decision.set(Verdict.DROP, Reason.NO_LOCAL_ENDPOINTS);
        return;
      }
    }
    Trace.step(Step.ENDPOINT_SET, which, why, set.count);

    let backend: u32 = NONE;
    if (servicePort.affinityTicks != 0) {
      backend = Lookup.sticky(
        servicePort,
        id,
        set,
        sourceHigh,
        sourceLow,
        destinationHigh,
        destinationLow,
        ports,
        meta,
      );
    }
    if (backend == NONE) {
      backend = Schedule.pick(servicePort, set, sourceHigh, sourceLow, destinationHigh, destinationLow, ports, family);
      Trace.step(Step.SCHEDULED, <u32>servicePort.scheduler, backend, set.count);
    }
    if (backend == NONE) {
      Decision.set(Verdict.REJECT, Reason.NO_SCHEDULABLE_ENDPOINT);
      return;
    }
    Decision.backend = backend;
    Decision.masquerade = Lookup.masqueradeFor(Tables.backend(backend), masquerade, sourceHigh, sourceLow, family);
    Trace.step(Step.MASQUERADE, Decision.masquerade, 0, 0);
    Decision.set(Verdict.TX, Reason.NONE);
  }

  /** Hairpins are known only after the pick. A backend on the node itself takes no forwarding path, so nothing is rewritten there. */
  static masqueradeFor(backend: Backend, wanted: u32, sourceHigh: u64, sourceLow: u64, family: u32): u32 {
    const control = Tables.control;
    const high = Backends.high(backend);
    const low = Backends.low(backend);
    const local = Backends.isRouted(backend) ? <u32>backend.hop == HOST_HOP : Addresses.isLocal(high, low, family);
    if (local) {
      return wanted == MasqueradeReason.NO ? MasqueradeReason.NO : MasqueradeReason.BACKEND_ON_HOST;
    }
    if (wanted != MasqueradeReason.NO) return wanted;
    if (low == sourceLow && high == sourceHigh) {
      if (control.mode == Mode.IPTABLES || (<u32>backend.flags & BackendFlag.LOCAL) != 0)
        return MasqueradeReason.HAIRPIN;
    }
    return MasqueradeReason.NO;
  }

  /** Nothing matched: some addresses are refused nevertheless. */
  static unclaimed(high: u64, low: u64, family: u32, knownFlags: u32): void {
    Trace.step(Step.NO_FRONTEND, 0, 0, 0);
    const mode = Tables.control.mode;
    if (mode != Mode.IPTABLES) {
      if (Frontends.isClusterIP(high, low, family)) {
        Decision.set(Verdict.REJECT, Reason.CLUSTER_IP_PORT);
        return;
      }
      const flags = knownFlags == NONE ? Addresses.flags(high, low, family) : knownFlags;
      if (mode == Mode.NFTABLES && (flags & AddressFlag.LOCAL) == 0 && Addresses.isService(high, low, family)) {
        Decision.set(Verdict.DROP, Reason.UNALLOCATED_SERVICE_ADDRESS);
        return;
      }
    }
    Decision.set(Verdict.PASS, Reason.NONE);
  }

  @inline static inRange(at: usize, high: u64, low: u64): bool {
    const range = changetype<Range>(at);
    return (high & range.maskHigh) == range.high && (low & range.maskLow) == range.low;
  }

  static isInRanges(base: u32, count: u32, high: u64, low: u64): bool {
    let at = <usize>(Tables.control.ranges + (base << 5));
    for (let i: u32 = 0; i < count; i++) {
      if (Lookup.inRange(at, high, low)) return true;
      at += 32;
    }
    return false;
  }

  /** In a source range; or one of the Service's own addresses as source when the node may use it: the node then owns that address. */
  static isSourceAllowed(extension: ServicePortExtension, high: u64, low: u64, family: u32): bool {
    if (Lookup.isInRanges(extension.rangesBase, extension.rangesCount, high, low)) return true;
    if (!Lookup.isInRanges(extension.vipsBase, extension.vipsCount, high, low)) return false;
    const control = Tables.control;
    if (family == 4) {
      return (
        control.primaryV4 != 0 && Lookup.isInRanges(extension.rangesBase, extension.rangesCount, 0, control.primaryV4)
      );
    }
    return Lookup.isInRanges(extension.rangesBase, extension.rangesCount, control.primaryV6High, control.primaryV6Low);
  }

  @inline static generation(backend: Backend, servicePort: ServicePort): u32 {
    return <u32>backend.generation | ((<u32>servicePort.generation) << 16);
  }

  /** The backend that this client got last, if it is still to be had in the set of this packet. */
  static sticky(
    servicePort: ServicePort,
    id: u32,
    set: EndpointSet,
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    ports: u32,
    meta: u32,
  ): u32 {
    const at = AffinityMap.find(
      sourceHigh,
      AffinityMap.clientLow(sourceLow, destinationHigh, destinationLow, ports),
      id,
    );
    let result: u32 = AffinityResult.MISS;
    let backend: u32 = NONE;
    if (at != 0) {
      const entry = changetype<Affinity>(at);
      const isOver =
        AffinityMap.isExpired(entry) &&
        // ipvs does not let persistence end while connections under it are open.
        (Tables.control.mode != Mode.IPVS ||
          !Conntrack.hasConnection(
            sourceHigh,
            sourceLow,
            destinationHigh,
            destinationLow,
            ports >> 16,
            meta,
            entry.backend,
          ));
      if (isOver) result = AffinityResult.EXPIRED;
      else {
        const candidate = Tables.backend(entry.backend);
        if (
          Lookup.generation(candidate, servicePort) == entry.generation &&
          candidate.weight != 0 &&
          Schedule.contains(set, entry.backend)
        ) {
          result = AffinityResult.HIT;
          backend = entry.backend;
        } else result = AffinityResult.UNUSABLE;
      }
    }
    Trace.step(Step.AFFINITY, result, backend, 0);
    if (!Tables.control.tracing) ServicePorts.affinity(servicePort, backend != NONE);
    return backend;
  }
}
