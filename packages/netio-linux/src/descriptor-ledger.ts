/**
 * Descriptors that a thread opened by FFI, written down where they can be found after its end. They belong to the process: a worker
 * thread that is terminated, or runs out of memory, leaves them open and runs no code of its own any more, so that somebody else has to
 * close them.
 */
import { closeDescriptor, errno, SystemCallError } from "./libc.ts";

/** Descriptors of a thread at a time: four a socket. */
const CAPACITY = 1024;
const EMPTY = -1;
const EMFILE = 24;

/** The open descriptors of another thread. */
export interface DescriptorLedger {
  /** To be given to the thread, which calls {@link keepDescriptorLedger} with it before it opens anything. */
  readonly memory: SharedArrayBuffer;
  /**
   * Closes what the thread left open. Only after its end: numbers that are closed in use go to somebody else.
   *
   * @returns how many there were
   */
  closeAll(): number;
}

const emptySlots = (memory: ArrayBuffer | SharedArrayBuffer): Int32Array => new Int32Array(memory).fill(EMPTY);

let kept: Int32Array | undefined;

/** Makes an empty ledger. */
export function createDescriptorLedger(): DescriptorLedger {
  const memory = new SharedArrayBuffer(4 * CAPACITY);
  const slots = emptySlots(memory);
  return {
    memory,
    closeAll(): number {
      const open = slots.filter((fd) => fd !== EMPTY);
      slots.fill(EMPTY);
      for (const fd of open) closeDescriptor(fd);
      return open.length;
    },
  };
}

/** From now on the calling thread writes its descriptors into this ledger. */
export function keepDescriptorLedger(memory: SharedArrayBuffer): void {
  kept = new Int32Array(memory);
}

/** A descriptor that the thread's ledger knows. */
export interface OwnedDescriptor {
  readonly fd: number;
  close(): void;
}

/**
 * Opens a descriptor and writes it down.
 *
 * @param open the system call, with its result
 * @throws {@link SystemCallError} when the result is negative, `ERR_EMFILE` when the ledger is full
 */
export function ownDescriptor(open: () => number, call: string, context: string): OwnedDescriptor {
  kept ??= emptySlots(new ArrayBuffer(4 * CAPACITY));
  const slots = kept;
  const slot = slots.indexOf(EMPTY);
  if (slot < 0) throw new SystemCallError(call, EMFILE, context);
  // In one step: between a call and a call after it the thread can be ended.
  slots[slot] = open();
  const fd = slots[slot]!;
  if (fd < 0) {
    const code = errno();
    slots[slot] = EMPTY;
    throw new SystemCallError(call, code, context);
  }
  return {
    fd,
    close(): void {
      // Forgotten first: a descriptor that stays open is the smaller harm than one of somebody else's that is closed.
      slots[slot] = EMPTY;
      closeDescriptor(fd);
    },
  };
}
