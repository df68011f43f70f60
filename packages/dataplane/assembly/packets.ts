import { BATCH, FRAME_ROOM, NONE } from "./generated/layout";
import { Descriptors } from "./descriptors";
import { Segments } from "./segments";

/**
 * The user's side of packet sockets: what recvmmsg(2) and sendmmsg(2) are told lies in this memory, and so do the frames. A frame is
 * received into the place of its descriptor and sent from there: the kernel copies it in and out, nobody else does.
 *
 * The host lays this block down (64-byte aligned) and gives every call its address:
 *
 *     base            block
 *     base + 64       messages to receive into, 64 bytes each: `struct mmsghdr` of 64-bit Linux
 *     + 64 * limit    messages to send
 *     + 64 * limit    where each received frame lies, 16 bytes each: `struct iovec`
 *     + 16 * limit    where each frame to send lies
 *     + 16 * limit    port by which each frame of the batch leaves, u32
 *     +  4 * limit    runs, 12 bytes each: port, first message, number of messages
 *     + 12 * limit    messages per port, u32
 *
 *     block    0 native (address of this memory's first byte, u64)   8 frames   12 stride   16 limit   20 header   24 ports   28 host
 *             32 unknownPort
 *     mmsghdr  0 name   8 nameLength   16 iovec   24 iovecs   32 control   40 controlLength   48 flags   56 length
 */
@unmanaged
class Block {
  native: u64;
  frames: u32;
  stride: u32;
  limit: u32;
  header: u32;
  ports: u32;
  host: u32;
  unknownPort: u32;
}

const BLOCK_SIZE: u32 = 64;
const MESSAGE_SIZE: u32 = 64;
const VECTOR_SIZE: u32 = 16;
const RUN_SIZE: u32 = 12;
const MESSAGE_FLAGS: usize = 48;
const MESSAGE_LENGTH: usize = 56;
const MSG_TRUNC: u32 = 0x20;

class Packets {
  @inline static block(base: u32): Block {
    return changetype<Block>(<usize>base);
  }
  @inline static received(base: u32, i: u32): usize {
    return <usize>(base + BLOCK_SIZE + i * MESSAGE_SIZE);
  }
  @inline static sent(base: u32, limit: u32, i: u32): usize {
    return <usize>(base + BLOCK_SIZE + (limit + i) * MESSAGE_SIZE);
  }
  @inline static vectors(base: u32, limit: u32): u32 {
    return base + BLOCK_SIZE + 2 * limit * MESSAGE_SIZE;
  }
  @inline static leaves(base: u32, limit: u32): u32 {
    return Packets.vectors(base, limit) + 2 * limit * VECTOR_SIZE;
  }
  @inline static runs(base: u32, limit: u32): u32 {
    return Packets.leaves(base, limit) + limit * 4;
  }
  @inline static counts(base: u32, limit: u32): u32 {
    return Packets.runs(base, limit) + limit * RUN_SIZE;
  }
}

/** Octets of the block for batches of so many frames and so many ports; a multiple of 64. */
export function packetBlockSize(limit: u32, ports: u32): u32 {
  return (Packets.counts(0, limit) + ports * 4 + 63) & ~63;
}

/**
 * Lays out a block.
 *
 * @param nativeLow low half of the address of this memory's first byte
 * @param frames first frame; frame `i` lies `i * stride` after it
 * @param stride octets of which FRAME_ROOM and more are the frame's own
 * @param limit most frames of a batch
 * @param header octets before each frame that are received and sent with it: 0, or the 10 of a virtio header (see segments.ts), for
 *   which 16 octets must be free there
 * @param host port of the node's own stack, to which its frames return when their verdict is PASS
 * @returns 0 when a batch cannot be as large or the frames are too small, else 1
 */
export function packetCreate(
  base: u32,
  nativeLow: u32,
  nativeHigh: u32,
  frames: u32,
  stride: u32,
  limit: u32,
  header: u32,
  ports: u32,
  host: u32,
): u32 {
  if (limit > BATCH || stride < FRAME_ROOM + 16) return 0;
  memory.fill(<usize>base, 0, <usize>packetBlockSize(limit, ports));
  const block = Packets.block(base);
  const native = ((<u64>nativeHigh) << 32) | <u64>nativeLow;
  block.native = native;
  block.frames = frames;
  block.stride = stride;
  block.limit = limit;
  block.header = header;
  block.ports = ports;
  block.host = host;
  const vectors = Packets.vectors(base, limit);
  for (let i: u32 = 0; i < 2 * limit; i++) {
    const message = Packets.received(base, i);
    const vector = vectors + i * VECTOR_SIZE;
    store<u64>(message, native + <u64>vector, 16);
    store<u64>(message, 1, 24);
    if (i >= limit) continue;
    store<u64>(<usize>vector, native + <u64>(frames + i * stride - header));
    // What lies before the next frame is that one's.
    store<u64>(<usize>vector, <u64>(stride - 16 + header), 8);
  }
  if (header != 0) Segments.place(frames, frames + limit * stride);
  return 1;
}

