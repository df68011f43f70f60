import type { Dataplane } from "@portolan/dataplane";
import { internetChecksum, packet, parsePacket, pseudoHeaderSum } from "@portolan/net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Build, builds, dataplaneOf, small } from "./builds.ts";
import { addPorts, configure, macs, peers } from "./scenario.ts";

/*
 * The kernel's part is played here: what recvmmsg would write is written into the messages' frames, and what sendmmsg would read is read
 * from there. The memory's first byte is at address 0, so that what the messages say are offsets.
 */

const LIMIT = 8;
const HOST = 2;
const MSG_TRUNC = 0x20;
const NEEDS_CHECKSUM = 1;

/** `struct virtio_net_hdr`, for a frame whose checksum is at `offset` of what begins at `start`. */
interface SegmentHeader {
  readonly flags: number;
  readonly kind: number;
  readonly segment: number;
  readonly start: number;
  readonly offset: number;
}
const complete: SegmentHeader = { flags: 0, kind: 0, segment: 0, start: 0, offset: 0 };

interface Arrival {
  readonly bytes: Uint8Array;
  readonly ingress: number;
  readonly header?: SegmentHeader;
  /** Octets that the frame had; more than fit. */
  readonly cut?: true;
}

interface Departure {
  readonly port: number;
  readonly header: SegmentHeader;
  readonly bytes: Uint8Array;
}

/** A node over packet sockets. */
function packetNode(build: Build, segments: boolean, mtu = 1400) {
  const [stride, header] = segments ? [65_600, 10] : [2048, 0];
  const capacity = { ...small, reserved: 16_384 + LIMIT * 65_600 };
  const dataplane = addPorts(configure(dataplaneOf(build, { capacity })));
  dataplane.setPort(1, { mac: macs.uplink, kind: "uplink", mtu, addresses: ["192.168.50.10", "fd00:50::10"] });
  const gateways = ["10.244.1.1", "fd00:10:244:1::1"];
  if (mtu > 1500) dataplane.setPort(0, { mac: macs.pod, kind: "pod", mtu, addresses: gateways });
  const { exports, reserved, memory } = dataplane;
  const block = reserved.address;
  const first = segments ? block + 16_384 + 16 : dataplane.frames.address;
  expect(exports.packetBlockSize(LIMIT, 8)).toBeLessThanOrEqual(16_384);
  expect(exports.packetCreate(block, 0, 0, first, stride, LIMIT, header, 8, HOST)).toBe(1);
  const [view, bytes] = [new DataView(memory.buffer), new Uint8Array(memory.buffer)];
  const address = (at: number): number => Number(view.getBigUint64(at, true));

  /** Frames come in, all that are of one port by one call, and a batch of them goes out. */
  function exchange(arrivals: readonly Arrival[], now: number): Departure[] {
    arrivals.forEach((arrival, i) => {
      const message = exports.packetMessages(block, i);
      const vector = address(message + 16);
      const [base, room] = [address(vector), address(vector + 8)];
      expect(arrival.bytes.length + header).toBeLessThanOrEqual(room);
      if (segments) writeHeader(base, arrival.header ?? complete);
      bytes.set(arrival.bytes, base + header);
      view.setUint32(message + 48, arrival.cut === undefined ? 0 : MSG_TRUNC, true);
      view.setUint32(message + 56, arrival.bytes.length + header, true);
      exports.packetReceived(block, i, 1, arrival.ingress);
    });
    dataplane.ingress(arrivals.length, now);
    const departures: Departure[] = [];
    const runs = exports.packetTransmit(block, arrivals.length);
    const at = exports.packetRuns(block);
    for (let r = 0; r < runs; r++) {
      const [port, from, count] = [0, 4, 8].map((offset) => view.getUint32(at + 12 * r + offset, true)) as [
        number,
        number,
        number,
      ];
      for (let i = from; i < from + count; i++) {
        const vector = address(exports.packetOutgoing(block) + 64 * i + 16);
        const [base, length] = [address(vector), address(vector + 8)];
        const frame = bytes.slice(base + header, base + length);
        departures.push({ port, header: segments ? readHeader(base) : complete, bytes: frame });
      }
    }
    return departures;
  }

  function writeHeader(at: number, { flags, kind, segment, start, offset }: SegmentHeader): void {
    view.setUint8(at, flags);
    view.setUint8(at + 1, kind);
    [start + offset + 4, segment, start, offset].forEach((value, i) => view.setUint16(at + 2 + 2 * i, value, true));
  }
  const readHeader = (at: number): SegmentHeader => ({
    flags: view.getUint8(at),
    kind: view.getUint8(at + 1),
    segment: view.getUint16(at + 4, true),
    start: view.getUint16(at + 6, true),
    offset: view.getUint16(at + 8, true),
  });
  return { dataplane, exchange };
}

