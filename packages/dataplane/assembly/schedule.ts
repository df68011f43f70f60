import { Backend, BackendFlag, EndpointSet, IN_A_ROW, NONE, Scheduler, ServicePort } from "./generated/layout";
import { Tables } from "./maps/tables";
import { Random } from "./random";

/**
 * Which backend does a new connection go to? IPVS's algorithms as the kernel has them (net/netfilter/ipvs), over sets in list
 * order; comparisons are strict, so the earliest wins a tie. `random` is what kube-proxy's iptables and nftables modes do.
 */
export class Schedule {
  /** Member of a set whose scheduler walks over a list: such sets always have one. */
  @inline static listed(set: EndpointSet, index: u32): u32 {
    return load<u32>(<usize>(Tables.control.sets + ((set.base + index) << 2)));
  }

  static member(set: EndpointSet, index: u32): u32 {
    const base = set.base;
    if ((base & IN_A_ROW) != 0) return (base & ~IN_A_ROW) + index;
    return load<u32>(<usize>(Tables.control.sets + ((base + index) << 2)));
  }

  @inline static isAvailable(backend: Backend): bool {
    return backend.weight != 0 && (<u32>backend.flags & BackendFlag.OVERLOADED) == 0;
  }

  /** Set `which` (0 cluster, 1 local) of a Service port. Those without an extension have set 0 alone, as far as base and count. */
  @inline static set(servicePort: ServicePort, which: u32): EndpointSet {
    const extension = servicePort.extension;
    if (extension == NONE || (which == 0 && <u32>servicePort.scheduler == Scheduler.RANDOM))
      return changetype<EndpointSet>(changetype<usize>(servicePort) + offsetof<ServicePort>("clusterBase"));
    return changetype<EndpointSet>(changetype<usize>(Tables.extension(extension)) + ((<usize>which) << 5));
  }

  static contains(set: EndpointSet, backend: u32): bool {
    for (let i: u32 = 0; i < set.count; i++) if (Schedule.member(set, i) == backend) return true;
    return false;
  }

  /** The backend's id, or none when every member is quiesced or overloaded. */
  static pick(
    servicePort: ServicePort,
    set: EndpointSet,
    sourceHigh: u64,
    sourceLow: u64,
    destinationHigh: u64,
    destinationLow: u64,
    ports: u32,
    family: u32,
  ): u32 {
    const count = set.count;
    if (count == 0) return NONE;
    const scheduler = <u32>servicePort.scheduler;
    if (scheduler == Scheduler.RANDOM) {
      const id = Schedule.member(set, Random.below(count));
      return Schedule.isAvailable(Tables.backend(id)) ? id : Schedule.nextAvailable(set, Random.below(count));
    }
    if (scheduler == Scheduler.RR) return Schedule.roundRobin(set);
    if (scheduler == Scheduler.WRR) return Schedule.weightedRoundRobin(set);
    if (scheduler == Scheduler.SH)
      return Schedule.sourceHash(set, Schedule.slot256(Schedule.foldAddress(sourceHigh, sourceLow, family)));
    if (scheduler == Scheduler.DH) {
      return Schedule.usable(
        Schedule.listed(set, Schedule.slot256(Schedule.foldAddress(destinationHigh, destinationLow, family)) % count),
      );
    }
    if (scheduler == Scheduler.MH)
      return Schedule.maglev(set, Schedule.foldAddress(sourceHigh, sourceLow, family) + <u32>bswap<u16>(<u16>ports));
    return Schedule.leastLoaded(set, scheduler);
  }

  @inline static usable(id: u32): u32 {
    return Schedule.isAvailable(Tables.backend(id)) ? id : NONE;
  }

  static nextAvailable(set: EndpointSet, from: u32): u32 {
    let i = from;
    for (let k: u32 = 0; k < set.count; k++) {
      const id = Schedule.member(set, i);
      if (Schedule.isAvailable(Tables.backend(id))) return id;
      if (++i >= set.count) i = 0;
    }
    return NONE;
  }

