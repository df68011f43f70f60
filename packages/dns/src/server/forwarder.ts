import { decodeMessage, encodeMessage, type Message, type Question, queryMessage } from "../message/message.ts";
import { DnsMessageError } from "../message/message-error.ts";
import { equalNames, nameFromText, nameKey } from "../message/name.ts";
import { recordTypes, responseCodes } from "../message/record-type.ts";
import type { AnswerCache } from "./answer-cache.ts";
import { ResolveError, type ResolveOptions, type Resolver } from "./resolver.ts";

/** One exchange with an upstream. */
export interface UpstreamRequest {
  /** The query; its ID is fresh. */
  readonly query: Uint8Array;
  readonly transport: "udp" | "tcp";
  /** Milliseconds. */
  readonly timeout: number;
  readonly signal?: AbortSignal;
  /**
   * Whether a reply belongs to this query. An exchange over UDP goes on listening until one does: what somebody else sent must
   * not end it (RFC 5452 section 9).
   */
  readonly accepts: (reply: Uint8Array) => boolean;
}

/** A server to ask. */
export interface Upstream {
  /** Address and port, for labels. */
  readonly address: string;
  /** Rejects with {@link ResolveError} `timeout`, `network` or `aborted`. */
  exchange(request: UpstreamRequest): Promise<Uint8Array>;
}

/** Order in which upstreams are asked (CoreDNS plugin/forward). */
export type ForwardPolicy = "random" | "round_robin" | "sequential";

/** Options of {@link createForwarder}; times in milliseconds. */
export interface ForwarderOptions {
  readonly upstreams: readonly Upstream[];
  /** Default `random`. */
  readonly policy?: ForwardPolicy;
  /** Failures in a row after which an upstream is out until a probe succeeds; 0: never out. Default 2. */
  readonly maximumFailures?: number;
  /** Default 500. */
  readonly healthCheckInterval?: number;
  /** Question of the probe. Default the NS records of the root. */
  readonly healthCheckDomain?: string;
  readonly healthCheckRecursionDesired?: boolean;
  /** One try. Default 2000. */
  readonly readTimeout?: number;
  /** All tries together. Default 5000: stub resolvers wait no longer. */
  readonly totalTimeout?: number;
  /** Default twice the number of upstreams. */
  readonly maximumAttempts?: number;
  /** Questions under way at once; more are refused. 0: no limit. Default 0. */
  readonly maximumConcurrent?: number;
  readonly forceTcp?: boolean;
  readonly preferUdp?: boolean;
  /** Without an upstream in health fail at once instead of trying one anyway. */
  readonly failFast?: boolean;
  /** Response codes for which the next upstream is asked. */
  readonly failover?: readonly number[];
  /** Keeps what came. */
  readonly cache?: AnswerCache;
  /**
   * How long a new answer is waited for before one that has ended is given, if the cache has such. Default 0: it is given at once, and a
   * new one is fetched in the background.
   */
  readonly staleVerify?: number;
  /** 16 unpredictable bits per query: a guessed ID lets anybody answer for the upstream (RFC 5452). */
  readonly randomId: () => number;
  /** [0, 1), for the policy. Default `Math.random`. */
  readonly random?: () => number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Runs something later; the result cancels it. */
  readonly later: (task: () => void, delay: number) => () => void;
  readonly observe?: (event: ForwardEvent) => void;
}

/** What a forwarder did, for metrics. */
export type ForwardEvent =
  | { readonly kind: "exchange"; readonly to: string; readonly rcode: number; readonly duration: number }
  | { readonly kind: "failure" | "health-check-failure" | "mismatch"; readonly to: string }
  /** A socket was opened for a query; none is kept. */
  | { readonly kind: "connect"; readonly to: string; readonly transport: "udp" | "tcp" }
  | { readonly kind: "broken" | "rejected" | "coalesced" | "prefetch" | "served-stale" }
  | { readonly kind: "cache-request" | "cache-miss" }
  | { readonly kind: "cache-hit"; readonly negative: boolean };

/** A {@link Resolver} over upstreams. `close` ends probes. */
export interface Forwarder extends Resolver {
  /** Whether each upstream is taken to work. */
  readonly health: readonly { readonly address: string; readonly healthy: boolean }[];
  close(): void;
}

interface UpstreamState {
  readonly upstream: Upstream;
  failures: number;
  probing: boolean;
}

/**
 * Whether a decoded reply answers this very question: ID, QR, opcode, name letter for letter as sent, type and class. Letter for
 * letter, because that costs a forger nothing to miss and an honest server nothing to get right.
 */
export function repliesTo(query: Uint8Array, reply: Uint8Array): boolean {
  if (reply.length < 12 || reply[0] !== query[0] || reply[1] !== query[1]) return false;
  if ((reply[2]! & 0xf8) !== 0x80 || reply[4] !== 0) return false;
  // A server that could not read the query may answer with the header alone.
  const rcode = reply[3]! & 0xf;
  if (reply[5] === 0) return rcode === responseCodes.FORMERR || rcode === responseCodes.NOTIMP;
  if (reply[5] !== 1) return false;
  let end = 12;
  while (query[end]! > 0) end += 1 + query[end]!;
  end += 5;
  if (reply.length < end) return false;
  for (let index = 12; index < end; index++) if (reply[index] !== query[index]) return false;
  return true;
}

