import { describe, expect, test } from "vitest";
import { Comparison, normaliseOutput, normaliseValues, type Surroundings } from "../src/kubectl/normalisation.ts";

const surroundings: Surroundings = {
  namespace: "gold-0a1b2c3d",
  server: "http://127.0.0.1:40123",
  folder: "/tmp/case-x",
  ownText: 'clusterIP: 10.96.2.1 nodePort: 30310 "node1"',
  generatedNames: new Map([
    ["web-7d9c8b6f5d-x2x9z", "web-<hash>-<rand>"],
    ["web-7d9c8b6f5d", "web-<hash>"],
    ["web-service-b2c4d", "web-service-<rand>"],
  ]),
};

function same(expected: string, actual: string, comparison: Comparison = new Comparison()): boolean {
  return comparison.same(expected, normaliseOutput(actual, surroundings));
}

describe("output of kubectl", () => {
  test("widths, ages and allocated values do not count", () => {
    const expected =
      "NAME  TYPE  CLUSTER-IP  EXTERNAL-IP  PORT(S)  AGE\nnp  NodePort  <cip4:1>  <none>  80:<nodePort:1>/TCP,53:30310/UDP  <age>\n";
    const actual =
      "NAME   TYPE       CLUSTER-IP      EXTERNAL-IP   PORT(S)         AGE\nnp     NodePort   10.96.201.17    <none>        80:31999/TCP,53:30310/UDP   2m5s\n";
    expect(same(expected, actual)).toBe(true);
    expect(same(expected, actual.replace("NodePort", "ClusterIP"))).toBe(false);
    expect(same(expected, actual.replace("53:30310", "53:30311"))).toBe(false);
  });

  test("values that the case names stay as they are", () => {
    expect(same("  clusterIP: 10.96.2.1\n", "  clusterIP: 10.96.2.1\n")).toBe(true);
    expect(same("  clusterIP: 10.96.2.1\n", "  clusterIP: 10.96.2.10\n")).toBe(false);
    expect(same("  clusterIP: <cip4:1>\n", "  clusterIP: 10.96.2.1\n")).toBe(false);
    expect(same("node1  Ready\n<node>  Ready\n", "node1  Ready\nnode3  Ready\n")).toBe(true);
  });

  test("the same placeholder is the same value, all through a case", () => {
    const comparison = new Comparison();
    const uid = (digit: string) => `uid: ${digit.repeat(8)}-0000-4000-8000-000000000000\n`;
    expect(same("uid: <uid:1>\n", uid("a"), comparison)).toBe(true);
    expect(same("uid: <uid:2>\n", uid("b"), comparison)).toBe(true);
    expect(same("uid: <uid:1>\n", uid("b"), comparison)).toBe(false);
    expect(same("uid: <uid:3>\n", uid("a"), comparison)).toBe(false);
    expect(same("uid: <uid:1>\n", uid("a"), comparison)).toBe(true);
  });

  test("addresses of one port have no order, ports have", () => {
    const comparison = new Comparison();
    expect(same("web  <podIP:1>:80,<podIP:2>:80  <age>\n", "web  10.244.1.5:80,10.244.2.9:80  7s\n", comparison)).toBe(
      true,
    );
    expect(same("web  <podIP:1>:80,<podIP:2>:80  <age>\n", "web  10.244.2.9:80,10.244.1.5:80  7s\n", comparison)).toBe(
      true,
    );
    expect(
      same(
        "<podIP:1>:80,<podIP:2>:80,<podIP:1>:53 + 1 more...\n",
        "10.244.1.5:80,10.244.2.9:80,10.244.1.5:53 + 1 more...\n",
        comparison,
      ),
    ).toBe(true);
    expect(
      same("<podIP:1>:80,<podIP:2>:80,<podIP:1>:53\n", "10.244.1.5:53,10.244.1.5:80,10.244.2.9:80\n", comparison),
    ).toBe(false);
  });

  test("generated names, namespaces, servers and folders", () => {
    const expected = "pod/web-<hash>-<rand>\nreplicaset.apps/web-<hash>\nweb-service-<rand>\n$SERVER $TMP/a $NS\n";
    const actual =
      "pod/web-7d9c8b6f5d-x2x9z\nreplicaset.apps/web-7d9c8b6f5d\nweb-service-b2c4d\nhttp://127.0.0.1:40123 /tmp/case-x/a gold-0a1b2c3d\n";
    expect(same(expected, actual)).toBe(true);
    expect(same("a\n", "a\ngold-99999999  pod  1m\n")).toBe(true);
  });

  test("times, versions, logs and files of editors", () => {
    expect(
      normaliseOutput(
        'E1124 09:11:35.123456   12345 run.go:72] "failed"\ncreated: Tue, 24 Nov 2026 09:11:35 +0000\n  resourceVersion: "123"\nkubectl-edit-812.yaml 2026-11-24T09:11:35Z',
        surroundings,
      ),
    ).toBe('<klog> run.go:72] "failed"\ncreated: <date>\n  resourceVersion: "<rv>"\nkubectl-edit-<n>.yaml <ts>');
    expect(normaliseValues('{"resourceVersion":"9"}', surroundings)).toBe('{"resourceVersion":"<rv>"}');
  });

  test("indentation counts, blanks within lines do not", () => {
    expect(same("a:\n    b:  c\n", "a:   \n    b:      c  \n")).toBe(true);
    expect(same("a:\n    b:  c\n", "a:\n  b:  c\n")).toBe(false);
  });
});