/** Address of the message for frame `i` of the next batch: recvmmsg is told this one and those after it. */
export function packetMessages(base: u32, i: u32): u32 {
  return <u32>Packets.received(base, i);
}

/** Fills in the descriptors of `count` frames from `first` on, which recvmmsg has just received from a port. */
export function packetReceived(base: u32, first: u32, count: u32, port: u32): void {
  const block = Packets.block(base);
  const header = block.header;
  for (let i = first; i < first + count; i++) {
    const message = Packets.received(base, i);
    const frame = block.frames + i * block.stride;
    const octets = load<u32>(message, MESSAGE_LENGTH);
    // What is not whole has no octets: the program drops it, and counts it.
    let length = (load<u32>(message, MESSAGE_FLAGS) & MSG_TRUNC) != 0 || octets < header ? 0 : octets - header;
    if (header != 0) length = Segments.arrive(frame, length);
    Descriptors.set(i, frame, length, port);
  }
}

/**
 * Sorts the first `count` frames of the batch into messages by the ports that their verdicts say.
 *
 * @returns number of runs ({@link packetRuns}): messages one after the other that go out of one port
 */
export function packetTransmit(base: u32, count: u32): u32 {
  const block = Packets.block(base);
  const limit = block.limit;
  const host = block.host;
  const header = block.header;
  const ports = block.ports;
  const leaves = Packets.leaves(base, limit);
  const runs = Packets.runs(base, limit);
  const counts = Packets.counts(base, limit);
  let runCount: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    let port = Descriptors.leaves(i, host);
    if (port != NONE && port >= ports) {
      block.unknownPort++;
      port = NONE;
    }
    store<u32>(<usize>(leaves + (i << 2)), port);
    if (port == NONE) continue;
    const counter = <usize>(counts + (port << 2));
    const before = load<u32>(counter);
    if (before == 0) store<u32>(<usize>(runs + runCount++ * RUN_SIZE), port);
    store<u32>(counter, before + 1);
  }
  let next: u32 = 0;
  for (let r: u32 = 0; r < runCount; r++) {
    const run = <usize>(runs + r * RUN_SIZE);
    const counter = <usize>(counts + (load<u32>(run) << 2));
    const messages = load<u32>(counter);
    store<u32>(run, next, 4);
    store<u32>(run, messages, 8);
    // From here on the place of the port's next message.
    store<u32>(counter, next);
    next += messages;
  }
  const vectors = Packets.vectors(base, limit) + limit * VECTOR_SIZE;
  for (let i: u32 = 0; i < count; i++) {
    const port = load<u32>(<usize>(leaves + (i << 2)));
    if (port == NONE) continue;
    const counter = <usize>(counts + (port << 2));
    const place = load<u32>(counter);
    store<u32>(counter, place + 1);
    const frame = Descriptors.frame(i);
    if (header != 0) Segments.depart(frame, Descriptors.reason(i));
    const vector = <usize>(vectors + place * VECTOR_SIZE);
    store<u64>(vector, block.native + <u64>(frame - header));
    store<u64>(vector, <u64>(Descriptors.length(i) + header), 8);
  }
  for (let r: u32 = 0; r < runCount; r++) {
    store<u32>(<usize>(counts + (load<u32>(<usize>(runs + r * RUN_SIZE)) << 2)), 0);
  }
  return runCount;
}

/** Address of the runs. */
export function packetRuns(base: u32): u32 {
  return Packets.runs(base, Packets.block(base).limit);
}

/** Address of the message that a run's first message is counted from: sendmmsg is told the one of a run and those after it. */
export function packetOutgoing(base: u32): u32 {
  return <u32>Packets.sent(base, Packets.block(base).limit, 0);
}

/** Frames that were to leave by a port that there is not. */
export function packetUnknownPort(base: u32): u32 {
  return Packets.block(base).unknownPort;
}
