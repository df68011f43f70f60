import { WordList } from "./word-list.ts";

/** Hands out slices of a fixed array, rounded up to a size of which there are eight to each doubling; freed ones are reused by size. */
export class SlotPool {
  readonly #capacity: number;
  readonly #free = new Map<number, WordList>();
  #next = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** First index of `count` slots, or `undefined` when there is no room. */
  allocate(count: number): number | undefined {
    if (count === 0) return 0;
    const size = roundedUp(count);
    const reused = this.#free.get(size)?.pop();
    if (reused !== undefined) return reused;
    if (this.#next + size <= this.#capacity) {
      const base = this.#next;
      this.#next += size;
      return base;
    }
    return this.#split(size);
  }

  /** Cuts a larger freed slice; what is left of it is free. */
  #split(size: number): number | undefined {
    for (const [larger, list] of this.#free) {
      if (larger <= size) continue;
      const base = list.pop();
      if (base === undefined) continue;
      let at = base + size;
      for (let left = larger - size; left > 0; ) {
        const part = roundedDown(left);
        this.free(at, part);
        at += part;
        left -= part;
      }
      return base;
    }
    return undefined;
  }

  /** Everything is free again. */
  reset(): void {
    this.#free.clear();
    this.#next = 0;
  }

  free(base: number, count: number): void {
    if (count === 0) return;
    const size = roundedUp(count);
    let list = this.#free.get(size);
    if (list === undefined) {
      list = new WordList();
      this.#free.set(size, list);
    }
    list.push(base);
  }
}

/** Distance of the sizes around a count. */
function sizeStep(count: number): number {
  return count < 16 ? 1 : 2 ** (28 - Math.clz32(count));
}

function roundedUp(count: number): number {
  const step = sizeStep(count);
  return Math.ceil(count / step) * step;
}

function roundedDown(count: number): number {
  const step = sizeStep(count);
  return Math.floor(count / step) * step;
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

  /** Ids from here on were never taken. */
  get highWater(): number {
    return this.#next;
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
