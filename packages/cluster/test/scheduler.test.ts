import type { Node, Pod, PodSpec } from "@portolan/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { schedulePod } from "../src/scheduler/index.ts";
import { parseQuantity } from "../src/scheduler/resource-requests.ts";

const node = (name: string, labels: Record<string, string> = {}, rest: Partial<Node> = {}): Node => ({
  metadata: { name, labels: { "kubernetes.io/hostname": name, ...labels } },
  ...rest,
});
let uids = 0;
const pod = (spec: Partial<PodSpec> = {}, labels: Record<string, string> = { app: "web" }, owner = "set"): Pod => ({
  metadata: {
    name: `pod-${++uids}`,
    namespace: "default",
    uid: `uid-${uids}`,
    labels,
    ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: owner, uid: owner, controller: true }],
  },
  spec: { containers: [{ name: "main" }], ...spec },
});
const three = [node("a", { zone: "1" }), node("b", { zone: "1" }), node("c", { zone: "2" })];

/** Schedules copies of a pod one after the other; the nodes they got. */
function place(count: number, make: () => Pod, nodes = three, existing: Pod[] = []): (string | undefined)[] {
  const pods = [...existing];
  return Array.from({ length: count }, () => {
    const one = make();
    const { node: nodeName } = schedulePod(one, { nodes, pods });
    if (nodeName !== undefined) pods.push({ ...one, spec: { ...one.spec!, nodeName } });
    return nodeName;
  });
}

describe("scheduling", () => {
  it("spreads pods of one owner evenly over any number of nodes", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 20 }), (nodeCount, podCount) => {
        const nodes = Array.from({ length: nodeCount }, (_, index) => node(`n${index}`));
        const counts = nodes.map(
          ({ metadata }) => place(podCount, () => pod(), nodes).filter((name) => name === metadata.name).length,
        );
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it("respects nodeSelector, node affinity, cordons, taints and tolerations", () => {
    expect(place(1, () => pod({ nodeSelector: { zone: "2" } }))).toEqual(["c"]);
    const affinity = {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name", operator: "In", values: ["b"] }] }],
        },
      },
    };
    expect(place(2, () => pod({ affinity }))).toEqual(["b", "b"]);
    const tainted = [
      node("a", {}, { spec: { taints: [{ key: "gpu", value: "yes", effect: "NoSchedule" }] } }),
      node("b", {}, { spec: { unschedulable: true } }),
    ];
    expect(place(1, () => pod(), tainted)).toEqual([undefined]);
    expect(place(1, () => pod({ tolerations: [{ key: "gpu", operator: "Exists" }] }), tainted)).toEqual(["a"]);
    expect(place(1, () => pod({ tolerations: [{ operator: "Exists" }], nodeName: "" }), tainted)).not.toEqual([
      undefined,
    ]);
  });

  it("respects pod affinity, anti-affinity (also of the others) and topology spread", () => {
    const term = { labelSelector: { matchLabels: { app: "web" } }, topologyKey: "kubernetes.io/hostname" };
    const apart = { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } };
    expect(place(4, () => pod({ affinity: apart })).map(Boolean)).toEqual([true, true, true, false]);
    const together = {
      podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ ...term, topologyKey: "zone" }] },
    };
    const zones = place(3, () => pod({ affinity: together })).map(
      (name) => three.find(({ metadata }) => metadata.name === name)?.metadata.labels?.["zone"],
    );
    expect(new Set(zones).size).toBe(1);
    const loner = pod({ affinity: apart, nodeName: "a" }, { app: "loner" }, "other");
    expect(place(2, () => pod(), three.slice(0, 2), [loner])).toEqual(["b", "b"]);
    const spread = {
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: "zone",
          whenUnsatisfiable: "DoNotSchedule",
          labelSelector: { matchLabels: { app: "web" } },
        },
      ],
    };
    expect(place(4, () => pod(spread)).filter((name) => name === "c")).toHaveLength(2);
  });

  it("counts requests against what nodes offer, and host ports", () => {
    const small = [node("a", {}, { status: { allocatable: { cpu: "1", memory: "1Gi", pods: "10" } } })];
    const greedy = (): Pod => pod({ containers: [{ name: "main", resources: { requests: { cpu: "400m" } } }] });
    expect(place(3, greedy, small)).toEqual(["a", "a", undefined]);
    const hostPort = (): Pod => pod({ containers: [{ name: "main", ports: [{ containerPort: 80, hostPort: 80 }] }] });
    expect(place(2, hostPort, small)).toEqual(["a", undefined]);
  });

  it("says why a pod fits nowhere as kube-scheduler does", () => {
    const message = (one: Pod, nodes: Node[], pods: Pod[] = []): string | undefined => {
      const result = schedulePod(one, { nodes, pods });
      return result.node === undefined ? result.message : undefined;
    };
    expect(message(pod(), [])).toBe("no nodes available to schedule pods");
    expect(
      message(pod({ nodeSelector: { disk: "ssd" } }), [
        ...three.slice(0, 2),
        node("c", {}, { spec: { unschedulable: true } }),
      ]),
    ).toBe(
      "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector. " +
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
    );
    expect(
      message(pod({ containers: [{ name: "m", resources: { requests: { cpu: "2" } } }] }), [
        node("a", {}, { status: { allocatable: { cpu: "1" } } }),
      ]),
    ).toBe(
      "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
    );
  });

  it("reads quantities", () => {
    expect(["500m", "2", "64Mi", "1k", "1e3", "0.5Gi"].map(parseQuantity)).toEqual([
      0.5,
      2,
      64 * 2 ** 20,
      1000,
      1000,
      2 ** 29,
    ]);
    expect(parseQuantity("many")).toBeNaN();
  });
});
