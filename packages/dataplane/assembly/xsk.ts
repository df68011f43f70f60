import { BATCH, FRAME_SIZE, NONE } from "./generated/layout";
import { Descriptors } from "./descriptors";

/**
 * The user's side of AF_XDP: moves descriptors between the kernel's rings, which are mapped into this memory, and the batch.
 * No frame is copied: sixteen bytes move when a frame goes from one port's receive ring to another port's transmit ring.
 *
 * The host lays this block down, gives every call its address (64-byte aligned), and opens and closes ports in it:
 *
 *     base            pool
 *     base + 64       ports, 64 bytes each, index as in the batch's `ingress` and `egress`
 *     + 64 * ports    kick list: u32 per port
 *     pool.free       stack of free frames, u32 offset into the UMEM each
 *     pool.owners     one byte per frame: who may touch it
 *
 *     pool   0 umem       4 frames     8 free      12 freeCount  16 owners      20 ports   24 hand     28 ringMask
 *           32 kicks     36 kickCount 40 fullDrops 44 host       48 reserve    52 portEnd
 *     port   0 rxProd     4 rxCons     8 rxRing    12 txProd     16 txCons      20 txRing
 *           24 fillProd  28 fillCons  32 fillRing  36 completionProd  40 completionCons  44 completionRing
 *           48 fillTarget 52 open     56 kicked    60 fillLimit
 *
 * Frame owners: FREE on the stack, BATCH_OWNER while a program works on it, otherwise 1 + index of the port in whose rings it is.
 * So a closed port gives back every frame, wherever the kernel left it.
 */
@unmanaged
class Pool {
  umem: u32;
  frames: u32;
  free: u32;
  freeCount: u32;
  owners: u32;
  ports: u32;
  hand: u32;
  ringMask: u32;
  kicks: u32;
  kickCount: u32;
  fullDrops: u32;
  host: u32;
  reserve: u32;
  /** One more than the highest open port: a look at the rings goes no further. */
  portEnd: u32;
}

@unmanaged
class XskPort {
  rxProducer: u32;
  rxConsumer: u32;
  rxRing: u32;
  txProducer: u32;
  txConsumer: u32;
  txRing: u32;
  fillProducer: u32;
  fillConsumer: u32;
  fillRing: u32;
  completionProducer: u32;
  completionConsumer: u32;
  completionRing: u32;
  fillTarget: u32;
  open: u32;
  kicked: u32;
  fillLimit: u32;
}

const POOL_SIZE: u32 = 64;
const PORT_SIZE: u32 = 64;
const FREE: u8 = 0;
const BATCH_OWNER: u8 = 255;
const FRAME_MASK: u32 = FRAME_SIZE - 1;
/** Most ports of a pool: an owner is one byte, and two of its values are taken. */
const PORT_LIMIT: u32 = 253;

class Xsk {
  @inline static pool(base: u32): Pool {
    return changetype<Pool>(<usize>base);
  }

  @inline static port(base: u32, index: u32): XskPort {
    return changetype<XskPort>(<usize>(base + POOL_SIZE + index * PORT_SIZE));
  }

  @inline static own(pool: Pool, offset: u32, owner: u8): void {
    store<u8>(<usize>(pool.owners + offset / FRAME_SIZE), owner);
  }

  /** Puts a frame on the stack; `offset` may point anywhere into it. */
  @inline static release(pool: Pool, offset: u32): void {
    const start = offset & ~FRAME_MASK;
    Xsk.own(pool, start, FREE);
    store<u32>(<usize>(pool.free + (pool.freeCount << 2)), start);
    pool.freeCount++;
  }

  /** Frames that the kernel has sent go back to the stack. */
  @inline static reap(pool: Pool, port: XskPort): void {
    const mask = pool.ringMask;
    const produced = atomic.load<u32>(<usize>port.completionProducer);
    let consumed = load<u32>(<usize>port.completionConsumer);
    if (consumed == produced) return;
    const ring = port.completionRing;
    while (consumed != produced) {
      Xsk.release(pool, load<u32>(<usize>(ring + ((consumed & mask) << 3))));
      consumed++;
    }
    atomic.store<u32>(<usize>port.completionConsumer, consumed);
  }

