import { ipAllocationRange } from "@portolan/core";
import { addressFromBigInt, addressToBigInt, formatAddress, type IPFamily, parseAddress } from "@portolan/net";

/**
 * One Service CIDR and its two bands. Addresses that are asked for may lie anywhere; those chosen for a Service come from the upper band first, so
 * that the lower one stays free for static ones (KEP-3070).
 *
 * ```
 *   network | first … static band … | dynamic band … last | broadcast (IPv4)
 *           |<------- offset ------>|
 * ```
 */
export interface IpRange {
  readonly cidr: string;
  readonly family: IPFamily;
  /** Canonical network address; stands for "some address" in dry runs. */
  readonly network: string;
  /** The first address that can be had; the Service `kubernetes` has it. */
  readonly first: string;
  /** Addresses that can be had. */
  readonly size: bigint;
  /** Whether the canonical address can be allocated here: neither the network address nor the broadcast address. */
  contains(address: string): boolean;
  /**
   * A free address: from a random place in the dynamic band upwards, wrapping around, and then from the static band.
   *
   * @param isTaken asked for each candidate
   * @param random in [0, 1)
   * @returns `undefined` when the range is full
   */
  next(isTaken: (address: string) => boolean, random: () => number): string | undefined;
}

/** Ranges are scanned at most this far: a /64 cannot be walked to its end. */
const maxProbes = 1 << 20;

/**
 * Describes a CIDR as a range of cluster addresses.
 *
 * @throws RangeError when the text is no CIDR
 */
export function createIpRange(cidr: string): IpRange {
  const bands = ipAllocationRange(cidr);
  if (bands === undefined)
    throw new RangeError(`"${cidr}" is not a CIDR with usable addresses; give one such as 10.96.0.0/16`);
  const { family } = bands;
  const first = addressToBigInt(bands.first);
  const last = addressToBigInt(bands.last);
  const dynamic = addressToBigInt(bands.dynamicFirst);

  function scan(from: bigint, to: bigint, start: bigint, isTaken: (address: string) => boolean): string | undefined {
    const length = to - from + 1n;
    const probes = length > BigInt(maxProbes) ? maxProbes : Number(length);
    let value = start;
    for (let i = 0; i < probes; i++) {
      const address = formatAddress(addressFromBigInt(value, family));
      if (!isTaken(address)) return address;
      value = value === to ? from : value + 1n;
    }
    return undefined;
  }

  return {
    cidr,
    family,
    network: formatAddress(bands.network),
    first: formatAddress(bands.first),
    size: bands.capacity,
    contains(text) {
      const address = parseAddress(text);
      if (address === undefined || address.family !== family) return false;
      const value = addressToBigInt(address);
      return value >= first && value <= last;
    },
    next(isTaken, random) {
      if (dynamic <= last) {
        const length = last - dynamic + 1n;
        // 53 random bits are more than any scan can tell from uniform.
        const step = BigInt(Math.floor(random() * (length > 1n << 53n ? 2 ** 53 : Number(length))));
        const found = scan(dynamic, last, dynamic + step, isTaken);
        if (found !== undefined) return found;
      }
      if (dynamic === first) return undefined;
      const staticLast = dynamic - 1n < last ? dynamic - 1n : last;
      return scan(first, staticLast, first, isTaken);
    },
  };
}
