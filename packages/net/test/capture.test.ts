import { spawnSync } from "node:child_process";
import { linkTypes, PcapError, packet, readCapture, readPcap, readPcapng, writePcap, writePcapng } from "@portolan/net";
import { describe, expect, test } from "vitest";

const syn = packet()
  .ipv4({ source: "10.0.0.1", destination: "10.0.0.2" })
  .tcp({ sourcePort: 1000, destinationPort: 80, flags: "S" })
  .build();
const odd = packet()
  .ipv4({ source: "10.0.0.1", destination: "10.0.0.2" })
  .udp({ sourcePort: 1, destinationPort: 53 })
  .payload(Uint8Array.of(1, 2, 3))
  .build();
const capture = {
  interfaces: [
    { name: "in", linkType: linkTypes.raw },
    { name: "out", linkType: linkTypes.raw },
  ],
  packets: [
    { interface: 0, time: 1_700_000_000.25, bytes: syn, comment: "REDIRECT: größer" },
    { interface: 1, time: 2.000_000_003, bytes: odd, originalLength: 1500 },
  ],
};

function bigEndian(file: Uint8Array): Uint8Array {
  // Swap the words of the blocks' frames; what is inside has no multi-byte numbers but the ones swapped here.
  const from = new DataView(file.buffer);
  const out = file.slice();
  const to = new DataView(out.buffer);
  const swap32 = (at: number) => to.setUint32(at, from.getUint32(at, true));
  const swap16 = (at: number) => to.setUint16(at, from.getUint16(at, true));
  for (let at = 0; at < file.length; ) {
    const type = from.getUint32(at, true);
    const size = from.getUint32(at + 4, true);
    if (type !== 0x0a0d0d0a) swap32(at);
    swap32(at + 4);
    swap32(at + size - 4);
    let options = at + size - 4;
    if (type === 0x0a0d0d0a) {
      swap32(at + 8);
      swap16(at + 12);
      swap16(at + 14);
    } else if (type === 1) {
      swap16(at + 8);
      swap32(at + 12);
      options = at + 16;
    } else {
      for (let word = 8; word < 28; word += 4) swap32(at + word);
      options = at + 28 + ((from.getUint32(at + 20, true) + 3) & ~3);
    }
    while (options < at + size - 4) {
      swap16(options);
      swap16(options + 2);
      options += 4 + ((from.getUint16(options + 2, true) + 3) & ~3);
    }
    at += size;
  }
  return out;
}

describe("pcapng", () => {
  test("what is written is read, in either byte order", () => {
    const file = writePcapng(capture);
    for (const bytes of [file, bigEndian(file)]) {
      const { interfaces, packets } = readPcapng(bytes);
      expect(interfaces).toEqual(capture.interfaces);
      expect(packets).toMatchObject([
        { interface: 0, time: 1_700_000_000.25, bytes: syn, originalLength: syn.length, comment: "REDIRECT: größer" },
        { interface: 1, bytes: odd, originalLength: 1500 },
      ]);
      expect(packets[1]!.time).toBeCloseTo(2.000_000_003, 9);
    }
  });

  test("other blocks are stepped over, and a second section has interfaces of its own", () => {
    const file = writePcapng(capture);
    const statistics = Uint8Array.of(5, 0, 0, 0, 16, 0, 0, 0, 9, 9, 9, 9, 16, 0, 0, 0);
    const twice = Uint8Array.from([...file, ...statistics, ...file]);
    const { interfaces, packets } = readPcapng(twice);
    expect(interfaces).toHaveLength(4);
    expect(packets.map((one) => one.interface)).toEqual([0, 1, 2, 3]);
  });

  test("any cut or flipped byte is an error with a code or a capture, never anything else", () => {
    const file = writePcapng(capture);
    let seed = 7;
    const attempt = (bytes: Uint8Array) => {
      try {
        readCapture(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(PcapError);
      }
    };
    for (let i = 0; i <= file.length; i++) attempt(file.slice(0, i));
    for (let i = 0; i < 5000; i++) {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      const bytes = file.slice();
      bytes[(seed >>> 8) % bytes.length] = seed >>> 24;
      attempt(bytes);
    }
  });

  test("either format is read by its first bytes; nanoseconds of a classic file too", () => {
    const classic = writePcap({ linkType: linkTypes.raw, packets: [{ time: 5.5, bytes: syn }] });
    expect(readCapture(classic)).toEqual(readPcap(classic));
    new DataView(classic.buffer).setUint32(0, 0xa1b23c4d, true);
    expect(readCapture(classic).packets[0]!.time).toBeCloseTo(5.0005, 9);
    expect(readCapture(writePcapng(capture))).toMatchObject({ linkType: linkTypes.raw, packets: [{}, {}] });
    expect(() => readCapture(new Uint8Array(30))).toThrow(PcapError);
  });

  const tcpdump = spawnSync("tcpdump", ["--version"]).error === undefined;
  test.skipIf(!tcpdump)("tcpdump reads it (skipped where there is no tcpdump)", () => {
    // libpcap takes several interfaces of other link types than raw only.
    const packets = capture.packets.map((one) => ({ ...one, interface: 0 }));
    const input = writePcapng({ interfaces: capture.interfaces.slice(0, 1), packets });
    const { stdout } = spawnSync("tcpdump", ["-nn", "-tt", "-r", "-"], { input, encoding: "utf8" });
    const lines = stdout.trim().split("\n");
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain("1700000000.250000 IP 10.0.0.1.1000 > 10.0.0.2.80: Flags [S]");
    expect(lines[1]).toContain("IP 10.0.0.1.1 > 10.0.0.2.53");
  });
});