  /**
   * Gives the kernel frames to receive into. A port that nearly ran out of them gets twice as many from then on, up to its limit
   * and as long as the pool keeps its reserve: frames in the kernel's hands do not come back before something is received.
   */
  @inline static fill(pool: Pool, port: XskPort, owner: u8): void {
    const mask = pool.ringMask;
    let target = port.fillTarget;
    const consumed = atomic.load<u32>(<usize>port.fillConsumer);
    let produced = load<u32>(<usize>port.fillProducer);
    let held = produced - consumed;
    // A few at a time would cost a shared cache line each; wait for a quarter to be missing.
    if (held > target - (target >> 2)) return;
    let free = pool.freeCount;
    if (held < target >> 2 && target < port.fillLimit && free > pool.reserve + target) {
      target <<= 1;
      port.fillTarget = target;
    }
    const ring = port.fillRing;
    while (held < target && free > 0) {
      free--;
      const offset = load<u32>(<usize>(pool.free + (free << 2)));
      Xsk.own(pool, offset, owner);
      store<u64>(<usize>(ring + ((produced & mask) << 3)), <u64>offset);
      produced++;
      held++;
    }
    pool.freeCount = free;
    atomic.store<u32>(<usize>port.fillProducer, produced);
  }

  /** Puts a frame into a transmit ring. False when the ring is full or the port is closed. */
  @inline static send(pool: Pool, base: u32, index: u32, address: u32, length: u32): bool {
    if (index >= pool.ports) return false;
    const port = Xsk.port(base, index);
    if (!port.open) return false;
    const mask = pool.ringMask;
    const produced = load<u32>(<usize>port.txProducer);
    if (produced - atomic.load<u32>(<usize>port.txConsumer) > mask) return false;
    const offset = address - pool.umem;
    const entry = <usize>(port.txRing + ((produced & mask) << 4));
    store<u64>(entry, <u64>offset);
    store<u64>(entry, <u64>length, 8);
    Xsk.own(pool, offset, <u8>(index + 1));
    atomic.store<u32>(<usize>port.txProducer, produced + 1);
    if (!port.kicked) {
      port.kicked = 1;
      store<u32>(<usize>(pool.kicks + (pool.kickCount << 2)), index);
      pool.kickCount++;
    }
    return true;
  }
}

/** Octets of the block for so many ports and frames; a multiple of 64. */
export function xskBlockSize(ports: u32, frames: u32): u32 {
  return (POOL_SIZE + ports * PORT_SIZE + ports * 4 + frames * 4 + frames + 63) & ~63;
}

/**
 * Lays out an empty block: all frames free, all ports closed.
 *
 * @param ringSize entries of every ring, a power of two
 * @param host port of the node's own stack, to which its frames return when their verdict is PASS; none for dropping them
 * @returns 0 when there are more ports than an owner byte can name, else 1
 */
export function xskCreate(base: u32, umem: u32, frames: u32, ports: u32, ringSize: u32, host: u32): u32 {
  if (ports > PORT_LIMIT) return 0;
  memory.fill(<usize>base, 0, <usize>xskBlockSize(ports, frames));
  const pool = Xsk.pool(base);
  pool.umem = umem;
  pool.frames = frames;
  pool.ports = ports;
  pool.ringMask = ringSize - 1;
  pool.host = host;
  pool.kicks = base + POOL_SIZE + ports * PORT_SIZE;
  pool.free = pool.kicks + ports * 4;
  pool.owners = pool.free + frames * 4;
  // The lowest frames come off the stack first.
  for (let i: u32 = frames; i > 0; i--) Xsk.release(pool, (i - 1) * FRAME_SIZE);
  return 1;
}

/** Address of a port's twelve ring addresses, its fill target and its limit, for the host to write before {@link xskOpen}. */
export function xskPort(base: u32, index: u32): u32 {
  return base + POOL_SIZE + index * PORT_SIZE;
}

/** Begins to use a port whose addresses were written. */
export function xskOpen(base: u32, index: u32): void {
  const port = Xsk.port(base, index);
  const pool = Xsk.pool(base);
  port.open = 1;
  if (index >= pool.portEnd) pool.portEnd = index + 1;
  port.kicked = 0;
  const limit = port.fillLimit;
  // Empty is where a port begins, not what it ran down to.
  port.fillLimit = 0;
  Xsk.fill(pool, port, <u8>(index + 1));
  port.fillLimit = limit;
}

/** Stops using a port: no ring is touched from here on. Call it before the socket is closed. */
export function xskClose(base: u32, index: u32): void {
  const pool = Xsk.pool(base);
  Xsk.port(base, index).open = 0;
  while (pool.portEnd > 0 && !Xsk.port(base, pool.portEnd - 1).open) pool.portEnd--;
}

/** Takes back the frames of a closed port, once its socket is closed. */
export function xskReclaim(base: u32, index: u32): void {
  const pool = Xsk.pool(base);
  const owner = <u8>(index + 1);
  for (let i: u32 = 0; i < pool.frames; i++) {
    if (load<u8>(<usize>(pool.owners + i)) == owner) Xsk.release(pool, i * FRAME_SIZE);
  }
}

