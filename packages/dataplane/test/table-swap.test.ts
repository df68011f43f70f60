import { createDataplane, type Dataplane, type ServicePortSpec } from "@portolan/dataplane";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dataplaneOf } from "./builds.ts";
import { code, dial, spec } from "./dialing.ts";

const addresses = ["10.96.0.1", "10.96.0.2", "10.96.0.3", "10.96.0.4"] as const;
const ids = ["a", "b", "c", "d", "e"] as const;

/** A world of Service ports whose endpoints nobody else has: `generation` is in every address. */
function world(generation: number): fc.Arbitrary<ServicePortSpec[]> {
  const one = fc.record({
    id: fc.constantFrom(...ids),
    address: fc.constantFrom(...addresses),
    endpoints: fc.nat(20),
    scheduler: fc.constantFrom("random", "rr", "wrr", "lc", "mh", "sh"),
    affinity: fc.boolean(),
    nodePort: fc.boolean(),
    keeps: fc.boolean(),
  });
  return fc.uniqueArray(one, { selector: (entry) => entry.id, maxLength: 5 }).map((entries) =>
    entries.map(({ id, address, endpoints, scheduler, affinity, nodePort, keeps }) => {
      const service = ids.indexOf(id) + 1;
      const backends = Array.from(
        { length: endpoints },
        (_, i) => `10.${keeps ? 100 : generation}.${service}.${i + 1}`,
      );
      const made = spec(id, address, backends, {
        scheduler: scheduler as "rr",
        ...(affinity ? { affinitySeconds: 100 } : {}),
      });
      const more = { kind: "NodePort" as const, port: 30_000 + service };
      return nodePort ? { ...made, frontends: [...made.frontends, more] } : made;
    }),
  );
}

/** What a table may do with a packet to an address: the first entry that claims it decides. */
function outcomes(table: readonly ServicePortSpec[], address: string): readonly string[] {
  const holders = table.filter((entry) => entry.frontends[0]!.address === address);
  if (holders.length === 0) return [address];
  return holders.flatMap((entry) =>
    entry.hasAny ? entry.cluster.map((backend) => backend.address) : ["REJECT no-endpoints"],
  );
}

let client = 0;
function expectTable(dataplane: Dataplane, table: readonly ServicePortSpec[]): void {
  for (const address of addresses) {
    client = (client + 1) % 60_000;
    const source = `10.244.${client >> 8}.${client & 255}`;
    expect(outcomes(table, address)).toContain(dial(dataplane, address, { source }));
  }
}

const fresh = (): Dataplane => {
  const dataplane = dataplaneOf("debug");
  dataplane.configureNode({ addresses: ["192.168.50.10"], clusterCIDRs: ["10.244.0.0/16"] });
  return dataplane;
};

