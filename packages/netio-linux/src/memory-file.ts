/** Memory that outlives the thread that works in it: a file without a name (memfd) that lies under a part of a WebAssembly memory. */
import { fstatSync, ftruncateSync, readSync } from "node:fs";
import { addressOf, checked, closeDescriptor, errno, libc, SystemCallError } from "./libc.ts";
import type { LinearMemory } from "./xdp-socket.ts";

const MFD_CLOEXEC = 1;
const PROT_READ_WRITE = 3;
const MAP_SHARED_FIXED = 0x11;
const PAGE = 4096;

/** A file in memory. The number may be handed to another thread of the process; whoever made it closes it. */
export interface MemoryFile {
  readonly fd: number;
  close(): void;
}

/** A part of a memory. */
export interface MemoryRange {
  /** Byte offset. */
  readonly offset: number;
  /** Octets. */
  readonly length: number;
}

/**
 * Makes an empty one.
 *
 * @param name for `/proc/PID/fd`
 * @throws {@link SystemCallError} when no descriptor is left
 */
export function createMemoryFile(name: string): MemoryFile {
  const fd = checked(libc().memfd_create(name, MFD_CLOEXEC), "memfd_create", name);
  return { fd, close: () => closeDescriptor(fd) };
}

/** The pages that a range touches. */
function pagesOf({ offset, length }: MemoryRange): { readonly from: number; readonly octets: number } {
  const from = offset & -PAGE;
  return { from, octets: ((offset + length + PAGE - 1) & -PAGE) - from };
}

/**
 * Lays a file under a range: what is written there from now on is the file's, and is read by {@link readMemoryFile} when the memory is
 * gone. The range keeps its contents. The memory must not move or grow.
 *
 * @throws {@link SystemCallError}
 */
export function keepInMemoryFile(fd: number, memory: LinearMemory, range: MemoryRange): void {
  const { from, octets } = pagesOf(range);
  ftruncateSync(fd, octets);
  const bytes = new Uint8Array(memory.buffer, from, octets);
  // Of pages that were never touched there stay none.
  const empty = new Uint8Array(PAGE);
  const written: (readonly [number, Uint8Array])[] = [];
  for (let at = 0; at < octets; at += PAGE) {
    const page = bytes.subarray(at, at + PAGE);
    if (Buffer.compare(page, empty) !== 0) written.push([at, page.slice()]);
  }
  const address = Number(addressOf(bytes));
  if (libc().mmap(address, octets, PROT_READ_WRITE, MAP_SHARED_FIXED, fd, 0) < 0)
    throw new SystemCallError("mmap", errno(), "memory file");
  for (const [at, page] of written) bytes.set(page, at);
}

/** What a file kept of a range of that place and length; undefined when it never kept one. */
export function readMemoryFile(fd: number, range: MemoryRange): Uint8Array | undefined {
  const { from, octets } = pagesOf(range);
  if (fstatSync(fd).size !== octets) return undefined;
  const bytes = new Uint8Array(range.length);
  for (let at = 0; at < range.length; ) {
    const count = readSync(fd, bytes, at, range.length - at, range.offset - from + at);
    if (count === 0) return undefined;
    at += count;
  }
  return bytes;
}
