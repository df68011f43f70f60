import {
  crc32c,
  internetChecksum,
  type PcapError,
  packet,
  parseAddress,
  parsePacket,
  pseudoHeaderSum,
  readPcap,
  updateChecksum,
  writePcap,
} from "@portolan/net";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

const v4 = { source: "10.0.0.2", destination: "172.30.0.41" };
const v6 = { source: "fd00:10::2", destination: "fd00:172:30::41" };

const samples: Record<string, Uint8Array> = {
  "TCP over IPv4": packet()
    .ipv4(v4)
    .tcp({ sourcePort: 40000, destinationPort: 80, flags: "S", options: Uint8Array.of(2, 4, 5, 180) })
    .build(),
  "UDP over IPv4 with options": packet()
    .ipv4({ ...v4, options: Uint8Array.of(7, 7, 4, 0, 0, 0, 0) })
    .udp({ sourcePort: 1, destinationPort: 53 })
    .payload("odd")
    .build(),
  "SCTP over IPv4": packet()
    .ipv4(v4)
    .sctp({ sourcePort: 9, destinationPort: 10 })
    .payload(Uint8Array.of(1, 0, 0, 4))
    .build(),
  "ICMP echo": packet().ipv4(v4).icmp({ type: 8, identifier: 7, sequence: 1 }).payload("ping").build(),
  "TCP over IPv6 behind hop-by-hop options": packet()
    .ipv6({ ...v6, extensions: [{ type: 0, body: Uint8Array.of(0, 1, 4, 0, 0, 0, 0) }] })
    .tcp({ sourcePort: 1, destinationPort: 2 })
    .payload("x")
    .build(),
  "ICMPv6 echo": packet().ipv6(v6).icmp({ type: 128, identifier: 7 }).build(),
  "first UDP fragment over IPv6": packet()
    .ipv6({ ...v6, fragment: { offset: 0, more: true, identification: 9 } })
    .udp({ sourcePort: 1, destinationPort: 2 })
    .payload("12345678")
    .build(),
};

describe("packets", () => {
  test.each(Object.entries(samples))("%s: what the builder makes, the parser finds intact", (_, bytes) => {
    expect(parsePacket(bytes).isIntact).toBe(true);
  });

  test("fields come back as they were given", () => {
    const bytes = packet()
      .ethernet({ source: "02:00:00:00:00:01", destination: "02:00:00:00:00:02" })
      .ipv4({ ...v4, ttl: 3, identification: 77, typeOfService: 0xb8 })
      .tcp({ sourcePort: 40000, destinationPort: 80, flags: "SA", sequence: 5, acknowledgement: 6, window: 7 })
      .payload("grüße")
      .build();
    const parsed = parsePacket(bytes, { link: "ethernet" });
    expect(parsed.ethernet).toMatchObject({
      source: "02:00:00:00:00:01",
      destination: "02:00:00:00:00:02",
      etherType: 0x0800,
    });
    expect(parsed).toMatchObject({ source: v4.source, destination: v4.destination });
    expect(parsed.ipv4).toMatchObject({
      ttl: 3,
      identification: 77,
      typeOfService: 0xb8,
      dontFragment: true,
      fragmentOffset: 0,
    });
    expect(parsed.tcp).toMatchObject({
      sourcePort: 40000,
      destinationPort: 80,
      flags: "SA",
      sequence: 5,
      acknowledgement: 6,
      window: 7,
    });
    expect(new TextDecoder().decode(parsed.payload)).toBe("grüße");
  });

  test("an ARP request names who asks for whom", () => {
    const bytes = packet()
      .ethernet({ source: "02:00:00:00:00:01", destination: "ff:ff:ff:ff:ff:ff" })
      .arp({ operation: "request", senderMac: "02:00:00:00:00:01", sender: "10.0.0.2", target: "10.0.0.1" })
      .build();
    expect(bytes.length).toBe(42);
    expect(parsePacket(bytes, { link: "ethernet" }).arp).toMatchObject({
      operation: 1,
      senderMac: "02:00:00:00:00:01",
    });
  });

  test.each(Object.entries(samples))("%s: cut at any byte it parses without an exception", (_, bytes) => {
    for (let length = 0; length < bytes.length; length++)
      expect(parsePacket(bytes.subarray(0, length)).isIntact).toBe(false);
  });

  test("random bytes parse without an exception", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 128 }),
        fc.constantFrom("none" as const, "ethernet" as const),
        (bytes, link) => {
          parsePacket(bytes, { link });
        },
      ),
    );
  });

  test("a single flipped bit of a TCP segment is noticed", () => {
    fc.assert(
      fc.property(fc.integer({ min: 20 * 8, max: samples["TCP over IPv4"]!.length * 8 - 1 }), (bit) => {
        const bytes = samples["TCP over IPv4"]!.slice();
        bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
        expect(parsePacket(bytes).isIntact).toBe(false);
      }),
    );
  });
});

describe("checksums", () => {
  test("CRC-32C of the check string", () => {
    expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
  });

  test("RFC 1624: the incremental form agrees with computing afresh", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 40, maxLength: 40 }),
        fc.uint8Array({ minLength: 8, maxLength: 8 }),
        (bytes, change) => {
          bytes.fill(0, 0, 2);
          bytes[2] = 1;
          const before = internetChecksum(bytes);
          const old = bytes.slice(8, 16);
          bytes.set(change, 8);
          expect(updateChecksum(before, old, change)).toBe(internetChecksum(bytes));
        },
      ),
    );
  });

  test("RFC 1624 section 4: the example that the older form gets wrong", () => {
    expect(updateChecksum(0xdd2f, Uint8Array.of(0x55, 0x55), Uint8Array.of(0x32, 0x85))).toBe(0);
  });

  test("the pseudo header counts addresses, protocol and length", () => {
    const [a, b] = [parseAddress("1.2.3.4")!, parseAddress("5.6.7.8")!];
    expect(pseudoHeaderSum(a, b, 6, 20)).toBe(0x0102 + 0x0304 + 0x0506 + 0x0708 + 6 + 20);
  });
});

describe("capture files", () => {
  test("what is written is read back", () => {
    const packets = Object.values(samples).map((bytes, i) => ({ time: 1_700_000_000 + i / 4, bytes }));
    const capture = readPcap(writePcap({ linkType: 101, packets }));
    expect(capture.linkType).toBe(101);
    expect(capture.packets.map((one) => [one.time, [...one.bytes]])).toEqual(
      packets.map((one) => [one.time, [...one.bytes]]),
    );
  });

  test("other formats and cut files are refused by code", () => {
    const code = (bytes: Uint8Array) => {
      try {
        readPcap(bytes);
      } catch (error) {
        return (error as PcapError).code;
      }
      return undefined;
    };
    expect(code(new Uint8Array(30))).toBe("NOT_PCAP");
    const file = writePcap({ linkType: 1, packets: [{ time: 0, bytes: new Uint8Array(60) }] });
    expect(code(file.subarray(0, 30))).toBe("TRUNCATED");
    expect(code(file.subarray(0, 60))).toBe("TRUNCATED");
  });
});
