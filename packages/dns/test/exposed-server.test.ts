/** A server on loopback, its upstream and its attackers there as well. */
import { createSocket, type Socket } from "node:dgram";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { createAdmission, type DnsServer, type DnsServerOptions, startDnsServer } from "../src/index.ts";
import {
  addressRecord,
  authorityRecord,
  decodeMessage,
  encodeMessage,
  type Message,
  nameFromText,
  queryMessage,
  recordToText,
  recordTypes,
} from "../src/message/index.ts";
import { createClusterZone } from "../src/zone/index.ts";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function bound(port = 0, address = "127.0.0.1"): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    socket.once("error", reject);
    socket.bind(port, address, () => resolve(socket));
    closing.push(() => new Promise<void>((closed) => socket.close(() => closed())).catch(() => undefined));
  });
}

/** An upstream that knows `www.example.test.` and nothing else; its records live for `ttl` seconds. */
async function upstream(ttl: number) {
  const socket = await bound();
  const one = { port: socket.address().port, asked: 0, answering: true };
  socket.on("message", (octets, client) => {
    const query = decodeMessage(octets);
    const [question] = query.questions;
    if (question === undefined || question.type !== recordTypes.A) return;
    one.asked++;
    if (!one.answering) return;
    const exists = question.name[1] === 0x77;
    const soa = { serial: 1, refresh: 1, retry: 1, expire: 1, minimum: ttl };
    const zone = nameFromText("example.test.");
    const reply: Message = {
      ...query,
      response: true,
      rcode: exists ? 0 : 3,
      answers: exists ? [addressRecord(question.name, ttl, Uint8Array.of(192, 0, 2, one.asked))] : [],
      authorities: exists ? [] : [authorityRecord(zone, ttl, { primary: zone, mailbox: zone, ...soa })],
    };
    socket.send(encodeMessage(reply), client.port, client.address);
  });
  return one;
}

function clusterZone() {
  const zone = createClusterZone({ ttl: 30 });
  zone.apply({ kind: "Namespace", metadata: { name: "default" } });
  zone.apply({
    kind: "Service",
    metadata: { name: "web", namespace: "default" },
    spec: { clusterIPs: ["10.96.0.7"], ports: [{ port: 80 }] },
  } as never);
  return zone;
}

async function serve(options: DnsServerOptions): Promise<{ server: DnsServer; port: number }> {
  const server = await startDnsServer({ listen: [{ host: "127.0.0.1", port: 0 }], zone: clusterZone(), ...options });
  closing.push(() => server.close());
  return { server, port: server.addresses[0]!.port };
}

function query(name: string, more: Parameters<typeof queryMessage>[2] = {}): Uint8Array {
  return encodeMessage(queryMessage(4711, { name: nameFromText(name), type: recordTypes.A, class: 1 }, more));
}

/** A client with a port of its own. */
async function client(port: number) {
  const socket = await bound();
  const replies: Uint8Array[] = [];
  let arrived = (): void => undefined;
  socket.on("message", (reply) => {
    replies.push(reply);
    arrived();
  });
  return {
    replies,
    send: (octets: Uint8Array) => socket.send(octets, port, "127.0.0.1"),
    async ask(octets: Uint8Array): Promise<Message> {
      replies.length = 0;
      socket.send(octets, port, "127.0.0.1");
      while (replies.length === 0)
        await new Promise<void>((resolve) => {
          arrived = resolve;
        });
      return decodeMessage(replies[0]!);
    },
  };
}

const corefile = (upstreamPort: number, cache: string): string => `.:53 {
  kubernetes cluster.local
  forward . 127.0.0.1:${upstreamPort} {
    max_fails 0
  }
  cache {
    ${cache}
  }
}`;

