import { Checksum } from "./checksum";
import { Parsed, Reason } from "./generated/layout";

/**
 * Frames that are several segments in one, and frames whose checksum their sender left to a device: packet sockets give both with a
 * header before the frame (`struct virtio_net_hdr`, all fields little-endian as a packet socket has them):
 *
 *     frame - 16   ports of the packet, raw, as it came (ours)
 *     frame - 10   u8 flags    1: the checksum is to be computed from `start` on; 2: it was found right
 *     frame -  9   u8 kind     of segmentation; 0: the frame is one packet
 *     frame -  8   u16 length of all headers
 *     frame -  6   u16 octets of payload in each segment
 *     frame -  4   u16 start: where the transport header begins
 *     frame -  2   u16 offset of the checksum in there
 *
 * Until it is computed, the checksum field holds the sum of the pseudo header, not inverted. A frame that is one packet is completed on
 * arrival, and is like any other from then on. In one of several segments the field is inverted meanwhile, so that rewriting an address
 * changes it as it does a checksum; what rewriting the ports did to it is taken back when the frame leaves, because the device that
 * makes the segments will sum up the ports themselves.
 */
export class Segments {
  static start: u32 = 0;
  static size: u32 = 0;

  /** Frames in this range have such a header before them. */
  static place(start: u32, end: u32): void {
    Segments.start = start;
    Segments.size = end - start;
  }

  /** Is the frame several segments whose checksums are still to be computed? */
  @inline static isPartial(frame: u32): bool {
    return (
      frame - Segments.start < Segments.size &&
      load<u8>(<usize>(frame - 9)) != 0 &&
      (load<u8>(<usize>(frame - 10)) & 1) != 0
    );
  }

  /** Does each segment fit where the whole does not? */
  static fit(p: Parsed, mtu: u32): bool {
    const frame = p.frame;
    if (frame - Segments.start >= Segments.size || p.transport == 0 || load<u8>(<usize>(frame - 9)) == 0) return false;
    const header: u32 = (p.meta & 0xff) == 6 ? (<u32>load<u8>(<usize>p.transport, 12) >> 4) << 2 : 8;
    return p.transport - p.network + header + <u32>load<u16>(<usize>(frame - 6)) <= mtu;
  }

  /** Prepares a frame of so many octets that came in. Returns its length; 0 when its header says what cannot be. */
  @inline static arrive(frame: u32, length: u32): u32 {
    const f = <usize>frame;
    // Flags and kind in one look: nearly every frame of one packet comes complete or is completed here.
    if (load<u16>(f - 10) == 0 || length == 0) return length;
    return Segments.prepare(f, length);
  }

  static prepare(f: usize, length: u32): u32 {
    const several = load<u8>(f - 9) != 0;
    if ((load<u8>(f - 10) & 1) != 0) {
      const start = <u32>load<u16>(f - 4);
      const offset = <u32>load<u16>(f - 2);
      if (start + offset + 2 > length) return 0;
      const field = f + start + offset;
      if (several) {
        store<u16>(field, Segments.invert(load<u16>(field)));
        store<u32>(f - 16, load<u32>(f + start));
      } else if (offset == SCTP_CHECKSUM) {
        if (start + offset + 4 > length) return 0;
        store<u32>(field, Checksum.sctp(f + start, length - start));
      } else {
        const sum = Checksum.fold(Checksum.sum(f + start, length - start));
        // A computed zero is sent as all ones: in UDP zero means that there is none, and elsewhere they are the same.
        store<u16>(field, Segments.invert(<u16>sum));
      }
    }
    if (!several) Segments.clear(f);
    return length;
  }

  /** Makes a frame ready to leave. One with a reason is no longer the packet that came, but an answer to it. */
  @inline static depart(frame: u32, reason: u32): void {
    const f = <usize>frame;
    if (load<u16>(f - 10) != 0) Segments.restore(f, reason);
  }

  static restore(f: usize, reason: u32): void {
    if (reason != Reason.NONE) {
      Segments.clear(f);
      return;
    }
    if ((load<u8>(f - 10) & 1) == 0) return;
    const transport = f + <u32>load<u16>(f - 4);
    const field = transport + <u32>load<u16>(f - 2);
    const before = load<u32>(f - 16);
    const now = load<u32>(transport);
    // The checksum fell by what the ports grew: halves of ~now and before back to it.
    const delta = Checksum.fold(
      <u64>(~now & 0xffff) + <u64>(~now >> 16) + <u64>(before & 0xffff) + <u64>(before >> 16),
    );
    const restored = Checksum.apply(load<u16>(field), delta);
    store<u16>(field, <u16>(~restored & 0xffff));
  }

  /** The frame is whole: nothing is left to a device. */
  @inline static clear(f: usize): void {
    store<u64>(f - 10, 0);
    store<u16>(f - 2, 0);
  }

  /** Inverted; the zero that stands for all ones is avoided, since it also stands for no checksum. */
  @inline static invert(word: u16): u16 {
    return word == 0xffff ? 0xffff : ~word;
  }
}

/** Offset of the checksum of SCTP, which is none of the Internet's kind. */
const SCTP_CHECKSUM: u32 = 8;
