import { type Capture, type CapturedPacket, linkTypes, PcapError, readPcap } from "./pcap.ts";

/** Where packets of a pcapng file were seen. */
export interface CaptureInterface {
  readonly name: string;
  /** As in {@link linkTypes}. */
  readonly linkType: number;
}

/** A packet of a pcapng file. */
export interface InterfacePacket extends CapturedPacket {
  /** Index into the interfaces. */
  readonly interface: number;
  /** Shown with the packet by Wireshark and tshark (`frame.comment`). */
  readonly comment?: string;
}

/** A capture of several interfaces. */
export interface InterfaceCapture {
  readonly interfaces: readonly CaptureInterface[];
  readonly packets: readonly InterfacePacket[];
}

/** The few parts of the Encoding Standard that are needed here: every runtime has them, the language's library does not. */
const { TextEncoder, TextDecoder } = globalThis as unknown as {
  readonly TextEncoder: new () => { encode(text: string): Uint8Array };
  readonly TextDecoder: new () => { decode(bytes: Uint8Array): string };
};

const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;
const BYTE_ORDER = 0x1a2b3c4d;
const COMMENT = 1;
const INTERFACE_NAME = 2;
const RESOLUTION = 9;

const padded = (length: number): number => (length + 3) & ~3;

/** Options of a block as bytes: code, length and value of each, and the end mark. */
function optionBytes(options: readonly (readonly [code: number, value: Uint8Array])[]): Uint8Array {
  const size = options.reduce((sum, [, value]) => sum + 4 + padded(value.length), 4);
  const bytes = new Uint8Array(options.length === 0 ? 0 : size);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [code, value] of options) {
    view.setUint16(at, code, true);
    view.setUint16(at + 2, value.length, true);
    bytes.set(value, at + 4);
    at += 4 + padded(value.length);
  }
  return bytes;
}

/** A block: its type, its length at both ends, and in between the parts, each padded to four bytes. */
function block(type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const size = parts.reduce((sum, part) => sum + padded(part.length), 12);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, size, true);
  let at = 8;
  for (const part of parts) {
    bytes.set(part, at);
    at += padded(part.length);
  }
  view.setUint32(at, size, true);
  return bytes;
}

function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => {
    view.setUint32(i * 4, value, true);
  });
  return bytes;
}

/** Writes a pcapng file (draft-ietf-opsawg-pcapng), little-endian, nanoseconds as far as a number of seconds has them. */
export function writePcapng(capture: InterfaceCapture): Uint8Array {
  const text = new TextEncoder();
  const blocks = [block(SECTION, words(BYTE_ORDER, 1, 0xffffffff, 0xffffffff))];
  for (const { name, linkType } of capture.interfaces) {
    const options = optionBytes([
      [INTERFACE_NAME, text.encode(name)],
      [RESOLUTION, Uint8Array.of(9)],
    ]);
    blocks.push(block(INTERFACE, words(linkType, 262_144), options));
  }
  for (const packet of capture.packets) {
    const seconds = Math.floor(packet.time);
    const nanoseconds = BigInt(seconds) * 1_000_000_000n + BigInt(Math.round((packet.time - seconds) * 1e9));
    const { bytes, comment } = packet;
    const head = words(
      packet.interface,
      Number(nanoseconds >> 32n),
      Number(nanoseconds & 0xffffffffn),
      bytes.length,
      packet.originalLength ?? bytes.length,
    );
    const options = optionBytes(comment === undefined ? [] : [[COMMENT, text.encode(comment)]]);
    blocks.push(block(ENHANCED_PACKET, head, bytes, options));
  }
  const file = new Uint8Array(blocks.reduce((sum, one) => sum + one.length, 0));
  let at = 0;
  for (const one of blocks) {
    file.set(one, at);
    at += one.length;
  }
  return file;
}

/** Calls back for each option until their end. */
function readOptions(
  view: DataView,
  from: number,
  end: number,
  little: boolean,
  option: (code: number, at: number, length: number) => void,
): void {
  for (let at = from; at + 4 <= end; ) {
    const code = view.getUint16(at, little);
    const length = view.getUint16(at + 2, little);
    if (code === 0 || at + 4 + length > end) return;
    option(code, at + 4, length);
    at += 4 + padded(length);
  }
}