describe("the cache in front of a real upstream", () => {
  it("remembers for how long a name does not exist", async () => {
    const one = await upstream(60);
    const { port } = await serve({ corefile: corefile(one.port, "denial 100 60") });
    const { ask } = await client(port);
    for (let turn = 0; turn < 4; turn++) {
      const { rcode, authorities } = await ask(query("no.example.test."));
      expect([rcode, authorities.length]).toEqual([3, 1]);
    }
    expect(one.asked).toBe(1);
  });

  it("serves what has ended while the upstream is away, at once, and what is new when it is back", async () => {
    const one = await upstream(1);
    const { server, port } = await serve({ corefile: corefile(one.port, "success 100 1 0\n serve_stale 1h") });
    const { ask } = await client(port);
    const ofWww = async (): Promise<string[]> => (await ask(query("www.example.test."))).answers.map(recordToText);
    expect(await ofWww()).toEqual(["www.example.test. 1 IN A 192.0.2.1"]);
    one.answering = false;
    const stale = /coredns_cache_served_stale_total\{.*\} [1-9]/;
    const isStale = async (): Promise<boolean> => {
      expect(await ofWww()).toEqual([expect.stringMatching(/ IN A 192\.0\.2\.1$/)]);
      return stale.test(server.metrics());
    };
    await expect.poll(isStale, { timeout: 15_000 }).toBe(true);
    one.answering = true;
    await expect.poll(ofWww, { timeout: 15_000 }).not.toEqual([expect.stringMatching(/ 192\.0\.2\.1$/)]);
  }, 40_000);

  it("fetches a popular name anew before its end, and nobody waits for it", async () => {
    const one = await upstream(60);
    const { server, port } = await serve({ corefile: corefile(one.port, "success 100 60\n prefetch 2 1m 100%") });
    const { ask } = await client(port);
    for (let turn = 0; turn < 3; turn++) await ask(query("www.example.test."));
    await expect.poll(() => one.asked).toBeGreaterThan(1);
    await expect
      .poll(async () => recordToText((await ask(query("www.example.test."))).answers[0]!))
      .not.toContain("192.0.2.1 ");
    expect(server.metrics()).toMatch(/coredns_cache_prefetch_total\{.*\} [1-9]/);
  });

  it("is never asked about the cluster's names: a change is seen by the next question", async () => {
    const one = await upstream(60);
    const zone = clusterZone();
    const { port } = await serve({ corefile: corefile(one.port, "success 100 60"), zone });
    const { ask } = await client(port);
    for (let turn = 1; turn <= 20; turn++) {
      zone.apply({
        kind: "Service",
        metadata: { name: "web", namespace: "default" },
        spec: { clusterIPs: [`10.96.1.${turn}`], ports: [{ port: 80 }] },
      } as never);
      const { answers } = await ask(query("web.default.svc.cluster.local."));
      expect(answers.map(recordToText)).toEqual([`web.default.svc.cluster.local. 30 IN A 10.96.1.${turn}`]);
    }
    expect(one.asked).toBe(0);
  });
});

describe("an attacker off the path", () => {
  it("gets nothing into the cache: wrong ID, port, address, question, letters", async () => {
    const good = await bound();
    const { port: upstreamPort } = good.address();
    const strangers = [await bound(), await bound(upstreamPort, "127.0.0.2")];
    good.on("message", (octets, { port, address }) => {
      const asked = decodeMessage(octets);
      const [question] = asked.questions;
      const forged = (change: Partial<Message>): Uint8Array =>
        encodeMessage({
          ...asked,
          response: true,
          answers: [addressRecord(question!.name, 86_400, Uint8Array.of(6, 6, 6, 6))],
          ...change,
        });
      for (const stranger of strangers) stranger.send(forged({}), port, address);
      for (let id = 1; id < 200; id++) good.send(forged({ id: (asked.id + id) & 0xffff }), port, address);
      for (const name of ["other.example.test.", "WWW.example.test."])
        good.send(forged({ questions: [{ ...question!, name: nameFromText(name) }] }), port, address);
      good.send(forged({ questions: [{ ...question!, class: 3 }] }), port, address);
      const right = forged({ answers: [addressRecord(question!.name, 60, Uint8Array.of(192, 0, 2, 80))] });
      setTimeout(() => good.send(right, port, address), 100);
    });
    const { server, port } = await serve({ corefile: corefile(upstreamPort, "success 100 60") });
    const { ask } = await client(port);
    for (let turn = 0; turn < 3; turn++) {
      const { answers } = await ask(query("www.example.test."));
      expect(answers.map(({ data }) => data.join("."))).toEqual(["192.0.2.80"]);
    }
    expect(server.metrics()).toMatch(/portolan_dns_upstream_mismatches_total\{.*\} 20[0-9]/);
  });
});

