import { batchVerdicts, type Dataplane } from "@portolan/dataplane";
import { attachProgram, checkProgram, ProgramRefusedError, readRing } from "@portolan/dataplane/sdk";
import { packet, parsePacket } from "@portolan/net";
import asc from "assemblyscript/asc";
import { beforeAll, describe, expect, test } from "vitest";
import { dataplaneOf } from "./builds.ts";
import { addPorts, configure, macs, peers } from "./scenario.ts";

const root = new URL("../sdk/examples", import.meta.url).pathname;
const flags = ["--runtime", "stub", "--importMemory", "--noExportMemory", "--use", "abort=", "-O3", "--noAssert"];

/** Compiles AssemblyScript: one of the examples, or a text that may import `../index`. */
async function compile(source: { file: string } | { text: string }, options: readonly string[] = flags) {
  let bytes: Uint8Array | undefined;
  const file = "file" in source ? source.file : "program.ts";
  const { error, stderr } = await asc.main([file, ...options, "--outFile", "out.wasm", "--baseDir", root], {
    readFile: async (name: string, base: string) => {
      if (name === "program.ts" && "text" in source) return source.text;
      const { readFile } = await import("node:fs/promises");
      return await readFile(new URL(name, `file://${base}/`), "utf8").catch(() => null);
    },
    writeFile: (name: string, contents: Uint8Array | string) => {
      if (name.endsWith(".wasm")) bytes = contents as Uint8Array;
    },
    listFiles: () => null,
  });
  if (error !== null || bytes === undefined) throw new Error(`${error?.message}\n${stderr.toString()}`);
  return bytes;
}

const sdk = `import { contextOf, Frame, NONE, tailCall, Verdict } from "../index";\n`;
const programOf = (body: string) => compile({ text: `${sdk}export function program(address: usize): u32 { ${body} }` });

const fresh = (): Dataplane => addPorts(configure(dataplaneOf("debug")));
const frame = (source = "10.244.1.11", sourcePort = 1000) =>
  packet()
    .ethernet({ source: peers.pod, destination: macs.pod })
    .ipv4({ source, destination: "10.244.2.13" })
    .tcp({ sourcePort, destinationPort: 8080, flags: "S" })
    .build();
const run = (dataplane: Dataplane, bytes = frame(), now = 1) => dataplane.processFrame(bytes, { now, ingress: 0 });

