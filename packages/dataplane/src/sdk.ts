/**
 * Programs of one's own inside the dataplane: AssemblyScript, called for every frame without a step through the host. The sources that
 * a program imports are in this package's folder `sdk`, with two examples; `asc` finds them under the same name as this module.
 *
 * ```ts
 * import { attachProgram } from "@portolan/dataplane/sdk";
 *
 * const limiter = attachProgram(dataplane, wasm, { hook: "before", memory: 65_536 });
 * new DataView(limiter.memory.buffer, limiter.memory.byteOffset).setUint32(0, 100, true);
 * ```
 *
 * A module is checked before it is loaded: what it imports and exports, that it brings no memory, no data and no start function, and
 * that it never grows the memory. Where it writes cannot be checked: a program shares the dataplane's memory, and is trusted with it.
 *
 * @packageDocumentation
 */
import { type Dataplane, internalsOf } from "./dataplane.ts";
import {
  CONTROL,
  Control,
  PROGRAM_SLOT_COUNT,
  PROGRAM_SLOTS,
  ProgramHook,
  ProgramSlot,
  TICKS_PER_SECOND,
} from "./generated/layout.ts";
import { checkProgram, ProgramRefusedError } from "./program-check.ts";
import { globals } from "./web-assembly.ts";

export { checkProgram, type ProgramRefusal, ProgramRefusedError } from "./program-check.ts";

/** Options of {@link attachProgram}. */
export interface ProgramOptions {
  /**
   * `before`: before the dataplane looks at a frame; PASS hands it on, any other verdict ends its way. `after`: when the dataplane has
   * decided; the program's verdict replaces the one so far. Default `before`.
   */
  readonly hook?: "before" | "after";
  /** Bytes of memory for the program, zero at first. Default 4096; all programs share `capacity.programMemory`. */
  readonly memory?: number;
}

/** A program in its slot. */
export interface AttachedProgram {
  /** 0–15: programs of one hook run in this order, and may call one another at their tail by it. */
  readonly slot: number;
  /** The program's own memory. */
  readonly memory: Uint8Array;
  /** Frames it was called for; verdicts it must not give, and traps. A program that traps is detached. */
  counts(): { readonly runs: number; readonly aborted: number };
  readonly isAttached: boolean;
  /** Takes it out of its slot; nothing happens when it is out. */
  detach(): void;
}

/** A copy of a frame that a program put into a ring (`Ring` of the AssemblyScript side). */
export interface RingRecord {
  /** Seconds, from the dataplane's clock. */
  readonly time: number;
  readonly ingress: number;
  readonly bytes: Uint8Array;
  /** More than that of `bytes` when the copy was cut. */
  readonly originalLength: number;
}

/**
 * Checks a program, loads it and calls its `initialize`, if it has one.
 *
 * @throws ProgramRefusedError
 */
