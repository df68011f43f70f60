import type { Device } from "./device.ts";

/** What goes wrong, as shares of frames from 0 to 1. All default to 0. */
export interface Faults {
  /** Frames that vanish. */
  readonly loss?: number;
  /** Frames that come twice. */
  readonly duplication?: number;
  /** Frames of which one bit flips, behind the Ethernet header. */
  readonly corruption?: number;
  /** Frames that are overtaken by the next one. */
  readonly reordering?: number;
}

/** How to make a fault injector. */
export interface FaultInjectorOptions extends Faults {
  /** The same seed and the same frames give the same faults. */
  readonly seed: number;
}

/** What a fault injector did so far. */
export interface FaultCounts {
  readonly lost: number;
  readonly duplicated: number;
  readonly corrupted: number;
  readonly reordered: number;
}

/** A device with faults. */
export interface FaultInjector extends Device {
  readonly counts: FaultCounts;
  /** Replaces the faults from the next frame on: to let a network heal, or break. */
  setFaults(faults: Faults): void;
}

// mulberry32: 32 bits of state are plenty for faults, and every language can repeat it.
function createGenerator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function checked(faults: Faults): Required<Faults> {
  const all = { loss: 0, duplication: 0, corruption: 0, reordering: 0, ...faults };
  for (const name of ["loss", "duplication", "corruption", "reordering"] as const) {
    if (!(all[name] >= 0 && all[name] <= 1)) throw new RangeError(`${name} ${all[name]} is no share; give 0 to 1`);
  }
  return all;
}

const HEADER = 14;

/**
 * Puts faults in front of a device, on frames that it sends; wrap both ends of a link for faults both ways. A lost frame was
 * taken, as on a wire: `transmit` says true.
 *
 * @throws RangeError for shares outside of 0 to 1
 */
export function createFaultInjector(device: Device, options: FaultInjectorOptions): FaultInjector {
  const random = createGenerator(options.seed);
  let faults = checked(options);
  let held: Uint8Array | undefined;
  const counts = { lost: 0, duplicated: 0, corrupted: 0, reordered: 0 };
  const happens = (share: number): boolean => random() < share;

  const release = (): void => {
    if (held === undefined) return;
    const frame = held;
    held = undefined;
    device.transmit(frame);
  };
  return {
    name: device.name,
    maximumFrame: device.maximumFrame,
    counts,
    setFaults(next): void {
      faults = checked(next);
    },
    receive: () => device.receive(),
    readable: (signal) => device.readable(signal),
    transmit(frame): boolean {
      // Each kind is asked for each frame, so that one share does not change the course of the others.
      const [lost, twice, corrupt, late] = [
        happens(faults.loss),
        happens(faults.duplication),
        happens(faults.corruption),
        happens(faults.reordering),
      ];
      const bit = random();
      if (frame.length < HEADER || frame.length > device.maximumFrame) return false;
      if (lost) {
        counts.lost++;
        return true;
      }
      const copy = frame.slice();
      if (corrupt && copy.length > HEADER) {
        const position = Math.floor(bit * (copy.length - HEADER) * 8);
        const at = HEADER + (position >> 3);
        copy[at] = copy[at]! ^ (1 << (position & 7));
        counts.corrupted++;
      }
      if (late && held === undefined) {
        held = copy;
        counts.reordered++;
        return true;
      }
      const taken = device.transmit(copy);
      if (twice && taken && device.transmit(copy)) counts.duplicated++;
      release();
      return taken;
    },
    close(): void {
      release();
      device.close();
    },
  };
}
