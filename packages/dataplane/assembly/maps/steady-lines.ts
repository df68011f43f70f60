import { Connection, MAPPED, SteadyLine } from "../generated/layout";

/**
 * Records of IPv4 connections that are established. Their lines have another form, in which one line alone forwards the packets of its
 * direction: a million connections do not fit into a cache, and each line that a packet looks at is a miss. Who looks at all of a record
 * puts it back into its usual form first.
 */
export class SteadyLines {
  @inline static first(c: Connection): SteadyLine {
    return changetype<SteadyLine>(changetype<usize>(c));
  }

  @inline static second(c: Connection): SteadyLine {
    return changetype<SteadyLine>(changetype<usize>(c) + 64);
  }

  /** Has the record this form? In the usual one, `steady` is a part of an address that IPv4 has zero in. */
  @inline static isSteady(c: Connection): bool {
    return <u32>c.meta >> 8 == 4 && SteadyLines.first(c).steady != 0;
  }

  /**
   * Gives a record this form. Its packets are forwarded by it while `Control.steady` and their state say `steady`.
   *
   * @param firstDelta `SteadyLine.headerDelta` of the first line
   * @param secondDelta that of the second
   */
  static enter(c: Connection, steady: u32, firstDelta: u32, secondDelta: u32): void {
    const first = SteadyLines.first(c);
    const second = SteadyLines.second(c);
    first.newAddresses = <u64>second.destination | ((<u64>second.source) << 32);
    first.newPorts = rotl<u32>(second.ports, 16);
    second.newAddresses = <u64>first.destination | ((<u64>first.source) << 32);
    second.newPorts = rotl<u32>(first.ports, 16);
    first.headerDelta = <u16>firstDelta;
    first.transportDelta = c.transportDelta;
    second.headerDelta = <u16>secondDelta;
    second.transportDelta = ~c.transportDelta;
    first.expires = c.expires;
    second.expires = c.expires;
    first.steady = steady;
    second.steady = steady;
  }

  /** Gives a record its usual form. */
  static leave(c: Connection): void {
    if (!SteadyLines.isSteady(c)) return;
    const first = SteadyLines.first(c).expires;
    const second = SteadyLines.second(c).expires;
    c.expires = <i32>(first - second) > 0 ? first : second;
    SteadyLines.clear(changetype<usize>(c));
    SteadyLines.clear(changetype<usize>(c) + 64);
  }

  /** Writes over a line what all mapped addresses share. */
  @inline static clear(line: usize): void {
    store<u64>(line, 0);
    store<u32>(line, MAPPED, 8);
    store<u64>(line, 0, 16);
    store<u32>(line, MAPPED, 24);
  }

  /** Lets a line whose direction is silent follow the other, before the clock comes round to what it says: some time in a year. */
  static level(c: Connection): void {
    if (!SteadyLines.isSteady(c)) return;
    const first = SteadyLines.first(c);
    const second = SteadyLines.second(c);
    const ahead = <i32>(first.expires - second.expires);
    if (ahead > LEVEL) second.expires = first.expires;
    else if (ahead < -LEVEL) first.expires = second.expires;
  }
}

/** Ticks that lines may be apart: 2^20 are four and a half hours. */
const LEVEL: i32 = 1 << 20;
