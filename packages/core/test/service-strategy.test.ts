import { formatAddress } from "@portolan/net";
import { describe, expect, it } from "vitest";
import {
  applyDefaults,
  dropTypeDependentFields,
  formatFieldErrors,
  initializeIPFamilies,
  ipAllocationRange,
  needsLoadBalancerUpdate,
  nodePortBands,
  normalizeClusterIPs,
  patchAllocatedValues,
  type Service,
  type ServiceSpec,
  serviceWarnings,
} from "../src/index.ts";

function service(spec: ServiceSpec): Service {
  return { apiVersion: "v1", kind: "Service", metadata: { name: "web", namespace: "default" }, spec };
}

describe("IP families", () => {
  const initialize = (spec: ServiceSpec, families: ("IPv4" | "IPv6")[], old?: ServiceSpec) => {
    const created = service(spec);
    normalizeClusterIPs(created, old && service(old));
    const errors = initializeIPFamilies({ service: created, old: old && service(old), clusterFamilies: families });
    return [formatFieldErrors(errors), created.spec?.ipFamilyPolicy, created.spec?.ipFamilies];
  };

  it("default to the cluster's primary family", () => {
    expect(initialize({}, ["IPv6", "IPv4"])).toEqual(["", "SingleStack", ["IPv6"]]);
    expect(initialize({ ipFamilyPolicy: "PreferDualStack" }, ["IPv4"])).toEqual(["", "PreferDualStack", ["IPv4"]]);
  });

  it("follow the addresses asked for", () => {
    expect(initialize({ clusterIP: "fd00::5" }, ["IPv4", "IPv6"])).toEqual(["", "SingleStack", ["IPv6"]]);
    expect(initialize({ clusterIP: "fd00::5" }, ["IPv4"])[0]).toBe(
      'spec.clusterIPs[0]: Invalid value: ["fd00::5"]: IPv6 is not configured on this cluster',
    );
  });

  it("are both ones for a headless Service without selector, even on a cluster of one family", () => {
    expect(initialize({ clusterIP: "None" }, ["IPv4"])).toEqual(["", "RequireDualStack", ["IPv4", "IPv6"]]);
    expect(initialize({ clusterIP: "None", selector: { a: "b" } }, ["IPv4"])).toEqual(["", "SingleStack", ["IPv4"]]);
  });

  it("shrink to the first when the policy becomes SingleStack and nothing else changes", () => {
    const dual: ServiceSpec = {
      type: "ClusterIP",
      clusterIP: "10.0.0.1",
      clusterIPs: ["10.0.0.1", "fd00::1"],
      ipFamilies: ["IPv4", "IPv6"],
      ipFamilyPolicy: "RequireDualStack",
    };
    expect(initialize({ ...dual, ipFamilyPolicy: "SingleStack" }, ["IPv4", "IPv6"], dual)).toEqual([
      "",
      "SingleStack",
      ["IPv4"],
    ]);
    expect(
      initialize({ ...dual, clusterIPs: ["10.0.0.1"], ipFamilies: ["IPv4"] }, ["IPv4", "IPv6"], dual)[0],
    ).toContain("must be 'SingleStack' to release the secondary cluster IP");
  });
});

describe("updates", () => {
  it("refill node ports by port name", () => {
    const old = service({
      type: "NodePort",
      ports: [
        { name: "p", port: 80, nodePort: 30001 },
        { name: "q", port: 443, nodePort: 30002 },
      ],
    });
    const swapped = service({
      type: "NodePort",
      ports: [
        { name: "q", port: 80 },
        { name: "p", port: 443 },
      ],
    });
    patchAllocatedValues(swapped, old);
    expect(swapped.spec?.ports?.map((port) => port.nodePort)).toEqual([30002, 30001]);
  });

  it("do not refill a node port that another port claims", () => {
    const old = service({ type: "NodePort", ports: [{ name: "p", port: 80, nodePort: 30001 }] });
    const changed = service({
      type: "NodePort",
      ports: [
        { name: "p", port: 80 },
        { name: "q", port: 81, nodePort: 30001 },
      ],
    });
    patchAllocatedValues(changed, old);
    expect(changed.spec?.ports?.[0]?.nodePort).toBeUndefined();
  });

  it("drop what the old type left behind, unless the request changed it", () => {
    const old = service({
      type: "LoadBalancer",
      externalTrafficPolicy: "Cluster",
      ports: [{ port: 80, nodePort: 30001 }],
    });
    const changed = service({
      type: "ClusterIP",
      externalTrafficPolicy: "Local",
      ports: [{ port: 80, nodePort: 30001 }],
    });
    dropTypeDependentFields(changed, old);
    expect(changed.spec).toEqual({ type: "ClusterIP", externalTrafficPolicy: "Local", ports: [{ port: 80 }] });
  });
});

describe("warnings", () => {
  it("come in the server's order", () => {
    expect(
      serviceWarnings(applyDefaults(service({ ports: [{ port: 80 }], externalIPs: ["2001:0db8:0000::5"] }))),
    ).toEqual([
      'spec.externalIPs[0]: IPv6 address "2001:0db8:0000::5" should be in RFC 5952 canonical format ("2001:db8::5")',
      "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
    ]);
  });
});

describe("load balancers", () => {
  const balanced = service({ type: "LoadBalancer", ports: [{ port: 80 }] });
  it("are updated for ports and annotations but not for selectors", () => {
    expect(needsLoadBalancerUpdate(balanced, service({ type: "LoadBalancer", ports: [{ port: 81 }] }))).toBe(true);
    expect(needsLoadBalancerUpdate(balanced, { ...balanced, metadata: { annotations: { a: "b" } } })).toBe(true);
    expect(
      needsLoadBalancerUpdate(balanced, service({ type: "LoadBalancer", ports: [{ port: 80 }], selector: { a: "b" } })),
    ).toBe(false);
  });
});

describe("bands", () => {
  const edges = (cidr: string) => {
    const range = ipAllocationRange(cidr)!;
    return [range.bandOffset, ...[range.first, range.dynamicFirst, range.last].map(formatAddress), range.capacity];
  };
  it("of Service CIDRs", () => {
    expect(edges("10.96.0.0/12")).toEqual([256, "10.96.0.1", "10.96.1.1", "10.111.255.254", 1048574n]);
    expect(edges("10.96.0.0/28")).toEqual([0, "10.96.0.1", "10.96.0.1", "10.96.0.14", 14n]);
    expect(edges("fd00::/112")[3]).toBe("fd00::ffff");
    expect(ipAllocationRange("10.0.0.1/32")).toBeUndefined();
    expect(ipAllocationRange("x")).toBeUndefined();
  });
  it("of node ports", () => {
    expect(nodePortBands("30000-32767")).toMatchObject({
      size: 2768,
      staticBand: [30000, 30085],
      dynamicBand: [30086, 32767],
    });
    expect(nodePortBands("30000-30009")?.staticBand).toBeUndefined();
    expect(nodePortBands("0-10")).toBeUndefined();
  });
});
