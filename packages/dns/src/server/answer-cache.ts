import type { Message, Question } from "../message/message.ts";
import { nameKey } from "../message/name.ts";
import { type ResourceRecord, readAuthorityData } from "../message/record.ts";
import { recordTypes, responseCodes } from "../message/record-type.ts";

/** Options of {@link createAnswerCache}; times in seconds. Defaults are those of CoreDNS's `cache` (plugin/cache). */
export interface AnswerCacheOptions {
  /** Entries with an answer. Default 9984. */
  readonly positiveCapacity?: number;
  /** Entries without one: NXDOMAIN, NODATA, failures. Default 9984. */
  readonly negativeCapacity?: number;
  /** Default 3600. */
  readonly positiveMaximumTtl?: number;
  /** Default 1800. */
  readonly negativeMaximumTtl?: number;
  /** Default 5. */
  readonly minimumTtl?: number;
  /** How long a failure is remembered (RFC 9520 asks for 1 s to 5 min). Default 5; 0 turns it off. */
  readonly failureTtl?: number;
  /** How long after its end an answer may still be given when no new one can be had (RFC 8767). Default 0: not at all. */
  readonly staleTtl?: number;
  /** TTL in stale answers. Default 30 (RFC 8767 section 4). */
  readonly staleAnswerTtl?: number;
  /** An entry asked for this often within `prefetchWindow` is fetched anew before it ends. Default 0: never. */
  readonly prefetchAmount?: number;
  /** Default 60. */
  readonly prefetchWindow?: number;
  /** Share of the TTL that must be left at most. Default 0.1. */
  readonly prefetchShare?: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** An answer from the cache with TTLs counted down. */
export interface CachedAnswer {
  readonly message: Message;
  /** `fresh`; `prefetch`: fresh, and time to fetch it anew in the background; `stale`: only for when nothing better can be had. */
  readonly state: "fresh" | "prefetch" | "stale";
}

/** Answers by question, class, DO and CD, so that none is given to a question it was not made for. */
export interface AnswerCache {
  lookup(question: Question, dnssecOk: boolean, checkingDisabled: boolean): CachedAnswer | undefined;
  /** Keeps a response if it may be kept. True when it was. */
  store(question: Question, dnssecOk: boolean, checkingDisabled: boolean, message: Message): boolean;
  readonly positiveSize: number;
  readonly negativeSize: number;
  /** Entries that had to go for others: with an answer, and without one. */
  readonly evictions: { readonly positive: number; readonly negative: number };
  clear(): void;
}

interface Entry {
  readonly message: Message;
  readonly storedAt: number;
  /** Milliseconds. */
  readonly lifetime: number;
  hits: number;
  windowStart: number;
}

/** Creates a cache. Every lookup and store is one or two map accesses. */
export function createAnswerCache(options: AnswerCacheOptions): AnswerCache {
  const {
    positiveCapacity = 9984,
    negativeCapacity = 9984,
    positiveMaximumTtl = 3600,
    negativeMaximumTtl = 1800,
    minimumTtl = 5,
    failureTtl = 5,
    staleTtl = 0,
    staleAnswerTtl = 30,
    prefetchAmount = 0,
    prefetchWindow = 60,
    prefetchShare = 0.1,
    now,
  } = options;
  const positive = new Map<string, Entry>();
  const negative = new Map<string, Entry>();
  const evictions = { positive: 0, negative: 0 };

  function keyOf({ name, type, class: recordClass }: Question, dnssecOk: boolean, checkingDisabled: boolean): string {
    return `${String.fromCharCode(type, recordClass, (dnssecOk ? 2 : 0) | (checkingDisabled ? 1 : 0))}${nameKey(name)}`;
  }

  function aged(records: readonly ResourceRecord[], elapsed: number): ResourceRecord[] {
    return records.map((record) => ({ ...record, ttl: Math.max(0, record.ttl - elapsed) }));
  }

  function keep(map: Map<string, Entry>, capacity: number, key: string, entry: Entry): void {
    map.delete(key);
    if (map.size >= capacity) {
      // The oldest entry is the first of the map.
      const oldest = map.keys().next().value;
      if (oldest !== undefined) map.delete(oldest);
      evictions[map === positive ? "positive" : "negative"]++;
    }
    map.set(key, entry);
  }

  return {
    lookup(question, dnssecOk, checkingDisabled) {
      const key = keyOf(question, dnssecOk, checkingDisabled);
      const entry = positive.get(key) ?? negative.get(key);
      if (entry === undefined) return undefined;
      const time = now();
      const age = time - entry.storedAt;
      if (age >= entry.lifetime) {
        if (age >= entry.lifetime + staleTtl * 1000) {
          positive.delete(key);
          negative.delete(key);
          return undefined;
        }
        const ttl = staleAnswerTtl;
        const stale = (records: readonly ResourceRecord[]): ResourceRecord[] =>
          records.map((record) => ({ ...record, ttl }));
        const { message } = entry;
        return {
          state: "stale",
          message: {
            ...message,
            answers: stale(message.answers),
            authorities: stale(message.authorities),
            additionals: [],
          },
        };
      }
      if (time - entry.windowStart > prefetchWindow * 1000) {
        entry.windowStart = time;
        entry.hits = 0;
      }
      entry.hits++;
      const elapsed = Math.floor(age / 1000);
      const { message } = entry;
      const prefetch =
        prefetchAmount > 0 && entry.hits >= prefetchAmount && entry.lifetime - age <= entry.lifetime * prefetchShare;
      return {
        state: prefetch ? "prefetch" : "fresh",
        message: {
          ...message,
          answers: aged(message.answers, elapsed),
          authorities: aged(message.authorities, elapsed),
          additionals: aged(message.additionals, elapsed),
        },
      };
    },
    store(question, dnssecOk, checkingDisabled, message) {
      if (message.truncated || (question.type >= recordTypes.TKEY && question.type <= recordTypes.ANY)) return false;
      const key = keyOf(question, dnssecOk, checkingDisabled);
      const time = now();
      const entry = (ttl: number, kept: Message): Entry => ({
        message: kept,
        storedAt: time,
        lifetime: ttl * 1000,
        hits: 0,
        windowStart: time,
      });
      // A TTL with the top bit set counts as zero (RFC 2181 section 8).
      const ttlOf = (record: ResourceRecord): number => (record.ttl > 0x7fffffff ? 0 : record.ttl);
      const limited = (records: readonly ResourceRecord[], maximum: number): ResourceRecord[] =>
        records.map((record) => ({ ...record, ttl: Math.min(Math.max(ttlOf(record), 0), maximum) }));
      const relevant = message.answers.some(({ type }) => type === question.type);
      if (message.rcode === responseCodes.NOERROR && relevant) {
        const shortest = Math.min(...message.answers.map(ttlOf));
        const ttl = Math.min(Math.max(shortest, minimumTtl), positiveMaximumTtl);
        // Nothing outside the chain of the answer is kept: it was not asked for and may not be true.
        const kept: Message = {
          ...message,
          answers: limited(message.answers, ttl).map((record) => ({
            ...record,
            ttl: Math.max(record.ttl, Math.min(ttl, minimumTtl)),
          })),
          authorities: limited(message.authorities, ttl),
          additionals: limited(message.additionals, ttl),
        };
        negative.delete(key);
        keep(positive, positiveCapacity, key, entry(ttl, kept));
        return true;
      }
      if (message.rcode === responseCodes.NOERROR || message.rcode === responseCodes.NXDOMAIN) {
        const authority = message.authorities.find(({ type }) => type === recordTypes.SOA);
        // Without SOA there is no time for which it holds (RFC 2308 section 5).
        if (authority === undefined) return false;
        const own = Math.min(ttlOf(authority), readAuthorityData(authority.data).minimum);
        const ttl = Math.min(Math.max(own, minimumTtl), negativeMaximumTtl);
        positive.delete(key);
        keep(
          negative,
          negativeCapacity,
          key,
          entry(ttl, {
            ...message,
            answers: limited(message.answers, ttl),
            authorities: limited(message.authorities, ttl),
            additionals: [],
          }),
        );
        return true;
      }
      if (message.rcode === responseCodes.SERVFAIL && failureTtl > 0) {
        // A failure must not push out an answer that may yet be given stale.
        if (positive.has(key)) return false;
        keep(negative, negativeCapacity, key, entry(failureTtl, message));
        return true;
      }
      return false;
    },
    get positiveSize() {
      return positive.size;
    },
    get negativeSize() {
      return negative.size;
    },
    get evictions() {
      return evictions;
    },
    clear() {
      positive.clear();
      negative.clear();
    },
  };
}
