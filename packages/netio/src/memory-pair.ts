import { type Device, ETHERNET_HEADER_LENGTH } from "./device.ts";
import { createFrameQueue, type FrameQueue } from "./frame-queue.ts";

/** How to make a memory pair. */
export interface MemoryPairOptions {
  /** Names of the two ends. Default `left` and `right`. */
  readonly names?: readonly [string, string];
  /** Octets. Default 1514: an Ethernet header and 1500. */
  readonly maximumFrame?: number;
  /** Frames that wait at each end at most. Default 1024. */
  readonly queue?: number;
}

/**
 * Two devices, joined: what one sends, the other receives at once, in order, without loss as long as it is taken away. Closing
 * one end ends both.
 */
export function createMemoryPair(options: MemoryPairOptions = {}): [Device, Device] {
  const { names = ["left", "right"], maximumFrame = 1514, queue = 1024 } = options;
  const queues = [createFrameQueue(queue), createFrameQueue(queue)] as const;
  const end = (name: string, own: FrameQueue, peer: FrameQueue): Device => ({
    name,
    maximumFrame,
    receive: () => own.shift(),
    transmit(frame): boolean {
      if (frame.length < ETHERNET_HEADER_LENGTH || frame.length > maximumFrame) return false;
      return peer.push(frame.slice());
    },
    readable: (signal) => own.readable(signal),
    close(): void {
      own.end();
      peer.end();
    },
  });
  return [end(names[0], queues[0], queues[1]), end(names[1], queues[1], queues[0])];
}
