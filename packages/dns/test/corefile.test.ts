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
