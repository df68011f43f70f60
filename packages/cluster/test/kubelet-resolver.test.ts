import type { PodSpec } from "@portolan/core";
import { describe, expect, it } from "vitest";
import {
  formatResolverConfiguration,
  parseResolverConfiguration,
  podResolver,
  type ResolverSources,
} from "../src/kubelet/index.ts";

const sources: ResolverSources = {
  clusterDns: ["10.96.0.10"],
  clusterDomain: "cluster.local",
  node: { nameservers: ["8.8.8.8"], searches: ["host.domain"], options: ["attempts:2"] },
};
const resolver = (spec: Partial<PodSpec>, overrides: Partial<ResolverSources> = {}) =>
  podResolver("shop", { containers: [], ...spec }, { ...sources, ...overrides });

describe("resolv.conf of a pod", () => {
  it("by default asks the cluster's DNS, with the namespace first and the node's list last", () => {
    expect(formatResolverConfiguration(resolver({}))).toBe(
      "search shop.svc.cluster.local svc.cluster.local cluster.local host.domain\nnameserver 10.96.0.10\noptions ndots:5\n",
    );
  });

  it("is the node's for Default, for hostNetwork, and when the cluster has no DNS", () => {
    for (const result of [
      resolver({ dnsPolicy: "Default" }),
      resolver({ hostNetwork: true }),
      resolver({ dnsPolicy: "ClusterFirst" }, { clusterDns: [] }),
    ]) {
      expect(result).toMatchObject({ nameservers: ["8.8.8.8"], searches: ["host.domain"], options: ["attempts:2"] });
    }
    expect(resolver({ hostNetwork: true, dnsPolicy: "ClusterFirstWithHostNet" }).nameservers).toEqual(["10.96.0.10"]);
  });

  it("is made of dnsConfig alone for None, and else extended by it, its options winning", () => {
    const dnsConfig = {
      nameservers: ["10.0.0.11", "10.96.0.10"],
      searches: ["my.domain", "cluster.local"],
      options: [{ name: "ndots", value: "3" }, { name: "debug" }],
    };
    expect(resolver({ dnsPolicy: "None", dnsConfig })).toMatchObject({
      nameservers: ["10.0.0.11", "10.96.0.10"],
      searches: ["my.domain", "cluster.local"],
      options: ["ndots:3", "debug"],
    });
    expect(resolver({ dnsConfig })).toMatchObject({
      nameservers: ["10.96.0.10", "10.0.0.11"],
      searches: ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "host.domain", "my.domain"],
      options: ["ndots:3", "debug"],
    });
  });

  it("keeps to three nameservers, 32 search domains and 2,048 characters, and warns", () => {
    const many = Array.from({ length: 40 }, (_, index) => `d${index}.example`);
    const cut = resolver({
      dnsPolicy: "None",
      dnsConfig: { nameservers: ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"], searches: many },
    });
    expect(cut.nameservers).toEqual(["1.1.1.1", "2.2.2.2", "3.3.3.3"]);
    expect(cut.searches).toEqual(many.slice(0, 32));
    expect(cut.warnings).toHaveLength(2);
    const long = Array.from({ length: 12 }, (_, index) => `${index}${"x".repeat(199)}`);
    expect(
      resolver({ dnsPolicy: "None", dnsConfig: { nameservers: ["1.1.1.1"], searches: long } }).searches,
    ).toHaveLength(10);
    expect(
      resolver({ dnsPolicy: "None", dnsConfig: { nameservers: ["1.1.1.1"], searches: ["y".repeat(254), "ok"] } })
        .searches,
    ).toEqual(["ok"]);
  });

  it("reads files: comments, several nameservers, the last search line, merged options", () => {
    expect(
      parseResolverConfiguration(
        " # c\nnameserver 1.2.3.4 # c\n\tnameserver 5.6.7.8\nsearch old\nsearch . foo bar.\noptions ndots:1\noptions ndots:5 attempts:3",
      ),
    ).toEqual({ nameservers: ["1.2.3.4", "5.6.7.8"], searches: ["foo", "bar"], options: ["ndots:5", "attempts:3"] });
  });
});
