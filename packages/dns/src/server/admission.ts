import { parseAddress } from "@portolan/net";
import { ednsOptionCodes } from "../message/message.ts";
import { responseCodes } from "../message/record-type.ts";
import type { Admission } from "./query-handler.ts";
import { sipHash24 } from "./sip-hash.ts";

/** Options of {@link createAdmission}. */
export interface AdmissionOptions {
  /** Answers cookies (RFC 7873), made as RFC 9018 says. */
  readonly cookies?: {
    /** 16 octets; all servers behind one address must share it. */
    readonly secret: Uint8Array;
    /** The secret before, still taken while clients renew. */
    readonly previous?: Uint8Array;
  };
  /** Limits replies to clients that may be somebody else's victims (response rate limiting, as NSD and BIND do). */
  readonly rate?: {
    /** Replies per second and network. Default 200. */
    readonly repliesPerSecond?: number;
    /** Every how many-th reply over the limit goes out empty with TC instead of not at all; 0: none. Default 2. */
    readonly slip?: number;
    /** Lengths of the networks. Defaults 24 and 64. */
    readonly ipv4Prefix?: number;
    readonly ipv6Prefix?: number;
    /** Counters; networks share them by hash. Default 65536. */
    readonly buckets?: number;
  };
  /** Milliseconds since 1970. Default `Date.now`. */
  readonly now?: () => number;
}

/** Seconds for which a server cookie holds, and from which on a new one is sent (RFC 9018 section 4.3). */
const cookieLifetime = 3600;
const cookieRenewal = 1800;
/** Seconds that clocks of other servers may be ahead. */
const clockSkew = 300;

/**
 * Creates cookies and rates for a server. A client that shows a cookie of ours has been reached at its address and is not limited; one without, over
 * the limit, is told to come back with one (BADCOOKIE) if it sent a client cookie, and by TCP otherwise.
 *
 * ```text
 * option COOKIE: | client cookie, 8 octets | 1 | 0 0 0 | time, 4 | hash, 8 |     times in seconds, big-endian
 * ```
 */
export function createAdmission(options: AdmissionOptions): Admission {
  const { cookies, rate } = options;
  const now = options.now ?? Date.now;
  const limit = rate?.repliesPerSecond ?? 200;
  const slip = rate?.slip ?? 2;
  const buckets = rate?.buckets ?? 65536;
  const counts = new Uint32Array(rate === undefined ? 0 : buckets);
  const seconds = new Uint32Array(rate === undefined ? 0 : buckets);

  function hashOf(secret: Uint8Array, client: Uint8Array, head: Uint8Array, address: Uint8Array): Uint8Array {
    const data = new Uint8Array(16 + address.length);
    data.set(client);
    data.set(head, 8);
    data.set(address, 16);
    return sipHash24(secret, data);
  }

  function serverCookie(secret: Uint8Array, client: Uint8Array, address: Uint8Array, time: number): Uint8Array {
    const cookie = new Uint8Array(24);
    cookie.set(client);
    cookie[8] = 1;
    new DataView(cookie.buffer).setUint32(12, time);
    cookie.set(hashOf(secret, client, cookie.subarray(8, 16), address), 16);
    return cookie;
  }

  /** Seconds since a cookie was made; undefined when it is none of ours or too old. */
  function ageOf(option: Uint8Array, address: Uint8Array, time: number): number | undefined {
    if (option.length !== 24 || option[8] !== 1 || cookies === undefined) return undefined;
    const made = new DataView(option.buffer, option.byteOffset).getUint32(12);
    const age = (time - made) | 0;
    if (age > cookieLifetime || age < -clockSkew) return undefined;
    for (const secret of [cookies.secret, cookies.previous]) {
      if (secret === undefined) continue;
      const hash = hashOf(secret, option.subarray(0, 8), option.subarray(8, 16), address);
      let difference = 0;
      for (let index = 0; index < 8; index++) difference |= hash[index]! ^ option[16 + index]!;
      if (difference === 0) return age;
    }
    return undefined;
  }

  /** Replies over the limit in this second, counting this one; 0 when there are none. */
  function excess(address: Uint8Array, time: number): number {
    const length = address.length === 4 ? (rate?.ipv4Prefix ?? 24) : (rate?.ipv6Prefix ?? 64);
    let hash = 0x811c9dc5 ^ address.length;
    for (let bit = 0; bit < length; bit += 8) {
      const octet = address[bit >> 3]!;
      const kept = length - bit >= 8 ? octet : octet & (0xff << (8 - (length - bit)));
      hash = Math.imul(hash ^ kept, 0x01000193);
    }
    const bucket = (hash >>> 0) % buckets;
    if (seconds[bucket] !== time) {
      seconds[bucket] = time;
      counts[bucket] = 0;
    }
    counts[bucket] = counts[bucket]! + 1;
    return Math.max(0, counts[bucket]! - limit);
  }

  return {
    admit(_query, received, client) {
      const time = Math.floor(now() / 1000);
      const address = parseAddress(client.address.replace(/%.*$/, ""))?.bytes ?? new Uint8Array(4);
      const cookie =
        cookies === undefined ? undefined : received.find(({ code }) => code === ednsOptionCodes.COOKIE)?.data;
      let valid = false;
      let reply: { code: number; data: Uint8Array }[] = [];
      if (cookie !== undefined && cookies !== undefined) {
        const { length } = cookie;
        if (length !== 8 && (length < 16 || length > 40)) return { rcode: responseCodes.FORMERR };
        const age = ageOf(cookie, address, time);
        valid = age !== undefined;
        const data =
          age !== undefined && age < cookieRenewal
            ? cookie
            : serverCookie(cookies.secret, cookie.slice(0, 8), address, time);
        reply = [{ code: ednsOptionCodes.COOKIE, data }];
      }
      if (rate === undefined || client.transport === "tcp" || valid) return { options: reply };
      const over = excess(address, time);
      if (over === 0) return { options: reply };
      if (cookie !== undefined) return { options: reply, rcode: responseCodes.BADCOOKIE };
      return { action: slip > 0 && over % slip === 0 ? "truncate" : "drop" };
    },
  };
}
