import { describe, expect, it } from "vitest";
import { CorefileError, defaultCorefile, durationFromText, readServerConfiguration } from "../src/index.ts";

function errorOf(text: string): CorefileError {
  try {
    readServerConfiguration(text);
  } catch (error) {
    if (error instanceof CorefileError) return error;
    throw error;
  }
  throw new Error("no error");
}

describe("a Corefile", () => {
  it("as kubeadm writes it is understood completely", () => {
    const [block] = readServerConfiguration(defaultCorefile());
    expect(block).toMatchObject({
      origins: ["."],
      port: 53,
      errors: true,
      loop: true,
      loadbalance: true,
      health: { host: "", port: 8080, lameduck: 5000 },
      ready: { host: "", port: 8181 },
      prometheus: { host: "", port: 9153 },
      kubernetes: {
        zone: { zones: ["cluster.local", "in-addr.arpa", "ip6.arpa"], podMode: "insecure", ttl: 30 },
        fallthrough: ["in-addr.arpa", "ip6.arpa"],
      },
      cache: { positiveMaximumTtl: 30, negativeMaximumTtl: 30 },
      reload: { interval: 30_000, jitter: 15_000 },
    });
    expect(block!.forward).toMatchObject([
      { from: ".", files: ["/etc/resolv.conf"], maximumConcurrent: 1000, policy: "random" },
    ]);
  });

  it("may have snippets, comments, quotes, variables and several zones", () => {
    const [block] = readServerConfiguration(
      `# first
(common) {
  errors
  chaos "Portolan \\"one\\"" {$WHO}
}
cluster.local:1053, k8s.test:1053 {
  import common   # both
  kubernetes cluster.local k8s.test { ttl 0 }
}`.replace("{ ttl 0 }", "{\n ttl 0\n }"),
      { environment: { WHO: "somebody" } },
    );
    expect(block).toMatchObject({
      origins: ["cluster.local", "k8s.test"],
      port: 1053,
      errors: true,
      chaos: { version: 'Portolan "one"', authors: ["somebody"] },
    });
  });

  it("may have every common directive of clusters", () => {
    const [block] = readServerConfiguration(`.:53 {
  errors {
    consolidate 5m ".* i/o timeout$" warning
  }
  log . {
    class denial error
  }
  bufsize 1232
  cancel 3s
  timeouts {
    read 3s
    write 5s
    idle 20s
    maxtcpqueries 100
  }
  any
  chaos
  acl {
    block type ANY net 192.0.2.0/24
    allow net 10.0.0.0/8 fd00::/8
    drop
  }
  autopath @kubernetes
  kubernetes cluster.local {
    pods verified
    namespaces default kube-system
    endpoint_pod_names
    ignore empty_service
  }
  forward . 192.0.2.53:5353 [2001:db8::53]:53 {
    policy round_robin
    max_fails 3
    expire 10s
    health_check 1s no_rec domain example.org.
    prefer_udp
    except internal.example
    failover SERVFAIL REFUSED
  }
  cache 300 {
    success 5000 600 10
    denial 2500 60
    prefetch 10 1m 20%
    serve_stale 1h
    servfail 10s
  }
  loadbalance round_robin
  loop
  reload 10s 5s
}`);
    expect(block).toMatchObject({
      cancel: 3000,
      timeouts: { read: 3000, idle: 20_000, maximumQueries: 100 },
      udpPayloadSize: 1232,
      acl: [
        { action: "block", types: ["ANY"], networks: ["192.0.2.0/24"] },
        { action: "allow", types: [], networks: ["10.0.0.0/8", "fd00::/8"] },
        { action: "drop", types: [], networks: [] },
      ],
      autopath: true,
      forward: [
        { policy: "round_robin", maximumFailures: 3, preferUdp: true, except: ["internal.example"], failover: [2, 5] },
      ],
      cache: {
        positiveCapacity: 5000,
        positiveMaximumTtl: 600,
        negativeMaximumTtl: 60,
        prefetchAmount: 10,
        prefetchWindow: 60,
        prefetchShare: 0.2,
        staleTtl: 3600,
        failureTtl: 10,
      },
      reload: { interval: 10_000, jitter: 5000 },
    });
    expect(block!.directives).toEqual([
      ...["errors", "log", "bufsize", "cancel", "timeouts", "any", "chaos", "acl", "autopath", "kubernetes"],
      ...["forward", "cache", "loadbalance", "loop", "reload"],
    ]);
  });

  it.each([
    ["an unknown directive", ".:53 {\n  errors\n  nonsense\n}", "unknown-directive", 3],
    ["an unknown property", ".:53 {\n  cache 30 {\n    fast yes\n  }\n}", "unknown-property", 3],
    ["a brace without end", ".:53 {\n  errors\n", "syntax", 1],
    ["a wrong ttl", ".:53 {\n\n  kubernetes cluster.local {\n    ttl 5000\n  }\n}", "argument", 4],
    ["a directive that stands twice", ".:53 {\n  errors\n  errors\n}", "argument", 3],
    [
      "namespaces and labels at once",
      ".:53 {\n  kubernetes x.y {\n  namespaces a\n  namespace_labels b=c\n }\n}",
      "argument",
      2,
    ],
    ["a snippet that is not there", ".:53 {\n  import nothing\n}", "import", 2],
    ["a transport that is not served", "tls://.:853 {\n  errors\n}", "argument", 1],
    ["a plugin of others", ".:53 {\n  rewrite name a b\n}", "unknown-directive", 2],
    ["another plugin of others", ".:53 {\n  errors\n  hosts\n}", "unknown-directive", 3],
    ["a rule without action", ".:53 {\n  acl {\n    permit net 10.0.0.0/8\n  }\n}", "unknown-property", 3],
    ["a rule for no network", ".:53 {\n  acl {\n    allow net 10.0.0.0/99\n  }\n}", "argument", 2],
    ["an argument where there is none", ".:53 {\n  loop twice\n}", "argument", 2],
    ["a deadline that is none", ".:53 {\n  cancel soon\n}", "argument", 2],
    ["a timeout that nobody knows", ".:53 {\n  timeouts {\n    connect 5s\n  }\n}", "unknown-property", 3],
    ["an encrypted upstream", ".:53 {\n  forward . tls://192.0.2.1\n}", "argument", 2],
    ["a string without end", '.:53 {\n  chaos "x\n}', "syntax", 2],
  ])("with %s is refused with its line", (_, text, code, line) => {
    const error = errorOf(text);
    expect([error.code, error.line]).toEqual([code, line]);
    expect(error.message).toMatch(/^Corefile:[0-9]+: /);
  });

  it("has durations as Go writes them", () => {
    expect(["5s", "1h30m", "250ms", "10", "never", "5 s"].map(durationFromText)).toEqual([
      5000,
      5_400_000,
      250,
      10_000,
      undefined,
      undefined,
    ]);
  });
});