/** The frame as its sender hands it to a device that computes checksums: the field holds the sum of the pseudo header. */
function unsummed(bytes: Uint8Array): { bytes: Uint8Array; start: number; offset: number } {
  const six = bytes[12] === 0x86;
  const start = six ? 54 : 34;
  const protocol = bytes[six ? 20 : 23]!;
  const offset = protocol === 6 ? 16 : 6;
  const [source, destination] = (six ? [22, 38] : [26, 30]).map((at) => ({
    family: six ? ("IPv6" as const) : ("IPv4" as const),
    bytes: bytes.slice(at, at + (six ? 16 : 4)),
  }));
  let sum = pseudoHeaderSum(source!, destination!, protocol, bytes.length - start);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const out = bytes.slice();
  new DataView(out.buffer).setUint16(start + offset, sum);
  return { bytes: out, start, offset };
}

/** What the device does at last. */
function summed({ bytes, header: { flags, start, offset } }: Departure): Uint8Array {
  if ((flags & NEEDS_CHECKSUM) === 0) return bytes;
  const out = bytes.slice();
  new DataView(out.buffer).setUint16(start + offset, internetChecksum(bytes.subarray(start)) || 0xffff);
  return out;
}

const pod = { source: peers.pod, destination: macs.pod };
const syn = (port: number, destination = "10.96.0.10", length = 0): Uint8Array =>
  packet()
    .ethernet(pod)
    .ipv4({ source: "10.244.1.12", destination, dontFragment: true })
    .tcp({ sourcePort: port, destinationPort: 80, flags: "S" })
    .payload(new Uint8Array(length))
    .build();

describe.each(builds)("frames of packet sockets, %s", (build) => {
  test("leave by the ports of their verdicts, in their order, and those without one do not", () => {
    const { exchange, dataplane } = packetNode(build, false);
    const to = (destination: string, sourcePort: number) =>
      packet()
        .ethernet(pod)
        .ipv4({ source: "10.244.1.12", destination })
        .udp({ sourcePort, destinationPort: 9 })
        .build();
    const departures = exchange(
      [
        { bytes: to("10.244.2.1", 1), ingress: 0 },
        { bytes: to("10.244.1.11", 2), ingress: 0 },
        { bytes: to("10.244.2.2", 3), ingress: 0, cut: true },
        { bytes: to("10.244.2.3", 4), ingress: 0 },
        { bytes: to("192.168.50.10", 5), ingress: 0 },
        { bytes: to("10.244.1.11", 6), ingress: 0 },
      ],
      1,
    );
    expect(departures.map(({ port, bytes }) => [port, bytes[35]])).toEqual([
      [1, 1],
      [1, 4],
      [0, 2],
      [0, 6],
      [HOST, 5],
    ]);
    for (const { bytes } of departures) expect(parsePacket(bytes, { link: "ethernet" }).isIntact).toBe(true);
    expect(dataplane.counters().reasons["truncated"]).toBe(1);
  });

  test("that the node sends to itself come back to its stack", () => {
    const { exchange } = packetNode(build, false);
    const own = packet()
      .ethernet({ source: peers.stack, destination: macs.host })
      .ipv4({ source: "192.168.50.10", destination: "192.168.50.10" })
      .udp({ sourcePort: 1, destinationPort: 2 })
      .build();
    const [back] = exchange([{ bytes: own, ingress: HOST }], 1);
    expect(back?.port).toBe(HOST);
    expect(parsePacket(back!.bytes, { link: "ethernet" }).ethernet).toMatchObject({
      source: macs.host,
      destination: peers.stack,
    });
  });

  test("are refused a place that is too small for what a program may write", () => {
    const { dataplane } = packetNode(build, false);
    expect(dataplane.exports.packetCreate(dataplane.reserved.address, 0, 0, 0, 1024, LIMIT, 0, 8, HOST)).toBe(0);
    expect(dataplane.exports.packetCreate(dataplane.reserved.address, 0, 0, 0, 2048, 257, 0, 8, HOST)).toBe(0);
  });
});

