import { CONTROL, Control, FrontendChange, FrontendKind, FrontendMark, ServicePortChange } from "./generated/layout.ts";
import type { Machine } from "./memory.ts";
import { WordList } from "./word-list.ts";

/** Words of a frontend change: see `FrontendChange`. */
export const CHANGE_WORDS: number = FrontendChange.SIZE / 4;
const RECORD_WORDS = ServicePortChange.SIZE / 4;

/** One call over a list: takes it as it lies at an address, from its entry `first` on. */
interface Pass {
  readonly list: WordList;
  readonly entryWords: number;
  readonly call: (at: number, count: number, first: number) => void;
}

/**
 * What packets will see of a change, listed while it is prepared and published by a few calls: see `assembly/table-changes.ts` for
 * the lists and their order.
 */
export class TableChanges {
  readonly #machine: Machine;
  readonly #dropped = new WordList();
  readonly #claimed = new WordList();
  /** Node ports are few and cheap: they change when the change is published, also when it goes in steps. */
  readonly #droppedNodePorts = new WordList();
  readonly #claimedNodePorts = new WordList();
  readonly #removed = new WordList();
  readonly #replaced = new WordList();
  readonly #changed = new WordList();
  readonly #released = new WordList();
  /** What remains of the passes that mark frontends, or that clear away after a publication. */
  #passes: Pass[] = [];
  #pass = 0;
  #entry = 0;
  #isContested = false;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Frontends claimed less those given up. */
  get frontends(): number {
    const { length } = this.#claimed;
    const words = length + this.#claimedNodePorts.length - this.#dropped.length - this.#droppedNodePorts.length;
    return words / CHANGE_WORDS;
  }

