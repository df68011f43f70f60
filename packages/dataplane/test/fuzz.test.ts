import { batchVerdicts, type Dataplane } from "@portolan/dataplane";
import { internetChecksum, type PacketBuilder, packet } from "@portolan/net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dataplaneOf } from "./builds.ts";
import { addPorts, configure, macs, peers } from "./scenario.ts";

/*
 * Nothing that can arrive makes the module trap or reaches outside of its memory. The debug build checks every assertion; a trap
 * surfaces as an exception of code TRAPPED, which fails the test.
 */

const link = { source: peers.pod, destination: macs.pod };
const v4 = { source: "10.244.1.11", destination: "10.96.0.10" };
const v6 = { source: "fd00:10:244:1::11", destination: "fd00:10:96::10" };
const quoted = packet()
  .ipv4({ source: "10.244.1.11", destination: "10.244.2.13" })
  .tcp({ sourcePort: 40000, destinationPort: 8080, flags: "S" })
  .build();
const quoted6 = packet()
  .ipv6({
    source: "fd00:10:244:1::11",
    destination: "fd00:10:244:2::13",
    fragment: { offset: 0, more: true, identification: 4 },
  })
  .udp({ sourcePort: 1, destinationPort: 2 })
  .build();

const corpus: Record<string, PacketBuilder> = {
  "TCP SYN to a ClusterIP": packet()
    .ipv4(v4)
    .tcp({ sourcePort: 40000, destinationPort: 80, flags: "S" })
    .payload("hello"),
  "TCP with IP options": packet()
    .ipv4({ ...v4, options: new Uint8Array(12).fill(1) })
    .tcp({ sourcePort: 40001, destinationPort: 80, flags: "A", options: new Uint8Array(20) }),
  "UDP to a ClusterIP": packet()
    .ipv4({ ...v4, destination: "10.96.0.53" })
    .udp({ sourcePort: 40000, destinationPort: 53 })
    .payload("question"),
  "first fragment": packet()
    .ipv4({ ...v4, destination: "10.96.0.53", moreFragments: true, identification: 5 })
    .udp({ sourcePort: 40002, destinationPort: 53 })
    .payload("12345678"),
  "later fragment": packet()
    .ipv4({ ...v4, destination: "10.96.0.53", fragmentOffset: 16, identification: 5, protocol: 17 })
    .payload("87654321"),
  "SCTP INIT": packet()
    .ipv4({ ...v4, destination: "10.96.0.99" })
    .sctp({ sourcePort: 5, destinationPort: 9 })
    .payload(Uint8Array.of(1, 0, 0, 20, ...new Uint8Array(16))),
  "ICMP echo": packet()
    .ipv4({ ...v4, destination: "198.51.100.1" })
    .icmp({ type: 8, identifier: 1 }),
  "ICMP error": packet()
    .ipv4({ source: "10.244.2.1", destination: "10.244.1.11" })
    .icmp({ type: 3, code: 4, rest: 1400 })
    .payload(quoted),
  "TCP over IPv6 behind extension headers": packet()
    .ipv6({
      ...v6,
      extensions: [
        { type: 0, body: new Uint8Array(7) },
        { type: 60, body: new Uint8Array(15).fill(0, 0, 1).fill(1, 0, 1) },
      ],
    })
    .tcp({ sourcePort: 1, destinationPort: 80, flags: "S" }),
  "IPv6 first fragment": packet()
    .ipv6({ ...v6, destination: "fd00:10:96::53", fragment: { offset: 0, more: true, identification: 4 } })
    .udp({ sourcePort: 1, destinationPort: 53 })
    .payload("12345678"),
  "IPv6 later fragment": packet()
    .ipv6({
      ...v6,
      destination: "fd00:10:96::53",
      protocol: 17,
      fragment: { offset: 16, more: false, identification: 4 },
    })
    .payload("tail"),
  "ICMPv6 error": packet()
    .ipv6({ source: "fd00:10:244:2::1", destination: v6.source })
    .icmp({ type: 2, rest: 1280 })
    .payload(quoted6),
  "neighbour solicitation": packet()
    .ipv6({ source: v6.source, destination: "ff02::1:ff00:1", hopLimit: 255 })
    .icmp({ type: 135 })
    .payload(Uint8Array.of(0xfd, 0, 0, 0x10, 2, 0x44, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 0, 0, 0, 2, 0x11)),
  "a Service without endpoints": packet()
    .ipv4({ ...v4, destination: "10.96.0.66" })
    .tcp({ sourcePort: 40000, destinationPort: 80, flags: "S" }),
  "TTL 1": packet()
    .ipv4({ source: v4.source, destination: "198.51.100.1", ttl: 1 })
    .udp({ sourcePort: 1, destinationPort: 2 }),
  "too big": packet()
    .ipv4({ source: v4.source, destination: "198.51.100.1" })
    .udp({ sourcePort: 1, destinationPort: 2 })
    .payload(new Uint8Array(1450)),
};

function fresh(): Dataplane {
  return addPorts(configure(dataplaneOf("debug")));
}

