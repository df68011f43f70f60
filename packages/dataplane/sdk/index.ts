/**
 * For programs in AssemblyScript that run inside the dataplane, before it looks at a frame or after it decided. Compile with
 * `asc program.ts --config node_modules/@portolan/dataplane/sdk/asconfig.json --target release -o program.wasm`; load with
 * `attachProgram` of `@portolan/dataplane/sdk`.
 *
 * A program exports `program(context: usize): u32`, and if it likes `initialize(memory: usize, length: u32): void`. It shares the
 * dataplane's memory: what it may touch is the frame, from `frame` up to `room` bytes, and its own `memory`, which is zero at first.
 * Frames hold bytes of the wire, so numbers in them are in network order. There is no allocation: no `new`, arrays or strings.
 */
import { NONE, PROGRAM_CONTEXT, ProgramContext, ProgramHook, TAIL_CALL, Verdict } from "../assembly/generated/layout";

export { NONE, ProgramContext, ProgramHook, Verdict };

/** The context that `program` was called with. */
export function contextOf(address: usize): ProgramContext {
  return changetype<ProgramContext>(address);
}

/** Return this to be followed by the program in another slot; at most 33 for one frame. */
export function tailCall(slot: u32): u32 {
  return TAIL_CALL + slot;
}

/** The layers of the frame in the context, as far as they are there: every offset is checked against the frame's length. */
export class Frame {
  /** Offset of the IP header, or `NONE` when it is no IP packet. One VLAN tag is stepped over. */
  static network(context: ProgramContext): u32 {
    if (context.link == 0) return context.length >= 20 ? 0 : NONE;
    if (context.length < 34) return NONE;
    let at: u32 = 14;
    let type = load<u16>(<usize>context.frame, 12);
    if (type == 0x0081) {
      type = load<u16>(<usize>context.frame, 16);
      at = 18;
    }
    if (type != 0x0008 && type != 0xdd86) return NONE;
    return context.length >= at + 20 ? at : NONE;
  }

  /** Is `size` bytes at `offset` within the frame? */
  // @ts-ignore: decorator
  @inline
  static has(context: ProgramContext, offset: u32, size: u32): bool {
    return offset <= context.length && context.length - offset >= size;
  }

  /** IP version of the header at `network`. */
  // @ts-ignore: decorator
  @inline
  static version(context: ProgramContext, network: u32): u32 {
    return <u32>load<u8>(<usize>(context.frame + network)) >> 4;
  }

  /** Protocol number; of IPv6 the one in the fixed header. */
  static protocol(context: ProgramContext, network: u32): u32 {
    const at = <usize>(context.frame + network);
    return Frame.version(context, network) == 4 ? <u32>load<u8>(at, 9) : <u32>load<u8>(at, 6);
  }

  /** Offset of the transport header of a packet that is not a later fragment, or `NONE`. Extension headers are not stepped over. */
  static transport(context: ProgramContext, network: u32): u32 {
    const at = <usize>(context.frame + network);
    const version = Frame.version(context, network);
    let offset = network + 40;
    if (version == 4) {
      if ((load<u16>(at, 6) & 0xff1f) != 0) return NONE;
      offset = network + ((<u32>load<u8>(at) & 15) << 2);
    } else if (version != 6) return NONE;
    return Frame.has(context, offset, 4) ? offset : NONE;
  }

  /** Source and destination port at `transport`, host order. */
  // @ts-ignore: decorator
  @inline
  static sourcePort(context: ProgramContext, transport: u32): u32 {
    return <u32>bswap<u16>(load<u16>(<usize>(context.frame + transport)));
  }
  // @ts-ignore: decorator
  @inline
  static destinationPort(context: ProgramContext, transport: u32): u32 {
    return <u32>bswap<u16>(load<u16>(<usize>(context.frame + transport), 2));
  }

  /** The source address folded to one word, for hashing and for tables keyed by client. */
  static sourceWord(context: ProgramContext, network: u32): u64 {
    const at = <usize>(context.frame + network);
    if (Frame.version(context, network) == 4) return <u64>load<u32>(at, 12);
    if (!Frame.has(context, network, 40)) return 0;
    return load<u64>(at, 8) ^ (load<u64>(at, 16) * 0x9e3779b97f4a7c15);
  }
}

/**
 * A ring of records in a program's memory, from the program to the host (`readRing` of `@portolan/dataplane/sdk`):
 *
 *     0  head     u32  records written, modulo 2^32     8  lost   u32  records that found no room
 *     4  tail     u32  records read, by the host       12  slot   u32  bytes of a slot, a power of two
 *    16  slots: length u32 of the record, original length u32, ticks u32, port u32, then its bytes, cut to the slot
 */
export class Ring {
  /** Lays out a ring in `length` bytes at `memory`; `slot` is a power of two, at least 32. */
  static initialize(memory: usize, slot: u32): void {
    store<u32>(memory, slot, 12);
  }

  /** Copies the frame into the ring; false, counted, when the host has not read enough. */
  static output(context: ProgramContext, ring: usize, length: u32): bool {
    const size = load<u32>(ring, 12);
    if (size < 32 || length < 16 + size) return false;
    const slots = (length - 16) / size;
    const head = load<u32>(ring);
    if (head - load<u32>(ring, 4) >= slots) {
      store<u32>(ring, load<u32>(ring, 8) + 1, 8);
      return false;
    }
    const at = ring + 16 + <usize>((head % slots) * size);
    const bytes = min<u32>(context.length, size - 16);
    store<u32>(at, bytes);
    store<u32>(at, context.length, 4);
    store<u32>(at, context.now, 8);
    store<u32>(at, context.ingress, 12);
    memory.copy(at + 16, <usize>context.frame, <usize>bytes);
    store<u32>(ring, head + 1);
    return true;
  }
}
