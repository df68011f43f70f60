import type { Dataplane } from "@portolan/dataplane";
import { packet } from "@portolan/net";
import { expect, test } from "vitest";
import { builds, dataplaneOf, small } from "./builds.ts";
import { configure } from "./scenario.ts";

/*
 * The index of connections has room for one and a half times what may be tracked. No tuple may find it full, whatever its buckets
 * are; and whatever was moved to make room is found, and removed, where it is.
 */

const client = (n: number) => `10.244.${3 + (n >> 8)}.${n & 255}`;

function send(dataplane: Dataplane, n: number, flags: string, now: number) {
  const segment = packet()
    .ipv4({ source: client(n), destination: "10.96.0.10" })
    .tcp({ sourcePort: 1000 + n, destinationPort: 80, flags });
  return dataplane.process(segment.build(), { now });
}

test.each(builds)("%s: every record of a table can be used, lost and used again", { timeout: 60_000 }, (build) => {
  for (let seed = 1; seed <= 3; seed++) {
    const connections = 512;
    const dataplane = configure(dataplaneOf(build, { seed, capacity: { ...small, connections } }));
    for (let generation = 0; generation < 3; generation++) {
      const now = 1 + generation * 1_000_000;
      const backends = new Map<number, string>();
      for (let n = 0; n < connections; n++) {
        const { verdict, reason, packet: out } = send(dataplane, n, "S", now);
        expect({ seed, n, verdict, reason }).toEqual({ seed, n, verdict: "PASS", reason: undefined });
        backends.set(n, out!.slice(16, 20).join("."));
      }
      expect(dataplane.size().connections).toBe(connections);
      // Each is found again in both directions: an unknown answer would pass untranslated.
      for (let n = 0; n < connections; n++) {
        const answer = packet()
          .ipv4({ source: backends.get(n)!, destination: client(n) })
          .tcp({ sourcePort: 8080, destinationPort: 1000 + n, flags: "SA" });
        expect(dataplane.process(answer.build(), { now }).packet!.slice(12, 16).join(".")).toBe("10.96.0.10");
        expect(send(dataplane, n, "A", now).packet!.slice(16, 20).join(".")).toBe(backends.get(n));
      }
      expect(dataplane.counters().connections.evicted).toBe(0);
      while (dataplane.tick(now + 900_000) > 0);
      expect(dataplane.size().connections).toBe(0);
    }
  }
});

test("a full table keeps established connections and says what it refuses", () => {
  const connections = 256;
  const dataplane = configure(dataplaneOf("release", { capacity: { ...small, connections } }));
  const backends = new Map<number, string>();
  for (let n = 0; n < connections; n++) {
    const out = send(dataplane, n, "S", 1).packet!.slice(16, 20).join(".");
    backends.set(n, out);
    const answer = packet()
      .ipv4({ source: out, destination: client(n) })
      .tcp({ sourcePort: 8080, destinationPort: 1000 + n, flags: "SA" });
    dataplane.process(answer.build(), { now: 1 });
    send(dataplane, n, "A", 1);
  }
  for (let n = connections; n < 11 * connections; n++) {
    expect(send(dataplane, n, "S", 2)).toEqual({ verdict: "DROP", reason: "connection-table-full" });
  }
  expect(dataplane.counters().reasons["connection-table-full"]).toBe(10 * connections);
  for (const [n, backend] of backends) expect(send(dataplane, n, "A", 3).packet!.slice(16, 20).join(".")).toBe(backend);
});
