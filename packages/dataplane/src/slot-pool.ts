import { WordList } from "./word-list.ts";

/** Hands out slices of a fixed array in power-of-two sizes; freed slices are reused by size. */
export class SlotPool {
  readonly #capacity: number;
  readonly #free: (WordList | undefined)[] = [];
  #next = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  static sizeClass(count: number): number {
    return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
  }

  /** First index of `count` slots, or `undefined` when there is no room. */
  allocate(count: number): number | undefined {
    if (count === 0) return 0;
    const size = SlotPool.sizeClass(count);
    const reused = this.#free[size]?.pop();
    if (reused !== undefined) return reused;
    if (this.#next + (1 << size) > this.#capacity) return undefined;
    const base = this.#next;
    this.#next += 1 << size;
    return base;
  }

  /** Everything is free again. */
  reset(): void {
    this.#free.length = 0;
    this.#next = 0;
  }

  free(base: number, count: number): void {
    if (count === 0) return;
    const size = SlotPool.sizeClass(count);
    const list = this.#free[size] ?? new WordList();
    this.#free[size] = list;
    list.push(base);
  }
}

/** So many freed ids are held back before the oldest is handed out again. */
const HELD_BACK = 1024;

/**
 * Hands out ids. A freed id comes back late, so that references to its last owner have gone by then; but it comes back, so that tables
 * of a steady size stay within the memory that they touched.
 */
export class IdPool {
  readonly #capacity: number;
  /** A ring: from the head on, as many as are free. */
  #free: Uint32Array<ArrayBuffer> = new Uint32Array(2 * HELD_BACK);
  #head = 0;
  #count = 0;
  #next = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Ids that can still be taken. */
  get available(): number {
    return this.#capacity - this.#next + this.#count;
  }

  take(): number {
    if (this.#count <= HELD_BACK && this.#next < this.#capacity) return this.#next++;
    const id = this.#free[this.#head]!;
    this.#head = (this.#head + 1) & (this.#free.length - 1);
    this.#count--;
    return id;
  }

  give(id: number): void {
    const { length } = this.#free;
    if (this.#count === length) {
      // The head goes to the start of the larger ring.
      const larger = new Uint32Array(length * 2);
      larger.set(this.#free.subarray(this.#head));
      larger.set(this.#free.subarray(0, this.#head), length - this.#head);
      this.#free = larger;
      this.#head = 0;
    }
    this.#free[(this.#head + this.#count++) & (this.#free.length - 1)] = id;
  }
}
