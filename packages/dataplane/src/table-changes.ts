import { FrontendChange, ServicePort } from "./generated/layout.ts";
import type { Machine } from "./memory.ts";
import { WordList } from "./word-list.ts";

/** Words of a frontend change: see `FrontendChange`. */
const CHANGE_WORDS = FrontendChange.SIZE / 4;
const RECORD_WORDS = 1 + ServicePort.SIZE / 4;

/**
 * What packets will see of a change, listed while it is prepared and published by a few calls: see `assembly/table-changes.ts` for
 * the lists and their order.
 */
export class TableChanges {
  readonly #dropped = new WordList();
  readonly #claimed = new WordList();
  readonly #removed = new WordList();
  readonly #replaced = new WordList();
  readonly #changed = new WordList();
  readonly #released = new WordList();

  /** Frontends claimed less those given up. */
  get frontends(): number {
    return (this.#claimed.length - this.#dropped.length) / CHANGE_WORDS;
  }

  clear(): void {
    for (const list of [this.#dropped, this.#claimed, this.#removed, this.#replaced, this.#changed, this.#released])
      list.clear();
  }

  dropFrontend(words: Uint32Array, from: number, servicePort: number): void {
    putFrontend(this.#dropped, words, from, servicePort);
  }

  claimFrontend(words: Uint32Array, from: number, servicePort: number): void {
    putFrontend(this.#claimed, words, from, servicePort);
  }

  removeServicePort(index: number): void {
    this.#removed.push(index);
  }

  /** @returns where the record's words go in {@link words}, until the next call */
  replaceServicePort(index: number): number {
    const at = this.#replaced.extend(RECORD_WORDS);
    this.#replaced.words[at] = index;
    return at + 1;
  }

  get words(): Uint32Array {
    return this.#replaced.words;
  }

  changeBackend(slot: number, weight: number, flags: number): void {
    const at = this.#changed.extend(3);
    const { words } = this.#changed;
    words[at] = slot;
    words[at + 1] = weight;
    words[at + 2] = flags;
  }

  releaseBackend(slot: number): void {
    this.#released.push(slot);
  }

  /** Frontends claimed, as six words each at a multiple of eight. */
  get claims(): Uint32Array {
    return this.#claimed.words.subarray(0, this.#claimed.length);
  }

  /** Frontends given up, alike. */
  get drops(): Uint32Array {
    return this.#dropped.words.subarray(0, this.#dropped.length);
  }

  /**
   * Publishes everything. `onDropped` is called between the frontends given up and those claimed; `onRefused` for claims of frontends
   * that others have.
   */
  publish(
    machine: Machine,
    onDropped: (refused: ReadonlySet<number>) => void,
    onRefused: (change: Uint32Array) => void,
  ): void {
    const { exports } = machine;
    const refused = new Set<number>();
    transfer(machine, this.#dropped, CHANGE_WORDS, (at, count, first) => {
      if (exports.dropFrontends(at, count) > 0) eachRefused(machine, at, count, (i) => refused.add(first + i));
    });
    onDropped(refused);
    transfer(machine, this.#removed, 1, exports.removeServicePorts);
    transfer(machine, this.#replaced, RECORD_WORDS, exports.replaceServicePorts);
    transfer(machine, this.#changed, 3, exports.changeBackends);
    transfer(machine, this.#released, 1, exports.releaseBackends);
    transfer(machine, this.#claimed, CHANGE_WORDS, (at, count, first) => {
      if (exports.claimFrontends(at, count) === 0) return;
      eachRefused(machine, at, count, (i) => {
        const from = (first + i) * CHANGE_WORDS;
        onRefused(this.#claimed.words.slice(from, from + CHANGE_WORDS));
      });
    });
  }
}

/** Enters one frontend alone. False when another Service port has it. */
export function claimFrontend(machine: Machine, change: Uint32Array): boolean {
  const { scratch } = machine.layout.regions;
  machine.u32.set(change, scratch.address >> 2);
  return machine.exports.claimFrontends(scratch.address, 1) === 0;
}

function putFrontend(list: WordList, from: Uint32Array, at: number, servicePort: number): void {
  const to = list.extend(CHANGE_WORDS);
  const { words } = list;
  words[to] = from[at]!;
  words[to + 1] = from[at + 1]!;
  words[to + 2] = from[at + 2]!;
  words[to + 3] = from[at + 3]!;
  words[to + 4] = from[at + 4]!;
  words[to + 5] = servicePort;
  words[to + 6] = from[at + 5]!;
  words[to + 7] = 0;
}

/** Hands a list to the module, as many entries at a time as the scratch area holds. */
function transfer(
  machine: Machine,
  list: WordList,
  entryWords: number,
  call: (at: number, count: number, first: number) => void,
): void {
  const { scratch } = machine.layout.regions;
  const total = list.length / entryWords;
  const most = Math.floor(scratch.length / 4 / entryWords);
  for (let first = 0; first < total; first += most) {
    const count = Math.min(most, total - first);
    machine.u32.set(list.words.subarray(first * entryWords, (first + count) * entryWords), scratch.address >> 2);
    call(scratch.address, count, first);
  }
}

function eachRefused(machine: Machine, at: number, count: number, call: (i: number) => void): void {
  for (let i = 0; i < count; i++) {
    if (machine.u32[(at + i * FrontendChange.SIZE + FrontendChange.refused) >> 2] !== 0) call(i);
  }
}