describe("replacement of all Service ports", { timeout: 120_000 }, () => {
  test("packets see the old table until the commit and the new one from then on, never a mixture", () => {
    fc.assert(
      fc.property(world(1), world(2), fc.integer({ min: 1, max: 3 }), (before, after, step) => {
        const dataplane = fresh();
        dataplane.replaceServicePorts(before);
        const replacement = dataplane.stageServicePorts(after);
        do expectTable(dataplane, before);
        while (replacement.prepare(step) > 0);
        expectTable(dataplane, before);
        expect(dataplane.size().servicePorts).toBe(before.length);
        expect(Object.keys(dataplane.counters().servicePorts).sort()).toEqual(before.map((entry) => entry.id).sort());
        replacement.commit();
        expectTable(dataplane, after);
        const alone = fresh();
        alone.replaceServicePorts(after);
        const { servicePorts, backends, frontends } = alone.size();
        expect(dataplane.size()).toMatchObject({ servicePorts, backends, frontends });
      }),
      { numRuns: 150 },
    );
  });

  test("a replacement that is given up, refused or interrupted leaves the tables as they were", () => {
    fc.assert(
      fc.property(world(1), world(2), world(3), fc.nat(5), (before, after, between, prepared) => {
        const dataplane = fresh();
        dataplane.replaceServicePorts(before);
        const given = dataplane.stageServicePorts(after);
        given.prepare(prepared);
        given.discard();
        expectTable(dataplane, before);
        expect(code(() => given.commit())).toBe("REPLACEMENT_OVER");
        const bad = spec("bad", "10.96.0.9", ["fd00::1"]);
        expect(code(() => dataplane.replaceServicePorts([...after, bad]))).toBe("INVALID_SERVICE_PORT");
        if (after[0] !== undefined)
          expect(code(() => dataplane.replaceServicePorts([...after, after[0]!]))).toBe("INVALID_SERVICE_PORT");
        expectTable(dataplane, before);
        expect(dataplane.size().servicePorts).toBe(before.length);
        // Changes of single entries in between count, and the replacement then replaces them too.
        const interrupted = dataplane.stageServicePorts(after);
        interrupted.prepare(prepared);
        dataplane.replaceServicePorts(before);
        const again = dataplane.stageServicePorts(after);
        again.prepare(prepared);
        for (const entry of between) dataplane.setServicePort(entry);
        const now = [...before.filter((old) => !between.some((entry) => entry.id === old.id)), ...between];
        expect(dataplane.size().servicePorts).toBe(now.length);
        again.commit();
        expectTable(dataplane, after);
        expect(dataplane.size().servicePorts).toBe(after.length);
      }),
      { numRuns: 100 },
    );
  });

  test("tables that hold either side but not both are replaced all the same, or left as they were", () => {
    const capacity = { servicePorts: 3, backends: 6, frontends: 4, addresses: 8 };
    const dataplane = createDataplane({ seed: 1, capacity });
    const generation = (n: number, backends: number) =>
      ["x", "y", "z"].map((id, i) =>
        spec(
          `${id}${n}`,
          `10.96.${n}.${i}`,
          Array.from({ length: backends }, (_, k) => `10.${n}.${i}.${k + 1}`),
        ),
      );
    dataplane.replaceServicePorts(generation(1, 2));
    for (let n = 2; n < 40; n++) {
      expect(code(() => dataplane.replaceServicePorts(generation(100, 3)))).toBe("MAP_FULL");
      expect(dial(dataplane, `10.96.${n - 1}.2`)).toMatch(new RegExp(`^10\\.${n - 1}\\.2\\.[12]$`));
      dataplane.replaceServicePorts(generation(n, 2));
      expect(dial(dataplane, `10.96.${n}.2`)).toMatch(new RegExp(`^10\\.${n}\\.2\\.[12]$`));
      expect(dial(dataplane, `10.96.${n - 1}.2`)).toBe(`10.96.${n - 1}.2`);
      expect(dataplane.size()).toMatchObject({ servicePorts: 3, backends: 6, frontends: 3 });
    }
  });

  test("more frontends or IPv6 addresses than fit are refused before anything changes", () => {
    const dataplane = createDataplane({ seed: 1, capacity: { frontends: 8, ipv6Addresses: 6 } });
    const ports = (address: string, count: number) =>
      Array.from({ length: count }, (_, i) => ({ kind: "ExternalIP" as const, address, port: 80 + i }));
    const many = spec("a", "", ["10.0.0.1"], { frontends: ports("5.6.7.8", 6) });
    dataplane.setServicePort(many);
    expect(code(() => dataplane.setServicePort(spec("b", "", [], { frontends: ports("5.6.7.9", 3) })))).toBe(
      "MAP_FULL",
    );
    const long = (id: string, endpoints: number) =>
      spec(id, "", [], {
        family: "IPv6",
        frontends: [{ kind: "ClusterIP", address: `fd00::${id}`, port: 80 }],
        cluster: Array.from({ length: endpoints }, (_, i) => ({ address: `fd01::${id}:${i + 1}`, port: 8080 })),
        hasAny: true,
      });
    for (let n = 0; n < 50; n++) {
      // Four backends and a frontend, then one more of each; neither two backends nor a frontend and two.
      dataplane.setServicePort(long("1", 4));
      expect(code(() => dataplane.setServicePort(long("2", 1)))).toBe("MAP_FULL");
      expect(code(() => dataplane.setServicePort(long("1", 6)))).toBe("MAP_FULL");
      expect(code(() => dataplane.replaceServicePorts([long("1", 5), long("2", 1)]))).toBe("MAP_FULL");
      dataplane.setServicePort(long("1", 5));
      expect(dataplane.size()).toMatchObject({ servicePorts: 2, backends: 6 });
      expect(dial(dataplane, "5.6.7.8")).toBe("10.0.0.1");
      dataplane.removeServicePort("1");
    }
    const others = ["1", "2", "3", "4"].map((last) => spec(last, `10.96.0.${last}`, ["10.0.0.1"]));
    dataplane.replaceServicePorts(others);
    expect(dial(dataplane, "10.96.0.4")).toBe("10.0.0.1");
    expect(dial(dataplane, "5.6.7.8")).toBe("5.6.7.8");
  });

  test("what did not change keeps its affinity, its place in the round and its counters", () => {
    const dataplane = fresh();
    const backends = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    const steady = (name?: string) => [
      spec("round", "10.96.0.1", backends, { scheduler: "rr" }),
      spec("sticky", "10.96.0.2", backends, { affinitySeconds: 1000 }),
      spec("named", "10.96.0.3", [], {
        cluster: [{ address: "10.0.0.9", port: 8080, ...(name === undefined ? {} : { name }) }],
        hasAny: true,
      }),
    ];
    dataplane.replaceServicePorts(steady("default/one"));
    const stuck = dial(dataplane, "10.96.0.2");
    for (let i = 0; i < 10; i++) {
      expect(dial(dataplane, "10.96.0.1")).toBe(backends[i % 4]);
      expect(dial(dataplane, "10.96.0.2")).toBe(stuck);
      dataplane.replaceServicePorts([...steady(`default/pod-${i}`), spec("other", `10.96.1.${i}`, ["10.1.0.1"])]);
    }
    const { servicePorts } = dataplane.counters();
    expect(servicePorts["round"]).toMatchObject({ connections: 10 });
    expect(servicePorts["named"]!.backends).toMatchObject([{ name: "default/pod-9" }]);
  });

  test("who waits for a frontend inherits it, in turn", () => {
    const dataplane = fresh();
    const claim = (id: string, last: number) => spec(id, "10.96.0.1", [`10.0.0.${last}`]);
    dataplane.replaceServicePorts([claim("a", 1), claim("b", 2), claim("c", 3)]);
    expect(dial(dataplane, "10.96.0.1")).toBe("10.0.0.1");
    dataplane.replaceServicePorts([claim("c", 3), claim("b", 2)]);
    expect(dial(dataplane, "10.96.0.1")).toBe("10.0.0.2");
    dataplane.removeServicePort("c");
    dataplane.removeServicePort("b");
    expect(dial(dataplane, "10.96.0.1")).toBe("10.96.0.1");
    const node = (id: string, last: number) =>
      spec(id, "", [`10.0.0.${last}`], { frontends: [{ kind: "NodePort", port: 30_080 }] });
    dataplane.replaceServicePorts([node("a", 1), node("b", 2)]);
    expect(dial(dataplane, "192.168.50.10", { port: 30_080 })).toBe("10.0.0.1");
    dataplane.removeServicePort("a");
    expect(dial(dataplane, "192.168.50.10", { port: 30_080 })).toBe("10.0.0.2");
    expect(dataplane.size()).toMatchObject({ frontends: 1 });
  });
});