  static roundRobin(set: EndpointSet): u32 {
    let i: u32 = set.cursor == NONE ? 0 : set.cursor + 1;
    for (let k: u32 = 0; k < set.count; k++) {
      if (i >= set.count) i = 0;
      const id = Schedule.listed(set, i);
      if (Schedule.isAvailable(Tables.backend(id))) {
        if (!Tables.control.tracing) set.cursor = i;
        return id;
      }
      i++;
    }
    return NONE;
  }

  static weightedRoundRobin(set: EndpointSet): u32 {
    const maximum = <i32>set.maximum;
    if (maximum <= 0) return NONE;
    let weight = <i32>set.weight;
    if (weight <= 0) weight = maximum;
    let i: u32 = set.cursor == NONE ? 0 : set.cursor + 1;
    const divisor = max<i32>(<i32>set.divisor, 1);
    // Every pass lowers the current weight by the divisor: within maximum / divisor + 2 passes each available server was offered.
    let passes = maximum / divisor + 2;
    while (true) {
      if (i >= set.count) {
        i = 0;
        weight -= divisor;
        if (weight <= 0) weight = maximum;
        if (--passes < 0) return NONE;
      }
      const id = Schedule.listed(set, i);
      const backend = Tables.backend(id);
      if (Schedule.isAvailable(backend) && <i32>backend.weight >= weight) {
        if (!Tables.control.tracing) {
          set.cursor = i;
          set.weight = <u32>weight;
        }
        return id;
      }
      i++;
    }
  }

  /** lc, wlc, sed, nq, fo and ovf: one walk over the list. Quotients are compared by cross multiplication. */
  static leastLoaded(set: EndpointSet, scheduler: u32): u32 {
    let best: u32 = NONE;
    let bestLoad: u64 = 0;
    let bestWeight: u64 = 1;
    for (let i: u32 = 0; i < set.count; i++) {
      const id = Schedule.listed(set, i);
      const backend = Tables.backend(id);
      if (!Schedule.isAvailable(backend)) continue;
      const active = <u64>backend.active;
      const weight = <u64>backend.weight;
      if (scheduler == Scheduler.FO || scheduler == Scheduler.OVF) {
        if (scheduler == Scheduler.OVF && active > weight) continue;
        if (best == NONE || weight > bestWeight) {
          best = id;
          bestWeight = weight;
        }
        continue;
      }
      if (scheduler == Scheduler.NQ && active == 0) return id;
      let load = active + 1;
      let divisor = weight;
      if (scheduler == Scheduler.LC || scheduler == Scheduler.WLC) load = active * 256 + backend.inactive;
      if (scheduler == Scheduler.LC) divisor = 1;
      if (best == NONE || load * bestWeight < bestLoad * divisor) {
        best = id;
        bestLoad = load;
        bestWeight = divisor;
      }
    }
    return best;
  }

  /** An address as one 32-bit number: IPv4 itself, IPv6 its four words XORed. */
  @inline static foldAddress(high: u64, low: u64, family: u32): u32 {
    if (family == 4) return bswap<u32>(<u32>(low >> 32));
    return bswap<u32>(<u32>high ^ <u32>(high >> 32) ^ <u32>low ^ <u32>(low >> 32));
  }

  /** hash_32 with eight bits. */
  @inline static slot256(address: u32): u32 {
    return (address * 0x61c88647) >> 24;
  }

  /** The table has 256 slots that servers fill in list order, each as many in a row as its weight says. */
  static sourceHash(set: EndpointSet, slot: u32): u32 {
    let total: u32 = 0;
    let weighted = false;
    for (let i: u32 = 0; i < set.count; i++) {
      const weight = max<u32>(Tables.backend(Schedule.listed(set, i)).weight, 1);
      if (weight != 1) weighted = true;
      total += min<u32>(weight, 256);
    }
    if (!weighted) return Schedule.usable(Schedule.listed(set, slot % set.count));
    let rest = slot % total;
    for (let i: u32 = 0; i < set.count; i++) {
      const id = Schedule.listed(set, i);
      const weight = min<u32>(max<u32>(Tables.backend(id).weight, 1), 256);
      if (rest < weight) return Schedule.usable(id);
      rest -= weight;
    }
    return NONE;
  }

