import { batchVerdicts, type Dataplane } from "@portolan/dataplane";
import type { Device } from "./device.ts";

/** Moves frames between devices and the ports of a dataplane. */
export interface DataplanePump {
  /** Hangs a device on a port, whose settings `setPort` gave; another device there is let go. */
  attach(port: number, device: Device): void;
  /** Lets the device of a port go, unclosed. */
  detach(port: number): void;
  /**
   * Takes what arrived at all devices through the `ingress` program, one batch, a share from each.
   *
   * @param now seconds, the dataplane's clock
   * @returns how many frames were taken; 0 means that all devices are empty
   */
  pump(now: number): number;
  /** Frames that a verdict handed to the node's own stack (`PASS`) since the last call. */
  passed(): readonly { readonly port: number; readonly frame: Uint8Array }[];
}

/** Frames that wait for {@link DataplanePump.passed} at most; older ones go. */
const PASSED_LIMIT = 1024;

/**
 * Makes a forwarder of a dataplane and devices: the portable counterpart of AF_XDP, with one copy in and one out. Nothing runs by
 * itself, so that a simulation keeps the clock.
 */
export function createDataplanePump(dataplane: Dataplane): DataplanePump {
  const devices = new Map<number, Device>();
  const { frames, descriptors, batchCapacity } = dataplane;
  const memory = new Uint8Array(dataplane.memory.buffer as ArrayBuffer);
  const capacity = Math.min(batchCapacity, frames.count);
  let passedFrames: { port: number; frame: Uint8Array }[] = [];

  const gather = (): number => {
    let count = 0;
    const share = Math.max(1, Math.floor(capacity / Math.max(1, devices.size)));
    for (const [port, device] of devices) {
      for (let taken = 0; taken < share && count < capacity; taken++) {
        const frame = device.receive();
        if (frame === undefined) break;
        // Frames that no port could forward are not worth a place.
        if (frame.length > frames.size) continue;
        const at = frames.address + count * frames.size;
        memory.set(frame, at);
        descriptors.frame[count] = at;
        descriptors.length[count] = frame.length;
        descriptors.ingress[count] = port;
        count++;
      }
    }
    return count;
  };

  return {
    attach(port, device): void {
      devices.set(port, device);
    },
    detach(port): void {
      devices.delete(port);
    },
    pump(now): number {
      const count = gather();
      if (count === 0) return 0;
      dataplane.ingress(count, now);
      for (let i = 0; i < count; i++) {
        const verdict = descriptors.verdict[i]!;
        const port = descriptors.ingress[i]!;
        const at = descriptors.frame[i]!;
        const bytes = memory.subarray(at, at + descriptors.length[i]!);
        if (verdict === batchVerdicts.TX) devices.get(port)?.transmit(bytes);
        else if (verdict === batchVerdicts.REDIRECT) devices.get(descriptors.egress[i]!)?.transmit(bytes);
        else if (verdict === batchVerdicts.PASS) {
          passedFrames.push({ port, frame: bytes.slice() });
          if (passedFrames.length > PASSED_LIMIT) passedFrames.shift();
        }
      }
      return count;
    },
    passed(): readonly { readonly port: number; readonly frame: Uint8Array }[] {
      const taken = passedFrames;
      passedFrames = [];
      return taken;
    },
  };
}
