import { type KubernetesObject, resources } from "@portolan/core";
import { describe, expect, test } from "vitest";
import { builtinResources } from "../src/discovery/builtin-resources.ts";
import { columnsOf, humanDuration, printTable } from "../src/printers/index.ts";

const now = new Date("2026-01-01T00:00:30Z");

function cells(resource: keyof typeof resources, object: object): unknown[] {
  const { metadata = {}, ...rest } = object as KubernetesObject;
  const full = { metadata: { name: "x", creationTimestamp: "2026-01-01T00:00:00Z", ...metadata }, ...rest };
  return [...(printTable(resources[resource], [full], { now }).rows[0]?.cells ?? [])];
}

describe("ages", () => {
  test.each([
    [-2, "<invalid>"],
    [0, "0s"],
    [119.999, "119s"],
    [120, "2m"],
    [125, "2m5s"],
    [600, "10m"],
    [4200, "70m"],
    [10799.999, "179m"],
    [10800, "3h"],
    [11100, "3h5m"],
    [28800, "8h"],
    [172799.999, "47h"],
    [172800, "2d"],
    [176400, "2d1h"],
    [691200, "8d"],
    [2 * 365 * 86400, "2y"],
    [157680000, "5y"],
    [5 * 365 * 86400 + 30 * 86400, "5y30d"],
    [8 * 365 * 86400 + 86400, "8y"],
  ])("%d seconds are %s", (seconds, text) => {
    expect(humanDuration(seconds)).toBe(text);
  });
});

