/** Hands out slices of a fixed array in power-of-two sizes; freed slices are reused by size. */
export class SlotPool {
  readonly #capacity: number;
  readonly #free: (number[] | undefined)[] = [];
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

  free(base: number, count: number): void {
    if (count === 0) return;
    const size = SlotPool.sizeClass(count);
    const list = this.#free[size];
    if (list === undefined) this.#free[size] = [base];
    else list.push(base);
  }
}

/** Hands out ids; a freed id comes back last, so that late references to it meet its new owner as late as possible. */
export class IdPool {
  readonly #capacity: number;
  #free: number[] = [];
  #head = 0;
  #next = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Ids that can still be taken. */
  get available(): number {
    return this.#capacity - this.#next + this.#free.length - this.#head;
  }

  take(): number {
    if (this.#next < this.#capacity) return this.#next++;
    const id = this.#free[this.#head++]!;
    if (this.#head > 1024 && this.#head * 2 > this.#free.length) {
      this.#free = this.#free.slice(this.#head);
      this.#head = 0;
    }
    return id;
  }

  give(id: number): void {
    this.#free.push(id);
  }
}
