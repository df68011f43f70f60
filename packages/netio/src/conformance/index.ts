/**
 * The contract of frame devices, as cases that any test runner can run. A subject is a link: a function that makes two joined
 * devices.
 *
 * ```ts
 * for (const { name, run } of deviceCases({ makeLink: () => createMemoryPair() })) test(name, run);
 * ```
 *
 * @packageDocumentation
 */
import type { Device } from "../device.ts";

export { brokenLinks } from "./broken.ts";

/** What is checked, and what it promises beyond the contract. */
export interface DeviceSubject {
  /** Makes two joined devices; each case makes its own. */
  readonly makeLink: () => readonly [Device, Device] | Promise<readonly [Device, Device]>;
  /** Frames that a link holds, at least, before it refuses. Default 64. */
  readonly room?: number;
  /** Milliseconds within which a frame crosses. Default 1000. */
  readonly patience?: number;
}

/** One case: throws an Error that says what was expected. */
export interface DeviceCase {
  readonly name: string;
  readonly run: () => Promise<void>;
}

// Unicast addresses, locally administered, and the first EtherType for local experiments: what any link lets through.
const HEADER = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
const frameOf = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => HEADER[i] ?? (seed * 31 + i * 7) & 255);

// A link of a real system has other speakers; what they say is not looked at.
function take(device: Device): Uint8Array | undefined {
  for (;;) {
    const frame = device.receive();
    if (frame === undefined || (frame[12] === HEADER[12] && frame[13] === HEADER[13])) return frame;
  }
}

function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

const equal = (a: Uint8Array | undefined, b: Uint8Array): boolean =>
  a !== undefined && a.length === b.length && a.every((octet, i) => octet === b[i]);

/** The cases for a subject. */
export function deviceCases(subject: DeviceSubject): readonly DeviceCase[] {
  const { makeLink, room = 64, patience = 1000 } = subject;

  const next = async (device: Device): Promise<Uint8Array | undefined> => {
    const deadline = AbortSignal.timeout(patience);
    for (;;) {
      const frame = take(device);
      if (frame !== undefined) return frame;
      try {
        if (!(await device.readable(deadline))) return undefined;
      } catch {
        return undefined;
      }
    }
  };
  const withLink = (name: string, run: (left: Device, right: Device) => Promise<void>): DeviceCase => ({
    name,
    async run(): Promise<void> {
      const [left, right] = await makeLink();
      try {
        await run(left, right);
      } finally {
        left.close();
        right.close();
      }
    },
  });

  return [
    withLink("a frame crosses unchanged, in both directions", async (left, right) => {
      const [there, back] = [frameOf(60, 1), frameOf(1514, 2)];
      expect(left.transmit(there), "transmit of 60 octets gave false; true was expected");
      expect(equal(await next(right), there), "what came is not the frame of 60 octets that was sent");
      expect(right.transmit(back), "transmit of 1514 octets gave false; true was expected");
      expect(equal(await next(left), back), "what came is not the frame of 1514 octets that was sent");
      expect(take(right) === undefined, "a frame came a second time, or back to its sender");
    }),
    withLink("frames come in order", async (left, right) => {
      const frames = Array.from({ length: room }, (_, i) => frameOf(60 + i, i));
      for (const [i, frame] of frames.entries()) expect(left.transmit(frame), `frame ${i} of ${room} was refused`);
      for (const [i, frame] of frames.entries()) {
        expect(equal(await next(right), frame), `frame ${i} is missing, changed or out of order`);
      }
      expect(take(right) === undefined, "more frames came than were sent");
    }),
    withLink("the bytes of a sent frame may be reused", async (left, right) => {
      const frame = frameOf(60, 3);
      left.transmit(frame);
      const sent = frame.slice();
      frame.fill(0);
      expect(equal(await next(right), sent), "the frame changed after transmit had returned: it must be copied");
    }),
    withLink("the bytes of a received frame are the receiver's", async (left, right) => {
      const [first, second] = [frameOf(60, 4), frameOf(60, 5)];
      left.transmit(first);
      left.transmit(second);
      const [firstReceived, secondReceived] = [await next(right), await next(right)];
      expect(equal(firstReceived, first), "a received frame is missing, or changed when the next one was received");
      firstReceived!.fill(0);
      expect(equal(secondReceived, second), "writing to a received frame changed another one");
    }),
    withLink("frames of no legal length are refused", async (left, right) => {
      expect(!left.transmit(new Uint8Array(13)), "a frame shorter than an Ethernet header was taken");
      expect(!left.transmit(new Uint8Array(left.maximumFrame + 1)), "a frame longer than maximumFrame was taken");
      expect(left.transmit(frameOf(left.maximumFrame, 9)), "a frame of maximumFrame octets was refused");
      expect((await next(right))?.length === left.maximumFrame, "the frame of maximumFrame octets did not come whole");
      expect(take(right) === undefined, "a refused frame came all the same");
    }),
    withLink("whoever waits is woken by a frame", async (left, right) => {
      const waiting = right.readable(AbortSignal.timeout(patience));
      left.transmit(frameOf(60, 6));
      expect(await waiting, "readable said that no frame will come");
      expect((await next(right)) !== undefined, "readable was true, but receive gave nothing");
    }),
    withLink("waiting ends with its signal", async (_, right) => {
      const controller = new AbortController();
      const reason = new Error("enough");
      const waiting = right.readable(controller.signal).then(
        () => "resolved",
        (error: unknown) => error,
      );
      controller.abort(reason);
      expect((await waiting) === reason, "readable did not reject with the signal's reason");
      const aborted = await right.readable(AbortSignal.abort(reason)).catch((error: unknown) => error);
      expect(aborted === reason, "readable took a signal that was aborted before");
    }),
    withLink("a closed device takes nothing and tells who waits", async (left, right) => {
      const waiting = right.readable(AbortSignal.timeout(patience)).catch(() => "it waited on");
      right.close();
      right.close();
      expect((await waiting) === false, "readable did not say that the closed device stays empty");
      expect(!right.transmit(frameOf(60, 7)), "a closed device took a frame");
      expect(take(right) === undefined, "a closed device gave a frame that nobody sent");
      expect(take(left) === undefined, "a frame came from a closed device");
    }),
    withLink("what arrived before the close is still there", async (left, right) => {
      const frame = frameOf(60, 8);
      left.transmit(frame);
      expect(await right.readable(AbortSignal.timeout(patience)), "the frame did not arrive");
      right.close();
      expect(equal(take(right), frame), "the frame that had arrived was lost by close");
    }),
  ];
}
