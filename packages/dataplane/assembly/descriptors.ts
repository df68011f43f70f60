import { BATCH, DESCRIPTORS, FRAME_ROOM, FRAME_SIZE, NONE, Verdict } from "./generated/layout";

/**
 * Descriptors of a batch: eight arrays of 256 u32 at a fixed address, one entry per frame.
 *
 *     DESCRIPTORS + 0 * 1024   frame     in   address of the frame's first byte (Ethernet header) in linear memory
 *                 + 1 * 1024   length    in/out  bytes of the frame; changes when the frame was replaced (ARP, ICMP)
 *                 + 2 * 1024   ingress   in   index of the port it came in on
 *                 + 3 * 1024   verdict   out  `Verdict`: DROP 1, PASS 2, TX 3 (out of the ingress port), REDIRECT 4 (out of egress)
 *                 + 4 * 1024   egress    out  index of the port to send it out of; valid for TX and REDIRECT
 *                 + 5 * 1024   reason    out  `Reason` of a drop or reject, 0 otherwise
 *                 + 6 * 1024   user      free for the caller: the programs never touch it
 *                 + 7 * 1024   reserved
 *
 * Fill frame, length and ingress for `count` frames, set the clock, and call `ingress(count)`: frames are rewritten where they
 * lie. From its first byte a frame must have FRAME_ROOM (1536) writable bytes: an ICMP error is built in place. A PASS frame is for
 * the node's own stack. A rejected frame comes back as TX with a reason.
 */
export class Descriptors {
  @inline static frameAt(i: u32): usize {
    return <usize>(DESCRIPTORS + (i << 2));
  }
  @inline static frame(i: u32): u32 {
    return load<u32>(<usize>(DESCRIPTORS + (i << 2)));
  }
  @inline static length(i: u32): u32 {
    return load<u32>(<usize>(DESCRIPTORS + (i << 2)), 1024);
  }
  @inline static ingress(i: u32): u32 {
    return load<u32>(<usize>(DESCRIPTORS + (i << 2)), 2048);
  }
  @inline static verdict(i: u32): u32 {
    return load<u32>(<usize>(DESCRIPTORS + (i << 2)), 3072);
  }
  @inline static egress(i: u32): u32 {
    return load<u32>(<usize>(DESCRIPTORS + (i << 2)), 4096);
  }
  @inline static reason(i: u32): u32 {
    return load<u32>(<usize>(DESCRIPTORS + (i << 2)), 5120);
  }
  /** Fills in what came in. */
  @inline static set(i: u32, frame: u32, length: u32, ingress: u32): void {
    const at = <usize>(DESCRIPTORS + (i << 2));
    store<u32>(at, frame);
    store<u32>(at, length, 1024);
    store<u32>(at, ingress, 2048);
  }
  /** Fills in what became of it. */
  @inline static resolve(at: usize, verdict: u32, egress: u32, length: u32, reason: u32): void {
    store<u32>(at, length, 1024);
    store<u32>(at, verdict, 3072);
    store<u32>(at, egress, 4096);
    store<u32>(at, reason, 5120);
  }
  /** Where the words of a descriptor lie, each 1024 octets after the one before. */
  @inline static at(i: u32): usize {
    return <usize>(DESCRIPTORS + (i << 2));
  }
  @inline static frameOf(at: usize): u32 {
    return load<u32>(at);
  }
  @inline static lengthOf(at: usize): u32 {
    return load<u32>(at, 1024);
  }
  @inline static ingressOf(at: usize): u32 {
    return load<u32>(at, 2048);
  }
  /** Fills in that a frame of the same length leaves. */
  @inline static forward(at: usize, verdict: u32, egress: u32): void {
    store<u32>(at, verdict, 3072);
    store<u32>(at, egress, 4096);
    store<u32>(at, 0, 5120);
  }

  /**
   * Port that a frame leaves by, by its verdict; NONE when it does not. What the node's own stack sent to itself goes back there.
   *
   * @param host port of the node's own stack
   */
  @inline static leaves(i: u32, host: u32): u32 {
    const verdict = Descriptors.verdict(i);
    if (verdict == Verdict.REDIRECT) return Descriptors.egress(i);
    if (verdict == Verdict.TX) return Descriptors.ingress(i);
    if (verdict != Verdict.PASS || Descriptors.ingress(i) != host) return NONE;
    // Back to whom it came from, in both senses.
    const f = <usize>Descriptors.frame(i);
    const macLow = load<u32>(f, 6);
    const macHigh = load<u16>(f, 10);
    store<u32>(f, load<u32>(f), 6);
    store<u16>(f, load<u16>(f, 4), 10);
    store<u32>(f, macLow);
    store<u16>(f, macHigh, 4);
    return host;
  }
}

/** Most frames of one call of `ingress`. */
export function batchCapacity(): u32 {
  return BATCH;
}

/** Distance of frames, and how much of a frame the programs may write. */
export function frameSize(): u32 {
  return FRAME_SIZE;
}
export function frameRoom(): u32 {
  return FRAME_ROOM;
}