/** Header checksum and lengths made right again, so that fuzzed bytes get past the first checks. */
function repaired(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 20 || bytes[0]! >> 4 !== 4) return bytes;
  const out = bytes.slice();
  out[0] = 0x45;
  new DataView(out.buffer).setUint16(2, out.length);
  out.fill(0, 10, 12);
  new DataView(out.buffer).setUint16(10, internetChecksum(out.subarray(0, 20)));
  return out;
}

const verdicts = new Set(["DROP", "PASS", "TX", "REDIRECT", "REJECT"]);

describe("any input gets a verdict", { timeout: 120_000 }, () => {
  test.each(Object.entries(corpus))("%s: cut at every byte", (_, builder) => {
    const dataplane = fresh();
    const raw = builder.build();
    const frame = builder.ethernet(link).build();
    for (let length = 0; length <= raw.length; length++) {
      expect(verdicts).toContain(dataplane.process(raw.subarray(0, length), { now: 1 }).verdict);
      expect(verdicts).toContain(dataplane.process(repaired(raw.subarray(0, length)), { now: 1, ingress: 1 }).verdict);
    }
    for (let length = 0; length <= frame.length; length++) {
      expect(verdicts).toContain(dataplane.processFrame(frame.subarray(0, length), { now: 1, ingress: 0 }).verdict);
      dataplane.traceFrame(frame.subarray(0, length), { now: 1, ingress: 0 });
    }
  });

  test.each(Object.entries(corpus))("%s: cut before its end, it is never translated", (_, builder) => {
    const dataplane = fresh();
    const raw = builder.build();
    for (let length = 0; length < raw.length; length++) {
      expect(dataplane.process(raw.subarray(0, length), { now: 1 })).toMatchObject({
        verdict: "DROP",
        reason: expect.any(String),
      });
    }
  });

  test("every byte of every header set to every interesting value", () => {
    const dataplane = fresh();
    for (const builder of Object.values(corpus)) {
      const frame = builder.ethernet(link).build();
      for (let i = 12; i < Math.min(frame.length, 110); i++) {
        for (const value of [0, 1, 0x0f, 0x40, 0x45, 0x7f, 0x80, 0xfe, 0xff]) {
          const bytes = frame.slice();
          bytes[i] = value;
          expect(verdicts).toContain(dataplane.processFrame(bytes, { now: 1, ingress: 0 }).verdict);
          const fixed = repaired(bytes.subarray(14));
          expect(verdicts).toContain(dataplane.process(fixed, { now: 1, ingress: 0 }).verdict);
        }
      }
    }
  });

  test("random bytes behind plausible headers", () => {
    const dataplane = fresh();
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.keys(corpus)),
        fc.uint8Array({ maxLength: 200 }),
        fc.nat(120),
        fc.nat(3),
        (name, noise, at, ingress) => {
          const frame = corpus[name]!.ethernet(link).build();
          const bytes = frame.slice(0, Math.max(frame.length, Math.min(frame.length, at + noise.length)));
          bytes.set(noise.subarray(0, Math.max(0, bytes.length - at)), Math.min(at, bytes.length));
          expect(verdicts).toContain(dataplane.processFrame(bytes, { now: 1, ingress }).verdict);
          expect(verdicts).toContain(dataplane.process(repaired(bytes.subarray(14)), { now: 1, ingress }).verdict);
          dataplane.trace(repaired(bytes.subarray(14)), { now: 1 });
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("random bytes", () => {
    const dataplane = fresh();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.integer({ min: -1, max: 9 }), (bytes, ingress) => {
        expect(verdicts).toContain(dataplane.process(bytes, { now: 1 }).verdict);
        expect(verdicts).toContain(dataplane.processFrame(bytes, { now: 1, ingress: ingress >>> 0 }).verdict);
      }),
      { numRuns: 2000 },
    );
  });

  test("batches of anything, and nothing outside of the frames changes", () => {
    const dataplane = fresh();
    const memory = new Uint8Array(dataplane.memory.buffer);
    const end = dataplane.frames.address + dataplane.frames.length;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.nat(3)), { minLength: 1, maxLength: 16 }),
        (frames) => {
          const tail = memory.slice(end, end + 4096);
          frames.forEach(([bytes, ingress], i) => {
            const address = dataplane.frames.address + i * dataplane.frames.size;
            memory.set(bytes, address);
            dataplane.descriptors.frame[i] = address;
            dataplane.descriptors.length[i] = bytes.length;
            dataplane.descriptors.ingress[i] = ingress;
          });
          dataplane.ingress(frames.length, 1);
          for (let i = 0; i < frames.length; i++) {
            expect(Object.values(batchVerdicts)).toContain(dataplane.descriptors.verdict[i]);
            expect(dataplane.descriptors.length[i]).toBeLessThanOrEqual(1536);
          }
          expect(memory.slice(end, end + 4096)).toEqual(tail);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("a clock that stands still, runs backwards or jumps", () => {
    const frames = Object.values(corpus).map((builder) => builder.ethernet(link).build());
    const clock = fc.oneof(
      fc.constantFrom(0, 1, -1, 2 ** 25, 2 ** 26 - 1, 2 ** 26, 2 ** 31, 2 ** 53, -(2 ** 40), Number.NaN, Infinity),
      fc.double({ noNaN: true, min: 0, max: 2 ** 27 }),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(frames.length - 1), clock, fc.nat(2)), { maxLength: 60 }), (steps) => {
        const dataplane = fresh();
        const memory = new Uint8Array(dataplane.memory.buffer);
        for (const [i, now, ingress] of steps) {
          const frame = frames[i]!;
          expect(verdicts).toContain(dataplane.processFrame(frame, { now, ingress }).verdict);
          dataplane.traceFrame(frame, { now, ingress });
          memory.set(frame, dataplane.frames.address);
          dataplane.descriptors.frame[0] = dataplane.frames.address;
          dataplane.descriptors.length[0] = frame.length;
          dataplane.descriptors.ingress[0] = ingress;
          dataplane.ingress(1, now);
          expect(Object.values(batchVerdicts)).toContain(dataplane.descriptors.verdict[0]);
          dataplane.tick(now);
        }
      }),
      { numRuns: 100 },
    );
  });

  test("any values in the Service maps are refused by name, or packets get a verdict all the same", () => {
    const often = <T>(good: fc.Arbitrary<T>, bad: fc.Arbitrary<T>) =>
      fc.oneof({ arbitrary: good, weight: 30 }, { arbitrary: bad, weight: 1 });
    const address = often(
      fc.constantFrom("10.96.0.10", "10.244.1.11", "0.0.0.0", "255.255.255.255", "127.0.0.1"),
      fc.constantFrom("::1", "x"),
    );
    const number = often(
      fc.constantFrom(1, 80, 8080, 65_535),
      fc.oneof(fc.constantFrom(0, 65_536, -1, 2 ** 32, 0.5, Number.NaN), fc.nat(70_000)),
    );
    const backends = fc.array(
      fc.record({ address, port: number, weight: number, local: fc.boolean() }, { requiredKeys: ["address", "port"] }),
      { maxLength: 5 },
    );
    const policy = fc.constantFrom("Cluster" as const, "Local" as const);
    const spec = fc.record({
      id: fc.constantFrom("a", "b"),
      family: often<"IPv4" | "IPv6">(fc.constant("IPv4"), fc.constant("IPv6")),
      protocol: fc.constantFrom("TCP" as const, "UDP" as const, "SCTP" as const),
      frontends: fc.array(
        fc.record({
          kind: fc.constantFrom("ClusterIP", "ExternalIP", "LoadBalancer", "NodePort"),
          address,
          port: number,
        }),
        { maxLength: 4 },
      ),
      cluster: backends,
      local: backends,
      hasAny: fc.boolean(),
      internalTrafficPolicy: policy,
      externalTrafficPolicy: policy,
      affinitySeconds: number,
      scheduler: fc.constantFrom("random", "rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "mh", "fo", "ovf"),
      sourceRanges: fc.array(
        often(fc.constantFrom("0.0.0.0/0", "10.244.0.0/16"), fc.constantFrom("10.0.0.0/33", "::/0", "x")),
        {
          maxLength: 3,
        },
      ),
    });
    let accepted = 0;
    fc.assert(
      fc.property(fc.array(spec, { minLength: 1, maxLength: 6 }), (specs) => {
        const dataplane = fresh();
        for (const one of specs) {
          try {
            dataplane.setServicePort(one as Parameters<Dataplane["setServicePort"]>[0]);
            accepted++;
          } catch (error) {
            expect(error).toMatchObject({ code: expect.stringMatching(/^(?!TRAPPED)[A-Z_]+$/) });
          }
          for (const port of [80, 65_535, 1]) {
            for (const source of ["10.244.1.11", "192.0.2.1"]) {
              const base = packet().ipv4({ source, destination: "10.96.0.10" });
              const ports = { sourcePort: 40_000, destinationPort: port };
              for (const built of [base.tcp({ ...ports, flags: "S" }), base.udp(ports)]) {
                expect(verdicts).toContain(dataplane.process(built.build(), { now: 1 }).verdict);
                dataplane.trace(built.build(), { now: 1 });
              }
            }
          }
        }
      }),
      { numRuns: 200 },
    );
    expect(accepted).toBeGreaterThan(20);
  });

  test("random bytes in the mutable part of a connection record do not make a lookup leave memory", () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat(255)), fc.integer({ min: 0, max: 2 ** 31 }), (noise, seed) => {
        const dataplane = configure(dataplaneOf("debug", { seed }));
        const memory = new Uint8Array(dataplane.memory.buffer);
        // Values only: addresses of maps are the loader's, but what lies in records may be anything a bug left there.
        const raw = corpus["TCP SYN to a ClusterIP"]!.build();
        dataplane.process(raw, { now: 1 });
        const view = new DataView(memory.buffer);
        const connections = view.getUint32(1024 + 136, true);
        for (let i = 36; i < 64; i++) {
          if (i >= 48 && i < 56) continue; // ids of Service port and backend
          memory[connections + i] = noise.next().value;
        }
        expect(verdicts).toContain(dataplane.process(raw, { now: 1 }).verdict);
      }),
      { numRuns: 50 },
    );
  });
});
