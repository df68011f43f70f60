/** A list of unsigned 32-bit numbers that keeps its room when it is emptied: what is listed anew with every change costs no garbage. */
export class WordList {
  words: Uint32Array<ArrayBuffer> = new Uint32Array(64);
  length = 0;

  /** Room for `count` more words; where the first one goes. */
  extend(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.words.length) this.words = grown(this.words, this.length);
    return at;
  }

  push(word: number): void {
    const at = this.length++;
    if (at === this.words.length) this.words = grown(this.words, at + 1);
    this.words[at] = word;
  }

  pop(): number | undefined {
    return this.length === 0 ? undefined : this.words[--this.length];
  }

  clear(): void {
    this.length = 0;
  }
}

/** Twice the room, or as much as is needed. */
export function grown(words: Uint32Array<ArrayBuffer>, needed: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(Math.max(words.length * 2, needed));
  larger.set(words);
  return larger;
}
