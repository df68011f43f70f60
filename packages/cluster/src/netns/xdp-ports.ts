/**
 * Ports over AF_XDP sockets. All of them share the dataplane's frames, and no frame is copied in this process.
 *
 * ```text
 *  frames of the dataplane = UMEM of all sockets │ reserved: AF_XDP block (xsk.ts) │ rings of port 0 │ rings of port 1 │ …
 * ```
 */
import { createXdpSocket, ringMemorySize, type XdpSocket } from "@portolan/netio-linux";
import {
  type FramePorts,
  type FramePortsKind,
  type FramePortsSurroundings,
  HOST_PORT,
  PORT_LIMIT,
} from "./frame-ports.ts";
import type { ForwarderPort } from "./protocol.ts";

/** Words of a port in the AF_XDP block: see `assembly/xsk.ts`. */
const FILL_TARGET_WORD = 12;
const FILL_LIMIT_WORD = 15;
/** Entries of each ring. A reader that is preempted for some milliseconds loses nothing up to here. */
const RING_SIZE = 4096;
/** Frames of a node, 2048 octets each. */
const FRAMES = 32_768;
/**
 * Frames that wait in the kernel's hands for a port's next packets: at first, and at most, once it had use for more. With 256 a
 * bulk transfer loses a hundredth of its packets on a busy machine, with 1024 hardly any; but many idle pods must not hold all.
 */
const FILL = {
  uplink: { first: 2048, most: 4096 },
  host: { first: 512, most: 2048 },
  pod: { first: 64, most: 4096 },
} as const;
/** Frames for what a batch holds while it is worked on, and for what waits to be sent. */
const SPARE_FRAMES = 4096;
const BLOCK_ROOM = 256 * 1024;
const KICK_ATTEMPTS = 16;

interface OpenPort {
  readonly spec: ForwarderPort;
  readonly socket: XdpSocket;
}

/** Frames by AF_XDP. */
export const xdpPorts: FramePortsKind = {
  frames: FRAMES,
  reserved: BLOCK_ROOM + PORT_LIMIT * ringMemorySize(RING_SIZE),
  // To look longer takes the time from those whose answers the thread waits for.
  looks: 32,
  create: (surroundings) => new XdpPorts(surroundings),
};

class XdpPorts implements FramePorts {
  readonly #surroundings: FramePortsSurroundings;
  readonly #exports: FramePortsSurroundings["dataplane"]["exports"];
  readonly #block: number;
  readonly #rings: number;
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #ports = new Map<number, OpenPort>();

  constructor(surroundings: FramePortsSurroundings) {
    this.#surroundings = surroundings;
    const { memory, frames, exports } = surroundings.dataplane;
    this.#exports = exports;
    this.#words = new Uint32Array(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#block = surroundings.address;
    this.#rings = surroundings.address + BLOCK_ROOM;
    if (exports.xskBlockSize(PORT_LIMIT, FRAMES) > BLOCK_ROOM)
      throw new RangeError("the AF_XDP block outgrew its room");
    exports.xskCreate(this.#block, frames.address, frames.count, PORT_LIMIT, RING_SIZE, HOST_PORT);
  }

  open(spec: ForwarderPort): void {
    const { index, link } = spec;
    const { memory, frames } = this.#surroundings.dataplane;
    const [first] = this.#ports.values();
    const socket = createXdpSocket({
      link,
      frames: { memory, offset: frames.address, length: frames.length, frameSize: frames.size },
      ringOffset: this.#rings + index * ringMemorySize(RING_SIZE),
      ringSize: RING_SIZE,
      ...(first === undefined ? {} : { shared: first.socket }),
    });
    const { rx, tx, fill, completion } = socket.rings;
    const words = this.#exports.xskPort(this.#block, index) >>> 2;
    this.#words.set(
      [rx, tx, fill, completion].flatMap((ring) => [ring.producer, ring.consumer, ring.entries]),
      words,
    );
    this.#words[words + FILL_TARGET_WORD] = FILL[spec.kind].first;
    this.#words[words + FILL_LIMIT_WORD] = FILL[spec.kind].most;
    this.#ports.set(index, { spec, socket });
    this.#reserveFrames();
    this.#exports.xskOpen(this.#block, index);
    this.#surroundings.poller.add(socket.fd);
  }

  close(index: number): void {
    const port = this.#ports.get(index);
    if (port === undefined) return;
    this.#ports.delete(index);
    this.#surroundings.poller.remove(port.socket.fd);
    this.#exports.xskClose(this.#block, index);
    port.socket.close();
    this.#exports.xskReclaim(this.#block, index);
    this.#reserveFrames();
  }

  woken(): void {}

  receive(): number {
    return this.#exports.xskReceive(this.#block, this.#surroundings.dataplane.batchCapacity);
  }

  transmit(count: number): boolean {
    return this.#exports.xskTransmit(this.#block, count) === 0 || this.flush();
  }

  flush(): boolean {
    const { xskKicks, xskKicked, xskPending, xskTransmit } = this.#exports;
    const list = xskKicks(this.#block) >>> 2;
    const count = xskTransmit(this.#block, 0);
    let all = true;
    for (let i = 0; i < count; i++) {
      const index = this.#words[list + i]!;
      const port = this.#ports.get(index);
      if (port === undefined) continue;
      let attempts = 0;
      while (xskPending(this.#block, index) > 0 && ++attempts <= KICK_ATTEMPTS) port.socket.kick();
      if (attempts > KICK_ATTEMPTS) all = false;
    }
    if (all) xskKicked(this.#block);
    return all;
  }

  send(index: number, frame: Uint8Array): void {
    const at = this.#exports.xskAllocate(this.#block);
    if (at === 0) return;
    this.#bytes.set(frame, at);
    this.#exports.xskSend(this.#block, index, at, frame.length);
    this.flush();
  }

  counters(): ReturnType<FramePorts["counters"]> {
    return {
      transmitRefused: this.#exports.xskFullDrops(this.#block),
      freeFrames: this.#exports.xskFree(this.#block),
      ports: [...this.#ports.values()].map(({ spec, socket }) => {
        const { rxDropped, rxRingFull } = socket.statistics();
        return { link: spec.link, receiveDropped: rxDropped + rxRingFull };
      }),
    };
  }

  #reserveFrames(): void {
    const toCome = PORT_LIMIT - this.#ports.size;
    this.#exports.xskReserve(this.#block, SPARE_FRAMES + toCome * FILL.pod.first);
  }
}
