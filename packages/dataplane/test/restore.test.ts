import type { ConnectionEntry, Dataplane, Tuple } from "@portolan/dataplane";
import { packet } from "@portolan/net";
import { describe, expect, test } from "vitest";
import { builds, dataplaneOf, small } from "./builds.ts";
import { addPorts, configure, node } from "./scenario.ts";

const seed = 20_261_125;

function generator(): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % below;
  };
}

/** A packet of a direction of a connection. */
function bytesOf(protocol: string, family: string, tuple: Tuple, flags: string): Uint8Array {
  const ends = { source: tuple.source, destination: tuple.destination };
  const ports = { sourcePort: tuple.sourcePort, destinationPort: tuple.destinationPort };
  const addressed = family === "IPv6" ? packet().ipv6(ends) : packet().ipv4(ends);
  const transport = protocol === "TCP" ? addressed.tcp({ ...ports, flags }) : addressed.udp(ports);
  return transport.payload(new Uint8Array(16)).build();
}

/** Connections of both families and transports, to Services and past them, masqueraded and not, half open and established. */
function fill(dataplane: Dataplane, count: number): void {
  const random = generator();
  for (let i = 0; i < count; i++) {
    const v6 = random(4) === 0;
    const udp = random(3) === 0;
    const from = v6 ? "fd00:10:244:1::12" : ["10.244.1.12", "10.244.1.11", "172.16.0.9"][random(3)]!;
    const to = v6
      ? ["fd00:10:96::10", "fd00:10:96::53"][udp ? 1 : 0]!
      : udp
        ? "10.96.0.53"
        : ["10.96.0.10", "1.2.3.4", "192.168.50.10", "198.51.100.7"][random(4)]!;
    const tuple = {
      source: from,
      sourcePort: 1024 + i,
      destination: to,
      destinationPort: udp ? 53 : to === "192.168.50.10" ? 30080 : 80,
    };
    const [protocol, family] = [udp ? "UDP" : "TCP", v6 ? "IPv6" : "IPv4"];
    const ingress = from === "172.16.0.9" ? 1 : 0;
    dataplane.process(bytesOf(protocol, family, tuple, "S"), { ingress, now: 100 });
    const made = dataplane.connections().find(({ original }) => original.sourcePort === tuple.sourcePort);
    if (made === undefined || random(3) === 0) continue;
    dataplane.process(bytesOf(protocol, family, made.reply, "SA"), { ingress: 0, now: 101 });
    if (random(2) === 0) dataplane.process(bytesOf(protocol, family, made.original, "A"), { ingress, now: 103 });
  }
}

const recordsOf = ({ memory, connectionRecords: { address, length } }: Dataplane): Uint8Array =>
  new Uint8Array(memory.buffer as ArrayBuffer, address, length).slice();

/** What of a connection does not depend on tables. */
const bare = ({ servicePort: _, backend: __, ...rest }: ConnectionEntry): object => rest;

describe.each(builds)("connections of an earlier dataplane, %s build", (build) => {
  const options = { capacity: { ...small, connections: 1024 } };

  test(`go where they went, without the tables they came from; seed ${seed}`, () => {
    const earlier = addPorts(configure(dataplaneOf(build, options)));
    fill(earlier, 400);
    const entries = earlier.connections();
    expect(entries.length).toBeGreaterThan(300);
    expect(new Set(entries.map(({ servicePort }) => servicePort)).size).toBeGreaterThan(3);
    expect(entries.some(({ original, reply }) => reply.destination !== original.source)).toBe(true);

    // No Services: none of this would be decided anew.
    const later = dataplaneOf(build, { ...options, seed: 7 });
    expect(later.restoreConnections(recordsOf(earlier), 104)).toBe(entries.length);
    addPorts(later);
    later.configureNode(node);
    earlier.tick(104);
    expect(later.connections().map(bare)).toEqual(earlier.connections().map(bare));
    for (const { protocol, family, original, reply } of entries) {
      const ingress = original.source === "172.16.0.9" ? 1 : 0;
      for (const [tuple, flags, from] of [
        [reply, "SA", 0],
        [original, "A", ingress],
        [reply, "A", 0],
        [original, "FA", ingress],
      ] as const) {
        const bytes = bytesOf(protocol, family, tuple, flags);
        const at = { ingress: from, now: 105 };
        expect(later.process(bytes, at)).toEqual(earlier.process(bytes, at));
      }
    }
    expect(later.connections().map(bare)).toEqual(earlier.connections().map(bare));
    // They can be told to go as any.
    expect(later.tick(1e6)).toBeGreaterThan(0);
    expect(later.connections()).toEqual([]);
  });

  test("are left out when they have expired, were sockets', or cannot be", () => {
    const earlier = addPorts(configure(dataplaneOf(build, options)));
    fill(earlier, 100);
    expect(
      earlier.connect({
        protocol: "TCP",
        source: "10.244.1.12",
        sourcePort: 9,
        destination: "10.96.0.10",
        destinationPort: 80,
        now: 103,
      }).verdict,
    ).toBe("ALLOW");
    const count = earlier.connections().length;
    const later = dataplaneOf(build, options);
    expect(later.restoreConnections(recordsOf(earlier), 104)).toBe(count - 1);
    expect(dataplaneOf(build, options).restoreConnections(recordsOf(earlier), 1e6)).toBe(0);
    expect(later.restoreConnections(new Uint8Array(127), 104)).toBe(0);

    const random = generator();
    const noise = new Uint8Array(128 * 2000).map(() => random(256));
    const noisy = addPorts(dataplaneOf(build, options));
    expect(noisy.restoreConnections(noise, 104)).toBeLessThan(50);
    for (const { protocol, family, original } of noisy.connections()) {
      if (protocol === "TCP" || protocol === "UDP")
        noisy.process(bytesOf(protocol, family, original, "A"), { now: 105 });
    }
    noisy.tick(1e6);
  });

  test("stop where the table is full", () => {
    const earlier = addPorts(configure(dataplaneOf(build, options)));
    fill(earlier, 200);
    const smaller = dataplaneOf(build, { capacity: { ...small, connections: 32 } });
    smaller.restoreConnections(recordsOf(earlier), 104);
    expect(smaller.size().connections).toBeLessThanOrEqual(32);
  });
});