  /** Frontends that take slots of the table, claimed and given up. */
  get tableFrontends(): { readonly claimed: number; readonly dropped: number } {
    return { claimed: this.#claimed.length / CHANGE_WORDS, dropped: this.#dropped.length / CHANGE_WORDS };
  }

  /** Claimed ones that may need a place in the pool of IPv6 addresses. */
  get longAddresses(): number {
    let count = 0;
    for (let at = 4; at < this.#claimed.length; at += CHANGE_WORDS) if (this.#claimed.words[at]! >>> 24 === 6) count++;
    return count;
  }

  clear(): void {
    this.#passes.length = 0;
    this.#isContested = false;
    for (const list of [this.#dropped, this.#claimed, this.#droppedNodePorts, this.#claimedNodePorts]) list.clear();
    for (const list of [this.#removed, this.#replaced, this.#changed, this.#released]) list.clear();
  }

  dropFrontend(words: Uint32Array, from: number, servicePort: number): void {
    const isNodePort = words[from + 5] === FrontendKind.NODE_PORT;
    putFrontend(isNodePort ? this.#droppedNodePorts : this.#dropped, words, from, servicePort);
  }

  claimFrontend(words: Uint32Array, from: number, servicePort: number): void {
    const isNodePort = words[from + 5] === FrontendKind.NODE_PORT;
    putFrontend(isNodePort ? this.#claimedNodePorts : this.#claimed, words, from, servicePort);
  }

  removeServicePort(index: number): void {
    this.#removed.push(index);
  }

  replaceServicePort(
    index: number,
    settings: number,
    affinityTicks: number,
    extension: number,
    clusterBase: number,
    clusterCount: number,
  ): void {
    const at = this.#replaced.extend(RECORD_WORDS);
    const { words } = this.#replaced;
    words[at] = index;
    words[at + ServicePortChange.flags / 4] = settings;
    words[at + ServicePortChange.affinityTicks / 4] = affinityTicks;
    words[at + ServicePortChange.extension / 4] = extension;
    words[at + ServicePortChange.clusterBase / 4] = clusterBase;
    words[at + ServicePortChange.clusterCount / 4] = clusterCount;
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

  /** Slots of backends released. */
  get released(): WordList {
    return this.#released;
  }

  /**
   * Publishes everything at once. `onDropped` is called after frontends were given up and before others are claimed, with those given
   * up and which of them others had; `onRefused` for claims of frontends that others have.
   */
  publish(
    onDropped: (drops: Uint32Array, refused: ReadonlySet<number>) => void,
    onRefused: (change: Uint32Array) => void,
  ): void {
    const { exports } = this.#machine;
    this.#drop(this.#dropped, onDropped);
    this.#drop(this.#droppedNodePorts, onDropped);
    this.#transfer(this.#removed, 1, exports.removeServicePorts);
    this.#publishRecords();
    this.#transfer(this.#released, 1, exports.releaseBackends);
    this.#claim(this.#claimed, onRefused);
    this.#claim(this.#claimedNodePorts, onRefused);
  }

  #drop(list: WordList, onDropped: (drops: Uint32Array, refused: ReadonlySet<number>) => void): void {
    if (list.length === 0) return;
    const refused = new Set<number>();
    this.#transfer(list, CHANGE_WORDS, (at, count, first) => {
      if (this.#machine.exports.dropFrontends(at, count) > 0)
        eachRefused(this.#machine, at, count, (i) => refused.add(first + i));
    });
    onDropped(list.words.subarray(0, list.length), refused);
  }

  #claim(list: WordList, onRefused: (change: Uint32Array) => void): void {
    this.#transfer(list, CHANGE_WORDS, (at, count, first) => {
      if (this.#machine.exports.claimFrontends(at, count, 0) === 0) return;
      eachRefused(this.#machine, at, count, (i) => {
        const from = (first + i) * CHANGE_WORDS;
        onRefused(list.words.slice(from, from + CHANGE_WORDS));
      });
    });
  }

  #publishRecords(): void {
    const { exports } = this.#machine;
    this.#transfer(this.#replaced, RECORD_WORDS, exports.replaceServicePorts);
    this.#transfer(this.#changed, 3, exports.changeBackends);
  }

  /** True when a frontend that was marked is another Service port's: then only {@link publish} knows what to do. */
  get isContested(): boolean {
    return this.#isContested;
  }

  /** Begins a publication in steps: frontends that come and go are marked by {@link advance} while packets go on. */
  beginMarking(): void {
    const { exports } = this.#machine;
    this.#begin([
      this.#frontendPass(this.#dropped, (at, count) => {
        if (exports.doomFrontends(at, count) > 0) this.#isContested = true;
      }),
      this.#frontendPass(this.#claimed, (at, count) => {
        if (exports.claimFrontends(at, count, FrontendMark.BORN) > 0) this.#isContested = true;
      }),
    ]);
  }

  /** Takes back what was marked. */
  unmark(): void {
    const { exports } = this.#machine;
    this.#begin([
      this.#frontendPass(this.#claimed, (at, count) => exports.removeFrontends(at, count, FrontendMark.BORN)),
      this.#frontendPass(this.#dropped, (at, count) => exports.settleFrontends(at, count, FrontendMark.DYING)),
      this.#frontendPass(this.#claimed, exports.forgetFrontends),
      this.#frontendPass(this.#dropped, exports.forgetFrontends),
    ]);
    while (this.advance(Number.POSITIVE_INFINITY) > 0);
    this.#isContested = false;
  }

  /** Publishes what was marked, and with it everything else; {@link advance} then clears away. */
  publishMarked(
    onDropped: (drops: Uint32Array, refused: ReadonlySet<number>) => void,
    onRefused: (change: Uint32Array) => void,
  ): void {
    const { exports, u32 } = this.#machine;
    const hidden = (CONTROL + Control.frontendHidden) >> 2;
    u32[hidden] = FrontendMark.DYING;
    this.#drop(this.#droppedNodePorts, onDropped);
    this.#publishRecords();
    this.#claim(this.#claimedNodePorts, onRefused);
    this.#begin([
      this.#frontendPass(this.#claimed, (at, count) => exports.settleFrontends(at, count, FrontendMark.BORN)),
      this.#frontendPass(this.#dropped, (at, count) => exports.removeFrontends(at, count, FrontendMark.DYING)),
      this.#frontendPass(this.#claimed, exports.forgetFrontends),
      this.#frontendPass(this.#dropped, exports.forgetFrontends),
      { list: this.#removed, entryWords: 1, call: exports.removeServicePorts },
      { list: this.#released, entryWords: 1, call: exports.releaseBackends },
    ]);
  }

  /** After the last of its passes: marks mean again what they mean before a publication. */
  endPublication(): void {
    this.#machine.u32[(CONTROL + Control.frontendHidden) >> 2] = FrontendMark.BORN;
  }

  #frontendPass(list: WordList, call: (at: number, count: number) => void): Pass {
    return { list, entryWords: CHANGE_WORDS, call };
  }

  #begin(passes: Pass[]): void {
    this.#passes = passes;
    this.#pass = 0;
    this.#entry = 0;
  }

  /**
   * Goes on with what was begun, by up to `count` entries of lists.
   *
   * @returns how many remain
   */
  advance(count: number): number {
    let left = count;
    while (this.#pass < this.#passes.length) {
      if (left <= 0) break;
      const { list, entryWords, call } = this.#passes[this.#pass]!;
      const total = list.length / entryWords;
      const part = Math.min(left, total - this.#entry);
      if (part > 0) this.#transfer(list, entryWords, call, this.#entry, part);
      left -= part;
      this.#entry += part;
      if (this.#entry < total) continue;
      this.#entry = 0;
      this.#pass++;
    }
    let remaining = -this.#entry;
    for (let i = this.#pass; i < this.#passes.length; i++)
      remaining += this.#passes[i]!.list.length / this.#passes[i]!.entryWords;
    return Math.max(0, remaining);
  }

  /** Hands a list to the module, as many entries at a time as the scratch area holds. */
  #transfer(
    list: WordList,
    entryWords: number,
    call: (at: number, count: number, first: number) => void,
    from = 0,
    entries = list.length / entryWords,
  ): void {
    const { u32, layout } = this.#machine;
    const { scratch } = layout.regions;
    const most = Math.floor(scratch.length / 4 / entryWords);
    for (let first = from; first < from + entries; first += most) {
      const count = Math.min(most, from + entries - first);
      u32.set(list.words.subarray(first * entryWords, (first + count) * entryWords), scratch.address >> 2);
      call(scratch.address, count, first);
    }
  }
}

/** Enters one frontend alone. False when another Service port has it. */
export function claimFrontend(machine: Machine, change: Uint32Array): boolean {
  const { scratch } = machine.layout.regions;
  machine.u32.set(change, scratch.address >> 2);
  return machine.exports.claimFrontends(scratch.address, 1, 0) === 0;
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

function eachRefused(machine: Machine, at: number, count: number, call: (i: number) => void): void {
  for (let i = 0; i < count; i++) {
    if (machine.u32[(at + i * FrontendChange.SIZE + FrontendChange.refused) >> 2] !== 0) call(i);
  }
}
