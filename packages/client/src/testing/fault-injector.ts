import type { ApiRequest, ApiResponse, Transport } from "../transport.ts";

/** One request that passed a {@link FaultInjector}. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  /** Whether it asked for a watch. */
  readonly watch: boolean;
}

/** A transport that passes everything on to another one, but for the faults ordered from it. */
export interface FaultInjector {
  readonly transport: Transport;
  /** Breaks every watch: its stream throws, as on a reset connection. With `midEvent`, half an event comes before. */
  cutWatches(options?: { readonly midEvent?: boolean }): void;
  /** Ends every watch cleanly, as a server does on its timeout. */
  endWatches(): void;
  /** Nothing comes through any watch any more, and no end either: a half-open connection. New watches work. */
  stallWatches(): void;
  /** Every line of watches comes twice, from now on. */
  duplicateEvents(on: boolean): void;
  /** Holds back the next line of each watch until one more has come, and swaps the two, once. */
  swapNextEvents(): void;
  /** Chunks of watch bodies are cut into pieces of this many characters; 0 turns it off. */
  splitChunks(length: number): void;
  /** Answers the next `count` requests that `matches` accepts (all by default) with this status, or rejects them when it is 0. */
  failNext(count: number, status: number, matches?: (request: SeenRequest) => boolean): void;
  /** All requests so far, in order. */
  readonly requests: readonly SeenRequest[];
  /** Watches that are open now. */
  readonly openWatches: number;
  /** Most watches that were open at one time. */
  readonly mostOpenWatches: number;
}

type Order = "cut" | "cut-mid-event" | "end";

/** Makes a {@link FaultInjector} in front of `inner`. */
export function createFaultInjector(inner: Transport): FaultInjector {
  const requests: SeenRequest[] = [];
  const watches = new Set<{ order(order: Order): void; stall(): void; swap: boolean }>();
  const failures: { left: number; status: number; matches: (request: SeenRequest) => boolean }[] = [];
  let duplicate = false;
  let split = 0;
  let mostOpen = 0;

  async function* faulty(
    stream: AsyncIterable<string | Uint8Array>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<string> {
    const iterator = stream[Symbol.asyncIterator]();
    let interrupt: (order: Order | "aborted") => void = () => {};
    const interrupted = new Promise<Order | "aborted">((resolve) => {
      interrupt = resolve;
    });
    let stalled = false;
    const watch = {
      order: (order: Order) => interrupt(order),
      stall: () => {
        stalled = true;
      },
      swap: false,
    };
    const onAbort = (): void => interrupt("aborted");
    signal?.addEventListener("abort", onAbort, { once: true });
    watches.add(watch);
    mostOpen = Math.max(mostOpen, watches.size);
    const decoder = new TextDecoder();
    let held: string | undefined;
    let swapping = false;
    try {
      for (;;) {
        const next = await Promise.race([interrupted, iterator.next()]);
        if (typeof next === "string") {
          if (next === "end" || next === "aborted") return;
          if (next === "cut-mid-event") yield '{"type":"MODIFIED","object":{"metad';
          throw Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
        }
        if (next.done) return;
        if (stalled) {
          const order = await interrupted;
          if (order === "aborted") return;
          throw Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
        }
        const text = typeof next.value === "string" ? next.value : decoder.decode(next.value, { stream: true });
        let out = duplicate ? text + text : text;
        if (watch.swap) {
          watch.swap = false;
          swapping = true;
        }
        if (swapping && held === undefined) {
          held = out;
          continue;
        }
        if (held !== undefined) {
          out += held;
          held = undefined;
          swapping = false;
        }
        if (split > 0) for (let at = 0; at < out.length; at += split) yield out.slice(at, at + split);
        else yield out;
      }
    } finally {
      watches.delete(watch);
      signal?.removeEventListener("abort", onAbort);
      iterator.return?.()?.catch(() => {});
    }
  }

  const transport: Transport = async (request: ApiRequest): Promise<ApiResponse> => {
    const seen: SeenRequest = {
      method: request.method,
      path: request.path,
      watch: /[?&]watch=(true|1)(&|$)/.test(request.path),
    };
    requests.push(seen);
    const fault = failures.find((failure) => failure.left > 0 && failure.matches(seen));
    if (fault !== undefined) {
      fault.left--;
      if (fault.status === 0) throw Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
      return { status: fault.status, headers: {}, body: "injected fault" };
    }
    const response = await inner(request);
    return seen.watch && response.stream !== undefined
      ? { ...response, stream: faulty(response.stream, request.signal) }
      : response;
  };

  return {
    transport,
    cutWatches(options = {}) {
      for (const watch of [...watches]) watch.order(options.midEvent ? "cut-mid-event" : "cut");
    },
    endWatches() {
      for (const watch of [...watches]) watch.order("end");
    },
    stallWatches() {
      for (const watch of watches) watch.stall();
    },
    duplicateEvents(on) {
      duplicate = on;
    },
    swapNextEvents() {
      for (const watch of watches) watch.swap = true;
    },
    splitChunks(length) {
      split = length;
    },
    failNext(count, status, matches = () => true) {
      failures.push({ left: count, status, matches });
    },
    requests,
    get openWatches() {
      return watches.size;
    },
    get mostOpenWatches() {
      return mostOpen;
    },
  };
}
