import { Fragment, Parsed, Timeout } from "../generated/layout";
import { Conntrack } from "../conntrack";
import { Hash } from "../hash";
import { Tables } from "./tables";

/**
 * Fragmented datagrams in flight. Only a first fragment has ports; what was decided for it is remembered under (source, destination,
 * protocol, identifier), so that the later ones follow. Sets of two; the older gives way.
 */
export class Fragments {
  @inline static set(p: Parsed): usize {
    const hash = Hash.tuple(
      p.sourceHigh,
      p.sourceLow,
      p.destinationHigh,
      p.destinationLow,
      p.fragment,
      p.meta | 0x10000,
    );
    return <usize>(Tables.control.fragments + ((<u32>(hash >> 32) & Tables.control.fragmentMask) << 7));
  }

  @inline static isFor(entry: Fragment, p: Parsed): bool {
    return (
      entry.meta == p.meta &&
      entry.identifier == p.fragment &&
      entry.sourceLow == p.sourceLow &&
      entry.destinationLow == p.destinationLow &&
      entry.sourceHigh == p.sourceHigh &&
      entry.destinationHigh == p.destinationHigh
    );
  }

  /** Address of the live entry, or 0. */
  static find(p: Parsed): usize {
    const set = Fragments.set(p);
    for (let i: u32 = 0; i < 2; i++) {
      const entry = changetype<Fragment>(set + ((<usize>i) << 6));
      if (Fragments.isFor(entry, p) && <i32>(Tables.control.now - entry.expires) < 0) return changetype<usize>(entry);
    }
    return 0;
  }

  /** Remembers what the first fragment, still as it came in, belongs to. */
  static learn(p: Parsed, connection: u32, direction: u32, created: u32): void {
    if (Tables.control.tracing) return;
    const set = Fragments.set(p);
    const first = changetype<Fragment>(set);
    const second = changetype<Fragment>(set + 64);
    let entry = first;
    if (!Fragments.isFor(first, p)) {
      if (
        Fragments.isFor(second, p) ||
        (first.meta != 0 && <i32>(second.expires - first.expires) < 0) ||
        second.meta == 0
      )
        entry = second;
      if (first.meta == 0) entry = first;
    }
    entry.sourceHigh = p.sourceHigh;
    entry.sourceLow = p.sourceLow;
    entry.destinationHigh = p.destinationHigh;
    entry.destinationLow = p.destinationLow;
    entry.meta = p.meta;
    entry.identifier = p.fragment;
    entry.connection = connection;
    entry.direction = direction;
    entry.created = created;
    entry.expires = Tables.control.now + Conntrack.timeout(p.meta >> 8 == 4 ? Timeout.FRAGMENT4 : Timeout.FRAGMENT6);
  }
}