function refusal(bytes: Uint8Array): string {
  try {
    checkProgram(bytes);
  } catch (error) {
    if (error instanceof ProgramRefusedError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "accepted";
}

let limiter: Uint8Array;
let mirror: Uint8Array;
beforeAll(async () => {
  limiter = await compile({ file: "rate-limiter.ts" });
  mirror = await compile({ file: "port-mirror.ts" });
}, 60_000);

describe("examples", { timeout: 60_000 }, () => {
  test("the rate limiter lets each client send its rate and its burst", () => {
    const dataplane = fresh();
    const program = attachProgram(dataplane, limiter, { memory: 4096 });
    const words = new DataView(program.memory.buffer, program.memory.byteOffset);
    words.setUint32(0, 10, true);
    words.setUint32(4, 5, true);
    const sent = (source: string, count: number, now: number) =>
      Array.from({ length: count }, () => run(dataplane, frame(source), now).verdict).filter((one) => one !== "DROP")
        .length;
    expect(sent("10.244.1.11", 20, 1)).toBe(5);
    expect(sent("10.244.1.12", 20, 1)).toBe(5);
    expect(sent("10.244.1.11", 20, 1.5)).toBe(5);
    expect(sent("10.244.1.11", 20, 1.75)).toBe(2);
    expect(sent("10.244.1.11", 20, 100)).toBe(5);
    expect(run(dataplane, frame("10.244.1.11"), 100)).toEqual({ verdict: "DROP", reason: "user-program" });
    const dropped = dataplane.counters().reasons["user-program"];
    expect(words.getUint32(8, true)).toBe(dropped);
    expect(program.counts()).toEqual({ runs: 101, aborted: 0 });
    // What is no IP packet is none of its business.
    const arp = packet()
      .ethernet({ source: peers.pod, destination: "ff:ff:ff:ff:ff:ff" })
      .arp({ operation: "request", senderMac: peers.pod, sender: "10.244.1.11", target: "10.244.1.1" })
      .build();
    for (let i = 0; i < 20; i++) expect(run(dataplane, arp, 100).verdict).toBe("TX");
    program.detach();
    expect(run(dataplane, frame("10.244.1.11"), 100).verdict).toBe("REDIRECT");
    expect(program.counts().runs).toBe(121);
  });

  test("the port mirror copies what leaves, and says what it lost", () => {
    const dataplane = fresh();
    const program = attachProgram(dataplane, mirror, { hook: "after", memory: 64 + 16 + 4 * 512 });
    new DataView(program.memory.buffer, program.memory.byteOffset).setUint32(0, 8080, true);
    const { packet: out } = run(dataplane, frame(), 7);
    run(
      dataplane,
      packet()
        .ethernet({ source: peers.pod, destination: macs.pod })
        .ipv4({ source: "10.244.1.11", destination: "10.244.2.13" })
        .udp({ sourcePort: 1, destinationPort: 53 })
        .build(),
    );
    const first = readRing(program.memory, 64);
    expect(first).toMatchObject({ records: [{ time: 7, ingress: 0, originalLength: out!.length }], lost: 0 });
    expect(first.records[0]!.bytes).toEqual(out);
    expect(parsePacket(first.records[0]!.bytes, { link: "ethernet" }).ipv4!.ttl).toBe(63);
    for (let i = 0; i < 6; i++) run(dataplane, frame("10.244.1.11", 2000 + i));
    const next = readRing(program.memory, 64);
    expect(next.records.map((one) => parsePacket(one.bytes, { link: "ethernet" }).tcp!.sourcePort)).toEqual([
      2000, 2001, 2002, 2003,
    ]);
    expect(next.lost).toBe(2);
    expect(readRing(program.memory, 64).records).toEqual([]);
  });
});

describe("slots", { timeout: 120_000 }, () => {
  test("programs run in order, before and after, and call one another at their tail", async () => {
    const dataplane = fresh();
    const passing = await programOf(
      "const m = <usize>contextOf(address).memory; store<u32>(m, load<u32>(m) + 1); return Verdict.PASS;",
    );
    const calling = await programOf("return tailCall(3);");
    const dropping = await programOf("return Verdict.DROP;");
    const reading = await programOf(
      "const c = contextOf(address); return c.verdict == Verdict.DROP ? Verdict.PASS : Verdict.DROP;",
    );
    const one = attachProgram(dataplane, passing);
    const two = attachProgram(dataplane, calling);
    const after = attachProgram(dataplane, reading, { hook: "after" });
    // Slot 3 is empty: the call is missed.
    expect(run(dataplane)).toEqual({ verdict: "DROP", reason: "user-program" });
    expect(dataplane.counters().reasons["missed-tail-call"]).toBe(1);
    expect(two.counts()).toEqual({ runs: 1, aborted: 1 });
    const three = attachProgram(dataplane, dropping, { hook: "after" });
    expect([one.slot, two.slot, after.slot, three.slot]).toEqual([0, 1, 2, 3]);
    three.detach();
    two.detach();
    after.detach();
    expect(run(dataplane).verdict).toBe("REDIRECT");
    expect(one.counts().runs).toBe(2);
    expect(one.memory[0]).toBe(2);
    const endless = attachProgram(dataplane, await programOf("return tailCall(1);"));
    expect(endless.slot).toBe(1);
    expect(run(dataplane)).toEqual({ verdict: "ABORTED", reason: "missed-tail-call" });
    expect(endless.counts()).toEqual({ runs: 33, aborted: 1 });
    endless.detach();
    expect(run(dataplane).verdict).toBe("REDIRECT");
  });

  test("a program may answer a frame itself or send it elsewhere, but not to a port that is not there", async () => {
    const dataplane = fresh();
    const turn = attachProgram(
      dataplane,
      await programOf("const c = contextOf(address); store<u8>(<usize>c.frame, 7); c.length = 60; return Verdict.TX;"),
    );
    const turned = run(dataplane);
    expect(turned).toMatchObject({ verdict: "TX", egress: 0 });
    expect([turned.packet!.length, turned.packet![0]]).toEqual([60, 7]);
    turn.detach();
    const redirect = attachProgram(
      dataplane,
      await programOf("const c = contextOf(address); c.egress = load<u32>(c.memory); return Verdict.REDIRECT;"),
    );
    const to = new DataView(redirect.memory.buffer, redirect.memory.byteOffset);
    to.setUint32(0, 1, true);
    expect(run(dataplane)).toMatchObject({ verdict: "REDIRECT", egress: 1 });
    for (const port of [5, 8, 0xffffffff]) {
      to.setUint32(0, port, true);
      expect(run(dataplane)).toEqual({ verdict: "ABORTED", reason: "program-aborted" });
    }
    redirect.detach();
    for (const body of [
      "return 5;",
      "return 77;",
      "return 0;",
      "contextOf(address).length = 100000; return Verdict.PASS;",
    ]) {
      const bad = attachProgram(dataplane, await programOf(body));
      expect(run(dataplane)).toEqual({ verdict: "ABORTED", reason: "program-aborted" });
      expect(bad.counts()).toEqual({ runs: 1, aborted: 1 });
      bad.detach();
    }
  });

  test("in a batch a trap costs the program its slot and one frame its way, nobody else anything", async () => {
    const trapping = await programOf(
      "const c = contextOf(address); if (Frame.sourcePort(c, 34) == 1003) unreachable(); return c.verdict;",
    );
    for (const hook of ["before", "after"] as const) {
      const dataplane = fresh();
      const program = attachProgram(dataplane, trapping, { hook });
      const u8 = new Uint8Array(dataplane.memory.buffer);
      const sizes = Array.from({ length: 8 }, (_, i) => {
        const bytes = frame("10.244.1.11", 1000 + i);
        const at = dataplane.frames.address + i * dataplane.frames.size;
        u8.set(bytes, at);
        dataplane.descriptors.frame[i] = at;
        dataplane.descriptors.length[i] = bytes.length;
        dataplane.descriptors.ingress[i] = 0;
        return bytes.length;
      });
      dataplane.ingress(8, 1);
      const expected = sizes.map((_, i) =>
        hook === "before" && i === 3 ? batchVerdicts.ABORTED : batchVerdicts.REDIRECT,
      );
      expect([...dataplane.descriptors.verdict.subarray(0, 8)]).toEqual(expected);
      expect(program.isAttached).toBe(false);
      expect(program.counts()).toEqual({ runs: 4, aborted: 1 });
      expect(dataplane.counters().reasons["program-aborted"]).toBe(1);
      expect(run(dataplane, frame("10.244.1.11", 1003)).verdict).toBe("REDIRECT");
    }
    const dataplane = fresh();
    attachProgram(dataplane, trapping);
    expect(run(dataplane, frame("10.244.1.11", 1003))).toEqual({ verdict: "ABORTED", reason: "program-aborted" });
    expect(run(dataplane, frame("10.244.1.11", 1003)).verdict).toBe("REDIRECT");
  });

  test("a trace does not run programs, and says what the dataplane would do", async () => {
    const dataplane = fresh();
    const program = attachProgram(dataplane, await programOf("return Verdict.DROP;"));
    const steps = dataplane.traceFrame(frame(), { now: 1, ingress: 0 });
    expect(steps.at(-1)).toMatchObject({ step: "verdict", verdict: "REDIRECT" });
    expect(program.counts().runs).toBe(0);
  });

  test("slots and their memory are given out until there are none, and again", () => {
    const dataplane = fresh();
    const room = 262_144 / 2;
    const first = attachProgram(dataplane, limiter, { memory: room });
    const second = attachProgram(dataplane, limiter, { memory: room });
    const full = (call: () => unknown) => {
      expect(call).toThrow(ProgramRefusedError);
      expect(call).toThrow(/do not fit|slots are taken/);
    };
    full(() => attachProgram(dataplane, limiter, { memory: 64 }));
    first.memory.fill(255);
    first.detach();
    const again = attachProgram(dataplane, limiter, { memory: 64 });
    expect([...again.memory]).toEqual(new Array(64).fill(0));
    for (let i = 2; i < 16; i++) attachProgram(dataplane, limiter, { memory: 0 });
    full(() => attachProgram(dataplane, limiter, { memory: 0 }));
    expect(second.isAttached).toBe(true);
  });
});

describe("refused before anything of it runs", { timeout: 120_000 }, () => {
  test.each<[string, string, string, (readonly string[])?]>([
    [
      "an import",
      `@external("env", "log") declare function log(x: u32): void; export function program(c: usize): u32 { log(1); return 2; }`,
      "IMPORTS: it imports env.log",
    ],
    [
      "abort",
      "export function program(c: usize): u32 { assert(c); return 2; }",
      "IMPORTS: it imports env.abort",
      ["--runtime", "stub", "--importMemory", "--noExportMemory"],
    ],
    [
      "a memory of its own",
      "export function program(c: usize): u32 { return load<u32>(c); }",
      "MEMORY: it brings a memory of its own",
      ["--runtime", "stub", "--use", "abort="],
    ],
    [
      "static data",
      `export function program(c: usize): u32 { return "text".charCodeAt(<i32>c); }`,
      "DATA: it writes static data",
    ],
    [
      "code at its start",
      "let x: u32 = load<u32>(8); export function program(c: usize): u32 { return x; }",
      "START: it runs code",
    ],
    [
      "no program",
      "export function main(c: usize): u32 { return load<u32>(c); }",
      "EXPORTS: it exports no function program",
    ],
    [
      "a program of another type",
      "export function program(c: usize, d: u32): u32 { return load<u32>(c) + d; }",
      "EXPORTS: program must have the type (i32) -> (i32), not (i32,i32) -> (i32)",
    ],
    [
      "initialize of another type",
      "export function initialize(): void {} export function program(c: usize): u32 { return load<u32>(c); }",
      "EXPORTS: initialize must have the type",
    ],
    [
      "growing memory",
      "export function program(c: usize): u32 { return memory.grow(1); }",
      "MEMORY: it grows the memory",
    ],
  ])("%s", async (_, text, message, options) => {
    expect(refusal(await compile({ text }, options ?? flags))).toContain(message);
  });

  test("what is no module, or one that the engine does not take", () => {
    expect(refusal(new TextEncoder().encode("no module"))).toContain("NOT_WASM");
    expect(refusal(limiter.slice(0, -3))).toContain("NOT_WASM");
    expect(refusal(new Uint8Array(2 ** 20 + 1))).toContain("NOT_WASM");
    expect(refusal(limiter)).toBe("accepted");
    const dataplane = fresh();
    expect(() => attachProgram(dataplane, limiter.slice(0, 40))).toThrow(ProgramRefusedError);
    expect(run(dataplane).verdict).toBe("REDIRECT");
  });

  test("every prefix and every flipped byte of a good program is refused or runs within its slot", () => {
    let seed = 20261124;
    const random = () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed;
    };
    let refused = 0;
    for (let i = 0; i < mirror.length; i++) if (refusal(mirror.slice(0, i)) !== "accepted") refused++;
    expect(refused).toBe(mirror.length);
    for (let i = 0; i < 3000; i++) {
      const bytes = mirror.slice();
      bytes[random() % bytes.length] = random() >>> 24;
      refusal(bytes);
    }
  });
});
