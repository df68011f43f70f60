/** How frames come from a node's links into the batch of its dataplane, and go out again: two ways, one interface. */
import type { Dataplane } from "@portolan/dataplane";
import type { Poller } from "@portolan/netio-linux";
import type { ForwarderCounters, ForwarderPort } from "./protocol.ts";

/** Ports of a node: uplink, host and pods. */
export const PORT_LIMIT = 112;
/** Port of the node's own stack, to which its frames return when they are for itself. */
export const HOST_PORT = 1;

/** Links of a node, by the numbers that the dataplane knows them by. */
export interface FramePorts {
  /** Takes a link's frames from here on. @throws `SystemCallError` of `@portolan/netio-linux` */
  open(port: ForwarderPort): void;
  /** Lets a link go; the number is free again. */
  close(index: number): void;
  /** The poller found something. */
  woken(): void;
  /** Fills the descriptors of a batch with frames that arrived. @returns how many */
  receive(): number;
  /** Sends the first `count` frames of the batch where their verdicts say. @returns false when some wait for {@link flush} */
  transmit(count: number): boolean;
  /** Tells the kernel again to send what waits. @returns whether all went out */
  flush(): boolean;
  /** Sends a frame of the node's own; it is lost when there is no room. */
  send(index: number, frame: Uint8Array): void;
  counters(): Pick<ForwarderCounters, "transmitRefused" | "freeFrames" | "ports">;
}

/** A way to have ports: what it needs of the dataplane's memory, and how it is made. */
export interface FramePortsKind {
  /** Frames of the dataplane that it uses. */
  readonly frames: number;
  /** Further octets, from a page's beginning. */
  readonly reserved: number;
  /** Looks for frames in vain before the thread sleeps. */
  readonly looks: number;
  create(surroundings: FramePortsSurroundings): FramePorts;
}

/** What ports are made from. */
export interface FramePortsSurroundings {
  readonly dataplane: Dataplane;
  /** Byte offset of {@link FramePortsKind.reserved} octets. */
  readonly address: number;
  /** Ports add their descriptors, to wake the thread by. */
  readonly poller: Poller;
}
