import { type CapturedPacket, linkTypes, writePcap } from "@portolan/net";
import type { Device } from "./device.ts";

/** A frame that passed a tracer. */
export interface TracedFrame {
  /** `out`: the device was asked to send it; `in`: it was taken from the device. */
  readonly direction: "in" | "out";
  /** The frame itself, not a copy: to be read at once, and not to be changed. */
  readonly frame: Uint8Array;
  /** For `out`: whether the device took it. Always true for `in`. */
  readonly taken: boolean;
}

/** Shows every frame that goes through a device to a function; changes nothing. */
export function createTracer(device: Device, onFrame: (traced: TracedFrame) => void): Device {
  return {
    name: device.name,
    maximumFrame: device.maximumFrame,
    receive(): Uint8Array | undefined {
      const frame = device.receive();
      if (frame !== undefined) onFrame({ direction: "in", frame, taken: true });
      return frame;
    },
    transmit(frame): boolean {
      const taken = device.transmit(frame);
      onFrame({ direction: "out", frame, taken });
      return taken;
    },
    readable: (signal) => device.readable(signal),
    close: () => device.close(),
  };
}

/** Collects frames for a capture file. */
export interface CaptureRecorder {
  /** To be given to {@link createTracer}. */
  readonly onFrame: (traced: TracedFrame) => void;
  /** What was recorded so far, as a classic pcap file of Ethernet frames. */
  capture(): Uint8Array;
}

/**
 * Records every taken frame, cut to a length, both directions in one file.
 *
 * @param options `now`: seconds since the epoch; `snapLength`: octets kept of a frame, default all
 */
export function createCaptureRecorder(
  options: { readonly now?: () => number; readonly snapLength?: number } = {},
): CaptureRecorder {
  const { now = () => Date.now() / 1000, snapLength = Number.POSITIVE_INFINITY } = options;
  const packets: CapturedPacket[] = [];
  return {
    onFrame({ frame, taken }): void {
      if (taken) packets.push({ time: now(), bytes: frame.slice(0, snapLength), originalLength: frame.length });
    },
    capture: () => writePcap({ linkType: linkTypes.ethernet, packets }),
  };
}
