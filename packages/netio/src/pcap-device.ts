import { type CapturedPacket, linkTypes, PcapError, readPcap, writePcap } from "@portolan/net";
import { type Device, ETHERNET_HEADER_LENGTH } from "./device.ts";
import { createFrameQueue } from "./frame-queue.ts";

/** How to make a capture device. */
export interface PcapDeviceOptions {
  /** Default `pcap`. */
  readonly name?: string;
  /** A classic pcap file of Ethernet frames, which the device receives one after the other. Default: none. */
  readonly capture?: Uint8Array;
  /** Octets of the longest frame that it records. Default 65535. */
  readonly maximumFrame?: number;
  /** Seconds since the epoch, for what is sent. Default: the system's clock. */
  readonly now?: () => number;
}

/** A device over capture files: it receives what was captured, and captures what it sends. */
export interface PcapDevice extends Device {
  /** What was sent so far, as a classic pcap file. */
  written(): Uint8Array;
}

/**
 * Makes a device from a capture. Frames that were cut when they were captured are left out: what is missing cannot be received.
 * It is at its end when the capture is.
 *
 * @throws PcapError `NOT_PCAP`, `TRUNCATED`; also `NOT_PCAP` for a capture of another link type than Ethernet
 */
export function createPcapDevice(options: PcapDeviceOptions = {}): PcapDevice {
  const { name = "pcap", capture, maximumFrame = 65_535, now = () => Date.now() / 1000 } = options;
  const queue = createFrameQueue(Number.POSITIVE_INFINITY);
  if (capture !== undefined) {
    const { linkType, packets } = readPcap(capture);
    if (linkType !== linkTypes.ethernet) {
      throw new PcapError(
        "NOT_PCAP",
        `${name} holds packets of link type ${linkType}; a device needs Ethernet frames (1)`,
      );
    }
    for (const { bytes, originalLength } of packets) {
      if (bytes.length >= ETHERNET_HEADER_LENGTH && (originalLength ?? 0) <= bytes.length) queue.push(bytes.slice());
    }
  }
  queue.end();
  const sent: CapturedPacket[] = [];
  let closed = false;
  return {
    name,
    maximumFrame,
    receive: () => queue.shift(),
    transmit(frame): boolean {
      if (closed || frame.length < ETHERNET_HEADER_LENGTH || frame.length > maximumFrame) return false;
      sent.push({ time: now(), bytes: frame.slice() });
      return true;
    },
    readable: (signal) => queue.readable(signal),
    close(): void {
      closed = true;
    },
    written: () => writePcap({ linkType: linkTypes.ethernet, packets: sent }),
  };
}
