/** Slots of an entry's backends: a list, or for a short row of them one number that needs no object. */
export type BackendSlots = number | readonly number[];

export const noSlots: BackendSlots = [];

const ROW_BITS = 7;
const ROW = 1 << ROW_BITS;

/** Keeps the first `count` of `slots`; `isRow` when each is one more than the one before it. */
export function keepSlots(slots: Int32Array, count: number, isRow: boolean): BackendSlots {
  if (count === 0) return noSlots;
  const first = slots[0]!;
  if (isRow && count < ROW && first < 1 << (31 - ROW_BITS)) return (first << ROW_BITS) | count;
  return Array.from(slots.subarray(0, count));
}

export function slotCount(slots: BackendSlots): number {
  return typeof slots === "number" ? slots & (ROW - 1) : slots.length;
}

export function slotAt(slots: BackendSlots, i: number): number {
  return typeof slots === "number" ? (slots >> ROW_BITS) + i : slots[i]!;
}