/*
 * One node gets frames with complete checksums, cut to no size; the other the same without, of one or many segments. When the device at
 * the end has done its part, both must have sent the same.
 */
interface Happening {
  readonly flow: number;
  readonly reply: boolean;
  readonly length: number;
  readonly fill: number;
}
const happening: fc.Arbitrary<Happening> = fc.record({
  flow: fc.nat(7),
  reply: fc.boolean(),
  length: fc.oneof(fc.nat(1200), fc.integer({ min: 1201, max: 64_000 })),
  fill: fc.nat(255),
});

interface End {
  readonly address: string;
  readonly port: number;
}

/** Flows 0 and 1 are TCP, 2 UDP over IPv4, 3 without a Service; 4 to 7 the same over IPv6. */
function frameOf(
  { flow, reply, length, fill }: Happening,
  flags: string,
  sent: { readonly from: End; readonly to: End } | undefined,
): Arrival | undefined {
  const six = flow >= 4;
  const [udp, direct] = [flow % 4 === 2, flow % 4 === 3];
  const client = six ? "fd00:10:244:1::11" : "10.244.1.12";
  const service: End = direct
    ? { address: six ? "fd00:10:244:2::77" : "10.244.2.77", port: 7000 }
    : { address: `${six ? "fd00:10:96::" : "10.96.0."}${udp ? "53" : "10"}`, port: udp ? 53 : 80 };
  if (reply && sent === undefined) return undefined;
  const far = reply && /^(10\.244\.2\.|fd00:10:244:2:)/.test(sent!.to.address);
  const ends = reply
    ? { source: sent!.to.address, destination: sent!.from.address }
    : { source: client, destination: service.address };
  const port = 41_000 + flow;
  const ports = reply
    ? { sourcePort: sent!.to.port, destinationPort: sent!.from.port }
    : { sourcePort: port, destinationPort: service.port };
  const link = packet().ethernet(far ? { source: peers.router, destination: macs.uplink } : pod);
  const network = six ? link.ipv6(ends) : link.ipv4({ ...ends, dontFragment: true });
  const transport = udp ? network.udp(ports) : network.tcp({ ...ports, flags });
  return { bytes: transport.payload(new Uint8Array(length).fill(fill)).build(), ingress: far ? 1 : 0 };
}

test.each(builds)(
  "%s: frames of many segments and without checksums are forwarded as complete ones are",
  { timeout: 120_000 },
  (build) => {
    let several = 0;
    fc.assert(
      fc.property(fc.array(happening, { minLength: 10, maxLength: 40 }), (happenings) => {
        const [whole, partial] = [packetNode(build, true, 65_535), packetNode(build, true)];
        const opened = new Map<number, { from: End; to: End }>();
        const opening = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((flow) =>
          (["S", "SA", "A"] as const).map((flags) => ({ flow, reply: flags === "SA", length: 0, fill: 0, flags })),
        );
        let now = 1;
        for (const one of [...opening, ...happenings.map((each) => ({ ...each, flags: "A" }))]) {
          now += 0.01;
          const arrival = frameOf(one, one.flags, opened.get(one.flow));
          if (arrival === undefined) continue;
          const { bytes, start, offset } = unsummed(arrival.bytes);
          const kind = arrival.bytes.length <= 1214 ? 0 : offset === 6 ? 5 : start === 34 ? 1 : 4;
          const header = { flags: NEEDS_CHECKSUM, kind, segment: kind === 0 ? 0 : 1200, start, offset };
          const expected = whole.exchange([arrival], now);
          const actual = partial.exchange([{ ...arrival, bytes, header }], now);
          expect(actual.map(({ port }) => port)).toEqual(expected.map(({ port }) => port));
          expect(actual).toHaveLength(1);
          const [sent, reference] = [actual[0]!, expected[0]!];
          expect(sent.header).toEqual(kind === 0 ? complete : header);
          const [out, model] = [summed(sent), reference.bytes.slice()];
          expect(parsePacket(out, { link: "ethernet" }).isIntact).toBe(true);
          expect(parsePacket(model, { link: "ethernet" }).isIntact).toBe(true);
          // Both are right; zero and all ones are the same number.
          for (const each of [out, model]) each.fill(0, start + offset, start + offset + 2);
          expect(Buffer.compare(out, model)).toBe(0);
          if (kind !== 0) several++;
          if (!one.reply) {
            const { source, destination } = parsePacket(sent.bytes, { link: "ethernet" });
            const port = (at: number): number => (sent.bytes[at]! << 8) | sent.bytes[at + 1]!;
            opened.set(one.flow, {
              from: { address: source!, port: port(start) },
              to: { address: destination!, port: port(start + 2) },
            });
          }
        }
      }),
      { seed: 20_261_124, numRuns: build === "release" ? 60 : 15 },
    );
    console.log(`${build}: seed 20261124, ${several} frames of several segments`);
    expect(several).toBeGreaterThan(50);
  },
);

