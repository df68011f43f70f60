import { describe, expect, it } from "vitest";
import { explainLookup, formatResolvConf, parseResolvConf, resolvConf, searchWalk } from "../src/resolver/index.ts";
import { createClusterZone } from "../src/zone/index.ts";

const settings = {
  clusterDns: ["10.96.0.10"],
  domain: "cluster.local",
  nodeResolvConf: "nameserver 8.8.8.8\nsearch host.domain\noptions edns0\n",
};

describe("a Pod's resolv.conf", () => {
  it("points to the cluster with its search list", () => {
    const conf = resolvConf({ metadata: { namespace: "shop" } }, settings);
    expect(formatResolvConf(conf)).toBe(
      "search shop.svc.cluster.local svc.cluster.local cluster.local host.domain\nnameserver 10.96.0.10\noptions ndots:5\n",
    );
  });

  it("is the node's with Default, and what the Pod says with None", () => {
    expect(resolvConf({ metadata: {}, spec: { dnsPolicy: "Default" } }, settings)).toMatchObject({
      nameservers: ["8.8.8.8"],
      searches: ["host.domain"],
      options: ["edns0"],
    });
    const none = {
      dnsPolicy: "None",
      dnsConfig: { nameservers: ["203.0.113.1"], options: [{ name: "ndots", value: "2" }] },
    };
    expect(resolvConf({ metadata: {}, spec: none }, settings)).toMatchObject({
      nameservers: ["203.0.113.1"],
      searches: [],
      options: ["ndots:2"],
    });
  });

  it("is cut to the limits with a warning, and says when there is no cluster DNS", () => {
    const searches = Array.from({ length: 40 }, (_, index) => `s${index}.example`);
    const cut = resolvConf({ metadata: { namespace: "a" }, spec: { dnsConfig: { searches } } }, settings);
    expect(cut.searches).toHaveLength(32);
    expect(cut.warnings.map(({ reason }) => reason)).toEqual(["DNSConfigForming"]);
    const none = resolvConf({ metadata: { namespace: "a" } }, { ...settings, clusterDns: [] });
    expect(none.nameservers).toEqual(["8.8.8.8"]);
    expect(none.warnings.map(({ reason }) => reason)).toEqual(["MissingClusterDNS"]);
  });

  it("is read as a kubelet reads it", () => {
    expect(
      parseResolvConf("#c\nnameserver 1.2.3.4 #x\nsearch a.\nsearch . b. c\noptions ndots:1\noptions ndots:5"),
    ).toEqual({
      nameservers: ["1.2.3.4"],
      searches: ["b", "c"],
      options: ["ndots:5"],
    });
    expect(() => parseResolvConf("nameserver ")).toThrowError(expect.objectContaining({ code: "nameserver" }));
  });
});

describe("a lookup", () => {
  const zone = createClusterZone({ ttl: 30 });
  zone.apply({ kind: "Namespace", metadata: { name: "shop" } });
  zone.apply({
    kind: "Service",
    metadata: { name: "web", namespace: "shop" },
    spec: { clusterIPs: ["10.96.0.7"], ports: [{ port: 80 }] },
  } as never);
  const conf = resolvConf({ metadata: { namespace: "shop" } }, { ...settings, nodeResolvConf: "" });

  it("of a Service in the own namespace takes one pair of queries", () => {
    const explained = explainLookup("web", { zone, conf });
    expect(explained.queries.map(({ name, type, result }) => `${name} ${type} ${result}`)).toEqual([
      "web.shop.svc.cluster.local. A ANSWER",
      "web.shop.svc.cluster.local. AAAA NODATA",
    ]);
    expect(explained.addresses).toEqual(["10.96.0.7"]);
    expect(explained.toText()).toContain("web.shop.svc.cluster.local. 30 IN A 10.96.0.7");
  });

  it("of an Internet name takes eight queries, with a final dot two", () => {
    const outside = ({ type }: { type: string }) => (type === "A" ? ("ANSWER" as const) : ("NODATA" as const));
    expect(explainLookup("www.example.com", { zone, conf, outside }).queries).toHaveLength(8);
    expect(explainLookup("www.example.com.", { zone, conf, outside }).queries).toHaveLength(2);
    expect(explainLookup("www.example.com", { zone, conf, outside }).remarks.join()).toContain("a dot at the end");
  });

  it("goes on after NODATA in glibc and stops there in musl", () => {
    const ask = ({ name }: { name: string }) => (name === "x.a." ? ("NODATA" as const) : ("NXDOMAIN" as const));
    const list = { nameservers: [], searches: ["a", "b"], options: ["ndots:5"] };
    expect(searchWalk("x", list, { libc: "glibc", ask }).steps).toHaveLength(6);
    expect(searchWalk("x", list, { libc: "musl", ask }).steps).toHaveLength(2);
  });
});
