import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { startDnsServer } from "../src/index.ts";
import { nameFromText, recordToText, recordTypes } from "../src/message/index.ts";
import { explainLookup, resolvConf } from "../src/resolver/index.ts";
import { createClusterZone } from "../src/zone/index.ts";

it("the example of the README does what it says", async () => {
  const printed: string[] = [];
  const console = { log: (...values: unknown[]) => printed.push(values.map(String).join(" ")) };

  // biome-ignore format: as in the README
  // example-begin
  const zone = createClusterZone({ domain: "cluster.local", podMode: "insecure", ttl: 30 });
  zone.apply({ kind: "Namespace", metadata: { name: "default" } });
  zone.apply({
    kind: "Service",
    metadata: { name: "web", namespace: "default" },
    spec: { clusterIPs: ["10.96.0.7"], ports: [{ name: "http", port: 80, protocol: "TCP" }] },
  });

  const answer = zone.answer(nameFromText("web.default.svc.cluster.local."), recordTypes.A);
  console.log(answer?.answers.map(recordToText)); // [ 'web.default.svc.cluster.local. 30 IN A 10.96.0.7' ]

  const pod = { metadata: { namespace: "default" } };
  const conf = resolvConf(pod, { clusterDns: ["10.96.0.10"], domain: "cluster.local" });
  console.log(explainLookup("web", { zone, conf, libc: "musl" }).toText());

  const server = await startDnsServer({ zone, listen: [{ host: "127.0.0.1", port: 0 }] });
  console.log(`dig -p ${server.addresses[0]?.port} @127.0.0.1 web.default.svc.cluster.local`);
  await server.close();
  // example-end

  expect(printed[0]).toBe("web.default.svc.cluster.local. 30 IN A 10.96.0.7");
  expect(printed[1]).toContain("web.default.svc.cluster.local. A");
  expect(printed[1]).toContain("10.96.0.7");
  expect(printed[2]).toMatch(/^dig -p [0-9]+ @127\.0\.0\.1 web\.default\.svc\.cluster\.local$/);

  const lines = (text: string) =>
    text
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "" && !line.startsWith("import "));
  const source = readFileSync(new URL(import.meta.url), "utf8").split(/^.*example-(?:begin|end).*$/m)[1]!;
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const example = readme.split("```ts\n")[1]!.split("```")[0]!;
  expect(lines(example)).toEqual(lines(source));
});
