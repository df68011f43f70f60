import type { EndpointSlice, Pod, Service } from "@portolan/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { endpointIdentity, portSetKey, reconcileEndpointSlices, zoneSharesOf } from "../src/index.ts";
import { applied, node, pod, service, sizes, writes } from "./fixtures.ts";

const nodes = new Map(
  // The fourth has no zone and is not ready: it counts for nothing.
  [node("node1", "zone-a"), node("node2", "zone-b"), node("node3", "zone-c"), { ...node("node4"), status: {} }].map(
    (one) => [one.metadata.name!, one],
  ),
);

function reconcile(web: Service, pods: readonly Pod[], existing: readonly EndpointSlice[] = [], maximum = 100) {
  return reconcileEndpointSlices({
    service: web,
    pods,
    existing,
    node: (name) => nodes.get(name),
    zoneShares: zoneSharesOf(nodes.values()),
    maximumEndpointsPerSlice: maximum,
  });
}

function many(count: number, from = 0): Pod[] {
  return Array.from({ length: count }, (_, index) => pod(from + index));
}

describe("slices of a Service", () => {
  test("an endpoint says all that is known of its pod", () => {
    const { create } = reconcile(service(), [pod(1, { hostname: "one" })]);
    expect(create).toHaveLength(1);
    expect(create[0]).toMatchObject({
      metadata: {
        generateName: "web-",
        namespace: "default",
        labels: {
          "kubernetes.io/service-name": "web",
          "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        },
        ownerReferences: [
          {
            apiVersion: "v1",
            kind: "Service",
            name: "web",
            uid: "service-uid",
            controller: true,
            blockOwnerDeletion: true,
          },
        ],
      },
      addressType: "IPv4",
      ports: [{ name: "", protocol: "TCP", port: 8080 }],
    });
    expect(create[0]!.endpoints).toEqual([
      {
        addresses: ["10.244.0.1"],
        conditions: { ready: true, serving: true, terminating: false },
        hostname: "one",
        nodeName: "node1",
        zone: "zone-a",
        targetRef: { kind: "Pod", namespace: "default", name: "web-1", uid: "uid-web-1" },
      },
    ]);
  });

  test("conditions follow readiness, termination and publishNotReadyAddresses", () => {
    const conditionsOf = (web: Service, one: Pod) => reconcile(web, [one]).create[0]!.endpoints![0]!.conditions;
    const published = service({ publishNotReadyAddresses: true });
    expect(conditionsOf(service(), pod(1, { ready: false }))).toEqual({
      ready: false,
      serving: false,
      terminating: false,
    });
    expect(conditionsOf(service(), pod(1, { terminating: true }))).toEqual({
      ready: false,
      serving: true,
      terminating: true,
    });
    expect(conditionsOf(published, pod(1, { ready: false, terminating: true }))).toEqual({
      ready: true,
      serving: false,
      terminating: true,
    });
  });

  test("without endpoints there is one empty slice per family, and it stays", () => {
    const dual = service({ ipFamilies: ["IPv4", "IPv6"] });
    const first = reconcile(dual, [pod(1, { phase: "Succeeded" }), pod(2, { ips: [] })]);
    const slices = applied([], first);
    expect(slices.map((slice) => [slice.addressType, slice.endpoints, slice.ports])).toEqual([
      ["IPv4", null, null],
      ["IPv6", null, null],
    ]);
    expect(writes(reconcile(dual, [], slices))).toBe(0);
    const filled = reconcile(dual, [pod(1, { ips: ["10.244.0.1", "fd00::1"] })], slices);
    expect([filled.create.length, filled.update.length, filled.delete.length]).toEqual([0, 2, 0]);
  });

  test("pods that resolve a named port differently are in different slices; those without it in one without ports", () => {
    const named = service({ ports: [{ name: "web", port: 80, targetPort: "http" }] });
    const nameless = { ...pod(3), spec: { nodeName: "node1", containers: [] } };
    const slices = applied([], reconcile(named, [pod(1), pod(2, { port: 9090 }), nameless]));
    expect(slices.map((slice) => slice.ports?.[0]?.port ?? null).sort()).toEqual([8080, 9090, null]);
  });

  test("a headless Service without ports has endpoints without ports and is not written again", () => {
    const headless = service({ clusterIP: "None", ports: [] });
    const slices = applied([], reconcile(headless, many(3)));
    expect(slices).toHaveLength(1);
    expect(slices[0]!.metadata.labels).toHaveProperty("service.kubernetes.io/headless", "");
    expect(writes(reconcile(headless, many(3), slices))).toBe(0);
  });

  test("a pod on an unknown node is left out and reported, unless unready addresses are published", () => {
    const lost = pod(1, { nodeName: "node9" });
    const result = reconcile(service(), [lost, pod(2)]);
    expect(result.create[0]!.endpoints).toHaveLength(1);
    expect(result.skipped).toEqual([{ pod: lost, nodeName: "node9" }]);
    const published = reconcile(service({ publishNotReadyAddresses: true }), [lost]);
    expect(published.skipped).toEqual([]);
    expect(published.create[0]!.endpoints).toMatchObject([{ nodeName: "node9" }]);
  });

  test("Service labels are copied, reserved ones not, and reserved ones alone cause no write", () => {
    const web = service(
      {},
      { labels: { team: "a", "kubernetes.io/service-name": "mine", "service.kubernetes.io/headless": "" } },
    );
    const slices = applied([], reconcile(web, many(1)));
    expect(slices[0]!.metadata.labels).toEqual({
      team: "a",
      "kubernetes.io/service-name": "web",
      "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    });
    const headless = service({ clusterIP: "None" }, { labels: { team: "a" } });
    expect(writes(reconcile(headless, many(1), slices))).toBe(0);
    const renamed = reconcile(service({ clusterIP: "None" }, { labels: { team: "b" } }), many(1), slices);
    expect(renamed.update[0]!.metadata.labels).toHaveProperty("service.kubernetes.io/headless", "");
  });

  test("slices of families no longer wanted, and of a deleted namesake, go", () => {
    const dual = service({ ipFamilies: ["IPv4", "IPv6"] });
    const slices = applied([], reconcile(dual, [pod(1, { ips: ["10.244.0.1", "fd00::1"] })]));
    const single = reconcile(service(), [pod(1)], slices);
    expect(single.delete.map((slice) => slice.addressType)).toEqual(["IPv6"]);
    const reborn = reconcile(service({}, { uid: "another" }), [pod(1)], applied(slices, single));
    expect([reborn.create.length, reborn.update.length, reborn.delete.length]).toEqual([1, 0, 1]);
  });

  test("a Service on its way out gets no new slices", () => {
    expect(writes(reconcile(service({}, { deletionTimestamp: "2026-01-01T00:00:00Z" }), many(5)))).toBe(0);
  });
});

describe("packing", () => {
  test.each([
    [250, [100, 100, 50]],
    [100, [100]],
    [0, [0]],
  ])("%i endpoints from nothing make %j", (count, expected) => {
    expect(sizes(applied([], reconcile(service(), many(count))))).toEqual(expected);
  });

  test("one change among 250 is one write", () => {
    const slices = applied([], reconcile(service(), many(250)));
    const unready = reconcile(service(), [...many(249), pod(249, { ready: false })], slices);
    expect([unready.create.length, unready.update.length, unready.delete.length]).toEqual([0, 1, 0]);
    const added = reconcile(service(), many(251), slices);
    expect([added.create.length, added.update.length, added.delete.length]).toEqual([0, 1, 0]);
    expect(sizes(applied(slices, added))).toEqual([100, 100, 51]);
  });

  test("another port rewrites slices in place, and packs them", () => {
    let slices: EndpointSlice[] = [];
    for (let round = 1; round <= 10; round++)
      slices = [...slices, ...applied([], reconcile(service(), many(30, round * 30)))];
    const moved = reconcile(service({ ports: [{ port: 80, targetPort: 81 }] }), many(300, 30), slices);
    expect([moved.create.length, moved.update.length, moved.delete.length]).toEqual([0, 3, 7]);
    expect(sizes(applied(slices, moved))).toEqual([100, 100, 100]);
  });

  test("nothing is moved just to have fewer slices", () => {
    const slices = applied([], reconcile(service(), many(200)));
    const left = [...many(10), ...many(10, 100)];
    const shrunk = applied(slices, reconcile(service(), left, slices));
    expect(sizes(shrunk)).toEqual([10, 10]);
    expect(writes(reconcile(service(), left, shrunk))).toBe(0);
  });
});

describe("hints", () => {
  const spread = [pod(1), pod(2, { nodeName: "node2" }), pod(3, { nodeName: "node3" }), pod(4, { ready: false })];
  const hintsOf = (slices: readonly EndpointSlice[]) =>
    Object.fromEntries(slices.flatMap((slice) => slice.endpoints ?? []).map((one) => [one.targetRef!.name, one.hints]));

  test("trafficDistribution sets and takes them, ready endpoints only", () => {
    const near = service({ trafficDistribution: "PreferSameZone" });
    const slices = applied([], reconcile(near, spread));
    expect(hintsOf(slices)).toEqual({
      "web-1": { forZones: [{ name: "zone-a" }] },
      "web-2": { forZones: [{ name: "zone-b" }] },
      "web-3": { forZones: [{ name: "zone-c" }] },
      "web-4": undefined,
    });
    expect(writes(reconcile(near, spread, slices))).toBe(0);
    const nearest = reconcile(service({ trafficDistribution: "PreferSameNode" }), spread, slices);
    expect(hintsOf(nearest.update)["web-2"]).toEqual({ forZones: [{ name: "zone-b" }], forNodes: [{ name: "node2" }] });
    expect(hintsOf(reconcile(service(), spread, slices).update)).toMatchObject({ "web-1": undefined });
  });

  test("topology mode keeps endpoints in their zones, wins over trafficDistribution, and says when it cannot", () => {
    const auto = service(
      { trafficDistribution: "PreferSameNode" },
      { annotations: { "service.kubernetes.io/topology-mode": "Auto" } },
    );
    const first = reconcile(auto, spread);
    expect(first.events).toEqual([
      {
        type: "Normal",
        reason: "TopologyAwareHintsEnabled",
        message: "Topology Aware Hints has been enabled, addressType: IPv4",
      },
    ]);
    expect(hintsOf(first.create)).toMatchObject({ "web-1": { forZones: [{ name: "zone-a" }] }, "web-4": undefined });
    const few = reconcile(auto, spread.slice(0, 2), applied([], first));
    expect(few.events).toMatchObject([
      {
        reason: "TopologyAwareHintsDisabled",
        message: "Insufficient number of endpoints (2 endpoints, 3 zones), addressType: IPv4",
      },
    ]);
    expect(hintsOf(few.update)["web-1"]).toBeUndefined();
    const crowd = [1, 2, 3, 1, 2].map((number, index) => pod(10 + index, { nodeName: `node${number}` }));
    const zoneless = reconcile(auto, [...crowd, pod(5, { nodeName: "node4" })]);
    expect(zoneless.events).toMatchObject([
      { message: "One or more endpoints do not have a zone specified, addressType: IPv4" },
    ]);
    const unknown = reconcileEndpointSlices({
      service: auto,
      pods: spread,
      existing: [],
      node: (name) => nodes.get(name),
    });
    expect(unknown.events).toMatchObject([{ message: expect.stringContaining("Insufficient Node information") }]);
  });

  test("topology mode lets crowded zones give to empty ones", () => {
    const shares = zoneSharesOf([...nodes.values()].filter((one) => one.metadata.name !== "node4"));
    const result = reconcileEndpointSlices({
      service: service({}, { annotations: { "service.kubernetes.io/topology-mode": "Auto" } }),
      pods: many(9),
      existing: [],
      node: (name) => nodes.get(name),
      zoneShares: shares,
    });
    expect([...result.allocatedHints.get("IPv4")!.entries()].sort()).toEqual([
      ["zone-a", 3],
      ["zone-b", 3],
      ["zone-c", 3],
    ]);
  });
});

/** Steps of a random history. */
type Step =
  | { readonly kind: "pod"; readonly index: number; readonly options: Parameters<typeof pod>[1] }
  | { readonly kind: "remove"; readonly index: number }
  | { readonly kind: "service"; readonly spec: Parameters<typeof service>[0]; readonly labels: Record<string, string> };

const podSteps = fc.record({
  kind: fc.constant("pod" as const),
  index: fc.nat(39),
  options: fc.record({
    ready: fc.boolean(),
    terminating: fc.boolean(),
    phase: fc.constantFrom("Pending" as const, "Running" as const, "Failed" as const),
    port: fc.constantFrom(8080, 9090),
    nodeName: fc.constantFrom("node1", "node2", "node3", "node4", "unknown"),
  }),
});
const removeSteps = fc.record({ kind: fc.constant("remove" as const), index: fc.nat(39) });
const serviceSteps = fc.record({
  kind: fc.constant("service" as const),
  spec: fc.record({
    publishNotReadyAddresses: fc.boolean(),
    ports: fc.constantFrom(
      [{ port: 80, targetPort: 8080 }],
      [{ name: "web", port: 80, targetPort: "http" }],
      [
        { name: "web", port: 80, targetPort: "http" },
        { name: "raw", port: 81, targetPort: 81 },
      ],
    ),
    ipFamilies: fc.constantFrom<("IPv4" | "IPv6")[]>(["IPv4"], ["IPv6", "IPv4"]),
    trafficDistribution: fc.constantFrom("", "PreferClose", "PreferSameNode"),
  }),
  labels: fc.constantFrom<Record<string, string>>({}, { team: "a" }, { team: "b" }),
});
const histories = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: podSteps as fc.Arbitrary<Step> },
    { weight: 3, arbitrary: removeSteps as fc.Arbitrary<Step> },
    { weight: 1, arbitrary: serviceSteps as fc.Arbitrary<unknown> as fc.Arbitrary<Step> },
  ),
  { minLength: 1, maxLength: 60 },
);

