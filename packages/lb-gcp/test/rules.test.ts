import type { Service } from "@portolan/core";
import { checkAnnotations, type NodeReference } from "@portolan/lb";
import { describe, expect, test } from "vitest";
import { namedAddresses } from "../src/address.ts";
import { gcpAnnotations } from "../src/annotations.ts";
import type { GcpConfiguration } from "../src/configuration.ts";
import { modelOf, variantOf } from "../src/model.ts";
import { passthroughNames, trimEvenly } from "../src/names.ts";
import { endpointGroups } from "../src/node-groups.ts";
import { rulePortsEqual } from "../src/ports.ts";

const configuration: GcpConfiguration = {
  project: "shop",
  region: "europe-west1",
  kubeSystemUID: "0a1b",
  clusterId: "c1",
  network: "default",
  subnetwork: "default",
  nodeTags: ["nodes"],
};

const service = (annotations: Record<string, string>, spec: Partial<NonNullable<Service["spec"]>> = {}): Service => ({
  metadata: { namespace: "default", name: "web-lb", uid: "11111111-2222-3333-4444-555555555555", annotations },
  spec: { type: "LoadBalancer", ports: [{ port: 80, targetPort: 8080 }], ...spec },
});

const nodes = (count: number): NodeReference[] =>
  Array.from({ length: count }, (_, index) => ({
    name: `node-${index}`,
    addresses: [],
    zone: `europe-west1-${"bcd"[index % 3]}`,
  }));

describe("model", () => {
  test("the internal example: scheme, subnet, ports and name", () => {
    const wanted = service({ "networking.gke.io/load-balancer-type": "Internal" });
    const model = modelOf({ service: wanted, nodes: nodes(2), configuration });
    expect(variantOf(wanted)).toBe("internal");
    expect(model.backendService).toMatchObject({ loadBalancingScheme: "INTERNAL", protocol: "TCP" });
    expect(model.forwardingRules).toMatchObject([
      { loadBalancingScheme: "INTERNAL", subnetwork: "default", ports: ["80"], IPAddress: "" },
    ]);
    expect(model.forwardingRules[0]!.name).toMatch(/^k8s2-tcp-[0-9a-z]{8}-default-web-lb-[0-9a-z]{8}$/);
  });

  test("without the annotation it is external, in the premium tier, and made of a backend service", () => {
    const model = modelOf({ service: service({}), nodes: nodes(2), configuration });
    expect(model.variant).toBe("external");
    expect(model.targetPool).toBeUndefined();
    expect(model.forwardingRules).toMatchObject([
      {
        loadBalancingScheme: "EXTERNAL",
        networkTier: "PREMIUM",
        name: "a11111111222233334444555555555555".slice(0, 32),
      },
    ]);
  });

  test("two families: a rule and a firewall rule each, one backend service", () => {
    const model = modelOf({
      service: service({}, { ipFamilies: ["IPv4", "IPv6"], loadBalancerSourceRanges: ["2001:db8::/32"] }),
      nodes: nodes(1),
      configuration,
    });
    expect(model.forwardingRules.map((rule) => rule.family)).toEqual(["IPv4", "IPv6"]);
    const traffic = model.firewalls.filter((entry) => entry.purpose === "traffic");
    expect(traffic.map((entry) => entry.sourceRanges)).toEqual([["0.0.0.0/0"], ["2001:db8::/32"]]);
  });

  test.each([
    ["no port", service({}, { ports: [] }), "at least one port"],
    ["SCTP", service({}, { ports: [{ port: 1, protocol: "SCTP" }] }), "SCTP"],
    ["mixed protocols", service({}, { ports: [{ port: 1 }, { port: 1, protocol: "UDP" }] }), "mixed protocols"],
    ["a name that is none", service({ "networking.gke.io/load-balancer-ip-addresses": "No_Name" }), "No_Name"],
    ["an address that is not reserved", service({}, { loadBalancerIP: "192.0.2.9" }), "192.0.2.9"],
    [
      "too many source ranges",
      service(
        {},
        { loadBalancerSourceRanges: Array.from({ length: 257 }, (_, index) => `10.${index % 256}.${index >> 8}.0/24`) },
      ),
      "256",
    ],
  ])("%s is refused", (_name, wanted, mention) => {
    expect(() => modelOf({ service: wanted, nodes: [], configuration })).toThrowError(mention);
  });

  test("rules without node tags would open every machine of the network", () => {
    expect(() =>
      modelOf({ service: service({}), nodes: [], configuration: { ...configuration, nodeTags: [] } }),
    ).toThrowError("nodeTags");
  });
});

