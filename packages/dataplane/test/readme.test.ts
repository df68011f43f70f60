import { readFileSync } from "node:fs";
import { createDataplane } from "@portolan/dataplane";
import { packet, parsePacket } from "@portolan/net";
import { expect, test } from "vitest";

test("the example of the README does what it says", () => {
  const printed: string[] = [];
  const console = { log: (...values: unknown[]) => printed.push(values.join(" ")) };

  // biome-ignore format: as in the README
  // example-begin
  const dataplane = createDataplane();
  dataplane.configureNode({ addresses: ["192.168.0.2"], clusterCIDRs: ["10.244.0.0/16"] });
  dataplane.setServicePort({
    id: "default/web:http/TCP/IPv4",
    family: "IPv4",
    protocol: "TCP",
    frontends: [{ kind: "ClusterIP", address: "10.96.0.10", port: 80 }],
    cluster: ["10.244.1.11", "10.244.1.12", "10.244.2.13"].map((address) => ({ address, port: 8080 })),
    local: [],
    hasAny: true,
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
  });
  const syn = packet()
    .ipv4({ source: "10.244.1.20", destination: "10.96.0.10" })
    .tcp({ sourcePort: 40000, destinationPort: 80, flags: "S" })
    .build();
  for (const step of dataplane.trace(syn, { now: 0 })) console.log(step.text);
  const { verdict, packet: translated } = dataplane.process(syn, { now: 0 });
  console.log(verdict, parsePacket(translated!).destination);
  // example-end

  expect(printed.slice(0, 4)).toEqual([
    "a well-formed IPv4 packet, TCP",
    "no connection has this tuple",
    "the destination is the ClusterIP of default/web:http/TCP/IPv4",
    "internalTrafficPolicy Cluster: all endpoints (3)",
  ]);
  expect(printed.at(-1)).toMatch(/^PASS 10\.244\.[12]\.1[123]$/);

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
