import { createSocket, type Socket } from "node:dgram";
import { createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import {
  createAdmission,
  createAnswerCache,
  createForwarder,
  createSocketUpstream,
  type Forwarder,
  ResolveError,
  repliesTo,
  type Upstream,
  type UpstreamRequest,
} from "../src/index.ts";
import {
  addressRecord,
  authorityRecord,
  decodeMessage,
  encodeMessage,
  frameMessage,
  type Message,
  nameFromText,
  type Question,
  queryMessage,
  recordToText,
  recordTypes,
} from "../src/message/index.ts";
import { sipHash24 } from "../src/server/sip-hash.ts";

const name = nameFromText("www.example.com.");
const question: Question = { name, type: recordTypes.A, class: 1 };
const how = { transport: "udp", recursionDesired: true, checkingDisabled: false, dnssecOk: false } as const;

function answering(query: Uint8Array, change: Partial<Message> = {}): Uint8Array {
  const asked = decodeMessage(query);
  return encodeMessage({
    ...asked,
    response: true,
    answers: [addressRecord(asked.questions[0]!.name, 300, Uint8Array.of(192, 0, 2, 80))],
    ...change,
  });
}

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** An upstream out of a function; counts what it was asked. */
function upstream(
  address: string,
  reply: (request: UpstreamRequest) => Uint8Array | Promise<Uint8Array>,
): Upstream & { asked: number } {
  const one = {
    address,
    asked: 0,
    async exchange(request: UpstreamRequest) {
      one.asked++;
      const bytes = await reply(request);
      if (!request.accepts(bytes)) throw new ResolveError("timeout", "no good reply");
      return bytes;
    },
  };
  return one;
}

let time = 0;
function forwarder(upstreams: Upstream[], more: object = {}): Forwarder {
  return createForwarder({
    upstreams,
    policy: "sequential",
    randomId: () => 4711,
    random: () => 0,
    now: () => time,
    later: () => () => undefined,
    ...more,
  });
}
const down = (address: string) =>
  upstream(address, () => {
    throw new ResolveError("timeout", "down");
  });

describe("a forwarder", () => {
  it("goes on to the next upstream, and leaves out one that failed twice", async () => {
    const bad = down("bad");
    const good = upstream("good", ({ query }) => answering(query));
    const one = forwarder([bad, good]);
    for (let turn = 0; turn < 5; turn++) expect((await one.resolve(question, how)).answers).toHaveLength(1);
    // Two questions, and the probe that the first failure started.
    expect(bad.asked).toBeLessThanOrEqual(4);
    expect(one.health.map(({ healthy }) => healthy)).toEqual([false, true]);
    one.close();
  });

  it("asks once for questions that are the same and under way", async () => {
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = upstream("slow", async ({ query }) => {
      await gate;
      return answering(query);
    });
    const one = forwarder([slow]);
    const all = Array.from({ length: 10 }, () => one.resolve(question, how));
    release();
    expect((await Promise.all(all)).every(({ answers }) => answers.length === 1)).toBe(true);
    expect(slow.asked).toBe(1);
  });

  it("refuses more questions than it may have under way", async () => {
    const never = upstream("never", () => new Promise<Uint8Array>(() => undefined));
    const one = forwarder([never], { maximumConcurrent: 1 });
    void one.resolve(question, how).catch(() => undefined);
    await expect(one.resolve({ ...question, name: nameFromText("other.") }, how)).rejects.toMatchObject({
      code: "overloaded",
    });
  });

  it("asks again by TCP for a client that uses TCP, and passes TC on to one that uses UDP", async () => {
    const short = upstream("short", ({ query, transport }) =>
      transport === "udp" ? answering(query, { truncated: true, answers: [] }) : answering(query),
    );
    const one = forwarder([short], { preferUdp: true });
    expect((await one.resolve(question, how)).truncated).toBe(true);
    expect((await one.resolve(question, { ...how, transport: "tcp" })).answers).toHaveLength(1);
  });

  it("tries without EDNS when an old server cannot take it", async () => {
    const old = upstream("old", ({ query }) => {
      const asked = decodeMessage(query);
      if (asked.edns !== undefined) {
        const { edns: _edns, ...rest } = asked;
        return encodeMessage({ ...rest, response: true, rcode: 1 });
      }
      return answering(query);
    });
    expect((await forwarder([old]).resolve(question, how)).answers).toHaveLength(1);
  });
});

describe("a cache", () => {
  const soa = authorityRecord(nameFromText("example.com."), 60, {
    primary: name,
    mailbox: name,
    serial: 1,
    refresh: 1,
    retry: 1,
    expire: 1,
    minimum: 20,
  });

  it("counts TTLs down, gives answers their end, and asks anew then", async () => {
    time = 0;
    const up = upstream("up", ({ query }) => answering(query));
    const one = forwarder([up], { cache: createAnswerCache({ now: () => time, positiveMaximumTtl: 30 }) });
    await one.resolve(question, how);
    time = 10_500;
    expect(recordToText((await one.resolve(question, how)).answers[0]!)).toContain(" 20 IN A");
    expect(up.asked).toBe(1);
    time = 30_000;
    await one.resolve(question, how);
    expect(up.asked).toBe(2);
  });

  it("keeps negative answers for the time of their SOA record, and not at all without one", async () => {
    time = 0;
    const up = upstream("up", ({ query }) => answering(query, { rcode: 3, answers: [], authorities: [soa] }));
    const one = forwarder([up], { cache: createAnswerCache({ now: () => time }) });
    await one.resolve(question, how);
    time = 19_000;
    await one.resolve(question, how);
    expect(up.asked).toBe(1);
    time = 20_000;
    await one.resolve(question, how);
    expect(up.asked).toBe(2);
    const bare = upstream("bare", ({ query }) => answering(query, { rcode: 3, answers: [] }));
    const other = forwarder([bare], { cache: createAnswerCache({ now: () => time }) });
    await other.resolve(question, how);
    await other.resolve(question, how);
    expect(bare.asked).toBe(2);
  });

  it("keeps questions of another class or with DO apart, and never keeps truncated answers", async () => {
    const up = upstream("up", ({ query }) => answering(query, { truncated: true }));
    const one = forwarder([up], { cache: createAnswerCache({ now: () => time }) });
    await one.resolve(question, how);
    await one.resolve(question, how);
    expect(up.asked).toBe(2);
    const cache = createAnswerCache({ now: () => 0 });
    cache.store(question, false, false, decodeMessage(answering(encodeMessage(queryMessage(1, question)))));
    expect(cache.lookup(question, false, false)).toBeDefined();
    expect(cache.lookup(question, true, false)).toBeUndefined();
    expect(cache.lookup({ ...question, class: 3 }, false, false)).toBeUndefined();
  });

  it("gives an answer past its end when nobody can be asked, if told so", async () => {
    time = 0;
    let works = true;
    const up = upstream("up", ({ query }) => {
      if (!works) throw new ResolveError("timeout", "down");
      return answering(query);
    });
    const one = forwarder([up], {
      cache: createAnswerCache({ now: () => time, positiveMaximumTtl: 30, staleTtl: 3600 }),
    });
    await one.resolve(question, how);
    works = false;
    time = 60_000;
    expect((await one.resolve(question, how)).answers).toHaveLength(1);
    time = 4_000_000;
    await expect(one.resolve(question, how)).rejects.toBeInstanceOf(ResolveError);
    one.close();
  });

  it("fetches popular answers anew before their end", async () => {
    time = 0;
    const up = upstream("up", ({ query }) => answering(query));
    const one = forwarder([up], {
      cache: createAnswerCache({ now: () => time, positiveMaximumTtl: 30, prefetchAmount: 2, prefetchWindow: 600 }),
    });
    for (const at of [0, 1000, 2000, 28_000]) {
      time = at;
      await one.resolve(question, how);
    }
    expect(up.asked).toBe(2);
  });
});

/** A UDP server on loopback that answers with what a function gives; replies go out from the server's own socket or from another. */
async function udpServer(
  handle: (query: Uint8Array, send: (reply: Uint8Array, from?: Socket) => void) => void,
): Promise<number> {
  const socket = createSocket("udp4");
  closers.push(() => socket.close());
  socket.on("message", (query, client) =>
    handle(query, (reply, from = socket) => from.send(reply, client.port, client.address)),
  );
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return socket.address().port;
}

describe("poisoning", () => {
  it("fails: replies with another ID, question, class or letters are not taken, whatever comes first", async () => {
    const port = await udpServer((query, send) => {
      const evil = { answers: [addressRecord(name, 86400, Uint8Array.of(6, 6, 6, 6))] };
      const asked = decodeMessage(query);
      send(answering(query, { ...evil, id: asked.id ^ 1 }));
      send(answering(query, { ...evil, questions: [{ ...question, name: nameFromText("other.example.com.") }] }));
      send(answering(query, { ...evil, questions: [{ ...question, name: nameFromText("WWW.example.com.") }] }));
      send(answering(query, { ...evil, questions: [{ ...question, type: recordTypes.AAAA }] }));
      send(answering(query, { ...evil, response: false }));
      send(Uint8Array.of(1, 2, 3));
      const broken = answering(query, evil);
      broken[7] = 200;
      send(broken);
      send(answering(query));
    });
    const mismatches: string[] = [];
    const one = createForwarder({
      upstreams: [createSocketUpstream({ host: "127.0.0.1", port })],
      randomId: () => Math.floor(Math.random() * 65536),
      now: () => performance.now(),
      later: () => () => undefined,
      observe: (event) => {
        if (event.kind === "mismatch") mismatches.push(event.to);
      },
    });
    const message = await one.resolve(question, how);
    expect(message.answers.map(recordToText)).toEqual(["www.example.com. 300 IN A 192.0.2.80"]);
    expect(mismatches).toHaveLength(7);
  });

  it("fails: what comes from another address or port never arrives", async () => {
    const stranger = createSocket("udp4");
    closers.push(() => stranger.close());
    await new Promise<void>((resolve) => stranger.bind(0, "127.0.0.1", resolve));
    const port = await udpServer((query, send) => {
      send(answering(query, { answers: [addressRecord(name, 1, Uint8Array.of(6, 6, 6, 6))] }), stranger);
      setTimeout(() => send(answering(query)), 50);
    });
    const one = forwarder([createSocketUpstream({ host: "127.0.0.1", port })]);
    expect(recordToText((await one.resolve(question, how)).answers[0]!)).toContain("192.0.2.80");
  });

  it("is not made easier: every query has a port of its own", async () => {
    const ports = new Set<number>();
    const socket = createSocket("udp4");
    closers.push(() => socket.close());
    socket.on("message", (query, client) => {
      ports.add(client.port);
      socket.send(answering(query), client.port, client.address);
    });
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    const one = forwarder([createSocketUpstream({ host: "127.0.0.1", port: socket.address().port })]);
    for (let turn = 0; turn < 8; turn++) await one.resolve({ ...question, name: nameFromText(`n${turn}.`) }, how);
    expect(ports.size).toBeGreaterThan(1);
  });

  it("repliesTo takes a bare header for FORMERR and NOTIMP only", () => {
    const query = encodeMessage(queryMessage(7, question));
    const bare = (rcode: number): Uint8Array => Uint8Array.of(0, 7, 0x80, rcode, 0, 0, 0, 0, 0, 0, 0, 0);
    expect([1, 4, 0, 3].map((rcode) => repliesTo(query, bare(rcode)))).toEqual([true, true, false, false]);
  });
});

describe("an upstream over TCP", () => {
  it("gives the message that was asked for", async () => {
    const server = createServer((socket) => {
      socket.on("data", (chunk) => socket.write(frameMessage(answering(chunk.subarray(2)))));
      socket.on("error", () => undefined);
    });
    closers.push(() => server.close());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const one = forwarder([createSocketUpstream({ host: "127.0.0.1", port })], { forceTcp: true });
    expect((await one.resolve(question, how)).answers).toHaveLength(1);
  });
});

describe("admission", () => {
  const hex = (text: string): Uint8Array => Uint8Array.from(text.match(/../g)!, (pair) => Number.parseInt(pair, 16));
  const secret = hex("e5e973e5a6b2a43f48e7dc849e37bfcf");
  const client = { address: "198.51.100.100", port: 4711, transport: "udp" } as const;
  const query = {} as never;

  it("hashes as SipHash-2-4 does", () => {
    const key = Uint8Array.from({ length: 16 }, (_, index) => index);
    const data = Uint8Array.from({ length: 15 }, (_, index) => index);
    // The example of the paper's appendix A: 0xa129ca6149be45e5.
    expect([...sipHash24(key, data)]).toEqual([...hex("e545be4961ca29a1")]);
  });

  it("makes the cookie of RFC 9018 appendix A.1 and takes it back", () => {
    const admission = createAdmission({ cookies: { secret }, now: () => 1_559_731_985_000 });
    const first = admission.admit(query, [{ code: 10, data: hex("2464c4abcf10c957") }], client);
    expect([...first.options![0]!.data]).toEqual([...hex("2464c4abcf10c957010000005cf79f111f8130c3eee29480")]);
    const limited = createAdmission({
      cookies: { secret },
      rate: { repliesPerSecond: 0 },
      now: () => 1_559_731_985_000,
    });
    expect(limited.admit(query, first.options!, client).rcode).toBeUndefined();
    expect(limited.admit(query, first.options!, { ...client, address: "198.51.100.101" }).rcode).toBe(23);
  });

  it("refuses cookies of a length that there is not", () => {
    const admission = createAdmission({ cookies: { secret } });
    for (const length of [0, 7, 9, 15, 41])
      expect(admission.admit(query, [{ code: 10, data: new Uint8Array(length) }], client).rcode).toBe(1);
  });

  it("answers a network over its limit with every second reply empty, and another network fully", () => {
    const admission = createAdmission({ rate: { repliesPerSecond: 3 }, now: () => 5000 });
    const actions = Array.from({ length: 7 }, () => admission.admit(query, [], client).action ?? "answer");
    expect(actions).toEqual(["answer", "answer", "answer", "drop", "truncate", "drop", "truncate"]);
    expect(admission.admit(query, [], { ...client, address: "192.0.2.1" }).action).toBeUndefined();
    expect(admission.admit(query, [], { ...client, transport: "tcp" }).action).toBeUndefined();
  });
});
