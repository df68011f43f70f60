import {
  addressFromBigInt,
  addressToBigInt,
  type IPAddress,
  type IPFamily,
  maskAddress,
  parsePrefix,
} from "@portolan/net";

/**
 * Addresses of one Service CIDR that can be allocated. The lower band is left to addresses that users choose; dynamic allocation
 * starts in the upper band and falls back to the lower one (KEP-3070).
 *
 * ```text
 * network │ first … staticLast │ dynamicFirst … last │ broadcast (IPv4)
 *         │◄── bandOffset ────►│
 * ```
 */
export interface IPAllocationRange {
  readonly family: IPFamily;
  /** Number of addresses in the CIDR, network and broadcast address included. */
  readonly size: bigint;
  /** Network address; what a dry run answers. */
  readonly network: IPAddress;
  /** Size of the static band; 0 when the CIDR is too small for one. */
  readonly bandOffset: number;
  readonly first: IPAddress;
  /** Last address of the static band; `undefined` when there is none. */
  readonly staticLast: IPAddress | undefined;
  readonly dynamicFirst: IPAddress;
  readonly last: IPAddress;
  /** Number of addresses that can be allocated. */
  readonly capacity: bigint;
}

function clamp(value: bigint, minimum: bigint, maximum: bigint): number {
  return Number(value < minimum ? minimum : value > maximum ? maximum : value);
}

/** Size of the static band among `size` addresses: `clamp(size/16, 16, 256)`, 0 up to 16. */
export function ipBandOffset(size: bigint): number {
  return size <= 16n ? 0 : clamp(size / 16n, 16n, 256n);
}

/**
 * Bands of a Service CIDR; host bits are ignored. `bandOffset = clamp(size/16, 16, 256)`, 0 up to 16 addresses.
 *
 * @returns `undefined` when the text is no CIDR or holds no usable address (a /31, /32, /127 or /128 may hold none)
 */
export function ipAllocationRange(cidr: string): IPAllocationRange | undefined {
  const prefix = parsePrefix(cidr);
  if (prefix === undefined) return undefined;
  const { family } = prefix.address;
  const bits = BigInt(prefix.address.bytes.length * 8 - prefix.length);
  const size = 1n << bits;
  const base = addressToBigInt(maskAddress(prefix.address, prefix.length));
  const lastValue = base + size - (family === "IPv4" ? 2n : 1n);
  const firstValue = base + 1n;
  if (lastValue < firstValue) return undefined;
  const bandOffset = ipBandOffset(size);
  const dynamic = firstValue + BigInt(bandOffset);
  return {
    family,
    size,
    network: addressFromBigInt(base, family),
    bandOffset,
    first: addressFromBigInt(firstValue, family),
    staticLast: bandOffset === 0 ? undefined : addressFromBigInt(dynamic - 1n, family),
    dynamicFirst: addressFromBigInt(dynamic, family),
    last: addressFromBigInt(lastValue, family),
    capacity: lastValue - firstValue + 1n,
  };
}

/** Node ports of a range; both ends inclusive. */
export interface NodePortBands {
  readonly first: number;
  readonly last: number;
  readonly size: number;
  /** Size of the static band; 0 when the range is too small for one. */
  readonly bandOffset: number;
  /** Ports left to users; `undefined` when there is no static band. */
  readonly staticBand: readonly [first: number, last: number] | undefined;
  /** Ports that dynamic allocation takes first. */
  readonly dynamicBand: readonly [first: number, last: number];
}

/**
 * Bands of a node-port range: `30000-32767` or `30000+2768` (base and size). `bandOffset = clamp(size/32, 16, 128)`, 0 up to 16 ports.
 *
 * @returns `undefined` when the text is no range of ports between 1 and 65535
 */
export function nodePortBands(range: string): NodePortBands | undefined {
  const match = /^([0-9]{1,5})(?:([-+])([0-9]{1,5}))?$/.exec(range.trim());
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : match[2] === "+" ? first + Number(match[3]) - 1 : Number(match[3]);
  if (first < 1 || last > 65535 || last < first) return undefined;
  const size = last - first + 1;
  const bandOffset = size <= 16 ? 0 : Math.min(128, Math.max(16, Math.floor(size / 32)));
  return {
    first,
    last,
    size,
    bandOffset,
    staticBand: bandOffset === 0 ? undefined : [first, first + bandOffset - 1],
    dynamicBand: [first + bandOffset, last],
  };
}
