import { createDataplane, type ServicePortSpec } from "@portolan/dataplane";
import { maglevTable } from "@portolan/dataplane/testing";
import { describe, expect, test } from "vitest";

function spec(members: readonly { address: string; weight?: number }[]): ServicePortSpec {
  return {
    id: "s",
    family: "IPv4",
    protocol: "TCP",
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
    scheduler: "mh",
    frontends: [{ kind: "ClusterIP", address: "10.96.0.1", port: 80 }],
    cluster: members.map((member) => ({ port: 8080, ...member })),
    local: [],
  };
}

const pods = (n: number) => Array.from({ length: n }, (_, i) => ({ address: `10.244.${i >> 8}.${i & 255}` }));

function tableOf(members: readonly { address: string; weight?: number }[]): string[] {
  const dataplane = createDataplane({ seed: 1 });
  dataplane.setServicePort(spec(members));
  return maglevTable(dataplane, "s");
}

function shares(table: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const entry of table) counts.set(entry, (counts.get(entry) ?? 0) + 1);
  return counts;
}

describe("Maglev tables", () => {
  test.each([
    [3, 4093],
    [40, 4093],
    [41, 8191],
    [100, 16381],
    [500, 65521],
  ])("%i backends: a prime of at least a hundred slots each (%i), filled evenly", (n, size) => {
    const table = tableOf(pods(n));
    expect(table.length).toBe(size);
    const counts = [...shares(table).values()];
    expect(counts.length).toBe(n);
    const mean = size / n;
    expect(Math.min(...counts) / mean).toBeGreaterThan(0.95);
    expect(Math.max(...counts) / mean).toBeLessThan(1.05);
  });

  test.each([10, 100])("%i backends: removing one moves few slots of the others", (n) => {
    const before = tableOf(pods(n));
    const gone = "10.244.0.5:8080";
    const after = tableOf(pods(n).filter((pod) => `${pod.address}:8080` !== gone));
    const moved = before.filter((entry, i) => entry !== gone && entry !== after[i]).length;
    expect(moved / before.length).toBeLessThan(0.04);
  });

  test("the order in which endpoints are listed does not matter", () => {
    expect(tableOf([...pods(30)].reverse())).toEqual(tableOf(pods(30)));
  });

  test("weights shape the shares, and weight 0 takes no slot", () => {
    const counts = shares(
      tableOf([
        { address: "10.0.0.1", weight: 1 },
        { address: "10.0.0.2", weight: 3 },
        { address: "10.0.0.3", weight: 0 },
      ]),
    );
    expect(counts.get("10.0.0.3:8080")).toBeUndefined();
    expect(counts.get("10.0.0.2:8080")! / counts.get("10.0.0.1:8080")!).toBeCloseTo(3, 1);
  });

  test("connections spread over the backends as chance would have it (chi-square at 0.1 %)", () => {
    const members = pods(10);
    const dataplane = createDataplane({ seed: 1 });
    dataplane.setServicePort(spec(members));
    const counts = new Map<string, number>();
    const n = 20_000;
    for (let i = 0; i < n; i++) {
      const { backend, handle } = dataplane.connect({
        protocol: "TCP",
        source: `10.1.${(i >> 8) & 255}.${i & 255}`,
        sourcePort: 1024 + (i % 5000),
        destination: "10.96.0.1",
        destinationPort: 80,
      });
      counts.set(backend!.address, (counts.get(backend!.address) ?? 0) + 1);
      dataplane.release(handle!);
    }
    const expected = n / members.length;
    const chiSquare = members.reduce(
      (sum, { address }) => sum + ((counts.get(address) ?? 0) - expected) ** 2 / expected,
      0,
    );
    expect(chiSquare).toBeLessThan(27.88);
  });
});

describe("random scheduling", () => {
  test("is uniform per connection (chi-square at 0.1 %, fixed seed)", () => {
    const dataplane = createDataplane({ seed: 20_261_124 });
    dataplane.setServicePort({ ...spec(pods(7)), scheduler: "random" });
    const counts = new Map<string, number>();
    const n = 14_000;
    for (let i = 0; i < n; i++) {
      const { backend, handle } = dataplane.connect({
        protocol: "TCP",
        source: "10.1.0.1",
        destination: "10.96.0.1",
        destinationPort: 80,
      });
      counts.set(backend!.address, (counts.get(backend!.address) ?? 0) + 1);
      dataplane.release(handle!);
    }
    const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - n / 7) ** 2 / (n / 7), 0);
    expect(counts.size).toBe(7);
    expect(chiSquare).toBeLessThan(22.46);
  });
});