describe("a flood", () => {
  const rate = 20;

  it("from a forged address brings its owner a few answers, and otherwise less than was sent", async () => {
    const { port } = await serve({ admission: createAdmission({ rate: { repliesPerSecond: rate } }) });
    const one = await client(port);
    const question = query("web.default.svc.cluster.local.");
    const count = 1000;
    const started = Date.now();
    for (let sent = 0; sent < count; sent++) {
      one.send(question);
      if (sent % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    // By TCP, and so after the flood: whoever can be reached is not limited.
    await expect.poll(() => one.replies.length).toBeGreaterThan(rate);
    const windows = 2 + (Date.now() - started) / 1000;
    const full = one.replies.filter((reply) => decodeMessage(reply).answers.length > 0);
    expect(full.length).toBeLessThanOrEqual(rate * windows);
    for (const reply of one.replies.filter((other) => !full.includes(other))) {
      expect(decodeMessage(reply)).toMatchObject({ truncated: true, answers: [] });
      expect(reply.length).toBeLessThanOrEqual(question.length);
    }
    expect(one.replies.length).toBeLessThanOrEqual(count / 2 + rate * windows);
  });

  it("does not keep out who shows a cookie that was given to its address", async () => {
    const secret = Uint8Array.from({ length: 16 }, (_, index) => index);
    const admission = createAdmission({ cookies: { secret }, rate: { repliesPerSecond: 0, slip: 0 } });
    const { port } = await serve({ admission });
    const { ask } = await client(port);
    const withCookie = (data: Uint8Array): Uint8Array =>
      query("web.default.svc.cluster.local.", {
        edns: { udpPayloadSize: 1232, version: 0, dnssecOk: false, reservedFlags: 0, options: [{ code: 10, data }] },
      });
    const refused = await ask(withCookie(new Uint8Array(8)));
    expect(refused.rcode).toBe(23);
    const cookie = refused.edns!.options[0]!.data;
    expect(cookie).toHaveLength(24);
    for (let turn = 0; turn < 50; turn++) {
      const { rcode, answers } = await ask(withCookie(cookie));
      expect([rcode, answers.length]).toEqual([0, 1]);
    }
  });
});

describe("a fuzzer", () => {
  it("never keeps the next good question from its answer, nor gets more than the limit for UDP", async () => {
    const { server, port } = await serve({});
    const one = await client(port);
    const good = query("web.default.svc.cluster.local.");
    const names = ["web.default.svc.cluster.local.", "1-2-3-4.default.pod.cluster.local.", "x.cluster.local.", "com."];
    const seeds = names.flatMap((name) => [
      query(name),
      query(name, { edns: { udpPayloadSize: 65_535, version: 0, dnssecOk: true, reservedFlags: 0, options: [] } }),
    ]);
    const mutation = fc.record({
      seed: fc.nat(seeds.length - 1),
      changes: fc.array(fc.tuple(fc.nat(80), fc.nat(255)), { maxLength: 8 }),
      length: fc.option(fc.nat(80), { nil: undefined }),
      tail: fc.uint8Array({ maxLength: 40 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 20 }), async (list) => {
        for (const { seed, changes, length, tail } of list) {
          const octets = Uint8Array.of(...seeds[seed]!, ...tail);
          for (const [at, octet] of changes) if (at < octets.length) octets[at] = octet;
          // The ID that the good question has is not for others.
          octets[0] = 0;
          one.send(octets.subarray(0, length));
        }
        for (;;) {
          one.replies.length = 0;
          const reply = await one.ask(good);
          for (const octets of one.replies) expect(octets.length).toBeLessThanOrEqual(1232);
          if (reply.id !== 4711) continue;
          expect(reply.answers.map(recordToText)).toEqual(["web.default.svc.cluster.local. 30 IN A 10.96.0.7"]);
          break;
        }
      }),
      { numRuns: 150 },
    );
    expect(server.metrics()).toContain("coredns_panics_total 0");
  }, 60_000);
});
