import { CONTROL, Control, FrontendKind } from "./generated/layout.ts";
import type { Machine } from "./memory.ts";
import type { ServicePortSpec } from "./service-port.ts";
import { FRONTEND_WORDS, ServicePortReader } from "./service-port-reader.ts";
import { CHANGE_WORDS, claimFrontend, type TableChanges } from "./table-changes.ts";

/**
 * Which Service port has which frontend. The table of frontends itself is the module's; here is who else claims a frontend that another
 * Service port has, and waits: when it is given up, the first of them inherits it. Every claim is either entered or waits.
 */
export class FrontendClaims {
  readonly #machine: Machine;
  readonly #changes: TableChanges;
  /** Reads the frontends that a Service port has so far. */
  readonly #before = new ServicePortReader();
  readonly #waiting = new Map<string, Uint32Array[]>();
  /** Claims of all Service ports, those that wait included. */
  #total = 0;

  constructor(machine: Machine, changes: TableChanges) {
    this.#machine = machine;
    this.#changes = changes;
  }

  /** Frontends that packets see. */
  get entered(): number {
    let waiting = 0;
    for (const list of this.#waiting.values()) waiting += list.length;
    return this.#total - waiting;
  }

  get hasWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /** Lists what differs from the frontends of `known`, which packets see so far. */
  stage(servicePort: number, known: ServicePortSpec | undefined, reader: ServicePortReader): void {
    const changes = this.#changes;
    const before = this.#before;
    before.frontendCount = 0;
    if (known !== undefined) {
      before.readFrontends(known);
      for (let i = 0; i < before.frontendCount; i++) {
        const from = i * FRONTEND_WORDS;
        const at = reader.frontendAt(before.frontends, from, reader.frontendCount) * FRONTEND_WORDS;
        if (at < 0 || reader.frontends[at + 5] !== before.frontends[from + 5])
          changes.dropFrontend(before.frontends, from, servicePort);
      }
    }
    for (let i = 0; i < reader.frontendCount; i++) {
      const from = i * FRONTEND_WORDS;
      const at = before.frontendAt(reader.frontends, from, before.frontendCount) * FRONTEND_WORDS;
      if (at < 0 || before.frontends[at + 5] !== reader.frontends[from + 5])
        changes.claimFrontend(reader.frontends, from, servicePort);
    }
  }

  /** Lists all frontends of a specification, as given up. */
  remove(servicePort: number, spec: ServicePortSpec): void {
    const before = this.#before;
    before.readFrontends(spec);
    for (let i = 0; i < before.frontendCount; i++)
      this.#changes.dropFrontend(before.frontends, i * FRONTEND_WORDS, servicePort);
  }

  /**
   * What is too small for what the change claims, the table of frontends or the pool of addresses: with `sideBySide` beside what it gives
   * up.
   */
  lack(sideBySide: boolean): "frontends" | "ipv6Addresses" | undefined {
    const changes = this.#changes;
    const { capacity, control } = this.#machine.layout;
    if (this.#total + changes.frontends > capacity.frontends) return "frontends";
    const used = this.#control("frontendCount");
    const { claimed, dropped } = changes.tableFrontends;
    // A head whose frontend is given up may stay, for the others of its address; who waits for a frontend has no slot to give up.
    const left = sideBySide || this.#waiting.size > 0 ? used : used - dropped + Math.min(dropped, used - dropped);
    if (left + claimed >= control.frontendLines! * 4) return "frontends";
    const spent = this.#control("longAddressHighWater") - this.#control("longAddressFreeCount");
    return spent + changes.longAddresses > capacity.ipv6Addresses ? "ipv6Addresses" : undefined;
  }

  /** Publishes the lists of the change: in one go, or what was marked in steps. */
  publish(isMarked: boolean): void {
    this.#total += this.#changes.frontends;
    const onDropped = (drops: Uint32Array, refused: ReadonlySet<number>) => this.#inherit(drops, refused);
    const onRefused = (frontend: Uint32Array) => this.#wait(frontend);
    if (isMarked) this.#changes.publishMarked(onDropped, onRefused);
    else this.#changes.publish(onDropped, onRefused);
  }

  #wait(frontend: Uint32Array): void {
    const key = frontendKey(frontend);
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) this.#waiting.set(key, [frontend]);
    else waiting.push(frontend);
  }

  /** After frontends were given up: who waited for one gets it, and who waited and gave up waits no longer. */
  #inherit(drops: Uint32Array, refused: ReadonlySet<number>): void {
    if (this.#waiting.size === 0) return;
    const words = CHANGE_WORDS;
    const left: string[] = [];
    for (let i = 0; i * words < drops.length; i++) {
      const frontend = drops.subarray(i * words, (i + 1) * words);
      const key = frontendKey(frontend);
      const waiting = this.#waiting.get(key);
      if (waiting === undefined) continue;
      if (refused.has(i)) {
        const position = waiting.findIndex((other) => other[5] === frontend[5]);
        if (position >= 0) waiting.splice(position, 1);
        if (waiting.length === 0) this.#waiting.delete(key);
      } else left.push(key);
    }
    for (const key of left) {
      const waiting = this.#waiting.get(key);
      const heir = waiting?.shift();
      if (heir !== undefined) claimFrontend(this.#machine, heir);
      if (waiting?.length === 0) this.#waiting.delete(key);
    }
  }

  #control(field: keyof typeof Control): number {
    return this.#machine.u32[(CONTROL + Control[field]) >> 2]!;
  }
}

/** Identity of a frontend over all Service ports. */
function frontendKey(change: Uint32Array): string {
  const node = change[6] === FrontendKind.NODE_PORT;
  return `${node ? "node" : ""}${change[4]}/${change[0]}:${change[1]}:${change[2]}:${change[3]}`;
}
