import type { EndpointSubset, Endpoints, Pod, Service } from "@portolan/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { reconcileEndpoints, repackSubsets, truncateSubsets } from "../src/index.ts";
import { pod, service } from "./fixtures.ts";

function written(web: Service, pods: readonly Pod[], existing?: Endpoints): Endpoints {
  const change = reconcileEndpoints({ service: web, pods, existing });
  if (change.action === "none") throw new Error("nothing was written");
  return change.endpoints;
}

describe("Endpoints of a Service", () => {
  test("ready and unready pods of the primary family, by address", () => {
    const dual = service({
      ipFamilies: ["IPv6", "IPv4"],
      ports: [{ name: "http", port: 80, targetPort: "http", appProtocol: "h2c" }],
    });
    const both = (index: number, ready: boolean): Pod =>
      pod(index, { ips: [`10.244.0.${index}`, `fd00::${index}`], ready });
    const { subsets, metadata } = written(dual, [both(2, true), both(1, true), both(3, false), pod(4)]);
    expect(subsets).toMatchObject([
      {
        addresses: [{ ip: "fd00::1" }, { ip: "fd00::2", nodeName: "node1", targetRef: { kind: "Pod", name: "web-2" } }],
        notReadyAddresses: [{ ip: "fd00::3" }],
        ports: [{ name: "http", port: 8080, protocol: "TCP", appProtocol: "h2c" }],
      },
    ]);
    expect(metadata.labels).toEqual({ "endpoints.kubernetes.io/managed-by": "endpoint-controller" });
  });

  test("terminating pods are gone, unless unready addresses are published", () => {
    expect(written(service(), [pod(1, { terminating: true })]).subsets).toEqual([]);
    const published = written(service({ publishNotReadyAddresses: true }), [
      pod(1, { terminating: true, ready: false }),
    ]);
    expect(published.subsets).toMatchObject([{ addresses: [{ ip: "10.244.0.1" }] }]);
  });

  test("a port that a pod does not have is left out for that pod", () => {
    const two = service({
      ports: [
        { name: "http", port: 80, targetPort: "http" },
        { name: "raw", port: 81, targetPort: 9000 },
      ],
    });
    const nameless: Pod = { ...pod(2), spec: { nodeName: "node1", containers: [] } };
    expect(written(two, [pod(1), nameless]).subsets).toMatchObject([
      { addresses: [{ ip: "10.244.0.1" }], ports: [{ name: "http" }] },
      { addresses: [{ ip: "10.244.0.1" }, { ip: "10.244.0.2" }], ports: [{ name: "raw" }] },
    ]);
  });

  test("nothing is written when nothing changed; annotations of others stay", () => {
    const first = written(service(), [pod(1)]);
    const stored = { ...first, metadata: { ...first.metadata, resourceVersion: "5", annotations: { mine: "x" } } };
    expect(reconcileEndpoints({ service: service(), pods: [pod(1)], existing: stored }).action).toBe("none");
    const labelled = written(service({}, { labels: { team: "a" } }), [pod(1)], stored);
    expect(labelled.metadata).toMatchObject({
      resourceVersion: "5",
      annotations: { mine: "x" },
      labels: { team: "a" },
    });
  });

  test("more than 1000 addresses are cut and marked, until there are fewer", () => {
    const pods = Array.from({ length: 1200 }, (_, index) => pod(index, { ready: index < 900 }));
    const cut = written(service(), pods);
    expect(cut.subsets![0]!.addresses).toHaveLength(900);
    expect(cut.subsets![0]!.notReadyAddresses).toHaveLength(100);
    expect(cut.metadata.annotations).toEqual({ "endpoints.kubernetes.io/over-capacity": "truncated" });
    expect(reconcileEndpoints({ service: service(), pods, existing: cut }).action).toBe("none");
    expect(written(service(), pods.slice(0, 900), cut).metadata.annotations).toBeUndefined();
  });
});

describe("subsets", () => {
  const addresses = fc
    .uniqueArray(fc.integer({ min: 1, max: 12 }), { maxLength: 6 })
    .map((list) => list.map((number) => ({ ip: `10.0.0.${number}` })));
  // All subsets of a Service have ports, or none has: one without goes into one with ports that has the same addresses.
  const listsWith = (minLength: number, maxLength: number): fc.Arbitrary<EndpointSubset[]> => {
    const ports = fc.uniqueArray(fc.integer({ min: 80, max: 84 }), { minLength, maxLength });
    const subset = fc.record({
      addresses,
      notReadyAddresses: addresses,
      ports: ports.map((list) => list.map((port) => ({ port }))),
    });
    return fc.array(subset, { maxLength: 5 });
  };
  const subsetLists = fc.oneof(listsWith(1, 3), listsWith(0, 0));
  /** What subsets mean: for each port, each address and whether it is ready; unready wins. */
  const meaning = (subsets: readonly EndpointSubset[]): Record<string, boolean> => {
    const result: Record<string, boolean> = {};
    for (const subset of subsets)
      for (const port of subset.ports?.length ? subset.ports : [{ port: 0 }]) {
        for (const { ip } of subset.addresses ?? []) result[`${ip}:${port.port}`] ??= true;
        for (const { ip } of subset.notReadyAddresses ?? []) result[`${ip}:${port.port}`] = false;
      }
    return Object.fromEntries(Object.entries(result).sort());
  };

  test("repacking keeps the meaning, is stable, does not depend on order, and shares no address set twice", () => {
    fc.assert(
      fc.property(subsetLists, (subsets) => {
        const packed = repackSubsets(subsets);
        expect(meaning(packed)).toEqual(meaning(subsets));
        expect(repackSubsets(packed)).toEqual(packed);
        expect(repackSubsets([...subsets].reverse())).toEqual(packed);
        const sets = packed
          .filter((subset) => subset.ports !== undefined)
          .map((subset) => JSON.stringify([subset.addresses, subset.notReadyAddresses]));
        expect(new Set(sets).size).toBe(sets.length);
      }),
    );
  });

  test("truncation keeps to the capacity and prefers ready addresses", () => {
    fc.assert(
      fc.property(subsetLists, fc.integer({ min: 0, max: 20 }), (subsets, capacity) => {
        const count = (list: readonly EndpointSubset[], side: "addresses" | "notReadyAddresses") =>
          list.reduce((sum, subset) => sum + (subset[side]?.length ?? 0), 0);
        const ready = count(subsets, "addresses");
        const all = ready + count(subsets, "notReadyAddresses");
        const result = truncateSubsets(subsets, capacity);
        expect(result.truncated).toBe(all > capacity);
        expect(count(result.subsets, "addresses")).toBe(Math.min(ready, capacity));
        expect(count(result.subsets, "addresses") + count(result.subsets, "notReadyAddresses")).toBe(
          Math.min(all, capacity),
        );
      }),
    );
  });
});
