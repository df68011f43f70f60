/** A captured packet. */
export interface CapturedPacket {
  /** Seconds since the epoch; kept to microseconds, or nanoseconds when the file has them. */
  readonly time: number;
  readonly bytes: Uint8Array;
  /** Length on the wire; more than `bytes` when the capture was cut. Default: that of `bytes`. */
  readonly originalLength?: number;
}

/** A capture: the link type is LINKTYPE_ETHERNET (1) or LINKTYPE_RAW (101) in what this library writes. */
export interface Capture {
  readonly linkType: number;
  readonly packets: readonly CapturedPacket[];
}

/** Link types of capture files (pcap-linktype). */
export const linkTypes: Readonly<Record<"ethernet" | "raw", number>> = { ethernet: 1, raw: 101 };

/** Error of {@link readPcap}; `code` is stable. */
export class PcapError extends Error {
  override readonly name: string = "PcapError";
  readonly code: "NOT_PCAP" | "TRUNCATED";

  constructor(code: "NOT_PCAP" | "TRUNCATED", message: string) {
    super(message);
    this.code = code;
  }
}

/** Writes a capture as a classic pcap file (draft-ietf-opsawg-pcap), little-endian, microseconds. */
export function writePcap(capture: Capture): Uint8Array {
  const size = capture.packets.reduce((sum, one) => sum + 16 + one.bytes.length, 24);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xa1b2c3d4, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, 262144, true);
  view.setUint32(20, capture.linkType, true);
  let at = 24;
  for (const one of capture.packets) {
    const microseconds = Math.round(one.time * 1e6);
    view.setUint32(at, Math.floor(microseconds / 1e6), true);
    view.setUint32(at + 4, microseconds % 1e6, true);
    view.setUint32(at + 8, one.bytes.length, true);
    view.setUint32(at + 12, one.originalLength ?? one.bytes.length, true);
    bytes.set(one.bytes, at + 16);
    at += 16 + one.bytes.length;
  }
  return bytes;
}

/**
 * Reads a classic pcap file of either byte order and resolution. Packets are views of `bytes`.
 *
 * @throws PcapError `NOT_PCAP` for another format (pcapng included), `TRUNCATED` when a packet is cut off at the end of the file
 */
export function readPcap(bytes: Uint8Array): Capture {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = bytes.length < 24 ? 0 : view.getUint32(0, true);
  const formats: Readonly<Record<number, readonly [little: boolean, perSecond: number]>> = {
    2712847316: [true, 1e6],
    3569595041: [false, 1e6],
    2712812621: [true, 1e9],
    1295823521: [false, 1e9],
  };
  const format = formats[magic];
  if (format === undefined)
    throw new PcapError("NOT_PCAP", "not a classic pcap file: its first four bytes are no known magic number");
  const [little, perSecond] = format;
  const packets: CapturedPacket[] = [];
  let at = 24;
  while (at < bytes.length) {
    if (at + 16 > bytes.length) throw new PcapError("TRUNCATED", `packet ${packets.length + 1}: its header is cut off`);
    const length = view.getUint32(at + 8, little);
    if (at + 16 + length > bytes.length)
      throw new PcapError("TRUNCATED", `packet ${packets.length + 1}: ${length} bytes are announced, fewer follow`);
    packets.push({
      time: view.getUint32(at, little) + view.getUint32(at + 4, little) / perSecond,
      bytes: bytes.subarray(at + 16, at + 16 + length),
      originalLength: view.getUint32(at + 12, little),
    });
    at += 16 + length;
  }
  return { linkType: view.getUint32(20, little) & 0x0fffffff, packets };
}
