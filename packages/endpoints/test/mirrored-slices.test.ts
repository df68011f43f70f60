import type { Endpoints, Service } from "@portolan/core";
import { describe, expect, test } from "vitest";
import { reconcileMirroredSlices } from "../src/index.ts";
import { applied, service, writes } from "./fixtures.ts";

const { selector: _, ...spec } = service().spec!;
const selectorless: Service = { ...service(), spec };

function endpoints(subsets: Endpoints["subsets"], metadata: Endpoints["metadata"] = {}): Endpoints {
  return { metadata: { name: "web", namespace: "default", uid: "endpoints-uid", ...metadata }, subsets: subsets! };
}

const database = endpoints(
  [
    {
      addresses: [{ ip: "192.168.1.100" }, { ip: "fd00::1" }],
      notReadyAddresses: [{ ip: "192.168.1.101" }],
      ports: [{ port: 3306 }],
    },
  ],
  {
    labels: { tier: "db" },
    annotations: {
      note: "x",
      "kubectl.kubernetes.io/last-applied-configuration": "{}",
      "endpoints.kubernetes.io/last-change-trigger-time": "y",
    },
  },
);

describe("mirrored slices", () => {
  test("one per family, with what the Endpoints say and nothing more", () => {
    const { create } = reconcileMirroredSlices({ endpoints: database, service: selectorless, existing: [] });
    expect(create).toEqual([
      {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: {
          generateName: "web-",
          namespace: "default",
          labels: {
            tier: "db",
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
          },
          annotations: { note: "x" },
          ownerReferences: [
            {
              apiVersion: "v1",
              kind: "Endpoints",
              name: "web",
              uid: "endpoints-uid",
              controller: true,
              blockOwnerDeletion: true,
            },
          ],
        },
        addressType: "IPv4",
        ports: [{ name: "", protocol: "TCP", port: 3306 }],
        endpoints: [
          { addresses: ["192.168.1.100"], conditions: { ready: true } },
          { addresses: ["192.168.1.101"], conditions: { ready: false } },
        ],
      },
      expect.objectContaining({
        addressType: "IPv6",
        endpoints: [{ addresses: ["fd00::1"], conditions: { ready: true } }],
      }),
    ]);
  });

  test("are not written again, follow changes in place, and go with what they mirror", () => {
    const slices = applied([], reconcileMirroredSlices({ endpoints: database, service: selectorless, existing: [] }));
    const again = (change: Partial<Parameters<typeof reconcileMirroredSlices>[0]>) =>
      reconcileMirroredSlices({ endpoints: database, service: selectorless, existing: slices, ...change });
    expect(writes(again({}) as never)).toBe(0);
    const moved = again({ endpoints: endpoints([{ addresses: [{ ip: "192.168.1.100" }], ports: [{ port: 3307 }] }]) });
    expect([moved.create.length, moved.update.length, moved.delete.length]).toEqual([0, 1, 1]);
    expect(moved.update[0]!.metadata.generateName).toBeUndefined();
    for (const gone of [
      { endpoints: undefined },
      { service: undefined },
      { service: service() },
      { endpoints: endpoints(database.subsets, { labels: { "endpointslice.kubernetes.io/skip-mirror": "true" } }) },
      { endpoints: endpoints(database.subsets, { annotations: { "control-plane.alpha.kubernetes.io/leader": "{}" } }) },
      { endpoints: endpoints([]) },
    ])
      expect(again(gone).delete).toHaveLength(2);
  });

  test("say what they leave out", () => {
    const crowd = Array.from({ length: 12 }, (_, index) => ({ ip: `192.168.1.${index + 1}` }));
    const { create, events } = reconcileMirroredSlices({
      endpoints: endpoints([{ addresses: [{ ip: "0.0.0.0.0" }, ...crowd], ports: [{ port: 1 }] }]),
      service: selectorless,
      existing: [],
      maximumEndpointsPerSubset: 10,
    });
    expect(create[0]!.endpoints).toHaveLength(10);
    expect(events.map((event) => event.message)).toEqual([
      "Skipped 1 invalid IP addresses when mirroring to EndpointSlices",
      "A max of 10 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped",
    ]);
  });
});
