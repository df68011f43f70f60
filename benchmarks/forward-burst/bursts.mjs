import { quantile } from "../figures.mjs";
import { flags, frameLength, requireForwarded, requireReturned, writeFlow, writeReply } from "./flows.mjs";

/** Frames of one burst, and how far apart they lie. */
export const burst = 256;
export const stride = 2048;

const frameWords = frameLength >> 2;

/** A frame of each flow. */
class Templates {
  constructor(count) {
    this.octets = new Uint8Array(count * frameLength);
    this.words = new Uint32Array(this.octets.buffer);
  }
}

/**
 * Drives one implementation in this process: `prepare(count, side)` says which link the frames come in on (0 clients, 1
 * network, 2 in turn), `process(count)` forwards them. Only that is timed, burst by burst; frames are copied in between.
 */
export class Bursts {
  #flowCount;
  #serviceCount;
  #opening;
  #forward;
  #replies;
  /** What left in the last pass over all flows. */
  #sent;
  #target;
  /** The target's frames by words. */
  #room;
  #random = 0x9e3779b9;
  #checked = false;

  constructor(target, flowCount, serviceCount) {
    this.#target = target;
    this.#flowCount = flowCount;
    this.#serviceCount = serviceCount;
    this.#room = new Uint32Array(target.frames.buffer);
    this.#opening = new Templates(flowCount);
    this.#forward = new Templates(flowCount);
    this.#replies = new Templates(flowCount);
    this.#sent = new Uint8Array(flowCount * frameLength);
    for (let i = 0; i < flowCount; i++) writeFlow(this.#opening.octets, this.#forward.octets, i, serviceCount);
  }

  /**
   * By words and without an object, so that little time passes between two calls: after a pause of 20 µs a miss takes half as long again
   * here, and the target in C has no such pause.
   */
  #put(k, source, flow) {
    const to = (this.#target.base + k * stride) >> 2;
    const from = flow * frameWords;
    const room = this.#room;
    for (let word = 0; word < frameWords; word++) room[to + word] = source[from + word];
  }

  #timed(count) {
    const started = performance.now();
    this.#target.process(count);
    return ((performance.now() - started) * 1e6) / count;
  }

  /** Every flow once, in order; nanoseconds a packet of each burst. */
  #pass(source, side, after) {
    const samples = [];
    for (let i = 0; i < this.#flowCount; i += burst) {
      const size = Math.min(burst, this.#flowCount - i);
      for (let k = 0; k < size; k++) this.#put(k, source.words, i + k);
      this.#target.prepare(size, side);
      samples.push(this.#timed(size));
      this.#target.requireSent(size);
      const { frames, base } = this.#target;
      for (let k = 0; k < size; k++) {
        const at = base + k * stride;
        this.#sent.set(frames.subarray(at, at + frameLength), (i + k) * frameLength);
      }
    }
    for (let i = 0; i < this.#flowCount; i++) after?.(i);
    return samples;
  }

  /** Forgets all flows, then opens each. Median nanoseconds a packet. */
  open() {
    const sent = this.#sent;
    const count = this.#serviceCount;
    const check = this.#checked ? () => {} : (i, right) => right(sent, i * frameLength, i, count);
    this.#target.forget();
    const samples = this.#pass(this.#opening, 0, (i) => {
      check(i, requireForwarded);
      writeReply(this.#replies.octets, i, count, sent, i * frameLength, flags.SYN_ACK);
    });
    this.#pass(this.#replies, 1, (i) => check(i, requireReturned));
    this.#pass(this.#forward, 0, (i) => {
      check(i, requireForwarded);
      writeReply(this.#replies.octets, i, count, sent, i * frameLength, flags.ACK);
    });
    this.#target.settle();
    this.#pass(this.#forward, 0);
    this.#pass(this.#replies, 1);
    this.#checked = true;
    return quantile(samples, 0.5);
  }

  #flow() {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return Math.floor(((x >>> 0) / 2 ** 32) * this.#flowCount);
  }

  /** Bursts of random established flows: `forward`, `reply` or `mixed`. Median nanoseconds a packet. */
  run(kind, bursts, processed = burst) {
    const samples = [];
    for (let n = 0; n < bursts; n++) {
      for (let k = 0; k < burst; k++) {
        const forward = kind === "forward" || (kind === "mixed" && (k & 1) === 1);
        this.#put(k, forward ? this.#forward.words : this.#replies.words, this.#flow());
      }
      this.#target.prepare(burst, kind === "forward" ? 0 : kind === "reply" ? 1 : 2);
      samples.push(this.#timed(processed));
      if ((n & 63) === 0 && processed === burst) this.#target.requireSent(burst);
    }
    return quantile(samples, 0.5);
  }
}
