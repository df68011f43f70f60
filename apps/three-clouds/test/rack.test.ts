import { describe, expect, it } from "vitest";
import { clouds } from "../src/clouds.ts";
import { observe } from "../src/rack.ts";
import { tableOf } from "../src/table.ts";

describe.each(clouds)("a Service behind $name", (cloud) => {
  it("is reachable from where its annotations say", async () => {
    expect((await observe(cloud.name, cloud.provider(), cloud.external, "Cluster")).scheme).toBe("external");
    expect((await observe(cloud.name, cloud.provider(), cloud.internal, "Cluster")).scheme).toBe("internal");
  });

  it("with policy Cluster sends flows to every node, and pods do not see the client", async () => {
    const seen = await observe(cloud.name, cloud.provider(), cloud.external, "Cluster");
    expect(seen.spread).toMatch(/^[1-9]\d*\/[1-9]\d*\/[1-9]\d*$/);
    expect(seen.source).toBe("node");
  });

  it("with policy Local leaves out the node without a pod, and pods see the client", async () => {
    const seen = await observe(cloud.name, cloud.provider(), cloud.external, "Local");
    expect(seen.spread).toMatch(/^[1-9]\d*\/[1-9]\d*\/0$/);
    expect(seen.source).toBe("client");
    expect(seen.healthCheck).toContain("31234");
  });

  it("moves new flows off a node that fails, and leaves the others where they are", async () => {
    const { failure } = await observe(cloud.name, cloud.provider(), cloud.external, "Local");
    expect(failure).toMatch(/^new flows move after \d+ s; others stay$/);
  });
});

it("prints one line for each observation", async () => {
  const seen = await observe("Azure", clouds.find((each) => each.name === "Azure")!.provider(), {}, "Cluster");
  const lines = tableOf([seen, seen]);
  expect(lines).toHaveLength(4);
  expect(lines[2]).toContain("Azure");
});
