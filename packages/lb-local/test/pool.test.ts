import {
  type AllocationRequest,
  createAddressAllocator,
  electAnnouncer,
  parsePool,
  parsePools,
  poolSize,
} from "@portolan/lb-local";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const pools = parsePools([{ name: "main", addresses: ["172.18.255.1-172.18.255.3", "fd00:18::/126"] }]);

function request(owner: string, more: Partial<AllocationRequest> = {}): AllocationRequest {
  return { owner, families: ["IPv4"], requireAll: false, addresses: [], ports: ["TCP/80"], backendKey: "", ...more };
}

describe("address allocator", () => {
  it("keeps an owner's address and gives others the next", () => {
    const allocator = createAddressAllocator(pools);
    expect(allocator.allocate(request("a/one"))).toMatchObject({ addresses: ["172.18.255.1"] });
    expect(allocator.allocate(request("a/two"))).toMatchObject({ addresses: ["172.18.255.2"] });
    expect(allocator.allocate(request("a/one"))).toMatchObject({ addresses: ["172.18.255.1"] });
  });

  it("names the holder of an address that is taken, and keeps what the loser had", () => {
    const allocator = createAddressAllocator(pools);
    allocator.allocate(request("a/one"));
    allocator.allocate(request("a/two"));
    const refused = allocator.allocate(request("a/two", { addresses: ["172.18.255.1"] }));
    expect(refused).toMatchObject({ code: "AddressInUse", message: expect.stringContaining("a/one") });
    expect(allocator.addressesOf("a/two")).toEqual(["172.18.255.2"]);
  });

  it("shares an address between owners of one key with different ports", () => {
    const allocator = createAddressAllocator(pools);
    allocator.allocate(request("a/http", { sharingKey: "k" }));
    expect(allocator.allocate(request("a/https", { sharingKey: "k", ports: ["TCP/443"] }))).toMatchObject({
      addresses: ["172.18.255.1"],
    });
    expect(allocator.allocate(request("a/other", { sharingKey: "k" }))).toMatchObject({ addresses: ["172.18.255.2"] });
  });

  it("says that a pool is exhausted", () => {
    const allocator = createAddressAllocator(pools);
    for (const owner of ["a", "b", "c"]) allocator.allocate(request(owner));
    expect(allocator.allocate(request("d"))).toMatchObject({ code: "PoolExhausted" });
    allocator.release("b");
    expect(allocator.allocate(request("d"))).toMatchObject({ addresses: ["172.18.255.2"] });
  });

  it("gives a dual-stack owner both families from one pool", () => {
    const allocator = createAddressAllocator(pools);
    const both = allocator.allocate(request("a", { families: ["IPv4", "IPv6"], requireAll: true }));
    expect(both).toMatchObject({ addresses: ["172.18.255.1", "fd00:18::"] });
  });

  it("never gives one address to two owners that do not share", () => {
    const step = fc.record({ owner: fc.constantFrom("a", "b", "c", "d"), release: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const allocator = createAddressAllocator(pools);
        for (const { owner, release } of steps) {
          if (release) allocator.release(owner);
          else allocator.allocate(request(owner));
          const held = allocator.owners().flatMap((each) => allocator.addressesOf(each));
          expect(new Set(held).size).toBe(held.length);
        }
      }),
    );
  });

  it("serves pinned pools to their Services only, by priority", () => {
    const pinnedPools = parsePools([
      { name: "open", addresses: ["10.0.0.1-10.0.0.1"] },
      { name: "team", addresses: ["10.0.1.1-10.0.1.1"], serviceAllocation: { namespaces: ["a"], priority: 2 } },
      {
        name: "urgent",
        addresses: ["10.0.2.1-10.0.2.1"],
        serviceAllocation: { serviceSelectors: [{ matchLabels: { tier: "gold" } }], priority: 1 },
      },
    ]);
    const allocator = createAddressAllocator(pinnedPools);
    expect(allocator.allocate(request("a/gold", { labels: { tier: "gold" } }))).toMatchObject({ pool: "urgent" });
    expect(allocator.allocate(request("a/one"))).toMatchObject({ pool: "team" });
    expect(allocator.allocate(request("b/one"))).toMatchObject({ pool: "open" });
    expect(allocator.allocate(request("b/two", { addresses: ["10.0.1.1"] }))).toMatchObject({
      code: "AddressNotInPool",
      message: expect.stringContaining("not for this Service"),
    });
  });

  it("counts what pools can give", () => {
    const count = (addresses: string[], avoidBuggyIPs: boolean) =>
      poolSize(parsePool({ name: "p", addresses, avoidBuggyIPs }));
    expect(count(["10.0.0.0/23", "fd00::/126"], false)).toEqual({ total: 516, ipv4: 512, ipv6: 4 });
    expect(count(["10.0.0.0/23", "10.1.0.10-10.1.1.0"], true).ipv4).toBe(508 + 245);
  });

  it("refuses overlapping pools and malformed ranges", () => {
    expect(() =>
      parsePools([
        { name: "a", addresses: ["10.0.0.0/30"] },
        { name: "b", addresses: ["10.0.0.2-10.0.0.9"] },
      ]),
    ).toThrow(/overlap/);
    expect(() => parsePools([{ name: "a", addresses: ["10.0.0.9-10.0.0.2"] }])).toThrow(/ends before/);
  });
});

describe("electAnnouncer", () => {
  it("does not depend on the order of candidates, and spreads addresses", () => {
    const nodes = ["node1", "node2", "node3"];
    const elected = Array.from({ length: 60 }, (_, i) => electAnnouncer(`172.18.255.${i}`, nodes));
    expect(electAnnouncer("172.18.255.7", [...nodes].reverse())).toBe(elected[7]);
    expect(new Set(elected).size).toBe(3);
    expect(electAnnouncer("172.18.255.7", [])).toBeUndefined();
  });
});
