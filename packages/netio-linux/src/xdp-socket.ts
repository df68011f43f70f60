/**
 * AF_XDP sockets whose frames (UMEM) and rings lie in a WebAssembly memory, so that a program in that memory reads and
 * writes them without a copy and without a host call. `Documentation/networking/af_xdp.rst` of the kernel.
 *
 * All offsets are into the WebAssembly memory. A ring is three places in it:
 *
 * ```text
 *  producer  u32   written by who puts entries in
 *  consumer  u32   written by who takes entries out
 *  entries   fill and completion: u64 offset of a frame in the UMEM
 *            receive and transmit: u64 offset of the data, u32 length, u32 options
 * ```
 *
 * Both counters run freely; entry `n` lies at `n mod size`. The memory must never move: create it with `initial` equal to
 * `maximum`, or grow it to its end before.
 */

import { ownDescriptor } from "./descriptor-ledger.ts";
import { addressOf, checked, errno, libc, SystemCallError } from "./libc.ts";
import { attachRedirect } from "./xdp-program.ts";

const AF_XDP = 44;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_XDP = 283;
const XDP_MMAP_OFFSETS = 1;
const XDP_RX_RING = 2;
const XDP_TX_RING = 3;
const XDP_UMEM_REG = 4;
const XDP_UMEM_FILL_RING = 5;
const XDP_UMEM_COMPLETION_RING = 6;
const XDP_STATISTICS = 7;
const XDP_MAX_TX_SKB_BUDGET = 9;
const XDP_SHARED_UMEM = 1;
const XDP_USE_NEED_WAKEUP = 8;
const PAGE_OFFSET = { rx: 0, tx: 0x80000000, fill: 0x100000000, completion: 0x180000000 } as const;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_POPULATE = 0x8000;
const MSG_DONTWAIT = 0x40;
const PAGE = 4096;

/** Where a ring lies: byte offsets into the WebAssembly memory. */
export interface RingLayout {
  readonly producer: number;
  readonly consumer: number;
  readonly entries: number;
  /** Bit 0: the kernel sleeps and wants a call (`XDP_RING_NEED_WAKEUP`). */
  readonly flags: number;
  /** A power of two. */
  readonly size: number;
}

/** The four rings of a socket. */
export interface RingLayouts {
  readonly rx: RingLayout;
  readonly tx: RingLayout;
  readonly fill: RingLayout;
  readonly completion: RingLayout;
}

/** A `WebAssembly.Memory`, as far as it is needed here. */
export interface LinearMemory {
  readonly buffer: ArrayBuffer | SharedArrayBuffer;
}

/** Frames in a WebAssembly memory. */
export interface FrameMemory {
  readonly memory: LinearMemory;
  /** Byte offset of the first frame, a multiple of 4096. */
  readonly offset: number;
  /** Octets, a multiple of `frameSize`. */
  readonly length: number;
  /** 2048 or 4096: the kernel's choice of chunk sizes. 256 octets of each frame are headroom. */
  readonly frameSize: number;
}

/** What an AF_XDP socket is made from. */
export interface XdpSocketOptions {
  /** A link of the calling thread's network namespace with one queue. */
  readonly link: string;
  readonly frames: FrameMemory;
  /** Byte offset of {@link ringMemorySize} octets for the rings, a multiple of 4096. */
  readonly ringOffset: number;
  /** Entries of each ring, a power of two. */
  readonly ringSize: number;
  /** A socket over the same frames; absent for the first, which registers them. */
  readonly shared?: XdpSocket;
}

/** Counters of a socket as the kernel keeps them (`struct xdp_statistics`). */
export interface XdpStatistics {
  readonly rxDropped: number;
  readonly rxInvalidDescriptors: number;
  readonly txInvalidDescriptors: number;
  readonly rxRingFull: number;
  readonly rxFillRingEmpty: number;
  readonly txRingEmpty: number;
}

/** An open AF_XDP socket, bound to queue 0 of its link. */
export interface XdpSocket {
  /** Poll it for input to wait for frames. */
  readonly fd: number;
  readonly link: string;
  readonly mode: "driver" | "generic";
  readonly rings: RingLayouts;
  /**
   * Tells the kernel to send what the transmit ring holds. One call sends 32 frames, or more where the kernel lets the
   * budget be raised; look at the ring and call again.
   *
   * @returns false when the device could not take all now
   */
  kick(): boolean;
  statistics(): XdpStatistics;
  /** Detaches the program, closes the socket, and puts ordinary memory in place of the rings. */
  close(): void;
}

const pages = (octets: number): number => (octets + PAGE - 1) & -PAGE;

/** Octets that the four rings of a socket need in the WebAssembly memory; every ring begins on a page of its own. */
export function ringMemorySize(ringSize: number): number {
  // The counters take up to 384 octets before the entries (they stand on cache lines of their own).
  return 2 * pages(512 + 16 * ringSize) + 2 * pages(512 + 8 * ringSize);
}

const EBUSY = 16;
const BIND_ATTEMPTS = 50;

// The kernel lets go of a closed socket's queue a moment later, from a work queue.
function bindWhenFree(fd: number, address: Buffer, context: string): void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let attempt = 1; ; attempt++) {
    if (libc().bind(fd, address, 16) >= 0) return;
    const code = errno();
    if (code !== EBUSY || attempt === BIND_ATTEMPTS) throw new SystemCallError("bind", code, context);
    Atomics.wait(pause, 0, 0, 2);
  }
}

