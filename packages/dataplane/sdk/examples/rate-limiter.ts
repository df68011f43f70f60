/**
 * A token bucket per client address, before the dataplane: a client may send `rate` packets a second and `burst` at once; what is more
 * is dropped. The host writes both numbers into the program's memory.
 *
 *     0  rate  u32   4  burst  u32   8  dropped  u32
 *    64  buckets of 16 bytes: client u64, tokens u32 (times 64), last u32 (ticks)
 */
import { contextOf, Frame, NONE, Verdict } from "../index";

/** A client is looked for in so many neighbouring buckets; then the one that was quiet longest gives way. */
const PROBES: u32 = 4;

export function program(address: usize): u32 {
  const context = contextOf(address);
  const network = Frame.network(context);
  if (network == NONE) return Verdict.PASS;
  const memory = <usize>context.memory;
  const rate = load<u32>(memory);
  const limit = load<u32>(memory, 4) << 6;
  const count = (context.memoryLength - 64) >> 4;
  const client = Frame.sourceWord(context, network);
  const home = <u32>((client * 0x9e3779b97f4a7c15) >> 40) % count;
  let found: usize = 0;
  let oldest: usize = 0;
  let age: u32 = 0;
  for (let i: u32 = 0; i < PROBES; i++) {
    const bucket = memory + 64 + <usize>(((home + i) % count) << 4);
    if (load<u64>(bucket) == client) {
      found = bucket;
      break;
    }
    const quiet = load<u64>(bucket) == 0 ? 0xffffffff : context.now - load<u32>(bucket, 12);
    if (oldest == 0 || quiet > age) {
      oldest = bucket;
      age = quiet;
    }
  }
  let tokens = limit;
  if (found == 0) {
    found = oldest;
    store<u64>(found, client);
  } else {
    // A second has 64 ticks and a packet costs 64: so a tick earns `rate`.
    const earned = <u64>(context.now - load<u32>(found, 12)) * rate + load<u32>(found, 8);
    tokens = <u32>min<u64>(earned, limit);
  }
  store<u32>(found, context.now, 12);
  if (tokens < 64) {
    store<u32>(found, tokens, 8);
    store<u32>(memory, load<u32>(memory, 8) + 1, 8);
    return Verdict.DROP;
  }
  store<u32>(found, tokens - 64, 8);
  return Verdict.PASS;
}