describe("annotations", () => {
  test("a misspelt key that decides about exposure is an error with a hint", () => {
    const found = checkAnnotations(gcpAnnotations, { "networking.gke.io/load-balancer-typ": "Internal" });
    expect(found).toMatchObject([{ severity: "error", code: "UnknownAnnotation" }]);
    expect(found[0]!.message).toContain("did you mean networking.gke.io/load-balancer-type?");
  });

  test("a misspelt value of the type is an error: anything else would be public", () => {
    const found = checkAnnotations(gcpAnnotations, { "networking.gke.io/load-balancer-type": "intern" });
    expect(found).toMatchObject([{ severity: "error", code: "BadAnnotationValue" }]);
  });
});

describe("names", () => {
  const long = "a-name-that-is-so-long-that-nothing-of-it-can-stay-as-it-is-here";

  test("are short enough, and of different Services different, however long these are called", () => {
    const seen = new Map<string, string>();
    for (let index = 0; index < 2000; index++) {
      const parts = {
        kubeSystemUID: "u",
        namespace: `${long}-${index % 40}`.slice(-63),
        name: `${long}-${index}`.slice(0, 70),
      };
      const names = passthroughNames({ ...parts, name: `${parts.name}-${index}` });
      for (const name of [
        names.backend,
        names.firewallIPv6,
        names.firewallDenyIPv6,
        names.healthCheckFirewallIPv6(false),
        names.internalRuleIPv6("TCP"),
        names.externalRuleIPv6("L3_DEFAULT", 35),
      ]) {
        expect(name.length).toBeLessThanOrEqual(63);
        expect(name).toMatch(/^[a-z]([-a-z0-9]*[a-z0-9])?$/);
        expect(seen.get(name) ?? `${index}`).toBe(`${index}`);
        seen.set(name, `${index}`);
      }
    }
  });

  test("in the form of Google's controllers the suffix is cut from the hash", () => {
    const parts = { kubeSystemUID: "kubesystem-uid1", namespace: long.slice(0, 63), name: long.slice(0, 63) };
    expect(passthroughNames(parts, "hash").firewallIPv6).not.toBe(passthroughNames(parts).firewallIPv6);
    expect(passthroughNames(parts, "hash").backend).toBe(passthroughNames(parts).backend);
  });

  test("trimming leaves short texts alone and shares what is left", () => {
    expect(trimEvenly(39, ["a", "b"])).toEqual(["a", "b"]);
    expect(trimEvenly(39, ["default", "x".repeat(67)]).map((text) => text.length)).toEqual([4, 35]);
  });
});

describe("endpoint groups", () => {
  test("hold a subset of the nodes, spread over zones, which hardly moves when a node comes", () => {
    const before = endpointGroups(nodes(90), "web", "default", 25);
    const after = endpointGroups(nodes(91), "web", "default", 25);
    expect(before.map((group) => group.instances.length)).toEqual([9, 8, 8]);
    const flat = (groups: typeof before): string[] => groups.flatMap((group) => group.instances);
    expect(flat(after).filter((name) => !flat(before).includes(name)).length).toBeLessThanOrEqual(1);
  });

  test("do not depend on the order of nodes, and leave out those of other subnets", () => {
    const all = nodes(30);
    expect(endpointGroups([...all].reverse(), "web", "default", 25)).toEqual(endpointGroups(all, "web", "default", 25));
    const other = all.map((node) => ({ ...node, labels: { "cloud.google.com/gke-node-pool-subnet": "other" } }));
    expect(endpointGroups(other, "web", "default", 25)).toEqual([]);
  });
});

test("a rule with a range keeps it while the listed ports span the same", () => {
  const range = { ports: [], portRange: "80-85", allPorts: false };
  expect(rulePortsEqual(range, { ports: ["80", "85"], portRange: "", allPorts: false })).toBe(true);
  expect(rulePortsEqual(range, { ports: ["80", "84"], portRange: "", allPorts: false })).toBe(false);
});

test("named addresses: a third name does not count", () => {
  const wanted = service({ "networking.gke.io/load-balancer-ip-addresses": "a, b, c" });
  expect(namedAddresses(wanted, [{ name: "c", address: "192.0.2.1" }]).ipv4).toBe("");
});
