import { describe, expect, it } from "vitest";
import {
  formatEqualitySelector,
  formatFieldRequirements,
  formatLabelRequirements,
  formatLabelSelector,
  matchEqualitySelector,
  matchFieldRequirements,
  matchLabelRequirements,
  matchLabelSelector,
  parseFieldSelector,
  parseLabelSelector,
  selectableFieldValue,
  unsupportedFieldLabel,
} from "../src/index.ts";

const objects = { s1: { app: "a", tier: "x" }, s2: { app: "b" }, s3: { app: "a" }, s4: {} };

function selected(selector: string): string[] {
  const requirements = parseLabelSelector(selector);
  return Object.entries(objects)
    .filter(([, labels]) => matchLabelRequirements(requirements, labels as Record<string, string>))
    .map(([name]) => name);
}

describe("label selectors", () => {
  it.each([
    ["app=a", ["s1", "s3"]],
    ["app==a", ["s1", "s3"]],
    ["app!=a", ["s2", "s4"]],
    ["app", ["s1", "s2", "s3"]],
    ["!app", ["s4"]],
    ["app in (a,b)", ["s1", "s2", "s3"]],
    ["app notin (a)", ["s2", "s4"]],
    ["app=a,!tier", ["s3"]],
    ["app in ()", []],
    ["tier=", []],
    ["", ["s1", "s2", "s3", "s4"]],
  ])("%s selects %j", (selector, names) => {
    expect(selected(selector)).toEqual(names);
  });

  it("compares integers", () => {
    expect(matchLabelRequirements(parseLabelSelector("n>5"), { n: "6" })).toBe(true);
    expect(matchLabelRequirements(parseLabelSelector("n<5"), { n: "6" })).toBe(false);
    expect(matchLabelRequirements(parseLabelSelector("n<5"), { n: "x" })).toBe(false);
  });

  it.each([
    ["a=b=c", "found '=', expected: ',' or 'end of string'"],
    ["a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"],
    ["a,", "found '', expected: identifier after ','"],
    [",a", "found ',', expected: !, identifier, or 'end of string'"],
    ["a in b", "unable to parse requirement: found 'b' expected: '('"],
    ["a in (b", "unable to parse requirement: found '', expected: ',' or ')'"],
    [
      "n>x",
      "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
    ],
  ])("%s is refused: %s", (selector, message) => {
    expect(() => parseLabelSelector(selector)).toThrow(message);
  });

  it("names the key of a bad value", () => {
    expect(() => parseLabelSelector("app=-a")).toThrow(
      'unable to parse requirement: values[0][app]: Invalid value: "-a": a valid label must be an empty string or consist of',
    );
  });

  it.each(["a=b,c!=d,e,!f,g in (h,i),j notin (k),l>1,m<2"])("%s survives a round trip", (selector) => {
    expect(formatLabelRequirements(parseLabelSelector(selector))).toBe(selector);
  });

  it("an absent object selects nothing, an empty one everything", () => {
    expect(matchLabelSelector(undefined, { a: "b" })).toBe(false);
    expect(matchLabelSelector({}, { a: "b" })).toBe(true);
    expect(matchLabelSelector({ matchExpressions: [{ key: "a", operator: "In", values: ["b"] }] }, { a: "b" })).toBe(
      true,
    );
    expect(matchLabelSelector({ matchExpressions: [{ key: "a", operator: "?" as "In" }] }, { a: "b" })).toBe(false);
  });

  it("prints objects as columns do", () => {
    expect(
      formatLabelSelector({
        matchLabels: { b: "2", a: "1" },
        matchExpressions: [{ key: "c", operator: "DoesNotExist" }],
      }),
    ).toBe("a=1,b=2,!c");
    expect(formatEqualitySelector({ b: "2", a: "1" })).toBe("a=1,b=2");
  });

  it("finds no inherited names", () => {
    expect(matchEqualitySelector({ constructor: "x" }, {})).toBe(false);
    expect(matchLabelRequirements(parseLabelSelector("toString"), {})).toBe(false);
  });
});

describe("field selectors", () => {
  const pod = { kind: "Pod", metadata: { name: "p" }, spec: { nodeName: "n1" }, status: { phase: "Running" } };

  it("select by the fields of the kind", () => {
    const requirements = parseFieldSelector("spec.nodeName=n1,status.phase!=Failed");
    expect(matchFieldRequirements(requirements, (field) => selectableFieldValue(pod, field))).toBe(true);
    expect(unsupportedFieldLabel("Pod", requirements)).toBeUndefined();
    expect(selectableFieldValue(pod, "spec.hostNetwork")).toBe("false");
  });

  it("refuse other fields in the words of the kind", () => {
    expect(unsupportedFieldLabel("Service", parseFieldSelector("spec.foo=x"))).toBe(
      "field label not supported: spec.foo",
    );
    expect(unsupportedFieldLabel("ConfigMap", parseFieldSelector("data=x"))).toBe(
      '"data" is not a known field selector: only "metadata.name", "metadata.namespace"',
    );
  });

  it("escape", () => {
    const requirements = parseFieldSelector("metadata.name=a\\,b\\=c\\\\");
    expect(requirements).toEqual([{ field: "metadata.name", operator: "=", value: "a,b=c\\" }]);
    expect(formatFieldRequirements(requirements)).toBe("metadata.name=a\\,b\\=c\\\\");
    expect(() => parseFieldSelector("metadata.name")).toThrow(
      "invalid selector: 'metadata.name'; can't understand 'metadata.name'",
    );
  });
});
