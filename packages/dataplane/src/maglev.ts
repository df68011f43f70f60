import { NONE } from "./generated/layout.ts";
import type { Machine } from "./memory.ts";

/** IPVS's table sizes with their number of bits: primes just below powers of two. */
const sizes: readonly (readonly [size: number, bits: number])[] = [
  [4093, 12],
  [8191, 13],
  [16381, 14],
  [32749, 15],
  [65521, 16],
  [131071, 17],
];

/** A member of a set as a Maglev table wants it. */
export interface MaglevMember {
  readonly slot: number;
  /** Four raw words. */
  readonly words: readonly [number, number, number, number];
  /** The address as one number: see `foldAddress`. */
  readonly folded: number;
  /** Host order. */
  readonly port: number;
  readonly weight: number;
}

/** Table size for that many members, with its number of bits. */
export function maglevSize(count: number): readonly [size: number, bits: number] {
  return sizes.find(([size]) => size >= count * 100) ?? sizes.at(-1)!;
}

export function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

function bigEndian(word: number): number {
  return (((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}

/** Fills the table at index `base` of the pool of Maglev tables. */
export function buildMaglev(machine: Machine, members: readonly MaglevMember[], base: number): void {
  const { u32, exports, layout } = machine;
  const [size, bits] = maglevSize(members.length);
  // Every node must compute the same table, whatever the order in which it heard of the endpoints.
  const sorted = [...members].sort((a, b) => {
    for (let i = 0; i < 4; i++) {
      const difference = bigEndian(a.words[i]!) - bigEndian(b.words[i]!);
      if (difference !== 0) return difference;
    }
    return a.port - b.port;
  });
  const weights = sorted.map((member) => member.weight);
  const divisor = Math.max(1, weights.filter((weight) => weight > 0).reduce(gcd, 0));
  const shift = Math.max(0, 32 - Math.clz32(weights.reduce((a, b) => Math.max(a, b), 0) / divisor) - (bits >> 1));
  const turnsAt = layout.regions.scratch.address + layout.regions.scratch.length - sorted.length * 4;
  sorted.forEach((member, i) => {
    exports.maglevPermutation(i, member.folded, member.port, size);
    const turns = Math.floor(member.weight / divisor) >> shift;
    u32[(turnsAt >> 2) + i] = member.weight === 0 ? 0 : Math.max(1, turns);
  });
  const table = layout.regions.lookup.address + base * 4;
  exports.maglevFill(table, size, sorted.length, turnsAt);
  for (let i = 0; i < size; i++) {
    const index = u32[(table >> 2) + i]!;
    if (index !== NONE) u32[(table >> 2) + i] = sorted[index]!.slot;
  }
}
