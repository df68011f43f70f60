import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addressRecord,
  createFrameDecoder,
  createMessageEncoder,
  DnsMessageError,
  decodeMessage,
  encodeMessage,
  equalNames,
  frameMessage,
  isWithin,
  labelsOf,
  type Message,
  nameFromLabels,
  nameFromText,
  nameRecord,
  nameToText,
  presentationWords,
  queryMessage,
  type ResourceRecord,
  readQuery,
  recordDataFromText,
  recordDataToText,
  recordTypes,
  serviceRecord,
  textRecord,
} from "../src/message/index.ts";

const label = fc.uint8Array({ minLength: 1, maxLength: 20 });
const name = fc.array(label, { maxLength: 6 }).map((labels) => nameFromLabels(labels));
const ttl = fc.integer({ min: 0, max: 0x7fffffff });
const record: fc.Arbitrary<ResourceRecord> = fc.oneof(
  fc
    .record({ name, ttl, address: fc.uint8Array({ minLength: 4, maxLength: 4 }) })
    .map((r) => addressRecord(r.name, r.ttl, r.address)),
  fc
    .record({ name, ttl, address: fc.uint8Array({ minLength: 16, maxLength: 16 }) })
    .map((r) => addressRecord(r.name, r.ttl, r.address)),
  fc.record({ name, ttl, target: name }).map((r) => nameRecord(r.name, recordTypes.CNAME, r.ttl, r.target)),
  fc
    .record({ name, ttl, target: name, port: fc.integer({ min: 0, max: 65535 }) })
    .map((r) => serviceRecord(r.name, r.ttl, { priority: 1, weight: 2, port: r.port, target: r.target })),
  fc
    .record({ name, ttl, strings: fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 4 }) })
    .map((r) => textRecord(r.name, recordTypes.TXT, r.ttl, r.strings)),
);
const message: fc.Arbitrary<Message> = fc
  .record({
    id: fc.integer({ min: 0, max: 0xffff }),
    authoritative: fc.boolean(),
    recursionDesired: fc.boolean(),
    rcode: fc.integer({ min: 0, max: 15 }),
    question: name,
    answers: fc.array(record, { maxLength: 12 }),
    authorities: fc.array(record, { maxLength: 3 }),
    additionals: fc.array(record, { maxLength: 3 }),
    size: fc.integer({ min: 0, max: 0xffff }),
    edns: fc.boolean(),
  })
  .map((m) => ({
    ...queryMessage(m.id, { name: m.question, type: 1, class: 1 }),
    response: true,
    authoritative: m.authoritative,
    recursionDesired: m.recursionDesired,
    rcode: m.rcode,
    answers: m.answers,
    authorities: m.authorities,
    additionals: m.additionals,
    ...(m.edns
      ? {
          edns: {
            udpPayloadSize: m.size,
            version: 0,
            dnssecOk: true,
            reservedFlags: 0,
            options: [{ code: 10, data: new Uint8Array(8) }],
          },
        }
      : {}),
  }));

describe("names", () => {
  it("come back from text as they were, whatever octets they have", () => {
    fc.assert(
      fc.property(name, (one) => {
        expect(nameFromText(nameToText(one))).toEqual(one);
      }),
    );
  });

  it("with a dot in a label are not the names with two labels", () => {
    const single = nameFromLabels(["svc-0.ns-0", "svc"]);
    const two = nameFromLabels(["svc-0", "ns-0", "svc"]);
    expect(equalNames(single, two)).toBe(false);
    expect(nameToText(single)).toBe("svc-0\\.ns-0.svc.");
  });

  it("compare letters without case and nothing else", () => {
    expect(equalNames(nameFromText("WEB.Default."), nameFromText("web.default."))).toBe(true);
    expect(equalNames(nameFromLabels(["@"]), nameFromLabels(["`"]))).toBe(false);
  });

  it("are within a zone on label boundaries only", () => {
    expect(isWithin(nameFromText("a.cluster.local."), nameFromText("CLUSTER.local."))).toBe(true);
    expect(isWithin(nameFromText("xcluster.local."), nameFromText("cluster.local."))).toBe(false);
  });

  it("longer than the limits are errors with a code", () => {
    expect(() => nameFromLabels(["a".repeat(64)])).toThrowError(expect.objectContaining({ code: "label-too-long" }));
    const long = Array.from({ length: 128 }, () => "a");
    expect(() => nameFromLabels(long)).toThrowError(expect.objectContaining({ code: "name-too-long" }));
  });
});