/**
 * Fills the batch's descriptors with frames that arrived, a share from each port, and gives the kernel new frames.
 *
 * @param limit most frames, at most {@link batchCapacity}
 * @returns how many
 */
export function xskReceive(base: u32, limit: u32): u32 {
  const pool = Xsk.pool(base);
  const ports = pool.portEnd;
  const mask = pool.ringMask;
  const umem = pool.umem;
  if (limit > BATCH) limit = BATCH;
  let count: u32 = 0;
  let index = pool.hand;
  for (let n: u32 = 0; n < ports && count < limit; n++) {
    if (index >= ports) index = 0;
    const port = Xsk.port(base, index);
    if (port.open) {
      Xsk.reap(pool, port);
      const produced = atomic.load<u32>(<usize>port.rxProducer);
      let consumed = load<u32>(<usize>port.rxConsumer);
      if (consumed != produced) {
        const ring = port.rxRing;
        while (consumed != produced && count < limit) {
          const entry = <usize>(ring + ((consumed & mask) << 4));
          const offset = load<u32>(entry);
          Xsk.own(pool, offset, BATCH_OWNER);
          Descriptors.set(count, umem + offset, load<u32>(entry, 8), index);
          consumed++;
          count++;
        }
        atomic.store<u32>(<usize>port.rxConsumer, consumed);
      }
      Xsk.fill(pool, port, <u8>(index + 1));
    }
    index++;
  }
  // Where the limit cut a port short, another begins next time.
  pool.hand = index;
  return count;
}

/**
 * Sends the first `count` frames of the batch where their verdicts say; the others, and those whose ring is full, are free again.
 *
 * @returns how many ports have frames to send: their indices are in the kick list ({@link xskKicks}), which the host clears by
 * {@link xskKicked} once it has told the kernel
 */
export function xskTransmit(base: u32, count: u32): u32 {
  const pool = Xsk.pool(base);
  for (let i: u32 = 0; i < count; i++) {
    const address = Descriptors.frame(i);
    const index = Descriptors.leaves(i, pool.host);
    if (index != NONE) {
      if (Xsk.send(pool, base, index, address, Descriptors.length(i))) continue;
      pool.fullDrops++;
    }
    Xsk.release(pool, address - pool.umem);
  }
  return pool.kickCount;
}

/** Keeps so many frames from ports that want more than they began with: for ports to come, and for what is being sent. */
export function xskReserve(base: u32, frames: u32): void {
  Xsk.pool(base).reserve = frames;
}

/** Address of the kick list: u32 port indices. */
export function xskKicks(base: u32): u32 {
  return Xsk.pool(base).kicks;
}

/** Empties the kick list. */
export function xskKicked(base: u32): void {
  const pool = Xsk.pool(base);
  for (let i: u32 = 0; i < pool.kickCount; i++) {
    Xsk.port(base, load<u32>(<usize>(pool.kicks + (i << 2)))).kicked = 0;
  }
  pool.kickCount = 0;
}

/** Frames in a port's transmit ring that the kernel has not taken yet. */
export function xskPending(base: u32, index: u32): u32 {
  const port = Xsk.port(base, index);
  if (!port.open) return 0;
  return load<u32>(<usize>port.txProducer) - atomic.load<u32>(<usize>port.txConsumer);
}

/**
 * Takes a free frame for the host to write into.
 *
 * @returns its address, or 0 when none is free
 */
export function xskAllocate(base: u32): u32 {
  const pool = Xsk.pool(base);
  if (pool.freeCount == 0) return 0;
  pool.freeCount--;
  const offset = load<u32>(<usize>(pool.free + (pool.freeCount << 2)));
  Xsk.own(pool, offset, BATCH_OWNER);
  return pool.umem + offset;
}

/** Sends a frame from {@link xskAllocate} out of a port; it is freed when that fails. Returns 1, or 0. */
export function xskSend(base: u32, index: u32, address: u32, length: u32): u32 {
  const pool = Xsk.pool(base);
  if (Xsk.send(pool, base, index, address, length)) return 1;
  Xsk.release(pool, address - pool.umem);
  return 0;
}

/** Frames on the stack. */
export function xskFree(base: u32): u32 {
  return Xsk.pool(base).freeCount;
}

/** Frames that found a transmit ring full, since creation. */
export function xskFullDrops(base: u32): u32 {
  return Xsk.pool(base).fullDrops;
}
