import { TRACE, TRACE_STEPS, TraceStep } from "./generated/layout";
import { Tables } from "./maps/tables";

/** Explanation of one packet: each decision leaves a step while a trace runs. */
export class Trace {
  @inline static get on(): bool {
    return Tables.control.tracing != 0;
  }

  @inline static step(step: u32, a: u32, b: u32, c: u32): void {
    if (Tables.control.tracing) Trace.record(step, a, b, c);
  }

  static record(step: u32, a: u32, b: u32, c: u32): void {
    const control = Tables.control;
    const n = control.traceCount;
    if (n >= TRACE_STEPS) return;
    const entry = changetype<TraceStep>(<usize>(TRACE + (n << 4)));
    entry.step = step;
    entry.a = a;
    entry.b = b;
    entry.c = c;
    control.traceCount = n + 1;
  }
}