  static maglev(set: EndpointSet, key: u32): u32 {
    if (set.lookupSize == 0) return NONE;
    const slot = Maglev.hash(key, Maglev.FIRST_KEY) % set.lookupSize;
    const id = load<u32>(<usize>(Tables.control.lookup + ((set.lookup + slot) << 2)));
    return id == NONE ? NONE : Schedule.usable(id);
  }
}

/** Maglev consistent hashing (Eisenbud et al., NSDI 2016) with IPVS mh's hash, so that its tables equal the kernel's. */
export class Maglev {
  @inline static get FIRST_KEY(): u64 {
    return 2654435761;
  }
  @inline static get SECOND_KEY(): u64 {
    return 2654446892;
  }

  /** hsiphash of one word on 64-bit machines: SipHash-1-3, the key twice, truncated. */
  static hash(word: u32, key: u64): u32 {
    let v0: u64 = 0x736f6d6570736575 ^ key;
    let v1: u64 = 0x646f72616e646f6d ^ key;
    let v2: u64 = 0x6c7967656e657261 ^ key;
    let v3: u64 = 0x7465646279746573 ^ key;
    const block: u64 = ((<u64>4) << 56) | word;
    v3 ^= block;
    for (let round = 0; round < 4; round++) {
      v0 += v1;
      v1 = rotl<u64>(v1, 13);
      v1 ^= v0;
      v0 = rotl<u64>(v0, 32);
      v2 += v3;
      v3 = rotl<u64>(v3, 16);
      v3 ^= v2;
      v0 += v3;
      v3 = rotl<u64>(v3, 21);
      v3 ^= v0;
      v2 += v1;
      v1 = rotl<u64>(v1, 17);
      v1 ^= v2;
      v2 = rotl<u64>(v2, 32);
      if (round == 0) {
        v0 ^= block;
        v2 ^= 0xff;
      }
    }
    return <u32>(v0 ^ v1 ^ v2 ^ v3);
  }

  /** Writes offset and skip of a backend's permutation as pair `i` of the scratch area. */
  static permutation(i: u32, address: u32, port: u32, size: u32): void {
    const at = <usize>(Tables.control.scratch + (i << 3));
    store<u32>(at, Maglev.hash(address + port, Maglev.FIRST_KEY) % size);
    store<u32>(at, (Maglev.hash(address + port, Maglev.SECOND_KEY) % (size - 1)) + 1, 4);
  }

  /**
   * Fills `size` slots at `table` with indices 0 … count-1: each in turn claims the next free slot of its permutation, `turns(i)`
   * slots a round. Turns are read from `turns` (u32 each); 0 takes no part. Needs a prime size; cost about size × ln size steps.
   */
  static fill(table: usize, size: u32, count: u32, turns: usize): void {
    memory.fill(table, 0xff, (<usize>size) << 2);
    let any = false;
    for (let i: u32 = 0; i < count; i++) if (load<u32>(turns + ((<usize>i) << 2)) != 0) any = true;
    if (!any) return;
    let filled: u32 = 0;
    while (true) {
      for (let i: u32 = 0; i < count; i++) {
        const n = load<u32>(turns + ((<usize>i) << 2));
        const pair = <usize>(Tables.control.scratch + (i << 3));
        const skip = load<u32>(pair, 4);
        for (let k: u32 = 0; k < n; k++) {
          let at = load<u32>(pair);
          while (load<u32>(table + ((<usize>at) << 2)) != NONE) {
            at += skip;
            if (at >= size) at -= size;
          }
          store<u32>(table + ((<usize>at) << 2), i);
          store<u32>(pair, at);
          if (++filled == size) return;
        }
      }
    }
  }
}
