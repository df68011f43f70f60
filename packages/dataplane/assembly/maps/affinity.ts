import { Affinity, Mode } from "../generated/layout";
import { Hash } from "../hash";
import { Tables } from "./tables";

/**
 * Session affinity: which backend a client of a Service port got last. Sets of four entries; a full set gives up its oldest. The key
 * is the source as seen before masquerading, and only new connections renew an entry.
 */
export class AffinityMap {
  /** Low word of the client's key: ipvs keeps persistence per virtual server, so the destination goes into it there. */
  @inline static clientLow(sourceLow: u64, destinationHigh: u64, destinationLow: u64, ports: u32): u64 {
    if (Tables.control.mode != Mode.IPVS) return sourceLow;
    return sourceLow ^ Hash.address(destinationHigh, destinationLow, ports >> 16);
  }

  @inline static set(clientHigh: u64, clientLow: u64, servicePort: u32): usize {
    const index =
      <u32>(Hash.address(clientHigh, clientLow, <u64>servicePort | 0x100000000) >> 32) & Tables.control.affinityMask;
    return <usize>(Tables.control.affinity + (index << 7));
  }

  /** Address of the entry, or 0. */
  static find(clientHigh: u64, clientLow: u64, servicePort: u32): usize {
    const set = AffinityMap.set(clientHigh, clientLow, servicePort);
    for (let i: u32 = 0; i < 4; i++) {
      const entry = changetype<Affinity>(set + ((<usize>i) << 5));
      if (entry.servicePort == servicePort + 1 && entry.clientLow == clientLow && entry.clientHigh == clientHigh) {
        return changetype<usize>(entry);
      }
    }
    return 0;
  }

  static update(clientHigh: u64, clientLow: u64, servicePort: u32, backend: u32, generation: u32): void {
    const control = Tables.control;
    let at = AffinityMap.find(clientHigh, clientLow, servicePort);
    if (at == 0) {
      const set = AffinityMap.set(clientHigh, clientLow, servicePort);
      at = set;
      let oldest: u32 = 0;
      let evicts = true;
      for (let i: u32 = 0; i < 4; i++) {
        const entry = changetype<Affinity>(set + ((<usize>i) << 5));
        if (entry.servicePort == 0 || AffinityMap.isExpired(entry)) {
          at = changetype<usize>(entry);
          evicts = false;
          break;
        }
        const age = control.now - entry.lastConnection;
        if (age >= oldest) {
          oldest = age;
          at = changetype<usize>(entry);
        }
      }
      if (evicts) control.affinityEvicted++;
    }
    const entry = changetype<Affinity>(at);
    entry.clientHigh = clientHigh;
    entry.clientLow = clientLow;
    entry.servicePort = servicePort + 1;
    entry.backend = backend;
    entry.lastConnection = control.now;
    entry.generation = generation;
  }

  /** Older than its Service port's timeout; an entry exactly as old still holds. */
  @inline static isExpired(entry: Affinity): bool {
    return Tables.control.now - entry.lastConnection > Tables.servicePort(entry.servicePort - 1).affinityTicks;
  }
}