describe("cells", () => {
  test.each([
    [
      {
        type: "ClusterIP",
        clusterIPs: ["10.9.8.7"],
        ports: [{ port: 80, protocol: "TCP" }],
        selector: { b: "2", a: "1" },
      },
      {},
      ["ClusterIP", "10.9.8.7", "<none>", "80/TCP", "30s", "a=1,b=2"],
    ],
    [
      { type: "NodePort", clusterIPs: ["10.9.8.7"], ports: [{ port: 88, nodePort: 30999, protocol: "TCP" }] },
      {},
      ["NodePort", "10.9.8.7", "<none>", "88:30999/TCP", "30s", "<none>"],
    ],
    [
      {
        type: "LoadBalancer",
        clusterIPs: ["10.9.8.7"],
        ports: [
          { port: 80, protocol: "TCP" },
          { port: 53, protocol: "UDP" },
        ],
      },
      {},
      ["LoadBalancer", "10.9.8.7", "<pending>", "80/TCP,53/UDP", "30s", "<none>"],
    ],
    [
      { type: "LoadBalancer", clusterIPs: ["10.9.8.7"], externalIPs: ["203.0.113.9"] },
      { loadBalancer: { ingress: [{ ip: "9.9.9.9", hostname: "b" }, { hostname: "a" }, { ip: "1.1.1.1" }] } },
      ["LoadBalancer", "10.9.8.7", "1.1.1.1,9.9.9.9,a,203.0.113.9", "<none>", "30s", "<none>"],
    ],
    [
      { type: "ExternalName", externalName: "db.example.com" },
      {},
      ["ExternalName", "<none>", "db.example.com", "<none>", "30s", "<none>"],
    ],
    [{ type: "ClusterIP", clusterIPs: ["None"] }, {}, ["ClusterIP", "None", "<none>", "<none>", "30s", "<none>"]],
  ])("Service %j", (spec, status, expected) => {
    expect(cells("services", { spec, status })).toEqual(["x", ...expected]);
  });

  test("Endpoints count ready addresses, port by port", () => {
    const addresses = [{ ip: "10.0.0.1" }, { ip: "fd00::1" }];
    expect(cells("endpoints", {})[1]).toBe("<none>");
    expect(cells("endpoints", { subsets: [{ notReadyAddresses: addresses, ports: [{ port: 80 }] }] })[1]).toBe("");
    expect(cells("endpoints", { subsets: [{ addresses }] })[1]).toBe("10.0.0.1,fd00::1");
    expect(cells("endpoints", { subsets: [{ addresses, ports: [{ port: 80 }, { port: 53 }] }] })[1]).toBe(
      "10.0.0.1:80,[fd00::1]:80,10.0.0.1:53 + 1 more...",
    );
  });

  test("EndpointSlices show all addresses, ready or not", () => {
    const endpoint = (address: string) => ({ addresses: [address], conditions: { ready: false } });
    const ports = [{ port: 80 }, { name: "any" }, {}, { port: 1 }];
    expect(
      cells("endpointSlices", { addressType: "IPv4", endpoints: ["1", "2", "3", "4", "5"].map(endpoint), ports }),
    ).toEqual(["x", "IPv4", "80,any,* + 1 more...", "1,2,3 + 2 more...", "30s"]);
    expect(cells("endpointSlices", { addressType: "IPv4", endpoints: null, ports: null }).slice(2, 4)).toEqual([
      "<unset>",
      "<unset>",
    ]);
  });

  const running = { name: "c", ready: true, restartCount: 0, state: { running: {} } };
  const spec = { containers: [{ name: "c" }] };
  test.each([
    ["runs", { spec, status: { phase: "Running", containerStatuses: [running] } }, ["1/1", "Running", "0"]],
    [
      "waits",
      {
        spec,
        status: {
          phase: "Pending",
          containerStatuses: [{ ...running, ready: false, state: { waiting: { reason: "ErrImagePull" } } }],
        },
      },
      ["0/1", "ErrImagePull", "0"],
    ],
    [
      "was restarted",
      {
        spec,
        status: {
          phase: "Running",
          containerStatuses: [
            {
              ...running,
              restartCount: 3,
              lastState: { terminated: { exitCode: 1, finishedAt: "2026-01-01T00:00:20Z" } },
            },
          ],
        },
      },
      ["1/1", "Running", "3 (10s ago)"],
    ],
    [
      "failed with a signal",
      {
        spec,
        status: {
          phase: "Failed",
          containerStatuses: [{ ...running, ready: false, state: { terminated: { exitCode: 137, signal: 9 } } }],
        },
      },
      ["0/1", "Signal:9", "0"],
    ],
    [
      "initializes",
      {
        spec: { ...spec, initContainers: [{ name: "i" }, { name: "j" }] },
        status: {
          phase: "Pending",
          initContainerStatuses: [
            { ...running, name: "i", state: { terminated: { exitCode: 0 } } },
            { ...running, name: "j", ready: false },
          ],
        },
      },
      ["0/1", "Init:1/2", "0"],
    ],
    [
      "has a sidecar",
      {
        spec: { ...spec, initContainers: [{ name: "s", restartPolicy: "Always" }] },
        status: {
          phase: "Running",
          initContainerStatuses: [{ ...running, name: "s", started: true }],
          containerStatuses: [running],
        },
      },
      ["2/2", "Running", "0"],
    ],
    [
      "is gated",
      {
        spec,
        status: {
          phase: "Pending",
          conditions: [{ type: "PodScheduled", status: "False", reason: "SchedulingGated" }],
        },
      },
      ["0/1", "SchedulingGated", "0"],
    ],
    [
      "is being deleted",
      {
        metadata: { deletionTimestamp: "2026-01-01T00:00:00Z" },
        spec,
        status: { phase: "Running", containerStatuses: [running] },
      },
      ["1/1", "Terminating", "0"],
    ],
    [
      "is being deleted after its end",
      {
        metadata: { deletionTimestamp: "2026-01-01T00:00:00Z" },
        spec,
        status: {
          phase: "Succeeded",
          containerStatuses: [
            { ...running, ready: false, state: { terminated: { exitCode: 0, reason: "Completed" } } },
          ],
        },
      },
      ["0/1", "Completed", "0"],
    ],
  ])("a Pod that %s", (_, pod, expected) => {
    expect(cells("pods", pod).slice(1, 4)).toEqual(expected);
  });

  test("Nodes, workloads, events", () => {
    expect(
      cells("nodes", {
        metadata: { labels: { "node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge" } },
        spec: { unschedulable: true },
        status: {
          conditions: [{ type: "Ready", status: "Unknown" }],
          nodeInfo: { kernelVersion: "6.1", architecture: "arm64" },
        },
      }),
    ).toEqual([
      "x",
      "NotReady,SchedulingDisabled",
      "edge,worker",
      "30s",
      "",
      "<none>",
      "<none>",
      "<unknown>",
      "6.1 (arm64)",
      "<unknown>",
    ]);
    const template = {
      spec: {
        containers: [
          { name: "a", image: "i" },
          { name: "b", image: "j" },
        ],
      },
    };
    const selector = {
      matchLabels: { app: "web" },
      matchExpressions: [{ key: "a", operator: "In", values: ["2", "1"] }],
    };
    expect(cells("deployments", { spec: { replicas: 2, template, selector }, status: { updatedReplicas: 2 } })).toEqual(
      ["x", "0/2", 2, 0, "30s", "a,b", "i,j", "a in (1,2),app=web"],
    );
    expect(
      cells("events", {
        involvedObject: { kind: "Service", name: "web" },
        lastTimestamp: "2026-01-01T00:00:20Z",
        firstTimestamp: "2026-01-01T00:00:10Z",
        source: { component: "gold", host: "h" },
        message: " hello\n",
        type: "Normal",
        reason: "Tested",
        count: 3,
      }),
    ).toEqual(["10s", "Normal", "Tested", "service/web", "", "gold, h", "hello", "20s", 3, "x"]);
    expect(
      cells("ipAddresses", { spec: { parentRef: { resource: "services", namespace: "default", name: "web" } } })[1],
    ).toBe("services/default/web");
  });
});