/**
 * Opens an AF_XDP socket on a link and attaches the program that feeds it.
 *
 * @throws {@link RangeError} for sizes that are no powers of two or offsets that are not aligned
 * @throws {@link SystemCallError} `ERR_EPERM`, `ERR_ENODEV`, `ERR_EAFNOSUPPORT` (kernel without AF_XDP), `ERR_EBUSY`
 */
export function createXdpSocket(options: XdpSocketOptions): XdpSocket {
  const { link, frames, ringOffset, ringSize, shared } = options;
  if (ringSize < 2 || (ringSize & (ringSize - 1)) !== 0)
    throw new RangeError(`ring size ${ringSize} is no power of two`);
  if (ringOffset % PAGE !== 0 || frames.offset % PAGE !== 0)
    throw new RangeError("rings and frames begin on a page (4096)");
  const c = libc();
  const bytes = new Uint8Array(frames.memory.buffer);
  const base = Number(addressOf(bytes));
  const context = `AF_XDP socket on ${link}`;
  const socket = ownDescriptor(() => c.socket(AF_XDP, SOCK_RAW_CLOEXEC, 0), "socket(AF_XDP)", context);
  const { fd } = socket;
  const ringOctets = ringMemorySize(ringSize);
  let mapped = false;

  const release = (): void => {
    // The descriptors go first: rings that the kernel still fills must not be pulled from under it.
    socket.close();
    if (mapped) {
      const flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
      c.mmap(base + ringOffset, ringOctets, PROT_READ_WRITE, flags, -1, 0);
    }
  };

  try {
    if (shared === undefined) {
      const registration = Buffer.alloc(32);
      registration.writeBigUInt64LE(BigInt(base + frames.offset), 0);
      registration.writeBigUInt64LE(BigInt(frames.length), 8);
      registration.writeUInt32LE(frames.frameSize, 16);
      checked(c.setsockopt(fd, SOL_XDP, XDP_UMEM_REG, registration, 32), "setsockopt(XDP_UMEM_REG)", context);
    }
    const size = Buffer.alloc(4);
    size.writeUInt32LE(ringSize);
    for (const ring of [XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING]) {
      checked(c.setsockopt(fd, SOL_XDP, ring, size, 4), `setsockopt(XDP ring ${ring})`, context);
    }
    // Kernels before 6.17 do not know this option and send 32 frames a call.
    c.setsockopt(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, size, 4);

    const offsets = Buffer.alloc(128);
    const offsetsLength = Buffer.alloc(4);
    offsetsLength.writeUInt32LE(128);
    checked(
      c.getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, offsets, offsetsLength),
      "getsockopt(XDP_MMAP_OFFSETS)",
      context,
    );
    const [PRODUCER, CONSUMER, ENTRIES, FLAGS] = [0, 1, 2, 3];
    let at = ringOffset;
    const map = (index: number, entrySize: number, pageOffset: number): RingLayout => {
      const field = (which: number): number => Number(offsets.readBigUInt64LE(index * 32 + which * 8));
      const length = pages(field(ENTRIES) + ringSize * entrySize);
      const flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
      if (c.mmap(base + at, length, PROT_READ_WRITE, flags, fd, pageOffset) < 0) {
        throw new SystemCallError("mmap", errno(), context);
      }
      mapped = true;
      const ring = {
        producer: at + field(PRODUCER),
        consumer: at + field(CONSUMER),
        entries: at + field(ENTRIES),
        flags: at + field(FLAGS),
        size: ringSize,
      };
      at += length;
      return ring;
    };
    const rings: RingLayouts = {
      rx: map(0, 16, PAGE_OFFSET.rx),
      tx: map(1, 16, PAGE_OFFSET.tx),
      fill: map(2, 8, PAGE_OFFSET.fill),
      completion: map(3, 8, PAGE_OFFSET.completion),
    };
    if (at > ringOffset + ringOctets)
      throw new RangeError(`${context}: the kernel's rings need ${at - ringOffset} octets`);

    const linkIndex = c.if_nametoindex(link);
    if (linkIndex === 0) throw new SystemCallError("if_nametoindex", errno(), context);
    const address = Buffer.alloc(16);
    address.writeUInt16LE(AF_XDP, 0);
    address.writeUInt16LE(shared === undefined ? XDP_USE_NEED_WAKEUP : XDP_SHARED_UMEM, 2);
    address.writeUInt32LE(linkIndex, 4);
    if (shared !== undefined) address.writeUInt32LE(shared.fd, 12);
    bindWhenFree(fd, address, context);
    const program = attachRedirect(linkIndex, fd, context);
    return {
      fd,
      link,
      mode: program.mode,
      rings,
      kick(): boolean {
        return c.sendto(fd, null, 0, MSG_DONTWAIT, null, 0) >= 0;
      },
      statistics(): XdpStatistics {
        const value = Buffer.alloc(48);
        const length = Buffer.alloc(4);
        length.writeUInt32LE(48);
        checked(c.getsockopt(fd, SOL_XDP, XDP_STATISTICS, value, length), "getsockopt(XDP_STATISTICS)", context);
        const field = (index: number): number => Number(value.readBigUInt64LE(index * 8));
        return {
          rxDropped: field(0),
          rxInvalidDescriptors: field(1),
          txInvalidDescriptors: field(2),
          rxRingFull: field(3),
          rxFillRingEmpty: field(4),
          txRingEmpty: field(5),
        };
      },
      close(): void {
        program.close();
        release();
      },
    };
  } catch (error) {
    release();
    throw error;
  }
}
