import { type AnnotationRegistry, annotationRow, checkAnnotations, readBoolean, readMap } from "@portolan/lb";
import { describe, expect, it } from "vitest";

const registry: AnnotationRegistry = {
  prefixes: ["lb.example/"],
  rows: [
    { key: "lb.example/internal", type: { kind: "boolean", reading: "strict" }, sets: "scheme", change: "ip-change" },
    {
      key: "lb.example/scheme",
      type: { kind: "enumeration", values: ["internal", "internet-facing"] },
      sets: "scheme",
      change: "ip-change",
      exposure: true,
    },
    { key: "lb.example/idle", type: { kind: "integer", minimum: 4, maximum: 100 }, sets: "idle", change: "in-place" },
    {
      key: "lb.example/attributes.{Protocol}-{Port}",
      type: { kind: "map", escapes: true },
      sets: "attributes",
      change: "in-place",
      conflictsWith: ["lb.example/idle"],
    },
    {
      key: "lb.example/ranges",
      type: { kind: "cidrs" },
      sets: "firewall",
      change: "in-place",
      badValue: "warning",
      deprecatedFor: "spec.loadBalancerSourceRanges",
    },
  ],
};
const check = (annotations: Record<string, string>) =>
  checkAnnotations(registry, annotations).map((entry) => [entry.severity, entry.code, entry.message]);

describe("annotation registry", () => {
  it("finds keys with parts that vary", () => {
    expect(annotationRow(registry, "lb.example/attributes.TCP-80")?.sets).toBe("attributes");
    expect(annotationRow(registry, "lb.example/attributes.TCP-80.x")).toBeUndefined();
  });

  it("says which key was meant", () => {
    expect(check({ "lb.example/interal": "true", "other.example/x": "1" })).toEqual([
      ["warning", "UnknownAnnotation", "annotation lb.example/interal is unknown; did you mean lb.example/internal?"],
    ]);
  });

  it("refuses a key that may have been meant to keep clients out", () => {
    expect(check({ "lb.example/schema": "internal" })[0]?.slice(0, 2)).toEqual(["error", "UnknownAnnotation"]);
  });

  it("says that annotations of another cloud have no effect, and refuses those that ask for an internal balancer", () => {
    expect(check({ "service.beta.kubernetes.io/aws-load-balancer-type": "nlb" })[0]).toEqual([
      "warning",
      "ForeignAnnotation",
      expect.stringContaining("is for load balancers of AWS"),
    ]);
    const internal = [
      ["service.beta.kubernetes.io/aws-load-balancer-internal", "0.0.0.0/0"],
      ["service.beta.kubernetes.io/aws-load-balancer-scheme", "internal"],
      ["service.beta.kubernetes.io/azure-load-balancer-internal", "True"],
      ["networking.gke.io/load-balancer-type", "Internal"],
    ] as const;
    for (const [key, value] of internal) expect(check({ [key]: value })[0]?.[0], key).toBe("error");
    expect(check({ "service.beta.kubernetes.io/azure-load-balancer-internal": "false" })[0]?.[0]).toBe("warning");
  });

  it("refuses values outside of the type, as an error or a warning as the row says", () => {
    expect(check({ "lb.example/internal": "yes" })[0]?.slice(0, 2)).toEqual(["error", "BadAnnotationValue"]);
    expect(check({ "lb.example/idle": "3" })[0]?.[2]).toContain("4 or more and 100 or less");
    expect(check({ "lb.example/idle": "4" })).toEqual([]);
    expect(check({ "lb.example/ranges": "10.0.0.0/33" }).map((entry) => entry.slice(0, 2))).toEqual([
      ["warning", "BadAnnotationValue"],
      ["warning", "DeprecatedAnnotation"],
    ]);
  });

  it("refuses pairs that exclude each other", () => {
    expect(check({ "lb.example/idle": "5", "lb.example/attributes.TCP-80": "a=b" })[0]?.[1]).toBe(
      "ConflictingAnnotations",
    );
  });

  it("reads booleans as each cloud does", () => {
    const texts = ["true", "True", "false", "0.0.0.0/0", ""];
    const read = (reading: Parameters<typeof readBoolean>[1]) => texts.map((text) => readBoolean(text, reading));
    expect(read("strict")).toEqual([true, undefined, false, undefined, undefined]);
    expect(read("true-only")).toEqual([true, false, false, false, false]);
    expect(read("true-ignoring-case")).toEqual([true, true, false, false, false]);
    expect(read("non-empty")).toEqual([true, true, false, true, false]);
  });

  it("reads maps with escaped commas", () => {
    expect([...(readMap("a=1, b=x\\,y", true) ?? [])]).toEqual([
      ["a", "1"],
      ["b", "x,y"],
    ]);
    expect(readMap("a")).toBeUndefined();
  });
});