/**
 * Reads a pcapng file of either byte order. Blocks that hold no packets are stepped over. Packets are views of `bytes`.
 *
 * @throws PcapError `NOT_PCAP` for another format, `TRUNCATED` when a block is cut off or its lengths lie
 */
export function readPcapng(bytes: Uint8Array): InterfaceCapture {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 28 || view.getUint32(0, true) !== SECTION)
    throw new PcapError("NOT_PCAP", "not a pcapng file: it does not begin with a section header");
  const interfaces: (CaptureInterface & { readonly perSecond: number })[] = [];
  const packets: InterfacePacket[] = [];
  let first = 0;
  let little = true;
  for (let at = 0; at < bytes.length; ) {
    const cut = (): never => {
      throw new PcapError("TRUNCATED", `the block at ${at} is cut off, or its length is not what it says`);
    };
    if (at + 12 > bytes.length) cut();
    if (view.getUint32(at, true) === SECTION) {
      little = view.getUint32(at + 8, true) === BYTE_ORDER;
      if (!little && view.getUint32(at + 8, false) !== BYTE_ORDER) cut();
      first = interfaces.length;
    }
    const type = view.getUint32(at, little);
    const size = view.getUint32(at + 4, little);
    const end = at + size - 4;
    if (size < 12 || size % 4 !== 0 || end + 4 > bytes.length) cut();
    const body = at + 8;
    if (type === INTERFACE) {
      if (body + 8 > end) cut();
      let name = "";
      let perSecond = 1e6;
      readOptions(view, body + 8, end, little, (code, from, length) => {
        if (code === INTERFACE_NAME) name = new TextDecoder().decode(bytes.subarray(from, from + length));
        if (code !== RESOLUTION || length < 1) return;
        const resolution = bytes[from]!;
        perSecond = resolution >= 128 ? 2 ** (resolution & 127) : 10 ** resolution;
      });
      interfaces.push({ name, linkType: view.getUint16(body, little), perSecond });
    } else if (type === ENHANCED_PACKET) {
      if (body + 20 > end) cut();
      const index = first + view.getUint32(body, little);
      const on = interfaces[index] ?? cut();
      const length = view.getUint32(body + 12, little);
      const data = body + 20;
      if (data + length > end) cut();
      const units = (BigInt(view.getUint32(body + 4, little)) << 32n) | BigInt(view.getUint32(body + 8, little));
      const second = BigInt(on.perSecond);
      let comment: string | undefined;
      readOptions(view, data + padded(length), end, little, (code, from, size) => {
        if (code === COMMENT) comment = new TextDecoder().decode(bytes.subarray(from, from + size));
      });
      packets.push({
        interface: index,
        time: Number(units / second) + Number(units % second) / on.perSecond,
        bytes: bytes.subarray(data, data + length),
        originalLength: view.getUint32(body + 16, little),
        ...(comment === undefined ? {} : { comment }),
      });
    } else if (type === SIMPLE_PACKET) {
      if (body + 4 > end || interfaces[first] === undefined) cut();
      const originalLength = view.getUint32(body, little);
      const length = Math.min(originalLength, end - body - 4);
      packets.push({ interface: first, time: 0, bytes: bytes.subarray(body + 4, body + 4 + length), originalLength });
    }
    at += size;
  }
  return { interfaces: interfaces.map(({ name, linkType }) => ({ name, linkType })), packets };
}

/**
 * Reads a capture file, pcap or pcapng. Of several interfaces those with the link type of the first one are kept.
 *
 * @throws PcapError
 */
export function readCapture(bytes: Uint8Array): Capture {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 4 || view.getUint32(0, true) !== SECTION) return readPcap(bytes);
  const { interfaces, packets } = readPcapng(bytes);
  const linkType = interfaces[0]?.linkType ?? linkTypes.ethernet;
  return { linkType, packets: packets.filter((packet) => interfaces[packet.interface]!.linkType === linkType) };
}
