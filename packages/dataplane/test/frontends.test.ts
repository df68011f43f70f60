import type { Dataplane, FrontendSpec, ServicePortSpec } from "@portolan/dataplane";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dataplaneOf, small } from "./builds.ts";
import { dial } from "./dialing.ts";

const addresses = {
  IPv4: ["10.96.0.1", "10.96.0.2", "10.96.0.3", "10.96.0.4", "10.96.0.5"],
  IPv6: ["fd00::1", "fd00::2", "fd00::3", "fd00::4", "fd00::5"],
} as const;
const ports = [80, 81, 82] as const;
const kinds = ["ClusterIP", "ExternalIP"] as const;

interface Claim {
  readonly service: number;
  readonly isIPv6: boolean;
  readonly address: number;
  readonly ports: readonly number[];
  readonly kind: number;
}

/** Service `service` of a generation has one backend that nobody else has: where a packet goes says who answered. */
function specOf({ service, isIPv6, address, ports: chosen, kind }: Claim, generation: number): ServicePortSpec {
  const family = isIPv6 ? "IPv6" : "IPv4";
  return {
    id: `${service}-${generation % 3 === 0 ? "kept" : generation}/${family}`,
    family,
    protocol: "TCP",
    frontends: chosen.map((port) => ({ kind: kinds[kind]!, address: addresses[family][address]!, port })),
    cluster: [
      { address: isIPv6 ? `fd01:${generation}::${service + 1}` : `10.${generation}.0.${service + 1}`, port: 8080 },
    ],
    local: [],
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
  };
}

/** Tables in which nobody claims what another has. */
const world: fc.Arbitrary<readonly Claim[]> = fc
  .array(
    fc.record({
      service: fc.nat(11),
      isIPv6: fc.boolean(),
      address: fc.nat(4),
      ports: fc.subarray([...ports], { minLength: 1 }),
      kind: fc.nat(1),
    }),
    { maxLength: 14 },
  )
  .map((claims) => {
    const taken = new Set<string>();
    const services = new Set<string>();
    return claims.filter((claim) => {
      const keys = claim.ports.map((port) => `${claim.isIPv6}/${claim.address}/${port}`);
      const service = `${claim.isIPv6}/${claim.service}`;
      if (services.has(service) || keys.some((key) => taken.has(key))) return false;
      services.add(service);
      for (const key of keys) taken.add(key);
      return true;
    });
  });

/** What becomes of a packet to each address and port, also to ports that nobody has. */
function answers(dataplane: Dataplane): Record<string, string> {
  const seen: Record<string, string> = {};
  for (const family of ["IPv4", "IPv6"] as const) {
    for (const address of addresses[family]) {
      for (const port of [...ports, 9999]) {
        const source = family === "IPv4" ? "10.244.1.20" : "fd02::20";
        seen[`${address} ${port}`] = dial(dataplane, address, { port, source });
      }
    }
  }
  return seen;
}

function expected(specs: readonly ServicePortSpec[]): Record<string, string> {
  const all: Record<string, string> = {};
  for (const family of ["IPv4", "IPv6"] as const) {
    for (const address of addresses[family]) {
      const of = (frontend: FrontendSpec) => frontend.address === address;
      const isClusterIP = specs.some((one) =>
        one.frontends.some((frontend) => of(frontend) && frontend.kind === "ClusterIP"),
      );
      for (const port of [...ports, 9999]) {
        const owner = specs.find((one) => one.frontends.some((frontend) => of(frontend) && frontend.port === port));
        all[`${address} ${port}`] = owner?.cluster[0]?.address ?? (isClusterIP ? "REJECT cluster-ip-port" : address);
      }
    }
  }
  return all;
}

describe("frontends", { timeout: 120_000 }, () => {
  const capacity = { ...small, frontends: 40, connections: 2048, ipv6Addresses: 64 };

  test("that share addresses are found, and only they, before and after replacements in any steps", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ claims: world, step: fc.integer({ min: 1, max: 9 }), gives: fc.nat(5) }), {
          maxLength: 6,
        }),
        (rounds) => {
          const dataplane = dataplaneOf("debug", { capacity });
          let now: readonly ServicePortSpec[] = [];
          rounds.forEach(({ claims, step, gives }, i) => {
            const next = claims.map((claim) => specOf(claim, i + 1));
            const replacement = dataplane.stageServicePorts(next);
            for (let k = 0; replacement.prepare(step) > 0; k++) {
              if (k % 3 === 0) expect(answers(dataplane)).toEqual(expected(now));
            }
            expect(answers(dataplane)).toEqual(expected(now));
            if (gives === 0) {
              replacement.discard();
              expect(answers(dataplane)).toEqual(expected(now));
              return;
            }
            replacement.commit();
            now = next;
            expect(answers(dataplane)).toEqual(expected(now));
            for (let k = 0; gives > 1 && replacement.settle(1) > 0; k++) {
              if (k % 5 === 0) expect(answers(dataplane)).toEqual(expected(now));
            }
            expect(answers(dataplane)).toEqual(expected(now));
            expect(dataplane.size()).toMatchObject({
              servicePorts: now.length,
              backends: now.length,
              frontends: now.reduce((sum, one) => sum + one.frontends.length, 0),
            });
          });
        },
      ),
      { numRuns: 60 },
    );
  });

  test("come and go one Service at a time in a table that is full", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(world, fc.nat(5)), { maxLength: 12 }), (rounds) => {
        const dataplane = dataplaneOf("debug", { capacity: { ...capacity, frontends: 30, ipv6Addresses: 30 } });
        const now = new Map<string, ServicePortSpec>();
        for (const [claims, removed] of rounds) {
          for (const id of [...now.keys()].slice(0, removed)) {
            dataplane.removeServicePort(id);
            now.delete(id);
          }
          for (const claim of claims) {
            const next = specOf(claim, 3);
            const holds = (one: ServicePortSpec, { address, port }: FrontendSpec) =>
              one.id !== next.id && one.frontends.some((other) => other.address === address && other.port === port);
            if ([...now.values()].some((one) => next.frontends.some((frontend) => holds(one, frontend)))) continue;
            dataplane.setServicePort(next);
            now.set(next.id, next);
          }
          expect(answers(dataplane)).toEqual(expected([...now.values()]));
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("counters of Service ports", () => {
  test("keep the connections of backends that are gone", () => {
    const dataplane = dataplaneOf("debug");
    const claim: Claim = { service: 0, isIPv6: false, address: 0, ports: [80], kind: 0 };
    for (let generation = 3; generation <= 12; generation += 3) {
      dataplane.setServicePort(specOf(claim, generation));
      for (let i = 0; i < 5; i++) dial(dataplane, "10.96.0.1");
    }
    expect(dataplane.counters().servicePorts).toMatchObject({ "0-kept/IPv4": { connections: 20 } });
  });
});
