import { Descriptors } from "../descriptors";
import {
  DROP_COUNTERS,
  FRAME_ROOM,
  NONE,
  PortKind,
  PROGRAM_CONTEXT,
  PROGRAM_SLOT_COUNT,
  PROGRAM_SLOTS,
  ProgramContext,
  ProgramHook,
  ProgramSlot,
  Reason,
  TAIL_CALL,
  TAIL_CALLS,
  Verdict,
} from "../generated/layout";
import { Tables } from "../maps/tables";

/**
 * Programs that users load into slots. Each is a function of the shared table, called with the address of a `ProgramContext`; it sees
 * the frame where it lies and returns a verdict, or `TAIL_CALL` plus a slot. Before the dataplane, PASS hands the frame on; after
 * it, the verdict replaces the one so far. What a program must not say aborts the frame.
 */
export class UserPrograms {
  @inline static get context(): ProgramContext {
    return changetype<ProgramContext>(<usize>PROGRAM_CONTEXT);
  }

  @inline static slot(i: u32): ProgramSlot {
    return changetype<ProgramSlot>(<usize>(PROGRAM_SLOTS + (i << 5)));
  }

  /** Frames of a batch from `from` on, before the dataplane: those that a program keeps get their verdict, the others `NONE`. */
  static beforeBatch(from: u32, count: u32): void {
    for (let i = from; i < count; i++) {
      UserPrograms.present(Descriptors.frame(i), Descriptors.length(i), Descriptors.ingress(i), 1);
      Tables.control.programFrame = i;
      const verdict = UserPrograms.before();
      const context = UserPrograms.context;
      if (verdict == Verdict.PASS) Descriptors.resolve(Descriptors.at(i), NONE, NONE, context.length, Reason.NONE);
      else Descriptors.resolve(Descriptors.at(i), verdict, context.egress, context.length, context.reason);
    }
  }

  static afterBatch(count: u32): void {
    for (let i: u32 = 0; i < count; i++) {
      UserPrograms.present(Descriptors.frame(i), Descriptors.length(i), Descriptors.ingress(i), 1);
      Tables.control.programFrame = i;
      const verdict = UserPrograms.after(Descriptors.verdict(i), Descriptors.egress(i), Descriptors.reason(i));
      const context = UserPrograms.context;
      Descriptors.resolve(Descriptors.at(i), verdict, context.egress, context.length, context.reason);
    }
  }

  /** Fills in the context of one frame. */
  static present(frame: u32, length: u32, ingress: u32, link: u32): void {
    const context = UserPrograms.context;
    context.frame = frame;
    context.length = length;
    context.room = max<u32>(FRAME_ROOM, length);
    context.link = link;
    context.ingress = ingress;
    context.now = Tables.control.now;
  }

  /** Verdict of the first program that does not pass the frame that is presented, else PASS. */
  static before(): u32 {
    const context = UserPrograms.context;
    context.hook = ProgramHook.BEFORE;
    context.verdict = Verdict.PASS;
    context.egress = NONE;
    context.reason = Reason.NONE;
    for (let slots = Tables.control.programsBefore; slots != 0; slots &= slots - 1) {
      const verdict = UserPrograms.call(<u32>ctz<u32>(slots));
      if (verdict != Verdict.PASS) return verdict;
    }
    return Verdict.PASS;
  }

  /** What programs make of the dataplane's verdict on the frame that is presented. */
  static after(verdict: u32, egress: u32, reason: u32): u32 {
    const context = UserPrograms.context;
    context.hook = ProgramHook.AFTER;
    context.verdict = verdict;
    context.egress = egress;
    context.reason = reason;
    for (let slots = Tables.control.programsAfter; slots != 0; slots &= slots - 1) {
      context.verdict = UserPrograms.call(<u32>ctz<u32>(slots));
    }
    return context.verdict;
  }

  /** Calls the program in a slot and those that it calls at its tail. */
  static call(first: u32): u32 {
    const context = UserPrograms.context;
    const control = Tables.control;
    const before = context.verdict;
    let slot = UserPrograms.slot(first);
    let result: u32 = TAIL_CALL + first;
    for (let calls: u32 = 0; result >= TAIL_CALL; calls++) {
      const next = result - TAIL_CALL;
      if (next >= PROGRAM_SLOT_COUNT || calls == TAIL_CALLS || UserPrograms.slot(next).hook == ProgramHook.NONE) {
        return UserPrograms.stop(slot, Verdict.ABORTED, Reason.MISSED_TAIL_CALL);
      }
      slot = UserPrograms.slot(next);
      context.memory = slot.memory;
      context.memoryLength = slot.memoryLength;
      slot.runs++;
      control.programRunning = next + 1;
      result = call_indirect<u32>(slot.target, <u32>PROGRAM_CONTEXT);
      control.programRunning = 0;
    }
    if (result > Verdict.REDIRECT || context.length > context.room) return UserPrograms.abort(slot);
    if (result == Verdict.ABORTED) return UserPrograms.stop(slot, result, Reason.PROGRAM_ABORTED);
    if (result == Verdict.TX) context.egress = context.ingress;
    if (result == Verdict.REDIRECT) {
      if (context.egress >= control.portCapacity || Tables.port(context.egress).kind == PortKind.ABSENT)
        return UserPrograms.abort(slot);
    }
    if (result == Verdict.DROP && before != Verdict.DROP) return UserPrograms.stop(slot, result, Reason.USER_PROGRAM);
    return result;
  }

  /** The program said what it must not say. */
  static abort(slot: ProgramSlot): u32 {
    const context = UserPrograms.context;
    context.length = min<u32>(context.length, context.room);
    return UserPrograms.stop(slot, Verdict.ABORTED, Reason.PROGRAM_ABORTED);
  }

  static stop(slot: ProgramSlot, verdict: u32, reason: u32): u32 {
    if (verdict == Verdict.ABORTED) slot.aborted++;
    UserPrograms.context.reason = reason;
    UserPrograms.context.egress = NONE;
    const counter = <usize>(DROP_COUNTERS + (reason << 3));
    store<u64>(counter, load<u64>(counter) + 1);
    return verdict;
  }
}
