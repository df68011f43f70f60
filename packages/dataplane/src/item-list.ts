const CHUNK_BITS = 10;
const CHUNK = 1 << CHUNK_BITS;

/** A list in pieces that are kept when it is emptied: to grow, it copies nothing. What was taken out is not held any longer. */
export class ItemList<Item> {
  readonly #chunks: (Item | undefined)[][] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(item: Item): void {
    const at = this.#length++;
    const chunk = this.#chunks[at >> CHUNK_BITS];
    if (chunk === undefined) this.#chunks.push(Array.from({ length: CHUNK }, (_, i) => (i === 0 ? item : undefined)));
    else chunk[at & (CHUNK - 1)] = item;
  }

  /** Takes out the item at a place; the others stay where they are. */
  take(at: number): Item | undefined {
    const chunk = this.#chunks[at >> CHUNK_BITS]!;
    const item = chunk[at & (CHUNK - 1)];
    chunk[at & (CHUNK - 1)] = undefined;
    return item;
  }

  /** Takes out all that are left, in their order. */
  empty(call: (item: Item) => void): void {
    for (let at = 0; at < this.#length; at++) {
      const item = this.take(at);
      if (item !== undefined) call(item);
    }
    this.#length = 0;
  }
}
