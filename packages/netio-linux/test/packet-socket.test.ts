import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  createNetworkNamespace,
  createPacketSocket,
  createPoller,
  type NetworkNamespace,
  namespaceCommand,
  nativeAddress,
  probe,
  withholdFrames,
} from "../src/index.ts";

const capabilities = probe();
const missing = [capabilities.namespaces, capabilities.packets, capabilities.launcher].find((c) => !c.available);
if (missing !== undefined) console.log(`skipped: packet sockets: ${missing.reason}`);

const MESSAGES = 64;
const ROOM = 2048;

/** A WebAssembly memory with messages at its beginning, one frame each. */
function messageMemory() {
  const { WebAssembly } = globalThis as unknown as {
    WebAssembly: { Memory: new (limits: object) => { buffer: ArrayBuffer } };
  };
  const memory = new WebAssembly.Memory({ initial: 8, maximum: 8 });
  const [vectors, frames] = [MESSAGES * 64, MESSAGES * 80];
  const view = new DataView(memory.buffer);
  const native = nativeAddress(memory);
  const setLength = (i: number, length: number): void => view.setBigUint64(vectors + i * 16 + 8, BigInt(length), true);
  for (let i = 0; i < MESSAGES; i++) {
    view.setBigUint64(i * 64 + 16, native + BigInt(vectors + i * 16), true);
    view.setBigUint64(i * 64 + 24, 1n, true);
    view.setBigUint64(vectors + i * 16, native + BigInt(frames + i * ROOM), true);
    setLength(i, ROOM);
  }
  const bytes = new Uint8Array(memory.buffer);
  return {
    memory,
    /** Frame that message `i` received. */
    received: (i: number): Uint8Array => {
      const at = frames + i * ROOM;
      return bytes.slice(at, at + view.getUint32(i * 64 + 56, true));
    },
    put(i: number, frame: Uint8Array): void {
      bytes.set(frame, frames + i * ROOM);
      setLength(i, frame.length);
    },
  };
}

/** A frame of a protocol that no stack knows, with a number in it. */
function frame(number: number, length = 64): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
  new DataView(bytes.buffer).setUint32(14, number);
  return bytes;
}

describe.skipIf(missing !== undefined)("packet sockets", () => {
  let namespace: NetworkNamespace;
  let peer: NetworkNamespace;
  beforeEach(() => {
    namespace = createNetworkNamespace("packets");
    peer = createNetworkNamespace("peer");
    for (const each of [namespace, peer]) each.setSysctl("ipv6/conf/default/disable_ipv6", 1);
    namespace.links.addVeth({ name: "a" }, { name: "b" }, peer.fd);
  });
  afterEach(() => {
    namespace.close();
    peer.close();
  });
  const up = (): void => {
    namespace.links.setLink("a", { up: true });
    peer.links.setLink("b", { up: true });
  };

  test("frames cross in their order, as many a call as there are, and none comes back to its sender", () => {
    const [left, right] = [messageMemory(), messageMemory()];
    up();
    const a = namespace.run(() => createPacketSocket({ link: "a", memory: left.memory }));
    const b = peer.run(() => createPacketSocket({ link: "b", memory: right.memory }));
    const poller = createPoller();
    poller.add(b.fd);
    for (let i = 0; i < MESSAGES; i++) left.put(i, frame(i, 60 + 10 * i));
    a.transmit(8 * 64, 20);
    expect(poller.wait(2000)).toBe(1);
    expect(poller.isReady(b.fd)).toBe(true);
    expect(b.receive(4 * 64, MESSAGES - 4)).toBe(20);
    for (let i = 0; i < 20; i++) expect(right.received(4 + i)).toEqual(frame(8 + i, 60 + 10 * (8 + i)));
    expect(b.receive(0, MESSAGES)).toBe(0);
    expect(a.receive(0, MESSAGES)).toBe(0);
    expect(b.send(frame(7, 60))).toBe(true);
    expect(a.receive(0, MESSAGES)).toBe(1);
    expect(left.received(0)).toEqual(frame(7, 60));
    expect(a.statistics()).toEqual({ receiveDropped: 0, receiveRefused: 0, transmitRefused: 0 });
    a.close();
    b.close();
  });

  test("a link that is down takes nothing, says so once to who waits, and is as before when it is up again", () => {
    const left = messageMemory();
    up();
    const a = namespace.run(() => createPacketSocket({ link: "a", memory: left.memory }));
    const b = peer.run(() => createPacketSocket({ link: "b", memory: messageMemory().memory }));
    const poller = createPoller();
    poller.add(a.fd);
    namespace.links.setLink("a", { up: false });
    expect(poller.wait(2000)).toBe(1);
    expect(poller.isReady(a.fd)).toBe(true);
    expect(a.receive(0, MESSAGES)).toBe(0);
    expect(poller.wait(0)).toBe(0);
    for (let i = 0; i < MESSAGES; i++) left.put(i, frame(i));
    a.transmit(0, MESSAGES);
    expect(a.statistics().transmitRefused).toBe(MESSAGES);
    namespace.links.setLink("a", { up: true });
    expect(b.send(frame(1))).toBe(true);
    expect(poller.wait(2000)).toBe(1);
    expect(a.receive(0, MESSAGES)).toBe(1);
    a.close();
    b.close();
  });

  test("a stack does not answer frames that are withheld from it, and its socket has them", () => {
    namespace.links.addAddress("a", "10.9.0.1/24");
    peer.links.addAddress("b", "10.9.0.2/24");
    const there = messageMemory();
    up();
    const a = namespace.run(() => createPacketSocket({ link: "a", memory: there.memory }));
    // Told where the other is, so that its question is not for that.
    peer.links.setNeighbour("b", "10.9.0.1", namespace.links.listLinks().find(({ name }) => name === "a")!.mac!);
    const dial = `
      const socket = require("net").connect({ host: "10.9.0.1", port: 9 });
      socket.setTimeout(500, () => { console.log("silence"); socket.destroy(); });
      socket.on("error", (error) => console.log(error.code));`;
    const answer = (): string => {
      const { command, args } = namespaceCommand({ netns: peer, argv: [process.execPath, "-e", dial] });
      return spawnSync(command, args, { encoding: "utf8" }).stdout.trim();
    };
    const segments = (): number => {
      const count = a.receive(0, MESSAGES);
      return Array.from({ length: count }, (_, i) => there.received(i)).filter((f) => f[12] === 8 && f[23] === 6)
        .length;
    };
    expect(answer()).toBe("ECONNREFUSED");
    expect(segments()).toBeGreaterThan(0);
    withholdFrames(namespace.links, "a");
    expect(answer()).toBe("silence");
    expect(segments()).toBeGreaterThan(0);
    a.close();
  });

  test("a missing link is an error with its name", () => {
    const { memory } = messageMemory();
    expect(() => namespace.run(() => createPacketSocket({ link: "nowhere", memory }))).toThrow(/nowhere.*ENODEV/);
  });
});