describe.each(builds)("frames of many segments, %s", (build) => {
  const segmented = (bytes: Uint8Array, segment: number): Arrival => {
    const { bytes: partial, start, offset } = unsummed(bytes);
    return { bytes: partial, ingress: 0, header: { flags: NEEDS_CHECKSUM, kind: 1, segment, start, offset } };
  };
  const reasons = (dataplane: Dataplane) => dataplane.counters().reasons;

  test("are too big when one of their segments is", () => {
    const { exchange, dataplane } = packetNode(build, true);
    const [fits] = exchange([segmented(syn(1, "10.244.2.9", 20_000), 1360)], 1);
    expect(fits).toMatchObject({ port: 1, header: { kind: 1, segment: 1360 } });
    const [answer] = exchange([segmented(syn(1, "10.244.2.9", 20_000), 1361)], 1);
    const { icmp, ...error } = parsePacket(answer!.bytes, { link: "ethernet" });
    expect(error).toMatchObject({ source: "10.244.1.1", destination: "10.244.1.12", isIntact: true });
    expect(icmp).toMatchObject({ type: 3, code: 4 });
    expect(answer).toMatchObject({ port: 0, header: complete });
    expect(reasons(dataplane)["packet-too-big"]).toBe(1);
  });

  test("and frames without a checksum are refused as others are: the answer is whole", () => {
    const { exchange } = packetNode(build, true);
    const { bytes, start, offset } = unsummed(syn(1, "10.96.0.66"));
    const header = { flags: NEEDS_CHECKSUM, kind: 0, segment: 0, start, offset };
    for (const arrival of [{ bytes, ingress: 0, header }, segmented(syn(2, "10.96.0.66", 5000), 1000)]) {
      const [answer] = exchange([arrival], 1);
      expect(answer).toMatchObject({ port: 0, header: complete });
      const parsed = parsePacket(answer!.bytes, { link: "ethernet" });
      expect(parsed).toMatchObject({ destination: "10.244.1.12", isIntact: true });
      expect(parsed.icmp?.type).toBe(3);
    }
  });

  test("whose header points outside of them are dropped", () => {
    const { exchange, dataplane } = packetNode(build, true);
    const bytes = syn(1);
    for (const kind of [0, 1]) {
      const header = { flags: NEEDS_CHECKSUM, kind, segment: 1000, start: bytes.length - 4, offset: 16 };
      expect(exchange([{ bytes, ingress: 0, header }], 1)).toEqual([]);
    }
    expect(reasons(dataplane)["truncated"]).toBe(2);
  });

  test("of SCTP get the checksum of SCTP", () => {
    const { exchange } = packetNode(build, true);
    const whole = packet()
      .ethernet(pod)
      .ipv4({ source: "10.244.1.12", destination: "10.244.2.9" })
      .sctp({ sourcePort: 1, destinationPort: 2 })
      .payload(new Uint8Array([1, 0, 0, 20, ...new Array<number>(16).fill(7)]))
      .build();
    const bytes = whole.slice().fill(0, 42, 46);
    const header = { flags: NEEDS_CHECKSUM, kind: 0, segment: 0, start: 34, offset: 8 };
    const [out] = exchange([{ bytes, ingress: 0, header }], 1);
    expect(out?.bytes.subarray(34)).toEqual(whole.subarray(34));
  });

  test("keep nothing of the frame that lay in their place before", () => {
    const { exchange } = packetNode(build, true);
    exchange([segmented(syn(1, "10.244.2.9", 20_000), 1000)], 1);
    const [out] = exchange([{ bytes: syn(1, "10.244.2.9"), ingress: 0 }], 1);
    expect(out).toMatchObject({ port: 1, header: complete });
  });
});
