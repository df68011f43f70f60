import { RUN } from "./new-flows";

/**
 * Lines of memory that are about to be needed. Wasm has no prefetch, but a processor goes on while a load waits, as far as it has room for
 * the instructions in between: so addresses are noted first, and read by a loop that does nothing else.
 */
export class Touch {
  /** Where the first address is noted; those after it follow, at most two for each frame of a run. */
  @inline static get first(): usize {
    return NOTED;
  }

  /** Notes a line. Returns where the next is noted. */
  @inline static note(at: usize, line: u32): usize {
    store<u32>(at, line);
    return at + 4;
  }

  /** Reads all that was noted before `end`. Returns a sum, without which a compiler would leave it out. */
  @inline static all(end: usize): u32 {
    // The last eight are filled up with what is at hand.
    store<u64>(end, HANDY);
    store<u64>(end, HANDY, 8);
    store<u64>(end, HANDY, 16);
    store<u64>(end, HANDY, 24);
    let sum: u32 = 0;
    for (let at = NOTED; at < end; at += 32) {
      sum += load<u32>(<usize>load<u32>(at));
      sum += load<u32>(<usize>load<u32>(at, 4));
      sum += load<u32>(<usize>load<u32>(at, 8));
      sum += load<u32>(<usize>load<u32>(at, 12));
      sum += load<u32>(<usize>load<u32>(at, 16));
      sum += load<u32>(<usize>load<u32>(at, 20));
      sum += load<u32>(<usize>load<u32>(at, 24));
      sum += load<u32>(<usize>load<u32>(at, 28));
    }
    return sum;
  }
}

const NOTED: usize = memory.data(RUN * 8 + 32, 16);
const HANDY: u64 = <u64>NOTED | ((<u64>NOTED) << 32);