/** Creates a forwarder: policy, health, retries, TCP after truncation, one exchange for questions that are the same, cache. */
export function createForwarder(options: ForwarderOptions): Forwarder {
  const {
    policy = "random",
    maximumFailures = 2,
    healthCheckInterval = 500,
    healthCheckDomain = ".",
    healthCheckRecursionDesired = true,
    readTimeout = 2000,
    totalTimeout = 5000,
    maximumConcurrent = 0,
    forceTcp = false,
    preferUdp = false,
    failFast = false,
    failover = [],
    cache,
    staleVerify = 0,
    randomId,
    random = Math.random,
    now,
    later,
  } = options;
  const states: UpstreamState[] = options.upstreams.map((upstream) => ({ upstream, failures: 0, probing: false }));
  const maximumAttempts = options.maximumAttempts ?? 2 * states.length;
  const underWay = new Map<string, Promise<Message>>();
  const timers = new Set<() => void>();
  let concurrent = 0;
  let turn = 0;
  let closed = false;
  const observe = (event: ForwardEvent): void => options.observe?.(event);
  const healthName = nameFromText(healthCheckDomain);

  const isDown = (state: UpstreamState): boolean => maximumFailures > 0 && state.failures >= maximumFailures;

  /** Upstreams in the order of the policy. */
  function candidates(): UpstreamState[] {
    if (policy === "sequential") return states;
    if (policy === "round_robin") {
      const start = turn++ % states.length;
      return [...states.slice(start), ...states.slice(0, start)];
    }
    const order = [...states];
    for (let index = order.length - 1; index > 0; index--) {
      const other = Math.floor(random() * (index + 1));
      [order[index], order[other]] = [order[other]!, order[index]!];
    }
    return order;
  }

  function schedule(task: () => void, delay: number): void {
    const cancel = later(() => {
      timers.delete(cancel);
      task();
    }, delay);
    timers.add(cancel);
  }

  /** Asks a suspected upstream until it says anything at all. */
  function probe(state: UpstreamState): void {
    if (closed || state.probing || maximumFailures === 0) return;
    state.probing = true;
    const query = encodeMessage(
      queryMessage(
        randomId(),
        { name: healthName, type: recordTypes.NS, class: 1 },
        { recursionDesired: healthCheckRecursionDesired },
      ),
    );
    state.upstream
      .exchange({
        query,
        transport: forceTcp ? "tcp" : "udp",
        timeout: readTimeout,
        accepts: (reply) =>
          reply.length >= 12 && reply[0] === query[0] && reply[1] === query[1] && (reply[2]! & 0x80) !== 0,
      })
      .then(
        () => {
          state.failures = 0;
          state.probing = false;
        },
        () => {
          observe({ kind: "health-check-failure", to: state.upstream.address });
          state.failures++;
          if (closed) return;
          schedule(() => {
            state.probing = false;
            probe(state);
          }, healthCheckInterval);
        },
      );
  }

  async function exchange(
    state: UpstreamState,
    question: Question,
    how: ResolveOptions,
    transport: "udp" | "tcp",
    timeout: number,
    withEdns: boolean,
  ): Promise<Message> {
    const query = encodeMessage(
      queryMessage(randomId(), question, {
        recursionDesired: how.recursionDesired,
        checkingDisabled: how.checkingDisabled,
        ...(withEdns
          ? { edns: { udpPayloadSize: 1232, version: 0, dnssecOk: how.dnssecOk, reservedFlags: 0, options: [] } }
          : {}),
      }),
    );
    const started = now();
    let message: Message | undefined;
    observe({ kind: "connect", to: state.upstream.address, transport });
    await state.upstream.exchange({
      query,
      transport,
      timeout,
      ...(how.signal === undefined ? {} : { signal: how.signal }),
      accepts: (reply) => {
        if (!repliesTo(query, reply)) {
          observe({ kind: "mismatch", to: state.upstream.address });
          return false;
        }
        try {
          message = decodeMessage(reply);
          return true;
        } catch (error) {
          if (error instanceof DnsMessageError) {
            observe({ kind: "mismatch", to: state.upstream.address });
            return false;
          }
          throw error;
        }
      },
    });
    const reply = message!;
    observe({ kind: "exchange", to: state.upstream.address, rcode: reply.rcode, duration: now() - started });
    return reply;
  }

  async function ask(question: Question, how: ResolveOptions): Promise<Message> {
    const deadline = now() + totalTimeout;
    let lastError: unknown;
    let attempts = 0;
    let lastMessage: Message | undefined;
    const order = candidates();
    for (let round = 0; attempts < maximumAttempts; round++) {
      const healthy = order.filter((state) => !isDown(state));
      if (healthy.length === 0) {
        observe({ kind: "broken" });
        if (failFast) throw new ResolveError("no-upstream", "no upstream is healthy", lastError);
      }
      const list = healthy.length > 0 ? healthy : [order[Math.floor(random() * order.length)]!];
      const state = list[round % list.length]!;
      const left = deadline - now();
      if (left <= 0) break;
      attempts++;
      const transport = forceTcp ? "tcp" : preferUdp ? "udp" : how.transport;
      try {
        let message = await exchange(state, question, how, transport, Math.min(readTimeout, left), true);
        const noEdns = message.rcode === responseCodes.FORMERR || message.rcode === responseCodes.NOTIMP;
        if (noEdns && message.edns === undefined)
          // Servers from before EDNS choke on the OPT record (RFC 6891 7).
          message = await exchange(state, question, how, transport, Math.min(readTimeout, left), false);
        if (message.truncated && transport === "udp" && how.transport === "tcp")
          message = await exchange(
            state,
            question,
            how,
            "tcp",
            Math.min(readTimeout, Math.max(1, deadline - now())),
            true,
          );
        state.failures = 0;
        lastMessage = message;
        if (!failover.includes(message.rcode)) return message;
      } catch (error) {
        lastError = error;
        state.failures++;
        observe({ kind: "failure", to: state.upstream.address });
        probe(state);
      }
    }
    if (lastMessage !== undefined) return lastMessage;
    if (lastError instanceof ResolveError) throw lastError;
    throw new ResolveError("timeout", `no upstream answered within ${totalTimeout} ms`, lastError);
  }

  /** The same, or a rejection when it takes longer; what is under way goes on. */
  function within(message: Promise<Message>, time: number): Promise<Message> {
    message.catch(() => undefined);
    const late = new ResolveError("timeout", `no new answer within ${time} ms`);
    if (time === 0) return Promise.reject(late);
    return new Promise((resolve, reject) => {
      schedule(() => reject(late), time);
      message.then(resolve, reject);
    });
  }

  function fetch(key: string, question: Question, how: ResolveOptions): Promise<Message> {
    const known = underWay.get(key);
    if (known !== undefined) {
      observe({ kind: "coalesced" });
      return known;
    }
    if (maximumConcurrent > 0 && concurrent >= maximumConcurrent) {
      observe({ kind: "rejected" });
      return Promise.reject(new ResolveError("overloaded", `${maximumConcurrent} questions are under way already`));
    }
    concurrent++;
    // One client leaving must not end what others wait for as well.
    const { signal: _signal, ...shared } = how;
    const promise = ask(question, shared)
      .then((message) => {
        cache?.store(question, how.dnssecOk, how.checkingDisabled, message);
        return message;
      })
      .finally(() => {
        concurrent--;
        underWay.delete(key);
      });
    underWay.set(key, promise);
    return promise;
  }

  return {
    async resolve(question, how) {
      if (states.length === 0) throw new ResolveError("no-upstream", "no upstream is configured");
      const transport = forceTcp ? "tcp" : preferUdp ? "udp" : how.transport;
      const key = `${String.fromCharCode(question.type, question.class)}${transport[0]}${Number(how.recursionDesired)}${Number(how.checkingDisabled)}${Number(how.dnssecOk)}${nameKey(question.name)}`;
      const cached = cache?.lookup(question, how.dnssecOk, how.checkingDisabled);
      if (cache !== undefined) observe({ kind: "cache-request" });
      if (cached !== undefined && cached.state !== "stale") {
        if (cached.state === "prefetch" && !underWay.has(key)) {
          observe({ kind: "prefetch" });
          fetch(key, question, how).catch(() => undefined);
        }
        observe({ kind: "cache-hit", negative: cached.message.answers.length === 0 });
        return { ...cached.message, checkingDisabled: how.checkingDisabled };
      }
      if (cache !== undefined) observe({ kind: "cache-miss" });
      const fetched = fetch(key, question, how);
      try {
        const message = await (cached === undefined ? fetched : within(fetched, staleVerify));
        if (message.rcode === responseCodes.SERVFAIL && cached !== undefined) {
          observe({ kind: "served-stale" });
          return cached.message;
        }
        // Others may have asked in other letters; what they get must not depend on who was first.
        return message.questions[0] !== undefined && equalNames(message.questions[0].name, question.name)
          ? { ...message, questions: [question] }
          : message;
      } catch (error) {
        if (cached === undefined) {
          if (
            cache !== undefined &&
            error instanceof ResolveError &&
            error.code !== "overloaded" &&
            error.code !== "aborted"
          )
            cache.store(question, how.dnssecOk, how.checkingDisabled, failure(question));
          throw error;
        }
        observe({ kind: "served-stale" });
        return cached.message;
      }
    },
    get health() {
      return states.map((state) => ({ address: state.upstream.address, healthy: !isDown(state) }));
    },
    close() {
      closed = true;
      for (const cancel of timers) cancel();
      timers.clear();
    },
  };
}

function failure(question: Question): Message {
  return { ...queryMessage(0, question), response: true, rcode: responseCodes.SERVFAIL };
}
