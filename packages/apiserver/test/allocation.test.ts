import type { Service } from "@portolan/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createIpRange } from "../src/allocators/ip-range.ts";
import { createNodePortRange } from "../src/allocators/node-port-range.ts";
import { type ApiServer, createApiServer } from "../src/index.ts";
import { send, service, services } from "./client.ts";

const port = fc.record(
  {
    name: fc.constantFrom("a", "b", "c"),
    port: fc.constantFrom(53, 80, 443),
    protocol: fc.constantFrom("TCP", "UDP"),
    nodePort: fc.constantFrom(30000, 30001, 30002, 30005, 29999),
  },
  { requiredKeys: ["name", "port"] },
);
const spec = fc.record(
  {
    type: fc.constantFrom("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
    ports: fc.uniqueArray(port, { minLength: 1, maxLength: 3, selector: (one) => one.name }),
    clusterIP: fc.constantFrom("None", "10.96.0.5", "10.96.0.6", "fd00:10:96::5", ""),
    ipFamilyPolicy: fc.constantFrom("SingleStack", "PreferDualStack", "RequireDualStack"),
    externalName: fc.constant("example.com"),
    externalTrafficPolicy: fc.constantFrom("Cluster", "Local"),
    allocateLoadBalancerNodePorts: fc.boolean(),
    selector: fc.constant({ app: "web" }),
  },
  { requiredKeys: ["ports", "externalName"] },
);
const name = fc.constantFrom("s1", "s2", "s3", "s4");
const step = fc.oneof(
  fc.record({ kind: fc.constant("create" as const), name, spec }),
  fc.record({ kind: fc.constant("replace" as const), name, spec }),
  fc.record({
    kind: fc.constant("patch" as const),
    name,
    spec: spec.map((value) => value as object),
    dryRun: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("delete" as const), name }),
);

/** What Services hold must be what is recorded, and no node port may have two owners. */
function check(server: ApiServer): void {
  const addresses: string[] = [];
  const owners = new Map<number, string>();
  for (const stored of server.store.list("services")) {
    const { spec: stated } = stored.object as Service;
    for (const address of stated?.clusterIPs ?? []) if (address !== "None") addresses.push(address);
    const held = (stated?.ports ?? []).map((one) => one.nodePort ?? 0);
    if (stated?.type === "ExternalName" || stated?.type === "ClusterIP") continue;
    for (const number of new Set([...held, stated?.healthCheckNodePort ?? 0])) {
      if (number === 0) continue;
      expect(owners.get(number), `node port ${number} of ${stored.name}`).toBeUndefined();
      owners.set(number, stored.name);
    }
  }
  const recorded = [...server.store.list("ipaddresses.networking.k8s.io")].map((stored) => stored.name);
  expect(recorded.sort()).toEqual(addresses.sort());
}

describe("allocation", () => {
  it("gives every address and port one owner, and takes them back, whatever is asked in whatever order", {
    timeout: 60_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const server = await createApiServer({
          serviceCIDRs: ["10.96.0.0/28", "fd00:10:96::/120"],
          nodePortRange: "30000-30007",
        });
        try {
          for (const one of steps) {
            const path = `${services}/${one.name}`;
            const before = server.store.revision;
            let status: number;
            if (one.kind === "create") ({ status } = await send(server, "POST", services, service(one.name, one.spec)));
            else if (one.kind === "replace")
              ({ status } = await send(server, "PUT", path, service(one.name, one.spec)));
            else if (one.kind === "delete") ({ status } = await send(server, "DELETE", path));
            else {
              const search = one.dryRun ? "?dryRun=All" : "";
              ({ status } = await send(
                server,
                "PATCH",
                path + search,
                { spec: one.spec },
                { "content-type": "application/merge-patch+json" },
              ));
              if (one.dryRun) expect(server.store.revision).toBe(before);
            }
            if (status >= 400) expect(server.store.revision).toBe(before);
            check(server);
          }
          for (const one of ["s1", "s2", "s3", "s4"]) await send(server, "DELETE", `${services}/${one}`);
          expect(server.store.count("ipaddresses.networking.k8s.io")).toBe(1);
          for (let number = 30000; number <= 30007; number++) {
            const { status } = await send(
              server,
              "POST",
              services,
              service(`p${number}`, { type: "NodePort", ports: [{ port: 80, nodePort: number }] }),
            );
            expect(status).toBe(201);
          }
        } finally {
          await server.close();
        }
      }),
      { numRuns: 150 },
    );
  });

  it("chooses addresses from the dynamic band until it is full, then from the static one", () => {
    const range = createIpRange("10.96.0.0/24");
    const taken = new Set<string>();
    for (let i = 0; i < 254; i++) {
      const address = range.next((candidate) => taken.has(candidate), Math.random) as string;
      if (i < 238) expect(Number(address.split(".")[3])).toBeGreaterThan(16);
      else expect(Number(address.split(".")[3])).toBeLessThanOrEqual(16);
      taken.add(address);
    }
    expect(range.next((candidate) => taken.has(candidate), Math.random)).toBeUndefined();
  });

  it("chooses node ports likewise", () => {
    const range = createNodePortRange("30000-32767");
    const taken = new Set<number>();
    for (let i = 0; i < 2768; i++) {
      const number = range.next((candidate) => taken.has(candidate), Math.random) as number;
      if (i < 2768 - 86) expect(number).toBeGreaterThanOrEqual(30086);
      taken.add(number);
    }
    expect(range.next((candidate) => taken.has(candidate), Math.random)).toBeUndefined();
  });

  it("says so when the pool is empty, and leaves nothing behind", async () => {
    const server = await createApiServer({ serviceCIDRs: ["10.96.0.0/29"] });
    try {
      for (let i = 0; i < 5; i++) expect((await send(server, "POST", services, service(`s${i}`))).status).toBe(201);
      const full = await send(server, "POST", services, service("one-more"));
      expect(full.status).toBe(500);
      expect(full.body.message).toBe(
        'Internal error occurred: failed to allocate a serviceIP for Service "one-more": range is full',
      );
      await send(server, "DELETE", `${services}/s2`);
      expect((await send(server, "POST", services, service("one-more"))).status).toBe(201);
    } finally {
      await server.close();
    }
  });

  it("refuses ranges that are none, with what to give instead", async () => {
    await expect(createApiServer({ serviceCIDRs: ["10.96.0.0"] })).rejects.toThrow(/give one such as 10\.96\.0\.0\/16/);
    await expect(createApiServer({ serviceCIDRs: ["10.96.0.0/16", "10.97.0.0/16"] })).rejects.toThrow(
      /one of IPv4 and one of IPv6/,
    );
    await expect(createApiServer({ nodePortRange: "40000-30000" })).rejects.toThrow(/30000-32767/);
  });
});