describe("messages", () => {
  it("come back from octets as they were", () => {
    fc.assert(
      fc.property(message, (one) => {
        expect(decodeMessage(encodeMessage(one))).toEqual(one);
      }),
    );
  });

  it("come back when one encoder writes one after the other", () => {
    const encoder = createMessageEncoder();
    fc.assert(
      fc.property(message, (one) => {
        expect(decodeMessage(encoder.encode(one))).toEqual(one);
      }),
    );
  });

  it("never exceed the limit, and say so when something was left out", () => {
    fc.assert(
      fc.property(message, fc.integer({ min: 300, max: 700 }), (one, limit) => {
        const octets = encodeMessage(one, limit);
        expect(octets.length).toBeLessThanOrEqual(limit);
        const back = decodeMessage(octets);
        const kept = back.answers.length + back.authorities.length + back.additionals.length;
        const all = one.answers.length + one.authorities.length + one.additionals.length;
        expect(back.truncated).toBe(kept < all);
        expect(back.edns).toEqual(one.edns);
        expect(back.answers).toEqual(one.answers.slice(0, back.answers.length));
      }),
    );
  });

  it("keep 29 addresses in 512 octets and 73 in 1232 with OPT", () => {
    const owner = nameFromText("big.default.svc.cluster.local.");
    const answers = Array.from({ length: 100 }, (_, index) =>
      addressRecord(owner, 30, Uint8Array.of(172, 16, 0, index)),
    );
    const one: Message = { ...queryMessage(1, { name: owner, type: 1, class: 1 }), response: true, answers };
    expect(decodeMessage(encodeMessage(one, 512)).answers).toHaveLength(29);
    const edns = { udpPayloadSize: 1232, version: 0, dnssecOk: false, reservedFlags: 0, options: [] };
    expect(decodeMessage(encodeMessage({ ...one, edns }, 1232)).answers).toHaveLength(73);
    expect(encodeMessage(one)).toHaveLength(48 + 1600 - 1);
  });

  it("with pointers that go forward, to themselves or into the header are refused", () => {
    for (const pointer of [0xc00c, 0xc000, 0xc0ff, 0xc00e]) {
      const octets = Uint8Array.of(0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, pointer >> 8, pointer & 0xff, 0, 1, 0, 1);
      expect(() => decodeMessage(octets)).toThrowError(expect.objectContaining({ code: "pointer-not-backwards" }));
    }
  });
});

describe("hostile octets", () => {
  const good = encodeMessage({
    ...queryMessage(7, { name: nameFromText("web.default.svc.cluster.local."), type: 33, class: 1 }),
    edns: {
      udpPayloadSize: 1232,
      version: 0,
      dnssecOk: true,
      reservedFlags: 0,
      options: [{ code: 10, data: new Uint8Array(8) }],
    },
  });

  function survives(octets: Uint8Array): void {
    try {
      decodeMessage(octets);
    } catch (error) {
      expect(error).toBeInstanceOf(DnsMessageError);
    }
    expect(["query", "drop", "refuse"]).toContain(readQuery(octets).outcome);
  }

  it("end in a typed error: truncated at every length, every bit flipped, every octet replaced", () => {
    for (let length = 0; length <= good.length; length++) survives(good.subarray(0, length));
    for (let bit = 0; bit < good.length * 8; bit++) {
      const octets = good.slice();
      octets[bit >> 3]! ^= 1 << (bit & 7);
      survives(octets);
    }
    for (let at = 0; at < good.length; at++)
      for (const value of [0x00, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xff]) {
        const octets = good.slice();
        octets[at] = value;
        survives(octets);
      }
  });

  it("end in a typed error: random octets behind a header with random counts", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), survives), { numRuns: 500 });
  });

  it("end in a typed error: mutated responses with compression", () => {
    fc.assert(
      fc.property(message, fc.nat(), fc.integer({ min: 0, max: 255 }), (one, at, value) => {
        const octets = encodeMessage(one);
        octets[at % octets.length] = value;
        survives(octets);
      }),
    );
  });

  it("that are a response are never answered", () => {
    const octets = good.slice();
    octets[2]! |= 0x80;
    expect(readQuery(octets)).toEqual({ outcome: "drop", reason: "response" });
  });
});

describe("TCP frames", () => {
  it("come out whole wherever the stream is cut", () => {
    const messages = fc.array(fc.uint8Array({ minLength: 12, maxLength: 80 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (all, cuts) => {
        const stream = Buffer.concat(all.map(frameMessage));
        const decoder = createFrameDecoder();
        const got: Uint8Array[] = [];
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const length = cuts[turn % cuts.length]!;
          got.push(...decoder.push(stream.subarray(at, at + length)));
          at += length;
        }
        expect(got.map((one) => [...one])).toEqual(all.map((one) => [...one]));
        expect(decoder.pending).toBe(0);
      }),
    );
  });

  it("shorter than a header end the stream", () => {
    expect(() => createFrameDecoder().push(Uint8Array.of(0, 3, 1, 2, 3))).toThrowError(
      expect.objectContaining({ code: "frame-too-short" }),
    );
  });
});

describe("record data", () => {
  it.each([
    ["SOA", "ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 30"],
    ["SRV", "0 16 8080 alpha.hl-man.dns-a.svc.cluster.local."],
    ["MX", "10 mail.example.test."],
    ["TXT", '"a\\\\b\\"c\\000\\255 d;e" ""'],
    ["AAAA", "2001:db8::1"],
    ["HINFO", '"ANY obsoleted" "See RFC 8482"'],
  ] as const)("of %s is read and shown", (type, text) => {
    const number = recordTypes[type];
    expect(recordDataToText(number, recordDataFromText(number, presentationWords(text)))).toBe(text);
  });

  it("of unknown types is hexadecimal", () => {
    expect(recordDataToText(65280, recordDataFromText(65280, presentationWords("\\# 4 01020304")))).toBe(
      "\\# 4 01020304",
    );
    expect(labelsOf(nameFromText("."))).toEqual([]);
  });
});