describe("tables", () => {
  const service = { metadata: { name: "x", uid: "u" }, spec: { type: "ClusterIP" } };

  test("rows carry nothing, metadata or the whole object", () => {
    const object = (includeObject?: "None" | "Metadata" | "Object") =>
      printTable(resources.services, [service], { now, ...(includeObject && { includeObject }) }).rows[0]?.object;
    expect(object("None")).toBeNull();
    expect(object()).toEqual({
      kind: "PartialObjectMetadata",
      apiVersion: "meta.k8s.io/v1",
      metadata: service.metadata,
    });
    expect(object("Object")).toEqual({ ...service, kind: "Service", apiVersion: "v1" });
  });

  test("only the first event of a watch has columns", () => {
    expect(printTable(resources.services, [], { now, withColumns: false }).columnDefinitions).toBeNull();
    const table = printTable(resources.services, [], { now, list: { resourceVersion: "7", continue: "t" } });
    expect(table.metadata).toEqual({ resourceVersion: "7", continue: "t" });
    expect(table.rows).toEqual([]);
    expect(table.columnDefinitions?.map(({ name, priority }) => [name, priority])).toEqual([
      ["Name", 0],
      ["Type", 0],
      ["Cluster-IP", 0],
      ["External-IP", 0],
      ["Port(s)", 0],
      ["Age", 0],
      ["Selector", 1],
    ]);
  });

  test("pods that have ended say so", () => {
    const row = printTable(resources.pods, [{ metadata: {}, status: { phase: "Failed" } } as KubernetesObject], { now })
      .rows[0];
    expect(row?.conditions).toEqual([
      { type: "Completed", status: "True", reason: "Failed", message: "The pod failed." },
    ]);
  });

  test("kinds without columns of their own show when they were made, custom resources their age", () => {
    const object = { metadata: { name: "x", creationTimestamp: "2026-01-01T00:00:00Z" } };
    const shown = (group: string): unknown => {
      const definition = {
        group,
        version: "v1",
        apiVersion: `${group}/v1`,
        kind: "Thing",
        resource: "things",
        namespaced: true,
      };
      const table = printTable(definition, [object], { now });
      return [table.columnDefinitions?.map((column) => column.name), table.rows[0]?.cells];
    };
    expect(shown("rbac.authorization.k8s.io")).toEqual([
      ["Name", "Created At"],
      ["x", "2026-01-01T00:00:00Z"],
    ]);
    expect(shown("example.com")).toEqual([
      ["Name", "Age"],
      ["x", "30s"],
    ]);
  });

  test("every kind fills its columns, whatever is missing", () => {
    for (const definition of builtinResources) {
      const [row] = printTable(definition, [{ metadata: {} }], { now }).rows;
      expect(row?.cells.length, definition.kind).toBeGreaterThanOrEqual(columnsOf(definition).length);
    }
  });
});
