import { packet, parsePacket, readPcap, writePcap } from "@portolan/net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { brokenLinks, deviceCases } from "../src/conformance/index.ts";
import {
  createCaptureRecorder,
  createFaultInjector,
  createMemoryPair,
  createPcapDevice,
  createTracer,
  type Device,
} from "../src/index.ts";

const frame = (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill);
const drain = (device: Device): Uint8Array[] => {
  const frames: Uint8Array[] = [];
  for (let one = device.receive(); one !== undefined; one = device.receive()) frames.push(one);
  return frames;
};

const links: Record<string, () => readonly [Device, Device]> = {
  "a memory pair": () => createMemoryPair(),
  "fault injectors without faults": () => {
    const [left, right] = createMemoryPair();
    return [createFaultInjector(left, { seed: 1 }), createFaultInjector(right, { seed: 2 })];
  },
  "tracers over fault injectors": () => {
    const [left, right] = createMemoryPair();
    return [createTracer(createFaultInjector(left, { seed: 1 }), () => {}), createTracer(right, () => {})];
  },
};
for (const [name, makeLink] of Object.entries(links)) {
  describe(`${name} keeps the contract`, () => {
    for (const { name: rule, run } of deviceCases({ makeLink })) test(rule, run);
  });
}

describe("the kit rejects a link that", () => {
  for (const [fault, makeLink] of Object.entries(brokenLinks)) {
    test(fault, async () => {
      const results = await Promise.allSettled(deviceCases({ makeLink, patience: 60 }).map((one) => one.run()));
      expect(results.some((result) => result.status === "rejected")).toBe(true);
    });
  }
});

test("a full queue refuses, and takes again when there is room", () => {
  const [left, right] = createMemoryPair({ queue: 2 });
  expect([1, 2, 3].map((n) => left.transmit(frame(60, n)))).toEqual([true, true, false]);
  expect(right.receive()?.[0]).toBe(1);
  expect(left.transmit(frame(60, 4))).toBe(true);
  expect(drain(right).map((one) => one[0])).toEqual([2, 4]);
});

describe("a fault injector", () => {
  const send = (options: Parameters<typeof createFaultInjector>[1], count: number) => {
    const [left, right] = createMemoryPair({ queue: 10_000 });
    const faulty = createFaultInjector(left, options);
    for (let i = 0; i < count; i++) {
      const bytes = frame(60, 0);
      new DataView(bytes.buffer).setUint32(6, i);
      expect(faulty.transmit(bytes)).toBe(true);
    }
    faulty.close();
    return { counts: faulty.counts, received: drain(right) };
  };
  const numbers = (frames: Uint8Array[]): number[] => frames.map((one) => new DataView(one.buffer).getUint32(6));

  test("repeats itself with its seed, and counts what it did", () => {
    fc.assert(
      fc.property(fc.integer(), fc.double({ min: 0, max: 0.5, noNaN: true }), (seed, share) => {
        const options = { seed, loss: share, duplication: share, corruption: share, reordering: share };
        const first = send(options, 200);
        expect(send(options, 200)).toEqual(first);
        expect(first.received.length).toBe(200 - first.counts.lost + first.counts.duplicated);
      }),
      { numRuns: 30 },
    );
  });

  test("loses about the share that it was told", () => {
    const { counts, received } = send({ seed: 7, loss: 0.25 }, 4000);
    expect(counts.lost).toBeGreaterThan(850);
    expect(counts.lost).toBeLessThan(1150);
    expect(numbers(received)).toEqual([...numbers(received)].sort((a, b) => a - b));
  });

  test("lets the next frame overtake, and keeps none back at the end", () => {
    const { received } = send({ seed: 3, reordering: 1 }, 5);
    expect(numbers(received)).toEqual([1, 0, 3, 2, 4]);
  });

  test("flips one bit behind the Ethernet header", () => {
    const { received } = send({ seed: 3, corruption: 1 }, 50);
    for (const [i, one] of received.entries()) {
      expect(numbers([one])).toEqual([i]);
      const bits = [...one.subarray(14)]
        .map((octet) => octet.toString(2))
        .join("")
        .replaceAll("0", "").length;
      expect(bits).toBe(1);
    }
  });

  test("refuses shares that are none, and heals when told", () => {
    const [left, right] = createMemoryPair();
    expect(() => createFaultInjector(left, { seed: 1, loss: 1.5 })).toThrow(RangeError);
    const faulty = createFaultInjector(left, { seed: 1, loss: 1 });
    faulty.transmit(frame(60, 1));
    faulty.setFaults({});
    faulty.transmit(frame(60, 2));
    expect(drain(right).map((one) => one[0])).toEqual([2]);
  });
});

describe("a capture device", () => {
  const bytes = packet()
    .ethernet({ source: "02:00:00:00:00:01", destination: "02:00:00:00:00:02" })
    .ipv4({ source: "10.0.0.1", destination: "10.0.0.2" })
    .udp({ sourcePort: 1, destinationPort: 2 })
    .payload(new Uint8Array(18))
    .build();

  test("receives what was captured, but for frames that were cut, and ends", async () => {
    const capture = writePcap({
      linkType: 1,
      packets: [
        { time: 1, bytes },
        { time: 2, bytes: bytes.subarray(0, 40), originalLength: bytes.length },
      ],
    });
    const device = createPcapDevice({ capture });
    expect(await device.readable()).toBe(true);
    expect(drain(device)).toEqual([bytes]);
    expect(await device.readable()).toBe(false);
  });

  test("captures what it sends, with the time", () => {
    let now = 100;
    const device = createPcapDevice({ now: () => now++ });
    expect(device.transmit(bytes)).toBe(true);
    expect(device.transmit(bytes)).toBe(true);
    expect(device.transmit(new Uint8Array(5))).toBe(false);
    const { packets, linkType } = readPcap(device.written());
    expect(linkType).toBe(1);
    expect(packets.map(({ time }) => time)).toEqual([100, 101]);
    expect(parsePacket(packets[0]!.bytes, { link: "ethernet" }).udp?.destinationPort).toBe(2);
  });

  test("says what is wrong with a file", () => {
    expect(() => createPcapDevice({ capture: new Uint8Array(100) })).toThrow("pcap");
    const raw = writePcap({ linkType: 101, packets: [] });
    expect(() => createPcapDevice({ capture: raw })).toThrow("Ethernet");
  });
});

test("a tracer shows both directions, and a recorder writes them down", () => {
  const [left, right] = createMemoryPair({ queue: 1 });
  const recorder = createCaptureRecorder({ now: () => 5, snapLength: 20 });
  const seen: string[] = [];
  const traced = createTracer(left, (one) => {
    seen.push(`${one.direction} ${one.frame[0]} ${one.taken}`);
    recorder.onFrame(one);
  });
  traced.transmit(frame(60, 1));
  traced.transmit(frame(60, 2));
  right.transmit(frame(61, 3));
  traced.receive();
  traced.receive();
  expect(seen).toEqual(["out 1 true", "out 2 false", "in 3 true"]);
  const { packets } = readPcap(recorder.capture());
  expect(packets.map(({ bytes, originalLength }) => [bytes.length, originalLength])).toEqual([
    [20, 60],
    [20, 61],
  ]);
});
