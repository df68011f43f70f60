/**
 * Ports over packet sockets, for machines without AF_XDP. A batch is received into the frames of its descriptors and sent from there,
 * many frames a system call; between two batches nothing lies in this process.
 *
 * ```text
 *  reserved: messages of recvmmsg and sendmmsg (packets.ts) │ with segments: frames of up to 64 KiB
 * ```
 */
import { createPacketSocket, nativeAddress, type PacketSocket, SEGMENT_HEADER_LENGTH } from "@portolan/netio-linux";
import {
  type FramePorts,
  type FramePortsKind,
  type FramePortsSurroundings,
  HOST_PORT,
  PORT_LIMIT,
} from "./frame-ports.ts";
import type { ForwarderPort } from "./protocol.ts";

/** Most frames of a batch: the dataplane's own limit, and less where they are large, so that they stay in the processor's cache. */
const BATCH = 256;
const SEGMENTS_BATCH = 64;
/**
 * Octets from one frame of segments to the next: the largest IP packet, its link header and 16 octets for what comes before it. No multiple
 * of a page, so that the headers of a batch lie in different sets of the cache.
 */
const SEGMENTS_STRIDE = 65_600;
const BLOCK_ROOM = 64 * 1024;
/** Words of a run: port, first message, number of messages. */
const RUN_WORDS = 3;
const MESSAGE_SIZE = 64;

interface OpenPort {
  readonly index: number;
  readonly spec: ForwarderPort;
  readonly socket: PacketSocket;
}

const kind = (segments: boolean): FramePortsKind => ({
  frames: BATCH,
  reserved: BLOCK_ROOM + (segments ? SEGMENTS_BATCH * SEGMENTS_STRIDE : 0),
  // Nothing is seen without asking the kernel, and that is what sleeping begins with.
  looks: 1,
  create: (surroundings) => new PacketPorts(surroundings, segments),
});

/** Frames by packet sockets. */
export const packetPorts: FramePortsKind = kind(false);
/** Frames of many segments, and without checksums, by packet sockets. */
export const segmentPorts: FramePortsKind = kind(true);

class PacketPorts implements FramePorts {
  readonly #surroundings: FramePortsSurroundings;
  readonly #exports: FramePortsSurroundings["dataplane"]["exports"];
  readonly #segments: boolean;
  readonly #batch: number;
  readonly #block: number;
  readonly #words: Uint32Array;
  readonly #runs: number;
  readonly #outgoing: number;
  readonly #ports = new Map<number, OpenPort>();
  /** Ports that may have frames; the first of them is next. */
  #ready: OpenPort[] = [];

  constructor(surroundings: FramePortsSurroundings, segments: boolean) {
    this.#surroundings = surroundings;
    this.#segments = segments;
    const batch = segments ? SEGMENTS_BATCH : BATCH;
    this.#batch = batch;
    const { memory, frames, exports } = surroundings.dataplane;
    this.#exports = exports;
    this.#words = new Uint32Array(memory.buffer);
    this.#block = surroundings.address;
    if (exports.packetBlockSize(BATCH, PORT_LIMIT) > BLOCK_ROOM)
      throw new RangeError("the block of messages outgrew its room");
    const native = nativeAddress(memory);
    const [low, high] = [Number(native & 0xffff_ffffn), Number(native >> 32n)];
    const [first, stride, header] = segments
      ? [this.#block + BLOCK_ROOM + 16, SEGMENTS_STRIDE, SEGMENT_HEADER_LENGTH]
      : [frames.address, frames.size, 0];
    if (exports.packetCreate(this.#block, low, high, first, stride, batch, header, PORT_LIMIT, HOST_PORT) === 0)
      throw new RangeError(`a batch of ${batch} frames of ${stride} octets cannot be`);
    this.#runs = exports.packetRuns(this.#block) >>> 2;
    this.#outgoing = exports.packetOutgoing(this.#block);
  }

  open(spec: ForwarderPort): void {
    const { index, link } = spec;
    const socket = createPacketSocket({
      link,
      memory: this.#surroundings.dataplane.memory,
      segments: this.#segments,
    });
    this.#ports.set(index, { index, spec, socket });
    this.#surroundings.poller.add(socket.fd);
  }

  close(index: number): void {
    const port = this.#ports.get(index);
    if (port === undefined) return;
    this.#ports.delete(index);
    this.#ready = this.#ready.filter((other) => other !== port);
    this.#surroundings.poller.remove(port.socket.fd);
    port.socket.close();
  }

  woken(): void {
    const { poller } = this.#surroundings;
    this.#ready = [...this.#ports.values()].filter(({ socket }) => poller.isReady(socket.fd));
  }

  receive(): number {
    let count = 0;
    for (let ports = this.#ready.length; ports > 0 && count < this.#batch; ports--) {
      const port = this.#ready.shift()!;
      const wanted = this.#batch - count;
      const received = port.socket.receive(this.#exports.packetMessages(this.#block, count), wanted);
      if (received > 0) this.#exports.packetReceived(this.#block, count, received, port.index);
      count += received;
      // It may have more: after the others, next time.
      if (received === wanted) this.#ready.push(port);
    }
    return count;
  }

  transmit(count: number): boolean {
    const runs = this.#exports.packetTransmit(this.#block, count);
    for (let at = this.#runs; at < this.#runs + runs * RUN_WORDS; at += RUN_WORDS) {
      const port = this.#ports.get(this.#words[at]!);
      port?.socket.transmit(this.#outgoing + this.#words[at + 1]! * MESSAGE_SIZE, this.#words[at + 2]!);
    }
    return true;
  }

  flush(): boolean {
    return true;
  }

  send(index: number, frame: Uint8Array): void {
    this.#ports.get(index)?.socket.send(frame);
  }

  counters(): ReturnType<FramePorts["counters"]> {
    const ports = [...this.#ports.values()].map(({ spec, socket }) => ({ link: spec.link, ...socket.statistics() }));
    return {
      transmitRefused: ports.reduce(
        (sum, port) => sum + port.transmitRefused,
        this.#exports.packetUnknownPort(this.#block),
      ),
      freeFrames: this.#batch,
      ports: ports.map(({ link, receiveDropped, receiveRefused }) => ({
        link,
        receiveDropped: receiveDropped + receiveRefused,
      })),
    };
  }
}
