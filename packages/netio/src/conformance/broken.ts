/** Links that break the contract, each in one way: a kit that takes them is no kit. */
import type { Device } from "../device.ts";
import { createMemoryPair } from "../memory-pair.ts";
import type { DeviceSubject } from "./index.ts";

type Breaking = (device: Device) => Partial<Device>;

function brokenLink(breaking: Breaking): DeviceSubject["makeLink"] {
  return () => {
    const [left, right] = createMemoryPair();
    const broken = (device: Device): Device => ({
      name: device.name,
      maximumFrame: device.maximumFrame,
      receive: () => device.receive(),
      transmit: (frame) => device.transmit(frame),
      readable: (signal) => device.readable(signal),
      close: () => device.close(),
      ...breaking(device),
    });
    return [broken(left), broken(right)];
  };
}

/** A subject per way to be wrong, by what is wrong with it. */
export const brokenLinks: Readonly<Record<string, DeviceSubject["makeLink"]>> = {
  "loses every tenth frame": brokenLink((device) => {
    let count = 0;
    return { transmit: (frame) => (++count % 10 === 0 ? true : device.transmit(frame)) };
  }),
  "swaps neighbours": brokenLink((device) => {
    let held: Uint8Array | undefined;
    return {
      receive: () => {
        if (held !== undefined) {
          const frame = held;
          held = undefined;
          return frame;
        }
        const first = device.receive();
        const second = first === undefined ? undefined : device.receive();
        if (second === undefined) return first;
        held = first;
        return second;
      },
    };
  }),
  "gives frames twice": brokenLink((device) => ({
    transmit: (frame) => device.transmit(frame) && device.transmit(frame),
  })),
  "gives frames back to their sender": brokenLink((device) => {
    let own: Uint8Array | undefined;
    return {
      transmit: (frame) => {
        own = frame.slice();
        return device.transmit(frame);
      },
      receive: () => {
        const frame = device.receive() ?? own;
        own = undefined;
        return frame;
      },
    };
  }),
  "does not copy": () => {
    const queues: Uint8Array[][] = [[], []];
    const [left, right] = createMemoryPair();
    const sharing = (device: Device, own: Uint8Array[], peer: Uint8Array[]): Device => ({
      ...device,
      transmit: (frame) => {
        const taken = device.transmit(frame);
        if (taken) peer.push(frame);
        return taken;
      },
      receive: () => (device.receive() === undefined ? undefined : own.shift()),
    });
    return [sharing(left, queues[0]!, queues[1]!), sharing(right, queues[1]!, queues[0]!)];
  },
  "receives into one buffer": brokenLink((device) => {
    const buffer = new Uint8Array(device.maximumFrame);
    return {
      receive: () => {
        const frame = device.receive();
        if (frame !== undefined) buffer.set(frame);
        return frame && buffer.subarray(0, frame.length);
      },
    };
  }),
  "cuts frames": brokenLink((device) => ({ transmit: (frame) => device.transmit(frame.subarray(0, 1500)) })),
  "takes frames of any length": brokenLink((device) => ({
    transmit: (frame) => device.transmit(frame) || frame.length > 0,
  })),
  "never wakes": brokenLink(() => ({
    readable: (signal) =>
      new Promise((_, reject) => {
        if (signal?.aborted === true) reject(signal.reason as Error);
        signal?.addEventListener("abort", () => reject(signal.reason as Error));
      }),
  })),
  "does not hear the signal": brokenLink((device) => ({
    readable: () => device.readable(AbortSignal.timeout(20)),
  })),
  "takes frames when closed": brokenLink((device) => ({
    transmit: (frame) => device.transmit(frame) || (frame.length >= 14 && frame.length <= device.maximumFrame),
  })),
  "forgets at close what arrived": brokenLink((device) => ({
    close: () => {
      while (device.receive() !== undefined);
      device.close();
    },
  })),
};