export function attachProgram(dataplane: Dataplane, bytes: Uint8Array, options: ProgramOptions = {}): AttachedProgram {
  const module = checkProgram(bytes);
  const { machine } = internalsOf(dataplane);
  const { u32, u8, view, table, layout } = machine;
  const wanted = options.memory ?? 4096;
  if (!Number.isInteger(wanted) || wanted < 0) throw new RangeError(`memory ${wanted} is no number of bytes`);
  const length = Math.ceil(wanted / 64) * 64;
  const at = (slot: number, field: keyof typeof ProgramSlot): number =>
    (PROGRAM_SLOTS + slot * ProgramSlot.SIZE + ProgramSlot[field]) >> 2;
  const slots = Array.from({ length: PROGRAM_SLOT_COUNT }, (_, i) => i);
  const slot = slots.find((i) => u32[at(i, "hook")] === ProgramHook.NONE);
  if (slot === undefined) throw new ProgramRefusedError("SLOTS", `all ${PROGRAM_SLOT_COUNT} slots are taken`);
  const region = layout.regions.programs;
  const taken = slots
    .filter((i) => u32[at(i, "hook")] !== ProgramHook.NONE)
    .map((i) => [u32[at(i, "memory")]!, u32[at(i, "memory")]! + u32[at(i, "memoryLength")]!] as const)
    .sort((a, b) => a[0] - b[0]);
  let address = region.address;
  for (const [start, end] of taken) {
    if (start - address >= length) break;
    address = end;
  }
  if (address + length > region.address + region.length) {
    throw new ProgramRefusedError(
      "SLOTS",
      `${length} bytes of memory do not fit: capacity.programMemory is ${layout.capacity.programMemory}`,
    );
  }
  let exports: { readonly program: (context: number) => number; readonly initialize?: Initialize };
  try {
    const instance = new globals.WebAssembly.Instance(module, { env: { memory: machine.memory } });
    exports = instance.exports as typeof exports;
  } catch (error) {
    throw new ProgramRefusedError("MEMORY", `it does not fit the dataplane's memory: ${(error as Error).message}`, {
      cause: error,
    });
  }
  u8.fill(0, address, address + length);
  exports.initialize?.(address, length);
  const target = table.grow(1);
  table.set(target, exports.program);
  const hook = options.hook === "after" ? ProgramHook.AFTER : ProgramHook.BEFORE;
  u32.fill(0, at(slot, "hook"), at(slot, "hook") + ProgramSlot.SIZE / 4);
  u32[at(slot, "target")] = target;
  u32[at(slot, "memory")] = address;
  u32[at(slot, "memoryLength")] = length;
  u32[at(slot, "hook")] = hook;
  const mask = (CONTROL + (hook === ProgramHook.AFTER ? Control.programsAfter : Control.programsBefore)) >> 2;
  u32[mask] = (u32[mask]! | (1 << slot)) >>> 0;
  const isAttached = (): boolean => u32[at(slot, "hook")] === hook && u32[at(slot, "target")] === target;
  let last = { runs: 0, aborted: 0 };
  const counts = () => {
    if (isAttached() || u32[at(slot, "target")] === target) {
      const from = PROGRAM_SLOTS + slot * ProgramSlot.SIZE;
      last = {
        runs: Number(view.getBigUint64(from + ProgramSlot.runs, true)),
        aborted: view.getUint32(from + ProgramSlot.aborted, true),
      };
    }
    return last;
  };
  return {
    slot,
    memory: u8.subarray(address, address + length),
    counts,
    get isAttached() {
      return isAttached();
    },
    detach() {
      if (!isAttached()) return;
      counts();
      u32[at(slot, "hook")] = ProgramHook.NONE;
      u32[mask] = (u32[mask]! & ~(1 << slot)) >>> 0;
      table.set(target, null);
    },
  };
}

type Initialize = (memory: number, length: number) => void;

/**
 * Reads and removes the records of a ring in a program's memory.
 *
 * @param offset where in the memory the ring begins
 */
export function readRing(
  memory: Uint8Array,
  offset: number,
): { readonly records: RingRecord[]; readonly lost: number } {
  const view = new DataView(memory.buffer, memory.byteOffset + offset, memory.byteLength - offset);
  const head = view.getUint32(0, true);
  const size = view.getUint32(12, true);
  const slots = Math.floor((view.byteLength - 16) / Math.max(1, size));
  const records: RingRecord[] = [];
  let tail = view.getUint32(4, true);
  for (; tail !== head && records.length < slots; tail = (tail + 1) >>> 0) {
    const at = 16 + (tail % slots) * size;
    const length = Math.min(view.getUint32(at, true), size - 16);
    records.push({
      time: view.getUint32(at + 8, true) / TICKS_PER_SECOND,
      ingress: view.getUint32(at + 12, true),
      bytes: memory.slice(offset + at + 16, offset + at + 16 + length),
      originalLength: view.getUint32(at + 4, true),
    });
  }
  view.setUint32(4, tail, true);
  return { records, lost: view.getUint32(8, true) };
}
