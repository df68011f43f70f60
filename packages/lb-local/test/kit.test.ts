import { registerProviderTests } from "@portolan/lb/conformance";
import { createAddressAllocator, localProvider, parsePools } from "@portolan/lb-local";
import { describe, it } from "vitest";

registerProviderTests(
  {
    name: "local",
    createCloud: () =>
      createAddressAllocator(
        parsePools([
          { name: "main", addresses: ["172.18.255.1-172.18.255.200", "fd00:18::/120"] },
          { name: "other", addresses: ["172.18.254.1-172.18.254.200"], autoAssign: false },
        ]),
      ),
    createProvider: (allocator, { instrument }) => localProvider({ allocator: instrument(allocator) }),
    snapshot: (allocator) =>
      allocator
        .owners()
        .map((owner) => [owner, allocator.addressesOf(owner).length])
        .sort(),
    mutates: (method) => method === "allocate" || method === "release",
    annotations: [
      { "portolan.dev/allow-shared-ip": "key" },
      { "portolan.dev/address-pool": "other" },
      { "metallb.io/loadBalancerIPs": "172.18.255.77" },
    ],
    drift: [(allocator) => allocator.release("default/web")],
    skip: {
      C6: "an owner is the name of a Service, of which there is one at a time",
      C45: "an allocator belongs to one cluster",
    },
  },
  { describe, it },
);