/** Endpoints by family and ports, without regard to slices. */
function content(slices: readonly EndpointSlice[]): string[] {
  return slices
    .flatMap((slice) =>
      (slice.endpoints ?? []).map((one) =>
        JSON.stringify([
          slice.addressType,
          portSetKey(slice.ports),
          endpointIdentity(one),
          one.conditions,
          one.zone,
          one.hints,
          one.nodeName,
        ]),
      ),
    )
    .sort();
}

test("after any history the slices say what slices made from scratch would, in bounded writes", () => {
  fc.assert(
    fc.property(histories, fc.constantFrom(1, 3, 7, 100), (history, maximum) => {
      let web = service();
      const pods = new Map<number, Pod>();
      let slices: EndpointSlice[] = applied([], reconcile(web, [], [], maximum));
      for (const step of history) {
        if (step.kind === "pod")
          pods.set(
            step.index,
            pod(step.index, { ...step.options, ips: [`10.244.0.${step.index + 1}`, `fd00::${step.index + 1}`] }),
          );
        else if (step.kind === "remove") pods.delete(step.index);
        else web = service(step.spec, { labels: step.labels });
        const changes = reconcile(web, [...pods.values()], slices, maximum);
        slices = applied(slices, changes);

        const scratch = applied([], reconcile(web, [...pods.values()], [], maximum));
        expect(content(slices)).toEqual(content(scratch));
        for (const slice of slices) expect(slice.endpoints?.length ?? 0).toBeLessThanOrEqual(maximum);
        const identities = slices.flatMap((slice) =>
          (slice.endpoints ?? []).map((one) => `${slice.addressType} ${endpointIdentity(one)}`),
        );
        expect(new Set(identities).size).toBe(identities.length);
        for (const family of web.spec!.ipFamilies!)
          expect(slices.filter((slice) => slice.addressType === family).length).toBeGreaterThan(0);
        expect(writes(reconcile(web, [...pods.values()], slices, maximum))).toBe(0);
        // A pod is in one slice of a family; a change may take it out of one and into another.
        if (step.kind !== "service") expect(writes(changes)).toBeLessThanOrEqual(2 * web.spec!.ipFamilies!.length);
      }
    }),
    { numRuns: 60 },
  );
});
