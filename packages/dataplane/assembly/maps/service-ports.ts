import { NONE, ServicePort } from "../generated/layout";
import { Tables } from "./tables";

/** Counters of Service ports: low words with the high parts elsewhere in the record. */
export class ServicePorts {
  /** Adds what a connection carried, `times` (1 or -1) times. */
  static add(servicePort: ServicePort, packets: u64, bytes: u64, replyPackets: u64, replyBytes: u64, times: u64): void {
    servicePort.bytes += bytes * times;
    servicePort.replyBytes += replyBytes * times;
    const forward = (((<u64>servicePort.packetsHigh) << 32) | servicePort.packets) + packets * times;
    servicePort.packets = <u32>forward;
    servicePort.packetsHigh = <u16>(forward >> 32);
    const back = (((<u64>servicePort.replyPacketsHigh) << 32) | servicePort.replyPackets) + replyPackets * times;
    servicePort.replyPackets = <u32>back;
    servicePort.replyPacketsHigh = <u16>(back >> 32);
  }

  static reject(id: u32): void {
    const servicePort = Tables.servicePort(id);
    if (++servicePort.rejected == 0) servicePort.rejectedHigh++;
  }

  static drop(id: u32): void {
    const servicePort = Tables.servicePort(id);
    if (++servicePort.dropped == 0) servicePort.droppedHigh++;
  }

  static masquerade(id: u32): void {
    const servicePort = Tables.servicePort(id);
    if (++servicePort.masqueraded == 0) servicePort.masqueradedHigh++;
  }

  static affinity(servicePort: ServicePort, hit: bool): void {
    if (servicePort.extension == NONE) return;
    const extension = Tables.extension(servicePort.extension);
    if (hit) extension.affinityHits++;
    else extension.affinityMisses++;
  }
}
