/** Bounds of one watcher's buffer; who reads slower than that is cut, and lists again. */
const maxBufferedChunks = 10_000;
const maxBufferedCharacters = 32 * 1024 * 1024;

/**
 * A queue of text that one consumer reads. The producer never waits: when the consumer lags too far behind, the stream ends.
 */
export class EventStream implements AsyncIterable<string> {
  readonly #chunks: string[] = [];
  #characters = 0;
  #isEnded = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  readonly #onEnd: (() => void)[] = [];

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Adds text. After the end nothing happens. */
  push(text: string): void {
    if (this.#isEnded) return;
    this.#chunks.push(text);
    this.#characters += text.length;
    if (this.#chunks.length > maxBufferedChunks || this.#characters > maxBufferedCharacters) {
      this.#chunks.length = 0;
      this.end();
      return;
    }
    this.#signal();
  }

  /** Ends the stream after what is buffered; with a failure the consumer gets it as an exception. */
  end(failure?: Error): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#failure = failure;
    for (const callback of this.#onEnd.splice(0)) callback();
    this.#signal();
  }

  /** Calls back once, at the end, whoever brings it about. */
  onEnd(callback: () => void): void {
    if (this.#isEnded) callback();
    else this.#onEnd.push(callback);
  }

  #signal(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    try {
      for (;;) {
        if (this.#chunks.length > 0) {
          const text = this.#chunks.length === 1 ? (this.#chunks[0] as string) : this.#chunks.join("");
          this.#chunks.length = 0;
          this.#characters = 0;
          yield text;
          continue;
        }
        if (this.#isEnded) {
          if (this.#failure !== undefined) throw this.#failure;
          return;
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      this.end();
    }
  }
}
